//! One TCP connection: what it reads, what it writes, and when it is closed.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use sip::stream::{Frame, Framer, StreamError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Dispatcher, Flow, Sender};
use crate::metrics::Metrics;

/// Silence in both directions after which a connection is closed. Longer than the two minutes at
/// which RFC 5626 has a client ping.
const IDLE: Duration = Duration::from_secs(300);
/// How long a message may take from its first byte to its last.
const SLOW: Duration = Duration::from_secs(10);
/// How long a peer may take to make room for what is written to it.
const STALLED: Duration = Duration::from_secs(10);

/// How long a connection that is being closed may take to write what is left.
const LAST: Duration = Duration::from_secs(1);

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
    Closed,
    Idle,
    Slow,
    Stalled,
    Stopped,
    Framing(StreamError),
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed it"),
            Self::Idle => f.write_str("nothing was said on it for too long"),
            Self::Slow => f.write_str("a message took too long to arrive"),
            Self::Stalled => f.write_str("the peer does not read"),
            Self::Stopped => f.write_str("this node stops"),
            Self::Framing(error) => write!(f, "{error}"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

/// Moves messages in both directions until one of them ends. What was not written comes back.
pub(super) async fn run(
    mut stream: TcpStream,
    flow: Flow,
    queue: mpsc::Sender<Outgoing>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    dispatcher: &Dispatcher,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> (End, mpsc::Receiver<Outgoing>) {
    let (reader, writer) = stream.split();
    let wrote = AtomicBool::new(false);
    let end = tokio::select! {
        end = read(reader, flow, queue, dispatcher, metrics, &wrote) => end,
        end = write(writer, &mut outgoing, dispatcher, &wrote) => end,
        () = stop.cancelled() => End::Stopped,
    };
    // The refusal that the worker makes now, or what was said before the node stopped, should still
    // go out.
    if matches!(end, End::Stopped) {
        outgoing.close();
    }
    if matches!(end, End::Stopped | End::Framing(_)) {
        let (_, writer) = stream.split();
        drop(timeout(LAST, write(writer, &mut outgoing, dispatcher, &wrote)).await);
    }
    (end, outgoing)
}

/// Tells the senders of all that waits that it will not go out.
pub(super) fn fail(mut unsent: mpsc::Receiver<Outgoing>, dispatcher: &Dispatcher) {
    unsent.close();
    while let Ok(outgoing) = unsent.try_recv() {
        if let Some(sender) = outgoing.sender {
            dispatcher.failed(sender);
        }
    }
}

async fn read(
    mut reader: ReadHalf<'_>,
    flow: Flow,
    queue: mpsc::Sender<Outgoing>,
    dispatcher: &Dispatcher,
    metrics: &Metrics,
    wrote: &AtomicBool,
) -> End {
    let mut framer = Framer::default();
    let mut buffer = BytesMut::with_capacity(16 << 10);
    loop {
        let waits = framer.pending() > 0;
        match timeout(
            if waits { SLOW } else { IDLE },
            reader.read_buf(&mut buffer),
        )
        .await
        {
            Err(_) if waits => return End::Slow,
            Err(_) if wrote.swap(false, Relaxed) => continue,
            Err(_) => return End::Idle,
            Ok(Ok(0)) => return End::Closed,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return End::Failed(error),
        }
        framer.push(&buffer);
        buffer.clear();
        loop {
            match framer.poll() {
                Ok(Some(Frame::Message(message))) => dispatcher.framed(flow, Ok(message)),
                Ok(Some(Frame::Malformed(error))) => dispatcher.framed(flow, Err(error)),
                Ok(Some(Frame::Ping)) => {
                    // A pong that finds the queue full is not missed: the connection is busy.
                    let payload = Bytes::from_static(b"\r\n");
                    drop(queue.try_send(Outgoing {
                        payload,
                        sender: None,
                    }));
                }
                Ok(None) => break,
                Err(error) => {
                    match &error {
                        StreamError::Head(inner)
                        | StreamError::NoContentLength(inner)
                        | StreamError::TooLarge(inner) => {
                            dispatcher.framed(flow, Err(inner.clone()));
                        }
                    }
                    metrics.dropped(crate::metrics::Dropped::Malformed);
                    return End::Framing(error);
                }
            }
        }
    }
}

async fn write(
    mut writer: WriteHalf<'_>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    dispatcher: &Dispatcher,
    wrote: &AtomicBool,
) -> End {
    while let Some(next) = outgoing.recv().await {
        let end = match timeout(STALLED, writer.write_all(&next.payload)).await {
            Ok(Ok(())) => {
                wrote.store(true, Relaxed);
                continue;
            }
            Ok(Err(error)) => End::Failed(error),
            Err(_) => End::Stalled,
        };
        if let Some(sender) = next.sender {
            dispatcher.failed(sender);
        }
        return end;
    }
    // The reader holds a sender, so this is only seen when the task is being taken down.
    End::Stopped
}
