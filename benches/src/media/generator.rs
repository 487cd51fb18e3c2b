//! Sends G.711 packets for every call from both sides, evenly, and times those that come back.
//!
//! A thread does both and sleeps in between, so that a packet wakes nobody. It is real-time where that is permitted. When a packet came back is what the kernel
//! says, not when the thread got round to reading it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use loadtest::bed::{Bed, Family};
use mediad::io::monotonic_ns;
use nix::sys::{
    socket::{
        ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
        setsockopt, sockopt,
    },
    time::TimeSpec,
};

use super::{LATE_MS, Way};
use crate::cpu;

/// Each party sends a packet in this time.
const PTIME: Duration = Duration::from_millis(20);
/// The sender wakes this often within it.
const SLICES: u32 = 20;
/// RTP header and 20 ms of G.711, in octets.
const PACKET: usize = 172;
/// Where in the packet its time of sending is.
const STAMP: std::ops::Range<usize> = 12..20;
/// Where in the packet the number of its run is, or 0 where it does not count.
const RUN: usize = 20;
/// Packets that one system call reads.
const READ: usize = 64;
/// Latencies are counted by the microsecond up to here.
const LONGEST: usize = 100_000;
/// What waits to be read, in octets.
const BUFFER: usize = 64 << 20;
/// A slice that begins so late was held up by more than a scheduler.
const BEHIND: Duration = Duration::from_millis(10);
/// Packets that are on their way when a run ends are waited for so long at most.
const LAST: Duration = Duration::from_secs(1);

/// When the numbers of all streams began: they go on from one run to the next.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Tells the packets of a run from those of the one before.
static RUNS: AtomicU8 = AtomicU8::new(1);

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Packets sent while counting.
    pub(crate) sent: u64,
    /// Packets that the kernel did not take, of others.
    pub(crate) refused: u64,
    /// Packets that came back, of those sent.
    pub(crate) received: u64,
    /// How many took how many microseconds.
    latencies: Vec<u64>,
    /// The share of its time in which the generator was late to send, 0 to 1: near nothing where it is not the bound.
    pub(crate) behind: f64,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            sent: 0,
            refused: 0,
            received: 0,
            latencies: vec![0; LONGEST + 1],
            behind: 0.0,
        }
    }

    /// So many packets have come back, after this time.
    pub(crate) fn took(&mut self, micros: u64, packets: u64) {
        let at = usize::try_from(micros).unwrap_or(LONGEST).min(LONGEST);
        self.latencies[at] += packets;
        self.received += packets;
    }

    /// What another thread has seen.
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.refused += other.refused;
        self.received += other.received;
        self.behind = self.behind.max(other.behind);
        for (all, count) in self.latencies.iter_mut().zip(&other.latencies) {
            *all += count;
        }
    }

    /// The latency that this share of the packets did not exceed, in microseconds.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among packets"
        )]
        let rank = (self.received as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.latencies.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        at.unwrap_or(LONGEST) as u64
    }

    /// Packets that did not come back, or that a party would not have waited for ([`LATE_MS`]).
    pub(crate) fn lost(&self) -> u64 {
        let limit = usize::try_from(LATE_MS * 1000).unwrap_or(LONGEST);
        let in_time: u64 = self.latencies.iter().take(limit + 1).sum();
        self.sent.saturating_sub(in_time)
    }

    /// The same as a share of what was sent, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a quotient for people")]
        let (lost, sent) = (self.lost() as f64, self.sent as f64);
        lost / sent.max(1.0)
    }
}

/// Who counts what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// The generator, from the parties' sockets.
    Sockets,
    /// [`Sinks`](super::Sinks), by the kernel's monotonic clock.
    Sinks,
}

impl Arrivals {
    /// Nanoseconds of the clock that packets are stamped by.
    fn now(self) -> u64 {
        match self {
            Self::Sockets => now(),
            Self::Sinks => monotonic_ns(),
        }
    }
}

/// The sockets of both parties, all calls of a side by one of them.
#[derive(Debug)]
pub(crate) struct Ends {
    caller: UdpSocket,
    callee: UdpSocket,
}

impl Ends {
    /// Opens them at this port.
    pub(crate) fn open(bed: &Bed, port: u16) -> Result<Self, crate::error::BenchError> {
        let caller = SocketAddr::new(bed.caller_ip(Family::V4), port);
        let callee = SocketAddr::new(bed.callee_ip(Family::V4), port);
        Ok(Self {
            caller: bed.caller().enter(|| socket(caller))??,
            callee: bed.callee().enter(|| socket(callee))??,
        })
    }

