//! A core with everything around it played: time, parties, mediad, the resolver.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::{
    Config, Fault, FaultCode,
    channel::{Events, RequestError},
    config::Transport,
    media::{
        self, Create, Family, FlowStats, Local as Leg, Path, SessionId, SessionInfo, SessionStats,
    },
    signal,
};
use sip::{
    dialog::Dialog,
    digest::{Ha1, Hash, NonceSecret},
    header::HeaderName,
    message::{Message, Method},
    transaction::TransactionId,
};
use store::{CallEvent, Cdr, Timestamp};

use crate::{
    accounts::Access,
    call::{Authority, Core, Hop, Kept, MediaToken, Output, Policy, ResolveToken, WebhookToken},
    defence::Standing,
    directory::{Aor, Directory},
    metrics::Metrics,
    net::{ConnectionId, Flow, Local, Names},
    rows::Row,
};

pub(super) const NODE: &str = "192.0.2.1:5060";
pub(super) const NODE6: &str = "[2001:db8::1]:5060";
/// Where the node listens for TLS and for browsers.
pub(super) const SECURE: &str = "192.0.2.1:5061";
pub(super) const BROWSERS: &str = "192.0.2.1:443";
pub(super) const CALLER: &str = "192.0.2.10:5060";
pub(super) const CALLEE: &str = "192.0.2.20:5060";
pub(super) const SECOND: &str = "192.0.2.21:5060";
pub(super) const CALLEE6: &str = "[2001:db8::20]:5060";
pub(super) const STRANGER: &str = "203.0.113.66:5060";

pub(super) const CONFIG: &str = r#"
[sip]
domains = ["node.test", "two.test"]
[sip.auth]
algorithms = ["MD5", "SHA-256"]
[media]
address = "198.51.100.1,2001:db8:ffff::1"
timeout = 60
[[trunks]]
name = "pbx"
hosts = ["192.0.2.10"]
allow = ["192.0.2.10/32"]
[[trunks]]
name = "carrier"
hosts = ["192.0.2.20", "192.0.2.21"]
allow = ["192.0.2.20/31"]
[[trunks]]
name = "named"
hosts = ["gw.carrier.test"]
[[trunks]]
name = "six"
hosts = ["[2001:db8::20]", "192.0.2.20"]
[[trunks]]
name = "tcp"
hosts = ["tcp:192.0.2.20"]
[[trunks]]
name = "tls"
hosts = ["tls:gw.secure.test"]
certificates = ["pbx.secure.test"]
[[trunks]]
name = "challenging"
hosts = ["192.0.2.20"]
auth = { user = "u", password = "secret", realm = "carrier.test" }
[[trunks]]
name = "upstream"
hosts = ["192.0.2.30"]
allow = ["192.0.2.30"]
auth = { user = "u", password = "secret", realm = "carrier.test" }
[[trunks]]
name = "shown"
hosts = ["192.0.2.20"]
caller_id = "+15550000"
[[accounts]]
sid = "AC00000000000000000000000000000000"
token = "0123456789abcdef"
[[numbers]]
number = "+55"
account = "AC00000000000000000000000000000000"
voice_url = "http://app.test/voice"
status_callback = "http://app.test/status"
message_url = "http://app.test/sms"
message_fallback_url = "http://app.test/sorry"
[[numbers]]
number = "+56"
account = "AC00000000000000000000000000000000"
voice_url = "http://app.test/voice"
[[routes]]
prefix = "+4"
trunks = ["shown"]
[[routes]]
prefix = "+9"
trunks = ["challenging"]
ring_timeout = 30
[[routes]]
prefix = "+8"
trunks = ["tls"]
media = "bypass"
[[routes]]
prefix = "+1"
trunks = ["carrier"]
media = "bypass"
ring_timeout = 30
[[routes]]
prefix = "+2"
trunks = ["carrier"]
ring_timeout = 30
[[routes]]
prefix = "+3"
trunks = ["named"]
media = "bypass"
[[routes]]
prefix = "+6"
trunks = ["six"]
[[routes]]
prefix = "+7"
trunks = ["tcp"]
media = "bypass"
"#;

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The password of every user.
pub(super) const PASSWORD: &str = "correct horse";

