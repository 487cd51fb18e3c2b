//! Connections that are closed: what waits on one, and what becomes of it.
//!
//! Who calls over TCP or TLS and has closed the connection may still be told how the call goes, by a new
//! connection to where the topmost Via says that he listens (RFC 3261 section 18.2.2). Whether he can be
//! is seen as soon as the connection is gone: the latest response goes there once more. A browser
//! listens nowhere, nor does a phone behind a NAT. Who cannot be told is gone, and nobody is rung for him.
//!
//! A phone that is called over the connection that it registered by cannot be called back once that is
//! closed: its branch has failed (430, RFC 5626 section 11.6), and whoever comes next has his turn. Not where
//! it has registered from elsewhere meanwhile: it is there, and rings on. Nor is a trunk given up for a
//! connection that this node opened: it answers by another one.
//!
//! A call that is up stays up: its parties connect again, and are found by what they register or send.

use std::{collections::BTreeSet, time::Instant};

use control::config::{Nat, Transport};
use sip::{
    proxy::BranchId,
    transaction::{ClientId, ServerId, TransactionId},
    uri::Host,
};
use store::{Cause, EndedBy, Timestamp};
use tracing::{debug, info};

use super::{
    Client, Core,
    exchange::{ExchangeId, Role},
    input::source_ip,
};
use crate::{
    directory::Caller,
    ids::IdMap,
    net::{ConnectionId, Flow, NameId},
};

/// What waits on connections. To close one costs as much as waits on it, whatever else this worker does.
#[derive(Debug, Default)]
pub(super) struct Waits {
    waiters: BTreeSet<(ConnectionId, Waiter)>,
    /// Where the requests of ours went.
    ways: IdMap<ClientId, ConnectionId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waiter {
    /// The INVITE of a call that came by it, until nothing can come of it any more.
    Caller(ExchangeId),
    /// A request of ours, until its transaction is over.
    Answer(ClientId),
}

impl Waits {
    /// The INVITE of a call has come.
    pub(super) fn add_caller(&mut self, flow: &Flow, caller: ExchangeId) {
        if let Some(connection) = flow.connection {
            self.waiters.insert((connection, Waiter::Caller(caller)));
        }
    }

    /// Nothing can come of it any more.
    pub(super) fn remove_caller(&mut self, flow: &Flow, caller: ExchangeId) {
        if let Some(connection) = flow.connection {
            self.waiters.remove(&(connection, Waiter::Caller(caller)));
        }
    }

    /// A request was sent whose answer comes the same way or not at all: over WebSocket, and where
    /// `by_flow` says so. Over TCP and TLS it may else come by another connection.
    pub(super) fn add_answer(&mut self, way: &Flow, client: ClientId, by_flow: bool) {
        let is_only = by_flow || way.transport.is_websocket();
        if let Some(connection) = way.connection.filter(|_| is_only) {
            self.ways.insert(client, connection);
            self.waiters.insert((connection, Waiter::Answer(client)));
        }
    }

    /// Its transaction is over.
    pub(super) fn remove_answer(&mut self, client: ClientId) {
        if let Some(connection) = self.ways.remove(&client) {
            self.waiters.remove(&(connection, Waiter::Answer(client)));
        }
    }

    /// What waits on a connection.
    fn on(&self, connection: ConnectionId) -> Vec<Waiter> {
        let first = |connection| (connection, Waiter::Caller(ExchangeId(0)));
        let next = ConnectionId(connection.0 + 1);
        let own = self.waiters.range(first(connection)..first(next));
        own.map(|(_, waiter)| *waiter).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.ways.is_empty()
    }
}

impl Core {
    /// A connection is closed: what waits for an answer on it need not, where its peer could not come
    /// back to give it.
    pub(crate) fn handle_closed(&mut self, now: Instant, flow: &Flow) {
        let Some(connection) = flow.connection else {
            return;
        };
        self.access.location.lose(connection);
        for waiter in self.waits.on(connection) {
            match waiter {
                Waiter::Caller(caller) => self.reach_again(now, caller),
                Waiter::Answer(client) => self.lose_answer(now, client, connection),
            }
        }
        self.drain(now);
    }

