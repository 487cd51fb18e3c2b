//! Files that parties of a call hear.

use std::io;

use control::media::{Audio, Play, Side, VoiceOrder};
use ng::{Dictionary, Request};

use super::{
    Answer, Front, Refusal,
    filter::{all, named},
};
use crate::{
    library,
    ng::{
        call::{Call, Stream, index},
        engine,
    },
};

/// Rounds that a request may want at most.
const MOST_ROUNDS: u32 = 1_000_000;
/// And milliseconds: a day.
const MOST_MS: u32 = 86_400_000;

impl Front {
    /// Plays a file to the named party, in the place of what it hears else.
    pub(super) async fn play_media(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let limit_ms = request
            .number("repeat-duration", MOST_MS)?
            .unwrap_or_default();
        let loops = match request.number("repeat-times", MOST_ROUNDS)? {
            Some(times) => times.max(1),
            // As often as the time lasts.
            None if limit_ms != 0 => 0,
            None => 1,
        };
        let start = request.number("start-pos", u32::MAX)?.unwrap_or_default();
        let file = file(request).await?;
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let mut is_played = false;
        for (stream, sides) in audio_of(&mut call, request)? {
            for side in sides {
                let job = self.job();
                let play = Play {
                    job,
                    hears: side,
                    audio: Audio::File(file.clone()),
                    loops,
                    start,
                    limit_ms,
                };
                // The parties are joined otherwise.
                let orders = vec![VoiceOrder::Join(true), VoiceOrder::Play(play)];
                engine::voice(&self.media, stream.session.id, orders).await?;
                stream.played[index(side)] = Some(job);
                is_played = true;
            }
        }
        match is_played {
            true => Ok(Dictionary::new()),
            false => Err(Refusal::Other(NOBODY.to_owned())),
        }
    }

    /// Plays to the named party no longer.
    pub(super) async fn stop_media(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        for (stream, sides) in audio_of(&mut call, request)? {
            for side in sides {
                let Some(job) = stream.played[index(side)].take() else {
                    continue;
                };
                let stop = vec![VoiceOrder::Stop { job }];
                engine::voice(&self.media, stream.session.id, stop).await?;
            }
        }
        Ok(Dictionary::new())
    }
}

/// Why nothing is played.
const NOBODY: &str =
    "no party that is named takes PCMU or PCMA unencrypted, which is what mediad plays";

/// The audio streams of the parties that a request names, and which sides of them those are that can be played to.
fn audio_of<'a>(
    call: &'a mut Call,
    request: &Request,
) -> Result<Vec<(&'a mut Stream, Vec<Side>)>, Refusal> {
    let is_named = ["from-tag", "label", "from-label", "address"]
        .into_iter()
        .any(|key| request.text(key).is_some());
    if !is_named && all(request).is_none() {
        return Err(Refusal::Other(
            "No participant party specified: write from-tag, label, address or the flag 'all'"
                .to_owned(),
        ));
    }
    let parties = named(call, request, true)?;
    let mut found = Vec::new();
    for branch in &mut call.branches {
        let number = branch.number;
        for stream in branch.streams.iter_mut().flatten() {
            if stream.kind != "audio" || stream.refused.is_some() {
                continue;
            }
            let sides = [Side::A, Side::B].into_iter();
            let sides: Vec<_> = sides
                .filter(|side| parties.contains(&(number, *side)) && takes(stream, *side))
                .collect();
            found.push((stream, sides));
        }
    }
    Ok(found)
}

fn takes(stream: &Stream, side: Side) -> bool {
    stream.remotes[index(side)].as_ref().is_some_and(|remote| {
        let codecs = ["PCMU", "PCMA"];
        let is_known = |name: &&str| name.eq_ignore_ascii_case(&remote.format.encoding);
        !remote.secure && codecs.iter().any(is_known)
    })
}

/// The file that a request wants played, which can be read and begins as audio does.
async fn file(request: &Request) -> Result<String, Refusal> {
    let file = String::from_utf8_lossy(request.need("file")?).into_owned();
    let path = file.clone();
    let found = tokio::task::spawn_blocking(move || library::is_audio(&path)).await;
    let why = match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(true) => return Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => error.to_string(),
        // A client learns nothing of files that are no audio.
        Ok(false) | Err(_) => {
            "it is no file that mediad can read and play: write one in WAV or MP3".to_owned()
        }
    };
    Err(Refusal::Other(format!("file {file}: {why}")))
}
