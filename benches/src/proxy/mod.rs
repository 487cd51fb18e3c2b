//! Calls through one SIP proxy after the other, by the same SIPp processes on loopback.
//!
//! Each server is a stateful, record-routing proxy that keeps the dialogs; no media goes through it.
//! What is compared is the processor time of the server's processes, by the scheduler's clock and in
//! the middle of a run, for each call that was completed meanwhile. On loopback a datagram's receiving
//! work in the kernel is done by whoever sends it, so a server's figure has the kernel's share of
//! what it sends, and not of what it receives: for all servers alike. A run counts only where no call
//! failed and nobody had to send anything again.
//!
//! The callee rings for a moment, as people's phones do. Where it answers at once, its 180 and its 200
//! go to two of Kamailio's processes and change places; SIPp takes a 180 after the 200 for a fault.

mod report;
mod server;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use loadtest::sipp::{Agent, Running, Scenario};

use crate::{
    error::BenchError,
    server::{self as process, free_ports, until_bound},
};

pub use report::{Figures, Report};
pub use server::Server;

/// Before anything is counted: longer than a transaction is remembered (32 s over UDP), so that as much is
/// forgotten as begins, and no server takes memory that it had not before.
const WARM_UP: Duration = Duration::from_secs(36);
/// How long the callee rings.
const RING: Duration = Duration::from_millis(200);
/// How long the parties talk.
const TALK: Duration = Duration::from_secs(1);
/// How long the last calls may take.
const LAST: Duration = Duration::from_secs(20);
/// SIPp writes its counters once a second.
const TICK: Duration = Duration::from_secs(3);

/// How much to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Calls a second, of all callers together.
    pub rate: u32,
    /// SIPp processes that call, and as many that answer.
    pub agents: u16,
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
/// A program is missing or fails; calls that fail are figures, and no error.
pub fn run(plan: &Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let mut report = Report::new(plan.clone());
    for round in 1..=plan.rounds {
        for &server in &plan.servers {
            let figures = measure(plan, server, programs)?;
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

fn measure(plan: &Plan, server: Server, programs: &Path) -> Result<Figures, BenchError> {
    let folder = tempfile::tempdir()?;
    let ports = free_ports(1 + 2 * usize::from(plan.agents))?;
    let (own, parties) = ports.split_first().ok_or_else(|| missing("ports"))?;
    let (callers, callees) = parties.split_at(plan.agents.into());
    let running = server.start(*own, callees, programs, folder.path())?;

    // Each SIPp process takes a media port, though there is no media.
    let mut media_ports = (20_000..).step_by(4);
    let mut next_port = || media_ports.next().unwrap_or_default();
    let mut answering = Vec::new();
    for callee in callees {
        let mut agent = Agent::new(Scenario::Callee, *callee);
        agent.media_port = next_port();
        agent.calls = u32::MAX / 2;
        agent.ring = RING;
        agent.limit = Duration::from_secs(3600);
        answering.push(agent.start(None, &folder.path().join(format!("{}", callee.port())))?);
    }
    until_bound(callees)?;
    let rate = (plan.rate / u32::from(plan.agents)).max(1);
    let seconds = (WARM_UP + plan.time + RING + TALK + TICK).as_secs();
    let mut calling = Vec::new();
    for (caller, callee) in callers.iter().zip(callees) {
        let mut agent = Agent::new(Scenario::Caller, *caller);
        agent.media_port = next_port();
        agent.number = format!("1{}", callee.port());
        agent.target = Some(*own);
        agent.rate = rate;
        agent.calls = rate * u32::try_from(seconds).unwrap_or(60);
        agent.talk = TALK;
        agent.limit = Duration::from_secs(seconds) + LAST;
        calling.push(agent.start(None, &folder.path().join(format!("{}", caller.port())))?);
    }

    thread::sleep(WARM_UP);
    let begin = Sample::take(&calling, &running)?;
    thread::sleep(plan.time);
    let work = Sample::take(&calling, &running)?.since(&begin);
    let mut outcomes = Vec::new();
    for caller in calling {
        let limit = LAST + plan.time;
        outcomes.push(caller.finish(limit, &loadtest::process::Interrupt::default())?);
    }
    let answered = answering
        .into_iter()
        .map(|agent| agent.stop(Duration::from_secs(2)));
    let answered: Vec<_> = answered.collect();
    Ok(Figures::new(&work, &outcomes, &answered))
}

/// How far a run is.
struct Sample {
    at: Instant,
    calls: u64,
    cpu: Duration,
}

impl Sample {
    /// When the first caller writes its counters: those of the others are as old at each sample.
    fn take(calling: &[Running], server: &process::Running) -> Result<Self, BenchError> {
        let completed = |agent: &Running| agent.stats().successful;
        let first = calling.first().ok_or_else(|| missing("callers"))?;
        let (before, limit) = (completed(first), Instant::now() + TICK);
        while completed(first) == before {
            if Instant::now() > limit {
                return Err(BenchError::Run(format!(
                    "no call is completed; the server says:\n{}",
                    server.output()
                )));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self {
            at: Instant::now(),
            cpu: server.cpu()?,
            calls: calling.iter().map(completed).sum(),
        })
    }

    fn since(&self, begin: &Self) -> Work {
        Work {
            time: self.at.saturating_duration_since(begin.at),
            calls: self.calls.saturating_sub(begin.calls),
            cpu: self.cpu.saturating_sub(begin.cpu),
        }
    }
}

/// What was done between two samples.
#[derive(Clone, Copy, Debug)]
struct Work {
    time: Duration,
    calls: u64,
    cpu: Duration,
}

fn missing(what: &str) -> BenchError {
    BenchError::Run(format!("there are no {what}"))
}
