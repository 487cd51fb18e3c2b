//! Draining: no new sessions, and the process's end once none is left.

use std::time::Duration;

use control::media::{Drain, Event, MediaStatus, SessionId};
use control::{Fault, FaultCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::Engine;

/// How often it is looked whether a session is left, and how often that is told.
const LOOK: Duration = Duration::from_millis(100);
const TELL: Duration = Duration::from_secs(10);
/// How long what clients are told of the end has to reach their sockets. They stay connected: that the channel is gone
/// tells them that it has come.
const HEARD: Duration = Duration::from_millis(200);

/// Whether an engine takes new sessions.
#[derive(Debug, Default)]
pub(crate) struct Draining {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    on: bool,
    /// The process is to end.
    exit: bool,
    /// At the latest then.
    until: Option<Instant>,
    /// It does, and that is not taken back: it was told to who waits for it.
    ends: bool,
}

impl Draining {
    pub(crate) fn is_on(&self) -> bool {
        self.state.borrow().on
    }
}

impl Engine {
    /// Takes no new sessions, or takes them again. Those that are there go on. An end that was ordered is taken back by
    /// taking new sessions only: who drains without one does not know that another waits for it.
    ///
    /// # Errors
    /// The process is to end with the last session, and cannot because it does more than this engine's work; or it ends
    /// already, and takes no new sessions any more.
    pub fn drain(&self, order: Drain) -> Result<MediaStatus, Fault> {
        if order.exit && !self.is_alone() {
            let message =
                "this media engine is a part of a whole node, and ends with it: use 'tandem drain'";
            return Err(Fault::new(FaultCode::Conflict, message));
        }
        let limit = Some(order.limit_s).filter(|limit| *limit > 0);
        let state = State {
            on: order.on,
            exit: order.on && order.exit,
            until: limit.map(|limit| Instant::now() + Duration::from_secs(limit.into())),
            ends: false,
        };
        let changed = self.draining().state.send_if_modified(|known| {
            if known.ends || (known.exit && order.on && !order.exit) {
                return false;
            }
            let is_other = *known != state;
            *known = state;
            is_other
        });
        let state = *self.draining().state.borrow();
        if state.ends && !order.on {
            let message = "the media engine was drained and ends just now: start it again";
            return Err(Fault::new(FaultCode::Unavailable, message));
        }
        if state.ends && order.exit {
            // This client was not there when the others were told.
            self.push_ending(self.left());
        }
        match (changed, state.on) {
            (false, _) => {}
            (true, true) => info!(
                sessions = self.left(),
                exit = state.exit,
                "draining: new sessions are refused, and those that are there go on"
            ),
            (true, false) => info!("new sessions are taken again"),
        }
        Ok(self.status())
    }

    /// Whether a session of this id may be made.
    ///
    /// # Errors
    /// The engine drains, and has no such session yet.
    pub(crate) fn admits(&self, id: SessionId) -> Result<(), Fault> {
        if !self.draining().is_on() || self.has(id) {
            return Ok(());
        }
        let message = "the media engine is draining and takes no new sessions ('tandem media drain --off' ends that)";
        Err(Fault::new(FaultCode::Unavailable, message))
    }

    /// Completes when the process is to end because the last session is gone, or because that was to take no longer.
    pub(crate) async fn drained(&self) {
        let mut states = self.draining().state.subscribe();
        let mut told = Instant::now();
        loop {
            let state = *states.borrow_and_update();
            if !state.exit {
                // The sender is this engine's own.
                let _ = states.changed().await;
                told = Instant::now();
                continue;
            }
            let sessions = self.left();
            let is_late = state.until.is_some_and(|until| until <= Instant::now());
            if sessions == 0 || is_late {
                let ends = self.draining().state.send_if_modified(|known| {
                    known.ends = *known == state;
                    known.ends
                });
                if !ends {
                    continue;
                }
                match sessions {
                    0 => info!("drained: no session is left"),
                    _ => warn!(sessions, "the time to drain is over, and sessions are left"),
                }
                return self.tell_end(sessions).await;
            }
            if told.elapsed() >= TELL {
                info!(sessions, "draining: sessions are left");
                told = Instant::now();
            }
            tokio::select! {
                _ = states.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Tells clients that this is the end.
    async fn tell_end(&self, sessions: usize) {
        self.push_ending(sessions);
        if self.events().has_listeners() {
            sleep(HEARD).await;
        }
    }

    fn push_ending(&self, sessions: usize) {
        let sessions = u64::try_from(sessions).unwrap_or(u64::MAX);
        self.events().push(Event::Ending { sessions });
    }
}
