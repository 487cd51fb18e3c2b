//! Programmable voice: audio is made or fetched here, so that no shard waits for it.

use std::future::Future;
use std::sync::Arc;

use control::Fault;
use control::media::{Audio, AudioTrouble, Play, Response, SessionId, Voice, VoiceOrder};
use rtp::{dtmf, tone};

use super::Engine;
use crate::shard::{Command, GAP_MS, KEY_MS};
use crate::voice::Clip;

/// The largest file that is played, in octets: ten minutes of 16 bits.
const LARGEST: u64 = 10 << 20;

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
            let info = answer.await?;
            for play in plays {
                tokio::spawn(engine.clone().provide(id, play));
            }
            Ok(Response::Session(info))
        }
    }

    /// Hands a shard what it plays, as soon as it is there.
    async fn provide(self, id: SessionId, play: Play) {
        let Play { job, audio, .. } = play;
        let made = tokio::task::spawn_blocking(move || clip(&audio));
        let gone = |_| {
            Err(AudioTrouble::Engine(
                "the audio could not be made".to_owned(),
            ))
        };
        let clip = made.await.unwrap_or_else(gone);
        let shard = self.directory().entries.get(&id).map(|entry| entry.shard);
        if let Some(shard) = shard.and_then(|shard| self.0.shards.get(shard)) {
            shard.send(Command::Clip(id, job, clip.map(Arc::new)));
        }
    }
}

fn clip(audio: &Audio) -> Result<Clip, AudioTrouble> {
    let samples = match audio {
        Audio::Ringback(country) => tone::ringback(country),
        Audio::Keys(keys) => {
            let steps = dtmf::dial(keys, KEY_MS, GAP_MS);
            tone::keys(&steps.map_err(|error| AudioTrouble::Format(error.to_string()))?)
        }
        Audio::File(path) => wav(&read(path)?).ok_or_else(|| {
            AudioTrouble::Format(format!(
                "{path}: WAV of 16 bits, mono, at 8,000 Hz is played"
            ))
        })?,
        Audio::Url { url, .. } => {
            return Err(AudioTrouble::Fetch(format!(
                "{url}: this engine plays files of its machine only"
            )));
        }
        Audio::Speech { .. } => {
            return Err(AudioTrouble::Speech("this engine says no texts".to_owned()));
        }
    };
    Ok(Clip {
        samples: samples.into(),
    })
}

fn read(path: &str) -> Result<Vec<u8>, AudioTrouble> {
    let trouble = |error| AudioTrouble::Fetch(format!("{path}: {error}"));
    let meta = std::fs::metadata(path).map_err(trouble)?;
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(AudioTrouble::Fetch(format!(
            "{path}: no file of up to {LARGEST} octets"
        )));
    }
    std::fs::read(path).map_err(trouble)
}

/// The samples of a WAV file of telephony: PCM of 16 bits, mono, at 8,000 Hz.
fn wav(file: &[u8]) -> Option<Vec<i16>> {
    const TELEPHONY: [u8; 16] = [1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, 2, 0, 16, 0];
    let mut rest = file
        .strip_prefix(b"RIFF")?
        .get(4..)?
        .strip_prefix(b"WAVE")?;
    let mut is_telephony = false;
    loop {
        let (name, after) = rest.split_first_chunk::<4>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        let body = after.get(..len.min(after.len()))?;
        match name {
            b"fmt " => is_telephony = body.starts_with(&TELEPHONY),
            b"data" => {
                let samples = body
                    .chunks_exact(2)
                    .map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
                return is_telephony.then(|| samples.collect());
            }
            _ => {}
        }
        rest = after.get(len + (len & 1)..)?;
    }
}
