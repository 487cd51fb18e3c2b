//! The io_uring backend: one ring a shard, `SINGLE_ISSUER` and `DEFER_TASKRUN`, multishot receives
//! into a provided buffer ring, registered files, and one system call for a batch of both
//! directions.
//!
//! A packet is sent from the buffer it was received into. Sends carry `MSG_DONTWAIT`, so the kernel
//! finishes each of them while it takes the submission: when the submission queue is empty, all
//! their buffers are free again, and only failures need a completion (`SKIP_SUCCESS`).
//!
//! Sockets stay in blocking mode, because io_uring does not arm a poll for `O_NONBLOCK` ones.

#![expect(
    unsafe_code,
    reason = "submission entries carry pointers into memory that lives here"
)]

mod buffers;
mod table;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use thiserror::Error;

use self::buffers::{BUFFER_LEN, Buffers, COUNT};
use self::table::{Slot, Table};
use super::address::{self, RAW_LEN, RawAddr};
use super::{IoCounters, Packet, PacketIo, PortIndex, Sink, Turn, Verdict, Waker};
use super::{MAX_PACKET, monotonic_ns, socket};

/// Submission entries: sends of a batch; when it is full, the ring is told in between.
const SUBMISSIONS: u32 = 1024;
/// Completion entries: more than the buffers, so that it does not overflow.
const COMPLETIONS: u32 = 8192;
/// A turn waits for this many packets ...
const BATCH: usize = 64;
/// ... or for this long after the first, in microseconds: batches make packets cheap, and the time
/// is small against what a jitter buffer holds (20 ms and more).
const BATCH_WAIT_US: u32 = 150;
/// Buffer group number in the ring.
const GROUP: u16 = 0;
/// `IORING_ENTER_GETEVENTS`, which the crate keeps to itself.
const ENTER_GETEVENTS: u32 = 1;
/// `struct io_uring_recvmsg_out`, then room for the source address, then the payload.
const PAYLOAD_AT: usize = 16 + RAW_LEN;
const _: () = assert!(BUFFER_LEN - PAYLOAD_AT >= MAX_PACKET);

