//! `<Dial>` and whom it calls.

use std::{fmt, time::Duration};

use super::{
    Link, RecordingCallback, Tracks, Warnings,
    attributes::{Attributes, is_key},
    element::{Child, Element, Place},
    read,
};

/// The most that one `<Dial>` calls.
const MAX_NOUNS: usize = 10;

/// Call somebody and connect the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Who is called: all at once, or one after another.
    pub nouns: Vec<Noun>,
    /// One after another.
    pub sequential: bool,
    /// Who is asked when it is over; the next verb follows where there is none.
    pub action: Option<Link>,
    /// How long it may ring.
    pub timeout: Duration,
    /// How long the two may talk.
    pub time_limit: Duration,
    /// What the called see; the call's own caller unless told.
    pub caller_id: Option<String>,
    /// The caller is answered when the called has answered.
    pub answer_on_bridge: bool,
    /// The caller's `*` ends it.
    pub hangup_on_star: bool,
    /// Whether it is recorded.
    pub record: Option<DialRecord>,
    /// Who is told of the recording.
    pub recording_callback: Option<RecordingCallback>,
    /// Who is on the recording: who called, who was called, or both.
    pub recording_tracks: Tracks,
    /// Cut silence from both ends of the recording.
    pub trim: bool,
    /// The country whose ringing tone the caller hears, in two letters.
    pub ring_tone: Option<String>,
}

/// How a dialled call is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialRecord {
    /// From when it rings, not from when it is answered.
    pub from_ringing: bool,
    /// Each party in a channel of its own.
    pub dual: bool,
}

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noun {
    /// Who.
    pub target: Target,
    /// A document that the called hears before the two are connected.
    pub whisper: Option<Link>,
    /// Tones to send when it has answered, before all else.
    pub send_digits: Option<String>,
    /// Who is told how the call goes.
    pub status: Option<(Link, StatusEvents)>,
    /// Given to a client.
    pub parameters: Vec<(String, String)>,
}

/// An address.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A telephone number, without white space and punctuation.
    Number(String),
    /// A SIP URI, with the credentials to answer a challenge with.
    Sip {
        /// `sip:` or `sips:`, with headers behind `?` where there are any: a host sends those on that begin with
        /// `X-`, and no others.
        uri: String,
        /// The user of the credentials.
        username: Option<String>,
        /// Their password.
        password: Option<String>,
    },
    /// The identity of a registered user.
    Client(String),
}

/// Which steps of a call somebody is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusEvents {
    /// It is being called.
    pub initiated: bool,
    /// It rings.
    pub ringing: bool,
    /// It has answered.
    pub answered: bool,
    /// It is over, however it ended.
    pub completed: bool,
}

impl Default for StatusEvents {
    /// Its end alone.
    fn default() -> Self {
        Self {
            initiated: false,
            ringing: false,
            answered: false,
            completed: true,
        }
    }
}

impl StatusEvents {
    /// The events' names, as documents and the REST API write them.
    pub const NAMES: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

    /// Those of these names; others are left out, and none at all is the default.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        let has = |name| names.contains(&name);
        if !Self::NAMES.into_iter().any(has) {
            return Self::default();
        }
        Self {
            initiated: has("initiated"),
            ringing: has("ringing"),
            answered: has("answered"),
            completed: has("completed"),
        }
    }
}

impl Target {
    /// The address as webhooks write it.
    pub fn address(&self) -> String {
        match self {
            Self::Number(number) => number.clone(),
            Self::Sip { uri, .. } => uri.split('?').next().unwrap_or(uri).to_owned(),
            Self::Client(name) => format!("client:{name}"),
        }
    }
}

/// Without the password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.address()).finish()
    }
}

pub(super) fn dial(element: &Element, warnings: &mut Warnings) -> Dial {
    let nouns = nouns(element, warnings);
    let mut attributes = Attributes::of(element, warnings);
    let timeout = attributes.seconds("timeout", 30, 1, 600);
    let record = record(&mut attributes);
    let trim = read::trim(&mut attributes).unwrap_or(false);
    Dial {
        nouns,
        sequential: attributes.flag("sequential", false),
        action: attributes.link("action", "method"),
        timeout,
        time_limit: attributes.seconds("timeLimit", 14_400, 1, 86_400),
        caller_id: caller_id(&mut attributes),
        answer_on_bridge: attributes.flag("answerOnBridge", false),
        hangup_on_star: attributes.flag("hangupOnStar", false),
        record,
        recording_callback: read::recording_callback(&mut attributes),
        recording_tracks: attributes
            .one_of("recordingTrack", &Tracks::RECORDED)
            .unwrap_or(Tracks::Both),
        trim,
        ring_tone: attributes.owned("ringTone"),
    }
}

/// It ends up in a From header: what could break out of one is left out.
fn caller_id(attributes: &mut Attributes) -> Option<String> {
    let id = attributes.text("callerId")?.trim();
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"');
    if (1..=128).contains(&id.len()) && id.chars().all(is_plain) {
        return Some(id.to_owned());
    }
    attributes.wrong(
        "callerId",
        id,
        "use a number, client:name or sip:name@example.com",
    );
    None
}

