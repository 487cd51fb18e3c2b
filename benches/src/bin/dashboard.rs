//! The dashboard in Chromium while thousands of calls are up (see [`benches::dashboard`]).

use std::{path::PathBuf, process::ExitCode};

use benches::{
    dashboard::{self, Plan},
    outcome,
};
use clap::Parser;

/// Opens the dashboard of a node with thousands of calls in Chromium: how soon it is there, and how smooth.
#[derive(Parser)]
struct Arguments {
    /// Calls that are up.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    calls: u32,
    /// Calls that begin each second, and end.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Seconds that each of two pages is looked at.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// The folder that has Playwright.
    #[arg(long, default_value = "target/playwright")]
    playwright: PathBuf,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/dashboard.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("dashboard", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        calls: arguments.calls,
        rate: arguments.rate,
        seconds: arguments.seconds,
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = dashboard::run(plan, &programs, &arguments.playwright, &mut |line| {
        eprintln!("{line}");
    })?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
