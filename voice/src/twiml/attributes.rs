//! Attributes of one element: read by name, checked, and whatever nobody asked for reported.

use std::time::Duration;

use super::{
    Warnings,
    element::Element,
    verb::{Link, Method},
};

/// The attributes of an element that have not been read yet.
pub(super) struct Attributes<'a, 'w> {
    element: &'a Element,
    left: Vec<(&'a str, &'a str)>,
    warnings: &'w mut Warnings,
}

impl<'a, 'w> Attributes<'a, 'w> {
    pub(super) fn of(element: &'a Element, warnings: &'w mut Warnings) -> Self {
        let left = element.attributes.iter();
        let left = left.map(|(name, value)| (name.as_str(), value.as_str()));
        Self {
            element,
            left: left.collect(),
            warnings,
        }
    }

    /// The value as it stands.
    pub(super) fn text(&mut self, name: &str) -> Option<&'a str> {
        let at = self.left.iter().position(|(n, _)| *n == name)?;
        Some(self.left.swap_remove(at).1)
    }

    /// Text that may end up in a header of SIP or HTTP, or in a log: without line ends and their like.
    pub(super) fn owned(&mut self, name: &str) -> Option<String> {
        let value = self.text(name)?;
        if value.contains(char::is_control) {
            self.wrong(name, value, "it has control characters");
            return None;
        }
        Some(value.to_owned())
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        self.one_of(name, &[("true", true), ("false", false)])
            .unwrap_or(default)
    }

    /// One of few words.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.text(name)?;
        let found = words.iter().find(|(word, _)| *word == value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(name, value, &format!("use one of {}", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A whole number; one out of range is taken to its border.
    pub(super) fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let value = self.text(name)?;
        let Ok(number) = value.trim().parse::<i64>() else {
            self.wrong(name, value, "use a whole number");
            return None;
        };
        let clamped = number.clamp(min.into(), max.into());
        if clamped != number {
            self.wrong(name, value, &format!("use {min} to {max}"));
        }
        u32::try_from(clamped).ok()
    }

    /// Whole seconds.
    pub(super) fn seconds(&mut self, name: &str, default: u32, min: u32, max: u32) -> Duration {
        let seconds = self.number(name, min, max).unwrap_or(default);
        Duration::from_secs(seconds.into())
    }

    /// `GET` or `POST`.
    pub(super) fn method(&mut self, name: &str) -> Method {
        self.one_of(name, &[("POST", Method::Post), ("GET", Method::Get)])
            .unwrap_or_default()
    }

    /// A URL and the method that goes with it; an empty one counts as none.
    pub(super) fn link(&mut self, url: &str, method: &str) -> Option<Link> {
        let method = self.method(method);
        let url = self.text(url).map(str::trim).filter(|u| !u.is_empty())?;
        Some(Link {
            url: url.to_owned(),
            method,
        })
    }

    /// The same where the document itself is asked unless told.
    pub(super) fn link_or_self(&mut self, url: &str, method: &str) -> Link {
        let method = self.method(method);
        let url = self.text(url).unwrap_or_default().trim().to_owned();
        Link { url, method }
    }

    /// A list of words, separated by white space; those that are not known are reported.
    pub(super) fn words<'n>(&mut self, name: &str, known: &[&'n str]) -> Option<Vec<&'n str>> {
        let value = self.text(name)?;
        let mut found = Vec::new();
        for word in value.split_ascii_whitespace() {
            match known.iter().find(|k| **k == word) {
                Some(word) => found.push(*word),
                None => self.wrong(name, word, &format!("use {}", known.join(", "))),
            }
        }
        Some(found)
    }

    /// Keys of a telephone.
    pub(super) fn keys(&mut self, name: &str, default: &str) -> String {
        let Some(value) = self.text(name) else {
            return default.to_owned();
        };
        if value.chars().all(is_key) {
            return value.to_owned();
        }
        self.wrong(name, value, "use keys of 0-9, * and #");
        default.to_owned()
    }

    /// Says that a value was not taken as it stands.
    pub(super) fn wrong(&mut self, name: &str, value: &str, what: &str) {
        let element = &self.element.name;
        let value: String = value.chars().take(40).collect();
        self.warnings.push(&self.element.place, || {
            format!("{name}={value:?} of <{element}> is not possible: {what}")
        });
    }
}

/// Reports what nobody read.
impl Drop for Attributes<'_, '_> {
    fn drop(&mut self) {
        let element = &self.element.name;
        for (name, _) in &self.left {
            self.warnings.push(&self.element.place, || {
                format!("the attribute {name} of <{element}> is not known here and was left out")
            });
        }
    }
}

/// Whether a telephone without letters has this key.
pub(crate) const fn is_key(key: char) -> bool {
    matches!(key, '0'..='9' | '*' | '#')
}
