//! The numbers that RTP leaves with, where they are this node's own: one SSRC towards a party whoever speaks to it, and
//! the payload types that it has asked for.
//!
//! The program and mediad take each packet through the same function, over the same memory, so that a stream goes on as it
//! was when its packets change from one path to the other, and when mediad is restarted.
//!
//! A stream has one writer at a time, as a flow has. Where the card moves a flow to another queue while its source changes,
//! two CPUs may begin with the new source at once: the later one's offsets stay, and a packet or two has those of the other.

use crate::{MAX_DROPOUT, MAX_MISORDER, Rtp};

/// Payload types that are changed at most.
pub const MAX_TYPES: usize = 6;

/// Who was heard before is not heard again before the present source has been silent for so long, in ns: the packets of two
/// that send at once would be one stream of noise.
const SUCCESSION: u64 = 200_000_000;
/// How far (in units of the clock) a timestamp is before the latest one at most, as of the packets of a key, which have
/// that of its beginning; and how far it is beyond what has passed.
const MAX_BACK: u32 = 1 << 17;
const MAX_LEAP: u32 = 1 << 20;
/// A time (ns) beyond which the clock of a stream stands still.
const MAX_PAUSE: u64 = 1 << 50;
/// No payload type.
const NONE: u8 = 0xff;

/// The bits of [`Numbers::flags`].
pub mod numbers_flags {
    /// SSRC, sequence number and timestamp are this node's own.
    pub const ONE_STREAM: u16 = 1 << 0;
    /// Some payload types are changed.
    pub const TYPES: u16 = 1 << 1;
    /// A packet was sent: there is a source.
    pub const BEGUN: u16 = 1 << 2;
    /// There was another one before it.
    pub const SUCCEEDED: u16 = 1 << 3;
    /// The present source is this node itself, which is heard alone, and silent where another one is heard.
    pub const YIELDS: u16 = 1 << 4;
    /// Whoever is heard next begins anew, the present source too.
    pub const PAUSED: u16 = 1 << 5;
}

/// What becomes of the RTP that comes to one port, one cache line. All zeros leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Numbers {
    /// When the clock was at `timestamp`: CLOCK_MONOTONIC, ns.
    pub at: u64,
    /// The SSRC that packets leave with.
    pub ssrc: u32,
    /// The SSRC of the present source, as it comes.
    pub source: u32,
    /// The highest sequence number sent, extended to 32 bits; before the first packet, that which it will have.
    pub sequence: u32,
    /// What is added to the source's numbers.
    pub sequence_offset: u32,
    /// The latest timestamp sent, or, while those sent stand still, what would be; before the first packet, that which it
    /// will have.
    pub timestamp: u32,
    /// What is added to the source's timestamps.
    pub timestamp_offset: u32,
    /// The first number of the present source, as sent, extended.
    pub first: u32,
    /// The source before it.
    pub before: u32,
    /// What was added to that one's numbers.
    pub before_sequence_offset: u32,
    /// And to its timestamps.
    pub before_timestamp_offset: u32,
    /// The time of a packet, in units of the clock.
    pub step: u16,
    /// See [`numbers_flags`].
    pub flags: u16,
    /// Payload types as they come, and as they leave.
    pub types: [[u8; 2]; MAX_TYPES],
}

const _: () = assert!(size_of::<Numbers>() == 64 && align_of::<Numbers>() == 64);

impl Default for Numbers {
    fn default() -> Self {
        Self {
            at: 0,
            ssrc: 0,
            source: 0,
            sequence: 0,
            sequence_offset: 0,
            timestamp: 0,
            timestamp_offset: 0,
            first: 0,
            before: 0,
            before_sequence_offset: 0,
            before_timestamp_offset: 0,
            step: 0,
            flags: 0,
            types: [[NONE; 2]; MAX_TYPES],
        }
    }
}

impl Numbers {
    /// Begins a stream of this node's own, whose first packet has these numbers. The sequence number is below 2^15, so that
    /// the receiver's count of its wraps is this one's.
    pub const fn begin_stream(&mut self, ssrc: u32, sequence: u16, timestamp: u32) {
        let types = self.flags & numbers_flags::TYPES;
        self.flags = types | numbers_flags::ONE_STREAM;
        self.ssrc = ssrc;
        self.sequence = (sequence & 0x7fff) as u32;
        self.timestamp = timestamp;
        self.step = 0;
    }

