//! `<Dial>`: legs called at once or in turn, a document for who picks up, the bridge, and its end.

use std::{collections::VecDeque, time::Instant};

use super::{
    Action, Call, Cause, JobId, Lane, LegId, NewLeg, Source,
    leg::{CallStatus, Leg},
    record::NewRecording,
    script::{Script, Step},
    setup::Direction,
};
use crate::{
    form::Params,
    notice::Code,
    sid::{Kind, Sid},
    twiml::{Dial, Link, Noun},
};

/// A `<Dial>` under way.
#[derive(Debug)]
pub(super) struct Dialling {
    /// Without its nouns.
    dial: Dial,
    /// Who is still to be called, where they are called in turn.
    waiting: VecDeque<Noun>,
    ringing: Vec<(LegId, Noun)>,
    /// Nobody has answered by then.
    pub(super) deadline: Option<Instant>,
    picked: Option<Picked>,
    ringback: Option<JobId>,
    /// The party has been told that it rings.
    has_rung: bool,
    recording: Option<(JobId, Sid)>,
    /// The two have talked as long as they may.
    pub(super) limit: Option<Instant>,
    /// The best of what came of those who did not answer.
    best: Option<(CallStatus, Sid)>,
}

/// Who has answered.
#[derive(Debug)]
struct Picked {
    leg: LegId,
    sid: Sid,
    answered: Instant,
    stage: Stage,
    whisper: Option<Link>,
}

#[derive(Debug)]
enum Stage {
    /// Tones are being sent to it.
    Digits(JobId),
    /// It hears a document of its own.
    Whisper(Box<Script>),
    /// It talks with the party.
    Bridged,
}

impl Dialling {
    pub(super) fn any_whisper(&self) -> Option<&Script> {
        match &self.picked.as_ref()?.stage {
            Stage::Whisper(script) => Some(script),
            _ => None,
        }
    }

    pub(super) fn whisper(&self, leg: LegId) -> Option<&Script> {
        self.any_whisper().filter(|script| script.leg == leg)
    }

    pub(super) fn whisper_mut(&mut self, leg: LegId) -> Option<&mut Script> {
        match &mut self.picked.as_mut()?.stage {
            Stage::Whisper(script) if script.leg == leg => Some(script),
            _ => None,
        }
    }

    fn is_bridged(&self) -> bool {
        let picked = self.picked.as_ref();
        picked.is_some_and(|picked| matches!(picked.stage, Stage::Bridged))
    }

    /// Keeps what tells most.
    fn keep(&mut self, status: CallStatus, sid: Sid) {
        let rank = |status| match status {
            CallStatus::Busy => 3,
            CallStatus::NoAnswer => 2,
            CallStatus::Canceled => 1,
            _ => 0,
        };
        let is_better = |(kept, _): &(CallStatus, Sid)| rank(status) > rank(*kept);
        if self.best.as_ref().is_none_or(is_better) {
            self.best = Some((status, sid));
        }
    }
}

impl Call {
    pub(super) fn begin_dial(&mut self, now: Instant, mut dial: Dial) -> bool {
        let nouns = VecDeque::from(std::mem::take(&mut dial.nouns));
        if nouns.is_empty() {
            let message = "<Dial> calls nobody: it needs a number, <Number>, <Sip> or <Client>";
            self.warn(Code::DialTarget, None, message);
            let Some(action) = dial.action else {
                return true;
            };
            let params = [("DialCallStatus", "failed"), ("DialBridged", "false")];
            self.fetch(now, LegId::PARTY, &action, &params.into_iter().collect());
            return false;
        }
        let mut ringback = None;
        if !dial.answer_on_bridge {
            self.answer(now);
        }
        if self.is_answered() {
            let job = self.job();
            self.act(Action::Ringback {
                job,
                leg: LegId::PARTY,
                country: dial.ring_tone.clone(),
            });
            ringback = Some(job);
        }
        let from_ringing = dial.record.is_some_and(|record| record.from_ringing);
        self.dial = Some(Box::new(Dialling {
            waiting: nouns,
            dial,
            ringing: Vec::new(),
            deadline: None,
            picked: None,
            ringback,
            has_rung: false,
            recording: None,
            limit: None,
            best: None,
        }));
        self.main.step = Step::Dialling;
        if from_ringing && self.is_answered() {
            self.record_dial(now);
        }
        self.call_next(now);
        false
    }

