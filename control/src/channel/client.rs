//! The client's end: connects, repeats what was not answered, and reports what it sees.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    Endpoint, Fault, Protocol,
    endpoint::Stream,
    wire::{self, ClientFrame, FrameReader, Hello, ServerFrame, Welcome, WireError},
};

/// How long a request may wait for its answer, a lost connection included.
const DEADLINE: Duration = Duration::from_secs(5);
/// The wait before the first and before every later try to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long a server may take to answer the handshake.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// How many notices a listener may lag behind before it loses the oldest.
const NOTICES: usize = 4096;

/// A handle on a connection that mends itself. Clones share the connection.
#[derive(Debug)]
pub struct Client<P: Protocol> {
    orders: mpsc::Sender<Order<P>>,
    notices: broadcast::Sender<Notice<P::Event>>,
    up: Arc<AtomicBool>,
}

/// What a client hears unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice<E> {
    /// The channel is up. `instance` differs from the last one's when the server was restarted, and
    /// with it everything that the server held only in memory is gone.
    Connected {
        /// The server process's number.
        instance: u64,
    },
    /// The channel is down; the client is trying to mend it.
    Disconnected,
    /// The server pushed an event.
    Event(E),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server answered that it would not.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// No answer came in time; the server may be down, or not started.
    #[error("no answer on the control channel within {} s: is the daemon running?", DEADLINE.as_secs())]
    Timeout,
    /// The server refuses this client for good.
    #[error("{0}")]
    Refused(String),
    /// The client was shut down.
    #[error("the control client has stopped")]
    Stopped,
}

/// What the handles want of the task.
#[derive(Debug)]
enum Order<P: Protocol> {
    Ask(Call<P>),
    /// Somebody listens to events now.
    Listen,
}

#[derive(Debug)]
struct Call<P: Protocol> {
    request: P::Request,
    deadline: Instant,
    answer: oneshot::Sender<Result<P::Response, RequestError>>,
}

impl<P: Protocol> Clone for Client<P> {
    fn clone(&self) -> Self {
        Self {
            orders: self.orders.clone(),
            notices: self.notices.clone(),
            up: self.up.clone(),
        }
    }
}

impl<P: Protocol> Client<P> {
    /// Starts to connect to `endpoint` in the background, again and again until it works; the task
    /// ends when the last clone is dropped. Must be called inside a tokio runtime.
    pub fn connect(endpoint: Endpoint) -> Self {
        let (orders, queue) = mpsc::channel(4096);
        let notices = broadcast::channel(NOTICES).0;
        let up = Arc::new(AtomicBool::new(false));
        let task = Task::<P> {
            endpoint,
            queue,
            notices: notices.clone(),
            up: up.clone(),
            pending: HashMap::new(),
            next_id: 0,
            listening: false,
        };
        tokio::spawn(task.run());
        Self {
            orders,
            notices,
            up,
        }
    }

    /// Connects once, for a tool that should fail at once where no daemon is.
    pub async fn connect_now(endpoint: Endpoint) -> Result<Self, WireError> {
        // The task connects anew: a probe that is thrown away keeps one way to connect.
        drop(handshake::<P>(&endpoint).await?);
        Ok(Self::connect(endpoint))
    }

    /// Whether there is a connection just now. [`request`](Self::request) waits for one; who has something better to
    /// do looks here first.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Events and changes of the connection from now on. A listener that lags loses the oldest. The server
    /// makes no events for a client of which nobody listens.
    pub fn notices(&self) -> broadcast::Receiver<Notice<P::Event>> {
        let notices = self.notices.subscribe();
        // Where there is no room, the task is busy and looks anyway.
        drop(self.orders.try_send(Order::Listen));
        notices
    }

    /// Asks, and waits for the answer. Requests may be made side by side.
    ///
    /// # Errors
    /// The server's [`Fault`], or why it could not be asked.
    pub async fn request(&self, request: P::Request) -> Result<P::Response, RequestError> {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + DEADLINE;
        let call = Call {
            request,
            deadline,
            answer,
        };
        let wait = async {
            self.orders
                .send(Order::Ask(call))
                .await
                .map_err(|_| RequestError::Stopped)?;
            answered.await.map_err(|_| RequestError::Stopped)?
        };
        timeout(DEADLINE, wait)
            .await
            .unwrap_or(Err(RequestError::Timeout))
    }
}

struct Task<P: Protocol> {
    endpoint: Endpoint,
    queue: mpsc::Receiver<Order<P>>,
    notices: broadcast::Sender<Notice<P::Event>>,
    up: Arc<AtomicBool>,
    pending: HashMap<u64, Call<P>>,
    next_id: u64,
    /// The server knows that somebody listens.
    listening: bool,
}

/// Why a connection's loop ended.
enum End {
    Lost(WireError),
    Dropped,
}

