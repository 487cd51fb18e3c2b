//! Sends G.711 packets for every call from both sides, evenly, and times those that come back.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::SockRef;

/// Each party sends a packet in this time.
const PTIME: Duration = Duration::from_millis(20);
/// The senders wake this often within it.
const SLICES: usize = 20;
/// RTP header and 20 ms of G.711, in bytes.
const PACKET: usize = 172;
/// Where in the packet its time of sending is.
const STAMP: std::ops::Range<usize> = 12..20;
/// Latencies are counted by the microsecond up to here.
const LONGEST: usize = 100_000;

/// What came of a run.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Packets sent while counting.
    pub(super) sent: u64,
    /// Packets that came back, of those.
    pub(super) received: u64,
    /// How many took how many microseconds.
    latencies: Vec<u64>,
}

impl Traffic {
    /// The latency that this share of the packets did not exceed, in microseconds.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let total: u64 = self.latencies.iter().sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among packets"
        )]
        let rank = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.latencies.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        at.unwrap_or(LONGEST) as u64
    }
}

/// The threads of a run.
pub(super) struct Generator {
    stop: Arc<AtomicBool>,
    counting: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: JoinHandle<()>,
    receivers: Vec<JoinHandle<Vec<u64>>>,
}

/// A socket for one side, with room for what comes while its thread waits.
pub(super) fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let options = SockRef::from(&socket);
    for size in [32 << 20, 4 << 20, 1 << 20] {
        if options.set_recv_buffer_size(size).is_ok() {
            break;
        }
    }
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

impl Generator {
    /// Starts to send to `legs`: for each call where the caller and where the callee should send.
    pub(super) fn start(
        caller: UdpSocket,
        callee: UdpSocket,
        legs: Vec<(SocketAddr, SocketAddr)>,
        core: usize,
    ) -> io::Result<Self> {
        let start = Instant::now();
        let [stop, counting] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let sent = Arc::new(AtomicU64::new(0));
        let mut receivers = Vec::new();
        for socket in [caller.try_clone()?, callee.try_clone()?] {
            let stop = Arc::clone(&stop);
            receivers.push(thread::spawn(move || {
                pin(core);
                receive(&socket, start, &stop)
            }));
        }
        let sender = {
            let (stop, counting, sent) = (stop.clone(), counting.clone(), sent.clone());
            thread::spawn(move || {
                pin(core);
                send(&caller, &callee, &legs, start, (&stop, &counting, &sent));
            })
        };
        Ok(Self {
            stop,
            counting,
            sent,
            sender,
            receivers,
        })
    }

    /// Counts the packets sent from now on, or no more of them.
    pub(super) fn count(&self, on: bool) {
        self.counting.store(on, Ordering::Relaxed);
    }

    /// Ends the run.
    pub(super) fn stop(self) -> Traffic {
        self.stop.store(true, Ordering::Relaxed);
        let mut latencies = vec![0; LONGEST + 1];
        // A thread that panicked has counted nothing: the loss shows it.
        drop(self.sender.join());
        for receiver in self.receivers {
            for (total, count) in latencies
                .iter_mut()
                .zip(receiver.join().unwrap_or_default())
            {
                *total += count;
            }
        }
        Traffic {
            sent: self.sent.load(Ordering::Relaxed),
            received: latencies.iter().sum(),
            latencies,
        }
    }
}

fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    // Without it the figures are only noisier.
    let _noisier = sched_setaffinity(None, &cores);
}

fn send(
    caller: &UdpSocket,
    callee: &UdpSocket,
    legs: &[(SocketAddr, SocketAddr)],
    start: Instant,
    (stop, counting, sent): (&AtomicBool, &AtomicBool, &AtomicU64),
) {
    let mut packet = [0_u8; PACKET];
    packet[0] = 0x80;
    packet[1] = 8;
    let slice = legs.len().div_ceil(SLICES).max(1);
    for turn in 0_u32.. {
        for (index, part) in legs.chunks(slice).enumerate() {
            let due = start + PTIME * turn + PTIME * u32::try_from(index).unwrap_or(0) / 20;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let counted = counting.load(Ordering::Relaxed);
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
            packet[2..4].copy_from_slice(&(turn as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&turn.wrapping_mul(160).to_be_bytes());
            // The mark that tells counted packets from the others.
            packet[20] = u8::from(counted);
            let mut done = 0;
            for (place, (from_caller, from_callee)) in part.iter().enumerate() {
                let ssrc = u32::try_from(index * slice + place).unwrap_or(0);
                for (socket, to, side) in [(caller, from_caller, 1), (callee, from_callee, 2)] {
                    packet[8..12].copy_from_slice(&(side << 24 | ssrc).to_be_bytes());
                    packet[STAMP].copy_from_slice(&nanos(start).to_be_bytes());
                    done += u64::from(socket.send_to(&packet, to).is_ok());
                }
            }
            if counted {
                sent.fetch_add(done, Ordering::Relaxed);
            }
        }
    }
}

fn receive(socket: &UdpSocket, start: Instant, stop: &AtomicBool) -> Vec<u64> {
    let mut latencies = vec![0; LONGEST + 1];
    let mut packet = [0_u8; 2048];
    // After the last packet was sent, what is on its way still counts.
    while !stop.load(Ordering::Relaxed) || socket.peek(&mut packet).is_ok() {
        let Ok((PACKET, _)) = socket.recv_from(&mut packet) else {
            continue;
        };
        let Ok(stamp) = packet[STAMP].try_into().map(u64::from_be_bytes) else {
            continue;
        };
        if packet[20] == 1 {
            let micros = nanos(start).saturating_sub(stamp) / 1000;
            latencies[usize::try_from(micros).unwrap_or(LONGEST).min(LONGEST)] += 1;
        }
    }
    latencies
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
