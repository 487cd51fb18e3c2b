//! Figures, their medians and spreads, and what they mean against each other.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{Plan, Subject, Work, generator::Traffic};
use crate::spread::Spread;

/// What one run measured.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The time that generator, relay and kernel took for a packet, in microseconds.
    pub cpu_us: f64,
    /// The time that the relay's own threads ran for a packet, in microseconds.
    pub own_us: Option<f64>,
    /// Packets that did not come back, in percent.
    pub loss_pct: f64,
    /// Latency that half of the packets did not exceed, in microseconds.
    pub p50_us: u64,
    /// Latency that 99 % of the packets did not exceed, in microseconds.
    pub p99_us: u64,
    /// The share that XDP forwarded, 0 to 1, where the relay says.
    pub by_xdp: Option<f64>,
}

impl Figures {
    pub(super) fn new(traffic: &Traffic, work: &Work, by_xdp: Option<f64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a quotient for people")]
        let (sent, received) = (traffic.sent as f64, traffic.received as f64);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / received.max(1.0);
        Self {
            cpu_us: each(work.all),
            own_us: work.relay.map(each),
            loss_pct: (1.0 - received / sent.max(1.0)).max(0.0) * 100.0,
            p50_us: traffic.quantile(0.5),
            p99_us: traffic.quantile(0.99),
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
        )
    }
}

/// All rounds.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    runs: Vec<(u32, Subject, Figures)>,
}

impl Report {
    pub(super) const fn new(plan: Plan) -> Self {
        Self {
            plan,
            runs: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, round: u32, subject: Subject, figures: Figures) {
        self.runs.push((round, subject, figures));
    }

    /// One figure of a subject, of all rounds.
    fn all(&self, subject: Subject, figure: impl Fn(&Figures) -> f64) -> Spread {
        let runs = self.runs.iter().filter(|run| run.1 == subject);
        Spread::of(runs.map(|run| figure(&run.2)).collect())
    }

    /// A subject's time for a packet beyond the floor's of the same round, as a ratio to
    /// rtpengine's.
    fn ratio(&self, subject: Subject) -> Spread {
        let cpu = |round: u32, subject: Subject| {
            self.runs
                .iter()
                .find(|run| run.0 == round && run.1 == subject)
                .map(|run| run.2.cpu_us)
        };
        let ratios = (1..=self.plan.rounds).filter_map(|round| {
            let floor = cpu(round, Subject::Floor)?;
            let peer = cpu(round, Subject::Rtpengine)? - floor;
            (peer > 0.0).then_some((cpu(round, subject)? - floor) / peer)
        });
        Spread::of(ratios.collect())
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
                "by_xdp": self.all(subject, |f| f.by_xdp.unwrap_or(0.0)).json(),
                "beyond_floor_to_rtpengine": self.ratio(subject).json(),
            })
        });
        json!({
            "calls": self.plan.calls,
            "seconds": self.plan.time.as_secs(),
            "rounds": self.plan.rounds,
            "subjects": subjects,
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
             rtpengine's | latency p50, us | p99, us | loss, % |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for subject in Subject::ALL {
            let own = match subject {
                Subject::Floor => "-".to_owned(),
                _ => format!("{:.2}", self.all(subject, |f| f.own_us.unwrap_or(0.0))),
            };
            let ratio = match subject {
                Subject::Floor => "-".to_owned(),
                _ => format!("{:.2}", self.ratio(subject)),
            };
            writeln!(
                f,
                "| {} | {:.2} | {own} | {ratio} | {:.0} | {:.0} | {:.3} |",
                subject.name(),
                self.all(subject, |f| f.cpu_us),
                self.all(subject, |f| as_float(f.p50_us)),
                self.all(subject, |f| as_float(f.p99_us)),
                self.all(subject, |f| f.loss_pct),
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
const fn as_float(value: u64) -> f64 {
    value as f64
}
