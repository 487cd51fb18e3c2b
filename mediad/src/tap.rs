//! What the XDP program copies, on its way to recordings and to the shards.
//!
//! One thread reads the ring: RTP goes to the recording of its port, RTCP to the shard that has the port (and to the
//! recording, where it holds packets), and to the shard, too, what a source has sent that has ended. Shards tell it which ports are recorded by a channel, so that no packet of theirs
//! ever waits for it.

use std::collections::{HashMap, hash_map::Entry};
use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use ebpf_abi::{SMALL, TAP_BYTES, TapHead};
use rtp::round_trip::{Report, reports};
use tracing::warn;

use crate::io::{Waker, monotonic_ns};
use crate::record::Tap;
use crate::relay::REPORTS_HEARD;
use crate::session::Ended;
use crate::shard::{Command, Commands};
use crate::xdp::{TapRing, flow_of};

/// How long copies are left to gather, so that the thread is woken for many at once.
const GATHER: Duration = Duration::from_millis(5);
/// How long the thread sleeps at most where nobody wakes it.
const REST: Duration = Duration::from_millis(500);

/// Copies in a turn at most: more than the ring has room for.
const MOST: usize = (TAP_BYTES as usize) / SMALL;

/// How the thread is told what is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Tapper {
    orders: Sender<Order>,
    waker: Waker,
}

/// A port whose copies go to a recording; dropped, they do so no longer.
#[derive(Debug)]
pub(crate) struct Ear {
    tapper: Tapper,
    port: u16,
    /// Which of the port's recordings it is.
    number: u64,
}

