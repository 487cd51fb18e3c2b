//! Copies of what is sent on, for recordings and round-trip times: the frame as it came, in a ring that mediad reads.
//!
//! A ring without room costs the copy, which is counted, and never the packet.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_ktime_get_ns, bpf_xdp_load_bytes},
    macros::map,
    maps::RingBuf,
    programs::XdpContext,
};
use ebpf::packet::Frame;
use ebpf_abi::{Counter, Flow, LARGE, MEDIUM, SMALL, TAP_BYTES, TapHead, flags, tap_flags};

use crate::{gate::Admitted, maps};

#[map]
static TAP: RingBuf = RingBuf::with_byte_size(TAP_BYTES, 0);

/// See [`ebpf_abi::global::TAPPING`]. mediad sets it before the program is verified, so that a kernel without the
/// helper never sees the call.
#[unsafe(no_mangle)]
static TAPPING: u8 = 1;

/// An entry of the ring.
#[repr(C)]
struct Entry<const LEN: usize> {
    head: TapHead,
    frame: [u8; LEN],
}

/// Copies a frame with its UDP header at `l4` that is about to be written and sent, if somebody wants it. Of RTCP, which is
/// always wanted, no more than `flow` allows: a flood to one port would leave the others' recordings no room.
#[inline(always)]
pub(crate) fn copy(
    context: &XdpContext,
    frame: Frame,
    l4: usize,
    packet: &Admitted,
    flow: *mut Flow,
    now: u64,
) {
    // SAFETY: as in `rewrite::record`.
    let is_wanted = match packet.rtcp {
        true => unsafe { &mut *flow }.admits_copy(now),
        false => packet.live.flags & flags::TAP != 0,
    };
    if !is_wanted {
        return;
    }
    let payload = l4 + ebpf_abi::wire::UDP_LEN;
    let flags = if packet.rtcp { tap_flags::RTCP } else { 0 };
    let what = u64::from(packet.port) | (payload as u64) << 16 | u64::from(flags) << 32;
    if store(context.ctx, what, frame.len() as u64) == 0 {
        maps::count(Counter::TapFull);
    }
}

/// What a source of a port has sent until its end: a [`Flow`], as words, for an entry is aligned to 8 octets alone.
#[repr(C)]
struct Ended {
    head: TapHead,
    flow: [u64; size_of::<Flow>() / 8],
}

/// Tells what `port` had received when another source took the place of the one before. Who reads it finds out by the
/// numbers where there was no room.
#[inline(never)]
pub(crate) fn tell_source(port: u16) {
    // SAFETY: as in `store`.
    if unsafe { core::ptr::read_volatile(&raw const TAPPING) } == 0 {
        return;
    }
    let Some(flow) = maps::FLOWS.get_ptr(u32::from(port)) else {
        return;
    };
    let Some(mut entry) = TAP.reserve::<Ended>(0) else {
        return;
    };
    let head = TapHead {
        // SAFETY: a helper without arguments.
        arrival: unsafe { bpf_ktime_get_ns() },
        port,
        payload: 0,
        len: size_of::<Flow>() as u16,
        flags: tap_flags::SOURCE,
    };
    // SAFETY: the entry is as long as its type, and nobody else has it before it is submitted; the flow is a map value,
    // which only this packet's CPU writes now.
    unsafe {
        let place = entry.as_mut_ptr();
        (&raw mut (*place).head).write(head);
        (&raw mut (*place).flow).write(flow.cast::<[u64; size_of::<Flow>() / 8]>().read());
    }
    entry.submit(0);
}

/// 0 where there was room needed and none left. A function of its own, so that the places that ask do not each hold a copy.
#[inline(never)]
fn store(context: *mut xdp_md, what: u64, len: u64) -> u64 {
    // Here, and not where it is called: kernels that lack the helper verify each function by itself.
    // SAFETY: a constant of the program; volatile, because it may be another one than the compiler knows.
    if unsafe { core::ptr::read_volatile(&raw const TAPPING) } == 0 {
        return 1;
    }
    let head = TapHead {
        // SAFETY: a helper without arguments.
        arrival: unsafe { bpf_ktime_get_ns() },
        port: what as u16,
        payload: (what >> 16) as u16,
        len: len as u16,
        flags: (what >> 32) as u16,
    };
    let stored = if len <= SMALL as u64 {
        put::<SMALL>(context, head, len)
    } else if len <= MEDIUM as u64 {
        put::<MEDIUM>(context, head, len)
    } else {
        put::<LARGE>(context, head, len)
    };
    u64::from(stored)
}

#[inline(always)]
fn put<const LEN: usize>(context: *mut xdp_md, head: TapHead, len: u64) -> bool {
    let Some(mut entry) = TAP.reserve::<Entry<LEN>>(0) else {
        return false;
    };
    let place = entry.as_mut_ptr();
    let len = if len > LEN as u64 { LEN as u64 } else { len };
    // SAFETY: the entry is as long as its type, and nobody else has it before it is submitted. The helper writes `len`
    // octets, which is at most what the array has, and leaves the frame as it is.
    let copied = unsafe {
        (&raw mut (*place).head).write(head);
        len != 0
            && bpf_xdp_load_bytes(context, 0, (&raw mut (*place).frame).cast(), len as u32) == 0
    };
    if copied {
        entry.submit(0);
    } else {
        entry.discard(0);
    }
    copied
}
