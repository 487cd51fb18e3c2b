//! Programmable voice: audio is made here or asked of the library, and streams are opened here, so that no shard waits
//! for them.

use std::future::Future;
use std::sync::Arc;

use control::media::{
    Audio, AudioTrouble, Event, Heard, Listen, NewStream, Play, Response, SessionId, Voice,
    VoiceEvent, VoiceOrder, VoiceRecord,
};
use control::{Fault, FaultCode};
use rtp::{dtmf, tone};
use tokio::task::JoinError;

use super::Engine;
use crate::library::Clip;
use crate::record::{Reel, Report};
use crate::shard::{Command, GAP_MS, KEY_MS, ShardHandle};
use crate::stream::{self, Listening, Wake};

impl Engine {
    pub(super) fn voice(
        &self,
        voice: Voice,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let Voice { id, mut orders } = voice;
        let listened = self.listen(id, &mut orders);
        let answer = self.of_session(id, move |reply| Command::Voice(id, orders, reply));
        let engine = self.clone();
        // What a shard has begun is seen to where nobody waits for the answer any more, too: the client asks again, and
        // nothing is begun twice.
        let done = tokio::spawn(async move {
            let begun = answer.await?;
            for stream in begun.streams {
                let listening = listened.iter();
                let mut listening = listening.filter(|one| one.stream.job == stream.job);
                match listening.next() {
                    Some(listening) => engine.hear(id, listening.clone()),
                    None => engine.open(id, stream),
                }
            }
            for record in begun.recordings {
                tokio::spawn(engine.clone().record_party(id, record));
            }
            for (play, stopped) in begun.plays {
                let provide = engine.clone().provide(id, play);
                tokio::spawn(async move {
                    tokio::select! {
                        () = provide => {}
                        // Nobody waits for its audio any more.
                        _ = stopped => {}
                    }
                });
            }
            Ok(Response::Session(begun.session))
        });
        async move {
            let gone = |error: JoinError| Err(Fault::new(FaultCode::Internal, error.to_string()));
            done.await.unwrap_or_else(gone)
        }
    }

    /// What is to be understood is a stream to a shard. Where nothing understands speech, that is told.
    fn listen(&self, id: SessionId, orders: &mut Vec<VoiceOrder>) -> Vec<Listening> {
        let mut listened = Vec::new();
        orders.retain_mut(|order| {
            let VoiceOrder::Listen(listen) = order else {
                return true;
            };
            let listen = Listen::clone(listen);
            let Some(hearing) = &self.0.streams.hearing else {
                let why = "nothing here understands speech: set [voice] hearing".to_owned();
                let event = VoiceEvent::Heard {
                    job: listen.job,
                    heard: Heard::Failed(why),
                };
                self.0.events.push(Event::Voice { id, event });
                return false;
            };
            let listening = Listening::new(listen, hearing);
            *order = VoiceOrder::Stream(Box::new(listening.stream.clone()));
            listened.push(listening);
            true
        });
        listened
    }

    /// Has an endpoint hear what a shard has begun to tell.
    fn hear(&self, id: SessionId, listening: Listening) {
        let Some(shard) = self.shard_of(id) else {
            return;
        };
        let job = listening.stream.job;
        let events = self.0.events.clone();
        let report = Box::new(move |event| events.push(Event::Voice { id, event }));
        let port = stream::hear(listening, self.0.streams.clone(), &shard.bell, report);
        shard.send(Command::Stream(id, job, port));
    }

    /// Opens a stream that a shard has begun.
    fn open(&self, id: SessionId, stream: NewStream) {
        let Some(shard) = self.shard_of(id) else {
            return;
        };
        let job = stream.job;
        let events = self.0.events.clone();
        let report = Box::new(move |event| events.push(Event::Voice { id, event }));
        let commands = shard.commands();
        let wake = Wake::new(move || {
            commands.send(Command::Speak(id, job));
        });
        let port = stream::open(stream, self.0.streams.clone(), &shard.bell, wake, report);
        shard.send(Command::Stream(id, job, port));
    }

    /// Hands a shard the file of a recording that it has begun.
    async fn record_party(self, id: SessionId, record: VoiceRecord) {
        let job = record.job;
        let made = self.reel(id, record).await;
        let reel = made.map_err(|why| {
            let result = Err(AudioTrouble::Engine(why));
            let event = VoiceEvent::Recorded { job, result };
            self.0.events.push(Event::Voice { id, event });
        });
        if let Some(shard) = self.shard_of(id) {
            shard.send(Command::Reel(id, job, reel.ok()));
        }
    }

    /// The disk is waited for, but not by a shard.
    async fn reel(&self, id: SessionId, record: VoiceRecord) -> Result<Reel, String> {
        let inner = self.0.clone();
        let report = self.report(id, record.job);
        let made = tokio::task::spawn_blocking(move || match &inner.recorder {
            Some(recorder) => {
                let reel = recorder.reel(&record, report);
                reel.map_err(|error| format!("[media] recordings: {error}"))
            }
            None => Err("set [media] recordings to a folder".to_owned()),
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        made.map_err(|why| format!("no recording can be made: {why}"))
    }

    /// Tells of a recording that is over, and its shard of it. It keeps nothing of the engine alive.
    fn report(&self, id: SessionId, job: u32) -> Report {
        let inner = Arc::downgrade(&self.0);
        Box::new(move |result| {
            let Some(inner) = inner.upgrade() else { return };
            let engine = Self(inner);
            let result = result.map_err(|why| {
                AudioTrouble::Engine(format!("the recording cannot be written: {why}"))
            });
            let event = VoiceEvent::Recorded { job, result };
            engine.0.events.push(Event::Voice { id, event });
            if let Some(shard) = engine.shard_of(id) {
                shard.send(Command::Recorded(id, job));
            }
        })
    }

    fn shard_of(&self, id: SessionId) -> Option<&ShardHandle> {
        let shard = self.directory().entries.get(&id).map(|entry| entry.shard);
        self.0.shards.get(shard?)
    }

    /// Hands a shard what it plays, as soon as it is there.
    async fn provide(self, id: SessionId, play: Play) {
        let Play { job, audio, .. } = play;
        let clip = match audio {
            Audio::Ringback(_) | Audio::Keys(_) => tones(audio).await,
            Audio::File(_) | Audio::Url { .. } | Audio::Speech { .. } => {
                self.0.library.clip(&audio).await
            }
        };
        if let Some(shard) = self.shard_of(id) {
            shard.send(Command::Clip(id, job, clip));
        }
    }
}

/// What is made of nothing.
async fn tones(audio: Audio) -> Result<Arc<Clip>, AudioTrouble> {
    let made = tokio::task::spawn_blocking(move || match audio {
        Audio::Ringback(country) => Ok(tone::ringback(&country)),
        Audio::Keys(keys) => match dtmf::dial(&keys, KEY_MS, GAP_MS) {
            Ok(steps) => Ok(tone::keys(&steps)),
            Err(error) => Err(AudioTrouble::Format(error.to_string())),
        },
        Audio::File(_) | Audio::Url { .. } | Audio::Speech { .. } => {
            Err(AudioTrouble::Engine("it is the library's".to_owned()))
        }
    });
    let gone = |_| {
        Err(AudioTrouble::Engine(
            "the audio could not be made".to_owned(),
        ))
    };
    let samples = made.await.unwrap_or_else(gone)?;
    Ok(Clip::made(samples))
}
