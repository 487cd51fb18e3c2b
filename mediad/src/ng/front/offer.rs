//! Offers and answers.

use std::{borrow::Cow, net::IpAddr, time::Instant};

use control::media::{Family, Handling, Remote, Side};
use ng::{Dictionary, Options, Request, Value, description, dictionary, made::Sketch, options};
use sip::sdp::Sdp;
use tracing::warn;

use super::{Answer, Front, Refusal, shown::local, treat};
use crate::ng::{
    call::{Call, Offer, Part, Stream, Totals, index},
    engine,
    formats::{self, Formats},
    remote::{OTHER_FAMILY, muxing, muxing_where, of_its_leg, remotes, unmuxed},
    wanted::Wanted,
};

impl Front {
    pub(super) async fn offer(&self, request: &Request) -> Answer {
        let body = described(request)?;
        let sdp = Sdp::parse(&body)?;
        let (id, from) = (request.need("call-id")?, request.need("from-tag")?);
        let options = options(request, &sdp)?;
        if let Some(answer) = self.looped(&body, &sdp, &options) {
            return Ok(answer);
        }
        let remotes = remotes(&sdp, instead(&options))?;

        let begun = self.calls.get_or_begin(id, from).await;
        let mut call = begun.ok_or(Refusal::TooManyCalls)?;
        let is_new = call.branches.is_empty();
        let answer = self
            .offer_in(&mut call, request, &sdp, options, remotes)
            .await;
        // Of a call that never was nothing stays, whatever of it was made.
        if answer.is_err() && is_new {
            let part = Part::Whole;
            if let Err(error) = self.delete_part(id, &mut call, part, "refused").await {
                warn!(%error, "cannot free what was made of an NG offer that failed");
            }
        }
        answer
    }

    async fn offer_in(
        &self,
        call: &mut Call,
        request: &Request,
        sdp: &Sdp<'_>,
        mut options: Options,
        remotes: Vec<Option<Remote>>,
    ) -> Answer {
        let (id, from) = (request.need("call-id")?, request.need("from-tag")?);
        let via = request.text("via-branch");
        let format = treat::format(request)?;
        if let Some(delay) = options.delete_delay {
            call.delete_delay = delay;
        }
        let (side, at) = call.offerer(from, request.text("to-tag"), via);
        if at >= BRANCHES || call.callers.len() > BRANCHES {
            call.branches.truncate(BRANCHES);
            call.callers.truncate(BRANCHES);
            return Err(Refusal::TooManyBranches);
        }
        if call.branches[at].is_published {
            let why = "from-tag: the party of that tag only sends, to those who subscribe to it";
            return Err(Refusal::Other(why.to_owned()));
        }
        call.signal(at);
        self.drop_or_echo(call, at, side, &options).await?;
        let beside = call.sessions().next();
        let filters = call.wanted(&call.branches[at]).map(Wanted::filter);
        let branch = &mut call.branches[at];
        branch.offer = Offer {
            by: side,
            mux: options.mux,
            record: options.record.then_some(format),
        };
        if branch.streams.is_empty() {
            branch.handling = filters.map(|filter| Handling {
                filter,
                ..self.handling()
            });
        }
        branch.excluded |= options.exclude_recording;
        let treated = branch.treat(side, &options);
        let media = sdp.media();
        let mut gone = Vec::new();
        branch.make_room(remotes.len());
        let told: Result<(), Refusal> = async {
            for ((slot, remote), media) in branch.streams.iter_mut().zip(remotes).zip(&media) {
                let Some(remote) = remote else {
                    // What nobody wanted and is not offered again is gone. What flows may go on: the offer may fail.
                    if let Some(old) = slot.take_if(|stream| stream.refused.is_some()) {
                        gone.push(old.session.id);
                    }
                    if let Some(stream) = slot {
                        stream.offered = None;
                    }
                    continue;
                };
                let own = Family::of(&remote.rtp);
                let other = match (options.family, &*slot) {
                    (Some(wanted), _) => family(wanted),
                    (None, Some(stream)) => Family::of(&local(&stream.session, side.other()).rtp),
                    (None, None) => own,
                };
                let families = ordered(side, [own, other]);
                let session = match slot.as_mut().filter(|stream| stream.families() == families) {
                    Some(stream) => {
                        if stream.refused.is_some() {
                            engine::mute(&self.media, stream.session.id, [false; 2]).await?;
                            stream.refused = None;
                        }
                        let pair = pair(side, remote.clone());
                        engine::modify(&self.media, stream.session.id, pair, treated.clone())
                            .await?
                    }
                    // A leg has one family: who comes with another one has a new session.
                    None => {
                        let before = slot.as_mut();
                        let other_was =
                            before.and_then(|stream| stream.remotes[index(side.other())].take());
                        let known = other_was.filter(|known| Family::of(&known.rtp) == other);
                        let both = ordered(side, [Some(remote.clone()), known]);
                        let handling = branch.handling.clone();
                        engine::create(&self.media, families, both, handling, false, beside).await?
                    }
                };
                self.calls.enter(session.id, id);
                if let Some(stream) = slot.as_mut().filter(|old| old.session.id != session.id) {
                    gone.push(stream.session.id);
                    stream.refused = None;
                    // What was recorded goes on in another file, with the answer.
                    let before = stream.recorded.take();
                    branch.offer.record = branch.offer.record.or(before);
                }
                let stream = slot.get_or_insert_with(|| Stream::new(session.clone(), media));
                stream.session = session;
                stream.remotes[index(side)] = Some(remote.clone());
                stream.sketches[index(side)] = Some(Sketch::of(media));
                stream.mux = [remote.rtcp_mux, options.mux.to_answerer(remote.rtcp_mux)];
                stream.offered = Some(remote);
                stream.formats = Formats::of(media);
            }
            branch.untold = false;
            Ok(())
        }
        .await;
        // Whatever has failed: no stream has them any more.
        self.free_all(call, at, gone).await;
        told?;
        if let Some(label) = label(request) {
            call.party_at(at, side).label = Some(label);
        }
        self.follow(call, &mut options).await;
        self.shown(call, at, side.other(), sdp, options)
    }

