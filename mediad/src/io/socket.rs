//! Making the sockets of a media port.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Packets taken from a socket by hand at most, when it gets another owner.
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

/// `recv` that never waits (the sockets themselves block: io_uring polls only those).
fn receive_waiting(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    #[expect(unsafe_code, reason = "std has no recv with flags")]
    // SAFETY: the buffer is writable for the length given, and lives through the call.
    let len = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
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
