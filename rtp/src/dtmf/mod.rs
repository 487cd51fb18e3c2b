//! Telephone keys: what is dialled, and the RTP events that say so (RFC 4733).
//!
//! [`Inserter`] puts them into a stream that somebody else sends; [`Detector`] hears them as tones.

mod detect;
mod insert;

use thiserror::Error;

pub use detect::Detector;
pub use insert::{Action, Format, Inserter, PACKET, Position};

/// The shortest and the longest key, and the shortest and the longest silence after one, in milliseconds.
pub const DURATIONS: std::ops::RangeInclusive<u16> = 40..=6000;
/// Characters of one dialled string at most.
pub const MAX_DIGITS: usize = 100;
/// What `w` waits, in milliseconds; `W` waits twice as long.
const WAIT: u16 = 500;

/// The payload of a telephone event (RFC 4733 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Which one: 0 to 15 are the keys.
    pub event: u8,
    /// It is over.
    pub end: bool,
    /// Its power, in dBm0 without the sign, 0 to 63.
    pub volume: u8,
    /// How long it lasts so far, in units of the RTP clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Octets of a payload.
    pub const LEN: usize = 4;

    /// Reads a payload; `None` where it is too short to be one.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low] = *payload.first_chunk()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The payload.
    #[must_use]
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [high, low] = self.duration.to_be_bytes();
        let flags = (self.end as u8) << 7 | (self.volume & 0x3f);
        [self.event, flags, high, low]
    }
}

/// One thing of what is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A key is pressed.
    Key {
        /// Its event, 0 to 15.
        event: u8,
        /// For how long, in milliseconds.
        ms: u16,
        /// The silence after it, in milliseconds.
        gap_ms: u16,
    },
    /// Nothing is pressed.
    Pause {
        /// For how long, in milliseconds.
        ms: u16,
    },
}

/// Why something cannot be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DialError {
    /// Nothing to dial.
    #[error("no digits: give at least one of 0-9, A-D, * and #")]
    Empty,
    /// More than [`MAX_DIGITS`].
    #[error("{0} digits are too many: {MAX_DIGITS} at once")]
    TooMany(usize),
    /// No key of a telephone.
    #[error(
        "'{0}' is no key: digits are 0-9, A-D, * and #, with w for a pause of half a second and W for one second"
    )]
    NoKey(char),
    /// A duration out of [`DURATIONS`].
    #[error(
        "{what} of {ms} ms is not possible: {} to {} ms are",
        DURATIONS.start(),
        DURATIONS.end()
    )]
    Duration {
        /// Of what.
        what: &'static str,
        /// How long.
        ms: u16,
    },
}

/// What `digits` dial: each key pressed for `ms` milliseconds with `gap_ms` of silence after it; `w` waits half a second
/// more, and `W` a second.
///
/// # Errors
/// [`DialError`] says what is wrong with it.
pub fn dial(digits: &str, ms: u16, gap_ms: u16) -> Result<Vec<Step>, DialError> {
    for (what, ms) in [("a key", ms), ("a gap", gap_ms)] {
        if !DURATIONS.contains(&ms) {
            return Err(DialError::Duration { what, ms });
        }
    }
    let count = digits.chars().count();
    match count {
        0 => return Err(DialError::Empty),
        1..=MAX_DIGITS => {}
        _ => return Err(DialError::TooMany(count)),
    }
    let step = |digit| match digit {
        'w' => Ok(Step::Pause { ms: WAIT }),
        'W' => Ok(Step::Pause { ms: 2 * WAIT }),
        key => match event(key) {
            Some(event) => Ok(Step::Key { event, ms, gap_ms }),
            None => Err(DialError::NoKey(key)),
        },
    };
    digits.chars().map(step).collect()
}

/// The event of a key (RFC 4733 section 3.2).
#[must_use]
pub const fn event(key: char) -> Option<u8> {
    let octet = key as u8;
    Some(match key {
        '0'..='9' => octet - b'0',
        '*' => 10,
        '#' => 11,
        'A'..='D' => octet - b'A' + 12,
        'a'..='d' => octet - b'a' + 12,
        _ => return None,
    })
}

/// The key of an event.
#[must_use]
pub const fn key(event: u8) -> Option<char> {
    Some(match event {
        0..=9 => (b'0' + event) as char,
        10 => '*',
        11 => '#',
        12..=15 => (b'A' + event - 12) as char,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_its_event_and_back() {
        for (event_of, key_of) in (0..).zip("0123456789*#ABCD".chars()) {
            assert_eq!(event(key_of), Some(event_of));
            assert_eq!(key(event_of), Some(key_of));
        }
        assert_eq!((event('d'), event('e'), key(16)), (Some(15), None, None));
    }

    #[test]
    fn digits_are_keys_and_pauses() {
        let key = |event| Step::Key {
            event,
            ms: 80,
            gap_ms: 40,
        };
        assert_eq!(
            dial("1w#W", 80, 40).unwrap(),
            [
                key(1),
                Step::Pause { ms: 500 },
                key(11),
                Step::Pause { ms: 1000 }
            ]
        );
    }

    #[test]
    fn what_cannot_be_dialled_says_why() {
        assert_eq!(dial("", 100, 100), Err(DialError::Empty));
        assert_eq!(dial("1x", 100, 100), Err(DialError::NoKey('x')));
        assert_eq!(
            dial(&"1".repeat(101), 100, 100),
            Err(DialError::TooMany(101))
        );
        for (ms, gap_ms) in [(39, 100), (6001, 100), (100, 39), (100, 6001)] {
            let refused = dial("1", ms, gap_ms).unwrap_err();
            assert!(
                refused.to_string().ends_with("40 to 6000 ms are"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        let event = TelephoneEvent {
            event: 11,
            end: true,
            volume: 10,
            duration: 800,
        };
        assert_eq!(event.encode(), [11, 0x8a, 3, 0x20]);
        assert_eq!(TelephoneEvent::parse(&event.encode()), Some(event));
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), None);
    }
}
