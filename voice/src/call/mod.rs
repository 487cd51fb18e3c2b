//! One call under the control of documents.
//!
//! [`Call`] is told what happens ([`Call::handle`]) and drained of what its host is to do
//! ([`Call::poll_action`]). It holds no socket and reads no clock: `now` comes with each event, and the host
//! wakes it when [`Call::poll_timeout`] says.
//!
//! # Driving it
//!
//! One mutation, then drain: after [`Call::new`], each [`Call::handle`] and each [`Call::handle_timeout`], do
//! what [`Call::poll_action`] gives until it gives nothing, and arm a timer for [`Call::poll_timeout`]. When
//! [`Call::is_finished`], forget it. The party's leg being over is not the end: those who are to be told of the
//! end are told after it.
//!
//! What the REST API shows of a call, [`Call::poll_news`] tells; what it begins and ends in one beside the document are
//! methods, such as [`Call::start_stream`], since whoever asks wants to know what came of it.
//!
//! # What it does by itself
//!
//! It follows redirections of HTTP, repeats requests and asks the fallback URL, so that a host's HTTP client
//! makes one exchange at a time. It keeps all times but those that need ears: silence that ends a recording and
//! an utterance's end are the media engine's.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Instant, SystemTime},
};

mod action;
mod callbacks;
mod dial;
mod end;
mod event;
pub(crate) mod fetch;
mod gather;
mod leg;
mod news;
mod order;
mod record;
mod script;
mod setup;
mod simple;
mod socket;
mod stream;
mod timeout;

pub use action::{
    Action, Exchange, NewLeg, NewMessage, NewStream, Pause, Recording, Request, Source,
};
pub use event::{
    Cause, Event, Heard, MediaError, RequestError, Response, StreamError, Terms, Update,
};
pub use leg::{API_VERSION, CallStatus};
pub use news::{LegNews, News, RecordingNews, RecordingStatus, StreamNews};
pub use order::{RecordingChange, RecordingOrder, Refused};
pub use setup::{Direction, Entry, Setup};

use crate::{
    form::Params,
    notice::{Code, Level, Notice, shown},
    sid::{Kind, Sid},
    twiml::{Document, Link},
    url::is_socket,
};
use callbacks::Lanes;
use fetch::{Fetch, Purpose};
use leg::Leg;
use script::Script;
use socket::Topic;

/// One leg of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(u32);

/// Something that a host has begun for a call and reports on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u32);

impl JobId {
    /// For a media engine that names jobs by numbers: this one's, which no other job of the call has.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The job of a number that [`JobId::number`] gave.
impl From<u32> for JobId {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

/// One request to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u32);

impl LegId {
    /// Whose call it is: who called in, or who was called by the REST API.
    pub const PARTY: Self = Self(0);
}

/// In which order callbacks are sent: those of a lane one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// How a leg goes.
    Status(LegId),
    /// What has been understood so far.
    Partial(JobId),
    /// How a recording goes.
    Recording(JobId),
    /// How a stream goes.
    Stream(JobId),
    /// What an action would have been told, had the party not hung up.
    Action,
    /// What is wrong, where the application has a socket.
    Notice,
}

/// A call and what its documents have it do.
#[derive(Debug)]
pub struct Call {
    setup: Setup,
    sid: Sid,
    started: Instant,
    legs: BTreeMap<LegId, Leg>,
    main: Script,
    dial: Option<Box<dial::Dialling>>,
    recordings: BTreeMap<JobId, record::Recording>,
    streams: BTreeMap<JobId, stream::Streaming>,
    fetches: BTreeMap<RequestId, Fetch<Purpose>>,
    lanes: Lanes,
    actions: VecDeque<Action>,
    news: VecDeque<News>,
    /// Of the next leg, job or request.
    next: u32,
    /// When the call has lasted as long as it may.
    limit: Option<Instant>,
    /// The application's socket, where it has one.
    home: Option<Link>,
    /// When something happened last.
    latest: Instant,
    /// The party has been told that it rings.
    has_rung: bool,
    /// The party's leg is over.
    is_over: bool,
    /// What the last `<Record>` recorded, or the call's own recording, for the end's callback.
    recorded: Option<Params>,
    /// The party's leg was over then, and so: nobody is told before the call's own recording is.
    ending: Option<(Instant, CallStatus, Option<u16>)>,
}

impl Call {
    /// A call that has come in, or that is being made: of one that comes in the first document is asked for at
    /// once, of another when it is answered.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let mut call = Self::queued(setup, now);
        call.leave_queue(now);
        call
    }

    /// A call that waits for [`Call::leave_queue`].
    pub fn queued(setup: Setup, now: Instant) -> Self {
        let sid = Sid::new(Kind::Call, setup.uuid);
        let party = Leg {
            sid: sid.clone(),
            from: setup.from.clone(),
            to: setup.to.clone(),
            direction: setup.direction,
            status: CallStatus::Queued,
            answered: None,
            callback: None,
            sequence: 0,
        };
        let mut call = Self {
            sid,
            started: now,
            legs: BTreeMap::from([(LegId::PARTY, party)]),
            main: Script::new(LegId::PARTY),
            dial: None,
            recordings: BTreeMap::new(),
            streams: BTreeMap::new(),
            fetches: BTreeMap::new(),
            lanes: Lanes::default(),
            actions: VecDeque::new(),
            news: VecDeque::new(),
            next: 1,
            limit: None,
            home: home_of(&setup),
            latest: now,
            has_rung: false,
            is_over: false,
            recorded: None,
            ending: None,
            setup,
        };
        if let Some((link, events)) = call.status_or_socket(call.setup.status.clone()) {
            let link = call.absolute(LegId::PARTY, &link);
            if let Some(party) = call.legs.get_mut(&LegId::PARTY) {
                party.callback = link.map(|link| (link, events));
            }
        }
        call.leg_news(LegId::PARTY);
        call
    }

