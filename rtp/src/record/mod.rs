//! Recordings: both directions of a call, each where its timestamps put it, as 16 bit samples at 8 kHz.
//!
//! A [`Timeline`] puts packets in their places; a [`Tape`] makes of it what is written: one channel or two, with pauses,
//! and without the silence at both ends.

mod tape;

use std::collections::VecDeque;

pub use tape::{Form, Pause, Tape};

/// Samples of each channel in a second.
pub const RATE: u32 = 8000;
/// Octets of a WAV header.
pub const HEADER: usize = 44;
/// What may still come out of its order, in samples: half a second.
const HOLD: u64 = 4000;
/// Timestamps that lead further ahead of the time of arrival than this, in samples, are of another clock.
const MAX_LEAD: i64 = 8000;
/// And so far behind it: well within [`HOLD`], or what lags would come too late for ever.
const MAX_LAG: i64 = 2000;

/// What has been heard of both parties, and not been taken. Times are nanoseconds of one clock.
#[derive(Debug)]
pub struct Timeline {
    began: u64,
    /// Samples of each channel that were taken.
    taken: u64,
    channels: [Channel; 2],
}

#[derive(Debug, Default)]
struct Channel {
    /// A packet, and the place of its first sample.
    anchor: Option<Anchor>,
    /// From `taken` on.
    samples: VecDeque<i16>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    ssrc: u32,
    timestamp: u32,
    place: i64,
}

impl Timeline {
    /// A recording that begins at `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            began: now,
            taken: 0,
            channels: Default::default(),
        }
    }

    /// Puts the samples of a packet of 8 kHz audio in their place, which is returned. `channel` is 0 or 1. `None` where it
    /// came too late, or from before the beginning.
    pub fn put(
        &mut self,
        channel: usize,
        arrival: u64,
        (ssrc, timestamp): (u32, u32),
        samples: &[i16],
    ) -> Option<u64> {
        let came = i64::try_from(self.place(arrival)).unwrap_or(i64::MAX);
        let taken = i64::try_from(self.taken).unwrap_or(i64::MAX);
        let channel = self.channels.get_mut(channel)?;
        let by_timestamp = channel.anchor.filter(|anchor| anchor.ssrc == ssrc);
        let by_timestamp = by_timestamp.map(|anchor| {
            let since = timestamp.wrapping_sub(anchor.timestamp).cast_signed();
            anchor.place.saturating_add(i64::from(since))
        });
        let place = by_timestamp.filter(|place| (-MAX_LAG..=MAX_LEAD).contains(&(place - came)));
        let place = place.unwrap_or(came);
        channel.anchor = Some(Anchor {
            ssrc,
            timestamp,
            place,
        });
        let mut has_room = false;
        for (at, sample) in (place - taken..).zip(samples) {
            let Ok(at) = usize::try_from(at) else {
                continue;
            };
            has_room = true;
            if channel.samples.len() <= at {
                channel.samples.resize(at + 1, 0);
            }
            if let Some(place) = channel.samples.get_mut(at) {
                *place = *sample;
            }
        }
        has_room.then(|| u64::try_from(place).unwrap_or(0))
    }

    /// Appends to `out` what nothing can come before any more: a sample of each channel at a time.
    pub fn take(&mut self, now: u64, out: &mut Vec<[i16; 2]>) {
        self.take_until(self.place(now).saturating_sub(HOLD), out);
    }

    /// Appends all that is left of a recording that ends at `now`: to the end of what came before that.
    pub fn finish(&mut self, now: u64, out: &mut Vec<[i16; 2]>) {
        let lengths = self.channels.iter().map(|channel| channel.samples.len());
        let end = self.taken + lengths.max().unwrap_or(0) as u64;
        self.take_until(self.place(now).max(end), out);
    }

    fn take_until(&mut self, until: u64, out: &mut Vec<[i16; 2]>) {
        while self.taken < until {
            let [left, right] = &mut self.channels;
            let pair = [left, right].map(|channel| channel.samples.pop_front().unwrap_or(0));
            out.push(pair);
            self.taken += 1;
        }
    }

    /// The sample at a time.
    pub(crate) const fn place(&self, at: u64) -> u64 {
        at.saturating_sub(self.began) / (1_000_000_000 / RATE as u64)
    }
}

