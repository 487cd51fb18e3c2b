//! What is owed, and what was found.

use std::fmt;

use loadtest::sipp::Outcome;
use serde_json::{Value, json};

use super::{Plan, phones::Counts};
use crate::memory::Samples;

/// Growth of the memory that counts as none, in KiB a minute and as a share of what there is.
const FLAT_KIB: f64 = 40.0;
const FLAT_SHARE: f64 = 0.001;

/// How the run went.
#[derive(Debug)]
pub struct Report {
    pub(super) plan: Plan,
    pub(super) calls: Vec<(&'static str, Outcome)>,
    pub(super) answering: Vec<(&'static str, Outcome)>,
    pub(super) phones: Counts,
    pub(super) hostile: u64,
    pub(super) samples: Samples,
    pub(super) settled: u64,
    pub(super) left: Vec<(&'static str, f64)>,
    pub(super) malformed: f64,
    pub(super) stopped_well: bool,
}

impl Report {
    /// Everything that is not as it should be, a line each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, outcome) in self.calls.iter().chain(&self.answering) {
            let stats = &outcome.stats;
            if stats.failed > 0 {
                let what = (&stats.reasons, &outcome.errors);
                faults.push(format!("{name}: {} calls failed: {what:?}", stats.failed));
            }
        }
        for (name, outcome) in &self.calls {
            if outcome.stats.created == 0 || outcome.code != Some(0) {
                let (code, errors) = (outcome.code, &outcome.errors);
                faults.push(format!("{name}: SIPp ended with {code:?}: {errors}"));
            }
        }
        let phones = &self.phones;
        if let Some(first) = phones.wrong.first() {
            let count = phones.wrong.len();
            faults.push(format!("phones: {count} wrong answers, the first {first}"));
        }
        if phones.unanswered > 0 {
            faults.push(format!("phones: {} requests unanswered", phones.unanswered));
        }
        match phones.untaken() {
            0 => {}
            lost @ 1.. => faults.push(format!("{lost} MESSAGEs were not delivered")),
            twice => faults.push(format!("{} MESSAGEs came twice", -twice)),
        }
        for (table, count) in &self.left {
            faults.push(format!("{table}: {count} left"));
        }
        if !self.is_flat() {
            faults.push(format!(
                "memory grows by {:.0} KiB a minute",
                self.samples.slope()
            ));
        }
        if !self.stopped_well {
            faults.push("the node did not stop well, or panicked".to_owned());
        }
        faults
    }

    fn is_flat(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = self.samples.first() as f64 * FLAT_SHARE;
        self.samples.slope() <= FLAT_KIB.max(share)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let calls = self.calls.iter().map(|(name, outcome)| {
            let stats = &outcome.stats;
            json!({"kind": name, "calls": stats.created, "failed": stats.failed,
                   "retransmissions": stats.retransmissions})
        });
        let phones = &self.phones;
        json!({
            "seconds": self.plan.time.as_secs(),
            "rate": self.plan.rate,
            "calls": calls.collect::<Vec<_>>(),
            "registrations": phones.registered,
            "wrong_passwords": phones.wrong_passwords,
            "messages": phones.messages,
            "messages_kept": phones.messages_kept,
            "messages_taken": phones.messages_taken,
            "bad_datagrams": self.hostile,
            "memory_kib": {"after_warm_up": self.samples.first(), "end": self.samples.last(),
                           "settled": self.settled, "kib_per_minute": self.samples.slope()},
            "left": self.left.iter().map(|(name, count)| json!({"table": name, "count": count}))
                .collect::<Vec<_>>(),
            "faults": self.faults(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} s of mixed traffic\n\n| traffic | count | failed | sent again |\n|---|---|---|---|",
            self.plan.time.as_secs()
        )?;
        for (name, outcome) in &self.calls {
            let stats = &outcome.stats;
            let (calls, failed, again) = (stats.created, stats.failed, stats.retransmissions);
            writeln!(f, "| calls: {name} | {calls} | {failed} | {again} |")?;
        }
        let phones = &self.phones;
        let again = phones.messages_again;
        for (name, count) in [
            ("registrations", phones.registered),
            ("wrong passwords", phones.wrong_passwords),
            ("MESSAGEs to who is there", phones.messages),
            ("MESSAGEs to who is away", phones.messages_kept),
            ("MESSAGEs delivered", phones.messages_taken),
            ("MESSAGEs sent again on their way to a phone", again),
            ("forked calls answered", phones.answered),
            ("their other branches cancelled", phones.cancelled),
            ("datagrams of bad input", self.hostile),
        ] {
            writeln!(f, "| {name} | {count} | | |")?;
        }
        writeln!(
            f,
            "\nmemory: {} KiB after the warm-up, {} KiB at the end, {:+.1} KiB a minute; {} KiB when all is over",
            self.samples.first(),
            self.samples.last(),
            self.samples.slope(),
            self.settled
        )?;
        writeln!(
            f,
            "{} messages could not be parsed; tables: {}",
            self.malformed,
            if self.left.is_empty() {
                "empty"
            } else {
                "NOT EMPTY"
            }
        )?;
        for fault in self.faults() {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}
