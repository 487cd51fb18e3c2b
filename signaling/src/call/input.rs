//! What comes in: bytes, failures and time.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use control::config::Transport;
use sip::{
    header::HeaderName,
    message::{Message, Method, ParseError},
    proxy,
    transaction::{ClientId, Event, TransactionId},
};
use store::Cause;
use tracing::debug;

use super::{Alarm, Client, Core};
use crate::{
    defence::Evidence,
    directory::Trunk,
    metrics::{Direction, Dropped},
    net::Flow,
};

/// Option tags that this proxy knows (RFC 3261 section 16.3, step 5). None needs anything of it.
const EXTENSIONS: [&str; 0] = [];

impl Core {
    /// A datagram came.
    pub(crate) fn handle_datagram(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.trace.push(now, Direction::In, &flow, &bytes);
        self.take(now, flow, Message::parse(bytes));
    }

    /// A message came, or what was sent in place of one.
    pub(crate) fn handle_framed(
        &mut self,
        now: Instant,
        flow: Flow,
        message: Result<Message, ParseError>,
    ) {
        let framed = match &message {
            Ok(message) => Some(message),
            Err(error) => error.partial.as_deref(),
        };
        if let Some(framed) = framed {
            self.trace
                .push(now, Direction::In, &flow, framed.as_bytes());
        }
        self.take(now, flow, message);
    }

    fn take(&mut self, now: Instant, flow: Flow, message: Result<Message, ParseError>) {
        let framed = match &message {
            Ok(message) => Some(message),
            Err(error) => error.partial.as_deref(),
        };
        let _heard = self.hear(now, &flow, framed);
        if let Some(framed) = framed {
            debug!(from = %flow, line = %FirstLine(framed.as_bytes()), "received");
        }
        match message {
            Ok(message) if message.is_request() => self.handle_request(now, flow, message),
            Ok(message) => self.handle_response(now, flow, message),
            Err(error) => self.handle_garbage(flow, error),
        }
        self.drain(now);
    }

    /// A message of ours could not be delivered.
    pub(crate) fn handle_failed(&mut self, now: Instant, transaction: TransactionId) {
        self.layer.handle_transport_error(transaction);
        self.drain(now);
    }

