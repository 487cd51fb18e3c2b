//! One connection that carries SIP as a stream of bytes, over TCP or TLS: what it reads, what it
//! writes, and when it is closed.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use sip::{
    message::{Message, Method, ParseError},
    stream::{Frame, Framer, StreamError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf},
    sync::{Notify, mpsc},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Dispatcher, Flow, Sender, connections::Connections, dispatch::Concerned, limits::Limits,
};

/// How long a connection that is being closed may take to write what is left.
const LAST: Duration = Duration::from_secs(1);
/// How long a peer that says no more is waited for to be told what it is owed: it may be gone altogether,
/// which looks the same.
pub(super) const LINGER: Duration = Duration::from_secs(3);
/// Messages that are written by one call.
const BATCH: usize = 32;
/// Requests refused since its source asks too much, within [`STRIKES`], after which a connection is closed.
const REFUSALS: u32 = 200;
const STRIKES: Duration = Duration::from_secs(10);
/// What of a stream is read by one call.
const CHUNK: usize = 32 << 10;

/// A message that waits to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) payload: Bytes,
    /// Who is told when it cannot be; `None` for a pong.
    pub(super) sender: Option<Sender>,
}

/// Why a connection was closed.
#[derive(Debug)]
pub(super) enum End {
    /// The peer closed it.
    Closed,
    /// Nobody said anything.
    Idle,
    /// A client that never said anything whole.
    Mute,
    /// A message that took too long.
    Slow,
    /// A handshake that took too long.
    SlowHandshake,
    /// A handshake that failed.
    Handshake(String),
    /// It asks far more than its source may.
    Flooding,
    /// The peer does not read.
    Stalled,
    /// The peer does not read, and more waits for it than may.
    Overrun,
    /// Somebody in this node wants it closed.
    Ordered,
    /// The node stops.
    Stopped,
    /// What came is no SIP.
    Framing(String),
    /// The network failed.
    Failed(io::Error),
}

impl End {
    /// As the metric has it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Closed => "peer",
            Self::Idle => "idle",
            Self::Mute => "no-message",
            Self::Slow => "slow-message",
            Self::SlowHandshake => "slow-handshake",
            Self::Handshake(_) => "handshake",
            Self::Flooding => "flooding",
            Self::Stalled => "stalled",
            Self::Overrun => "overrun",
            Self::Ordered => "ordered",
            Self::Stopped => "stop",
            Self::Framing(_) => "garbage",
            Self::Failed(_) => "error",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed it"),
            Self::Idle => f.write_str("nothing was said on it for too long"),
            Self::Mute => f.write_str("no message came in time"),
            Self::Slow => f.write_str("a message took too long to arrive"),
            Self::SlowHandshake => f.write_str("the handshake took too long"),
            Self::Handshake(why) => write!(f, "the handshake failed: {why}"),
            Self::Flooding => f.write_str("it went on asking far more than it may"),
            Self::Stalled => f.write_str("the peer does not read"),
            Self::Overrun => f.write_str("the peer does not read, and too much waits for it"),
            Self::Ordered => f.write_str("its source is not wanted"),
            Self::Stopped => f.write_str("this node stops"),
            Self::Framing(why) => f.write_str(why),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

/// What a connection's task works with.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) flow: Flow,
    /// The peer opened it.
    pub(super) accepted: bool,
    pub(super) queue: mpsc::Sender<Outgoing>,
    /// Bytes in the queue.
    pub(super) queued: Arc<AtomicUsize>,
    /// The workers that are told when it is closed.
    pub(super) concerned: Concerned,
    /// Requests of the peer's that have no final response.
    pub(super) owed: AtomicUsize,
    /// Something was written.
    pub(super) told: Notify,
    /// Cancelled when it is to be closed.
    pub(super) close: CancellationToken,
    pub(super) limits: Limits,
    pub(super) dispatcher: Dispatcher,
    pub(super) connections: Connections,
    /// Something was written since the reader looked last.
    pub(super) wrote: AtomicBool,
    /// A whole message came.
    pub(super) spoke: AtomicBool,
    /// Since when how many requests were refused. Touched only then.
    pub(super) strikes: Mutex<Option<(Instant, u32)>>,
}