    /// Calls whoever is next: all of them, or the first of those in turn.
    fn call_next(&mut self, now: Instant) {
        let Some(dialling) = &mut self.dial else {
            return;
        };
        let count = if dialling.dial.sequential {
            1
        } else {
            dialling.waiting.len()
        };
        let count = count.min(dialling.waiting.len());
        let nouns: Vec<_> = dialling.waiting.drain(..count).collect();
        dialling.deadline = now.checked_add(dialling.dial.timeout);
        let caller_id = dialling.dial.caller_id.clone();
        let from = caller_id.unwrap_or_else(|| self.setup.from.clone());
        for noun in nouns {
            self.call_one(now, noun, &from);
        }
    }

    fn call_one(&mut self, now: Instant, noun: Noun, from: &str) {
        let status = noun.status.as_ref();
        let callback = status.and_then(|(link, events)| {
            let link = self.absolute(LegId::PARTY, link)?;
            Some((link, *events))
        });
        let id = LegId(self.number());
        let sid = self.sid.derive(Kind::Call, id.0);
        let leg = Leg {
            sid: sid.clone(),
            from: from.to_owned(),
            to: noun.target.address(),
            direction: Direction::OutboundDial,
            status: CallStatus::Initiated,
            answered: None,
            callback,
            sequence: 0,
        };
        self.legs.insert(id, leg);
        self.act(Action::Call(Box::new(NewLeg {
            leg: id,
            sid,
            target: noun.target.clone(),
            from: from.to_owned(),
            parameters: noun.parameters.clone(),
        })));
        if let Some(dialling) = &mut self.dial {
            dialling.ringing.push((id, noun));
        }
        self.set_status(now, id, CallStatus::Initiated, None);
    }

    pub(super) fn on_child_ringing(&mut self, now: Instant, leg: LegId) {
        let is_answered = self.is_answered();
        let Some(dialling) = &mut self.dial else {
            return;
        };
        if !dialling.ringing.iter().any(|(id, _)| *id == leg) {
            return;
        }
        let is_first = !std::mem::replace(&mut dialling.has_rung, true);
        let is_news = self
            .legs
            .get(&leg)
            .is_some_and(|leg| leg.status == CallStatus::Initiated);
        if !is_news {
            return;
        }
        if is_first && !is_answered {
            self.act(Action::Ring);
        }
        self.set_status(now, leg, CallStatus::Ringing, None);
    }

    /// The first who answers is it: the others are called off.
    pub(super) fn on_child_answered(&mut self, now: Instant, leg: LegId) {
        let Some(dialling) = &mut self.dial else {
            return;
        };
        let Some(at) = dialling.ringing.iter().position(|(id, _)| *id == leg) else {
            return;
        };
        let (_, noun) = dialling.ringing.remove(at);
        let others = std::mem::take(&mut dialling.ringing);
        dialling.deadline = None;
        for (other, _) in others {
            self.drop_child(now, other, CallStatus::Canceled);
        }
        let Some(child) = self.legs.get_mut(&leg) else {
            return;
        };
        child.answered = Some(now);
        let sid = child.sid.clone();
        self.set_status(now, leg, CallStatus::InProgress, None);
        let whisper = noun.whisper;
        let stage = match noun.send_digits {
            Some(digits) => {
                let job = self.job();
                self.act(Action::Play {
                    job,
                    leg,
                    source: Source::Digits(digits),
                    loops: 1,
                });
                Stage::Digits(job)
            }
            None => Stage::Whisper(Box::new(Script::new(leg))),
        };
        let is_whispering = matches!(stage, Stage::Whisper(_));
        if let Some(dialling) = &mut self.dial {
            dialling.picked = Some(Picked {
                leg,
                sid,
                answered: now,
                stage,
                whisper,
            });
        }
        if is_whispering {
            self.whisper(now);
        }
    }

