//! Transactions: RFC 3261 section 17, with the corrections of RFC 6026 (INVITE and its 2xx) and
//! RFC 4320 (non-INVITE).
//!
//! The four machines are one file each, and know nothing of messages. [`Layer`] holds all
//! transactions of one worker: it finds the transaction of a message, absorbs retransmissions,
//! makes ACKs and CANCELs, and runs the timers. It serves a proxy and a user agent alike, because
//! it leaves to its user whatever the two do differently.
//!
//! # Driving it
//!
//! One mutation, then drain: after each call that takes `&mut self` (a message, a timeout, a
//! transport error, something sent), drain [`Layer::poll_transmit`] and [`Layer::poll_event`], and
//! wake up again at [`Layer::poll_timeout`]. Events may themselves lead to something sent: drain
//! until both are dry.
//!
//! ```
//! use std::time::Instant;
//!
//! use sip::message::Message;
//! use sip::transaction::{Event, Flow, Layer, Timers};
//!
//! #[derive(Debug, Clone, PartialEq)]
//! struct Udp(std::net::SocketAddr);
//!
//! impl Flow for Udp {
//!     fn is_reliable(&self) -> bool {
//!         false
//!     }
//! }
//!
//! let mut layer = Layer::new(Timers::default(), 0x5eed);
//! let mut now = Instant::now();
//!
//! // Something arrives.
//! let text = "OPTIONS sip:node.example.test SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds\r\n\
//!     Max-Forwards: 70\r\n\
//!     From: <sip:alice@example.test>;tag=1928301774\r\n\
//!     To: <sip:node.example.test>\r\n\
//!     Call-ID: a84b4c76e66710\r\n\
//!     CSeq: 1 OPTIONS\r\n\
//!     Content-Length: 0\r\n\r\n";
//! let from = Udp("192.0.2.1:5060".parse()?);
//! layer.handle_message(now, from, Message::parse(text.into())?)?;
//!
//! // Drain: what happened first, then what it made us send.
//! while let Some(event) = layer.poll_event() {
//!     if let Event::Request { id, request, .. } = event {
//!         let response = request.respond(200).to_tag("8321234356").build()?;
//!         layer.send_response(now, id, &response)?;
//!     }
//! }
//! while let Some(transmit) = layer.poll_transmit() {
//!     // Here the bytes go to the socket. If that fails and `transmit.transaction` is set, tell
//!     // `layer.handle_transport_error`.
//!     assert!(transmit.payload.starts_with(b"SIP/2.0 200 OK"));
//! }
//!
//! // Sleep until then, or until something arrives.
//! while let Some(at) = layer.poll_timeout() {
//!     now = at;
//!     layer.handle_timeout(now);
//!     while layer.poll_event().is_some() {}
//! }
//! assert!(layer.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What its user owes it
//!
//! A machine that waits for its user has no timer, as the RFC has it: an INVITE that rings ends by
//! [`Layer::cancel`] (timer C of [`crate::proxy::ResponseContext`], a user's patience), an INVITE
//! that was received by a final response. Every other state ends by itself.

mod arena;
mod client;
mod derived;
mod event;
mod invite_client;
mod invite_server;
mod key;
mod layer;
mod machine;
mod non_invite_client;
mod non_invite_server;
mod output;
mod server;
mod timer;

pub use event::{ClientId, Event, Flow, ServerId, TransactionId, Transmit};
pub use layer::{Layer, SendError};
pub use timer::{Timer, Timers};

#[cfg(test)]
mod tests;
