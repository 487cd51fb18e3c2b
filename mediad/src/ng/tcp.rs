//! Messages one after the other in a connection, as rtpengine's `listen-tcp-ng` takes them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use ng::frame::Framer;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::desk::Desk;

/// Connections at once; further ones wait to be accepted.
pub(super) const CONNECTIONS: usize = 1024;
/// Requests of a connection that are worked on at once; further ones wait in it.
const PIPELINE: usize = 256;
/// How long a client may leave an answer unread.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for its first message, and for the rest of one that it has begun.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client whose bytes make no sense may go on before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);
/// A client that says nothing for so long is asked whether it is there, and then this often.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(10)];
/// Read at once, in bytes.
const CHUNK: usize = 16 << 10;

/// Serves connections until `stop` is cancelled.
pub(super) async fn serve(
    listener: TcpListener,
    desk: Arc<Desk>,
    stop: CancellationToken,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return Ok(());
        };
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an NG connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !desk.allows(client.ip()) {
            continue;
        }
        let (desk, stop) = (desk.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                result = connection(stream, client, &desk) => if let Err(error) = result {
                    debug!(%client, %error, "an NG connection was dropped");
                },
            }
            drop(permit);
        });
    }
}

async fn connection(mut stream: TcpStream, client: SocketAddr, desk: &Arc<Desk>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let (mut reader, mut writer) = stream.split();
    let mut frames = Framer::default();
    let mut working = FuturesUnordered::new();
    let mut buffer = vec![0; CHUNK];
    let mut open = true;
    // What the client is told when all before that has its answer, and why.
    let mut unread = None;
    // Until when a message has to be whole, while one is waited for.
    let mut until = Some(Instant::now() + PATIENCE);
    loop {
        let mut is_new = false;
        while unread.is_none() && working.len() < PIPELINE {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    let (cookie, body) = frames.rest();
                    unread = Some((desk.unread(cookie, body, error), error));
                    open = false;
                    break;
                }
            };
            is_new = true;
            let answer = async move { desk.answer(client.ip(), frame.cookie, frame.body).await };
            working.push(answer);
        }
        if is_new {
            until = None;
        }
        if until.is_none() && !frames.is_empty() {
            until = Some(Instant::now() + PATIENCE);
        }
        // Who has a full pipeline is not waited for, but waits.
        let is_waited_for = open && working.len() < PIPELINE;
        let patience = until.filter(|_| is_waited_for);
        tokio::select! {
            () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Some(answer) = working.next(), if !working.is_empty() => {
                if let Some(answer) = answer {
                    timeout(WRITE_TIMEOUT, writer.write_all(&answer)).await??;
                }
            }
            length = reader.read(&mut buffer), if is_waited_for => {
                let length = length?;
                frames.push(&buffer[..length]);
                // Who has said all it wants still hears the answers.
                open = length > 0;
            }
            else => break,
        }
    }
    let Some((answer, error)) = unread else {
        return Ok(());
    };
    timeout(WRITE_TIMEOUT, writer.write_all(&answer)).await??;
    writer.shutdown().await?;
    // What is unread when a connection is closed resets it, and the answer is lost.
    let rest = async {
        while reader
            .read(&mut buffer)
            .await
            .is_ok_and(|length| length > 0)
        {}
    };
    timeout(LINGER, rest).await.ok();
    Err(io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Lets the connection end whose client is there no more, so that it takes no room for ever.
pub(super) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let [time, interval] = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
