//! Reads the text. Every key that is not understood is told, not the first one only: what cannot be
//! read is told and taken out, and the rest is read again, until all of it can be.

use std::{collections::HashMap, mem, ops::Range};

use serde::Deserialize as _;
use toml::{
    Deserializer, Spanned, Table,
    de::{DeArray, DeTable, DeValue},
};

use super::Config;

/// Errors that are told at most.
const MOST: usize = 100;
/// Lists whose items are looked at one by one.
const LISTS: [&str; 8] = [
    "trunks", "routes", "numbers", "groups", "blocks", "limits", "users", "accounts",
];

/// What of a text could be read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The text as a table, without what could not be read.
    pub(super) table: Table,
    /// The same as a configuration.
    pub(super) config: Config,
    /// What could not be read, by line.
    pub(super) errors: Vec<String>,
    /// What is there and could not be read.
    pub(super) unread: Unread,
}

/// What is there and could not be read: what refers to it is not wrong for that.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// Names of trunks.
    pub(super) trunks: Vec<String>,
    /// Names of groups.
    pub(super) groups: Vec<String>,
    /// Something of `[sip]`, such as the domains.
    pub(super) sip: bool,
    /// So much that what is left says nothing.
    pub(super) all: bool,
}

/// Reads `text`, as far as that is possible.
pub(super) fn read(text: &str) -> Read {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let mut told = Told::new(text);
    for error in &syntax {
        told.tell(error.span(), "", error.message());
    }
    let mut unread = Unread {
        all: !syntax.is_empty(),
        ..Unread::default()
    };
    let mut tree = tree.into_inner();
    let mut broken = Broken::default();
    let config = loop {
        let error = match Config::deserialize(deserializer(text, tree.clone())) {
            Ok(config) => break config,
            Err(error) => error,
        };
        let place = error.span().and_then(|span| find(&tree, &span));
        let Some(place) = place.filter(|_| told.errors.len() < MOST) else {
            told.tell(error.span(), "", error.message());
            unread.all = true;
            break Config::default();
        };
        if !broken.explains(&tree, &place, error.message()) {
            let message = match is_secret(&place) {
                // The error would repeat it, into a log too.
                true => "expected a text in quotes",
                false => error.message(),
            };
            told.tell(error.span(), &shown(&tree, &place), message);
        }
        unread.sip |= matches!(place.first(), Some(Step::Key(key)) if key == "sip");
        broken.note(&tree, &place, &mut unread);
        take_out(&mut tree, &place);
    };
    let config = match broken.0.is_empty() || unread.all {
        true => config,
        // What is left of an item says nothing about it.
        false => {
            for list in LISTS {
                broken.leave_out(&mut tree, list);
            }
            Config::deserialize(deserializer(text, tree.clone())).unwrap_or_default()
        }
    };
    Read {
        table: Table::deserialize(deserializer(text, tree)).unwrap_or_default(),
        config,
        errors: told.in_order(),
        unread,
    }
}

fn deserializer<'t>(text: &str, tree: DeTable<'t>) -> Deserializer<'t> {
    Deserializer::from(Spanned::new(0..text.len(), tree))
}

/// Errors by their lines.
struct Told<'t> {
    text: &'t str,
    errors: Vec<(usize, String)>,
}

impl<'t> Told<'t> {
    const fn new(text: &'t str) -> Self {
        Self {
            text,
            errors: Vec::new(),
        }
    }

    fn tell(&mut self, span: Option<Range<usize>>, place: &str, message: &str) {
        let before = span.map(|span| self.text.as_bytes().iter().take(span.start));
        let line = before.map_or(0, |before| {
            before.filter(|byte| **byte == b'\n').count() + 1
        });
        let colon = if place.is_empty() { "" } else { ": " };
        let error = (line, format!("{place}{colon}{message}"));
        // A list in the place of something else is wrong item by item.
        if self.errors.last() != Some(&error) {
            self.errors.push(error);
        }
    }

    fn in_order(mut self) -> Vec<String> {
        self.errors.sort_by_key(|(line, _)| *line);
        let lines = self.errors.into_iter().map(|(line, error)| match line {
            0 => error,
            line => format!("line {line}: {error}"),
        });
        lines.collect()
    }
}

/// A step of the way from the whole to a part.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

/// Whether what stands there is nobody's to see.
fn is_secret(place: &[Step]) -> bool {
    const SECRETS: [&str; 6] = [
        "password",
        "admin_key",
        "nonce_secret",
        "secret",
        "token",
        "url",
    ];
    matches!(place.last(), Some(Step::Key(key)) if SECRETS.contains(&key.as_str()))
}

