//! The floor: a loop that answers each datagram with one of the size that a registrar's answer has.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use clap::ValueEnum;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};

/// As `signaling` reads.
const BATCH: usize = 32;
const LARGEST: usize = 1 << 16;

/// How datagrams are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reading {
    /// One by each call.
    Single,
    /// What waits, by one call.
    Batch,
}

/// An echo and its sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// A REGISTER without credentials.
    pub asked: usize,
    /// The answer to it.
    pub challenged: usize,
    /// A REGISTER with credentials.
    pub proven: usize,
    /// The answer to it.
    pub accepted: usize,
}

impl Echo {
    /// Answers at `own` until the process ends.
    ///
    /// # Errors
    /// The socket fails.
    pub fn serve(self, own: SocketAddr, reading: Reading) -> io::Result<()> {
        let socket = UdpSocket::bind(own)?;
        match reading {
            Reading::Single => self.one_by_one(&socket),
            Reading::Batch => self.in_batches(&socket),
        }
    }

    fn one_by_one(self, socket: &UdpSocket) -> io::Result<()> {
        let mut buffer = vec![0; LARGEST];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer)?;
            socket.send_to(&buffer[..self.answer(length)], peer)?;
        }
    }

    fn in_batches(self, socket: &UdpSocket) -> io::Result<()> {
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut buffer = vec![0; BATCH * LARGEST];
        let mut lengths = Vec::with_capacity(BATCH);
        loop {
            let mut chunks = buffer.chunks_exact_mut(LARGEST);
            let mut slices: [_; BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
            let flags = MsgFlags::MSG_WAITFORONE;
            let messages = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None)?;
            lengths.extend(messages.map(|message| (message.bytes, message.address)));
            let chunks = buffer.chunks_exact(LARGEST);
            for ((length, peer), chunk) in lengths.drain(..).zip(chunks) {
                let Some(peer) = peer else { continue };
                let peer = SocketAddr::from((peer.ip(), peer.port()));
                socket.send_to(&chunk[..self.answer(length)], peer)?;
            }
        }
    }

    /// How long the answer to a request of this length is.
    const fn answer(self, length: usize) -> usize {
        if length > self.asked.midpoint(self.proven) {
            self.accepted
        } else {
            self.challenged
        }
    }
}
