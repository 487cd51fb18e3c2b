//! One socket: opened, spoken over, lost and opened again.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hyper::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, interval, sleep, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tracing::{debug, info, warn};
use voice::{
    call::{RequestError, Response},
    signature,
};

use super::{
    IDLE, Place, Saying, Shared, State, Trouble,
    message::{self, Said},
    order::{Order, Outcome},
    rate::{A_SECOND, AT_ONCE, Rate},
};
use crate::webhook::{connect, target::Target};

/// Octets of a message at most.
const MOST_MESSAGE: usize = 1 << 20;
/// To connect and shake hands.
const CONNECT: Duration = Duration::from_secs(5);
/// Between attempts, at first and at last.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// One that was open for as long is tried again at once.
const STEADY: Duration = Duration::from_secs(10);
/// Between pings.
const PING: Duration = Duration::from_secs(20);
/// One of which nothing is heard for so long, not even a pong, is lost; and one that takes nothing.
const SILENT: Duration = Duration::from_secs(60);
/// What is owed to an application waits so long for it to be closed.
const CLOSE: Duration = Duration::from_secs(1);
/// What an application has asked for and is not done yet, at most.
const MOST_ORDERS: usize = 64;
/// Answers to such that wait to be sent, at most.
const MOST_REPLIES: usize = 256;

type Socket = WebSocketStream<connect::Stream>;

/// Who waits for answers, by what they name.
type Waiting = Mutex<HashMap<String, oneshot::Sender<Response>>>;

/// Keeps one socket open.
pub(super) struct Keeper {
    pub(super) place: Place,
    /// Gone when the node is stopped.
    pub(super) shared: Weak<Shared>,
    pub(super) said: mpsc::Receiver<Saying>,
    pub(super) state: watch::Sender<(u64, State)>,
    pub(super) poke: Arc<Notify>,
    /// One that is opened again has no more of it.
    pub(super) rate: Rate,
}

