//! What the benches of relays share: the relays themselves, a client that opens calls, and traffic for them.
//!
//! The generator sits on the first core and the relay on the second, so that neither takes the other's time. On a veth
//! the kernel does a packet's receiving work in the sender's context: what XDP does is the generator's core's work.

pub(crate) mod generator;
pub(crate) mod ng;
mod places;
mod sinks;
mod subject;

pub use subject::Subject;

pub(crate) use generator::{Arrivals, Ends, Generator, Traffic};
pub(crate) use ng::{Ng, Way};
pub(crate) use places::Places;
pub(crate) use sinks::Sinks;
pub(crate) use subject::{RTPENGINE, RTPENGINE_ON_ONE_CORE, Range, Running};

/// The core that sends and receives.
pub(crate) const GENERATOR_CORE: usize = 0;
/// The core that relays.
pub(crate) const RELAY_CORE: usize = 1;
/// What a jitter buffer would have given up: a packet that takes longer counts as lost.
pub(crate) const LATE_MS: u64 = 60;

/// Files of a relay with as many calls as a range of ports holds, some with a second socket.
const FILES: u64 = 300_000;

/// Lets this process, and the relays that it starts, open enough files.
pub(crate) fn raise_limits() {
    // Too few show as calls that a relay refuses, in its words.
    let _limit = mediad::limits::raise_open_files(FILES);
}
