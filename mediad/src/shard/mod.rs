//! A shard: one pinned thread that owns a part of the ports, the sockets and sessions on them, and
//! everything that happens to their packets. Nothing of it is shared; commands come by a channel.

mod commands;
mod keys;
mod monitors;
mod offload;
mod recordings;
mod reports;
mod sources;
mod tick;
mod voice;

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use control::Fault;
use control::channel::Events;
use control::media::{
    AudioTrouble, Create, Dtmf, Event, Local, Media, Modify, Monitor, Mute, Pause, SessionId,
    SessionInfo, SessionStats, Side, Surveyed, Top, Unmonitor, VoiceOrder,
};
use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

use crate::counters::ShardGauges;
use crate::interfaces::Interfaces;
use crate::io::sockets::Sockets;
use crate::io::uring::{Uring, UringError};
use crate::io::{PacketIo, PortIndex, Waker, monotonic_ns};
use crate::library::Clip;
use crate::limits;
use crate::ports::PortPool;
use crate::record::{Reel, Tap};
use crate::relay::{Learned, Relay};
use crate::session::Ended;
use crate::stream::{Bell, Port};
use crate::tap::Overheard;

use self::commands::is_exhaustion;
pub(crate) use self::keys::is_secret;
pub(crate) use self::offload::{Adopted, Hops, Offload};
pub(crate) use self::voice::{GAP_MS, KEY_MS};

/// How often silence, statistics and the datapath are looked after.
const TICK: Duration = Duration::from_millis(250);

/// Which backend moves the shard's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IoMode {
    Uring,
    Sockets,
}

/// What a shard is made of.
#[derive(Debug, Clone)]
pub(crate) struct ShardConfig {
    pub(crate) number: u16,
    /// Whole pairs; its part of the node's range.
    pub(crate) ports: RangeInclusive<u16>,
    /// Free pairs whose sockets it keeps at most.
    pub(crate) kept: usize,
    pub(crate) set: Settings,
    pub(crate) io: IoMode,
}

/// What may change while a shard runs; legs that it has keep their addresses, and their caps and TOS bytes until they are
/// described anew.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Addresses to bind and to tell the parties.
    pub(crate) interfaces: Interfaces,
    /// Silence until [`Event::Timeout`]; zero for never.
    pub(crate) timeout: Duration,
    /// Times of what a codec needs that a party may send; 0 for any number.
    pub(crate) rate_cap: u32,
    /// The TOS byte of what is sent, where a leg says nothing.
    pub(crate) tos: Option<u8>,
}

/// The answer's way back.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// What a shard can be told.
#[derive(Debug)]
pub(crate) enum Command {
    Create(Create, Reply<SessionInfo>),
    Modify(Modify, Reply<SessionInfo>),
    Mute(Mute, Reply<SessionInfo>),
    Dtmf(Dtmf, Reply<SessionInfo>),
    Monitor(Monitor, Reply<Local>),
    Unmonitor(Unmonitor, Reply<()>),
    /// Record both parties, or neither, and in which way it goes on; answered with where that is.
    Record(SessionId, Option<[Tap; 2]>, Pause, Reply<Option<PathBuf>>),
    /// Let the recording that there is go on in this way; answered with where it is, `None` where there is none.
    Pause(SessionId, Pause, Reply<Option<PathBuf>>),
    /// The recording of this number has ended by itself.
    Unrecord(SessionId, u64),
    /// RTCP that XDP has forwarded.
    Overheard(Vec<Overheard>),
    /// Sources that have ended on XDP.
    Ended(Vec<Ended>),
    /// Orders of programmable voice.
    Voice(SessionId, Vec<VoiceOrder>, Reply<voice::Begun>),
    /// The audio that a job of them plays.
    Clip(SessionId, u32, Result<Arc<Clip>, AudioTrouble>),
    /// The port of a job that streams.
    Stream(SessionId, u32, Port),
    /// The server of such a job begins to speak.
    Speak(SessionId, u32),
    /// The file of a job that records; `None` where it could not be made.
    Reel(SessionId, u32, Option<Reel>),
    /// A job that records is over.
    Recorded(SessionId, u32),
    Query(SessionId, Reply<SessionStats>),
    /// How those of these sound that are there.
    Survey(Vec<SessionId>, Reply<Vec<Surveyed>>),
    /// What is carried, and so many of the sessions that sound worst.
    Top(u16, Reply<Top>),
    Delete(SessionId, Reply<Option<SessionStats>>),
    List(String, Reply<Vec<SessionId>>),
    /// Sessions whose slots were found in force at start.
    Adopt(Vec<Adopted>, Reply<Vec<SessionId>>),
    /// The next hops may have changed.
    HopsChanged,
    /// The configuration has changed.
    Set(Settings),
    /// End the thread. With `true` the slots are cleared first.
    Stop(bool),
}

/// The way to a shard.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    queue: Sender<Command>,
    waker: Waker,
}

