//! A call's media: which sessions its `m=` lines have, by the rules of offer and answer (RFC 3264).
//!
//! An offer opens sessions for the streams that are new; its answer tells mediad both parties'
//! addresses and closes what was refused. Each description that passes shows the other leg's ports of
//! this node, which are the same as long as the session is there, so that a description that passes
//! twice needs nothing of mediad.

use std::borrow::Cow;

use bytes::Bytes;
use control::config::MediaAddress;
use control::media::{
    self, Create, EventFormat, Family, Format, Handling, Modify, Remote, SessionId, SessionInfo,
    TypePair,
};
use sip::{
    dialog::Side,
    message::Message,
    sdp::{self, Direction, Keying, Relay, Sdp, SdpError},
};

use super::state::MAX_DIALOGS;

/// Formats of telephone events that are looked at: one for each clock of its audio is what a phone has.
const MAX_EVENTS: usize = 8;

/// The same of other formats that have no number of their own.
const MAX_DYNAMIC: usize = 16;
/// The first payload type that no format has of its own (RFC 3551 section 6).
const DYNAMIC: u8 = 96;

/// The owner that mediad is told.
pub(crate) const OWNER: &str = "signaling";

/// The families that mediad has addresses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Families {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Families {
    /// Of `[media] address`.
    pub(crate) fn of(address: &MediaAddress) -> Self {
        let mut bound = address.pairs().iter().map(|(bound, _)| *bound);
        Self {
            v4: bound.clone().any(|address| address.is_ipv4()),
            v6: bound.any(|address| address.is_ipv6()),
        }
    }

    const fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// This one where mediad has it, else the other.
    pub(super) const fn nearest(self, family: Family) -> Family {
        match (family, self.has(family)) {
            (_, true) => family,
            (Family::V4, false) => Family::V6,
            (Family::V6, false) => Family::V4,
        }
    }
}

/// The media of one call.
#[derive(Debug)]
pub(super) struct Media {
    /// Those that mediad has addresses of for each party, the caller first.
    families: [Families; 2],
    /// The family that each party is given, by its side: that of its signaling, until it shows by an
    /// offer which one it has media in.
    pub(super) caller: Family,
    pub(super) callee: Family,
    /// How the media of each is treated, the caller's first.
    pub(super) handling: [Handling; 2],
    /// The family of the signaling of the callees that these sessions are for.
    family: Family,
    /// Whose media is not handed on.
    pub(super) muted: Muted,
    /// By the index of their `m=` lines.
    pub(super) streams: Vec<Stream>,
    /// The latest offer: what an answer is an answer to.
    offer: Option<Offer>,
    /// An offer went to the party that still owes its answer in PRACK or ACK.
    pub(super) owed: Option<Side>,
    /// The answers that forks of the callee have given to the latest offer, by their To tags; the
    /// one that is heard last.
    forks: Vec<(String, Vec<Line>)>,
}

/// Who of a call is not heard by the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Muted {
    pub(super) caller: bool,
    pub(super) callee: bool,
}

/// One `m=` line.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) session: Option<Session>,
}

/// A session in mediad.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Once mediad has answered.
    pub(super) info: Option<SessionInfo>,
    pub(super) caller: Option<Remote>,
    pub(super) callee: Option<Remote>,
    /// Opened by the latest offer, which is not accepted yet.
    fresh: bool,
    /// mediad did not take the latest description.
    pub(super) stale: bool,
}

#[derive(Debug)]
struct Offer {
    by: Side,
    lines: Vec<Line>,
}

/// What a description says of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// `None` where it is refused, or goes around mediad because it is not over UDP.
    remote: Option<Remote>,
    direction: Direction,
    /// Payload types and clock rates of `telephone-event`.
    events: Vec<(u8, u32)>,
    /// The other formats that have no number of their own: payload types, clock rates and names.
    dynamic: Vec<(u8, u32, String)>,
    keying: Keying,
}

/// What offer and answer come to for one stream.
#[derive(Clone, Copy, Debug)]
struct Agreed {
    /// RTCP comes on the RTP port.
    mux: bool,
    /// The clock of the format in use, in Hz.
    audio_rate: u32,
}

/// What part a description plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The message has no description, or the call's media bypasses this node.
    None,
    /// An offer of this party.
    Offer(Side),
    /// An answer of this party.
    Answer(Side),
    /// One that this party has sent before: it says nothing new.
    Again(Side),
}

