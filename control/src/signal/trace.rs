//! `tandem trace`: the messages of a call.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Messages of a call in their order. Credentials, passwords and keys are hidden in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePage {
    /// The Call-ID header field.
    pub call_id: String,
    /// Whether the call is up.
    pub up: bool,
    /// 500 at most.
    pub messages: Vec<TracedMessage>,
    /// To be asked for as `after`: there may be more.
    pub next: u64,
}

/// A message that was received or sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedMessage {
    /// When, in microseconds since 1970 (UTC).
    pub at_us: i64,
    /// Received; else sent.
    pub received: bool,
    /// `udp`, `tcp` and so on.
    pub transport: String,
    /// This node's address.
    pub local: SocketAddr,
    /// The other end's.
    pub peer: SocketAddr,
    /// The first line.
    pub line: String,
    /// The CSeq, as `1 INVITE`, where it can be read.
    pub cseq: Option<String>,
    /// The whole message, where it was asked for.
    pub text: Option<String>,
}