    /// A call that was queued is being made now.
    pub fn leave_queue(&mut self, now: Instant) {
        if self.is_over || self.status() != CallStatus::Queued {
            return;
        }
        self.limit = now.checked_add(self.setup.time_limit);
        if self.setup.direction == Direction::Inbound {
            self.set_status(now, LegId::PARTY, CallStatus::Ringing, None);
            self.enter(now);
        } else {
            self.set_status(now, LegId::PARTY, CallStatus::Initiated, None);
        }
    }

    /// The call's SID.
    pub fn sid(&self) -> &Sid {
        &self.sid
    }

    /// What it was begun with.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// How the party's leg is.
    pub fn status(&self) -> CallStatus {
        self.legs
            .get(&LegId::PARTY)
            .map_or(CallStatus::Completed, |leg| leg.status)
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event, now: Instant) {
        self.latest = now;
        match event {
            Event::Response { id, result } => self.on_response(now, id, result),
            Event::Ringing { leg } => self.on_ringing(now, leg),
            Event::Answered { leg } => self.on_answered(now, leg),
            Event::Ended {
                leg,
                cause,
                sip_status,
            } => self.on_ended(now, leg, cause, sip_status),
            Event::Digit { leg, digit } => self.on_digit(now, leg, digit),
            Event::Played { job, result } => self.on_played(now, job, result),
            Event::Heard { job, heard } => self.on_heard(now, job, heard),
            Event::RecordingStarted { job } => self.on_recording_started(now, job),
            Event::Recorded { job, result } => self.on_recorded(now, job, result),
            Event::StreamStarted { job } => self.on_stream_started(now, job),
            Event::StreamEnded { job, result } => self.on_stream_ended(now, job, result),
            Event::Referred {
                job,
                response,
                notified,
                untold,
            } => self.on_referred(now, job, response, notified, untold),
            Event::Sent { job, result } => {
                let refused = result.err();
                self.on_sent(now, job, refused.as_deref());
            }
            Event::Update(update) => self.on_update(now, update),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether nothing will come of it any more.
    pub fn is_finished(&self) -> bool {
        self.is_over
            && self.actions.is_empty()
            && self.fetches.is_empty()
            && self.recordings.is_empty()
    }

    /// Whether the party's leg is over; others may still have to be told.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether a key that the party presses may do something. Not where it talks with somebody whom it cannot hang up
    /// by `*`: a host need not listen then.
    pub fn wants_digits(&self) -> bool {
        let dial = self.dial.as_ref();
        !self.is_over && dial.is_none_or(|dial| dial.wants_digits())
    }

    /// Begins with the first document.
    fn enter(&mut self, now: Instant) {
        match self.setup.entry.clone() {
            Entry::Url(link) => {
                let topic = self.entry_topic();
                self.fetch(now, LegId::PARTY, &link, &Params::new(), topic);
            }
            Entry::Document(text) => self.run_text(now, &text),
        }
    }

    /// Runs a document that came with the call or by the REST API.
    fn run_text(&mut self, now: Instant, text: &str) {
        match Document::parse_any(text.as_bytes()) {
            Ok(document) => self.run(now, LegId::PARTY, self.home.clone(), document),
            Err(error) => {
                let code = fetch::code_of(&error);
                self.document_failed(now, LegId::PARTY, code, None, error.to_string());
            }
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn number(&mut self) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    fn job(&mut self) -> JobId {
        JobId(self.number())
    }

    /// The wall clock's time.
    fn wall(&self, now: Instant) -> SystemTime {
        let since = now.saturating_duration_since(self.started);
        self.setup
            .started
            .checked_add(since)
            .unwrap_or(self.setup.started)
    }

    fn warn(&mut self, code: Code, url: Option<&str>, message: impl Into<String>) {
        self.notice(code, Level::Warning, url, message.into());
    }

    fn notice(&mut self, code: Code, level: Level, url: Option<&str>, message: String) {
        let notice = Notice {
            code,
            level,
            url: url.map(shown),
            message,
        };
        self.tell_notice(&notice);
        self.act(Action::Notice(notice));
    }
}

/// The socket of an application: where its documents are from, or where it wants to be told.
fn home_of(setup: &Setup) -> Option<Link> {
    let entry = match &setup.entry {
        Entry::Url(link) => Some(link),
        Entry::Document(_) => None,
    };
    let status = setup.status.as_ref().map(|(link, _)| link);
    let mut named = entry.into_iter().chain(status);
    named.find(|link| is_socket(&link.url)).cloned()
}

#[cfg(test)]
mod tests;