/// What mediad has to do before a description can pass.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) requests: Vec<media::Request>,
    /// Sessions that nobody needs any more.
    pub(super) closed: Vec<SessionId>,
}

impl Media {
    /// `caller` and `callee` are the families of their signaling.
    pub(super) fn new(
        families: [Families; 2],
        handling: [Handling; 2],
        caller: Family,
        callee: Family,
    ) -> Self {
        let [of_caller, of_callee] = families;
        Self {
            families,
            family: of_callee.nearest(callee),
            caller: of_caller.nearest(caller),
            callee: of_callee.nearest(callee),
            handling,
            muted: Muted::default(),
            streams: Vec::new(),
            offer: None,
            owed: None,
            forks: Vec::new(),
        }
    }

    /// Whether these sessions are for a callee whose signaling is of this family, on this interface.
    pub(super) fn is_meant_for(&self, family: Family, handling: &Handling) -> bool {
        let [_, callee] = &self.handling;
        let [_, families] = self.families;
        self.family == families.nearest(family) && callee.interface == handling.interface
    }

    /// Whether a description can be relayed.
    pub(super) fn check(description: &Sdp<'_>) -> Result<(), SdpError> {
        lines(description).map(drop)
    }

    /// The sessions.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.streams
            .iter()
            .filter_map(|stream| stream.session.as_ref())
    }

    /// The session of this id.
    pub(super) fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let mut sessions = self
            .streams
            .iter_mut()
            .filter_map(|stream| stream.session.as_mut());
        sessions.find(|session| session.id == id)
    }

    /// Takes the description of `message` into account. `id` makes names for new sessions.
    ///
    /// # Errors
    /// The description cannot be relayed; nothing has changed.
    pub(super) fn take(
        &mut self,
        message: &Message,
        turn: Turn,
        id: impl FnMut() -> SessionId,
    ) -> Result<Needs, SdpError> {
        if turn == Turn::None {
            return Ok(Needs::default());
        }
        let Some(range) = sdp::locate(message)? else {
            return Ok(Needs::default());
        };
        let body = message.body().get(range).unwrap_or_default();
        let lines = lines(&Sdp::parse(body)?)?;
        Ok(match turn {
            Turn::None | Turn::Again(_) => Needs::default(),
            Turn::Offer(by) => self.take_offer(by, lines, id),
            Turn::Answer(by) => {
                self.note_fork(message, &lines);
                let last = !matches!(message.status(), Some(101..=199));
                self.take_answer(by, &lines, last)
            }
        })
    }

    /// A callee accepts without a description: the one that counts is that which it gave before, and
    /// not another fork's that came since (RFC 3261 section 13.2.2.4, RFC 3262 section 5).
    pub(super) fn choose(&mut self, response: &Message) -> Needs {
        let tag = response.to_tag();
        let Some(at) = self.forks.iter().position(|(fork, _)| Some(&**fork) == tag) else {
            return Needs::default();
        };
        let fork = self.forks.remove(at);
        let needs = self.take_answer(Side::Callee, &fork.1, true);
        self.forks.push(fork);
        needs
    }

    /// The message with its description led to mediad: the other party is shown this node.
    ///
    /// # Errors
    /// The description cannot be relayed.
    pub(super) fn rewrite(&self, message: &Message, by: Side) -> Result<Message, SdpError> {
        let Some(range) = sdp::locate(message)? else {
            return Ok(message.clone());
        };
        let body = message.body();
        let description = Sdp::parse(body.get(range.clone()).unwrap_or_default())?;
        let relays = (0..description.media().len()).map(|index| {
            let session = self.streams.get(index)?.session.as_ref()?;
            let info = session.info.as_ref()?;
            // What the caller says is for the callee's eyes, and names the callee's leg.
            let local = match by {
                Side::Caller => info.b,
                Side::Callee => info.a,
            };
            Some(Relay {
                address: local.rtp.ip(),
                rtp: local.rtp.port(),
                rtcp: local.rtcp.port(),
            })
        });
        let relays: Vec<_> = relays.collect();
        let rewritten = description.rewrite(&relays)?;
        let body: Bytes = sdp::splice(body, &range, &rewritten);
        message
            .edit()
            .body(body)
            .finish()
            .map_err(|_| SdpError::Multipart)
    }

    /// The latest offer was refused: what it alone opened is not needed.
    pub(super) fn roll_back(&mut self) -> Vec<SessionId> {
        self.offer = None;
        self.owed = None;
        let fresh = |stream: &mut Stream| {
            stream
                .session
                .take_if(|session| session.fresh)
                .map(|session| session.id)
        };
        self.streams.iter_mut().filter_map(fresh).collect()
    }

    /// Gives all sessions up: their ids.
    pub(super) fn clear(&mut self) -> Vec<SessionId> {
        let ids = self.sessions().map(|session| session.id).collect();
        self.streams.clear();
        self.forks.clear();
        self.offer = None;
        self.owed = None;
        ids
    }

    /// What tells mediad who is muted.
    pub(super) const fn mute(&self, session: &Session) -> media::Request {
        media::Request::Mute(media::Mute {
            id: session.id,
            a: self.muted.caller,
            b: self.muted.callee,
        })
    }

    /// [`Media::reopen`] by the session's id.
    pub(super) fn reopen_by_id(&self, id: SessionId) -> Option<media::Request> {
        let session = self.sessions().find(|session| session.id == id)?;
        Some(self.reopen(session))
    }

    /// What opens a session as it was, after mediad was restarted.
    pub(super) fn reopen(&self, session: &Session) -> media::Request {
        media::Request::Create(self.wanted(session))
    }

    /// What opens a new session: while mediad drains it takes further streams of a call that is up.
    fn open(&self, session: &Session) -> media::Request {
        let create = self.wanted(session);
        let is_up = |known: &&Session| known.info.is_some() && !known.fresh;
        match self.sessions().find(is_up) {
            Some(known) => media::Request::Beside(known.id, create),
            None => media::Request::Create(create),
        }
    }

    fn wanted(&self, session: &Session) -> Create {
        let [caller, callee] = self.handling.clone();
        let port = |local: fn(&SessionInfo) -> media::Local| {
            session.info.as_ref().map(|info| local(info).rtp.port())
        };
        Create {
            id: session.id,
            owner: OWNER.to_owned(),
            a: media::Leg {
                family: self.caller,
                port: port(|info| info.a),
                remote: session.caller.clone(),
                muted: self.muted.caller,
                handling: caller,
            },
            b: media::Leg {
                family: self.callee,
                port: port(|info| info.b),
                remote: session.callee.clone(),
                muted: self.muted.callee,
                handling: callee,
            },
            apart: false,
        }
    }

    /// Whether any session is one in which somebody is expected to send.
    pub(super) fn is_active(&self) -> bool {
        self.sessions().any(Session::is_active)
    }

    /// Before anything is open a party gets an address of the family that its media has, whatever its
    /// signaling came over.
    fn meet(&mut self, by: Side, lines: &[Line]) {
        let mut places = lines.iter().filter_map(|line| line.remote.as_ref());
        let place = places.find(|remote| !remote.rtp.ip().is_unspecified());
        let family = place.map(|remote| Family::of(&remote.rtp));
        let [of_caller, of_callee] = self.families;
        let families = match by {
            Side::Caller => of_caller,
            Side::Callee => of_callee,
        };
        let Some(family) = family.filter(|family| families.has(*family)) else {
            return;
        };
        if self.sessions().next().is_none() {
            match by {
                Side::Caller => self.caller = family,
                Side::Callee => self.callee = family,
            }
        }
    }

    fn note_fork(&mut self, message: &Message, lines: &[Line]) {
        let tag = message.to_tag();
        let (false, Some(tag)) = (message.is_request(), tag) else {
            return;
        };
        self.forks.retain(|(fork, _)| fork != tag);
        if self.forks.len() < MAX_DIALOGS {
            self.forks.push((tag.to_owned(), lines.to_vec()));
        }
    }

    fn take_offer(
        &mut self,
        by: Side,
        lines: Vec<Line>,
        mut id: impl FnMut() -> SessionId,
    ) -> Needs {
        let mut needs = Needs::default();
        self.meet(by, &lines);
        if lines.len() > self.streams.len() {
            self.streams.resize_with(lines.len(), Stream::default);
        }
        for (index, line) in lines.iter().enumerate() {
            let Some(remote) = &line.remote else { continue };
            // What is there learns of the offer when it is accepted.
            if self.streams[index].session.is_some() {
                continue;
            }
            let mut session = Session {
                id: id(),
                info: None,
                caller: None,
                callee: None,
                fresh: true,
                stale: false,
            };
            session.set_party(by, known(remote, None));
            needs.requests.push(self.open(&session));
            self.streams[index].session = Some(session);
        }
        self.offer = Some(Offer { by, lines });
        self.forks.clear();
        needs
    }

    /// `last`: no other fork will answer the same offer.
    fn take_answer(&mut self, by: Side, answer: &[Line], last: bool) -> Needs {
        let mut needs = Needs::default();
        let refused = Line {
            remote: None,
            direction: Direction::Inactive,
            events: Vec::new(),
            dynamic: Vec::new(),
            keying: Keying::default(),
        };
        // An answer to nothing changes nothing: it comes too late, or again.
        let Some(offer) = self.offer.as_ref().filter(|offer| offer.by != by) else {
            return needs;
        };
        let handling = self.handling.clone().map(Some);
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let answered = answer.get(index).unwrap_or(&refused);
            let offered = offer.lines.get(index).unwrap_or(&refused);
            if answered.remote.is_none() || offered.remote.is_none() {
                // Another callee that rings may have use for it.
                if last {
                    let session = stream.session.take();
                    needs.closed.extend(session.map(|session| session.id));
                }
                continue;
            }
            let Some(session) = &mut stream.session else {
                continue;
            };
            let before = (session.caller.clone(), session.callee.clone());
            let mux = |line: &Line| line.remote.as_ref().is_some_and(|remote| remote.rtcp_mux);
            let agreed = Agreed {
                mux: mux(answered) && mux(offered),
                // The first format of an answer is the one in use.
                audio_rate: answered
                    .remote
                    .as_ref()
                    .map_or(0, |remote| remote.format.clock_rate),
            };
            session.set_line(by, answered, offered, agreed);
            session.set_line(by.other(), offered, answered, agreed);
            session.fresh = false;
            let request = session.modify(&before);
            // Who answers may be another than was meant at first.
            needs.requests.extend(request.map(|modify| {
                media::Request::Modify(Modify {
                    handling: handling.clone(),
                    ..modify
                })
            }));
        }
        needs
    }
}

