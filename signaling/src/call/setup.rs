//! The INVITE of a new call: who calls whom, which route it takes, and the start of its exchange.

use std::time::Instant;

use control::{media::Family, signal::CallState};
use sip::{
    header::HeaderName,
    message::{Message, Method},
    proxy::{self, Group, ResponseContext, Routed},
    sdp::{self, Sdp, SdpError},
    transaction::ServerId,
};
use store::{Cause, EndedBy, Uuid};
use tracing::{info, warn};

use super::{
    Alarm, Core,
    exchange::{Exchange, ExchangeId, Role, Target},
    policy::{LONGEST_CALL, RETRY_AFTER},
    state::{Call, CallKey},
    stream::Media,
};
use crate::{
    directory::{Caller, Decision, Destination, Plan, Presented, Query, Trunk},
    metrics::Dropped,
    net::Flow,
};

impl Core {
    /// A new call. `user` is whom the Request-URI names.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known of a request when it becomes a call"
    )]
    pub(super) fn set_up(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
        mut routed: Routed,
        origin: &std::sync::Arc<Trunk>,
        user: Option<&str>,
    ) {
        let Some(key) = self.new_call(now, flow, &received, origin) else {
            self.metrics.dropped(Dropped::Malformed);
            return self.answer(now, server, &received, 400, &[]);
        };
        let Some(timer) = self.ask_timer(now, server, &received, &mut routed) else {
            return self.finish(now, key, EndedBy::Node, Cause::Refused, 422, "");
        };
        let caller = Caller::Trunk(origin.clone());
        let plan = match self.decide(now, &caller, &received, user) {
            Decision::Plan(plan) => plan,
            Decision::Refuse(no) => {
                return self.refuse(now, server, &received, key, no.status, no.cause, &no.reason);
            }
            Decision::Silence => {
                return self.finish(now, key, EndedBy::Node, Cause::NoRoute, 0, "blocked");
            }
        };
        let targets = Self::first_hosts(now, &plan);
        let relay = plan.relays();
        let ring_timeout = plan.stages.first().map(|stage| stage.ring_timeout);
        if relay && let Err(error) = check_offer(&received) {
            let status = error.status();
            let why = error.to_string();
            return self.refuse(
                now,
                server,
                &received,
                key,
                status,
                Cause::MediaUnusable,
                &why,
            );
        }
        if relay && !self.media_up {
            let why = "mediad cannot be reached";
            warn!("refused a call: {why}; is it running?");
            let cause = Cause::MediaUnavailable;
            return self.refuse(now, server, &received, key, 503, cause, why);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.route = plan.route;
            if relay {
                let family = Family::of(&flow.local);
                call.media = Some(Media::new(family, family));
            }
        }
        let id = self.exchange(
            now,
            server,
            flow,
            received,
            routed,
            Some(key),
            Role::Setup,
            targets,
            ring_timeout,
        );
        self.set_timer(id, timer);
        if let Some(call) = self.calls.get_mut(&key) {
            call.setup = Some(id);
        }
        self.tell_call(key);
        self.run_actions(now, id);
    }

    /// Where a request goes that begins something.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        caller: &Caller,
        received: &Message,
        called: Option<&str>,
    ) -> Decision {
        let query = Query {
            caller,
            from: Presented::of(received, caller),
            called: called.unwrap_or_default(),
            user: None,
            at: self.time(now),
            draw: self.tokens.bits(),
        };
        self.directory.decide(&query)
    }

    /// The hosts of a plan's first stage.
    pub(super) fn first_hosts(now: Instant, plan: &Plan) -> Vec<Target> {
        let carriers = match plan.stages.first().map(|stage| &stage.destination) {
            Some(Destination::Carriers(carriers)) => carriers.as_slice(),
            _ => &[],
        };
        Self::hosts_of(now, carriers.iter().map(|carrier| &carrier.trunk))
    }

    /// Starts to pass a request on. Its first actions wait in the context.
    #[expect(
        clippy::too_many_arguments,
        reason = "an exchange is made in one place"
    )]
    pub(super) fn exchange(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
        routed: Routed,
        call: Option<CallKey>,
        role: Role,
        targets: Vec<Target>,
        ring_timeout: Option<std::time::Duration>,
    ) -> ExchangeId {
        let method = received
            .method()
            .cloned()
            .unwrap_or_else(|| Method::Other("".into()));
        let policy = proxy::Policy {
            timer_c: self.policy.timer_c,
            ..proxy::Policy::default()
        };
        let count = targets.len();
        let groups = targets
            .into_iter()
            .map(|target| Group::new(vec![target]).ring_timeout(ring_timeout));
        let exchange = Exchange {
            server,
            flow,
            context: ResponseContext::new(now, &method, policy, groups),
            received,
            routed,
            method,
            call,
            role,
            branches: Vec::new(),
            targets: count,
            replied: false,
            queued: 0,
            cancelled: false,
            cancel_reason: None,
            disowned: Vec::new(),
            timer: None,
        };
        let id = ExchangeId(self.number());
        self.exchanges.insert(id, exchange);
        self.by_server.insert(server, id);
        id
    }

    /// Answers the INVITE of a call that goes nowhere, and ends the call.
    #[expect(clippy::too_many_arguments, reason = "the whole outcome of a call")]
    fn refuse(
        &mut self,
        now: Instant,
        server: ServerId,
        received: &Message,
        key: CallKey,
        status: u16,
        cause: Cause,
        why: &str,
    ) {
        let retry = [(HeaderName::RetryAfter, RETRY_AFTER)];
        let headers = if status == 503 { &retry[..] } else { &[] };
        self.answer(now, server, received, status, headers);
        self.finish(now, key, EndedBy::Node, cause, status, why);
    }

    fn new_call(
        &mut self,
        now: Instant,
        flow: Flow,
        received: &Message,
        origin: &Trunk,
    ) -> Option<CallKey> {
        let started = self.time(now);
        let (from, to) = (received.from().ok()?, received.to().ok()?);
        let call = Call {
            id: self.call_uuid(started),
            call_id: received.call_id().ok()?.to_owned(),
            caller_tag: from.tag().unwrap_or_default().to_owned(),
            from_uri: from.uri_str().to_owned(),
            to_uri: to.uri_str().to_owned(),
            request_uri: String::from_utf8_lossy(received.request_uri_raw()).into_owned(),
            source: flow,
            callee: None,
            trunk: None,
            route: None,
            state: CallState::Trying,
            began: now,
            started,
            ringing: None,
            answered: None,
            setup: None,
            dialogs: Vec::new(),
            media: None,
            work: std::collections::VecDeque::new(),
            waiting: None,
            end: None,
            byes: 0,
            stats: Vec::new(),
            closing: 0,
            silence: None,
        };
        info!(
            call = %call.id,
            call_id = %call.call_id,
            from = %call.from_uri,
            to = %call.request_uri,
            source = %flow,
            origin = origin.name,
            "call"
        );
        let key = CallKey(self.number());
        let index = (call.call_id.clone(), call.caller_tag.clone());
        self.by_dialog.entry(index).or_default().push(key);
        self.calls.insert(key, call);
        self.alarms.set(Alarm::Call(key), Some(now + LONGEST_CALL));
        Some(key)
    }

    /// A UUID version 7: its front is the time.
    fn call_uuid(&mut self, time: store::Timestamp) -> Uuid {
        let random = u128::from_str_radix(&self.tokens.token(), 16).unwrap_or_default();
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&random.to_be_bytes()[..10]);
        let millis = u64::try_from(time.millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}

/// Whether an INVITE's offer, if it has one, can be relayed at all.
fn check_offer(received: &Message) -> Result<(), SdpError> {
    let Some(range) = sdp::locate(received)? else {
        return Ok(());
    };
    let description = Sdp::parse(received.body().get(range).unwrap_or_default())?;
    Media::check(&description)
}
