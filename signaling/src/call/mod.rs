//! What a worker does with its calls, as pure logic: no socket, no clock, no task.
//!
//! [`Core`] takes what happened ([`Core::handle_datagram`] and its kin) and the time, and is drained
//! by [`Core::poll_output`] for what is to be done; [`Core::poll_timeout`] says when to wake it. It is
//! a stateful record-routing proxy (RFC 3261 section 16) between trunks that also knows its calls:
//! their dialogs, their media sessions, their records.
//!
//! # The way of a message
//!
//! `input` parses it; `auth` finds out who a request is from that begins something, before the
//! transaction layer keeps anything of it, and `register` binds a user's phones; `request` decides what
//! a request is; `setup` starts a call; `branch` sends a request to its targets one after the other; `reply`
//! takes responses back, `challenge` answers those of trunks, `mirror` has each party see what it wrote
//! itself; `closed` asks after callers whose connection is gone; `within` holds what belongs to a call to its dialog, and passes it on. What touches SDP goes through
//! the call's queue in `turn`, since mediad's answer has to be waited for and nothing of the call may
//! overtake it; `asked` takes mediad's answers. `finish` ends a call and writes its record; `operator` does what operators want of one,
//! `keys` presses telephone keys for them, `recording` has calls recorded, and `bridge` makes their calls; `voice` answers calls as documents say; `quality` keeps how each call sounds.

mod alarm;
mod asked;
mod auth;
mod branch;
mod bridge;
mod challenge;
mod closed;
mod command;
mod course;
mod delivery;
mod dialogs;
mod divert;
mod exchange;
mod fallback;
mod finish;
mod heard;
mod history;
mod input;
mod keys;
mod local;
mod message;
mod mirror;
mod operator;
mod output;
mod policy;
mod quality;
mod recording;
mod redirect;
mod register;
mod reply;
mod request;
mod setup;
mod shed;
mod stage;
mod state;
mod stream;
mod target;
mod text;
mod timer;
mod trace;
mod transfer;
mod turn;
mod voice;
mod way;
mod within;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use control::media::SessionId;
use sip::{
    dialog::Side,
    token::TokenGenerator,
    transaction::{ClientId, Layer, ServerId},
};
use store::Timestamp;

use self::{
    alarm::Alarms,
    exchange::{Exchange, ExchangeId},
    state::{Call, CallKey},
};
use crate::{
    accounts::Access,
    directory::{Aor, Caller, Directory},
    ids::IdMap,
    metrics::Metrics,
    net::{Flow, Placement},
};

pub(crate) use auth::Proof;
pub(crate) use command::MediaNews;
pub(crate) use exchange::{Authority, Hop};
pub(crate) use message::{KeepToken, Kept};
pub(crate) use output::{MediaToken, OrderToken, Output, ResolveToken, WebhookToken};
pub(crate) use policy::{Policy, Terms};
pub(crate) use stream::{Families, OWNER};
pub(crate) use trace::TraceAsked;
#[cfg(feature = "otel")]
pub(crate) use trace::TracedCall;

/// One worker's calls and transactions.
#[derive(Debug)]
pub(crate) struct Core {
    policy: Arc<Policy>,
    terms: Terms,
    directory: Arc<Directory>,
    access: Arc<Access>,
    metrics: Arc<Metrics>,
    /// Marks the sessions of this worker: the node's run, and the worker's index.
    session_mark: [u8; 8],
    /// Which of several workers this one is: what it begins itself has to come back to it.
    home: Option<(Placement, usize)>,
    layer: Layer<Flow>,
    tokens: TokenGenerator,
    /// An instant and the time of day that it was.
    clock: (Instant, Timestamp),
    /// When it began.
    began: Instant,
    draining: bool,
    /// Somebody wants to be told how calls stand.
    listened: bool,
    /// Which calls are traced, where any are.
    #[cfg(feature = "otel")]
    traced: Option<crate::traces::Sample>,

