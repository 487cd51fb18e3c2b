//! Who has answered: tones, a document of its own, the bridge.

use std::time::Instant;

use super::{Dialling, Picked, Stage};
use crate::{
    call::{
        Action, Call, JobId, LegId, Source, Topic, leg::CallStatus, record::NewRecording,
        script::Script,
    },
    form::Params,
};

impl Call {
    /// The first who answers is it: the others are called off.
    pub(in crate::call) fn on_child_answered(&mut self, now: Instant, leg: LegId) {
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
    pub(in crate::call) fn on_digits_sent(&mut self, now: Instant, job: JobId) -> bool {
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
    pub(super) fn whisper(&mut self, now: Instant) {
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
                self.fetch(now, leg, &link, &Params::new(), Topic::Whisper);
            }
            None => self.bridge(now),
        }
    }

    /// Connects who picked up with the party.
    pub(in crate::call) fn bridge(&mut self, now: Instant) {
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

    pub(super) fn record_dial(&mut self, now: Instant) {
        let Some(dialling) = &self.dial else {
            return;
        };
        let dual = dialling.dial.record.is_some_and(|record| record.dual);
        let new = NewRecording {
            source: "DialVerb",
            tracks: dialling.dial.recording_tracks,
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

    /// The document of who picked up hangs up, or cannot be had.
    pub(in crate::call) fn drop_picked(&mut self, now: Instant, leg: LegId) {
        let picked = self.dial.as_ref().and_then(|dial| dial.picked.as_ref());
        if picked.is_some_and(|picked| picked.leg == leg) {
            self.end_dial(now);
        }
    }

    /// The party's `*`, where it hangs up the other.
    pub(in crate::call) fn on_dial_digit(&mut self, now: Instant, digit: char) {
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
}
