//! What commands print: lines, tables and JSON on standard output, without a panic when the reader
//! leaves early.

use std::{
    fmt,
    io::{self, Write as _},
};

use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::exit::{Exit, Failure};

/// Prints `text` and a line feed.
pub(crate) fn line(text: impl fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// Prints what is a whole document already.
pub(crate) fn bytes(document: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(document)
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// Prints `value` as JSON, indented, for scripts.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?;
    line(text)
}

/// Prints what was done: JSON for scripts, or else in words.
pub(crate) fn done(
    as_json: bool,
    value: &impl Serialize,
    words: impl fmt::Display,
) -> Result<Exit, Failure> {
    match as_json {
        true => json(value)?,
        false => line(words)?,
    }
    Ok(Exit::Done)
}

/// Prints a list: JSON for scripts, `{"items": [...], "next": null}` as the API has it; else a table, or
/// the words `none` where nothing is in it.
pub(crate) fn list<T: Serialize>(
    items: &[T],
    as_json: bool,
    table: impl FnOnce() -> Table,
    none: &str,
) -> Result<(), Failure> {
    if as_json {
        return json(&Page { items, next: None });
    }
    match items.is_empty() {
        true => line(none),
        false => line(table().styled()),
    }
}

#[derive(Serialize)]
struct Page<'a, T> {
    items: &'a [T],
    next: Option<&'a str>,
}

/// Prints `value` as one line of JSON, where several follow each other.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?;
    line(text)
}

/// Lines up rows under their heads, two spaces apart, by the columns that their letters take on a terminal.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    is_styled: bool,
}

impl Table {
    /// A table with these heads and no row.
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self {
            rows: vec![heads.map(str::to_owned).to_vec()],
            is_styled: false,
        }
    }

    /// With its heads bold, where that can be seen.
    fn styled(mut self) -> Self {
        self.is_styled = control::logging::takes_style(&io::stdout());
        self
    }

    /// Adds a row. Cells may come from the network, so control characters are shown as `?`: they
    /// would otherwise speak to the reader's terminal.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)).to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let is_bold = self.is_styled && index == 0;
            if is_bold {
                f.write_str("\x1b[1m")?;
            }
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                f.write_str(cell)?;
                if column + 1 < row.len() {
                    let gap = width.saturating_sub(cell.width()) + 2;
                    write!(f, "{:gap$}", "")?;
                }
            }
            if is_bold {
                f.write_str("\x1b[0m")?;
            }
        }
        Ok(())
    }
}

/// `text` with every control character replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// A member of a document as a table's cell: `-` where there is none.
pub(crate) fn member(document: &Value, name: &str) -> String {
    match &document[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A document in lines, one for each member that says something; those of its parts by `part.member`.
pub(crate) fn details(document: &Value) -> String {
    fn add(rows: &mut Vec<(String, String)>, front: &str, value: &Value) {
        let text = match value {
            Value::Null => return,
            Value::Object(members) => {
                for (name, value) in members {
                    let dot = if front.is_empty() { "" } else { "." };
                    add(rows, &format!("{front}{dot}{name}"), value);
                }
                return;
            }
            Value::Array(items) => {
                let texts = items.iter().map(|item| match item {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                texts.collect::<Vec<_>>().join(", ")
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        rows.push((front.to_owned(), printable(&text)));
    }
    let mut rows = Vec::new();
    add(&mut rows, "", document);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows
        .iter()
        .map(|(name, text)| format!("{name:<width$}  {text}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A number of things: `1 call`, `2 calls`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{ending}")
}

/// Seconds as people read them: `7 s`, `3 min 20 s`, `5 h 2 min`, `3 d 4 h`.
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_leaves_no_trailing_space() {
        let mut table = Table::new(["ID", "FROM", "STATE"]);
        table.row(["1".into(), "sip:alice@example.test".into(), "up".into()]);
        table.row(["22".into(), "sip:b".into(), "ringing".into()]);
        assert_eq!(
            table.to_string(),
            "ID  FROM                    STATE\n\
             1   sip:alice@example.test  up\n\
             22  sip:b                   ringing"
        );
    }

    #[test]
    fn a_table_lines_up_by_what_a_terminal_shows() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["\u{6771}\u{4eac}".into(), "up".into()]);
        table.row(["Zoe\u{308}".into(), "up".into()]);
        table.is_styled = true;
        assert_eq!(
            table.to_string(),
            "\u{1b}[1mNAME  STATE\u{1b}[0m\n\u{6771}\u{4eac}  up\nZoe\u{308}   up"
        );
    }

    #[test]
    fn a_document_is_a_line_for_each_member_that_says_something() {
        let document = serde_json::json!({
            "id": "1", "trunk": null, "media": { "callee": null, "caller": { "lost": 2 } },
            "listen": ["a", "b\n"],
        });
        assert_eq!(
            details(&document),
            "id                 1\n\
             listen             a, b?\n\
             media.caller.lost  2"
        );
    }

    #[test]
    fn what_came_from_the_network_does_not_speak_to_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\nc"), "a?[2Jb??c");
    }

    #[test]
    fn ages_are_short() {
        let ages = [7, 200, 18_120, 273_600].map(age);
        assert_eq!(ages, ["7 s", "3 min 20 s", "5 h 2 min", "3 d 4 h"]);
    }
}
