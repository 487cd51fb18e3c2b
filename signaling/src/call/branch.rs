//! The branches of an exchange: to which address a request goes, and to which one next.

use std::{net::SocketAddr, time::Instant};

use sip::{
    header::Transport,
    message::{EditError, Message, Method},
    proxy::{self, Action, BranchId, Forward, RecordRoute, Routed},
    transaction::ClientId,
    uri::Scheme,
};
use tracing::{debug, info};

use super::{
    Alarm, Client, Core, challenge, divert,
    exchange::{Branch, ExchangeId, NextHop, Place, Role, Target},
    fallback::Fallback,
    policy::{HOST_PATIENCE, MAX_BREADTH, MAX_BREADTH_NAME},
    state::{Asked, Work},
    target::{Located, Resolving, retarget},
};
use crate::net::Flow;

impl Core {
    /// Does what an exchange's context wants, and forgets the exchange when nothing can come of it.
    pub(super) fn run_actions(&mut self, now: Instant, id: ExchangeId) {
        while let Some(exchange) = self.exchanges.get_mut(&id) {
            let Some(action) = exchange.context.poll_action() else {
                break;
            };
            match action {
                Action::Try {
                    branch,
                    target,
                    breadth,
                } => self.try_target(now, id, branch, &target, breadth),
                Action::Cancel { branch } => self.cancel_branch(now, id, branch),
                Action::Forward { branch, response } => self.pass_back(now, id, branch, response),
                Action::Reply { status } => self.reply(now, id, status),
                Action::Abandon => self.abandon(now, id),
                Action::Exhausted => self.on_exhausted(now, id),
                Action::LateSuccess { branch, response } => {
                    self.disown(now, id, branch, &response);
                }
            }
        }
        self.rest(id);
    }

    /// Sets the exchange's alarm, or forgets the exchange.
    pub(super) fn rest(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        if !exchange.is_over() {
            exchange.lighten();
            let at = exchange.poll_timeout();
            return self.alarms.set(Alarm::Exchange(id), at);
        }
        self.alarms.set(Alarm::Exchange(id), None);
        if let Some(exchange) = self.exchanges.remove(&id) {
            self.by_server.remove(&exchange.server);
            self.waits.remove_caller(&exchange.flow, id);
        }
    }

    pub(super) fn on_exchange_alarm(&mut self, now: Instant, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        exchange.context.handle_timeout(now);
        if exchange.feigning.take_if(|until| *until <= now).is_some() {
            exchange.context.conclude();
        }
        let late = |branch: &Branch| branch.deadline.is_some_and(|at| at <= now);
        let late: Vec<_> = (0..exchange.branches.len())
            .filter(|index| late(&exchange.branches[*index]))
            .collect();
        for index in late {
            self.on_silent_host(now, id, index);
        }
        self.run_actions(now, id);
    }

    /// The addresses of a branch's target are known.
    pub(super) fn on_ways(&mut self, now: Instant, id: ExchangeId, index: usize, ways: Vec<Flow>) {
        let mut ways = self.widened(now, id, index, ways);
        if self
            .exchanges
            .get(&id)
            .is_some_and(|exchange| exchange.secure)
        {
            // Whatever led there: a Path, the Route of a dialog, a name.
            let found = ways.len();
            ways.retain(|way| way.transport.is_secure());
            if ways.is_empty() && found > 0 {
                info!("a request that has to stay encrypted has no way over TLS");
            }
        }
        if self
            .branch(id, index)
            .is_some_and(|branch| branch.target.beyond)
        {
            let found = ways.len();
            ways.retain(|way| !self.is_near(way.remote));
            if ways.is_empty() && found > 0 {
                info!(
                    "a document calls a host of [voice] sip_domains whose address is a trunk's or this node's: it is \
                     not called"
                );
            }
        }
        if let Some(branch) = self.branch(id, index) {
            branch.ways = ways.into();
        }
        self.try_next_way(now, id, index);
    }

