//! Attempts to make a session: where it is noted before its shard has said yes, and what becomes of that.

use control::media::{Create, Response, SessionId, SessionInfo};
use control::{Fault, FaultCode};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Engine;
use crate::shard::Command;

/// An attempt whose outcome is not known yet. Whoever asked for it may be gone before it is: then somebody else waits,
/// because a session that there is not must not stay in the directory.
struct Attempt {
    engine: Engine,
    id: SessionId,
    number: u64,
    answer: Option<oneshot::Receiver<Result<SessionInfo, Fault>>>,
}

impl Engine {
    /// Has a shard make a session, or change it; the command is queued before this returns.
    pub(super) fn create(
        &self,
        create: Create,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let id = create.id;
        self.forget_dropped();
        let (reply, answer) = oneshot::channel();
        let number = {
            let mut directory = self.directory();
            let entry = directory.attempt(id);
            // Where the shard is gone so is the reply, which is an answer.
            if let Some(shard) = self.0.shards.get(entry.shard) {
                shard.send(Command::Create(create, reply));
            }
            entry.attempt
        };
        let attempt = Attempt {
            engine: self.clone(),
            id,
            number,
            answer: Some(answer),
        };
        attempt.end()
    }

    /// Takes sessions out of the directory that shards have dropped unasked. One that somebody has asked for since is
    /// there again.
    pub(super) fn forget_dropped(&self) {
        for shard in &self.0.shards {
            while let Some(id) = shard.gauges.dropped.pop() {
                self.directory().give_up(id, 0);
            }
        }
    }

    /// Notes what came of an attempt.
    fn attempted(&self, id: SessionId, number: u64, is_made: bool) {
        if !is_made {
            self.directory().give_up(id, number);
        }
        self.0.metrics.created(is_made);
    }
}

impl Attempt {
    async fn end(mut self) -> Result<Response, Fault> {
        let gone = || Fault::new(FaultCode::Unavailable, "the media engine is stopping");
        let answer = match &mut self.answer {
            Some(answer) => answer.await.unwrap_or_else(|_| Err(gone())),
            None => Err(gone()),
        };
        self.answer = None;
        self.engine.attempted(self.id, self.number, answer.is_ok());
        answer.map(Response::Session)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        if let Some((answer, runtime)) = self.answer.take().zip(Handle::try_current().ok()) {
            let (engine, id, number) = (self.engine.clone(), self.id, self.number);
            runtime.spawn(async move {
                let is_made = matches!(answer.await, Ok(Ok(_)));
                engine.attempted(id, number, is_made);
            });
        }
    }
}
