//! Elements to verbs.

use std::time::Duration;

use super::{
    Warnings,
    attributes::{Attributes, is_key},
    dial,
    element::{Child, Element},
    ssml,
    verb::{
        Connect, Gather, Link, Message, Prompt, Recognition, Record, RecordingCallback, Refer,
        RejectReason, Say, Stream, Tracks, Verb,
    },
};

/// The longest text of one `<Say>`, in characters.
pub(super) const MAX_SAY: usize = 4096;
/// The longest text of one `<Message>`, in characters.
const MAX_BODY: usize = 1600;
/// The longest that anything may take, in seconds: a day.
const DAY: u32 = 86_400;
/// The longest name and value together of a stream's `<Parameter>`, in characters.
const MAX_PARAMETER: usize = 500;

/// Verbs of TwiML that this switch does not run.
const UNSERVED: [&str; 4] = ["Enqueue", "Leave", "Echo", "Pay"];

/// The steps of a document.
pub(super) fn verbs(root: &Element, warnings: &mut Warnings) -> Vec<Verb> {
    drop(Attributes::of(root, warnings));
    let mut verbs = Vec::new();
    for child in &root.children {
        match child {
            Child::Element(element) => verbs.extend(verb(element, warnings)),
            Child::Text(text, _) if text.trim().is_empty() => {}
            Child::Text(_, place) => {
                warnings.push(place, || "text outside of a verb was left out".to_owned());
            }
        }
    }
    verbs
}

fn verb(element: &Element, warnings: &mut Warnings) -> Option<Verb> {
    Some(match element.name.as_str() {
        "Say" | "Play" | "Pause" => Verb::Prompt(prompt(element, warnings)?),
        "Gather" => Verb::Gather(Box::new(gather(element, warnings))),
        "Dial" => Verb::Dial(Box::new(dial::dial(element, warnings))),
        "Record" => Verb::Record(Box::new(record(element, warnings))),
        "Redirect" => {
            let url = element.own_text();
            no_children(element, warnings);
            let method = Attributes::of(element, warnings).method("method");
            Verb::Redirect(Link { url, method })
        }
        "Reject" => {
            let words = [
                ("rejected", RejectReason::Rejected),
                ("busy", RejectReason::Busy),
            ];
            let reason = Attributes::of(element, warnings).one_of("reason", &words);
            Verb::Reject(reason.unwrap_or_default())
        }
        "Refer" => Verb::Refer(refer(element, warnings)?),
        "Hangup" => {
            drop(Attributes::of(element, warnings));
            Verb::Hangup
        }
        "Start" => Verb::StartStream(stream_in(element, warnings)?),
        "Stop" => Verb::StopStream(stop(element, warnings)?),
        "Connect" => {
            let stream = stream_in(element, warnings);
            let action = Attributes::of(element, warnings).link("action", "method");
            let mut stream = stream?;
            // The other direction is the server's own.
            stream.tracks = Tracks::Inbound;
            Verb::Connect(Connect { stream, action })
        }
        "Message" | "Sms" => Verb::Message(message(element, warnings)?),
        name if UNSERVED.contains(&name) => {
            warnings.push(&element.place, || {
                format!("<{name}> is not run by this switch")
            });
            return None;
        }
        name => {
            warnings.push(&element.place, || {
                format!("<{name}> is no verb and was left out")
            });
            return None;
        }
    })
}

fn prompt(element: &Element, warnings: &mut Warnings) -> Option<Prompt> {
    match element.name.as_str() {
        "Say" => say(element, warnings).map(Prompt::Say),
        "Play" => play(element, warnings),
        "Pause" => {
            no_children(element, warnings);
            let length = Attributes::of(element, warnings).seconds("length", 1, 0, DAY);
            Some(Prompt::Pause(length))
        }
        name => {
            warnings.push(&element.place, || {
                format!("<{name}> cannot stand in <Gather> and was left out")
            });
            None
        }
    }
}

fn say(element: &Element, warnings: &mut Warnings) -> Option<Say> {
    let (mut text, mut ssml) = ssml::read(element, warnings);
    let mut attributes = Attributes::of(element, warnings);
    let say = Say {
        voice: attributes.owned("voice"),
        language: attributes.text("language").unwrap_or("en-US").to_owned(),
        loops: attributes.number("loop", 0, 1000).unwrap_or(1),
        ..Say::default()
    };
    drop(attributes);
    if text.is_empty() && ssml.is_none() {
        warnings.push(&element.place, || "<Say> has nothing to say".to_owned());
        return None;
    }
    if text.chars().count() > MAX_SAY {
        warnings.push(&element.place, || {
            format!("<Say> says {MAX_SAY} characters at most")
        });
        text = text.chars().take(MAX_SAY).collect();
        // Half of a markup is none.
        ssml = None;
    }
    Some(Say { text, ssml, ..say })
}

