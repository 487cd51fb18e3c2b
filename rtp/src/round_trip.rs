//! Round-trip times between a node and a party, from RTCP that passes by (RFC 3550 section 6.4.1, RFC 3611 sections 4.4
//! and 4.5).
//!
//! Who relays RTCP sees a sender report go to a party, and later that party's report block come back, which says how long
//! ago the party got it. What is left of the time between is the way to the party and back. So a relay between two parties
//! knows each half of the way, and both together are the way between them. Nothing needs any clock but the relay's own.

use crate::rtcp::{
    BLOCK, EXTENDED_REPORT, RECEIVER_REPORT, SENDER_REPORT,
    extended::{LAST_REFERENCE, REFERENCE_TIME, SUB_BLOCK},
    split,
};

/// Reports that an answer may still come to: both of SR and RRTR, of an interval and of the one before.
const KEPT: usize = 4;
/// Longer is no round trip, in nanoseconds.
const LONGEST: i64 = 60_000_000_000;
/// What clocks that are read in 1/65536 s, and late, may make of a short one.
const TOLERANCE: i64 = 20_000_000;

/// What RTCP says of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A sender report, or a receiver's reference time: the middle 32 bits of its NTP time.
    Sent(u32),
    /// A report block, or a DLRR sub-block: which report came last, and how long ago, in 1/65536 s.
    Heard {
        /// The middle 32 bits of its NTP time, which are not 0.
        last: u32,
        /// Time since it came, in 1/65536 s.
        delay: u32,
    },
}

/// The round-trip time to one party. Times are nanoseconds of one clock.
#[derive(Debug, Clone, Default)]
pub struct RoundTrip {
    /// What went to the party, and when.
    passed: [(u32, u64); KEPT],
    next: usize,
    smoothed_us: Option<u32>,
}

impl RoundTrip {
    /// RTCP goes to the party.
    pub fn told(&mut self, report: Report, at: u64) {
        let Report::Sent(time) = report else { return };
        if let Some(place) = self.passed.get_mut(self.next) {
            *place = (time, at);
            self.next = (self.next + 1) % KEPT;
        }
    }

    /// RTCP has come from the party.
    pub fn heard(&mut self, report: Report, at: u64) {
        let Report::Heard { last, delay } = report else {
            return;
        };
        let passed = self.passed.iter().filter(|(time, _)| *time == last);
        let Some(passed) = passed.map(|(_, at)| *at).max() else {
            return;
        };
        let delay = i64::from(delay) * 1_000_000_000 / 65_536;
        let since = i64::try_from(at.saturating_sub(passed)).unwrap_or(i64::MAX);
        let trip = since - delay;
        if !(-TOLERANCE..=LONGEST).contains(&trip) {
            return;
        }
        let us = u32::try_from(trip.max(0) / 1_000).unwrap_or(0);
        // As TCP smooths it (RFC 6298 section 2.3).
        self.smoothed_us = Some(match self.smoothed_us {
            Some(before) => {
                u32::try_from((u64::from(before) * 7 + u64::from(us)) / 8).unwrap_or(us)
            }
            None => us,
        });
    }

    /// The time to the party and back, in microseconds, once there was an answer.
    #[must_use]
    pub const fn us(&self) -> Option<u32> {
        self.smoothed_us
    }
}

/// What a datagram says of times, without allocating; it ends where the datagram is not RTCP.
#[must_use]
pub const fn reports(datagram: &[u8]) -> Reports<'_> {
    Reports {
        datagram,
        at: 0,
        blocks: &[],
        extended: &[],
        references: &[],
    }
}

/// See [`reports`].
#[derive(Debug, Clone)]
pub struct Reports<'a> {
    datagram: &'a [u8],
    /// Where the next packet starts.
    at: usize,
    /// Report blocks, extended blocks, and sub-blocks of one that are still to be read.
    blocks: &'a [u8],
    extended: &'a [u8],
    references: &'a [u8],
}

