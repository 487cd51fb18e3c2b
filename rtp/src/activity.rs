//! Whether somebody speaks: by how loud he is, over what the line's own noise has.
//!
//! Loud is what is 9 dB above the noise and above -48 dBov; what was loud stays so until it is 4 dB less, for words end
//! softly. The noise is the quietest 10 ms of the last second or two, which speech always has, and is never taken for
//! more than -38 dBov: a tone or music of some loudness is heard for as long as it goes on. A click is no speech: what is
//! loud has to last for 30 ms.

/// Samples that are judged at once: 10 ms at 8,000 Hz.
const BLOCK: usize = 80;
/// Fewer than these at the end of a packet say nothing.
const LEAST_BLOCK: usize = BLOCK / 2;
/// Power of the loudest sample: 0 dBov.
const FULL: f32 = 32_768.0 * 32_768.0;
/// What is less is silence on the best of lines: -48 dBov.
const LEAST: f32 = FULL * 1.585e-5;
/// The most that is taken for noise: -38 dBov.
const MOST_NOISE: f32 = FULL * 1.585e-4;
/// Speech over noise: 9 dB.
const OVER: f32 = 7.943;
/// What was loud and is still: 4 dB less.
const STILL: f32 = 0.398;
/// Loud blocks that are speech.
const ONSET: u32 = 3;
/// Blocks whose quietest one is remembered together: 1 s.
const WINDOW: u32 = 100;

/// What is known of one party's voice. Places are samples of one recording or call.
#[derive(Clone, Debug)]
pub struct Activity {
    /// The quietest block of this window, and of the one before.
    quietest: [f32; 2],
    blocks: u32,
    /// Loud blocks in a row, and where they began.
    run: u32,
    run_from: u64,
    speech: Option<(u64, u64)>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            quietest: [f32::INFINITY; 2],
            blocks: 0,
            run: 0,
            run_from: 0,
            speech: None,
        }
    }
}

impl Activity {
    /// Takes the samples of a packet whose first one is at `place`.
    pub fn feed(&mut self, place: u64, samples: &[i16]) {
        let mut place = place;
        for block in samples.chunks(BLOCK) {
            let end = place + block.len() as u64;
            if block.len() >= LEAST_BLOCK {
                self.judge(place, end, power(block));
            }
            place = end;
        }
    }

    /// Where the first speech began and where the last one ended, for now; `None` where there was none.
    #[must_use]
    pub const fn speech(&self) -> Option<(u64, u64)> {
        self.speech
    }

    fn judge(&mut self, place: u64, end: u64, power: f32) {
        let [quietest, before] = &mut self.quietest;
        *quietest = quietest.min(power);
        let noise = quietest.min(*before).min(MOST_NOISE);
        self.blocks += 1;
        if self.blocks == WINDOW {
            self.blocks = 0;
            self.quietest = [f32::INFINITY, *quietest];
        }
        let loud = LEAST.max(noise * OVER);
        let is_on = self.run >= ONSET;
        if power < if is_on { loud * STILL } else { loud } {
            self.run = 0;
            return;
        }
        if self.run == 0 {
            self.run_from = place;
        }
        self.run = self.run.saturating_add(1);
        if self.run >= ONSET {
            let first = self.speech.map_or(self.run_from, |(first, _)| first);
            let last = self.speech.map_or(end, |(_, last)| last.max(end));
            self.speech = Some((first, last));
        }
    }
}

