//! One call: who, where, and how it stands.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use control::{
    FaultCode,
    channel::RequestError,
    media::{SessionId, SessionStats},
    signal::CallState,
};
use sip::{
    dialog::{ProxyDialog, Side},
    header::HeaderName,
    message::Message,
    proxy::{BranchId, Routed},
    transaction::ServerId,
};
use store::{CallEvent, Cause, EndedBy, Recording, Timestamp, Uuid};

use super::{
    course::Course,
    exchange::ExchangeId,
    quality::Series,
    recording::{Recorded, RecordedAs},
    stream::{Media, Muted, Turn},
    transfer::Transfer,
};
use crate::{
    directory::{Aor, Caller, Hold, Trunk},
    location::Phone,
    net::Flow,
    trunks::Credentials,
};

/// Names a [`Call`] of this worker. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallKey(pub(super) u64);

/// Dialogs of one call at most: callees that answered or rang behind a forking proxy.
pub(super) const MAX_DIALOGS: usize = 16;

/// A call from its INVITE to its CDR.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: Uuid,
    pub(super) call_id: String,
    pub(super) caller_tag: String,
    pub(super) from_uri: String,
    pub(super) to_uri: String,
    pub(super) request_uri: String,
    /// Where the INVITE came from.
    pub(super) source: Flow,
    /// What answers challenges of whoever is called, where this node makes the call.
    pub(super) credentials: Option<Arc<Credentials>>,
    /// The way to the caller: where he was heard last.
    pub(super) way: Flow,
    /// When that was.
    pub(super) heard: Timestamp,
    /// His phone, where he is a user and it is registered.
    pub(super) phone: Option<Phone>,
    /// The way to the callee, once a branch was answered or the last one was tried.
    pub(super) callee: Option<Flow>,
    /// Who calls.
    pub(super) caller: Caller,
    /// Whose call it is.
    pub(super) tenant: Option<Arc<str>>,
    /// The user whose phone answered, or was tried last.
    pub(super) callee_user: Option<Aor>,
    /// The trunk that carries it, or was tried last.
    pub(super) trunk: Option<Arc<Trunk>>,
    /// The prefix of the route that it took.
    pub(super) route: Option<String>,
    /// How far it has come along its plan, while it is being set up.
    pub(super) course: Option<Course>,
    /// Its places within the limits that hold for it; given back when it ends.
    pub(super) holds: Vec<Hold>,
    /// Its caller is blocked and is not to know: it rings for nobody.
    pub(super) feigned: bool,
    /// Its dialogs stay encrypted: it came over TLS, and to a `sips:` URI (RFC 3261 section 12.1.1).
    pub(super) secure: bool,
    pub(super) state: CallState,
    pub(super) began: Instant,
    pub(super) started: Timestamp,
    pub(super) ringing: Option<Timestamp>,
    pub(super) answered: Option<Timestamp>,
    /// The tag of the callee whose answer counts.
    pub(super) winner: Option<String>,
    /// The INVITE, while it has no final response.
    pub(super) setup: Option<ExchangeId>,
    pub(super) dialogs: Vec<Leg>,
    /// `None` where the route bypasses mediad.
    pub(super) media: Option<Media>,
    /// The media with callees of other families and interfaces, while some of each are being called.
    pub(super) spare: Vec<Media>,
    /// Whom an operator has muted.
    pub(super) muted: Muted,
    /// An operator has put both on hold.
    pub(super) held: bool,
    /// The latest transfer of a party.
    pub(super) transfer: Option<Transfer>,
    /// What is kept with its record.
    pub(super) events: Vec<CallEvent>,
    /// What is recorded of it now.
    pub(super) recording: Option<Recorded>,
    /// How.
    pub(super) recorded_as: RecordedAs,
    /// What was recorded of it, to be kept with its record.
    pub(super) recordings: Vec<Recording>,
    /// What must not overtake what waits for mediad.
    pub(super) work: VecDeque<Work>,
    pub(super) waiting: Option<Waiting>,
    /// Why it ends, once it does.
    pub(super) end: Option<End>,
    /// BYEs of our own that are not answered.
    pub(super) byes: usize,
    /// What the sessions that were closed have carried, in the order of their `m=` lines.
    pub(super) stats: Vec<SessionStats>,
    /// How they have sounded.
    pub(super) quality: Series,
    /// Sessions that are being closed, and questions whether it is recorded: its record waits for the answers.
    pub(super) closing: usize,
    /// mediad says that nothing is heard.
    pub(super) silence: Option<Silence>,
}