    /// Where the caller and the callee are reached.
    pub(crate) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.caller.local_addr()?, self.callee.local_addr()?))
    }

    /// Sends `packet` for each call from both sides, at once. For a few of each; how many went out.
    pub(crate) fn send(&self, ways: &[Way], sequence: u16) -> u64 {
        let mut packet = packet();
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
        let mut sent = 0;
        for way in ways {
            for (side, socket, to) in self.directions(way) {
                packet[8..12].copy_from_slice(&ssrc(side, way));
                sent += u64::from(socket.send_to(&packet, to).is_ok());
            }
        }
        sent
    }

    /// Reads all that waits; how many packets that was.
    pub(crate) fn drain(&self) -> u64 {
        let mut buffer = [0; 2048];
        let mut read = 0;
        for socket in [&self.caller, &self.callee] {
            while socket.recv(&mut buffer).is_ok() {
                read += 1;
            }
        }
        read
    }

    fn directions(&self, way: &Way) -> [(u32, &UdpSocket, SocketAddr); 2] {
        [
            (1, &self.caller, way.from_caller),
            (2, &self.callee, way.from_callee),
        ]
    }
}

/// The threads of a run.
pub(crate) struct Generator {
    number: u8,
    stop: Arc<AtomicBool>,
    counting: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Traffic>>,
}

impl Generator {
    /// Starts to send for each of these calls, and each time `batch` packets of a side by one system call. The packets
    /// of a batch have one time of sending: 1 for latencies, more for packet rates. The callers' side has the first
    /// core and the callees' the second; where both are the same, one thread does both. `arrivals` says who counts.
    pub(crate) fn start(
        ends: &Ends,
        ways: &[Way],
        batch: usize,
        cores: [usize; 2],
        arrivals: Arrivals,
    ) -> io::Result<Self> {
        let [stop, counting] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let number = RUNS.fetch_add(1, Ordering::Relaxed).max(1);
        let caller = Side::new(1, &ends.caller, ways, batch.max(1))?;
        let callee = Side::new(2, &ends.callee, ways, batch.max(1))?;
        let shares = match cores {
            [one, other] if one == other => vec![(one, vec![caller, callee])],
            [one, other] => vec![(one, vec![caller]), (other, vec![callee])],
        };
        let start = |(core, sides)| {
            let run = Run {
                sides,
                number,
                batch: batch.max(1),
                arrivals,
                stop: stop.clone(),
                counting: counting.clone(),
                traffic: Traffic::new(),
            };
            let calls = ways.len();
            thread::spawn(move || {
                cpu::pin_first(core);
                run.run(calls)
            })
        };
        let threads = shares.into_iter().map(start).collect();
        Ok(Self {
            number,
            stop,
            counting,
            threads,
        })
    }

    /// What the packets of this run are told by.
    pub(crate) const fn number(&self) -> u8 {
        self.number
    }

    /// Counts the packets sent from now on, or no more of them.
    pub(crate) fn count(&self, on: bool) {
        self.counting.store(on, Ordering::Relaxed);
    }

    /// Ends the run, after the packets that are on their way.
    pub(crate) fn stop(self) -> Traffic {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Traffic::new();
        for thread in self.threads {
            // A thread that panicked has counted nothing: what is missing shows it.
            match thread.join() {
                Ok(traffic) => all.add(&traffic),
                Err(_) => all.sent += 1,
            }
        }
        all
    }
}

struct Run {
    sides: Vec<Side>,
    number: u8,
    batch: usize,
    arrivals: Arrivals,
    stop: Arc<AtomicBool>,
    counting: Arc<AtomicBool>,
    traffic: Traffic,
}

impl Run {
    fn run(mut self, calls: usize) -> Traffic {
        let mut reader = Reader::new();
        let mut headers = MultiHeaders::preallocate(self.batch, None);
        let slice = calls.div_ceil(SLICES as usize).max(1);
        let begun = Instant::now();
        let first = u32::try_from(ORIGIN.elapsed().as_millis() / PTIME.as_millis()).unwrap_or(0);
        let (mut last, mut behind) = (begun, Duration::ZERO);
        'run: for turn in first + 1.. {
            for (index, at) in (0..SLICES).zip((0..calls).step_by(slice)) {
                let due = *ORIGIN + PTIME * turn + PTIME * index / SLICES;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let now = Instant::now();
                if now.saturating_duration_since(due) > BEHIND {
                    behind += now - last;
                }
                last = now;
                if self.stop.load(Ordering::Relaxed) {
                    break 'run;
                }
                let counted = self.counting.load(Ordering::Relaxed);
                let mark = if counted { self.number } else { 0 };
                let end = (at + slice).min(calls);
                for at in (at..end).step_by(self.batch) {
                    let calls = at..(at + self.batch).min(end);
                    for side in &mut self.sides {
                        let done =
                            side.send(&mut headers, calls.clone(), turn, mark, self.arrivals);
                        if counted {
                            self.traffic.sent += done;
                            self.traffic.refused += calls.len() as u64 - done;
                        }
                    }
                }
                self.read(&mut reader);
            }
        }
        self.traffic.behind = behind.as_secs_f64() / begun.elapsed().as_secs_f64().max(1e-9);
        let (end, mut idle) = (Instant::now() + LAST, 0);
        while idle < 5 && Instant::now() < end {
            thread::sleep(PTIME);
            idle = if self.read(&mut reader) { 0 } else { idle + 1 };
        }
        self.traffic
    }

    /// Whether anything waited.
    fn read(&mut self, reader: &mut Reader) -> bool {
        let mut any = false;
        if self.arrivals == Arrivals::Sinks {
            return any;
        }
        for side in &self.sides {
            let (traffic, number) = (&mut self.traffic, self.number);
            any |= reader.read(&side.socket, |packet, came| {
                if packet.len() != PACKET || packet[RUN] != number {
                    return;
                }
                if let Ok(sent) = packet[STAMP].try_into().map(u64::from_be_bytes) {
                    traffic.took(came.saturating_sub(sent) / 1000, 1);
                }
            });
        }
        any
    }
}

