//! Two-way calls through one relay after the other, on one bed with one generator.
//!
//! Every relay is told of the calls by rtpengine's NG protocol. Since the kernel does a packet's receiving work in the
//! sender's context on a veth, a relay's own process shows only part of its cost: what is compared is the time that
//! generator, relay and kernel took together, less what they take with a bare XDP program that sends every packet back
//! where it came from. What a relay that takes packets from sockets cannot do without is shown by a bare loop.

mod bare;
mod report;

use std::{io, net::SocketAddr, path::Path, thread, time::Duration};

use loadtest::bed::{Bed, Family, Layout};

pub use report::{Figures, Report};

use self::bare::Loop;
pub use crate::media::Subject;
use crate::{
    cpu,
    error::BenchError,
    machine::Machine,
    media::{self, Arrivals, Ends, GENERATOR_CORE, Generator, Ng, Range, Way},
};

/// The ports of the relays.
const PORTS: Range = (10_000, 59_999);
/// Calls that these are enough for: four each.
pub const MOST: u16 = 12_500;
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

/// Runs every subject in turn, `plan.rounds` times. `programs` is the folder with mediad; `told` hears
/// what is being done.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    media::raise_limits();
    let mut report = Report::new(plan, Machine::now());
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
    let relay = subject.start(&bed, programs, folder.path(), PORTS)?;
    let ends = Ends::open(&bed, 40_000)?;
    let calls = 0..u32::from(plan.calls);
    let ways: Vec<_> = match relay.ng() {
        Some(server) => {
            let (ng, addresses) = (Ng::connect(&bed, server)?, ends.addresses()?);
            calls
                .map(|call| ng.open(call, addresses))
                .collect::<Result<_, _>>()?
        }
        // The bare program and the bare loop take whatever comes.
        None => {
            let ip = bed.node_ip(Family::V4);
            (PORTS.0..)
                .step_by(4)
                .zip(calls)
                .map(|(port, call)| Way {
                    call,
                    from_caller: SocketAddr::new(ip, port),
                    from_callee: SocketAddr::new(ip, port + 2),
                })
                .collect()
        }
    };
    let _bare = match subject {
        Subject::Bare => Some(Loop::start(&bed, &ways, ends.addresses()?)?),
        _ => None,
    };
    let generator = Generator::start(&ends, &ways, 1, [GENERATOR_CORE; 2], Arrivals::Sockets)?;
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
