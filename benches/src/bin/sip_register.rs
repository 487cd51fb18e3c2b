//! Registers users at Kamailio and at Tandem in turns, and compares their processor time with each other
//! and with a bare UDP echo's.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use benches::{
    outcome,
    register::{self, Echo, Plan, Reading, Server},
};
use clap::Parser;

/// Compares registrars on one bed: processor time for a registration with digest, and failures.
#[derive(Parser)]
struct Arguments {
    /// Registrations a second; each is two requests.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Users that register in turn.
    #[arg(long, default_value_t = 4000)]
    users: u32,
    /// Seconds that each run is measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Turns of each server.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Who has turns; several with commas [default: all]
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Server>,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/sip_register.json")]
    report: PathBuf,
    /// The folder with Tandem's programs: this one's own unless told.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Be an echo instead, as the floor is.
    #[arg(long, hide = true, requires_all = ["at", "sizes"])]
    echo: Option<Reading>,
    /// Where the echo is.
    #[arg(long, hide = true)]
    at: Option<SocketAddr>,
    /// Four sizes in bytes: a request without credentials, its answer, the same with credentials.
    #[arg(long, hide = true, value_delimiter = ',')]
    sizes: Vec<usize>,
}

fn main() -> ExitCode {
    outcome::exit("sip_register", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    if let (Some(reading), Some(at), &[asked, challenged, proven, accepted]) =
        (arguments.echo, arguments.at, arguments.sizes.as_slice())
    {
        let echo = Echo {
            asked,
            challenged,
            proven,
            accepted,
        };
        echo.serve(at, reading)?;
        return Ok(true);
    }
    let plan = Plan {
        rate: arguments.rate.max(1),
        users: arguments.users.max(1),
        time: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds,
        servers: match arguments.servers.as_slice() {
            [] => Server::ALL.to_vec(),
            some => some.to_vec(),
        },
    };
    let programs = outcome::programs(arguments.programs.as_deref())?;
    let report = register::run(&plan, &programs, &mut |line| eprintln!("{line}"))?;
    outcome::publish(&report, &report.json(), &arguments.report)?;
    Ok(report.is_clean())
}
