//! Sets calls up and tears them down while others stand (see [`benches::churn`]). Needs root.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    churn::{self, Plan, Subject},
    outcome,
};
use clap::{Parser, ValueEnum};

/// Keeps calls on mediad while others come and go, and looks for lost packets and growing memory. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Calls that stand.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..i64::from(churn::MOST)))]
    calls: u32,
    /// Calls set up and torn down a second.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// Seconds that calls come and go before anything is counted. mediad keeps each NG answer for 30 s, to repeat it to
    /// who asks again, so until then it holds more by the second.
    #[arg(long, default_value_t = 35)]
    warm_up: u64,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The path of the packets.
    #[arg(long, value_enum, default_value_t = Datapath::Xdp)]
    datapath: Datapath,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/churn.json")]
    report: PathBuf,
    /// The folder with mediad: this program's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Datapath {
    Xdp,
    IoUring,
    Sockets,
}

fn main() -> ExitCode {
    outcome::exit("churn", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        calls: arguments.calls,
        rate: arguments.rate,
        warm_up: Duration::from_secs(arguments.warm_up),
        time: Duration::from_secs(arguments.seconds),
        subject: match arguments.datapath {
            Datapath::Xdp => Subject::Xdp,
            Datapath::IoUring => Subject::IoUring,
            Datapath::Sockets => Subject::Sockets,
        },
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = churn::run(plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_met())
}
