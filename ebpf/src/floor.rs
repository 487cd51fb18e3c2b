//! The floor that the media program is measured against: the least that a relay can do.
//!
//! It looks at one header of each layer, swaps the addresses and ports, which leaves the checksums
//! right, and sends the frame back. It keeps no state and is not part of mediad.

#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "packets are raw memory; the verifier checks every access"
)]

use aya_ebpf::{
    bindings::xdp_action::{XDP_PASS, XDP_TX},
    macros::xdp,
    programs::XdpContext,
};
use ebpf::packet::Frame;
use ebpf_abi::wire::{ETHERNET_LEN, ETHERTYPE_IPV4, IPV4_LEN, PROTOCOL_UDP, UDP_LEN};

const L4: usize = ETHERNET_LEN + IPV4_LEN;

/// Swaps MAC addresses, IPv4 addresses and UDP ports, and sends back.
#[xdp]
fn tandem_floor(context: XdpContext) -> u32 {
    let frame = Frame::new(&context);
    if !frame.has(L4 + UDP_LEN) {
        return XDP_PASS;
    }
    // SAFETY: all headers are there.
    unsafe {
        let is_udp = frame.read_be16(ETHERNET_LEN - 2) == ETHERTYPE_IPV4
            && frame.read::<u8>(ETHERNET_LEN) == 0x45
            && frame.read::<u8>(ETHERNET_LEN + 9) == PROTOCOL_UDP;
        if !is_udp {
            return XDP_PASS;
        }
        let (to, from): ([u16; 3], [u16; 3]) = (frame.read(0), frame.read(6));
        frame.write(0, from);
        frame.write(6, to);
        let (from, to): (u32, u32) = (frame.read(ETHERNET_LEN + 12), frame.read(ETHERNET_LEN + 16));
        frame.write(ETHERNET_LEN + 12, to);
        frame.write(ETHERNET_LEN + 16, from);
        let (from, to): (u16, u16) = (frame.read(L4), frame.read(L4 + 2));
        frame.write(L4, to);
        frame.write(L4 + 2, from);
    }
    XDP_TX
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop, so a program that could panic does not load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
