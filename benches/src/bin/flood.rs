//! Floods a node while calls go through it (see [`benches::flood`]). Needs root.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    flood::{self, Plan},
    outcome,
};
use clap::Parser;

/// Sets up calls through a node while banned sources and strangers flood it, with XDP and without.
#[derive(Parser)]
struct Arguments {
    /// Calls a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Datagrams of the flood a second at most [default: what its core can send]
    #[arg(long)]
    flood_rate: Option<u32>,
    /// Seconds that calls are made in each turn.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// Turns of each flood on each datapath.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/flood.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("flood", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        rate: arguments.rate.max(1),
        flood_rate: arguments.flood_rate,
        time: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds,
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = flood::run(plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
