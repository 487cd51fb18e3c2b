//! Finds how many calls a relay carries on one core (see [`benches::capacity`]). Needs root.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    capacity::{self, Plan},
    outcome,
};
use clap::Parser;

/// Steps the calls through rtpengine and mediad on one core up until packets are lost. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Calls of the first step.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=12_500))]
    start: u32,
    /// How much more the next step has, in percent.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=400))]
    step: u32,
    /// How near the result has to be, in percent.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    exact: u32,
    /// Seconds that each step is measured.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// What may be lost or late in a step, in percent.
    #[arg(long, default_value_t = 0.01)]
    loss: f64,
    /// Turns of each relay.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/capacity.json")]
    report: PathBuf,
    /// The folder with mediad: this program's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("capacity", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        start: arguments.start,
        step_pct: arguments.step,
        exact_pct: arguments.exact,
        time: Duration::try_from_secs_f64(arguments.seconds)?,
        loss_pct: arguments.loss,
        rounds: arguments.rounds,
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = capacity::run(plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
