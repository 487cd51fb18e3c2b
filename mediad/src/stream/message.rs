//! The messages of Media Streams, to the byte. Numbers are strings where Twilio's are; `connected` and `start` come
//! first, then `sequenceNumber` counts every message from `start` on.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use control::media::NewStream;
use serde::Deserialize;
use serde_json::json;

use super::format::Format;
use super::port::Track;

/// With or without padding, as servers write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The first message.
pub(super) const CONNECTED: &str = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;

/// Writes the messages after `connected`.
#[derive(Debug)]
pub(super) struct Writer {
    sequence: u64,
    /// Messages of each track.
    chunks: [u64; 2],
    stream_sid: String,
}

impl Writer {
    pub(super) fn new(stream_sid: &str) -> Self {
        Self {
            sequence: 0,
            chunks: [0; 2],
            stream_sid: stream_sid.to_owned(),
        }
    }

    pub(super) fn start(&mut self, stream: &NewStream, format: Format) -> String {
        let tracks: &str = match (stream.inbound, stream.outbound) {
            (true, true) => r#""inbound","outbound""#,
            (false, true) => r#""outbound""#,
            _ => r#""inbound""#,
        };
        // The parameters keep the order of the document.
        let mut parameters = String::new();
        for (name, value) in &stream.parameters {
            let comma = if parameters.is_empty() { "" } else { "," };
            let _ = write!(parameters, "{comma}{}:{}", json!(name), json!(value));
        }
        format!(
            r#"{{"event":"start","sequenceNumber":"{}","start":{{"accountSid":{},"streamSid":{},"callSid":{},"tracks":[{tracks}],"mediaFormat":{{"encoding":"{}","sampleRate":{},"channels":1}},"customParameters":{{{parameters}}}}},"streamSid":{}}}"#,
            self.next(),
            json!(stream.account_sid),
            json!(stream.stream_sid),
            json!(stream.call_sid),
            format.encoding(),
            format.rate(),
            json!(stream.stream_sid),
        )
    }

    /// `timestamp` is of the frame's beginning, in milliseconds since the beginning of the stream.
    pub(super) fn media(&mut self, track: Track, timestamp: u64, octets: &[u8]) -> String {
        let chunk = &mut self.chunks[track as usize];
        *chunk += 1;
        let chunk = *chunk;
        let mut text = String::with_capacity(octets.len() * 4 / 3 + 200);
        let _ = write!(
            text,
            r#"{{"event":"media","sequenceNumber":"{}","media":{{"track":"{}","chunk":"{chunk}","timestamp":"{timestamp}","payload":""#,
            self.next(),
            track.name(),
        );
        BASE64.encode_string(octets, &mut text);
        let _ = write!(text, r#""}},"streamSid":"{}"}}"#, self.stream_sid);
        text
    }

    pub(super) fn dtmf(&mut self, digit: char) -> String {
        let sequence = self.next();
        format!(
            r#"{{"event":"dtmf","streamSid":"{}","sequenceNumber":"{sequence}","dtmf":{{"track":"inbound_track","digit":"{digit}"}}}}"#,
            self.stream_sid,
        )
    }

    pub(super) fn mark(&mut self, name: &str) -> String {
        let sequence = self.next();
        format!(
            r#"{{"event":"mark","sequenceNumber":"{sequence}","streamSid":"{}","mark":{{"name":{}}}}}"#,
            self.stream_sid,
            json!(name),
        )
    }

    pub(super) fn stop(&mut self, stream: &NewStream) -> String {
        format!(
            r#"{{"event":"stop","sequenceNumber":"{}","stop":{{"accountSid":{},"callSid":{}}},"streamSid":{}}}"#,
            self.next(),
            json!(stream.account_sid),
            json!(stream.call_sid),
            json!(stream.stream_sid),
        )
    }

    const fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

/// What a server asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Play this.
    Media(Vec<u8>),
    /// Tell when everything before is played.
    Mark(String),
    /// Play nothing any more of what is queued.
    Clear,
}

/// Longest name of a mark, in octets.
const LONGEST_MARK: usize = 1_024;

/// Reads a message.
///
/// # Errors
/// What is wrong with it: Twilio's warning 31951.
pub(super) fn read(text: &str, stream_sid: &str) -> Result<Order, String> {
    let message: Incoming<'_> =
        serde_json::from_str(text).map_err(|error| format!("no message in JSON: {error}"))?;
    // Clients leave it out, and nothing is in doubt without it.
    if let Some(sid) = message.stream_sid.filter(|sid| sid != stream_sid) {
        return Err(format!(
            "streamSid {}: this stream is {stream_sid}",
            short(&sid)
        ));
    }
    match &*message.event {
        "media" => {
            let media = message
                .media
                .ok_or("a media message without media.payload")?;
            let octets = BASE64.decode(&*media.payload);
            Ok(Order::Media(
                octets.map_err(|error| format!("media.payload: {error}"))?,
            ))
        }
        "mark" => match message.mark.and_then(|mark| mark.name) {
            None => Err("a mark message without mark.name".to_owned()),
            Some(name) if name.len() > LONGEST_MARK => {
                Err(format!("mark.name has more than {LONGEST_MARK} octets"))
            }
            Some(name) => Ok(Order::Mark(name.into_owned())),
        },
        "clear" => Ok(Order::Clear),
        other => Err(format!(
            "event {}: there are media, mark and clear",
            short(other)
        )),
    }
}

/// The beginning of what somebody sent, to be told of.
pub(super) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(120).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default, rename = "streamSid")]
    stream_sid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    media: Option<Media<'a>>,
    #[serde(borrow, default)]
    mark: Option<Mark<'a>>,
}