    /// Nobody answers a request any more by the way that it took.
    fn lose_answer(&mut self, now: Instant, client: ClientId, closed: ConnectionId) {
        let callee = match self.clients.get(&client) {
            Some(Client::Branch(id, index)) => Some((*id, *index)),
            _ => None,
        };
        let Some((id, index)) = callee.filter(|(id, index)| self.is_called(*id, *index)) else {
            return self
                .layer
                .handle_transport_error(TransactionId::Client(client));
        };
        match self.moved_to(now, id, index, closed) {
            Some(way) => self.go_on_calling(id, index, client, way),
            None => self.lose_callee(now, id, index, client),
        }
    }

    /// Whether a branch is one of a new call that has no answer yet.
    fn is_called(&self, id: ExchangeId, index: usize) -> bool {
        let exchange = self.exchanges.get(&id);
        exchange.is_some_and(|exchange| {
            exchange.role == Role::Setup
                && !exchange.replied
                && !exchange.context.is_answered()
                && exchange.branches.get(index).is_some()
        })
    }

    /// The way to a phone that is called, where it was heard, or is registered, by another connection than
    /// the one that is closed.
    fn moved_to(
        &self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        closed: ConnectionId,
    ) -> Option<Flow> {
        let exchange = self.exchanges.get(&id)?;
        let branch = exchange.branches.get(index)?;
        let known = branch.way.as_ref()?;
        if known.connection != Some(closed) {
            return Some(*known);
        }
        let target = &branch.target;
        let (aor, phone) = (target.user.as_ref()?, target.phone()?);
        let location = &self.access.location;
        let ever = Timestamp::from_millis(0);
        let way = location.moved(self.time(now), aor, phone, known, ever)?;
        let may = !exchange.secure || way.transport.is_secure();
        // Its media were made for the family that it was called by.
        let is_alike = way.local.is_ipv4() == known.local.is_ipv4();
        (may && is_alike).then_some(way)
    }

    /// A phone that is called has lost the connection that it was called over, and is registered by another
    /// way: it answers by that one, and is told by it where it need not any more.
    fn go_on_calling(&mut self, id: ExchangeId, index: usize, client: ClientId, way: Flow) {
        if let Some(branch) = self.branch(id, index) {
            branch.way = Some(way);
        }
        self.layer.reroute(client, way);
        self.waits.remove_answer(client);
        self.waits.add_answer(&way, client, true);
    }

    /// A phone that is called was heard by another connection than the one that it was called over, of its
    /// own or where it has registered meanwhile: that is the way to it from now on.
    pub(super) fn follow_callee(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        heard: &Flow,
    ) {
        let exchange = self.exchanges.get(&id);
        let branch = exchange.and_then(|exchange| exchange.branches.get(index));
        let Some(branch) = branch.filter(|branch| branch.target.is_by_flow()) else {
            return;
        };
        let Some(mut way) = branch.way else {
            return;
        };
        if source_ip(&way) == source_ip(heard) {
            way.follow(heard);
        } else if let Some(user) = &branch.target.user
            && way.local.is_ipv4() == heard.local.is_ipv4()
            && self
                .access
                .location
                .is_at(self.time(now), user, source_ip(heard))
        {
            way = *heard;
        } else {
            return;
        }
        if let Some(branch) = self.branch(id, index) {
            branch.way = Some(way);
        }
    }

