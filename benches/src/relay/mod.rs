//! Two-way calls through one relay after the other, on one bed with one generator.
//!
//! The generator sits on the first core and the relay on the second, so that neither takes the other's time.
//! Every relay is told of the calls by rtpengine's NG protocol. On a veth the kernel does a
//! packet's receiving work in the sender's context, so a relay's own process shows only part of its
//! cost: what is compared is the time that generator, relay and kernel took together, less what they
//! take with a bare XDP program that sends every packet back where it came from.

mod generator;
mod ng;
mod report;
mod subject;

use std::{io, net::SocketAddr, path::Path, thread, time::Duration};

use loadtest::{
    bed::{Bed, BedError, Family, Layout},
    process::ProcessError,
};

pub use report::{Figures, Report};
pub use subject::Subject;

use self::generator::Generator;
use crate::cpu;

/// The core that sends and receives.
const GENERATOR_CORE: usize = 0;
/// The core that relays.
const RELAY_CORE: usize = 1;
/// The time that a relay has to learn its sources before anything is counted.
const WARM_UP: Duration = Duration::from_secs(4);

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Two-way calls at once: 100 packets a second each.
    pub calls: u16,
    /// How long each run is measured.
    pub time: Duration,
    /// How often each subject has its turn.
    pub rounds: u32,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The bed could not be made.
    #[error(transparent)]
    Bed(#[from] BedError),
    /// A relay could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A socket or a file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bare program could not be attached.
    #[error(transparent)]
    Xdp(#[from] mediad::xdp::XdpError),
    /// A relay did not do what it was asked for.
    #[error("{0}")]
    Relay(String),
}

/// Runs every subject in turn, `plan.rounds` times. `programs` is the folder with mediad; `told` hears
/// what is being done.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let mut report = Report::new(plan);
    for round in 1..=plan.rounds {
        for subject in Subject::ALL {
            let figures = measure(plan, subject, programs)?;
            told(&format!(
                "round {round} of {}: {:<10} {figures}",
                plan.rounds,
                subject.name()
            ));
            report.add(round, subject, figures);
        }
    }
    Ok(report)
}

fn measure(plan: Plan, subject: Subject, programs: &Path) -> Result<Figures, BenchError> {
    let bed = Bed::new(Layout::default())?;
    let folder = tempfile::tempdir()?;
    let relay = subject.start(&bed, programs, folder.path(), RELAY_CORE)?;
    let caller = SocketAddr::new(bed.caller_ip(Family::V4), 40_000);
    let callee = SocketAddr::new(bed.callee_ip(Family::V4), 40_000);
    let legs = match relay.ng() {
        Some(ng) => {
            let socket = bed.node().enter(|| ng::connect(ng))??;
            ng::open_calls(&socket, plan.calls, caller, callee)?
        }
        // The bare program takes whatever comes.
        None => {
            let ip = bed.node_ip(Family::V4);
            (0..plan.calls)
                .map(|call| {
                    let port = 20_000 + 4 * call;
                    (SocketAddr::new(ip, port), SocketAddr::new(ip, port + 2))
                })
                .collect()
        }
    };

    let caller = bed.caller().enter(|| generator::socket(caller))??;
    let callee = bed.callee().enter(|| generator::socket(callee))??;
    let generator = Generator::start(caller, callee, legs, GENERATOR_CORE)?;
    thread::sleep(WARM_UP);
    let before = Work::now(relay.pid())?;
    generator.count(true);
    thread::sleep(plan.time);
    generator.count(false);
    let work = Work::now(relay.pid())?.since(&before);
    let traffic = generator.stop();
    let by_xdp = relay.share_by_xdp(&bed)?;
    Ok(Figures::new(&traffic, &work, by_xdp))
}

/// The time that has been spent on packets, by anyone.
#[derive(Clone, Copy, Debug)]
struct Work {
    all: Duration,
    relay: Option<Duration>,
}

impl Work {
    fn now(relay: Option<u32>) -> io::Result<Self> {
        let relay = relay.map(cpu::of_process).transpose()?;
        let generator = cpu::of_process(std::process::id())?;
        Ok(Self {
            all: generator + cpu::of_softirqs()? + relay.unwrap_or_default(),
            relay,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            relay: self
                .relay
                .map(|relay| relay.saturating_sub(before.relay.unwrap_or_default())),
        }
    }
}
