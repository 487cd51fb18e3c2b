//! What was received and sent lately, so that a call's messages can be shown while it is up and for a
//! while after.
//!
//! Two rings of bounded size share the messages' own buffers: one for calls, one for what would push
//! them out (REGISTER and OPTIONS come from every phone every few seconds). Nothing is parsed or
//! copied until somebody asks; then the rings are searched by Call-ID.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::signal::{TracePage, TracedMessage};
use memchr::memmem;
use sip::message::Message;
use store::Uuid;

use super::Core;
use crate::{
    metrics::Direction,
    net::{Flow, call_id},
};

/// Messages on a page at most: the rest is asked for by its cursor.
const PAGE: usize = 500;
/// How long a call that is over is found by Tandem's own id.
const MEMORY: Duration = Duration::from_secs(60);
/// Calls that are over and remembered, at most.
const REMEMBERED: usize = 8_192;
/// What stands before the method of a response, as nearly everybody writes it.
const CSEQ: &[u8] = b"\nCSeq:";
/// Of eight parts of the memory, how many are for calls.
const FOR_CALLS: usize = 6;

/// The messages of one worker.
#[derive(Debug)]
pub(super) struct Trace {
    calls: Ring,
    others: Ring,
    cseq: memmem::Finder<'static>,
    next: u64,
    /// Calls that are over: when, Tandem's id, and the Call-ID.
    finished: VecDeque<(Instant, Uuid, String)>,
}

#[derive(Debug)]
struct Ring {
    messages: VecDeque<Entry>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    at: Instant,
    direction: Direction,
    flow: Flow,
    raw: Bytes,
}

impl Trace {
    /// `limit` is in bytes; 0 keeps nothing.
    pub(super) fn new(limit: usize) -> Self {
        let calls = limit / 8 * FOR_CALLS;
        Self {
            calls: Ring::new(calls),
            others: Ring::new(limit - calls),
            cseq: memmem::Finder::new(CSEQ),
            next: 0,
            finished: VecDeque::new(),
        }
    }

    /// Keeps a message.
    pub(super) fn push(&mut self, at: Instant, direction: Direction, flow: Flow, raw: &Bytes) {
        let ring = match is_call(&self.cseq, raw) {
            true => &mut self.calls,
            false => &mut self.others,
        };
        self.next += 1;
        ring.push(Entry {
            number: self.next,
            at,
            direction,
            flow,
            raw: raw.clone(),
        });
    }

    /// A call is over.
    pub(super) fn remember(&mut self, now: Instant, id: Uuid, call_id: String) {
        self.forget(now);
        if self.finished.len() == REMEMBERED {
            self.finished.pop_front();
        }
        self.finished.push_back((now, id, call_id));
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, ..)) = self.finished.front()
            && *at + MEMORY <= now
        {
            self.finished.pop_front();
        }
    }

    fn finished_call(&self, id: &str) -> Option<&str> {
        let mut finished = self.finished.iter();
        finished
            .find(|(_, known, _)| known.to_string() == id)
            .map(|(.., call_id)| call_id.as_str())
    }

    /// The messages of a Call-ID after that of number `after`, in their order.
    fn of<'t>(&'t self, call_id: &'t str, after: u64) -> impl Iterator<Item = &'t Entry> {
        let wanted = move |entry: &&Entry| {
            entry.number > after && call_id::find(&entry.raw) == Some(call_id.as_bytes())
        };
        let mut calls = self.calls.messages.iter().filter(wanted).peekable();
        let mut others = self.others.messages.iter().filter(wanted).peekable();
        std::iter::from_fn(move || {
            let first = match (calls.peek(), others.peek()) {
                (Some(call), Some(other)) => call.number < other.number,
                (call, _) => call.is_some(),
            };
            if first { calls.next() } else { others.next() }
        })
    }
}

impl Ring {
    fn new(limit: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    fn push(&mut self, entry: Entry) {
        let size = entry.size();
        if size > self.limit {
            return;
        }
        self.bytes += size;
        self.messages.push_back(entry);
        while self.bytes > self.limit
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }
}

impl Entry {
    /// What it keeps in memory, itself included.
    fn size(&self) -> usize {
        self.raw.len() + size_of::<Self>()
    }
}

/// Whether a message belongs to a call, or might: not to what phones send all the time. Looks at one
/// line only, for this is asked of every message.
fn is_call(cseq: &memmem::Finder<'static>, raw: &[u8]) -> bool {
    const CHATTER: [&[u8]; 2] = [b"REGISTER", b"OPTIONS"];
    let method = if raw.starts_with(b"SIP/2.0 ") {
        let value = cseq.find(raw).and_then(|at| raw.get(at + CSEQ.len()..));
        let line = value.and_then(|value| value.split(|byte| *byte == b'\r').next());
        line.and_then(|line| line.rsplit(|byte| *byte == b' ').next())
    } else {
        raw.split(|byte| *byte == b' ').next()
    };
    !method.is_some_and(|method| CHATTER.contains(&method))
}

impl Core {
    /// The messages of a call, by Tandem's id or its Call-ID, after the one of number `after`; `None`
    /// where this worker has none. With `full` each has its whole text.
    pub(crate) fn trace(&self, id: &str, after: u64, full: bool) -> Option<TracePage> {
        let live = self.calls.values().find(|call| call.id.to_string() == id);
        let call_id = live
            .map(|call| call.call_id.as_str())
            .or_else(|| self.trace.finished_call(id))
            .unwrap_or(id);
        let found: Vec<_> = self.trace.of(call_id, after).take(PAGE).collect();
        let calls = || self.calls.values();
        let up = live.is_some() || calls().any(|call| call.call_id == call_id);
        if found.is_empty() && !up && self.trace.of(call_id, 0).next().is_none() {
            return None;
        }
        let next = found.last().map_or(after, |entry| entry.number);
        Some(TracePage {
            call_id: call_id.to_owned(),
            up,
            messages: found
                .into_iter()
                .map(|entry| self.show(entry, full))
                .collect(),
            next,
        })
    }

