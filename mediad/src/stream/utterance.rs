//! An endpoint that understands speech over HTTP: it is asked what was said in a whole utterance.
//!
//! The utterance is what the party says until it is silent for as long as the order has it. It is sent as a WAV file, of 16
//! bits at 8 kHz, and the answer is JSON: `{"text": "a table for two", "confidence": 0.93}`.

use std::time::Duration;

use control::media::{Heard, VoiceEvent};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Url};
use rtp::activity::Activity;
use rtp::record;
use serde::Deserialize;

use super::port::{FRAME, Line, Track};
use super::speech::{LONGEST, thousandths};
use super::{Listening, Report};
use crate::library::told;

/// For the whole of an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of an answer at most.
const LARGEST: usize = 64 << 10;
/// Silence that ends an utterance where it is for the endpoint to choose, in milliseconds.
const PAUSE: u32 = 1_000;
/// Samples in a millisecond.
const MS: u64 = 8;
/// What is kept of the silence around what is said: soft beginnings and ends lie in it.
const MARGIN: u64 = 200 * MS;
/// How long speech may last before it is taken for that.
const ONSET: u64 = 60 * MS;
/// Parameters that an endpoint of whole utterances has no use for.
const OURS: [&str; 3] = ["speechTimeout", "maxSpeechTime", "partials"];

/// How an endpoint over HTTP is asked, and when.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) client: Client,
    /// Silence that ends an utterance, in milliseconds; `None` for what is usual.
    pub(super) silence_ms: Option<u32>,
    /// The longest utterance, in milliseconds.
    pub(super) longest_ms: u32,
}

/// Listens until the utterance is over and understood, or nobody wants it any more.
pub(super) async fn run(listening: Listening, asking: Asking, line: Line, report: Report) {
    let job = listening.stream.job;
    let tell = |heard| report(VoiceEvent::Heard { job, heard });
    let mut utterance = Utterance::new(&asking);
    while !utterance.is_over() {
        tokio::select! {
            () = line.heard() => {}
            () = line.gone() => return,
        }
        while let Some(heard) = line.shared.heard.pop() {
            if heard.track == Track::Inbound && utterance.hear(heard.number, &heard.samples) {
                tell(Heard::Speaking);
            }
        }
    }
    let answer = tokio::select! {
        answer = ask(&listening, &asking.client, utterance.wav()) => answer,
        () = line.gone() => return,
    };
    // The port hears nothing more before somebody else learns of the end.
    drop(line);
    tell(answer.unwrap_or_else(Heard::Failed));
}

/// What a party says, from the first word on.
struct Utterance {
    activity: Activity,
    /// From `from` on, without a gap.
    samples: Vec<i16>,
    from: u64,
    pause: u64,
    longest: u64,
}

impl Utterance {
    fn new(asking: &Asking) -> Self {
        Self {
            activity: Activity::default(),
            samples: Vec::new(),
            from: 0,
            pause: u64::from(asking.silence_ms.unwrap_or(PAUSE)) * MS,
            longest: u64::from(asking.longest_ms) * MS,
        }
    }

    /// Takes a frame; true where it is the first one with speech.
    fn hear(&mut self, number: u64, frame: &[i16; FRAME]) -> bool {
        if self.is_over() {
            return false;
        }
        let had_spoken = self.activity.speech().is_some();
        let place = number * FRAME as u64;
        // What gave way while this task was slow is silence.
        let missing = place.saturating_sub(self.end()).min(self.longest);
        let missing = usize::try_from(missing).unwrap_or_default();
        self.samples.resize(self.samples.len() + missing, 0);
        self.samples.extend_from_slice(frame);
        self.from = (place + FRAME as u64).saturating_sub(self.samples.len() as u64);
        self.activity.feed(place, frame);
        let Some((first, _)) = self.activity.speech() else {
            self.forget(self.end().saturating_sub(MARGIN + ONSET));
            return false;
        };
        if !had_spoken {
            self.forget(first.saturating_sub(MARGIN));
        }
        !had_spoken
    }

    /// Whether the party has said it, or has spoken for as long as it may.
    fn is_over(&self) -> bool {
        self.activity.speech().is_some_and(|(first, last)| {
            let end = self.end();
            end.saturating_sub(last) >= self.pause || end.saturating_sub(first) >= self.longest
        })
    }

    /// A WAV file of it.
    fn wav(&self) -> Vec<u8> {
        let last = self.activity.speech().map_or(0, |(_, last)| last + MARGIN);
        let length = usize::try_from(last.saturating_sub(self.from)).unwrap_or(usize::MAX);
        let samples = self.samples.iter().take(length);
        let octets: Vec<u8> = samples.flat_map(|sample| sample.to_le_bytes()).collect();
        let mut wav = record::header(1, octets.len() as u64).to_vec();
        wav.extend(octets);
        wav
    }

