//! Figures, their medians and spreads, and what they mean against each other.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{Plan, Server, generator::Traffic};
use crate::spread::{Rounds, Spread, quantile};

/// What one run measured.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Processor time of the server for a registration, in microseconds.
    pub cpu_us: f64,
    /// Registrations a second.
    pub rate: f64,
    /// Answers that were not the one that was due, in the whole run.
    pub refused: u64,
    /// Requests without an answer, in the whole run.
    pub unanswered: u64,
    /// REGISTER to 200 that half of the registrations did not exceed.
    pub p50: Duration,
    /// The same that 99 % did not exceed.
    pub p99: Duration,
}

impl Figures {
    pub(super) fn new(time: Duration, completed: u64, cpu: Duration, traffic: &Traffic) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a quotient for people")]
        let completed = completed as f64;
        Self {
            cpu_us: cpu.as_secs_f64() * 1e6 / completed.max(1.0),
            rate: completed / time.as_secs_f64(),
            refused: traffic.refused,
            unanswered: traffic.unanswered,
            p50: quantile(&traffic.times, 50),
            p99: quantile(&traffic.times, 99),
        }
    }

    /// Whether every request got the answer that was due.
    pub const fn is_clean(&self) -> bool {
        self.refused == 0 && self.unanswered == 0
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPU {:6.1} us a registration at {:.0}/s, p50 {} us, p99 {} us, {} refused, {} unanswered",
            self.cpu_us,
            self.rate,
            self.p50.as_micros(),
            self.p99.as_micros(),
            self.refused,
            self.unanswered
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

    /// Tandem's time for a registration as a ratio to `peer`'s of the same round.
    fn ratio(&self, peer: Server) -> Spread {
        self.runs.ratio(Server::Tandem, peer, |f| f.cpu_us)
    }

    fn peers(&self) -> impl Iterator<Item = Server> {
        let servers = self.plan.servers.iter().copied();
        servers.filter(|server| *server != Server::Tandem)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let servers = self.plan.servers.iter().map(|&server| {
            json!({
                "name": server.name(),
                "cpu_us_per_registration": self.runs.of(server, |f| f.cpu_us).json(),
                "registrations_per_second": self.runs.of(server, |f| f.rate).json(),
                "us_p50": self.runs.of(server, |f| f.p50.as_secs_f64() * 1e6).json(),
                "us_p99": self.runs.of(server, |f| f.p99.as_secs_f64() * 1e6).json(),
                "refused": self.runs.of(server, |f| as_float(f.refused)).json(),
                "unanswered": self.runs.of(server, |f| as_float(f.unanswered)).json(),
            })
        });
        let servers: Vec<_> = servers.collect();
        let ratios = self.peers().map(|peer| {
            let name = peer.name().replace(", ", "_");
            (name, self.ratio(peer).json())
        });
        json!({
            "rate": self.plan.rate,
            "users": self.plan.users,
            "seconds": self.plan.time.as_secs(),
            "rounds": self.plan.rounds,
            "clean": self.is_clean(),
            "tandem_to": ratios.collect::<serde_json::Map<_, _>>(),
            "servers": servers,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(
            f,
            "{} users, {} registrations/s (two requests each), {} s a run, {} rounds; medians (lowest \
             to highest)\n",
            plan.users,
            plan.rate,
            plan.time.as_secs(),
            plan.rounds
        )?;
        writeln!(
            f,
            "| registrar | CPU, us a registration | tandem to it | p50, us | p99, us | refused | unanswered |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for &server in &plan.servers {
            writeln!(
                f,
                "| {} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
                server.name(),
                self.runs.of(server, |f| f.cpu_us),
                self.ratio(server),
                self.runs.of(server, |f| f.p50.as_secs_f64() * 1e6),
                self.runs.of(server, |f| f.p99.as_secs_f64() * 1e6),
                self.runs.of(server, |f| as_float(f.refused)),
                self.runs.of(server, |f| as_float(f.unanswered)),
            )?;
        }
        if !self.is_clean() {
            writeln!(
                f,
                "\nNOT CLEAN: requests were refused or not answered; lower the rate"
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts for people")]
const fn as_float(value: u64) -> f64 {
    value as f64
}