    /// Whether a job was the tones for who picked up, which goes on then, however they went.
    pub(super) fn on_digits_sent(&mut self, now: Instant, job: JobId) -> bool {
        let Some(picked) = self.dial.as_mut().and_then(|dial| dial.picked.as_mut()) else {
            return false;
        };
        if !matches!(picked.stage, Stage::Digits(sending) if sending == job) {
            return false;
        }
        picked.stage = Stage::Whisper(Box::new(Script::new(picked.leg)));
        self.whisper(now);
        true
    }

    /// Has who picked up hear its document, where there is one.
    fn whisper(&mut self, now: Instant) {
        let Some(picked) = self.dial.as_mut().and_then(|dial| dial.picked.as_mut()) else {
            return;
        };
        let leg = picked.leg;
        match picked.whisper.take() {
            Some(link) => {
                // Its URL is relative to the document that dials.
                let base = self.main.base.clone();
                if let Some(script) = self.script_mut(leg) {
                    script.base = base;
                }
                self.fetch(now, leg, &link, &Params::new());
            }
            None => self.bridge(now),
        }
    }

    /// Connects who picked up with the party.
    pub(super) fn bridge(&mut self, now: Instant) {
        let Some(dialling) = &mut self.dial else {
            return;
        };
        let Some(picked) = &mut dialling.picked else {
            return;
        };
        picked.stage = Stage::Bridged;
        let leg = picked.leg;
        dialling.limit = now.checked_add(dialling.dial.time_limit);
        let is_recorded = dialling.dial.record.is_some() && dialling.recording.is_none();
        if let Some(job) = dialling.ringback.take() {
            self.act(Action::Stop { job });
        }
        self.answer(now);
        self.act(Action::Bridge { leg });
        if is_recorded {
            self.record_dial(now);
        }
    }

    fn record_dial(&mut self, now: Instant) {
        let Some(dialling) = &self.dial else {
            return;
        };
        let dual = dialling.dial.record.is_some_and(|record| record.dual);
        let new = NewRecording {
            source: "DialVerb",
            bridged: true,
            channels: if dual { 2 } else { 1 },
            silence: None,
            beep: false,
            trim: dialling.dial.trim,
            callback: dialling.dial.recording_callback.clone(),
        };
        let recording = self.record(now, new);
        if let Some(dialling) = &mut self.dial {
            dialling.recording = Some(recording);
        }
    }

    /// The party's `*`, where it hangs up the other.
    pub(super) fn on_dial_digit(&mut self, now: Instant, digit: char) {
        let is_meant = |dialling: &&mut Box<Dialling>| dialling.dial.hangup_on_star;
        if digit == '*'
            && self
                .dial
                .as_mut()
                .filter(is_meant)
                .is_some_and(|d| d.is_bridged())
        {
            self.end_dial(now);
        }
    }

    /// Those who were called have rung as long as they may.
    pub(super) fn on_dial_deadline(&mut self, now: Instant) {
        let Some(dialling) = &mut self.dial else {
            return;
        };
        dialling.deadline = None;
        for (leg, _) in std::mem::take(&mut dialling.ringing) {
            self.drop_child(now, leg, CallStatus::NoAnswer);
        }
        self.after_child(now);
    }

    /// A leg that was called is over by itself.
    pub(super) fn on_child_ended(
        &mut self,
        now: Instant,
        leg: LegId,
        cause: Cause,
        sip: Option<u16>,
    ) {
        let Some(dialling) = &mut self.dial else {
            return;
        };
        if dialling
            .picked
            .as_ref()
            .is_some_and(|picked| picked.leg == leg)
        {
            self.forget_child(now, leg, CallStatus::Completed, sip);
            return self.end_dial(now);
        }
        let Some(at) = dialling.ringing.iter().position(|(id, _)| *id == leg) else {
            return;
        };
        dialling.ringing.remove(at);
        // Who hangs up without having answered has refused.
        let status = match cause {
            Cause::HungUp => CallStatus::Busy,
            cause => CallStatus::unanswered(cause),
        };
        self.forget_child(now, leg, status, sip);
        self.after_child(now);
    }

