//! Connections that are closed: what waits on one, and what becomes of it.
//!
//! Who calls over TCP or TLS and has closed the connection may still be told how the call goes, by a new
//! connection to where the topmost Via says that he listens (RFC 3261 section 18.2.2). Whether he can be
//! is seen as soon as the connection is gone: the latest response goes there once more. A browser
//! listens nowhere, nor does a phone behind a NAT. Who cannot be told is gone, and nobody is rung for him.
//!
//! A call that is up stays up: its parties connect again, and are found by what they register or send.

use std::{collections::BTreeSet, time::Instant};

use control::config::Nat;
use sip::transaction::{ClientId, ServerId, TransactionId};
use store::{Cause, EndedBy};
use tracing::{debug, info};

use super::{
    Core,
    exchange::{ExchangeId, Role},
};
use crate::{
    ids::IdMap,
    net::{ConnectionId, Flow},
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

    /// A request was sent, whose answer comes the same way or not at all. Over TCP and TLS it may come by
    /// another connection.
    pub(super) fn add_answer(&mut self, way: &Flow, client: ClientId) {
        let connection = way.connection.filter(|_| way.transport.is_websocket());
        if let Some(connection) = connection {
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
    /// back to give it. Over TCP and TLS it could.
    pub(crate) fn handle_closed(&mut self, now: Instant, flow: &Flow) {
        let Some(connection) = flow.connection else {
            return;
        };
        self.access.location.lose(connection);
        for waiter in self.waits.on(connection) {
            match waiter {
                Waiter::Caller(caller) => self.reach_again(now, caller),
                Waiter::Answer(client) => {
                    let transaction = TransactionId::Client(client);
                    self.layer.handle_transport_error(transaction);
                }
            }
        }
        self.drain(now);
    }

    /// A response could not be delivered.
    pub(super) fn on_undelivered(&mut self, now: Instant, server: ServerId, flow: &Flow) {
        debug!(to = %flow, "a response could not be delivered");
        // What is lost of datagrams is sent again.
        if !flow.transport.is_reliable() {
            return;
        }
        match self.anew(flow) {
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
        match self.anew(&exchange.flow) {
            Some(way) => self.layer.resend(exchange.server, way),
            None => self.lose_caller(now, caller),
        }
    }

    /// The way to a peer whose connection is gone, where it may be reached by a new one; `None` where that
    /// is what failed.
    fn anew(&self, flow: &Flow) -> Option<Flow> {
        let is_behind_nat = flow.nat && self.terms.nat != Nat::Off;
        if flow.connection.is_none() || flow.transport.is_websocket() || is_behind_nat {
            return None;
        }
        Some(Flow {
            connection: None,
            ..*flow
        })
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