    /// In boxes, as exchanges are: a table of large values takes twice their room, and moves them as it grows.
    calls: IdMap<CallKey, Box<Call>>,
    by_dialog: dialogs::Dialogs,
    by_session: HashMap<SessionId, CallKey>,
    exchanges: IdMap<ExchangeId, Box<Exchange>>,
    by_server: IdMap<ServerId, ExchangeId>,
    clients: IdMap<ClientId, Client>,
    /// Calls that this node makes itself.
    bridges: bridge::Bridges,
    /// Calls that applications answer.
    voices: voice::Voices,
    /// Messages of applications.
    texts: text::Texts,
    /// What waits on connections.
    waits: closed::Waits,
    /// What we sent ourselves, as long as it may be challenged.
    own: IdMap<ClientId, challenge::Own>,
    /// What mediad was asked and has not answered.
    asked: IdMap<MediaToken, asked::Asked>,
    /// Questions to mediad of how calls sound.
    surveys: IdMap<MediaToken, ()>,
    /// The sessions of the next one.
    due: Vec<SessionId>,
    /// Names that are being resolved.
    resolving: IdMap<ResolveToken, target::Asked>,
    /// Addresses that take no TCP, and until when that is believed.
    no_tcp: HashMap<SocketAddr, Instant>,
    media_up: bool,
    /// Requests whose sender the store has to tell.
    parked: auth::Parked,
    /// Who the request is from that the transaction layer is being given.
    admitted: Option<Caller>,
    /// The user whose rights it goes by, where the store cannot tell whether there is one: it is refused.
    unclear: Option<Aor>,

    trace: trace::Trace,
    /// Call-IDs of which a message was watched.
    heard: VecDeque<String>,
    /// Messages that the store is to keep.
    keeping: HashMap<KeepToken, (ServerId, sip::message::Message)>,
    /// Messages on their way to users who came back, and the transactions that carry them.
    delivering: HashMap<Aor, delivery::Delivery>,
    delivered_by: HashMap<ClientId, delivery::SentKept>,
    alarms: Alarms<Alarm>,
    outputs: VecDeque<Output>,
    next: u64,
    /// What answers to REGISTER say of the time.
    date: register::Date,
    gauges: Gauges,
}

/// What a client transaction is for.
#[derive(Clone, Copy, Debug)]
enum Client {
    /// A branch of an exchange.
    Branch(ExchangeId, usize),
    /// A BYE of our own.
    Bye(CallKey, Side),
    /// A BYE of our own to a callee that nobody waits for.
    Disowned,
    /// A message that was kept for its user.
    Kept,
    /// A REFER of our own, by the number of its transfer.
    Refer(CallKey, u64),
}

/// Who is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Alarm {
    Exchange(ExchangeId),
    /// The call has lasted as long as any may.
    Call(CallKey),
    /// It is due to be asked how the call sounds.
    Quality(CallKey),
    /// It has lasted as long as its limits let it.
    Longest(CallKey),
    /// A dialog of the call was not refreshed, or its answer not acknowledged.
    Dialog(CallKey),
    /// A party that was transferred has not told of its new call.
    Transfer(CallKey),
    /// Two calls of this node's own that are one.
    Bridge(u64),
    /// A call that an application answers.
    Voice(u64),
    /// A message of an application.
    Text(u64),
}

/// What this worker has added to the gauges that all workers share.
#[derive(Debug, Default)]
struct Gauges {
    calls: i64,
    transactions: i64,
    sessions: i64,
}

impl Core {
    /// An empty worker. `seed` is 128 random bits of its own; `session_mark` begins the name of each
    /// session that it opens.
    pub(crate) fn new(
        policy: Arc<Policy>,
        directory: Arc<Directory>,
        access: Arc<Access>,
        metrics: Arc<Metrics>,
        seed: u128,
        session_mark: [u8; 8],
        clock: (Instant, Timestamp),
    ) -> Self {
        let mut tokens = TokenGenerator::new(seed);
        let trace_limit = policy.trace_limit;
        let layer_seed = tokens.number();
        Self {
            layer: Layer::new(policy.timers, layer_seed),
            terms: policy.terms,
            policy,
            directory,
            access,
            metrics,
            session_mark,
            began: clock.0,
            home: None,
            tokens,
            clock,
            draining: false,
            listened: true,
            #[cfg(feature = "otel")]
            traced: None,
            calls: IdMap::default(),
            by_dialog: dialogs::Dialogs::default(),
            by_session: HashMap::new(),
            exchanges: IdMap::default(),
            by_server: IdMap::default(),
            clients: IdMap::default(),
            bridges: bridge::Bridges::default(),
            voices: voice::Voices::default(),
            texts: text::Texts::default(),
            waits: closed::Waits::default(),
            own: IdMap::default(),
            asked: IdMap::default(),
            surveys: IdMap::default(),
            due: Vec::new(),
            resolving: IdMap::default(),
            no_tcp: HashMap::new(),
            media_up: true,
            parked: auth::Parked::default(),
            admitted: None,
            unclear: None,
            trace: trace::Trace::new(trace_limit),
            heard: VecDeque::new(),
            keeping: HashMap::new(),
            delivering: HashMap::new(),
            delivered_by: HashMap::new(),
            alarms: Alarms::new(),
            outputs: VecDeque::new(),
            next: 0,
            date: register::Date::default(),
            gauges: Gauges::default(),
        }
    }

