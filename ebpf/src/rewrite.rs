//! The last step: everything is known, so the frame is written and sent.
//!
//! Order matters. What can still fail (the device, the slot's generation) is asked first; the
//! writes come after it, together.

use aya_ebpf::{
    bindings::xdp_action::{XDP_PASS, XDP_REDIRECT, XDP_TX},
    programs::XdpContext,
};
use ebpf::packet::Frame;
use ebpf_abi::{
    Address, Counter, Flow, checksum, flags,
    wire::{ETHERNET_LEN, IPV4_LEN, IPV4_VERSION, IPV6_LEN, IPV6_VERSION, TAG_LEN},
};

use crate::{
    Outcome, Sent,
    gate::{Admitted, Live, field},
    maps::{self, DEVICES, FLOWS},
    renumber::{Renumbered, renumber},
    reshape, tap,
};

/// The priority and drop-eligible bits of a VLAN tag.
pub(crate) const PRIORITY: u16 = u16::from_be(0xf000);

/// Rewrites and sends RTP or RTCP over IPv4, its header at `L3`.
#[inline(always)]
pub(crate) fn ipv4<const L3: usize>(
    context: &XdpContext,
    frame: Frame,
    packet: Admitted,
) -> Outcome {
    let l4 = L3 + IPV4_LEN;
    let live = packet.live;
    let (flow, now) = take(&packet)?;
    let verdict = egress(context, live)?;
    if !live.keeps_shape::<L3>(false) {
        return reshape::from_ipv4::<L3>(frame, packet, flow, now, verdict);
    }
    let source = field!(live, source[0]) as u32;
    let destination = field!(live, destination[0]) as u32;
    let ip_delta = field!(live, ip_delta);
    let udp_delta = field!(live, udp_delta);
    let headers = Headers::read(live);
    if !live.is_unchanged() {
        return Err(Counter::PassBusy);
    }
    tap::copy(context, frame, l4, &packet, flow, now);
    let renumbered = numbers(frame, l4, &packet, flow, now)?;
    let udp_delta = with_numbers(udp_delta, renumbered);

    // SAFETY: the Ethernet, IP and UDP headers are there, as `parse` has checked.
    unsafe {
        let ttl: u8 = frame.read(L3 + 8);
        let ip_checksum: u16 = frame.read(L3 + 10);
        let udp_checksum: u16 = frame.read(l4 + 6);
        let mut ip_delta = ip_delta;
        if live.flags & flags::TOS != 0 {
            let old: u16 = frame.read(L3);
            let new = u16::from_ne_bytes([IPV4_VERSION, live.tos(0)]);
            ip_delta = checksum::combine(ip_delta, checksum::replace(old, new));
            frame.write(L3, new);
        }
        frame.write(L3 + 8, ttl - 1);
        frame.write(L3 + 10, checksum::apply(ip_checksum, ip_delta));
        // Zero says that the sender computed none (RFC 768), and stays.
        if udp_checksum != 0 {
            frame.write(l4 + 6, checksum::apply_udp(udp_checksum, udp_delta));
        }
        frame.write(L3 + 12, source);
        frame.write(L3 + 16, destination);
        headers.write::<L3>(frame, l4);
        if let Some(header) = renumbered {
            header.write(frame, l4);
        }
    }
    record(flow, now, &packet);
    Ok(Sent::AsItIs(verdict, sent(verdict, packet.rtcp)))
}

/// Rewrites and sends RTP or RTCP over IPv6, its header at `L3`.
#[inline(always)]
pub(crate) fn ipv6<const L3: usize>(
    context: &XdpContext,
    frame: Frame,
    packet: Admitted,
) -> Outcome {
    let l4 = L3 + IPV6_LEN;
    let live = packet.live;
    // SAFETY: the UDP header is there, as `parse` has checked.
    let udp_checksum: u16 = unsafe { frame.read(l4 + 6) };
    if udp_checksum == 0 {
        return Err(Counter::PassChecksum);
    }
    let (flow, now) = take(&packet)?;
    let verdict = egress(context, live)?;
    if !live.keeps_shape::<L3>(true) {
        return reshape::from_ipv6::<L3>(frame, packet, flow, now, verdict, udp_checksum);
    }
    let source: Address = [field!(live, source[0]), field!(live, source[1])];
    let destination: Address = [field!(live, destination[0]), field!(live, destination[1])];
    let udp_delta = field!(live, udp_delta);
    let headers = Headers::read(live);
    if !live.is_unchanged() {
        return Err(Counter::PassBusy);
    }
    tap::copy(context, frame, l4, &packet, flow, now);
    let renumbered = numbers(frame, l4, &packet, flow, now)?;
    let udp_delta = with_numbers(udp_delta, renumbered);

    // SAFETY: the Ethernet, IP and UDP headers are there, as `parse` has checked.
    unsafe {
        if live.flags & flags::TOS != 0 {
            let tos = live.tos(0);
            let label: u8 = frame.read(L3 + 1);
            frame.write(L3, IPV6_VERSION | tos >> 4);
            frame.write(L3 + 1, tos << 4 | label & 0xf);
        }
        let hops: u8 = frame.read(L3 + 7);
        frame.write(L3 + 7, hops - 1);
        frame.write(l4 + 6, checksum::apply_udp(udp_checksum, udp_delta));
        frame.write(L3 + 8, source[0]);
        frame.write(L3 + 16, source[1]);
        frame.write(L3 + 24, destination[0]);
        frame.write(L3 + 32, destination[1]);
        headers.write::<L3>(frame, l4);
        if let Some(header) = renumbered {
            header.write(frame, l4);
        }
    }
    record(flow, now, &packet);
    Ok(Sent::AsItIs(verdict, sent(verdict, packet.rtcp)))
}

