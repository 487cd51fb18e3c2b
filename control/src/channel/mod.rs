//! Framing, handshake, and the two ends of a control channel.
//!
//! The client speaks first, with a `Hello` whose layout never changes, so that a
//! server of any version can refuse it with a clear word. Then both sides exchange frames: a
//! little-endian `u32` length and a postcard body of at most [`MAX_FRAME`] bytes. Requests carry an id
//! and may be answered in any order; events come without having been asked for.
//!
//! Every request is idempotent, so a client that lost its connection repeats what was not answered.

mod client;
mod endpoint;
mod server;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use client::{Client, Notice, RequestError};
pub use endpoint::{Endpoint, EndpointError, Listener, MemoryConnector};
pub use server::{Events, Handler, serve};
pub use wire::{MAX_FRAME, WireError};

/// What is spoken over one kind of channel.
pub trait Protocol: Send + Sync + 'static {
    /// Sent in the handshake; a client of another protocol is refused.
    const NAME: &'static str;
    /// Raised with every change of the messages; a client of another version is refused.
    const VERSION: u16;
    /// Client to server.
    type Request: Clone + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// Server to client, one for each request.
    type Response: Clone + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// Server to every client, unasked.
    type Event: Clone + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static;
}

/// Why a server did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind, for a program.
    pub code: FaultCode,
    /// What happened and what to do about it, for a person.
    pub message: String,
}

impl Fault {
    /// A fault of kind `code` that tells `message`.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultCode {
    /// The request makes no sense as it stands; repeating it will not help.
    Invalid,
    /// There is no session or call of that id.
    NotFound,
    /// Every port, call or other bounded thing of this node is in use.
    Exhausted,
    /// The server is stopping or draining and takes nothing new.
    Unavailable,
    /// This version cannot do what was asked.
    Unsupported,
    /// The server failed in a way that it did not foresee; its log says more.
    Internal,
    /// What the request is about was changed since the client looked.
    Changed,
    /// What the request is about is not in a state in which it can be done.
    Conflict,
    /// A party of the call, or somebody on the way to it, does not do it.
    Party,
}
