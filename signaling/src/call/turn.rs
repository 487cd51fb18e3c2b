//! A call's queue: what has SDP waits here for mediad, and nothing of the call overtakes it.

use std::time::Instant;

use control::media::{self, Family, Handling};
use sip::{
    dialog::Side,
    message::{Message, Method},
    sdp::{self, SdpError},
};
use store::{Cause, EndedBy};
use tracing::warn;

use super::{
    Core,
    asked::Purpose,
    exchange::{ExchangeId, Role},
    state::{CallKey, Failure, Waiting, Work},
    stream::{Media, Needs, Turn},
};
use crate::directory::Caller;

impl Core {
    /// Puts a message into its call's queue.
    pub(super) fn enqueue(&mut self, now: Instant, key: CallKey, work: Work) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.waiting.is_some() || !call.work.is_empty() {
            call.work.push_back(work);
        } else {
            self.begin(now, key, work);
        }
        self.run_work(now, key);
    }

    /// An offer within the call was refused.
    pub(super) fn roll_back(&mut self, key: CallKey) {
        let media = self
            .calls
            .get_mut(&key)
            .and_then(|call| call.media.as_mut());
        if let Some(sessions) = media.map(Media::roll_back) {
            self.close(key, sessions);
        }
    }

    /// Works on the queue until it is empty or has to wait.
    pub(super) fn run_work(&mut self, now: Instant, key: CallKey) {
        loop {
            let Some(call) = self.calls.get_mut(&key) else {
                return;
            };
            if call.waiting.is_some() {
                return;
            }
            let Some(work) = call.work.pop_front() else {
                return;
            };
            self.begin(now, key, work);
        }
    }

    fn begin(&mut self, now: Instant, key: CallKey, work: Work) {
        self.face(key, &work);
        let turn = self.turn_of(key, &work);
        let needs = match self.needs(key, &work, turn) {
            Ok(needs) => needs,
            Err(error) => return self.unusable(now, key, work, error),
        };
        self.close(key, needs.closed);
        let outstanding = needs.requests.len();
        for request in needs.requests {
            match &request {
                media::Request::Create(create) | media::Request::Beside(_, create) => {
                    let session = create.id;
                    self.by_session.insert(session, key);
                    self.ask(key, session, Purpose::Open, request);
                }
                media::Request::Modify(modify) => {
                    let session = modify.id;
                    self.ask(key, session, Purpose::Change, request);
                }
                _ => {}
            }
        }
        let waiting = Waiting {
            work,
            turn,
            outstanding,
            failed: None,
        };
        if outstanding == 0 {
            return self.complete(now, key, waiting);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.waiting = Some(waiting);
        }
    }

    /// Brings forward the media with the callee that a message goes to or comes from. Phones of both
    /// families, or on other interfaces, may ring at once: each has sessions of its own, until one has answered.
    fn face(&mut self, key: CallKey, work: &Work) {
        let Some(call) = self.calls.get(&key).filter(|call| !call.is_answered()) else {
            return;
        };
        let (way, callee) = match work {
            Work::Send { exchange, branch }
            | Work::Respond {
                exchange, branch, ..
            } => {
                let exchange = self.exchanges.get(exchange);
                let exchange = exchange.filter(|exchange| exchange.role == Role::Setup);
                let branch = exchange.and_then(|exchange| exchange.branches.get(branch.0));
                let branch = branch.filter(|branch| branch.target.relay);
                let host = branch.and_then(|branch| branch.target.host());
                let trunk = host.map(|host| Caller::Trunk(host.trunk.clone()));
                let user = || branch?.target.user.clone().map(Caller::User);
                (branch.and_then(|branch| branch.way), trunk.or_else(user))
            }
            Work::Request { received, .. } | Work::Ack { received, .. } => {
                let mut legs = call.dialogs.iter().filter(|leg| leg.relay);
                let leg = legs.find(|leg| leg.dialog.sender(received).is_some());
                let callee = leg.and_then(|leg| leg.callee.clone());
                (leg.and_then(|leg| leg.way), callee)
            }
        };
        let handling = self.policy.handling(
            callee.as_ref().unwrap_or(&Caller::Node),
            call.source.is_node(),
        );
        let source = Family::of(&call.source.local);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let (Some(way), Some(media)) = (way, &mut call.media) else {
            return;
        };
        let family = Family::of(&way.local);
        let [caller, _] = &media.handling;
        let callee = Handling {
            seen_at: Some(way.remote.ip()),
            ..handling
        };
        let is_meant = |media: &Media| media.is_meant_for(family, &callee);
        if !is_meant(media) {
            let muted = media.muted;
            let mut other = match call.spare.iter().position(is_meant) {
                Some(at) => call.spare.swap_remove(at),
                None => {
                    let handling = [caller.clone(), callee.clone()];
                    let families = handling.each_ref().map(|of| self.policy.families(of));
                    Media::new(families, handling, source, family)
                }
            };
            other.muted = muted;
            call.spare.push(std::mem::replace(media, other));
        }
        let [_, known] = &mut media.handling;
        *known = callee;
    }

    /// What part the SDP of a message plays, if it has any.
    fn turn_of(&self, key: CallKey, work: &Work) -> Turn {
        let Some(call) = self.calls.get(&key).filter(|call| call.end.is_none()) else {
            return Turn::None;
        };
        let Some(media) = &call.media else {
            return Turn::None;
        };
        let has_sdp = |message: &Message| !matches!(sdp::locate(message), Ok(None));
        let sender = |message: &Message| {
            call.dialogs
                .iter()
                .find_map(|leg| leg.dialog.sender(message))
        };
        // A branch that bypasses mediad beside others that do not.
        let relays = |message: &Message| {
            let mut legs = call.dialogs.iter();
            legs.find(|leg| leg.dialog.sender(message).is_some())
                .is_none_or(|leg| leg.relay)
        };
        match work {
            Work::Send { exchange, branch } => match self.exchanges.get(exchange) {
                Some(exchange) if exchange.relays(*branch) && has_sdp(&exchange.received) => {
                    Turn::Offer(Side::Caller)
                }
                _ => Turn::None,
            },
            Work::Respond {
                exchange,
                branch,
                response,
            } => {
                let Some(exchange) = self.exchanges.get(exchange) else {
                    return Turn::None;
                };
                if !negotiates(&exchange.method) {
                    return Turn::None;
                }
                let relays = match exchange.role {
                    Role::Setup => exchange.relays(*branch),
                    _ => relays(response),
                };
                if !relays || !matches!(response.status(), Some(101..=299)) {
                    return Turn::None;
                }
                if !has_sdp(response) {
                    return Turn::None;
                }
                let (offered, by) = match exchange.role {
                    Role::Setup => (has_sdp(&exchange.received), Side::Callee),
                    Role::Within { from, offered } => (offered, from.other()),
                    Role::Outside => return Turn::None,
                };
                if exchange.role == Role::Setup && call.is_answered() {
                    // A 2xx that comes again, for its ACK was lost.
                    return Turn::Again(by);
                }
                match exchange.method {
                    _ if offered => Turn::Answer(by),
                    Method::Invite => Turn::Offer(by),
                    _ => Turn::Again(by),
                }
            }
            Work::Request { received, .. } => match (received.method(), sender(received)) {
                (Some(method), Some(by))
                    if negotiates(method) && has_sdp(received) && relays(received) =>
                {
                    let answers = *method == Method::Prack && media.owed == Some(by);
                    if answers {
                        Turn::Answer(by)
                    } else {
                        Turn::Offer(by)
                    }
                }
                _ => Turn::None,
            },
            Work::Ack { received, .. } => match sender(received) {
                Some(by) if has_sdp(received) && relays(received) => {
                    if media.owed == Some(by) {
                        Turn::Answer(by)
                    } else {
                        Turn::Again(by)
                    }
                }
                _ => Turn::None,
            },
        }
    }

    fn needs(&mut self, key: CallKey, work: &Work, turn: Turn) -> Result<Needs, SdpError> {
        let (tokens, mark) = (&mut self.tokens, self.session_mark);
        let Some(call) = self.calls.get_mut(&key) else {
            return Ok(Needs::default());
        };
        let Some(media) = &mut call.media else {
            return Ok(Needs::default());
        };
        let message = match work {
            Work::Send { exchange, .. } => {
                let Some(exchange) = self.exchanges.get(exchange) else {
                    return Ok(Needs::default());
                };
                &exchange.received
            }
            Work::Respond { response, .. } => response,
            Work::Request { received, .. } | Work::Ack { received, .. } => received,
        };
        let accepts = match work {
            Work::Respond { exchange, .. } => {
                let role = self.exchanges.get(exchange).map(|exchange| exchange.role);
                let success = matches!(message.status(), Some(200..=299));
                success && role == Some(Role::Setup) && call.answered.is_none()
            }
            _ => false,
        };
        let needs = if accepts && turn == Turn::None {
            media.choose(message)
        } else {
            media.take(message, turn, || Self::session_id(tokens, mark))?
        };
        match (work, turn) {
            // An offer in a response is answered in ACK or PRACK.
            (Work::Respond { .. }, Turn::Offer(by)) => media.owed = Some(by.other()),
            (Work::Request { .. } | Work::Ack { .. }, Turn::Answer(_)) => media.owed = None,
            _ => {}
        }
        Ok(needs)
    }

    /// mediad has done what was needed, or will not.
    pub(super) fn complete(&mut self, now: Instant, key: CallKey, waiting: Waiting) {
        let Waiting {
            work, turn, failed, ..
        } = waiting;
        if let Some(failure) = failed {
            return self.unavailable(now, key, work, turn, &failure);
        }
        let led = self.led(key, &work, turn);
        let message = match led {
            Ok(message) => message,
            Err(error) => return self.unusable(now, key, work, error),
        };
        match work {
            Work::Send { exchange, branch } => {
                if let Some(message) = message {
                    self.send_branch(now, exchange, branch, message);
                }
                self.run_actions(now, exchange);
            }
            Work::Respond {
                exchange,
                branch,
                response,
            } => {
                self.dequeue(exchange);
                let response = message.unwrap_or(response);
                self.deliver(now, key, exchange, branch, &response);
                let refused = response.status().is_some_and(|status| status >= 300);
                if refused && self.has_offered(exchange) {
                    self.roll_back(key);
                }
                self.rest(exchange);
            }
            Work::Request {
                server,
                flow,
                received,
                mut routed,
            } => {
                if let Some(message) = message {
                    routed.request = message;
                }
                let offered = matches!(turn, Turn::Offer(_));
                self.pass_within(now, key, server, flow, received, routed, offered);
            }
            Work::Ack {
                received,
                mut routed,
            } => {
                if let Some(message) = message {
                    routed.request = message;
                }
                self.pass_ack(now, key, &received, routed);
            }
        }
    }

    /// The message as it is to go on; `None` for one that goes on as it is.
    fn led(&self, key: CallKey, work: &Work, turn: Turn) -> Result<Option<Message>, SdpError> {
        let message = match work {
            Work::Send { exchange, .. } => {
                let exchange = self.exchanges.get(exchange);
                match exchange.and_then(|exchange| exchange.onward.as_ref()) {
                    Some(request) => request,
                    None => return Ok(None),
                }
            }
            Work::Respond { response, .. } => response,
            Work::Request { routed, .. } | Work::Ack { routed, .. } => &routed.request,
        };
        let media = self.calls.get(&key).and_then(|call| call.media.as_ref());
        match (turn, media) {
            (Turn::Offer(by) | Turn::Answer(by) | Turn::Again(by), Some(media)) => {
                media.rewrite(message, by).map(Some)
            }
            // Only an INVITE that is sent to a branch needs a copy in any case.
            _ => Ok(matches!(work, Work::Send { .. }).then(|| message.clone())),
        }
    }

    /// A description that cannot be relayed is not passed on.
    fn unusable(&mut self, now: Instant, key: CallKey, work: Work, error: SdpError) {
        let id = self.calls.get(&key).map(|call| call.id);
        warn!(call = id.map(display), %error, "a description cannot be relayed");
        let status = error.status();
        self.stop_work(
            now,
            key,
            work,
            status,
            Cause::MediaUnusable,
            &error.to_string(),
        );
    }

    /// mediad did not open a session, or cannot use a description.
    fn unavailable(
        &mut self,
        now: Instant,
        key: CallKey,
        work: Work,
        turn: Turn,
        Failure { cause, why }: &Failure,
    ) {
        let id = self.calls.get(&key).map(|call| call.id);
        warn!(call = id.map(display), why, "mediad relays no media");
        // What an answer is an answer to stands until the exchange is over: another may come.
        if !matches!(turn, Turn::Answer(_)) {
            self.roll_back(key);
        }
        let status = match cause {
            Cause::MediaUnusable => 488,
            _ => 503,
        };
        self.stop_work(now, key, work, status, *cause, why);
    }

    fn stop_work(
        &mut self,
        now: Instant,
        key: CallKey,
        work: Work,
        status: u16,
        cause: Cause,
        why: &str,
    ) {
        match work {
            Work::Send { exchange, branch } => {
                if let Some(branch) = self.branch(exchange, branch.0) {
                    branch.preparing = false;
                }
                self.reject(now, exchange, status, Some((EndedBy::Node, cause, why)));
            }
            Work::Respond {
                exchange,
                branch,
                response,
            } => {
                self.dequeue(exchange);
                self.stop_response(now, key, exchange, branch, &response, cause, why);
                self.rest(exchange);
            }
            Work::Request {
                server, received, ..
            } => {
                // 503 would make the party give this node up for all its calls.
                let status = if status == 503 { 500 } else { status };
                self.answer(now, server, &received, status, &[]);
            }
            Work::Ack {
                received,
                mut routed,
            } => {
                // The callee waits for it, but has to hear that there is no call.
                if let Ok(bare) = without_body(&routed.request) {
                    routed.request = bare;
                    self.pass_ack(now, key, &received, routed);
                }
                self.hang_up(now, key, cause);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all that is known of a response that is stopped"
    )]
    fn stop_response(
        &mut self,
        now: Instant,
        key: CallKey,
        id: ExchangeId,
        branch: sip::proxy::BranchId,
        response: &Message,
        cause: Cause,
        why: &str,
    ) {
        if response.status().is_some_and(|status| status < 200) {
            // Without it the caller hears no early media; the call may still succeed.
            return;
        }
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        // 502: the upstream's answer is what is wrong (RFC 3261 section 21.5.3).
        let status = if cause == Cause::MediaUnavailable {
            500
        } else {
            502
        };
        match exchange.role {
            Role::Setup => {
                self.disown(now, id, branch, response);
                self.reject(now, id, status, Some((EndedBy::Node, cause, why)));
            }
            Role::Within { .. } | Role::Outside => {
                let is_invite = exchange.method == Method::Invite;
                self.reject(now, id, status, None);
                if is_invite {
                    self.acknowledge(now, key, response);
                }
                self.hang_up(now, key, cause);
            }
        }
    }

    /// A response has left its call's queue.
    pub(super) fn dequeue(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.queued = exchange.queued.saturating_sub(1);
        }
    }

    fn has_offered(&self, id: ExchangeId) -> bool {
        let role = self.exchanges.get(&id).map(|exchange| exchange.role);
        matches!(role, Some(Role::Within { offered: true, .. }))
    }
}

/// Whether offers and answers are exchanged by a method (RFC 6337 section 2). What another one describes is
/// no media of the call, as the answer to an OPTIONS that tells what somebody could do.
const fn negotiates(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update | Method::Prack)
}

/// A message without its body.
fn without_body(message: &Message) -> Result<Message, sip::message::EditError> {
    message
        .edit()
        .remove(sip::header::HeaderName::ContentType)
        .body("")
        .finish()
}
