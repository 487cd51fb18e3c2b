//! SIP over UDP: several sockets at each address, and a thread for each.
//!
//! A thread reads its socket and works on what came itself, in the worker whose it is: no other thread
//! has to be woken, which would cost more than the message's work. Where nothing waits it sleeps in the
//! call that reads.
//!
//! # Order
//!
//! The sockets of an address share it by `SO_REUSEPORT`. The kernel picks one by a hash over both
//! addresses and ports, and the group never changes once it is bound: so what one peer sends comes by
//! one socket, in the order in which it came to this machine, and is worked on by one thread, one
//! message after the other. So no message of a dialog overtakes another of the same peer, however many
//! cores there are.

mod batch;
mod drops;
mod errors;
mod reader;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::Arc,
};

use nix::{
    libc,
    sys::socket::{
        ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, sendmsg, setsockopt,
        sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBufForce, SndBufForce},
    },
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Dispatcher, Flow};

pub(super) use drops::Drops;
pub(super) use reader::Shared;
pub(crate) use reader::Work;

/// What is asked of the kernel for each socket and direction: enough for a second's worth of a core's
/// traffic.
const BUFFER: usize = 8 << 20;

/// The sockets of one address.
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
pub(super) fn bind(address: SocketAddr, count: usize) -> io::Result<Group> {
    let first = bind_one(address, false)?;
    let local = first.local_addr()?;
    SockRef::from(&first).set_reuse_port(true)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind_one(local, true)?);
    }
    let sockets = sockets.into_iter();
    let sockets = sockets.map(|socket| Arc::new(Udp { local, socket }));
    Ok(Group {
        local,
        sockets: sockets.collect(),
    })
}

fn bind_one(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shared)?;
    // Beyond net.core.rmem_max where this process may: one that has CAP_NET_ADMIN, as root has until it drops it.
    if setsockopt(&socket, RcvBufForce, &BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    if setsockopt(&socket, SndBufForce, &BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
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

impl Group {
    /// Tells the log where the kernel gives less than was asked for.
    pub(super) fn warn_of_small_buffer(&self) {
        let given = self.sockets.iter().map(|one| one.receive_buffer());
        let given = given.min().unwrap_or_default();
        if given < BUFFER {
            tracing::warn!(
                local = %self.local,
                given,
                wanted = BUFFER,
                "the kernel gives a SIP socket a small receive buffer, so bursts may be lost; start with \
                 CAP_NET_ADMIN, which root has outside of containers and which is dropped at once, or set \
                 net.core.rmem_max to {BUFFER} by sysctl"
            );
        }
    }

    /// Sends one datagram by one of the sockets; never waits. All look the same to the peer.
    pub(super) fn send(
        &self,
        payload: &[u8],
        flow: &Flow,
        worker: usize,
        dispatcher: &Dispatcher,
    ) -> io::Result<()> {
        let socket = self.sockets.get(worker % self.sockets.len().max(1));
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        match socket.send(payload, flow) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // It may be an ICMP error of an earlier datagram, of any kind, which the reader is not told
                // any more; then this one was not sent.
                socket.drain_errors(dispatcher);
                socket.send(payload, flow)
            }
            result => result,
        }
    }
}

impl Udp {
    /// Bytes.
    fn receive_buffer(&self) -> usize {
        // The kernel tells twice what it gives: the rest is for its own accounts.
        let told = SockRef::from(&self.socket).recv_buffer_size();
        told.map_or(0, |size| size / 2)
    }

    fn send(&self, payload: &[u8], flow: &Flow) -> io::Result<()> {
        match flow.source {
            Some(source) => send_from(&self.socket, payload, source, flow.reply_to),
            None => SockRef::from(&self.socket)
                .send_to_with_flags(payload, &flow.reply_to.into(), libc::MSG_DONTWAIT)
                .map(drop),
        }
    }

    fn drain_errors(&self, dispatcher: &Dispatcher) {
        let mut told = None;
        while let Ok(peer) = errors::next(&self.socket) {
            // Each worker is told: once of a peer that many errors are about.
            if let Some(peer) = peer
                && told != Some(peer)
            {
                dispatcher.unreachable(self.local, peer);
                told = Some(peer);
            }
        }
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
