//! Figures of storms, and whether they were absorbed.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{Plan, phones::Storm};

/// What a storm may do to the slowest of the others' calls. SIPp's clock has steps of some milliseconds:
/// a quotient of less is one of its noise.
const LIMIT: f64 = 2.0;
const STEP: Duration = Duration::from_millis(4);
/// How much more memory the node may have after the last storm than after the second: what the first
/// ones filled is used again.
const GROWTH: f64 = 1.1;

/// Calls of others during a turn.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Calls that went through.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// INVITE to 200 that 99 % of the calls did not exceed.
    pub p99: Duration,
}

/// One storm.
#[derive(Clone, Debug)]
pub struct Turn {
    pub(super) storm: Storm,
    /// The node's memory afterwards, in KiB.
    pub(super) memory: u64,
    /// The node's processor time meanwhile.
    pub(super) cpu: Duration,
}

/// All of it.
#[derive(Debug)]
pub struct Report {
    pub(super) plan: Plan,
    /// The node's memory before the first storm, in KiB.
    pub(super) memory: u64,
    pub(super) quiet: Calls,
    pub(super) stormy: Calls,
    pub(super) turns: Vec<Turn>,
    /// Sources that were banned for what they did, and those that were held to a trickle.
    pub(super) bans: f64,
    pub(super) trickles: f64,
}

impl Report {
    /// Whether all phones are registered, no call of others failed or took more than twice as
    /// long, nobody was banned, and memory is flat.
    pub fn is_met(&self) -> bool {
        let slowest = self.quiet.p99.max(STEP).as_secs_f64() * LIMIT;
        let all =
            |turn: &Turn| turn.storm.took.len() == self.plan.phones && turn.storm.refused == 0;
        self.turns.iter().all(all)
            && self.stormy.failed == 0
            && self.stormy.successful > 0
            && self.stormy.p99.as_secs_f64() <= slowest
            && self.bans == 0.0
            && self.growth() <= GROWTH
    }

    /// Memory after the last storm to that after the second.
    fn growth(&self) -> f64 {
        let memory = |turn: Option<&Turn>| turn.map_or(0.0, |turn| float(turn.memory));
        memory(self.turns.last()) / memory(self.turns.get(1)).max(1.0)
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let turns = self.turns.iter().map(|turn| {
            json!({
                "registered": turn.storm.took.len(),
                "p50_s": quantile(&turn.storm.took, 50).as_secs_f64(),
                "p99_s": quantile(&turn.storm.took, 99).as_secs_f64(),
                "last_s": quantile(&turn.storm.took, 100).as_secs_f64(),
                "sent": turn.storm.sent,
                "sent_again": turn.storm.again,
                "put_off": turn.storm.put_off,
                "refused": turn.storm.refused,
                "memory_kib": turn.memory,
                "cpu_s": turn.cpu.as_secs_f64(),
            })
        });
        let calls = |calls: &Calls| {
            json!({
                "successful": calls.successful,
                "failed": calls.failed,
                "p99_ms": calls.p99.as_millis(),
            })
        };
        json!({
            "phones": self.plan.phones,
            "behind_one_address": self.plan.shared,
            "memory_kib": self.memory,
            "quiet": calls(&self.quiet),
            "stormy": calls(&self.stormy),
            "bans": self.bans,
            "trickles": self.trickles,
            "met": self.is_met(),
            "storms": turns.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent| quantile(&self.storm.took, percent).as_secs_f64();
        write!(
            f,
            "{} registered, half after {:.1} s, 99 % after {:.1} s, the last after {:.1} s; {} sent, {} \
             of them again, {} put off, {} refused; node: {:.1} s of CPU, {} MiB",
            self.storm.took.len(),
            at(50),
            at(99),
            at(100),
            self.storm.sent,
            self.storm.again,
            self.storm.put_off,
            self.storm.refused,
            self.cpu.as_secs_f64(),
            self.memory / 1024,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(
            f,
            "{} phones, {} of them behind one address; {} calls/s of a trunk; the node has {} MiB before\n",
            plan.phones,
            plan.shared,
            plan.rate,
            self.memory / 1024
        )?;
        for (number, turn) in (1..).zip(&self.turns) {
            writeln!(f, "storm {number}: {turn}")?;
        }
        writeln!(
            f,
            "calls: {} of {} failed, p99 {} ms; without a storm {} of {} failed, p99 {} ms",
            self.stormy.failed,
            self.stormy.successful + self.stormy.failed,
            self.stormy.p99.as_millis(),
            self.quiet.failed,
            self.quiet.successful + self.quiet.failed,
            self.quiet.p99.as_millis(),
        )?;
        writeln!(
            f,
            "sources banned: {:.0}; held to a trickle for a while: {:.0}; memory after the last storm to \
             that after the second: {:.2}",
            self.bans,
            self.trickles,
            self.growth()
        )?;
        if !self.is_met() {
            writeln!(f, "\nNOT MET")?;
        }
        Ok(())
    }
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

pub(super) fn p99(mut setups: Vec<Duration>) -> Duration {
    setups.sort_unstable();
    quantile(&setups, 99)
}

#[expect(clippy::cast_precision_loss, reason = "KiB for people")]
const fn float(value: u64) -> f64 {
    value as f64
}
