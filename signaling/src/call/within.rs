//! Requests within a call, and the ACK of its 2xx.
//!
//! A dialog is known by three words that many have seen on their way: they show which call a request is
//! for, and prove nothing. So a request is taken from where its party is (see [`Core::is_from`]), and it
//! goes to where the other party is, by the route set that was recorded: its own Request-URI and Route
//! may agree with that or be left out, and are never followed to anywhere else.

use std::time::Instant;

use sip::{
    dialog::{Directions, Side},
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
    challenge::{self, Challenger},
    exchange::{NextHop, Place, Role, Target},
    input::source_ip,
    state::{Call, CallKey, End, Leg},
    target::{Located, Resolving},
};
use crate::{
    directory::{Aor, Caller, without_identity},
    net::Flow,
};

impl Core {
    /// Whether a request of a call may take its turn: it comes from its party, and leads to the other
    /// one. `vouched` is who proved to have sent it, where that was asked for. `routed` is the request
    /// with its Route followed.
    ///
    /// A BYE and an ACK that lead astray pass all the same, to the other party: a call has to end, and
    /// an answer to be acknowledged, however badly a phone keeps its dialogs.
    pub(super) fn may_pass(
        &self,
        now: Instant,
        key: CallKey,
        flow: &Flow,
        received: &Message,
        routed: &Routed,
        vouched: Option<&Caller>,
    ) -> bool {
        let Some(call) = self.calls.get(&key) else {
            return true;
        };
        let Some((leg, from)) = call.dialog_of(received) else {
            return true;
        };
        if !self.is_from(now, call, leg, from, flow, vouched) {
            debug!(call = %call.id, source = %flow, "a request of a call comes from elsewhere than its party");
            return false;
        }
        let must_pass = matches!(received.method(), Some(Method::Bye | Method::Ack));
        let strays = leg
            .dialog
            .leads_astray(from.other(), routed, |uri| self.is_own(uri));
        if strays && !must_pass {
            debug!(call = %call.id, source = %flow, "a request of a call leads to elsewhere than its other party");
            return false;
        }
        true
    }

    /// The user who has to prove that a request of a call is its own, for it comes from elsewhere than
    /// the user's phone is known to be: one that changed its network, or somebody else.
    pub(super) fn doubted(&self, now: Instant, flow: &Flow, request: &Message) -> Option<Aor> {
        let call = self.calls.get(&self.call_by_tags(request)?)?;
        let (leg, from) = call.dialog_of(request)?;
        let Some(Caller::User(aor)) = call.party(leg, from) else {
            return None;
        };
        (!self.is_from(now, call, leg, from, flow, None)).then(|| aor.clone())
    }

    /// Whether a party of a call is behind `flow`. It is at the address that it was heard at, whatever
    /// the port: a NAT may have changed it, a connection may be another one. A user is also at every
    /// address that a phone of his is registered from; what is no user's at those of its trunk, and
    /// where it asked to be sent to itself.
    fn is_from(
        &self,
        now: Instant,
        call: &Call,
        leg: &Leg,
        side: Side,
        flow: &Flow,
        vouched: Option<&Caller>,
    ) -> bool {
        let known = call.way_to(leg, side);
        if known.is_some_and(|known| self.is_same_place(&known, flow)) {
            return true;
        }
        let source = source_ip(flow);
        match call.party(leg, side) {
            Some(Caller::User(aor)) => {
                matches!(vouched, Some(Caller::User(who)) if who == aor)
                    || self.access.location.is_at(self.time(now), aor, source)
            }
            party => {
                let is_there = |uri: &str| {
                    let uri = Uri::parse(uri).ok();
                    let host = uri.and_then(|uri| uri.host()?.ip());
                    host.is_some_and(|host| host.to_canonical() == source)
                };
                let is_trunk = |trunk: &Caller| match (trunk, self.trunk_of(flow)) {
                    (Caller::Trunk(trunk), Some(of)) => trunk.name == of.name,
                    _ => false,
                };
                party.is_some_and(is_trunk)
                    || is_there(leg.dialog.next_hop(side))
                    || is_there(leg.dialog.target(side))
            }
        }
    }