    /// Whether an address is a trunk's or the node's own.
    fn is_near(&self, address: SocketAddr) -> bool {
        let mut own = self.policy.locals.iter();
        self.directory.has_trunk_in(address.ip()) || own.any(|local| local.address == address)
    }

    /// The transaction of a branch failed: nobody answered, or nobody could be reached.
    pub(super) fn on_client_failed(&mut self, now: Instant, client: ClientId, unreachable: bool) {
        match self.clients.get(&client).copied() {
            Some(Client::Branch(id, index)) => {
                self.punish(now, id, index);
                self.fail_over(now, id, index, unreachable);
                self.run_actions(now, id);
            }
            Some(Client::Bye(key, side)) => self.on_bye_done(now, key, side, None),
            Some(Client::Kept) => self.on_delivered(now, client, None),
            Some(Client::Refer(key, number)) => self.on_referred(now, key, number, None),
            Some(Client::Disowned) | None => {}
        }
    }

    /// The transaction of a branch is over.
    pub(super) fn on_client_over(&mut self, now: Instant, client: ClientId) {
        self.own.remove(&client);
        self.waits.remove_answer(client);
        let Some(Client::Branch(id, index)) = self.clients.remove(&client) else {
            return;
        };
        let Some(branch) = self.branch(id, index) else {
            return;
        };
        branch.clients.retain(|known| *known != client);
        if branch.clients.is_empty() && !branch.preparing {
            branch.deadline = None;
            if let Some(exchange) = self.exchanges.get_mut(&id) {
                exchange.context.handle_terminated(now, BranchId(index));
            }
        }
        self.run_actions(now, id);
    }

    /// The branch's next address is settled and mediad is ready for it: sends the request there.
    /// `request` has the SDP that goes there.
    pub(super) fn send_branch(
        &mut self,
        now: Instant,
        id: ExchangeId,
        BranchId(index): BranchId,
        request: Message,
    ) {
        let policy = self.policy.clone();
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let Some(branch) = exchange.branches.get_mut(index) else {
            return;
        };
        branch.preparing = false;
        let Some(way) = branch.way.filter(|_| !branch.dropped) else {
            return;
        };
        let Some(local) = policy.local(&way) else {
            return;
        };
        // Within a dialog whose INVITE was challenged, all that follows is ahead by as much.
        let (mut ahead, mut invite) = (0, 0);
        if let (Role::Within { from, .. }, Some(key)) = (exchange.role, exchange.call)
            && let Some(call) = self.calls.get_mut(&key)
            && let Some((leg, _)) = call.leg_of(&exchange.received)
        {
            ahead = leg.dialog.shift(from);
            let number = exchange.received.cseq().map_or(0, |cseq| cseq.number);
            if ahead != exchange.ahead {
                // While its way was looked for, or at another address, something of this node's own went
                // there: by the number that this one would have now.
                ahead = leg.dialog.move_ahead(from, number);
            }
            exchange.ahead = ahead;
            let asked = leg.asked.as_ref().filter(|asked| asked.from == from);
            invite = asked.map_or(0, |asked| asked.shift);
            if exchange.method == Method::Invite {
                leg.asked = Some(Asked {
                    from,
                    cseq: number,
                    shift: ahead,
                    credentials: None,
                });
            }
        }
        let is_callee = exchange.role == Role::Setup && branch.target.is_by_flow();
        branch.shift = ahead;
        branch.challenged = 0;
        branch.credentials = None;
        let (target, path) = aim(&branch.target, &request, exchange.secure);
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let dressed = dress(&branch.target, request)
            .and_then(|request| with_breadth(&exchange.received, request, branch.breadth));
        let request = match dressed {
            Ok(request) => request,
            Err(error) => {
                info!(to = %way, %error, "cannot pass a request on");
                return self.fail_branch(now, id, index, true);
            }
        };
        let record = match (exchange.role, exchange.call, policy.local(&exchange.flow)) {
            (Role::Setup, Some(key), Some(ingress)) => {
                let secure = is_sips(&exchange.received);
                let record = |local| Self::record_uri(local, key, secure);
                Some((record(ingress), record(local)))
            }
            _ => None,
        };
        let record_route = record
            .as_ref()
            .map(|(ingress, egress)| RecordRoute { ingress, egress });
        let via_branch = policy.identity.branch(&mut self.tokens, &exchange.received);
        let routed = Routed::settled(request);
        let plan = Forward {
            target: target.as_deref(),
            route: &path,
            directions: exchange.directions.as_ref(),
            record_route,
            transport: via_transport(&way),
            sent_by: &local.sent_by,
            branch: &via_branch,
        };
        let sent = proxy::forward(&routed, &plan)
            .map_err(|error| error.to_string())
            .and_then(|message| {
                challenge::ahead(message, ahead, invite).map_err(|error| error.to_string())
            })
            .and_then(|message| {
                branch.sent = Some(message.clone());
                self.layer
                    .send_request(now, way, message)
                    .map_err(|error| error.to_string())
            });
        match sent {
            Ok(client) => {
                let course = exchange.call.filter(|_| exchange.role == Role::Setup);
                let course = course.and_then(|key| self.calls.get(&key)?.course.as_ref());
                let others = exchange.context.is_waiting()
                    || course.is_some_and(super::course::Course::has_alternative);
                let is_alone = exchange.context.pending() == 1;
                let branch = exchange.branches.get_mut(index);
                let has_more = |branch: &mut Branch| {
                    !branch.ways.is_empty()
                        || branch
                            .target
                            .fallback
                            .as_ref()
                            .is_some_and(Fallback::is_more)
                };
                let has_alternative = others && is_alone || branch.is_some_and(has_more);
                if let Some(branch) = exchange.branches.get_mut(index) {
                    branch.clients.push(client);
                    branch.heard = false;
                    branch.deadline = has_alternative.then(|| now + HOST_PATIENCE);
                }
                self.waits.add_answer(&way, client, is_callee);
                self.clients.insert(client, Client::Branch(id, index));
            }
            Err(error) => {
                info!(to = %way, %error, "cannot pass a request on");
                self.fail_branch(now, id, index, true);
            }
        }
    }