/// A dialog of a call: one callee.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) dialog: ProxyDialog,
    /// A 2xx set it up.
    pub(super) confirmed: bool,
    /// A BYE ended it.
    pub(super) over: bool,
    /// When it ends, as no refresh has come (RFC 4028).
    pub(super) expires: Option<Instant>,
    pub(super) ack: Ack,
    /// Its RTP goes through mediad.
    pub(super) relay: bool,
    /// The way to the callee.
    pub(super) way: Option<Flow>,
    /// When the callee was heard there last.
    pub(super) heard: Timestamp,
    /// The callee's phone, where that is a user's.
    pub(super) phone: Option<Phone>,
    /// The latest INVITE of the dialog, for its ACK.
    pub(super) asked: Option<Asked>,
    /// Who the callee is; `None` for a URI outside, which is nobody's of ours.
    pub(super) callee: Option<Caller>,
}

/// What the ACK of an INVITE has to repeat of how it was sent on (RFC 3261 section 13.2.2.4), and the RAck
/// of a PRACK to name.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Who sent the INVITE.
    pub(super) from: Side,
    /// Its CSeq number as it came.
    pub(super) cseq: u32,
    /// How far it went ahead.
    pub(super) shift: u32,
    /// What was added to answer the other party's challenge.
    pub(super) credentials: Option<(HeaderName, String)>,
}

/// How it stands with the ACK of the latest 2xx to INVITE, known by who asked and its CSeq number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// No INVITE was accepted.
    None,
    /// It is to come until then, from this party.
    Due(Side, u32, Instant),
    /// It came.
    Seen(Side, u32),
}

impl Leg {
    pub(super) fn new(dialog: ProxyDialog, confirmed: bool, heard: Timestamp) -> Self {
        Self {
            dialog,
            confirmed,
            over: false,
            expires: None,
            ack: Ack::None,
            relay: true,
            way: None,
            heard,
            phone: None,
            asked: None,
            callee: None,
        }
    }

    /// The INVITE of one party by its number, while no later one went that way.
    pub(super) fn invite_of(&self, from: Side, cseq: u32) -> Option<&Asked> {
        let asked = self.asked.as_ref();
        asked.filter(|asked| asked.from == from && asked.cseq == cseq)
    }

    /// When it wants to be looked at.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.over || !self.confirmed {
            return None;
        }
        let ack = match self.ack {
            Ack::Due(_, _, at) => Some(at),
            Ack::None | Ack::Seen(..) => None,
        };
        self.expires.into_iter().chain(ack).min()
    }

    /// A 2xx to an INVITE of this party and number passes.
    pub(super) fn on_accepted(&mut self, asker: Side, cseq: u32, until: Instant) {
        match self.ack {
            // It comes again.
            Ack::Due(by, known, _) | Ack::Seen(by, known) if (by, known) == (asker, cseq) => {}
            _ => self.ack = Ack::Due(asker, cseq, until),
        }
    }

    /// An ACK of this party and number passes.
    pub(super) fn on_ack(&mut self, asker: Side, cseq: u32) {
        if matches!(self.ack, Ack::Due(by, due, _) if (by, due) == (asker, cseq)) {
            self.ack = Ack::Seen(asker, cseq);
        }
    }
}

