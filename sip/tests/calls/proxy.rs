//! A record-routing proxy, as small as the library lets it be.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip::dialog::{ProxyDialog, Side};
use sip::header::Transport;
use sip::message::{Message, Method};
use sip::proxy::{
    Action, BranchId, Forward, Group, Identity, Policy, RecordRoute, ResponseContext, Routed,
    admit, forward, next_hop, preprocess, stamp_via,
};
use sip::token::TokenGenerator;
use sip::transaction::{ClientId, Event, Layer, SendError, ServerId, Timers, TransactionId};

use crate::agent::resolve;
use crate::net::{Host, Path};

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) layer: Layer<Path>,
    /// How many calls this proxy has ended by itself.
    pub(crate) cut: usize,
    /// How many 2xx came too late and were ended.
    pub(crate) late: usize,
    callees: Vec<SocketAddr>,
    reliable: bool,
    identity: Identity,
    tokens: TokenGenerator,
    calls: HashMap<ServerId, Call>,
    branches: HashMap<ClientId, (ServerId, BranchId)>,
    dialogs: Vec<(Instant, ProxyDialog)>,
}

struct Call {
    received: Message,
    routed: Routed,
    context: ResponseContext<Option<SocketAddr>>,
    clients: BTreeMap<BranchId, ClientId>,
}

impl Proxy {
    pub(crate) fn new(address: &str, callees: &[&str], reliable: bool, seed: u64) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        Self {
            address,
            layer: Layer::new(Timers::default(), u128::from(seed)),
            cut: 0,
            late: 0,
            callees: callees
                .iter()
                .map(|callee| callee.parse().unwrap())
                .collect(),
            reliable,
            identity: Identity::new(7).with_hop(&address.ip().to_string(), address.port()),
            tokens: TokenGenerator::new(u128::from(seed) << 64),
            calls: HashMap::new(),
            branches: HashMap::new(),
            dialogs: Vec::new(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.layer.is_empty()
            && self.calls.is_empty()
            && self.branches.is_empty()
            && self.dialogs.is_empty()
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "{}: {} client and {} server transactions, {} calls, {} branches, {} dialogs",
            self.address,
            self.layer.clients(),
            self.layer.servers(),
            self.calls.len(),
            self.branches.len(),
            self.dialogs.len()
        )
    }

