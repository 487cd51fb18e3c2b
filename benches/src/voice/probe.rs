//! Frames that can be told apart wherever they turn up, and the times at which they did.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Octets of 20 ms of G.711.
pub(super) const FRAME: usize = 160;
/// The first octets of a frame that is a probe. Every octet here survives being decoded and encoded.
const MAGIC: [u8; 4] = [0x11, 0x52, 0x13, 0x54];
/// Octets of a probe.
const PROBE: usize = 16;
/// What is played until it is cleared.
pub(super) const LOUD: u8 = 0x40;
/// Probes of a call whose times are kept.
const KEPT: usize = 1_024;

/// A frame of a call with this number.
pub(super) fn frame(call: usize, number: usize) -> [u8; FRAME] {
    let mut octets = [0x33; FRAME];
    octets[..4].copy_from_slice(&MAGIC);
    for (at, nibble) in octets[4..16].iter_mut().enumerate() {
        let value = if at < 4 {
            call >> (4 * at)
        } else {
            number >> (4 * (at - 4))
        };
        *nibble = 0x20 | u8::try_from(value & 0xf).unwrap_or(0);
    }
    octets
}

/// Which call's, and its number; `None` where it is no probe.
pub(super) fn read(octets: &[u8]) -> Option<(usize, usize)> {
    let rest = octets.strip_prefix(&MAGIC)?.get(..12)?;
    let value = |nibbles: &[u8]| {
        let nibbles = nibbles.iter().rev();
        nibbles.fold(0, |value, nibble| value << 4 | usize::from(nibble & 0xf))
    };
    Some((value(&rest[..4]), value(&rest[4..])))
}

/// What a phone hears, in which a probe may begin anywhere: what is played to it is shortened by single samples where it
/// was late.
#[derive(Debug, Default)]
pub(super) struct Heard(Vec<u8>);

impl Heard {
    /// The next packet's payload; the probe whose last octet is in it.
    pub(super) fn read(&mut self, payload: &[u8]) -> Option<(usize, usize)> {
        // A probe that ended before is not found again.
        let kept = self.0.len().saturating_sub(PROBE - 1);
        self.0.drain(..kept);
        self.0.extend_from_slice(payload);
        let mut begins = self.0.windows(PROBE);
        begins.find_map(read)
    }
}

/// When what happened, in nanoseconds since the beginning of the run: the latest of each call's probes.
#[derive(Debug)]
pub(super) struct Times {
    begin: Instant,
    at: Vec<AtomicU64>,
}

impl Times {
    pub(super) fn new(begin: Instant, calls: usize) -> Self {
        let at = (0..calls * KEPT).map(|_| AtomicU64::new(0)).collect();
        Self { begin, at }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn note(&self, call: usize, number: usize) {
        if let Some(at) = self.at.get(call * KEPT + number % KEPT) {
            at.store(self.now(), Ordering::Release);
        }
    }

    /// Nanoseconds since it was noted.
    pub(super) fn since(&self, call: usize, number: usize) -> Option<u64> {
        let at = self
            .at
            .get(call * KEPT + number % KEPT)?
            .load(Ordering::Acquire);
        (at != 0).then(|| self.now().saturating_sub(at))
    }
}

/// How often something took how long, in steps of 10 us up to a second.
#[derive(Debug)]
pub(super) struct Histogram(Mutex<Vec<u32>>);

const STEP_NS: u64 = 10_000;
const STEPS: usize = 100_000;

impl Default for Histogram {
    fn default() -> Self {
        Self(Mutex::new(vec![0; STEPS]))
    }
}

impl Histogram {
    pub(super) fn add(&self, ns: u64) {
        let step = usize::try_from(ns / STEP_NS).unwrap_or(STEPS);
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps[step.min(STEPS - 1)] += 1;
    }

    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(0);
    }

    /// The milliseconds that this share, in thousandths, did not exceed.
    pub(super) fn ms(&self, share: u64) -> f64 {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: u64 = steps.iter().map(|count| u64::from(*count)).sum();
        let mut left = (total * share).div_ceil(1_000);
        for (step, count) in steps.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 {
                return (step as f64 + 0.5) * STEP_NS as f64 / 1e6;
            }
        }
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_known_again() {
        for (call, number) in [(0, 0), (299, 30_123), (65_535, 0xffff_fffe)] {
            assert_eq!(read(&frame(call, number)), Some((call, number)));
        }
        assert_eq!(read(&[0xff; FRAME]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_frame_is_found_wherever_it_begins() {
        let all: Vec<u8> = (0..50).flat_map(|number| frame(7, number)).collect();
        for begin in [0, 1, 100, 150, 159] {
            let mut heard = Heard::default();
            let found = all[begin..].chunks(FRAME).filter_map(|it| heard.read(it));
            let first = usize::from(begin > 0);
            let expected: Vec<_> = (first..50).map(|number| (7, number)).collect();
            assert_eq!(found.collect::<Vec<_>>(), expected, "{begin}");
        }
    }

    #[test]
    fn every_octet_survives_the_law() {
        for octet in frame(0xfedc, 0x1234_5678).into_iter().chain([LOUD]) {
            assert_eq!(rtp::g711::encode_ulaw(rtp::g711::decode_ulaw(octet)), octet);
        }
    }

    #[test]
    fn shares_are_read_off() {
        let histogram = Histogram::default();
        (1..=1_000).for_each(|ms| histogram.add(ms * 10_000));
        assert!(
            (histogram.ms(500) - 5.0).abs() < 0.02,
            "{}",
            histogram.ms(500)
        );
        assert!((histogram.ms(990) - 9.9).abs() < 0.02);
    }
}
