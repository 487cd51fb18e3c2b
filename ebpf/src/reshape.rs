//! Packets that leave with longer or shorter headers than they came with: from IPv4 to IPv6 or back,
//! or with another number of VLAN tags.
//!
//! The payload stays where it is, and the start of the frame moves. What the new headers need is read
//! and computed first ([`Plan`]). Then the kernel is asked to move the start: the last thing that can
//! fail, and it leaves the frame as it was where the driver has no room. Only then is anything
//! written.

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use ebpf::packet::Frame;
use ebpf_abi::{
    Address, Counter, Flow, checksum, flags,
    wire::{
        ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_DONT_FRAGMENT, IPV4_LEN, IPV4_VERSION,
        IPV6_LEN, IPV6_VERSION, MTU, PROTOCOL_UDP, RTP_LEN, TAG_LEN, UDP_LEN,
    },
};

use crate::{
    Outcome, Sent,
    gate::{Admitted, field},
    renumber::Renumbered,
    rewrite::{Headers, PRIORITY, numbers, record, sent},
    tap,
};

const ONE_TAG: usize = ETHERNET_LEN + TAG_LEN;
const TWO_TAGS: usize = ETHERNET_LEN + 2 * TAG_LEN;

/// All that is to be written, and what is to be counted then.
pub(crate) struct Plan {
    packet: Admitted,
    flow: *mut Flow,
    now: u64,
    verdict: u32,
    /// Octets in front of the UDP header as it came.
    before: usize,
    headers: Headers,
    /// The priority bits of the tags that it came with.
    priorities: [u16; 2],
    /// The IP header up to its addresses, in memory order: three words of IPv4's, two of IPv6's.
    ip: [u32; 3],
    source: Address,
    destination: Address,
    udp_checksum: u16,
    /// The RTP header, where it is another one.
    renumbered: Option<Renumbered>,
}

/// What becomes of a packet that came over IPv4, its header at `L3`.
#[inline(always)]
pub(crate) fn from_ipv4<const L3: usize>(
    frame: Frame,
    packet: Admitted,
    flow: *mut Flow,
    now: u64,
    verdict: u32,
) -> Outcome {
    let live = packet.live;
    let l4 = L3 + IPV4_LEN;
    // SAFETY: the IP and UDP headers are there, as `parse` has checked.
    let (ip, udp_checksum): ([u32; 3], u16) = unsafe {
        (
            [frame.read(L3), frame.read(L3 + 4), frame.read(L3 + 8)],
            frame.read(l4 + 6),
        )
    };
    let [_, tos, ..] = ip[0].to_ne_bytes();
    let [ttl, protocol, high, low] = ip[2].to_ne_bytes();
    let new_tos = live.tos(tos);
    let udp_delta = field!(live, udp_delta);
    let (ip, udp_checksum) = if live.flags & flags::OUT_IPV6 != 0 {
        // It would have to be computed over the whole payload.
        if udp_checksum == 0 {
            return Err(Counter::PassChecksum);
        }
        if packet.octets as usize + UDP_LEN + IPV6_LEN > MTU {
            return Err(Counter::PassTooLong);
        }
        let ip = ipv6_words(new_tos, packet.octets as u16 + UDP_LEN as u16, ttl - 1);
        (ip, checksum::apply_udp(udp_checksum, udp_delta))
    } else {
        let sum = checksum::apply(
            u16::from_ne_bytes([high, low]),
            checksum::combine(
                field!(live, ip_delta),
                checksum::replace(
                    u16::from_ne_bytes([IPV4_VERSION, tos]),
                    u16::from_ne_bytes([IPV4_VERSION, new_tos]),
                ),
            ),
        );
        let [high, low] = sum.to_ne_bytes();
        let [_, _, length @ ..] = ip[0].to_ne_bytes();
        let first = [IPV4_VERSION, new_tos, length[0], length[1]];
        let words = [
            u32::from_ne_bytes(first),
            ip[1],
            u32::from_ne_bytes([ttl - 1, protocol, high, low]),
        ];
        // Zero says that the sender computed none (RFC 768), and stays.
        let udp_checksum = match udp_checksum {
            0 => 0,
            other => checksum::apply_udp(other, udp_delta),
        };
        (words, udp_checksum)
    };
    plan::<L3>(frame, packet, flow, now, verdict, l4, ip, udp_checksum)
}

