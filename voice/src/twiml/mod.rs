//! Documents, in TwiML or in JSON: each is read whole before any of it is run.
//!
//! What is not known is left out and reported, as Twilio does it: verbs, attributes and values that another
//! version of the language has do not end a call. What is no TwiML at all is refused: HTML, a document type
//! definition (so no entity is ever expanded), another root, more than 64 KiB.

use roxmltree::ParsingOptions;

mod attributes;
mod dial;
mod element;
mod json;
mod read;
mod ssml;
mod verb;

use element::{Element, Place};

pub(crate) use attributes::is_key;
pub use dial::{Dial, DialRecord, Noun, StatusEvents, Target};
pub use verb::{
    Connect, Gather, Link, Message, Method, Prompt, Recognition, Record, RecordingCallback, Refer,
    RejectReason, Say, Stream, Tracks, Verb,
};

/// The largest document, in bytes.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// The most warnings that one document leads to; what is more is counted.
const MAX_WARNINGS: usize = 20;

/// A document, ready to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Its steps, in order.
    pub verbs: Vec<Verb>,
    /// What was left out of it and why, for its author: at most 21.
    pub warnings: Vec<String>,
}

/// Why a document cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// More than [`MAX_DOCUMENT`] bytes.
    #[error("the document is larger than 64 KiB")]
    TooLarge,
    /// No bytes but white space.
    #[error("the document is empty: answer with a <Response>")]
    Empty,
    /// Other bytes than UTF-8.
    #[error("the document is not UTF-8")]
    Encoding,
    /// It declares a document type, which could define entities.
    #[error("the document has a DTD (<!DOCTYPE>): TwiML has none, is this HTML?")]
    Dtd,
    /// It is not well-formed XML.
    #[error("the document is not well-formed XML: {0}")]
    Xml(String),
    /// Its root is another element.
    #[error("the root of the document is <{0}>, and has to be <Response>")]
    Root(String),
    /// It is not JSON.
    #[error("the document is not JSON: {0}")]
    Json(String),
    /// It is JSON without verbs.
    #[error(
        r#"the document has no list of verbs: write {{"verbs": [{{"say": {{"text": "Hello"}}}}]}}"#
    )]
    Verbs,
}

impl Document {
    /// Reads a document in TwiML.
    ///
    /// # Errors
    /// It is no TwiML; what is only unknown in it is in [`Document::warnings`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let text = text_of(bytes)?;
        let options = ParsingOptions {
            allow_dtd: false,
            ..ParsingOptions::default()
        };
        let tree = roxmltree::Document::parse_with_options(text, options).map_err(xml_error)?;
        let root = tree.root_element();
        if root.tag_name().name() != "Response" {
            let name = root.tag_name().name().chars().take(40).collect();
            return Err(ParseError::Root(name));
        }
        let warnings = Warnings::default();
        Ok(Self::of(&Element::of_xml(root), warnings))
    }

    /// Reads a document in JSON: `{"verbs": [{"say": {"text": "Hello"}}, "hangup"]}`, or the list by itself. Verbs and
    /// what they have are called as in TwiML, with a small letter first; what is no verb beside them is not looked at.
    ///
    /// # Errors
    /// It is no JSON, or has no list of verbs; what is only unknown in it is in [`Document::warnings`].
    pub fn parse_json(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut warnings = Warnings::default();
        let root = json::root(text_of(bytes)?, &mut warnings)?;
        Ok(Self::of(&root, warnings))
    }

    /// Reads a document in either language: JSON is what begins with a brace or a bracket.
    ///
    /// # Errors
    /// As [`Self::parse`] and [`Self::parse_json`].
    pub fn parse_any(bytes: &[u8]) -> Result<Self, ParseError> {
        match bytes.trim_ascii_start().first() {
            Some(b'{' | b'[') => Self::parse_json(bytes),
            _ => Self::parse(bytes),
        }
    }

    fn of(root: &Element, mut warnings: Warnings) -> Self {
        Self {
            verbs: read::verbs(root, &mut warnings),
            warnings: warnings.finish(),
        }
    }

    /// A document that says this text, which is what a webhook's `text/plain` means.
    ///
    /// # Errors
    /// There is no text.
    pub fn say(text: &str) -> Result<Self, ParseError> {
        let text: String = text.trim().chars().take(read::MAX_SAY).collect();
        if text.is_empty() {
            return Err(ParseError::Empty);
        }
        let say = Say {
            text,
            language: "en-US".to_owned(),
            loops: 1,
            ..Say::default()
        };
        Ok(Self {
            verbs: vec![Verb::Prompt(Prompt::Say(say))],
            warnings: Vec::new(),
        })
    }

    /// A document that plays this file, which is what a webhook's `audio/*` means.
    pub fn play(url: &str) -> Self {
        let url = url.to_owned();
        Self {
            verbs: vec![Verb::Prompt(Prompt::Play { url, loops: 1 })],
            warnings: Vec::new(),
        }
    }
}

/// A document's text, without what stands in front of it.
fn text_of(bytes: &[u8]) -> Result<&str, ParseError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(ParseError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ParseError::Encoding)?;
    // Many frameworks leave line ends in front of the declaration, which XML does not permit.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.is_empty() {
        return Err(ParseError::Empty);
    }
    Ok(text)
}

fn xml_error(error: roxmltree::Error) -> ParseError {
    match error {
        roxmltree::Error::DtdDetected => ParseError::Dtd,
        // The message may quote the document.
        error => ParseError::Xml(error.to_string().chars().take(200).collect()),
    }
}

/// What was left out of a document.
#[derive(Debug, Default)]
struct Warnings {
    kept: Vec<String>,
    more: usize,
}

impl Warnings {
    fn push(&mut self, at: &Place, message: impl FnOnce() -> String) {
        if self.kept.len() == MAX_WARNINGS {
            self.more += 1;
            return;
        }
        self.kept.push(match at {
            Place::Line(line) => format!("line {line}: {}", message()),
            Place::Path(path) => format!("{path}: {}", message()),
        });
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.kept.push(format!("and {} more like these", self.more));
        }
        self.kept
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod json_tests;