    /// ICMP says that nobody receives at `remote`: what waits for a first answer from there need not.
    pub(crate) fn handle_unreachable(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        let affected = |way: Option<Flow>| {
            way.is_some_and(|way| {
                way.transport == Transport::Udp && way.local == local && way.reply_to == remote
            })
        };
        let waits = |id: &ClientId, client: &Client| match client {
            Client::Branch(exchange, index) => {
                let exchange = self.exchanges.get(exchange);
                let branch = exchange.and_then(|exchange| exchange.branches.get(*index));
                branch.is_some_and(|branch| !branch.heard && affected(branch.way))
            }
            Client::Kept => self.is_kept_by(*id, |way| affected(Some(*way))),
            Client::Bye(..) | Client::Disowned | Client::Refer(..) => false,
        };
        let ids: Vec<_> = self
            .clients
            .iter()
            .filter(|(id, client)| waits(id, client))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.layer.handle_transport_error(TransactionId::Client(id));
        }
        self.drain(now);
    }

    /// Time has passed. To be called at or after [`Core::poll_timeout`].
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.drain_transmits(now, true);
        while let Some(alarm) = self.alarms.take_due(now) {
            let _heard = match alarm {
                Alarm::Exchange(id) => self.hear_exchange(id),
                Alarm::Call(key)
                | Alarm::Longest(key)
                | Alarm::Dialog(key)
                | Alarm::Transfer(key) => self.hear_call(key),
                Alarm::Bridge(_) | Alarm::Voice(_) | Alarm::Text(_) | Alarm::Quality(_) => None,
            };
            match alarm {
                Alarm::Exchange(id) => self.on_exchange_alarm(now, id),
                Alarm::Call(key) => self.on_call_alarm(now, key),
                Alarm::Longest(key) => self.hang_up(now, key, Cause::LongestCall),
                Alarm::Dialog(key) => self.on_dialog_alarm(now, key),
                Alarm::Transfer(key) => self.on_transfer_alarm(now, key),
                Alarm::Bridge(id) => self.on_bridge_alarm(now, id),
                Alarm::Voice(id) => self.on_voice_alarm(now, id),
                Alarm::Text(id) => self.on_text_alarm(now, id),
                Alarm::Quality(key) => self.on_quality_alarm(now, key),
            }
        }
        self.survey();
        self.drain(now);
    }

    /// Works on what the transaction layer has to say until it is dry.
    pub(super) fn drain(&mut self, now: Instant) {
        while let Some(event) = self.layer.poll_event() {
            self.on_event(now, event);
        }
        self.drain_transmits(now, false);
        self.run_bridges(now);
    }

    fn on_event(&mut self, now: Instant, event: Event<Flow>) {
        match event {
            Event::Request { id, flow, request } => self.on_request(now, id, flow, request),
            Event::Cancelled { invite, request } => self.on_cancel(now, invite, &request),
            Event::Ack { flow, request, .. } => self.on_ack(now, flow, request),
            Event::Response { id, flow, response } => {
                // Only its receiver knows the branch of our request.
                self.policy.defence.report(now, &flow, Evidence::Answered);
                self.on_response(now, id, &flow, &response);
            }
            // To a keepalive, which has no transaction.
            Event::StrayResponse { flow, response }
                if self.policy.answers.take(&flow, &response) => {}
            Event::StrayResponse { .. } => self.metrics.dropped(Dropped::Stray),
            Event::ClientTimeout { id } => self.on_client_failed(now, id, false),
            Event::ClientTransportError { id } => self.on_client_failed(now, id, true),
            Event::Terminated {
                id: TransactionId::Client(id),
            } => self.on_client_over(now, id),
            Event::Unacknowledged { flow, .. } => self.on_unacknowledged(now, &flow),
            Event::ServerTransportError { id, flow } => self.on_undelivered(now, id, &flow),
            // It was answered or given up by its exchange.
            _ => {}
        }
    }

    /// Who asked for a call has not acknowledged the answer. Only a user or a trunk gets one in a
    /// transaction: what a trunk does is not held against it.
    pub(super) fn on_unacknowledged(&mut self, now: Instant, flow: &Flow) {
        if self.trunk_of(flow).is_none() {
            self.policy.defence.report(now, flow, Evidence::NeverAcked);
        }
    }

    pub(super) fn handle_request(&mut self, now: Instant, flow: Flow, request: Message) {
        if let Some(method) = request.method() {
            self.metrics.request(method, Direction::In);
        }
        // Its answer would have no Via either, and find nobody.
        if request.header(HeaderName::Via).is_none() {
            return self.metrics.dropped(Dropped::Malformed);
        }
        let request = proxy::stamp_via(request, flow.remote);
        let flow = reply_flow(flow, &request);
        if let Err(refusal) = proxy::admit(&request, &self.policy.identity, &EXTENSIONS) {
            debug!(source = %flow, %refusal, "refused a request");
            let tag = self.policy.identity.stateless_tag(&request);
            match refusal.response(&request, &tag) {
                Some(response) => self.layer.send_stateless(flow, response),
                None => self.metrics.dropped(Dropped::Malformed),
            }
            return;
        }
        let is_cancel = request.method() == Some(&Method::Cancel);
        let may_ask = !is_cancel && request.method() != Some(&Method::Ack);
        if begins(&request) || may_ask && self.doubted(now, &flow, &request).is_some() {
            return self.identify(now, flow, request);
        }
        if self.is_astray(&flow, &request) {
            return self.respond_stateless(flow, &request, 481);
        }
        if is_cancel && !self.may_cancel(&flow, &request) {
            self.metrics.dropped(Dropped::Foreign);
            return self.respond_stateless(flow, &request, 481);
        }
        if is_cancel && self.cancel_parked(flow, &request) {
            return;
        }
        if is_cancel && self.layer.came_from(&request).is_none() && !self.layer.knows(&request) {
            // Whoever sends it: nothing is kept of what ends nothing.
            return self.respond_stateless(flow, &request, 481);
        }
        if self.layer.handle_message(now, flow, request).is_err() {
            self.metrics.dropped(Dropped::Malformed);
        }
    }

    pub(super) fn handle_response(&mut self, now: Instant, flow: Flow, response: Message) {
        self.metrics
            .response(response.status().unwrap_or(0), Direction::In);
        let own = response
            .via()
            .is_ok_and(|via| self.policy.identity.is_own_via(&via));
        if response.validate().is_err() {
            return self.metrics.dropped(Dropped::Malformed);
        }
        if !own {
            return self.metrics.dropped(Dropped::NotOurs);
        }
        let Ok(client) = self.layer.client_of(&response) else {
            return self.metrics.dropped(Dropped::Malformed);
        };
        if !self.may_answer(now, &flow, client) {
            debug!(source = %flow, "dropped a response: its request was not sent there; is a trunk's allow \
                incomplete?");
            return self.metrics.dropped(Dropped::Foreign);
        }
        self.layer.handle_response(now, client, flow, response);
    }

    /// Whether a response may be believed. Its branch shows that its sender has seen our request, as has
    /// everybody behind the next hop; only the next hop itself answers it, or another of a trunk's hosts, or
    /// a phone that has registered from elsewhere since.
    fn may_answer(&self, now: Instant, flow: &Flow, client: Option<ClientId>) -> bool {
        let sent = client.and_then(|client| Some((client, self.layer.sent_to(client)?)));
        let Some((client, sent_to)) = sent else {
            // The layer says what it is.
            return true;
        };
        let source = source_ip(flow);
        if source_ip(sent_to) == source || self.trunk_of(flow).is_some() {
            return true;
        }
        let Some(Client::Branch(id, index)) = self.clients.get(&client) else {
            return false;
        };
        let exchange = self.exchanges.get(id);
        let branch = exchange.and_then(|exchange| exchange.branches.get(*index));
        let user = branch.and_then(|branch| branch.target.user.as_ref());
        user.is_some_and(|user| self.access.location.is_at(self.time(now), user, source))
    }

    /// Whether a CANCEL comes from where its INVITE did (RFC 3261 section 22.1): everybody who was called
    /// has seen the branch that it goes by.
    fn may_cancel(&mut self, flow: &Flow, cancel: &Message) -> bool {
        let Some(came_from) = self.layer.came_from(cancel).copied() else {
            return true;
        };
        self.is_same_place(&came_from, flow)
    }

    fn handle_garbage(&mut self, flow: Flow, error: ParseError) {
        self.metrics.parse_errors.inc();
        debug!(source = %flow, %error, "cannot parse a message");
        let status = error.status();
        // Without these an answer would find nobody.
        let answerable = |message: &Message| {
            message.via().is_ok()
                && message
                    .method()
                    .is_some_and(|method| *method != Method::Ack)
                && [
                    HeaderName::From,
                    HeaderName::To,
                    HeaderName::CallId,
                    HeaderName::CSeq,
                ]
                .into_iter()
                .all(|name| message.header(name).is_some())
        };
        let partial = error.partial.map(|partial| *partial).filter(answerable);
        let (Some(status), Some(partial)) = (status, partial) else {
            self.metrics.dropped(Dropped::Malformed);
            return;
        };
        let request = proxy::stamp_via(partial, flow.remote);
        let flow = reply_flow(flow, &request);
        self.respond_stateless(flow, &request, status);
    }

    /// The trunk that a message came from: by its address, or by the certificate that it showed.
    pub(super) fn trunk_of(&self, flow: &Flow) -> Option<&Arc<Trunk>> {
        let known = self.directory.trunk_of(flow.transport, flow.remote);
        known.or_else(|| {
            let names = self.policy.certified.names(flow)?;
            self.directory.trunk_by_certificate(&names)
        })
    }

    pub(super) fn respond_stateless(&mut self, flow: Flow, request: &Message, status: u16) {
        self.respond_with(flow, request, status, &[]);
    }
}

