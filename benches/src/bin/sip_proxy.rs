//! Runs calls through Kamailio and through Tandem in turns, and compares their processor time.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    outcome,
    proxy::{self, Plan, Server},
};
use clap::Parser;

/// Compares SIP proxies on one bed: processor time for a call, setup time, failures.
#[derive(Parser)]
struct Arguments {
    /// Calls a second, of all callers together.
    #[arg(long, default_value_t = 600)]
    rate: u32,
    /// SIPp processes that call, and as many that answer.
    #[arg(long, default_value_t = 2)]
    agents: u16,
    /// Seconds that each run is measured.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Turns of each proxy.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Who has turns; several with commas [default: all]
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Server>,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/sip_proxy.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    outcome::exit("sip_proxy", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = Plan {
        rate: arguments.rate,
        agents: arguments.agents.max(1),
        time: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds,
        servers: match arguments.servers.as_slice() {
            [] => Server::ALL.to_vec(),
            some => some.to_vec(),
        },
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = proxy::run(&plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_clean())
}
