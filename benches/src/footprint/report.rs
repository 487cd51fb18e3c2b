//! What was measured.

use std::fmt;

use serde_json::{Value, json};

use super::{Held, Plan, SUBJECTS, Subject};
use crate::{
    machine::Machine,
    spread::{Rounds, Spread},
};

/// What a call should take at most, of what it takes in rtpengine.
const RATIO: f64 = 0.5;

/// What one turn measured, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// What a relay and the kernel for it held before the first call.
    pub empty: f64,
    /// What a call added to the processes.
    pub process: f64,
    /// What a call added to the kernel.
    pub kernel: f64,
    /// Both, and a call's share of what one relay held before.
    pub call: f64,
    /// Packets of both parties that came back in the end, in percent.
    pub heard_pct: f64,
}

impl Figures {
    /// Of so many calls on so many relays.
    pub(super) fn new((calls, relays): (u32, u32), empty: Held, full: Held, heard: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "quotients for people")]
        let share = |kib: u64, of: u32| kib as f64 / f64::from(of.max(1));
        let process = share(full.processes.saturating_sub(empty.processes), calls);
        let kernel = share(full.kernel.saturating_sub(empty.kernel), calls);
        let empty = share(empty.processes + empty.kernel, relays);
        Self {
            empty,
            process,
            kernel,
            call: empty / f64::from(calls.max(1)) + process + kernel,
            heard_pct: share(heard, calls) * 50.0,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} KiB a call: {:.1} of the process, {:.1} of the kernel, and {:.0} MiB before the first; {:.1} % of \
             the packets came back",
            self.call,
            self.process,
            self.kernel,
            self.empty / 1024.0,
            self.heard_pct
        )
    }
}

/// Figures of each relay, by round.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    relays: u32,
    machine: Machine,
    rounds: Rounds<Subject, Figures>,
}

impl Report {
    pub(super) const fn new(plan: Plan, relays: u32, machine: Machine) -> Self {
        Self {
            plan,
            relays,
            machine,
            rounds: Rounds::new(),
        }
    }

    pub(super) fn add(&mut self, round: u32, subject: Subject, figures: Figures) {
        self.rounds.add(round, subject, figures);
    }

    /// Whether a call takes as little as it should, on either path.
    pub fn is_met(&self) -> bool {
        let ours = SUBJECTS
            .into_iter()
            .filter(|subject| *subject != Subject::Rtpengine);
        ours.into_iter().all(|subject| {
            let ratio = self.ratio(subject).median();
            ratio.is_some_and(|ratio| ratio <= RATIO)
        })
    }

    fn of(&self, subject: Subject, figure: impl Fn(&Figures) -> f64) -> Spread {
        self.rounds.of(subject, figure)
    }

    /// All that is held, to rtpengine's of the same round.
    fn ratio(&self, subject: Subject) -> Spread {
        self.rounds
            .ratio(subject, Subject::Rtpengine, |figures| figures.call)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let subjects = SUBJECTS.map(|subject| {
            json!({
                "name": subject.name(),
                "kib_a_call": self.of(subject, |f| f.call).json(),
                "process_kib_a_call": self.of(subject, |f| f.process).json(),
                "kernel_kib_a_call": self.of(subject, |f| f.kernel).json(),
                "empty_kib": self.of(subject, |f| f.empty).json(),
                "heard_pct": self.of(subject, |f| f.heard_pct).json(),
                "to_rtpengine": self.ratio(subject).json(),
            })
        });
        json!({
            "machine": self.machine.json(),
            "calls": self.plan.calls,
            "relays": self.relays,
            "rounds": self.plan.rounds,
            "subjects": subjects,
            "met": self.is_met(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} calls that have talked, on {} relays of a kind, {} rounds; medians (lowest to highest)\n",
            self.plan.calls, self.relays, self.plan.rounds
        )?;
        writeln!(
            f,
            "| relay | a call in all, KiB | to rtpengine's | beyond the empty relay: process, KiB | kernel, KiB | the \
             empty relay, MiB | packets that came back, % |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for subject in SUBJECTS {
            writeln!(
                f,
                "| {} | {:.1} | {:.2} | {:.1} | {:.1} | {:.0} | {:.1} |",
                subject.name(),
                self.of(subject, |f| f.call),
                self.ratio(subject),
                self.of(subject, |f| f.process),
                self.of(subject, |f| f.kernel),
                self.of(subject, |f| f.empty / 1024.0),
                self.of(subject, |f| f.heard_pct),
            )?;
        }
        let met = if self.is_met() { "met" } else { "not met" };
        write!(
            f,
            "expected: at most {RATIO} of rtpengine's: {met}\n\n{}",
            self.machine
        )
    }
}
