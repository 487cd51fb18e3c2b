//! What this project's parser and `rsip` read in a message, written alike so that it can be compared.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

mod ours;
mod theirs;

pub use ours::read as read_by_tandem;
pub use theirs::read as read_by_rsip;

/// The parts of a message that both parsers can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Whether it is taken for a message at all.
    Framed,
    /// Whether an element could work with it: what RFC 3261 demands is there and can be read.
    Valid,
    /// Method and Request-URI, or status and reason.
    Start,
    /// Every header field, in order: name and value.
    Headers,
    /// The body.
    Body,
    /// The topmost Via.
    Via,
    /// From.
    From,
    /// To.
    To,
    /// Call-ID.
    CallId,
    /// CSeq.
    CSeq,
    /// Every Contact.
    Contact,
    /// Max-Forwards.
    MaxForwards,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What was read of each part. A part that could not be read says so.
pub type Reading = BTreeMap<Part, String>;

/// What stands for a part that could not be read.
pub const UNREADABLE: &str = "unreadable";

/// One part that the parsers read differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The part.
    pub part: Part,
    /// As this project reads it.
    pub ours: String,
    /// As `rsip` reads it.
    pub theirs: String,
}

/// Where the two parsers differ on a message.
pub fn differences(raw: &Bytes) -> Vec<Difference> {
    let (ours, theirs) = (read_by_tandem(raw), read_by_rsip(raw));
    let parts = ours.iter().filter_map(|(part, ours)| {
        // Who does not frame a message reads nothing else of it.
        let theirs = theirs.get(part)?;
        (verdict(*part, ours) != verdict(*part, theirs)).then(|| Difference {
            part: *part,
            ours: ours.clone(),
            theirs: theirs.clone(),
        })
    });
    parts.collect()
}

/// What is compared of a part: of what is refused not the words why.
fn verdict(part: Part, text: &str) -> &str {
    match part {
        Part::Framed | Part::Valid => text.split(',').next().unwrap_or(text),
        _ => text,
    }
}

/// An address as both write it.
fn address(display: &str, uri: &str, tag: Option<&str>) -> String {
    format!("{display:?} <{uri}> tag={}", tag.unwrap_or("-"))
}

/// A Via as both write it.
fn via(transport: &str, host: &str, port: Option<u16>, branch: Option<&str>) -> String {
    let port = port.map_or_else(|| "-".to_owned(), |port| port.to_string());
    format!("{transport} {host} {port} {}", branch.unwrap_or("-"))
}

/// A header field as both write it: blanks at line folds and around the value do not count.
fn field(name: &str, value: &str) -> String {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    format!("{}: {}", name.to_ascii_lowercase(), words.join(" "))
}
