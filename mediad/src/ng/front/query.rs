//! What is known of calls, with rtpengine's names for it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use control::media::{FlowStats, Path, SessionId, SessionStats, Side};
use ng::{Dictionary, Request, Value, dictionary};

use super::{
    Answer, Front, Refusal,
    ssrc::{sources, ssrcs, tenths},
    stats,
};
use crate::ng::{
    call::{Branch, Call, Stream, Totals, index},
    engine,
    subscription::Subscription,
};

/// Calls of a list where it is not said how many.
const LIST: u32 = 32;

/// What sessions have carried.
pub(super) type Known = HashMap<SessionId, SessionStats>;

impl Front {
    pub(super) async fn query(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let tags = [request.text("from-tag"), request.text("to-tag")];
        if let Some(tag) = tags.into_iter().flatten().next()
            && !call.party_of(tag)
            && !call.subscriptions.iter().any(|one| one.tag == tag)
        {
            return Err(Refusal::UnknownTag);
        }
        self.describe(&call).await
    }

    pub(super) fn list(&self, request: &Request) -> Answer {
        let most = request.number("limit", u32::MAX)?.unwrap_or(LIST);
        if most == 0 {
            return Err(Refusal::Other(
                "limit: write how many, 1 and more".to_owned(),
            ));
        }
        let ids = self.calls.ids(usize::try_from(most).unwrap_or(usize::MAX));
        let ids = ids.into_iter().map(Value::Text).collect();
        Ok(dictionary([("calls", Value::List(ids))]))
    }

