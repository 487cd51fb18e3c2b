//! What api and the command line ask of signaling.

mod log;
mod reload;
mod route;
mod routing;
mod trace;
mod trunk;
mod user;
mod voice;

use serde::{Deserialize, Serialize};

use crate::{
    channel::Protocol,
    media::{FlowSample, MediaStatus, Path, RecordFormat},
};

pub use log::{LogOrder, LogState, Subject};
pub use reload::ReloadReport;
pub use route::{
    RouteCarrier, RouteDecision, RouteHost, RouteLimit, RouteQuestion, RouteReport, RouteStage,
    RouteTo,
};
pub use routing::{
    FileDocument, NewDocument, RoutingEdit, RoutingKind, RoutingOrder, RoutingOutcome,
};
pub use trace::{TracePage, TracedMessage};
pub use trunk::{ProbeInfo, RegistrationInfo, TrunkHostInfo, TrunkInfo};
pub use user::{Forwards, NewUser, Secret, UserChange, UserDone, UserInfo, UserOrder};
pub use voice::{
    RecordingChange, VoiceCall, VoiceDone, VoiceEntry, VoiceLink, VoiceMessage, VoiceOrder,
    VoiceRecording, VoiceStream, VoiceUpdate,
};

/// The protocol between signaling and those who watch it.
#[derive(Debug)]
pub struct Signal;

impl Protocol for Signal {
    const NAME: &'static str = "signal";
    const VERSION: u16 = 11;
    type Request = Request;
    type Response = Response;
    type Event = Event;
}

