//! Who hears parties of a call beside the others: recorders, supervisors.

use control::media::{Family, Local, Monitor, Side};
use ng::{
    Dictionary, Options, Request, Value, description, dictionary,
    made::{self, Sketch},
    options::removed_media,
};
use sip::sdp::Sdp;

use super::{
    Answer, Front, Refusal,
    filter::{all, named},
    offer::{described, family, options},
    shown::{local, warn_of},
};
use crate::ng::{
    call::{Call, Stream, index},
    engine::{self, EngineError},
    remote::remotes,
    subscription::{Source, Subscription},
};

/// Of a call at most.
const MOST: usize = 64;

/// Whether a copy of a stream of this profile is of use to anybody.
pub(super) fn can_be_overheard(profile: &str) -> Result<(), Refusal> {
    if profile.contains("TLS") {
        let why = "its keys are agreed by DTLS with one peer, and nobody else can decrypt it";
        return Err(Refusal::Other(format!("a stream of {profile}: {why}")));
    }
    Ok(())
}

impl Front {
    /// Offers a new party what others of its call say.
    pub(super) async fn subscribe(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let mut options = ng::options::read(request)?;
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let call = &mut *call;
        let parties = heard(call, request)?;
        let removed = removed_media(request)?;
        let tag = match request.text("to-tag") {
            Some(tag) => tag.to_vec(),
            None => format!("{:016x}", rand::random::<u64>()).into_bytes(),
        };
        if call.party_of(&tag) {
            let why = "to-tag: there is a party of that tag, which is no subscription";
            return Err(Refusal::Other(why.to_owned()));
        }
        let before = self.leave(call, &tag).await?;
        if call.subscriptions.len() >= MOST {
            return Err(Refusal::Other(format!("{MOST} hear this call already")));
        }
        let mut subscription = before.unwrap_or_else(|| Subscription {
            tag,
            label: None,
            number: self.order(),
            face: description::Face::default(),
            interface: None,
            sources: Vec::new(),
            left: Vec::new(),
        });
        let named = request
            .text("set-label")
            .or_else(|| request.text("to-label"));
        if let Some(label) = named {
            subscription.label = Some(label.to_vec());
        }
        subscription.interface = options.interfaces[0].clone();
        let wanted = (&options, removed.as_slice());
        let begun = self.hear(call, &mut subscription, &parties, wanted).await;
        let body = match begun {
            Ok(()) => offered(call, request, &mut subscription, &mut options),
            Err(error) => Err(error),
        };
        let Ok(body) = body else {
            // Nobody knows of what was made.
            self.hear_no_more(&mut subscription).await?;
            return body.map(|_| Dictionary::new());
        };
        let tags = subscription.heard();
        let mut answer = dictionary([
            ("sdp", Value::Text(body)),
            ("to-tag", Value::Text(subscription.tag.clone())),
            ("tag-medias", tag_medias(call, &subscription)),
        ]);
        if let [tag] = tags.as_slice() {
            answer.insert(b"from-tag".to_vec(), Value::Text(tag.clone()));
        }
        let tags = tags.into_iter().map(Value::Text).collect();
        answer.insert(b"from-tags".to_vec(), Value::List(tags));
        warn_of(&mut options, &mut answer);
        call.subscriptions.push(subscription);
        Ok(answer)
    }

    /// Has the engine open ports for what is heard of these parties, but for media of these kinds.
    async fn hear(
        &self,
        call: &Call,
        subscription: &mut Subscription,
        parties: &[(u32, Side)],
        (options, removed): (&Options, &[String]),
    ) -> Result<(), Refusal> {
        for (number, side) in parties {
            let mut branches = call.branches.iter();
            let Some(branch) = branches.find(|branch| branch.number == *number) else {
                continue;
            };
            let tag = call.party(branch, *side).tag.clone().unwrap_or_default();
            for (at, stream) in branch.streams.iter().enumerate() {
                let is_heard =
                    |stream: &&Stream| stream.refused.is_none() && !removed.contains(&stream.kind);
                let Some(stream) = stream.as_ref().filter(is_heard) else {
                    continue;
                };
                // Before its party has said what it speaks there is nothing to offer.
                let Some(sketch) = &stream.sketches[index(*side)] else {
                    continue;
                };
                can_be_overheard(sketch.profile())?;
                let own = sketch.profile();
                let other = options
                    .profile
                    .as_deref()
                    .filter(|wanted| !own.eq_ignore_ascii_case(wanted));
                if let Some(wanted) = other.filter(|_| own.contains("RTP/")) {
                    let why = "mediad changes no profile, and copies SRTP as it is";
                    let refusal =
                        format!("transport-protocol={wanted} for a stream of {own}: {why}");
                    return Err(Refusal::Other(refusal));
                }
                let own = Family::of(&local(&stream.session, *side).rtp);
                let monitor = Monitor {
                    id: stream.session.id,
                    of: *side,
                    number: subscription.number,
                    family: options.family.map_or(own, family),
                    interface: options.interfaces[0].clone(),
                    to: None,
                    types: Vec::new(),
                };
                let local = engine::monitor(&self.media, monitor).await?;
                subscription.sources.push(Source {
                    tag: tag.clone(),
                    session: stream.session.id,
                    side: *side,
                    kind: stream.kind.clone(),
                    index: at,
                    local,
                    gone: false,
                    to: None,
                    answered: None,
                    types: Vec::new(),
                });
            }
        }
        match subscription.sources.is_empty() {
            true => Err(Refusal::Other("the party has no media yet".to_owned())),
            false => Ok(()),
        }
    }