/// Why io_uring cannot be used here.
#[derive(Debug, Error)]
pub enum UringError {
    /// The kernel or a security policy refuses io_uring.
    #[error(
        "io_uring is forbidden here ({0}): a container's seccomp profile or the sysctl \
         kernel.io_uring_disabled refuses it; allow it, or use datapath = \"sockets\""
    )]
    Forbidden(#[source] io::Error),
    /// The kernel lacks a feature that is needed.
    #[error(
        "this kernel's io_uring lacks {feature} ({source}); Linux 6.1 or newer has it, \
         or use datapath = \"sockets\""
    )]
    TooOld {
        /// The feature.
        feature: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else went wrong while the ring was set up.
    #[error("cannot set up io_uring ({step}): {source}")]
    Setup {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The io_uring backend. It belongs to the thread that made it (`SINGLE_ISSUER`).
pub struct Uring {
    // The ring is dropped first: then the kernel uses none of the memory below any more.
    ring: IoUring,
    buffers: Buffers,
    table: Table,
    /// Shapes what a multishot `recvmsg` writes; the kernel reads it when the receive is armed.
    header: Box<libc::msghdr>,
    /// Destination of the send that leaves a buffer, by buffer.
    targets: Box<[RawAddr]>,
    /// Buffers that queued sends read from.
    sending: Vec<u16>,
    waker: Waker,
    waker_armed: bool,
    /// The kernel can wait for a batch with a short deadline (Linux 6.12).
    batches: bool,
    /// Completions taken so far.
    completed: u64,
    counters: IoCounters,
}

impl Uring {
    /// Makes a ring for `ports` local ports, woken by `waker`. Call it on the shard's own thread.
    ///
    /// # Errors
    /// [`UringError`] says whether io_uring is forbidden, too old, or out of something.
    pub fn new(ports: u32, waker: Waker) -> Result<Self, UringError> {
        let ring = build(SUBMISSIONS, COMPLETIONS)?;
        let files = table::file_limit(ports);
        let setup = |step| move |source| UringError::Setup { step, source };
        ring.submitter()
            .register_files_sparse(files)
            .map_err(setup("registering files"))?;
        let buffers =
            Buffers::register(&ring.submitter(), GROUP).map_err(|source| UringError::TooOld {
                feature: "buffer rings",
                source,
            })?;
        // SAFETY: an all-zero msghdr is a valid one: no name, no vectors, no control data.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        #[expect(clippy::cast_possible_truncation, reason = "28")]
        {
            header.msg_namelen = RAW_LEN as u32;
        }
        Ok(Self {
            batches: ring.params().is_feature_min_timeout(),
            ring,
            buffers,
            table: Table::new(ports, files),
            header,
            targets: vec![RawAddr::EMPTY; usize::from(COUNT)].into_boxed_slice(),
            sending: Vec::with_capacity(usize::from(COUNT)),
            waker,
            waker_armed: false,
            completed: 0,
            counters: IoCounters::default(),
        })
    }

    /// Whether io_uring with all that [`Uring`] needs is usable by this process.
    ///
    /// # Errors
    /// [`UringError`], with what to do about it.
    pub fn probe() -> Result<(), UringError> {
        let probe = || {
            let ring = build(8, 16)?;
            Buffers::register(&ring.submitter(), GROUP)
                .map(drop)
                .map_err(|source| UringError::TooOld {
                    feature: "buffer rings",
                    source,
                })
        };
        // On a thread of its own: the end of a ring interrupts system calls of its maker's thread.
        let failed = |source| UringError::Setup {
            step: "trying it out",
            source,
        };
        let thread = std::thread::Builder::new().spawn(probe).map_err(failed)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(failed(io::Error::other("the trial panicked"))))
    }

    /// Queues what has to be armed: new sockets, and receives that the kernel ended.
    fn arm(&mut self) -> io::Result<()> {
        if !self.waker_armed {
            let entry = opcode::PollAdd::new(Fd(self.waker.as_raw_fd()), POLL_IN)
                .multi(true)
                .build()
                .user_data(Op::Wake.tag(0, 0));
            self.push(&entry)?;
            self.waker_armed = true;
        }
        while let Some((index, slot)) = self.table.next_to_arm() {
            let (generation, connected) = (slot.generation, slot.peer.is_some());
            let file = Fixed(index);
            let group = self.buffers.group();
            let entry = if connected {
                opcode::RecvMulti::new(file, group).build()
            } else {
                opcode::RecvMsgMulti::new(file, &raw const *self.header, group).build()
            };
            self.push(&entry.user_data(Op::Receive.tag(generation, index)))?;
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: every entry's pointers are into `header`, `targets` and `buffers`, which
            // outlive the ring and do not move.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.flush()?;
        }
    }

    /// Submits what is queued, without waiting.
    fn flush(&mut self) -> io::Result<()> {
        if self.ring.submission().is_empty() {
            return Ok(());
        }
        tolerate(self.ring.submit())?;
        self.recycle();
        Ok(())
    }

    /// Gives buffers of finished sends back to the kernel.
    fn recycle(&mut self) {
        if self.ring.submission().is_empty() {
            for id in self.sending.drain(..) {
                self.buffers.give(id);
            }
        }
        self.buffers.publish();
    }

    fn enter(&mut self, wait: Duration) -> io::Result<()> {
        let deadline = Timespec::from(wait);
        let args = SubmitArgs::new().timespec(&deadline);
        let (want, args) = if self.batches {
            (BATCH, args.min_wait_usec(BATCH_WAIT_US))
        } else {
            (1, args)
        };
        tolerate(self.ring.submitter().submit_with_args(want, &args))?;
        self.recycle();
        Ok(())
    }

    fn received(&mut self, cqe: &cqueue::Entry, arrival: u64, sink: &mut dyn Sink) {
        let (generation, index) = untag(cqe.user_data());
        let ended = !cqueue::more(cqe.flags());
        let buffer = cqueue::buffer_select(cqe.flags());
        let Some(slot) = self.table.current(index, generation) else {
            // The socket was closed meanwhile.
            self.give_back(buffer);
            return;
        };
        let (port, peer) = (slot.port, slot.peer);
        let is_left_over = self.completed <= slot.owned_from;
        if ended {
            self.table.arm_again(index);
        }
        let (Ok(len), Some(id)) = (usize::try_from(cqe.result()), buffer) else {
            self.give_back(buffer);
            match -cqe.result() {
                // An empty datagram on a connected socket, for which the kernel takes no buffer.
                0 => {
                    if let Some(source) = peer {
                        self.counters.received += 1;
                        let data = &mut [][..];
                        sink.packet(Packet {
                            port,
                            source,
                            data,
                            arrival,
                        });
                    }
                }
                libc::ENOBUFS => self.counters.out_of_buffers += 1,
                libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH => {
                    self.counters.peer_unreachable += 1;
                }
                _ => {}
            }
            return;
        };
        if is_left_over {
            self.counters.left_over += 1;
            self.buffers.give(id);
            return;
        }
        self.counters.received += 1;
        // SAFETY: the completion gave the buffer to this side; it goes back below or after the send.
        let contents = unsafe { self.buffers.contents(id, len) };
        let (source, data) = match peer {
            Some(peer) if len < BUFFER_LEN => (Some(peer), contents),
            Some(_) => (None, contents),
            None => match split(contents, &self.header) {
                Some((source, data)) => (Some(source), data),
                None => (None, &mut [][..]),
            },
        };
        let Some(source) = source else {
            self.counters.oversized += 1;
            self.buffers.give(id);
            return;
        };
        let (start, octets) = (data.as_ptr(), data.len());
        match sink.packet(Packet {
            port,
            source,
            data,
            arrival,
        }) {
            Verdict::Drop => self.buffers.give(id),
            Verdict::Forward { via, to, len } => {
                self.queue(id, start, len.min(octets), via, to);
            }
        }
    }

    fn queue(&mut self, id: u16, data: *const u8, len: usize, via: PortIndex, to: SocketAddr) {
        let Some((index, connected)) = self.table.way_out(via, to) else {
            self.counters.send_failed += 1;
            self.buffers.give(id);
            return;
        };
        let len = u32::try_from(len).unwrap_or(0);
        let mut send = opcode::Send::new(Fixed(index), data, len)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        if !connected && let Some(target) = self.targets.get_mut(usize::from(id)) {
            *target = RawAddr::new(to);
            send = send.dest_addr(target.as_ptr()).dest_addr_len(target.len);
        }
        let entry = send
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Send.tag(0, index));
        if self.push(&entry).is_err() {
            self.counters.send_failed += 1;
            self.buffers.give(id);
            return;
        }
        self.counters.sent += 1;
        self.sending.push(id);
    }

    fn give_back(&mut self, buffer: Option<u16>) {
        if let Some(id) = buffer {
            self.buffers.give(id);
        }
    }

    fn release(&mut self, index: u32) {
        // By its name: by its file, the kernel would look at the receives of all sockets.
        let receive = Op::Receive.tag(self.table.generation(index), index);
        let cancel = CancelBuilder::user_data(receive);
        // "Not found" is fine: the receive had ended by itself. Any other trouble leaves a receive
        // whose completions carry an old generation, which are ignored.
        let _ = self.ring.submitter().register_sync_cancel(None, cancel);
        let _ = self.ring.submitter().register_files_update(index, &[-1]);
        self.table.remove(index);
        // The cancelled receive holds the socket until the kernel runs this task's deferred work:
        // now, because until then the socket still takes packets that nobody will read.
        // SAFETY: no argument is passed, and nothing is submitted.
        let _ = unsafe {
            self.ring
                .submitter()
                .enter::<libc::sigset_t>(0, 0, ENTER_GETEVENTS, None)
        };
    }

    fn install(
        &mut self,
        port: PortIndex,
        socket: UdpSocket,
        peer: Option<SocketAddr>,
    ) -> io::Result<u32> {
        let fd = socket.as_raw_fd();
        let index = self.table.insert(Slot::new(port, socket, peer))?;
        if let Err(error) = self.ring.submitter().register_files_update(index, &[fd]) {
            self.table.remove(index);
            return Err(error);
        }
        Ok(index)
    }
}

