//! RTCP that a relay makes of its own for a party (RFC 3550 section 6.4), in the place of the other party's.
//!
//! A relay between two parties has received what each sends and sent on what it could: to each it reports on what that one
//! sends as its receiver, and on what the other one sends as its sender. Times are nanoseconds of one clock, but for NTP's.

use crate::{
    round_trip::Report,
    rtcp::{ReportBlock, SenderInfo, write_cname, write_report},
};

/// Between two reports on average, as RFC 3550 section 6.2 has it at least; each time is 0.5 to 1.5 of it.
const INTERVAL: u64 = 5_000_000_000;
/// Before the first one, which tells the party early that it is heard.
const FIRST: u64 = 1_000_000_000;

/// What the party has sent, as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Packets that should have come since the start (RFC 3550 A.3).
    pub expected: u64,
    /// Those that did not.
    pub lost: u64,
    /// Extended highest sequence number.
    pub highest_sequence: u32,
    /// Interarrival jitter, in units of the media clock.
    pub jitter: u32,
}

/// What the party has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// The synchronisation source, as the party sees it.
    pub ssrc: u32,
    /// Where its media clock is now.
    pub rtp_timestamp: u32,
    /// Packets since the start.
    pub packets: u64,
    /// Octets of payload in them.
    pub octets: u64,
}

/// Makes reports for one party.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// Who reports where nothing is sent.
    own: u32,
    cname: String,
    due: Option<u64>,
    /// The middle of the NTP time of the party's last sender report, and when that came.
    heard: Option<(u32, u64)>,
    /// What the last report was of.
    received: Received,
    sent: Option<Sent>,
    /// What had been sent when its source was new.
    base: Sent,
}

impl Reporter {
    /// `own` and `name` are random, and stay for as long as the party's call.
    #[must_use]
    pub fn new(own: u32, name: u64) -> Self {
        Self {
            own,
            // Of random bits, as RFC 7022 section 4.2 wants it.
            cname: format!("{name:016x}"),
            due: None,
            heard: None,
            received: Received::default(),
            sent: None,
            base: Sent::default(),
        }
    }

    /// The party has sent RTCP.
    pub const fn heard(&mut self, report: Report, at: u64) {
        if let Report::Sent(middle) = report {
            self.heard = Some((middle, at));
        }
    }

    /// Whether it is time to report; the first time that this is asked sets the time of the first report.
    pub fn is_due(&mut self, now: u64) -> bool {
        now >= *self.due.get_or_insert_with(|| now.saturating_add(FIRST))
    }

    /// Writes a compound packet over `out`, which stays empty where there is nothing to report; the middle 32 bits of its
    /// NTP time where it is a sender's. `ntp` is the time now, and `random` any number, by which the next report is due.
    pub fn report(
        &mut self,
        (now, ntp): (u64, u64),
        sent: Option<Sent>,
        received: Option<Received>,
        random: u32,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        out.clear();
        self.due =
            Some(now.saturating_add(INTERVAL / 2 + (INTERVAL >> 16) * u64::from(random >> 16)));
        if sent.is_none() && received.is_none() {
            return None;
        }
        let before = self.sent;
        if let Some(sent) =
            sent.filter(|sent| before.is_some_and(|before| before.ssrc != sent.ssrc))
        {
            // The counts start over with the source (RFC 3550 section 6.4.1).
            self.base = before
                .filter(|before| before.packets <= sent.packets)
                .unwrap_or_default();
        }
        let is_sending = |sent: &Sent| before.is_none_or(|before| before.packets != sent.packets);
        let info = sent.filter(is_sending).map(|sent| SenderInfo {
            ntp,
            rtp_timestamp: sent.rtp_timestamp,
            packets: low(sent.packets.saturating_sub(self.base.packets)),
            octets: low(sent.octets.saturating_sub(self.base.octets)),
        });
        self.sent = sent.or(before);
        let block = received.map(|received| self.block(received, now));
        let ssrc = self.sent.map_or(self.own, |sent| sent.ssrc);
        write_report(ssrc, info, block.as_slice(), out);
        write_cname(ssrc, &self.cname, out);
        info.map(|info| low(info.ntp >> 16))
    }

