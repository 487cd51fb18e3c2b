//! The floor of relays that take packets from sockets: a loop that hands each on to the other side's socket, and does
//! nothing else. Its sockets are connected, and told of packets by epoll.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use loadtest::bed::Bed;
use rustix::event::{Timespec, epoll};

use crate::{
    cpu,
    error::BenchError,
    media::{RELAY_CORE, Way},
};

/// Sockets that one wait tells of.
const EVENTS: usize = 64;
/// How long it waits at most, in nanoseconds.
const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A loop that runs; it ends when this is dropped.
pub(super) struct Loop {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Loop {
    /// Relays these calls between the two parties, in the node's place.
    pub(super) fn start(
        bed: &Bed,
        ways: &[Way],
        (caller, callee): (SocketAddr, SocketAddr),
    ) -> Result<Self, BenchError> {
        let open = |own: SocketAddr, peer: SocketAddr| {
            let socket = UdpSocket::bind(own)?;
            socket.connect(peer)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        // Each one's other side is its neighbour: the numbers differ in the last bit.
        let open = || {
            let sides = ways
                .iter()
                .flat_map(|way| [(way.from_caller, caller), (way.from_callee, callee)]);
            sides
                .map(|(own, peer)| open(own, peer))
                .collect::<io::Result<Vec<_>>>()
        };
        let sockets = bed.node().enter(open)??;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        for (number, socket) in (0..).zip(&sockets) {
            let data = epoll::EventData::new_u64(number);
            epoll::add(&poll, socket, data, epoll::EventFlags::IN).map_err(io::Error::from)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            cpu::pin(RELAY_CORE);
            let mut events = Vec::with_capacity(EVENTS);
            while !seen.load(Ordering::Relaxed) {
                events.clear();
                let spare = rustix::buffer::spare_capacity(&mut events);
                if epoll::wait(&poll, spare, Some(&WAIT)).is_err() {
                    continue;
                }
                for event in &events {
                    hand_on(&sockets, event.data.u64());
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // One that panicked has lost packets: the figures show it.
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}

fn hand_on(sockets: &[UdpSocket], number: u64) {
    let mut packet = [0; 2048];
    let Ok(from) = usize::try_from(number) else {
        return;
    };
    if let (Some(one), Some(other)) = (sockets.get(from), sockets.get(from ^ 1))
        && let Ok(length) = one.recv(&mut packet)
    {
        // A packet that the kernel refuses is one that does not come back.
        let _lost = other.send(&packet[..length]);
    }
}