/// Why a socket is not open any more.
enum End {
    /// Nobody needs it.
    Idle,
    /// What to say to the operator.
    Lost(String),
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE;
        let mut is_told = false;
        let mut was_open = false;
        for attempt in 1.. {
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            self.state.send_replace((attempt, State::Opening));
            let opened = timeout(CONNECT, open(&self.place, &shared)).await;
            let opened = opened.unwrap_or(Err(Trouble::Failed(RequestError::Connect)));
            drop(shared);
            let url = &self.place.url;
            let trouble = match opened {
                Ok(socket) => {
                    info!(
                        url,
                        account = self.place.account,
                        "an application's socket is open"
                    );
                    self.state.send_replace((attempt, State::Open));
                    is_told = false;
                    was_open = true;
                    let since = Instant::now();
                    let end = self.talk(socket).await;
                    match end {
                        End::Idle => return,
                        End::Lost(why) => {
                            info!(url = self.place.url, why, "an application's socket is lost");
                        }
                    }
                    if since.elapsed() >= STEADY {
                        pause = PAUSE;
                    }
                    Trouble::Failed(RequestError::Connect)
                }
                Err(trouble) => {
                    if !std::mem::replace(&mut is_told, true) {
                        let why = match trouble {
                            Trouble::Failed(error) => error.to_string(),
                            Trouble::Status(status) => format!("it answered {status}, not 101"),
                        };
                        warn!(
                            url,
                            why, "an application's socket cannot be opened; it is tried again"
                        );
                    }
                    trouble
                }
            };
            // What waits in the queue is not for the next connection: who asked is told that this one is gone. What
            // comes after that wants another.
            while self.said.try_recv().is_ok() {}
            self.state.send_replace((attempt, State::Closed(trouble)));
            // One that has never been open may never be: those who want it have it tried.
            if self.is_idle(if was_open { IDLE } else { Duration::ZERO }) {
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.poke.notified() => sleep(PAUSE.min(pause)).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn is_idle(&self, idle: Duration) -> bool {
        let shared = self.shared.upgrade();
        shared.is_none_or(|shared| shared.sockets.forget_after(&self.place, idle))
    }

    /// Speaks until it is over.
    async fn talk(&mut self, socket: Socket) -> End {
        let (mut sink, stream) = socket.split();
        let waiting = Waiting::default();
        let heard = Mutex::new(Instant::now());
        let (replies, replied) = mpsc::channel(MOST_REPLIES);
        let (orders, ordered) = mpsc::unbounded_channel();
        // What was ordered is done though the socket is lost.
        tokio::spawn(follow(ordered, replies.clone()));
        let listening = Listener {
            place: &self.place,
            shared: &self.shared,
            waiting: &waiting,
            heard: &heard,
            replies,
            orders,
            free: Arc::new(Semaphore::new(MOST_ORDERS)),
            rate: &self.rate,
        };
        let is_idle = || {
            let shared = self.shared.upgrade();
            shared.is_none_or(|shared| shared.sockets.forget_if_idle(&self.place))
        };
        let end = tokio::select! {
            why = listening.listen(stream) => End::Lost(why),
            end = speak(&mut sink, &mut self.said, replied, &waiting, &heard, is_idle) => end,
        };
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        // It may be gone already.
        let _ = timeout(CLOSE, sink.send(Message::Close(Some(close)))).await;
        end
    }
}

/// Says what there is to say.
async fn speak(
    sink: &mut SplitSink<Socket, Message>,
    said: &mut mpsc::Receiver<Saying>,
    mut replied: mpsc::Receiver<String>,
    waiting: &Waiting,
    heard: &Mutex<Instant>,
    is_idle: impl Fn() -> bool,
) -> End {
    let mut pings = interval(PING);
    pings.tick().await;
    loop {
        let message = tokio::select! {
            Some(saying) = said.recv() => {
                if let Some((id, answer)) = saying.asked {
                    // Whoever has asked may have given up.
                    if answer.is_closed() {
                        continue;
                    }
                    waiting.lock().insert(id, answer);
                }
                Message::text(saying.text)
            }
            Some(reply) = replied.recv() => Message::text(reply),
            _ = pings.tick() => {
                if heard.lock().elapsed() >= SILENT {
                    return End::Lost(format!("nothing was heard of it for {} s", SILENT.as_secs()));
                }
                if is_idle() {
                    return End::Idle;
                }
                waiting.lock().retain(|_, answer| !answer.is_closed());
                Message::Ping(Vec::new().into())
            }
        };
        match timeout_at(Instant::now() + SILENT, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return End::Lost(error.to_string()),
            Err(_) => return End::Lost("it reads nothing".to_owned()),
        }
    }
}

/// Hears what an application says.
struct Listener<'a> {
    place: &'a Place,
    shared: &'a Weak<Shared>,
    waiting: &'a Waiting,
    heard: &'a Mutex<Instant>,
    replies: mpsc::Sender<String>,
    orders: mpsc::UnboundedSender<Doing>,
    free: Arc<Semaphore>,
    rate: &'a Rate,
}

/// An order, which is one of those that are not done yet.
struct Doing {
    id: Option<String>,
    outcome: Outcome,
    permit: OwnedSemaphorePermit,
}

/// Does what is asked for, in the order in which it was said.
async fn follow(mut orders: mpsc::UnboundedReceiver<Doing>, replies: mpsc::Sender<String>) {
    while let Some(doing) = orders.recv().await {
        let id = doing.id.as_deref();
        let reply = match doing.outcome.await {
            Ok(call) => message::done(id, &call),
            Err(why) => message::error(id, &why),
        };
        drop(doing.permit);
        // One that reads nothing learns nothing.
        let _ = replies.try_send(reply);
    }
}

impl Listener<'_> {
    /// Why it is over.
    async fn listen(self, mut stream: SplitStream<Socket>) -> String {
        loop {
            let message = stream.next().await;
            *self.heard.lock() = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => self.take(text.as_str()),
                Some(Ok(Message::Binary(_))) => {
                    self.reply(message::error(None, "messages are text, in JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map(|frame| u16::from(frame.code));
                    return code.map_or_else(
                        || "it was closed".to_owned(),
                        |code| format!("it was closed with {code}"),
                    );
                }
                Some(Ok(_)) => {}
                Some(Err(Error::Capacity(_))) => {
                    let message = format!("a message has more than {MOST_MESSAGE} octets");
                    self.reply(message::error(None, &message));
                    // The reply has its turn; what follows in the stream is no message.
                    sleep(CLOSE).await;
                    return message;
                }
                Some(Err(error)) => return error.to_string(),
                None => return "it broke without a close".to_owned(),
            }
        }
    }

    fn take(&self, text: &str) {
        match message::read(text) {
            Ok(Said::Answer { id }) => {
                let response = Response {
                    status: 200,
                    content_type: Some("application/json".to_owned()),
                    location: None,
                    body: text.as_bytes().to_vec(),
                };
                let asked = self.waiting.lock().remove(&id);
                // Whoever has asked may have given up.
                let is_taken = asked.is_some_and(|asked| asked.send(response).is_ok());
                if !is_taken {
                    let why = "no message of this id waits for verbs, or no longer";
                    self.reply(message::error(Some(&id), why));
                }
            }
            Ok(Said::Order { id, order }) => self.obey(id, order),
            Err(wrong) => {
                debug!(
                    url = self.place.url,
                    why = wrong.why,
                    "a message of an application is wrong"
                );
                self.reply(message::error(wrong.id.as_deref(), &wrong.why));
            }
        }
    }

    /// Has done what is asked for, beside what else is said.
    fn obey(&self, id: Option<String>, order: Order) {
        let orders = self.shared.upgrade();
        let orders = orders.and_then(|shared| shared.sockets.orders.get().cloned());
        let Some(orders) = orders else {
            let why = "the node is not ready yet, or is being stopped";
            return self.reply(message::error(id.as_deref(), why));
        };
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            let why = format!("{MOST_ORDERS} orders are not done yet: wait for them");
            return self.reply(message::error(id.as_deref(), &why));
        };
        if let Err(wait) = self.rate.take(Instant::now()) {
            let why = format!(
                "too many orders: {AT_ONCE} at once and {A_SECOND} a second are taken; the next one in {} ms",
                wait.as_millis().max(1)
            );
            return self.reply(message::error(id.as_deref(), &why));
        }
        let outcome = orders(self.place.clone(), order);
        // It is followed as long as anything can be said.
        let _ = self.orders.send(Doing {
            id,
            outcome,
            permit,
        });
    }