    /// Says which of several workers this one is.
    pub(crate) fn set_home(&mut self, placement: Placement, index: usize) {
        self.home = Some((placement, index));
    }

    /// When [`Core::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.layer.poll_timeout(), self.alarms.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells the time of day, which may have been corrected.
    pub(crate) fn set_clock(&mut self, now: Instant, time: Timestamp) {
        self.clock = (now, time);
    }

    /// Says whether anybody listens to events: where nobody does, none are made.
    pub(crate) fn set_listened(&mut self, on: bool) {
        let was = std::mem::replace(&mut self.listened, on);
        if on && !was {
            self.report_from_now_on(self.clock.0);
        }
    }

    /// Says which calls are traced.
    #[cfg(feature = "otel")]
    pub(crate) fn set_traced(&mut self, calls: Option<crate::traces::Sample>) {
        self.traced = calls;
    }

    /// How many calls there are, those being set up or taken down included.
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing at all is left: what the tests for leaks ask.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.layer.is_empty()
            && self.calls.is_empty()
            && self.by_dialog.is_empty()
            && self.by_session.is_empty()
            && self.exchanges.is_empty()
            && self.by_server.is_empty()
            && self.clients.is_empty()
            && self.bridges.is_empty()
            && self.voices.is_empty()
            && self.texts.is_empty()
            && self.waits.is_empty()
            && self.own.is_empty()
            && self.asked.is_empty()
            && self.surveys.is_empty()
            && self.due.is_empty()
            && self.resolving.is_empty()
            && self.keeping.is_empty()
            && self.delivering.is_empty()
            && self.delivered_by.is_empty()
            && self.parked.is_empty()
            && self.alarms.is_empty()
            && self.outputs.is_empty()
    }

    /// The time of day at `now`.
    fn time(&self, now: Instant) -> Timestamp {
        let since = now.saturating_duration_since(self.clock.0);
        let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.clock.1.millis().saturating_add(millis))
    }

    /// What time it was when this turn began.
    const fn time_of_day(&self) -> Timestamp {
        self.clock.1
    }

    /// A Call-ID for a request of our own, whose answer is this worker's.
    fn own_call_id(&mut self) -> String {
        loop {
            let id = self.tokens.token();
            let home = self.home.as_ref();
            if home.is_none_or(|(placement, index)| placement.of(id.as_bytes()) == *index) {
                return id;
            }
        }
    }

    /// A number that this worker has not given before.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn session_id(tokens: &mut TokenGenerator, mark: [u8; 8]) -> SessionId {
        let random = tokens.number().to_be_bytes();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&mark);
        id[8..].copy_from_slice(&random[..8]);
        SessionId(id)
    }

    /// Moves the shared gauges by what has changed since the last time.
    fn settle_gauges(&mut self) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let now = Gauges {
            calls: count(self.calls.len()),
            transactions: count(self.layer.clients() + self.layer.servers()),
            sessions: count(self.by_session.len()),
        };
        self.metrics.calls_active.add(now.calls - self.gauges.calls);
        self.metrics
            .transactions
            .add(now.transactions - self.gauges.transactions);
        self.metrics
            .media_sessions
            .add(now.sessions - self.gauges.sessions);
        self.gauges = now;
    }
}

#[cfg(test)]
mod tests;
