//! RTCP (RFC 3550 section 6): what we tell about what we hear, and what the other side tells.

use std::time::Duration;

use rtp::rtcp::{self, Packet, ReportBlock, SenderInfo};

use super::{source::RATE, stats::Received};

/// What the other side reports, and our report's state.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// The middle of the last sender report's NTP time, and when it came.
    last_sr: Option<(u32, Duration)>,
    /// Expected and lost up to our last report.
    told: (u64, u64),
    /// As last reported.
    remote: Option<Remote>,
}

/// How the other side hears us.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::call) struct Remote {
    /// Packets lost on the way to it, in percent, in its last interval.
    pub(in crate::call) loss_pct: f64,
    /// Packets lost since the start.
    pub(in crate::call) lost: i32,
    /// Jitter, in milliseconds.
    pub(in crate::call) jitter_ms: f64,
    /// There and back, in milliseconds; `None` until it heard a report of ours.
    pub(in crate::call) rtt_ms: Option<f64>,
}

/// What we have sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) ssrc: u32,
    pub(super) timestamp: u32,
    pub(super) packets: u64,
    /// Of payload.
    pub(super) octets: u64,
}

impl Reports {
    /// A report with our name. `ntp` is the time now, `now` the same on the stream's clock.
    pub(super) fn write(
        &mut self,
        sent: Sent,
        received: &Received,
        ntp: u64,
        now: Duration,
    ) -> Vec<u8> {
        let info = (sent.packets > 0).then_some(SenderInfo {
            ntp,
            rtp_timestamp: sent.timestamp,
            packets: low(sent.packets),
            octets: low(sent.octets),
        });
        let block = self.block(received, now);
        let mut out = Vec::with_capacity(96);
        rtcp::write_report(sent.ssrc, info, block.as_slice(), &mut out);
        rtcp::write_cname(sent.ssrc, "tandem", &mut out);
        out
    }

    /// Reads what came; `false` where it is no RTCP.
    pub(super) fn handle(&mut self, datagram: &[u8], own: u32, ntp: u64, now: Duration) -> bool {
        let Ok(packets) = rtcp::parse(datagram) else {
            return false;
        };
        for packet in packets {
            let blocks = match packet {
                Packet::SenderReport { info, blocks, .. } => {
                    self.last_sr = Some((middle(info.ntp), now));
                    blocks
                }
                Packet::ReceiverReport { blocks, .. } => blocks,
                _ => continue,
            };
            if let Some(block) = blocks.iter().find(|block| block.ssrc == own) {
                self.remote = Some(remote(block, ntp));
            }
        }
        true
    }

    /// What the other side said last.
    pub(super) const fn remote(&self) -> Option<Remote> {
        self.remote
    }

    fn block(&mut self, received: &Received, now: Duration) -> Option<ReportBlock> {
        let flow = received.flow();
        if flow.packets == 0 {
            return None;
        }
        let (expected, lost) = (flow.expected(), flow.lost());
        let interval = expected.saturating_sub(self.told.0);
        let missing = lost.saturating_sub(self.told.1);
        self.told = (expected, lost);
        let fraction = (missing * 256).checked_div(interval).unwrap_or(0).min(255);
        let since = self.last_sr.map(|(_, at)| now.saturating_sub(at));
        Some(ReportBlock {
            ssrc: flow.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(lost).unwrap_or(i32::MAX),
            highest_sequence: flow.highest,
            jitter: flow.jitter_units(RATE),
            last_sr: self.last_sr.map_or(0, |(ntp, _)| ntp),
            delay_since_last_sr: since.map_or(0, short),
        })
    }
}

fn remote(block: &ReportBlock, ntp: u64) -> Remote {
    // RFC 3550 section 6.4.1: A - LSR - DLSR, in 1/65536 s.
    let rtt = middle(ntp)
        .wrapping_sub(block.last_sr)
        .wrapping_sub(block.delay_since_last_sr)
        .cast_signed();
    Remote {
        loss_pct: f64::from(block.fraction_lost) / 2.56,
        lost: block.cumulative_lost,
        jitter_ms: f64::from(block.jitter) * 1_000.0 / f64::from(RATE),
        // Clocks of 1/65536 s may make nothing of less than nothing.
        rtt_ms: (block.last_sr != 0).then(|| f64::from(rtt.max(0)) / 65.536),
    }
}

/// A time since 1970 as NTP has it: seconds since 1900 and their fraction.
pub(super) fn ntp(since_1970: Duration) -> u64 {
    const SECONDS_1900_TO_1970: u64 = 2_208_988_800;
    let seconds = since_1970.as_secs() + SECONDS_1900_TO_1970;
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

#[expect(clippy::cast_possible_truncation, reason = "the middle 32 bits")]
const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// In 1/65536 s.
fn short(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros() * 65_536 / 1_000_000).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "counters of RTCP wrap")]
const fn low(count: u64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent = Sent {
        ssrc: 7,
        timestamp: 1_600,
        packets: 10,
        octets: 1_600,
    };

    #[test]
    fn round_trips_and_loss_come_back_from_the_other_side() {
        let (mut ours, mut theirs) = (Reports::default(), Reports::default());
        let at = |ms: u64| {
            (
                ntp(Duration::from_millis(1_700_000_000_000 + ms)),
                Duration::from_millis(ms),
            )
        };

        let (ntp_now, now) = at(1_000);
        let report = ours.write(SENT, &Received::default(), ntp_now, now);
        // 30 ms to the other side, which misses every fourth packet.
        let (ntp_now, now) = at(1_030);
        assert!(theirs.handle(&report, 9, ntp_now, now));
        let heard = Received::of_test((0..100).filter(|n| n % 4 != 1), 7);
        let (ntp_now, now) = at(1_530);
        let reply = theirs.write(Sent { ssrc: 9, ..SENT }, &heard, ntp_now, now);
        // And 30 ms back.
        let (ntp_now, now) = at(1_560);
        assert!(ours.handle(&reply, 7, ntp_now, now));

        let remote = ours.remote().unwrap();
        assert!((remote.rtt_ms.unwrap() - 60.0).abs() < 0.1, "{remote:?}");
        assert!((remote.loss_pct - 25.0).abs() < 1.0, "{remote:?}");
        assert_eq!(remote.lost, 25);
    }

    #[test]
    fn reports_about_others_and_garbage_say_nothing() {
        let (mut ours, mut theirs) = (Reports::default(), Reports::default());
        let heard = Received::of_test(0..10, 8);
        let report = theirs.write(SENT, &heard, 1, Duration::ZERO);
        assert!(ours.handle(&report, 7, 2, Duration::ZERO));
        assert_eq!(ours.remote(), None);
        assert!(!ours.handle(b"no rtcp", 7, 2, Duration::ZERO));
    }
}