/// A user as the store has it.
pub(super) fn user(name: &str, domain: &str, password: &str) -> store::User {
    let ha1 = |hash| Some(Ha1::new(hash, name, domain, password).expose().to_owned());
    store::User {
        domain: domain.to_owned(),
        name: name.to_owned(),
        ha1_md5: ha1(Hash::Md5),
        ha1_sha256: ha1(Hash::Sha256),
        ha1_sha512: None,
        display: None,
        enabled: true,
        profile: "{}".to_owned(),
        created: Timestamp::from_millis(0),
        updated: Timestamp::from_millis(0),
    }
}

/// What left the core.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) flow: Flow,
    pub(super) message: Message,
    pub(super) transaction: Option<TransactionId>,
}

pub(super) struct Bed {
    policy: Arc<Policy>,
    pub(super) access: Arc<Access>,
    /// What the store has, and whether it can be asked.
    pub(super) users: HashMap<Aor, store::User>,
    pub(super) store_up: bool,
    /// Questions about users wait while it does.
    pub(super) store_holds: bool,
    pub(super) questions: VecDeque<Aor>,
    pub(super) core: Core,
    pub(super) metrics: Arc<Metrics>,
    pub(super) now: Instant,
    pub(super) sent: VecDeque<Sent>,
    pub(super) mediad: Mediad,
    pub(super) cdrs: Vec<Cdr>,
    #[cfg(feature = "otel")]
    pub(super) traced: Vec<super::super::TracedCall>,
    /// What is kept with them.
    pub(super) history: Vec<CallEvent>,
    pub(super) recordings: Vec<store::Recording>,
    /// Messages that are kept: two at most.
    pub(super) kept: Vec<store::Message>,
    /// To whom the core is delivering them.
    busy: HashSet<Aor>,
    pub(super) events: Vec<signal::Event>,
    /// What operators were told of their orders.
    pub(super) obeyed: Vec<Result<signal::CallInfo, Fault>>,
    pub(super) names: HashMap<String, Vec<SocketAddr>>,
    /// Questions about names wait while it does.
    pub(super) resolver_holds: bool,
    unresolved: VecDeque<(ResolveToken, Authority)>,
    /// What webhooks were asked and have not answered, and those that nobody waits for any more.
    pub(super) webhooks: VecDeque<(WebhookToken, voice::call::Request)>,
    /// What the REST API was told of calls, and of their streams and recordings.
    pub(super) rows: Vec<store::VoiceCallRow>,
    pub(super) streams: Vec<store::VoiceStreamRow>,
    pub(super) recorded: Vec<store::VoiceRecordingRow>,
    /// The same of messages.
    pub(super) texts: Vec<store::VoiceMessageRow>,
    pub(super) cancelled: Vec<WebhookToken>,
}

/// A mediad that is played.
#[derive(Default)]
pub(super) struct Mediad {
    pub(super) sessions: BTreeMap<[u8; 16], (Create, SessionInfo)>,
    pub(super) asked: Vec<media::Request>,
    /// Answers wait here while `holds`.
    pub(super) held: VecDeque<(MediaToken, Result<media::Response, RequestError>)>,
    pub(super) holds: bool,
    pub(super) fails: bool,
    /// Orders of programmable voice that get no answer, from now on.
    pub(super) unheard: u32,
    pub(super) silent_ms: u64,
    /// How often it was asked how calls sound.
    pub(super) surveys: u64,
    /// The files of sessions that are recorded.
    pub(super) recorded: BTreeMap<[u8; 16], String>,
    /// What was to be done in sessions of programmable voice.
    pub(super) orders: Vec<media::VoiceOrder>,
    files: u32,
    next_port: u16,
}