impl<P: Protocol> Task<P> {
    async fn run(mut self) {
        let (mut wait, mut told) = (BACKOFF.0, false);
        loop {
            match handshake::<P>(&self.endpoint).await {
                Ok((stream, instance)) => {
                    info!(protocol = P::NAME, endpoint = %self.endpoint, "control channel up");
                    (wait, told) = (BACKOFF.0, false);
                    drop(self.notices.send(Notice::Connected { instance }));
                    self.up.store(true, Ordering::Relaxed);
                    let end = self.exchange(stream).await;
                    self.up.store(false, Ordering::Relaxed);
                    match end {
                        End::Dropped => return,
                        End::Lost(error) if self.is_within() => {
                            debug!(protocol = P::NAME, %error, "control channel lost");
                        }
                        End::Lost(error) => {
                            warn!(protocol = P::NAME, endpoint = %self.endpoint, %error,
                                "control channel lost, connecting again");
                        }
                    }
                    drop(self.notices.send(Notice::Disconnected));
                }
                Err(WireError::Refused(reason)) => {
                    warn!(protocol = P::NAME, endpoint = %self.endpoint, %reason, "control channel refused");
                    self.refuse(&reason);
                    wait = BACKOFF.1;
                }
                Err(error) if !told && !self.is_within() => {
                    warn!(protocol = P::NAME, endpoint = %self.endpoint, %error,
                        "cannot reach the control channel, trying on");
                    told = true;
                }
                Err(_) => {}
            }
            if !self.pause(wait).await {
                return;
            }
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// Whether the other end is in this process: then that is starting or stopping, and says so itself.
    const fn is_within(&self) -> bool {
        matches!(self.endpoint, Endpoint::Memory(_))
    }

    /// Waits while taking requests, so that those of a client which is gone do not pile up.
    /// `false` when the last handle was dropped.
    async fn pause(&mut self, wait: Duration) -> bool {
        let now = Instant::now();
        self.pending
            .retain(|_, call| call.deadline > now && !call.answer.is_closed());
        let until = sleep(wait);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return true,
                order = self.queue.recv() => match order {
                    Some(Order::Ask(call)) => { self.hold(call); }
                    Some(Order::Listen) => {}
                    None => return false,
                }
            }
        }
    }

    fn hold(&mut self, call: Call<P>) -> u64 {
        self.next_id += 1;
        self.pending.insert(self.next_id, call);
        self.next_id
    }

    fn refuse(&mut self, reason: &str) {
        for (_, call) in self.pending.drain() {
            drop(
                call.answer
                    .send(Err(RequestError::Refused(reason.to_owned()))),
            );
        }
    }

    async fn exchange(&mut self, stream: Stream) -> End {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut frames = FrameReader::new(reader);
        // What the last connection left unanswered, in the order in which it was asked.
        let mut ids: Vec<u64> = self.pending.keys().copied().collect();
        ids.sort_unstable();
        let mut out = Vec::new();
        self.listening = false;
        self.tell_listening(&mut out);
        for id in ids {
            self.encode(id, &mut out);
        }
        loop {
            self.tell_listening(&mut out);
            // A server that is busy writing reads nothing: so this reads on while it writes.
            tokio::select! {
                order = self.queue.recv(), if out.len() < wire::BACKLOG => {
                    let Some(order) = order else { return End::Dropped };
                    self.obey(order, &mut out);
                    // A burst goes out in one write.
                    while out.len() < wire::BACKLOG
                        && let Ok(order) = self.queue.try_recv()
                    {
                        self.obey(order, &mut out);
                    }
                }
                more = frames.fill() => {
                    match more {
                        Ok(true) => {}
                        Ok(false) => {
                            return End::Lost(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                        }
                        Err(error) => return End::Lost(error),
                    }
                    loop {
                        match frames.next() {
                            Ok(Some(frame)) => self.take(frame),
                            Ok(None) => break,
                            Err(error) => return End::Lost(error),
                        }
                    }
                }
                written = wire::write(&mut writer, &mut out), if !out.is_empty() => {
                    if let Err(error) = written {
                        return End::Lost(error);
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: ServerFrame<P::Response, P::Event>) {
        match frame {
            ServerFrame::Response { id, body } => {
                if let Some(call) = self.pending.remove(&id) {
                    // The asker may have given up.
                    drop(call.answer.send(body.map_err(RequestError::Fault)));
                }
            }
            ServerFrame::Event(event) => drop(self.notices.send(Notice::Event(event))),
        }
    }

    fn obey(&mut self, order: Order<P>, out: &mut Vec<u8>) {
        // Who listens hears of what follows from what is asked afterwards.
        self.tell_listening(out);
        if let Order::Ask(call) = order {
            let id = self.hold(call);
            self.encode(id, out);
        }
    }

    /// Tells the server where somebody began to listen, or nobody does any more.
    fn tell_listening(&mut self, out: &mut Vec<u8>) {
        let listening = self.notices.receiver_count() > 0;
        let frame = ClientFrame::<P::Request>::Events(listening);
        if listening != self.listening && wire::encode(&frame, out).is_ok() {
            self.listening = listening;
        }
    }

    fn encode(&mut self, id: u64, out: &mut Vec<u8>) {
        let Some(call) = self.pending.get(&id) else {
            return;
        };
        if call.answer.is_closed() {
            self.pending.remove(&id);
            return;
        }
        let frame = ClientFrame::Request {
            id,
            body: call.request.clone(),
        };
        if let Err(error) = wire::encode(&frame, out)
            && let Some(call) = self.pending.remove(&id)
        {
            let fault = Fault::new(super::FaultCode::Invalid, error.to_string());
            drop(call.answer.send(Err(RequestError::Fault(fault))));
        }
    }
}

async fn handshake<P: Protocol>(endpoint: &Endpoint) -> Result<(Stream, u64), WireError> {
    let shake = async {
        let mut stream = endpoint.connect().await?;
        let hello = Hello {
            version: P::VERSION,
            protocol: P::NAME.to_owned(),
        };
        hello.write(&mut stream).await?;
        match Welcome::read(&mut stream).await? {
            Welcome::Accepted(info) => Ok((stream, info.instance)),
            Welcome::Refused(reason) => Err(WireError::Refused(reason)),
        }
    };
    timeout(HANDSHAKE, shake)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}