    /// Lets what was offered go to where the answer says.
    pub(super) async fn subscribed(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let tag = request.need("to-tag")?;
        let body = described(request)?;
        let sdp = Sdp::parse(&body)?;
        let mut options = options(request, &sdp)?;
        let remotes = remotes(&sdp, super::offer::instead(&options))?;
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let call = &mut *call;
        let position = call.subscriptions.iter().position(|one| one.tag == tag);
        let position = position.ok_or(Refusal::UnknownToTag)?;
        let mut sources = call.subscriptions[position].sources.clone();
        if remotes.len() > sources.len() {
            return Err(Refusal::MoreStreams);
        }
        let media = sdp.media();
        let is_lenient = request.has_flag("allow-transcoding");
        for ((source, media), remote) in sources.iter_mut().zip(&media).zip(remotes) {
            let answered = Sketch::of(media);
            let sketch = call.sketch(source);
            let accepts = sketch.is_none_or(|sketch| sketch.is_accepted_by(&answered));
            if remote.is_some() && !accepts {
                let why =
                    "the answer leaves out codecs of the party, and mediad does not transcode";
                if !is_lenient {
                    let how = "write the flag 'allow-transcoding' where that is no matter";
                    return Err(Refusal::Other(format!("{why}; {how}")));
                }
                options.warn(why.to_owned());
            }
            let remote = remote.filter(|remote| remote.receives);
            source.to = remote.map(|remote| [remote.rtp, remote.rtcp]);
            source.answered = Some(answered);
            source.types = source.types(call);
            if source.is_misnumbered(call) {
                let why = "the answer numbers formats otherwise than the offer, and mediad has no keys to change SRTP";
                return Err(Refusal::Other(why.to_owned()));
            }
        }
        let subscription = &mut call.subscriptions[position];
        subscription.sources = sources;
        for source in subscription.sources.iter().filter(|source| !source.gone) {
            match self.tell(subscription, source).await {
                // The others are heard all the same.
                Err(error) if !error.is_gone() => return Err(error.into()),
                _ => {}
            }
        }
        let mut answer = Dictionary::new();
        warn_of(&mut options, &mut answer);
        Ok(answer)
    }

    /// Has the engine open ports for a source, or send what it copies there elsewhere or otherwise.
    pub(super) async fn tell(
        &self,
        subscription: &Subscription,
        source: &Source,
    ) -> Result<Local, EngineError> {
        let monitor = Monitor {
            id: source.session,
            of: source.side,
            number: subscription.number,
            family: Family::of(&source.local.rtp),
            interface: subscription.interface.clone(),
            to: source.to,
            types: source.types.clone(),
        };
        engine::monitor(&self.media, monitor).await
    }

    /// Ends what a party hears.
    pub(super) async fn unsubscribe(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let tag = request.need("to-tag")?;
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        match self.leave(&mut call, tag).await? {
            Some(_) => Ok(Dictionary::new()),
            None => Err(Refusal::UnknownToTag),
        }
    }

    /// Takes a subscription out, which hears nothing then; `None` where there is none of this tag.
    pub(super) async fn leave(
        &self,
        call: &mut Call,
        tag: &[u8],
    ) -> Result<Option<Subscription>, Refusal> {
        let Some(at) = call.subscriptions.iter().position(|one| one.tag == tag) else {
            return Ok(None);
        };
        let mut subscription = call.subscriptions.remove(at);
        match self.hear_no_more(&mut subscription).await {
            Ok(()) => Ok(Some(subscription)),
            Err(error) => {
                // Who asks again is heard again.
                call.subscriptions.insert(at, subscription);
                Err(error)
            }
        }
    }

    async fn hear_no_more(&self, subscription: &mut Subscription) -> Result<(), Refusal> {
        let number = subscription.number;
        let sources = subscription.sources.drain(..);
        let left = sources
            .filter(|source| !source.gone)
            .map(|source| source.left_by(number));
        subscription.left.extend(left);
        self.let_go(subscription).await.map_err(Refusal::from)
    }

