//! From the UDP header to the decision: is there a slot, is it for this packet, and may it go on?

use aya_ebpf::programs::XdpContext;
use ebpf::packet::Frame;
use ebpf_abi::{
    Address, Counter, Rtp, Slot, SourceKey, flags, ipv4_key,
    wire::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, RTCP_LEN, RTP_LEN, TAG_LEN, UDP_LEN},
};

use crate::{Outcome, guard, maps::SLOTS, rewrite};

/// A slot in the map, which mediad may be writing at this moment.
///
/// Its fields are read as volatile, so that the compiler keeps the reads between the two of the
/// generation. CPUs that reorder loads (not x86) may still see a new field under an old generation;
/// they see it only for a slot that is rewritten while its packets come, and one packet then leaves
/// with a mixture of two good headers.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    slot: *const Slot,
    generation: u32,
    pub(crate) flags: u16,
    /// VLAN tags to send with.
    pub(crate) tags: u8,
    tos: u8,
}

/// The value of one field of the slot.
macro_rules! field {
    ($live:expr, $($field:tt)+) => {{
        let slot = $live.slot();
        // SAFETY: `slot` points to a map value, which the kernel never frees while the program
        // runs; volatile, because another CPU may write it.
        unsafe { core::ptr::read_volatile(&raw const (*slot).$($field)+) }
    }};
}
pub(crate) use field;

/// What the gates have found about a packet, for rewriting it.
pub(crate) struct Admitted {
    pub(crate) live: Live,
    pub(crate) port: u16,
    /// Octets of UDP payload.
    pub(crate) octets: u32,
    pub(crate) rtcp: bool,
    /// What counting it needs; zeros of RTCP.
    pub(crate) rtp: Rtp,
}

/// UDP over IPv4 with `octets` of payload.
#[inline(always)]
pub(crate) fn ipv4<const L3: usize>(context: &XdpContext, frame: Frame, octets: u32) -> Outcome {
    // SAFETY: the caller has checked that the IP and the UDP header are there.
    let (port, peer, local, ttl) = unsafe {
        (
            frame.read_be16(L3 + IPV4_LEN + 2),
            [u64::from(frame.read::<u32>(L3 + 12)), 0],
            [u64::from(frame.read::<u32>(L3 + 16)), 0],
            frame.read::<u8>(L3 + 8),
        )
    };
    let source = ipv4_key(peer[0] as u32);
    let live = find(port, false, local).map_err(|counter| stranger(counter, port, source))?;
    let (rtcp, rtp) = admit(live, frame, L3 + IPV4_LEN, octets, peer, false)?;
    if ttl <= 1 {
        return Err(Counter::PassTtl);
    }
    rewrite::ipv4::<L3>(
        context,
        frame,
        Admitted {
            live,
            port,
            octets,
            rtcp,
            rtp,
        },
    )
}

/// UDP over IPv6 with `octets` of payload.
#[inline(always)]
pub(crate) fn ipv6<const L3: usize>(context: &XdpContext, frame: Frame, octets: u32) -> Outcome {
    // SAFETY: the caller has checked that the IP and the UDP header are there.
    let (port, peer, local, hops) = unsafe {
        (
            frame.read_be16(L3 + IPV6_LEN + 2),
            [frame.read(L3 + 8), frame.read(L3 + 16)],
            [frame.read(L3 + 24), frame.read(L3 + 32)],
            frame.read::<u8>(L3 + 7),
        )
    };
    let [high, low]: [[u32; 2]; 2] = peer.map(halves);
    let source = [high[0], high[1], low[0], low[1]];
    let live = find(port, true, local).map_err(|counter| stranger(counter, port, source))?;
    let (rtcp, rtp) = admit(live, frame, L3 + IPV6_LEN, octets, peer, true)?;
    if hops <= 1 {
        return Err(Counter::PassTtl);
    }
    rewrite::ipv6::<L3>(
        context,
        frame,
        Admitted {
            live,
            port,
            octets,
            rtcp,
            rtp,
        },
    )
}

/// A packet that no slot is for may be for a SIP port.
#[inline(always)]
fn stranger(counter: Counter, port: u16, source: SourceKey) -> Counter {
    match counter {
        Counter::PassNoSlot => guard::judge(guard::Kind::Datagram, port, source, counter),
        other => other,
    }
}

/// Two words as they lie in memory.
#[inline(always)]
fn halves(word: u64) -> [u32; 2] {
    // The program's target is little-endian.
    [word as u32, (word >> 32) as u32]
}

