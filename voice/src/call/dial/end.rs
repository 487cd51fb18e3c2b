//! How a `<Dial>` ends, and those who were called.

use std::time::Instant;

use super::Stage;
use crate::{
    call::{Action, Call, Lane, LegId, Topic, leg::CallStatus, script::Step},
    form::Params,
    sid::Sid,
    twiml::Link,
};

impl Call {
    /// The `<Dial>` is over: whoever asked is told, or the next verb follows.
    pub(in crate::call) fn end_dial(&mut self, now: Instant) {
        let Some((action, params)) = self.take_dial(now) else {
            return;
        };
        match action {
            Some(action) => self.fetch(now, LegId::PARTY, &action, &params, Topic::Dialled),
            None => self.proceed(now, LegId::PARTY),
        }
    }

    /// The party has hung up meanwhile: whoever asked is told, and not listened to.
    pub(in crate::call) fn end_dial_without_party(&mut self, now: Instant) {
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
    pub(in crate::call) fn take_dial(&mut self, now: Instant) -> Option<(Option<Link>, Params)> {
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
            self.stop_recording(now, *job);
        }
        Some((dialling.dial.action, params))
    }

    /// Hangs up a leg that was called.
    pub(super) fn drop_child(&mut self, now: Instant, leg: LegId, status: CallStatus) {
        if self.legs.contains_key(&leg) {
            self.act(Action::HangUp { leg });
            self.forget_child(now, leg, status, None);
        }
    }

    pub(super) fn forget_child(
        &mut self,
        now: Instant,
        leg: LegId,
        status: CallStatus,
        sip: Option<u16>,
    ) {
        self.set_status(now, leg, status, sip);
        let Some(gone) = self.legs.remove(&leg) else {
            return;
        };
        if let Some(dialling) = &mut self.dial {
            dialling.keep(status, gone.sid);
        }
    }
}
