//! Figures, their medians and spreads, and what they mean against each other.

use std::{fmt, time::Duration};

use loadtest::sipp::Outcome;
use serde_json::{Value, json};

use super::{Plan, Server, Work};
use crate::spread::Spread;

/// What one run measured.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Processor time of the server for a completed call, in microseconds.
    pub cpu_us: f64,
    /// Completed calls a second.
    pub rate: f64,
    /// Calls that did not go through, in the whole run.
    pub failed: u64,
    /// Messages that a party had to send again, in the whole run.
    pub retransmissions: u64,
    /// INVITE to 200 that half of the calls did not exceed.
    pub p50: Duration,
    /// INVITE to 200 that 99 % of the calls did not exceed.
    pub p99: Duration,
}

impl Figures {
    pub(super) fn new(work: &Work, callers: &[Outcome], callees: &[Outcome]) -> Self {
        let mut setups: Vec<_> = callers
            .iter()
            .flat_map(|o| o.setups.iter().copied())
            .collect();
        setups.sort_unstable();
        let quantile = |percent: usize| {
            let at = (setups.len() * percent / 100).min(setups.len().saturating_sub(1));
            setups.get(at).copied().unwrap_or_default()
        };
        let both = || callers.iter().chain(callees);
        #[expect(clippy::cast_precision_loss, reason = "a quotient for people")]
        let calls = work.calls as f64;
        Self {
            cpu_us: work.cpu.as_secs_f64() * 1e6 / calls.max(1.0),
            rate: calls / work.time.as_secs_f64(),
            failed: callers.iter().map(|outcome| outcome.stats.failed).sum(),
            retransmissions: both().map(|outcome| outcome.stats.retransmissions).sum(),
            p50: quantile(50),
            p99: quantile(99),
        }
    }

    /// Whether no call failed and nobody had to send anything again.
    pub const fn is_clean(&self) -> bool {
        self.failed == 0 && self.retransmissions == 0
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPU {:6.1} us a call at {:.0} calls/s, setup p50 {} ms, p99 {} ms, {} failed, {} sent again",
            self.cpu_us,
            self.rate,
            self.p50.as_millis(),
            self.p99.as_millis(),
            self.failed,
            self.retransmissions
        )
    }
}

/// All rounds.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    runs: Vec<(u32, Server, Figures)>,
}

impl Report {
    pub(super) const fn new(plan: Plan) -> Self {
        Self {
            plan,
            runs: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, round: u32, server: Server, figures: Figures) {
        self.runs.push((round, server, figures));
    }

    /// Whether every run was clean.
    pub fn is_clean(&self) -> bool {
        self.runs.iter().all(|(_, _, figures)| figures.is_clean())
    }

    fn all(&self, server: Server, figure: impl Fn(&Figures) -> f64) -> Spread {
        let runs = self.runs.iter().filter(|run| run.1 == server);
        Spread::of(runs.map(|run| figure(&run.2)).collect())
    }

    /// Tandem's time for a call as a ratio to Kamailio's of the same round.
    fn ratio(&self) -> Spread {
        let cpu = |round: u32, server: Server| {
            let mut runs = self.runs.iter();
            let run = runs.find(|run| run.0 == round && run.1 == server)?;
            Some(run.2.cpu_us)
        };
        let ratios = (1..=self.plan.rounds).filter_map(|round| {
            let peer = cpu(round, Server::Kamailio).filter(|peer| *peer > 0.0)?;
            Some(cpu(round, Server::Tandem)? / peer)
        });
        Spread::of(ratios.collect())
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let servers = Server::ALL.map(|server| {
            json!({
                "name": server.name(),
                "cpu_us_per_call": self.all(server, |f| f.cpu_us).json(),
                "calls_per_second": self.all(server, |f| f.rate).json(),
                "setup_ms_p50": self.all(server, |f| f.p50.as_secs_f64() * 1e3).json(),
                "setup_ms_p99": self.all(server, |f| f.p99.as_secs_f64() * 1e3).json(),
                "failed": self.all(server, |f| as_float(f.failed)).json(),
                "retransmissions": self.all(server, |f| as_float(f.retransmissions)).json(),
            })
        });
        json!({
            "rate": self.plan.rate,
            "seconds": self.plan.time.as_secs(),
            "rounds": self.plan.rounds,
            "clean": self.is_clean(),
            "tandem_to_kamailio": self.ratio().json(),
            "servers": servers,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(
            f,
            "{} calls/s, {} s a run, {} rounds; medians (lowest to highest)\n",
            plan.rate,
            plan.time.as_secs(),
            plan.rounds
        )?;
        writeln!(
            f,
            "| proxy | CPU, us a call | setup p50, ms | p99, ms | failed | sent again |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for server in Server::ALL {
            writeln!(
                f,
                "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                server.name(),
                self.all(server, |f| f.cpu_us),
                self.all(server, |f| f.p50.as_secs_f64() * 1e3),
                self.all(server, |f| f.p99.as_secs_f64() * 1e3),
                self.all(server, |f| as_float(f.failed)),
                self.all(server, |f| as_float(f.retransmissions)),
            )?;
        }
        writeln!(f, "\ntandem to kamailio: {:.2}", self.ratio())?;
        if !self.is_clean() {
            writeln!(
                f,
                "NOT CLEAN: calls failed or messages were sent again; lower the rate"
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts for people")]
const fn as_float(value: u64) -> f64 {
    value as f64
}