/// RTCP that the program has forwarded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overheard {
    /// The local port that it came to.
    pub(crate) port: u16,
    /// When, as in [`monotonic_ns`](crate::io::monotonic_ns).
    pub(crate) arrival: u64,
    pub(crate) report: Report,
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Reader {
    tapper: Tapper,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread is told.
enum Order {
    Hear { port: u16, tap: Tap, since: u64 },
    Leave { port: u16, number: u64 },
    Stop,
}

/// What the thread needs to begin.
pub(crate) struct Unread {
    ring: TapRing,
    told: Receiver<Order>,
    tapper: Tapper,
}

/// A ring, and how its reader will be told; the reader begins with [`Unread::start`].
///
/// # Errors
/// The process is out of file descriptors.
pub(crate) fn prepare(ring: TapRing) -> io::Result<(Tapper, Unread)> {
    let (orders, told) = crossbeam_channel::unbounded();
    let tapper = Tapper {
        orders,
        waker: Waker::new()?,
    };
    let unread = Unread {
        ring,
        told,
        tapper: tapper.clone(),
    };
    Ok((tapper, unread))
}

impl Tapper {
    /// Lets copies of what comes to `port` go to a recording.
    pub(crate) fn hear(&self, port: u16, tap: &Tap) -> Ear {
        let number = tap.number();
        let (tap, since) = (tap.clone(), monotonic_ns());
        self.tell(Order::Hear { port, tap, since });
        Ear {
            tapper: self.clone(),
            port,
            number,
        }
    }

    /// The thread may have ended, and the node with it.
    fn tell(&self, order: Order) {
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

impl Ear {
    /// Which recording it is for.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let (port, number) = (self.port, self.number);
        self.tapper.tell(Order::Leave { port, number });
    }
}

impl Unread {
    /// Starts the thread. `shards` are those that RTCP is for: whose ports end where, in order.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn start(self, shards: Vec<(u16, Commands)>) -> io::Result<Reader> {
        let tapper = self.tapper.clone();
        let desk = Desk {
            told: self.told,
            taps: HashMap::new(),
            leaving: Vec::new(),
            obeyed: 0,
            reports: shards.iter().map(|_| Vec::new()).collect(),
            ended: shards.iter().map(|_| Vec::new()).collect(),
            shards,
            is_over: false,
        };
        let (ring, waker) = (self.ring, self.tapper.waker);
        let thread = std::thread::Builder::new()
            .name("tap".to_owned())
            .spawn(move || desk.run(ring, &waker))?;
        Ok(Reader {
            tapper,
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl Reader {
    /// Reads what is in the ring, and ends the thread.
    pub(crate) fn stop(&self) {
        self.tapper.tell(Order::Stop);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            warn!("the thread that reads what XDP copies had panicked");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Who has the copies of a port: a recording that begins may find some of the one before it still in the ring.
struct Listeners {
    tap: Tap,
    /// From when on copies are its own, as in [`monotonic_ns`](crate::io::monotonic_ns).
    since: u64,
    before: Option<Tap>,
}

struct Desk {
    told: Receiver<Order>,
    taps: HashMap<u16, Listeners>,
    /// Ports that are recorded no longer, once all is read that was copied before.
    leaving: Vec<(u16, u64)>,
    /// When orders were last looked for.
    obeyed: u64,
    /// The last port of each shard.
    shards: Vec<(u16, Commands)>,
    /// What each of them is to be told.
    reports: Vec<Vec<Overheard>>,
    /// Sources of theirs that have ended.
    ended: Vec<Vec<Ended>>,
    is_over: bool,
}

impl Desk {
    fn run(mut self, mut ring: TapRing, waker: &Waker) {
        while !self.is_over {
            ring.wait(waker.as_fd(), REST);
            std::thread::sleep(GATHER);
            waker.clear();
            self.obey();
            // Those that leave now, and not those of whom it is told meanwhile: of them something may have come since.
            let leaving = std::mem::take(&mut self.leaving);
            for _ in 0..MOST {
                if !ring.next(|head, frame| self.take(head, frame)) {
                    break;
                }
            }
            for (port, number) in leaving {
                if let Entry::Occupied(mut listeners) = self.taps.entry(port) {
                    let heard = listeners.get_mut();
                    heard.before = heard.before.take().filter(|tap| tap.number() != number);
                    if heard.tap.number() == number {
                        listeners.remove();
                    }
                }
            }
            self.report();
        }
    }

    fn obey(&mut self) {
        self.obeyed = monotonic_ns();
        while let Ok(order) = self.told.try_recv() {
            match order {
                Order::Hear { port, tap, since } => {
                    let before = self.taps.remove(&port).map(|heard| heard.tap);
                    let listeners = Listeners { tap, since, before };
                    self.taps.insert(port, listeners);
                }
                Order::Leave { port, number } => self.leaving.push((port, number)),
                Order::Stop => self.is_over = true,
            }
        }
    }

    fn take(&mut self, head: &TapHead, frame: &[u8]) {
        // An order comes before the first copy that it is about.
        if head.arrival >= self.obeyed {
            self.obey();
        }
        if head.is_source() {
            return self.end_source(head.port, frame);
        }
        let payload = frame.get(usize::from(head.payload)..).unwrap_or_default();
        if head.is_rtcp() {
            self.overhear(head, payload);
        }
        // RTCP's own port is the one above.
        let of_pair = || self.taps.get(&(head.port & !1)).filter(|_| head.is_rtcp());
        if let Some(heard) = self.taps.get(&head.port).or_else(of_pair) {
            let tap = match head.arrival < heard.since {
                false => Some(&heard.tap),
                true => heard.before.as_ref(),
            };
            if let Some(tap) = tap {
                tap.take_frame(head, frame, payload);
            }
        }
    }

    fn end_source(&mut self, port: u16, flow: &[u8]) {
        let shard = self.shards.iter().position(|(last, _)| port <= *last);
        let told = shard.and_then(|shard| self.ended.get_mut(shard));
        if let Some((told, flow)) = told.zip(flow_of(flow)) {
            told.push(Ended { port, flow });
        }
    }

    fn overhear(&mut self, head: &TapHead, payload: &[u8]) {
        let shard = self.shards.iter().position(|(last, _)| head.port <= *last);
        let Some(told) = shard.and_then(|shard| self.reports.get_mut(shard)) else {
            return;
        };
        told.extend(
            reports(payload)
                .take(REPORTS_HEARD)
                .map(|report| Overheard {
                    port: head.port,
                    arrival: head.arrival,
                    report,
                }),
        );
    }

    fn report(&mut self) {
        for ((_, shard), reports) in self.shards.iter().zip(&mut self.reports) {
            if !reports.is_empty() {
                shard.send(Command::Overheard(std::mem::take(reports)));
            }
        }
        for ((_, shard), ended) in self.shards.iter().zip(&mut self.ended) {
            if !ended.is_empty() {
                shard.send(Command::Ended(std::mem::take(ended)));
            }
        }
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Order")
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").finish_non_exhaustive()
    }
}
