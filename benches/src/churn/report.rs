//! What was measured.

use std::fmt;

use serde_json::{Value, json};

use super::{Plan, calls::Turned};
use crate::{
    machine::Machine,
    media::{LATE_MS, Places, Traffic},
    memory::Samples,
};

/// Memory that may come and go in the last third of a run, beyond what there was: a share, and KiB.
const GROWTH: f64 = 0.01;
const GROWTH_KIB: u64 = 512;
/// The share of the calls wanted that have to come and go.
const RATE: f64 = 0.98;

/// All of a run.
#[derive(Debug)]
pub struct Report {
    pub(super) plan: Plan,
    pub(super) machine: Machine,
    pub(super) traffic: Traffic,
    /// What was lost, of all packets, and where.
    pub(super) places: Places,
    pub(super) turned: Turned,
    pub(super) process: Samples,
    pub(super) kernel: Samples,
    /// Descriptors of mediad at the begin and at the end.
    pub(super) files: (u64, u64),
    /// Sessions of mediad after the last call that came had gone.
    pub(super) sessions: f64,
    pub(super) by_xdp: f64,
}

impl Report {
    /// Whether no packet was lost, memory did not grow, and the calls came and went as often as they should.
    pub fn is_met(&self) -> bool {
        self.missing() == 0
            && self.turned.sent == self.turned.received
            && self.is_flat()
            && self.rate() >= RATE * f64::from(self.plan.rate)
            && (self.sessions - f64::from(self.plan.calls)).abs() < 0.5
    }

    /// Packets of the calls that stand which never came.
    const fn missing(&self) -> u64 {
        self.traffic.sent.saturating_sub(self.traffic.received)
    }

    /// Those that came too late to be heard.
    fn late(&self) -> u64 {
        self.traffic.lost().saturating_sub(self.missing())
    }

    /// Packets of the calls that come and go which never came.
    const fn gone(&self) -> u64 {
        self.turned.sent.saturating_sub(self.turned.received)
    }

    /// Packets that were lost where nothing counts them.
    fn unexplained(&self) -> u64 {
        (self.missing() + self.gone()).saturating_sub(self.places.sum())
    }

    /// Calls a second that came and went.
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let calls = self.turned.calls as f64;
        calls / self.turned.seconds.max(1e-9)
    }

    fn is_flat(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "shares of memory")]
        let (grown, all) = (self.process.grown() as f64, self.process.first() as f64);
        self.process.grown() <= GROWTH_KIB || grown <= all * GROWTH
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        json!({
            "machine": self.machine.json(),
            "calls": self.plan.calls,
            "warm_up_seconds": self.plan.warm_up.as_secs_f64(),
            "seconds": self.plan.time.as_secs_f64(),
            "datapath": self.plan.subject.name(),
            "by_xdp": self.by_xdp,
            "sent": self.traffic.sent,
            "missing": self.missing(),
            "late": self.late(),
            "lost_at": self.places.json(),
            "lost_nobody_knows_where": self.unexplained(),
            "p99_us": self.traffic.quantile(0.99),
            "generator_late_pct": self.traffic.behind * 100.0,
            "turned_over_per_second": self.rate(),
            "turned_over_sent": self.turned.sent,
            "turned_over_received": self.turned.received,
            "process_kib": [self.process.first(), self.process.last()],
            "process_grown_kib": self.process.grown(),
            "process_kib_per_minute": self.process.slope(),
            "kernel_kib": [self.kernel.first(), self.kernel.last()],
            "kernel_grown_kib": self.kernel.grown(),
            "files": [self.files.0, self.files.1],
            "sessions_at_the_end": self.sessions,
            "met": self.is_met(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, turned) = (self.plan, self.turned);
        writeln!(
            f,
            "{} two-way G.711 calls for {} s, after {} s of warm-up, over {} ({:.1} % of the packets by XDP), {:.0} calls a second set up and \
             torn down beside them ({} wanted)\n",
            plan.calls,
            plan.time.as_secs(),
            plan.warm_up.as_secs(),
            plan.subject.name(),
            self.by_xdp * 100.0,
            self.rate(),
            plan.rate
        )?;
        writeln!(f, "| | |\n|---|---|")?;
        writeln!(
            f,
            "| packets of the calls that stood | {} sent, {} lost, {} later than {LATE_MS} ms; p99 {} us |",
            self.traffic.sent,
            self.missing(),
            self.late(),
            self.traffic.quantile(0.99)
        )?;
        writeln!(
            f,
            "| packets of the others | {} sent, {} lost |",
            turned.sent,
            self.gone()
        )?;
        write!(f, "| where packets of any kind were lost |")?;
        for (stage, count) in self.places.stages() {
            write!(f, " {stage} {count};")?;
        }
        writeln!(f, " nobody knows {} |", self.unexplained())?;
        writeln!(
            f,
            "| memory of mediad, KiB | {} at first, {} at last, {} more in the last third |",
            self.process.first(),
            self.process.last(),
            self.process.grown()
        )?;
        writeln!(
            f,
            "| memory of the kernel, whoever has it, KiB | {} at first, {} at last |",
            self.kernel.first(),
            self.kernel.last()
        )?;
        let (before, after) = self.files;
        writeln!(
            f,
            "| descriptors of mediad | {before} at first, {after} at last |"
        )?;
        writeln!(f, "| sessions in the end | {:.0} |", self.sessions)?;
        if self.traffic.behind > 0.0 {
            let share = self.traffic.behind * 100.0;
            writeln!(
                f,
                "| the generator was late | in {share:.2} % of its time |"
            )?;
        }
        let met = if self.is_met() { "met" } else { "not met" };
        write!(
            f,
            "expected: none lost, none grown: {met}\n\n{}",
            self.machine
        )
    }
}