impl Iterator for Reports<'_> {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        loop {
            let found =
                if let Some((block, rest)) = self.references.split_first_chunk::<SUB_BLOCK>() {
                    self.references = rest;
                    heard(word(block, 4), word(block, 8))
                } else if let Some((block, rest)) = self.blocks.split_first_chunk::<BLOCK>() {
                    self.blocks = rest;
                    heard(word(block, 16), word(block, 20))
                } else if let Some((head, rest)) = self.extended.split_first_chunk::<4>() {
                    let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
                    let (body, rest) = rest.split_at_checked(len).unwrap_or_default();
                    self.extended = rest;
                    if head[0] == LAST_REFERENCE {
                        self.references = body;
                    }
                    let is_time = head[0] == REFERENCE_TIME && body.len() >= 8;
                    is_time.then(|| Report::Sent(word(body, 2)))
                } else {
                    self.packet()?
                };
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Reports<'_> {
    /// Goes on to the next packet; `None` where there is none.
    fn packet(&mut self) -> Option<Option<Report>> {
        let (packet_type, count, body, len) = split(self.datagram, self.at).ok()?;
        self.at += len;
        let blocks = |from: usize| {
            let end = from + usize::from(count) * BLOCK;
            body.get(from..end).unwrap_or_default()
        };
        let mut sent = None;
        match packet_type {
            SENDER_REPORT => {
                self.blocks = blocks(24);
                sent = (body.len() >= 24).then(|| Report::Sent(word(body, 6)));
            }
            RECEIVER_REPORT => self.blocks = blocks(4),
            EXTENDED_REPORT => self.extended = body.get(4..).unwrap_or_default(),
            _ => {}
        }
        Some(sent)
    }
}

/// A block that says 0 has heard nothing.
fn heard(last: u32, delay: u32) -> Option<Report> {
    (last != 0).then_some(Report::Heard { last, delay })
}

/// The word at an octet of what is long enough.
fn word(octets: &[u8], at: usize) -> u32 {
    let word = octets.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{ReportBlock, SenderInfo, validate, write_bye, write_cname, write_report};

    const MS: u64 = 1_000_000;

    fn block(last_sr: u32, delay_since_last_sr: u32) -> ReportBlock {
        ReportBlock {
            ssrc: 1,
            last_sr,
            delay_since_last_sr,
            ..ReportBlock::default()
        }
    }

    #[test]
    fn times_are_read_of_every_packet_of_a_compound() {
        let mut octets = Vec::new();
        let info = SenderInfo {
            ntp: 0x1111_2222_3333_4444,
            ..SenderInfo::default()
        };
        write_report(1, Some(info), &[block(5, 6), block(0, 9)], &mut octets);
        write_cname(1, "a", &mut octets);
        write_report(2, None, &[block(7, 8)], &mut octets);
        octets.extend([0x80, 207, 0, 8, 0, 0, 0, 2]);
        octets.extend([4, 0, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7]);
        octets.extend([5, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 10, 0, 0, 0, 11]);
        write_bye(1, &mut octets);
        assert_eq!(validate(&octets), Ok(()));
        let expected = [
            Report::Sent(0x2222_3333),
            Report::Heard { last: 5, delay: 6 },
            Report::Heard { last: 7, delay: 8 },
            Report::Sent(0x0203_0405),
            Report::Heard {
                last: 10,
                delay: 11,
            },
        ];
        assert_eq!(reports(&octets).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_half_of_the_way_is_known_by_itself() {
        // A caller 10 ms from the node, a callee 40 ms from it, each of whom answers after a second.
        let (mut to_caller, mut to_callee) = (RoundTrip::default(), RoundTrip::default());
        assert_eq!(to_callee.us(), None);
        to_callee.told(Report::Sent(77), 1_000 * MS);
        to_caller.told(Report::Sent(88), 1_500 * MS);
        let second = 65_536;
        let answer = |last| Report::Heard {
            last,
            delay: second,
        };
        to_callee.heard(answer(77), (1_000 + 80 + 1_000) * MS);
        to_caller.heard(answer(88), (1_500 + 20 + 1_000) * MS);
        assert_eq!(to_callee.us(), Some(80_000));
        assert_eq!(to_caller.us(), Some(20_000));
        // One that was slow is not all of it.
        to_callee.told(Report::Sent(78), 6_000 * MS);
        to_callee.heard(answer(78), (6_000 + 160 + 1_000) * MS);
        assert_eq!(to_callee.us(), Some(90_000));
    }

    #[test]
    fn what_cannot_be_is_no_round_trip() {
        let mut trip = RoundTrip::default();
        let answer = |last, delay| Report::Heard { last, delay };
        // Nothing of the kind went there, or too long ago.
        trip.heard(answer(5, 0), MS);
        for time in 1..=5 {
            trip.told(Report::Sent(time), u64::from(time) * MS);
        }
        trip.heard(answer(1, 0), 50 * MS);
        // Held for longer than it was there; more than a minute.
        trip.heard(answer(5, 65_536), 100 * MS);
        trip.heard(answer(5, 0), 70_000 * MS);
        assert_eq!(trip.us(), None);
        // A clock that is coarse.
        trip.heard(answer(5, 655), 10 * MS);
        assert_eq!(trip.us(), Some(0));
    }

    proptest! {
        #[test]
        fn any_octets_end(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(reports(&octets).count() <= octets.len());
        }
    }
}
