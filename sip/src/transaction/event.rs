//! What goes in and out of a [`Layer`](super::Layer).

use bytes::Bytes;

use super::arena::Handle;
use crate::message::Message;

/// Where a message came from or goes to: opaque to this crate.
///
/// A daemon puts in what it needs to reach the peer: the transport, the local socket, the remote
/// address, the connection.
pub trait Flow: Clone {
    /// Whether the transport delivers by itself (TCP, TLS, WebSocket). Decides which timers run.
    fn is_reliable(&self) -> bool;
}

/// Names a client transaction: a request that we sent. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub(super) Handle);

/// Names a server transaction: a request that we received. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub(super) Handle);

/// Names a transaction of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionId {
    /// A request that we sent.
    Client(ClientId),
    /// A request that we received.
    Server(ServerId),
}

/// A message that is to be sent.
#[derive(Debug, Clone)]
pub struct Transmit<F> {
    /// Where to.
    pub flow: F,
    /// The message's bytes.
    pub payload: Bytes,
    /// Whose message it is: give it to [`Layer::handle_transport_error`] if the transport fails.
    /// `None` for what belongs to no transaction (the ACK of a 2xx, stateless forwarding).
    ///
    /// [`Layer::handle_transport_error`]: super::Layer::handle_transport_error
    pub transaction: Option<TransactionId>,
}

/// What the user of a [`Layer`](super::Layer) hears from it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<F> {
    /// A new request with its own server transaction. The user owes a final response.
    ///
    /// A CANCEL comes this way only where it matches no INVITE: answer 481, or forward it.
    Request {
        /// The server transaction.
        id: ServerId,
        /// Where it came from.
        flow: F,
        /// The request.
        request: Message,
    },
    /// The caller gave up an INVITE that has no final response yet. The CANCEL itself is already
    /// answered with 200; the user owes the INVITE a 487, or passes the CANCEL on to its branches.
    Cancelled {
        /// The INVITE's server transaction.
        invite: ServerId,
        /// The CANCEL, for its Reason header (RFC 3326).
        request: Message,
    },
    /// An ACK that is not part of a server transaction: that of a 2xx. A proxy forwards it without
    /// state; a user agent stops repeating its 2xx.
    Ack {
        /// The INVITE's server transaction, where the peer reused its branch for the ACK.
        invite: Option<ServerId>,
        /// Where it came from.
        flow: F,
        /// The ACK.
        request: Message,
    },
    /// A response to one of our requests. Retransmissions are not reported, but for 2xx to INVITE:
    /// each of those comes (they may be of several forks), and each has to be acknowledged.
    Response {
        /// The client transaction.
        id: ClientId,
        /// Where it came from.
        flow: F,
        /// The response, our own Via still on top.
        response: Message,
    },
    /// A response that matches no client transaction. A proxy drops it (RFC 6026 section 7.3, RFC
    /// 4320 section 4.2); a user agent may acknowledge a very late 2xx.
    StrayResponse {
        /// Where it came from.
        flow: F,
        /// The response.
        response: Message,
    },
    /// Nothing was heard in time (timer B or F, or B again after a CANCEL): counts as 408.
    ClientTimeout {
        /// The client transaction, which is over.
        id: ClientId,
    },
    /// Our request could not be delivered: counts as 503.
    ClientTransportError {
        /// The client transaction, which is over.
        id: ClientId,
    },
    /// Our failure response to an INVITE was not acknowledged (timer H).
    Unacknowledged {
        /// The server transaction, which is over.
        id: ServerId,
        /// Where the INVITE came from.
        flow: F,
    },
    /// We did not answer a request other than INVITE within 64 × T1, when nobody waits for the answer any
    /// more.
    ServerTimeout {
        /// The server transaction, which is over.
        id: ServerId,
    },
    /// Our response could not be delivered. It may take another way ([`Layer::resend`]), or its receiver
    /// is gone ([`Layer::forsake`]).
    ///
    /// [`Layer::resend`]: super::Layer::resend
    /// [`Layer::forsake`]: super::Layer::forsake
    ServerTransportError {
        /// The server transaction. That of an INVITE lives on (RFC 6026 section 7.1).
        id: ServerId,
        /// Where the response was sent.
        flow: F,
    },
    /// The transaction is gone; nothing more is heard of it. Follows every other event of it.
    Terminated {
        /// The transaction.
        id: TransactionId,
    },
}
