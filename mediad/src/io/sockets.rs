//! The plain backend: epoll, `recvmmsg` and `sendmmsg`, for where io_uring is forbidden.
//!
//! Packets are received into a fixed arena and sent from it; consecutive packets that leave by one
//! socket share a `sendmmsg`.

#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and epoll have no safe wrappers"
)]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::address::RawAddr;
use super::{IoCounters, MAX_PACKET, Packet, PacketIo, PortIndex, Sink, Turn, Verdict, Waker};
use super::{monotonic_ns, socket};

/// Sockets that one wait reports at most.
const EVENTS: usize = 256;
/// Packets taken from one socket at once; what is left is reported again (level-triggered).
const BURST: usize = 16;
/// Packets received before they are sent on.
const ARENA: usize = 128;
/// Marks the waker among the events.
const WAKER: u64 = u64::MAX;
/// Marks the connected socket of a port among the events.
const CONNECTED: u64 = 1 << 32;

/// The backend on plain sockets.
pub struct Sockets {
    epoll: OwnedFd,
    waker: Waker,
    ports: Vec<PortSockets>,
    events: Vec<libc::epoll_event>,
    arena: Arena,
    counters: IoCounters,
}

#[derive(Default)]
struct PortSockets {
    open: Option<UdpSocket>,
    connected: Option<(UdpSocket, SocketAddr)>,
}

/// A packet's memory: where the kernel writes it and its source, and whence it is sent.
struct Cell {
    data: [u8; MAX_PACKET + 1],
    address: RawAddr,
}

/// A packet to send: which cell, how much of it, from which socket, to whom.
#[derive(Clone, Copy)]
struct Outgoing {
    cell: usize,
    len: usize,
    fd: RawFd,
    /// The address is in the cell; otherwise the socket is connected.
    addressed: bool,
}

struct Arena {
    cells: Box<[Cell]>,
    used: usize,
    outgoing: Vec<Outgoing>,
}

impl Sockets {
    /// Makes the backend for `ports` local ports, woken by `waker`.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new(ports: u32, waker: Waker) -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers; the result is checked.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and belongs to nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let backend = Self {
            epoll,
            waker,
            ports: (0..ports).map(|_| PortSockets::default()).collect(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS],
            arena: Arena::new(),
            counters: IoCounters::default(),
        };
        backend.watch(backend.waker.as_raw_fd(), WAKER)?;
        Ok(backend)
    }

    fn watch(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: both descriptors are open, `event` lives through the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd,
                &raw mut event,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn wait(&mut self, wait: Duration) -> io::Result<usize> {
        // Rounded up: less than a millisecond is no reason to turn in circles.
        let millis = wait.as_nanos().div_ceil(1_000_000);
        let millis = i32::try_from(millis).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most EVENTS entries into `events`.
        let ready = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                i32::try_from(EVENTS).unwrap_or(1),
                millis,
            )
        };
        match usize::try_from(ready) {
            Ok(ready) => Ok(ready),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Takes a burst from one socket and lets `sink` decide about each packet.
    fn receive(&mut self, token: u64, arrival: u64, sink: &mut dyn Sink) {
        let Ok(index) = u32::try_from(token & !CONNECTED) else {
            return;
        };
        let port = PortIndex(index);
        let Some(sockets) = self.ports.get(port.index()) else {
            return;
        };
        let (fd, peer) = match (token & CONNECTED != 0, &sockets.connected, &sockets.open) {
            (true, Some((socket, peer)), _) => (socket.as_raw_fd(), Some(*peer)),
            (false, _, Some(socket)) => (socket.as_raw_fd(), None),
            // Closed by an earlier event of this turn.
            _ => return,
        };
        if self.arena.cells.len() - self.arena.used < BURST {
            self.arena.flush(&mut self.counters);
        }
        let first = self.arena.used;
        let lens = match self.arena.receive(fd, peer.is_none()) {
            Ok(lens) => lens,
            Err(error) => {
                // Otherwise it is empty after all, or in trouble that the next turn will meet again.
                if let Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) =
                    error.raw_os_error()
                {
                    self.counters.peer_unreachable += 1;
                }
                return;
            }
        };
        for (at, len) in lens
            .into_iter()
            .enumerate()
            .take_while(|(_, len)| *len != NOTHING)
        {
            let cell = first + at;
            self.counters.received += 1;
            if len > MAX_PACKET {
                self.counters.oversized += 1;
                continue;
            }
            let Some(memory) = self.arena.cells.get_mut(cell) else {
                continue;
            };
            let Some(source) = peer.or_else(|| memory.address.decode()) else {
                continue;
            };
            let Some(data) = memory.data.get_mut(..len) else {
                continue;
            };
            if let Verdict::Forward { via, to, len } = sink.packet(Packet {
                port,
                source,
                data,
                arrival,
            }) {
                self.queue(cell, len, via, to);
            }
        }
    }

    fn queue(&mut self, cell: usize, len: usize, via: PortIndex, to: SocketAddr) {
        let sockets = self.ports.get(via.index());
        let way = sockets.and_then(|sockets| match (&sockets.connected, &sockets.open) {
            (Some((socket, peer)), _) if *peer == to => Some((socket.as_raw_fd(), false)),
            (_, Some(socket)) => Some((socket.as_raw_fd(), true)),
            _ => None,
        });
        let Some((fd, addressed)) = way else {
            self.counters.send_failed += 1;
            return;
        };
        if addressed && let Some(memory) = self.arena.cells.get_mut(cell) {
            memory.address = RawAddr::new(to);
        }
        self.arena.outgoing.push(Outgoing {
            cell,
            len,
            fd,
            addressed,
        });
        self.counters.sent += 1;
    }
}