impl Link {
    /// Hands what came to its worker. `false` where too much has come.
    pub(super) fn deliver(&self, message: Result<Message, ParseError>) -> bool {
        let begun = match &message {
            Ok(message) => Some(message),
            Err(error) => error.partial.as_deref(),
        };
        let method = begun.and_then(Message::method);
        if method.is_some_and(|method| *method != Method::Ack) {
            self.owed.fetch_add(1, AcqRel);
        }
        if !self.spoke.swap(true, Relaxed)
            && let Ok(message) = &message
        {
            self.connections.alias(self, message);
        }
        self.dispatcher.framed(self.flow, message, &self.concerned) || !self.strike(Instant::now())
    }

    /// Counts a request that was refused; whether it was one too many.
    fn strike(&self, now: Instant) -> bool {
        let strikes = self.strikes.lock();
        let mut strikes = strikes.unwrap_or_else(PoisonError::into_inner);
        let (since, count) = strikes
            .filter(|(since, _)| now.duration_since(*since) < STRIKES)
            .unwrap_or((now, 0));
        *strikes = Some((since, count + 1));
        count + 1 >= REFUSALS
    }

    /// Queues the answer to a ping. One that finds the queue full is not missed: the connection is
    /// busy.
    pub(super) fn pong(&self) {
        let payload = Bytes::from_static(b"\r\n");
        self.queued.fetch_add(payload.len(), AcqRel);
        let length = payload.len();
        let pong = Outgoing {
            payload,
            sender: None,
        };
        if self.queue.try_send(pong).is_err() {
            self.queued.fetch_sub(length, AcqRel);
        }
    }

    /// Whether silence on it is no reason to close it.
    pub(super) fn is_kept(&self) -> bool {
        self.wrote.swap(false, Relaxed)
    }

    /// A batch is written.
    fn wrote(&self, batch: &[Outgoing]) {
        let length = batch.iter().map(|one| one.payload.len()).sum();
        self.queued.fetch_sub(length, AcqRel);
        self.wrote.store(true, Relaxed);
        let finals = batch.iter().filter(|one| is_final(&one.payload)).count();
        // A 2xx to INVITE is written as often as its giver repeats it.
        let _ = self.owed.fetch_update(AcqRel, Acquire, |owed| {
            Some(owed.saturating_sub(finals)).filter(|left| *left != owed)
        });
        self.told.notify_one();
    }

    /// Waits until a peer that says no more has been told all that it is owed, though no longer than
    /// [`LINGER`].
    async fn settle(&self) {
        let owes = || self.owed.load(Acquire) > 0 || self.queued.load(Acquire) > 0;
        let told = async {
            while owes() {
                self.told.notified().await;
            }
        };
        drop(timeout(LINGER, told).await);
    }
}

/// Messages that are being written. Dropped with them, be it by an error or since the connection ends for
/// another reason, it tells their senders that they were not.
pub(super) struct Batch<'l> {
    link: &'l Link,
    pub(super) messages: Vec<Outgoing>,
}

impl<'l> Batch<'l> {
    pub(super) const fn new(link: &'l Link) -> Self {
        let messages = Vec::new();
        Self { link, messages }
    }

    /// They are written.
    pub(super) fn wrote(&mut self) {
        self.link.wrote(&self.messages);
        self.messages.clear();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for sender in self.messages.iter().filter_map(|one| one.sender) {
            self.link.dispatcher.failed(sender);
        }
    }
}

/// Whether what is written is a response that ends its request.
fn is_final(payload: &[u8]) -> bool {
    let status = payload.strip_prefix(b"SIP/2.0 ").and_then(<[u8]>::first);
    status.is_some_and(|class| (b'2'..=b'6').contains(class))
}

