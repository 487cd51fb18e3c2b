//! Sets calls up and tears them down as fast as mediad takes them: by the control channel, and by NG beside rtpengine.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    outcome,
    setup::{self, Plan},
};
use clap::Parser;

/// Measures how many calls a second can be set up and torn down, by the control channel and by rtpengine's protocol.
#[derive(Parser)]
struct Arguments {
    /// Seconds that each run is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Turns of each subject.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Calls that are under way at once.
    #[arg(long, default_value_t = 64)]
    window: u16,
    /// Sessions of mediad that are up all the while.
    #[arg(long, default_value_t = 0)]
    live: u32,
    /// The path that mediad's packets would take.
    #[arg(long, default_value = "io-uring")]
    datapath: String,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/setup.json")]
    report: PathBuf,
}

fn main() -> ExitCode {
    outcome::exit("setup", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        time: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds,
        window: arguments.window,
        live: arguments.live,
        datapath: arguments.datapath.clone(),
    };
    let programs = outcome::programs(None)?;
    let report = setup::run(&plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.met())
}