impl Commands {
    /// Queues a command; the order of calls is the order of execution. `false` if the shard is gone.
    pub(crate) fn send(&self, command: Command) -> bool {
        let sent = self.queue.send(command).is_ok();
        self.waker.wake();
        sent
    }
}

/// The engine's end of a shard.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    commands: Commands,
    pub(crate) gauges: Arc<ShardGauges>,
    /// Wakes the streams of the shard.
    pub(crate) bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a shard did not start.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// io_uring is not usable.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// A thread, its wake-up or its epoll instance could not be made.
    #[error("cannot start a media thread: {0}")]
    Io(#[from] io::Error),
    /// The thread ended while it started; its log says why.
    #[error("a media thread ended while it started")]
    Died,
}

impl ShardHandle {
    /// Starts the thread, and waits until its backend stands.
    ///
    /// # Errors
    /// [`ShardError`]; then there is no thread.
    pub(crate) fn start(
        config: ShardConfig,
        events: Events<Media>,
        bell: Arc<Bell>,
        offload: Option<Offload>,
    ) -> Result<Self, ShardError> {
        let (commands, queue) = crossbeam_channel::unbounded();
        let waker = Waker::new()?;
        let commands = Commands {
            queue: commands,
            waker: waker.clone(),
        };
        let gauges = Arc::new(ShardGauges::default());
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let seed = Seed {
            config,
            queue,
            waker,
            gauges: gauges.clone(),
            events,
            bell: bell.clone(),
            offload,
        };
        let thread = std::thread::Builder::new()
            .name(format!("media-{}", seed.config.number))
            .spawn(move || seed.run(&ready))?;
        match started.recv() {
            Ok(Ok(())) => Ok(Self {
                commands,
                gauges,
                bell,
                thread: Mutex::new(Some(thread)),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ShardError::Died),
        }
    }

    /// As [`Commands::send`].
    pub(crate) fn send(&self, command: Command) -> bool {
        self.commands.send(command)
    }

    /// For who has something to say later on.
    pub(crate) fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Stops the thread and waits for it. With `clear`, it leaves no slot behind.
    pub(crate) fn stop(&self, clear: bool) {
        self.send(Command::Stop(clear));
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            error!("a media thread had panicked; its sessions were lost");
        }
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        // Without a word about the slots they stay: an engine that is dropped unasked was not
        // stopped, and the next one may adopt its calls.
        self.stop(false);
    }
}

/// What the thread starts from.
struct Seed {
    config: ShardConfig,
    queue: Receiver<Command>,
    waker: Waker,
    gauges: Arc<ShardGauges>,
    events: Events<Media>,
    bell: Arc<Bell>,
    offload: Option<Offload>,
}

impl Seed {
    fn run(self, ready: &std::sync::mpsc::SyncSender<Result<(), ShardError>>) {
        if let Err(error) = limits::pin_to_core(usize::from(self.config.number)) {
            warn!(%error, shard = self.config.number, "cannot pin a media thread to its core");
        }
        let ports = u32::from(self.config.ports.end() - self.config.ports.start()) + 1;
        match self.config.io {
            IoMode::Uring => match Uring::new(ports, self.waker.clone()) {
                Ok(io) => self.serve(io, ready),
                Err(error) => drop(ready.send(Err(error.into()))),
            },
            IoMode::Sockets => match Sockets::new(ports, self.waker.clone()) {
                Ok(io) => self.serve(io, ready),
                Err(error) => drop(ready.send(Err(error.into()))),
            },
        }
    }

    fn serve<I: PacketIo>(
        self,
        io: I,
        ready: &std::sync::mpsc::SyncSender<Result<(), ShardError>>,
    ) {
        let mut shard = Shard::new(self, io);
        // Nobody waits any more if the engine was dropped meanwhile; the queue tells.
        drop(ready.send(Ok(())));
        if let Err(error) = shard.run() {
            error!(%error, "a media thread cannot go on; its sessions are lost");
        }
    }
}

struct Shard<I> {
    config: ShardConfig,
    io: I,
    relay: Relay,
    pool: PortPool,
    /// RTP ports whose TOS byte is not the one that it should be.
    unmarked: HashSet<PortIndex>,
    by_id: HashMap<SessionId, u32>,
    queue: Receiver<Command>,
    events: Events<Media>,
    gauges: Arc<ShardGauges>,
    bell: Arc<Bell>,
    offload: Option<Offload>,
    /// Sessions in which keys are pressed.
    pressing: Vec<u32>,
    /// When these are to be looked at, while there are any.
    next_press: Option<u64>,
    /// When the parties that something is played to are to be looked at; those before are left in it.
    speaking: BinaryHeap<voice::Due>,
    /// For a packet of theirs, so that nothing is allocated.
    spoken: Vec<u8>,
    /// The tone before recordings.
    beep: Arc<Clip>,
    /// For [`Shard::take_learned`], so that nothing is allocated.
    learned: Vec<Learned>,
}

