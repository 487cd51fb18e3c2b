//! Requests within a call, and the ACK of its 2xx.

use std::time::Instant;

use sip::{
    dialog::Side,
    message::{Message, Method},
    proxy::{self, Forward, Group, Routed},
    transaction::ServerId,
    uri::Uri,
};
use store::Timestamp;
use tracing::debug;

use super::{
    Core,
    branch::via_transport,
    challenge,
    exchange::{NextHop, Place, Role, Target},
    state::{CallKey, End},
    target::{Located, Resolving},
};
use crate::net::Flow;

impl Core {
    /// Passes a request of a call on to the other party.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that is known of a request of a call"
    )]
    pub(super) fn pass_within(
        &mut self,
        now: Instant,
        key: CallKey,
        server: ServerId,
        flow: Flow,
        received: Message,
        mut routed: Routed,
        offered: bool,
    ) {
        let time = self.time(now);
        let is_bye = received.method() == Some(&Method::Bye);
        let Some(call) = self.calls.get_mut(&key) else {
            return self.answer(now, server, &received, 481, &[]);
        };
        let ended = call.end.is_some();
        let Some((leg, from)) = call.leg_of(&received) else {
            return self.answer(now, server, &received, 481, &[]);
        };
        if ended || leg.over {
            // Both hang up at once, or this node has: the BYE is right, all else comes too late.
            let status = if is_bye { 200 } else { 481 };
            return self.answer(now, server, &received, status, &[]);
        }
        leg.dialog.handle_request(&received);
        let target = leg.dialog.target(from.other()).to_owned();
        let direct = leg.dialog.next_hop(from.other()) == target;
        if is_bye && leg.confirmed {
            leg.over = true;
            if !call.has_dialog() {
                call.end = Some(hung_up(from, time));
                call.state = control::signal::CallState::Ending;
            }
        }
        // Where it is now is where it can be reached.
        match from {
            Side::Caller => call.source.follow(&flow),
            Side::Callee => {
                if let Some((leg, _)) = call.leg_of(&received)
                    && let Some(way) = &mut leg.way
                {
                    way.follow(&flow);
                }
            }
        }
        let way = call.leg_of(&received).and_then(|(leg, _)| leg.way);
        let known = call.way_to(way, from.other());
        self.aim(&mut routed, direct.then_some(target.as_str()));
        let Some(next) = self.next_hop(&routed, known) else {
            return self.answer(now, server, &received, 400, &[]);
        };
        let Some(timer) = self.ask_timer(now, server, &received, &mut routed) else {
            if offered {
                self.roll_back(key);
            }
            return;
        };
        if is_bye {
            self.tell_call(key);
        }
        let role = Role::Within { from, offered };
        let groups = vec![Group::new(vec![Target::to(Place::Next(next))])];
        let id = self.exchange(now, server, flow, received, routed, Some(key), role, groups);
        self.set_timer(id, timer);
        self.run_actions(now, id);
    }

    /// Passes the ACK of a 2xx on to the callee.
    pub(super) fn pass_ack(&mut self, key: CallKey, received: &Message, mut routed: Routed) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some((leg, from)) = call.leg_of(received) else {
            return;
        };
        let target = leg.dialog.target(from.other()).to_owned();
        let direct = leg.dialog.next_hop(from.other()) == target;
        let way = leg.way;
        let shift = match from {
            Side::Caller => leg.dialog.shift(),
            Side::Callee => 0,
        };
        match challenge::ahead(routed.request.clone(), shift) {
            Ok(request) => routed.request = request,
            Err(error) => return debug!(%error, "cannot pass an ACK on"),
        }
        let known = call.way_to(way, from.other());
        self.note_ack(key, received);
        self.aim(&mut routed, direct.then_some(target.as_str()));
        if let Some(next) = self.next_hop(&routed, known) {
            self.forward_ack(received, &routed, &next);
        }
    }

    /// Sends an ACK on, without a transaction.
    pub(super) fn forward_ack(&mut self, received: &Message, routed: &Routed, next: &NextHop) {
        match self.locate(next) {
            Located::At(way) => self.send_ack(received, routed, way),
            Located::Ask(authority) => {
                let ack = Box::new((received.clone(), routed.clone()));
                self.ask_resolver(authority, Resolving::Ack(ack));
            }
            Located::Nowhere(why) => debug!(why, "cannot pass an ACK on"),
        }
    }

    /// The same with the way known.
    pub(super) fn send_ack(&mut self, received: &Message, routed: &Routed, way: Flow) {
        let Some(local) = self.policy.local(&way) else {
            return;
        };
        let branch = self.policy.identity.stateless_branch(received);
        let plan = Forward {
            target: None,
            route: &[],
            record_route: None,
            transport: via_transport(&way),
            sent_by: &local.sent_by,
            branch: &branch,
        };
        match proxy::forward(routed, &plan) {
            Ok(message) => self.layer.send_stateless(way, message),
            Err(error) => debug!(%error, "cannot pass an ACK on"),
        }
    }

    /// Points a request of a dialog at the other party where its sender did not: some send to the
    /// proxy that they called, not to the Contact that they were given. `target` is the other party's
    /// Contact, where no other proxy is in between.
    fn aim(&self, routed: &mut Routed, target: Option<&str>) {
        let Some(target) = target.filter(|_| !routed.has_route()) else {
            return;
        };
        let at_us = routed
            .request
            .request_uri()
            .is_ok_and(|uri| self.is_own(&uri));
        let target_is_us = Uri::parse(target).is_ok_and(|uri| self.is_own(&uri));
        if at_us
            && !target_is_us
            && let Ok(request) = routed.request.edit().request_uri(target).finish()
        {
            routed.request = request;
        }
    }
}

fn hung_up(from: Side, at: Timestamp) -> End {
    End {
        by: super::reply::ended_by(from),
        cause: store::Cause::Bye,
        status: 200,
        reason: "OK".to_owned(),
        at,
    }
}
