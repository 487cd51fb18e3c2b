//! Runs two-way calls through rtpengine and through mediad's datapaths in turns, and compares them.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    outcome,
    relay::{self, Plan},
};
use clap::Parser;

/// Compares relays on one bed: machine time for a packet, latency, loss. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Two-way calls at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=i64::from(relay::MOST)))]
    calls: u16,
    /// Seconds that each run is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Turns of each relay.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/relay.json")]
    report: PathBuf,
}

fn main() -> ExitCode {
    outcome::exit("relay", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        calls: arguments.calls,
        time: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds,
    };
    let programs = outcome::programs(None)?;
    let report = relay::run(plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