impl Session {
    /// Whether somebody is expected to send.
    pub(super) fn is_active(&self) -> bool {
        [&self.caller, &self.callee]
            .into_iter()
            .flatten()
            .any(|remote| remote.sends)
    }

    /// All that is known, where mediad did not take it when it was new.
    fn refresh(&self) -> Modify {
        Modify {
            id: self.id,
            a: self.caller.clone(),
            b: self.callee.clone(),
            handling: [None, None],
        }
    }

    fn party(&self, side: Side) -> Option<&Remote> {
        match side {
            Side::Caller => self.caller.as_ref(),
            Side::Callee => self.callee.as_ref(),
        }
    }

    fn set_party(&mut self, side: Side, remote: Option<Remote>) {
        match side {
            Side::Caller => self.caller = remote,
            Side::Callee => self.callee = remote,
        }
    }

    /// One party's own line, and what the other makes of it.
    fn set_line(&mut self, side: Side, own: &Line, peer: &Line, agreed: Agreed) {
        let Some(remote) = &own.remote else { return };
        let mut remote = remote.clone();
        remote.events = own
            .events(agreed.audio_rate)
            .filter(|_| !peer.events.is_empty());
        remote.types = own.types(peer);
        remote.secure |= own.keying.agrees(peer.keying);
        remote.rtcp_mux = agreed.mux;
        if agreed.mux {
            remote.rtcp = remote.rtp;
        }
        let wants = matches!(peer.direction, Direction::SendRecv | Direction::RecvOnly);
        let has_place = peer
            .remote
            .as_ref()
            .is_some_and(|remote| !remote.rtp.ip().is_unspecified());
        remote.sends &= wants && has_place;
        let known = known(&remote, self.party(side));
        self.set_party(side, known);
    }

