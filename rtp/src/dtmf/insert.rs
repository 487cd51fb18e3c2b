//! Telephone keys put into somebody else's stream.
//!
//! The party that hears the keys gets one stream, and cannot tell who presses: an event packet takes the place of a
//! packet of the speaker, with its SSRC and sequence number and, of the event's first one, its timestamp. So numbers go
//! on as they did, a packet that was lost before is lost now, and nothing has to be rewritten afterwards.
//!
//! A speaker that is silent (a mute phone, silence suppression) has no packets to take the place of. Then they are
//! made by the clock, with numbers that the speaker has not used yet, and his own later ones are moved ahead by as
//! many for as long as his stream lasts: [`Inserter::moves`].

use std::collections::VecDeque;

use super::{Step, TelephoneEvent};

/// Octets of a packet with an event.
pub const PACKET: usize = 12 + TelephoneEvent::LEN;

/// The last packet of an event is sent this often (RFC 4733 section 2.5.1.4).
const ENDS: u8 = 3;
/// What telephones make: -10 dBm0.
const VOLUME: u8 = 10;
/// A speaker is silent who has sent nothing for so long, in nanoseconds: more than radio makes a packet wait, so that
/// his numbers need not be moved for a gap in them.
const PATIENCE: u64 = 300_000_000;
/// Milliseconds of a packet, until the speaker's are known.
const PTIME_MS: u32 = 20;
/// The shortest and the longest packet that are believed, in milliseconds. Keys are told by the packet: a shorter one
/// would let who speaks have the hearer flooded.
const PTIMES_MS: std::ops::RangeInclusive<u32> = 5..=125;
/// A packet this far behind is late; further behind, the sender has restarted (RFC 3550 appendix A.1).
const MAX_MISORDER: u16 = 100;
const NS: u64 = 1_000_000_000;

/// What a hearer understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The payload type of `telephone-event`, 0 to 127.
    pub payload_type: u8,
    /// Its clock in Hz, 1,000 at least: durations are in its units.
    pub clock_rate: u32,
    /// The clock of the audio in Hz, 1,000 at least: timestamps are in its units.
    pub audio_rate: u32,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Synchronisation source.
    pub ssrc: u32,
    /// The highest sequence number.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
    /// When it came, in nanoseconds.
    pub at: u64,
}

/// What becomes of a packet of the speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes on, with this sequence number.
    Relay(u16),
    /// This goes instead of it.
    Replace([u8; PACKET]),
    /// Nothing does: it is late, and its place was taken by a packet of a key, or what came after it was replaced.
    Drop,
}

/// Puts keys into the stream that one party hears. Times are nanoseconds of one clock.
#[derive(Debug, Clone)]
pub struct Inserter {
    format: Format,
    steps: VecDeque<Step>,
    state: State,
    /// The speaker's stream, as it came; before he is heard, one of our own.
    stream: Position,
    is_heard: bool,
    /// How far his sequence numbers are moved ahead.
    offset: u16,
    /// The last of his numbers that a packet of a key took, or came after: what comes late from there or before may
    /// have lost its own.
    taken: Option<u16>,
    /// The timestamp up to which the hearer's stream has been filled, and when that was.
    cursor: u32,
    at: u64,
    /// One packet, in units of the audio's clock.
    step: u32,
    /// The clock makes the packets.
    is_silent: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    /// Nothing is pressed for so many units of the audio's clock.
    Pause(u32),
    Pressed(Pressed),
}

/// A key that is down, or was let go and is not yet told three times. In units of the audio's clock.
#[derive(Debug, Clone, Copy)]
struct Pressed {
    event: u8,
    /// The timestamp at which it went down.
    start: u32,
    total: u32,
    gap: u32,
    elapsed: u32,
    /// Where the present segment begins (RFC 4733 section 2.5.1.3).
    segment: u32,
    /// No packet has told of it.
    is_new: bool,
    /// How often its end was told.
    ends: u8,
}

impl Inserter {
    /// `speaker` is where the stream stands that the hearer gets, if any came; else one begins at `own`.
    #[must_use]
    pub fn new(format: Format, speaker: Option<Position>, own: Position) -> Self {
        let stream = speaker.unwrap_or(own);
        let step = units(PTIME_MS, format.audio_rate);
        Self {
            format,
            steps: VecDeque::new(),
            state: State::Idle,
            stream,
            is_heard: speaker.is_some(),
            offset: 0,
            taken: None,
            cursor: stream.timestamp.wrapping_add(step),
            at: stream.at,
            step,
            is_silent: speaker.is_none(),
        }
    }

