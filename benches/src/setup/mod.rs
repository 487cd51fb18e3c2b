//! Calls set up and torn down a second: sessions made and deleted over the control channel by one client on one
//! connection, and calls of offer, answer and delete over NG, of mediad and of rtpengine in turns.
//!
//! The client has the first core and the server the second, on loopback. No media flows.

mod channel;
mod ng;
mod report;
mod subject;

use std::{path::Path, time::Duration};

pub use report::Report;
pub use subject::Subject;

use crate::error::BenchError;

/// How much to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long each run is measured.
    pub time: Duration,
    /// How often each subject has its turn.
    pub rounds: u32,
    /// Calls that are under way at once.
    pub window: u16,
    /// Sessions of mediad that are up all the while, without media.
    pub live: u32,
    /// mediad's `--datapath`.
    pub datapath: String,
}

/// Runs every subject in turn, `plan.rounds` times. `programs` is the folder with mediad; `told` hears what is being
/// done.
pub fn run(plan: &Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let mut report = Report::new(plan);
    for round in 1..=plan.rounds {
        for subject in Subject::ALL {
            let folder = tempfile::tempdir()?;
            let server = subject.start(plan, programs, folder.path())?;
            if subject != Subject::Rtpengine && plan.live > 0 {
                channel::hold(plan, server.control())?;
            }
            let rate = match subject {
                Subject::Channel => channel::measure(plan, server.control())?,
                Subject::Ng | Subject::Rtpengine => ng::measure(plan, server.ng())?,
            };
            let (name, rounds) = (subject.name(), plan.rounds);
            told(&format!(
                "round {round} of {rounds}: {name:<18} {rate:>9.0} a second"
            ));
            report.add(round, subject, rate);
        }
    }
    Ok(report)
}
