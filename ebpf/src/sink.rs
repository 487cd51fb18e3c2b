//! The far end of a bench: counts how long the packets of its generator took, and drops them.
//!
//! On a veth the kernel receives a packet for a party in the relay's time. What a socket of the party costs would
//! count as the relay's, and what reading it costs keeps the generator from sending. It is not part of mediad.

#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "packets are raw memory; the verifier checks every access"
)]

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::bpf_ktime_get_ns,
    macros::{map, xdp},
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};
use ebpf::packet::Frame;
use ebpf_abi::{
    sink::{LATENCIES as LATENCIES_LEN, NANOSECONDS, PAYLOAD_LEN, RUN_AT, STAMP_AT},
    wire::{ETHERNET_LEN, ETHERTYPE_IPV4, IPV4_LEN, PROTOCOL_UDP, UDP_LEN},
};

const PAYLOAD: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

/// The number of the run whose packets are counted.
#[map]
static RUN: Array<u32> = Array::with_max_entries(1, 0);

/// How many packets took how many steps of time; the last are those that took longer.
#[map]
static LATENCIES: PerCpuArray<u64> = PerCpuArray::with_max_entries(LATENCIES_LEN, 0);

/// Drops UDP of the generator's length, and passes the rest.
#[xdp]
fn tandem_sink(context: XdpContext) -> u32 {
    let frame = Frame::new(&context);
    if !frame.has(PAYLOAD + PAYLOAD_LEN) || frame.len() != PAYLOAD + PAYLOAD_LEN {
        return XDP_PASS;
    }
    // SAFETY: all of the packet is there.
    let (is_udp, stamp, number) = unsafe {
        let is_udp = frame.read_be16(ETHERNET_LEN - 2) == ETHERTYPE_IPV4
            && frame.read::<u8>(ETHERNET_LEN) == 0x45
            && frame.read::<u8>(ETHERNET_LEN + 9) == PROTOCOL_UDP;
        let stamp = u64::from_be(frame.read(PAYLOAD + STAMP_AT));
        (is_udp, stamp, frame.read::<u8>(PAYLOAD + RUN_AT))
    };
    if !is_udp {
        return XDP_PASS;
    }
    if RUN.get(0).is_some_and(|run| *run == u32::from(number)) {
        // SAFETY: this helper has no conditions.
        let took = unsafe { bpf_ktime_get_ns() }.saturating_sub(stamp) / NANOSECONDS;
        let last = LATENCIES_LEN - 1;
        let at = if took < last as u64 {
            took as u32
        } else {
            last
        };
        if let Some(count) = LATENCIES.get_ptr_mut(at) {
            // SAFETY: this core's own value, and nothing else runs on it meanwhile.
            unsafe { *count += 1 };
        }
    }
    XDP_DROP
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop, so a program that could panic does not load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
