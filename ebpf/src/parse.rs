//! From the frame to the UDP header: everything that is not plain UDP over IP passes.

use aya_ebpf::programs::XdpContext;
use ebpf::packet::Frame;
use ebpf_abi::{
    Counter, TPID_CUSTOMER, TPID_SERVICE, ipv4_key,
    wire::{
        ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, PROTOCOL_TCP,
        PROTOCOL_UDP, TAG_LEN, TCP_PORTS_LEN, UDP_LEN,
    },
};

use crate::{Outcome, gate, guard};

const ONE_TAG: usize = ETHERNET_LEN + TAG_LEN;
const TWO_TAGS: usize = ETHERNET_LEN + 2 * TAG_LEN;

/// IPv4's "more fragments" bit and fragment offset.
const FRAGMENT: u16 = 0x3fff;
/// Version 4 and a header of five words.
const IPV4_NO_OPTIONS: u8 = 0x45;

/// Handles one frame.
#[inline(always)]
pub(crate) fn frame(context: &XdpContext) -> Outcome {
    let frame = Frame::new(context);
    if !frame.has(ETHERNET_LEN) {
        return Err(Counter::PassTruncated);
    }
    // SAFETY: the header is there.
    let ethertype = unsafe { frame.read_be16(ETHERNET_LEN - 2) };
    match ethertype {
        ETHERTYPE_IPV4 => ipv4::<ETHERNET_LEN>(context, frame),
        ETHERTYPE_IPV6 => ipv6::<ETHERNET_LEN>(context, frame),
        TPID_CUSTOMER | TPID_SERVICE => one_tag(context, frame),
        _ => Err(Counter::PassNotIp),
    }
}

#[inline(always)]
fn one_tag(context: &XdpContext, frame: Frame) -> Outcome {
    if !frame.has(ONE_TAG) {
        return Err(Counter::PassTruncated);
    }
    // SAFETY: the first tag is there.
    let ethertype = unsafe { frame.read_be16(ONE_TAG - 2) };
    match ethertype {
        ETHERTYPE_IPV4 => ipv4::<ONE_TAG>(context, frame),
        ETHERTYPE_IPV6 => ipv6::<ONE_TAG>(context, frame),
        TPID_CUSTOMER | TPID_SERVICE => two_tags(context, frame),
        _ => Err(Counter::PassNotIp),
    }
}

#[inline(always)]
fn two_tags(context: &XdpContext, frame: Frame) -> Outcome {
    if !frame.has(TWO_TAGS) {
        return Err(Counter::PassTruncated);
    }
    // SAFETY: both tags are there.
    let ethertype = unsafe { frame.read_be16(TWO_TAGS - 2) };
    match ethertype {
        ETHERTYPE_IPV4 => ipv4::<TWO_TAGS>(context, frame),
        ETHERTYPE_IPV6 => ipv6::<TWO_TAGS>(context, frame),
        _ => Err(Counter::PassNotIp),
    }
}

/// An IPv4 packet whose header starts at `L3`.
#[inline(always)]
fn ipv4<const L3: usize>(context: &XdpContext, frame: Frame) -> Outcome {
    if !frame.has(L3 + IPV4_LEN) {
        return Err(Counter::PassTruncated);
    }
    // SAFETY: the header's fixed part is there.
    let (version, total, fragment, protocol) = unsafe {
        (
            frame.read::<u8>(L3),
            frame.read_be16(L3 + 2),
            frame.read_be16(L3 + 6),
            frame.read::<u8>(L3 + 9),
        )
    };
    if protocol != PROTOCOL_UDP {
        let is_plain = protocol == PROTOCOL_TCP
            && fragment & FRAGMENT == 0
            && version == IPV4_NO_OPTIONS
            && frame.has(L3 + IPV4_LEN + TCP_PORTS_LEN);
        if !is_plain {
            return Err(Counter::PassNotUdp);
        }
        // SAFETY: the addresses and the ports are there.
        let (source, port) = unsafe {
            (
                ipv4_key(frame.read(L3 + 12)),
                frame.read_be16(L3 + IPV4_LEN + 2),
            )
        };
        return Err(guard::judge(
            guard::Kind::Stream,
            port,
            source,
            Counter::PassNotUdp,
        ));
    }
    // A later fragment has no UDP header, and a first one is not whole.
    if fragment & FRAGMENT != 0 {
        return Err(Counter::PassFragment);
    }
    if version != IPV4_NO_OPTIONS {
        return Err(Counter::PassOptions);
    }
    if !frame.has(L3 + IPV4_LEN + UDP_LEN) {
        return Err(Counter::PassTruncated);
    }
    // SAFETY: the UDP header is there.
    let udp = unsafe { frame.read_be16(L3 + IPV4_LEN + 4) };
    if total != udp.wrapping_add(IPV4_LEN as u16) || usize::from(udp) < UDP_LEN {
        return Err(Counter::PassLength);
    }
    if frame.len() < L3 + usize::from(total) {
        return Err(Counter::PassTruncated);
    }
    gate::ipv4::<L3>(context, frame, u32::from(udp) - UDP_LEN as u32)
}

/// An IPv6 packet whose header starts at `L3`.
#[inline(always)]
fn ipv6<const L3: usize>(context: &XdpContext, frame: Frame) -> Outcome {
    if !frame.has(L3 + IPV6_LEN) {
        return Err(Counter::PassTruncated);
    }
    // SAFETY: the header is there.
    let (length, next) = unsafe { (frame.read_be16(L3 + 4), frame.read::<u8>(L3 + 6)) };
    if next == PROTOCOL_TCP && frame.has(L3 + IPV6_LEN + TCP_PORTS_LEN) {
        // SAFETY: the addresses and the ports are there.
        let (source, port) = unsafe { (frame.read(L3 + 8), frame.read_be16(L3 + IPV6_LEN + 2)) };
        return Err(guard::judge(
            guard::Kind::Stream,
            port,
            source,
            Counter::PassNotUdp,
        ));
    }
    if next != PROTOCOL_UDP {
        return Err(match next {
            // Hop-by-hop, routing, fragment, authentication, destination options, mobility.
            0 | 43 | 44 | 51 | 60 | 135 => Counter::PassExtension,
            _ => Counter::PassNotUdp,
        });
    }
    if !frame.has(L3 + IPV6_LEN + UDP_LEN) {
        return Err(Counter::PassTruncated);
    }
    // SAFETY: the UDP header is there.
    let udp = unsafe { frame.read_be16(L3 + IPV6_LEN + 4) };
    if length != udp || usize::from(udp) < UDP_LEN {
        return Err(Counter::PassLength);
    }
    if frame.len() < L3 + IPV6_LEN + usize::from(udp) {
        return Err(Counter::PassTruncated);
    }
    gate::ipv6::<L3>(context, frame, u32::from(udp) - UDP_LEN as u32)
}
