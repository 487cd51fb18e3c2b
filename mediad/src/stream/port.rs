//! Between a shard and the task of a stream: neither waits for the other.
//!
//! The shard has the [`Port`], on its clock of 20 ms; the task has the `Line`. What the party says goes into a queue
//! whose oldest frame gives way when the task is slow. What the party is to hear lies in a ring of samples: the task
//! writes ahead a little, the shard takes 160 at a time, so that pieces of any size become frames without a gap, and a
//! tail is filled up with silence only where nothing follows in time. To clear is to move a mark in the ring that the
//! shard skips to: its next frame is silent already.
//!
//! A shard wakes the tasks of all its streams with one [`Bell`] a turn: waking a task from outside of its runtime is a
//! system call. A task that has nothing more to write, and no mark that waits, is not told of what is taken.

use std::sync::atomic::{AtomicBool, AtomicI16, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

use crossbeam_queue::ArrayQueue;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

/// Samples of a frame: 20 ms at 8,000 Hz.
pub const FRAME: usize = 160;
/// Frames that wait for the task at most: 2 s of one track.
const HEARD: usize = 100;
/// Keys that wait for the task at most.
const DIGITS: usize = 64;
/// Streams of a bell that is gone have so long to stop.
const LET_GO: Duration = Duration::from_secs(2);
/// Samples in the ring; a power of two.
const RING: usize = 8_192;
/// Pieces in the ring whose times are known: all of 300 ms that come by 2.5 ms.
const PIECES: usize = 128;
/// Why a task is woken: something was heard, or a key pressed.
const HEARS: u8 = 1;
/// Something was taken from the ring.
const PLAYED: u8 = 2;

/// What is heard of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// What it says.
    Inbound,
    /// What it hears.
    Outbound,
}

impl Track {
    /// As `media.track` and `start.tracks` have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// A frame that was heard.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) track: Track,
    /// Which of its track, from 0: frames that gave way are counted.
    pub(super) number: u64,
    pub(super) samples: [i16; FRAME],
}

/// The shard's end. Dropping it ends the stream: the server gets `stop`, and the connection is closed.
#[derive(Debug)]
pub struct Port {
    shared: Arc<Shared>,
    /// Frames heard, of each track.
    numbers: [u64; 2],
    /// The piece that the last sample taken was of, or one after it.
    piece: Piece,
}

/// What was taken of what a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Since when all of it lay there, in nanoseconds of the monotonic clock: at the latest.
    pub since: u64,
    /// Samples that lie there still.
    pub rest: usize,
}

impl Port {
    /// Takes a frame of a track. Called for every 20 ms, with silence where nothing came: the frames are the server's
    /// clock.
    pub fn hear(&mut self, track: Track, frame: &[i16; FRAME]) {
        let number = &mut self.numbers[track as usize];
        let heard = Heard {
            track,
            number: *number,
            samples: *frame,
        };
        *number += 1;
        if self.shared.heard.force_push(heard).is_some() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            // Who listens to the server tells of it.
            self.shared.stir(PLAYED);
        }
        self.shared.stir(HEARS);
    }

    /// Samples that lie there for the party.
    pub fn ahead(&self) -> usize {
        self.shared.ring.ahead()
    }

    /// Whether there is less than a frame for the party. Then the shard is woken once there is one.
    pub fn lacks(&mut self) -> bool {
        if self.ahead() >= FRAME {
            return false;
        }
        self.shared.idle.store(true, Ordering::SeqCst);
        // The task may have written meanwhile, and not seen that it should wake.
        let lacks = self.ahead() < FRAME;
        if !lacks {
            self.shared.idle.store(false, Ordering::SeqCst);
        }
        lacks
    }

    /// Fills in what the party is to hear next, with silence after the last sample; `None` where the server plays nothing,
    /// and `out` is untouched. Then the shard is woken once there is a frame.
    pub fn play(&mut self, out: &mut [i16]) -> Option<Taken> {
        let shared = &self.shared;
        let mut end = shared.ring.take(out);
        if end.is_none() {
            shared.idle.store(true, Ordering::SeqCst);
            end = shared.ring.take(out);
        }
        let end = end?;
        shared.idle.store(false, Ordering::SeqCst);
        // Either this sees that the task wants to know, or the task sees what was taken.
        fence(Ordering::SeqCst);
        if shared.wants.load(Ordering::Relaxed) {
            shared.stir(PLAYED);
        }
        while self.piece.end < end {
            // A time that was lost is taken to be the next one's.
            let Some(next) = shared.ring.pieces.pop() else {
                break;
            };
            self.piece = next;
        }
        Some(Taken {
            since: self.piece.at,
            rest: shared.ring.ahead(),
        })
    }

    /// How often the server has taken back what it said: a number that changes.
    pub fn cleared(&self) -> u64 {
        self.shared.ring.clears.load(Ordering::Relaxed)
    }

    /// Tells of a key that the party pressed. More than 64 at once are left out.
    pub fn digit(&mut self, digit: char) {
        if self.shared.digits.push(digit).is_ok() {
            self.shared.stir(HEARS);
        }
    }

    /// Whether the stream is over: nothing is heard or played any more.
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Relaxed)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Release);
        self.shared.gone_wake.notify_one();
    }
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) shared: Arc<Shared>,
}

