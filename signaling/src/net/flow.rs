//! Where a message came from, and so where its answer goes.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use control::config::Transport;

use super::NameId;

/// One connection. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// What leads from one part of this process to another, and to no network.
const WITHIN: ConnectionId = ConnectionId(u64::MAX);

/// A way to a peer: by which socket, and to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// Over what.
    pub(crate) transport: Transport,
    /// The socket of ours. For a connection the listener whose address the peer knows us by, not the
    /// port of this connection.
    pub(crate) local: SocketAddr,
    /// Where a message came from; for one that goes out, the same as `reply_to`.
    pub(crate) remote: SocketAddr,
    /// Where to send: differs from `remote` where the peer's Via asks for answers at another port
    /// (RFC 3261 section 18.2.2), over UDP always, over TCP once the connection is gone.
    pub(crate) reply_to: SocketAddr,
    /// The connection, where it is one and it is known.
    pub(crate) connection: Option<ConnectionId>,
    /// The address of ours that the peer wrote to, where `local` is every one: answers leave by it.
    pub(crate) source: Option<IpAddr>,
    /// The peer gives another address than its messages come from: it is behind a NAT, and what it
    /// says of where it can be reached is of no use.
    pub(crate) nat: bool,
    /// The name that the peer's certificate must have, where a TLS connection has to be made and the
    /// peer is known by a name.
    pub(crate) name: Option<NameId>,
}

impl Flow {
    /// The way to `remote` by our `local`.
    pub(crate) fn to(transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            transport,
            local,
            remote,
            reply_to: remote,
            connection: None,
            source: None,
            nat: false,
            name: None,
        }
    }

    /// The way to the agents of this node's own calls, beside the proxy in this process: it loses nothing.
    /// No peer has the address.
    pub(crate) fn of_node(local: SocketAddr) -> Self {
        let ip = match local {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self {
            connection: Some(WITHIN),
            ..Self::to(Transport::Tcp, local, SocketAddr::new(ip, 0))
        }
    }

    /// Whether it is [`of_node`](Self::of_node).
    pub(crate) fn is_node(&self) -> bool {
        self.connection == Some(WITHIN)
    }

    /// The peer was heard again, perhaps over another connection, or by another port of the NAT that
    /// it is behind.
    pub(crate) fn follow(&mut self, heard: &Self) {
        self.connection = heard.connection.or(self.connection);
        let same = heard.transport == self.transport && heard.remote.ip() == self.remote.ip();
        if heard.nat && same {
            self.remote = heard.remote;
            self.reply_to = heard.reply_to;
            self.nat = true;
        }
    }
}

impl sip::transaction::Flow for Flow {
    fn is_reliable(&self) -> bool {
        self.transport.is_reliable()
    }
}

/// `udp:192.0.2.1:5060`: the peer. `node` where that is this node itself.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_node() {
            return f.write_str("node");
        }
        write!(f, "{}:{}", self.transport, self.remote)
    }
}