/// How far the question is whether all of a call's sessions are silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// A session was silent before the call was answered; to be asked again later.
    BeforeAnswer,
    /// mediad is being asked about this many sessions; none was heard so far.
    Asking(usize),
}

/// Why a call ends, for its CDR.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) by: EndedBy,
    pub(super) cause: Cause,
    /// What the caller was told last.
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) at: Timestamp,
}

/// A message of a call, in its turn.
#[derive(Debug)]
pub(super) enum Work {
    /// Send the INVITE to the branch's next address, whose family mediad has to know.
    Send {
        exchange: ExchangeId,
        branch: BranchId,
    },
    /// Pass a response back.
    Respond {
        exchange: ExchangeId,
        branch: BranchId,
        response: Message,
    },
    /// Pass a request within the call on.
    Request {
        server: ServerId,
        flow: Flow,
        received: Message,
        routed: Routed,
    },
    /// Pass the ACK of a 2xx on.
    Ack { received: Message, routed: Routed },
}

/// What waits for mediad, and how far it is.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) work: Work,
    /// What the message's SDP is.
    pub(super) turn: Turn,
    /// Requests to mediad that are not answered.
    pub(super) outstanding: usize,
    /// Why mediad did not do what was needed.
    pub(super) failed: Option<Failure>,
}

/// Why mediad did not do what was needed.
#[derive(Debug)]
pub(super) struct Failure {
    /// [`Cause::MediaUnusable`] where the description is at fault, else [`Cause::MediaUnavailable`].
    pub(super) cause: Cause,
    /// In mediad's words.
    pub(super) why: String,
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let cause = match &error {
            RequestError::Fault(fault) if fault.code == FaultCode::Invalid => Cause::MediaUnusable,
            _ => Cause::MediaUnavailable,
        };
        let why = error.to_string();
        Self { cause, why }
    }
}

impl Call {
    /// Whether a 2xx went to the caller.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// All of its media.
    pub(super) fn all_media(&self) -> impl Iterator<Item = &Media> {
        self.media.iter().chain(&self.spare)
    }

    /// Gives all of its sessions up: their ids.
    pub(super) fn clear_media(&mut self) -> Vec<SessionId> {
        let all = self.media.iter_mut().chain(&mut self.spare);
        all.flat_map(Media::clear).collect()
    }

    /// Whether any dialog of an answered call is still up.
    pub(super) fn has_dialog(&self) -> bool {
        self.dialogs.iter().any(|leg| leg.confirmed && !leg.over)
    }

    /// The way by which a party of a dialog was heard or reached last.
    pub(super) fn way_to(&self, leg: &Leg, side: Side) -> Option<Flow> {
        match side {
            Side::Caller => Some(self.way),
            Side::Callee => leg.way.or(self.callee),
        }
    }

    /// Who a party of a dialog is; `None` for a callee outside, who is nobody of ours.
    pub(super) fn party<'c>(&'c self, leg: &'c Leg, side: Side) -> Option<&'c Caller> {
        match side {
            Side::Caller => Some(&self.caller),
            Side::Callee => leg.callee.as_ref(),
        }
    }

    /// The phone of a party of a dialog, where it is a user's, and when it was heard last.
    pub(super) fn phone(&self, leg: &Leg, side: Side) -> Option<(Phone, Timestamp)> {
        match side {
            Side::Caller => Some((self.phone?, self.heard)),
            Side::Callee => Some((leg.phone?, leg.heard)),
        }
    }

    /// The dialog of a message, and who sent it or what it answers.
    pub(super) fn dialog_of(&self, message: &Message) -> Option<(&Leg, Side)> {
        self.dialogs
            .iter()
            .find_map(|leg| Some((leg, leg.dialog.sender(message)?)))
    }

    /// The same, to be changed.
    pub(super) fn leg_of(&mut self, message: &Message) -> Option<(&mut Leg, Side)> {
        self.dialogs.iter_mut().find_map(|leg| {
            let side = leg.dialog.sender(message)?;
            Some((leg, side))
        })
    }
}
