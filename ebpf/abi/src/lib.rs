//! What the XDP program and mediad agree on: the shapes of the maps and the arithmetic on packets.
//!
//! The program runs these functions in the kernel, mediad runs the same ones for the packets that
//! come to userspace, and the tests of this crate run them against full recomputation on the host.
//! So there is one definition of a slot, of a flow's statistics and of a checksum update.
//!
//! A *slot* tells the program what to do with packets to one local port: it is one direction of one
//! leg of a session. A *flow* is what was received on that port. Its *numbers* are what RTP of it leaves
//! with where that is not what it came with. They live in arrays indexed by the port, so finding them
//! costs no hashing.

#![cfg_attr(not(test), no_std)]

mod ban;
pub mod checksum;
mod counter;
mod flow;
mod numbers;
mod slot;
mod source;
mod tap;

pub use ban::{Ban, SourceKey, ban_key, ipv4_key};
pub use counter::{COUNTERS_LEN, Counter, CounterKind};
pub use flow::{Bucket, Flow, Rtp, burst_ratio, spacing, tick};
use flow::{MAX_DROPOUT, MAX_MISORDER};
pub use numbers::{MAX_TYPES, Numbers, numbers_flags};
pub use slot::{
    Address, Hop, Identity, MAX_TAGS, Route, Slot, SlotError, TPID_CUSTOMER, TPID_SERVICE, VlanTag,
    flags,
};
pub use source::{KEPT_SOURCES, Source, Sources};
pub use tap::{LARGE, MEDIUM, SMALL, TAP_BYTES, TapHead, tap_flags};

/// The version of everything in this crate that two builds of Tandem must share.
///
/// mediad pins its maps in a directory of this number, so a build with other shapes starts with
/// fresh maps instead of reading old ones wrongly. Raise it with every change of a layout or of a
/// field's meaning.
pub const ABI_VERSION: u32 = 4;

/// How many entries the slot and the flow array have: one for each UDP port.
pub const PORTS: u32 = 65_536;

/// How many entries the device map has: the interfaces that the program may send from.
pub const DEVICES: u32 = 64;

/// How many single sources can be banned.
pub const BANS: u32 = 65_536;

/// How many blocks can be banned, and how many be exempt.
pub const BLOCKS: u32 = 65_536;

/// How many words the bitmap of SIP ports has.
pub const PORT_WORDS: u32 = PORTS / 64;

/// The names of the maps in the object and under the pin directory.
pub mod map {
    /// An array of [`Slot`](crate::Slot) by local port.
    pub const SLOTS: &str = "SLOTS";
    /// An array of [`Flow`](crate::Flow) by local port.
    pub const FLOWS: &str = "FLOWS";
    /// An array of [`Numbers`](crate::Numbers) by local port.
    pub const NUMBERS: &str = "NUMBERS";
    /// A per-CPU array of one entry: `[u64; COUNTERS_LEN]`.
    pub const COUNTERS: &str = "COUNTERS";
    /// A device hash map by interface index.
    pub const DEVICES: &str = "DEVICES";
    /// A hash of [`Sources`](crate::Sources) by local port, of those that have had more than one. The program leaves it
    /// alone; it is there so that what mediad knows outlives it.
    pub const SOURCES: &str = "SOURCES";

    // These are not pinned: copies are for the process that reads them.

    /// A ring of [`TapHead`](crate::TapHead), each with a frame after it.
    pub const TAP: &str = "TAP";

    // These neither: whoever bans says all of it again to a mediad that is new.

    /// A bitmap of the ports of which bans are: an array of `u64`.
    pub const SIP_PORTS: &str = "SIP_PORTS";
    /// A hash of [`Ban`](crate::Ban) by [`ban_key`](crate::ban_key).
    pub const BANS: &str = "BANS";
    /// A longest-prefix trie of [`Ban`](crate::Ban) by [`SourceKey`](crate::SourceKey).
    pub const BAN_RANGES: &str = "BAN_RANGES";
    /// The same of those who are never banned; the value says nothing.
    pub const ALLOWED: &str = "ALLOWED";
}

/// The names of the settings that the program is loaded with.
pub mod global {
    /// A `u8`: whether the flows have statistics.
    pub const MEASURE: &str = "MEASURE";
    /// A `u8`: 0 on kernels that cannot copy frames to the ring (before 5.18).
    pub const TAPPING: &str = "TAPPING";
}

/// The names of the programs in the objects.
pub mod program {
    /// The media program.
    pub const MEDIA: &str = "tandem_xdp";
    /// Passes everything. The far end of a veth pair needs some program before the kernel accepts
    /// frames that XDP sends into the pair.
    pub const PASS: &str = "tandem_pass";
    /// Swaps addresses and sends back: the cheapest program that does what a relay must do.
    pub const FLOOR: &str = "tandem_floor";
    /// Counts a bench's packets at their far end, and drops them.
    pub const SINK: &str = "tandem_sink";
}

/// The packets that [`program::SINK`] counts, and its maps.
pub mod sink {
    /// Octets of their UDP payload.
    pub const PAYLOAD_LEN: usize = 172;
    /// Where in it the time of sending is: `CLOCK_MONOTONIC` in nanoseconds, 64 bits in network order.
    pub const STAMP_AT: usize = 12;
    /// Where in it the number of their run is, one octet.
    pub const RUN_AT: usize = 20;
    /// A step of time.
    pub const NANOSECONDS: u64 = 10_000;
    /// Steps that are told apart: 100 ms. One that took longer is in the last.
    pub const LATENCIES: u32 = 10_001;
    /// The map with the number of the run that is counted.
    pub const RUN_MAP: &str = "RUN";
    /// The map with how many packets took how many steps.
    pub const LATENCIES_MAP: &str = "LATENCIES";
}

/// Wire constants, in host byte order.
pub mod wire {
    /// Length of an Ethernet header without tags.
    pub const ETHERNET_LEN: usize = 14;
    /// Length of one IEEE 802.1Q tag.
    pub const TAG_LEN: usize = 4;
    /// Length of an IPv4 header without options.
    pub const IPV4_LEN: usize = 20;
    /// The first octet of an IPv4 header without options.
    pub const IPV4_VERSION: u8 = 0x45;
    /// IPv4's flags and fragment offset of a packet that is not to be fragmented, in memory order.
    pub const IPV4_DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
    /// The first octet of an IPv6 header, without the traffic class that begins in it.
    pub const IPV6_VERSION: u8 = 0x60;
    /// The longest packet that any link takes as it is, by what Ethernet has (IP header included).
    pub const MTU: usize = 1500;
    /// Length of an IPv6 header.
    pub const IPV6_LEN: usize = 40;
    /// Length of a UDP header.
    pub const UDP_LEN: usize = 8;
    /// Length of an RTP header without CSRCs and extension (RFC 3550 section 5.1).
    pub const RTP_LEN: usize = 12;
    /// Length of the smallest RTCP packet: a header and an SSRC (RFC 3550 section 6.4.2).
    pub const RTCP_LEN: usize = 8;
    /// EtherType of IPv4.
    pub const ETHERTYPE_IPV4: u16 = 0x0800;
    /// EtherType of IPv6.
    pub const ETHERTYPE_IPV6: u16 = 0x86dd;
    /// The protocol number of UDP.
    pub const PROTOCOL_UDP: u8 = 17;
    /// The protocol number of TCP.
    pub const PROTOCOL_TCP: u8 = 6;
    /// Length of both ports of a TCP header.
    pub const TCP_PORTS_LEN: usize = 4;
}