/// The header of a WAV file of 1 or 2 channels with so many octets of samples after it.
#[must_use]
pub fn header(channels: u8, octets: u64) -> [u8; HEADER] {
    let (channels, block) = (u16::from(channels), u16::from(channels) * 2);
    let octets = u32::try_from(octets).unwrap_or(u32::MAX - 36);
    let mut header = [0; HEADER];
    let mut at = 0;
    let mut write = |octets: &[u8]| {
        if let Some(place) = header.get_mut(at..at + octets.len()) {
            place.copy_from_slice(octets);
        }
        at += octets.len();
    };
    write(b"RIFF");
    write(&octets.saturating_add(36).to_le_bytes());
    write(b"WAVEfmt ");
    write(&16_u32.to_le_bytes());
    // PCM.
    write(&1_u16.to_le_bytes());
    write(&channels.to_le_bytes());
    write(&RATE.to_le_bytes());
    write(&(RATE * u32::from(block)).to_le_bytes());
    write(&block.to_le_bytes());
    write(&16_u16.to_le_bytes());
    write(b"data");
    write(&octets.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn put(
        line: &mut Timeline,
        channel: usize,
        arrival: u64,
        position: (u32, u32),
        samples: [i16; 160],
    ) -> bool {
        line.put(channel, arrival, position, &samples).is_some()
    }

    #[test]
    fn each_party_is_heard_where_its_timestamps_say() {
        let mut line = Timeline::new(1000 * MS);
        // The first packet of each counts by its arrival, and later ones by their timestamps, jitter or not.
        assert!(put(&mut line, 0, 1020 * MS, (7, 5000), [1; 160]));
        assert!(put(&mut line, 0, 1055 * MS, (7, 5160), [2; 160]));
        assert!(put(&mut line, 1, 1040 * MS, (8, 0), [9; 160]));
        // Out of order; and 5480 is lost.
        assert!(put(&mut line, 0, 1090 * MS, (7, 5640), [4; 160]));
        assert!(put(&mut line, 0, 1091 * MS, (7, 5320), [3; 160]));
        let mut out = Vec::new();
        line.take(1100 * MS, &mut out);
        assert!(out.is_empty(), "something may still come before");
        // The end of a packet that came is heard, though it would be later.
        assert!(put(&mut line, 1, 1130 * MS, (8, 720), [5; 160]));
        line.finish(1140 * MS, &mut out);
        assert_eq!(out.len(), 150 * 8);
        let left: Vec<_> = out.chunks(160).map(|chunk| chunk[0][0]).collect();
        assert_eq!(left, [0, 1, 2, 3, 0, 4, 0, 0]);
        let right: Vec<_> = out.chunks(160).map(|chunk| chunk[0][1]).collect();
        assert_eq!(right, [0, 0, 9, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn another_stream_and_a_clock_that_jumps_begin_anew() {
        let mut line = Timeline::new(0);
        assert!(put(&mut line, 0, 0, (7, 0), [1; 160]));
        assert!(put(&mut line, 0, 100 * MS, (8, 77), [2; 160]));
        assert!(put(&mut line, 0, 200 * MS, (8, 1 << 31), [3; 160]));
        let mut out = Vec::new();
        line.finish(300 * MS, &mut out);
        assert_eq!([0, 800, 1600].map(|at| out[at][0]), [1, 2, 3]);
    }

    #[test]
    fn who_falls_behind_his_clock_is_heard() {
        for behind in [300, 550, 800, 1100] {
            let mut line = Timeline::new(0);
            let mut out = Vec::new();
            assert!(put(&mut line, 0, 0, (7, 0), [1; 160]));
            // The network, or a clock that stood still, from now on.
            for packet in 1..100_u32 {
                let arrival = (u64::from(packet) * 20 + behind) * MS;
                assert!(
                    put(&mut line, 0, arrival, (7, packet * 160), [2; 160]),
                    "{behind} ms: {packet}"
                );
                line.take(arrival + 250 * MS, &mut out);
            }
        }
    }

    #[test]
    fn what_comes_too_late_is_lost() {
        let mut line = Timeline::new(0);
        let mut out = Vec::new();
        assert!(put(&mut line, 0, 0, (7, 0), [1; 160]));
        line.take(2000 * MS, &mut out);
        assert_eq!(out.len(), 1500 * 8);
        assert!(!put(&mut line, 0, 900 * MS, (7, 160), [2; 160]));
        assert_eq!(line.put(2, 0, (7, 0), &[1]), None);
    }

    #[test]
    fn the_header_is_that_of_a_wav_file() {
        let mono = header(1, 2);
        assert_eq!(
            mono[22..34],
            [1, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, 2, 0]
        );
        let header = header(2, 64_000);
        assert_eq!(header[28..34], [0, 0x7d, 0, 0, 4, 0]);
        assert_eq!(&header[..4], b"RIFF");
        assert_eq!(&header[8..16], b"WAVEfmt ");
        assert_eq!(header[24..28], 8000_u32.to_le_bytes());
        assert_eq!(&header[36..40], b"data");
        assert_eq!(header[40..], 64_000_u32.to_le_bytes());
        assert_eq!(header[4..8], 64_036_u32.to_le_bytes());
    }
}