    /// Tries the branch's next address, or gives the branch up.
    pub(super) fn fail_over(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        unreachable: bool,
    ) {
        let may = self.exchanges.get(&id).is_some_and(|exchange| {
            !exchange.replied && !exchange.context.is_answered() && !exchange.is_cancelled()
        });
        let branch = self.exchanges.get(&id);
        let branch = branch.and_then(|exchange| exchange.branches.get(index));
        let more = branch
            .is_some_and(|branch| !branch.ways.is_empty() && !self.is_drained(id, &branch.target));
        if may && more {
            self.try_next_way(now, id, index);
        } else {
            self.fail_branch(now, id, index, unreachable);
        }
    }

    /// A host is silent; it is tried last for a while.
    pub(super) fn punish(&mut self, now: Instant, id: ExchangeId, index: usize) {
        let Some(branch) = self.branch(id, index) else {
            return;
        };
        if branch.heard || self.note_no_tcp(now, id, index) {
            return;
        }
        let Some(branch) = self.branch(id, index) else {
            return;
        };
        if let Some(place) = branch.target.host()
            && place.on_silence(now).is_some()
            && let Some(host) = place.host()
        {
            info!(trunk = place.trunk.name, %host, "a host gives no answer; others are tried first");
        }
    }

    pub(super) fn branch(&mut self, id: ExchangeId, index: usize) -> Option<&mut Branch> {
        self.exchanges.get_mut(&id)?.branches.get_mut(index)
    }

