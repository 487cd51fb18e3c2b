//! Audio at one rate as audio at another: a windowed sinc as low-pass, in as many phases as the ratio needs.
//!
//! To telephony's 8 kHz from above, what is below 3.4 kHz stays as it was to 0.1 dB, and what would fold back from above
//! 4 kHz is 65 dB weaker. What goes in comes out `32 / min(from, to)` seconds later: 4 ms at 8 kHz.

use std::f64::consts::PI;

/// The lowest and the highest rate, in Hz.
pub const RATES: std::ops::RangeInclusive<u32> = 4000..=96_000;

/// Zero crossings of the sinc on each side. The band between what stays and what goes is an 15th of the lower rate.
const CROSSINGS: usize = 32;
/// Kaiser's window: 70 dB between the pass band and the stop band.
const BETA: f64 = 6.8;
/// Where the low-pass is at half, as a part of the lower rate: half the transition below Nyquist.
const CUTOFF: f64 = 0.5 - 0.034;

/// Converts one channel, in pieces of any length: no seam is heard between them.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Outputs and inputs of a period, without common divisor.
    up: usize,
    down: usize,
    /// Inputs that an output looks at.
    taps: usize,
    /// `taps` weights for each phase.
    weights: Box<[f32]>,
    /// Inputs that the outputs to come look at.
    held: Vec<f32>,
    /// The next output's place, in `1 / up` inputs after the first of `held`.
    place: usize,
    /// Inputs and outputs so far.
    count: (u64, u64),
}

impl Resampler {
    /// From a rate to another, both in Hz; `None` where one is not within [`RATES`].
    #[must_use]
    pub fn new(from: u32, to: u32) -> Option<Self> {
        if !RATES.contains(&from) || !RATES.contains(&to) {
            return None;
        }
        let divisor = greatest_common_divisor(from, to);
        let (up, down) = ((to / divisor) as usize, (from / divisor) as usize);
        // The sinc is as wide as the lower rate wants, counted in inputs.
        let half = match from > to {
            true => (CROSSINGS * down).div_ceil(up),
            false => CROSSINGS,
        };
        let taps = if from == to { 1 } else { 2 * half };
        let weights = match from == to {
            true => Box::from([1.0_f32]),
            false => weights(up, half, (f64::from(to) / f64::from(from)).min(1.0)),
        };
        Some(Self {
            up,
            down,
            taps,
            weights,
            // Silence before the first, so that it is in the middle of the first output's taps.
            held: vec![0.0; if from == to { 0 } else { half - 1 }],
            place: 0,
            count: (0, 0),
        })
    }

    /// As [`new`](Self::new), for a stream: the output begins at once, with silence for what it comes later, and of each
    /// piece as much comes out as went in.
    #[must_use]
    pub fn steady(from: u32, to: u32) -> Option<Self> {
        let mut made = Self::new(from, to)?;
        made.reset();
        Some(made)
    }

    /// Forgets a stream: what follows is another one's.
    pub fn reset(&mut self) {
        self.held.clear();
        self.held.resize(self.taps - 1, 0.0);
        self.place = 0;
        self.count = (0, 0);
    }

    /// Puts samples in, and appends what can be said of the output by now.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.count.0 += samples.len() as u64;
        self.feed(samples.iter().copied(), out);
    }

    /// Appends what is still owed after the last sample, so that the output has the length of the input. Only once.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let owed = (self.count.0 * self.up as u64).div_ceil(self.down as u64);
        let from = self.count.1;
        let begin = out.len();
        self.feed(std::iter::repeat_n(0, self.taps), out);
        let missing = usize::try_from(owed.saturating_sub(from)).unwrap_or(usize::MAX);
        out.truncate(begin.saturating_add(missing));
    }

    fn feed(&mut self, samples: impl Iterator<Item = i16>, out: &mut Vec<i16>) {
        self.held.extend(samples.map(f32::from));
        loop {
            let first = self.place / self.up;
            let Some(window) = self.held.get(first..first + self.taps) else {
                break;
            };
            let phase = self.place % self.up * self.taps;
            let weights = &self.weights[phase..phase + self.taps];
            out.push(rounded(product(window, weights)));
            self.place += self.down;
            self.count.1 += 1;
        }
        let done = (self.place / self.up).min(self.held.len());
        self.held.drain(..done);
        self.place -= done * self.up;
    }
}

/// In eight sums, which the compiler keeps in one register.
fn product(samples: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (samples, sample_rest) = samples.as_chunks::<8>();
    let (weights, weight_rest) = weights.as_chunks::<8>();
    for (samples, weights) in samples.iter().zip(weights) {
        for (sum, (sample, weight)) in sums.iter_mut().zip(samples.iter().zip(weights)) {
            *sum += sample * weight;
        }
    }
    let rest = sample_rest.iter().zip(weight_rest).map(|(a, b)| a * b);
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from f32 saturates, which is clipping"
)]
fn rounded(sample: f32) -> i16 {
    sample.round() as i16
}

/// For each phase, the low-pass where its inputs are. `ratio` is the lower rate to the input's.
fn weights(up: usize, half: usize, ratio: f64) -> Box<[f32]> {
    let mut weights = Vec::with_capacity(up * 2 * half);
    for phase in 0..up {
        let begin = weights.len();
        for tap in 0..2 * half {
            let distance = tap as f64 - (half - 1) as f64 - phase as f64 / up as f64;
            weights.push(low_pass(distance, half as f64, CUTOFF * ratio));
        }
        // Each phase lets a constant through as it is, or the phases would be heard as a tone.
        let sum: f64 = weights[begin..].iter().sum();
        for weight in &mut weights[begin..] {
            *weight /= sum;
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a weight does not need what f32 lacks"
    )]
    let narrow = |weight: f64| weight as f32;
    weights.into_iter().map(narrow).collect()
}

