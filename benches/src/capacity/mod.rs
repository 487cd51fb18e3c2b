//! How many calls a relay carries on one core before packets are lost: mediad over io_uring and rtpengine in turns.
//!
//! The relay's sockets hold back seconds of a call before one overflows, so a relay that cannot keep up shows first as
//! packets that are late: one that takes longer than a jitter buffer waits counts as lost. The core that the relay has
//! also does what the kernel does to receive for it, as it would beside a card; on a veth that is the sender's work unless
//! it is told otherwise. Each relay has one thread for that core and the ordinary scheduler; the generator's thread alone
//! is real-time, where that is permitted. Where what the relay sends arrives, a program counts and drops it: a party's socket would take
//! the relay's time, and reading it the generator's.

mod report;

use std::{path::Path, thread, time::Duration};

use loadtest::bed::{Bed, Layout};

pub use report::{Figures, Report};

pub use crate::media::Subject;
use crate::{
    error::BenchError,
    machine::Machine,
    media::{self, Arrivals, Ends, GENERATOR_CORE, Generator, Ng, RELAY_CORE, Range, Sinks, Way},
};

/// The ports of the relays.
const PORTS: Range = (10_000, 59_999);
/// Calls that these are enough for: four each.
const MOST: u32 = 12_500;
/// The relays that are compared.
pub const SUBJECTS: [Subject; 2] = [Subject::Rtpengine, Subject::IoUring];
/// Packets of one system call of the generator.
const BATCH: usize = 32;
/// The time in which a relay learns the sources of the calls of a step.
const WARM_UP: Duration = Duration::from_millis(1200);
/// A step that loses is tried again so often: a pause of the whole machine is nobody's capacity.
const AGAIN: u32 = 1;
/// A generator that is late for more of its time than this, or whose packets its own kernel does not take, is the bound
/// itself.
const BEHIND: f64 = 0.02;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls of the first step.
    pub start: u32,
    /// How much more the next step has, in percent, until one loses.
    pub step_pct: u32,
    /// How near the result has to be, in percent.
    pub exact_pct: u32,
    /// How long each step is measured.
    pub time: Duration,
    /// What may be lost, in percent.
    pub loss_pct: f64,
    /// How often each relay has its turn.
    pub rounds: u32,
}

/// Runs both relays in turn, `plan.rounds` times. `programs` is the folder with mediad; `told` hears what is being done.
///
/// # Errors
/// A relay is missing, fails, or does not even carry one call; packets that are lost are figures, and no error.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    media::raise_limits();
    let mut report = Report::new(plan, Machine::now());
    let mut starts = SUBJECTS.map(|_| plan.start);
    for round in 1..=plan.rounds {
        for (subject, start) in SUBJECTS.into_iter().zip(&mut starts) {
            let bed = Bed::new(Layout::default())?;
            bed.receive_on(RELAY_CORE)?;
            let folder = tempfile::tempdir()?;
            let relay = subject.start(&bed, programs, folder.path(), PORTS)?;
            let server = relay.ng();
            let server = server.ok_or_else(|| BenchError::Run("no relay to ask".to_owned()))?;
            let line = Line {
                plan,
                ng: Ng::connect(&bed, server)?,
                ends: Ends::open(&bed, 40_000)?,
                sinks: Sinks::attach(&bed)?,
                ways: Vec::new(),
            };
            let name = subject.name();
            let figures = line.search(*start, &mut |step| {
                told(&format!(
                    "round {round} of {}: {name:<10} {step}",
                    plan.rounds
                ));
            })?;
            // No ratio to such a turn says anything, and what is wrong is not how much the relay carries.
            if figures.calls == 0 {
                let said = relay.output();
                return Err(BenchError::Run(format!(
                    "{name} did not carry one call; run it again on a quieter machine. It said:\n{said}"
                )));
            }
            // The next turn begins below where this one ended.
            *start = (figures.calls * 4 / 5).max(1);
            report.add(round, subject, figures);
        }
    }
    Ok(report)
}

/// One relay, and the calls that are open on it.
struct Line {
    plan: Plan,
    ng: Ng,
    ends: Ends,
    sinks: Sinks,
    ways: Vec<Way>,
}

/// What came of so many calls.
#[derive(Clone, Copy)]
struct Step {
    calls: u32,
    loss: f64,
    is_bound: bool,
    p99_us: u64,
}

impl Line {
    /// More calls from step to step until one loses, then between that one and the one before.
    fn search(mut self, start: u32, told: &mut dyn FnMut(&str)) -> Result<Figures, BenchError> {
        let (mut good, mut bad): (Option<Step>, Option<Step>) = (None, None);
        loop {
            let calls = match (&good, &bad) {
                (None, None) => start,
                (None, Some(bad)) => bad.calls / 2,
                (Some(good), None) => good.calls + (good.calls * self.plan.step_pct / 100).max(1),
                (Some(good), Some(bad)) => u32::midpoint(good.calls, bad.calls),
            };
            let calls = calls.min(MOST);
            let is_done = match (&good, &bad) {
                (Some(good), Some(bad)) => {
                    (bad.calls - good.calls) * 100 <= good.calls * self.plan.exact_pct
                }
                (Some(good), None) => good.calls == MOST,
                (None, _) => calls == 0,
            };
            if is_done {
                break;
            }
            let step = self.step(calls)?;
            let is_good = self.is_good(&step);
            told(&format!(
                "{calls} calls: {:.3} % lost or late, p99 {} us{}",
                step.loss * 100.0,
                step.p99_us,
                if step.is_bound {
                    ", the generator is the bound"
                } else {
                    ""
                }
            ));
            *(if is_good { &mut good } else { &mut bad }) = Some(step);
        }
        Ok(Figures {
            calls: good.map_or(0, |step| step.calls),
            p99_us: good.map_or(0, |step| step.p99_us),
            is_bound: bad.is_none_or(|step| step.is_bound),
        })
    }

    fn is_good(&self, step: &Step) -> bool {
        step.loss * 100.0 <= self.plan.loss_pct && !step.is_bound
    }

    /// So many calls, the best of the tries.
    fn step(&mut self, calls: u32) -> Result<Step, BenchError> {
        let addresses = self.ends.addresses()?;
        for call in u32::try_from(self.ways.len()).unwrap_or(u32::MAX)..calls {
            self.ways.push(self.ng.open(call, addresses)?);
        }
        let mut step = self.once(calls)?;
        for _ in 0..AGAIN {
            if !self.is_good(&step) {
                step = self.once(calls)?;
            }
        }
        Ok(step)
    }

    fn once(&mut self, calls: u32) -> Result<Step, BenchError> {
        let ways = self.ways.get(..calls as usize).unwrap_or(&self.ways);
        let generator = Generator::start(
            &self.ends,
            ways,
            BATCH,
            [GENERATOR_CORE; 2],
            Arrivals::Sinks,
        )?;
        self.sinks.begin(generator.number())?;
        thread::sleep(WARM_UP);
        generator.count(true);
        thread::sleep(self.plan.time);
        generator.count(false);
        let mut traffic = generator.stop();
        self.sinks.count(&mut traffic)?;
        Ok(Step {
            calls,
            loss: traffic.loss(),
            is_bound: traffic.behind > BEHIND || traffic.refused > 0,
            p99_us: traffic.quantile(0.99),
        })
    }
}