    /// Tells the engine of all that is to be heard no longer. What it could not be told of stays for another time.
    pub(super) async fn let_go(&self, subscription: &mut Subscription) -> Result<(), EngineError> {
        let mut failed = None;
        for left in std::mem::take(&mut subscription.left) {
            match engine::unmonitor(&self.media, left).await {
                Err(error) if !error.is_gone() => {
                    subscription.left.push(left);
                    failed = failed.or(Some(error));
                }
                _ => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The parties that a request wants to hear, each on one branch: the one where it has been answered last.
fn heard(call: &Call, request: &Request) -> Result<Vec<(u32, Side)>, Refusal> {
    let listed = request.get("from-tags").into_iter().flat_map(Value::texts);
    let flags = request.get("flags").into_iter().flat_map(Value::texts);
    let flags = flags.filter_map(|flag| flag.strip_prefix(b"from-tags-"));
    let tags: Vec<_> = listed.chain(flags).collect();
    let parties = match tags.is_empty() {
        true => {
            let is_named = ["from-tag", "label", "from-label", "address"]
                .into_iter()
                .any(|key| request.text(key).is_some());
            if !is_named && all(request).is_none() {
                let why = "No participant party specified: write from-tag, from-tags, label, address or the flag 'all'";
                return Err(Refusal::Other(why.to_owned()));
            }
            party(call, request)?
        }
        false => {
            let mut found = Vec::new();
            for tag in tags {
                let of = call.parties(|_, _, party| party.is(tag));
                if of.is_empty() {
                    return Err(Refusal::UnknownTag);
                }
                found.extend(of);
            }
            found
        }
    };
    let mut once: Vec<(u32, Side)> = Vec::new();
    let mut seen: Vec<&[u8]> = Vec::new();
    let branch_of = |number: u32| call.branches.iter().find(|branch| branch.number == number);
    // Those that have an answer first, the latest of them first.
    let mut by_age = parties.clone();
    by_age.sort_by_key(|(number, _)| {
        let is_open = branch_of(*number).is_none_or(|branch| branch.b.tag.is_none());
        (is_open, std::cmp::Reverse(*number))
    });
    for (number, side) in by_age {
        let tag = branch_of(number).and_then(|branch| call.party(branch, side).tag.as_deref());
        if let Some(tag) = tag.filter(|tag| !seen.contains(tag)) {
            seen.push(tag);
            once.push((number, side));
        }
    }
    // In the order in which they came into the call, or were asked for.
    once.sort_by_key(|one| parties.iter().position(|party| party == one));
    Ok(once)
}

/// As other commands name parties, but that `to-tag` and `to-label` are the listener's.
fn party(call: &Call, request: &Request) -> Result<Vec<(u32, Side)>, Refusal> {
    named(call, &request.without(&["to-tag", "to-label"]), true)
}

/// The description of what is heard.
fn offered(
    call: &Call,
    request: &Request,
    subscription: &mut Subscription,
    options: &mut Options,
) -> Result<Vec<u8>, Refusal> {
    let is_siprec = request.has_flag("siprec");
    let direction = match request.has_flag("inactive") {
        true => "inactive",
        false => "sendonly",
    };
    let (mut sections, mut shown) = (Vec::new(), Vec::new());
    let sources = &subscription.sources;
    let sketches: Vec<_> = sources.iter().map(|source| call.sketch(source)).collect();
    for (at, (source, sketch)) in sources.iter().zip(&sketches).enumerate() {
        let Some(sketch) = sketch else { continue };
        let address = options
            .media_address
            .unwrap_or_else(|| source.local.rtp.ip());
        sections.push(made::Section {
            sketch,
            address,
            rtp: source.local.rtp.port(),
            direction,
            label: is_siprec.then_some(at + 1),
        });
        shown.push(Some(description::Shown {
            address,
            rtp: source.local.rtp.port(),
            rtcp: source.local.rtcp.port(),
            mux: options.mux.offer || options.mux.require,
        }));
    }
    let raw = made::make(subscription.number >> 1, 1, &sections);
    let sdp = Sdp::parse(&raw)?;
    options.replace.version = true;
    let face = &mut subscription.face;
    Ok(description::finish(&sdp, &raw, options, &shown, face, None))
}

/// Whose each stream is that is heard: what a recorder is told of by SIPREC's metadata.
fn tag_medias(call: &Call, subscription: &Subscription) -> Value {
    let tags = subscription.heard().into_iter().map(|tag| {
        let sources = subscription.sources.iter().enumerate();
        let medias = sources.filter(|(_, source)| source.tag == tag);
        let medias = medias.map(|(at, source)| {
            Value::Dictionary(dictionary([
                ("index", Value::from_number(source.index + 1)),
                ("type", Value::from_text(&source.kind)),
                ("label", Value::from_text((at + 1).to_string())),
                ("mode", Value::from_text("sendonly")),
            ]))
        });
        let medias = Value::List(medias.collect());
        let mut told = dictionary([("tag", Value::Text(tag.clone())), ("medias", medias)]);
        if let Some(label) = call.label_of(&tag) {
            told.insert(b"label".to_vec(), Value::from_text(label));
        }
        Value::Dictionary(told)
    });
    Value::List(tags.collect())
}
