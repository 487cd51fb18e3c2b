//! A burst of registrations: the phones of a town that has its power back, against a whole node, while
//! calls of a trunk go through it.
//!
//! In the first storm nobody knows the phones; in those that follow their addresses are known. The phones
//! have a core of their own; the node and SIPp share the other one, also before the storm.

mod line;
mod phones;
mod report;

use std::{fmt::Write as _, fs, io, path::Path, thread, time::Duration};

use loadtest::{
    bed::{Bed, Family, Layout},
    node::{Config, Form, Node},
    process::Interrupt,
    sipp::{Agent, Outcome, Scenario},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use report::{Calls, Report, Turn};

use crate::{cpu, error::BenchError};
use phones::{DOMAIN, PASSWORD, Phones};

/// The core of the node and of SIPp.
const NODE_CORE: usize = 0;
/// The core of the phones.
const PHONES_CORE: usize = 1;
const TALK: Duration = Duration::from_secs(1);
/// How long calls are made before the first storm, for comparison.
const QUIET: Duration = Duration::from_secs(10);
/// How long the last calls may take.
const LAST: Duration = Duration::from_secs(40);
/// Until timers of the transactions are over and what they held is given back.
const PAUSE: Duration = Duration::from_secs(5);
/// Descriptors for other things than phones that have a port of their own.
const OTHERS: u64 = 256;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Phones, 60,000 at most.
    pub phones: usize,
    /// Phones of these behind one address.
    pub shared: usize,
    /// Calls a second of the trunk.
    pub rate: u32,
    /// How often the power comes back.
    pub storms: u32,
    /// How long a storm may last.
    pub limit: Duration,
}

/// Runs it. `programs` is the folder with Tandem's programs; `told` hears what is being done.
///
/// # Errors
/// A program is missing or fails; phones that are not registered are figures, and no error.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    raise_descriptors(plan.shared)?;
    // What is started from here inherits it.
    cpu::pin(NODE_CORE);
    let bed = Bed::new(Layout::default())?;
    prepare(&bed)?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let config = Config {
        more: users(plan.phones),
        ..Config::on_bed(&bed, Family::V4)
    };
    let (space, form) = (Some(bed.node()), Form::Together);
    let interrupt = Interrupt::default();
    let mut node = Node::start(form, programs, &config, space, folder, &interrupt)?;
    let mut callee = Agent::new(Scenario::Callee, (bed.callee_ip(Family::V4), 5060).into());
    callee.calls = u32::MAX / 2;
    callee.limit = Duration::from_secs(3600);
    let callee = callee.start(Some(bed.callee()), folder)?;

    let mut caller = Agent::new(Scenario::Caller, (bed.caller_ip(Family::V4), 5060).into());
    caller.target = Some(config.sip);
    caller.rate = plan.rate;
    caller.talk = TALK;
    caller.calls = plan.rate * u32::try_from(QUIET.as_secs()).unwrap_or(10);
    caller.limit = QUIET + LAST;
    let calling = caller.start(Some(bed.caller()), folder)?;
    let quiet = calls(&calling.finish(QUIET + LAST, &interrupt)?);
    told(&format!("{} calls without a storm", quiet.successful));

    let memory = memory(&mut node)?;
    let mut phones = bed
        .caller()
        .enter(|| Phones::new(config.sip, plan.phones, plan.shared))??;
    // More than the storms can last.
    let most = plan.limit * plan.storms + PAUSE * plan.storms;
    caller.calls = plan.rate * u32::try_from(most.as_secs()).unwrap_or(u32::MAX / 1000);
    caller.limit = most + LAST;
    let calling = caller.start(Some(bed.caller()), folder)?;
    let mut turns = Vec::new();
    for number in 1..=plan.storms {
        let before = node.cpu();
        let storm = on_own_core(|| phones.storm(plan.limit))?;
        let cpu = node.cpu().saturating_sub(before);
        thread::sleep(PAUSE);
        let turn = Turn {
            storm,
            memory: self::memory(&mut node)?,
            cpu,
        };
        told(&format!("storm {number} of {}: {turn}", plan.storms));
        turns.push(turn);
    }
    let stormy = calls(&calling.stop(LAST));
    let page = node.metrics()?;
    let bans = |labels: &[_]| page.sum("tandem_sip_bans_total", labels);
    let trickles = bans(&[("reason", "flood")]);
    let report = Report {
        plan,
        memory,
        quiet,
        stormy,
        turns,
        bans: bans(&[]) - trickles,
        trickles,
    };
    drop(callee.stop(Duration::from_secs(5)));
    node.stop()?;
    Ok(report)
}

/// Makes the phones' addresses the caller's own, with a way back from the node.
fn prepare(bed: &Bed) -> Result<(), BenchError> {
    let [link, _] = bed.node_interfaces();
    for (space, arguments) in [
        (bed.caller(), "route add local 198.18.0.0/16 dev lo".into()),
        (
            bed.node(),
            format!("route add 198.18.0.0/16 via 10.91.1.2 dev {link}"),
        ),
    ] {
        let mut command = space.command("ip");
        loadtest::process::run(command.args(arguments.split(' ')))?;
    }
    Ok(())
}

/// Works in a thread on the phones' core.
fn on_own_core<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let worker = || {
        cpu::pin(PHONES_CORE);
        work()
    };
    match thread::scope(|scope| scope.spawn(worker).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn users(count: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        // A string cannot fail to be written to.
        let _written = write!(
            text,
            "[[users]]\nname = \"phone{index}\"\ndomain = \"{DOMAIN}\"\npassword = \"{PASSWORD}\"\n"
        );
    }
    text
}

fn calls(outcome: &Outcome) -> Calls {
    Calls {
        successful: outcome.stats.successful,
        failed: outcome.stats.failed,
        p99: report::p99(outcome.setups.clone()),
    }
}

/// The node's resident memory, in KiB.
fn memory(node: &mut Node<'_>) -> io::Result<u64> {
    let pid = node.process("tandem").map_or(0, |process| process.pid());
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(kib.unwrap_or(0))
}

/// Each phone behind the one address has a descriptor.
fn raise_descriptors(phones: usize) -> io::Result<()> {
    let wanted = u64::try_from(phones)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let given = getrlimit(Resource::Nofile);
    if given.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: given.maximum.map(|maximum| maximum.max(wanted)),
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}
