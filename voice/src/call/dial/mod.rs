//! `<Dial>`: legs called at once or in turn, a document for who picks up, the bridge, and its end.

use std::{collections::VecDeque, time::Instant};

use super::{
    Action, Call, Cause, JobId, LegId, NewLeg, Topic,
    leg::{CallStatus, Leg},
    script::{Script, Step},
    setup::Direction,
};
use crate::{
    notice::Code,
    sid::{Kind, Sid},
    twiml::{Dial, Link, Noun},
};

mod end;
mod picked;

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

    pub(super) fn wants_digits(&self) -> bool {
        !self.is_bridged() || self.dial.hangup_on_star
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
    pub(in crate::call) fn begin_dial(&mut self, now: Instant, mut dial: Dial) -> bool {
        let nouns = VecDeque::from(std::mem::take(&mut dial.nouns));
        if nouns.is_empty() {
            let message = "<Dial> calls nobody: it needs a number, <Number>, <Sip> or <Client>";
            self.warn(Code::DialTarget, None, message);
            let Some(action) = dial.action else {
                return true;
            };
            let params = [("DialCallStatus", "failed"), ("DialBridged", "false")];
            let params = params.into_iter().collect();
            self.fetch(now, LegId::PARTY, &action, &params, Topic::Dialled);
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
        let callback = self.status_or_socket(callback);
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

    pub(in crate::call) fn on_child_ringing(&mut self, now: Instant, leg: LegId) {
        let Some(dialling) = &self.dial else {
            return;
        };
        if !dialling.ringing.iter().any(|(id, _)| *id == leg) {
            return;
        }
        let is_news = self
            .legs
            .get(&leg)
            .is_some_and(|leg| leg.status == CallStatus::Initiated);
        if !is_news {
            return;
        }
        self.ring();
        self.set_status(now, leg, CallStatus::Ringing, None);
    }

    /// Those who were called have rung as long as they may.
    pub(in crate::call) fn on_dial_deadline(&mut self, now: Instant) {
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
    pub(in crate::call) fn on_child_ended(
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
}
