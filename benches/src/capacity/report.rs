//! What was measured.

use std::fmt;

use serde_json::{Value, json};

use super::{Plan, SUBJECTS, Subject};
use crate::{
    machine::Machine,
    media::LATE_MS,
    spread::{Rounds, Spread},
};

/// How many times rtpengine's calls mediad should carry.
const RATIO: f64 = 1.5;

/// What a turn found.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Calls without loss.
    pub calls: u32,
    /// Latency that 99 % of their packets did not exceed, in microseconds.
    pub p99_us: u64,
    /// More could not be sent, so the relay may carry more than this.
    pub is_bound: bool,
}

/// Calls of each relay, by round.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    machine: Machine,
    rounds: Rounds<Subject, Figures>,
}

impl Report {
    pub(super) const fn new(plan: Plan, machine: Machine) -> Self {
        Self {
            plan,
            machine,
            rounds: Rounds::new(),
        }
    }

    pub(super) fn add(&mut self, round: u32, subject: Subject, figures: Figures) {
        self.rounds.add(round, subject, figures);
    }

    /// Whether the target was met, by as many of rtpengine's calls as it carries: where the generator sent no more, it
    /// may carry more.
    pub fn is_met(&self) -> bool {
        !self.is_bound(Subject::Rtpengine)
            && self.ratio().median().is_some_and(|ratio| ratio >= RATIO)
    }

    fn calls(&self, subject: Subject) -> Spread {
        self.rounds.of(subject, |figures| figures.calls.into())
    }

    /// Round by round.
    fn ratio(&self) -> Spread {
        let (ours, theirs) = (Subject::IoUring, Subject::Rtpengine);
        self.rounds
            .ratio(ours, theirs, |figures| figures.calls.into())
    }

    /// Whether the generator was the bound in a turn of this relay.
    fn is_bound(&self, subject: Subject) -> bool {
        self.rounds
            .of(subject, |figures| u8::from(figures.is_bound).into())
            .highest()
            > Some(0.0)
    }

    fn latency(&self, subject: Subject) -> Spread {
        #[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
        self.rounds.of(subject, |figures| figures.p99_us as f64)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let subjects = SUBJECTS.map(|subject| {
            json!({
                "name": subject.name(),
                "calls": self.calls(subject).json(),
                "p99_us": self.latency(subject).json(),
                "generator_is_bound": self.is_bound(subject),
            })
        });
        json!({
            "machine": self.machine.json(),
            "seconds": self.plan.time.as_secs_f64(),
            "loss_pct": self.plan.loss_pct,
            "late_ms": LATE_MS,
            "exact_pct": self.plan.exact_pct,
            "subjects": subjects,
            "io_uring_to_rtpengine": self.ratio().json(),
            "met": self.is_met(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "two-way G.711 calls on one core with at most {} % of the packets lost or later than {LATE_MS} ms; medians \
             (lowest to highest), to {} %\n",
            self.plan.loss_pct, self.plan.exact_pct
        )?;
        writeln!(
            f,
            "| relay | calls | packets a second | latency p99, us |\n|---|---|---|---|"
        )?;
        for subject in SUBJECTS {
            let calls = self.calls(subject);
            let packets = calls.median().unwrap_or(0.0) * 100.0;
            let bound = if self.is_bound(subject) {
                " or more: more could not be sent"
            } else {
                ""
            };
            let latency = self.latency(subject);
            writeln!(
                f,
                "| {} | {calls:.0}{bound} | {packets:.0} | {latency:.0} |",
                subject.name()
            )?;
        }
        let met = if self.is_met() {
            "met"
        } else if self.is_bound(Subject::Rtpengine) {
            "not met, since nobody knows how many more rtpengine carries"
        } else {
            "not met"
        };
        writeln!(f, "| io_uring to rtpengine | {:.2} | | |", self.ratio())?;
        write!(
            f,
            "expected: at least {RATIO} times: {met}\n\n{}",
            self.machine
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_generator_that_was_rtpengines_bound_proves_nothing() {
        let report = |theirs| {
            let plan = Plan {
                start: 400,
                step_pct: 30,
                exact_pct: 4,
                time: Duration::from_secs(1),
                loss_pct: 0.01,
                rounds: 1,
            };
            let mut report = Report::new(plan, Machine::now());
            let figures = |calls, is_bound| Figures {
                calls,
                p99_us: 900,
                is_bound,
            };
            report.add(1, Subject::Rtpengine, figures(800, theirs));
            // That mediad carries more is no reason to doubt that it carries these.
            report.add(1, Subject::IoUring, figures(1600, true));
            report
        };
        assert!(report(false).is_met());
        let bound = report(true);
        assert!(!bound.is_met());
        assert!(bound.to_string().contains("not met, since"), "{bound}");
    }
}
