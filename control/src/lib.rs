//! The control channel between Tandem's daemons, and the configuration that they share.
//!
//! signaling, api and the command line know mediad only through [`media`]'s messages, and api and the
//! command line know signaling only through [`signal`]'s. Both travel over the same [`channel`]:
//! length-prefixed postcard frames over a Unix socket, or over a pipe in memory when one process
//! holds both ends.

pub mod bind;
pub mod channel;
pub mod config;
pub mod files;
pub mod logging;
pub mod media;
pub mod privileges;
pub mod public;
pub mod signal;
#[cfg(feature = "tls")]
pub mod tls;

pub use channel::{Client, Endpoint, Fault, FaultCode, Listener, Notice, Protocol};
pub use config::Config;
