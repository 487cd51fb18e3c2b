//! What one leg runs: the steps left of its document, and the one that it is at.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Call, JobId, LegId, RequestId, Topic, gather::Gathering, record::Recorder};
use crate::{
    notice::Code,
    twiml::{Document, Link, Prompt, Verb},
};

/// Documents that take less than this are hasty.
const HASTY: Duration = Duration::from_secs(1);
/// The most hasty documents in a row. A `<Redirect>` to itself ends here.
const MAX_HASTY: u32 = 50;

/// What a leg runs.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) leg: LegId,
    /// Where its document is from; `None` for one that came with the call.
    pub(super) base: Option<Link>,
    pub(super) verbs: VecDeque<Verb>,
    pub(super) step: Step,
    /// When its document began to run.
    began: Option<Instant>,
    pub(super) hasty: u32,
}

/// Where a script is.
#[derive(Debug)]
pub(super) enum Step {
    /// Between two steps, or before the first document.
    Idle,
    /// A document is being asked for.
    Fetching(RequestId),
    /// A prompt plays.
    Hearing(JobId),
    /// Silence until then.
    Pausing(Instant),
    Gathering(Box<Gathering>),
    Recording(Box<Recorder>),
    /// All about it is in [`Call::dial`].
    Dialling,
    /// A stream has the call.
    Streaming(JobId, Option<Link>),
    /// A REFER is under way, and waited for until then.
    Referring(JobId, Option<Link>, Instant),
    /// A message is being sent, and waited for until then.
    Sending(JobId, Link, Instant),
}

impl Script {
    pub(super) const fn new(leg: LegId) -> Self {
        Self {
            leg,
            base: None,
            verbs: VecDeque::new(),
            step: Step::Idle,
            began: None,
            hasty: 0,
        }
    }

    /// Whether it has had a document.
    pub(super) const fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// When the step is over, where only time ends it.
    pub(super) fn timeout(&self) -> Option<Instant> {
        match &self.step {
            Step::Pausing(at) | Step::Referring(_, _, at) | Step::Sending(_, _, at) => Some(*at),
            Step::Gathering(gathering) => gathering.timeout(),
            Step::Recording(recorder) => recorder.until,
            _ => None,
        }
    }
}

impl Call {
    pub(super) fn script(&self, leg: LegId) -> Option<&Script> {
        if leg == LegId::PARTY {
            return Some(&self.main).filter(|_| !self.is_over);
        }
        self.dial.as_ref()?.whisper(leg)
    }

    pub(super) fn script_mut(&mut self, leg: LegId) -> Option<&mut Script> {
        if leg == LegId::PARTY {
            return Some(&mut self.main).filter(|_| !self.is_over);
        }
        self.dial.as_mut()?.whisper_mut(leg)
    }

    /// The scripts that run: the party's, and that of who is being connected.
    pub(super) fn scripts(&self) -> impl Iterator<Item = &Script> {
        let whisper = self.dial.as_ref().and_then(|dial| dial.any_whisper());
        self.script(LegId::PARTY).into_iter().chain(whisper)
    }

    /// The leg whose script waits for this.
    pub(super) fn leg_where(&self, is_meant: impl Fn(&Step) -> bool) -> Option<LegId> {
        let script = self.scripts().find(|script| is_meant(&script.step))?;
        Some(script.leg)
    }

    /// Runs a document from its first verb.
    pub(super) fn run(&mut self, now: Instant, leg: LegId, base: Option<Link>, document: Document) {
        let url = base.as_ref().map(|base| base.url.clone());
        for warning in document.warnings {
            self.warn(Code::Schema, url.as_deref(), warning);
        }
        let Some(script) = self.script_mut(leg) else {
            return;
        };
        script.base = base;
        script.verbs = document.verbs.into();
        script.began = Some(now);
        self.proceed(now, leg);
    }

    /// The step of a leg is over: runs the next ones, up to one that takes time.
    pub(super) fn proceed(&mut self, now: Instant, leg: LegId) {
        while let Some(script) = self.script_mut(leg) {
            script.step = Step::Idle;
            let Some(verb) = script.verbs.pop_front() else {
                return self.document_over(now, leg);
            };
            if !self.begin(now, leg, verb) {
                return;
            }
        }
    }

    /// Begins a verb; whether it is over already.
    fn begin(&mut self, now: Instant, leg: LegId, mut verb: Verb) -> bool {
        self.tell_outcome_by_socket(leg, &mut verb);
        match verb {
            // Where it is the first, the party hears it ring for as long.
            Verb::Prompt(Prompt::Pause(length)) => self.begin_pause(now, leg, length),
            Verb::Prompt(prompt) => self.begin_prompt(now, leg, &prompt),
            Verb::Gather(gather) => self.begin_gather(now, leg, *gather),
            Verb::Redirect(link) => {
                let none = crate::form::Params::new();
                self.fetch(now, leg, &link, &none, Topic::Redirect);
                false
            }
            Verb::Hangup => {
                self.hang_up(now, leg);
                false
            }
            _ if leg != LegId::PARTY => {
                let message = "who is being connected hears <Say>, <Play>, <Pause> and <Gather>, \
                               and may be sent on by <Redirect> or <Hangup>; the verb was left out";
                self.warn(Code::Schema, None, message);
                true
            }
            Verb::Dial(dial) => self.begin_dial(now, *dial),
            Verb::Record(record) => self.begin_record(now, *record),
            Verb::Reject(reason) => {
                self.reject(now, reason);
                false
            }
            Verb::Refer(refer) => self.begin_refer(now, refer),
            Verb::StartStream(stream) => {
                self.answer(now);
                self.open_stream(stream, false);
                true
            }
            Verb::StopStream(name) => {
                self.stop_stream(now, &name);
                true
            }
            Verb::Connect(connect) => self.begin_connect(now, connect),
            Verb::Message(message) => self.begin_message(now, message),
        }
    }

    /// The last verb is over. The party is hung up; who is being connected is connected.
    fn document_over(&mut self, now: Instant, leg: LegId) {
        if leg == LegId::PARTY {
            self.hang_up(now, leg);
        } else {
            self.bridge(now);
        }
    }

    /// Whether a leg may ask for another document: not where its last ones took no time.
    pub(super) fn may_go_on(&mut self, now: Instant, leg: LegId) -> bool {
        let Some(script) = self.script_mut(leg) else {
            return false;
        };
        // The first document has none before it.
        let Some(began) = script.began else {
            return true;
        };
        let took = now.saturating_duration_since(began);
        script.hasty = if took < HASTY { script.hasty + 1 } else { 0 };
        script.hasty <= MAX_HASTY
    }
}
