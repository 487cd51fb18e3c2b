//! Keys heard as tones (ITU-T Q.23), by the criteria of Q.24: for parties that send no telephone events.
//!
//! Every 5 ms the last 20 ms are looked at. They have a key where one low and one high frequency stand out from the
//! others of their groups, carry nearly all of the energy, are neither off by more than the tolerance nor apart by more
//! than the twist of lines, and neither has its first harmonic, as voices have. What four looks in a row agree on is a
//! key, told at once: 40 ms of a tone are that many in any case, 23 ms in none. It is let go of when it was missed for
//! 35 ms, so that an interruption of 10 ms does not make it two.
//!
//! How far a tone is off is seen in its phase: between the halves of the window it turns by a half for 50 Hz.

use std::f32::consts::PI;
use std::f64::consts::TAU;
use std::sync::LazyLock;

use super::key;
use crate::tone::{HIGH, LOW, RATE};

/// Samples between two looks.
const HOP: usize = 40;
/// Hops of a window.
const HOPS: usize = 4;
const WINDOW: usize = HOP * HOPS;
const FREQUENCIES: usize = LOW.len() + HIGH.len();
/// After so many hops every frequency of whole Hz is in the phase that it was in.
const ROUND: usize = 200;
/// Looks in a row that are a key, and that let go of it.
const ON: u32 = 4;
const OFF: u32 = 7;
/// The weakest of the two tones: -33 dBm0, as energy of a window.
const WEAKEST: f32 = 500.0 * 500.0 / 2.0 * WINDOW as f32;
/// The part of the energy that the two tones have. A window that is filled by less than that has less.
const SHARE: f32 = 0.8;
/// High by low: +4 dB and -8 dB, and 2 dB more, for each blurs the other a little.
const TWIST: std::ops::RangeInclusive<f32> = 0.1..=3.98;
/// A tone over the others of its group: 8 dB.
const PEAK: f32 = 6.3;
/// The most that a tone's first harmonic has of it: -13 dB.
const HARMONIC: f32 = 0.05;
/// How far a tone may be off: between the 1.5 % that have to be taken and the 3.5 % that must not be.
const OFFSET: f32 = 0.025;

/// What a frequency of 1 Hz turns from one sample to the next.
const TURN: f32 = 2.0 * PI / RATE as f32;

/// Finds keys in the samples of one party, at 8,000 a second.
#[derive(Clone, Debug)]
pub struct Detector {
    tables: &'static Tables,
    /// The window's hops, as a ring.
    hops: [Hop; HOPS],
    at: usize,
    /// Samples of the hop that is being filled.
    filled: usize,
    /// Which of a round it is.
    number: usize,
    /// The key that is looked at, for how many looks, and for how many it was not there.
    seen: Option<u8>,
    looks: u32,
    misses: u32,
}

#[derive(Clone, Copy, Debug)]
struct Hop {
    samples: [f32; HOP],
    energy: f32,
    /// Of each frequency.
    sums: [Complex; FREQUENCIES],
}

type Complex = [f32; 2];

#[derive(Debug)]
struct Tables {
    /// Of each frequency, for each sample of a hop, and for each hop of a round.
    within: [[Complex; HOP]; FREQUENCIES],
    rounds: [[Complex; ROUND]; FREQUENCIES],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    within: std::array::from_fn(|index| {
        std::array::from_fn(|sample| turned(frequency(index), sample))
    }),
    rounds: std::array::from_fn(|index| {
        std::array::from_fn(|hop| turned(frequency(index), hop * HOP))
    }),
});

/// One of the two tones of a window.
#[derive(Clone, Copy)]
struct Tone {
    /// In its group.
    number: u8,
    energy: f32,
    /// Where it should be, and by how much it is off, in Hz.
    hz: f32,
    off: f32,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            tables: &TABLES,
            hops: [Hop {
                samples: [0.0; HOP],
                energy: 0.0,
                sums: [[0.0; 2]; FREQUENCIES],
            }; HOPS],
            at: 0,
            filled: 0,
            number: 0,
            seen: None,
            looks: 0,
            misses: 0,
        }
    }
}

impl Detector {
    /// Takes samples that follow those before; each key that begins in them.
    pub fn feed(&mut self, samples: impl IntoIterator<Item = i16>, mut pressed: impl FnMut(char)) {
        for sample in samples {
            self.hops[self.at].samples[self.filled] = f32::from(sample);
            self.filled += 1;
            if self.filled < HOP {
                continue;
            }
            self.sum();
            self.at = (self.at + 1) % HOPS;
            self.number = (self.number + 1) % ROUND;
            self.filled = 0;
            if let Some(key) = self.look() {
                pressed(key);
            }
        }
    }

    /// Sums a hop up that is full.
    fn sum(&mut self) {
        let hop = &mut self.hops[self.at];
        hop.energy = hop.samples.iter().map(|sample| sample * sample).sum();
        let tables = self.tables.within.iter().zip(&self.tables.rounds);
        for (sum, (within, rounds)) in hop.sums.iter_mut().zip(tables) {
            let mut inner = [0.0; 2];
            for (sample, [re, im]) in hop.samples.iter().zip(within) {
                inner[0] += sample * re;
                inner[1] += sample * im;
            }
            *sum = product(inner, rounds[self.number]);
        }
    }

