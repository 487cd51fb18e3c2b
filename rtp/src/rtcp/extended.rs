//! The blocks of extended reports (RFC 3611 section 4).

use super::Reader;

/// Receiver reference time (section 4.4).
pub(crate) const REFERENCE_TIME: u8 = 4;
/// Delay since the last one (section 4.5).
pub(crate) const LAST_REFERENCE: u8 = 5;
/// VoIP metrics (section 4.7).
const VOIP_METRICS: u8 = 7;
/// Octets of a sub-block of [`LAST_REFERENCE`].
pub(crate) const SUB_BLOCK: usize = 12;

/// One block of an extended report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendedBlock<'a> {
    /// RRTR: the NTP time of one who receives, and perhaps sends nothing that a sender report could be about.
    ReferenceTime(u64),
    /// DLRR: how long ago such times came.
    LastReferences(Vec<LastReference>),
    /// How a stream sounds to who receives it.
    VoipMetrics(VoipMetrics),
    /// Another block.
    Other {
        /// Block type.
        block_type: u8,
        /// What the type makes of the second octet.
        specific: u8,
        /// What follows the first four octets.
        body: &'a [u8],
    },
}

/// When the reference time of a receiver came (section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastReference {
    /// The receiver.
    pub ssrc: u32,
    /// Middle 32 bits of its reference time; 0 for none.
    pub last_rr: u32,
    /// Time since it came, in 1/65536 s.
    pub delay_since_last_rr: u32,
}

/// The VoIP metrics block (section 4.7). Rates and densities are in 1/256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VoipMetrics {
    /// The source that is reported about.
    pub ssrc: u32,
    /// Packets lost by the network.
    pub loss_rate: u8,
    /// Packets that came too late or too early to be played.
    pub discard_rate: u8,
    /// Of the packets in bursts of loss, those lost or discarded.
    pub burst_density: u8,
    /// Of the packets between them.
    pub gap_density: u8,
    /// Mean length of the bursts, in milliseconds.
    pub burst_ms: u16,
    /// Mean length of the gaps between them, in milliseconds.
    pub gap_ms: u16,
    /// Round-trip time between the two, in milliseconds; 0 where it is not known.
    pub round_trip_ms: u16,
    /// Delay within the one who reports, in milliseconds; 0 where it is not known.
    pub end_system_ms: u16,
    /// dBm0, and of the noise; 127 where it is not known.
    pub signal_level: i8,
    /// dBm0; 127 where it is not known.
    pub noise_level: i8,
    /// Residual echo return loss, in dB; 127 where it is not known.
    pub echo_return_loss: u8,
    /// The shortest run without loss that ends a burst, in packets.
    pub gap_minimum: u8,
    /// R of the E-model, 0 to 100; 127 where it is not known.
    pub r_factor: u8,
    /// R of what is beyond this network; 127 where it is not known.
    pub external_r_factor: u8,
    /// MOS of listening times ten; 127 where it is not known.
    pub mos_lq: u8,
    /// MOS of conversation times ten; 127 where it is not known.
    pub mos_cq: u8,
    /// What the receiver does about loss and jitter (section 4.7.6).
    pub receiver: u8,
    /// The jitter buffer's delay now, in milliseconds.
    pub buffer_nominal_ms: u16,
    /// The most that a packet waits in it now, in milliseconds.
    pub buffer_maximum_ms: u16,
    /// The most that it can become, in milliseconds.
    pub buffer_absolute_ms: u16,
}

/// Reads the blocks of a report.
pub(super) fn blocks(mut reader: Reader<'_>) -> Option<Vec<ExtendedBlock<'_>>> {
    let mut blocks = Vec::new();
    while let Some(block_type) = reader.octet() {
        let specific = reader.octet()?;
        let words = u16::from_be_bytes([reader.octet()?, reader.octet()?]);
        let body = reader.take(usize::from(words) * 4)?;
        blocks.push(block(block_type, specific, body)?);
    }
    Some(blocks)
}

fn block(block_type: u8, specific: u8, body: &[u8]) -> Option<ExtendedBlock<'_>> {
    let mut reader = Reader(body);
    Some(match block_type {
        REFERENCE_TIME => {
            let (high, low) = (reader.word()?, reader.word()?);
            ExtendedBlock::ReferenceTime(u64::from(high) << 32 | u64::from(low))
        }
        LAST_REFERENCE => {
            let (blocks, []) = body.as_chunks::<SUB_BLOCK>() else {
                return None;
            };
            let read = |block: &[u8; SUB_BLOCK]| {
                let mut reader = Reader(block);
                Some(LastReference {
                    ssrc: reader.word()?,
                    last_rr: reader.word()?,
                    delay_since_last_rr: reader.word()?,
                })
            };
            ExtendedBlock::LastReferences(blocks.iter().filter_map(read).collect())
        }
        VOIP_METRICS => ExtendedBlock::VoipMetrics(metrics(reader)?),
        _ => ExtendedBlock::Other {
            block_type,
            specific,
            body,
        },
    })
}