impl Line {
    /// Waits until there is something to be told of.
    pub(super) async fn heard(&self) {
        self.shared.heard_wake.notified().await;
    }

    /// Waits until the shard has taken something from the ring, and [was to tell](Self::follow).
    pub(super) async fn played(&self) {
        self.shared.played_wake.notified().await;
    }

    /// From here on the shard tells of what it takes from the ring. To be called before its room is looked at.
    pub(super) fn follow(&self) {
        self.shared.wants.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The shard need not tell any more.
    pub(super) fn unfollow(&self) {
        self.shared.wants.store(false, Ordering::Relaxed);
    }

    /// Writes samples for the party, as many as there is room for; a shard that has found less than a frame is woken once
    /// there is one. `now` is of the monotonic clock.
    pub(crate) fn say(&self, samples: impl Iterator<Item = i16>, now: u64) {
        self.shared.ring.write(samples, now);
        if self.shared.ring.ahead() >= FRAME && self.shared.idle.swap(false, Ordering::SeqCst) {
            (self.shared.wake.0)();
        }
    }

    /// Samples that may be written, where no more than `most` are to lie there.
    pub(crate) fn room(&self, most: usize) -> usize {
        let ring = &self.shared.ring;
        most.saturating_sub(ring.ahead()).min(ring.room())
    }

    /// Nothing of what was said is to be heard any more.
    pub(crate) fn clear(&self) {
        self.shared.ring.clear();
    }

    /// Waits until the port is dropped. One may wait at a time.
    pub(super) async fn gone(&self) {
        while !self.shared.is_gone() {
            self.shared.gone_wake.notified().await;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.ring.clear();
        self.shared.over.store(true, Ordering::Release);
    }
}

/// Has the shard give a stream its turn, since its server begins to speak.
pub struct Wake(Box<dyn Fn() + Send + Sync>);

impl Wake {
    /// By calling this.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(wake))
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) heard: ArrayQueue<Heard>,
    pub(super) digits: ArrayQueue<char>,
    /// Frames that gave way.
    pub(super) lost: AtomicU64,
    pub(super) ring: Ring,
    /// Why the bell is to wake the task.
    stirred: AtomicU8,
    /// The bell's: it has somebody to wake.
    rings: Arc<AtomicBool>,
    /// The task is to be told of what is taken from the ring.
    wants: AtomicBool,
    /// The shard has found less than a frame to play.
    idle: AtomicBool,
    wake: Wake,
    heard_wake: Notify,
    played_wake: Notify,
    gone_wake: Notify,
    gone: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn stir(&self, why: u8) {
        self.stirred.fetch_or(why, Ordering::Release);
        self.rings.store(true, Ordering::Release);
    }

    fn wake(&self, why: u8) {
        if why & HEARS != 0 {
            self.heard_wake.notify_one();
        }
        if why & PLAYED != 0 {
            self.played_wake.notify_one();
        }
    }
}

/// Samples on their way to the party: one writes, one takes. Positions count samples since the beginning.
#[derive(Debug)]
pub(super) struct Ring {
    samples: Box<[AtomicI16]>,
    /// Up to where is written: the task's.
    written: AtomicU64,
    /// Up to where is taken: the shard's.
    taken: AtomicU64,
    /// What is before is not to be heard any more: the task's.
    cleared: AtomicU64,
    clears: AtomicU64,
    /// When what was written; the oldest give way.
    pieces: ArrayQueue<Piece>,
}

/// What was written at once.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    /// The position after it.
    end: u64,
    /// Nanoseconds of the monotonic clock.
    at: u64,
}

impl Ring {
    fn new() -> Self {
        Self {
            samples: (0..RING).map(|_| AtomicI16::new(0)).collect(),
            written: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            clears: AtomicU64::new(0),
            pieces: ArrayQueue::new(PIECES),
        }
    }

    /// Fills `out`, with silence after the last sample; the position after that one, or `None` where there is none.
    fn take(&self, out: &mut [i16]) -> Option<u64> {
        // `written` last: it is never less than `cleared`.
        let cleared = self.cleared.load(Ordering::Acquire);
        let from = self.taken.load(Ordering::Relaxed).max(cleared);
        let written = self.written.load(Ordering::Acquire);
        let (mut at, mut taken) = (from, 0);
        while taken < out.len() && at < written {
            out[taken] = self.at(at).load(Ordering::Relaxed);
            at += 1;
            taken += 1;
        }
        if taken > 0 {
            out[taken..].fill(0);
        }
        self.taken.store(at, Ordering::Release);
        (taken > 0).then_some(at)
    }

