//! Programmable voice: audio is made here or asked of the library, and streams are opened here, so that no shard waits
//! for them.

use std::future::Future;
use std::sync::Arc;

use control::Fault;
use control::media::{
    Audio, AudioTrouble, Event, NewStream, Play, Response, SessionId, Voice, VoiceOrder,
};
use rtp::{dtmf, tone};

use super::Engine;
use crate::library::Clip;
use crate::shard::{Command, GAP_MS, KEY_MS};
use crate::stream::{self, Wake};

impl Engine {
    pub(super) fn voice(
        &self,
        voice: Voice,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let Voice { id, orders } = voice;
        let plays = orders.iter().filter_map(|order| match order {
            VoiceOrder::Play(play) => Some(play.clone()),
            _ => None,
        });
        let plays: Vec<_> = plays.collect();
        let answer = self.of_session(id, move |reply| Command::Voice(id, orders, reply));
        let engine = self.clone();
        async move {
            let begun = answer.await?;
            for stream in begun.streams {
                engine.open(id, stream);
            }
            for play in plays {
                tokio::spawn(engine.clone().provide(id, play));
            }
            Ok(Response::Session(begun.session))
        }
    }

    /// Opens a stream that a shard has begun.
    fn open(&self, id: SessionId, stream: NewStream) {
        let shard = self.directory().entries.get(&id).map(|entry| entry.shard);
        let Some(shard) = shard.and_then(|shard| self.0.shards.get(shard)) else {
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

    /// Hands a shard what it plays, as soon as it is there.
    async fn provide(self, id: SessionId, play: Play) {
        let Play { job, audio, .. } = play;
        let clip = match audio {
            Audio::Ringback(_) | Audio::Keys(_) => tones(audio).await,
            Audio::File(_) | Audio::Url { .. } | Audio::Speech { .. } => {
                self.0.library.clip(&audio).await
            }
        };
        let shard = self.directory().entries.get(&id).map(|entry| entry.shard);
        if let Some(shard) = shard.and_then(|shard| self.0.shards.get(shard)) {
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
    let samples = samples.into();
    Ok(Arc::new(Clip { samples }))
}