/// What becomes of a packet that came over IPv6, its header at `L3`.
#[inline(always)]
pub(crate) fn from_ipv6<const L3: usize>(
    frame: Frame,
    packet: Admitted,
    flow: *mut Flow,
    now: u64,
    verdict: u32,
    udp_checksum: u16,
) -> Outcome {
    let live = packet.live;
    let l4 = L3 + IPV6_LEN;
    // SAFETY: the IP header is there, as `parse` has checked.
    let [first, second]: [u32; 2] = unsafe { [frame.read(L3), frame.read(L3 + 4)] };
    let [a, b, ..] = first.to_ne_bytes();
    let [_, _, next, hops] = second.to_ne_bytes();
    let tos = live.tos(a << 4 | b >> 4);
    let length = packet.octets as u16 + UDP_LEN as u16;
    let ip = if live.flags & flags::OUT_IPV6 != 0 {
        let [_, _, label @ ..] = first.to_ne_bytes();
        let [length @ .., _, _] = second.to_ne_bytes();
        [
            u32::from_ne_bytes([
                IPV6_VERSION | tos >> 4,
                tos << 4 | b & 0xf,
                label[0],
                label[1],
            ]),
            u32::from_ne_bytes([length[0], length[1], next, hops - 1]),
            0,
        ]
    } else {
        let length = (length + IPV4_LEN as u16).to_be();
        let [high, low] = length.to_ne_bytes();
        let sum = u32::from(field!(live, ip_delta))
            + u32::from(u16::from_ne_bytes([0, tos]))
            + u32::from(length)
            + u32::from(u16::from_ne_bytes([hops - 1, 0]));
        let [sum_a, sum_b] = (!checksum::fold(sum)).to_ne_bytes();
        let [flags_a, flags_b] = IPV4_DONT_FRAGMENT.to_ne_bytes();
        [
            u32::from_ne_bytes([IPV4_VERSION, tos, high, low]),
            u32::from_ne_bytes([0, 0, flags_a, flags_b]),
            u32::from_ne_bytes([hops - 1, PROTOCOL_UDP, sum_a, sum_b]),
        ]
    };
    let udp_checksum = checksum::apply_udp(udp_checksum, field!(live, udp_delta));
    plan::<L3>(frame, packet, flow, now, verdict, l4, ip, udp_checksum)
}

/// An IPv6 header up to its addresses, without a flow label.
#[inline(always)]
fn ipv6_words(class: u8, length: u16, hops: u8) -> [u32; 3] {
    let [high, low] = length.to_be_bytes();
    [
        u32::from_ne_bytes([IPV6_VERSION | class >> 4, class << 4, 0, 0]),
        u32::from_ne_bytes([high, low, PROTOCOL_UDP, hops]),
        0,
    ]
}

/// Reads what is left to read.
#[inline(always)]
fn plan<const L3: usize>(
    frame: Frame,
    packet: Admitted,
    flow: *mut Flow,
    now: u64,
    verdict: u32,
    before: usize,
    ip: [u32; 3],
    udp_checksum: u16,
) -> Outcome {
    let live = packet.live;
    let mut priorities = [0; 2];
    if L3 >= ONE_TAG {
        // SAFETY: the first tag is there.
        let tag: u16 = unsafe { frame.read(ETHERNET_LEN) };
        priorities = [tag & PRIORITY; 2];
    }
    if L3 >= TWO_TAGS {
        // SAFETY: both tags are there.
        let tag: u16 = unsafe { frame.read(ONE_TAG) };
        priorities[1] = tag & PRIORITY;
    }
    let mut plan = Plan {
        flow,
        now,
        verdict,
        before,
        headers: Headers::read(live),
        priorities,
        ip,
        source: [field!(live, source[0]), field!(live, source[1])],
        destination: [field!(live, destination[0]), field!(live, destination[1])],
        udp_checksum,
        renumbered: None,
        packet,
    };
    if !live.is_unchanged() {
        return Err(Counter::PassBusy);
    }
    plan.renumbered = numbers(frame, before, &plan.packet, flow, now)?;
    if let Some(header) = plan.renumbered
        && udp_checksum != 0
    {
        plan.udp_checksum = checksum::apply_udp(udp_checksum, header.delta);
    }
    Ok(Sent::Moved(plan))
}

