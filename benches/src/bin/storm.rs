//! Lets the phones of a town register at once (see [`benches::storm`]). Needs root.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    outcome,
    storm::{self, Plan},
};
use clap::Parser;

/// Registers many phones at once with a node, again and again, while calls go through it.
#[derive(Parser)]
struct Arguments {
    /// Phones.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    phones: u32,
    /// Phones of these behind one address.
    #[arg(long, default_value_t = 5_000)]
    behind_one: u32,
    /// Calls a second of a trunk.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// How often the power comes back.
    #[arg(long, default_value_t = 4)]
    storms: u32,
    /// Seconds after which a storm counts as not absorbed.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/storm.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("storm", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let phones = usize::try_from(arguments.phones)?;
    let plan = Plan {
        phones,
        shared: usize::try_from(arguments.behind_one)?.min(phones),
        rate: arguments.rate.max(1),
        storms: arguments.storms.max(1),
        limit: Duration::from_secs(arguments.seconds),
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = storm::run(plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
