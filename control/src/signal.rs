//! What api and the command line ask of signaling.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{channel::Protocol, media::MediaStatus};

/// The protocol between signaling and those who watch it.
#[derive(Debug)]
pub struct Signal;

impl Protocol for Signal {
    const NAME: &'static str = "signal";
    const VERSION: u16 = 2;
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
    },
    /// How the node is; answered with [`Response::Status`].
    Status,
    /// End a call with BYE to both sides (or CANCEL and 487 before an answer); answered with
    /// [`Response::Done`].
    Hangup {
        /// As in [`CallInfo::id`].
        id: String,
    },
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
    /// Read the configuration and the store again, and route by them where they are good; answered
    /// with [`Response::Reloaded`].
    Reload,
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
    /// Take what a user has registered away, as if it had expired; answered with [`Response::Done`], or
    /// [`FaultCode::NotFound`](crate::FaultCode). The phone may register anew.
    Unregister {
        /// As in [`BindingInfo::user`].
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
    },
    /// The bans in force, in no order; answered with [`Response::Bans`].
    Bans,
    /// Ban a source whatever it did, or ban it anew for another time; answered with
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
}

/// signaling to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// A page of calls.
    Calls(Vec<CallInfo>),
    /// The node.
    Status(SignalStatus),
    /// It was done.
    Done,
    /// Prometheus text.
    Metrics(String),
    /// Every trunk, in the order of the configuration.
    Trunks(Vec<TrunkInfo>),
    /// What calls are routed by now, in a few words.
    Reloaded(String),
    /// It takes longer than a client waits: the log tells what comes of it.
    Reloading,
    /// Where a call would go.
    Route(Box<RouteReport>),
    /// Contacts of users, whole users only.
    Registrations(Vec<BindingInfo>),
    /// Messages of a call.
    Trace(TracePage),
    /// The bans.
    Bans(Vec<BanInfo>),
    /// What is logged now.
    Log(LogState),
}

/// What is to become of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogOrder {
    /// Nothing: only tell.
    Show,
    /// Log by this filter, in `RUST_LOG`'s words, for 1 to 86,400 s.
    Raise {
        /// Such as `debug`, or `info,signaling=debug`.
        filter: String,
        /// For how long.
        seconds: u32,
    },
    /// Let debug lines about this through for 1 to 86,400 s. A watch for the same subject is replaced.
    Watch {
        /// About whom.
        subject: Subject,
        /// For how long.
        seconds: u32,
    },
    /// Back to what the process was started with, without any watch.
    Reset,
}

/// Whose messages a watch is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Those of a Call-ID.
    CallId(String),
    /// Those from and to an address.
    Source(IpAddr),
    /// Those of a user, `alice` or `alice@example.test`, in From, To or the Request-URI.
    User(String),
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// The filter.
    pub filter: String,
    /// Seconds until it is again what the process was started with; `None` where it is that.
    pub left_s: Option<u64>,
    /// Whose debug lines pass, and for how many seconds yet.
    pub watches: Vec<(Subject, u64)>,
}

/// Messages of a call in their order. Credentials, passwords and keys are hidden in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePage {
    /// The Call-ID header field.
    pub call_id: String,
    /// Whether the call is up.
    pub up: bool,
    /// 500 at most.
    pub messages: Vec<TracedMessage>,
    /// To be asked for as `after`: there may be more.
    pub next: u64,
}

/// A message that was received or sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedMessage {
    /// When, in microseconds since 1970 (UTC).
    pub at_us: i64,
    /// Received; else sent.
    pub received: bool,
    /// `udp`, `tcp` and so on.
    pub transport: String,
    /// This node's address.
    pub local: SocketAddr,
    /// The other end's.
    pub peer: SocketAddr,
    /// The first line.
    pub line: String,
    /// The CSeq, as `1 INVITE`, where it can be read.
    pub cseq: Option<String>,
    /// The whole message, where it was asked for.
    pub text: Option<String>,
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

/// A trunk as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkInfo {
    /// Its name.
    pub name: String,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<TrunkHostInfo>,
    /// Calls to it that are up, those that ring included.
    pub calls: u64,
    /// Calls that were tried through it since the node started.
    pub offered: u64,
    /// Those of them that it answered.
    pub answered: u64,
    /// Our registration with it; `None` where it wants none.
    pub registration: Option<RegistrationInfo>,
}