    /// Presses keys, after those that are being pressed.
    pub fn press(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.steps.extend(steps);
        if matches!(self.state, State::Idle) {
            self.state = State::Pause(0);
        }
    }

    /// Steps that are to come.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.steps.len()
    }

    /// The hearer has said anew what he understands.
    pub fn set_format(&mut self, format: Format) {
        let (from, to) = (self.format.audio_rate, format.audio_rate);
        self.format = format;
        if from == to {
            return;
        }
        self.step = scale(self.step, from, to)
            .clamp(units(*PTIMES_MS.start(), to), units(*PTIMES_MS.end(), to));
        match &mut self.state {
            State::Idle => {}
            State::Pause(left) => *left = scale(*left, from, to),
            State::Pressed(pressed) => {
                let Pressed {
                    total,
                    gap,
                    elapsed,
                    segment,
                    ..
                } = pressed;
                for units in [total, gap, elapsed, segment] {
                    *units = scale(*units, from, to);
                }
            }
        }
    }

    /// Presses nothing more: the hearer does not understand it any longer.
    pub fn stop(&mut self) {
        self.steps.clear();
        self.state = State::Idle;
    }

    /// Whether nothing is pressed, nor will be.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether the speaker's packets have to be handed to [`handle_rtp`](Self::handle_rtp) still: something is pressed,
    /// or their sequence numbers are moved.
    #[must_use]
    pub const fn moves(&self) -> bool {
        !self.is_idle() || self.offset != 0
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let patience = match self.is_silent {
            true => 0,
            false => PATIENCE.saturating_sub(self.ns(self.step)),
        };
        let wait = match self.state {
            State::Idle => return None,
            State::Pause(left) => self.ns(left.max(self.step)),
            State::Pressed(_) => self.ns(self.step),
        };
        Some(self.at.saturating_add(wait + patience))
    }

    /// Takes an RTP packet of the speaker, by its header.
    pub fn handle_rtp(&mut self, now: u64, ssrc: u32, sequence: u16, timestamp: u32) -> Action {
        if !self.is_heard || self.stream.ssrc != ssrc {
            self.begin_stream(timestamp);
        } else {
            let ahead = sequence.wrapping_sub(self.stream.sequence);
            if ahead == 0 || ahead.wrapping_neg() <= MAX_MISORDER {
                return self.take_late(sequence);
            }
            let lasts = timestamp.wrapping_sub(self.stream.timestamp);
            let [least, most] =
                [PTIMES_MS.start(), PTIMES_MS.end()].map(|ms| units(*ms, self.format.audio_rate));
            if ahead == 1 && (least..=most).contains(&lasts) {
                self.step = lasts;
            }
        }
        self.stream = Position {
            ssrc,
            sequence,
            timestamp,
            at: now,
        };
        self.is_silent = false;

        let end = timestamp.wrapping_add(self.step);
        let ahead = end.wrapping_sub(self.cursor);
        let limit = self.format.audio_rate;
        let passed = if (1..=limit).contains(&ahead) {
            self.cursor = end;
            ahead
        } else if ahead.wrapping_neg() <= limit {
            // The clock has gone ahead of him, or his own stands still: he presses a key himself.
            self.stand_still(now)
        } else {
            // His clock has jumped.
            self.cursor = end;
            self.step
        };
        if passed > 0 {
            self.at = now;
        }
        let number = sequence.wrapping_add(self.offset);
        if !self.pass(passed) {
            return Action::Relay(number);
        }
        self.taken = Some(sequence);
        Action::Replace(self.packet(number))
    }

    /// Makes a packet where the speaker sends none.
    pub fn handle_timeout(&mut self, now: u64) -> Option<[u8; PACKET]> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return None;
        }
        self.is_silent = true;
        let packet_ns = self.ns(self.step).max(1);
        let packets = ((now - self.at + packet_ns / 2) / packet_ns).max(1);
        self.at += packets * packet_ns;
        #[expect(clippy::cast_possible_truncation, reason = "timestamps wrap")]
        let passed = (packets.wrapping_mul(u64::from(self.step))) as u32;
        self.cursor = self.cursor.wrapping_add(passed);
        // A pause may end and the next key go down at the same time.
        let tells =
            self.pass(passed) || matches!(self.state, State::Pause(0)) && self.pass(self.step);
        tells.then(|| {
            self.offset = self.offset.wrapping_add(1);
            self.taken = Some(self.stream.sequence);
            self.packet(self.stream.sequence.wrapping_add(self.offset))
        })
    }

    /// What has passed by the clock, while the speaker's timestamps say that nothing has.
    fn stand_still(&mut self, now: u64) -> u32 {
        if now.saturating_sub(self.at) < 2 * self.ns(self.step) {
            return 0;
        }
        self.cursor = self.cursor.wrapping_add(self.step);
        self.step
    }

    /// Another stream, which has used none of our numbers.
    const fn begin_stream(&mut self, timestamp: u32) {
        self.is_heard = true;
        self.offset = 0;
        self.taken = None;
        self.cursor = timestamp;
        if let State::Pressed(pressed) = &mut self.state {
            pressed.start = timestamp.wrapping_sub(pressed.elapsed);
        }
    }

    const fn take_late(&self, sequence: u16) -> Action {
        match self.taken {
            Some(taken) if taken.wrapping_sub(sequence) <= MAX_MISORDER => Action::Drop,
            _ => Action::Relay(sequence.wrapping_add(self.offset)),
        }
    }

    /// Lets `passed` units pass. Says whether a packet tells of a key then.
    fn pass(&mut self, passed: u32) -> bool {
        match &mut self.state {
            State::Idle => false,
            State::Pressed(pressed) => {
                pressed.elapsed = pressed.elapsed.saturating_add(passed);
                true
            }
            State::Pause(0) => self.next_step(passed),
            State::Pause(left) => {
                *left = left.saturating_sub(passed);
                if *left == 0 && self.steps.is_empty() {
                    self.state = State::Idle;
                }
                false
            }
        }
    }

    fn next_step(&mut self, passed: u32) -> bool {
        // An event that has not lasted cannot be told.
        let elapsed = passed.min(self.step);
        if elapsed == 0 {
            return false;
        }
        let rate = self.format.audio_rate;
        self.state = match self.steps.pop_front() {
            None => State::Idle,
            Some(Step::Pause { ms }) => State::Pause(units(ms.into(), rate)),
            Some(Step::Key { event, ms, gap_ms }) => State::Pressed(Pressed {
                event,
                start: self.cursor.wrapping_sub(elapsed),
                total: units(ms.into(), rate),
                gap: units(gap_ms.into(), rate),
                elapsed,
                segment: 0,
                is_new: true,
                ends: 0,
            }),
        };
        matches!(self.state, State::Pressed(_))
    }

    /// The packet that tells of the key.
    fn packet(&mut self, sequence: u16) -> [u8; PACKET] {
        // `pass` has just said that a key is down.
        let State::Pressed(pressed) = &mut self.state else {
            return [0; PACKET];
        };
        let Format {
            payload_type,
            clock_rate,
            audio_rate,
        } = self.format;
        let longest = scale(u16::MAX.into(), clock_rate, audio_rate).max(1);
        let timestamp = pressed.start.wrapping_add(pressed.segment);
        let lasted = pressed.elapsed.min(pressed.total) - pressed.segment;
        let is_full = lasted > longest;
        let end = !is_full && pressed.elapsed >= pressed.total;
        let duration = scale(lasted.min(longest), audio_rate, clock_rate);
        let event = TelephoneEvent {
            event: pressed.event,
            end,
            volume: VOLUME,
            duration: u16::try_from(duration).unwrap_or(u16::MAX),
        };
        let marker = std::mem::take(&mut pressed.is_new);
        if is_full {
            pressed.segment += longest;
        }
        pressed.ends += u8::from(end);
        if pressed.ends == ENDS {
            let rested = pressed.elapsed - pressed.total;
            let left = pressed.gap.saturating_sub(rested);
            self.state = match left == 0 && self.steps.is_empty() {
                true => State::Idle,
                false => State::Pause(left),
            };
        }

        let mut packet = [0; PACKET];
        packet[0] = 2 << 6;
        packet[1] = u8::from(marker) << 7 | (payload_type & 0x7f);
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.stream.ssrc.to_be_bytes());
        packet[12..].copy_from_slice(&event.encode());
        packet
    }

    /// Nanoseconds of units of the audio's clock.
    fn ns(&self, units: u32) -> u64 {
        u64::from(units) * NS / u64::from(self.format.audio_rate.max(1))
    }
}

/// Units of a clock.
fn units(ms: u32, rate: u32) -> u32 {
    scale(ms, 1000, rate)
}

/// From units of one clock to those of another.
fn scale(units: u32, from: u32, to: u32) -> u32 {
    let scaled = u64::from(units) * u64::from(to) / u64::from(from.max(1));
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
