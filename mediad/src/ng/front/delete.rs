//! Deletions, at once or after a while.

use std::time::{Duration, Instant, SystemTime};

use control::media::SessionId;
use ng::{Request, Value, dictionary, options::MAX_DELAY};
use tracing::warn;

use super::{Answer, Front, Refusal, query};
use crate::ng::{
    call::{Call, Part, Totals},
    engine,
};

impl Front {
    pub(super) async fn delete(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let (from, to) = (request.text("from-tag"), request.text("to-tag"));
        let delay = request.number("delete-delay", MAX_DELAY)?;
        let unknown = || match request.has_flag("fatal") {
            true => Err(Refusal::Fatal),
            false => Ok(dictionary([(
                "warning",
                Value::from_text(Refusal::Fatal.to_string()),
            )])),
        };
        let Some(mut call) = self.calls.get(id).await else {
            return unknown();
        };
        // A BYE of who only listens.
        let listener = [from, to].into_iter().flatten();
        for tag in listener
            .filter(|tag| !call.party_of(tag))
            .collect::<Vec<_>>()
        {
            if self.leave(&mut call, tag).await?.is_some() {
                return self.describe(&call).await;
            }
        }
        let Ok(part) = call.part(from, to, request.text("via-branch")) else {
            return unknown();
        };
        call.last_signal = SystemTime::now();
        let delay = delay.unwrap_or(call.delete_delay);
        if delay == 0 {
            return self.delete_part(id, &mut call, part, "deleted").await;
        }
        call.put_off(part, Instant::now() + Duration::from_secs(delay.into()));
        self.calls.put_off(id, call.next_deletion());
        self.describe(&call).await
    }

    /// Carries out the deletions that were put off until now.
    pub(super) async fn delete_due(&self) {
        let now = Instant::now();
        for id in self.calls.due(now) {
            let Some(mut call) = self.calls.get(&id).await else {
                continue;
            };
            for part in call.due(now) {
                if let Err(error) = self.delete_part(&id, &mut call, part, "deleted").await {
                    warn!(%error, "cannot free an NG call's media");
                }
            }
            if !call.ended {
                self.calls.put_off(&id, call.next_deletion());
            }
        }
    }

    /// Deletes a part of a call; what is told of it.
    pub(super) async fn delete_part(
        &self,
        id: &[u8],
        call: &mut Call,
        part: Part,
        why: &'static str,
    ) -> Answer {
        let mut stats = query::Known::default();
        let mut totals = Totals::default();
        let branches = call.take(part);
        let mut failed = None;
        for branch in &branches {
            totals.add_all(branch.gone);
            for stream in branch.streams.iter().flatten() {
                let session = stream.session.id;
                self.calls.leave(session);
                call.silence(session);
                match engine::delete(&self.media, session).await {
                    Ok(Some(last)) => {
                        totals.add_session(&last);
                        stats.insert(session, last);
                    }
                    Ok(None) => {}
                    // The others are freed all the same.
                    Err(error) => failed = Some(error),
                }
            }
        }
        let answer = query::described(call, &branches, &stats);
        if call.branches.is_empty() {
            let lasted = call.created.elapsed().unwrap_or_default();
            self.calls.end(id, call);
            self.ended(id, lasted, totals, why);
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }

    /// Frees sessions that no stream has any more, whom nobody hears then, and adds what they have carried to the branch at
    /// `at`. One that cannot be freed now is found once more as one of no call.
    pub(super) async fn free_all(&self, call: &mut Call, at: usize, sessions: Vec<SessionId>) {
        for session in sessions {
            self.calls.leave(session);
            call.silence(session);
            match engine::delete(&self.media, session).await {
                Ok(Some(stats)) => call.branches[at].gone.add_session(&stats),
                Ok(None) => {}
                Err(error) => warn!(%error, %session, "cannot free what an NG call had before"),
            }
        }
    }
}
