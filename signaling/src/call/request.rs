//! What a request is, and who may send it.

use std::time::Instant;

use sip::{
    header::{HeaderName, Name},
    message::{Message, Method},
    proxy::{self, Group, Routed},
    transaction::ServerId,
    uri::Uri,
};
use tracing::{debug, info, warn};

use super::{
    Core,
    branch::is_sips,
    exchange::{self, NextHop, Role, Target},
    policy::RETRY_AFTER,
    state::{CallKey, Work},
};
use crate::{
    directory::{Aor, Caller, Decision, Destination, Place},
    metrics::Dropped,
    net::Flow,
};

/// What the node does for itself. Whatever else is passed on is its receiver's to judge.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER";

impl Core {
    /// A request that is in order, with a server transaction.
    pub(super) fn on_request(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
    ) {
        let is_new = received.to_tag().is_none();
        let routed = match is_new {
            true => proxy::preprocess(&received, &self.policy.identity),
            false => proxy::follow(&received, &self.policy.identity),
        };
        let routed = match routed {
            Ok(routed) => routed,
            Err(error) => {
                debug!(source = %flow, %error, "refused a request");
                return self.answer(now, server, &received, 400, &[]);
            }
        };
        let routed = self.without_own_credentials(routed);
        if received.method() == Some(&Method::Cancel) {
            // Its INVITE is answered or was never here (RFC 3261 section 9.2).
            self.answer(now, server, &received, 481, &[]);
        } else if is_new {
            self.on_new_request(now, server, flow, received, routed);
        } else {
            self.on_tagged_request(now, server, flow, received, routed);
        }
    }

    /// The ACK of a 2xx.
    pub(super) fn on_ack(&mut self, now: Instant, flow: Flow, received: Message) {
        let Ok(routed) = proxy::follow(&received, &self.policy.identity) else {
            return self.metrics.dropped(Dropped::StrayAck);
        };
        let routed = self.without_own_credentials(routed);
        match self.call_of(&received, &routed) {
            Some(key) if self.may_pass(now, key, &flow, &received, &routed, None) => {
                self.enqueue(now, key, Work::Ack { received, routed });
            }
            Some(_) => self.metrics.dropped(Dropped::Foreign),
            None => self.metrics.dropped(Dropped::StrayAck),
        }
    }

