//! When what a server says is played.
//!
//! A server that begins to speak has a cushion for what follows. A frame that is late is waited for a little, and moves
//! the clock by just as much: the phone gets it later, and nothing is put between. So the cushion is as long as the
//! server was ever late, and no longer.
//!
//! What proves not to be needed is given back: where every frame of a while lay there before its turn, the next turns
//! come a little earlier, and where whole pieces lay there after each turn, single samples are left out. A server that is
//! late again after that is watched for longer before the next try. A deep buffer is a speech that was sent at once, and
//! is played to the sample.

use super::streams::FRAME_NS;
use crate::stream::FRAME;

/// What a server's beginning waits for what follows it, at least and at most.
const CUSHION_NS: u64 = 3_000_000;
const MOST_CUSHION_NS: u64 = 60_000_000;
/// A frame that is late is waited for so long before silence is played.
pub(super) const PATIENCE_NS: u64 = 10_000_000;
/// Then it is played so much later, so that the next one is not late by as little as the clocks differ.
const MARGIN_NS: u64 = 1_000_000;
/// Turns that are watched before something is given back: 1 s, and 64 s.
const WATCHED: u32 = 50;
const MOST_WATCHED: u32 = 3_200;
/// A turn comes earlier by so much at most ...
const STEP_NS: u64 = 500_000;
/// ... until the timestamps are ahead of the time by so much: a phone has to keep what comes early.
const EARLY_NS: u64 = 2 * FRAME_NS;
/// Samples that a turn leaves out at most: 1 of 80.
pub(super) const MOST_SPARE: usize = 2;
/// Less is not worth it.
const LEAST_NS: u64 = 1_000_000;
const LEAST_SAMPLES: usize = 16;
/// A buffer that never has less is a deep one: 125 ms.
const DEEP_NS: u64 = 125_000_000;
const DEEP: usize = 1_000;

/// The play-out clock of what a server says.
#[derive(Debug)]
pub(super) struct Pace {
    cushion: u64,
    /// The last turn had a frame of it.
    speaks: bool,
    /// The turn that found nothing after one that did.
    missed: Option<u64>,
    /// The frame of that turn is waited for.
    waits: bool,
    watch: Watch,
    /// Turns to be watched.
    watched: u32,
    /// The least samples of those before.
    before: usize,
    /// By how much turns are still to come earlier.
    lead: u64,
    /// Samples that are still to be left out.
    spare: usize,
    /// Something was given back since the server was late.
    has_given: bool,
}

/// What becomes of a turn that finds less than a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// It is waited for.
    Waits,
    /// It was waited for in vain.
    Waited,
    /// Nothing was expected.
    Nothing,
}

/// What was seen of turns.
#[derive(Debug, Clone, Copy)]
struct Watch {
    turns: u32,
    /// How long a frame lay there before its turn, at least.
    least_ns: u64,
    /// Samples that lay there after it, at least.
    least: usize,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            turns: 0,
            least_ns: u64::MAX,
            least: usize::MAX,
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            cushion: CUSHION_NS,
            speaks: false,
            missed: None,
            waits: false,
            watch: Watch::default(),
            watched: WATCHED,
            before: 0,
            lead: 0,
            spare: 0,
            has_given: false,
        }
    }
}

impl Pace {
    /// There is a frame where there was none: when it is due.
    pub(super) fn begin(&mut self, now: u64) -> u64 {
        if self.waits {
            return now + MARGIN_NS;
        }
        let due = now + self.cushion;
        if let Some(missed) = self.missed.take() {
            let late = now.saturating_sub(missed);
            // No cushion helps who is later.
            if late <= MOST_CUSHION_NS {
                self.late(late);
            }
        }
        due
    }

    /// A turn finds less than a frame.
    pub(super) const fn misses(&mut self, due: u64) -> Missed {
        if self.waits {
            self.waits = false;
            return Missed::Waited;
        }
        if !self.speaks {
            return Missed::Nothing;
        }
        self.speaks = false;
        self.waits = true;
        self.missed = Some(due);
        Missed::Waits
    }

