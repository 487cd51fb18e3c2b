//! What was measured.

use std::fmt;

use serde_json::{Value, json};

use super::{Plan, Subject};
use crate::spread::{Rounds, Spread};

/// Pairs a second that the control channel should carry, and how often rtpengine's rate NG should be.
const PAIRS: f64 = 20_000.0;
const RATIO: f64 = 2.0;

/// Rates of each subject, by round.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    rounds: Rounds<Subject, f64>,
}

impl Report {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            rounds: Rounds::new(),
        }
    }

    pub(super) fn add(&mut self, round: u32, subject: Subject, rate: f64) {
        self.rounds.add(round, subject, rate);
    }

    /// Whether both targets were met.
    pub fn met(&self) -> bool {
        let pairs = self.of(Subject::Channel).median();
        pairs.is_some_and(|pairs| pairs >= PAIRS)
            && self.ratio().median().is_some_and(|ratio| ratio >= RATIO)
    }

    /// For a program.
    pub fn json(&self) -> Value {
        json!({
            "seconds": self.plan.time.as_secs_f64(),
            "window": self.plan.window,
            "live": self.plan.live,
            "datapath": self.plan.datapath,
            "control_pairs_per_second": self.of(Subject::Channel).json(),
            "ng_calls_per_second": self.of(Subject::Ng).json(),
            "rtpengine_calls_per_second": self.of(Subject::Rtpengine).json(),
            "ng_to_rtpengine": self.ratio().json(),
            "met": self.met(),
        })
    }

    fn of(&self, subject: Subject) -> Spread {
        self.rounds.of(subject, |rate| *rate)
    }

    /// Round by round.
    fn ratio(&self) -> Spread {
        let (ours, theirs) = (Subject::Ng, Subject::Rtpengine);
        self.rounds.ratio(ours, theirs, |rate| *rate)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| calls set up and torn down | a second, median (least to most) |"
        )?;
        writeln!(f, "|---|---|")?;
        for subject in Subject::ALL {
            writeln!(f, "| {} | {:.0} |", subject.name(), self.of(subject))?;
        }
        writeln!(f, "| NG, mediad's to rtpengine's | {:.2} |", self.ratio())?;
        write!(
            f,
            "expected: {PAIRS} pairs over the control channel, and {RATIO} times rtpengine's calls"
        )
    }
}
