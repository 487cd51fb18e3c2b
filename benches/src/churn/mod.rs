//! Calls that stand while others come and go: whether one of them loses a packet, and whether memory grows.
//!
//! The parties of the calls that stand have the first core; mediad has the second, and shares it with who sets calls up
//! over NG and talks in them for a moment. With XDP, which does its work where a packet is sent, mediad leaves most of
//! its core free: the callees of the calls that stand have that. Each core has queues of its own on the wires, as a card
//! gives it: with one for both, what one core sends is lost while the other, which empties it, is held up.

mod calls;
mod report;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use loadtest::bed::{Bed, Layout};

pub use report::Report;

pub use crate::media::Subject;
use crate::{
    error::BenchError,
    machine::Machine,
    media::{self, Arrivals, Ends, GENERATOR_CORE, Generator, Ng, Places, RELAY_CORE, Range},
    memory::{self, Samples},
};
use calls::Turnover;

/// The ports of the relay.
const PORTS: Range = (10_000, 59_999);
/// Calls that stand, and so many more that come and go, have ports.
pub const MOST: u32 = 10_000;
/// Packets of one system call of the generator.
const BATCH: usize = 32;
/// The time in which the sources of the calls that stand are learned.
const LEARNING: Duration = Duration::from_secs(3);
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(500);

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls that stand, below [`MOST`].
    pub calls: u32,
    /// Calls set up and torn down a second.
    pub rate: u32,
    /// How long calls come and go before anything is counted.
    pub warm_up: Duration,
    /// How long it is counted.
    pub time: Duration,
    /// mediad's datapath.
    pub subject: Subject,
}

/// Runs it. `programs` is the folder with mediad; `told` hears how it goes.
///
/// # Errors
/// mediad is missing, fails, or refuses a call; packets that are lost are figures, and no error.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    media::raise_limits();
    let machine = Machine::now();
    let bed = Bed::new(Layout {
        core_queues: true,
        ..Layout::default()
    })?;
    let folder = tempfile::tempdir()?;
    let relay = plan.subject.start(&bed, programs, folder.path(), PORTS)?;
    let no_relay = || BenchError::Run("no relay to ask".to_owned());
    let (server, pid) = relay.ng().zip(relay.pid()).ok_or_else(no_relay)?;
    let ng = Ng::connect(&bed, server)?;
    let ends = Ends::open(&bed, 40_000)?;
    let addresses = ends.addresses()?;
    let ways = (0..plan.calls).map(|call| ng.open(call, addresses));
    let ways = ways.collect::<Result<Vec<_>, _>>()?;
    told(&format!("{} calls stand", plan.calls));

    let cores = match plan.subject {
        Subject::Xdp => [GENERATOR_CORE, RELAY_CORE],
        _ => [GENERATOR_CORE; 2],
    };
    let generator = Generator::start(&ends, &ways, BATCH, cores, Arrivals::Sockets)?;
    thread::sleep(LEARNING);
    let turnover = Turnover::start(&bed, server, plan)?;
    told(&format!(
        "calls come and go, not counted for {} s",
        plan.warm_up.as_secs()
    ));
    thread::sleep(plan.warm_up);
    turnover.count();
    let before = Places::now(&bed, &relay)?;
    let files = memory::files(pid)?;
    generator.count(true);
    let begun = Instant::now();
    let (mut process, mut kernel) = (Samples::default(), Samples::default());
    while begun.elapsed() < plan.time {
        thread::sleep(SAMPLE);
        process.take(begun.elapsed(), memory::resident(pid)?);
        kernel.take(begun.elapsed(), memory::kernel()?);
        if process.count().is_multiple_of(20) {
            let (seconds, kib) = (begun.elapsed().as_secs(), process.last());
            told(&format!("{seconds:>4} s: mediad holds {kib} KiB"));
        }
    }
    generator.count(false);
    let files = (files, memory::files(pid)?);
    let turned = turnover.stop()?;
    let traffic = generator.stop();
    let places = Places::now(&bed, &relay)?.since(&before);
    let sessions = relay.metric(&bed, "tandem_media_sessions")?;
    Ok(Report {
        plan,
        machine,
        traffic,
        places,
        turned,
        process,
        kernel,
        files,
        sessions,
        by_xdp: relay.share_by_xdp(&bed)?.unwrap_or(0.0),
    })
}
