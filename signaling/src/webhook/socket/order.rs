//! What an application asks for by its socket: calls to be made, changed and ended.

use std::{future::Future, pin::Pin, sync::Arc};

use control::signal::{VoiceCall, VoiceEntry, VoiceLink, VoiceOrder, VoiceUpdate};
use serde::Deserialize;
use serde_json::{Value, json};
use voice::twiml::{Document, StatusEvents};

use super::Place;
use crate::webhook::target::Target;

/// What comes of an order: the SID of its call, or why it is not done.
pub type Outcome = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Does what the application of a socket asks for.
pub type Orders = Arc<dyn Fn(Place, Order) -> Outcome + Send + Sync>;

/// What an application asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A call goes on with something else.
    Update {
        /// Its SID.
        call: String,
        /// With what.
        next: VoiceEntry,
    },
    /// A call ends.
    HangUp {
        /// Its SID.
        call: String,
    },
    /// Somebody is called.
    Create(Box<Create>),
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    to: String,
    from: String,
    /// What the called hears; the socket is asked when he answers where there is none.
    next: Option<VoiceEntry>,
    timeout: u32,
    time_limit: Option<u32>,
    send_digits: Option<String>,
}

/// The same as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    to: String,
    from: String,
    verbs: Option<Value>,
    url: Option<String>,
    timeout: Option<u32>,
    time_limit: Option<u32>,
    send_digits: Option<String>,
}

impl Order {
    /// # Errors
    /// What has to be written instead.
    pub(super) fn create(written: Written) -> Result<Self, String> {
        let timeout = written.timeout.unwrap_or(60);
        if !(1..=600).contains(&timeout) {
            return Err("timeout: 1 to 600 seconds".to_owned());
        }
        if written
            .time_limit
            .is_some_and(|limit| !(1..=86_400).contains(&limit))
        {
            return Err("timeLimit: 1 to 86400 seconds".to_owned());
        }
        let is_key = |key: u8| key.is_ascii_digit() || b"*#wW".contains(&key);
        let keys = written.send_digits.as_ref();
        if keys.is_some_and(|keys| keys.len() > 128 || !keys.bytes().all(is_key)) {
            return Err("sendDigits: 128 of 0 to 9, *, # and w at most".to_owned());
        }
        let url = written.url.as_deref();
        if url.is_some_and(|url| Target::of(url).is_none()) {
            // There is no document yet that it could be relative to.
            return Err("url: write a whole http: or https: URL, or a ws: or wss: one".to_owned());
        }
        Ok(Self::Create(Box::new(Create {
            to: party("to", &written.to)?,
            from: party("from", &written.from)?,
            next: do_next(written.verbs, written.url)?,
            timeout,
            time_limit: written.time_limit,
            send_digits: written.send_digits,
        })))
    }

    /// The SID of the call that it is about, where there is one already.
    pub(crate) fn call(&self) -> Option<&str> {
        match self {
            Self::Update { call, .. } | Self::HangUp { call } => Some(call),
            Self::Create(_) => None,
        }
    }

    /// In the words of the control channel, for the socket at `place`.
    pub(crate) fn write(self, place: &Place) -> VoiceOrder {
        let socket = || VoiceLink {
            url: place.url.clone(),
            post: true,
        };
        match self {
            Self::Update { call, next } => VoiceOrder::Update {
                call,
                update: VoiceUpdate::Change {
                    entry: Some(next),
                    fallback: None,
                    status: None,
                    time_limit_s: None,
                },
            },
            Self::HangUp { call } => VoiceOrder::Update {
                call,
                update: VoiceUpdate::Complete,
            },
            Self::Create(create) => VoiceOrder::Call(Box::new(VoiceCall {
                account: place.account.clone(),
                to: create.to,
                from: create.from,
                entry: create.next.unwrap_or_else(|| VoiceEntry::Url(socket())),
                fallback: None,
                status: Some(socket()),
                status_events: StatusEvents::NAMES.map(str::to_owned).to_vec(),
                ring_timeout_s: create.timeout,
                time_limit_s: create.time_limit,
                send_digits: create.send_digits,
                record: None,
                auth: None,
            })),
        }
    }
}

/// What a call does next: verbs, which are looked at, or what a webhook says.
///
/// # Errors
/// What is wrong with them.
pub(super) fn do_next(
    verbs: Option<Value>,
    url: Option<String>,
) -> Result<Option<VoiceEntry>, String> {
    if let Some(verbs) = verbs.filter(|verbs| !verbs.is_null()) {
        let text = json!({ "verbs": verbs }).to_string();
        Document::parse_json(text.as_bytes()).map_err(|error| error.to_string())?;
        return Ok(Some(VoiceEntry::Document(text)));
    }
    let link = |url| VoiceEntry::Url(VoiceLink { url, post: true });
    Ok(url.map(link))
}

/// A number, which may be written with punctuation, `client:name` or `sip:user@host`.
fn party(key: &str, text: &str) -> Result<String, String> {
    let is_plain = |text: &str| {
        text.len() <= 1_024
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b))
    };
    let is_named = ["client:", "sip:", "sips:"].iter().any(|scheme| {
        let rest = text.strip_prefix(scheme);
        rest.is_some_and(|rest| !rest.is_empty() && is_plain(rest))
    });
    if is_named {
        return Ok(text.to_owned());
    }
    let number: String = text.chars().filter(|c| !" -().".contains(*c)).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    if (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(number);
    }
    Err(format!(
        "{key}: write a number such as +15550100, client:name or sip:name@example.com"
    ))
}