impl PacketIo for Sockets {
    fn open(&mut self, port: PortIndex, socket: UdpSocket) -> io::Result<()> {
        self.close(port);
        self.watch(socket.as_raw_fd(), u64::from(port.0))?;
        if let Some(sockets) = self.ports.get_mut(port.index()) {
            sockets.open = Some(socket);
        }
        Ok(())
    }

    fn close(&mut self, port: PortIndex) {
        // Closing a descriptor takes it out of the epoll set.
        if let Some(sockets) = self.ports.get_mut(port.index()) {
            *sockets = PortSockets::default();
        }
    }

    fn hand_on(&mut self, port: PortIndex) -> io::Result<()> {
        self.disconnect(port);
        let sockets = self.ports.get(port.index());
        let Some(open) = sockets.and_then(|sockets| sockets.open.as_ref()) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.counters.left_over += socket::empty(open)?;
        Ok(())
    }

    fn connect(
        &mut self,
        port: PortIndex,
        peer: SocketAddr,
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        self.disconnect(port);
        let open = self
            .ports
            .get(port.index())
            .and_then(|sockets| sockets.open.as_ref());
        let Some(open) = open else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let companion = socket::companion(open, peer)?;
        let route = |via: PortIndex| self.ports.get(via.index())?.open.as_ref();
        let received =
            socket::drain(open, port, sink, &route) + socket::drain(&companion, port, sink, &route);
        self.counters.received += received;
        self.watch(companion.as_raw_fd(), u64::from(port.0) | CONNECTED)?;
        if let Some(sockets) = self.ports.get_mut(port.index()) {
            sockets.connected = Some((companion, peer));
        }
        Ok(())
    }

    fn disconnect(&mut self, port: PortIndex) {
        if let Some(sockets) = self.ports.get_mut(port.index()) {
            sockets.connected = None;
        }
    }

    fn mark(&mut self, port: PortIndex, tos: u8) -> io::Result<()> {
        let Some(sockets) = self.ports.get(port.index()) else {
            return Ok(());
        };
        let connected = sockets.connected.as_ref().map(|(socket, _)| socket);
        let mut both = sockets.open.iter().chain(connected);
        both.try_for_each(|open| socket::mark(open, tos))
    }

    fn send(&mut self, via: PortIndex, to: SocketAddr, data: &[u8]) {
        self.arena.flush(&mut self.counters);
        let sockets = self.ports.get(via.index());
        let Some(socket) = sockets.and_then(|sockets| sockets.open.as_ref()) else {
            self.counters.send_failed += 1;
            return;
        };
        self.counters.sent += 1;
        self.counters.send_failed += u64::from(socket::send(socket, to, data).is_err());
    }