    pub(super) async fn take_answer(&self, request: &Request) -> Answer {
        let body = described(request)?;
        let sdp = Sdp::parse(&body)?;
        let (id, from) = (request.need("call-id")?, request.need("from-tag")?);
        let to = request.need("to-tag")?;
        let mut options = options(request, &sdp)?;
        if let Some(answer) = self.looped(&body, &sdp, &options) {
            return Ok(answer);
        }
        let remotes = remotes(&sdp, instead(&options))?;

        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let call = &mut *call;
        let format = treat::format(request)?;
        let (offerer, at) = call.answered(from, to, request.text("via-branch"))?;
        if remotes.len() > call.branches[at].streams.len() {
            return Err(Refusal::MoreStreams);
        }
        let at = match offerer {
            Side::A => self.replaced(call, at, to).await,
            Side::B => at,
        };
        call.signal(at);
        self.drop_or_echo(call, at, offerer.other(), &options)
            .await?;
        let branch = &mut call.branches[at];
        if offerer == Side::A {
            call.answered = true;
            branch.answer(to);
        }
        let words = branch.offer.mux.with(options.mux);
        branch.excluded |= options.exclude_recording;
        let treated = branch.treat(offerer.other(), &options);
        let media = sdp.media();
        for ((slot, remote), media) in branch.streams.iter_mut().zip(remotes).zip(&media) {
            let Some(stream) = slot else { continue };
            let (Some(remote), Some(mut asked)) = (remote, stream.offered.clone()) else {
                // It carries nothing any more. Where a proxy behind us forks, another phone's answer may take it: it
                // is freed later.
                if stream.refused.is_none() {
                    engine::mute(&self.media, stream.session.id, [true; 2]).await?;
                    stream.refused = Some(Instant::now());
                }
                continue;
            };
            if stream.refused.is_some() {
                engine::mute(&self.media, stream.session.id, [false; 2]).await?;
                stream.refused = None;
            }
            let told = stream.mux[1];
            let muxes = words.to_offerer(asked.rtcp_mux, remote.rtcp_mux);
            let answerer = offerer.other();
            let remote = muxing_where(remote, told);
            let remote = match of_its_leg(remote, &local(&stream.session, answerer), &options) {
                (remote, false) => remote,
                (remote, true) => {
                    options.warn(OTHER_FAMILY.to_owned());
                    remote
                }
            };
            stream.sketches[index(answerer)] = Some(Sketch::of(media));
            // Both use what was agreed on, and that stands first in the answer.
            asked.format.clone_from(&remote.format);
            let offered = stream.formats.events(remote.format.clock_rate);
            asked.events = offered.filter(|_| remote.events.is_some());
            let asked = match asked.rtcp_mux && !muxes {
                true => unmuxed(asked),
                false => muxing(asked, muxes),
            };
            let (mut remote, mut asked) = (remote, asked);
            let formats = Formats::of(media);
            formats::pair([&mut remote, &mut asked], [&formats, &stream.formats]);
            let both = ordered(answerer, [Some(remote.clone()), Some(asked.clone())]);
            stream.session =
                engine::modify(&self.media, stream.session.id, both, treated.clone()).await?;
            stream.remotes = ordered(answerer, [Some(remote), Some(asked)]);
            stream.mux[0] = muxes;
        }
        branch.untold = false;
        let wanted = options.record.then_some(format).or(branch.offer.record);
        if let Some(label) = label(request) {
            call.party_at(at, offerer.other()).label = Some(label);
        }
        // Who has it paused says so when it is to go on.
        let branch = &mut call.branches[at];
        let is_new = |stream: &Stream| stream.recorded.is_none();
        let mut recordings = None;
        if let Some(format) = wanted
            && branch.streams.iter().flatten().any(is_new)
        {
            match self.record_branch(branch, id, format).await {
                Ok(files) => recordings = Some(Value::List(files)),
                // The call is up. An error would let the proxy pass the phone's own description on.
                Err(error) => options.warn(format!("the call is not recorded: {error}")),
            }
        }
        self.follow(call, &mut options).await;
        let mut answer = self.shown(call, at, offerer, &sdp, options)?;
        if let Some(files) = recordings {
            answer.insert(b"recordings".to_vec(), files);
        }
        Ok(answer)
    }