impl Bed {
    pub(super) fn new() -> Self {
        let config = Config::parse(CONFIG, []).unwrap().config;
        let local = |transport, address: &str| Local {
            transport,
            address: at(address),
            sent_by: address.to_owned(),
        };
        let locals = vec![
            local(Transport::Udp, NODE),
            local(Transport::Udp, NODE6),
            local(Transport::Tcp, NODE),
            local(Transport::Tls, SECURE),
            local(Transport::Wss, BROWSERS),
        ];
        let policy = Arc::new(Policy::new(&config, locals, 7));
        // Those that tests write of, until they close one.
        (1..100).for_each(|id| policy.open.add(ConnectionId(id)));
        let directory = Arc::new(Directory::new(&config, None));
        let metrics = Arc::new(Metrics::new().unwrap());
        let now = Instant::now();
        let clock = (now, Timestamp::from_millis(1_700_000_000_000));
        let secret = NonceSecret([5; 32]);
        let access = Arc::new(Access::new(&config, secret, 1_700_000_000, Events::new()));
        let core = Core::new(
            policy.clone(),
            directory,
            access.clone(),
            metrics.clone(),
            11,
            *b"mark\0\0\0\0",
            clock,
        );
        let users = [
            ("alice", "node.test"),
            ("bob", "node.test"),
            ("alice", "two.test"),
        ];
        let users = users.map(|(name, domain)| {
            let user = user(name, domain, PASSWORD);
            (Aor::new(name, domain), user)
        });
        Self {
            policy,
            access,
            users: users.into(),
            store_up: true,
            store_holds: false,
            questions: VecDeque::new(),
            core,
            metrics,
            now,
            sent: VecDeque::new(),
            mediad: Mediad {
                next_port: 20_000,
                ..Mediad::default()
            },
            cdrs: Vec::new(),
            #[cfg(feature = "otel")]
            traced: Vec::new(),
            history: Vec::new(),
            recordings: Vec::new(),
            kept: Vec::new(),
            busy: HashSet::new(),
            events: Vec::new(),
            obeyed: Vec::new(),
            names: HashMap::new(),
            resolver_holds: false,
            unresolved: VecDeque::new(),
            webhooks: VecDeque::new(),
            rows: Vec::new(),
            streams: Vec::new(),
            recorded: Vec::new(),
            texts: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    /// Hands a datagram to the core, and does what it wants.
    pub(super) fn receive(&mut self, from: &str, bytes: impl Into<Bytes>) {
        let from = at(from);
        let local = at(if from.is_ipv4() { NODE } else { NODE6 });
        let flow = Flow::to(Transport::Udp, local, from);
        self.core.handle_datagram(self.now, flow, bytes.into());
        self.settle();
    }

    pub(super) fn receive_message(&mut self, from: &str, message: &Message) {
        self.receive(from, message.as_bytes().clone());
    }

    /// Does what the core wants until it wants nothing.
    pub(super) fn settle(&mut self) {
        loop {
            let Some(output) = self.core.poll_output() else {
                return;
            };
            match output {
                Output::Transmit {
                    flow,
                    payload,
                    transaction,
                } => {
                    let message = Message::parse(payload).unwrap();
                    self.sent.push_back(Sent {
                        flow,
                        message,
                        transaction,
                    });
                }
                Output::Media { token, request } => {
                    self.mediad.asked.push(request.clone());
                    let answer = self.mediad.answer(request);
                    if self.mediad.holds {
                        self.mediad.held.push_back((token, answer));
                    } else {
                        self.core.handle_media(self.now, token, answer);
                    }
                }
                Output::Resolve { token, authority } if self.resolver_holds => {
                    self.unresolved.push_back((token, authority));
                }
                Output::Resolve { token, authority } => self.resolve(token, &authority),
                Output::Account { aor } => {
                    self.questions.push_back(aor);
                    if !self.store_holds {
                        self.answer_questions();
                    }
                }
                Output::Webhook { token, request, .. } => {
                    self.webhooks.push_back((token, *request));
                }
                Output::CancelWebhook(token) => {
                    self.webhooks.retain(|(known, _)| *known != token);
                    self.cancelled.push(token);
                }
                Output::VoiceRow(row) => match *row {
                    Row::Call(row) => self.rows.push(row),
                    Row::Stream(row) => self.streams.push(row),
                    Row::Recording { row, file } => {
                        self.recordings.extend(file.map(|file| *file));
                        self.recorded.push(row);
                    }
                    Row::File(file) => self.recordings.push(*file),
                    Row::Message(row) => self.texts.push(row),
                },
                Output::Event(event) => self.events.push(event),
                Output::Obeyed { outcome, .. } => self.obeyed.push(outcome),
                #[cfg(feature = "otel")]
                Output::Traced(call) => self.traced.push(*call),
                Output::Cdr(record) => {
                    self.cdrs.push(record.cdr);
                    self.history.extend(record.events);
                    self.recordings.extend(record.recordings);
                }
                Output::Keep { token, message } => {
                    let full = self.kept.len() >= 2;
                    if !full {
                        self.kept.push(*message);
                    }
                    let kept = if full { Kept::Full } else { Kept::Yes };
                    self.core.handle_kept(self.now, token, kept);
                }
                Output::Collect { aor } => {
                    let is_for = |message: &&store::Message| message.recipient == aor.as_str();
                    let found: Vec<_> = self.kept.iter().filter(is_for).cloned().collect();
                    if !found.is_empty() && self.busy.insert(aor.clone()) {
                        self.core.handle_collected(self.now, &aor, found);
                    }
                }
                Output::Forget { aor, id } => {
                    assert!(self.busy.contains(&aor));
                    self.kept.retain(|message| message.id != id);
                }
                Output::Settled { aor } => assert!(self.busy.remove(&aor)),
            }
        }
    }

    fn resolve(&mut self, token: ResolveToken, authority: &Authority) {
        let found = self.names.get(&authority.host).cloned().unwrap_or_else(|| {
            let ip = authority.host.parse();
            ip.map_or(Vec::new(), |ip| {
                vec![SocketAddr::new(ip, authority.port.unwrap_or(5060))]
            })
        });
        let hops: Vec<_> = found
            .into_iter()
            .map(|remote| Hop {
                transport: authority.transport.unwrap_or(Transport::Udp),
                remote,
                source: None,
            })
            .collect();
        self.core.handle_resolved(self.now, token, &hops);
    }

    /// Answers what was asked about names.
    pub(super) fn resolve_all(&mut self) {
        self.resolver_holds = false;
        while let Some((token, authority)) = self.unresolved.pop_front() {
            self.resolve(token, &authority);
            self.settle();
        }
    }

    /// An operator drains a trunk, or lets it have calls again.
    pub(super) fn drain_trunk(&mut self, name: &str, on: bool) {
        let trunks = self.core.directory.trunks();
        let trunk = trunks.iter().find(|trunk| trunk.name == name).unwrap();
        assert!(trunk.standing.set_drained(on));
    }

    /// Answers what was asked about users.
    pub(super) fn answer_questions(&mut self) {
        while let Some(aor) = self.questions.pop_front() {
            let cache = &self.access.accounts;
            let answer = match self.users.get(&aor) {
                _ if !self.store_up => cache.recall(&aor),
                Some(user) => cache.learn(self.now, user.clone().into()),
                None => cache.learn_absent(self.now, &aor),
            };
            self.core.handle_account(self.now, &aor, &answer);
            self.settle();
        }
    }

    /// Lets mediad give the answers that it held back.
    pub(super) fn release(&mut self) {
        self.mediad.holds = false;
        while let Some((token, answer)) = self.mediad.held.pop_front() {
            self.core.handle_media(self.now, token, answer);
            self.settle();
        }
    }

    /// Lets time pass, with every timer in its place.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    /// The names that flows to TLS hosts carry.
    pub(super) fn names_of_hosts(&self) -> &Names {
        &self.policy.names
    }

    /// The peer of a connection has shown a certificate for `name`.
    pub(super) fn certify(&self, connection: ConnectionId, name: &str) {
        let names = vec![name.to_ascii_lowercase()];
        self.policy.certified.set(connection, names);
    }

    /// A connection is closed, and the core told so.
    pub(super) fn close(&mut self, flow: &Flow) {
        self.policy.open.remove(flow.connection.unwrap());
        self.core.handle_closed(self.now, flow);
        self.settle();
    }

    /// Whether an address is banned.
    pub(super) fn is_banned(&self, address: &str) -> bool {
        let defence = &self.policy.defence;
        defence.is_banned(self.now, at(address).ip(), Transport::Udp)
    }

    /// Who an address is to the defence.
    pub(super) fn standing(&self, address: &str) -> Standing {
        self.policy.defence.standing(self.now, at(address).ip())
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// The next message to `to`; what was sent elsewhere stays.
    pub(super) fn next(&mut self, to: &str) -> Sent {
        let to = at(to);
        let index = self.sent.iter().position(|sent| sent.flow.reply_to == to);
        let Some(index) = index else {
            panic!("nothing was sent to {to}: {:?}", self.sent);
        };
        self.sent.remove(index).unwrap()
    }

    /// The next request of this method to `to`.
    pub(super) fn request(&mut self, to: &str, method: &Method) -> Message {
        let sent = self.next(to);
        assert_eq!(sent.message.method(), Some(method), "{:?}", sent.message);
        sent.message
    }

    /// The next response to `to`, with this status.
    pub(super) fn response(&mut self, to: &str, status: u16) -> Message {
        let sent = self.next(to);
        assert_eq!(sent.message.status(), Some(status), "{:?}", sent.message);
        sent.message
    }

    pub(super) fn assert_quiet(&self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    /// Forgets what was sent, and lets every transaction end.
    pub(super) fn drain(&mut self) {
        self.pass(Duration::from_secs(200));
        self.sent.clear();
    }

    /// Nothing is left of any call, here or in mediad.
    pub(super) fn assert_empty(&mut self) {
        self.drain();
        assert!(self.core.is_empty(), "{:#?}", self.core);
        assert!(self.busy.is_empty(), "{:?}", self.busy);
        assert!(
            self.mediad.sessions.is_empty(),
            "{:?}",
            self.mediad.sessions
        );
        assert_eq!(self.metrics.calls_active.get(), 0);
        assert_eq!(self.metrics.transactions.get(), 0);
        assert_eq!(self.metrics.voice_queued.get(), 0);
        assert_eq!(self.metrics.media_sessions.get(), 0);
    }

    pub(super) fn cdr(&self) -> &Cdr {
        assert_eq!(self.cdrs.len(), 1, "{:?}", self.cdrs);
        &self.cdrs[0]
    }

    /// The requests that mediad got, as words.
    pub(super) fn asked(&mut self) -> Vec<&'static str> {
        let word = |request: media::Request| match request {
            media::Request::Create(_) => "create",
            media::Request::Modify(_) => "modify",
            media::Request::Delete(_) => "delete",
            media::Request::Query(_) => "query",
            media::Request::Mute(_) => "mute",
            media::Request::Dtmf(_) => "dtmf",
            media::Request::Record(_) => "record",
            media::Request::Survey(_) => "survey",
            media::Request::Voice(_) => "voice",
            _ => "other",
        };
        self.mediad.asked.drain(..).map(word).collect()
    }
}

/// As mediad has it: a leg is of the family that it was made for.
fn foreign(leg: &media::Leg, remote: Option<&media::Remote>) -> bool {
    remote.is_some_and(|remote| Family::of(&remote.rtp) != leg.family)
}

impl Mediad {
    fn answer(&mut self, request: media::Request) -> Result<media::Response, RequestError> {
        let missing = || Fault::new(FaultCode::NotFound, "there is no such session").into();
        match request {
            media::Request::Create(_) if self.fails => {
                Err(Fault::new(FaultCode::Exhausted, "no port is free").into())
            }
            media::Request::Create(create)
                if foreign(&create.a, create.a.remote.as_ref())
                    || foreign(&create.b, create.b.remote.as_ref()) =>
            {
                Err(Fault::new(FaultCode::Invalid, "not of that family").into())
            }
            media::Request::Create(create) => {
                let (a, b) = (self.leg(&create.a), self.leg(&create.b));
                let info = SessionInfo {
                    id: create.id,
                    a,
                    b,
                };
                let key = create.id.0;
                let muted = (create.a.muted, create.b.muted);
                let entry = self.sessions.entry(key).or_insert((create, info));
                (entry.0.a.muted, entry.0.b.muted) = muted;
                Ok(media::Response::Session(entry.1.clone()))
            }
            media::Request::Modify(modify) => match self.sessions.get_mut(&modify.id.0) {
                Some((create, _))
                    if foreign(&create.a, modify.a.as_ref())
                        || foreign(&create.b, modify.b.as_ref()) =>
                {
                    Err(Fault::new(FaultCode::Invalid, "not of that family").into())
                }
                Some((create, info)) => {
                    create.a.remote = modify.a.or_else(|| create.a.remote.take());
                    create.b.remote = modify.b.or_else(|| create.b.remote.take());
                    Ok(media::Response::Session(info.clone()))
                }
                None => Err(missing()),
            },
            media::Request::Mute(_) if self.fails => {
                Err(Fault::new(FaultCode::Unavailable, "stopping").into())
            }
            media::Request::Mute(mute) => match self.sessions.get_mut(&mute.id.0) {
                Some((create, info)) => {
                    (create.a.muted, create.b.muted) = (mute.a, mute.b);
                    Ok(media::Response::Session(info.clone()))
                }
                None => Err(missing()),
            },
            media::Request::Delete(id) => match self.sessions.remove(&id.0) {
                Some(_) => Ok(media::Response::Stats(self.stats(id))),
                None => Ok(media::Response::Gone),
            },
            media::Request::Query(id) => match self.sessions.contains_key(&id.0) {
                true => Ok(media::Response::Stats(self.stats(id))),
                false => Err(missing()),
            },
            media::Request::Record(record) => match self.sessions.contains_key(&record.id.0) {
                true => {
                    let file = record.name.map(|name| {
                        let number = &mut self.files;
                        let known = self.recorded.entry(record.id.0);
                        known
                            .or_insert_with(|| {
                                *number += 1;
                                format!("/recordings/{name}-{number}.wav")
                            })
                            .clone()
                    });
                    if file.is_none() {
                        self.recorded.remove(&record.id.0);
                    }
                    Ok(media::Response::Recording(file))
                }
                false => Err(missing()),
            },
            media::Request::Dtmf(dtmf) => match self.sessions.get(&dtmf.id.0) {
                Some((create, info)) => {
                    let (a, b) = (&create.a, &create.b);
                    let hearer = if dtmf.hears == media::Side::A { a } else { b };
                    let events = hearer.remote.as_ref().and_then(|remote| remote.events);
                    match events {
                        Some(_) => Ok(media::Response::Session(info.clone())),
                        None => Err(Fault::new(FaultCode::Conflict, "no telephone-event").into()),
                    }
                }
                None => Err(missing()),
            },
            media::Request::Voice(_) if self.unheard > 0 => {
                self.unheard -= 1;
                Err(RequestError::Timeout)
            }
            media::Request::Voice(voice) => match self.sessions.get(&voice.id.0) {
                Some((_, info)) => {
                    self.orders.extend(voice.orders);
                    Ok(media::Response::Session(info.clone()))
                }
                None => Err(missing()),
            },
            media::Request::Survey(ids) => {
                self.surveys += 1;
                let here = ids.iter().filter(|id| self.sessions.contains_key(&id.0));
                let flow = |packets| media::FlowSample {
                    packets,
                    lost: 1,
                    jitter_us: 1500,
                    mos: Some(4.0),
                };
                let surveyed = here.map(|id| media::Surveyed {
                    id: *id,
                    from_a: flow(500 * self.surveys),
                    from_b: flow(400 * self.surveys),
                });
                Ok(media::Response::Survey(surveyed.collect()))
            }
            other => panic!("{other:?}"),
        }
    }

    fn leg(&mut self, leg: &media::Leg) -> Leg {
        let ip = match leg.family {
            Family::V4 => "198.51.100.1",
            Family::V6 => "2001:db8:ffff::1",
        };
        let port = leg.port.unwrap_or(self.next_port);
        self.next_port = self.next_port.wrapping_add(2);
        let address = |port| SocketAddr::new(ip.parse().unwrap(), port);
        Leg {
            rtp: address(port),
            rtcp: address(port + 1),
        }
    }

    fn stats(&self, id: SessionId) -> SessionStats {
        let flow = |packets| FlowStats {
            packets,
            bytes: packets * 172,
            forwarded: packets,
            lost: 3,
            jitter_us: 1500,
            mos: Some(4.4),
            ..FlowStats::default()
        };
        SessionStats {
            id,
            from_a: flow(1000),
            from_b: flow(900),
            path: Path::Xdp,
            silent_ms: self.silent_ms,
        }
    }

    /// The only session's description.
    pub(super) fn only(&self) -> &Create {
        assert_eq!(self.sessions.len(), 1, "{:?}", self.sessions);
        &self.sessions.values().next().unwrap().0
    }
}

/// SDP with one audio stream, or more for more ports.
pub(super) fn sdp(address: &str, ports: &[u16], direction: &str) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    let mut text = format!(
        "v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
    );
    for port in ports {
        text.push_str(&format!("m=audio {port} RTP/AVP 8\r\na={direction}\r\n"));
    }
    text
}

/// A caller, or a callee, and what it needs to speak within the dialog.
pub(super) struct Party {
    pub(super) dialog: Dialog,
    address: &'static str,
    count: u32,
}

/// An INVITE from the caller to a number.
pub(super) fn invite(number: &str, id: &str, body: &str) -> Message {
    let content = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let text = format!(
        "INVITE sip:{number}@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"A\" <sip:alice@pbx.test>;tag=a{id}\r\n\
         To: <sip:{number}@node.test>\r\nCall-ID: {id}@pbx.test\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@{CALLER}>\r\nX-Custom: kept\r\n{content}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Message::parse(text.into()).unwrap()
}

/// A response of the callee to a request that it got.
pub(super) fn answer(request: &Message, status: u16, contact: &str, body: &str) -> Message {
    let mut response = request.respond(status).to_tag("callee");
    response = response.header(HeaderName::Contact, format!("<sip:bob@{contact}>"));
    if !body.is_empty() {
        response = response.body("application/sdp", body.to_owned());
    }
    response.build().unwrap()
}

impl Party {
    pub(super) fn caller(invite: &Message, response: &Message) -> Self {
        Self {
            dialog: Dialog::uac(invite, response).unwrap(),
            address: CALLER,
            count: 0,
        }
    }

    pub(super) fn callee(invite: &Message, address: &'static str) -> Self {
        Self {
            dialog: Dialog::uas(invite, "callee").unwrap(),
            address,
            count: 0,
        }
    }

    fn via(&mut self) -> String {
        self.count += 1;
        let (tag, peer) = (self.dialog.local_tag(), self.dialog.remote_tag());
        format!(
            "SIP/2.0/UDP {};branch=z9hG4bK{tag}{peer}{};rport",
            self.address, self.count
        )
    }

    pub(super) fn ack(&mut self, body: &str) -> Message {
        let via = self.via();
        let ack = self.dialog.ack(&via);
        let ack = if body.is_empty() {
            ack
        } else {
            ack.body("application/sdp", body.to_owned())
        };
        ack.build().unwrap()
    }

    pub(super) fn send(&mut self, method: &Method, body: &str) -> Message {
        let via = self.via();
        let mut request = self.dialog.request(method, &via);
        if matches!(method, Method::Invite | Method::Update) {
            request = request.header(HeaderName::Contact, format!("<sip:me@{}>", self.address));
        }
        if !body.is_empty() {
            request = request.body("application/sdp", body.to_owned());
        }
        request.build().unwrap()
    }
}

/// A call that is up, and its parties.
pub(super) struct Up {
    pub(super) caller: Party,
    pub(super) callee: Party,
}

/// Sets a call up to `number` (of a route to the carrier): INVITE, 180, 200, ACK.
pub(super) fn call(bed: &mut Bed, number: &str, id: &str) -> Up {
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    let answered = sdp("192.0.2.20", &[5000], "sendrecv");
    call_with(bed, number, id, &offer, &answered)
}

/// The same, with what both say of their media.
pub(super) fn call_with(bed: &mut Bed, number: &str, id: &str, offer: &str, answered: &str) -> Up {
    let request = invite(number, id, offer);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    let ok = answer(&forwarded, 200, CALLEE, answered);
    bed.receive_message(CALLEE, &ok);
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    let callee = Party::callee(&forwarded, CALLEE);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.assert_quiet();
    Up { caller, callee }
}

/// The caller hangs up, and the callee agrees.
pub(super) fn hang_up(bed: &mut Bed, up: &mut Up) {
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_quiet();
}

/// The body as text.
pub(super) fn body(message: &Message) -> String {
    String::from_utf8(message.body().to_vec()).unwrap()
}

/// The CANCEL of an INVITE.
pub(super) fn cancel_of(invite: &Message) -> String {
    let text = String::from_utf8(invite.as_bytes().to_vec()).unwrap();
    let head = text.split("\r\n\r\n").next().unwrap();
    let lines = head
        .split("\r\n")
        .filter(|line| !line.starts_with("Content-"));
    let text: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("{text}Content-Length: 0\r\n\r\n").replace("INVITE", "CANCEL")
}

/// What is kept of something that happened to a call.
pub(super) fn data(event: &CallEvent) -> serde_json::Value {
    serde_json::from_str(&event.data).unwrap()
}