    fn end(&self) -> u64 {
        self.from + self.samples.len() as u64
    }

    /// Lets go of what was before a place.
    fn forget(&mut self, place: u64) {
        let before = usize::try_from(place.saturating_sub(self.from)).unwrap_or_default();
        let before = before.min(self.samples.len());
        self.samples.drain(..before);
        self.from += before as u64;
    }
}

/// What an endpoint answers.
#[derive(Deserialize)]
struct Answer {
    text: String,
    confidence: Option<f64>,
}

async fn ask(listening: &Listening, client: &Client, wav: Vec<u8>) -> Result<Heard, String> {
    let stream = &listening.stream;
    let mut url = Url::parse(&stream.url)
        .map_err(|error| format!("its endpoint: {error}: see [voice] hearing"))?;
    let parameters = stream.parameters.iter();
    let parameters =
        parameters.filter(|(name, value)| !OURS.contains(&name.as_str()) && !value.is_empty());
    url.query_pairs_mut()
        .extend_pairs(parameters)
        .append_pair("callSid", &stream.call_sid)
        .append_pair("accountSid", &stream.account_sid);
    let broken = |error: reqwest::Error| {
        let why = told(&error.without_url());
        format!("its endpoint cannot be asked: {why}: see [voice] hearing")
    };
    let request = client
        .post(url)
        .timeout(PATIENCE)
        .header(CONTENT_TYPE, "audio/wav")
        .header(ACCEPT, "application/json")
        .body(wav);
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("its endpoint answered {status}"));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > LARGEST {
            return Err("its endpoint answered with more than 64 KiB".to_owned());
        }
        body.extend_from_slice(&piece);
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
        format!("its endpoint did not answer {{\"text\": …, \"confidence\": …}}: {error}")
    })?;
    Ok(Heard::Final {
        text: answer.text.chars().take(LONGEST).collect(),
        confidence: thousandths(answer.confidence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOUD: [i16; FRAME] = [6_000; FRAME];
    const QUIET: [i16; FRAME] = [0; FRAME];

    fn utterance(silence_ms: u32, longest_ms: u32) -> Utterance {
        Utterance::new(&Asking {
            client: Client::new(),
            silence_ms: Some(silence_ms),
            longest_ms,
        })
    }

    /// Hears frames of `frame` from `from` on until it is over, `most` of them; how many.
    fn hear(utterance: &mut Utterance, from: u64, frame: &[i16; FRAME], most: u64) -> u64 {
        let end = (from..from + most).find(|number| {
            utterance.hear(*number, frame);
            utterance.is_over()
        });
        end.map_or(most, |end| end + 1 - from)
    }

    #[test]
    fn silence_ends_an_utterance_and_none_is_kept_before_it() {
        let mut heard = utterance(500, 60_000);
        assert_eq!(hear(&mut heard, 0, &QUIET, 10_000), 10_000);
        assert!(heard.samples.len() as u64 <= MARGIN + ONSET);
        assert!(!heard.hear(10_000, &LOUD), "20 ms may be a click");
        assert!(heard.hear(10_001, &LOUD));
        assert!(!heard.hear(10_002, &LOUD));
        assert_eq!(hear(&mut heard, 10_003, &QUIET, 100), 25);
        let wav = heard.wav();
        // 60 ms, and 200 at each end.
        assert_eq!(wav.len(), 44 + 2 * 8 * (200 + 60 + 200));
        let sample = |ms: usize| i16::from_le_bytes([wav[44 + 16 * ms], wav[45 + 16 * ms]]);
        assert_eq!([199, 200, 259, 260].map(sample), [0, 6_000, 6_000, 0]);
        // Nothing of what comes later is of it.
        assert!(!heard.hear(10_100, &LOUD));
        assert_eq!(heard.wav().len(), wav.len());
    }

    #[test]
    fn an_utterance_has_a_longest_and_what_was_lost_is_silence() {
        let mut heard = utterance(500, 2_000);
        assert_eq!(hear(&mut heard, 0, &LOUD, 1_000), 100);
        let mut heard = utterance(500, 60_000);
        hear(&mut heard, 0, &LOUD, 10);
        hear(&mut heard, 15, &LOUD, 5);
        assert!(!heard.is_over());
        assert_eq!(heard.samples.len(), 20 * FRAME);
        assert_eq!(heard.samples[12 * FRAME], 0);
        assert_eq!(heard.samples[15 * FRAME], 6_000);
        // A gap that is longer than the pause ends it.
        heard.hear(100, &QUIET);
        assert!(heard.is_over());
    }
}
