//! Sockets of applications: one WebSocket for each URL and account, over which all calls ask what they would ask a
//! webhook, and by which the application may change calls and make them.
//!
//! A socket is opened when it is configured or first needed, and opened again when it is lost: a request that waits for
//! it has it tried at once. What is said waits in a queue, which is bounded; an application that does not read is told
//! nothing more once it is full, and no call waits for it.

mod connection;
mod message;
mod order;
mod rate;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use voice::call::{Exchange, Request, RequestError, Response};

use super::Shared;

pub use order::{Order, Orders, Outcome};

/// Sockets at once at most: of those that are configured, and of the others.
const MOST: usize = 1_000;
/// Of those that are not configured, of one account, so that others have some.
const MOST_OF_ACCOUNT: usize = 50;
/// Messages that wait for an application to read them at most.
const MOST_WAITING: usize = 1_024;
/// One that is not configured is closed when nothing was said on it for so long.
const IDLE: Duration = Duration::from_secs(600);

/// Which socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// `ws:` or `wss:`, without a fragment.
    pub url: String,
    /// Whose calls it is about.
    pub account: String,
    /// `X-Twilio-Signature` of its handshake.
    pub signature: String,
    /// Only at public addresses and those of `[voice] allow`.
    pub public: bool,
}

/// Why a socket is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Failed(RequestError),
    /// The handshake was answered with another status than 101.
    Status(u16),
}

/// How a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Closed(Trouble),
}

/// Something to say.
#[derive(Debug)]
struct Saying {
    text: String,
    /// Of what is answered: what the answer names, and who waits.
    asked: Option<(String, oneshot::Sender<Response>)>,
}

/// All sockets.
#[derive(Default)]
pub(super) struct Sockets {
    open: Mutex<HashMap<Place, Handle>>,
    configured: Mutex<HashSet<Place>>,
    orders: OnceLock<Orders>,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Handle {
    queue: mpsc::Sender<Saying>,
    state: watch::Receiver<(u64, State)>,
    /// Have it opened now.
    poke: Arc<Notify>,
    used: Arc<Mutex<Instant>>,
}

impl Sockets {
    /// By whom calls are changed and made. Only the first one counts.
    pub(super) fn set_orders(&self, orders: Orders) {
        let _ = self.orders.set(orders);
    }

    /// Closes them for good.
    pub(super) fn close(&self) {
        self.stop.cancel();
    }

    /// Keeps these open from now on; others are closed when they are idle.
    pub(super) fn configure(shared: &Arc<Shared>, places: HashSet<Place>) {
        let sockets = &shared.sockets;
        sockets.configured.lock().clone_from(&places);
        for place in places {
            let _ = sockets.handle(shared, &place);
        }
    }

    /// Says a message, after what was said before, and waits for its answer where it has one.
    pub(super) fn ask(
        shared: &Arc<Shared>,
        request: Request,
        exchange: Exchange,
        public: bool,
    ) -> impl Future<Output = Result<Response, RequestError>> + Send + use<> {
        let signature = request.headers.into_iter().next();
        let place = Place {
            url: request.url,
            account: exchange.account.as_str().to_owned(),
            signature: signature.map(|(_, value)| value).unwrap_or_default(),
            public,
        };
        let (sender, answer) = oneshot::channel();
        let saying = Saying {
            text: request.body.unwrap_or_default(),
            asked: exchange.is_answered.then_some((exchange.id, sender)),
        };
        let said = shared.sockets.handle(shared, &place).and_then(|handle| {
            let opened = handle.opened();
            match handle.queue.try_send(saying) {
                Ok(()) => Ok(opened),
                // Who does not read what he is told is not told more.
                Err(TrySendError::Full(_)) => Err(RequestError::Refused),
                Err(TrySendError::Closed(_)) => Err(RequestError::Connect),
            }
        });
        let (connect, read) = (request.connect_timeout, request.read_timeout);
        async move {
            match timeout(connect, said?).await {
                Ok(Ok(())) => {}
                Ok(Err(Trouble::Failed(error))) => return Err(error),
                Ok(Err(Trouble::Status(status))) => {
                    return Ok(Response {
                        status,
                        ..Response::default()
                    });
                }
                Err(_) => return Err(RequestError::Connect),
            }
            if !exchange.is_answered {
                return Ok(Response {
                    status: 204,
                    ..Response::default()
                });
            }
            match timeout(read, answer).await {
                Ok(Ok(response)) => Ok(response),
                // It was lost meanwhile.
                Ok(Err(_)) => Err(RequestError::Connect),
                Err(_) => Err(RequestError::Timeout),
            }
        }
    }