/// A host of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkHostInfo {
    /// As configured.
    pub host: String,
    /// Whether it is thought to be up; one that is not is tried last.
    pub up: bool,
    /// Whether OPTIONS ask it.
    pub probed: bool,
    /// What went wrong with it last.
    pub error: Option<String>,
}

/// A registration of this node with a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationInfo {
    /// Seconds until it ends; `None` where we are not registered.
    pub expires_s: Option<u64>,
    /// Why the last attempt failed; `None` where it did not.
    pub error: Option<String>,
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
    /// CDRs that wait to be written.
    pub cdrs_queued: u64,
}

/// What signaling tells unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A call began, or changed its state.
    Call(CallInfo),
    /// A call is over.
    Ended {
        /// As in [`CallInfo::id`].
        id: String,
        /// The last status, such as 200 or 486.
        status: u16,
        /// Why, in a few words.
        reason: String,
    },
}

/// A call that nobody makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteQuestion {
    /// The caller: a number, a user, or a `sip:` URI.
    pub from: String,
    /// Whom it calls, likewise.
    pub to: String,
    /// The trunk that it comes from.
    pub trunk: Option<String>,
    /// The user who calls, where `from` does not say it.
    pub user: Option<String>,
    /// When, as in RFC 3339; now where it is not said.
    pub at: Option<String>,
    /// The caller wants to stay unknown.
    pub private: bool,
    /// What shares are drawn by: one number, one order.
    pub draw: u64,
}

/// Where a call would go, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Whether it goes anywhere.
    pub decision: RouteDecision,
    /// The called number as the node understood it.
    pub called: String,
    /// It would be neither blocked nor limited.
    pub emergency: bool,
    /// Seconds that it may last.
    pub longest_s: Option<u64>,
    /// What it would have to hold.
    pub limits: Vec<RouteLimit>,
    /// What would be tried.
    pub stages: Vec<RouteStage>,
    /// Each rule that had a say, in order.
    pub why: Vec<String>,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteDecision {
    /// It goes along the stages.
    Plan,
    /// It is refused.
    Refuse {
        /// The final response.
        status: u16,
        /// Why.
        reason: String,
    },
    /// Nobody is told anything.
    Silence,
}

/// A place that would be tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteStage {
    /// What brings a call there.
    pub when: String,
    /// Where it is.
    pub to: RouteTo,
    /// Seconds that it rings.
    pub ring_timeout_s: u64,
    /// RTP goes through the node.
    pub relay: bool,
    /// What it would have to hold beside the call's.
    pub limits: Vec<RouteLimit>,
}

/// Where a stage leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteTo {
    /// A user.
    User(String),
    /// A ring group.
    Group {
        /// Its name.
        name: String,
        /// Who is rung together, step by step.
        steps: Vec<Vec<String>>,
        /// Seconds that a step rings.
        step_s: u64,
    },
    /// Trunks, one after the other.
    Carriers(Vec<RouteCarrier>),
    /// A URI outside.
    Uri(String),
}

/// A trunk that would be tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteCarrier {
    /// Its name.
    pub trunk: String,
    /// The number as it gets it.
    pub number: String,
    /// What it costs.
    pub cost: f64,
    /// Its part of the calls of that cost.
    pub share: Option<u16>,
    /// Its hosts.
    pub hosts: Vec<RouteHost>,
    /// What else of the request is changed for it.
    pub edits: Vec<String>,
    /// Final responses after which the next one is tried.
    pub failover: Vec<u16>,
    /// Its redirections are followed.
    pub follows: bool,
    /// What it would have to hold.
    pub limits: Vec<RouteLimit>,
}

/// A host of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHost {
    /// As configured.
    pub host: String,
    /// It is not known to be down.
    pub up: bool,
}

/// A limit that a call would be under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLimit {
    /// Whose it is.
    pub name: String,
    /// Calls at once.
    pub calls: Option<u32>,
    /// Calls a second.
    pub cps: Option<u32>,
    /// Calls that there are now.
    pub in_use: u32,
}