    fn reply(&self, text: String) {
        let _ = self.replies.try_send(text);
    }
}

/// Connects and shakes hands.
async fn open(place: &Place, shared: &Shared) -> Result<Socket, Trouble> {
    let target = Target::of(&place.url).ok_or(Trouble::Failed(RequestError::Host))?;
    let stream = connect::connect(&target, shared, place.public).await;
    let stream = stream.map_err(Trouble::Failed)?;
    let scheme = if target.is_tls { "wss" } else { "ws" };
    let url = format!("{scheme}://{}{}", target.authority(), target.path());
    let mut request = url
        .into_client_request()
        .map_err(|_| Trouble::Failed(RequestError::Host))?;
    let headers = request.headers_mut();
    let agent = concat!("Tandem/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if let Ok(signature) = HeaderValue::from_str(&place.signature) {
        headers.insert(signature::HEADER_IN_LOWER_CASE, signature);
    }
    if let Some(credentials) = target.credentials() {
        headers.insert(AUTHORIZATION, credentials);
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MOST_MESSAGE))
        .max_frame_size(Some(MOST_MESSAGE));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(Trouble::Status(response.status().as_u16())),
        Err(error) => {
            debug!(url = place.url, %error, "a socket's handshake failed");
            Err(Trouble::Failed(RequestError::Protocol))
        }
    }
}
