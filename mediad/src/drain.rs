//! Draining: no new sessions, and the process's end once none is left.

use std::time::Duration;

use control::media::{Drain, Event, MediaStatus, SessionId};
use control::{Fault, FaultCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::Engine;

/// How often it is looked whether a session is left, and how often that is told.
const LOOK: Duration = Duration::from_millis(100);
const TELL: Duration = Duration::from_secs(10);
/// How long clients have to hear that this is the end.
const HEARD: Duration = Duration::from_secs(2);

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
}

impl Draining {
    pub(crate) fn is_on(&self) -> bool {
        self.state.borrow().on
    }
}

impl Engine {
    /// Takes no new sessions, or takes them again. Those that are there go on.
    ///
    /// # Errors
    /// The process is to end with the last session, and cannot because it does more than this engine's work.
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
        };
        let changed = self.draining().state.send_if_modified(|known| {
            let is_other = *known != state;
            *known = state;
            is_other
        });
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
                match sessions {
                    0 => info!("drained: no session is left"),
                    _ => warn!(sessions, "the time to drain is over, and sessions are left"),
                }
                tokio::select! {
                    () = self.tell_end(sessions) => return,
                    _ = states.changed() => continue,
                }
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

    /// Tells clients that this is the end, and waits until they have heard it: who waits for that leaves then.
    async fn tell_end(&self, sessions: usize) {
        let events = self.events();
        let sessions = u64::try_from(sessions).unwrap_or(u64::MAX);
        events.push(Event::Ending { sessions });
        let heard = async {
            while events.has_listeners() {
                sleep(LOOK).await;
            }
        };
        // signaling stays.
        let _ = timeout(HEARD, heard).await;
    }
}
