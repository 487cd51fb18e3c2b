//! A user agent for one call at a time, as pure code: bytes and time in, bytes and events out.
//!
//! It stands on [`sip::transaction`] and adds what RFC 3261 asks of a user agent: dialogs (section
//! 12), the ACK of a 2xx and its repetition (13.2.2.4), the repetition of its own 2xx (13.3.1.4),
//! offers and answers (RFC 3264), re-INVITE, UPDATE, OPTIONS, BYE and CANCEL.
//!
//! Drive it like the layer below: call a `handle_*` or a verb, then drain [`Agent::poll_transmit`]
//! and [`Agent::poll_event`], then sleep until [`Agent::poll_timeout`].

mod incoming;
mod outgoing;
mod sdp;

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use control::config::Transport;
use sip::{
    dialog::{Answer, Dialog},
    header::{HeaderName, NameAddr},
    message::{Message, Method},
    token::TokenGenerator,
    transaction::{ClientId, Event, Flow, Layer, ServerId, Timers, TransactionId, Transmit},
    uri::Uri,
};

use sdp::LocalMedia;
pub(super) use sdp::{Codec, Plan};

/// What this agent answers to, for the Allow header field.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE";

/// Where a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hop {
    /// Over what.
    pub(super) transport: Transport,
    /// The peer. Over TCP the connection to or from this address.
    pub(super) remote: SocketAddr,
}

impl Flow for Hop {
    fn is_reliable(&self) -> bool {
        self.transport.is_reliable()
    }
}

/// Who and where the agent is.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The user part of its Contact.
    pub(super) user: String,
    /// Where it receives SIP, over UDP and TCP.
    pub(super) signaling: SocketAddr,
    /// Where it receives RTP; RTCP one port above.
    pub(super) media: SocketAddr,
    /// What it can speak, the best first; never empty.
    pub(super) codecs: Vec<Codec>,
}

/// A call to make.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    /// The Request-URI.
    pub(super) uri: String,
    /// The caller's URI, for From.
    pub(super) from: String,
    /// Where the INVITE goes first.
    pub(super) hop: Hop,
}

/// What happened to the call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Happened {
    /// Somebody calls: [`Agent::ring`], [`Agent::answer`] or [`Agent::hang_up`].
    Incoming {
        /// The caller's URI.
        from: String,
        /// The URI that was called.
        to: String,
    },
    /// The other side is alerting, or progresses in another way; with early media or without.
    Progress {
        /// 101 to 199.
        status: u16,
        /// Its words.
        reason: String,
        /// Where audio goes, where the answer came along.
        media: Option<Plan>,
    },
    /// The call is up.
    Answered,
    /// Where audio goes and whether it may: after the answer and after every change.
    Media(Plan),
    /// The call is over. Nothing more is told of it.
    Ended(Ending),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The callee, or someone before it, said no.
    Refused {
        /// 300 to 699; 408 and 503 also where no one said a word.
        status: u16,
        /// Its words, or ours.
        reason: String,
        /// What a person can do about it; may be empty.
        advice: String,
    },
    /// Given up before the answer: by our CANCEL, or by the caller's.
    Cancelled,
    /// We said BYE, and the other side confirmed it, or did not in time.
    HungUp,
    /// The other side said BYE.
    RemoteHungUp,
    /// Answered, but not in a way that audio can follow; we said BYE. Holds the reason.
    NoMedia(String),
    /// Our answer was never acknowledged; we said BYE.
    NoAck,
}

/// The agent.
#[derive(Debug)]
pub(super) struct Agent {
    identity: Identity,
    timers: Timers,
    layer: Layer<Hop>,
    tokens: TokenGenerator,
    call: Option<Call>,
    events: VecDeque<Happened>,
}

/// The call that there is.
#[derive(Debug)]
struct Call {
    stage: Stage,
    /// The INVITE that began it, sent or received.
    invite: Message,
    /// Our tag.
    local_tag: String,
    /// Where our requests go.
    hop: Hop,
    /// `None` until our INVITE is answered.
    dialog: Option<Dialog>,
    media: LocalMedia,
    /// A 2xx that waits for its ACK.
    unconfirmed: Option<Unconfirmed>,
    /// The ACK of our INVITE's 2xx, to be sent again for every copy of that.
    ack: Option<Message>,
    /// Why we hang up, where it was not asked for.
    because: Option<Ending>,
}

#[derive(Debug)]
enum Stage {
    /// Our INVITE is out.
    Calling { invite: ClientId, cancelled: bool },
    /// An INVITE is in, and not answered.
    Called { id: ServerId },
    /// Established.
    Up,
    /// Our BYE is out.
    Leaving { bye: ClientId },
    /// Nothing is to come but copies.
    Over,
}

