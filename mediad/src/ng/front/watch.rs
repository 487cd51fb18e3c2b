//! Calls that nobody ends.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use control::{
    Notice,
    media::{AudioTrouble, Event, SessionId, VoiceEvent},
};
use tokio::{sync::broadcast::error::RecvError, time::MissedTickBehavior};
use tracing::warn;

use super::Front;
use crate::ng::{
    call::{Branch, Call, Part, Stream},
    engine,
};

/// How long an offer may wait for its answer: as rtpengine's `offer-timeout`.
const OFFER_TIMEOUT: Duration = Duration::from_secs(3600);
/// The same where another phone has answered the call: the proxy has cancelled the others without a word.
const FORK_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a call may be silent of which nobody is to send, or that has no media: as rtpengine's `silent-timeout`.
const HOLD_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a stream that an answer has refused waits for another phone's answer: as long as a phone may ring.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(180);
/// How often it is looked for deletions that were put off.
const TICK: Duration = Duration::from_millis(250);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(60);

impl Front {
    /// Deletes calls that have gone silent, and offers that nobody answers, as rtpengine does by itself.
    pub(in crate::ng) async fn watch(self: Arc<Self>) {
        tokio::join!(self.listen(), self.look(), self.carry_out());
    }

    /// Hears of sessions that have gone silent, and of what they could not play.
    async fn listen(&self) {
        let mut notices = self.media.notices();
        loop {
            match notices.recv().await {
                Ok(Notice::Event(Event::Timeout { id, .. })) => self.end_silent(id).await,
                Ok(Notice::Event(Event::Voice {
                    id,
                    event:
                        VoiceEvent::Played {
                            result: Err(why), ..
                        },
                })) => self.not_played(id, &why),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    warn!(
                        missed,
                        "media events were missed; silent NG calls end later"
                    );
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// A file could not be played, of which its client had the answer already.
    fn not_played(&self, session: SessionId, why: &AudioTrouble) {
        // Those of applications are told to signaling.
        let Some(call) = self.calls.of_session(session) else {
            return;
        };
        let (AudioTrouble::Fetch(reason)
        | AudioTrouble::Format(reason)
        | AudioTrouble::Speech(reason)
        | AudioTrouble::Engine(reason)) = why;
        let call = String::from_utf8_lossy(&call);
        warn!(%call, reason, "cannot play media to an NG call");
    }

    /// Does what was put off.
    async fn carry_out(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.delete_due().await;
            self.refused.sum_up();
        }
    }

    /// Looks at all calls each minute.
    async fn look(&self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unknown = HashSet::new();
        loop {
            look.tick().await;
            for id in self.calls.ids(usize::MAX) {
                if let Some(mut call) = self.calls.get(&id).await {
                    self.look_at(&id, &mut call).await;
                }
            }
            unknown = self.free_unknown(&unknown).await;
        }
    }

    async fn look_at(&self, id: &[u8], call: &mut Call) {
        let patience = match call.answered {
            true => FORK_TIMEOUT,
            false => OFFER_TIMEOUT,
        };
        let numbers: Vec<_> = call.branches.iter().map(|branch| branch.number).collect();
        for number in numbers {
            let mut branches = call.branches.iter();
            let Some(at) = branches.position(|branch| branch.number == number) else {
                continue;
            };
            self.free_refused(call, at).await;
            let branch = &call.branches[at];
            let over = match branch.b.tag {
                None if !branch.is_published => {
                    (branch.signalled.elapsed() > patience).then_some("unanswered")
                }
                _ => self.is_silent(branch, None).await.then_some("silent"),
            };
            if let Some(why) = over {
                self.end(id, call, number, why).await;
            }
        }
    }

    /// The engine has said that a session is silent.
    async fn end_silent(&self, session: SessionId) {
        // The session may be another client's, or of a call that is gone.
        let Some(id) = self.calls.of_session(session) else {
            return;
        };
        let Some(mut call) = self.calls.get(&id).await else {
            return;
        };
        let mut branches = call.branches.iter();
        let Some(branch) = branches.find(|branch| branch.sessions().any(|own| own == session))
        else {
            return;
        };
        let number = branch.number;
        if self.is_silent(branch, Some(session)).await {
            self.end(&id, &mut call, number, "silent").await;
        }
    }

    async fn end(&self, id: &[u8], call: &mut Call, number: u32, why: &'static str) {
        if let Err(error) = self.delete_part(id, call, Part::Branch(number), why).await {
            warn!(%error, why, "cannot free an NG call's media");
        }
    }

    /// Whether nothing has come in any of a branch's streams for so long that its call is over. `told`: one that is known
    /// to be silent.
    async fn is_silent(&self, branch: &Branch, told: Option<SessionId>) -> bool {
        let Some(timeout) = self.timeout() else {
            return false;
        };
        let streams = branch.streams.iter().flatten();
        let live: Vec<_> = streams.filter(|stream| stream.refused.is_none()).collect();
        let limit = match live.iter().any(|stream| expects_media(stream)) {
            true => timeout,
            false => timeout.max(HOLD_TIMEOUT),
        };
        // Who comes back from hold needs time to begin.
        if branch.signalled.elapsed() < limit {
            return false;
        }
        for stream in live {
            let session = stream.session.id;
            if told != Some(session) && !self.is_silent_for(session, limit).await {
                return false;
            }
        }
        true
    }

    async fn is_silent_for(&self, session: SessionId, limit: Duration) -> bool {
        match engine::query(&self.media, session).await {
            Ok(stats) => Duration::from_millis(stats.silent_ms) >= limit,
            Err(error) => error.is_gone(),
        }
    }

    /// Frees streams that nobody has taken after an answer refused them.
    async fn free_refused(&self, call: &mut Call, at: usize) {
        let is_old = |since: Instant| since.elapsed() > REFUSED_TIMEOUT;
        let slots = call.branches[at].streams.iter_mut();
        let old =
            slots.filter_map(|slot| slot.take_if(|stream| stream.refused.is_some_and(is_old)));
        let sessions = old.map(|stream| stream.session.id).collect();
        self.free_all(call, at, sessions).await;
    }

    /// Frees the front's sessions that were of no call the last time, and are of none now; those of none now. The engine
    /// may have done what nobody heard of any more. One that carries something is of a mediad before this one.
    async fn free_unknown(&self, before: &HashSet<SessionId>) -> HashSet<SessionId> {
        let Ok(sessions) = engine::list(&self.media).await else {
            return before.clone();
        };
        let mut unknown = HashSet::new();
        for session in sessions {
            if self.calls.of_session(session).is_some() {
                continue;
            }
            unknown.insert(session);
            if before.contains(&session) && self.is_silent_for(session, HOLD_TIMEOUT).await {
                warn!(%session, "freeing a session that is of no NG call");
                if let Err(error) = engine::delete(&self.media, session).await {
                    warn!(%error, "cannot free a session that is of no NG call");
                }
            }
        }
        unknown
    }
}

/// Whether either party is to send.
fn expects_media(stream: &Stream) -> bool {
    stream.remotes.iter().flatten().any(|remote| remote.sends)
}