    fn turn(&mut self, wait: Duration, sink: &mut dyn Sink) -> io::Result<Turn> {
        let ready = self.wait(wait)?;
        let arrival = monotonic_ns();
        let mut turn = Turn::default();
        for at in 0..ready {
            let Some(token) = self.events.get(at).map(|event| event.u64) else {
                break;
            };
            if token == WAKER {
                self.waker.clear();
                turn.woken = true;
            } else {
                self.receive(token, arrival, sink);
            }
        }
        self.arena.flush(&mut self.counters);
        Ok(turn)
    }

    fn counters(&self) -> IoCounters {
        self.counters
    }
}

/// Marks the end of what a burst brought.
const NOTHING: usize = usize::MAX;

impl Arena {
    fn new() -> Self {
        let cell = || Cell {
            data: [0; MAX_PACKET + 1],
            address: RawAddr::EMPTY,
        };
        Self {
            cells: (0..ARENA).map(|_| cell()).collect(),
            used: 0,
            outgoing: Vec::with_capacity(ARENA),
        }
    }

    /// Receives into the next free cells; the lengths, ended by [`NOTHING`].
    fn receive(&mut self, fd: RawFd, with_source: bool) -> io::Result<[usize; BURST]> {
        // SAFETY: all-zero iovecs and mmsghdrs are valid: empty vectors, no names.
        let mut vectors: [libc::iovec; BURST] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BURST] = unsafe { std::mem::zeroed() };
        let cells = self.cells.iter_mut().skip(self.used);
        let mut count = 0;
        for ((cell, vector), header) in cells.zip(&mut vectors).zip(&mut headers) {
            vector.iov_base = cell.data.as_mut_ptr().cast();
            vector.iov_len = cell.data.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if with_source {
                header.msg_hdr.msg_name = cell.address.as_mut_ptr();
                header.msg_hdr.msg_namelen = cell.address.capacity();
            }
            count += 1;
        }
        // SAFETY: the first `count` headers point to vectors and cells that live through the call.
        let got = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(got) = usize::try_from(got) else {
            return Err(io::Error::last_os_error());
        };
        self.used += got;
        let mut lens = [NOTHING; BURST];
        for (len, header) in lens.iter_mut().zip(&headers).take(got) {
            *len = header.msg_len as usize;
        }
        Ok(lens)
    }

    /// Sends what is queued and frees the cells.
    fn flush(&mut self, counters: &mut IoCounters) {
        let mut rest = self.outgoing.as_slice();
        while let Some(first) = rest.first() {
            let run = rest
                .iter()
                .take_while(|out| out.fd == first.fd)
                .count()
                .min(BURST);
            let (batch, later) = rest.split_at(run);
            send_batch(&mut self.cells, batch, counters);
            rest = later;
        }
        self.outgoing.clear();
        self.used = 0;
    }
}

/// Sends packets that leave by one socket; at most [`BURST`].
fn send_batch(cells: &mut [Cell], batch: &[Outgoing], counters: &mut IoCounters) {
    let Some(fd) = batch.first().map(|out| out.fd) else {
        return;
    };
    // SAFETY: all-zero iovecs and mmsghdrs are valid: empty vectors, no names.
    let mut vectors: [libc::iovec; BURST] = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BURST] = unsafe { std::mem::zeroed() };
    let mut count = 0_u32;
    for ((out, vector), header) in batch.iter().zip(&mut vectors).zip(&mut headers) {
        let Some(cell) = cells.get_mut(out.cell) else {
            return;
        };
        vector.iov_base = cell.data.as_mut_ptr().cast();
        vector.iov_len = out.len;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if out.addressed {
            header.msg_hdr.msg_name = cell.address.as_mut_ptr();
            header.msg_hdr.msg_namelen = cell.address.len;
        }
        count += 1;
    }
    let mut done = 0_u32;
    while done < count {
        // SAFETY: headers `done..count` point to vectors and cells that live through the call.
        let sent = unsafe {
            libc::sendmmsg(
                fd,
                headers.as_mut_ptr().add(done as usize),
                count - done,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        match u32::try_from(sent) {
            Ok(sent) => done += sent.max(1),
            Err(_) => {
                // The first packet of the rest was refused; the others may pass.
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::ECONNREFUSED) => counters.peer_unreachable += 1,
                    _ => counters.send_failed += 1,
                }
                done += 1;
            }
        }
    }
}
