//! Requests of our own: the BYEs by which this node ends a call, and the ACK and BYE for a callee
//! that answered too late.

use std::{sync::Arc, time::Instant};

use sip::{
    dialog::{ProxyDialog, Side},
    message::{BuildError, Message},
    proxy::BranchId,
    transaction::ClientId,
};
use store::{Cause, EndedBy};
use tracing::{debug, info, warn};

use super::{
    Client, Core,
    branch::via_transport,
    challenge::{self, Own, answering},
    exchange::{Branch, ExchangeId, NextHop},
    reply::asked_by,
    state::{CallKey, End},
    target::{Located, uri_of},
};
use crate::{directory::Trunk, net::Flow};

impl Core {
    /// Ends a call on the node's own account: BYE to both parties, or, where nobody has answered yet,
    /// CANCEL to the callee and a failure to the caller.
    pub(super) fn hang_up(&mut self, now: Instant, key: CallKey, cause: Cause) {
        let at = self.time(now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.end.is_some() {
            return;
        }
        let (status, reason) = words(cause);
        if !call.is_answered() {
            let status = match cause {
                Cause::Operator => 487,
                Cause::RingTimeout => 408,
                _ => 503,
            };
            return match call.setup {
                Some(exchange) => {
                    self.reject(now, exchange, status, Some((EndedBy::Node, cause, reason)));
                }
                None => self.finish(now, key, EndedBy::Node, cause, status, reason),
            };
        }
        call.end = Some(End {
            by: EndedBy::Node,
            cause,
            status: 200,
            reason: reason.to_owned(),
            at,
        });
        call.state = control::signal::CallState::Ending;
        let legs: Vec<_> = (0..call.dialogs.len())
            .filter(|index| !call.dialogs[*index].over)
            .collect();
        info!(call = %call.id, %reason, "ending a call");
        let header = format!("SIP;cause={status};text=\"{reason}\"");
        for index in legs {
            for side in [Side::Caller, Side::Callee] {
                self.send_bye(now, key, index, side, &header);
            }
        }
        self.tell_call(key);
        if self.calls.get(&key).is_some_and(|call| call.byes == 0) {
            self.finish(now, key, EndedBy::Node, cause, 200, reason);
        }
    }

    /// A BYE of our own was answered, or will not be.
    pub(super) fn on_bye_done(
        &mut self,
        now: Instant,
        key: CallKey,
        side: Side,
        status: Option<u16>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        debug!(call = %call.id, ?side, status, "our BYE was answered");
        call.byes = call.byes.saturating_sub(1);
        if call.byes > 0 {
            return;
        }
        if let Some(End {
            by,
            cause,
            status,
            reason,
            ..
        }) = call.end.clone()
        {
            self.finish(now, key, by, cause, status, &reason);
        }
    }

    /// ACK and BYE to a callee whose 2xx nobody waits for any more: it came when the caller had been
    /// told otherwise, or its answer cannot be relayed.
    pub(super) fn disown(
        &mut self,
        now: Instant,
        id: ExchangeId,
        BranchId(index): BranchId,
        response: &Message,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let branch = exchange.branches.get(index);
        let known = branch.and_then(|branch| branch.way);
        let is_phone = branch.is_some_and(|branch| branch.target.user.is_some());
        let Ok(mut dialog) = ProxyDialog::with_targets(
            &exchange.received,
            response,
            &self.policy.identity,
            &uri_of(&exchange.flow),
            &uri_of(&known.unwrap_or(exchange.flow)),
        ) else {
            return warn!("cannot end a call that was answered too late: it makes no dialog");
        };
        let branch = exchange.branches.get(index);
        dialog.set_shift(Side::Caller, branch.map_or(0, |branch| branch.shift));
        if let Some(from) = branch.and_then(Branch::shown_from) {
            dialog.set_shown(Side::Caller, from);
        }
        let trunk = branch.and_then(|branch| answering(branch.target.party().as_ref()));
        let asked = asked_by(exchange, index);
        let number = asked.as_ref().map_or(0, |asked| asked.cseq);
        let tag = dialog.tag(Side::Callee).to_owned();
        let is_new = !exchange.disowned.contains(&tag);
        if is_new {
            exchange.disowned.push(tag);
        }
        let next = NextHop {
            known,
            is_phone,
            secure: exchange.secure,
            ..NextHop::new(dialog.next_hop(Side::Callee).to_owned())
        };
        let Some(way) = self.way_to(&next) else {
            return;
        };
        // Each copy of the 2xx asks for its ACK again; one BYE is enough.
        if let Some(via) = self.own_via(&way)
            && let Ok(ack) = dialog.ack_towards(Side::Callee, number, &via)
            && let Ok(ack) = challenge::proven(ack, asked.as_ref())
        {
            self.layer.send_stateless(way, ack);
        }
        if !is_new {
            return;
        }
        if let Some(via) = self.own_via(&way)
            && let Ok(bye) = dialog.bye_towards(Side::Callee, &via, None)
            && let Ok(client) = self.layer.send_request(now, way, bye.clone())
        {
            self.clients.insert(client, Client::Disowned);
            self.remember_own(client, bye, way, trunk);
        }
    }

    /// The ACK of a 2xx to a re-INVITE whose description cannot be relayed.
    pub(super) fn acknowledge(&mut self, now: Instant, key: CallKey, response: &Message) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let Some((leg, asker)) = call.dialog_of(response) else {
            return;
        };
        let answerer = asker.other();
        let Some(way) = self.way_to(&self.next_to(now, call, leg, answerer)) else {
            return;
        };
        let Ok(cseq) = response.cseq() else {
            return;
        };
        let asked = leg.invite_of(asker, cseq.number).cloned();
        let dialog = leg.dialog.clone();
        let Some(via) = self.own_via(&way) else {
            return;
        };
        let ack = dialog.ack_towards(answerer, cseq.number, &via);
        if let Ok(ack) = ack
            && let Ok(ack) = challenge::proven(ack, asked.as_ref())
        {
            self.layer.send_stateless(way, ack);
        }
    }