impl PacketIo for Uring {
    fn open(&mut self, port: PortIndex, socket: UdpSocket) -> io::Result<()> {
        self.close(port);
        self.install(port, socket, None).map(drop)
    }

    fn close(&mut self, port: PortIndex) {
        // Queued sends name file slots that are about to change.
        if self.flush().is_err() {
            self.counters.send_failed += 1;
        }
        let (open, peer) = self.table.of_port(port);
        for index in [peer, open].into_iter().flatten() {
            self.release(index);
        }
    }

    /// The receive stays armed, so this costs no more than a look at the socket.
    fn hand_on(&mut self, port: PortIndex) -> io::Result<()> {
        self.disconnect(port);
        let (Some(open), _) = self.table.of_port(port) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let Some(socket) = self.table.socket(open) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.counters.left_over += socket::empty(socket)?;
        // What the kernel has taken from it before waits in the queue of completions, or beside it where that is full.
        if self.ring.submission().cq_overflow() {
            return Err(io::Error::other("its packets cannot be told from others"));
        }
        let waiting = self.ring.completion().len() as u64;
        self.table.hand_on(open, self.completed + waiting);
        Ok(())
    }

    fn connect(
        &mut self,
        port: PortIndex,
        peer: SocketAddr,
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        self.disconnect(port);
        self.flush()?;
        let (Some(open), _) = self.table.of_port(port) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let Some(socket) = self.table.socket(open) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let companion = socket::companion(socket, peer)?;
        let route = |via| {
            let (open, _) = self.table.of_port(via);
            self.table.socket(open?)
        };
        let mut received = socket::drain(socket, port, sink, &route);
        received += socket::drain(&companion, port, sink, &route);
        self.counters.received += received;
        self.install(port, companion, Some(peer)).map(drop)
    }