    /// Samples that a turn is to leave out, where so many more lie there.
    pub(super) fn spare(&self) -> usize {
        self.spare.min(MOST_SPARE)
    }

    /// A turn that was due then plays a frame, which lay there since `since`, and leaves `rest` samples; the timestamps are
    /// ahead of the time by `early` nanoseconds. By how much the next turn is to come earlier.
    pub(super) fn plays(&mut self, due: u64, since: u64, rest: usize, early: u64) -> u64 {
        self.speaks = true;
        if std::mem::take(&mut self.waits) {
            let missed = self.missed.take().unwrap_or(due);
            let late = due.saturating_sub(missed);
            // A clock that is slower is late by so much again and again, and never by more.
            self.late(if late < 2 * MARGIN_NS { 0 } else { late });
            return 0;
        }
        self.missed = None;
        self.spare -= self.spare();
        self.watch.turns += 1;
        self.watch.least_ns = self.watch.least_ns.min(due.saturating_sub(since));
        self.watch.least = self.watch.least.min(rest);
        if self.watch.turns >= self.watched {
            self.give_back();
        }
        let room = EARLY_NS.saturating_sub(early);
        let step = self.lead.min(STEP_NS).min(room);
        self.lead -= step;
        self.cushion = self.cushion.saturating_sub(step).max(CUSHION_NS);
        step
    }

    /// What the server has said is taken back, or something else is played: it has not run dry.
    pub(super) const fn interrupt(&mut self) {
        self.speaks = false;
        self.waits = false;
        self.missed = None;
        self.spare = 0;
    }

    fn late(&mut self, late: u64) {
        self.cushion = (self.cushion + late).min(MOST_CUSHION_NS);
        (self.lead, self.spare, self.before) = (0, 0, 0);
        self.watch = Watch::default();
        if std::mem::take(&mut self.has_given) {
            self.watched = (self.watched * 2).min(MOST_WATCHED);
        }
    }

    /// Decides by what was watched.
    fn give_back(&mut self) {
        let Watch {
            least_ns, least, ..
        } = std::mem::take(&mut self.watch);
        let before = std::mem::replace(&mut self.before, least);
        (self.lead, self.spare) = (0, 0);
        if least_ns >= DEEP_NS || least >= DEEP {
            return;
        }
        if least >= LEAST_SAMPLES {
            // What still grows is no buffer of what is said as it is played.
            self.spare = if least < before + LEAST_SAMPLES {
                least
            } else {
                0
            };
        } else if least_ns >= CUSHION_NS + LEAST_NS {
            self.lead = least_ns - CUSHION_NS;
        }
        self.has_given |= self.lead > 0 || self.spare > 0;
    }
}

/// Makes a frame of as many more samples as `samples` has, one of which is left out in each equal part.
pub(super) fn leave_out(samples: &[i16], frame: &mut [i16; FRAME]) {
    let parts = samples.len().saturating_sub(FRAME).max(1);
    let len = FRAME / parts;
    let pieces = samples.chunks_exact(len + 1);
    for (piece, out) in pieces.zip(frame.chunks_exact_mut(len)) {
        leave_one_out(piece, out);
    }
}

/// Leaves one sample out where that is heard least: within the 16 samples that change least, each is moved by a part of a
/// sample more than the one before.
fn leave_one_out(samples: &[i16], out: &mut [i16]) {
    const OVER: u8 = 16;
    let over = usize::from(OVER);
    let changes = samples
        .array_windows()
        .map(|[a, b]| u32::from(a.abs_diff(*b)));
    let sums = (0..samples.len() - over).map(|at| changes.clone().skip(at).take(over).sum::<u32>());
    let from = (0..).zip(sums).min_by_key(|(_, sum)| *sum);
    let from = from.map_or(0, |(at, _)| at);
    for (at, (out, [here, next])) in out.iter_mut().zip(samples.array_windows()).enumerate() {
        let parts = i32::try_from(at.saturating_sub(from).min(over)).unwrap_or(0);
        let [here, next] = [*here, *next].map(i32::from);
        let sample = here + (next - here) * parts / i32::from(OVER);
        *out = i16::try_from(sample).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests;