/// Client to signaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The calls that are up, oldest first; answered with [`Response::Calls`].
    Calls {
        /// Only those whose id sorts after this one; empty for the first page.
        after: String,
        /// How many at most, 1 to 10,000.
        limit: u32,
        /// Only this tenant's, as in [`CallInfo::tenant`].
        tenant: Option<String>,
    },
    /// How the node is; answered with [`Response::Status`].
    Status,
    /// End a call with BYE to both sides (or CANCEL and 487 before an answer); answered with
    /// [`Response::Done`].
    Hangup {
        /// As in [`CallInfo::id`].
        id: String,
    },
    /// Change what the parties of a call hear of each other; answered with [`Response::Call`], or
    /// [`FaultCode::NotFound`](crate::FaultCode), or [`FaultCode::Conflict`](crate::FaultCode) where the
    /// call's media does not go through mediad.
    Call(CallOrder),
    /// Press telephone keys towards a party of a call; answered with [`Response::Call`] once they are begun, or wait for
    /// those before them; with [`FaultCode::Invalid`](crate::FaultCode) where they are no keys, and with
    /// [`FaultCode::Conflict`](crate::FaultCode) where the party cannot be told of any.
    Dtmf(DtmfOrder),
    /// Record a call, or do so no longer; answered with [`Response::Call`], or with
    /// [`FaultCode::Conflict`](crate::FaultCode) where it cannot be recorded.
    Record(RecordOrder),
    /// How a call has sounded since it was answered; answered with [`Response::Quality`].
    Quality {
        /// As in [`CallInfo::id`].
        id: String,
    },
    /// Have a party of a call transferred to somebody else; answered with [`Response::Call`] once the party
    /// has agreed to try, or is slow to say so; or with [`FaultCode::Party`](crate::FaultCode) where it
    /// refuses.
    Transfer(TransferOrder),
    /// Call a party, and then another one for it; answered with [`Response::Call`], the first of the two
    /// calls that this makes.
    Originate(Originate),
    /// Refuse new calls with 503 from now on, or take them again; answered with
    /// [`Response::Status`]. Calls that are up go on.
    Drain {
        /// `false` to take calls again.
        on: bool,
    },
    /// The metrics page; answered with [`Response::Metrics`].
    Metrics,
    /// Change what the process logs; answered with [`Response::Log`].
    Log(LogOrder),
    /// The trunks and how they are; answered with [`Response::Trunks`].
    Trunks,
    /// Give a trunk no new calls from now on, emergency calls apart, or give it calls again; answered with
    /// [`Response::Trunks`] of that one. Calls that are up go on, and calls from it are taken. It holds
    /// until the node's next start.
    DrainTrunk {
        /// Its name.
        name: String,
        /// `false` to give it calls again.
        on: bool,
    },
    /// Ask every host of a trunk whether it is there, now; answered with [`Response::Probed`] within 4 s.
    /// One that is counts as up at once.
    ProbeTrunk {
        /// Its name.
        name: String,
    },
    /// Read the configuration and the store again, and take over what can be where all of it is good;
    /// answered with [`Response::Reloaded`], or [`FaultCode::Invalid`](crate::FaultCode) with a line for
    /// each reason. [`Response::Reloading`] where it takes longer than a client waits.
    Reload,
    /// What comes of the latest [`Request::Reload`]; answered like that one.
    ReloadOutcome,
    /// Where a call would go, and why; answered with [`Response::Route`]. Nobody is called.
    Route(RouteQuestion),
    /// What users have registered, by the order of their addresses; answered with
    /// [`Response::Registrations`].
    Registrations {
        /// The address of record of the last user of the page before; empty for the first page.
        after: String,
        /// Users at most, 1 to 10,000.
        limit: u32,
    },
    /// What one user has registered; answered with [`Response::Registrations`].
    RegistrationsOf {
        /// As in [`UserOrder`].
        user: String,
    },
    /// The users in the store, by domain and name; answered with [`Response::Users`].
    Users {
        /// The address of record of the last user of the page before; empty for the first page.
        after: String,
        /// Users at most, 1 to 10,000.
        limit: u32,
    },
    /// One of them, where it is there; answered with [`Response::Users`].
    UserNamed {
        /// As in [`UserOrder`].
        user: String,
    },
    /// Add, change or remove a user, in the store and for every worker at once; answered with
    /// [`Response::User`].
    User(UserOrder),
    /// Take what a user has registered away, as if it had expired; answered with [`Response::Done`], or
    /// [`FaultCode::NotFound`](crate::FaultCode). The phone may register anew.
    Unregister {
        /// As in [`UserOrder`].
        user: String,
        /// Only this Contact, as in [`BindingInfo::contact`]; else all of them.
        contact: Option<String>,
    },
    /// The messages of a call that are kept; answered with [`Response::Trace`], or
    /// [`FaultCode::NotFound`](crate::FaultCode) where there is none.
    Trace {
        /// Tandem's id of the call (until a minute after its end), or a Call-ID.
        id: String,
        /// Only those after this [`TracePage::next`]; 0 for all.
        after: u64,
        /// With each message's whole text.
        full: bool,
        /// Only where it is a call of this tenant: then by Tandem's id alone, for anybody may write the Call-ID
        /// of another's call.
        tenant: Option<String>,
    },
    /// The bans in force, in no order; answered with [`Response::Bans`].
    Bans,
    /// Ban a source whatever it did, or ban it anew for another time, over restarts too; answered with
    /// [`Response::Done`], or refused where it is in the allow set.
    Ban {
        /// An address, or a block such as `192.0.2.0/24`.
        source: String,
        /// For how long, 1 to 31,536,000 s.
        seconds: u32,
        /// Why, as the list shall say; 200 characters at most.
        reason: String,
    },
    /// End a ban; answered with [`Response::Done`], or [`FaultCode::NotFound`](crate::FaultCode).
    Lift {
        /// As in [`BanInfo::source`], or an address of it.
        source: String,
    },
    /// Create, replace or remove a document that calls are routed by; answered with
    /// [`Response::Routing`].
    Routing(RoutingOrder),
    /// What the configuration file brings of a kind, in its order; answered with
    /// [`Response::FileRouting`]. Numbers are none of it: the file creates them in the store.
    FileRouting(RoutingKind),
    /// Programmable voice; answered with [`Response::Voice`].
    Voice(VoiceOrder),
}

/// signaling to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// A page of calls.
    Calls(Vec<CallInfo>),
    /// The call as it is now.
    Call(Box<CallInfo>),
    /// How a call has sounded, oldest sample first.
    Quality(Vec<QualitySample>),
    /// The node.
    Status(SignalStatus),
    /// It was done.
    Done,
    /// Prometheus text.
    Metrics(String),
    /// Every trunk, in the order of the configuration, or the one that was asked for.
    Trunks(Vec<TrunkInfo>),
    /// What each host of a trunk said, in the order of the configuration.
    Probed(Vec<ProbeInfo>),
    /// What was taken over.
    Reloaded(ReloadReport),
    /// It takes longer than a client waits: ask for the outcome.
    Reloading,
    /// Where a call would go.
    Route(Box<RouteReport>),
    /// Contacts of users, whole users only.
    Registrations(Vec<BindingInfo>),
    /// Users of the store.
    Users(Vec<UserInfo>),
    /// What was done to a user.
    User(UserDone),
    /// Messages of a call.
    Trace(TracePage),
    /// The bans.
    Bans(Vec<BanInfo>),
    /// What is logged now.
    Log(LogState),
    /// What came of an order.
    Routing(RoutingOutcome),
    /// Documents of the configuration file.
    FileRouting(Vec<FileDocument>),
    /// What came of an order to programmable voice.
    Voice(VoiceDone),
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanInfo {
    /// Who: an address, the /64 of an IPv6 one, or a block.
    pub source: String,
    /// What led to it, such as `wrong-password`, or `operator`.
    pub reason: String,
    /// An operator's words; empty otherwise.
    pub words: String,
    /// Seconds since it began.
    pub age_s: u64,
    /// Seconds until it ends.
    pub left_s: u64,
    /// Messages and connections that signaling itself refused; what the XDP program dropped is not in
    /// it.
    pub hits: u64,
}