/// Moves the start of the frame, writes the headers and counts.
#[inline(always)]
pub(crate) fn send(context: &XdpContext, plan: &Plan) -> Result<(u32, Counter), Counter> {
    tap::copy(
        context,
        Frame::new(context),
        plan.before,
        &plan.packet,
        plan.flow,
        plan.now,
    );
    match (
        plan.packet.live.flags & flags::OUT_IPV6 != 0,
        plan.packet.live.tags,
    ) {
        (false, 0) => ipv4::<ETHERNET_LEN>(context, plan),
        (false, 1) => ipv4::<ONE_TAG>(context, plan),
        (false, _) => ipv4::<TWO_TAGS>(context, plan),
        (true, 0) => ipv6::<ETHERNET_LEN>(context, plan),
        (true, 1) => ipv6::<ONE_TAG>(context, plan),
        (true, _) => ipv6::<TWO_TAGS>(context, plan),
    }?;
    record(plan.flow, plan.now, &plan.packet);
    Ok((plan.verdict, sent(plan.verdict, plan.packet.rtcp)))
}

#[inline(always)]
fn ipv4<const L3: usize>(context: &XdpContext, plan: &Plan) -> Result<(), Counter> {
    let frame = moved(context, plan.before, L3 + IPV4_LEN)?;
    // SAFETY: `moved` has checked that there is room up to the end of the UDP header.
    unsafe {
        link::<L3>(frame, plan, L3 + IPV4_LEN, ETHERTYPE_IPV4);
        frame.write(L3, plan.ip[0]);
        frame.write(L3 + 4, plan.ip[1]);
        frame.write(L3 + 8, plan.ip[2]);
        frame.write(L3 + 12, plan.source[0] as u32);
        frame.write(L3 + 16, plan.destination[0] as u32);
    }
    Ok(())
}

#[inline(always)]
fn ipv6<const L3: usize>(context: &XdpContext, plan: &Plan) -> Result<(), Counter> {
    let frame = moved(context, plan.before, L3 + IPV6_LEN)?;
    // SAFETY: `moved` has checked that there is room up to the end of the UDP header.
    unsafe {
        link::<L3>(frame, plan, L3 + IPV6_LEN, ETHERTYPE_IPV6);
        frame.write(L3, plan.ip[0]);
        frame.write(L3 + 4, plan.ip[1]);
        frame.write(L3 + 8, plan.source[0]);
        frame.write(L3 + 16, plan.source[1]);
        frame.write(L3 + 24, plan.destination[0]);
        frame.write(L3 + 32, plan.destination[1]);
    }
    Ok(())
}

/// Writes the Ethernet header, the tags and the changes to the UDP header at `l4`.
///
/// # Safety
/// The frame has all these headers.
#[inline(always)]
unsafe fn link<const L3: usize>(frame: Frame, plan: &Plan, l4: usize, ethertype: u16) {
    let [outer, inner] = plan.headers.tags;
    // SAFETY: by the caller's word.
    unsafe {
        frame.write(0, plan.headers.macs[0]);
        frame.write(4, plan.headers.macs[1]);
        frame.write(8, plan.headers.macs[2]);
        if L3 >= ONE_TAG {
            frame.write(ETHERNET_LEN - 2, outer[0]);
            frame.write(ETHERNET_LEN, outer[1] | plan.priorities[0]);
        }
        if L3 >= TWO_TAGS {
            frame.write(ONE_TAG - 2, inner[0]);
            frame.write(ONE_TAG, inner[1] | plan.priorities[1]);
        }
        frame.write(L3 - 2, ethertype.to_be());
        frame.write(l4, plan.headers.ports);
        frame.write(l4 + 6, plan.udp_checksum);
        if let Some(header) = plan.renumbered
            && frame.has(l4 + UDP_LEN + RTP_LEN)
        {
            header.write(frame, l4);
        }
    }
}

/// The frame with its start moved, so that `before` octets in front of the UDP header become `after`.
#[inline(always)]
fn moved(context: &XdpContext, before: usize, after: usize) -> Result<Frame, Counter> {
    let by = before as i32 - after as i32;
    // SAFETY: the context is the program's own. All pointers into the frame are void after this, and
    // none is used again.
    if unsafe { bpf_xdp_adjust_head(context.ctx, by) } != 0 {
        return Err(Counter::PassHeadroom);
    }
    let frame = Frame::new(context);
    if !frame.has(after + UDP_LEN) {
        // It had these octets and more before: only the verifier does not know.
        // SAFETY: as above.
        unsafe { bpf_xdp_adjust_head(context.ctx, -by) };
        return Err(Counter::PassTruncated);
    }
    Ok(frame)
}