    fn try_target(
        &mut self,
        now: Instant,
        id: ExchangeId,
        branch: BranchId,
        target: &Target,
        breadth: u32,
    ) {
        let is_drained = self.is_drained(id, target);
        let located = match &target.place {
            Place::Host(_) if is_drained => Located::Nowhere("its trunk is drained"),
            Place::Host(host) => host
                .host()
                .map_or(Located::Nowhere("it is not configured"), |host| {
                    self.locate_host(host)
                }),
            Place::Contact(contact) => self.locate_contact(contact),
            Place::Uri(uri) => self.locate(&NextHop::new(uri.clone())),
            Place::Next(next) => self.locate(next),
            Place::Agent(_) => self
                .node_flow()
                .map_or(Located::Nowhere("this node has no address"), Located::At),
        };
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        // The context numbers branches in the order in which it names them.
        exchange
            .branches
            .resize_with(branch.0, || Branch::new(target.clone(), breadth));
        if exchange.branches.is_empty() {
            // There is one, as a rule, where a vector would make room for four.
            exchange.branches.reserve_exact(1);
        }
        exchange.branches.push(Branch::new(target.clone(), breadth));
        if let (Some(user), Some(key)) = (&target.user, exchange.call)
            && let Some(call) = self.calls.get_mut(&key)
        {
            call.callee_user = Some(user.clone());
        }
        if let (Some(host), Some(key), false) = (target.host(), exchange.call, is_drained)
            && let Some(call) = self.calls.get_mut(&key)
        {
            host.trunk.standing.count_offered();
            call.trunk = Some(host.trunk.clone());
        }
        match located {
            Located::At(way) => self.on_ways(now, id, branch.0, vec![way]),
            Located::Ask(authority) => {
                self.ask_resolver(authority, Resolving::Branch(id, branch.0));
            }
            Located::Nowhere(why) => {
                info!(place = %target.place, why, "cannot reach the next hop");
                self.on_ways(now, id, branch.0, Vec::new());
            }
        }
    }

    /// Whether a place is a trunk's that gets no new calls any more: since the plan was made, an operator has
    /// drained it. An emergency call takes any.
    fn is_drained(&self, id: ExchangeId, target: &Target) -> bool {
        let host = target.host();
        if !host.is_some_and(|host| host.trunk.standing.is_drained()) {
            return false;
        }
        let exchange = self.exchanges.get(&id);
        let call = exchange.and_then(|exchange| self.calls.get(&exchange.call?));
        let course = call.and_then(|call| call.course.as_ref());
        !course.is_some_and(|course| course.plan.emergency)
    }

    fn try_next_way(&mut self, now: Instant, id: ExchangeId, index: usize) {
        let Some(branch) = self.branch(id, index) else {
            return;
        };
        if branch.dropped {
            branch.preparing = false;
            return self.rest(id);
        }
        let Some(way) = branch.ways.pop_front() else {
            debug!("a next hop has no address that this node can reach");
            return self.fail_branch(now, id, index, true);
        };
        branch.way = Some(way);
        branch.preparing = true;
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        match (exchange.role, exchange.call) {
            (Role::Setup, Some(key)) => {
                if let Some(call) = self.calls.get_mut(&key) {
                    call.callee = Some(way);
                }
                self.enqueue(
                    now,
                    key,
                    Work::Send {
                        exchange: id,
                        branch: BranchId(index),
                    },
                );
            }
            _ => {
                if let Some(request) = exchange.onward.clone() {
                    self.send_branch(now, id, BranchId(index), request);
                }
            }
        }
    }

    /// Tells the context that a branch leads nowhere.
    pub(super) fn fail_branch(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        unreachable: bool,
    ) {
        let is_replaced = self.replace(now, id, index, if unreachable { 503 } else { 408 });
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let branch = BranchId(index);
        if is_replaced {
            // How it failed counts for nothing.
        } else if unreachable {
            exchange.context.handle_transport_error(now, branch);
        } else {
            exchange.context.handle_branch_timeout(now, branch);
        }
        if let Some(state) = exchange.branches.get_mut(index) {
            state.preparing = false;
            state.deadline = None;
            if state.clients.is_empty() {
                exchange.context.handle_terminated(now, branch);
            }
        }
    }