    /// The caller gave up.
    pub(super) fn on_cancel(&mut self, now: Instant, invite: ServerId, cancel: &Message) {
        let Some(id) = self.by_server.get(&invite).copied() else {
            return;
        };
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            let reason = cancel.header(HeaderName::Reason);
            exchange.cancelled = true;
            exchange.cancel_reason = reason.map(|reason| reason.text().into_owned());
            exchange.context.handle_cancel(now);
        }
        self.run_actions(now, id);
    }

    /// A final response of our own.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        server: ServerId,
        received: &Message,
        status: u16,
        headers: &[(HeaderName, &str)],
    ) {
        let tag = self.layer.tag(server);
        let tag = tag.map_or_else(|| self.tokens.tag(), str::to_owned);
        let mut response = received.respond(status).to_tag(tag);
        for (name, value) in headers {
            response = response.header(Name::from(*name), value);
        }
        let sent = match response.build() {
            Ok(response) => self
                .layer
                .send_response(now, server, &response)
                .map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = sent {
            warn!(status, %error, "cannot answer a request");
            self.layer.abandon(now, server);
        }
    }

    /// The call that a request is part of, by what our Record-Route said or by Call-ID and tags.
    pub(super) fn call_of(&self, received: &Message, routed: &Routed) -> Option<CallKey> {
        let marked = routed.own_routes.iter().find_map(|route| cookie(route));
        let marked = marked.filter(|key| self.has_dialog(*key, received));
        marked.or_else(|| self.call_by_tags(received))
    }

    /// The same by Call-ID and tags alone.
    pub(super) fn call_by_tags(&self, received: &Message) -> Option<CallKey> {
        let call_id = received.call_id().ok()?;
        let tags = [received.from_tag(), received.to_tag()];
        tags.into_iter().flatten().find_map(|tag| {
            let mut keys = self.by_dialog.get(call_id, tag).iter().copied();
            keys.find(|key| self.has_dialog(*key, received))
        })
    }

    fn has_dialog(&self, key: CallKey, message: &Message) -> bool {
        let call = self.calls.get(&key);
        call.is_some_and(|call| call.dialog_of(message).is_some())
    }

    /// Where a BYE goes whose call this process does not know: a trunk's, along the Route that this node
    /// once recorded, to a trunk or to the phone of the user in its To. So calls can be ended that were
    /// up before a restart; nothing else can be reached so, and nothing begun.
    fn orphan_hop(&self, now: Instant, flow: &Flow, routed: &Routed) -> Option<NextHop> {
        self.trunk_of(flow)?;
        let request = &routed.request;
        if request.method() != Some(&Method::Bye) || routed.own_routes.is_empty() {
            return None;
        }
        let place = request.request_uri().ok()?;
        if let Some(user) = self.own_user(&request.to().ok()?.uri().ok()?) {
            let mut phones = self.contacts_of(now, &user).into_iter();
            let phone = phones.find(|phone| phone.uri == place.as_str());
            if let Some(phone) = phone {
                return Some(NextHop {
                    known: Some(phone.flow?),
                    is_phone: true,
                    ..NextHop::new(phone.uri)
                });
            }
        }
        let uri = match routed.routes().next() {
            Some(route) => route.ok()?.uri_str().to_owned(),
            None => place.as_str().to_owned(),
        };
        let is_trunk = Uri::parse(&uri)
            .is_ok_and(|uri| !uri.params().has("maddr") && self.directory.has_trunk_at(&uri));
        is_trunk.then(|| self.by_the_address_it_knows(NextHop::new(uri), routed))
    }

    fn on_tagged_request(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
        routed: Routed,
    ) {
        let vouched = self.admitted.take();
        if let Some(key) = self.call_of(&received, &routed) {
            let vouched = vouched.as_ref();
            if !self.may_pass(now, key, &flow, &received, &routed, vouched) {
                return self.answer(now, server, &received, 403, &[]);
            }
            if asks_this_hop(&received) {
                return self.answer_options(now, server, &received);
            }
            if self.takes_notice(now, key, server, &received) {
                return;
            }
            return self.enqueue(
                now,
                key,
                Work::Request {
                    server,
                    flow,
                    received,
                    routed,
                },
            );
        }
        let next = self.orphan_hop(now, &flow, &routed);
        match next.and_then(|next| Some((next, routed.settle().ok()?))) {
            Some((next, routed)) => {
                debug!(source = %flow, "passing on a request of a call from before this start");
                self.pass_on(
                    now,
                    server,
                    flow,
                    received,
                    routed,
                    vec![Group::new(vec![Target::to(exchange::Place::Next(next))])],
                    None,
                );
            }
            None => self.answer(now, server, &received, 481, &[]),
        }
    }

    fn on_new_request(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
        routed: Routed,
    ) {
        let Some(caller) = self.admitted.take() else {
            return self.answer(now, server, &received, 403, &[]);
        };
        if self.draining
            && !self.bridges.is_second(&flow, &received)
            && !received
                .call_id()
                .is_ok_and(|id| self.voices.has(&flow, id) || self.texts.by(&flow, id).is_some())
            && !self.is_emergency(&routed.request)
        {
            let retry = [(HeaderName::RetryAfter, RETRY_AFTER)];
            return self.answer(now, server, &received, 503, &retry);
        }
        if routed.has_route() {
            // Following it would let a trunk's customers send to anywhere in this node's name.
            debug!(source = %flow, "refused a request: its Route names other hosts than this node");
            return self.answer(now, server, &received, 403, &[]);
        }
        let method = received
            .method()
            .cloned()
            .unwrap_or_else(|| Method::Other("".into()));
        let user = called(&routed.request);
        let place = routed.request.request_uri();
        let own = place.is_ok_and(|uri| !uri.is_service() && self.is_own(&uri));
        if method == Method::Invite {
            return self.set_up(
                now,
                server,
                flow,
                received,
                routed,
                &caller,
                user.as_deref(),
            );
        }
        let for_us = own && user.is_none();
        match method {
            Method::Options if for_us || asks_this_hop(&received) => {
                self.answer_options(now, server, &received);
            }
            // They belong to a dialog, and name none.
            Method::Bye | Method::Prack | Method::Update | Method::Info => {
                self.answer(now, server, &received, 481, &[]);
            }
            Method::Other(_) if for_us => {
                self.answer(now, server, &received, 501, &[(HeaderName::Allow, ALLOW)]);
            }
            _ if for_us => self.answer(now, server, &received, 405, &[(HeaderName::Allow, ALLOW)]),
            _ => match self
                .decide(now, &flow, &caller, &routed.request, user.as_deref())
                .decision
            {
                Decision::Plan(plan) => {
                    let first = plan.stages.first().map(|stage| &stage.destination);
                    if method == Method::Message
                        && let Some(Destination::Application(application)) = first
                    {
                        let application = application.clone();
                        let answer = self.receive_text(now, &flow, &received, &application);
                        return self.answer(now, server, &received, answer.0, answer.1);
                    }
                    let groups = self.groups_of(now, &plan, is_sips(&routed.request));
                    let keep_for = match plan.stages.first().map(|stage| &stage.destination) {
                        Some(Destination::User(aor)) if method == Method::Message => {
                            Some(aor.clone())
                        }
                        _ => None,
                    };
                    self.pass_on(now, server, flow, received, routed, groups, keep_for);
                }
                Decision::Refuse(no) => {
                    if received
                        .call_id()
                        .is_ok_and(|id| self.texts.by(&flow, id).is_some())
                    {
                        info!(why = no.reason, "refused a message of an application");
                    }
                    self.answer(now, server, &received, no.status, &[]);
                }
                Decision::Silence => self.layer.abandon(now, server),
            },
        }
    }

    /// Answers an OPTIONS that asks this node itself, which knows no extension that could be required.
    fn answer_options(&mut self, now: Instant, server: ServerId, received: &Message) {
        let required: Vec<_> = received.values(HeaderName::Require).collect();
        if !required.is_empty() {
            let tags = String::from_utf8_lossy(&required.join(&b", "[..])).into_owned();
            let headers = [(HeaderName::Unsupported, &*tags)];
            return self.answer(now, server, received, 420, &headers);
        }
        let headers = [
            (HeaderName::Allow, ALLOW),
            (HeaderName::Accept, "application/sdp"),
        ];
        self.answer(now, server, received, 200, &headers);
    }

    /// Whether somebody calls for help: that is let in, come what may.
    fn is_emergency(&self, request: &Message) -> bool {
        request.method() == Some(&Method::Invite)
            && called(request).is_some_and(|called| self.directory.is_emergency(&called))
    }

    /// Passes on a request that belongs to no call.
    #[expect(clippy::too_many_arguments, reason = "all that is known of a request")]
    fn pass_on(
        &mut self,
        now: Instant,
        server: ServerId,
        flow: Flow,
        received: Message,
        routed: Routed,
        groups: Vec<Group<Target>>,
        keep_for: Option<Aor>,
    ) {
        let id = self.exchange(
            now,
            server,
            flow,
            received,
            routed,
            None,
            Role::Outside,
            groups,
        );
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.keep_for = keep_for;
        }
        self.run_actions(now, id);
    }

    /// Whether a URI names this node: one of its addresses or domains.
    pub(super) fn is_own(&self, uri: &Uri<'_>) -> bool {
        self.policy.identity.is_own_uri(uri) || self.directory.has_domain(uri)
    }

    /// Where a Request-URI leads, by its words alone.
    pub(super) fn place_of(&self, caller: &Caller, uri: &Uri<'_>) -> Place {
        let by_trunk = matches!(caller, Caller::Trunk(_));
        let is_here = self.policy.identity.is_own_uri(uri);
        self.directory.place_of(uri, is_here, by_trunk)
    }
}

/// Whether an OPTIONS may go no further: it asks whoever has it now (RFC 3261 section 11).
fn asks_this_hop(request: &Message) -> bool {
    request.method() == Some(&Method::Options) && matches!(request.max_forwards(), Ok(Some(0)))
}

/// Who is called: the user part of the Request-URI.
fn called(request: &Message) -> Option<String> {
    let uri = request.request_uri().ok()?;
    if uri.is_service() {
        // It names what is wanted, and no place: a route has it as its prefix.
        return Some(uri.as_str().to_ascii_lowercase());
    }
    let user = uri.user_unescaped().filter(|user| !user.is_empty())?;
    Some(String::from_utf8_lossy(&user).into_owned())
}

/// The parameter of our Record-Route that names the call.
pub(super) const COOKIE: &str = "tandem";

fn cookie(route: &str) -> Option<CallKey> {
    let uri = Uri::parse(route).ok()?;
    u64::from_str_radix(uri.params().get(COOKIE)?, 16)
        .ok()
        .map(CallKey)
}
