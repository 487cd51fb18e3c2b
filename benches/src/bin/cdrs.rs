//! Measures how many records of calls a second are written, and how quickly they are found.

use std::{path::PathBuf, process::ExitCode};

use benches::{
    cdrs::{self, Plan},
    outcome,
};
use clap::Parser;

/// Writes records of calls to a PostgreSQL of its own, through the node's writer and barely; then makes many, and
/// searches them.
#[derive(Parser)]
struct Arguments {
    /// Records that each round writes; 0 for none.
    #[arg(long, default_value_t = 100_000)]
    records: u32,
    /// Rounds of each way to write.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Records that are searched; 0 for no search.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u32,
    /// Searches of each kind.
    #[arg(long, default_value_t = 200)]
    searches: u32,
    /// Search in SQLite.
    #[arg(long)]
    sqlite: bool,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/cdrs.json")]
    report: PathBuf,
}

fn main() -> ExitCode {
    outcome::exit("cdrs", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        records: arguments.records,
        rounds: arguments.rounds.max(1),
        rows: arguments.rows,
        searches: arguments.searches.max(1),
        sqlite: arguments.sqlite,
    };
    let report = cdrs::run(&plan, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
