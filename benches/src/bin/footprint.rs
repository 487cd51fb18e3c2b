//! Measures the memory that a call takes (see [`benches::footprint`]). Needs root.

use std::{path::PathBuf, process::ExitCode};

use benches::{
    footprint::{self, Plan},
    outcome,
};
use clap::Parser;

/// Sets calls up over NG on rtpengine and on mediad, and compares the memory that they take. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Calls at once; beyond what one relay has ports and files for, several share them.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    calls: u32,
    /// Turns of each relay.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/footprint.json")]
    report: PathBuf,
    /// The folder with mediad: this program's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("footprint", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        calls: arguments.calls,
        rounds: arguments.rounds,
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = footprint::run(plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
