//! The index of a changed message, made from that of the message before: a proxy changes a few lines of
//! many, and to look for all of them again takes ten times as long as to write them.

use std::sync::OnceLock;

use bytes::Bytes;

use super::{Change, Edit, Start};
use crate::{
    header::HeaderName,
    message::{
        Limits, Message,
        fields::{Field, Fields},
        parse::{field, field_end, pos},
    },
    text::decimal,
};

impl Edit<'_> {
    /// What parsing `raw`, which was written for this edit, would yield; `None` where only parsing it can
    /// tell.
    pub(super) fn index(&self, raw: &Bytes, limits: &Limits) -> Option<Message> {
        let old = self.message;
        let (start, fields_at) = self.start();
        let ends = old.raw.get(old.fields_end as usize..);
        let is_whole = ends.is_some_and(|ends| ends.starts_with(b"\r\n"));
        if !is_whole || !self.keeps_length() || fields_at > limits.header {
            return None;
        }
        let mut index = Index {
            raw,
            limits,
            fields: Fields::new(),
            at: fields_at,
        };
        for line in self.top.iter().rev() {
            index.read(line.len())?;
        }
        let mut changes = self.changes.iter().peekable();
        let mut from = old.fields_at as usize;
        for (number, field) in old.fields.iter().enumerate() {
            // What stands between the fields is not known to be harmless.
            if field.start as usize != from {
                return None;
            }
            from = field.end(&old.raw);
            match changes.next_if(|(at, _)| *at == number) {
                None => index.copy(field, from)?,
                Some((_, Change::Remove)) => {}
                Some((_, Change::Value(value))) => {
                    let head = &old.raw[field.start as usize..field.value_start as usize];
                    let gap = usize::from(head.ends_with(b":"));
                    index.read(head.len() + gap + value.len() + 2)?;
                }
            }
        }
        if from != old.fields_end as usize {
            return None;
        }
        index.read_all(self.bottom.len())?;
        (index.fields.len() <= limits.headers).then(|| Message {
            raw: raw.clone(),
            start,
            fields_at: pos(fields_at),
            fields_end: pos(index.at),
            fields: index.fields,
            tags: OnceLock::new(),
        })
    }

    /// The start line, and where it ends.
    fn start(&self) -> (Start, usize) {
        let mut start = self.message.start.clone();
        let mut end = self.message.fields_at as usize;
        if let (Some(new), Start::Request { uri, version, .. }) = (&self.uri, &mut start) {
            let (from, until) = (uri.0 as usize, uri.1 as usize);
            let moved = |at: usize| at - until + from + new.len();
            end = moved(end);
            *version = (
                pos(moved(version.0 as usize)),
                pos(moved(version.1 as usize)),
            );
            uri.1 = pos(moved(until));
        }
        (start, end)
    }

    /// Whether the body is the one that was received, and as long as the header says.
    fn keeps_length(&self) -> bool {
        let old = self.message;
        let is_length = |at: &usize| old.fields.at(*at).name == Some(HeaderName::ContentLength);
        let length = u64::try_from(old.body().len()).ok();
        let mut lengths = old.fields.named(HeaderName::ContentLength);
        self.body.is_none()
            && !self.changes.iter().any(|(at, _)| is_length(at))
            && lengths.all(|field| decimal(self.value(field)) == length)
    }
}

/// The index while it is made.
struct Index<'a> {
    raw: &'a [u8],
    limits: &'a Limits,
    fields: Fields,
    /// How far it has come.
    at: usize,
}

impl Index<'_> {
    /// The next line is an old one: `field`, which ended at `end`.
    fn copy(&mut self, field: Field, end: usize) -> Option<()> {
        let start = field.start as usize;
        let moved = |at: u32| pos(at as usize - start + self.at);
        let here = Field {
            name: field.name,
            start: pos(self.at),
            value_start: moved(field.value_start),
            value_end: moved(field.value_end),
        };
        self.push(here, end - start)
    }

    /// The next line is a new one, of this length.
    fn read(&mut self, len: usize) -> Option<()> {
        let end = self.at + len;
        let field = field(self.raw, self.at, end.checked_sub(2)?)?;
        // It says where the body ends.
        if field.name == Some(HeaderName::ContentLength) {
            return None;
        }
        self.push(field, len)
    }

    /// The next lines are new ones, of this length together.
    fn read_all(&mut self, len: usize) -> Option<()> {
        let end = self.at + len;
        while self.at < end {
            let (end, _) = field_end(self.raw, self.at)?;
            self.read(end + 2 - self.at)?;
        }
        (self.at == end).then_some(())
    }

    fn push(&mut self, field: Field, len: usize) -> Option<()> {
        if len - 2 > self.limits.header {
            return None;
        }
        self.fields.push(field);
        self.at += len;
        Some(())
    }
}