#[derive(Deserialize)]
struct Media<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Mark<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::new_stream;
    use super::*;

    #[test]
    fn messages_out_are_twilios_to_the_byte() {
        let mut stream = new_stream("ws://127.0.0.1:1");
        stream.parameters = vec![
            ("b\"".to_owned(), "ü".to_owned()),
            ("a".to_owned(), "1".to_owned()),
        ];
        let (ac, ca, mz) = (&stream.account_sid, &stream.call_sid, &stream.stream_sid);
        let mut writer = Writer::new(mz);
        assert_eq!(
            writer.start(&stream, Format::Ulaw),
            format!(
                r#"{{"event":"start","sequenceNumber":"1","start":{{"accountSid":"{ac}","streamSid":"{mz}","callSid":"{ca}","tracks":["inbound"],"mediaFormat":{{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}},"customParameters":{{"b\"":"ü","a":"1"}}}},"streamSid":"{mz}"}}"#
            )
        );
        assert_eq!(
            writer.media(Track::Inbound, 0, &[0xff, 0xff, 0xff]),
            format!(
                r#"{{"event":"media","sequenceNumber":"2","media":{{"track":"inbound","chunk":"1","timestamp":"0","payload":"////"}},"streamSid":"{mz}"}}"#
            )
        );
        assert_eq!(
            writer.dtmf('#'),
            format!(
                r##"{{"event":"dtmf","streamSid":"{mz}","sequenceNumber":"3","dtmf":{{"track":"inbound_track","digit":"#"}}}}"##
            )
        );
        assert_eq!(
            writer.mark("a\n"),
            format!(
                r#"{{"event":"mark","sequenceNumber":"4","streamSid":"{mz}","mark":{{"name":"a\n"}}}}"#
            )
        );
        assert_eq!(
            writer.stop(&stream),
            format!(
                r#"{{"event":"stop","sequenceNumber":"5","stop":{{"accountSid":"{ac}","callSid":"{ca}"}},"streamSid":"{mz}"}}"#
            )
        );
    }

    #[test]
    fn messages_in_are_read_leniently() {
        let read = |text: &str| read(text, "MZ1");
        assert_eq!(
            read(r#"{"event":"media","streamSid":"MZ1","media":{"payload":"//8=","track":"x"}}"#),
            Ok(Order::Media(vec![0xff, 0xff]))
        );
        // Without its padding, without an id, and escaped.
        assert_eq!(
            read(r#"{"media":{"payload":"\/\/8"},"event":"media"}"#),
            Ok(Order::Media(vec![0xff, 0xff]))
        );
        assert_eq!(
            read(r#"{"event":"media","media":{"payload":""}}"#),
            Ok(Order::Media(vec![]))
        );
        assert_eq!(
            read(r#"{"event":"mark","mark":{"name":"item:1"}}"#),
            Ok(Order::Mark("item:1".to_owned()))
        );
        assert_eq!(
            read(r#"{"event":"clear","streamSid":"MZ1"}"#),
            Ok(Order::Clear)
        );
    }

    #[test]
    fn what_is_wrong_with_a_message_is_told() {
        for (text, told) in [
            ("", "no message in JSON"),
            ("[1]", "no message in JSON"),
            ("{\"event\":\"media\"", "no message in JSON"),
            ("{}", "missing field `event`"),
            (
                r#"{"event":"media","streamSid":"MZ2","media":{"payload":""}}"#,
                "this stream is MZ1",
            ),
            (r#"{"event":"media"}"#, "without media.payload"),
            (
                r#"{"event":"media","media":{"payload":"*"}}"#,
                "media.payload",
            ),
            (r#"{"event":"mark"}"#, "without mark.name"),
            (r#"{"event":"mark","mark":{}}"#, "without mark.name"),
            (r#"{"event":"close"}"#, "there are media, mark and clear"),
        ] {
            let error = read(text, "MZ1").expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
        let long = format!(
            r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#,
            "x".repeat(2_000)
        );
        assert!(read(&long, "MZ1").is_err());
        let event = format!(r#"{{"event":"{}"}}"#, "ü".repeat(2_000));
        assert!(read(&event, "MZ1").is_err_and(|error| error.len() < 400));
    }

    proptest! {
        #[test]
        fn anything_can_be_read(text in "\\PC{0,200}") {
            let _ = read(&text, "MZ1");
        }
    }
}
