//! Answers, refusals and ends of the party's leg, and what the REST API does to a call in progress.

use std::time::Instant;

use super::{
    Action, Call, Cause, Entry, LegId, Terms, Update,
    leg::CallStatus,
    record::{CALL_RECORDING, NewRecording},
    script::Step,
    setup::Direction,
};
use crate::{
    notice::{Code, Level},
    twiml::RejectReason,
};

impl Call {
    pub(super) fn is_answered(&self) -> bool {
        let party = self.legs.get(&LegId::PARTY);
        party.is_some_and(|party| party.answered.is_some())
    }

    /// Has a leg hear: a party that called is answered first. Others have answered by themselves.
    pub(super) fn answer_leg(&mut self, now: Instant, leg: LegId) {
        if leg == LegId::PARTY {
            self.answer(now);
        }
    }

    /// Answers a party that called, where it has not been yet.
    pub(super) fn answer(&mut self, now: Instant) {
        if self.is_over || self.is_answered() || self.setup.direction != Direction::Inbound {
            return;
        }
        self.act(Action::Answer);
        self.on_party_answered(now);
    }

    /// Tells a party that called that it rings, once.
    pub(super) fn ring(&mut self) {
        let waits = self.setup.direction == Direction::Inbound && !self.is_answered();
        if waits && !std::mem::replace(&mut self.has_rung, true) {
            self.act(Action::Ring);
        }
    }

    fn on_party_answered(&mut self, now: Instant) {
        if let Some(party) = self.legs.get_mut(&LegId::PARTY) {
            party.answered = Some(now);
        }
        self.limit = now.checked_add(self.setup.time_limit);
        self.set_status(now, LegId::PARTY, CallStatus::InProgress, None);
        if let Some(order) = self.setup.record.take() {
            self.record(now, NewRecording::ordered(order, CALL_RECORDING));
        }
    }

    pub(super) fn on_ringing(&mut self, now: Instant, leg: LegId) {
        if leg != LegId::PARTY {
            return self.on_child_ringing(now, leg);
        }
        if !self.is_over && self.status() == CallStatus::Initiated {
            self.set_status(now, leg, CallStatus::Ringing, None);
        }
    }

    pub(super) fn on_answered(&mut self, now: Instant, leg: LegId) {
        if leg != LegId::PARTY {
            return self.on_child_answered(now, leg);
        }
        let is_called = self.setup.direction != Direction::Inbound;
        if is_called && !self.is_over && !self.is_answered() {
            self.on_party_answered(now);
            self.enter(now);
        }
    }

    pub(super) fn on_ended(&mut self, now: Instant, leg: LegId, cause: Cause, sip: Option<u16>) {
        if leg != LegId::PARTY {
            return self.on_child_ended(now, leg, cause, sip);
        }
        let status = match self.is_answered() {
            true => CallStatus::Completed,
            false => CallStatus::unanswered(cause),
        };
        self.party_gone(now, status, sip);
    }

    pub(super) fn on_digit(&mut self, now: Instant, leg: LegId, digit: char) {
        match self.script(leg).map(|script| &script.step) {
            Some(Step::Gathering(_)) => self.on_gather_digit(now, leg, digit),
            Some(Step::Recording(_)) => self.on_record_digit(now, digit),
            Some(Step::Dialling) => self.on_dial_digit(now, digit),
            _ => {}
        }
    }

    /// A script is at its end, or its document says so. One that begins with `<Hangup/>` has the call answered:
    /// only `<Reject>` does not.
    pub(super) fn hang_up(&mut self, now: Instant, leg: LegId) {
        if leg != LegId::PARTY {
            return self.drop_picked(now, leg);
        }
        self.answer(now);
        self.act(Action::HangUp { leg });
        self.party_gone(now, CallStatus::Completed, None);
    }

    /// `<Reject>`, which only a call that is not answered yet can be.
    pub(super) fn reject(&mut self, now: Instant, reason: RejectReason) {
        let (sip_status, status) = match reason {
            RejectReason::Rejected => (603, CallStatus::NoAnswer),
            RejectReason::Busy => (486, CallStatus::Busy),
        };
        if self.is_answered() || self.setup.direction != Direction::Inbound {
            return self.hang_up(now, LegId::PARTY);
        }
        self.act(Action::Refuse { sip_status });
        self.party_gone(now, status, Some(sip_status));
    }