    /// Frees another branch that the party of this tag has answered before: a proxy that names every transaction's
    /// branch has made a new one for the same party. Returns where the branch at `at` is then.
    async fn replaced(&self, call: &mut Call, at: usize, to: &[u8]) -> usize {
        let others = call.branches.iter().enumerate();
        let mut before = others.filter(|(other, branch)| *other != at && branch.b.is(to));
        let Some((other, number)) = before.next().map(|(other, branch)| (other, branch.number))
        else {
            return at;
        };
        let at = at - usize::from(other < at);
        let before = call.take(Part::Branch(number)).into_iter();
        let mut sessions = Vec::new();
        let mut carried = Totals::default();
        for branch in before {
            sessions.extend(branch.sessions());
            carried.add_all(branch.gone);
        }
        call.branches[at].gone.add_all(carried);
        self.free_all(call, at, sessions).await;
        at
    }

    /// A description that was here before is let pass, where that was asked for.
    fn looped(&self, body: &[u8], sdp: &Sdp<'_>, options: &Options) -> Option<Dictionary> {
        let is_own = options.loop_protect && description::is_marked(sdp, &self.mark);
        is_own.then(|| dictionary([("sdp", Value::from_text(body))]))
    }
}

/// Branches of a call at most.
pub(super) const BRANCHES: usize = 64;

/// The options, as far as they can be had for this SDP.
pub(super) fn options(request: &Request, sdp: &Sdp<'_>) -> Result<Options, Refusal> {
    let mut options = options::read(request)?;
    for media in sdp
        .media()
        .iter()
        .filter(|media| !media.is_refused() && media.is_rtp())
    {
        let own = media.proto();
        if let Some(wanted) = options
            .profile
            .as_deref()
            .filter(|wanted| !own.eq_ignore_ascii_case(wanted))
        {
            let why = "mediad changes no profile, and passes SRTP through";
            return Err(Refusal::Other(format!(
                "transport-protocol={wanted} for a stream of {own}: {why}"
            )));
        }
        if let Some(ptime) = options
            .ptime
            .filter(|ptime| media.ptime().unwrap_or(20) != *ptime)
        {
            let why = "mediad passes packets on as they are";
            return Err(Refusal::Other(format!(
                "ptime={ptime} for a stream of other packets: {why}"
            )));
        }
        if options.echo.is_some() && media.is_srtp() {
            let why = "media-echo: the media is SRTP, which its own sender has no keys of";
            return Err(Refusal::Other(why.to_owned()));
        }
        if options.generate_rtcp == Some(true) && media.is_srtp() {
            let why = "generate RTCP: the media is SRTP, whose RTCP only its parties can make";
            options.warn(why.to_owned());
        }
    }
    Ok(options)
}

/// The SDP of a request, without the media that it wants removed.
pub(super) fn described(request: &Request) -> Result<Cow<'_, [u8]>, Refusal> {
    let removed = options::removed_media(request)?;
    let body = request.text("sdp");
    let body = body.ok_or_else(|| Refusal::Other("No SDP body in message".to_owned()))?;
    Ok(description::without(body, &removed))
}

pub(super) fn instead(options: &Options) -> Option<IpAddr> {
    options.received_from.filter(|_| options.use_received_from)
}

pub(super) fn label(request: &Request) -> Option<Vec<u8>> {
    let label = request.text("set-label").or_else(|| request.text("label"));
    label.map(<[u8]>::to_vec)
}

/// A pair in the order of A and B, of what is `side`'s and what is the other's.
fn ordered<T>(side: Side, [own, other]: [T; 2]) -> [T; 2] {
    match side {
        Side::A => [own, other],
        Side::B => [other, own],
    }
}

fn pair(side: Side, remote: Remote) -> [Option<Remote>; 2] {
    ordered(side, [Some(remote), None])
}

pub(super) const fn family(family: options::Family) -> Family {
    match family {
        options::Family::V4 => Family::V4,
        options::Family::V6 => Family::V6,
    }
}