    /// The socket of a place, which is used now, and opened where it is not.
    fn handle(&self, shared: &Arc<Shared>, place: &Place) -> Result<Handle, RequestError> {
        // Always before the other.
        let configured = self.configured.lock();
        let mut open = self.open.lock();
        if let Some(handle) = open.get(place) {
            // While nobody can find it idle.
            *handle.used.lock() = Instant::now();
            return Ok(handle.clone());
        }
        let is_configured = configured.contains(place);
        let alike = open
            .keys()
            .filter(|other| configured.contains(other) == is_configured);
        let (all, own) = alike.fold((0, 0), |(all, own), other| {
            (all + 1, own + usize::from(other.account == place.account))
        });
        drop(configured);
        if all >= MOST || (!is_configured && own >= MOST_OF_ACCOUNT) {
            warn!(
                url = place.url,
                account = place.account,
                all,
                own,
                "no more sockets of applications are opened: there are too many"
            );
            return Err(RequestError::Refused);
        }
        let (queue, said) = mpsc::channel(MOST_WAITING);
        let (told, state) = watch::channel((0, State::Opening));
        let handle = Handle {
            queue,
            state,
            poke: Arc::default(),
            used: Arc::new(Mutex::new(Instant::now())),
        };
        let keeper = connection::Keeper {
            place: place.clone(),
            shared: Arc::downgrade(shared),
            said,
            state: told,
            poke: handle.poke.clone(),
            rate: rate::Rate::new(Instant::now()),
        };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            // Who hears nothing more learns of it by its connection.
            stop.run_until_cancelled(keeper.run()).await;
        });
        open.insert(place.clone(), handle.clone());
        drop(open);
        Ok(handle)
    }

    /// Whether a socket is not needed any more; it is forgotten then.
    fn forget_if_idle(&self, place: &Place) -> bool {
        self.forget_after(place, IDLE)
    }

    /// Forgets a socket that is not configured, and was not used for so long. Whether it is forgotten.
    fn forget_after(&self, place: &Place, idle: Duration) -> bool {
        let configured = self.configured.lock();
        if configured.contains(place) {
            return false;
        }
        let mut open = self.open.lock();
        let is_idle = open
            .get(place)
            .is_none_or(|handle| handle.used.lock().elapsed() >= idle);
        if is_idle {
            open.remove(place);
        }
        drop((open, configured));
        is_idle
    }
}

impl Handle {
    /// Waits until it is open, which is tried now where it is not. What failed before does not count.
    fn opened(&self) -> impl Future<Output = Result<(), Trouble>> + Send + use<> {
        let mut state = self.state.clone();
        let (before, now) = *state.borrow();
        if matches!(now, State::Closed(_)) {
            self.poke.notify_one();
        }
        let is_news = move |(attempt, state): &(u64, State)| match state {
            State::Open => true,
            State::Closed(_) => *attempt > before || now == State::Opening,
            State::Opening => false,
        };
        async move {
            let gone = Trouble::Failed(RequestError::Connect);
            if now == State::Open {
                return Ok(());
            }
            let reached = state.wait_for(is_news).await.map_err(|_| gone)?.1;
            match reached {
                State::Closed(trouble) => Err(trouble),
                State::Open | State::Opening => Ok(()),
            }
        }
    }
}
