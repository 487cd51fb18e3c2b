//! Callers who talk with an application over Media Streams (see [`benches::voice`]).

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    outcome,
    voice::{self, Plan},
};
use clap::Parser;

/// Measures what the bridge between RTP and WebSocket adds to the delay both ways, what it costs, how soon a clear is
/// heard and how soon a call is answered.
#[derive(Parser)]
struct Arguments {
    /// Calls that are up at once, in turns.
    #[arg(long, value_delimiter = ',', default_value = "1,100,300")]
    calls: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Turns.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Minutes that the most calls are up at the end.
    #[arg(long, default_value_t = 10)]
    soak: u64,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/voice.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Be the bare program that calls are compared with, for the server there.
    #[arg(long, hide = true, value_name = "IP:PORT")]
    bare: Option<SocketAddr>,
}

fn main() -> ExitCode {
    outcome::exit("voice", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    if let (Some(to), [calls]) = (arguments.bare, &*arguments.calls) {
        voice::bare(*calls, to)?;
        return Ok(true);
    }
    let plan = Plan {
        calls: arguments
            .calls
            .iter()
            .map(|calls| (*calls).clamp(1, 900))
            .collect(),
        time: Duration::from_secs(arguments.seconds.max(1)),
        rounds: arguments.rounds,
        soak: Duration::from_secs(60 * arguments.soak),
    };
    let own = std::env::current_exe()?;
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = voice::run(&plan, &programs, &own, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.missed().is_empty())
}
