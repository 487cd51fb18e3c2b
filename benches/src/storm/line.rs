//! How phones reach the node: those behind one address by a port each, all others by one socket that sends
//! as any of them. So there is no need for a descriptor a phone, of which a process has too few.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use nix::{
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
        sockopt,
    },
};

/// The port of all phones that have an address of their own.
const PORT: u16 = 5062;
/// What waits to be read, in octets: of many thousand phones, each with buffers of its own in life.
const BUFFER: usize = 64 << 20;

/// A socket that is bound to a port of all addresses of a namespace.
#[derive(Debug)]
pub(super) struct Shared {
    socket: UdpSocket,
}

impl Shared {
    pub(super) fn bind() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        setsockopt(&socket, sockopt::SndBufForce, &BUFFER)?;
        Ok(Self { socket })
    }

    /// Where who has this address is reached.
    pub(super) fn contact(address: Ipv4Addr) -> SocketAddr {
        (address, PORT).into()
    }

    pub(super) fn send(&self, from: Ipv4Addr, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let information = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from_ne_bytes(from.octets()),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(payload)],
            &[ControlMessage::Ipv4PacketInfo(&information)],
            MsgFlags::empty(),
            Some(&SockaddrIn::from(to)),
        )?;
        Ok(())
    }

    /// The next datagram: its length, and which address it was sent to.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<Ipv4Addr>)> {
        let mut control = nix::cmsg_space!(libc::in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let got = recvmsg::<SockaddrIn>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let to = got.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(information) => {
                Some(information.ipi_addr.s_addr.to_ne_bytes().into())
            }
            _ => None,
        });
        Ok((got.bytes, to))
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
