//! SIP over UDP: a socket for each worker at each address.
//!
//! # Order
//!
//! The sockets of an address share it by `SO_REUSEPORT`. The kernel picks one by a hash over both
//! addresses and ports, and the group never changes once it is bound: so what one peer sends comes by
//! one socket, in the order in which it came to this machine. One task in one worker's thread reads each
//! socket, and hands what it read to the workers' queues one after the other; all messages of a Call-ID
//! go to one worker. So no message of a dialog overtakes another of the same peer, however many cores there are.
//! It would where several tasks read one socket, or where one task's datagrams went to two queues that
//! are read by one worker in turn.

mod batch;
mod drops;
mod errors;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::Arc,
};

use control::config::Transport;
use nix::{
    libc,
    sys::socket::{
        ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, sendmsg, setsockopt,
        sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBufForce, SndBufForce},
    },
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use self::batch::{Kind, Received};
use super::{Dispatcher, Flow, stun};
use crate::{
    metrics::{Dropped, Metrics},
    worker::Own,
};

pub(super) use drops::Drops;

/// What is asked of the kernel for each socket and direction: enough for a second's worth of a core's
/// traffic.
const BUFFER: usize = 8 << 20;
/// Batches that are read before others have their turn.
const TURNS: usize = 2;

/// The sockets of one address, one for each worker; not read yet.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) local: SocketAddr,
    sockets: Vec<std::net::UdpSocket>,
}

/// The same, each read in the runtime of its worker.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) local: SocketAddr,
    sockets: Vec<Arc<Udp>>,
}

/// One of an address's sockets.
#[derive(Debug)]
struct Udp {
    local: SocketAddr,
    socket: UdpSocket,
}

/// Binds `address` `count` times, once at least.
///
/// The first takes the address for itself, so that a second node on it is refused as ever, and shares
/// it then.
pub(super) fn bind(address: SocketAddr, count: usize) -> io::Result<Bound> {
    let first = bind_one(address, false)?;
    let local = first.local_addr()?;
    warn_of_small_buffer(&first, local);
    SockRef::from(&first).set_reuse_port(true)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind_one(local, true)?);
    }
    Ok(Bound { local, sockets })
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<std::net::UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shared)?;
    // Beyond net.core.rmem_max where this process may.
    if setsockopt(&socket, RcvBufForce, &BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    if setsockopt(&socket, SndBufForce, &BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if address.ip().is_unspecified() {
        // Answers leave by the address that was written to, not by the one that the kernel would
        // choose.
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        }
    }
    errors::enable(&socket, address)?;
    Ok(socket.into())
}

impl Bound {
    /// Reads each socket in the runtime of its worker, for as long as that one runs.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub(super) fn start(
        self,
        workers: &[Own],
        dispatcher: &Dispatcher,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Group> {
        let mut sockets = Vec::new();
        for (socket, worker) in self
            .sockets
            .into_iter()
            .zip(workers.iter().filter_map(Own::handle))
        {
            let _inside = worker.enter();
            let socket = Arc::new(Udp {
                local: self.local,
                socket: UdpSocket::from_std(socket)?,
            });
            worker.spawn(receive(socket.clone(), dispatcher.clone(), metrics.clone()));
            sockets.push(socket);
        }
        Ok(Group {
            local: self.local,
            sockets,
        })
    }
}

impl Group {
    /// Sends one datagram by the socket of `worker`; never waits. All look the same to the peer.
    pub(super) fn send(&self, payload: &[u8], flow: &Flow, worker: usize) -> io::Result<()> {
        let socket = self.sockets.get(worker % self.sockets.len().max(1));
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        match socket.send(payload, flow) {
            // The socket reports an earlier datagram's ICMP error here, and does not send this one.
            Err(error) if is_pending_error(&error) => socket.send(payload, flow),
            result => result,
        }
    }
}

impl Udp {
    /// By the system itself: the runtime would first want to hear that there is room, and need not.
    fn send(&self, payload: &[u8], flow: &Flow) -> io::Result<()> {
        match flow.source {
            Some(source) => send_from(&self.socket, payload, source, flow.reply_to),
            None => SockRef::from(&self.socket)
                .send_to(payload, &flow.reply_to.into())
                .map(drop),
        }
    }