/// The mean square of samples.
fn power(samples: &[i16]) -> f32 {
    let sum: f32 = samples
        .iter()
        .map(|sample| f32::from(*sample) * f32::from(*sample))
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "a block is short")]
    let count = samples.len() as f32;
    sum / count.max(1.0)
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "tests know how large their numbers are"
)]
pub(crate) mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const SECOND: usize = 8_000;

    /// White noise of a level in dBov.
    pub(crate) fn noise(dbov: f64, samples: usize) -> Vec<i16> {
        let mut state = 1_u32;
        // Uniform: its power is a third of its amplitude's.
        let amplitude = 32_768.0 * 10_f64.powf(dbov / 20.0) * 3_f64.sqrt();
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (amplitude * (f64::from(state >> 8) / f64::from(1 << 23) - 1.0)) as i16
        };
        std::iter::repeat_with(next).take(samples).collect()
    }

    fn tone(dbov: f64, hz: f64, samples: usize) -> Vec<i16> {
        let amplitude = 32_768.0 * 10_f64.powf(dbov / 20.0) * 2_f64.sqrt();
        (0..samples)
            .map(|n| (amplitude * (TAU * hz * n as f64 / 8_000.0).sin()) as i16)
            .collect()
    }

    /// Like speech: harmonics of a voice, in syllables of 250 ms that begin and end softly, with a rest after each third.
    pub(crate) fn speech(dbov: f64, samples: usize) -> Vec<i16> {
        let amplitude = 32_768.0 * 10_f64.powf(dbov / 20.0) * 2.0;
        let sample = |n: usize| {
            let (syllable, at) = (n / 2_000, n % 2_000);
            let envelope = if syllable % 4 == 3 {
                0.0
            } else {
                (TAU * at as f64 / 4_000.0).sin()
            };
            let turn = TAU * n as f64 / 8_000.0 * (110.0 + 10.0 * (syllable % 3) as f64);
            let voice = (1..20)
                .map(|k| (turn * f64::from(k)).sin() / f64::from(k))
                .sum::<f64>();
            (amplitude * envelope * voice / 1.3) as i16
        };
        (0..samples).map(sample).collect()
    }

    fn add(one: &[i16], other: &[i16]) -> Vec<i16> {
        let pairs = one.iter().zip(other);
        pairs.map(|(a, b)| a.saturating_add(*b)).collect()
    }

    /// First and last, in milliseconds.
    fn heard(samples: &[i16]) -> Option<(u64, u64)> {
        let mut activity = Activity::default();
        for (packet, place) in samples.chunks(160).zip((0..).step_by(160)) {
            activity.feed(place, packet);
        }
        activity.speech().map(|(first, last)| (first / 8, last / 8))
    }

    #[test]
    fn speech_is_found_to_a_syllables_end_on_lines_of_any_quality() {
        for (level, line) in [
            (-20.0, -90.0),
            (-30.0, -65.0),
            (-20.0, -42.0),
            (-12.0, -35.0),
        ] {
            let pause = vec![0; 2 * SECOND];
            // The last of 3 s is three syllables and a rest.
            let all = [pause.clone(), speech(level, 3 * SECOND), pause].concat();
            let all = add(&all, &noise(line, all.len()));
            let (first, last) = heard(&all).unwrap();
            assert!((2_000..2_080).contains(&first), "{level} {line}: {first}");
            assert!((4_600..4_780).contains(&last), "{level} {line}: {last}");
        }
    }

    #[test]
    fn noise_is_silence_however_long_it_is() {
        for line in [-90.0, -65.0, -50.0, -42.0, -36.0] {
            assert_eq!(heard(&noise(line, 10 * SECOND)), None, "{line}");
        }
        assert_eq!(heard(&vec![0; SECOND]), None);
        // Loud noise is not.
        assert!(heard(&noise(-25.0, SECOND)).is_some());
    }

    #[test]
    fn a_tone_is_heard_for_as_long_as_it_lasts() {
        let all = [tone(-20.0, 425.0, 10 * SECOND), vec![0; SECOND]].concat();
        assert_eq!(heard(&all), Some((0, 10_000)));
    }

    #[test]
    fn a_click_is_no_speech() {
        let mut line = noise(-60.0, SECOND);
        line[4_000..4_160].fill(20_000);
        assert_eq!(heard(&line), None);
    }

    #[test]
    fn what_was_loud_stays_so_a_little_below() {
        // A tone that is 2 dB below what has to be reached to begin.
        let begin = tone(-45.0, 500.0, 2_400);
        let soft = tone(-50.0, 500.0, 2_400);
        let line = noise(-80.0, SECOND);
        assert_eq!(heard(&[line.clone(), soft.clone()].concat()), None);
        let (_, last) = heard(&[line, begin, soft].concat()).unwrap();
        assert_eq!(last, 1_600);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_judged(
            packets in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<i16>(), 0..300)), 0..40)
        ) {
            let mut activity = Activity::default();
            for (place, samples) in packets {
                activity.feed(place.into(), &samples);
                if let Some((first, last)) = activity.speech() {
                    prop_assert!(last > 0 && first <= u64::from(u32::MAX));
                }
            }
        }
    }
}