    fn show(&self, entry: &Entry, full: bool) -> TracedMessage {
        let line = entry.raw.split(|byte| *byte == b'\r').next();
        let cseq = Message::parse(entry.raw.clone()).ok();
        let cseq = cseq.and_then(|message| message.cseq().ok());
        let received = entry.direction == Direction::In;
        let peer = if received {
            entry.flow.remote
        } else {
            entry.flow.reply_to
        };
        TracedMessage {
            at_us: self.time_us(entry.at),
            received,
            transport: entry.flow.transport.to_string(),
            local: entry.flow.local,
            peer,
            line: sip::redact::line(line.unwrap_or_default()),
            cseq: cseq.map(|cseq| format!("{} {}", cseq.number, cseq.method)),
            text: full.then(|| sip::redact::message(&entry.raw)),
        }
    }

    /// The time of day at an instant, in microseconds since 1970.
    fn time_us(&self, at: Instant) -> i64 {
        let (known, time) = self.clock;
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let since = us(at.saturating_duration_since(known));
        let before = us(known.saturating_duration_since(at));
        let known = time.millis().saturating_mul(1000);
        known.saturating_add(since).saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use control::config::Transport;

    use super::*;

    fn flow() -> Flow {
        let [local, peer] = ["192.0.2.1:5060", "192.0.2.10:5060"].map(|at| at.parse().unwrap());
        Flow::to(Transport::Udp, local, peer)
    }

    fn text(line: &str, call_id: &str, cseq: &str) -> Bytes {
        format!("{line}\r\nCall-ID: {call_id}\r\nCSeq: 1 {cseq}\r\nContent-Length: 0\r\n\r\n")
            .into()
    }

    #[test]
    fn memory_is_bounded_and_chatter_does_not_push_calls_out() {
        let mut trace = Trace::new(80_000);
        let now = Instant::now();
        let invite = text("INVITE sip:a SIP/2.0", "call", "INVITE");
        trace.push(now, Direction::In, flow(), &invite);
        for _ in 0..10_000 {
            for (line, cseq) in [
                ("REGISTER sip:a SIP/2.0", "REGISTER"),
                ("OPTIONS sip:a SIP/2.0", "OPTIONS"),
                ("SIP/2.0 200 OK", "REGISTER"),
                ("SIP/2.0 200 OK", "OPTIONS"),
            ] {
                trace.push(now, Direction::In, flow(), &text(line, "phone", cseq));
            }
        }
        assert!(trace.others.bytes <= 20_000 && trace.others.messages.len() > 50);
        assert_eq!(trace.of("call", 0).count(), 1);
        for _ in 0..1_000 {
            trace.push(
                now,
                Direction::Out,
                flow(),
                &text("SIP/2.0 200 OK", "x", "INVITE"),
            );
        }
        assert!(trace.calls.bytes <= 60_000);
        assert_eq!(trace.of("call", 0).count(), 0);
        let kept: usize = trace.calls.messages.iter().map(Entry::size).sum();
        assert_eq!(kept, trace.calls.bytes);
    }

    #[test]
    fn nothing_is_kept_where_no_memory_is_given() {
        let mut trace = Trace::new(0);
        let invite = text("INVITE sip:a SIP/2.0", "call", "INVITE");
        trace.push(Instant::now(), Direction::In, flow(), &invite);
        assert!(trace.calls.messages.is_empty());
    }

    #[test]
    fn both_rings_come_out_in_order() {
        let mut trace = Trace::new(80_000);
        let now = Instant::now();
        for method in ["OPTIONS", "INVITE", "REGISTER", "BYE"] {
            let line = format!("{method} sip:a SIP/2.0");
            trace.push(now, Direction::In, flow(), &text(&line, "one", method));
        }
        let numbers: Vec<_> = trace.of("one", 1).map(|entry| entry.number).collect();
        assert_eq!(numbers, [2, 3, 4]);
    }
}