/// What both families rewrite alike, in memory order.
pub(crate) struct Headers {
    pub(crate) macs: [u32; 3],
    pub(crate) tags: [[u16; 2]; 2],
    pub(crate) ports: u32,
}

impl Headers {
    #[inline(always)]
    pub(crate) fn read(live: Live) -> Self {
        Self {
            macs: [
                field!(live, macs[0]),
                field!(live, macs[1]),
                field!(live, macs[2]),
            ],
            tags: [
                [field!(live, vlans[0][0]), field!(live, vlans[0][1])],
                [field!(live, vlans[1][0]), field!(live, vlans[1][1])],
            ],
            ports: field!(live, ports),
        }
    }

    /// Writes them to a frame whose IP header starts at `L3` and whose UDP header at `l4`.
    ///
    /// # Safety
    /// The frame has all these headers.
    #[inline(always)]
    unsafe fn write<const L3: usize>(&self, frame: Frame, l4: usize) {
        // SAFETY: by the caller's word.
        unsafe {
            frame.write(0, self.macs[0]);
            frame.write(4, self.macs[1]);
            frame.write(8, self.macs[2]);
            if L3 >= ETHERNET_LEN + TAG_LEN {
                write_tag(frame, ETHERNET_LEN - 2, self.tags[0]);
            }
            if L3 >= ETHERNET_LEN + 2 * TAG_LEN {
                write_tag(frame, ETHERNET_LEN - 2 + TAG_LEN, self.tags[1]);
            }
            frame.write(l4, self.ports);
        }
    }
}

/// Writes TPID and VLAN id, and leaves the packet its priority.
///
/// # Safety
/// The frame has a tag at `at`.
#[inline(always)]
unsafe fn write_tag(frame: Frame, at: usize, [tpid, id]: [u16; 2]) {
    // SAFETY: by the caller's word.
    unsafe {
        let old: u16 = frame.read(at + 2);
        frame.write(at, tpid);
        frame.write(at + 2, (old & PRIORITY) | id);
    }
}

/// The flow of the packet's port, if the packet is within the slot's cap, and the time.
#[inline(always)]
fn take(packet: &Admitted) -> Result<(*mut Flow, u64), Counter> {
    let flow = FLOWS
        .get_ptr_mut(u32::from(packet.port))
        .ok_or(Counter::PassNoSlot)?;
    let now = maps::now();
    // SAFETY: as in `record`.
    if !unsafe { &mut *flow }.admits(now, field!(packet.live, spacing)) {
        return Err(Counter::DropRate);
    }
    Ok((flow, now))
}

/// The packet's RTP header, where it leaves with another; one that is too late is counted as received.
#[inline(always)]
pub(crate) fn numbers(
    frame: Frame,
    l4: usize,
    packet: &Admitted,
    flow: *mut Flow,
    now: u64,
) -> Result<Option<Renumbered>, Counter> {
    let renumbered = renumber(frame, l4, packet, now);
    if matches!(renumbered, Err(Counter::DropStale)) {
        record(flow, now, packet);
    }
    renumbered
}

/// The change of the UDP checksum, with that of the RTP header.
#[inline(always)]
fn with_numbers(delta: u16, renumbered: Option<Renumbered>) -> u16 {
    match renumbered {
        Some(header) => checksum::combine(delta, header.delta),
        None => delta,
    }
}

/// The verdict that sends out of the slot's interface.
#[inline(always)]
fn egress(context: &XdpContext, live: Live) -> Result<u32, Counter> {
    let ifindex = field!(live, ifindex);
    if ifindex == context.ingress_ifindex() as u32 {
        return Ok(XDP_TX);
    }
    // This only notes the device; nothing happens to the frame unless the verdict says so.
    DEVICES
        .redirect(ifindex, u64::from(XDP_PASS))
        .map_err(|_| Counter::PassDevice)
}

/// Counts the packet into the flow of its port.
#[inline(always)]
pub(crate) fn record(flow: *mut Flow, now: u64, packet: &Admitted) {
    // SAFETY: a map value, never freed while the program runs. Packets of one flow arrive on one
    // queue, so no other CPU writes it; readers in userspace allow for a half-counted packet.
    let flow = unsafe { &mut *flow };
    if packet.live.is_rtcp_port() {
        flow.record_other(packet.octets, now);
        return;
    }
    // RTCP on RTP's port has no sequence number and belongs to no stream.
    if packet.rtcp {
        return;
    }
    if !maps::measures() {
        flow.record_other(packet.octets, now);
        return;
    }
    if flow.is_ended_by(packet.rtp.ssrc) && flow.admits_telling(now) {
        tap::tell_source(packet.port);
    }
    flow.record_rtp(packet.rtp, packet.octets, now, field!(packet.live, tick));
}

#[inline(always)]
pub(crate) fn sent(verdict: u32, rtcp: bool) -> Counter {
    match (verdict == XDP_REDIRECT, rtcp) {
        (false, false) => Counter::RtpTx,
        (true, false) => Counter::RtpRedirect,
        (false, true) => Counter::RtcpTx,
        (true, true) => Counter::RtcpRedirect,
    }
}
