//! What is done to a call that is up: recorded, keys pressed.

use control::media::{Dtmf, Pause, Record, RecordFormat, Request as Ask};
use ng::{Dictionary, Request, RequestError, Value, dictionary};

use super::{Answer, Front, Refusal, filter::named};
use crate::ng::{
    call::{Branch, Stream},
    engine::{self, EngineError},
};

/// How long a key is pressed, and the silence after it, in milliseconds, where the request does not say.
const KEY_MS: u32 = 250;
const GAP_MS: u32 = 100;
/// The longest that either may be.
const MOST_MS: u32 = 5_000;

impl Front {
    /// Presses a key in the place of the named party: the other one hears it.
    pub(super) async fn play_dtmf(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let digits = keys(request)?;
        let time = |key, default: u32| -> Result<u16, Refusal> {
            let time = request.number(key, MOST_MS)?.unwrap_or(default);
            Ok(u16::try_from(time).unwrap_or(u16::MAX))
        };
        let (duration_ms, gap_ms) = (time("duration", KEY_MS)?, time("pause", GAP_MS)?);
        let parties = named(&call, request, true)?;
        let mut pressed = false;
        for (number, side) in parties {
            let branch = call.branches.iter().find(|branch| branch.number == number);
            let stream = branch.and_then(|branch| {
                let mut streams = branch.streams.iter().flatten();
                streams.find(|stream| stream.kind == "audio")
            });
            let Some(stream) = stream else { continue };
            let order = Dtmf {
                id: stream.session.id,
                hears: side.other(),
                order: self.order(),
                digits: digits.clone(),
                duration_ms,
                gap_ms,
            };
            let asked = self.media.request(Ask::Dtmf(order)).await;
            asked.map_err(EngineError::from)?;
            pressed = true;
        }
        match pressed {
            true => Ok(Dictionary::new()),
            false => Err(Refusal::Other("the party has no audio".to_owned())),
        }
    }

    /// Records a call's streams, a file each, or goes on after a pause.
    pub(super) async fn start_recording(&self, request: &Request) -> Answer {
        let id = request.need("call-id")?;
        let asked = format(request)?;
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let mut streams = call.branches.iter().flat_map(|branch| &branch.streams);
        let format = match streams.find_map(|stream| stream.as_ref()?.recorded) {
            // A file goes on as it has begun.
            Some(on) if on != asked && request.text("recording-method").is_some() => {
                let method = method(on);
                let why = format!("a {method} recording is on: stop it first");
                return Err(Refusal::Other(why));
            }
            Some(on) => on,
            None => asked,
        };
        let mut files = Vec::new();
        for branch in &mut call.branches {
            files.extend(self.record_branch(branch, id, format).await?);
        }
        match files.is_empty() {
            true => Err(Refusal::Other("the call has no audio yet".to_owned())),
            false => Ok(dictionary([("recordings", Value::List(files))])),
        }
    }

    /// Lets a call's recordings wait for [`start_recording`](Self::start_recording), or ends them.
    pub(super) async fn pause_recording(&self, request: &Request, ends: bool) -> Answer {
        let id = request.need("call-id")?;
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let branches = call.branches.iter_mut();
        for (at, stream) in branches.flat_map(|branch| branch.streams.iter_mut().enumerate()) {
            let Some(stream) = stream else { continue };
            let Some(format) = stream.recorded else {
                continue;
            };
            let name = file_name(id, stream, at);
            engine::record(
                &self.media,
                Record {
                    id: stream.session.id,
                    name: (!ends).then_some(name),
                    format,
                    pause: Pause::Silence,
                },
            )
            .await?;
            if ends {
                stream.recorded = None;
            }
        }
        Ok(Dictionary::new())
    }

    /// Records the audio of a branch; the files.
    pub(super) async fn record_branch(
        &self,
        branch: &mut Branch,
        id: &[u8],
        format: RecordFormat,
    ) -> Result<Vec<Value>, Refusal> {
        if branch.excluded {
            let why = "a party is excluded by 'exclude-recording', and a call is recorded whole";
            return Err(Refusal::Other(why.to_owned()));
        }
        let mut files = Vec::new();
        for (at, stream) in branch.streams.iter_mut().enumerate() {
            let Some(stream) = stream.as_mut().filter(|stream| stream.kind == "audio") else {
                continue;
            };
            let record = Record {
                id: stream.session.id,
                name: Some(file_name(id, stream, at)),
                format,
                pause: Pause::Resume,
            };
            let file = engine::record(&self.media, record).await?;
            stream.recorded.get_or_insert(format);
            files.extend(file.map(Value::from_text));
        }
        Ok(files)
    }
}

/// What a request wants recordings to be.
pub(super) fn format(request: &Request) -> Result<RecordFormat, Refusal> {
    let method = request.text("recording-method").unwrap_or(b"wav");
    match method.to_ascii_lowercase().as_slice() {
        b"wav" => Ok(RecordFormat::Wav),
        b"pcap" => Ok(RecordFormat::Pcap),
        _ => {
            let method = String::from_utf8_lossy(method);
            let why = "mediad writes wav (the offerer left and the answerer right) and pcap";
            Err(Refusal::Other(format!("recording-method={method}: {why}")))
        }
    }
}

const fn method(format: RecordFormat) -> &'static str {
    match format {
        RecordFormat::Wav => "wav",
        RecordFormat::Pcap => "pcap",
    }
}

/// The keys of `code` (or `digit`): what is written on them, or their numbers by RFC 4733.
pub(super) fn keys(request: &Request) -> Result<String, Refusal> {
    let wrong = || Refusal::Other("Out of range 'code' specified".to_owned());
    let code = request
        .get("code")
        .or_else(|| request.get("digit"))
        .ok_or(RequestError::Missing("code"))?;
    let event = |number: i64| {
        let at = usize::try_from(number).ok()?;
        "0123456789*#ABCD".chars().nth(at)
    };
    let text = code.text().and_then(|text| std::str::from_utf8(text).ok());
    match (text, code) {
        // "10" and more are numbers of events, as a single digit is its own.
        (Some(text @ ("10" | "11" | "12" | "13" | "14" | "15")), _) => {
            let key = text.parse().ok().and_then(event);
            key.map(String::from).ok_or_else(wrong)
        }
        (Some(text), _) if !text.is_empty() && text.len() <= 32 => Ok(text.to_ascii_uppercase()),
        (None, Value::Integer(number)) => event(*number).map(String::from).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// Of letters that a file's name may have.
fn file_name(id: &[u8], stream: &Stream, at: usize) -> String {
    let letters = id.iter().take(80).map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || *byte == b'-' => char::from(*byte),
        _ => '_',
    });
    let call: String = letters.collect();
    let session: String = stream.session.id.to_string().chars().take(8).collect();
    format!("ng-{call}-{session}-{}", at + 1)
}