/// The slot of `port`, if it is valid, forwards, and is for packets to `local`.
#[inline(always)]
fn find(port: u16, v6: bool, local: Address) -> Result<Live, Counter> {
    let slot = SLOTS.get_ptr(u32::from(port)).ok_or(Counter::PassNoSlot)?;
    let mut live = Live {
        slot,
        generation: 0,
        flags: 0,
        tags: 0,
        tos: 0,
    };
    live.generation = field!(live, generation);
    if live.generation == 0 {
        return Err(Counter::PassNoSlot);
    }
    live.flags = field!(live, flags);
    let same_family = (live.flags & flags::IPV6 != 0) == v6;
    if !same_family
        || field!(live, local[0]) != local[0]
        || (v6 && field!(live, local[1]) != local[1])
    {
        return Err(Counter::PassAddress);
    }
    if live.flags & flags::FORWARD == 0 {
        return Err(Counter::PassUserspace);
    }
    live.tags = field!(live, tags);
    live.tos = field!(live, tos);
    Ok(live)
}

/// Whether the payload is RTP or RTCP that the slot forwards, and from its peer. Says if it is RTCP,
/// and what is in RTP's header.
#[inline(always)]
fn admit(
    live: Live,
    frame: Frame,
    l4: usize,
    octets: u32,
    peer: Address,
    v6: bool,
) -> Result<(bool, Rtp), Counter> {
    let payload = l4 + UDP_LEN;
    if (octets as usize) < RTCP_LEN || !frame.has(payload + RTCP_LEN) {
        return Err(Counter::PassNotRtp);
    }
    // SAFETY: the first eight bytes of payload are there.
    let (first, second, port) = unsafe {
        (
            frame.read::<u8>(payload),
            frame.read::<u8>(payload + 1),
            frame.read(l4),
        )
    };
    // Version 2 of RTP and RTCP: 128 to 191 (RFC 7983 section 7).
    if first & 0xc0 != 0x80 {
        return Err(match first {
            0..=3 => Counter::PassStun,
            20..=63 => Counter::PassDtls,
            _ => Counter::PassNotRtp,
        });
    }
    let same_port = field!(live, peer_port) == port;
    if !same_port || field!(live, peer[0]) != peer[0] || (v6 && field!(live, peer[1]) != peer[1]) {
        return Err(match live.flags & flags::PASS_SOURCES {
            0 => Counter::DropSource,
            _ => Counter::PassUserspace,
        });
    }
    // Packet types 192 to 223 are RTCP's on a shared port (RFC 5761 section 4).
    if live.flags & flags::RTCP != 0 || second & 0xe0 == 0xc0 {
        if live.flags & flags::PASS_RTCP != 0 {
            return Err(Counter::PassRtcp);
        }
        let none = Rtp {
            sequence: 0,
            timestamp: 0,
            ssrc: 0,
        };
        return Ok((true, none));
    }
    if (octets as usize) < RTP_LEN || !frame.has(payload + RTP_LEN) {
        return Err(Counter::PassNotRtp);
    }
    // SAFETY: the RTP header is there.
    let rtp = unsafe {
        Rtp {
            sequence: frame.read_be16(payload + 2),
            timestamp: frame.read_be32(payload + 4),
            ssrc: frame.read_be32(payload + 8),
        }
    };
    Ok((false, rtp))
}

impl Live {
    #[inline(always)]
    pub(crate) fn slot(&self) -> *const Slot {
        self.slot
    }

    /// Whether everything that was read belongs to one writing of the slot.
    #[inline(always)]
    pub(crate) fn is_unchanged(&self) -> bool {
        field!(self, generation) == self.generation
    }

    /// Whether a packet with its IP header at `L3` leaves with headers of the same length.
    #[inline(always)]
    pub(crate) fn keeps_shape<const L3: usize>(&self, v6: bool) -> bool {
        usize::from(self.tags) == (L3 - ETHERNET_LEN) / TAG_LEN
            && (self.flags & flags::OUT_IPV6 != 0) == v6
    }

    /// The TOS byte or traffic class to send with, for a packet that came with `own`.
    #[inline(always)]
    pub(crate) fn tos(&self, own: u8) -> u8 {
        if self.flags & flags::TOS != 0 {
            self.tos
        } else {
            own
        }
    }

    /// Whether the slot's port is for RTCP alone.
    #[inline(always)]
    pub(crate) fn is_rtcp_port(&self) -> bool {
        self.flags & flags::RTCP != 0
    }
}
