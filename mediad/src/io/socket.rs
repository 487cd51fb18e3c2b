//! Making the sockets of a media port.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::address::RawAddr;
use super::{MAX_PACKET, Packet, PortIndex, Sink, Verdict, monotonic_ns};

/// Packets taken from a socket by hand at most, when it gets a connected companion or another owner.
const DRAIN_LIMIT: u64 = 256;

/// Binds a media port for one owner: if anybody else has it, this fails with `AddrInUse`.
///
/// # Errors
/// What `socket` and `bind` say.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = fresh(address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Whether this machine has an address, as far as a socket that is bound to it would tell.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    let address = SocketAddr::new(address, 0);
    let tried = fresh(address).and_then(|socket| socket.bind(&address.into()));
    !tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// A second socket on the port of `open`, connected to `peer`.
///
/// Both may share the port only while both say so: the permission is given for the time of this
/// call, so that no other process can slip onto a media port later.
pub(super) fn companion(open: &impl AsFd, peer: SocketAddr) -> io::Result<UdpSocket> {
    let open = SockRef::from(open);
    let local = open.local_addr()?;
    let socket = Socket::new(local.domain(), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(open.tclass_v6()?)?;
    } else {
        socket.set_tos_v4(open.tos_v4()?)?;
    }
    socket.set_reuse_address(true)?;
    open.set_reuse_address(true)?;
    let bound = socket
        .bind(&local)
        .and_then(|()| socket.connect(&peer.into()));
    open.set_reuse_address(false)?;
    socket.set_reuse_address(false)?;
    bound?;
    Ok(socket.into())
}

/// Sets the TOS byte, or the traffic class, of what `socket` sends.
///
/// # Errors
/// What the kernel says.
pub(super) fn mark(socket: &impl AsFd, tos: u8) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if socket.local_addr()?.is_ipv6() {
        socket.set_tclass_v6(tos.into())
    } else {
        socket.set_tos_v4(tos.into())
    }
}

/// Hands what waits in `socket` to `sink` and sends what it forwards, packet by packet.
///
/// Used at the moment of a switch only, to keep the order; `route` finds the socket that a packet
/// leaves from. Packets on a connected socket are checked against their real source too: some may
/// have come between its `bind` and its `connect`.
pub(super) fn drain<'s>(
    socket: &UdpSocket,
    port: PortIndex,
    sink: &mut dyn Sink,
    route: &dyn Fn(PortIndex) -> Option<&'s UdpSocket>,
) -> u64 {
    let mut buffer = [0_u8; MAX_PACKET];
    let mut received = 0;
    for _ in 0..DRAIN_LIMIT {
        let Ok((len, source)) = receive_waiting(socket, &mut buffer) else {
            break;
        };
        let (Some(source), Some(data)) = (source, buffer.get_mut(..len)) else {
            continue;
        };
        received += 1;
        let verdict = sink.packet(Packet {
            port,
            source,
            data,
            arrival: monotonic_ns(),
        });
        if let Verdict::Forward { via, to, len } = verdict
            && let Some(out) = route(via)
            && let Some(data) = buffer.get(..len)
        {
            // A full socket buffer loses this packet, as it would on any other turn.
            let _ = send(out, to, data);
        }
    }
    received
}

/// Drops what waits in `socket`; how many packets that were.
///
/// # Errors
/// Packets come faster than they are dropped, or what the kernel says.
pub(super) fn empty(socket: &UdpSocket) -> io::Result<u64> {
    let mut buffer = [0_u8; 1];
    for dropped in 0..DRAIN_LIMIT {
        match receive_waiting(socket, &mut buffer) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(dropped),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("its packets come too fast"))
}

/// `sendto` that never waits, on a socket that is not connected.
///
/// # Errors
/// What the kernel says.
pub(super) fn send(socket: &UdpSocket, to: SocketAddr, data: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    SockRef::from(socket).send_to_with_flags(data, &to.into(), flags)
}

/// `recvfrom` that never waits (the sockets themselves block: io_uring polls only those).
fn receive_waiting(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SocketAddr>)> {
    let mut source = RawAddr::EMPTY;
    let mut source_len = source.capacity();
    #[expect(unsafe_code, reason = "std has no recvfrom with flags")]
    // SAFETY: both buffers are writable for the lengths given, and live through the call.
    let len = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            source.as_mut_ptr().cast(),
            &raw mut source_len,
        )
    };
    match usize::try_from(len) {
        Ok(len) => Ok((len, source.decode())),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn fresh(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