/// The sinc for a cut-off in cycles per input, in Kaiser's window, so many inputs from its middle.
fn low_pass(distance: f64, half: f64, cutoff: f64) -> f64 {
    let angle = 2.0 * PI * cutoff * distance;
    let sinc = if angle.abs() < 1e-9 {
        1.0
    } else {
        angle.sin() / angle
    };
    let edge = distance / half;
    sinc * bessel(BETA * (1.0 - edge * edge).max(0.0).sqrt())
}

/// The modified Bessel function of the first kind, of order 0, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        let factor = x / 2.0 / f64::from(k);
        term *= factor * factor;
        sum += term;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "tests know how large their numbers are"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tone(rate: u32, hz: f64, seconds: f64) -> Vec<i16> {
        let count = (f64::from(rate) * seconds) as u32;
        let at = |n| (2.0 * PI * hz * f64::from(n) / f64::from(rate)).sin() * 10_000.0;
        (0..count).map(|n| at(n).round() as i16).collect()
    }

    fn convert(from: u32, to: u32, samples: &[i16]) -> Vec<i16> {
        let mut out = Vec::new();
        let mut resampler = Resampler::new(from, to).unwrap();
        resampler.push(samples, &mut out);
        resampler.finish(&mut out);
        out
    }

    /// Of the middle, where no edge is near, in dB to the tone that went in.
    fn level(samples: &[i16]) -> f64 {
        let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
        let sum: f64 = middle.iter().map(|s| f64::from(*s).powi(2)).sum();
        10.0 * (sum / middle.len() as f64 / 5e7).max(1e-12).log10()
    }

    #[test]
    fn what_a_telephone_carries_stays_and_the_rest_goes() {
        for from in [11_025, 12_000, 16_000, 22_050, 24_000, 44_100, 48_000] {
            for hz in [100.0, 1000.0, 3000.0, 3400.0] {
                let out = convert(from, 8000, &tone(from, hz, 0.5));
                assert!(level(&out).abs() < 0.1, "{from}: {hz} Hz: {}", level(&out));
            }
            for hz in [4000.0, 4300.0, 5000.0, f64::from(from) / 2.0 - 300.0] {
                let out = convert(from, 8000, &tone(from, hz, 0.5));
                assert!(level(&out) < -65.0, "{from}: {hz} Hz: {}", level(&out));
            }
        }
    }

    #[test]
    fn a_tone_has_its_place_and_shape() {
        for (from, to) in [
            (8000, 16_000),
            (8000, 24_000),
            (8000, 8000),
            (16_000, 8000),
            (44_100, 8000),
        ] {
            let out = convert(from, to, &tone(from, 440.0, 0.5));
            let wanted = tone(to, 440.0, 0.5);
            assert_eq!(out.len(), wanted.len());
            let middle = out.len() / 4..out.len() * 3 / 4;
            for (got, wanted) in out[middle.clone()].iter().zip(&wanted[middle]) {
                assert!(
                    got.abs_diff(*wanted) < 30,
                    "{from} to {to}: {got} for {wanted}"
                );
            }
        }
    }

    #[test]
    fn no_rate_is_too_odd_and_some_are_too_far_out() {
        assert_eq!(convert(47_999, 8000, &[100; 47_999]).len(), 8000);
        for (from, to) in [(0, 8000), (3999, 8000), (8000, 192_000)] {
            assert!(Resampler::new(from, to).is_none());
        }
    }

    #[test]
    fn what_is_too_loud_is_clipped() {
        let square: Vec<i16> = (0..4000)
            .map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let out = convert(16_000, 8000, &square);
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
    }

    #[test]
    fn a_stream_comes_out_as_it_goes_in() {
        for (from, to) in [
            (8_000, 16_000),
            (8_000, 24_000),
            (24_000, 8_000),
            (16_000, 8_000),
            (8_000, 8_000),
        ] {
            let mut resampler = Resampler::steady(from, to).unwrap();
            let said = tone(from, 1_000.0, 0.5);
            let mut heard = Vec::new();
            for piece in said.chunks(from as usize / 50) {
                let before = heard.len();
                resampler.push(piece, &mut heard);
                assert_eq!(heard.len() - before, to as usize / 50, "{from} {to}");
            }
            // It is later by as much as the documentation says, to a sample.
            let late = if from == to {
                0
            } else {
                32 * to as usize / from.min(to) as usize
            };
            let wanted = tone(to, 1_000.0, 0.5);
            for (a, b) in wanted[1_000..2_000].iter().zip(&heard[1_000 + late..]) {
                assert!(a.abs_diff(*b) < 200, "{from} {to}: {a} {b}");
            }
            resampler.reset();
            let mut again = Vec::new();
            resampler.push(&said, &mut again);
            assert_eq!(again, heard);
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            samples in prop::collection::vec(any::<i16>(), 0..600),
            cut in 0_usize..600,
            from in prop::sample::select(vec![8000_u32, 16_000, 22_050, 48_000]),
            to in prop::sample::select(vec![8000_u32, 16_000, 24_000]),
        ) {
            let (head, tail) = samples.split_at(cut.min(samples.len()));
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut out = Vec::new();
            resampler.push(head, &mut out);
            resampler.push(tail, &mut out);
            resampler.finish(&mut out);
            let whole = convert(from, to, &samples);
            prop_assert_eq!(whole.len(), (samples.len() * to as usize).div_ceil(from as usize));
            prop_assert_eq!(out, whole);
        }
    }
}
