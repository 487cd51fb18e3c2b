//! The end of a call: its sessions are closed, its record is written, it is forgotten.

use std::time::Instant;

use control::{
    Fault, FaultCode,
    channel::RequestError,
    media::{self, FlowStats, SessionStats},
    signal::{self, CallInfo, CallState},
};
use sip::message::{Message, reason_phrase};
use store::{CallRecord, Cause, Cdr, EndedBy, MediaFlow};
use tracing::info;

use super::{
    Alarm, Core, Output,
    history::SAMPLES,
    setup::origin_of,
    state::{Call, CallKey, End, Work},
};
use crate::metrics::CallResult;

impl Core {
    /// A call is over, unless it was already: what is left is to close its sessions.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        key: CallKey,
        by: EndedBy,
        cause: Cause,
        status: u16,
        reason: &str,
    ) {
        let at = self.time(now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.setup = None;
        call.course = None;
        call.holds.clear();
        if let Some(token) = call.broken_off() {
            let outcome = Err(Fault::new(FaultCode::Conflict, "the call has ended"));
            self.outputs.push_back(Output::Obeyed { token, outcome });
        }
        call.state = CallState::Ending;
        let reason = if reason.is_empty() {
            reason_phrase(status)
        } else {
            reason
        };
        call.end.get_or_insert_with(|| End {
            by,
            cause,
            status,
            reason: reason.to_owned(),
            at,
        });
        let sessions = call.clear_media();
        self.close(key, sessions);
        self.try_forget(now, key);
    }

    /// mediad closed a session, or could not be asked.
    pub(super) fn on_closed(
        &mut self,
        now: Instant,
        key: CallKey,
        answer: Result<media::Response, RequestError>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.closing = call.closing.saturating_sub(1);
        if let Ok(media::Response::Stats(stats)) = answer {
            call.stats.push(*stats);
        }
        self.try_forget(now, key);
    }

    /// A BYE was not taken: the call goes on for so long as its sender may need to ask again.
    pub(super) fn revive(&mut self, now: Instant, key: CallKey, response: &Message) {
        let last = now + self.policy.ack_patience();
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if let Some((leg, _)) = call.leg_of(response) {
            leg.over = false;
            leg.expires = Some(leg.expires.map_or(last, |at| at.min(last)));
            call.end = None;
            call.state = CallState::Answered;
        }
        self.set_dialog_alarm(key);
        self.tell_call(key);
    }

    /// The caller is given another callee's answer. A call that waits for no more than its BYE's answer
    /// goes on by that, or nothing would ever end it.
    pub(super) fn go_on(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let is_hung_up = call.end.as_ref().is_some_and(|end| end.cause == Cause::Bye);
        if is_hung_up && call.has_dialog() {
            call.end = None;
            call.state = CallState::Answered;
            self.tell_call(key);
        }
    }

    /// Tells those who watch how a call stands.
    pub(super) fn tell_call(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get(&key).filter(|_| self.listened) {
            let event = signal::Event::Call(self.info(call));
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// A call as the control channel shows it.
    pub(super) fn info(&self, call: &Call) -> CallInfo {
        let parent = self.voices.parent(&call.source, &call.call_id);
        let parent = parent.and_then(|parent| Some(self.calls.get(&parent)?.id));
        let peer = parent.or_else(|| self.bridges.peer(&call.call_id));
        CallInfo {
            id: call.id.to_string(),
            call_id: call.call_id.clone(),
            from: call.from_uri.clone(),
            to: call.to_uri.clone(),
            source: call.source.to_string(),
            tenant: call.tenant.as_deref().map(str::to_owned),
            trunk: call.trunk.as_ref().map(|trunk| trunk.name.clone()),
            state: call.state,
            started_ms: call.started.millis(),
            answered_ms: call.answered.map(store::Timestamp::millis),
            media: call
                .all_media()
                .flat_map(|media| media.sessions().map(|session| session.id))
                .collect(),
            muted: call.muted.parties(),
            held: call.held,
            transfer: call.transferred(),
            recording: call.recording.as_ref().map(|it| it.file.clone()),
            peer: peer.map(|id| id.to_string()),
        }
    }

    /// Writes a call's record and forgets it, unless something is still waited for.
    pub(super) fn try_forget(&mut self, now: Instant, key: CallKey) {
        let done = self.calls.get(&key).is_some_and(|call| {
            call.end.is_some() && call.setup.is_none() && call.closing == 0 && call.byes == 0
                // A call that waits for its BYE's answer has its end noted, and sessions still.
                && call.all_media().all(|media| media.sessions().next().is_none())
        });
        if !done {
            return;
        }
        if self
            .calls
            .get(&key)
            .is_some_and(|call| call.is_being_transferred())
        {
            self.note_transfer(now, key);
        }
        let Some(mut call) = self.calls.remove(&key) else {
            return;
        };
        self.alarms.set(Alarm::Call(key), None);
        self.alarms.set(Alarm::Longest(key), None);
        self.alarms.set(Alarm::Dialog(key), None);
        self.alarms.set(Alarm::Quality(key), None);
        if let Some(ended) = call.end.as_ref().map(|end| end.at) {
            call.end_series(ended);
            call.end_recording(None, ended, &self.policy.node);
        }
        self.alarms.set(Alarm::Transfer(key), None);
        self.by_dialog.remove(&call.call_id, &call.caller_tag, key);
        let waiting = call.waiting.take().map(|waiting| waiting.work);
        let left: Vec<_> = waiting.into_iter().chain(call.work.drain(..)).collect();
        self.record(&mut call);
        self.trace.remember(now, call.id, call.call_id, call.tenant);
        for work in left {
            self.drop_work(now, work);
        }
    }

    /// A message whose call is gone.
    fn drop_work(&mut self, now: Instant, work: Work) {
        match work {
            Work::Respond {
                exchange,
                branch,
                response,
            } => {
                self.dequeue(exchange);
                self.pass_back(now, exchange, branch, response);
                self.rest(exchange);
            }
            Work::Request {
                server, received, ..
            } => {
                let is_bye = received.method() == Some(&sip::message::Method::Bye);
                self.answer(now, server, &received, if is_bye { 200 } else { 481 }, &[]);
            }
            Work::Send { exchange, branch } => {
                if let Some(branch) = self.branch(exchange, branch.0) {
                    branch.preparing = false;
                }
                self.rest(exchange);
            }
            Work::Ack { .. } => {}
        }
    }

    fn record(&mut self, call: &mut Call) {
        let Some(end) = &call.end else {
            return;
        };
        let result = match end.cause {
            _ if call.is_answered() => CallResult::Answered,
            Cause::Cancel | Cause::PartyLost => CallResult::Cancelled,
            Cause::Rejected | Cause::Unreachable | Cause::RingTimeout => CallResult::Failed,
            _ => CallResult::Refused,
        };
        self.metrics.call(result);
        if let Some(trunk) = &call.trunk {
            self.metrics.trunk_call(&trunk.name, end.status);
        }
        let talk = call
            .answered
            .map_or(0.0, |answered| end.at.since(answered).as_secs_f64());
        info!(
            call = %call.id,
            from = %call.from_uri,
            to = %call.request_uri,
            status = end.status,
            why = end.cause.name(),
            by = end.by.name(),
            reason = %end.reason,
            talk_s = talk,
            "call over"
        );
        let flows = Flows::of(call);
        for mos in [&flows.caller, &flows.callee]
            .into_iter()
            .flatten()
            .filter_map(|flow| flow.mos)
        {
            self.metrics.media_mos.observe(mos);
        }
        if self.listened {
            self.outputs.push_back(Output::Event(signal::Event::Ended {
                id: call.id.to_string(),
                tenant: call.tenant.as_deref().map(str::to_owned),
                status: end.status,
                reason: end.cause.name().to_owned(),
            }));
        }
        let cdr = Cdr {
            id: call.id,
            call_id: call.call_id.clone(),
            from_uri: call.from_uri.clone(),
            to_uri: call.to_uri.clone(),
            request_uri: call.request_uri.clone(),
            source: call.source.remote,
            transport: call.source.transport.name().to_owned(),
            origin: Some(origin_of(&call.caller).to_owned()),
            callee_user: call.callee_user.as_ref().map(ToString::to_string),
            tenant: call.tenant.as_deref().map(str::to_owned),
            trunk: call.trunk.as_ref().map(|trunk| trunk.name.clone()),
            route: call.route.clone(),
            started: call.started,
            ringing: call.ringing,
            answered: call.answered,
            ended: end.at,
            status: end.status,
            reason: end.reason.clone(),
            ended_by: end.by,
            cause: end.cause,
            datapath: Flows::carrying(call).map(|stats| stats.path.name().to_owned()),
            from_caller: flows.caller,
            from_callee: flows.callee,
        };
        #[cfg(feature = "otel")]
        if self.traced.is_some_and(|traced| traced.has(cdr.id)) {
            let traced = Box::new(self.traced_call(&cdr));
            self.outputs.push_back(Output::Traced(traced));
        }
        let samples = if self.policy.keep_quality { SAMPLES } else { 0 };
        let events = call.take_events(cdr.ended, samples);
        self.outputs.push_back(Output::Cdr(Box::new(CallRecord {
            cdr,
            events,
            recordings: std::mem::take(&mut call.recordings),
        })));
    }
}

/// What a call's sessions have carried, taken together.
struct Flows {
    caller: Option<MediaFlow>,
    callee: Option<MediaFlow>,
}

impl Flows {
    /// The first session that has carried anything: others were for callees that did not answer.
    fn carrying(call: &Call) -> Option<&SessionStats> {
        let has_carried = |stats: &&SessionStats| stats.from_a.packets + stats.from_b.packets > 0;
        let first = call.stats.iter().find(has_carried);
        first.or_else(|| call.stats.first())
    }

    fn of(call: &Call) -> Self {
        Self {
            caller: sum(call.stats.iter().map(|stats| &stats.from_a)),
            callee: sum(call.stats.iter().map(|stats| &stats.from_b)),
        }
    }
}

/// Packets are added up, and the longest gap is of whichever stream; jitter, MOS and the like are those of the first stream
/// that has any, which is the audio as a rule.
fn sum<'a>(flows: impl Iterator<Item = &'a FlowStats>) -> Option<MediaFlow> {
    let mut total = None;
    for flow in flows {
        let total = total.get_or_insert_with(MediaFlow::default);
        if total.packets == 0 {
            total.jitter_ms = f64::from(flow.jitter_us) / 1000.0;
            total.mos = flow.mos.map(f64::from);
            total.rtt_ms = flow.rtt_us.map(|us| f64::from(us) / 1000.0);
            total.burst_ratio = Some(f64::from(flow.burst_ratio));
        }
        let add = |total: &mut Option<u64>, more| *total = Some(total.unwrap_or(0) + more);
        add(&mut total.late, flow.late);
        add(&mut total.duplicates, flow.duplicates);
        add(&mut total.reordered, flow.reordered);
        add(&mut total.sources, flow.source_count());
        let gap = u64::from(flow.longest_gap_ms);
        total.longest_gap_ms = total.longest_gap_ms.max(Some(gap));
        total.packets += flow.packets;
        total.bytes += flow.bytes;
        total.lost += flow.lost;
    }
    total
}
