//! What was sent and received, and what a listener would think of it.

use std::{net::SocketAddr, time::Duration};

use ebpf_abi::{Flow, Rtp};
use rtp::quality::{self, Measured};

use super::{reports::Remote, source::RATE};

/// What a receiver's buffer and codec add to the delay, in milliseconds.
const OWN_DELAY: f64 = 40.0;
/// So many packets have to come before quality is judged.
const ENOUGH: u64 = 25;

/// Both directions of a stream.
#[derive(Clone, Debug, Default)]
pub(in crate::call) struct Stats {
    /// RTP packets sent.
    pub(in crate::call) sent_packets: u64,
    /// Octets in them, RTP headers included.
    pub(in crate::call) sent_octets: u64,
    /// When it was first known where to send, since the start.
    pub(in crate::call) planned: Option<Duration>,
    /// How the other side hears us, where it sends RTCP.
    pub(in crate::call) remote: Option<Remote>,
    /// What came.
    pub(in crate::call) received: Received,
}

/// What was received.
#[derive(Clone, Debug, Default)]
pub(in crate::call) struct Received {
    flow: Flow,
    /// Packets that are no RTP, or of a payload type that was not agreed on.
    pub(in crate::call) refused: u64,
    /// When the first packet came, since the start.
    pub(in crate::call) first: Option<Duration>,
    /// Where packets come from.
    pub(in crate::call) source: Option<SocketAddr>,
    samples: u64,
    power: f64,
}

impl Stats {
    /// As [`Received::mos`], with the round trip that the other side's reports gave.
    pub(in crate::call) fn mos(&self) -> Option<f64> {
        self.received
            .mos(self.remote.and_then(|remote| remote.rtt_ms))
    }
}

impl Received {
    pub(super) fn count(
        &mut self,
        header: Rtp,
        octets: usize,
        arrival: Duration,
        from: SocketAddr,
        samples: &[i16],
    ) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        let now = u64::try_from(arrival.as_nanos()).unwrap_or(u64::MAX);
        self.flow
            .record_rtp(header, octets, now, ebpf_abi::tick(RATE));
        self.first.get_or_insert(arrival);
        self.source = Some(from);
        self.samples += samples.len() as u64;
        let squares = samples.iter().map(|sample| f64::from(*sample).powi(2));
        self.power += squares.sum::<f64>();
    }

    /// The counters themselves.
    pub(super) const fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Packets of audio.
    pub(in crate::call) const fn packets(&self) -> u64 {
        self.flow.packets
    }

    /// Octets in them, RTP headers included.
    pub(in crate::call) const fn octets(&self) -> u64 {
        self.flow.octets
    }

    /// Packets that should have come and did not.
    pub(in crate::call) const fn lost(&self) -> u64 {
        self.flow.lost()
    }

    /// Packets that came after a later one.
    pub(in crate::call) const fn reordered(&self) -> u32 {
        self.flow.reordered
    }

    /// Packets that came again.
    pub(in crate::call) const fn duplicates(&self) -> u32 {
        self.flow.duplicates
    }

    /// The part that was lost, in percent.
    pub(in crate::call) fn loss_pct(&self) -> f64 {
        match self.flow.expected() {
            0 => 0.0,
            expected => 100.0 * count(self.lost()) / count(expected),
        }
    }

    /// Interarrival jitter (RFC 3550 section 6.4.1), in milliseconds.
    pub(in crate::call) fn jitter_ms(&self) -> f64 {
        f64::from(self.flow.jitter) / 1e6
    }

    /// The estimated opinion score (G.107) of one who listens here; `None` before enough came.
    /// `rtt_ms` is the time there and back, where it is known.
    pub(in crate::call) fn mos(&self, rtt_ms: Option<f64>) -> Option<f64> {
        if self.packets() < ENOUGH {
            return None;
        }
        let measured = Measured {
            loss: self.loss_pct() / 100.0,
            burst_ratio: 1.0,
            delay_ms: OWN_DELAY + 2.0 * self.jitter_ms() + rtt_ms.unwrap_or(0.0) / 2.0,
        };
        Some(quality::mos(quality::r_factor(
            quality::Codec::G711,
            measured,
        )))
    }

    /// The level of what was heard, in dB below the loudest sine; `None` for silence.
    pub(in crate::call) fn level_db(&self) -> Option<f64> {
        let mean = self.power / count(self.samples.max(1));
        let loudest = f64::from(i16::MAX).powi(2) / 2.0;
        (mean >= 1.0).then(|| 10.0 * (mean / loudest).log10())
    }
}

/// For figures of which nobody reads the sixteenth digit.
#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 packets are not sent in a call"
)]
fn count(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
impl Received {
    /// These packets of a source, 20 ms apart as they were sent.
    pub(super) fn of_test(sequences: impl IntoIterator<Item = u16>, ssrc: u32) -> Self {
        Self::of_level(sequences, ssrc, 1_000)
    }

    fn of_level(sequences: impl IntoIterator<Item = u16>, ssrc: u32, value: i16) -> Self {
        let mut received = Self::default();
        for sequence in sequences {
            let header = Rtp {
                sequence,
                timestamp: u32::from(sequence) * 160,
                ssrc,
            };
            let arrival = Duration::from_millis(u64::from(sequence) * 20);
            let from = ([127, 0, 0, 1], 4_000).into();
            received.count(header, 172, arrival, from, &[value; 160]);
        }
        received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_stream_scores_best() {
        let received = Received::of_test(0..100, 1);
        assert_eq!((received.packets(), received.lost()), (100, 0));
        assert!(received.jitter_ms() < 0.01, "{}", received.jitter_ms());
        assert!(
            received.mos(None).unwrap() > 4.35,
            "{:?}",
            received.mos(None)
        );
    }

    #[test]
    fn loss_is_counted_and_heard() {
        let received = Received::of_test((0..100).filter(|n| n % 10 != 5), 1);
        assert_eq!((received.packets(), received.lost()), (90, 10));
        assert!((received.loss_pct() - 10.0).abs() < 0.01);
        assert!(
            received.mos(None).unwrap() < 3.5,
            "{:?}",
            received.mos(None)
        );
    }

    #[test]
    fn quality_is_not_judged_by_a_handful_of_packets() {
        assert_eq!(Received::of_test(0..10, 1).mos(None), None);
    }

    #[test]
    fn levels_tell_silence_from_audio() {
        assert_eq!(Received::of_level(0..10, 1, 0).level_db(), None);
        let full = Received::of_level(0..10, 1, i16::MAX).level_db().unwrap();
        assert!(
            (full - 3.01).abs() < 0.01,
            "a square is 3 dB over a sine: {full}"
        );
    }
}
