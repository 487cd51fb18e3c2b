//! What was received and sent lately, so that a call's messages can be shown while it is up and for a
//! while after.
//!
//! Two rings of bounded size: one for calls, one for what would push them out (REGISTER and OPTIONS come
//! from every phone every few seconds). Messages are copied into one buffer after the other, round and
//! round: to share their own buffers instead would save the copy, and keep each of them until it is out of
//! every cache before it can be used for another message, which costs more. Nothing is parsed until
//! somebody asks; then the rings are searched by Call-ID.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::{
    config::Transport,
    signal::{TracePage, TracedMessage},
};
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
/// Messages of a call in its trace at most: what OpenTelemetry lets a span have unless told.
#[cfg(feature = "otel")]
const MOST_TRACED: usize = 128;
/// Of eight parts of the memory, how many are for calls.
const FOR_CALLS: usize = 6;
/// Of eight parts of a ring, how many are for the texts; the rest is for what is known of each.
const FOR_TEXTS: usize = 6;

/// The messages of one worker.
#[derive(Debug)]
pub(super) struct Trace {
    calls: Ring,
    others: Ring,
    cseq: memmem::Finder<'static>,
    next: u64,
    /// Calls that are over.
    finished: VecDeque<Finished>,
}

/// A call that is over.
#[derive(Debug)]
struct Finished {
    at: Instant,
    id: Uuid,
    call_id: String,
    tenant: Option<Arc<str>>,
}

/// Whose messages are asked for: as [`Request::Trace`](control::signal::Request::Trace) has it.
#[derive(Clone, Debug)]
pub(crate) struct TraceAsked {
    pub(crate) id: String,
    pub(crate) after: u64,
    pub(crate) full: bool,
    pub(crate) tenant: Option<String>,
}

/// A call that is over, for those who look at it elsewhere.
#[cfg(feature = "otel")]
#[derive(Debug)]
pub(crate) struct TracedCall {
    pub(crate) cdr: store::Cdr,
    /// Its messages, without their texts: as many as a span holds by default.
    pub(crate) messages: Vec<TracedMessage>,
}

#[derive(Debug)]
struct Ring {
    /// In the order of their coming, and of their texts but for the one turn of the ring among them.
    messages: VecDeque<Entry>,
    /// How many there may be.
    most: usize,
    /// Empty until the first message comes.
    texts: Box<[u8]>,
    /// How long `texts` is then.
    room: usize,
    /// Where in it the next one goes.
    next: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    at: Instant,
    direction: Direction,
    transport: Transport,
    local: SocketAddr,
    peer: SocketAddr,
    /// Its text, in the ring's.
    text: Range<usize>,
}

/// A message that is still there.
#[derive(Clone, Copy, Debug)]
struct Kept<'t> {
    entry: &'t Entry,
    text: &'t [u8],
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
    pub(super) fn push(&mut self, at: Instant, direction: Direction, flow: &Flow, text: &[u8]) {
        let ring = match is_call(&self.cseq, text) {
            true => &mut self.calls,
            false => &mut self.others,
        };
        self.next += 1;
        let entry = Entry {
            number: self.next,
            at,
            direction,
            transport: flow.transport,
            local: flow.local,
            peer: match direction {
                Direction::In => flow.remote,
                Direction::Out => flow.reply_to,
            },
            text: 0..0,
        };
        ring.push(entry, text);
    }

    /// A call is over.
    pub(super) fn remember(
        &mut self,
        now: Instant,
        id: Uuid,
        call_id: String,
        tenant: Option<Arc<str>>,
    ) {
        self.forget(now);
        if self.finished.len() == REMEMBERED {
            self.finished.pop_front();
        }
        self.finished.push_back(Finished {
            at: now,
            id,
            call_id,
            tenant,
        });
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.finished.front()
            && oldest.at + MEMORY <= now
        {
            self.finished.pop_front();
        }
    }

    fn finished_call(&self, id: &str) -> Option<&Finished> {
        let mut finished = self.finished.iter();
        finished.find(|known| known.id.to_string() == id)
    }

    /// The messages of a Call-ID after that of number `after`, in their order.
    fn of<'t>(&'t self, call_id: &'t str, after: u64) -> impl Iterator<Item = Kept<'t>> {
        let wanted = move |kept: &Kept<'_>| call_id::find(kept.text) == Some(call_id.as_bytes());
        let mut calls = self.calls.after(after).filter(wanted).peekable();
        let mut others = self.others.after(after).filter(wanted).peekable();
        std::iter::from_fn(move || {
            let first = match (calls.peek(), others.peek()) {
                (Some(call), Some(other)) => call.entry.number < other.entry.number,
                (call, _) => call.is_some(),
            };
            if first { calls.next() } else { others.next() }
        })
    }
}

