//! What a call may not outlive: its session timer (RFC 4028), and an ACK that never comes.

use std::time::{Duration, Instant};

use sip::{
    dialog::Side,
    header::HeaderName,
    message::{Message, Method},
    proxy::Routed,
    session_timer::Proposal,
    transaction::ServerId,
};
use store::Cause;
use tracing::{debug, info};

use super::{
    Alarm, Core,
    exchange::ExchangeId,
    local::words,
    state::{Ack, CallKey, Leg},
};
use crate::{directory::Caller, net::Flow};

impl Core {
    /// Asks for a session timer in the name of who sent an INVITE or UPDATE. `None` where the request
    /// was refused, since it asks for too short a one.
    pub(super) fn ask_timer(
        &mut self,
        now: Instant,
        server: ServerId,
        received: &Message,
        routed: &mut Routed,
    ) -> Option<Option<Proposal>> {
        let Some(rules) = self.terms.session else {
            return Some(None);
        };
        match rules.propose(&routed.request) {
            Ok(Some(proposal)) => {
                match proposal.write(&routed.request) {
                    Ok(Some(request)) => routed.request = request,
                    Ok(None) => {}
                    Err(error) => {
                        debug!(%error, "a request goes on without a session timer");
                        return Some(None);
                    }
                }
                Some(Some(proposal))
            }
            Ok(None) => Some(None),
            Err(too_small) => {
                debug!(%too_small, "refused a request");
                let min = too_small.min.to_string();
                self.answer(now, server, received, 422, &[(HeaderName::MinSe, &min)]);
                None
            }
        }
    }

    /// Notes what an exchange's request asked for.
    pub(super) fn set_timer(&mut self, id: ExchangeId, timer: Option<Proposal>) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.timer = timer;
        }
    }

    /// A 2xx to an INVITE or UPDATE passes: the session is refreshed, and an ACK has to come.
    /// `interval` is what was agreed on; without one the session has no timer.
    pub(super) fn watch_dialog(
        &mut self,
        now: Instant,
        key: CallKey,
        response: &Message,
        method: &Method,
        interval: Option<Duration>,
    ) {
        let ack_until = now + self.policy.ack_patience();
        let keeps = self.terms.session.is_some();
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some((leg, asker)) = call.leg_of(response) else {
            return;
        };
        if keeps {
            leg.expires = interval.map(|interval| now + interval);
        }
        if *method == Method::Invite
            && let Ok(cseq) = response.cseq()
        {
            leg.on_accepted(asker, cseq.number, ack_until);
        }
        self.set_dialog_alarm(key);
    }

    /// The ACK of a 2xx passes.
    pub(super) fn note_ack(&mut self, key: CallKey, ack: &Message) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if let (Some((leg, asker)), Ok(cseq)) = (call.leg_of(ack), ack.cseq()) {
            leg.on_ack(asker, cseq.number);
        }
        self.set_dialog_alarm(key);
    }

    /// A dialog of a call has come to its end without a BYE, perhaps.
    pub(super) fn on_dialog_alarm(&mut self, now: Instant, key: CallKey) {
        while let Some((index, cause)) = self.lost_dialog(now, key) {
            if let Some(flow) = self
                .who_never_acked(key, index)
                .filter(|_| cause == Cause::NoAck)
            {
                self.on_unacknowledged(now, &flow);
            }
            self.end_dialog(now, key, index, cause);
        }
        self.set_dialog_alarm(key);
    }

    pub(super) fn set_dialog_alarm(&mut self, key: CallKey) {
        let call = self.calls.get(&key).filter(|call| call.end.is_none());
        let legs = call.into_iter().flat_map(|call| &call.dialogs);
        let at = legs.filter_map(Leg::poll_timeout).min();
        self.alarms.set(Alarm::Dialog(key), at);
    }

    fn lost_dialog(&self, now: Instant, key: CallKey) -> Option<(usize, Cause)> {
        let call = self.calls.get(&key).filter(|call| call.end.is_none())?;
        let mut legs = call.dialogs.iter().enumerate();
        legs.find_map(|(index, leg)| {
            leg.poll_timeout().filter(|at| *at <= now)?;
            let cause = match leg.ack {
                Ack::Due(_, _, at) if at <= now => Cause::NoAck,
                _ => Cause::SessionExpired,
            };
            Some((index, cause))
        })
    }

    /// Where the user is who owes a dialog an ACK, if it is one.
    fn who_never_acked(&self, key: CallKey, index: usize) -> Option<Flow> {
        let call = self.calls.get(&key)?;
        let leg = call.dialogs.get(index)?;
        let Ack::Due(asker, ..) = leg.ack else {
            return None;
        };
        let is_user = matches!(call.party(leg, asker), Some(Caller::User(_)));
        call.way_to(leg, asker).filter(|_| is_user)
    }

    /// BYE to both ends of one dialog; the call is over where it was the last.
    fn end_dialog(&mut self, now: Instant, key: CallKey, index: usize, cause: Cause) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let others = call.dialogs.iter().enumerate();
        let others = others.filter(|(other, leg)| *other != index && leg.confirmed && !leg.over);
        if others.count() == 0 {
            return self.hang_up(now, key, cause);
        }
        let (status, reason) = words(cause);
        info!(call = %call.id, %reason, "ending one dialog of a call");
        let header = format!("SIP;cause={status};text=\"{reason}\"");
        for side in [Side::Caller, Side::Callee] {
            self.send_bye(now, key, index, side, &header);
        }
        if let Some(leg) = self
            .calls
            .get_mut(&key)
            .and_then(|call| call.dialogs.get_mut(index))
        {
            leg.over = true;
        }
    }
}
