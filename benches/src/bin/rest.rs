//! Asks Tandem's REST API and a bare axum handler over sqlx in turns, and compares their rates.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    outcome,
    rest::{self, Plan},
};
use clap::Parser;

/// Compares the REST API with a bare axum handler over sqlx on SQLite: reads and writes a second, and processor
/// time for each.
#[derive(Parser)]
struct Arguments {
    /// Seconds of reading, and of writing, in each turn.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Turns of each server.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Clients that ask at once.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/rest.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Be the bare handler instead, at this address.
    #[arg(long, hide = true, requires = "folder")]
    bare: Option<SocketAddr>,
    /// Where its database is.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("rest", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    if let (Some(address), Some(folder)) = (arguments.bare, &arguments.folder) {
        rest::serve(address, folder)?;
        return Ok(true);
    }
    let plan = Plan {
        time: Duration::from_secs(arguments.seconds.max(1)),
        rounds: arguments.rounds.max(1),
        clients: arguments.clients.max(1),
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = rest::run(&plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
