//! Parties that only send, to those who subscribe to them.

use control::media::{Family, Handling, Side};
use ng::{Request, Value, description, dictionary, made};
use sip::sdp::Sdp;
use tracing::warn;

use super::{
    Answer, Front, Refusal,
    offer::{BRANCHES, described, family, instead, label, options},
    shown::warn_of,
    subscribe::can_be_overheard,
    treat,
};
use crate::ng::{
    call::{Call, Part, Stream},
    engine,
    remote::remotes,
    wanted::Wanted,
};

impl Front {
    /// Takes what a party describes, and answers with one codec of each stream.
    pub(super) async fn publish(&self, request: &Request) -> Answer {
        let body = described(request)?;
        let sdp = Sdp::parse(&body)?;
        let (id, from) = (request.need("call-id")?, request.need("from-tag")?);
        let begun = self.calls.get_or_begin(id, from).await;
        let mut call = begun.ok_or(Refusal::TooManyCalls)?;
        let is_new = call.branches.is_empty();
        let answer = self.publish_in(&mut call, request, &sdp).await;
        if answer.is_err() && is_new {
            let part = Part::Whole;
            if let Err(error) = self.delete_part(id, &mut call, part, "refused").await {
                warn!(%error, "cannot free what was made of an NG publication that failed");
            }
        }
        answer
    }

    async fn publish_in(&self, call: &mut Call, request: &Request, sdp: &Sdp<'_>) -> Answer {
        let (id, from) = (request.need("call-id")?, request.need("from-tag")?);
        let mut options = options(request, sdp)?;
        let format = treat::format(request)?;
        let remotes = remotes(sdp, instead(&options))?;
        for media in sdp.media() {
            can_be_overheard(media.proto())?;
        }
        let (side, at) = call.offerer(from, None, None);
        if at >= BRANCHES || call.callers.len() > BRANCHES {
            call.branches.truncate(BRANCHES);
            call.callers.truncate(BRANCHES);
            return Err(Refusal::TooManyBranches);
        }
        if side == Side::B
            || !(call.branches[at].is_published || call.branches[at].streams.is_empty())
        {
            let why = "from-tag: there is a party of that tag, which does not only send";
            return Err(Refusal::Other(why.to_owned()));
        }
        call.signal(at);
        if let Some(delay) = options.delete_delay {
            call.delete_delay = delay;
        }
        self.drop_or_echo(call, at, Side::A, &options).await?;
        if let Some(label) = label(request) {
            call.party_at(at, Side::A).label = Some(label);
        }
        let beside = call.sessions().next();
        let filters = call.wanted(&call.branches[at]).map(Wanted::filter);
        let branch = &mut call.branches[at];
        branch.is_published = true;
        branch.excluded |= options.exclude_recording;
        if branch.streams.is_empty() {
            branch.handling = filters.map(|filter| Handling {
                filter,
                ..self.handling()
            });
        }
        let treated = branch.treat(Side::A, &options);
        let media = sdp.media();
        branch.make_room(remotes.len());
        let (mut sections, mut shown, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        // What was recorded goes on in another file.
        let mut recorded = options.record.then_some(format);
        let told: Result<(), Refusal> = async {
            for ((slot, remote), media) in branch.streams.iter_mut().zip(remotes).zip(&media) {
                let accepted = made::Sketch::of_one(media, &options.codecs.accept);
                let sketch = accepted.unwrap_or_else(|| made::Sketch::of(media));
                let Some(remote) = remote.filter(|_| media.is_rtp()) else {
                    gone.extend(slot.take().map(|old| old.session.id));
                    sections.push((sketch, None));
                    shown.push(None);
                    continue;
                };
                let own = Family::of(&remote.rtp);
                let wanted = options.family.map_or(own, family);
                let before = slot.take_if(|old| old.families()[0] != own);
                if let Some(old) = before {
                    gone.push(old.session.id);
                    recorded = recorded.or(old.recorded);
                }
                let session = match slot.as_ref() {
                    Some(stream) => {
                        let pair = [Some(remote.clone()), None];
                        engine::modify(&self.media, stream.session.id, pair, treated.clone())
                            .await?
                    }
                    None => {
                        let (families, pair) = ([own, wanted], [Some(remote.clone()), None]);
                        let handling = branch.handling.clone();
                        engine::create(&self.media, families, pair, handling, true, beside).await?
                    }
                };
                self.calls.enter(session.id, id);
                let address = options.media_address.unwrap_or_else(|| session.a.rtp.ip());
                shown.push(Some(description::Shown {
                    address,
                    rtp: session.a.rtp.port(),
                    rtcp: session.a.rtcp.port(),
                    mux: remote.rtcp_mux && !options.mux.reject,
                }));
                sections.push((sketch.clone(), Some((address, session.a.rtp.port()))));
                let stream = slot.get_or_insert_with(|| Stream::new(session.clone(), media));
                stream.session = session;
                stream.remotes[0] = Some(remote);
                stream.sketches[0] = Some(sketch);
            }
            branch.untold = false;
            Ok(())
        }
        .await;
        self.free_all(call, at, gone).await;
        told?;
        let sections: Vec<_> = sections
            .iter()
            .map(|(sketch, place)| made::Section {
                sketch,
                address: place.map_or([0, 0, 0, 0].into(), |(address, _)| address),
                rtp: place.map_or(0, |(_, port)| port),
                direction: if place.is_some() {
                    "recvonly"
                } else {
                    "inactive"
                },
                label: None,
            })
            .collect();
        let raw = made::make(self.order() >> 1, 1, &sections);
        let made = Sdp::parse(&raw)?;
        options.replace.version = true;
        // The codec was chosen, and stays.
        options.codecs.strip.clear();
        let face = &mut call.party_at(at, Side::A).face;
        let body = description::finish(&made, &raw, &options, &shown, face, None);
        let mut answer = dictionary([("sdp", Value::Text(body))]);
        if let Some(format) = recorded {
            match self.record_branch(&mut call.branches[at], id, format).await {
                Ok(files) => {
                    answer.insert(b"recordings".to_vec(), Value::List(files));
                }
                Err(error) => options.warn(format!("the call is not recorded: {error}")),
            }
        }
        self.follow(call, &mut options).await;
        warn_of(&mut options, &mut answer);
        Ok(answer)
    }
}
