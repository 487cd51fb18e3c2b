//! Phones that register with digest, at one registrar after the other and at a bare UDP echo.
//!
//! A registration is two requests, as a phone's is that keeps no nonce: a REGISTER that is challenged
//! with 401, and one with credentials that gets 200. What is compared is the processor time of the
//! server for a registration, by the scheduler's clock and in the middle of a run; the generator is the
//! same for all. On loopback a datagram's receiving work in the kernel is done by whoever sends it, for
//! all servers alike. The echo answers as many datagrams of the same sizes and does nothing else: nobody
//! can register for less. A run counts only where every request got the answer it should.

mod echo;
mod generator;
mod report;
mod server;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

pub use echo::{Echo, Reading};
pub use report::{Figures, Report};
pub use server::Server;

use crate::{
    error::BenchError,
    server::{Running, free_ports},
};
use generator::{Generator, Sizes};

/// After every user has registered once, and before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);

/// How much to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Registrations a second.
    pub rate: u32,
    /// Users that register in turn.
    pub users: u32,
    /// How long each run is measured.
    pub time: Duration,
    /// How often each server has its turn.
    pub rounds: u32,
    /// Who has turns.
    pub servers: Vec<Server>,
}

/// Runs every server in turn, `plan.rounds` times. `programs` is the folder with Tandem's programs;
/// `told` hears what is being done.
///
/// # Errors
/// A program is missing or fails, or a registrar takes a wrong password; registrations that fail are
/// figures, and no error.
pub fn run(plan: &Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let mut report = Report::new(plan.clone());
    let mut sizes = Sizes::default();
    for round in 1..=plan.rounds {
        for &server in &plan.servers {
            let figures = measure(plan, server, programs, &mut sizes)?;
            told(&format!(
                "round {round} of {}: {:<17} {figures}",
                plan.rounds,
                server.name()
            ));
            report.add(round, server, figures);
        }
    }
    Ok(report)
}

/// `sizes` are those of the last registrar's datagrams, for the echoes.
fn measure(
    plan: &Plan,
    server: Server,
    programs: &Path,
    sizes: &mut Sizes,
) -> Result<Figures, BenchError> {
    let folder = tempfile::tempdir()?;
    let own = free_ports(1)?[0];
    let running = server.start(own, plan.users, *sizes, programs, folder.path())?;
    if server.registers() {
        generator::check(own)
            .map_err(|error| BenchError::Run(format!("{error}:\n{}", running.output())))?;
    }
    let generator = Generator::start(own, plan.rate, plan.users, server.registers())?;
    let first = Duration::from_secs(1) * plan.users / plan.rate.max(1);
    thread::sleep(first + WARM_UP);
    let begin = Sample::take(&generator, &running)?;
    thread::sleep(plan.time);
    let end = Sample::take(&generator, &running)?;
    let traffic = generator.stop()?;
    if server.registers() {
        *sizes = traffic.sizes;
    }
    Ok(Figures::new(
        end.at.saturating_duration_since(begin.at),
        end.completed.saturating_sub(begin.completed),
        end.cpu.saturating_sub(begin.cpu),
        &traffic,
    ))
}

/// How far a run is.
struct Sample {
    at: Instant,
    completed: u64,
    cpu: Duration,
}

impl Sample {
    fn take(generator: &Generator, running: &Running) -> Result<Self, BenchError> {
        Ok(Self {
            at: Instant::now(),
            cpu: running.cpu()?,
            completed: generator.completed(),
        })
    }
}
