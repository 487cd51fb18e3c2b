//! The memory that a call takes: as many calls as a carrier's node has, set up over NG by the same client on mediad and
//! on rtpengine in turns.
//!
//! Counted is what the processes hold (their resident set) and what the kernel holds more than before they were started:
//! sockets and other objects (slab), maps of BPF and tables of files (vmalloc, per CPU). Whoever else works on the
//! machine meanwhile is in the kernel's part. A call takes four ports and an address has 65,535, and a process may open
//! only so many files: calls beyond that are shared out among several relays, of either kind alike, each with a network
//! of its own. What one of them holds before its first call is counted once.

mod report;

use std::{path::Path, thread, time::Duration};

use loadtest::bed::{Bed, Layout};

pub use report::{Figures, Report};

pub use crate::media::Subject;
use crate::{
    error::BenchError,
    machine::Machine,
    media::{self, Ends, Ng, Range, Running, Way},
    memory,
};

/// The ports of a relay.
const PORTS: Range = (1_536, 65_535);
/// The calls that a relay has ports for.
const EACH: u32 = 16_000;
/// Files of a call in a relay at most: two ports of each party, and a second socket on one of them that knows its peer.
const FILES: u64 = 6;
/// Files of a relay that are no sockets of calls.
const OTHER_FILES: u64 = 1_024;
/// The relays that are compared.
pub const SUBJECTS: [Subject; 3] = [Subject::Rtpengine, Subject::IoUring, Subject::Xdp];
/// Packets that each party sends, so that its source is learned ...
const PACKETS: u16 = 5;
/// ... with so much time in between, in which the relay gets through all of them.
const BETWEEN: Duration = Duration::from_millis(300);
/// Calls that send before what has come back is read.
const CHUNK: usize = 256;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls at once.
    pub calls: u32,
    /// How often each relay has its turn.
    pub rounds: u32,
}

/// Runs every relay in turn, `plan.rounds` times. `programs` is the folder with mediad; `told` hears what is being done.
///
/// # Errors
/// A relay is missing, fails, or refuses a call.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    media::raise_limits();
    let files = mediad::limits::open_files().saturating_sub(OTHER_FILES) / FILES;
    let each = u32::try_from(files).unwrap_or(EACH).clamp(1, EACH);
    let relays = plan.calls.div_ceil(each).max(1);
    if relays > 1 {
        told(&format!(
            "{relays} relays share the calls: each has ports and files for {each} at most"
        ));
    }
    let mut report = Report::new(plan, relays, Machine::now());
    for round in 1..=plan.rounds {
        for subject in SUBJECTS {
            let figures = measure(plan, relays, subject, programs)?;
            let (name, rounds) = (subject.name(), plan.rounds);
            told(&format!("round {round} of {rounds}: {name:<10} {figures}"));
            report.add(round, subject, figures);
        }
    }
    Ok(report)
}

fn measure(
    plan: Plan,
    relays: u32,
    subject: Subject,
    programs: &Path,
) -> Result<Figures, BenchError> {
    let beds = (0..relays).map(|_| Bed::new(Layout::default()));
    let beds = beds.collect::<Result<Vec<_>, _>>()?;
    let ends = beds.iter().map(|bed| Ends::open(bed, 40_000));
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    let folder = tempfile::tempdir()?;

    let before = memory::kernel()?;
    let mut running = Vec::new();
    for (number, bed) in beds.iter().enumerate() {
        let folder = folder.path().join(number.to_string());
        std::fs::create_dir(&folder)?;
        running.push(subject.start(bed, programs, &folder, PORTS)?);
    }
    let clients = beds.iter().zip(&running).map(|(bed, relay)| {
        let server = relay.ng();
        Ng::connect(
            bed,
            server.ok_or_else(|| BenchError::Run("no relay to ask".to_owned()))?,
        )
    });
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    let empty = Held::now(&running, before)?;

    let mut heard = 0;
    for (number, (ng, ends)) in (0..).zip(clients.iter().zip(&ends)) {
        // What is left over is the first relays'.
        let calls = plan.calls / relays + u32::from(number < plan.calls % relays);
        let addresses = ends.addresses()?;
        let ways = (0..calls).map(|call| ng.open(call, addresses));
        let ways = ways.collect::<Result<Vec<_>, _>>()?;
        heard += talk(ends, &ways);
    }
    let full = Held::now(&running, before)?;
    Ok(Figures::new((plan.calls, relays), empty, full, heard))
}

/// Each party of these calls talks for a moment; how many of the last packets came back.
fn talk(ends: &Ends, ways: &[Way]) -> u64 {
    let mut heard = 0;
    for sequence in 0..PACKETS {
        ends.drain();
        heard = 0;
        for chunk in ways.chunks(CHUNK) {
            ends.send(chunk, sequence);
            heard += ends.drain();
        }
        thread::sleep(BETWEEN);
        heard += ends.drain();
    }
    heard
}

/// What relays hold, in KiB.
#[derive(Clone, Copy, Debug)]
struct Held {
    processes: u64,
    kernel: u64,
}

impl Held {
    fn now(running: &[Running], before: u64) -> Result<Self, BenchError> {
        let pids = running.iter().filter_map(Running::pid);
        let resident = pids.map(memory::resident).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            processes: resident.iter().sum(),
            kernel: memory::kernel()?.saturating_sub(before),
        })
    }
}
