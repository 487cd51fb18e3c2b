//! Calls that come, talk for a moment, and go.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use loadtest::bed::Bed;

use super::{MOST, Plan};
use crate::{
    cpu,
    error::BenchError,
    media::{Ends, Ng, RELAY_CORE, Way},
};

/// How long a call lasts ...
const LASTS: Duration = Duration::from_millis(200);
/// ... and how much of it nobody talks before it ends, so that nothing is under way then.
const SILENCE: Duration = Duration::from_millis(80);
/// Each party of a call sends a packet in this time.
const PTIME: Duration = Duration::from_millis(20);
/// Their port.
const PORT: u16 = 40_002;

/// What came of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turned {
    /// Calls set up and torn down.
    pub(super) calls: u64,
    /// In how many seconds.
    pub(super) seconds: f64,
    /// Packets sent in them.
    pub(super) sent: u64,
    /// Packets that the kernel did not take, of others.
    pub(super) refused: u64,
    /// Packets that came back.
    pub(super) received: u64,
    /// Packets that were lost before [`Turnover::count`].
    pub(super) lost_before: u64,
}

impl Turned {
    /// Packets that never came.
    pub(super) const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// The thread that makes them.
pub(super) struct Turnover {
    /// That the rest of the bench counts from now on.
    counted: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Turned, BenchError>>,
}

impl Turnover {
    pub(super) fn start(bed: &Bed, server: SocketAddr, plan: Plan) -> Result<Self, BenchError> {
        let [counted, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let seen = [&counted, &stop].map(Arc::clone);
        let (ng, ends) = (Ng::connect(bed, server)?, Ends::open(bed, PORT)?);
        let thread = thread::spawn(move || {
            cpu::pin(RELAY_CORE);
            turn_over(&ng, &ends, plan, &seen)
        });
        Ok(Self {
            counted,
            stop,
            thread,
        })
    }

    /// What is lost from now on is what the rest of the bench counts.
    pub(super) fn count(&self) {
        self.counted.store(true, Ordering::Relaxed);
    }

    /// Ends them all.
    pub(super) fn stop(self) -> Result<Turned, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        let broken = |_| BenchError::Run("the thread that makes calls broke".to_owned());
        self.thread.join().map_err(broken)?
    }
}

/// A call that is up.
struct Call {
    way: Way,
    since: Instant,
    sequence: u16,
}

fn turn_over(
    ng: &Ng,
    ends: &Ends,
    plan: Plan,
    [counted, stop]: &[Arc<AtomicBool>; 2],
) -> Result<Turned, BenchError> {
    let mut was_counted = false;
    let (mut turned, mut up) = (Turned::default(), VecDeque::<Call>::new());
    let addresses = ends.addresses()?;
    let step = Duration::from_secs(1) / plan.rate.max(1);
    let begun = Instant::now();
    let (mut due, mut talk) = (begun, begun);
    // Above those of the calls that stand.
    for number in MOST.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let way = ng.open(number, addresses)?;
        up.push_back(Call {
            way,
            since: Instant::now(),
            sequence: 0,
        });
        while up.front().is_some_and(|call| call.since.elapsed() > LASTS) {
            end(ng, &mut up, &mut turned)?;
        }
        if Instant::now() >= talk {
            talk = (talk + PTIME).max(Instant::now());
            // What was sent the time before has come back by now.
            turned.received += ends.drain();
            if !was_counted && counted.load(Ordering::Relaxed) {
                (was_counted, turned.lost_before) = (true, turned.lost());
            }
            for call in up
                .iter_mut()
                .filter(|call| call.since.elapsed() < LASTS - SILENCE)
            {
                let sent = ends.send(std::slice::from_ref(&call.way), call.sequence);
                turned.sent += sent;
                turned.refused += 2 - sent;
                call.sequence += 1;
            }
        }
        due += step;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    turned.seconds = begun.elapsed().as_secs_f64();
    let made = turned.calls;
    thread::sleep(LASTS);
    while !up.is_empty() {
        end(ng, &mut up, &mut turned)?;
    }
    turned.calls = made;
    turned.received += ends.drain();
    Ok(turned)
}

fn end(ng: &Ng, up: &mut VecDeque<Call>, turned: &mut Turned) -> Result<(), BenchError> {
    if let Some(call) = up.pop_front() {
        ng.delete(call.way.call)?;
        turned.calls += 1;
    }
    Ok(())
}
