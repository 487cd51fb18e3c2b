//! Time: when a call has to be woken, and what is due then.

use std::time::Instant;

use super::{
    Call, LegId,
    script::{Script, Step},
};

impl Call {
    /// When [`Call::handle_timeout`] has to be called next, where nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dial = self.dial.as_ref();
        let scripts = self.scripts().filter_map(Script::timeout);
        let fetches = self.fetches.values().map(|fetch| fetch.deadline);
        let recordings = self
            .recordings
            .values()
            .filter_map(|recording| recording.guard);
        let dial = dial
            .into_iter()
            .flat_map(|dial| [dial.deadline, dial.limit]);
        let fixed = dial.chain([self.limit]).flatten();
        fixed.chain(scripts).chain(fetches).chain(recordings).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.latest = now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.limit) {
            self.on_limit(now);
        }
        let late = self
            .fetches
            .iter()
            .filter(|(_, fetch)| fetch.deadline <= now);
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.on_late(now, id);
        }
        let lost = self
            .recordings
            .iter()
            .filter(|(_, recording)| is_due(recording.guard));
        let lost: Vec<_> = lost.map(|(job, _)| *job).collect();
        for job in lost {
            self.on_recording_lost(now, job);
        }
        let is_dial = |at: fn(&super::dial::Dialling) -> Option<Instant>, call: &Self| {
            is_due(call.dial.as_ref().and_then(|dial| at(dial)))
        };
        if is_dial(|dial| dial.deadline, self) {
            self.on_dial_deadline(now);
        }
        if is_dial(|dial| dial.limit, self) {
            self.end_dial(now);
        }
        let due = self.scripts().filter(|script| is_due(script.timeout()));
        let due: Vec<_> = due.map(|script| script.leg).collect();
        for leg in due {
            self.on_step_timeout(now, leg);
        }
    }

    fn on_step_timeout(&mut self, now: Instant, leg: LegId) {
        match self.script(leg).map(|script| &script.step) {
            Some(Step::Pausing(_)) => self.proceed(now, leg),
            Some(Step::Gathering(_)) => self.on_gather_timeout(now, leg),
            Some(Step::Recording(_)) => self.on_record_timeout(now),
            Some(Step::Referring(job, _, _)) => {
                let job = *job;
                self.on_referred(now, job, None, None, false);
            }
            Some(Step::Sending(job, _, _)) => {
                let job = *job;
                let late = "nothing was heard of it within 15 s";
                self.on_sent(now, job, Some(late));
            }
            _ => {}
        }
    }
}
