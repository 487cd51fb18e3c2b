//! RTCP that the node makes for parties, in the place of the other party's.

use std::time::{SystemTime, UNIX_EPOCH};

use control::media::Side;
use rtp::report::{Received, Reporter, Sent};
use rtp::round_trip::Report;

use super::Shard;
use super::keys::is_secret;
use crate::io::PacketIo;
use crate::relay::control_way;
use crate::session::Leg;

/// Seconds from 1900, where NTP begins, to 1970 (RFC 868).
const NTP_EPOCH: u64 = 2_208_988_800;
/// Octets of an RTP header that has nothing beyond the usual.
const HEADER: u64 = 12;

impl<I: PacketIo> Shard<I> {
    /// Sends the reports that are due. What the program has counted was read just before.
    pub(super) fn report_to_parties(&mut self, now: u64) {
        let out = &mut self.spoken;
        for (_, session) in self.relay.sessions_mut() {
            for side in [Side::A, Side::B] {
                let (hearer, speaker) = session.split(side);
                if !hearer.hears_ours(speaker) {
                    continue;
                }
                let way = control_way(hearer);
                let (sent, received) = (sent(speaker, hearer, now), received(hearer));
                let Some(reporter) = &mut hearer.reporter else {
                    continue;
                };
                // A party that neither sends nor is sent anything is told nothing.
                if (sent.is_none() && received.is_none()) || !reporter.is_due(now) {
                    continue;
                }
                let times = (now, ntp());
                let middle = reporter.report(times, sent, received, rand::random(), out);
                let Some((via, to)) = way.filter(|_| !out.is_empty()) else {
                    continue;
                };
                self.io.send(via, to, out);
                if let Some(middle) = middle {
                    hearer.trip.told(Report::Sent(middle), now);
                }
            }
        }
        out.clear();
    }
}

impl Leg {
    /// Whether the party hears RTCP of the node, and not the other party's.
    pub(crate) fn hears_ours(&self, other: &Self) -> bool {
        self.reporter.is_some() && self.is_rtp() && other.is_rtp() && !is_secret([self, other])
    }

    /// Makes RTCP for the party from now on, or no longer.
    pub(crate) fn make_reports(&mut self, makes: bool) {
        match makes {
            false => self.reporter = None,
            true if self.reporter.is_none() => {
                self.reporter = Some(Box::new(Reporter::new(rand::random(), rand::random())));
            }
            true => {}
        }
    }
}

/// What the other party has been sent of what this one says.
fn sent(speaker: &Leg, hearer: &mut Leg, now: u64) -> Option<Sent> {
    let flow = &speaker.received.rtp;
    let packets = speaker.forwarded + speaker.received.packets_xdp();
    if packets == 0 {
        return None;
    }
    // A stream whose packets are all of the usual header; those that were not sent on had as much in them.
    let all = speaker.received.packets().max(1);
    let payload = (flow.octets + speaker.received.beside_octets).saturating_sub(HEADER * all);
    let octets = u128::from(payload) * u128::from(packets) / u128::from(all);
    let elapsed = elapsed_since(flow.timestamp_arrival, now);
    let ticks = u128::from(elapsed) * u128::from(clock_rate(speaker)) / 1_000_000_000;
    #[expect(clippy::cast_possible_truncation, reason = "a clock that goes round")]
    let rtp_timestamp = flow.timestamp.wrapping_add(ticks as u32);
    // As the party has it, where what it hears is one stream of this node's.
    let stream = hearer.towards.stream();
    let offset = match &stream {
        None => 0,
        Some(stream) => {
            // Somebody else may have spoken since; and of who was never heard there is no time in the stream.
            let mut sources = stream.source.into_iter().chain(stream.before);
            let source = sources.find(|source| source.ssrc == flow.ssrc)?;
            source.timestamp_offset
        }
    };
    let octets = u64::try_from(octets).unwrap_or(u64::MAX);
    // As the party has counted, whoever spoke before.
    let [packets, octets] = match &stream {
        None => [packets, octets],
        Some(stream) => {
            #[expect(clippy::cast_possible_truncation, reason = "counts in RTCP go round")]
            let counted = [packets as u32, octets as u32];
            let told = &mut hearer.towards.told;
            told.tell(stream.packets, flow.ssrc, counted).map(u64::from)
        }
    };
    Some(Sent {
        ssrc: stream.map_or(flow.ssrc, |stream| stream.ssrc),
        rtp_timestamp: rtp_timestamp.wrapping_add(offset),
        packets,
        octets,
    })
}

/// Nanoseconds from an arrival, in units of 1,024 of them on a clock of 32 bits that goes round, until `now`. The program may
/// have counted a packet after `now` was read: none.
fn elapsed_since(arrival: u32, now: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "a clock that goes round")]
    let elapsed = ((now >> 10) as u32).wrapping_sub(arrival).cast_signed();
    u64::from(elapsed.max(0).cast_unsigned()) << 10
}

/// What has come of the party.
fn received(leg: &Leg) -> Option<Received> {
    let flow = &leg.received.rtp;
    let ticks = u64::from(flow.jitter) * u64::from(clock_rate(leg)) / 1_000_000_000;
    (flow.packets != 0).then(|| Received {
        ssrc: flow.ssrc,
        expected: flow.expected(),
        lost: flow.lost().saturating_sub(leg.received.beside),
        highest_sequence: flow.highest,
        jitter: u32::try_from(ticks).unwrap_or(u32::MAX),
    })
}

fn clock_rate(leg: &Leg) -> u32 {
    leg.remote
        .as_ref()
        .map_or(8_000, |remote| remote.format.clock_rate)
}

/// The time now: seconds since 1900, and their fraction.
fn ntp() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs() + NTP_EPOCH) << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_came_after_the_clock_was_read_is_of_now() {
        let now = 5 << 42;
        assert_eq!(elapsed_since(0, now), 0);
        assert_eq!(elapsed_since(3, now), 0);
        assert_eq!(elapsed_since(u32::MAX - 1, now), 2 << 10);
        assert_eq!(elapsed_since(7, now + (1_000_007 << 10)), 1_000_000 << 10);
    }
}