/// A contact that a user has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingInfo {
    /// The user's address of record.
    pub user: String,
    /// The URI of its Contact.
    pub contact: String,
    /// Its preference in thousandths, where it names one.
    pub q: Option<u16>,
    /// Where it came from, as `udp:192.0.2.1:5060`.
    pub source: String,
    /// Its User-Agent; empty where it names none.
    pub user_agent: String,
    /// Seconds that are left.
    pub expires_s: u32,
}

/// A call that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallInfo {
    /// Tandem's id of the call: the one its CDR will have. Sorts by time of arrival.
    pub id: String,
    /// The Call-ID header field.
    pub call_id: String,
    /// The caller's URI, as in From.
    pub from: String,
    /// The callee's URI, as in To.
    pub to: String,
    /// Where the INVITE came from, `udp:192.0.2.1:5060`.
    pub source: String,
    /// Whose it is: of the tenant who pays for it; `None`: the node's.
    pub tenant: Option<String>,
    /// The trunk that carries it on, once chosen.
    pub trunk: Option<String>,
    /// Where it stands.
    pub state: CallState,
    /// When the INVITE came, in milliseconds since 1970 (UTC).
    pub started_ms: i64,
    /// When it was answered, likewise.
    pub answered_ms: Option<i64>,
    /// Ids of its media sessions.
    pub media: Vec<crate::media::SessionId>,
    /// Who is muted by [`CallChange::Mute`].
    pub muted: Vec<Party>,
    /// Both are kept from hearing each other by [`CallChange::Hold`].
    pub held: bool,
    /// The call that this one is connected with, where the node made both ([`Originate`]). The one with
    /// media is the second.
    pub peer: Option<String>,
    /// The latest transfer of one of the parties.
    pub transfer: Option<TransferInfo>,
    /// The file that the call is being recorded to, on mediad's machine.
    pub recording: Option<String>,
}

/// Whether a call is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordOrder {
    /// As in [`CallInfo::id`].
    pub id: String,
    /// `false` to record it no longer.
    pub on: bool,
    /// What the file is to be, where one is begun.
    pub format: RecordFormat,
    /// Nothing is recorded for now: silence in what is heard, and no packets.
    pub paused: bool,
}

/// Telephone keys for a party of a call to hear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtmfOrder {
    /// As in [`CallInfo::id`].
    pub id: String,
    /// Who hears them.
    pub party: Party,
    /// As in [`crate::media::Dtmf::digits`].
    pub digits: String,
    /// How long each is pressed, in milliseconds.
    pub duration_ms: u16,
    /// The silence after each, in milliseconds.
    pub gap_ms: u16,
}

/// How a call sounded at a moment of it: its first stream of media, which is the audio as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualitySample {
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// What the caller has sent. Its `mos` is the lowest since the sample before.
    pub caller: FlowSample,
    /// What the callee has sent, likewise.
    pub callee: FlowSample,
}

/// How a call has sounded since the last event that said so: its first stream of media, which is the audio as a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallQuality {
    /// As in [`CallInfo::id`].
    pub id: String,
    /// As in [`CallInfo::tenant`].
    pub tenant: Option<String>,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// The path that its packets take now.
    pub path: Path,
    /// What the caller has sent.
    pub caller: FlowReport,
    /// What the callee has sent.
    pub callee: FlowReport,
}

/// What a party has sent, of a [`CallQuality`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowReport {
    /// In all; `mos` is of what is new.
    pub now: FlowSample,
    /// Packets since the last event.
    pub new_packets: u64,
    /// Of these, lost before this node.
    pub new_lost: u64,
}