    fn drain_errors(&self, dispatcher: &Dispatcher) {
        while let Ok(peer) = errors::next(&self.socket) {
            if let Some(peer) = peer {
                dispatcher.unreachable(self.local, peer);
            }
        }
    }
}

/// Reads datagrams and hands them on, for ever.
async fn receive(bound: Arc<Udp>, dispatcher: Dispatcher, metrics: Arc<Metrics>) {
    let kind = Kind::of(bound.local);
    loop {
        match bound
            .socket
            .ready(Interest::READABLE | Interest::ERROR)
            .await
        {
            Ok(ready) if ready.is_error() => {
                bound.drain_errors(&dispatcher);
                // Readiness for errors is cleared only by a call that would have blocked on it.
                let none = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                drop(bound.socket.try_io(Interest::ERROR, none));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(local = %bound.local, %error, "the UDP socket failed");
                return;
            }
        }
        for _ in 0..TURNS {
            let read = || {
                batch::receive(&bound.socket, kind, |one| {
                    bound.accept(&one, &dispatcher, &metrics);
                })
            };
            match bound.socket.try_io(Interest::READABLE, read) {
                Ok(()) => {}
                Err(error) if is_pending_error(&error) => bound.drain_errors(&dispatcher),
                Err(_) => break,
            }
        }
        tokio::task::yield_now().await;
    }
}

impl Udp {
    fn accept(&self, received: &Received<'_>, dispatcher: &Dispatcher, metrics: &Metrics) {
        let (datagram, remote) = (received.bytes, received.remote);
        let mut flow = Flow::to(Transport::Udp, self.local, remote);
        if !dispatcher.admits(&flow) {
            return;
        }
        // Line ends alone keep a NAT's mapping open (RFC 5626 section 3.5.1 over UDP; widely done).
        if datagram
            .iter()
            .all(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            return;
        }
        // A response from port 0 or to it can go nowhere.
        if remote.port() == 0 {
            metrics.dropped(Dropped::Malformed);
            return;
        }
        flow.source = received.local.filter(|_| self.local.ip().is_unspecified());
        if let Some(answer) = stun::answer(datagram, remote) {
            if dispatcher.admits_other(&flow) {
                metrics.stun.inc();
                // As good as lost where it cannot be sent: the client asks again.
                drop(self.send(&answer, &flow));
            }
            return;
        }
        dispatcher.datagram(flow, datagram);
    }
}

fn send_from(socket: &UdpSocket, payload: &[u8], source: IpAddr, to: SocketAddr) -> io::Result<()> {
    let parts = [io::IoSlice::new(payload)];
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
    match (source, to) {
        (IpAddr::V4(source), SocketAddr::V4(to)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(source.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(fd, &parts, &control, flags, Some(&SockaddrIn::from(to)))?;
        }
        (IpAddr::V6(source), SocketAddr::V6(to)) => {
            let info = libc::in6_pktinfo {
                ipi6_ifindex: 0,
                ipi6_addr: libc::in6_addr {
                    s6_addr: source.octets(),
                },
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(fd, &parts, &control, flags, Some(&SockaddrIn6::from(to)))?;
        }
        _ => return Err(io::ErrorKind::AddrNotAvailable.into()),
    }
    Ok(())
}

fn warn_of_small_buffer(socket: &std::net::UdpSocket, local: SocketAddr) {
    // The kernel tells twice what it gives: the rest is for its own accounts.
    let given = SockRef::from(socket)
        .recv_buffer_size()
        .map_or(0, |size| size / 2);
    if given < BUFFER {
        tracing::warn!(
            %local,
            given,
            wanted = BUFFER,
            "the kernel gives a SIP socket a small receive buffer, so bursts may be lost; set \
             net.core.rmem_max to {BUFFER}, or give this process CAP_NET_ADMIN"
        );
    }
}

fn is_pending_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// An address as the kernel has it.
fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    storage
        .as_sockaddr_in6()
        .map(|v6| SocketAddr::V6((*v6).into()))
}

#[cfg(test)]
mod tests;
