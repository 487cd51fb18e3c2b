//! Responses on their way back.

use std::time::Instant;

use control::signal::CallState;
use sip::{
    dialog::{ProxyDialog, Side},
    header::HeaderName,
    message::{EditError, Message, Method},
    proxy::BranchId,
    transaction::ClientId,
};
use store::{Cause, EndedBy};
use tracing::{debug, info, warn};

use super::{
    Alarm, Client, Core,
    exchange::{Branch, Exchange, ExchangeId, Role},
    mirror,
    policy::RETRY_AFTER,
    state::{Asked, CallKey, Leg, MAX_DIALOGS, Work},
    target,
};
use crate::{metrics::Dropped, net::Flow};

impl Core {
    /// A response to a request of ours, our Via on top.
    pub(super) fn on_response(
        &mut self,
        now: Instant,
        client: ClientId,
        flow: &Flow,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(0);
        let (id, index) = match self.clients.get(&client).copied() {
            Some(Client::Branch(id, index)) => (id, index),
            Some(Client::Bye(..) | Client::Disowned | Client::Refer(..))
                if matches!(status, 401 | 407) && self.answer_for_own(now, client, response) =>
            {
                return;
            }
            Some(Client::Refer(key, number)) if status >= 200 => {
                return self.on_referred(now, key, number, Some(status));
            }
            Some(Client::Bye(key, side)) if status >= 200 => {
                return self.on_bye_done(now, key, side, Some(status));
            }
            Some(Client::Kept) if status >= 200 => {
                return self.on_delivered(now, client, Some(status));
            }
            Some(Client::Bye(..) | Client::Disowned | Client::Kept | Client::Refer(..)) => return,
            None => return self.metrics.dropped(Dropped::Stray),
        };
        self.follow_callee(now, id, index, flow);
        let Some(branch) = self.branch(id, index) else {
            return;
        };
        let is_present = branch.clients.last() == Some(&client);
        if is_present {
            branch.heard = true;
            branch.deadline = None;
        } else if status >= 300 {
            // Of an address that was given up; another one is asked now.
            return;
        }
        if (180..200).contains(&status) {
            branch.rang = true;
        }
        let is_outage = status == 503 && !branch.ways.is_empty();
        if let Some(place) = branch.target.host()
            && place.on_answer().is_some()
            && let Some(host) = place.host()
        {
            info!(trunk = place.trunk.name, %host, "a host answers again");
        }
        if is_outage {
            self.fail_over(now, id, index, true);
            return self.run_actions(now, id);
        }
        if matches!(status, 401 | 407) && self.on_challenge(now, id, index, response) {
            return self.run_actions(now, id);
        }
        let mirrored = match self.as_asked(id, index, response) {
            Ok(mirrored) => mirrored,
            Err(error) => return debug!(%error, "a response cannot be passed back"),
        };
        let response = mirrored.as_ref().unwrap_or(response);
        if (300..400).contains(&status) && self.follow(now, id, index, response) {
            return self.run_actions(now, id);
        }
        if status >= 300 && self.replace(now, id, index, status) {
            return self.run_actions(now, id);
        }
        if (101..300).contains(&status) {
            self.note_dialog(now, id, index, response);
        }
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange
                .context
                .handle_response(now, BranchId(index), response);
        }
        self.run_actions(now, id);
    }

    /// A response of a branch as who asked is to see it; `None` where it is that already.
    fn as_asked(
        &self,
        id: ExchangeId,
        index: usize,
        response: &Message,
    ) -> Result<Option<Message>, EditError> {
        let exchange = self.exchanges.get(&id);
        let branch = exchange.and_then(|exchange| exchange.branches.get(index));
        let sent = branch.and_then(|branch| branch.sent.as_ref());
        let Some((exchange, sent)) = exchange.zip(sent) else {
            return Ok(None);
        };
        let refused = self.without_own_challenges(response, sent);
        let left = refused.as_ref().unwrap_or(response);
        let mirrored = mirror::as_asked(left, &exchange.received, sent)?;
        Ok(mirrored.or(refused))
    }

    /// A response that is to go back; that of a call in the call's turn.
    pub(super) fn pass_back(
        &mut self,
        now: Instant,
        id: ExchangeId,
        branch: BranchId,
        response: Message,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let success = matches!(response.status(), Some(200..=299));
        if exchange.replied {
            if success && exchange.method == Method::Invite {
                self.disown(now, id, branch, &response);
            }
            return;
        }
        match exchange.call.filter(|key| self.calls.contains_key(key)) {
            Some(key) => {
                exchange.queued += 1;
                self.enqueue(
                    now,
                    key,
                    Work::Respond {
                        exchange: id,
                        branch,
                        response,
                    },
                );
            }
            None if self.keep(now, id, response.status().unwrap_or(0)) => {}
            None => self.send_back(now, id, &response),
        }
    }

    /// Sends a response in its exchange's server transaction.
    pub(super) fn send_back(&mut self, now: Instant, id: ExchangeId, response: &Message) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if let Err(error) = self.layer.send_response(now, exchange.server, response) {
            // A 2xx that comes again when nobody waits for it any more, most likely.
            debug!(%error, "a response is not passed on");
        }
    }

    /// A response of a call goes back, its SDP led to mediad: what it means for the call.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        key: CallKey,
        id: ExchangeId,
        branch: BranchId,
        response: &Message,
    ) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if exchange.replied {
            return self.pass_back(now, id, branch, response.clone());
        }
        let (role, method) = (exchange.role, exchange.method.clone());
        let timer = exchange.timer;
        let status = response.status().unwrap_or(0);
        if role == Role::Setup && matches!(status, 200..=299) && self.is_loser(key, response) {
            return self.disown(now, id, branch, response);
        }
        if role == Role::Setup && matches!(status, 200..=299) {
            self.go_on(key);
        }
        let agreed = timer.and_then(|timer| timer.settle(response));
        let told = agreed.as_ref().and_then(|agreed| agreed.response.as_ref());
        self.send_back(now, id, told.unwrap_or(response));
        if (200..300).contains(&status) && matches!(method, Method::Invite | Method::Update) {
            let interval = agreed.map(|agreed| agreed.interval);
            self.watch_dialog(now, key, response, &method, interval);
        }
        match role {
            Role::Setup if status < 200 => self.on_ringing(now, key, status),
            Role::Setup if status < 300 => {
                self.on_answered(now, key, id, branch, response);
            }
            Role::Setup => {
                self.on_setup_failed(now, key, id, status, Some(&response.reason()));
            }
            Role::Within { from, .. } if status >= 200 => {
                if let Some((leg, _)) = self
                    .calls
                    .get_mut(&key)
                    .and_then(|call| call.leg_of(response))
                {
                    leg.dialog.handle_response(response);
                }
                if method == Method::Bye {
                    self.on_bye_answered(now, key, from, response);
                }
            }
            Role::Within { .. } | Role::Outside => {}
        }
    }

    /// Whether a 2xx is of another callee than the one whose 2xx the caller has, and cannot be had
    /// beside it: two that picked up at once. Where mediad relays, the media of a call is that of one
    /// callee, and the other is hung up; else the caller is told of both (RFC 3261 section 16.7).
    fn is_loser(&mut self, key: CallKey, response: &Message) -> bool {
        let call = self.calls.get_mut(&key);
        let Some(call) = call.filter(|call| call.is_answered() && call.media.is_some()) else {
            return false;
        };
        let tag = response.to_tag();
        if tag.is_none() || call.winner.as_deref() == tag {
            return false;
        }
        let mut legs = call.dialogs.iter_mut();
        if let Some(leg) = legs.find(|leg| Some(leg.dialog.tag(Side::Callee)) == tag) {
            leg.over = true;
        }
        true
    }

    /// A final response of our own, since no branch had a better one.
    pub(super) fn reply(&mut self, now: Instant, id: ExchangeId, status: u16) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if exchange.replied {
            return;
        }
        let (server, received) = (exchange.server, exchange.received.clone());
        if self.keep(now, id, status) {
            return;
        }
        self.answer(now, server, &received, status, &[]);
        self.on_own_final(now, id, status);
    }

    /// No answer is owed any more, and none can be given.
    pub(super) fn abandon(&mut self, now: Instant, id: ExchangeId) {
        if self.keep(now, id, 408) {
            return;
        }
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        self.layer.abandon(now, exchange.server);
        self.on_own_final(now, id, 408);
    }

    /// Refuses a request on the node's own account, whatever its branches say. `cause` ends the call
    /// that it sets up.
    pub(super) fn reject(
        &mut self,
        now: Instant,
        id: ExchangeId,
        status: u16,
        end: Option<(EndedBy, Cause, &str)>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if exchange.replied {
            return;
        }
        exchange.replied = true;
        exchange.context.handle_cancel(now);
        let (server, received, call) = (exchange.server, exchange.received.clone(), exchange.call);
        let retry = [(HeaderName::RetryAfter, RETRY_AFTER)];
        let headers = if status == 503 { &retry[..] } else { &[] };
        self.answer(now, server, &received, status, headers);
        if let (Some(key), Some((by, cause, why))) = (call, end) {
            self.finish(now, key, by, cause, status, why);
        }
        self.run_actions(now, id);
    }

    /// Notes a dialog that a response of the INVITE sets up.
    fn note_dialog(&mut self, now: Instant, id: ExchangeId, index: usize, response: &Message) {
        let time = self.time(now);
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let Some(call) = exchange.call.and_then(|key| self.calls.get_mut(&key)) else {
            return;
        };
        if exchange.role != Role::Setup {
            return;
        }
        let Some(tag) = response.to_tag() else {
            return;
        };
        if !call.is_answered() {
            let branch = exchange.branches.get(index);
            call.callee = branch.and_then(|branch| branch.way).or(call.callee);
        }
        let success = matches!(response.status(), Some(200..=299));
        let known = call
            .dialogs
            .iter_mut()
            .find(|leg| leg.dialog.tag(Side::Callee) == tag);
        if let Some(known) = known {
            if success && !known.confirmed {
                // The Contact and the Record-Route of the 2xx count.
                if let Err(error) = known.dialog.confirm(response, &self.policy.identity) {
                    debug!(call = %call.id, %error, "an answer has no readable Record-Route");
                }
                known.confirmed = true;
                known.heard = time;
                known.asked = asked_by(exchange, index);
                // Another phone may have rung with the same tag.
                if let Some(branch) = exchange.branches.get(index) {
                    known.relay = branch.target.relay;
                    known.way = branch.way.or(known.way);
                    known.phone = branch.target.phone();
                }
            }
            return;
        }
        if call.dialogs.len() >= MAX_DIALOGS {
            // One that only rings makes room for one that has answered.
            let ringing = call.dialogs.iter().position(|leg| !leg.confirmed);
            match ringing.filter(|_| success) {
                Some(ringing) => drop(call.dialogs.remove(ringing)),
                None => {
                    warn!(call = %call.id, "a call has too many dialogs; one more is not followed");
                    return;
                }
            }
        }
        let branch = exchange.branches.get(index);
        let made = if success {
            // Without a Contact they are still where they sent from.
            let caller = target::uri_of(&exchange.flow);
            let way = branch.and_then(|branch| branch.way);
            let callee = target::uri_of(&way.unwrap_or(exchange.flow));
            ProxyDialog::with_targets(
                &exchange.received,
                response,
                &self.policy.identity,
                &caller,
                &callee,
            )
        } else {
            ProxyDialog::new(&exchange.received, response, &self.policy.identity)
        };
        match made {
            Ok(mut dialog) => {
                dialog.set_shift(Side::Caller, branch.map_or(0, |branch| branch.shift));
                if let Some(from) = branch.and_then(Branch::shown_from) {
                    dialog.set_shown(Side::Caller, from);
                }
                let mut leg = Leg::new(dialog, success, time);
                leg.asked = asked_by(exchange, index);
                leg.relay = branch.is_some_and(|branch| branch.target.relay);
                leg.way = branch.and_then(|branch| branch.way);
                leg.callee = branch.and_then(|branch| branch.target.party());
                leg.phone = branch.and_then(|branch| branch.target.phone());
                if call.dialogs.is_empty() {
                    // There is one, as a rule, where a vector would make room for four.
                    call.dialogs.reserve_exact(1);
                }
                call.dialogs.push(leg);
            }
            // A 180 without a Contact makes none, and needs none.
            Err(error) if success => {
                warn!(call = %call.id, %error, "an answer makes no dialog: this node cannot end it");
            }
            Err(_) => {}
        }
    }

    fn on_ringing(&mut self, now: Instant, key: CallKey, status: u16) {
        let time = self.time(now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if matches!(status, 180 | 183) && call.ringing.is_none() && call.end.is_none() {
            call.ringing = Some(time);
            call.state = CallState::Ringing;
            self.tell_call(key);
        }
    }

    fn on_answered(
        &mut self,
        now: Instant,
        key: CallKey,
        id: ExchangeId,
        branch: BranchId,
        response: &Message,
    ) {
        let time = self.time(now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let exchange = self.exchanges.get(&id);
        let branch = exchange.and_then(|exchange| exchange.branches.get(branch.0));
        if let Some(branch) = branch {
            call.callee = branch.way.or(call.callee);
        }
        call.setup = call.setup.filter(|setup| *setup != id);
        if call.answered.is_some() {
            return;
        }
        call.answered = Some(time);
        let tag = response.to_tag();
        call.winner = tag.map(str::to_owned);
        // What was for callees of another family or interface.
        let spare = std::mem::take(&mut call.spare).into_iter();
        let mut unused: Vec<_> = spare.flat_map(|mut spare| spare.clear()).collect();
        let mut longest = None;
        if let Some(branch) = branch {
            call.trunk = branch.target.host().map(|host| host.trunk.clone());
            call.callee_user = branch.target.user.clone();
            if !branch.target.relay
                && let Some(mut media) = call.media.take()
            {
                unused.extend(media.clear());
            }
        }
        if let Some(course) = call.course.take() {
            longest = course.plan.longest;
            let answered = branch.and_then(|branch| branch.target.charge);
            call.holds.extend(course.into_holds(answered));
        }
        call.state = CallState::Answered;
        let setup = now.saturating_duration_since(call.began);
        self.metrics.call_setup.observe(setup.as_secs_f64());
        if let Some(trunk) = &call.trunk {
            trunk.standing.count_answered();
        }
        info!(
            call = %call.id,
            status = response.status(),
            setup_ms = setup.as_millis(),
            trunk = call.trunk.as_ref().map(|trunk| trunk.name.as_str()),
            "answered"
        );
        self.close(key, unused);
        if let Some(longest) = longest {
            self.alarms.set(Alarm::Longest(key), Some(now + longest));
        }
        self.set_quality_alarm(now, key);
        self.tell_call(key);
        self.after_answer(now, key);
    }

    /// Our own final answer to a request: what it means for its call.
    fn on_own_final(&mut self, now: Instant, id: ExchangeId, status: u16) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let (role, Some(key)) = (exchange.role, exchange.call) else {
            return;
        };
        let is_bye = exchange.method == Method::Bye;
        match role {
            Role::Setup => self.on_setup_failed(now, key, id, status, None),
            Role::Within { from, offered } => {
                if offered {
                    self.roll_back(key);
                }
                if is_bye {
                    self.on_hung_up(now, key, from, "the other party was silent");
                }
            }
            Role::Outside => {}
        }
    }

    /// The caller is told that there will be no call: by a callee, in these words, or by this node.
    fn on_setup_failed(
        &mut self,
        now: Instant,
        key: CallKey,
        id: ExchangeId,
        status: u16,
        answered: Option<&str>,
    ) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let rang = exchange.branches.iter().any(|branch| branch.rang);
        let (by, cause) = match status {
            487 if exchange.cancelled => (EndedBy::Caller, Cause::Cancel),
            _ if self.calls.get(&key).is_some_and(|call| call.feigned) => {
                (EndedBy::Node, Cause::Blocked)
            }
            _ if answered.is_some() => (EndedBy::Callee, Cause::Rejected),
            408 if rang => (EndedBy::Node, Cause::RingTimeout),
            487 => (EndedBy::Caller, Cause::Cancel),
            _ => (EndedBy::Node, Cause::Unreachable),
        };
        self.finish(now, key, by, cause, status, answered.unwrap_or_default());
    }

    fn on_bye_answered(&mut self, now: Instant, key: CallKey, from: Side, response: &Message) {
        if matches!(response.status(), Some(401 | 407)) {
            // The party has to ask again with credentials: the call goes on.
            return self.revive(now, key, response);
        }
        self.on_hung_up(now, key, from, "OK");
    }

    /// A dialog was hung up: with the last of a call's dialogs the call is over.
    fn on_hung_up(&mut self, now: Instant, key: CallKey, from: Side, reason: &str) {
        let over = self.calls.get(&key).is_some_and(|call| !call.has_dialog());
        if over {
            self.finish(now, key, ended_by(from), Cause::Bye, 200, reason);
        }
    }
}

/// What the ACK of a call's INVITE has to repeat, as it went to one of its branches.
pub(super) fn asked_by(exchange: &Exchange, index: usize) -> Option<Asked> {
    let branch = exchange.branches.get(index)?;
    Some(Asked {
        from: Side::Caller,
        cseq: exchange.received.cseq().ok()?.number,
        shift: branch.shift,
        credentials: branch.credentials.clone(),
    })
}

/// Who hung up.
pub(super) const fn ended_by(side: Side) -> EndedBy {
    match side {
        Side::Caller => EndedBy::Caller,
        Side::Callee => EndedBy::Callee,
    }
}
