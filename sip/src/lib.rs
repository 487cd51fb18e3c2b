//! SIP as pure state machines: no socket, no clock, no runtime and no unsafe.
//!
//! Every protocol object takes bytes and the time, and is drained for what to send, when to wake it
//! and what happened. Whoever owns the sockets moves the bytes.
//!
//! With the feature `rsip`, the module of that name carries messages over to the crate `rsip` and back.

#![forbid(unsafe_code)]

pub mod dialog;
pub mod digest;
pub mod header;
pub mod message;
pub mod proxy;
pub mod redact;
pub mod registrar;
#[cfg(feature = "rsip")]
pub mod rsip;
pub mod sdp;
pub mod session_timer;
pub mod stream;
pub mod token;
pub mod transaction;
pub mod uri;

mod text;
