//! Calls through a whole node while banned sources and strangers flood it, against the same calls
//! without a flood.
//!
//! The generator has a core of its own. The node and SIPp, whose calls are those of trunks, share the
//! other one, also in the turns without a flood: so a turn shows what the flood does to the node, and not
//! that the generator took the callers' processor.

mod generator;
mod report;

use std::{path::Path, process::Command, thread, time::Duration};

use loadtest::{
    bed::{Bed, Family, Layout},
    node::{Config, Form, Node},
    process::Interrupt,
    sipp::{Agent, Scenario},
};

pub use generator::Flood;
pub use report::{Figures, Report};

use crate::{cpu, error::BenchError};
use generator::Generator;

/// The core of the node and of SIPp.
const NODE_CORE: usize = 0;
/// The core of the generator.
const FLOOD_CORE: usize = 1;
/// The flood is on before the first call.
const LEAD: Duration = Duration::from_secs(2);
const TALK: Duration = Duration::from_secs(1);
/// How long the last calls may take.
const LAST: Duration = Duration::from_secs(40);

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls a second.
    pub rate: u32,
    /// Datagrams of the flood a second at most; `None` for as many as its core can send.
    pub flood_rate: Option<u32>,
    /// How long calls are made in a turn.
    pub time: Duration,
    /// Turns of each flood on each path.
    pub rounds: u32,
}

/// How mediad gets its packets, and with it whether the driver can drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datapath {
    /// XDP: what banned sources send is dropped by the driver.
    Xdp,
    /// io_uring: signaling refuses it.
    IoUring,
}

impl Datapath {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::IoUring];

    /// As the configuration has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::IoUring => "io-uring",
        }
    }
}

/// Runs every flood in turn on each path, `plan.rounds` times. `programs` is the folder with
/// Tandem's programs; `told` hears what is being done.
///
/// # Errors
/// A program is missing or fails; calls that fail are figures, and no error.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    // What is started from here inherits it.
    cpu::pin(NODE_CORE);
    let mut report = Report::new(plan);
    for round in 1..=plan.rounds {
        for path in Datapath::ALL {
            for flood in Flood::ALL {
                let figures = measure(plan, path, flood, programs)?;
                told(&format!(
                    "round {round} of {}: {:<8} {:<9} {figures}",
                    plan.rounds,
                    path.name(),
                    flood.name()
                ));
                report.add(round, path, flood, figures);
            }
        }
    }
    Ok(report)
}

fn measure(
    plan: Plan,
    path: Datapath,
    flood: Flood,
    programs: &Path,
) -> Result<Figures, BenchError> {
    let bed = Bed::new(Layout::default())?;
    generator::prepare(&bed)?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let config = Config {
        datapath: path.name().to_owned(),
        ..Config::on_bed(&bed, Family::V4)
    };
    let (space, form) = (Some(bed.node()), Form::Together);
    let node = Node::start(
        form,
        programs,
        &config,
        space,
        folder,
        &Interrupt::default(),
    )?;
    if flood == Flood::Banned {
        let mut ban = Command::new(programs.join("tandem"));
        ban.args(["bans", "add", &generator::BANNED.to_string(), "--config"]);
        loadtest::process::run(ban.arg(folder.join("tandem.toml")))?;
    }

    let seconds = u32::try_from(plan.time.as_secs()).unwrap_or(u32::MAX);
    let mut callee = Agent::new(Scenario::Callee, (bed.callee_ip(Family::V4), 5060).into());
    callee.calls = u32::MAX / 2;
    callee.limit = Duration::from_secs(3600);
    let callee = callee.start(Some(bed.callee()), folder)?;
    let generator = Generator::start(flood, &bed, config.sip, plan.flood_rate, FLOOD_CORE)?;
    thread::sleep(LEAD);
    let mut caller = Agent::new(Scenario::Caller, (bed.caller_ip(Family::V4), 5060).into());
    caller.target = Some(config.sip);
    caller.rate = plan.rate;
    caller.calls = plan.rate.saturating_mul(seconds);
    caller.talk = TALK;
    caller.limit = plan.time + LAST;
    let caller = caller.start(Some(bed.caller()), folder)?;
    let outcome = caller.finish(plan.time + LAST * 2, &Interrupt::default())?;
    let flooded = generator.stop();
    let answered = callee.stop(Duration::from_secs(5));
    let page = node.metrics()?;
    let dropped = page.sum("tandem_xdp_packets_total", &[("reason", "drop_banned")]);
    // The sum of none is -0.
    let dropped = dropped + 0.0;
    node.stop()?;
    Ok(Figures::new(&outcome, &answered, flooded, dropped))
}