fn play(element: &Element, warnings: &mut Warnings) -> Option<Prompt> {
    no_children(element, warnings);
    let url = element.own_text();
    let mut attributes = Attributes::of(element, warnings);
    let loops = attributes.number("loop", 0, 1000).unwrap_or(1);
    let digits = attributes.text("digits").map(str::trim);
    if let Some(digits) = digits.filter(|digits| !digits.is_empty()) {
        let is_tone = |c: char| is_key(c) || matches!(c, 'A'..='D' | 'a'..='d' | 'w' | 'W');
        if digits.len() <= 512 && digits.chars().all(is_tone) {
            let digits = digits.to_ascii_uppercase().replace('W', "w");
            return Some(Prompt::Digits { digits, loops });
        }
        attributes.wrong(
            "digits",
            digits,
            "use 0-9, A-D, *, # and w for half a second",
        );
    }
    drop(attributes);
    if url.is_empty() {
        warnings.push(&element.place, || "<Play> has no URL".to_owned());
        return None;
    }
    Some(Prompt::Play { url, loops })
}

fn gather(element: &Element, warnings: &mut Warnings) -> Gather {
    let prompts = element
        .elements()
        .filter_map(|child| prompt(child, warnings))
        .collect();
    let mut attributes = Attributes::of(element, warnings);
    let input = attributes
        .words("input", &["dtmf", "speech"])
        .unwrap_or_default();
    let speech = input.contains(&"speech");
    // `auto` is for the endpoint that listens; here it is the default.
    let timeout = match attributes.text("timeout") {
        None | Some("auto") => 5,
        Some(value) => value.trim().parse().unwrap_or_else(|_| {
            attributes.wrong("timeout", value, "use seconds");
            5
        }),
    };
    let timeout = Duration::from_secs(u64::from(u32::min(timeout, DAY)));
    let hints = attributes.text("hints").unwrap_or_default();
    let hints = hints
        .split(',')
        .map(str::trim)
        .filter(|hint| !hint.is_empty());
    let speech_timeout = match attributes.text("speechTimeout") {
        None => Some(timeout),
        Some("auto") => None,
        Some(value) => value.trim().parse().ok().map(Duration::from_secs),
    };
    let recognition = Recognition {
        language: attributes.text("language").unwrap_or("en-US").to_owned(),
        hints: hints
            .take(500)
            .map(|hint| hint.chars().take(100).collect())
            .collect(),
        speech_timeout,
        max_speech_time: attributes.seconds("maxSpeechTime", 60, 1, 600),
        profanity_filter: attributes.flag("profanityFilter", true),
        model: attributes.owned("speechModel"),
    };
    // A hint for the choice of a model, and one for the author's console.
    let _ = (attributes.text("enhanced"), attributes.text("debug"));
    let partial = attributes.link("partialResultCallback", "partialResultCallbackMethod");
    Gather {
        dtmf: !speech || input.contains(&"dtmf"),
        speech,
        action: attributes.link_or_self("action", "method"),
        timeout,
        num_digits: attributes.number("numDigits", 1, 512).map(|n| n as usize),
        finish_on_key: attributes.keys("finishOnKey", "#"),
        action_on_empty: attributes.flag("actionOnEmptyResult", false),
        barge_in: attributes.flag("bargeIn", true),
        prompts,
        recognition,
        partial,
    }
}

fn record(element: &Element, warnings: &mut Warnings) -> Record {
    no_children(element, warnings);
    let mut attributes = Attributes::of(element, warnings);
    Record {
        action: attributes.link_or_self("action", "method"),
        timeout: attributes.seconds("timeout", 5, 1, DAY),
        finish_on_key: attributes.keys("finishOnKey", "1234567890*#"),
        max_length: attributes.seconds("maxLength", 3600, 1, 14_400),
        beep: attributes.flag("playBeep", true),
        trim: trim(&mut attributes).unwrap_or(true),
        callback: recording_callback(&mut attributes),
    }
}

/// Whether silence is cut from both ends of a recording. It is of `<Record>` unless told, and not of a `<Dial>`.
pub(super) fn trim(attributes: &mut Attributes) -> Option<bool> {
    let words = [
        ("trim-silence", true),
        ("do-not-trim", false),
        ("true", true),
        ("false", false),
    ];
    attributes.one_of("trim", &words)
}

/// Who is told of a recording.
pub(super) fn recording_callback(attributes: &mut Attributes) -> Option<RecordingCallback> {
    let known = ["in-progress", "completed", "absent"];
    let events = attributes.words("recordingStatusCallbackEvent", &known);
    let link = attributes.link("recordingStatusCallback", "recordingStatusCallbackMethod")?;
    let events = events.filter(|events| !events.is_empty());
    let events = events.unwrap_or_else(|| vec!["completed"]);
    Some(RecordingCallback {
        link,
        in_progress: events.contains(&"in-progress"),
        completed: events.contains(&"completed"),
        absent: events.contains(&"absent"),
    })
}