fn record(attributes: &mut Attributes) -> Option<DialRecord> {
    let of = |from_ringing, dual| Some(DialRecord { from_ringing, dual });
    let words = [
        ("do-not-record", None),
        ("false", None),
        ("true", of(false, false)),
        ("record-from-answer", of(false, false)),
        ("record-from-answer-dual", of(false, true)),
        ("record-from-ringing", of(true, false)),
        ("record-from-ringing-dual", of(true, true)),
    ];
    attributes.one_of("record", &words).flatten()
}

fn nouns(element: &Element, warnings: &mut Warnings) -> Vec<Noun> {
    let mut nouns = Vec::new();
    for child in &element.children {
        let place = match child {
            Child::Text(text, _) if text.trim().is_empty() => continue,
            Child::Text(text, place) => {
                nouns.extend(number(place, text.trim(), warnings).map(bare));
                place
            }
            Child::Element(child) => {
                dialled(child, &mut nouns, warnings);
                &child.place
            }
        };
        if nouns.len() > MAX_NOUNS {
            warnings.push(place, || format!("<Dial> calls {MAX_NOUNS} at most"));
            nouns.truncate(MAX_NOUNS);
            break;
        }
    }
    nouns
}

fn dialled(element: &Element, nouns: &mut Vec<Noun>, warnings: &mut Warnings) {
    match element.name.as_str() {
        "Number" | "Sip" | "Client" => nouns.extend(noun(element, warnings)),
        name @ ("Conference" | "Queue" | "Application" | "Sim" | "WhatsApp") => {
            warnings.push(&element.place, || {
                format!("<{name}> cannot be dialled by this switch")
            });
        }
        name => warnings.push(&element.place, || {
            format!("<{name}> is nothing that can be dialled")
        }),
    }
}

const fn bare(target: Target) -> Noun {
    Noun {
        target,
        whisper: None,
        send_digits: None,
        status: None,
        parameters: Vec::new(),
    }
}

fn noun(element: &Element, warnings: &mut Warnings) -> Option<Noun> {
    let text = element.own_text();
    let name = element.name.as_str();
    let mut parameters = Vec::new();
    let mut identity = None;
    for child in element.elements() {
        match (name, child.name.as_str()) {
            ("Client", "Identity") => identity = Some(child.own_text()),
            ("Client", "Parameter") => parameters.extend(read::parameter(child, warnings)),
            ("Sip", "Uri") => identity = Some(child.own_text()),
            (_, child_name) => warnings.push(&child.place, || {
                format!("<{child_name}> is not known in <{name}> and was left out")
            }),
        }
    }
    let text = identity.unwrap_or(text);
    let mut attributes = Attributes::of(element, warnings);
    let credentials =
        (name == "Sip").then(|| (attributes.owned("username"), attributes.owned("password")));
    let send_digits = (name == "Number")
        .then(|| attributes.text("sendDigits"))
        .flatten()
        .map(|digits| {
            digits
                .chars()
                .filter(|c| is_key(*c) || matches!(c, 'w' | 'W' | ','))
        })
        .map(|digits| digits.collect::<String>().replace(['W', ','], "w"));
    let whisper = attributes.link("url", "method");
    let events = attributes.words("statusCallbackEvent", &StatusEvents::NAMES);
    let events = StatusEvents::of(events.unwrap_or_default());
    let status = attributes.link("statusCallback", "statusCallbackMethod");
    drop(attributes);
    let target = match (name, credentials) {
        ("Sip", Some((username, password))) => {
            sip(&element.place, &text, warnings).map(|uri| Target::Sip {
                uri,
                username,
                password,
            })
        }
        ("Client", _) => client(&element.place, &text, warnings),
        _ => number(&element.place, &text, warnings),
    };
    Some(Noun {
        target: target?,
        whisper,
        send_digits: send_digits.filter(|digits| !digits.is_empty()),
        status: status.map(|link| (link, events)),
        parameters,
    })
}

/// A number may be written with the punctuation that people write.
fn number(at: &Place, text: &str, warnings: &mut Warnings) -> Option<Target> {
    let number: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '.' | '(' | ')'))
        .collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let is_number = (1..=32).contains(&digits.len()) && digits.chars().all(is_key);
    if !is_number {
        warnings.push(at, || {
            let text: String = text.chars().take(40).collect();
            format!("{text:?} is no telephone number: write it like +15550100")
        });
    }
    is_number.then_some(Target::Number(number))
}

/// What could break out of a header is refused here, whoever writes the request.
pub(super) fn sip(at: &Place, text: &str, warnings: &mut Warnings) -> Option<String> {
    let has_scheme = |scheme: &str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme)) && text.len() > scheme.len()
    };
    let is_plain = text.len() <= 1024 && text.chars().all(|c| c.is_ascii_graphic());
    let is_safe = !text.contains(['<', '>', '"']);
    let is_uri = is_plain && is_safe && (has_scheme("sip:") || has_scheme("sips:"));
    if !is_uri {
        warnings.push(at, || {
            let text: String = text.chars().take(40).collect();
            format!("{text:?} is no SIP URI: write it like sip:name@example.com")
        });
    }
    is_uri.then(|| text.to_owned())
}

fn client(at: &Place, text: &str, warnings: &mut Warnings) -> Option<Target> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()+@%".contains(c);
    let is_client = (1..=121).contains(&text.len()) && text.chars().all(is_name);
    if !is_client {
        warnings.push(at, || {
            let text: String = text.chars().take(40).collect();
            format!("{text:?} is no client's identity: use letters, digits, - _ . @")
        });
    }
    is_client.then(|| Target::Client(text.to_owned()))
}