    pub(super) fn send_bye(
        &mut self,
        now: Instant,
        key: CallKey,
        index: usize,
        side: Side,
        reason: &str,
    ) {
        let sent = self.send_within(
            now,
            key,
            index,
            side,
            Client::Bye(key, side),
            |dialog, via| dialog.bye_towards(side, via, Some(reason)),
        );
        let call = self.calls.get_mut(&key).filter(|_| sent.is_some());
        if let Some(call) = call {
            call.byes += 1;
            if let Some(leg) = call.dialogs.get_mut(index) {
                leg.over = true;
            }
        }
    }

    /// Sends a request of our own within a dialog of a call, which is to be `what`; `None` where it cannot
    /// be sent.
    pub(super) fn send_within(
        &mut self,
        now: Instant,
        key: CallKey,
        index: usize,
        side: Side,
        what: Client,
        write: impl FnOnce(&mut ProxyDialog, &str) -> Result<Message, BuildError>,
    ) -> Option<()> {
        let call = self.calls.get(&key)?;
        let leg = call.dialogs.get(index).filter(|leg| leg.confirmed)?;
        let trunk = answering(call.party(leg, side));
        let way = self.way_to(&self.next_to(now, call, leg, side))?;
        let via = self.own_via(&way)?;
        let call = self.calls.get_mut(&key)?;
        let leg = call.dialogs.get_mut(index)?;
        let request = write(&mut leg.dialog, &via).ok()?;
        match self.layer.send_request(now, way, request.clone()) {
            Ok(client) => {
                self.clients.insert(client, what);
                self.remember_own(client, request, way, trunk);
                Some(())
            }
            Err(error) => {
                warn!(call = %call.id, %error, "cannot send a request of this node's own");
                None
            }
        }
    }

    /// The way to a party; where its URI is a name, the way by which it was reached last.
    fn way_to(&self, next: &NextHop) -> Option<Flow> {
        let way = match self.locate(next) {
            Located::At(way) => Some(way),
            Located::Ask(_) => next.known,
            Located::Nowhere(why) => {
                debug!(uri = next.uri, why, "cannot reach a party");
                next.known
            }
        };
        way.filter(|way| !next.secure || way.transport.is_secure())
    }

    /// Keeps a request of our own while its receiver may challenge it.
    fn remember_own(
        &mut self,
        client: ClientId,
        sent: Message,
        way: Flow,
        trunk: Option<Arc<Trunk>>,
    ) {
        if let Some(trunk) = trunk {
            let own = Own {
                sent,
                way,
                trunk,
                challenged: 0,
            };
            self.own.insert(client, own);
        }
    }

    fn own_via(&mut self, way: &Flow) -> Option<String> {
        let local = self.policy.local(way)?;
        let (transport, branch) = (via_transport(way), self.tokens.branch());
        Some(format!(
            "SIP/2.0/{transport} {};branch={branch};rport",
            local.sent_by
        ))
    }
}

/// What a Reason header and a record say of a call that the node ended.
pub(super) const fn words(cause: Cause) -> (u16, &'static str) {
    match cause {
        Cause::MediaTimeout => (408, "no media"),
        Cause::MediaUnusable => (488, "media cannot be relayed"),
        Cause::MediaUnavailable => (503, "media engine lost"),
        Cause::PartyLost => (408, "the longest time of a call is over"),
        Cause::SessionExpired => (408, "the session was not refreshed"),
        Cause::NoAck => (408, "the answer was not acknowledged"),
        Cause::LongestCall => (408, "the call lasted as long as it may"),
        Cause::Transfer => (200, "the other party was transferred"),
        Cause::RingTimeout => (408, "nobody answered in time"),
        Cause::Operator => (200, "ended by an operator"),
        Cause::Shutdown => (503, "node stops"),
        _ => (500, "ended by the node"),
    }
}
