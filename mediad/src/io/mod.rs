//! Packet I/O of a shard, behind one seam.
//!
//! A shard owns one [`PacketIo`]. Each [`PacketIo::turn`] hands a batch of received packets to a
//! [`Sink`], and sends what the sink wants forwarded from the very buffer the packet was received
//! into. Nothing is allocated, locked or logged for a packet.
//!
//! Two backends stand behind the seam: [`uring`] (io_uring) and [`sockets`] (epoll with
//! `recvmmsg`/`sendmmsg`, for kernels and containers that forbid io_uring). The seam speaks of local
//! ports and addresses only, so that a backend without sockets (AF_XDP) fits it as well.
//!
//! # Two sockets for a busy port
//!
//! A port is opened with one unconnected socket. Once the shard has learned who sends to it, it may
//! call [`PacketIo::connect`]: a second socket on the same port is connected to that peer. The kernel
//! prefers the connected one for the peer's packets (and sends on it without looking up a route),
//! while strangers still reach the unconnected socket, so that they are seen and counted.

pub mod sockets;
pub mod uring;

mod address;
mod socket;
mod wake;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

pub use self::socket::{bind, is_local};
pub use self::wake::Waker;

/// A local port, counted from the first port of the shard's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub u32);

impl PortIndex {
    /// As an index into a table by port.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A received packet, in the buffer that it will be forwarded from.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The local port that it came to.
    pub port: PortIndex,
    /// Who sent it.
    pub source: SocketAddr,
    /// The UDP payload.
    pub data: &'a mut [u8],
    /// When its batch was taken from the kernel: `CLOCK_MONOTONIC` in nanoseconds.
    pub arrival: u64,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more; its buffer is free.
    Drop,
    /// Sent on from the local port `via` to `to`, payload as it stands in the buffer.
    Forward {
        /// The local port that it leaves from.
        via: PortIndex,
        /// Where it goes.
        to: SocketAddr,
        /// The octets of it that are sent.
        len: usize,
    },
}

/// Takes the packets of a turn.
pub trait Sink {
    /// Decides about one packet, which may be edited in place.
    fn packet(&mut self, packet: Packet<'_>) -> Verdict;
}

/// What a turn brought besides packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// The [`Waker`] was used: there are commands to read.
    pub woken: bool,
}

/// Counters of a backend, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Packets received.
    pub received: u64,
    /// Packets handed to the kernel to send (those of `send_failed` included).
    pub sent: u64,
    /// Packets that the kernel refused to send: full socket buffer, no route, a filter.
    pub send_failed: u64,
    /// ICMP errors reported on a socket that is connected to its peer (port or host unreachable).
    pub peer_unreachable: u64,
    /// Packets longer than a receive buffer, dropped.
    pub oversized: u64,
    /// Times that the receive buffers ran out (the packets wait in their sockets).
    pub out_of_buffers: u64,
    /// Packets that waited on a port when it was handed on, dropped.
    pub left_over: u64,
}

/// A batch received, a batch sent.
pub trait PacketIo {
    /// Starts to receive on `port`, with the bound, unconnected `socket`.
    ///
    /// # Errors
    /// What the kernel says; the usual reason is that the process is out of file descriptors.
    fn open(&mut self, port: PortIndex, socket: UdpSocket) -> io::Result<()>;

    /// Stops receiving on `port` and closes its sockets. A port that is not open is left alone.
    fn close(&mut self, port: PortIndex);

    /// Hands an open port on to another owner: undoes [`connect`](Self::connect), and drops what has come until now, so
    /// that the sink sees nothing of it. What else was set on the sockets, such as by [`mark`](Self::mark), stays.
    ///
    /// # Errors
    /// The port is not open, or it cannot be said that nothing is left. It is to be closed then.
    fn hand_on(&mut self, port: PortIndex) -> io::Result<()>;

    /// Makes the traffic between `port` and `peer` cheaper; other sources are still received.
    /// Packets that are waiting at this moment go to `sink`, in order.
    ///
    /// # Errors
    /// What the kernel says; the port then works as before, unconnected.
    fn connect(&mut self, port: PortIndex, peer: SocketAddr, sink: &mut dyn Sink)
    -> io::Result<()>;

    /// Undoes [`connect`](Self::connect).
    fn disconnect(&mut self, port: PortIndex);

    /// Sends from `port` with this TOS byte or traffic class from now on.
    ///
    /// # Errors
    /// What the kernel says; what was before then stays.
    fn mark(&mut self, port: PortIndex, tos: u8) -> io::Result<()>;

    /// Sends a packet that was not received, from the local port `via` to `to`, after all that was forwarded before. For
    /// the few that a shard makes itself: it is a system call for each.
    fn send(&mut self, via: PortIndex, to: SocketAddr, data: &[u8]);

    /// Sends what the last turn forwarded, waits up to `wait` for packets or the waker, and hands
    /// the packets to `sink`.
    ///
    /// # Errors
    /// Only what makes the backend unusable as a whole; trouble with one socket is counted.
    fn turn(&mut self, wait: Duration, sink: &mut dyn Sink) -> io::Result<Turn>;

    /// The counters.
    fn counters(&self) -> IoCounters;
}

/// Longest packet that is taken, in octets: an Ethernet payload and what tunnels may add.
pub const MAX_PACKET: usize = 2000;

/// `CLOCK_MONOTONIC` in nanoseconds, the clock that the XDP program reads too.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[expect(
        unsafe_code,
        reason = "std's Instant does not show the kernel's nanoseconds"
    )]
    // SAFETY: `now` is a valid timespec for the kernel to write; this clock always exists on Linux.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
    }
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests;
