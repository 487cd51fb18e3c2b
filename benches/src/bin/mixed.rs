//! Traffic of every outcome against a running node (see [`benches::mixed`]).

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

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
    let own = std::env::current_exe()?;
    let own = own.parent().ok_or("this program is in no folder")?;
    let programs = arguments.programs.as_deref().unwrap_or(own);
    let report = mixed::run(plan, programs, &mut |line| eprintln!("{line}"))?;
    println!("\n{report}");
    if let Some(folder) = arguments.report.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&arguments.report, format!("{:#}\n", report.json()))?;
    println!("report: {}", arguments.report.display());
    Ok(report.faults().is_empty())
}