    /// A call as it is now.
    pub(super) async fn describe(&self, call: &Call) -> Answer {
        let mut known = Known::new();
        for session in call.sessions() {
            match engine::query(&self.media, session).await {
                Ok(stats) => drop(known.insert(session, stats)),
                // It is not there any more; the rest of the call is.
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(described(call, &call.branches, &known))
    }
}

/// A call, with these of its branches.
pub(super) fn described(call: &Call, branches: &[Branch], known: &Known) -> Dictionary {
    let mut totals = Totals::default();
    branches
        .iter()
        .for_each(|branch| totals.add_all(branch.gone));
    known.values().for_each(|stats| totals.add_session(stats));

    let mut tags = Dictionary::new();
    for (caller, party) in call.callers.iter().enumerate() {
        let mut own = branches.iter().filter(|branch| branch.caller == caller);
        let others = own.clone().filter_map(|branch| branch.b.tag.clone());
        let others: Vec<_> = others.collect();
        // The one whose media the caller has had last stands for all of them.
        if let (Some(tag), Some(branch)) = (&party.tag, own.next_back()) {
            let view = View {
                call,
                branch,
                side: Side::A,
                known,
            };
            tags.insert(tag.clone(), view.tag(call.created, &others));
        }
    }
    for branch in branches {
        if let Some(tag) = &branch.b.tag {
            let view = View {
                call,
                branch,
                side: Side::B,
                known,
            };
            let others: Vec<_> = call.callers[branch.caller].tag.iter().cloned().collect();
            tags.insert(tag.clone(), view.tag(branch.created, &others));
        }
    }
    for subscription in &call.subscriptions {
        tags.insert(subscription.tag.clone(), listener(call, subscription));
    }
    dictionary([
        ("created", Value::from_number(seconds(call.created).0)),
        ("created_us", Value::from_number(seconds(call.created).1)),
        (
            "last signal",
            Value::from_number(seconds(call.last_signal).0),
        ),
        ("SSRC", Value::Dictionary(sources(known))),
        ("tags", Value::Dictionary(tags)),
        (
            "totals",
            Value::Dictionary(dictionary([
                ("RTP", stats(totals)),
                ("RTCP", stats(Totals::default())),
            ])),
        ),
    ])
}

/// A party that only hears others.
fn listener(call: &Call, subscription: &Subscription) -> Value {
    let heard = subscription.heard();
    let medias = subscription.sources.iter().enumerate().map(|(at, source)| {
        let streams = vec![
            local_socket(source.local.rtp, "RTP"),
            local_socket(source.local.rtcp, "RTCP"),
        ];
        Value::Dictionary(dictionary([
            ("index", Value::from_number(at + 1)),
            ("type", Value::from_text(&source.kind)),
            ("flags", words(&["initialized", "recv"])),
            ("streams", Value::List(streams)),
        ]))
    });
    let mut told = dictionary([
        ("tag", Value::Text(subscription.tag.clone())),
        ("created", Value::from_number(seconds(call.created).0)),
        ("subscriptions", related(&heard, SUBSCRIBED)),
        ("subscribers", Value::List(Vec::new())),
        ("medias", Value::List(medias.collect())),
    ]);
    if let Some(label) = &subscription.label {
        told.insert(b"label".to_vec(), Value::Text(label.clone()));
    }
    Value::Dictionary(told)
}

fn local_socket(local: SocketAddr, kind: &str) -> Value {
    Value::Dictionary(dictionary([
        ("local address", Value::from_text(local.ip().to_string())),
        ("local port", Value::from_number(local.port())),
        ("family", Value::from_text(family(local))),
        ("flags", words(&[kind])),
    ]))
}

/// How parties are related that one has offered and the other has answered, and who listens and who is heard.
const OFFERED: &str = "offer/answer";
const SUBSCRIBED: &str = "pub/sub";

fn related(tags: &[Vec<u8>], how: &str) -> Value {
    let all = tags.iter().map(|tag| {
        Value::Dictionary(dictionary([
            ("tag", Value::Text(tag.clone())),
            ("type", Value::from_text(how)),
        ]))
    });
    Value::List(all.collect())
}

/// A branch as one of its parties has it.
struct View<'a> {
    call: &'a Call,
    branch: &'a Branch,
    side: Side,
    known: &'a Known,
}

impl View<'_> {
    fn tag(&self, created: SystemTime, others: &[Vec<u8>]) -> Value {
        let party = self.call.party(self.branch, self.side);
        let tag = party.tag.clone().unwrap_or_default();
        let streams = self.branch.streams.iter().enumerate();
        let medias = streams.filter_map(|(at, stream)| Some(self.media(at, stream.as_ref()?)));
        let listeners = self.call.subscriptions.iter();
        let listeners = listeners.filter(|one| one.heard().contains(&tag));
        let listeners: Vec<_> = listeners.map(|one| one.tag.clone()).collect();
        let mut subscribers = related(others, OFFERED);
        if let (Value::List(all), Value::List(more)) =
            (&mut subscribers, related(&listeners, SUBSCRIBED))
        {
            all.extend(more);
        }
        let mut told = dictionary([
            ("tag", Value::Text(tag)),
            ("created", Value::from_number(seconds(created).0)),
            ("subscriptions", related(others, OFFERED)),
            ("subscribers", subscribers),
            ("medias", Value::List(medias.collect())),
        ]);
        // The word of older versions, which scripts still read.
        if let [other] = others {
            told.insert(b"in dialogue with".to_vec(), Value::Text(other.clone()));
        }
        if let Some(label) = &party.label {
            told.insert(b"label".to_vec(), Value::Text(label.clone()));
        }
        if let Some(via) = self.branch.via.as_ref().filter(|_| self.side == Side::B) {
            told.insert(b"via-branch".to_vec(), Value::Text(via.clone()));
        }
        Value::Dictionary(told)
    }