/// Moves messages in both directions until one of them ends.
pub(super) async fn run<S>(stream: S, link: &Link, outgoing: &mut mpsc::Receiver<Outgoing>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let end = tokio::select! {
        end = read(&mut reader, link) => end,
        end = write(&mut writer, link, outgoing) => end,
        () = link.close.cancelled() => link.connections.why_closed(link),
    };
    // The refusal that the worker makes now, or what was said before the node stopped, should still
    // go out.
    if matches!(end, End::Stopped) {
        outgoing.close();
    }
    if matches!(end, End::Stopped | End::Framing(_)) {
        drop(timeout(LAST, write(&mut writer, link, outgoing)).await);
    }
    drop(timeout(LAST, writer.shutdown()).await);
    end
}

async fn read<S: AsyncRead>(reader: &mut ReadHalf<S>, link: &Link) -> End {
    let mut framer = Framer::default();
    let opened = Instant::now();
    let mut heard = opened;
    // When the message began that is not whole yet.
    let mut begun: Option<Instant> = None;
    loop {
        let mute = link.accepted && !link.spoke.load(Relaxed);
        let (at, end) = match begun {
            Some(begun) => (begun + link.limits.message, End::Slow),
            None if mute => (opened + link.limits.first, End::Mute),
            None => (heard + link.limits.idle, End::Idle),
        };
        match timeout_at(at, read_into(reader, &mut framer)).await {
            Err(_) if matches!(end, End::Idle) && link.is_kept() => {
                heard = Instant::now();
                continue;
            }
            Err(_) => return end,
            Ok(Ok(0)) => {
                // It may have closed its own side alone, as one does who has said all.
                link.settle().await;
                return End::Closed;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return End::Failed(error),
        }
        heard = Instant::now();
        loop {
            let message = match framer.poll() {
                Ok(Some(Frame::Message(message))) => Ok(message),
                Ok(Some(Frame::Malformed(error))) => Err(error),
                Ok(Some(Frame::Ping)) => {
                    link.pong();
                    continue;
                }
                Ok(None) => break,
                Err(error) => return lost(link, &error),
            };
            begun = None;
            if !link.deliver(message) {
                return End::Flooding;
            }
        }
        if framer.pending() == 0 {
            begun = None;
        } else if begun.is_none() {
            begun = Some(heard);
        }
    }
}

/// Nobody knows where the next message begins: the worker refuses what there is.
fn lost(link: &Link, error: &StreamError) -> End {
    let (StreamError::Head(inner)
    | StreamError::NoContentLength(inner)
    | StreamError::TooLarge(inner)) = error;
    let malformed = Err(inner.clone());
    link.dispatcher
        .framed(link.flow, malformed, &link.concerned);
    End::Framing(error.to_string())
}

thread_local! {
    /// What a read goes to before it is known how much it is: a connection that says nothing holds no
    /// buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

async fn read_into<S: AsyncRead>(
    reader: &mut ReadHalf<S>,
    framer: &mut Framer,
) -> io::Result<usize> {
    let mut read = |context: &mut TaskContext<'_>| -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer))?;
            framer.push(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    };
    poll_fn(&mut read).await
}

async fn write<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    link: &Link,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> End {
    let mut batch = Batch::new(link);
    while outgoing.recv_many(&mut batch.messages, BATCH).await > 0 {
        match timeout(link.limits.write, write_all(writer, &batch.messages)).await {
            Ok(Ok(())) => batch.wrote(),
            Ok(Err(error)) => return End::Failed(error),
            Err(_) => return End::Stalled,
        }
    }
    // The link holds a sender, so this is only seen when the task is being taken down.
    End::Stopped
}

async fn write_all<S: AsyncWrite>(writer: &mut WriteHalf<S>, batch: &[Outgoing]) -> io::Result<()> {
    match batch {
        [one] => writer.write_all(&one.payload).await?,
        several => {
            let length = several.iter().map(|one| one.payload.len()).sum();
            let mut joined = BytesMut::with_capacity(length);
            for one in several {
                joined.extend_from_slice(&one.payload);
            }
            writer.write_all(&joined).await?;
        }
    }
    writer.flush().await
}