    /// Packets leave with their own SSRC and numbers again.
    pub const fn end_stream(&mut self) {
        self.flags &= numbers_flags::TYPES;
    }

    /// Says which payload types are changed, and to what: the first [`MAX_TYPES`] that are.
    pub fn set_types(&mut self, types: impl IntoIterator<Item = [u8; 2]>) {
        self.types = [[NONE; 2]; MAX_TYPES];
        self.flags &= !numbers_flags::TYPES;
        let types = types.into_iter().filter(|[from, to]| from != to);
        for (place, [from, to]) in self.types.iter_mut().zip(types) {
            *place = [from & 0x7f, to & 0x7f];
            self.flags |= numbers_flags::TYPES;
        }
    }

    /// Whether anything is changed.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.flags & (numbers_flags::ONE_STREAM | numbers_flags::TYPES) != 0
    }

    /// Whether SSRC, sequence number and timestamp are.
    #[must_use]
    pub const fn is_one_stream(&self) -> bool {
        self.flags & numbers_flags::ONE_STREAM != 0
    }

    /// The second octet of an RTP header (marker and payload type) as it leaves.
    #[inline(always)]
    #[must_use]
    pub const fn payload_type(&self, octet: u8) -> u8 {
        if self.flags & numbers_flags::TYPES == 0 {
            return octet;
        }
        let mut at = 0;
        while at < MAX_TYPES {
            let [from, to] = self.types[at];
            if from == octet & 0x7f {
                return octet & 0x80 | to;
            }
            at += 1;
        }
        octet
    }

    /// The numbers with which a packet leaves that came at `now` (CLOCK_MONOTONIC, ns), on a clock of this unit (see
    /// [`tick`](crate::tick())); `None` where it is not to be sent on: it comes too late from a source that another one has
    /// taken the place of, and its number is taken.
    #[inline(always)]
    #[must_use]
    pub const fn renumber(&mut self, rtp: Rtp, now: u64, tick: u32) -> Option<Rtp> {
        if !self.is_one_stream() {
            return Some(rtp);
        }
        if self.flags & (numbers_flags::BEGUN | numbers_flags::PAUSED) != numbers_flags::BEGUN {
            return Some(self.begin(rtp, now, tick));
        }
        if rtp.ssrc == self.source {
            let sent = self.shift(rtp, self.sequence_offset, self.timestamp_offset);
            let ahead = sent.sequence.wrapping_sub(low(self.sequence));
            let behind = ahead.wrapping_neg();
            if behind <= MAX_MISORDER {
                let number = self.sequence.wrapping_sub(behind as u32);
                let is_taken = self.flags & numbers_flags::SUCCEEDED != 0
                    && number.wrapping_sub(self.first).cast_signed() < 0;
                return if is_taken { None } else { Some(sent) };
            }
            if ahead < MAX_DROPOUT && self.is_plausible(sent.timestamp, now, tick) {
                self.advance(sent, ahead, now, tick);
                return Some(sent);
            }
        } else if self.flags & numbers_flags::SUCCEEDED != 0 && rtp.ssrc == self.before {
            let sent = self.shift(
                rtp,
                self.before_sequence_offset,
                self.before_timestamp_offset,
            );
            let behind = low(self.first).wrapping_sub(sent.sequence);
            if behind >= 1 && behind <= MAX_MISORDER {
                return Some(sent);
            }
            let yields = self.flags & numbers_flags::YIELDS != 0;
            if !yields && now.saturating_sub(self.at) < SUCCESSION {
                return None;
            }
        }
        Some(self.begin(rtp, now, tick))
    }

    /// As [`renumber`](Self::renumber), of a packet of this node's own: it is the source at once, and whoever speaks next is.
    #[must_use]
    pub const fn renumber_own(&mut self, rtp: Rtp, now: u64, tick: u32) -> Option<Rtp> {
        if self.source != rtp.ssrc {
            self.flags &= !numbers_flags::SUCCEEDED;
        }
        let sent = self.renumber(rtp, now, tick);
        if self.is_one_stream() {
            self.flags |= numbers_flags::YIELDS;
        }
        sent
    }

    /// Others have had the present source's next numbers: it begins anew with its next packet.
    pub const fn pause(&mut self) {
        self.flags |= numbers_flags::PAUSED;
    }

    #[inline(always)]
    const fn shift(&self, rtp: Rtp, sequence: u32, timestamp: u32) -> Rtp {
        Rtp {
            sequence: rtp.sequence.wrapping_add(low(sequence)),
            timestamp: rtp.timestamp.wrapping_add(timestamp),
            ssrc: self.ssrc,
        }
    }

    /// Whether a timestamp is of the present source's clock: some begin anew with it alone, as after a re-INVITE.
    #[inline(always)]
    const fn is_plausible(&self, timestamp: u32, now: u64, tick: u32) -> bool {
        let lasts = timestamp.wrapping_sub(self.timestamp);
        if lasts.wrapping_add(MAX_BACK) <= MAX_BACK + MAX_LEAP {
            return true;
        }
        // Nothing was sent for long, or it is another clock.
        let beyond = lasts.wrapping_sub(units(now.saturating_sub(self.at), tick));
        beyond.wrapping_add(MAX_LEAP) <= 2 * MAX_LEAP
    }

    #[inline(always)]
    const fn advance(&mut self, sent: Rtp, ahead: u16, now: u64, tick: u32) {
        self.sequence = self.sequence.wrapping_add(ahead as u32);
        let lasts = sent.timestamp.wrapping_sub(self.timestamp);
        // Packets of one event, or of one picture, have one timestamp: the clock is that of the first. An event may last so
        // long that its source would be taken for a silent one: then the clock goes on by itself.
        if lasts == 0 || lasts.cast_signed() < 0 {
            let pause = now.saturating_sub(self.at);
            if pause >= SUCCESSION / 2 {
                self.timestamp = self.timestamp.wrapping_add(units(pause, tick));
                self.at = now;
            }
            return;
        }
        if ahead == 1 && lasts <= 0xffff {
            self.step = low(lasts);
        }
        self.timestamp = sent.timestamp;
        self.at = now;
    }

    /// Another source, or one whose numbers have jumped: the stream goes on with the next number, and by the clock.
    #[inline(always)]
    const fn begin(&mut self, rtp: Rtp, now: u64, tick: u32) -> Rtp {
        if self.flags & numbers_flags::BEGUN != 0 {
            self.before = self.source;
            self.before_sequence_offset = self.sequence_offset;
            self.before_timestamp_offset = self.timestamp_offset;
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self
                .timestamp
                .wrapping_add(self.passed(now.saturating_sub(self.at), tick));
            self.flags |= numbers_flags::SUCCEEDED;
        }
        self.flags &= !(numbers_flags::YIELDS | numbers_flags::PAUSED);
        self.flags |= numbers_flags::BEGUN;
        self.source = rtp.ssrc;
        self.first = self.sequence;
        self.sequence_offset = self.sequence.wrapping_sub(rtp.sequence as u32);
        self.timestamp_offset = self.timestamp.wrapping_sub(rtp.timestamp);
        self.at = now;
        self.shift(rtp, self.sequence_offset, self.timestamp_offset)
    }

    /// Units of the clock in `pause` nanoseconds; a packet's time at least.
    #[inline(always)]
    const fn passed(&self, pause: u64, tick: u32) -> u32 {
        let step = self.step as u32;
        if tick == 0 || pause > MAX_PAUSE {
            return step;
        }
        let units = units(pause, tick);
        if units < step && pause < 1 << 32 {
            step
        } else {
            units
        }
    }
}

/// Units of a clock in `pause` nanoseconds; 0 where it is not known, or stands still.
#[inline(always)]
const fn units(pause: u64, tick: u32) -> u32 {
    if tick == 0 || pause > MAX_PAUSE {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "timestamps wrap")]
    let units = ((pause << 8) / tick as u64) as u32;
    units
}

#[inline(always)]
const fn low(word: u32) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    let low = word as u16;
    low
}

#[cfg(test)]
mod tests;