impl Ring {
    fn new(limit: usize) -> Self {
        let room = limit / 8 * FOR_TEXTS;
        Self {
            messages: VecDeque::new(),
            most: (limit - room) / size_of::<Entry>(),
            texts: Box::default(),
            room,
            next: 0,
        }
    }

    /// Keeps a message; the oldest ones make room for it.
    fn push(&mut self, mut entry: Entry, text: &[u8]) {
        if text.len() > self.room || self.most == 0 {
            return;
        }
        if self.texts.is_empty() {
            // Memory that nobody has written to yet is none.
            self.texts = vec![0; self.room].into();
            self.messages.reserve_exact(self.most);
        }
        if self.next + text.len() > self.room {
            self.forget_texts(self.next..self.room);
            self.next = 0;
        }
        entry.text = self.next..self.next + text.len();
        self.forget_texts(entry.text.clone());
        if self.messages.len() == self.most {
            self.messages.pop_front();
        }
        self.next = entry.text.end;
        if let Some(place) = self.texts.get_mut(entry.text.clone()) {
            place.copy_from_slice(text);
        }
        self.messages.push_back(entry);
    }

    /// Forgets the messages that begin in a part of the texts, which is the part behind what was written
    /// last: they are the oldest.
    fn forget_texts(&mut self, part: Range<usize>) {
        while let Some(oldest) = self.messages.front()
            && part.contains(&oldest.text.start)
        {
            self.messages.pop_front();
        }
    }

    /// The number of the last one before `at`; 0 where there is none.
    #[cfg(feature = "otel")]
    fn last_before(&self, at: Instant) -> u64 {
        let first = self.messages.partition_point(|entry| entry.at < at);
        let last = first
            .checked_sub(1)
            .and_then(|last| self.messages.get(last));
        last.map_or(0, |entry| entry.number)
    }

    /// Those after the one of this number.
    fn after(&self, number: u64) -> impl Iterator<Item = Kept<'_>> {
        let first = self
            .messages
            .partition_point(|entry| entry.number <= number);
        self.messages.range(first..).map(|entry| Kept {
            entry,
            text: self.texts.get(entry.text.clone()).unwrap_or_default(),
        })
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
    pub(crate) fn trace(&self, asked: &TraceAsked) -> Option<TracePage> {
        let TraceAsked {
            id,
            after,
            full,
            tenant,
        } = asked;
        let live = self.calls.values().find(|call| call.id.to_string() == *id);
        let known = live
            .map(|call| (call.call_id.as_str(), &call.tenant))
            .or_else(|| {
                let over = self.trace.finished_call(id)?;
                Some((over.call_id.as_str(), &over.tenant))
            });
        if tenant.is_some() && known.and_then(|(_, own)| own.as_deref()) != tenant.as_deref() {
            return None;
        }
        let (call_id, after) = (known.map_or(id.as_str(), |(call_id, _)| call_id), *after);
        let found: Vec<_> = self.trace.of(call_id, after).take(PAGE).collect();
        let calls = || self.calls.values();
        let up = live.is_some() || calls().any(|call| call.call_id == call_id);
        if found.is_empty() && !up && self.trace.of(call_id, 0).next().is_none() {
            return None;
        }
        let next = found.last().map_or(after, |kept| kept.entry.number);
        Some(TracePage {
            call_id: call_id.to_owned(),
            up,
            messages: found
                .into_iter()
                .map(|kept| self.show(kept, *full))
                .collect(),
            next,
        })
    }

    fn show(&self, Kept { entry, text }: Kept<'_>, full: bool) -> TracedMessage {
        let line = text.split(|byte| *byte == b'\r').next();
        let cseq = Message::parse(Bytes::copy_from_slice(text)).ok();
        let cseq = cseq.and_then(|message| message.cseq().ok());
        TracedMessage {
            at_us: self.time_us(entry.at),
            received: entry.direction == Direction::In,
            transport: entry.transport.to_string(),
            local: entry.local,
            peer: entry.peer,
            line: sip::redact::line(line.unwrap_or_default()),
            cseq: cseq.map(|cseq| format!("{} {}", cseq.number, cseq.method)),
            text: full.then(|| sip::redact::message(text)),
        }
    }

