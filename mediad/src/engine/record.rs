//! Recordings of calls: their files are made before a shard hears of them, and who waits for them hears of their end.

use control::media::{Event, Record, Response, SessionId};
use control::{Fault, FaultCode};

use super::Engine;
use crate::record::{Tap, Trouble, Turned};
use crate::shard::Command;

impl Engine {
    /// The disk is waited for, but not by a shard, nor by who wants a recording to pause: it would go on meanwhile.
    pub(super) async fn record(self, record: Record) -> Result<Response, Fault> {
        let (id, pause) = (record.id, record.pause);
        if record.name.is_some() {
            let order = self.of_session(id, move |reply| Command::Pause(id, pause, reply));
            if let Some(path) = order.await? {
                return Ok(Response::Recording(Some(path.display().to_string())));
            }
        }
        let taps = match record.name.is_some() {
            false => None,
            true => Some(self.begin_recording(record).await?),
        };
        let begun = taps.as_ref().map(|[tap, _]| tap.clone());
        let answer = self.of_session(id, move |reply| Command::Record(id, taps, pause, reply));
        let path = answer.await;
        if let Some(tap) = begun
            && !matches!(&path, Ok(Some(path)) if *path == tap.path())
        {
            // Somebody else has begun one meanwhile, or the session can have none.
            tap.discard();
        }
        let path = path?.map(|path| path.display().to_string());
        Ok(Response::Recording(path))
    }

    async fn begin_recording(&self, record: Record) -> Result<[Tap; 2], Fault> {
        let conflict = |why: String| Fault::new(FaultCode::Conflict, why);
        if self.0.recorder.is_none() {
            let why = "calls cannot be recorded here: set [media] recordings to a folder";
            return Err(conflict(why.to_owned()));
        }
        let inner = self.0.clone();
        let (trouble, turned) = (self.trouble(record.id), self.turned(record.id));
        let begun = tokio::task::spawn_blocking(move || {
            let name = record.name.unwrap_or_default();
            let recorder = inner.recorder.as_ref();
            recorder.map(|recorder| recorder.begin(&name, record.format, trouble, turned))
        });
        match begun.await {
            Ok(Some(Ok(taps))) => Ok(taps),
            Ok(Some(Err(error))) => Err(conflict(format!("no recording can be made: {error}"))),
            Ok(None) | Err(_) => Err(conflict("no recording can be made".to_owned())),
        }
    }

    /// What follows where a recording goes on in another file: clients are told.
    fn turned(&self, id: SessionId) -> Turned {
        let events = self.events();
        Box::new(move |path| {
            let file = path.display().to_string();
            events.push(Event::RecordingTurned { id, file });
        })
    }

    /// What follows where the disk ends a recording: the shard takes no more packets for it, and clients are told.
    fn trouble(&self, id: SessionId) -> Trouble {
        // Not the engine itself, which waits for the thread that holds this.
        let events = self.events();
        let shard = self.directory().entries.get(&id).map(|entry| entry.shard);
        let commands = shard.and_then(|shard| Some(self.0.shards.get(shard)?.commands()));
        Box::new(move |number, reason| {
            if let Some(commands) = commands {
                commands.send(Command::Unrecord(id, number));
            }
            events.push(Event::RecordingFailed { id, reason });
        })
    }
}
