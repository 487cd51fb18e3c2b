//! Reads a UDP socket's error queue: which peers ICMP says cannot be reached.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd as _},
};

use nix::{
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4RecvErr, Ipv6RecvErr},
    },
};

use super::address;

/// Errors that mean that nobody is there, now.
const UNREACHABLE: [Errno; 4] = [
    Errno::ECONNREFUSED,
    Errno::EHOSTUNREACH,
    Errno::ENETUNREACH,
    Errno::EHOSTDOWN,
];

/// Asks the kernel to keep ICMP errors for [`next`].
pub(super) fn enable(socket: &impl AsFd, local: SocketAddr) -> io::Result<()> {
    match local {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvErr, &true)?,
    }
    Ok(())
}

/// The next error: the peer that a datagram could not reach, or `None` inside for an error of
/// another kind. [`io::ErrorKind::WouldBlock`] where the queue is empty.
pub(super) fn next(socket: &impl AsFd) -> io::Result<Option<SocketAddr>> {
    // Of the datagram itself nothing is wanted but its destination.
    let mut start = [0u8; 1];
    let mut parts = [IoSliceMut::new(&mut start)];
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags)?;
    let unreachable = message.cmsgs()?.any(|part| match part {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            i32::try_from(error.ee_errno)
                .is_ok_and(|code| UNREACHABLE.contains(&Errno::from_raw(code)))
        }
        _ => false,
    });
    let peer = message.address.as_ref().and_then(address);
    Ok(peer.filter(|_| unreachable))
}
