//! What is heard, put into order by its timestamps: lost packets become silence of their length.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufWriter, Seek, Write},
    path::Path,
    time::Duration,
};

use super::source::RATE;
use crate::exit::Failure;

/// How long audio is held back for packets that come late, in samples.
const WINDOW: usize = RATE as usize;
/// A timestamp that jumps further than this, in samples, is a new beginning, not a gap.
const MAX_JUMP: i32 = 10 * RATE as i32;

/// Writes a WAV file of 8,000 samples a second, 16 bits, mono.
pub(in crate::call) struct Recorder<W: Write + Seek = BufWriter<File>> {
    writer: hound::WavWriter<W>,
    /// The last samples, not yet written.
    window: VecDeque<i16>,
    /// The position in the file of the window's first sample.
    start: u64,
    last: Option<Last>,
}

/// The packet that came last.
#[derive(Clone, Copy, Debug)]
struct Last {
    ssrc: u32,
    timestamp: u32,
    /// Its first sample's position in the file.
    position: u64,
    arrival: Duration,
}

impl Recorder {
    /// Begins a file; one that is there is replaced.
    pub(in crate::call) fn create(path: &Path) -> Result<Self, Failure> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let writer = hound::WavWriter::create(path, spec).map_err(|error| {
            Failure::other(format!("cannot record to {}: {error}", path.display()))
        })?;
        Ok(Self::new(writer))
    }
}

impl<W: Write + Seek> Recorder<W> {
    fn new(writer: hound::WavWriter<W>) -> Self {
        Self {
            writer,
            window: VecDeque::new(),
            start: 0,
            last: None,
        }
    }

    /// Puts a packet's samples where its timestamp says. `arrival` counts from any fixed moment; it
    /// only matters where a new source follows another.
    pub(super) fn insert(
        &mut self,
        ssrc: u32,
        timestamp: u32,
        arrival: Duration,
        samples: &[i16],
    ) -> Result<(), hound::Error> {
        let position = self.position(ssrc, timestamp, arrival);
        let last = self.last.map_or(0, |last| last.position);
        if position >= last || self.last.is_some_and(|last| last.ssrc != ssrc) {
            self.last = Some(Last {
                ssrc,
                timestamp,
                position,
                arrival,
            });
        }
        for (index, sample) in (position..).zip(samples) {
            // What was already written cannot be mended.
            let Some(index) = index.checked_sub(self.start) else {
                continue;
            };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if index >= self.window.len() {
                self.window.resize(index + 1, 0);
            }
            if let Some(slot) = self.window.get_mut(index) {
                *slot = *sample;
            }
        }
        while self.window.len() > WINDOW {
            let Some(sample) = self.window.pop_front() else {
                break;
            };
            self.writer.write_sample(sample)?;
            self.start += 1;
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<(), hound::Error> {
        for sample in self.window {
            self.writer.write_sample(sample)?;
        }
        self.writer.finalize()
    }

    fn position(&self, ssrc: u32, timestamp: u32, arrival: Duration) -> u64 {
        let Some(last) = self.last else { return 0 };
        let ahead = timestamp.wrapping_sub(last.timestamp).cast_signed();
        if ssrc == last.ssrc && ahead.abs() <= MAX_JUMP {
            return last.position.saturating_add_signed(ahead.into());
        }
        // Another source, or the same one with a new clock: it begins where the old one would be now.
        let passed = arrival.saturating_sub(last.arrival).as_millis().min(10_000);
        let passed = u64::try_from(passed).unwrap_or(0) * u64::from(RATE) / 1_000;
        let end = self.start + self.window.len() as u64;
        (last.position + passed).max(end)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    struct Take {
        recorder: Recorder<Cursor<Vec<u8>>>,
        clock: Duration,
    }

    impl Take {
        fn new() -> Self {
            let spec = hound::WavSpec {
                channels: 1,
                sample_rate: RATE,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let writer = hound::WavWriter::new(Cursor::new(Vec::new()), spec).unwrap();
            Self {
                recorder: Recorder::new(writer),
                clock: Duration::ZERO,
            }
        }

        fn packet(&mut self, ssrc: u32, timestamp: u32, value: i16) {
            self.clock += Duration::from_millis(20);
            let samples = [value; 160];
            self.recorder
                .insert(ssrc, timestamp, self.clock, &samples)
                .unwrap();
        }

        /// The value of each 20 ms.
        fn frames(self) -> Vec<i16> {
            let Recorder { window, start, .. } = self.recorder;
            assert_eq!(start, 0, "short takes stay in the window");
            let samples: Vec<i16> = window.into();
            samples.chunks(160).map(|frame| frame[0]).collect()
        }
    }

    #[test]
    fn a_lost_packet_is_silence_and_a_late_one_takes_its_place() {
        let mut take = Take::new();
        let first = u32::MAX - 200;
        for (step, value) in [(0, 1), (1, 2), (4, 5), (3, 4), (5, 6)] {
            take.packet(7, first.wrapping_add(step * 160), value);
        }
        assert_eq!(take.frames(), [1, 2, 0, 4, 5, 6]);
    }

    #[test]
    fn a_new_source_follows_the_old_one() {
        let mut take = Take::new();
        take.packet(7, 1_000, 1);
        take.packet(7, 1_160, 2);
        take.packet(8, 4_000_000_000, 3);
        take.packet(8, 4_000_000_160, 4);
        assert_eq!(take.frames(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_clock_that_jumps_does_not_make_hours_of_silence() {
        let mut take = Take::new();
        take.packet(7, 0, 1);
        take.packet(7, 2_000_000_000, 2);
        assert_eq!(take.frames(), [1, 2]);
    }

    #[test]
    fn the_file_has_everything_in_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut recorder = Recorder::create(file.path()).unwrap();
        for step in 0..100_u32 {
            let value = i16::try_from(step).unwrap();
            recorder
                .insert(
                    1,
                    step * 160,
                    Duration::from_millis(u64::from(step) * 20),
                    &[value; 160],
                )
                .unwrap();
        }
        recorder.finish().unwrap();
        let mut reader = hound::WavReader::open(file.path()).unwrap();
        let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(samples.len(), 16_000);
        assert!(
            samples
                .chunks(160)
                .zip(0..)
                .all(|(frame, step)| frame.iter().all(|s| *s == step))
        );
    }
}