    /// Writes samples, as many as there is room for.
    fn write(&self, samples: impl Iterator<Item = i16>, now: u64) {
        let mut written = self.written.load(Ordering::Relaxed);
        let end = self.taken.load(Ordering::Acquire) + RING as u64;
        for sample in samples.take(usize::try_from(end - written).unwrap_or(0)) {
            self.at(written).store(sample, Ordering::Relaxed);
            written += 1;
        }
        // First, so that who takes them knows.
        self.pieces.force_push(Piece {
            end: written,
            at: now,
        });
        self.written.store(written, Ordering::Release);
    }

    /// Samples that may be written.
    fn room(&self) -> usize {
        let ahead = self.written.load(Ordering::Relaxed) - self.taken.load(Ordering::Acquire);
        RING.saturating_sub(usize::try_from(ahead).unwrap_or(RING))
    }

    /// Samples that are written and neither taken nor cleared.
    fn ahead(&self) -> usize {
        let passed = self.passed();
        // After it: what is written is never less.
        let ahead = self.written.load(Ordering::Acquire) - passed;
        usize::try_from(ahead).unwrap_or(RING)
    }

    /// Up to where everything is taken or cleared.
    pub(super) fn passed(&self) -> u64 {
        let cleared = self.cleared.load(Ordering::Acquire);
        self.taken.load(Ordering::Acquire).max(cleared)
    }

    /// Nothing of what is written is to be heard.
    fn clear(&self) {
        let written = self.written.load(Ordering::Relaxed);
        self.cleared.store(written, Ordering::Release);
        self.clears.fetch_add(1, Ordering::Relaxed);
    }

    fn at(&self, position: u64) -> &AtomicI16 {
        #[expect(clippy::cast_possible_truncation, reason = "the mask leaves what fits")]
        let index = (position & (RING as u64 - 1)) as usize;
        &self.samples[index]
    }
}

/// Wakes the tasks of a shard's streams, which have a thread of their own: between threads that share them, most of a
/// node's time would go into waking one another.
#[derive(Debug)]
pub struct Bell {
    table: Arc<Table>,
    runtime: Handle,
}

/// The streams of a bell.
#[derive(Debug, Default)]
struct Table {
    rung: Notify,
    /// Somebody is to be woken.
    rings: Arc<AtomicBool>,
    /// The bell is gone.
    is_gone: AtomicBool,
    /// Not touched by the shard.
    streams: Mutex<Vec<Weak<Shared>>>,
}

impl Bell {
    /// A bell, and the thread of its streams, which ends when the bell is dropped, and they with it.
    ///
    /// # Errors
    /// The thread or its event queue could not be made.
    pub fn start(shard: u16) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let bell = Self {
            table: Arc::default(),
            runtime: runtime.handle().clone(),
        };
        let table = Arc::clone(&bell.table);
        std::thread::Builder::new()
            .name(format!("streams-{shard}"))
            .spawn(move || {
                runtime.block_on(table.serve());
                // A name that is being looked up is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(bell)
    }

    /// Rings, where that is of use: once, after the ports of a shard's turn have been heard and played.
    pub fn ring(&self) {
        if self.table.rings.load(Ordering::Relaxed) {
            self.table.rings.store(false, Ordering::Relaxed);
            self.table.rung.notify_one();
        }
    }

    /// Runs the task of a stream.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// The two ends of a new stream of this bell's shard, which `wake` wakes.
    pub(super) fn connect(&self, wake: Wake) -> (Port, Line) {
        let (port, line) = connect(wake, Arc::clone(&self.table.rings));
        self.table.streams().push(Arc::downgrade(&line.shared));
        (port, line)
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.table.is_gone.store(true, Ordering::Release);
        self.table.rung.notify_one();
    }
}

impl Table {
    fn streams(&self) -> MutexGuard<'_, Vec<Weak<Shared>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the bell is gone, and for as long after it as streams say that they stop.
    async fn serve(&self) {
        while !self.is_gone.load(Ordering::Acquire) {
            self.rung.notified().await;
            self.wake();
        }
        tokio::time::sleep(LET_GO).await;
    }

    fn wake(&self) {
        self.streams().retain(|stream| {
            let Some(shared) = stream.upgrade() else {
                return false;
            };
            shared.wake(shared.stirred.swap(0, Ordering::AcqRel));
            true
        });
    }
}

/// The two ends of a stream. `rings` is set when its task is to be woken, `wake` wakes its shard.
pub(crate) fn connect(wake: Wake, rings: Arc<AtomicBool>) -> (Port, Line) {
    let shared = Arc::new(Shared {
        heard: ArrayQueue::new(HEARD),
        digits: ArrayQueue::new(DIGITS),
        lost: AtomicU64::new(0),
        ring: Ring::new(),
        stirred: AtomicU8::new(0),
        rings,
        wants: AtomicBool::new(false),
        idle: AtomicBool::new(false),
        wake,
        heard_wake: Notify::new(),
        played_wake: Notify::new(),
        gone_wake: Notify::new(),
        gone: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let port = Port {
        shared: Arc::clone(&shared),
        numbers: [0; 2],
        piece: Piece::default(),
    };
    (port, Line { shared })
}
