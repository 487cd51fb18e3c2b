//! Media as pure functions: RTP and RTCP packets, G.711, telephone keys, tones, a jitter buffer, whether somebody
//! speaks, recordings, WAV files, sample rates, and the quality of what was received.
//!
//! Nothing here holds a socket, a clock or a thread. Parsers borrow from the packet and never panic
//! on what a peer sent; they answer with an error that says what is wrong with it.
//!
//! Reception statistics (RFC 3550 appendix A) are not here but in `ebpf-abi`, because the XDP program
//! keeps them too.

#![forbid(unsafe_code)]

pub mod activity;
pub mod demux;
pub mod dtmf;
pub mod g711;
pub mod jitter;
pub mod payload;
pub mod quality;
pub mod record;
pub mod report;
pub mod resample;
pub mod round_trip;
pub mod rtcp;
pub mod tone;
pub mod wav;

mod conceal;
mod header;
mod packetizer;

pub use demux::Kind;
pub use header::{HeaderError, Packet};
pub use packetizer::Packetizer;