    /// A leg has no document to go on with, nor a fallback.
    pub(super) fn give_up(&mut self, now: Instant, leg: LegId) {
        if leg != LegId::PARTY {
            return self.drop_picked(now, leg);
        }
        self.end_party(now, 500, CallStatus::Failed);
    }

    /// The call has lasted as long as it may.
    pub(super) fn on_limit(&mut self, now: Instant) {
        let message = "the call was hung up: it has lasted as long as a call may".to_owned();
        self.notice(Code::Internal, Level::Error, None, message);
        self.end_party(now, 480, CallStatus::NoAnswer);
    }

    pub(super) fn on_update(&mut self, now: Instant, update: Update) {
        if self.is_over {
            return;
        }
        let entry = match update {
            Update::Complete => return self.end_party(now, 603, CallStatus::Canceled),
            Update::Redirect(link) => Entry::Url(link),
            Update::Document(text) => Entry::Document(text),
            Update::Terms(terms) => return self.on_terms(now, terms),
        };
        self.setup.entry = entry;
        // Who has not answered yet begins with it.
        if self.setup.direction == Direction::Inbound || self.is_answered() {
            self.abort(now);
            self.main.hasty = 0;
            self.enter(now);
        }
    }

    fn on_terms(&mut self, now: Instant, terms: Terms) {
        if terms.fallback.is_some() {
            self.setup.fallback = terms.fallback;
        }
        let status = terms
            .status
            .and_then(|link| self.absolute(LegId::PARTY, &link));
        let Some(party) = self.legs.get_mut(&LegId::PARTY) else {
            return;
        };
        if let Some(link) = status {
            let events = party.callback.take().map(|(_, events)| events);
            party.callback = Some((link, events.unwrap_or_default()));
        }
        if let Some(limit) = terms.time_limit {
            self.setup.time_limit = limit;
            let is_begun = party.status != CallStatus::Queued;
            let since = party.answered.unwrap_or(now);
            self.limit = since.checked_add(limit).filter(|_| is_begun);
        }
    }

    /// Ends the party's leg, whatever state it is in. `sip_status` and `status` are for one that is not answered.
    fn end_party(&mut self, now: Instant, sip_status: u16, status: CallStatus) {
        if self.is_over {
            return;
        }
        if self.is_answered() {
            self.act(Action::HangUp { leg: LegId::PARTY });
            return self.party_gone(now, CallStatus::Completed, None);
        }
        if self.setup.direction == Direction::Inbound {
            self.act(Action::Refuse { sip_status });
            return self.party_gone(now, status, Some(sip_status));
        }
        self.act(Action::HangUp { leg: LegId::PARTY });
        self.party_gone(now, status, None);
    }

    /// The party's leg is over. Nothing is done any more but what others have to be told.
    fn party_gone(&mut self, now: Instant, status: CallStatus, sip: Option<u16>) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        self.limit = None;
        self.main.verbs.clear();
        // What others are told from here on is told of a call that is over.
        if let Some(party) = self.legs.get_mut(&LegId::PARTY) {
            party.status = status;
        }
        if let Step::Fetching(id) = self.main.step
            && !self.detach_outcome(id)
        {
            self.cancel_fetch(id);
        }
        // Before the rest: they end with the leg, and none has to be stopped.
        self.end_recordings(now);
        self.end_dial_without_party(now);
        self.end_streams(now);
        self.main.step = Step::Idle;
        if self.is_recorded_whole() {
            // Whoever wants to know of the end wants to know what was recorded.
            self.ending = Some((now, status, sip));
            return self.leg_news(LegId::PARTY);
        }
        self.set_status(now, LegId::PARTY, status, sip);
    }

    /// Ends the step that the party is at, without what would follow.
    fn abort(&mut self, now: Instant) {
        self.main.verbs.clear();
        match &self.main.step {
            Step::Fetching(id) => self.cancel_fetch(*id),
            Step::Hearing(job) => {
                let job = *job;
                self.act(Action::Stop { job });
            }
            Step::Gathering(_) => self.stop_gathering(LegId::PARTY),
            Step::Recording(_) => self.abort_record(now),
            Step::Dialling => {
                self.take_dial(now);
            }
            Step::Streaming(job, _) => self.close_stream(now, *job),
            Step::Idle | Step::Pausing(_) | Step::Referring(..) | Step::Sending(..) => {}
        }
        self.main.step = Step::Idle;
    }
}