fn refer(element: &Element, warnings: &mut Warnings) -> Option<Refer> {
    let mut to = None;
    for child in element.elements() {
        match child.name.as_str() {
            "Sip" => {
                drop(Attributes::of(child, warnings));
                let text = child.own_text();
                let is_tel = text.strip_prefix("tel:").is_some_and(|number| {
                    !number.is_empty()
                        && number
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "+-.()*#;=".contains(c))
                });
                // A `tel:` URI stays one: who is referred knows what to do with it.
                to = if is_tel {
                    Some(text)
                } else {
                    dial::sip(&child.place, &text, warnings)
                };
            }
            name => warnings.push(&child.place, || format!("<{name}> cannot stand in <Refer>")),
        }
    }
    let action = Attributes::of(element, warnings).link("action", "method");
    if to.is_none() {
        warnings.push(&element.place, || {
            "<Refer> needs a <Sip> with a URI".to_owned()
        });
    }
    Some(Refer { to: to?, action })
}

fn stream_in(element: &Element, warnings: &mut Warnings) -> Option<Stream> {
    let parent = &element.name;
    let mut stream = None;
    for child in element.elements() {
        match child.name.as_str() {
            "Stream" if stream.is_none() => stream = self::stream(child, warnings),
            name => warnings.push(&child.place, || {
                format!("<{name}> in <{parent}> is not run by this switch: it runs one <Stream>")
            }),
        }
    }
    if stream.is_none() {
        warnings.push(&element.place, || {
            format!("<{parent}> has no <Stream> with a URL")
        });
    }
    stream
}

fn stream(element: &Element, warnings: &mut Warnings) -> Option<Stream> {
    let mut parameters = Vec::new();
    for child in element.elements() {
        match child.name.as_str() {
            "Parameter" => parameters.extend(parameter(child, warnings)),
            name => warnings.push(&child.place, || {
                format!("<{name}> cannot stand in <Stream>")
            }),
        }
    }
    let mut attributes = Attributes::of(element, warnings);
    let tracks = [
        ("inbound_track", Tracks::Inbound),
        ("outbound_track", Tracks::Outbound),
        ("both_tracks", Tracks::Both),
    ];
    let url = attributes.text("url").unwrap_or_default().trim().to_owned();
    let stream = Stream {
        name: attributes.owned("name").filter(|name| !name.is_empty()),
        url,
        tracks: attributes.one_of("track", &tracks).unwrap_or_default(),
        parameters,
        callback: attributes.link("statusCallback", "statusCallbackMethod"),
        audio_format: attributes.owned("audioFormat").filter(|f| !f.is_empty()),
        sample_rate: attributes.number("sampleRate", 8000, 48_000),
    };
    (!stream.url.is_empty()).then_some(stream)
}

fn stop(element: &Element, warnings: &mut Warnings) -> Option<String> {
    let mut name = None;
    for child in element.elements() {
        let mut attributes = Attributes::of(child, warnings);
        if child.name == "Stream" {
            name = attributes.owned("name");
            // What else a `<Stream>` may have says nothing here.
            let _ = (attributes.text("url"), attributes.text("track"));
        }
    }
    if name.is_none() {
        warnings.push(&element.place, || {
            "<Stop> needs a <Stream> with a name".to_owned()
        });
    }
    name
}

fn message(element: &Element, warnings: &mut Warnings) -> Option<Message> {
    let mut body = element.own_text();
    let mut media = Vec::new();
    for child in element.elements() {
        match child.name.as_str() {
            "Body" => body = child.own_text(),
            "Media" if media.len() < 10 => media.push(child.own_text()),
            name => warnings.push(&child.place, || {
                format!("<{name}> in <Message> was left out")
            }),
        }
    }
    let mut attributes = Attributes::of(element, warnings);
    let message = Message {
        to: attributes.owned("to").filter(|to| !to.is_empty()),
        from: attributes.owned("from").filter(|from| !from.is_empty()),
        body: body.chars().take(MAX_BODY).collect(),
        media,
        action: attributes.link("action", "method"),
        status_callback: attributes
            .owned("statusCallback")
            .filter(|url| !url.is_empty()),
    };
    drop(attributes);
    if message.body.is_empty() && message.media.is_empty() {
        warnings.push(&element.place, || {
            "<Message> has neither text nor media".to_owned()
        });
        return None;
    }
    if body.chars().count() > MAX_BODY {
        warnings.push(&element.place, || {
            format!("<Message> has {MAX_BODY} characters at most")
        });
    }
    Some(message)
}

/// `<Parameter name="" value=""/>`.
pub(super) fn parameter(element: &Element, warnings: &mut Warnings) -> Option<(String, String)> {
    let mut attributes = Attributes::of(element, warnings);
    let name = attributes.owned("name").filter(|name| !name.is_empty());
    let value = attributes.owned("value").unwrap_or_default();
    drop(attributes);
    let is_short = |name: &String| name.chars().count() + value.chars().count() < MAX_PARAMETER;
    let name = name.filter(is_short);
    if name.is_none() {
        warnings.push(&element.place, || {
            format!("<Parameter> needs a name, and less than {MAX_PARAMETER} characters in all")
        });
    }
    Some((name?, value))
}

fn no_children(element: &Element, warnings: &mut Warnings) {
    let parent = &element.name;
    for child in element.elements() {
        let name = &child.name;
        warnings.push(&child.place, || {
            format!("<{name}> cannot stand in <{parent}> and was left out")
        });
    }
}
