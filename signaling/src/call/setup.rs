//! The INVITE of a new call: who calls whom, which route it takes, and the start of its exchange.

use std::time::Instant;

use control::{media::Family, signal::CallState};
use sip::{
    header::HeaderName,
    message::{Message, Method},
    proxy::{self, Group, ResponseContext, Routed},
    sdp::{self, Sdp, SdpError},
    session_timer::Proposal,
    transaction::ServerId,
    uri::Uri,
};
use store::{Cause, EndedBy, Uuid};
use tracing::{info, warn};

use super::{
    Alarm, Core,
    branch::is_sips,
    course::Course,
    divert::{self, MAX_DIVERSIONS, Reason},
    exchange::{Exchange, ExchangeId, Role, Target},
    policy::{LONGEST_CALL, MAX_BREADTH, MAX_BREADTH_NAME, RETRY_AFTER},
    quality::Series,
    recording::RecordedAs,
    stage::divert_steps,
    state::{Call, CallKey},
    stream::{Media, Muted},
};
use crate::{
    accounts::Answer,
    directory::{
        Bound, Caller, Decided, Decision, Exceeded, Hold, Limit, Named, Place, Plan, Presented,
        Query,
    },
    metrics::Dropped,
    net::Flow,
};

impl Core {
    /// A new call. `user` is the user part of the Request-URI.
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
        caller: &Caller,
        user: Option<&str>,
    ) {
        let Some(key) = self.new_call(now, flow, &routed.request, caller.clone()) else {
            self.metrics.dropped(Dropped::Malformed);
            return self.answer(now, server, &received, 400, &[]);
        };
        if let Some(user) = self.unclear.take() {
            let why = format!("the store cannot tell whether {user} is a user: try again later");
            return self.refuse(now, server, &received, key, 503, Cause::Refused, &why);
        }
        let Some(timer) = self.ask_timer(now, server, &received, &mut routed) else {
            return self.finish(now, key, EndedBy::Node, Cause::Refused, 422, "");
        };
        let decided = self.decide(now, &flow, caller, &routed.request, user);
        if let Some(call) = self.calls.get_mut(&key) {
            call.tenant = decided.tenant;
        }
        let plan = match decided.decision {
            Decision::Plan(mut plan) => {
                let call_id = received.call_id().unwrap_or_default();
                self.bridges.adjust(&flow, call_id, &mut plan);
                self.voices.adjust(&flow, call_id, &mut plan);
                plan
            }
            Decision::Refuse(no) => {
                return self.refuse(now, server, &received, key, no.status, no.cause, &no.reason);
            }
            Decision::Silence => return self.feign(now, server, flow, received, routed, key),
        };
        let is_forwarded = plan.stages.first().is_some_and(|stage| stage.forwarded);
        if is_forwarded && divert::count(&received) >= MAX_DIVERSIONS {
            let (cause, why) = (Cause::NoRoute, "the call was diverted too often to go on");
            return self.refuse(now, server, &received, key, 482, cause, why);
        }
        if let Err((status, cause, why)) = self.may_relay(&plan, &received) {
            return self.refuse(now, server, &received, key, status, cause, &why);
        }
        let holds = match take_all(now, plan.limits.iter().filter(|_| !plan.emergency)) {
            Ok(holds) => holds,
            Err(exceeded) => {
                let why = exceeded.to_string();
                let status = match exceeded.bound {
                    // Somebody has all the calls that he may: he is busy.
                    Bound::Calls(_) => 486,
                    Bound::Cps(_) => 503,
                };
                return self.refuse(now, server, &received, key, status, Cause::Limit, &why);
            }
        };
        // An emergency call that TLS does not reach goes without it (RFC 6881 section 9.1).
        let secure = is_sips(&routed.request) && !plan.emergency;
        let mut steps = self.first_steps(now, &plan, secure);
        if is_forwarded {
            let from = String::from_utf8_lossy(routed.request.request_uri_raw()).into_owned();
            divert_steps(&mut steps, from, Reason::Always);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.holds = holds;
            call.secure = secure && flow.transport.is_secure();
            call.route = plan.route.clone();
            if plan.relays() {
                let family = Family::of(&flow.local);
                let handling = self
                    .policy
                    .handlings(Some((&call.caller, flow.remote.ip())), flow.is_node());
                let families = handling.each_ref().map(|of| self.policy.families(of));
                let media = Media::new(families, handling, family, family);
                call.media = Some(media);
            }
            let mut course = Course::new(plan);
            course.set_steps(steps);
            call.course = Some(course);
        }
        self.begin_setup(now, server, flow, received, routed, key, timer);
    }

    /// Where a request goes that begins something: as its Route was followed, for a strict router before
    /// us has our own URI in the first line (RFC 3261 section 16.4).
    pub(super) fn decide(
        &mut self,
        now: Instant,
        flow: &Flow,
        caller: &Caller,
        request: &Message,
        called: Option<&str>,
    ) -> Decided {
        let id = request.call_id().unwrap_or_default();
        let is_documents = self.voices.has(flow, id) || self.texts.by(flow, id).is_some();
        let uri = String::from_utf8_lossy(request.request_uri_raw());
        let query = Query {
            caller,
            from: Presented::of(request, caller),
            called: called.unwrap_or_default(),
            named: match request.request_uri() {
                Ok(uri) => self.named(caller, &uri),
                Err(_) => Named::Nobody,
            },
            by_document: is_documents.then_some(&*uri),
            is_call: request.method() == Some(&Method::Invite),
            at: self.time(now),
            draw: self.tokens.bits(),
        };
        self.directory.decide(&query)
    }

    /// Where a URI of ours leads that somebody redirects to.
    pub(super) fn decide_for(&mut self, now: Instant, caller: &Caller, uri: &Uri<'_>) -> Decided {
        let user = uri.user_unescaped().unwrap_or_default();
        let called = String::from_utf8_lossy(&user);
        let from = match caller {
            Caller::User(aor) => aor.user().to_owned(),
            Caller::Trunk(_) | Caller::Node => String::new(),
        };
        let query = Query {
            caller,
            from: Presented {
                user: from,
                ..Presented::default()
            },
            called: &called,
            named: self.named(caller, uri),
            by_document: None,
            is_call: true,
            at: self.time(now),
            draw: self.tokens.bits(),
        };
        self.directory.decide(&query)
    }

    /// Whom of ours a Request-URI names.
    fn named(&self, caller: &Caller, uri: &Uri<'_>) -> Named {
        let aor = match self.place_of(caller, uri) {
            Place::Number => return Named::Nobody,
            Place::Elsewhere(host) => return Named::Elsewhere(host),
            Place::User(aor) => aor,
        };
        // Admission has asked the store; what it could not tell, a binding does.
        match self.access.accounts.recall(&aor) {
            Answer::Known(account) if !account.enabled => Named::Disabled(aor),
            Answer::Known(_) => Named::User(aor),
            Answer::Unknown | Answer::Unavailable if self.access.location.has(&aor) => {
                Named::User(aor)
            }
            Answer::Unknown | Answer::Unavailable => Named::Unknown(aor),
        }
    }

    /// Begins the exchange of a call's INVITE.
    #[expect(clippy::too_many_arguments, reason = "all that a call begins with")]
    fn begin_setup(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
        routed: Routed,
        key: CallKey,
        timer: Option<Proposal>,
    ) -> ExchangeId {
        let (call, role) = (Some(key), Role::Setup);
        let id = self.exchange(now, server, flow, received, routed, call, role, Vec::new());
        self.set_timer(id, timer);
        if let Some(call) = self.calls.get_mut(&key) {
            call.setup = Some(id);
        }
        self.tell_call(key);
        self.run_actions(now, id);
        id
    }

    /// A caller that is not to learn that he is blocked: it rings for him, and nobody picks up.
    fn feign(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
        routed: Routed,
        key: CallKey,
    ) {
        let ringing = received.respond(180).to_tag(self.tokens.tag()).build();
        if let Some(call) = self.calls.get_mut(&key) {
            call.feigned = true;
        }
        let id = self.begin_setup(now, server, flow, received, routed, key, None);
        if let Ok(ringing) = ringing {
            self.send_back(now, id, &ringing);
        }
    }

    /// Whether the media of a call can be relayed where its plan wants that: else the status that the
    /// caller is owed.
    fn may_relay(&self, plan: &Plan, received: &Message) -> Result<(), (u16, Cause, String)> {
        if !plan.relays() {
            return Ok(());
        }
        check_offer(received)
            .map_err(|error| (error.status(), Cause::MediaUnusable, error.to_string()))?;
        if !self.media_up {
            let why = "mediad cannot be reached";
            warn!("refused a call: {why}; is it running?");
            return Err((503, Cause::MediaUnavailable, why.to_owned()));
        }
        Ok(())
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
        groups: Vec<Group<Target>>,
    ) -> ExchangeId {
        let method = received
            .method()
            .cloned()
            .unwrap_or_else(|| Method::Other("".into()));
        let course = call.and_then(|key| self.calls.get(&key)?.course.as_ref());
        let is_emergency = course.is_some_and(|course| course.plan.emergency);
        let secure = is_sips(&routed.request) && !is_emergency;
        let policy = proxy::Policy {
            timer_c: self.terms.timer_c,
            breadth: breadth_of(&received),
            open: role == Role::Setup,
            ..proxy::Policy::default()
        };
        let exchange = Exchange {
            server,
            flow,
            context: ResponseContext::new(now, &method, policy, groups),
            received,
            secure,
            onward: Some(routed.request),
            directions: None,
            method,
            call,
            role,
            branches: Vec::new(),
            keep_for: None,
            challenger: None,
            feigning: None,
            replied: false,
            queued: 0,
            cancelled: false,
            cancel_reason: None,
            disowned: Vec::new(),
            ahead: 0,
            timer: None,
        };
        let id = ExchangeId(self.number());
        self.exchanges.insert(id, Box::new(exchange));
        self.by_server.insert(server, id);
        if role == Role::Setup {
            self.waits.add_caller(&flow, id);
        }
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
        request: &Message,
        caller: Caller,
    ) -> Option<CallKey> {
        let started = self.time(now);
        let (from, to) = (request.from().ok()?, request.to().ok()?);
        let phone = match &caller {
            Caller::User(aor) => self.access.location.phone_at(started, aor, &flow),
            Caller::Trunk(_) | Caller::Node => None,
        };
        let call_id = request.call_id().ok()?;
        let promised = self.bridges.promised(&flow, call_id);
        let promised = promised.or_else(|| self.voices.promised(&flow, call_id));
        let call = Call {
            id: promised.unwrap_or_else(|| self.call_uuid(started)),
            call_id: call_id.to_owned(),
            caller_tag: from.tag().unwrap_or_default().to_owned(),
            from_uri: from.uri_str().to_owned(),
            to_uri: to.uri_str().to_owned(),
            request_uri: String::from_utf8_lossy(request.request_uri_raw()).into_owned(),
            source: flow,
            credentials: self.voices.credentials(&flow, call_id),
            way: flow,
            heard: started,
            phone,
            callee: None,
            // Where it is a trunk's, that depends on whom it calls, which is not looked at yet.
            tenant: self.directory.owner_of_caller(&caller),
            caller,
            callee_user: None,
            trunk: None,
            route: None,
            course: None,
            holds: Vec::new(),
            feigned: false,
            secure: false,
            state: CallState::Trying,
            began: now,
            started,
            ringing: None,
            answered: None,
            winner: None,
            setup: None,
            dialogs: Vec::new(),
            media: None,
            spare: Vec::new(),
            muted: Muted::default(),
            held: false,
            transfer: None,
            events: Vec::new(),
            recording: None,
            recorded_as: RecordedAs::default(),
            recordings: Vec::new(),
            work: std::collections::VecDeque::new(),
            waiting: None,
            end: None,
            byes: 0,
            stats: Vec::new(),
            quality: Series::new(),
            closing: 0,
            silence: None,
        };
        info!(
            call = %call.id,
            call_id = %call.call_id,
            from = %call.from_uri,
            to = %call.request_uri,
            source = %flow,
            origin = origin_of(&call.caller),
            "call"
        );
        let key = CallKey(self.number());
        self.by_dialog.add(&call.call_id, &call.caller_tag, key);
        if let Some(session) = self.voices.adopt(&flow, &call.call_id, key) {
            self.by_session.insert(session, key);
        }
        self.calls.insert(key, Box::new(call));
        self.alarms.set(Alarm::Call(key), Some(now + LONGEST_CALL));
        Some(key)
    }

    /// A UUID version 7: its front is the time.
    pub(super) fn call_uuid(&mut self, time: store::Timestamp) -> Uuid {
        let random = self.tokens.number().to_be_bytes();
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&random[..10]);
        let millis = u64::try_from(time.millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}

