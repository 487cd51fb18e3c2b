//! Traffic of every outcome against a running node (see [`benches::mixed`]).

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    mixed::{self, Plan},
    outcome,
};
use clap::Parser;

/// Puts calls of every outcome, registrations, MESSAGEs and bad input on a node, and looks whether its
/// memory stays flat and its tables are empty at the end.
#[derive(Parser)]
struct Arguments {
    /// How long there is traffic.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Calls a second, as many requests of phones, and as many datagrams of bad input.
    #[arg(long, default_value_t = 40)]
    rate: u32,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/mixed.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("mixed", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        time: Duration::from_secs(60 * arguments.minutes.max(1)),
        rate: arguments.rate.max(1),
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = mixed::run(plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.faults().is_empty())
}
