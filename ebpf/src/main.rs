//! Tandem's XDP program: forwards the RTP and RTCP of established calls, drops what banned sources
//! send to the SIP ports, and passes the rest.
//!
//! The rule that everything follows: on any doubt the *original* packet goes to userspace. So a
//! frame is only read until the last question is answered, and then written in one go.

#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "packets and map values are raw memory; the verifier checks it all"
)]

mod gate;
mod guard;
mod maps;
mod parse;
mod renumber;
mod reshape;
mod rewrite;
mod tap;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use ebpf_abi::{Counter, CounterKind};

/// The media program.
#[xdp]
#[inline(always)]
fn tandem_xdp(context: XdpContext) -> u32 {
    let outcome = match parse::frame(&context) {
        Ok(Sent::AsItIs(verdict, counter)) => Ok((verdict, counter)),
        Ok(Sent::Moved(plan)) => reshape::send(&context, &plan),
        Err(counter) => Err(counter),
    };
    let (verdict, counter) = match outcome {
        Ok(sent) => sent,
        Err(counter) => match counter.kind() {
            CounterKind::Dropped => (XDP_DROP, counter),
            _ => (XDP_PASS, counter),
        },
    };
    maps::count(counter);
    verdict
}

/// Passes everything; see [`ebpf_abi::program::PASS`].
#[xdp]
fn tandem_pass(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// What was decided about a packet that is sent on.
enum Sent {
    /// It is written, in its place; the verdict, and what to count.
    AsItIs(u32, Counter),
    /// The frame's start has to move first.
    Moved(reshape::Plan),
}

/// What becomes of a packet; or the reason to leave it as it is.
type Outcome = Result<Sent, Counter>;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop, so a program that could panic does not load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