    fn block(&mut self, received: Received, now: u64) -> ReportBlock {
        let before = std::mem::replace(&mut self.received, received);
        let expected = received.expected.saturating_sub(before.expected);
        let lost = received.lost.saturating_sub(before.lost);
        let fraction = lost.saturating_mul(256).checked_div(expected).unwrap_or(0);
        let (last_sr, since) = match self.heard {
            Some((middle, at)) => (
                middle,
                u128::from(now.saturating_sub(at)) * 65_536 / 1_000_000_000,
            ),
            None => (0, 0),
        };
        ReportBlock {
            ssrc: received.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(received.lost).unwrap_or(i32::MAX),
            highest_sequence: received.highest_sequence,
            jitter: received.jitter,
            last_sr,
            delay_since_last_sr: u32::try_from(since).unwrap_or(u32::MAX),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "counters that go round")]
const fn low(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Packet, parse};

    const SECOND: u64 = 1_000_000_000;

    fn sent(packets: u64) -> Sent {
        Sent {
            ssrc: 7,
            rtp_timestamp: 1_000,
            packets,
            octets: packets * 160,
        }
    }

    fn received(expected: u64, lost: u64) -> Received {
        Received {
            ssrc: 9,
            expected,
            lost,
            highest_sequence: 65_600,
            jitter: 12,
        }
    }

    #[test]
    fn a_sender_reports_both_ways_with_numbers_that_fit_together() {
        let mut reporter = Reporter::new(1, 2);
        assert!(!reporter.is_due(0) && !reporter.is_due(SECOND - 1) && reporter.is_due(SECOND));
        reporter.heard(Report::Sent(0xabcd), SECOND / 2);
        let mut out = Vec::new();
        let ntp = 0x1122_3344_5566_7788;
        let middle = reporter.report(
            (SECOND, ntp),
            Some(sent(50)),
            Some(received(100, 10)),
            0,
            &mut out,
        );
        assert_eq!(middle, Some(0x3344_5566));
        let packets = parse(&out).unwrap();
        let Packet::SenderReport { ssrc, info, blocks } = &packets[0] else {
            panic!("{packets:?}");
        };
        assert_eq!(
            (*ssrc, info.packets, info.octets, info.rtp_timestamp),
            (7, 50, 8_000, 1_000)
        );
        let block = blocks[0];
        assert_eq!(
            (block.ssrc, block.fraction_lost, block.cumulative_lost),
            (9, 25, 10)
        );
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0xabcd, 32_768));
        assert!(matches!(&packets[1], Packet::SourceDescription { cnames } if cnames[0].0 == 7));
        // Half an interval later at least, and a whole and a half at most.
        assert!(
            !reporter.is_due(SECOND + INTERVAL / 2 - 1) && reporter.is_due(SECOND + INTERVAL / 2)
        );
        // Nothing was sent since: it is a receiver by now. What was lost before is not lost again.
        reporter.report(
            (9 * SECOND, ntp),
            Some(sent(50)),
            Some(received(200, 10)),
            u32::MAX,
            &mut out,
        );
        let packets = parse(&out).unwrap();
        let Packet::ReceiverReport { ssrc, blocks } = &packets[0] else {
            panic!("{packets:?}");
        };
        assert_eq!(
            (*ssrc, blocks[0].fraction_lost, blocks[0].cumulative_lost),
            (7, 0, 10)
        );
        assert!(!reporter.is_due(16 * SECOND) && reporter.is_due(9 * SECOND + INTERVAL * 3 / 2));
    }

    #[test]
    fn another_source_is_counted_from_its_own_start() {
        let mut reporter = Reporter::new(1, 2);
        let mut out = Vec::new();
        assert_eq!(reporter.report((0, 0), None, None, 0, &mut out), None);
        assert!(out.is_empty());
        reporter.report((0, 0), Some(sent(50)), None, 0, &mut out);
        let other = Sent {
            ssrc: 8,
            ..sent(70)
        };
        reporter.report((0, 0), Some(other), None, 0, &mut out);
        let packets = parse(&out).unwrap();
        assert!(
            matches!(&packets[0], Packet::SenderReport { ssrc: 8, info, blocks } if info.packets == 20 && blocks.is_empty()),
            "{packets:?}"
        );
    }
}
