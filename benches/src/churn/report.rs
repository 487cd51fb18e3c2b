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
    /// What was lost, of all packets, and where, since the warm-up.
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
    /// Whether every packet was sent and came in time, memory did not grow, and the calls came and went as often as they
    /// should. Of the calls that come and go, whose times nobody takes, every packet has come.
    pub fn is_met(&self) -> bool {
        self.traffic.lost() == 0
            && self.turned.lost() == 0
            && self.refused() == 0
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

    /// Packets of any call that were never sent.
    const fn refused(&self) -> u64 {
        self.traffic.refused + self.turned.refused
    }

    /// Packets that were lost where nothing counts them; below 0, those that something has counted and nobody misses.
    /// A few are: all traffic is in the places, also what ends while the bench counts no more.
    fn unexplained(&self) -> i128 {
        let gone = self.turned.lost().saturating_sub(self.turned.lost_before);
        i128::from(self.missing()) + i128::from(gone) - i128::from(self.places.sum())
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
            "lost_in_backlogs_of_these": self.places.in_backlogs(),
            "lost_nobody_knows_where": self.unexplained().max(0),
            "counted_and_not_missed": (-self.unexplained()).max(0),
            "refused": self.refused(),
            "p99_us": self.traffic.quantile(0.99),
            "generator_late_pct": self.traffic.behind * 100.0,
            "turned_over_per_second": self.rate(),
            "turned_over_sent": self.turned.sent,
            "turned_over_received": self.turned.received,
            "turned_over_lost_in_warm_up": self.turned.lost_before,
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
            "| packets of the others, the warm-up's too | {} sent, {} lost, {} of them in the warm-up |",
            turned.sent,
            turned.lost(),
            turned.lost_before
        )?;
        writeln!(f, "| packets that were not sent | {} |", self.refused())?;
        write!(f, "| where packets of any kind were lost |")?;
        for (stage, count) in self.places.stages() {
            write!(f, " {stage} {count};")?;
        }
        let backlogs = self.places.in_backlogs();
        if backlogs > 0 {
            write!(f, " of these, in the cores' backlogs {backlogs};")?;
        }
        match self.unexplained() {
            surplus @ ..0 => writeln!(f, " counted and not missed {} |", -surplus)?,
            lost => writeln!(f, " nobody knows {lost} |")?,
        }
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
            "expected: none lost, late or unsent, memory not grown: {met} ({} lost, {} late, {} unsent, {} KiB)\n\n{}",
            self.missing() + turned.lost(),
            self.late(),
            self.refused(),
            self.process.grown(),
            self.machine
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::Subject;

    fn report(traffic: Traffic) -> Report {
        Report {
            plan: Plan {
                calls: 10,
                rate: 100,
                warm_up: Duration::ZERO,
                time: Duration::from_secs(1),
                subject: Subject::Xdp,
            },
            machine: Machine::now(),
            traffic,
            places: Places::default(),
            turned: Turned {
                calls: 100,
                seconds: 1.0,
                sent: 1000,
                received: 1000,
                ..Turned::default()
            },
            process: Samples::default(),
            kernel: Samples::default(),
            files: (0, 0),
            sessions: 10.0,
            by_xdp: 1.0,
        }
    }

    fn traffic(in_time: u64, late: u64) -> Traffic {
        let mut traffic = Traffic::new();
        traffic.sent = 1000;
        traffic.took(900, in_time);
        traffic.took(LATE_MS * 1000 + 1, late);
        traffic
    }

    #[test]
    fn a_packet_that_is_lost_late_or_unsent_is_none_that_was_heard() {
        assert!(report(traffic(1000, 0)).is_met());
        assert!(!report(traffic(999, 0)).is_met());
        let late = report(traffic(999, 1));
        assert!(!late.is_met());
        assert!(
            late.to_string().contains("(0 lost, 1 late, 0 unsent"),
            "{late}"
        );
        let mut unsent = report(traffic(1000, 0));
        unsent.traffic.refused = 1;
        assert!(!unsent.is_met());
        let mut other = report(traffic(1000, 0));
        other.turned.refused = 1;
        assert!(!other.is_met());
    }

    #[test]
    fn what_is_lost_in_the_warm_up_is_in_no_place_since() {
        let mut report = report(traffic(998, 0));
        (report.turned.received, report.turned.lost_before) = (993, 7);
        assert_eq!(report.unexplained(), 2);
        (report.turned.received, report.turned.lost_before) = (1000, 3);
        report.traffic = traffic(1000, 0);
        assert_eq!(report.unexplained(), 0);
    }
}