    fn disconnect(&mut self, port: PortIndex) {
        if let (_, Some(index)) = self.table.of_port(port) {
            if self.flush().is_err() {
                self.counters.send_failed += 1;
            }
            self.release(index);
        }
    }

    fn mark(&mut self, port: PortIndex, tos: u8) -> io::Result<()> {
        // What is queued leaves as it was forwarded.
        self.flush()?;
        let (open, peer) = self.table.of_port(port);
        let mut both = [open, peer].into_iter().flatten();
        both.try_for_each(|index| match self.table.socket(index) {
            Some(socket) => socket::mark(socket, tos),
            None => Ok(()),
        })
    }

    fn send(&mut self, via: PortIndex, to: SocketAddr, data: &[u8]) {
        // What is queued goes first; a ring that fails does so again in the turn, which says it.
        let flushed = self.flush();
        let (open, _) = self.table.of_port(via);
        let Some(socket) = open.and_then(|open| self.table.socket(open)) else {
            self.counters.send_failed += 1;
            return;
        };
        let is_lost = flushed.is_err() || socket::send(socket, to, data).is_err();
        self.counters.sent += 1;
        self.counters.send_failed += u64::from(is_lost);
    }

    fn turn(&mut self, wait: Duration, sink: &mut dyn Sink) -> io::Result<Turn> {
        self.arm()?;
        self.enter(wait)?;
        let mut turn = Turn::default();
        let arrival = monotonic_ns();
        // What is in the queue now; sends queued meanwhile add failures at most.
        let pending = self.ring.completion().len();
        for _ in 0..pending {
            let Some(cqe) = self.ring.completion().next() else {
                break;
            };
            self.completed += 1;
            match Op::of(cqe.user_data()) {
                Some(Op::Receive) => self.received(&cqe, arrival, sink),
                Some(Op::Send) => match -cqe.result() {
                    libc::ECONNREFUSED => self.counters.peer_unreachable += 1,
                    _ => self.counters.send_failed += 1,
                },
                Some(Op::Wake) => {
                    self.waker.clear();
                    turn.woken = true;
                    self.waker_armed = cqueue::more(cqe.flags());
                }
                None => {}
            }
        }
        Ok(turn)
    }

    fn counters(&self) -> IoCounters {
        self.counters
    }
}

/// What a completion belongs to: the top octet of its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Wake = 1,
    Receive = 2,
    Send = 3,
}

impl Op {
    /// Packs the operation, a slot's generation (24 bits) and its index.
    const fn tag(self, generation: u32, index: u32) -> u64 {
        ((self as u64) << 56) | ((generation as u64 & 0xff_ffff) << 32) | index as u64
    }

    const fn of(user_data: u64) -> Option<Self> {
        match user_data >> 56 {
            1 => Some(Self::Wake),
            2 => Some(Self::Receive),
            3 => Some(Self::Send),
            _ => None,
        }
    }
}

/// The generation and index of a tag.
#[expect(clippy::cast_possible_truncation, reason = "masked to what fits")]
const fn untag(user_data: u64) -> (u32, u32) {
    (((user_data >> 32) & 0xff_ffff) as u32, user_data as u32)
}

const POLL_IN: u32 = libc::POLLIN as u32;

/// Splits what a multishot `recvmsg` wrote into the source and the payload; `None` for a packet
/// that was cut to the buffer's length.
fn split<'b>(contents: &'b mut [u8], header: &libc::msghdr) -> Option<(SocketAddr, &'b mut [u8])> {
    let out = RecvMsgOut::parse(contents, header).ok()?;
    if out.is_payload_truncated() {
        return None;
    }
    let source = address::decode(out.name_data())?;
    let len = out.payload_data().len();
    let payload = contents.get_mut(PAYLOAD_AT..PAYLOAD_AT + len)?;
    Some((source, payload))
}

fn build(submissions: u32, completions: u32) -> Result<IoUring, UringError> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(completions)
        .build(submissions)
        .map_err(|source| match source.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => UringError::Forbidden(source),
            Some(libc::EINVAL) => UringError::TooOld {
                feature: "SINGLE_ISSUER and DEFER_TASKRUN",
                source,
            },
            _ => UringError::Setup {
                step: "making the ring",
                source,
            },
        })
}

/// Ends of a wait that are no trouble: the deadline, a signal, completions to be read first.
fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