    /// Looks at the window.
    fn look(&mut self) -> Option<char> {
        let found = self.find();
        if found.is_some() && found == self.seen {
            self.misses = 0;
            self.looks = self.looks.saturating_add(1);
            return found.filter(|_| self.looks == ON).and_then(key);
        }
        self.misses += 1;
        let is_held = self.looks >= ON && self.misses < OFF;
        if !is_held {
            self.seen = found;
            self.looks = u32::from(found.is_some());
            self.misses = 0;
        }
        None
    }

    /// The event of the key that the window has.
    fn find(&self) -> Option<u8> {
        let energy: f32 = self.hops.iter().map(|hop| hop.energy).sum();
        if energy < 2.0 * WEAKEST {
            return None;
        }
        let low = self.tone(&LOW, 0)?;
        let high = self.tone(&HIGH, LOW.len())?;
        let is_pure = low.energy + high.energy >= SHARE * energy;
        let is_even = TWIST.contains(&(high.energy / low.energy));
        let is_loud = low.energy.min(high.energy) >= WEAKEST;
        if !is_pure || !is_even || !is_loud {
            return None;
        }
        let is_voice = self.has_harmonic(low, high) || self.has_harmonic(high, low);
        (!is_voice).then(|| event(low.number, high.number))
    }

    /// The tone of a group, whose sums begin at `first`.
    fn tone(&self, group: &[f64; 4], first: usize) -> Option<Tone> {
        let mut best: Option<(u8, f32)> = None;
        let mut second = 0.0_f32;
        for number in 0..4_u8 {
            let [early, late] = self.halves(first + usize::from(number));
            let found = power([early[0] + late[0], early[1] + late[1]]);
            match best {
                Some((_, most)) if found <= most => second = second.max(found),
                _ => {
                    second = best.map_or(0.0, |(_, most)| most);
                    best = Some((number, found));
                }
            }
        }
        let (number, found) = best?;
        if found < PEAK * second {
            return None;
        }
        let [early, late] = self.halves(first + usize::from(number));
        let [re, im] = product(late, [early[0], -early[1]]);
        let angle = im.atan2(re);
        // Half a turn in half a window.
        let off = angle / PI * (RATE as f32 / WINDOW as f32);
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred Hz")]
        let hz = group[usize::from(number)] as f32;
        if off.abs() > OFFSET * hz {
            return None;
        }
        // What the window loses of a tone that is off.
        let kept = kernel(off) / WINDOW as f32;
        let energy = found / (kept * kept) * 2.0 / WINDOW as f32;
        Some(Tone {
            number,
            energy,
            hz,
            off,
        })
    }

    /// The sums of the older and the newer half of the window.
    fn halves(&self, frequency: usize) -> [Complex; 2] {
        let sum = |from: usize| {
            let hops = (from..from + HOPS / 2).map(|hop| (self.at + hop) % HOPS);
            hops.map(|hop| self.hops[hop].sums[frequency])
                .fold([0.0; 2], |sum, one| [sum[0] + one[0], sum[1] + one[1]])
        };
        [sum(0), sum(HOPS / 2)]
    }

    /// Whether there is more at twice a tone's frequency than what the window spreads of both tones: low ones have it
    /// next to a high one.
    fn has_harmonic(&self, tone: Tone, other: Tone) -> bool {
        let twice = 2.0 * tone.hz;
        let mut found = self.middle(twice);
        for tone in [tone, other] {
            let spread = kernel(tone.hz + tone.off - twice) / kernel(tone.off);
            let [re, im] = self.middle(tone.hz);
            found = [found[0] - re * spread, found[1] - im * spread];
        }
        power(found) * 2.0 / WINDOW as f32 > HARMONIC * tone.energy
    }

    /// The window's sum at a frequency, in phase to its middle.
    fn middle(&self, hz: f32) -> Complex {
        let middle = (WINDOW - 1) as f32 / 2.0;
        let mut sum = [0.0; 2];
        for hop in 0..HOPS {
            let samples = &self.hops[(self.at + hop) % HOPS].samples;
            for (at, sample) in (hop * HOP..).zip(samples) {
                let (sine, cosine) = (TURN * hz * (at as f32 - middle)).sin_cos();
                sum = [sum[0] + sample * cosine, sum[1] - sample * sine];
            }
        }
        sum
    }
}

/// What a window sums of a tone so many Hz beside, in phase to its middle.
fn kernel(hz: f32) -> f32 {
    let half = TURN * hz / 2.0;
    if half.abs() < 1e-6 {
        return WINDOW as f32;
    }
    (half * WINDOW as f32).sin() / half.sin()
}

fn frequency(index: usize) -> f64 {
    let all = LOW.iter().chain(&HIGH);
    all.copied().nth(index).unwrap_or_default()
}

/// A frequency's phase at a sample, to be multiplied with.
fn turned(hz: f64, sample: usize) -> Complex {
    #[expect(clippy::cast_precision_loss, reason = "samples of a second at most")]
    let turn = TAU * hz * sample as f64 / f64::from(RATE);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a phase does not need what f32 lacks"
    )]
    let phase = [turn.cos() as f32, -turn.sin() as f32];
    phase
}

fn product(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

fn power([re, im]: Complex) -> f32 {
    re * re + im * im
}

/// The event of a row and a column of the keys.
const fn event(row: u8, column: u8) -> u8 {
    match (row, column) {
        (_, 3) => 12 + row,
        (3, 0) => 10,
        (3, 1) => 0,
        (3, _) => 11,
        _ => row * 3 + column + 1,
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "tests know how large their numbers are"
)]
mod tests;
