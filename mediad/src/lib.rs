//! mediad, Tandem's media engine: relays RTP and RTCP between the two legs of each session.
//!
//! - [`engine`]: the handle that everything else works with; owns the shards.
//! - `shard`: a pinned thread that owns a part of the ports, their sockets and their sessions.
//! - [`io`]: the shards' packet I/O, over io_uring or plain sockets.
//! - [`learn`]: who a leg's peer is, and who is a stranger.
//! - [`library`]: what is played to calls: files, URLs, texts.
//! - [`xdp`]: the program that forwards established streams in the driver.
//! - `tap`: what that program copies, on its way to recordings.
//! - [`stream`]: audio to and from WebSocket servers, by Twilio's Media Streams.
//! - [`datapath`](DatapathError): which of these a node uses.
//! - [`server`]: the control socket, the metrics page, and the end of it all.

pub mod counters;
pub mod engine;
pub mod io;
pub mod learn;
pub mod library;
pub mod limits;
pub mod nexthop;
pub mod ng;
pub mod ports;
pub mod privileges;
pub mod server;
pub mod stream;
pub mod xdp;

mod copies;
mod datapath;
mod drain;
mod filter;
mod hops;
mod interfaces;
mod metrics;
mod numbers;
mod record;
mod relay;
mod reload;
mod session;
mod shard;
mod tap;
mod voice;

pub use datapath::DatapathError;
pub use engine::{Engine, EngineError};
pub use reload::Reread;
pub use server::{Around, Order, RunError, run};