    /// A call that is over, with what was received and sent for it.
    #[cfg(feature = "otel")]
    pub(super) fn traced_call(&self, cdr: &store::Cdr) -> TracedCall {
        // Nothing of it is older than it is: the ring is not searched as a whole for each call.
        let (known, time) = self.clock;
        let began = known.checked_sub(time.since(cdr.started) + Duration::from_secs(1));
        let first = began.map_or(0, |began| self.trace.calls.last_before(began));
        let messages = self.trace.of(&cdr.call_id, first).take(MOST_TRACED);
        TracedCall {
            cdr: cdr.clone(),
            messages: messages.map(|kept| self.show(kept, false)).collect(),
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
    use proptest::prelude::*;

    use super::*;

    fn flow() -> Flow {
        let [local, peer] = ["192.0.2.1:5060", "192.0.2.10:5060"].map(|at| at.parse().unwrap());
        Flow::to(Transport::Udp, local, peer)
    }

    fn text(line: &str, call_id: &str, cseq: &str) -> String {
        format!("{line}\r\nCall-ID: {call_id}\r\nCSeq: 1 {cseq}\r\nContent-Length: 0\r\n\r\n")
    }

    fn push(trace: &mut Trace, direction: Direction, text: &str) {
        trace.push(Instant::now(), direction, &flow(), text.as_bytes());
    }

    #[test]
    fn memory_is_bounded_and_chatter_does_not_push_calls_out() {
        let mut trace = Trace::new(80_000);
        let invite = text("INVITE sip:a SIP/2.0", "call", "INVITE");
        push(&mut trace, Direction::In, &invite);
        for _ in 0..10_000 {
            for (line, cseq) in [
                ("REGISTER sip:a SIP/2.0", "REGISTER"),
                ("OPTIONS sip:a SIP/2.0", "OPTIONS"),
                ("SIP/2.0 200 OK", "REGISTER"),
                ("SIP/2.0 200 OK", "OPTIONS"),
            ] {
                push(&mut trace, Direction::In, &text(line, "phone", cseq));
            }
        }
        let size = |ring: &Ring| ring.texts.len() + ring.messages.capacity() * size_of::<Entry>();
        assert!(size(&trace.others) <= 20_000 && trace.others.messages.len() > 30);
        assert_eq!(trace.of("call", 0).count(), 1);
        for _ in 0..1_000 {
            let ok = text("SIP/2.0 200 OK", "x", "INVITE");
            push(&mut trace, Direction::Out, &ok);
        }
        assert!(size(&trace.calls) <= 60_000);
        assert_eq!(trace.of("call", 0).count(), 0);
    }

    #[test]
    fn nothing_is_kept_where_no_memory_is_given() {
        let mut trace = Trace::new(0);
        let invite = text("INVITE sip:a SIP/2.0", "call", "INVITE");
        push(&mut trace, Direction::In, &invite);
        assert!(trace.calls.messages.is_empty());
    }

    #[test]
    fn both_rings_come_out_in_order() {
        let mut trace = Trace::new(80_000);
        for method in ["OPTIONS", "INVITE", "REGISTER", "BYE"] {
            let line = format!("{method} sip:a SIP/2.0");
            push(&mut trace, Direction::In, &text(&line, "one", method));
        }
        let numbers: Vec<_> = trace.of("one", 1).map(|kept| kept.entry.number).collect();
        assert_eq!(numbers, [2, 3, 4]);
    }

    proptest! {
        /// The texts of the last messages are whole, whatever came before them and wherever the ring
        /// turned.
        #[test]
        fn what_is_kept_is_what_came_last(lengths in proptest::collection::vec(0usize..700, 1..200)) {
            let mut ring = Ring::new(4_000);
            let mut all = Vec::new();
            for (number, length) in (1u8..).zip(lengths) {
                let entry = Entry {
                    number: number.into(),
                    at: Instant::now(),
                    direction: Direction::In,
                    transport: Transport::Udp,
                    local: flow().local,
                    peer: flow().remote,
                    text: 0..0,
                };
                let text = vec![number; length];
                ring.push(entry, &text);
                all.push((u64::from(number), text));
                let kept = ring.after(0).map(|kept| (kept.entry.number, kept.text.to_vec()));
                let kept: Vec<_> = kept.collect();
                prop_assert!(!kept.is_empty() && kept.len() <= ring.most);
                prop_assert_eq!(&kept[..], &all[all.len() - kept.len()..]);
            }
        }
    }
}