    /// Somebody who was called is gone: the next one is called, or it is over.
    fn after_child(&mut self, now: Instant) {
        let Some(dialling) = &self.dial else {
            return;
        };
        if dialling.picked.is_some() || !dialling.ringing.is_empty() {
            return;
        }
        if dialling.waiting.is_empty() {
            self.end_dial(now);
        } else {
            self.call_next(now);
        }
    }

    /// The document of who picked up hangs up, or cannot be had.
    pub(super) fn drop_picked(&mut self, now: Instant, leg: LegId) {
        let picked = self.dial.as_ref().and_then(|dial| dial.picked.as_ref());
        if picked.is_some_and(|picked| picked.leg == leg) {
            self.end_dial(now);
        }
    }

    /// The `<Dial>` is over: whoever asked is told, or the next verb follows.
    pub(super) fn end_dial(&mut self, now: Instant) {
        let Some((action, params)) = self.take_dial(now) else {
            return;
        };
        match action {
            Some(action) => self.fetch(now, LegId::PARTY, &action, &params),
            None => self.proceed(now, LegId::PARTY),
        }
    }

    /// The party has hung up meanwhile: whoever asked is told, and not listened to.
    pub(super) fn end_dial_without_party(&mut self, now: Instant) {
        let Some((Some(action), params)) = self.take_dial(now) else {
            return;
        };
        let Some(action) = self.absolute(LegId::PARTY, &action) else {
            return;
        };
        let mut all = self.base_params(LegId::PARTY);
        all.extend(&params);
        self.tell(now, Lane::Action, action, all);
    }

    /// Ends all that belongs to a `<Dial>`. Its action, and what that is to be told.
    pub(super) fn take_dial(&mut self, now: Instant) -> Option<(Option<Link>, Params)> {
        let mut dialling = self.dial.take()?;
        let mut params = Params::new();
        let picked = dialling.picked.take();
        let is_bridged = matches!(&picked, Some(picked) if matches!(picked.stage, Stage::Bridged));
        for (leg, _) in std::mem::take(&mut dialling.ringing) {
            let sid = self.legs.get(&leg).map(|leg| leg.sid.clone());
            self.drop_child(now, leg, CallStatus::Canceled);
            if let Some(sid) = sid {
                dialling.keep(CallStatus::Canceled, sid);
            }
        }
        if let Some(job) = dialling.ringback
            && !self.is_over
        {
            self.act(Action::Stop { job });
        }
        match picked {
            Some(picked) => {
                if let Stage::Whisper(script) = &picked.stage
                    && let Step::Fetching(id) = script.step
                {
                    self.cancel_fetch(id);
                }
                params.push("DialCallStatus", CallStatus::Completed.as_str());
                params.push("DialCallSid", picked.sid.as_str());
                let talked = now.saturating_duration_since(picked.answered);
                params.push("DialCallDuration", talked.as_secs().to_string());
                self.drop_child(now, picked.leg, CallStatus::Completed);
            }
            None => {
                let failed = || (CallStatus::Failed, None);
                let (status, sid) = dialling
                    .best
                    .take()
                    .map_or_else(failed, |(s, sid)| (s, Some(sid)));
                params.push("DialCallStatus", status.as_str());
                params.push_some("DialCallSid", sid.as_ref().map(Sid::as_str));
            }
        }
        params.push("DialBridged", if is_bridged { "true" } else { "false" });
        if let Some((job, sid)) = &dialling.recording {
            params.push("RecordingUrl", self.recording_url(sid));
            if !self.is_over {
                self.stop_recording(now, *job);
            }
        }
        Some((dialling.dial.action, params))
    }

    /// Hangs up a leg that was called.
    fn drop_child(&mut self, now: Instant, leg: LegId, status: CallStatus) {
        if self.legs.contains_key(&leg) {
            self.act(Action::HangUp { leg });
            self.forget_child(now, leg, status, None);
        }
    }

    fn forget_child(&mut self, now: Instant, leg: LegId, status: CallStatus, sip: Option<u16>) {
        self.set_status(now, leg, status, sip);
        let Some(gone) = self.legs.remove(&leg) else {
            return;
        };
        if let Some(dialling) = &mut self.dial {
            dialling.keep(status, gone.sid);
        }
    }
}