    fn media(&self, at: usize, stream: &Stream) -> Value {
        let remote = stream.remotes[index(self.side)].as_ref();
        let stats = self.known.get(&stream.session.id);
        let flow = stats.map(|stats| match self.side {
            Side::A => &stats.from_a,
            Side::B => &stats.from_b,
        });
        let silent_ms = flow.and_then(|flow| flow.silent_ms);
        let silent_ms = silent_ms
            .or_else(|| stats.map(|stats| stats.silent_ms))
            .unwrap_or(0);
        let local = match self.side {
            Side::A => stream.session.a,
            Side::B => stream.session.b,
        };
        let mut flags = vec!["initialized"];
        if remote.is_some_and(|remote| remote.sends) {
            flags.push("send");
        }
        if remote.is_some_and(|remote| remote.receives) {
            flags.push("recv");
        }
        if remote.is_some_and(|remote| remote.rtcp_mux) {
            flags.push("rtcp-mux");
        }
        flags.extend(self.call.wanted(self.branch)[index(self.side)].words());
        if self.branch.handling[index(self.side)].makes_rtcp {
            flags.push("generate RTCP");
        }
        let last = SystemTime::now() - std::time::Duration::from_millis(silent_ms);
        let rtp = (local.rtp, remote.map(|remote| remote.rtp));
        let rtcp = (local.rtcp, remote.map(|remote| remote.rtcp));
        let mut streams = vec![
            socket(rtp, flow, last, "RTP"),
            // RTCP is not counted by itself.
            socket(rtcp, None, last, "RTCP"),
        ];
        let other = stats.map(|stats| match self.side {
            Side::A => &stats.from_b,
            Side::B => &stats.from_a,
        });
        if let Some(Value::Dictionary(rtp)) = streams.first_mut() {
            let ingress = ssrcs(flow, false);
            rtp.insert(b"ingress SSRCs".to_vec(), ingress);
            let egress = ssrcs(other, true);
            rtp.insert(b"egress SSRCs".to_vec(), egress);
            // Which path the packets take, in the word for the fast one.
            if stats.is_some_and(|stats| matches!(stats.path, Path::Xdp | Path::XdpGeneric))
                && let Some(Value::List(flags)) = rtp.get_mut(b"flags".as_slice())
            {
                flags.push(Value::from_text("kernelized"));
            }
        }
        let mut told = dictionary([
            ("index", Value::from_number(at + 1)),
            ("type", Value::from_text(&stream.kind)),
            ("protocol", Value::from_text(&stream.profile)),
            ("flags", words(&flags)),
            ("streams", Value::List(streams)),
        ]);
        if let Some(remote) = remote.filter(|remote| !remote.format.encoding.is_empty()) {
            let format = &remote.format;
            let codec = format!("{}/{}", format.encoding, format.clock_rate);
            told.insert(b"codec".to_vec(), Value::from_text(codec));
        }
        Value::Dictionary(told)
    }
}

fn socket(
    (local, signalled): (SocketAddr, Option<SocketAddr>),
    flow: Option<&FlowStats>,
    last: SystemTime,
    kind: &str,
) -> Value {
    let learned = flow.and_then(|flow| flow.source);
    let mut totals = Totals::default();
    flow.into_iter().for_each(|flow| totals.add(flow));
    let mut flags = vec![kind];
    if signalled.is_some() {
        flags.push("filled");
    }
    if learned.is_some() {
        flags.push("confirmed");
    }
    let mut told = dictionary([
        ("local address", Value::from_text(local.ip().to_string())),
        ("local port", Value::from_number(local.port())),
        ("family", Value::from_text(family(local))),
        ("flags", words(&flags)),
        ("stats", stats(totals)),
        ("last packet", Value::from_number(seconds(last).0)),
    ]);
    if let Some(endpoint) = learned.or(signalled) {
        told.insert(b"endpoint".to_vec(), place(endpoint));
    }
    if let Some(endpoint) = signalled {
        told.insert(b"advertised endpoint".to_vec(), place(endpoint));
    }
    if let Some(flow) = flow {
        told.insert(b"lost".to_vec(), Value::from_number(flow.lost));
        told.insert(b"jitter_us".to_vec(), Value::from_number(flow.jitter_us));
        if let Some(mos) = flow.mos {
            told.insert(b"MOS".to_vec(), tenths(mos));
        }
        if let Some(ssrc) = flow.ssrc {
            told.insert(b"SSRC".to_vec(), Value::from_number(ssrc));
        }
    }
    Value::Dictionary(told)
}

fn place(address: SocketAddr) -> Value {
    Value::Dictionary(dictionary([
        ("family", Value::from_text(family(address))),
        ("address", Value::from_text(address.ip().to_string())),
        ("port", Value::from_number(address.port())),
    ]))
}

const fn family(address: SocketAddr) -> &'static str {
    match address {
        SocketAddr::V4(_) => "IPv4",
        SocketAddr::V6(_) => "IPv6",
    }
}

fn words(words: &[&str]) -> Value {
    Value::List(words.iter().map(Value::from_text).collect())
}

/// Since 1970, and microseconds beyond.
fn seconds(time: SystemTime) -> (u64, u32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_micros())
}