    /// What has changed; nothing of a party that is as it was, whose source need not be learned anew.
    fn modify(&self, before: &(Option<Remote>, Option<Remote>)) -> Option<Modify> {
        if self.stale {
            return Some(self.refresh());
        }
        let changed =
            |now: &Option<Remote>, before: &Option<Remote>| now.clone().filter(|_| now != before);
        let (a, b) = (
            changed(&self.caller, &before.0),
            changed(&self.callee, &before.1),
        );
        let is_new = a.is_some() || b.is_some();
        is_new.then_some(Modify {
            id: self.id,
            a,
            b,
            handling: [None, None],
        })
    }
}

/// A description as mediad can use it. One that names no address (`0.0.0.0`: hold as RFC 2543 had it)
/// leaves the party where it was; it does not want to receive, but may send.
fn known(remote: &Remote, before: Option<&Remote>) -> Option<Remote> {
    if !remote.rtp.ip().is_unspecified() {
        return Some(remote.clone());
    }
    let mut kept = before?.clone();
    kept.sends = remote.sends;
    kept.receives = false;
    Some(kept)
}

fn lines(description: &Sdp<'_>) -> Result<Vec<Line>, SdpError> {
    let media = description.media();
    if media.is_empty() {
        return Err(SdpError::NoMedia);
    }
    media.iter().map(line).collect()
}