fn metrics(mut reader: Reader<'_>) -> Option<VoipMetrics> {
    let ssrc = reader.word()?;
    let [loss_rate, discard_rate, burst_density, gap_density] = reader.word()?.to_be_bytes();
    let (burst_ms, gap_ms) = halves(reader.word()?);
    let (round_trip_ms, end_system_ms) = halves(reader.word()?);
    let [signal, noise, echo_return_loss, gap_minimum] = reader.word()?.to_be_bytes();
    let [r_factor, external_r_factor, mos_lq, mos_cq] = reader.word()?.to_be_bytes();
    let last = reader.word()?;
    let [receiver, ..] = last.to_be_bytes();
    let (_, buffer_nominal_ms) = halves(last);
    let (buffer_maximum_ms, buffer_absolute_ms) = halves(reader.word()?);
    Some(VoipMetrics {
        ssrc,
        loss_rate,
        discard_rate,
        burst_density,
        gap_density,
        burst_ms,
        gap_ms,
        round_trip_ms,
        end_system_ms,
        signal_level: signal.cast_signed(),
        noise_level: noise.cast_signed(),
        echo_return_loss,
        gap_minimum,
        r_factor,
        external_r_factor,
        mos_lq,
        mos_cq,
        receiver,
        buffer_nominal_ms,
        buffer_maximum_ms,
        buffer_absolute_ms,
    })
}

const fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_be_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, RtcpError, parse};
    use super::*;

    /// An extended report with a body after its SSRC.
    fn report(body: &[u8]) -> Vec<u8> {
        let mut octets = vec![0x80, 207, 0, u8::try_from(body.len() / 4 + 1).unwrap()];
        octets.extend(7_u32.to_be_bytes());
        octets.extend(body);
        octets
    }

    #[test]
    fn reference_times_and_metrics_are_read() {
        let mut body = vec![4, 0, 0, 2];
        body.extend(0x0102_0304_0506_0708_u64.to_be_bytes());
        body.extend([5, 0, 0, 3, 0, 0, 0, 9, 3, 4, 5, 6, 0, 1, 0, 0]);
        body.extend([7, 0, 0, 8, 0, 0, 0, 9]);
        body.extend([26, 5, 128, 1, 0, 200, 19, 136, 0, 80, 0, 40]);
        body.extend([0xec, 0xba, 60, 16, 82, 127, 41, 39, 0x31, 0, 0, 40]);
        body.extend([0, 80, 0, 200]);
        body.extend([9, 3, 0, 1, 1, 2, 3, 4]);
        let octets = report(&body);
        let parsed = parse(&octets);
        let Ok([Packet::ExtendedReport { ssrc: 7, blocks }]) = parsed.as_deref() else {
            panic!("{parsed:?}");
        };
        let metrics = VoipMetrics {
            ssrc: 9,
            loss_rate: 26,
            discard_rate: 5,
            burst_density: 128,
            gap_density: 1,
            burst_ms: 200,
            gap_ms: 5_000,
            round_trip_ms: 80,
            end_system_ms: 40,
            signal_level: -20,
            noise_level: -70,
            echo_return_loss: 60,
            gap_minimum: 16,
            r_factor: 82,
            external_r_factor: 127,
            mos_lq: 41,
            mos_cq: 39,
            receiver: 0x31,
            buffer_nominal_ms: 40,
            buffer_maximum_ms: 80,
            buffer_absolute_ms: 200,
        };
        let last = LastReference {
            ssrc: 9,
            last_rr: 0x0304_0506,
            delay_since_last_rr: 0x1_0000,
        };
        let expected = [
            ExtendedBlock::ReferenceTime(0x0102_0304_0506_0708),
            ExtendedBlock::LastReferences(vec![last]),
            ExtendedBlock::VoipMetrics(metrics),
            ExtendedBlock::Other {
                block_type: 9,
                specific: 3,
                body: &[1, 2, 3, 4],
            },
        ];
        assert_eq!(blocks[..], expected);
    }

    #[test]
    fn blocks_that_are_cut_short_are_told() {
        for body in [
            &[4, 0, 0, 2, 1, 2, 3, 4][..],
            &[4, 0, 0, 1, 1, 2, 3, 4],
            &[5, 0, 0, 1, 1, 2, 3, 4],
            &[7, 0, 0, 1, 1, 2, 3, 4],
        ] {
            assert_eq!(parse(&report(body)), Err(RtcpError::Inconsistent(207)));
        }
    }
}