/// A 2xx of ours that is sent again until its ACK comes (RFC 3261 section 13.3.1.4).
#[derive(Debug)]
struct Unconfirmed {
    id: ServerId,
    cseq: u32,
    response: Message,
    /// The offer was in our 2xx, so its answer is in the ACK.
    answer_due: bool,
    repeats: Answer,
}

/// # Input
impl Agent {
    /// An agent without a call. `seed` is 128 random bits.
    pub(super) fn new(identity: Identity, timers: Timers, seed: u128) -> Self {
        let mut tokens = TokenGenerator::new(seed);
        // The layer's tags need a sequence of their own.
        let own = tokens.token();
        let layer_seed = u128::from_str_radix(&own, 16).unwrap_or(!seed);
        Self {
            identity,
            layer: Layer::new(timers, layer_seed),
            timers,
            tokens,
            call: None,
            events: VecDeque::new(),
        }
    }

    /// A message from the network. What makes no sense is dropped or refused, never an error here.
    pub(super) fn handle_message(&mut self, now: Instant, hop: Hop, message: Message) {
        let message = if message.is_request() {
            sip::proxy::stamp_via(message, hop.remote)
        } else {
            message
        };
        let hop = reply_hop(hop, &message);
        if let Err(invalid) = message.validate() {
            let is_ack = message.method() == Some(&Method::Ack);
            if message.is_request() && !is_ack {
                let tag = self.tokens.tag();
                if let Ok(refusal) = message.respond(invalid.status()).to_tag(tag).build() {
                    self.layer.send_stateless(hop, refusal);
                }
            }
            return;
        }
        // What cannot be matched by its headers is dropped.
        let _ = self.layer.handle_message(now, hop, message);
        self.digest(now);
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.repeat_answer(now);
        self.digest(now);
    }

    /// A message could not be sent.
    pub(super) fn handle_transport_error(&mut self, now: Instant, id: TransactionId) {
        self.layer.handle_transport_error(id);
        self.digest(now);
    }
}

/// # Output
impl Agent {
    /// The next message to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit<Hop>> {
        self.layer.poll_transmit()
    }

    /// The next thing to know.
    pub(super) fn poll_event(&mut self) -> Option<Happened> {
        self.events.pop_front()
    }

    /// When [`Agent::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let unconfirmed = self
            .call
            .as_ref()
            .and_then(|call| call.unconfirmed.as_ref());
        let repeat = unconfirmed.and_then(|waiting| waiting.repeats.poll_timeout());
        [self.layer.poll_timeout(), repeat]
            .into_iter()
            .flatten()
            .min()
    }

    /// Where RTP of the next call is received.
    pub(super) const fn set_media(&mut self, media: SocketAddr) {
        self.identity.media = media;
    }

    /// Whether no call is there, or the last one is over: a new one may begin.
    pub(super) fn is_idle(&self) -> bool {
        self.call
            .as_ref()
            .is_none_or(|call| matches!(call.stage, Stage::Over))
    }

    /// The Call-ID of the present or last call.
    pub(super) fn call_id(&self) -> Option<&str> {
        self.call.as_ref()?.invite.call_id().ok()
    }
}

/// # Verbs
impl Agent {
    /// Ends the call in the way that fits its stage: CANCEL, a refusal, or BYE. Does nothing where
    /// there is none, or where it is ending.
    pub(super) fn hang_up(&mut self, now: Instant) {
        let Some(call) = &mut self.call else { return };
        match &mut call.stage {
            Stage::Calling { invite, cancelled } => {
                *cancelled = true;
                self.layer.cancel(now, *invite, None);
            }
            Stage::Called { id } => {
                let refusal = call
                    .invite
                    .respond(480)
                    .to_tag(call.local_tag.as_str())
                    .build();
                if let Ok(refusal) = refusal {
                    let _ = self.layer.send_response(now, *id, &refusal);
                }
                self.finish(Ending::Cancelled);
            }
            Stage::Up => self.send_bye(now),
            Stage::Leaving { .. } | Stage::Over => {}
        }
        self.digest(now);
    }

    fn send_bye(&mut self, now: Instant) {
        let Some(call) = &mut self.call else { return };
        call.unconfirmed = None;
        let via = via(&self.identity, call.hop.transport, &mut self.tokens);
        let bye = call
            .dialog
            .as_mut()
            .and_then(|dialog| dialog.bye(&via).build().ok());
        let sent = bye.and_then(|bye| self.layer.send_request(now, call.hop, bye).ok());
        match sent {
            Some(bye) => call.stage = Stage::Leaving { bye },
            None => self.finish(Ending::HungUp),
        }
    }
}

/// # What the layer tells
impl Agent {
    fn digest(&mut self, now: Instant) {
        while let Some(event) = self.layer.poll_event() {
            match event {
                Event::Request { id, flow, request } => self.on_request(now, id, flow, &request),
                Event::Cancelled { invite, .. } => self.on_cancelled(now, invite),
                Event::Ack { request, .. } => self.on_ack(now, &request),
                Event::Response { id, flow, response } => {
                    self.on_response(now, id, flow, &response);
                }
                Event::ClientTimeout { id } => self.on_failure(id, Ending::silence()),
                Event::ClientTransportError { id } => self.on_failure(id, Ending::unreachable()),
                _ => {}
            }
        }
    }