/// What the log says of a message, made only where it is written.
pub(super) struct FirstLine<'m>(pub(super) &'m [u8]);

impl std::fmt::Display for FirstLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.0.split(|byte| *byte == b'\r').next();
        f.write_str(&sip::redact::line(line.unwrap_or_default()))
    }
}

/// Whether a request would begin something: a call, a registration, an exchange of its own. A REGISTER
/// belongs to no dialog, whatever tag its To has (RFC 3261 section 10.2).
pub(super) fn begins(request: &Message) -> bool {
    match request.method() {
        Some(Method::Ack | Method::Cancel) => false,
        Some(Method::Register) => true,
        _ => request.to_tag().is_none() && request.to().is_ok(),
    }
}

/// The address that a message came from, IPv4 also where it came by an IPv6 socket.
pub(super) fn source_ip(flow: &Flow) -> IpAddr {
    flow.remote.ip().to_canonical()
}

/// The flow with the place that answers to this request go to (RFC 3261 section 18.2.2): the source's
/// address always, whatever `maddr` asks for, since a stranger's word must not lead our answers to
/// others; the source's port with `rport`, else that of `sent-by`.
pub(super) fn reply_flow(mut flow: Flow, request: &Message) -> Flow {
    if let Ok(via) = request.via() {
        let sent_by = via.port().unwrap_or_else(|| via.transport().default_port());
        let port = match flow.transport {
            Transport::Udp if via.has_rport() => flow.remote.port(),
            // Over TCP the connection comes first, and this is for when it is gone.
            _ => sent_by,
        };
        flow.reply_to = SocketAddr::new(flow.remote.ip(), port);
        let own = via.host().ip().map(|ip| ip.to_canonical());
        flow.nat = own.is_some_and(|own| own != flow.remote.ip().to_canonical());
    }
    flow
}