fn line(media: &sdp::Media<'_, '_>) -> Result<Line, SdpError> {
    let direction = media.direction();
    if media.is_refused() || !media.is_udp() {
        return Ok(Line {
            remote: None,
            direction,
            events: Vec::new(),
            dynamic: Vec::new(),
            keying: Keying::default(),
        });
    }
    let remote = Remote {
        rtp: media.rtp()?,
        rtcp: media.rtcp()?,
        rtcp_mux: media.rtcp_mux(),
        sends: matches!(direction, Direction::SendRecv | Direction::SendOnly),
        receives: !media.is_held(),
        format: format(media),
        // Known when the other party has agreed.
        events: None,
        types: Vec::new(),
        more_events: 0,
        secure: media.is_srtp(),
    };
    let events = media.codecs().filter(|codec| {
        let is_event = codec.name.eq_ignore_ascii_case("telephone-event");
        is_event && media.is_rtp()
    });
    Ok(Line {
        remote: Some(remote),
        direction,
        events: events
            .map(|codec| (codec.payload_type, codec.clock_rate))
            .take(MAX_EVENTS)
            .collect(),
        dynamic: dynamic(media),
        keying: media.keying(),
    })
}

impl Line {
    /// What `peer` numbers otherwise than this party. Each is to send what the other one has named. Where one does not, and
    /// sends its own numbers, they are those of no other format of this party: there is no mistaking them.
    fn types(&self, peer: &Self) -> Vec<TypePair> {
        let events = self.events.iter().flat_map(|(own, rate)| {
            let same = peer.events.iter().filter(move |(_, other)| other == rate);
            same.map(|(theirs, _)| (*theirs, *own))
        });
        let others = self.dynamic.iter().flat_map(|(own, rate, name)| {
            let same = peer.dynamic.iter().filter(move |(_, other, theirs)| {
                other == rate && theirs.eq_ignore_ascii_case(name)
            });
            same.map(|(theirs, ..)| (*theirs, *own))
        });
        let pairs = events.chain(others).filter(|(theirs, _)| {
            let mut named = self.events.iter().map(|(own, _)| own);
            let mut others = self.dynamic.iter().map(|(own, ..)| own);
            !named.any(|own| own == theirs) && !others.any(|own| own == theirs)
        });
        let pairs = pairs.map(|(theirs, own)| TypePair { theirs, own });
        pairs.collect()
    }

    /// How this party takes telephone events beside audio of this clock: by the same clock, where it has one.
    fn events(&self, audio_rate: u32) -> Option<EventFormat> {
        let same = self.events.iter().find(|(_, rate)| *rate == audio_rate);
        let (payload_type, clock_rate) = *same.or_else(|| self.events.first())?;
        Some(EventFormat {
            payload_type,
            clock_rate,
            audio_rate,
        })
    }
}

/// What a description numbers by itself, but events.
fn dynamic(media: &sdp::Media<'_, '_>) -> Vec<(u8, u32, String)> {
    let codecs = media.codecs().filter(|codec| {
        let is_event = codec.name.eq_ignore_ascii_case("telephone-event");
        codec.payload_type >= DYNAMIC && !is_event && media.is_rtp()
    });
    let codecs = codecs.map(|codec| (codec.payload_type, codec.clock_rate, codec.name.to_owned()));
    codecs.take(MAX_DYNAMIC).collect()
}

/// The format that counts for quality: the first one.
fn format(media: &sdp::Media<'_, '_>) -> Format {
    let payload_type = media
        .formats()
        .next()
        .and_then(|format| format.parse().ok())
        .unwrap_or(0);
    let codec = media.codec(payload_type).filter(|_| media.is_rtp());
    // UDPTL has no clock, which is how the media plane knows it.
    let usual_rate = if media.is_rtp() { 8000 } else { 0 };
    Format {
        payload_type,
        encoding: codec
            .map_or(Cow::Borrowed(""), |codec| codec.name.into())
            .into_owned(),
        clock_rate: codec.map_or(usual_rate, |codec| codec.clock_rate),
        ptime_ms: media.ptime().unwrap_or(20),
    }
}

#[cfg(test)]
mod tests;
