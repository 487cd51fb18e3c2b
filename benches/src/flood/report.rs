//! Figures, their medians and spreads, and what a flood adds.

use std::{fmt, time::Duration};

use loadtest::sipp::Outcome;
use serde_json::{Value, json};

use super::{Datapath, Flood, Plan};
use crate::spread::Spread;

/// SIPp's clock has steps of some milliseconds: a quotient of less is one of its noise.
const STEP: Duration = Duration::from_millis(4);
/// What a flood may do to the slowest calls.
const LIMIT: f64 = 2.0;

/// What one turn measured.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Calls that went through.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages that a party had to send again.
    pub retransmissions: u64,
    /// INVITE to 200 that half of the calls did not exceed.
    pub p50: Duration,
    /// INVITE to 200 that 99 % of the calls did not exceed.
    pub p99: Duration,
    /// Datagrams of the flood a second.
    pub flood: f64,
    /// Packets that the driver dropped for a ban.
    pub dropped: f64,
}

impl Figures {
    pub(super) fn new(caller: &Outcome, callee: &Outcome, flood: f64, dropped: f64) -> Self {
        let mut setups = caller.setups.clone();
        setups.sort_unstable();
        let quantile = |percent: usize| {
            let at = (setups.len() * percent / 100).min(setups.len().saturating_sub(1));
            setups.get(at).copied().unwrap_or_default()
        };
        Self {
            successful: caller.stats.successful,
            failed: caller.stats.failed,
            retransmissions: caller.stats.retransmissions + callee.stats.retransmissions,
            p50: quantile(50),
            p99: quantile(99),
            flood,
            dropped,
        }
    }

    fn is_clean(&self) -> bool {
        self.failed == 0 && self.successful > 0
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} failed, {} sent again, setup p50 {} ms, p99 {} ms; flood {:.0}/s, {:.0} \
             dropped by the driver",
            self.successful,
            self.failed,
            self.retransmissions,
            self.p50.as_millis(),
            self.p99.as_millis(),
            self.flood,
            self.dropped
        )
    }
}

/// All turns.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    runs: Vec<(u32, Datapath, Flood, Figures)>,
}

impl Report {
    pub(super) const fn new(plan: Plan) -> Self {
        Self {
            plan,
            runs: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, round: u32, path: Datapath, flood: Flood, figures: Figures) {
        self.runs.push((round, path, flood, figures));
    }

    /// Whether no call failed, and no flood made the slowest calls slower than twice.
    pub fn is_met(&self) -> bool {
        let slowest = |path, flood| self.ratio(path, flood, |figures| figures.p99).median();
        let is_within = |path| {
            let floods = [Flood::Banned, Flood::Strangers].into_iter();
            floods
                .filter_map(|flood| slowest(path, flood))
                .all(|ratio| ratio <= LIMIT)
        };
        self.runs.iter().all(|run| run.3.is_clean()) && Datapath::ALL.into_iter().all(is_within)
    }

    fn all(&self, path: Datapath, flood: Flood, figure: impl Fn(&Figures) -> f64) -> Spread {
        let runs = self.runs.iter();
        let runs = runs.filter(|run| run.1 == path && run.2 == flood);
        Spread::of(runs.map(|run| figure(&run.3)).collect())
    }

    /// A time with the flood as a ratio to that without it in the same round.
    fn ratio(&self, path: Datapath, flood: Flood, time: impl Fn(&Figures) -> Duration) -> Spread {
        let of = |round: u32, flood: Flood| {
            let mut runs = self.runs.iter();
            let run = runs.find(|run| run.0 == round && run.1 == path && run.2 == flood)?;
            Some(time(&run.3).max(STEP).as_secs_f64())
        };
        let rounds = 1..=self.plan.rounds;
        let ratios = rounds.filter_map(|round| Some(of(round, flood)? / of(round, Flood::None)?));
        Spread::of(ratios.collect())
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let turns = Datapath::ALL.map(|path| {
            Flood::ALL.map(|flood| {
                let all = |figure: fn(&Figures) -> f64| self.all(path, flood, figure).json();
                json!({
                    "datapath": path.name(),
                    "flood": flood.name(),
                    "flood_per_second": all(|f| f.flood),
                    "dropped_by_driver": all(|f| f.dropped),
                    "successful": all(|f| as_float(f.successful)),
                    "failed": all(|f| as_float(f.failed)),
                    "retransmissions": all(|f| as_float(f.retransmissions)),
                    "setup_ms_p50": all(|f| f.p50.as_secs_f64() * 1e3),
                    "setup_ms_p99": all(|f| f.p99.as_secs_f64() * 1e3),
                    "p50_to_no_flood": self.ratio(path, flood, |f| f.p50).json(),
                    "p99_to_no_flood": self.ratio(path, flood, |f| f.p99).json(),
                })
            })
        });
        json!({
            "rate": self.plan.rate,
            "flood_rate": self.plan.flood_rate,
            "seconds": self.plan.time.as_secs(),
            "rounds": self.plan.rounds,
            "met": self.is_met(),
            "turns": turns.concat(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(
            f,
            "{} calls/s, {} s a turn, {} rounds; node and SIPp on core {}, the flood on core {}; \
             medians (lowest to highest); SIPp's clock has steps of {} ms\n",
            plan.rate,
            plan.time.as_secs(),
            plan.rounds,
            super::NODE_CORE,
            super::FLOOD_CORE,
            STEP.as_millis()
        )?;
        writeln!(
            f,
            "| datapath | flood | datagrams/s | failed | sent again | p50, ms | p99, ms | p50 to none \
             | p99 to none |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for path in Datapath::ALL {
            for flood in Flood::ALL {
                let all = |figure: fn(&Figures) -> f64| self.all(path, flood, figure);
                writeln!(
                    f,
                    "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} |",
                    path.name(),
                    flood.name(),
                    all(|f| f.flood),
                    all(|f| as_float(f.failed)),
                    all(|f| as_float(f.retransmissions)),
                    all(|f| f.p50.as_secs_f64() * 1e3),
                    all(|f| f.p99.as_secs_f64() * 1e3),
                    self.ratio(path, flood, |f| f.p50),
                    self.ratio(path, flood, |f| f.p99),
                )?;
            }
        }
        if !self.is_met() {
            writeln!(
                f,
                "\nNOT MET: calls failed, or p99 is more than {LIMIT} times"
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts for people")]
const fn as_float(value: u64) -> f64 {
    value as f64
}