/// The parties of one side.
struct Side {
    socket: UdpSocket,
    /// Where each call's packets go, and who they are from.
    ways: Vec<(Option<SockaddrStorage>, [u8; 4])>,
    packets: Vec<[u8; PACKET]>,
}

impl Side {
    fn new(number: u32, socket: &UdpSocket, ways: &[Way], batch: usize) -> io::Result<Self> {
        let to = |way: &Way| match number {
            1 => way.from_caller,
            _ => way.from_callee,
        };
        let ways = ways.iter();
        Ok(Self {
            socket: socket.try_clone()?,
            ways: ways
                .map(|way| (Some(to(way).into()), ssrc(number, way)))
                .collect(),
            packets: vec![packet(); batch],
        })
    }

    /// Sends for these calls, no more than a batch; how many packets went out.
    fn send(
        &mut self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        calls: std::ops::Range<usize>,
        turn: u32,
        mark: u8,
        arrivals: Arrivals,
    ) -> u64 {
        let Some(ways) = self.ways.get(calls) else {
            return 0;
        };
        let stamp = arrivals.now().to_be_bytes();
        for (packet, (_, ssrc)) in self.packets.iter_mut().zip(ways) {
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
            packet[2..4].copy_from_slice(&(turn as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&turn.wrapping_mul(160).to_be_bytes());
            packet[8..12].copy_from_slice(ssrc);
            packet[STAMP].copy_from_slice(&stamp);
            packet[RUN] = mark;
        }
        let slices: Vec<_> = self
            .packets
            .iter()
            .map(|packet| [IoSlice::new(packet)])
            .collect();
        let to: Vec<_> = ways.iter().map(|way| way.0).collect();
        let slices = slices.iter().take(to.len());
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent = sendmmsg(self.socket.as_raw_fd(), headers, slices, &to, [], flags);
        sent.map_or(0, |sent| sent.count() as u64)
    }
}

/// Reads what waits in a socket.
struct Reader {
    headers: MultiHeaders<SockaddrStorage>,
    buffer: Vec<u8>,
    lengths: Vec<(usize, u64)>,
}

/// Room for a packet, and one octet by which a longer one is told.
const ROOM: usize = 256;

impl Reader {
    fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(READ, Some(nix::cmsg_space!(TimeSpec))),
            buffer: vec![0; READ * ROOM],
            lengths: Vec::with_capacity(READ),
        }
    }

    /// Hands each packet to `take`, with when it came in nanoseconds; whether there were any.
    fn read(&mut self, socket: &UdpSocket, mut take: impl FnMut(&[u8], u64)) -> bool {
        let mut any = false;
        loop {
            let mut chunks = self.buffer.chunks_exact_mut(ROOM);
            let mut slices: [_; READ] =
                std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
            let flags = MsgFlags::MSG_DONTWAIT;
            let fd = socket.as_raw_fd();
            let Ok(messages) = recvmmsg(fd, &mut self.headers, &mut slices, flags, None) else {
                return any;
            };
            self.lengths.clear();
            self.lengths.extend(messages.map(|message| {
                let came = message
                    .cmsgs()
                    .ok()
                    .and_then(|mut all| all.find_map(|one| stamp(&one)));
                (message.bytes, came.unwrap_or_else(now))
            }));
            for ((length, came), chunk) in self.lengths.iter().zip(self.buffer.chunks_exact(ROOM)) {
                any = true;
                take(&chunk[..*length], *came);
            }
            if self.lengths.len() < READ {
                return any;
            }
        }
    }
}

fn stamp(message: &ControlMessageOwned) -> Option<u64> {
    match message {
        ControlMessageOwned::ScmTimestampns(at) => {
            let (seconds, nanos) = (at.tv_sec(), at.tv_nsec());
            Some(u64::try_from(seconds).ok()? * 1_000_000_000 + u64::try_from(nanos).ok()?)
        }
        _ => None,
    }
}

/// A socket that tells when its packets came, with room for those that wait while its thread sleeps.
fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// An RTP packet of PCMA.
fn packet() -> [u8; PACKET] {
    let mut packet = [0xd5; PACKET];
    packet[..2].copy_from_slice(&[0x80, 8]);
    packet[RUN] = 0;
    packet
}

/// A source for each side of each call.
fn ssrc(side: u32, way: &Way) -> [u8; 4] {
    (side << 24 | way.call).to_be_bytes()
}

/// Nanoseconds of the clock that the kernel stamps packets by.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
