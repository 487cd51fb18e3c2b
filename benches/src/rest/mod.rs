//! What a request to the REST API costs beside a bare axum handler over sqlx that does the same to the same
//! database: who asks is not looked up there, nothing is limited, counted, numbered or logged.
//!
//! Both are processes of their own, asked in turns by the same clients, which wait for each answer before they
//! ask again. A write is the row and its entry in the record of changes, in both.

mod bare;
mod load;

use std::{fmt, fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use loadtest::process::{Process, Signal};
use serde_json::{Value, json};

pub use bare::serve;

use self::load::Kind;
use crate::{
    cpu,
    error::BenchError,
    spread::{Rounds, Spread},
};

/// The key that clients show.
const KEY: &str = "a-key-for-this-bench-alone-0123456789";
/// How long a server may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// What Tandem may be slower than the bare handler.
const WANTED: f64 = 0.20;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each reading and each writing.
    pub time: Duration,
    /// Turns of each server.
    pub rounds: u32,
    /// That ask at once.
    pub clients: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Tandem,
    Bare,
}

impl Server {
    const ALL: [Self; 2] = [Self::Bare, Self::Tandem];

    const fn name(self) -> &'static str {
        match self {
            Self::Tandem => "tandem",
            Self::Bare => "bare axum + sqlx",
        }
    }
}

/// Of one server in one round.
#[derive(Clone, Copy, Debug)]
struct Figures {
    reads: f64,
    writes: f64,
    read_us: f64,
    write_us: f64,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    rounds: Rounds<Server, Figures>,
}

/// Runs both servers in turns. `programs` is the folder of `api` and of this bench's own program, whose
/// `--bare` [`serve`]s.
///
/// # Errors
/// If a server cannot be started, or answers what it should not.
pub fn run(plan: &Plan, programs: &Path, tell: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let mut rounds = Rounds::new();
    for round in 1..=plan.rounds {
        for server in Server::ALL {
            let figures = measure(plan, server, programs)?;
            tell(&format!(
                "round {round}: {}: {:.0} reads/s ({:.0} us of processor), {:.0} writes/s ({:.0} us)",
                server.name(),
                figures.reads,
                figures.read_us,
                figures.writes,
                figures.write_us
            ));
            rounds.add(round, server, figures);
        }
    }
    Ok(Report {
        plan: *plan,
        rounds,
    })
}

fn measure(plan: &Plan, server: Server, programs: &Path) -> Result<Figures, BenchError> {
    let folder = tempfile::tempdir()?;
    let address = load::free_port()?;
    let mut command = command(server, programs, folder.path(), address)?;
    let mut process = Process::start(&mut command, &folder.path().join("server.log"))?;
    let figures = figures(plan, address, process.pid());
    let output = process.output();
    process.stop(Signal::TERM, PATIENCE)?;
    figures.map_err(|error| match error {
        BenchError::Run(words) => BenchError::Run(format!("{}: {words}\n{output}", server.name())),
        other => other,
    })
}

fn command(
    server: Server,
    programs: &Path,
    folder: &Path,
    address: SocketAddr,
) -> Result<Command, BenchError> {
    if server == Server::Bare {
        let mut command = Command::new(programs.join("rest"));
        command.arg("--bare").arg(address.to_string());
        command.arg("--folder").arg(folder);
        return Ok(command);
    }
    let text = format!(
        "[node]\nname = \"bench\"\ndata_dir = \"{}\"\n[api]\nlisten = \"{address}\"\nadmin_key = \"{KEY}\"\n\
         requests = 1000000\n[store]\nurl = \"sqlite:bench.db\"\n",
        folder.display()
    );
    let path = folder.join("tandem.toml");
    fs::write(&path, text)?;
    let mut command = Command::new(programs.join("api"));
    command.arg("--config").arg(path).env("RUST_LOG", "warn");
    Ok(command)
}

fn figures(plan: &Plan, address: SocketAddr, pid: u32) -> Result<Figures, BenchError> {
    load::until_served(address, PATIENCE)?;
    let of = |kind| {
        let before = cpu::of_process(pid)?;
        let (done, took) = load::run(kind, address, plan.clients, plan.time)?;
        let ran = cpu::of_process(pid)?.saturating_sub(before);
        let done = done as f64;
        Ok::<_, BenchError>((done / took.as_secs_f64(), ran.as_secs_f64() * 1e6 / done))
    };
    // What is read is what was written.
    let (writes, write_us) = of(Kind::Write)?;
    let (reads, read_us) = of(Kind::Read)?;
    Ok(Figures {
        reads,
        writes,
        read_us,
        write_us,
    })
}

impl Report {
    /// How much slower Tandem is, in each round.
    fn overhead(&self, figure: fn(&Figures) -> f64) -> Spread {
        self.rounds.ratio(Server::Bare, Server::Tandem, figure)
    }

    /// Whether Tandem is within what is wanted, by the median.
    pub fn is_met(&self) -> bool {
        let of = |figure: fn(&Figures) -> f64| self.overhead(figure).median().unwrap_or(f64::MAX);
        of(|it| it.reads) <= 1.0 + WANTED && of(|it| it.writes) <= 1.0 + WANTED
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let of = |server: Server| {
            json!({
                "server": server.name(),
                "reads_s": self.rounds.of(server, |it| it.reads).json(),
                "writes_s": self.rounds.of(server, |it| it.writes).json(),
                "read_cpu_us": self.rounds.of(server, |it| it.read_us).json(),
                "write_cpu_us": self.rounds.of(server, |it| it.write_us).json(),
            })
        };
        json!({
            "clients": self.plan.clients,
            "servers": Server::ALL.map(of),
            "bare_reads_over_tandems": self.overhead(|it| it.reads).json(),
            "bare_writes_over_tandems": self.overhead(|it| it.writes).json(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<18} {:>26} {:>26} {:>22} {:>22}",
            "server", "reads/s", "writes/s", "us a read", "us a write"
        )?;
        for server in Server::ALL {
            let of = |figure: fn(&Figures) -> f64| format!("{:.0}", self.rounds.of(server, figure));
            writeln!(
                f,
                "{:<18} {:>26} {:>26} {:>22} {:>22}",
                server.name(),
                of(|it| it.reads),
                of(|it| it.writes),
                of(|it| it.read_us),
                of(|it| it.write_us),
            )?;
        }
        writeln!(
            f,
            "the bare handler does {:.2} times Tandem's reads, and {:.2} times its writes; wanted: {:.2} at most",
            self.overhead(|it| it.reads),
            self.overhead(|it| it.writes),
            1.0 + WANTED
        )
    }
}