    /// The connection of a phone is closed that is being called.
    fn lose_callee(&mut self, now: Instant, id: ExchangeId, index: usize, client: ClientId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let call = exchange.call.and_then(|key| self.calls.get(&key));
        let branch = exchange.branches.get_mut(index);
        info!(
            call = call.map(|call| call.id).map(tracing::field::display),
            callee = branch
                .as_ref()
                .map(|branch| branch.target.place.to_string()),
            "giving a phone up: the connection that it was called over is closed"
        );
        if let Some(branch) = branch {
            branch.deadline = None;
        }
        exchange.context.handle_flow_failure(now, BranchId(index));
        // Should it be there after all, it stops to ring; and where it answers all the same, it is hung up.
        let reason = Some("SIP;cause=430;text=\"Flow Failed\"");
        self.layer.cancel(now, client, reason);
        // Where it has said nothing yet, that is the end of it.
        self.layer
            .handle_transport_error(TransactionId::Client(client));
        self.run_actions(now, id);
    }

    /// A response could not be delivered.
    pub(super) fn on_undelivered(&mut self, now: Instant, server: ServerId, flow: &Flow) {
        debug!(to = %flow, "a response could not be delivered");
        // What is lost of datagrams is sent again.
        if !flow.transport.is_reliable() {
            return;
        }
        match self.anew(server, flow) {
            Some(way) => self.layer.resend(server, way),
            None => {
                if let Some(caller) = self.by_server.get(&server).copied() {
                    self.lose_caller(now, caller);
                }
            }
        }
    }

    /// The connection of a caller is closed, who may wait for an answer.
    fn reach_again(&mut self, now: Instant, caller: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&caller) else {
            return;
        };
        if exchange.replied || exchange.context.is_answered() {
            return;
        }
        match self.anew(exchange.server, &exchange.flow) {
            Some(way) => self.layer.resend(exchange.server, way),
            None => self.lose_caller(now, caller),
        }
    }

    /// The way to a peer whose connection is gone, where it may be reached by a new one; `None` where that
    /// is what failed.
    fn anew(&self, server: ServerId, flow: &Flow) -> Option<Flow> {
        let is_behind_nat = flow.nat && self.terms.nat != Nat::Off;
        if flow.connection.is_none() || flow.transport.is_websocket() || is_behind_nat {
            return None;
        }
        Some(Flow {
            connection: None,
            name: self.listener_name(server, flow),
            ..*flow
        })
    }

    /// The name that the certificate must have of who is connected to for an answer: the host of its
    /// sent-by, where that is one (RFC 5922 section 7.3). Of trunks alone: users could name so many that no
    /// other is remembered, and theirs is checked for its address.
    fn listener_name(&self, server: ServerId, flow: &Flow) -> Option<NameId> {
        let exchange = self.exchanges.get(self.by_server.get(&server)?)?;
        let call = self.calls.get(&exchange.call?)?;
        if flow.transport != Transport::Tls || !matches!(call.caller, Caller::Trunk(_)) {
            return None;
        }
        match exchange.received.via().ok()?.host() {
            Host::Name(name) => self.policy.names.id(name),
            Host::V4(_) | Host::V6(_) => None,
        }
    }

    /// Nobody can tell a caller any more how his call goes: it is given up, unless it was answered.
    fn lose_caller(&mut self, now: Instant, caller: ExchangeId) {
        let Some(exchange) = self.exchanges.get(&caller) else {
            return;
        };
        let call = exchange.call.and_then(|key| self.calls.get(&key));
        let Some(call) = call.filter(|call| exchange.role == Role::Setup && call.end.is_none())
        else {
            return;
        };
        if exchange.is_cancelled() || call.is_answered() {
            return;
        }
        let why = match (exchange.flow.transport.is_websocket(), exchange.flow.nat) {
            (true, _) => "a browser can be reached by its own connection only",
            (false, true) => "it is behind a NAT",
            (false, false) => "nobody takes a connection where its Via says that it listens",
        };
        info!(call = %call.id, caller = %exchange.flow, via = %exchange.flow.reply_to, why,
            "giving a call up before its answer: the caller's connection is closed");
        // That the 487 finds nobody is no news, nor that nobody acknowledges it.
        self.layer.forsake(exchange.server);
        let end = (
            EndedBy::Node,
            Cause::PartyLost,
            "the caller's connection is closed",
        );
        self.reject(now, caller, 487, Some(end));
    }
}
