//! A jitter buffer: packets of 8,000 Hz that come when they come, read in even steps.
//!
//! Samples lie in a ring at the place that their timestamp gives, so that packets may come in any order, twice, and
//! with any packet time. A packet that comes too late to be read makes the reader wait: the delay grows, to [`MOST`]
//! at most. Where more than a frame was never needed for [`WINDOW`] frames, the next quiet one is left out: the
//! delay shrinks. What is missing is concealed by the last frame again, which fades, and then by silence.

use crate::conceal::Concealer;

/// Samples of a frame: 20 ms.
pub const FRAME: usize = FRAME32 as usize;
pub(crate) const FRAME32: u32 = 160;
/// The delay at the beginning, in samples: 40 ms.
const FIRST: u32 = 320;
/// Samples that wait to be read at most: 120 ms.
pub(crate) const MOST: u32 = 960;
/// Samples in the ring, a power of two: 512 ms.
pub(crate) const RING: usize = RING32 as usize;
pub(crate) const RING32: u32 = 4_096;
/// Frames after which the delay may shrink: 2 s.
const WINDOW: u32 = 100;
/// Mean magnitude of a frame that nobody misses: -47 dBov.
pub(crate) const QUIET: u32 = 150;

/// Where a sample may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    Empty,
    Waiting(i16),
    /// Was read already.
    Read,
}

/// The audio of one sender.
#[derive(Debug, Clone)]
pub struct Jitter {
    ring: Box<[Cell]>,
    /// SSRC of the stream; `None` before its first packet.
    ssrc: Option<u32>,
    /// Timestamp of the next sample to read, and after the newest one.
    next: u32,
    end: u32,
    concealer: Concealer,
    /// The least that was left after a read, in this many reads.
    spare: u32,
    reads: u32,
}

impl Default for Jitter {
    fn default() -> Self {
        Self {
            ring: vec![Cell::Empty; RING].into(),
            ssrc: None,
            next: 0,
            end: 0,
            concealer: Concealer::default(),
            spare: u32::MAX,
            reads: 0,
        }
    }
}

impl Jitter {
    /// Takes a packet: its payload is one octet a sample, which `decode` makes linear.
    pub fn put(&mut self, ssrc: u32, timestamp: u32, payload: &[u8], decode: fn(u8) -> i16) {
        let payload = payload.get(..MOST as usize).unwrap_or(payload);
        let len = u32::try_from(payload.len()).unwrap_or(0);
        if len == 0 {
            return;
        }
        let until = timestamp.wrapping_add(len);
        let is_new = is_before(self.end, until);
        let ahead = until.wrapping_sub(self.next);
        let is_late = is_before(timestamp, self.next);
        let behind = self.next.wrapping_sub(timestamp);
        let has_jumped = if is_late {
            behind > RING32
        } else {
            is_new && ahead > RING32
        };
        if has_jumped || self.ssrc != Some(ssrc) {
            self.begin(ssrc, timestamp);
        } else if is_late {
            let grows = behind.min(MOST.saturating_sub(self.waiting()));
            if !is_new {
                // It was read itself, or what comes after it was.
                if behind <= MOST && self.ring[place(timestamp)] != Cell::Read {
                    self.next = self.next.wrapping_sub(grows);
                }
                return;
            }
            if grows == behind {
                self.next = timestamp;
            } else {
                // Its clock has stood still meanwhile.
                self.begin(ssrc, timestamp);
            }
        }
        for (position, octet) in (0..).zip(payload) {
            let place = place(timestamp.wrapping_add(position));
            self.ring[place] = Cell::Waiting(decode(*octet));
        }
        if is_before(self.end, until) {
            self.end = until;
        }
        // A burst; after a pause the sender's clock is ahead without one.
        let waiting = self.waiting();
        if waiting > MOST + FRAME32 && matches!(self.ring[place(self.next)], Cell::Waiting(_)) {
            self.skip(waiting - MOST);
        }
    }