/// The way to the innermost key or item that an error is about.
fn find(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<Step>> {
    table.iter().find_map(|(key, value)| {
        let step = Step::Key(key.get_ref().to_string());
        if key.span() == *span {
            return Some(vec![step]);
        }
        let found = within(value, span).or_else(|| covers(&key.span(), span).then(Vec::new));
        found.map(|rest| [vec![step], rest].concat())
    })
}

/// The same from a value on. The span of a table that has a header is that header.
fn within(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<Step>> {
    let inner = match value.get_ref() {
        DeValue::Table(table) => find(table, span),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(at, item)| {
            let rest = within(item, span)?;
            Some([vec![Step::Item(at)], rest].concat())
        }),
        _ => None,
    };
    inner.or_else(|| covers(&value.span(), span).then(Vec::new))
}

const fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// As people write it: `[sip.tls] ca`, `[[trunks]] hosts`.
fn shown(tree: &DeTable<'_>, place: &[Step]) -> String {
    let keys = place.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Item(_) => None,
    });
    let keys: Vec<_> = keys.collect();
    let is_item = matches!(place.get(1), Some(Step::Item(_)));
    let is_table =
        |key: &str| matches!(tree.get(key).map(Spanned::get_ref), Some(DeValue::Table(_)));
    match keys.as_slice() {
        [] => String::new(),
        [list, rest @ ..] if is_item => format!("[[{list}]] {}", rest.join("."))
            .trim_end()
            .to_owned(),
        [key] if is_table(key) => format!("[{key}]"),
        [key] => (*key).to_owned(),
        [sections @ .., key] => format!("[{}] {key}", sections.join(".")),
    }
}

/// Items of lists of which something could not be read, by where they begin, and which keys that was.
#[derive(Default)]
struct Broken(HashMap<usize, Vec<String>>);

impl Broken {
    /// Remembers the item that a place is in.
    fn note(&mut self, tree: &DeTable<'_>, place: &[Step], unread: &mut Unread) {
        let Some((list, item)) = item_of(tree, place) else {
            return;
        };
        let keys = self.0.entry(item.span().start).or_insert_with(|| {
            match list {
                "trunks" => unread.trunks.extend(name_of(item)),
                "groups" => unread.groups.extend(name_of(item)),
                _ => {}
            }
            Vec::new()
        });
        if let Some(Step::Key(key)) = place.get(2) {
            keys.push(key.clone());
        }
    }

    /// Whether a key is missing because it was taken out.
    fn explains(&self, tree: &DeTable<'_>, place: &[Step], message: &str) -> bool {
        let keys = item_of(tree, place).and_then(|(_, item)| self.0.get(&item.span().start));
        let is_missing = |key: &String| message == format!("missing field `{key}`");
        place.len() == 2 && keys.is_some_and(|keys| keys.iter().any(is_missing))
    }

    fn leave_out(&self, tree: &mut DeTable<'_>, list: &str) {
        if let Some(DeValue::Array(array)) = tree.get_mut(list).map(Spanned::get_mut) {
            keep(array, |_, item| !self.0.contains_key(&item.span().start));
        }
    }
}

/// The item of a list that a place is in, and the list's name.
fn item_of<'a, 't>(
    tree: &'a DeTable<'t>,
    place: &'a [Step],
) -> Option<(&'a str, &'a Spanned<DeValue<'t>>)> {
    let [Step::Key(key), Step::Item(at), ..] = place else {
        return None;
    };
    match tree.get(key.as_str())?.get_ref() {
        DeValue::Array(array) => Some((key, array.get(*at)?)),
        _ => None,
    }
}

fn name_of(item: &Spanned<DeValue<'_>>) -> Option<String> {
    match item.get_ref() {
        DeValue::Table(table) => Some(table.get("name")?.get_ref().as_str()?.to_owned()),
        _ => None,
    }
}

fn take_out(table: &mut DeTable<'_>, place: &[Step]) {
    let Some((Step::Key(key), rest)) = place.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.remove(key.as_str());
    } else if let Some(value) = table.get_mut(key.as_str()) {
        take_out_of(value.get_mut(), rest);
    }
}

fn take_out_of(value: &mut DeValue<'_>, place: &[Step]) {
    match (value, place) {
        (DeValue::Table(table), place) => take_out(table, place),
        (DeValue::Array(array), [Step::Item(at)]) => {
            let at = *at;
            keep(array, |index, _| index != at);
        }
        (DeValue::Array(array), [Step::Item(at), rest @ ..]) => {
            if let Some(item) = array.get_mut(*at) {
                take_out_of(item.get_mut(), rest);
            }
        }
        _ => {}
    }
}

fn keep<'t>(array: &mut DeArray<'t>, wanted: impl Fn(usize, &Spanned<DeValue<'t>>) -> bool) {
    let items = mem::replace(array, DeArray::new()).into_iter();
    let kept = items.enumerate().filter(|(at, item)| wanted(*at, item));
    for (_, item) in kept {
        array.push(item);
    }
}
