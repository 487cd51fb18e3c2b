//! Calls that nobody ends.

use std::{sync::Arc, time::Duration};

use control::{
    Notice,
    media::{Event, SessionId},
};
use tokio::{sync::broadcast::error::RecvError, time::MissedTickBehavior};
use tracing::warn;

use super::Front;
use crate::ng::call::Part;

/// How long an offer may wait for its answer: as rtpengine's `offer-timeout`.
const OFFER_TIMEOUT: Duration = Duration::from_secs(3600);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(60);

impl Front {
    /// Deletes calls that have gone silent, and offers that nobody answers, as rtpengine does by itself.
    pub(in crate::ng) async fn watch(self: Arc<Self>) {
        let mut notices = self.media.notices();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let notice = tokio::select! {
                notice = notices.recv() => notice,
                _ = look.tick() => {
                    self.end_unanswered(OFFER_TIMEOUT).await;
                    continue;
                }
            };
            match notice {
                Ok(Notice::Event(Event::Timeout { id, .. })) => self.end_silent(id).await,
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    warn!(missed, "media events were missed; silent NG calls may stay");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn end_silent(&self, session: SessionId) {
        // The session may be another client's, or of a call that is gone.
        let Some(id) = self.calls.of_session(session) else {
            return;
        };
        let Some(mut call) = self.calls.get(&id).await else {
            return;
        };
        let branch = call.branches.iter_mut().find_map(|branch| {
            let mut streams = branch.streams.iter_mut().flatten();
            let stream = streams.find(|stream| stream.session.id == session)?;
            stream.silent = true;
            let all = branch.streams.iter().flatten().all(|stream| stream.silent);
            // A branch with a stream that still flows is not silent.
            all.then_some(branch.number)
        });
        if let Some(number) = branch {
            let part = Part::Branch(number);
            if let Err(error) = self.delete_part(&id, &mut call, part, "silent").await {
                warn!(%error, "cannot free a silent NG call's media");
            }
        }
    }

    async fn end_unanswered(&self, after: Duration) {
        for id in self.calls.ids(usize::MAX) {
            let Some(mut call) = self.calls.get(&id).await else {
                continue;
            };
            let old = call.branches.iter().filter(|branch| {
                let is_open = branch.b.tag.is_none();
                is_open && branch.since.elapsed() > after
            });
            let old: Vec<_> = old.map(|branch| branch.number).collect();
            for number in old {
                let part = Part::Branch(number);
                if let Err(error) = self.delete_part(&id, &mut call, part, "unanswered").await {
                    warn!(%error, "cannot free the media of an offer that nobody answered");
                }
            }
        }
    }
}