/// A party that is to be transferred (blindly: to somebody who is not asked first).
///
/// Of the two calls of an [`Originate`] the callee is the call's own party, the caller that of its peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOrder {
    /// As in [`CallInfo::id`].
    pub id: String,
    /// Who.
    pub party: Party,
    /// To whom: as in [`Originate`].
    pub to: String,
}

/// How a transfer goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferInfo {
    /// Who is transferred.
    pub party: Party,
    /// The URI to which.
    pub to: String,
    /// What the party tells of its new call, or its answer where it refuses to make one: below 200 it is
    /// being tried.
    pub status: u16,
}

/// Two parties to be connected.
///
/// Each is a user (`alice@example.test`, or `alice` of the first domain), a number, or a SIP URI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Originate {
    /// Who is called first, and in whose name the second one is.
    pub from: String,
    /// Who is called once the first one has answered.
    pub to: String,
    /// What both are shown as the caller; else each is shown the other.
    pub caller_id: Option<String>,
    /// For how long either is rung at most, 1 to 600 s; less where its route says so.
    pub ring_timeout_s: u32,
}

/// One of the two who talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

/// What an operator does to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOrder {
    /// As in [`CallInfo::id`].
    pub id: String,
    /// What.
    pub change: CallChange,
}

/// Kinds of [`CallOrder`]. Phones are told nothing of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallChange {
    /// Keep the other party from hearing this one, or let it hear again.
    Mute {
        /// Who is not heard.
        party: Party,
        /// `false` to be heard again.
        on: bool,
    },
    /// Keep both from hearing each other, or let them again; who is muted besides stays so.
    Hold {
        /// `false` to go on.
        on: bool,
    },
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// The INVITE went on, and no provisional answer came yet.
    Trying,
    /// The callee's side answered 180 or 183.
    Ringing,
    /// 200 went to the caller.
    Answered,
    /// It is being taken down.
    Ending,
}

/// How signaling is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalStatus {
    /// The node's name.
    pub node: String,
    /// Tandem's version.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Calls that are up.
    pub calls: u64,
    /// New calls are being refused.
    pub draining: bool,
    /// Where it listens, `udp:127.0.0.1:5060`.
    pub listen: Vec<String>,
    /// mediad, or `None` while it cannot be reached.
    pub media: Option<MediaStatus>,
    /// Contacts that are registered.
    pub registrations: u64,
    /// CDRs that wait to be written.
    pub cdrs_queued: u64,
    /// Seconds for which the database has taken no CDRs, or no registrations, that wait for it; `None`
    /// while it does.
    pub unwritten_s: Option<u64>,
}

/// What signaling tells unasked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "most events are of calls: a box of their own would cost more than it saves"
)]
pub enum Event {
    /// A call began, or changed its state.
    Call(CallInfo),
    /// A call is over.
    Ended {
        /// As in [`CallInfo::id`].
        id: String,
        /// As in [`CallInfo::tenant`].
        tenant: Option<String>,
        /// The last status, such as 200 or 486.
        status: u16,
        /// Why, in a few words.
        reason: String,
    },
    /// A phone has registered a Contact that it had not registered before. That it did so again is not told.
    Registered(BindingInfo),
    /// A Contact is registered no more.
    Unregistered {
        /// As it was.
        binding: BindingInfo,
        /// How that came.
        why: Unbound,
    },
    /// A host of a trunk, or our registration with it, is up that was down, or down that was up.
    Trunk(TrunkInfo),
    /// A source is banned, or banned anew.
    Banned(BanInfo),
    /// A ban is over before its time.
    Lifted {
        /// As in [`BanInfo::source`].
        source: String,
    },
    /// How calls sound, of those whose time has come.
    Quality(Vec<CallQuality>),
    /// Somebody is heard badly, for as many intervals as the configuration says; or well enough again.
    Heard {
        /// As in [`CallInfo::id`].
        id: String,
        /// As in [`CallInfo::tenant`].
        tenant: Option<String>,
        /// Who is heard.
        party: Party,
        /// Estimated mean opinion score of the last interval, 1.0 to 4.5.
        mos: f32,
        /// Badly.
        is_low: bool,
    },
}

/// How a Contact came to be registered no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unbound {
    /// It was not registered again in time.
    Expired,
    /// Its phone took it back, or has another one now.
    Phone,
    /// The connection over which it registered is closed.
    Closed,
    /// Nobody answers there.
    Unreachable,
    /// An operator took it away.
    Operator,
}
