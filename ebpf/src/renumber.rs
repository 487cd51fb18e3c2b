//! The RTP header of packets that leave with numbers of this node's own.
//!
//! It costs a slot that asks for nothing of the kind one look at its flags.

use ebpf::packet::Frame;
use ebpf_abi::{
    Counter, Numbers, Rtp, checksum, flags,
    wire::{RTP_LEN, UDP_LEN},
};

use crate::{
    gate::Admitted,
    maps::{NUMBERS, SLOTS},
};

/// An RTP header as it leaves, and what that does to the UDP checksum. To be written once nothing can fail.
#[derive(Clone, Copy)]
pub(crate) struct Renumbered {
    /// Its first three words, in memory order.
    words: [u32; 3],
    pub(crate) delta: u16,
}

/// The header of a packet with its UDP header at `l4`; `None` where it stays as it is.
///
/// A packet that comes here twice, as one does that cannot be sent and goes to userspace, gets the same numbers twice.
#[inline(always)]
pub(crate) fn renumber(
    frame: Frame,
    l4: usize,
    packet: &Admitted,
    now: u64,
) -> Result<Option<Renumbered>, Counter> {
    if packet.live.flags & flags::RENUMBER == 0 || packet.rtcp {
        return Ok(None);
    }
    let at = l4 + UDP_LEN;
    if !frame.has(at + RTP_LEN) {
        return Err(Counter::PassNotRtp);
    }
    // SAFETY: the RTP header is there.
    let old: [u32; 3] = unsafe { [frame.read(at), frame.read(at + 4), frame.read(at + 8)] };
    let [first, second, ..] = old[0].to_ne_bytes();
    let Rtp {
        sequence,
        timestamp,
        ssrc,
    } = packet.rtp;
    let what = u64::from(packet.port) | u64::from(second) << 16 | u64::from(sequence) << 32;
    let new = apply(what, u64::from(timestamp), u64::from(ssrc), now);
    if new & SENT == 0 {
        return Err(Counter::DropStale);
    }
    let [high, low] = ((new >> 16) as u16).to_be_bytes();
    let words = [
        u32::from_ne_bytes([first, (new >> 8) as u8, high, low]),
        ((new >> 32) as u32).to_be(),
        own_ssrc(packet.port, old[2]),
    ];
    let sum = checksum::replace_word(old[0], words[0])
        + checksum::replace_word(old[1], words[1])
        + checksum::replace_word(old[2], words[2]);
    let delta = checksum::fold(sum);
    Ok(Some(Renumbered { words, delta }))
}

impl Renumbered {
    /// Writes the header of a frame whose UDP header is at `l4`.
    ///
    /// # Safety
    /// The frame has the RTP header.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, frame: Frame, l4: usize) {
        let at = l4 + UDP_LEN;
        // SAFETY: by the caller's word.
        unsafe {
            frame.write(at, self.words[0]);
            frame.write(at + 4, self.words[1]);
            frame.write(at + 8, self.words[2]);
        }
    }
}

/// The packet goes on.
const SENT: u64 = 1;

/// Timestamp (32 bits), sequence number (16), marker and payload type (8), and [`SENT`]; 0 for a packet that goes nowhere.
/// A function of its own, so that the places that ask do not each hold a copy; so its arguments are few, and scalars.
#[inline(never)]
fn apply(what: u64, timestamp: u64, ssrc: u64, now: u64) -> u64 {
    let (port, octet) = (what as u16, (what >> 16) as u8);
    let rtp = Rtp {
        sequence: (what >> 32) as u16,
        timestamp: timestamp as u32,
        ssrc: ssrc as u32,
    };
    let Some((numbers, slot)) = NUMBERS
        .get_ptr_mut(u32::from(port))
        .zip(SLOTS.get_ptr(u32::from(port)))
    else {
        return 0;
    };
    // SAFETY: map values, never freed while the program runs. The slot is read as volatile, because another CPU may write
    // it. Packets of one flow arrive on one queue, so no other CPU writes its numbers; what follows where one does, which
    // is no more than wrong numbers of a packet or two, is told at `Numbers`.
    let (numbers, tick) = unsafe {
        (
            &mut *numbers,
            core::ptr::read_volatile(&raw const (*slot).tick),
        )
    };
    let Some(sent) = numbers.renumber(rtp, now, tick) else {
        return 0;
    };
    u64::from(sent.timestamp) << 32
        | u64::from(sent.sequence) << 16
        | u64::from(numbers.payload_type(octet)) << 8
        | SENT
}

/// The SSRC that packets to a port leave with, where they come with `own`; both in network order.
#[inline(always)]
fn own_ssrc(port: u16, own: u32) -> u32 {
    let numbers: Option<&Numbers> = NUMBERS.get(u32::from(port));
    match numbers {
        Some(numbers) if numbers.is_one_stream() => numbers.ssrc.to_be(),
        _ => own,
    }
}