    /// Reads the next 20 ms.
    pub fn take(&mut self, out: &mut [i16; FRAME]) {
        if self.ssrc.is_none() {
            out.fill(0);
            return;
        }
        self.shrink();
        for sample in out.iter_mut() {
            let cell = &mut self.ring[place(self.next)];
            let found = *cell;
            self.next = self.next.wrapping_add(1);
            if let Cell::Waiting(found) = found {
                *cell = Cell::Read;
                self.concealer.heard(found);
                *sample = found;
            } else {
                *cell = Cell::Empty;
                *sample = self.concealer.missing();
            }
        }
        // Where nothing comes at the moment, that says nothing of the delay.
        if is_before(self.next, self.end) {
            self.spare = self.spare.min(self.waiting());
            self.reads += 1;
        }
    }

    /// Samples until the newest one.
    const fn waiting(&self) -> u32 {
        if is_before(self.next, self.end) {
            self.end.wrapping_sub(self.next)
        } else {
            0
        }
    }

    fn begin(&mut self, ssrc: u32, timestamp: u32) {
        self.ring.fill(Cell::Empty);
        self.ssrc = Some(ssrc);
        self.next = timestamp.wrapping_sub(FIRST);
        self.end = timestamp;
        self.concealer.reset();
        (self.spare, self.reads) = (u32::MAX, 0);
    }

    /// Leaves a quiet frame out, where more than one is left after every read.
    fn shrink(&mut self) {
        if self.reads < WINDOW {
            return;
        }
        if self.spare <= FRAME32 {
            (self.spare, self.reads) = (u32::MAX, 0);
            return;
        }
        let samples = (0..FRAME32).map(|at| match self.ring[place(self.next.wrapping_add(at))] {
            Cell::Waiting(sample) => u32::from(sample.unsigned_abs()),
            Cell::Empty | Cell::Read => 0,
        });
        let loudness: u32 = samples.sum();
        if loudness / FRAME32 <= QUIET {
            self.skip(FRAME32);
            (self.spare, self.reads) = (u32::MAX, 0);
        }
    }

    fn skip(&mut self, samples: u32) {
        for _ in 0..samples {
            self.ring[place(self.next)] = Cell::Empty;
            self.next = self.next.wrapping_add(1);
        }
    }
}

/// Whether a timestamp is before another one (RFC 3550: they wrap).
pub(crate) const fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) > u32::MAX / 2
}

