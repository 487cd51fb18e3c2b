//! The server's end.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{sync::broadcast, task::JoinSet};
use tracing::{debug, info, warn};

use super::{
    Fault, Listener, Protocol,
    endpoint::Stream,
    wire::{self, ClientFrame, FrameReader, Hello, ServerFrame, ServerInfo, Welcome, WireError},
};

/// How many events a client may lag behind before it loses the oldest.
const EVENTS: usize = 4096;
/// How many requests of one client are worked on at once; further ones wait in its socket.
const PIPELINE: usize = 1024;

/// Answers requests.
pub trait Handler<P: Protocol>: Send + Sync + 'static {
    /// Does what `request` asks for.
    ///
    /// Called in the order of arrival; what the method does before it returns its future happens in
    /// that order too, the futures then run side by side. A handler whose requests must not overtake
    /// each other queues them in the method's body.
    fn handle(
        &self,
        request: P::Request,
    ) -> impl Future<Output = Result<P::Response, Fault>> + Send + 'static;
}

/// Pushes events to every client that wants to hear of them.
#[derive(Debug)]
pub struct Events<P: Protocol> {
    sender: broadcast::Sender<P::Event>,
    /// The sender knows it too, behind a lock.
    listeners: Arc<AtomicUsize>,
}

/// Counts as a listener for as long as it lives.
struct Listening(Arc<AtomicUsize>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<P: Protocol> Events<P> {
    /// A source of events that no one listens to yet.
    pub fn new() -> Self {
        Self {
            sender: broadcast::channel(EVENTS).0,
            listeners: Arc::default(),
        }
    }

    /// Sends `event` to all clients; never waits.
    pub fn push(&self, event: P::Event) {
        // An error means that no client listens: then no one misses it.
        drop(self.sender.send(event));
    }

    /// Whether any client listens: where none does, an event need not be made. Costs no more than to read a
    /// number.
    pub fn has_listeners(&self) -> bool {
        self.listeners.load(Relaxed) > 0
    }

    fn listen(&self) -> (broadcast::Receiver<P::Event>, Listening) {
        self.listeners.fetch_add(1, Relaxed);
        let receiver = self.sender.subscribe();
        (receiver, Listening(self.listeners.clone()))
    }
}

impl<P: Protocol> Default for Events<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Protocol> Clone for Events<P> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            listeners: self.listeners.clone(),
        }
    }
}

/// Serves `listener`'s clients until the future is dropped.
pub async fn serve<P: Protocol, H: Handler<P>>(
    mut listener: Listener,
    handler: Arc<H>,
    events: Events<P>,
) {
    let info = ServerInfo {
        // RandomState is seeded from the operating system once a process.
        instance: RandomState::new().hash_one(P::NAME),
    };
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    let (handler, info) = (handler.clone(), info.clone());
                    let events = events.clone();
                    clients.spawn(async move {
                        match client::<P, H>(stream, handler, events, info).await {
                            Ok(()) => debug!(protocol = P::NAME, "a control client left"),
                            Err(error) if error.is_farewell() => {
                                debug!(protocol = P::NAME, %error, "a control client left");
                            }
                            Err(error) => warn!(protocol = P::NAME, %error, "a control client was dropped"),
                        }
                    });
                }
                Err(error) => {
                    warn!(protocol = P::NAME, %error, "cannot accept a control client");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
}

async fn client<P: Protocol, H: Handler<P>>(
    mut stream: Stream,
    handler: Arc<H>,
    events: Events<P>,
    info: ServerInfo,
) -> Result<(), WireError> {
    let hello = Hello::read(&mut stream).await?;
    if let Some(reason) = refusal::<P>(&hello) {
        warn!(protocol = P::NAME, %reason, "refused a control client");
        return Welcome::Refused(reason).write(&mut stream).await;
    }
    Welcome::Accepted(info).write(&mut stream).await?;
    info!(protocol = P::NAME, "a control client connected");

    let (reader, mut writer) = tokio::io::split(stream);
    let mut frames = FrameReader::new(reader);
    let mut pending = FuturesUnordered::new();
    let mut out = Vec::new();
    let mut heard = None;
    loop {
        while pending.len() < PIPELINE
            && let Some(frame) = frames.next()?
        {
            match frame {
                ClientFrame::Events(on) => heard = on.then(|| events.listen()),
                ClientFrame::Request { id, body } => {
                    let answer = handler.handle(body);
                    pending.push(async move { (id, answer.await) });
                }
            }
        }
        // A client that is busy writing reads nothing: so this reads on while it writes.
        let has_room = out.len() < wire::BACKLOG;
        tokio::select! {
            more = frames.fill(), if pending.len() < PIPELINE => if !more? {
                return Ok(());
            },
            Some((id, body)) = pending.next(), if has_room && !pending.is_empty() => {
                encode_answer::<P>(id, body, &mut out)?;
                // Those that are there as well go out in the same write.
                while out.len() < wire::BACKLOG
                    && let Some(Some((id, body))) = pending.next().now_or_never()
                {
                    encode_answer::<P>(id, body, &mut out)?;
                }
            }
            event = next(&mut heard), if has_room => match event {
                Ok(event) => wire::encode(&ServerFrame::<P::Response, _>::Event(event), &mut out)?,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    warn!(protocol = P::NAME, missed, "a control client is slow and lost events");
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            written = wire::write(&mut writer, &mut out), if !out.is_empty() => written?,
        }
    }
}

/// The next event for a client that listens.
async fn next<E: Clone>(
    heard: &mut Option<(broadcast::Receiver<E>, Listening)>,
) -> Result<E, broadcast::error::RecvError> {
    match heard {
        Some((events, _)) => events.recv().await,
        None => std::future::pending().await,
    }
}

fn encode_answer<P: Protocol>(
    id: u64,
    body: Result<P::Response, Fault>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let frame = ServerFrame::<P::Response, P::Event>::Response { id, body };
    match wire::encode(&frame, out) {
        Err(WireError::TooLong(length)) => {
            let fault = Fault::new(
                super::FaultCode::Unsupported,
                format!("the answer would take {length} bytes, more than a frame holds"),
            );
            let frame = ServerFrame::<P::Response, P::Event>::Response {
                id,
                body: Err(fault),
            };
            wire::encode(&frame, out)
        }
        other => other,
    }
}

fn refusal<P: Protocol>(hello: &Hello) -> Option<String> {
    if hello.protocol != P::NAME {
        return Some(format!(
            "this socket speaks '{}', not '{}': check which daemon's socket is configured",
            P::NAME,
            hello.protocol
        ));
    }
    (hello.version != P::VERSION).then(|| {
        format!(
            "this daemon speaks version {} of '{}', the client version {}: \
             run daemons and tools of one release",
            P::VERSION,
            P::NAME,
            hello.version
        )
    })
}
