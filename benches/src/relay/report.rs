//! Figures, their medians and spreads, and what they mean against each other.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{Plan, Subject, Work};
use crate::{
    machine::Machine,
    media::Traffic,
    spread::{Rounds, Spread},
};

/// What a packet should cost beyond the floor on XDP, and on io_uring, to what it costs in rtpengine.
const XDP: f64 = 1.0 / 15.0;
const IO_URING: f64 = 0.6;
/// What XDP should add to the floor's 99th percentile at most, in microseconds.
const ADDED_US: f64 = 20.0;

/// What one run measured.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The time that generator, relay and kernel took for a packet, in microseconds.
    pub cpu_us: f64,
    /// The time that the relay's own threads ran for a packet, in microseconds.
    pub own_us: Option<f64>,
    /// Packets that did not come back, or too late to be heard, in percent.
    pub loss_pct: f64,
    /// Latency that half of the packets did not exceed, in microseconds.
    pub p50_us: u64,
    /// Latency that 99 % of the packets did not exceed, in microseconds.
    pub p99_us: u64,
    /// The share of its time in which the generator was late, in percent.
    pub behind_pct: f64,
    /// The share that XDP forwarded, 0 to 1, where the relay says.
    pub by_xdp: Option<f64>,
}

impl Figures {
    pub(super) fn new(traffic: &Traffic, work: &Work, by_xdp: Option<f64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a quotient for people")]
        let received = traffic.received as f64;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / received.max(1.0);
        Self {
            cpu_us: each(work.all),
            own_us: work.relay.map(each),
            loss_pct: traffic.loss() * 100.0,
            p50_us: traffic.quantile(0.5),
            p99_us: traffic.quantile(0.99),
            behind_pct: traffic.behind * 100.0,
            by_xdp,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPU {:5.2} us a packet, p50 {} us, p99 {} us, loss {:.3} %",
            self.cpu_us, self.p50_us, self.p99_us, self.loss_pct
        )?;
        if self.behind_pct > 0.0 {
            write!(f, "; the generator was late in {:.1} %", self.behind_pct)?;
        }
        Ok(())
    }
}

/// All rounds.
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

    /// Whether all targets were met.
    pub fn is_met(&self) -> bool {
        self.targets().iter().all(Target::is_met)
    }

    fn targets(&self) -> [Target; 3] {
        let ratio = |subject| self.ratio(subject);
        [
            Target {
                name: "CPU a packet beyond the floor, XDP, to rtpengine's",
                key: "xdp_to_rtpengine",
                digits: 3,
                measured: ratio(Subject::Xdp),
                most: XDP,
            },
            Target {
                name: "the same, io_uring",
                key: "io_uring_to_rtpengine",
                digits: 2,
                measured: ratio(Subject::IoUring),
                most: IO_URING,
            },
            Target {
                name: "latency p99, XDP, beyond the floor's, us",
                key: "xdp_added_p99_us",
                digits: 0,
                measured: self.added(Subject::Xdp),
                most: ADDED_US,
            },
        ]
    }

    /// One figure of a subject, of all rounds.
    fn all(&self, subject: Subject, figure: impl Fn(&Figures) -> f64) -> Spread {
        self.rounds.of(subject, figure)
    }

    /// A subject's time for a packet beyond the floor's of the same round, as a ratio to
    /// rtpengine's.
    fn ratio(&self, subject: Subject) -> Spread {
        let ratios = (1..=self.plan.rounds).filter_map(|round| {
            let cpu = |subject| Some(self.rounds.find(round, subject)?.cpu_us);
            let floor = cpu(Subject::Floor)?;
            let peer = cpu(Subject::Rtpengine)? - floor;
            (peer > 0.0).then_some((cpu(subject)? - floor) / peer)
        });
        Spread::of(ratios.collect())
    }

    /// A subject's 99th percentile beyond the floor's of the same round.
    fn added(&self, subject: Subject) -> Spread {
        let added = (1..=self.plan.rounds).filter_map(|round| {
            let p99 = |subject| Some(as_float(self.rounds.find(round, subject)?.p99_us));
            Some(p99(subject)? - p99(Subject::Floor)?)
        });
        Spread::of(added.collect())
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let subjects = Subject::ALL.map(|subject| {
            json!({
                "name": subject.name(),
                "cpu_us": self.all(subject, |f| f.cpu_us).json(),
                "own_us": self.all(subject, |f| f.own_us.unwrap_or(0.0)).json(),
                "loss_pct": self.all(subject, |f| f.loss_pct).json(),
                "p50_us": self.all(subject, |f| as_float(f.p50_us)).json(),
                "p99_us": self.all(subject, |f| as_float(f.p99_us)).json(),
                "added_p99_us": self.added(subject).json(),
                "generator_late_pct": self.all(subject, |f| f.behind_pct).json(),
                "by_xdp": self.all(subject, |f| f.by_xdp.unwrap_or(0.0)).json(),
                "beyond_floor_to_rtpengine": self.ratio(subject).json(),
            })
        });
        let targets = self.targets();
        let targets = targets.iter().map(|target| {
            json!({
                "name": target.key,
                "measured": target.measured.json(),
                "most": target.most,
                "met": target.is_met(),
            })
        });
        json!({
            "machine": self.machine.json(),
            "calls": self.plan.calls,
            "seconds": self.plan.time.as_secs(),
            "rounds": self.plan.rounds,
            "subjects": subjects,
            "targets": targets.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(
            f,
            "{} two-way G.711 calls, {} s a run, {} rounds; medians (lowest to highest)\n",
            plan.calls,
            plan.time.as_secs(),
            plan.rounds
        )?;
        writeln!(
            f,
            "| relay | CPU in all, us a packet | its own, us a packet | beyond the floor, to \
             rtpengine's | latency p50, us | p99, us | p99 beyond the floor's, us | loss, % |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for subject in Subject::ALL {
            let beyond = |text: String| match subject {
                Subject::Floor => "-".to_owned(),
                _ => text,
            };
            let own = match subject {
                Subject::Floor | Subject::Bare => "-".to_owned(),
                _ => format!("{:.2}", self.all(subject, |f| f.own_us.unwrap_or(0.0))),
            };
            writeln!(
                f,
                "| {} | {:.2} | {} | {} | {:.0} | {:.0} | {} | {:.3} |",
                subject.name(),
                self.all(subject, |f| f.cpu_us),
                own,
                beyond(format!("{:.2}", self.ratio(subject))),
                self.all(subject, |f| as_float(f.p50_us)),
                self.all(subject, |f| as_float(f.p99_us)),
                beyond(format!("{:.0}", self.added(subject))),
                self.all(subject, |f| f.loss_pct),
            )?;
        }
        writeln!(f, "\n| target | measured | at most | |\n|---|---|---|---|")?;
        for target in self.targets() {
            let (digits, met) = (target.digits, target.is_met());
            writeln!(
                f,
                "| {} | {:.digits$} | {:.digits$} | {} |",
                target.name,
                target.measured,
                target.most,
                if met { "met" } else { "not met" }
            )?;
        }
        write!(f, "\n{}", self.machine)
    }
}

/// What was wanted, and what came of it.
struct Target {
    name: &'static str,
    key: &'static str,
    digits: usize,
    measured: Spread,
    most: f64,
}

impl Target {
    fn is_met(&self) -> bool {
        self.measured
            .median()
            .is_some_and(|median| median <= self.most)
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
const fn as_float(value: u64) -> f64 {
    value as f64
}