    /// The present address of a branch said nothing for too long, and there is another to try.
    fn on_silent_host(&mut self, now: Instant, id: ExchangeId, index: usize) {
        self.punish(now, id, index);
        if let Some(branch) = self.branch(id, index) {
            branch.deadline = None;
        }
        // Should it wake up after all, it is cancelled as soon as it rings.
        self.cancel_clients(
            now,
            id,
            index,
            Some("SIP;cause=408;text=\"no answer in time\""),
        );
        self.fail_over(now, id, index, false);
    }

    fn cancel_branch(&mut self, now: Instant, id: ExchangeId, BranchId(index): BranchId) {
        let reason = self
            .exchanges
            .get(&id)
            .and_then(|exchange| exchange.cancel_reason.clone());
        self.cancel_clients(now, id, index, reason.as_deref());
        let Some(branch) = self.branch(id, index) else {
            return;
        };
        branch.deadline = None;
        if branch.preparing {
            // It was not sent, and will not be.
            branch.preparing = false;
            branch.dropped = true;
            if branch.clients.is_empty()
                && let Some(exchange) = self.exchanges.get_mut(&id)
            {
                exchange.context.handle_terminated(now, BranchId(index));
            }
        }
    }

    fn cancel_clients(&mut self, now: Instant, id: ExchangeId, index: usize, reason: Option<&str>) {
        let is_invite = self
            .exchanges
            .get(&id)
            .is_some_and(|exchange| exchange.method == Method::Invite);
        if !is_invite {
            return;
        }
        let clients = self.branch(id, index).map(|branch| branch.clients.clone());
        for client in clients.unwrap_or_default() {
            self.layer.cancel(now, client, reason);
        }
    }
}

/// Whether a request is to be encrypted all the way.
pub(super) fn is_sips(request: &Message) -> bool {
    request
        .request_uri()
        .is_ok_and(|uri| uri.scheme() == Scheme::Sips)
}

/// The Request-URI for a target, where it changes, and the Route to it.
fn aim(target: &Target, request: &Message, secure: bool) -> (Option<String>, Vec<String>) {
    match &target.place {
        Place::Host(host) => {
            let number = target.number.as_deref();
            let uri = host.host().zip(request.request_uri().ok());
            (
                uri.map(|(host, uri)| retarget(&uri, host, number)),
                Vec::new(),
            )
        }
        Place::Contact(contact) => {
            let uri = contact.request_uri(secure).into_owned();
            (Some(uri), contact.path.clone())
        }
        Place::Uri(uri) | Place::Agent(uri) => (Some(uri.clone()), Vec::new()),
        Place::Next(_) => (None, Vec::new()),
    }
}

/// The request as this target is to see it.
fn dress(target: &Target, request: Message) -> Result<Message, EditError> {
    let request = match &target.edits {
        Some(edits) => edits.apply(&request)?.unwrap_or(request),
        None => request,
    };
    match &target.diversion {
        Some(diversion) => divert::write(&request, diversion),
        None => Ok(request),
    }
}

/// The request with the branch's share of Max-Breadth (RFC 5393 section 5.3.3), where its sender gave
/// one or it is forked.
fn with_breadth(received: &Message, request: Message, breadth: u32) -> Result<Message, EditError> {
    if breadth == MAX_BREADTH && received.header(MAX_BREADTH_NAME).is_none() {
        return Ok(request);
    }
    let breadth = breadth.to_string();
    request.edit().replace(MAX_BREADTH_NAME, breadth).finish()
}

/// The transport of our Via on a way.
pub(super) const fn via_transport(way: &Flow) -> Transport<'static> {
    match way.transport {
        control::config::Transport::Udp => Transport::Udp,
        control::config::Transport::Tcp => Transport::Tcp,
        control::config::Transport::Tls => Transport::Tls,
        control::config::Transport::Ws => Transport::Ws,
        control::config::Transport::Wss => Transport::Wss,
    }
}