pub(crate) const fn place(timestamp: u32) -> usize {
    timestamp as usize & (RING - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet whose samples are all of its number, from 1.
    fn packet(jitter: &mut Jitter, base: u32, number: u8) {
        let timestamp = base.wrapping_add((u32::from(number) - 1) * 160);
        jitter.put(1, timestamp, &[number; 160], i16::from);
    }

    fn frame(jitter: &mut Jitter) -> [i16; FRAME] {
        let mut out = [-1; FRAME];
        jitter.take(&mut out);
        out
    }

    #[test]
    fn packets_come_out_in_order_after_40_ms() {
        // Timestamps wrap in the middle.
        let base = 0u32.wrapping_sub(480);
        let mut jitter = Jitter::default();
        assert_eq!(frame(&mut jitter), [0; FRAME]);
        packet(&mut jitter, base, 1);
        assert_eq!(frame(&mut jitter), [0; FRAME]);
        packet(&mut jitter, base, 3);
        assert_eq!(frame(&mut jitter), [0; FRAME]);
        packet(&mut jitter, base, 2);
        packet(&mut jitter, base, 2);
        packet(&mut jitter, base, 4);
        for number in 1..=4 {
            assert_eq!(frame(&mut jitter), [number; FRAME]);
        }
    }

    #[test]
    fn a_loss_is_concealed_by_what_was_before_which_fades() {
        let mut jitter = Jitter::default();
        jitter.put(1, 0, &[200; 160], i16::from);
        jitter.put(1, 1_600, &[7; 160], i16::from);
        let frames: Vec<_> = (0..13).map(|_| frame(&mut jitter)).collect();
        assert_eq!(frames[2], [200; FRAME]);
        assert!(
            frames[3][0] == 200 && frames[3][159] < 140,
            "{:?}",
            frames[3]
        );
        assert!(frames[3..6].concat().is_sorted_by(|one, next| one >= next));
        assert!(frames[6..12].concat().iter().all(|sample| *sample == 0));
        assert_eq!(frames[12], [7; FRAME]);
    }

    #[test]
    fn who_is_late_is_waited_for_to_120_ms() {
        let mut jitter = Jitter::default();
        packet(&mut jitter, 0, 1);
        for _ in 0..5 {
            frame(&mut jitter);
        }
        // 40 ms too late: it is heard, and so is the next one after it.
        packet(&mut jitter, 0, 2);
        packet(&mut jitter, 0, 3);
        assert_eq!(frame(&mut jitter), [2; FRAME]);
        assert_eq!(frame(&mut jitter), [3; FRAME]);
        packet(&mut jitter, 0, 1);
        assert_ne!(frame(&mut jitter), [9; FRAME]);
        // A burst of more than there is room for: the newest 120 ms are kept.
        (5..=20).for_each(|number| packet(&mut jitter, 0, number));
        let heard: Vec<_> = (0..6).map(|_| frame(&mut jitter)[0]).collect();
        assert_eq!(heard, [15, 16, 17, 18, 19, 20]);
    }

    #[test]
    fn a_delay_that_is_not_needed_shrinks_in_silence() {
        let delay = |loud: u8| {
            let mut jitter = Jitter::default();
            for packet in 0..6 {
                jitter.put(1, packet * 160, &[loud; 160], |octet| {
                    i16::from(octet) * 100
                });
            }
            for packet in 6..1_000 {
                jitter.put(1, packet * 160, &[loud; 160], |octet| {
                    i16::from(octet) * 100
                });
                frame(&mut jitter);
            }
            jitter.end.wrapping_sub(jitter.next)
        };
        assert!(delay(0) <= 160, "{}", delay(0));
        assert!(delay(50) >= 800, "{}", delay(50));
    }

    #[test]
    fn a_new_stream_and_a_clock_that_jumps_begin_anew() {
        let mut jitter = Jitter::default();
        packet(&mut jitter, 0, 1);
        for (ssrc, timestamp) in [(2, 77), (2, 1_000_000), (2, 3_000_000_000), (2, 5)] {
            jitter.put(ssrc, timestamp, &[9; 160], i16::from);
            let heard: Vec<_> = (0..3).map(|_| frame(&mut jitter)).collect();
            assert_eq!(heard[2], [9; FRAME], "{timestamp}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read(
            steps in prop::collection::vec((0u32..3, any::<u32>(), 0usize..2_000, any::<bool>()), 0..60)
        ) {
            let mut jitter = Jitter::default();
            for (ssrc, timestamp, len, reads) in steps {
                jitter.put(ssrc, timestamp, &vec![3; len], i16::from);
                if reads {
                    prop_assert!(frame(&mut jitter).iter().all(|sample| (0..=3).contains(sample)));
                }
            }
        }

        /// With no more than 60 ms of jitter and no loss, everything is heard once the delay has grown to it.
        #[test]
        fn the_delay_grows_until_nothing_is_late(late in prop::collection::vec(0usize..4, 120)) {
            let mut jitter = Jitter::default();
            let mut heard = Vec::new();
            for now in 0..124 {
                for (number, late) in late.iter().enumerate() {
                    if number + late == now {
                        packet(&mut jitter, 0, u8::try_from(number + 1).unwrap());
                    }
                }
                heard.push(frame(&mut jitter));
            }
            (0..6).for_each(|_| heard.push(frame(&mut jitter)));
            let lost = (1..=120).filter(|number| !heard.contains(&[*number; FRAME])).count();
            prop_assert!(lost <= 4, "{lost}");
        }
    }
}
