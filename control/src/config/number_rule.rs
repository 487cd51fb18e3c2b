//! How numbers are rewritten between a trunk and this node.

use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::ParseError;

/// How numbers are written somewhere, so that they can be read to E.164 (`+4930123456`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Numbering {
    /// The country code, without the plus: `49`.
    pub country: String,
    /// What stands before a country code: `00`, `011`. Default `00`.
    #[serde(default = "default_international")]
    pub international: String,
    /// What stands before a national number: `0`, `1`; empty for nothing. Default `0`.
    #[serde(default = "default_national")]
    pub national: String,
    /// What a number is that begins with neither. Default `keep`.
    #[serde(default)]
    pub otherwise: Otherwise,
    /// Numbers with fewer digits are left as they are, for they are short codes and extensions.
    /// Default 7.
    #[serde(default = "default_shortest")]
    pub shortest: u8,
}

/// What a number is that shows neither prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// It is left as it is.
    #[default]
    Keep,
    /// It lacks only the plus: `4930123456`.
    International,
    /// It lacks the country code: `30123456`.
    National,
}

impl Numbering {
    pub(super) fn check(&self, of: &str, errors: &mut Vec<String>) {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if self.country.is_empty() || self.country.len() > 3 || !digits(&self.country) {
            errors.push(format!(
                "{of}: country = \"{}\": write the country code without the plus, such as \"49\"",
                self.country
            ));
        }
        if self.international.is_empty() || !digits(&self.international) {
            errors.push(format!(
                "{of}: international = \"{}\": write the digits that stand before a country code, \
                 such as \"00\"",
                self.international
            ));
        }
        if !digits(&self.national) {
            errors.push(format!(
                "{of}: national = \"{}\": write digits, or nothing",
                self.national
            ));
        }
    }
}

fn default_international() -> String {
    "00".to_owned()
}

fn default_national() -> String {
    "0".to_owned()
}

const fn default_shortest() -> u8 {
    7
}

/// One step of rewriting. Where it applies, its parts are done in the order of these fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NumberRule {
    /// Which number. Default `called`.
    pub of: Party,
    /// Only numbers that this finds; all where it is not written.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Pattern>,
    /// Read to E.164 first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Numbering>,
    /// What replaces what `match` found: `+49$1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
    /// Characters that are taken off the front; the plus is one.
    pub strip: u8,
    /// What is put before.
    pub add: String,
}

impl NumberRule {
    pub(super) fn check(&self, of: &str, errors: &mut Vec<String>) {
        if let Some(numbering) = &self.normalise {
            numbering.check(of, errors);
        }
        if self.replace.is_some() && self.matches.is_none() {
            errors.push(format!(
                "{of}: replace needs match: it replaces what that finds"
            ));
        }
        let is_idle = self.normalise.is_none()
            && self.replace.is_none()
            && self.strip == 0
            && self.add.is_empty();
        if is_idle {
            errors.push(format!(
                "{of}: a rule that changes nothing: give it normalise, replace, strip or add"
            ));
        }
        let is_number = |b: u8| b.is_ascii_alphanumeric() || b"+*#-_.".contains(&b);
        let added = [Some(&self.add), self.replace.as_ref()];
        for text in added.into_iter().flatten() {
            if !text.bytes().all(|b| is_number(b) || b"${}".contains(&b)) {
                errors.push(format!(
                    "{of}: '{text}' holds what no number does: use digits, letters, '+', '*', '#'"
                ));
            }
        }
    }
}

/// Which number of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The one that is called.
    #[default]
    Called,
    /// The one that calls.
    Caller,
    /// Either.
    Both,
}

impl Party {
    /// Whether this is meant, too.
    pub fn includes(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

/// A regular expression that is matched in linear time. Its text says whether it is the same.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Regex);

impl Pattern {
    /// The expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        // Patterns see numbers and names of a few dozen characters.
        let built = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
        let wrong = |error: regex::Error| PatternError(error.to_string());
        built.map(Self).map_err(wrong)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.as_str().to_owned()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// A pattern that is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a regular expression: {0}")]
pub struct PatternError(String);

/// What the caller of calls to a trunk is shown as: `pass`, one number, or a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CallerIdText", into = "CallerIdText")]
pub enum CallerId {
    /// As it came.
    #[default]
    Pass,
    /// Always this number.
    Fixed(String),
    /// As it came where it is one of these; the first of them otherwise.
    OneOf(Vec<String>),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum CallerIdText {
    One(String),
    List(Vec<String>),
}

impl TryFrom<CallerIdText> for CallerId {
    type Error = ParseError;

    fn try_from(text: CallerIdText) -> Result<Self, ParseError> {
        const WANTED: &str = "\"pass\", a number such as \"+15550100\", or a list of numbers";
        let number = |text: String| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"+*#-_.".contains(&b);
            if text.is_empty() || !text.bytes().all(fits) {
                return Err(ParseError::new(&text, WANTED));
            }
            Ok(text)
        };
        match text {
            CallerIdText::One(one) if one == "pass" => Ok(Self::Pass),
            CallerIdText::One(one) => number(one).map(Self::Fixed),
            CallerIdText::List(list) if list.is_empty() => Err(ParseError::new("[]", WANTED)),
            CallerIdText::List(list) => {
                let numbers: Result<_, _> = list.into_iter().map(number).collect();
                numbers.map(Self::OneOf)
            }
        }
    }
}

impl From<CallerId> for CallerIdText {
    fn from(caller_id: CallerId) -> Self {
        match caller_id {
            CallerId::Pass => Self::One("pass".to_owned()),
            CallerId::Fixed(number) => Self::One(number),
            CallerId::OneOf(numbers) => Self::List(numbers),
        }
    }
}