    /// The response to our INVITE or BYE, or what stands for one.
    fn on_response(&mut self, now: Instant, id: ClientId, hop: Hop, response: &Message) {
        let Some(call) = &self.call else { return };
        let status = response.status().unwrap_or_default();
        match call.stage {
            Stage::Leaving { bye } if bye == id && status >= 200 => self.finish(Ending::HungUp),
            Stage::Calling { invite, .. } if invite == id => {
                self.on_invite_response(now, hop, status, response);
            }
            // A 2xx to INVITE again, or from another branch of a fork.
            _ if (200..300).contains(&status) && is_invite(response) => {
                self.on_late_answer(now, hop, response);
            }
            _ => {}
        }
    }

    /// No response came, or none can come.
    fn on_failure(&mut self, id: ClientId, ending: Ending) {
        let Some(call) = &self.call else { return };
        match call.stage {
            Stage::Leaving { bye } if bye == id => self.finish(Ending::HungUp),
            Stage::Calling { invite, .. } if invite == id => self.finish(ending),
            _ => {}
        }
    }

    fn finish(&mut self, ending: Ending) {
        let Some(call) = &mut self.call else { return };
        call.stage = Stage::Over;
        call.unconfirmed = None;
        let ending = call.because.take().unwrap_or(ending);
        self.events.push_back(Happened::Ended(ending));
    }
}

impl Ending {
    /// Not a word came: counts as 408 (RFC 3261 section 8.1.3.1).
    pub(super) fn silence() -> Self {
        Self::Refused {
            status: 408,
            reason: "no response came".to_owned(),
            advice: "is something listening there? A firewall may drop it silently".to_owned(),
        }
    }

    /// The transport failed: counts as 503.
    fn unreachable() -> Self {
        Self::Refused {
            status: 503,
            reason: "the peer could not be reached".to_owned(),
            advice: "is something listening on that address, port and transport?".to_owned(),
        }
    }
}

/// The Via of a new request.
fn via(identity: &Identity, transport: Transport, tokens: &mut TokenGenerator) -> String {
    let name = transport.name().to_ascii_uppercase();
    format!(
        "SIP/2.0/{name} {};branch={};rport",
        identity.signaling,
        tokens.branch()
    )
}

/// The Contact of this agent.
fn contact(identity: &Identity, transport: Transport) -> String {
    let user = sip::uri::escape_user(&identity.user);
    let at = identity.signaling;
    match transport {
        Transport::Udp => format!("<sip:{user}@{at}>"),
        other => format!("<sip:{user}@{at};transport={}>", other.parameter()),
    }
}

/// Where responses to a request go (RFC 3261 section 18.2.2): over TCP the connection that it came
/// by, over UDP what its stamped Via says.
fn reply_hop(hop: Hop, request: &Message) -> Hop {
    if !request.is_request() || hop.transport == Transport::Tcp {
        return hop;
    }
    let target = request.via().ok().and_then(|via| {
        let (host, port) = via.response_target();
        Some(SocketAddr::new(host.ip()?, port))
    });
    Hop {
        remote: target.unwrap_or(hop.remote),
        ..hop
    }
}

/// Where requests of a dialog go, from the URI of its next hop. A name is not resolved here: then they
/// go on to where its messages come from.
fn dialog_hop(next_hop: &str, from: Hop) -> Hop {
    let Ok(uri) = Uri::parse(next_hop) else {
        return from;
    };
    let Some(ip) = uri.host().and_then(|host| host.ip()) else {
        return from;
    };
    let transport = match uri.transport() {
        Some(name) if name.eq_ignore_ascii_case("tcp") => Transport::Tcp,
        _ => Transport::Udp,
    };
    // A connection that is there serves, whatever port its other end has.
    if transport == Transport::Tcp && from.transport == transport && from.remote.ip() == ip {
        return from;
    }
    Hop {
        transport,
        remote: SocketAddr::new(ip, uri.port().unwrap_or(5060)),
    }
}

fn is_invite(response: &Message) -> bool {
    response
        .cseq()
        .is_ok_and(|cseq| cseq.method == Method::Invite)
}

/// The URI of From or To, for people.
fn shown(address: Result<NameAddr<'_>, sip::header::HeaderError>) -> String {
    address.map_or_else(|_| "?".to_owned(), |address| address.uri_str().to_owned())
}

/// The text of a header field, empty where it is missing.
fn text(message: &Message, name: HeaderName) -> String {
    message
        .header(name)
        .map(|header| header.text().into_owned())
        .unwrap_or_default()
}
