//! The audio that both parties play: G.711 A-law, made up here, the same each time.
//!
//! SIPp sends it from a pcap file, packet by packet as it stands there, so that the bytes that must
//! arrive are known beforehand. Each [`Voice`] sounds different, and so do any two packets of one.

use std::{f64::consts::TAU, fs, io, path::Path};

/// RTP payload type of PCMA (RFC 3551 6).
pub const PAYLOAD_TYPE: u8 = 8;
/// Samples in a packet of 20 ms, and bytes, since A-law has one a sample.
pub const FRAME: usize = 160;
/// Packets a second.
pub const RATE: u32 = 50;

const SAMPLE_RATE: f64 = 8000.0;

/// One speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    /// Its synchronization source.
    pub ssrc: u32,
    /// Pitch in Hz.
    pub pitch: u16,
}

impl Voice {
    /// Who calls.
    pub const CALLER: Self = Self::new(0x1111_ca11, 118);
    /// Who is called.
    pub const CALLEE: Self = Self::new(0x2222_ca1e, 205);

    /// A speaker.
    pub const fn new(ssrc: u32, pitch: u16) -> Self {
        Self { ssrc, pitch }
    }

    /// RTP packets `first..first + count` of it. The sequence number of packet 0 is 1,000.
    pub fn packets(self, first: u32, count: u32) -> impl Iterator<Item = Vec<u8>> {
        (first..first + count).map(move |number| self.packet(number, number == first))
    }

    fn packet(self, number: u32, starts: bool) -> Vec<u8> {
        let marker = if starts { 0x80 } else { 0 };
        let [.., high, low] = (1000 + number).to_be_bytes();
        let mut packet = vec![0x80, marker | PAYLOAD_TYPE, high, low];
        packet.extend_from_slice(&number.wrapping_mul(160).to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        let start = f64::from(number) * FRAME as f64;
        packet.extend(
            (0..FRAME)
                .map(|sample| encode_alaw(self.sample((start + sample as f64) / SAMPLE_RATE))),
        );
        packet
    }

    /// Something like speech, -1 to 1: a gliding pitch with overtones, in syllables of a quarter
    /// second.
    fn sample(self, seconds: f64) -> f64 {
        let glide = 1.0 + 0.1 * (TAU * 0.37 * seconds).sin();
        let phase = TAU * f64::from(self.pitch) * seconds * glide;
        let formant = 0.5 + 0.5 * (TAU * 1.3 * seconds).sin();
        let tone = 0.5 * phase.sin()
            + 0.3 * formant * (5.0 * phase).sin()
            + 0.2 * (1.0 - formant) * (11.0 * phase).sin();
        let syllable = (TAU * 2.0 * seconds).sin().abs();
        0.8 * tone * syllable
    }
}

/// Writes packets `first..first + count` of `voice` as a pcap file that SIPp's `play_pcap_audio`
/// takes. SIPp replaces addresses and ports with the call's.
pub fn write_pcap(path: &Path, voice: Voice, first: u32, count: u32) -> io::Result<()> {
    let mut file = Vec::new();
    file.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    file.extend_from_slice(&[2, 0, 4, 0]);
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&65_535_u32.to_le_bytes());
    file.extend_from_slice(&1_u32.to_le_bytes()); // Ethernet
    for (index, rtp) in (0_u32..).zip(voice.packets(first, count)) {
        let frame = frame(&rtp);
        let micros = index % RATE * (1_000_000 / RATE);
        // A frame is 214 bytes.
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        for field in [index / RATE, micros, length, length] {
            file.extend_from_slice(&field.to_le_bytes());
        }
        file.extend_from_slice(&frame);
    }
    fs::write(path, file)
}

/// Writes the same packets' payload alone, as SIPp's `rtp_stream` takes it.
pub fn write_raw(path: &Path, voice: Voice, first: u32, count: u32) -> io::Result<()> {
    let payload: Vec<u8> = voice
        .packets(first, count)
        .flat_map(|packet| packet[12..].to_vec())
        .collect();
    fs::write(path, payload)
}

/// An Ethernet frame from 10.0.0.1:6000 to 10.0.0.2:6000.
fn frame(rtp: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    // RTP of G.711 is far below 64 KiB.
    let udp_length = u16::try_from(8 + rtp.len()).unwrap_or(u16::MAX);
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&(20 + udp_length).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    for field in [6000, 6000, udp_length, 0] {
        frame.extend_from_slice(&field.to_be_bytes());
    }
    frame.extend_from_slice(rtp);
    frame
}

/// G.711 A-law of a sample, -1 to 1.
fn encode_alaw(sample: f64) -> u8 {
    // Twelve bits of magnitude (ITU-T G.711, table 1a); the clamp makes the cast exact.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=4095"
    )]
    let magnitude = (sample.abs() * 4096.0).clamp(0.0, 4095.0) as u32;
    let segment = magnitude
        .checked_ilog2()
        .map_or(0, |bits| bits.saturating_sub(4));
    let step = if segment == 0 {
        magnitude >> 1
    } else {
        magnitude >> segment
    };
    let sign = if sample < 0.0 { 0 } else { 0x80 };
    let [.., code] = (segment << 4 | step & 0x0f).to_be_bytes();
    (sign | code) ^ 0x55
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::capture::pcap;

    #[test]
    fn alaw_of_known_levels() {
        // Silence, full scale and the first steps, as ITU-T G.711 gives them.
        assert_eq!(encode_alaw(0.0), 0xd5);
        assert_eq!(encode_alaw(-0.0001), 0x55);
        assert_eq!(encode_alaw(1.0), 0xaa);
        assert_eq!(encode_alaw(-1.0), 0x2a);
        assert_eq!(encode_alaw(2.0 / 4096.0), 0xd4);
        assert_eq!(encode_alaw(32.0 / 4096.0), 0xc5);
    }

    #[test]
    fn voices_and_packets_all_differ() {
        let of = |voice: Voice| voice.packets(0, 500).map(|p| p[12..].to_vec());
        let all: HashSet<Vec<u8>> = of(Voice::CALLER).chain(of(Voice::CALLEE)).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn a_later_part_goes_on_where_the_first_ended() {
        let whole: Vec<_> = Voice::CALLER.packets(0, 20).collect();
        let mut later: Vec<_> = Voice::CALLER.packets(10, 10).collect();
        later[0][1] &= 0x7f;
        assert_eq!(whole[10..], later[..]);
    }

    #[test]
    fn the_pcap_file_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("voice.pcap");
        write_pcap(&path, Voice::CALLEE, 0, 60).unwrap();
        let bytes = fs::read(path).unwrap();
        let records: Vec<_> = pcap::Reader::new(&bytes)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(records.len(), 60);
        assert_eq!((records[51].time - records[0].time).as_millis(), 1020);
        let packet = Voice::CALLEE.packets(0, 60).nth(51).unwrap();
        assert_eq!(records[51].frame[42..], packet[..]);
    }
}
