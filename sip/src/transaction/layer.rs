//! The transaction layer: every transaction of one worker, and the messages' way to them.

use std::time::Instant;

use super::client::Clients;
use super::event::{ClientId, Event, Flow, ServerId, TransactionId, Transmit};
use super::output::Output;
use super::server::Servers;
use super::timer::Timers;
use crate::header::HeaderError;
use crate::message::Message;
use crate::token::TokenGenerator;

/// Why a message was not sent in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// A response was given where a request is sent.
    #[error("only a request starts a client transaction")]
    NotARequest,
    /// A request was given where a response is sent.
    #[error("only a response is sent in a server transaction")]
    NotAResponse,
    /// An ACK has no transaction: that of a 2xx is sent as it is ([`Layer::send_stateless`]), that
    /// of a failure the layer sends by itself.
    #[error("an ACK starts no transaction; send it statelessly")]
    Ack,
    /// The topmost Via has no branch that starts with the magic cookie.
    #[error("the topmost Via needs a branch that starts with z9hG4bK")]
    Branch,
    /// A transaction with this branch and method is running; each request needs a new branch.
    #[error("the branch of the topmost Via is in use by another transaction")]
    DuplicateBranch,
    /// The transaction is over, or never was.
    #[error("the transaction is over")]
    NoTransaction,
    /// The transaction has its final response, and takes none but (for INVITE) another 2xx.
    #[error("the transaction has its final response already")]
    Answered,
    /// A provisional response to a request other than INVITE. RFC 4320 section 4.1 leaves 100
    /// alone, which the layer sends by itself when its time comes.
    #[error("no provisional response goes to a request other than INVITE")]
    Provisional,
    /// There are 2^32 transactions.
    #[error("the transaction table is full")]
    Full,
    /// A header that the transaction is made of is missing or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// Client and server transactions of one worker. See the [module](super) for how to drive it.
///
/// `F` is where messages come from and go to ([`Flow`]).
#[derive(Debug)]
pub struct Layer<F> {
    timers: Timers,
    clients: Clients<F>,
    servers: Servers<F>,
    out: Output<F>,
}

/// # Input
impl<F: Flow> Layer<F> {
    /// An empty layer. `seed` is 128 random bits: tags that the layer makes come from it.
    ///
    /// Times outside of sense are moved to its border: T1 1 ms to 1 min, the others up to 1 h.
    #[must_use]
    pub fn new(timers: Timers, seed: u128) -> Self {
        Self {
            timers: timers.clamped(),
            clients: Clients::new(),
            servers: Servers::new(TokenGenerator::new(seed)),
            out: Output::new(),
        }
    }

    /// A message from the transport. `flow` is where it came from: for a request, where responses
    /// are to go (RFC 3261 section 18.2.2; see [`crate::header::Via::response_target`]).
    ///
    /// A request should have passed [`Message::validate`] and carry `received` and `rport` on its
    /// topmost Via ([`crate::proxy::stamp_via`]).
    ///
    /// # Errors
    /// The message lacks what it could be matched by. Nothing has happened; drop it.
    pub fn handle_message(
        &mut self,
        now: Instant,
        flow: F,
        message: Message,
    ) -> Result<(), HeaderError> {
        if message.is_request() {
            let out = &mut self.out;
            return self
                .servers
                .handle_request(now, &self.timers, flow, message, out);
        }
        let client = self.client_of(&message)?;
        self.handle_response(now, client, flow, message);
        Ok(())
    }

    /// The transaction of the request that a response is to; `None` where there is none.
    ///
    /// # Errors
    /// The response lacks what it could be matched by.
    pub fn client_of(&mut self, response: &Message) -> Result<Option<ClientId>, HeaderError> {
        self.clients.find(response)
    }

    /// [`handle_message`](Self::handle_message) for a response whose [`client_of`](Self::client_of) is
    /// known: a user who has to know it first need not have it found twice.
    pub fn handle_response(
        &mut self,
        now: Instant,
        client: Option<ClientId>,
        flow: F,
        response: Message,
    ) {
        let out = &mut self.out;
        self.clients
            .handle_response(now, &self.timers, client, flow, response, out);
    }

    /// Whether a request repeats one that has a server transaction.
    pub fn knows(&mut self, request: &Message) -> bool {
        self.servers.knows(request)
    }

    /// Where the request of a client transaction was sent; `None` where it is over.
    pub fn sent_to(&self, client: ClientId) -> Option<&F> {
        self.clients.flow(client)
    }

