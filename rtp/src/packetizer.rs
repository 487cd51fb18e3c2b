//! Puts a sender's audio into RTP packets.

use crate::header;

/// One outgoing stream: numbers packets and stamps them with the media clock.
#[derive(Debug, Clone)]
pub struct Packetizer {
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The next packet starts a talkspurt (RFC 3551 section 4.1).
    marker: bool,
}

impl Packetizer {
    /// A stream that starts at `sequence` and `timestamp`; RFC 3550 section 5.1 wants all three
    /// numbers random.
    #[must_use]
    pub const fn new(payload_type: u8, ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            payload_type,
            ssrc,
            sequence,
            timestamp,
            marker: true,
        }
    }

    /// Appends a packet to `out` that carries `payload`, which lasts `units` of the media clock
    /// (160 for 20 ms of G.711).
    pub fn packet(&mut self, payload: &[u8], units: u32, out: &mut Vec<u8>) {
        header::write(
            out,
            self.marker,
            self.payload_type,
            self.sequence,
            self.timestamp,
            self.ssrc,
        );
        out.extend_from_slice(payload);
        self.marker = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(units);
    }

    /// Lets `units` of the media clock pass without a packet: the next one starts a talkspurt.
    pub const fn silence(&mut self, units: u32) {
        self.timestamp = self.timestamp.wrapping_add(units);
        self.marker = true;
    }

    /// Packets are of another format from now on, of the same clock.
    pub const fn set_payload_type(&mut self, payload_type: u8) {
        self.payload_type = payload_type;
    }

    /// A packet that was made elsewhere has the number that was the next one's; no time passes.
    pub const fn skip(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// The number of the next packet.
    #[must_use]
    pub const fn sequence(&self) -> u16 {
        self.sequence
    }

    /// Synchronisation source.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The timestamp of the next packet: what a sender report relates to wall-clock time.
    #[must_use]
    pub const fn timestamp(&self) -> u32 {
        self.timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;

    #[test]
    fn numbers_go_on_across_their_ends() {
        let mut stream = Packetizer::new(0, 7, u16::MAX, u32::MAX - 79);
        let mut seen = Vec::new();
        for round in 0..3 {
            let mut out = Vec::new();
            stream.packet(&[round; 160], 160, &mut out);
            let packet = Packet::parse(&out).unwrap();
            assert_eq!((packet.ssrc(), packet.payload_type()), (7, 0));
            assert_eq!(packet.payload(), [round; 160]);
            seen.push((packet.marker(), packet.sequence(), packet.timestamp()));
        }
        assert_eq!(
            seen,
            [
                (true, u16::MAX, u32::MAX - 79),
                (false, 0, 80),
                (false, 1, 240)
            ]
        );
    }

    #[test]
    fn speech_after_silence_is_marked() {
        let mut stream = Packetizer::new(8, 7, 1, 0);
        let mut out = Vec::new();
        stream.packet(&[0xd5; 160], 160, &mut out);
        stream.silence(1600);
        out.clear();
        stream.packet(&[0xd5; 160], 160, &mut out);
        let packet = Packet::parse(&out).unwrap();
        assert!(packet.marker());
        assert_eq!((packet.sequence(), packet.timestamp()), (2, 1760));
    }
}