/// Takes a place within each limit, or in none.
pub(super) fn take_all<'l>(
    now: Instant,
    limits: impl Iterator<Item = &'l Limit>,
) -> Result<Vec<Hold>, Exceeded> {
    let mut holds = Vec::new();
    for limit in limits {
        match limit.take(now) {
            Ok(hold) => holds.push(hold),
            Err(exceeded) => {
                // What one limit refuses costs the others nothing.
                holds.into_iter().for_each(Hold::undo);
                return Err(exceeded);
            }
        }
    }
    Ok(holds)
}

/// Who calls, for people: the trunk's name, or the user's address.
pub(super) fn origin_of(caller: &Caller) -> &str {
    match caller {
        Caller::User(aor) => aor.as_str(),
        Caller::Trunk(trunk) => &trunk.name,
        Caller::Node => "node",
    }
}

/// How many branches a request may have at once.
fn breadth_of(received: &Message) -> u32 {
    let header = received.header(MAX_BREADTH_NAME);
    let written = header.and_then(|header| header.text().trim().parse().ok());
    written.map_or(MAX_BREADTH, |breadth: u32| breadth.min(MAX_BREADTH))
}

/// Whether an INVITE's offer, if it has one, can be relayed at all.
fn check_offer(received: &Message) -> Result<(), SdpError> {
    let Some(range) = sdp::locate(received)? else {
        return Ok(());
    };
    let description = Sdp::parse(received.body().get(range).unwrap_or_default())?;
    Media::check(&description)
}
