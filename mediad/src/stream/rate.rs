//! From 8,000 Hz to twice or three times that, and back: a windowed sinc, whose state is kept over the pieces.

use std::f32::consts::PI;

/// Samples of 8,000 Hz that a sample depends on: the delay is half of them, 1.5 ms.
const SPAN: usize = 24;
/// Where the filter begins to cut, of half the lower rate.
const PASS: f32 = 0.92;

/// Upwards.
#[derive(Debug)]
pub(super) struct Up {
    /// For each sample between two, the weights of the last [`SPAN`] samples, the newest first.
    phases: Vec<[f32; SPAN]>,
    past: [f32; SPAN],
}

impl Up {
    pub(super) fn new(factor: u32) -> Self {
        let taps = taps(factor as usize);
        let phase = |first: usize| {
            std::array::from_fn(|back| taps[first + back * factor as usize] * factor as f32)
        };
        Self {
            phases: (0..factor as usize).map(phase).collect(),
            past: [0.0; SPAN],
        }
    }

    /// Takes samples, and gives the factor's times as many.
    pub(super) fn feed(&mut self, samples: &[i16], mut give: impl FnMut(i16)) {
        for sample in samples {
            self.past.copy_within(..SPAN - 1, 1);
            self.past[0] = f32::from(*sample);
            for weights in &self.phases {
                give(round(
                    weights.iter().zip(&self.past).map(|(w, p)| w * p).sum(),
                ));
            }
        }
    }
}

/// Downwards.
#[derive(Debug)]
pub(super) struct Down {
    taps: Vec<f32>,
    /// The last samples, as a ring.
    past: Vec<f32>,
    at: usize,
    factor: usize,
    /// Samples since the last one that was given.
    since: usize,
}

impl Down {
    pub(super) fn new(factor: u32) -> Self {
        let factor = factor as usize;
        let taps = taps(factor);
        Self {
            past: vec![0.0; taps.len()],
            taps,
            at: 0,
            factor,
            since: 0,
        }
    }

    /// Takes a sample; the last one of as many as the factor gives one.
    pub(super) fn feed(&mut self, sample: i16) -> Option<i16> {
        self.past[self.at] = f32::from(sample);
        self.at = (self.at + 1) % self.past.len();
        self.since += 1;
        if self.since < self.factor {
            return None;
        }
        self.since = 0;
        // The filter is symmetric: which end is the newest is all the same.
        let (newer, older) = self.past.split_at(self.at);
        let ordered = older.iter().chain(newer);
        Some(round(
            self.taps.iter().zip(ordered).map(|(t, p)| t * p).sum(),
        ))
    }
}

/// A low pass of `factor` times [`SPAN`] taps for the higher rate, whose weights are 1 together.
fn taps(factor: usize) -> Vec<f32> {
    let count = factor * SPAN;
    let middle = (count - 1) as f32 / 2.0;
    let tap = |n: usize| {
        let x = (n as f32 - middle) * PASS / factor as f32;
        let sinc = if x == 0.0 {
            1.0
        } else {
            (PI * x).sin() / (PI * x)
        };
        // Blackman's window.
        let turn = 2.0 * PI * (n as f32 + 0.5) / count as f32;
        sinc * (0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
    };
    let taps: Vec<f32> = (0..count).map(tap).collect();
    let sum: f32 = taps.iter().sum();
    taps.iter().map(|tap| tap / sum).collect()
}

fn round(sample: f32) -> i16 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float stays within the bounds"
    )]
    let sample = sample.round() as i16;
    sample
}
