//! Figures, their medians and spreads, and what they mean against each other.

use std::{fmt, time::Duration};

use loadtest::sipp::Outcome;
use serde_json::{Value, json};

use super::{Plan, RING, Server, Work};
use crate::spread::{Rounds, Spread, quantile};

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
    /// INVITE to 200, without the ringing, that half of the calls did not exceed.
    pub p50: Duration,
    /// The same that 99 % of the calls did not exceed.
    pub p99: Duration,
}

impl Figures {
    pub(super) fn new(work: &Work, callers: &[Outcome], callees: &[Outcome]) -> Self {
        let mut setups: Vec<_> = callers
            .iter()
            .flat_map(|o| o.setups.iter().copied())
            .collect();
        setups.sort_unstable();
        let quantile = |percent| quantile(&setups, percent).saturating_sub(RING);
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
    runs: Rounds<Server, Figures>,
}

impl Report {
    pub(super) const fn new(plan: Plan) -> Self {
        Self {
            plan,
            runs: Rounds::new(),
        }
    }

    pub(super) fn add(&mut self, round: u32, server: Server, figures: Figures) {
        self.runs.add(round, server, figures);
    }

    /// Whether every run was clean.
    pub fn is_clean(&self) -> bool {
        self.runs.all(Figures::is_clean)
    }

    /// Tandem's time for a call as a ratio to `peer`'s of the same round.
    fn ratio(&self, peer: Server) -> Spread {
        self.runs.ratio(Server::Tandem, peer, |f| f.cpu_us)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let servers = self.plan.servers.iter().map(|&server| {
            json!({
                "name": server.name(),
                "cpu_us_per_call": self.runs.of(server, |f| f.cpu_us).json(),
                "calls_per_second": self.runs.of(server, |f| f.rate).json(),
                "setup_ms_p50": self.runs.of(server, |f| f.p50.as_secs_f64() * 1e3).json(),
                "setup_ms_p99": self.runs.of(server, |f| f.p99.as_secs_f64() * 1e3).json(),
                "failed": self.runs.of(server, |f| as_float(f.failed)).json(),
                "retransmissions": self.runs.of(server, |f| as_float(f.retransmissions)).json(),
            })
        });
        let servers: Vec<_> = servers.collect();
        json!({
            "rate": self.plan.rate,
            "seconds": self.plan.time.as_secs(),
            "rounds": self.plan.rounds,
            "clean": self.is_clean(),
            "tandem_to_kamailio": self.ratio(Server::Kamailio).json(),
            "tandem_to_kamailio_untuned": self.ratio(Server::KamailioUntuned).json(),
            "servers": servers,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
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
        for &server in &plan.servers {
            writeln!(
                f,
                "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                server.name(),
                self.runs.of(server, |f| f.cpu_us),
                self.runs.of(server, |f| f.p50.as_secs_f64() * 1e3),
                self.runs.of(server, |f| f.p99.as_secs_f64() * 1e3),
                self.runs.of(server, |f| as_float(f.failed)),
                self.runs.of(server, |f| as_float(f.retransmissions)),
            )?;
        }
        writeln!(f)?;
        for peer in [Server::Kamailio, Server::KamailioUntuned] {
            let ratio = self.ratio(peer);
            if plan.servers.contains(&peer) && ratio.median().is_some() {
                writeln!(f, "tandem to {}: {ratio:.2}", peer.name())?;
            }
        }
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