    fn on_event(&mut self, now: Instant, event: Event<Path>) {
        match event {
            Event::Request { id, request, .. } => self.on_request(now, id, request),
            Event::Ack { request, .. } => self.on_ack(&request),
            Event::Cancelled { invite, .. } => {
                self.with_call(now, invite, |call| call.context.handle_cancel(now));
            }
            Event::Response { id, response, .. } => {
                // A BYE of our own has no branch.
                let Some((server, branch)) = self.branches.get(&id).copied() else {
                    return;
                };
                self.note_dialog(now, server, &response);
                self.with_call(now, server, |call| {
                    call.context.handle_response(now, branch, &response);
                });
            }
            Event::ClientTimeout { id } => {
                let Some((server, branch)) = self.branches.get(&id).copied() else {
                    return;
                };
                self.with_call(now, server, |call| {
                    call.context.handle_branch_timeout(now, branch);
                });
            }
            Event::Terminated {
                id: TransactionId::Client(id),
            } => {
                let Some((server, branch)) = self.branches.remove(&id) else {
                    return;
                };
                self.with_call(now, server, |call| {
                    call.context.handle_terminated(now, branch);
                });
            }
            Event::Terminated { .. }
            | Event::StrayResponse { .. }
            | Event::Unacknowledged { .. }
            | Event::ServerTimeout { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn on_request(&mut self, now: Instant, id: ServerId, received: Message) {
        let judged = admit(&received, &self.identity, &[]);
        if received.method() == Some(&Method::Cancel) || judged.is_err() {
            let status = judged.err().map_or(481, |refusal| refusal.status());
            let response = received.respond(status).to_tag("proxy").build().unwrap();
            self.layer.send_response(now, id, &response).unwrap();
            return;
        }
        let routed = preprocess(&received, &self.identity).unwrap();
        let groups = self.targets(&routed);
        let groups = groups
            .into_iter()
            .map(|group| Group::new(group).ring_timeout(Some(Duration::from_secs(60))));
        let method = received.method().unwrap().clone();
        let context = ResponseContext::new(now, &method, Policy::default(), groups);
        let call = Call {
            received,
            routed,
            context,
            clients: BTreeMap::new(),
        };
        self.calls.insert(id, call);
        self.with_call(now, id, |_| {});
    }

    /// `both-…` rings every callee at once, `next-…` tries a dead host first; within a dialog the
    /// request knows its way.
    fn targets(&self, routed: &Routed) -> Vec<Vec<Option<SocketAddr>>> {
        if !routed.own_routes.is_empty() {
            return vec![vec![None]];
        }
        let dead: SocketAddr = "192.0.2.99:5060".parse().unwrap();
        let user = routed
            .request
            .request_uri()
            .unwrap()
            .user()
            .unwrap()
            .to_owned();
        match user.split_once('-').map(|(way, _)| way) {
            Some("both") => vec![self.callees.iter().copied().map(Some).collect()],
            Some("next") => vec![vec![Some(dead)], vec![Some(self.callees[0])]],
            Some("dead") => vec![vec![Some(dead)]],
            _ => vec![vec![Some(self.callees[0])]],
        }
    }

    /// Changes a call, does what its context then wants, and forgets it when it is finished.
    fn with_call(&mut self, now: Instant, id: ServerId, change: impl FnOnce(&mut Call)) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        change(&mut call);
        while let Some(action) = call.context.poll_action() {
            self.act(now, id, &mut call, action);
        }
        if !call.context.is_finished() {
            self.calls.insert(id, call);
        }
    }

    fn act(
        &mut self,
        now: Instant,
        id: ServerId,
        call: &mut Call,
        action: Action<Option<SocketAddr>>,
    ) {
        match action {
            Action::Try { branch, target, .. } => {
                let mark = self.identity.branch(&mut self.tokens, &call.received);
                let (path, request) = self.copy(&call.routed, target, &mark);
                let client = self.layer.send_request(now, path, request).unwrap();
                self.branches.insert(client, (id, branch));
                call.clients.insert(branch, client);
            }
            Action::Cancel { branch } => {
                // Too late where its final response is among the events to come.
                self.layer.cancel(now, call.clients[&branch], None);
            }
            Action::Forward { response, .. } => self.respond(now, id, &response),
            Action::Reply { status } => {
                let response = call
                    .received
                    .respond(status)
                    .to_tag("proxy")
                    .build()
                    .unwrap();
                self.respond(now, id, &response);
            }
            Action::Abandon => self.layer.abandon(now, id),
            Action::Exhausted => call.context.conclude(),
            Action::LateSuccess { response, .. } => {
                self.late += 1;
                let dialog = ProxyDialog::new(&call.received, &response, &self.identity);
                let mut dialog = dialog.unwrap();
                let path = self.path(resolve(dialog.next_hop(Side::Callee)));
                let cseq = call.received.cseq().unwrap().number;
                let ack = dialog.ack_towards(Side::Callee, cseq, &self.via()).unwrap();
                self.layer.send_stateless(path, ack);
                self.end(now, &mut dialog, Side::Callee);
            }
        }
    }

    fn respond(&mut self, now: Instant, id: ServerId, response: &Message) {
        match self.layer.send_response(now, id, response) {
            Ok(()) | Err(SendError::NoTransaction) => {}
            Err(error) => panic!("{error}: {response:?}"),
        }
    }

    fn on_ack(&mut self, received: &Message) {
        let routed = preprocess(received, &self.identity).unwrap();
        let branch = self.identity.stateless_branch(received);
        let (path, ack) = self.copy(&routed, None, &branch);
        self.layer.send_stateless(path, ack);
    }

    fn copy(&self, routed: &Routed, to: Option<SocketAddr>, branch: &str) -> (Path, Message) {
        let own = format!("sip:{};lr", self.address);
        let sent_by = self.address.to_string();
        let user = routed
            .request
            .request_uri()
            .unwrap()
            .user()
            .unwrap_or("x")
            .to_owned();
        let target = to.map(|to| format!("sip:{user}@{to}"));
        let plan = Forward {
            target: target.as_deref(),
            route: &[],
            directions: None,
            record_route: Some(RecordRoute {
                ingress: &own,
                egress: &own,
            }),
            transport: if self.reliable {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            sent_by: &sent_by,
            branch,
        };
        let hop = next_hop(routed, &plan).unwrap();
        (self.path(resolve(&hop)), forward(routed, &plan).unwrap())
    }

    /// Keeps the dialog of a call to `…cut`, to end it ten seconds after its answer.
    fn note_dialog(&mut self, now: Instant, server: ServerId, response: &Message) {
        let Some(call) = self.calls.get(&server) else {
            return;
        };
        let cut = call.received.call_id().unwrap().contains("cut");
        let fresh = response.status() == Some(200)
            && !self
                .dialogs
                .iter()
                .any(|(_, dialog)| dialog.sender(response).is_some());
        if cut && fresh && call.received.method() == Some(&Method::Invite) {
            let dialog = ProxyDialog::new(&call.received, response, &self.identity).unwrap();
            self.dialogs.push((now + Duration::from_secs(40), dialog));
        }
    }

    fn end(&mut self, now: Instant, dialog: &mut ProxyDialog, side: Side) {
        let bye = dialog
            .bye_towards(side, &self.via(), Some("SIP;cause=408"))
            .unwrap();
        let path = self.path(resolve(dialog.next_hop(side)));
        self.layer.send_request(now, path, bye).unwrap();
    }

    fn via(&mut self) -> String {
        let transport = if self.reliable { "TCP" } else { "UDP" };
        format!(
            "SIP/2.0/{transport} {};branch={};rport",
            self.address,
            self.tokens.branch()
        )
    }

    fn path(&self, remote: SocketAddr) -> Path {
        Path {
            remote,
            reliable: self.reliable,
        }
    }
}

impl Host for Proxy {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, payload: Bytes) {
        let message = stamp_via(Message::parse(payload).unwrap(), from);
        message.validate().unwrap();
        self.layer
            .handle_message(now, self.path(from), message)
            .unwrap();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let contexts = self
            .calls
            .values()
            .filter_map(|call| call.context.poll_timeout());
        let dialogs = self.dialogs.iter().map(|(at, _)| *at);
        contexts
            .chain(dialogs)
            .chain(self.layer.poll_timeout())
            .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        let due = |call: &Call| call.context.poll_timeout().is_some_and(|at| at <= now);
        let calls = self
            .calls
            .iter()
            .filter(|(_, call)| due(call))
            .map(|(id, _)| *id);
        for id in calls.collect::<Vec<_>>() {
            self.with_call(now, id, |call| call.context.handle_timeout(now));
        }
        let (due, rest) = std::mem::take(&mut self.dialogs)
            .into_iter()
            .partition(|d| d.0 <= now);
        self.dialogs = rest;
        let due: Vec<(Instant, ProxyDialog)> = due;
        for (_, mut dialog) in due {
            self.cut += 1;
            self.end(now, &mut dialog, Side::Caller);
            self.end(now, &mut dialog, Side::Callee);
        }
    }

    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Bytes)> {
        while let Some(event) = self.layer.poll_event() {
            self.on_event(now, event);
        }
        let transmits = std::iter::from_fn(|| self.layer.poll_transmit());
        transmits
            .map(|transmit| (transmit.flow.remote, transmit.payload))
            .collect()
    }
}