/// Whether the thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl<I: PacketIo> Shard<I> {
    fn new(seed: Seed, io: I) -> Self {
        let Seed {
            config,
            queue,
            gauges,
            events,
            bell,
            offload,
            ..
        } = seed;
        let ports = usize::from(config.ports.end() - config.ports.start()) + 1;
        Self {
            pool: PortPool::new(&config.ports, config.kept),
            unmarked: HashSet::new(),
            relay: Relay::new(ports),
            config,
            io,
            by_id: HashMap::new(),
            queue,
            events,
            gauges,
            bell,
            offload,
            pressing: Vec::new(),
            next_press: None,
            speaking: BinaryHeap::new(),
            spoken: Vec::with_capacity(512),
            beep: Clip::made(rtp::tone::beep()),
            learned: Vec::with_capacity(64),
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let tick = u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX);
        let mut next_tick = monotonic_ns() + tick;
        loop {
            let next = self.next_press.map_or(next_tick, |at| at.min(next_tick));
            let next = self.speaking.peek().map_or(next, |due| due.0.0.min(next));
            let wait = Duration::from_nanos(next.saturating_sub(monotonic_ns()));
            let turn = self.io.turn(wait, &mut self.relay)?;
            self.send_copies();
            self.take_learned();
            self.take_ended();
            self.tell_keys();
            if turn.woken && self.take_commands() == Flow::Stop {
                return Ok(());
            }
            let now = monotonic_ns();
            if self.next_press.is_some_and(|at| at <= now) {
                self.press_keys(now);
            }
            self.speak(now);
            if now >= next_tick {
                self.tick(now);
                next_tick = now + tick;
            }
        }
    }

    fn take_commands(&mut self) -> Flow {
        let mut flow = Flow::Continue;
        while let Ok(command) = self.queue.try_recv() {
            if let Command::Stop(clear) = command {
                if clear {
                    self.clear_slots();
                }
                self.close_all();
                flow = Flow::Stop;
                break;
            }
            self.command(command);
        }
        flow
    }

    /// Lets go of all ports before the thread ends: a ring that is dropped closes its sockets some
    /// time later.
    fn close_all(&mut self) {
        for (_, index) in std::mem::take(&mut self.by_id) {
            if let Some(session) = self.relay.remove(index) {
                session.legs.iter().for_each(|leg| self.close_leg(leg));
                self.close_monitors(&session);
            }
        }
        while let Some(port) = self.pool.forget_any() {
            self.close_pair(port);
        }
        // Receives that were cancelled end with the next turn.
        if let Err(error) = self.io.turn(Duration::ZERO, &mut self.relay) {
            warn!(%error, "a media thread could not close its sockets");
        }
    }

    /// Publishes how much the shard holds.
    fn publish_load(&self) {
        self.gauges
            .sessions
            .store(self.by_id.len() as u64, Ordering::Relaxed);
        self.gauges
            .ports_used
            .store(self.pool.used(), Ordering::Relaxed);
        self.gauges
            .ports_kept
            .store(self.pool.kept(), Ordering::Relaxed);
    }

    /// Does what follows from sources that were learned in this turn.
    fn take_learned(&mut self) {
        if self.relay.learned.is_empty() {
            return;
        }
        std::mem::swap(&mut self.learned, &mut self.relay.learned);
        while let Some(learned) = self.learned.pop() {
            self.gauges.learned.fetch_add(1, Ordering::Relaxed);
            self.see_to(learned);
        }
    }

    fn see_to(&mut self, learned: Learned) {
        let Learned {
            session: index,
            side,
            control,
            source,
        } = learned;
        let Some(session) = self.relay.session_mut(index) else {
            return;
        };
        let id = session.id;
        let leg = session.split(side).0;
        if control {
            self.program(index);
            return;
        }
        leg.control.follow_rtp(Some(source));
        let port = leg.port;
        debug!(session = %id, ?side, %source, "learned where a party sends from");
        self.events.push(Event::Learned { id, side, source });
        if self.offload.is_some() {
            self.program(index);
            return;
        }
        let mut connected = self.io.connect(port, source, &mut self.relay);
        // A call comes before sockets that are kept for the next ones.
        if connected.as_ref().is_err_and(is_exhaustion) && self.close_any() {
            connected = self.io.connect(port, source, &mut self.relay);
        }
        if let Err(error) = connected {
            // It works unconnected as well, at a higher price.
            debug!(session = %id, %error, "cannot connect a media socket to its peer");
        }
    }

    /// The port's number in the shard, for a port of this shard.
    fn index_of(&self, port: u16) -> PortIndex {
        PortIndex(u32::from(port.wrapping_sub(*self.config.ports.start())))
    }

    /// What a party's new source or description undoes: the connection of the port, and the slots.
    fn unlearn(&mut self, index: u32, side: Side) {
        let Some(session) = self.relay.session_mut(index) else {
            return;
        };
        let port = session.split(side).0.port;
        self.io.disconnect(port);
        self.withdraw(index);
    }
}

#[cfg(test)]
mod tests;