    /// Sends what is left to send of a client transaction, its CANCEL and its ACK, elsewhere: its receiver
    /// has moved.
    pub fn reroute(&mut self, client: ClientId, flow: F) {
        self.clients.reroute(client, flow);
    }

    /// Where the INVITE came from that a CANCEL is to end; `None` where there is none.
    pub fn came_from(&mut self, cancel: &Message) -> Option<&F> {
        self.servers.flow_of_invite(cancel)
    }

    /// Time has passed. To be called at or after [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.out.due(now) {
            match id {
                TransactionId::Client(id) => {
                    self.clients
                        .handle_timer(now, &self.timers, id, &mut self.out);
                }
                TransactionId::Server(id) => {
                    self.servers
                        .handle_timer(now, &self.timers, id, &mut self.out);
                }
            }
        }
    }

    /// The transport could not deliver a [`Transmit`] of this transaction.
    pub fn handle_transport_error(&mut self, id: TransactionId) {
        match id {
            TransactionId::Client(id) => self.clients.handle_transport_error(id, &mut self.out),
            TransactionId::Server(id) => self.servers.handle_transport_error(id, &mut self.out),
        }
    }
}

/// # Sending
impl<F: Flow> Layer<F> {
    /// Sends a request in a client transaction of its own. Its topmost Via is ours, with a branch
    /// that no other request has had ([`TokenGenerator::branch`]).
    ///
    /// # Errors
    /// The request can start no transaction; see [`SendError`].
    pub fn send_request(
        &mut self,
        now: Instant,
        flow: F,
        request: Message,
    ) -> Result<ClientId, SendError> {
        self.clients
            .send(now, &self.timers, flow, request, &mut self.out)
    }

    /// Cancels an INVITE: with a CANCEL at once if it rings, else as soon as a provisional response
    /// comes. The INVITE then ends by its response (487, or a 2xx that crossed), or by
    /// [`Event::ClientTimeout`]. `reason` is the value of a Reason header (RFC 3326).
    ///
    /// `false` where the transaction is no INVITE or has its final response: nothing happens.
    pub fn cancel(&mut self, now: Instant, id: ClientId, reason: Option<&str>) -> bool {
        self.clients
            .cancel(now, &self.timers, id, reason, &mut self.out)
    }

    /// Sends a response in a server transaction.
    ///
    /// A 408 to a request other than INVITE is not sent: the transaction is
    /// [abandoned](Self::abandon) (RFC 4320).
    ///
    /// # Errors
    /// The response does not fit the transaction; see [`SendError`].
    pub fn send_response(
        &mut self,
        now: Instant,
        id: ServerId,
        response: &Message,
    ) -> Result<(), SendError> {
        self.servers
            .respond(now, &self.timers, id, response, &mut self.out)
    }

    /// The To tag that the peer was told last in a server transaction, be it only in the 200 to its
    /// CANCEL: a final response of our own takes it over (RFC 3261 section 9.2).
    pub fn tag(&self, id: ServerId) -> Option<&str> {
        self.servers.tag(id)
    }

    /// Gives up answering a request other than INVITE; its retransmissions are absorbed.
    pub fn abandon(&mut self, now: Instant, id: ServerId) {
        self.servers.abandon(now, &self.timers, id, &mut self.out);
    }

    /// Sends the latest response of a server transaction again, and further ones, elsewhere: over a new
    /// connection, where that of the request is lost (RFC 3261 section 18.2.2). A 2xx to INVITE is not
    /// sent again, which is for who gave it to repeat.
    pub fn resend(&mut self, id: ServerId, flow: F) {
        self.servers.resend(id, flow, &mut self.out);
    }

    /// The sender of a request is gone: nothing is told any more of what becomes of its server
    /// transaction, which still owes a final response and ends by its timers.
    pub fn forsake(&mut self, id: ServerId) {
        self.servers.forsake(id);
    }

    /// Sends a message outside of any transaction: the ACK of a 2xx, or a stateless response.
    pub fn send_stateless(&mut self, flow: F, message: Message) {
        self.out.transmit(flow, message.into_bytes(), None);
    }
}

/// # Output
impl<F: Flow> Layer<F> {
    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit<F>> {
        self.out.transmits.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event<F>> {
        self.out.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.out.next_timeout()
    }

    /// How many client transactions there are.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How many server transactions there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Whether nothing is left: no transaction, no timer, nothing to drain.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
            && self.servers.is_empty()
            && self.out.scheduled() == 0
            && self.out.transmits.is_empty()
            && self.out.events.is_empty()
    }
}