    /// Whether what came by `flow` may be from the peer of `known`: its address, or another one of its
    /// trunk.
    pub(super) fn is_same_place(&self, known: &Flow, flow: &Flow) -> bool {
        if source_ip(known) == source_ip(flow) {
            return true;
        }
        match (self.trunk_of(known), self.trunk_of(flow)) {
            (Some(trunk), Some(other)) => trunk.name == other.name,
            _ => false,
        }
    }

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
        let mut legs = call.dialogs.iter().enumerate();
        let sender = legs.find_map(|(at, leg)| Some((at, leg.dialog.sender(&received)?)));
        let Some((at, from)) = sender else {
            return self.answer(now, server, &received, 481, &[]);
        };
        let party = call.dialogs.get(at).and_then(|leg| call.party(leg, from));
        let is_trusted = matches!(party, Some(Caller::Trunk(trunk)) if trunk.config.trusted);
        let is_user = matches!(party, Some(Caller::User(_)));
        let other = call.dialogs.get(at);
        let other = other.and_then(|leg| call.party(leg, from.other()));
        let challenger = Challenger::within(call, other, flow.is_node());
        let Some(leg) = call.dialogs.get_mut(at) else {
            return self.answer(now, server, &received, 481, &[]);
        };
        if ended || leg.over {
            // Both hang up at once, or this node has: the BYE is right, all else comes too late.
            let status = if is_bye { 200 } else { 481 };
            return self.answer(now, server, &received, status, &[]);
        }
        if is_bye && leg.dialog.is_out_of_order(from, &received) {
            // Who is to hang up would refuse it, and the call go on there.
            return self.answer(now, server, &received, 500, &[]);
        }
        leg.dialog.handle_request(&received);
        let directions = leg.dialog.directions(from.other());
        let ahead = leg.dialog.shift(from);
        // Where it is now is where it can be reached.
        if from == Side::Callee
            && let Some(way) = &mut leg.way
        {
            follow(way, &flow, is_user);
            leg.heard = time;
        }
        if is_bye && leg.confirmed {
            leg.over = true;
            if !call.has_dialog() {
                call.end = Some(hung_up(from, time));
                call.state = control::signal::CallState::Ending;
            }
        }
        if from == Side::Caller {
            follow(&mut call.way, &flow, is_user);
            call.heard = time;
        }
        let next = self.calls.get(&key).and_then(|call| {
            let leg = call.dialogs.get(at)?;
            Some(self.next_to(now, call, leg, from.other()))
        });
        let Some(next) = next else {
            return self.answer(now, server, &received, 400, &[]);
        };
        if !is_trusted && let Ok(Some(bare)) = without_identity(&routed.request) {
            routed.request = bare;
        }
        let next = self.by_the_address_it_knows(next, &routed);
        let secure = next.secure;
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
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.directions = Some(directions);
            exchange.challenger = challenger;
            exchange.secure = secure;
            exchange.ahead = ahead;
        }
        self.run_actions(now, id);
    }

    /// Passes the ACK of a 2xx on to the callee.
    pub(super) fn pass_ack(
        &mut self,
        now: Instant,
        key: CallKey,
        received: &Message,
        mut routed: Routed,
    ) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let Some((leg, from)) = call.dialog_of(received) else {
            return;
        };
        let number = received.cseq().map_or(0, |cseq| cseq.number);
        let asked = leg.invite_of(from, number);
        let shift = asked.map_or_else(|| leg.dialog.shift(from), |asked| asked.shift);
        let directions = leg.dialog.directions(from.other());
        let acked = challenge::ahead(routed.request, shift, 0);
        match acked.and_then(|request| challenge::proven(request, asked)) {
            Ok(request) => routed.request = request,
            Err(error) => return debug!(%error, "cannot pass an ACK on"),
        }
        let next = self.next_to(now, call, leg, from.other());
        let next = self.by_the_address_it_knows(next, &routed);
        self.note_ack(key, received);
        let ack = Ack {
            branch: self.policy.identity.stateless_branch(received),
            routed,
            directions,
            secure: next.secure,
        };
        self.forward_ack(ack, &next);
    }

    /// Sends an ACK on, without a transaction.
    fn forward_ack(&mut self, ack: Ack, next: &NextHop) {
        match self.locate(next) {
            Located::At(way) => self.send_ack(&ack, way),
            Located::Ask(authority) => {
                self.ask_resolver(authority, Resolving::Ack(Box::new(ack)));
            }
            Located::Nowhere(why) => debug!(why, "cannot pass an ACK on"),
        }
    }

    /// The same with the way known.
    pub(super) fn send_ack(&mut self, ack: &Ack, way: Flow) {
        if ack.secure && !way.transport.is_secure() {
            return debug!("cannot pass an ACK on: its dialog is encrypted, and its way is not");
        }
        let Some(local) = self.policy.local(&way) else {
            return;
        };
        let plan = Forward {
            target: None,
            route: &[],
            directions: Some(&ack.directions),
            record_route: None,
            transport: via_transport(&way),
            sent_by: &local.sent_by,
            branch: &ack.branch,
        };
        match proxy::forward(&ack.routed, &plan) {
            Ok(message) => self.layer.send_stateless(way, message),
            Err(error) => debug!(%error, "cannot pass an ACK on"),
        }
    }
}

/// The ACK of a 2xx on its way.
#[derive(Debug)]
pub(super) struct Ack {
    routed: Routed,
    directions: Directions,
    /// That of our Via.
    branch: String,
    /// It goes on over TLS or not at all.
    secure: bool,
}

/// A party was heard again. A user's phone that has changed its network is where it is now; a trunk's
/// other address does not mean that it has left the one before.
fn follow(way: &mut Flow, heard: &Flow, is_user: bool) {
    if is_user && source_ip(way) != source_ip(heard) {
        *way = *heard;
    } else {
        way.follow(heard);
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
