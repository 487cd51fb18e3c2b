//! The keys that a party presses: as telephone events (RFC 4733), or as tones where its description has no such events.

use rtp::dtmf::{self, Detector, TelephoneEvent};

use super::Law;

/// How late, in samples, a packet may be: 1 s. Else the sender's clock has jumped.
const LATE: i32 = -8_000;

/// What is known of a party's keys, while somebody wants to know of them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The key that it presses: since when by its timestamps, and whether it was told of.
    pressed: Option<(u32, bool)>,
    tones: Detector,
    /// The stream whose tones are listened to, and the timestamp that it has come to.
    heard: Option<(u32, u32)>,
}

impl Keys {
    /// Takes a telephone event; the key, once, with the first packet that tells its end.
    pub(super) fn event(&mut self, timestamp: u32, event: TelephoneEvent) -> Option<char> {
        let is_told = self.pressed == Some((timestamp, true));
        self.pressed = Some((timestamp, is_told || event.end));
        (event.end && !is_told)
            .then(|| dtmf::key(event.event))
            .flatten()
    }

    /// Takes a packet of audio; the key whose tones begin in it.
    pub(super) fn audio(&mut self, law: Law, packet: &rtp::Packet<'_>) -> Option<char> {
        let (ssrc, timestamp) = (packet.ssrc(), packet.timestamp());
        match self.heard {
            Some((before, next)) if before == ssrc => {
                match timestamp.wrapping_sub(next).cast_signed() {
                    0 => {}
                    // It was heard, or comes too late to be.
                    LATE..0 => return None,
                    // A loss, or a clock that has jumped: what follows does not go on from there.
                    _ => self.tones = Detector::default(),
                }
            }
            _ => self.tones = Detector::default(),
        }
        let payload = packet.payload();
        let len = u32::try_from(payload.len()).unwrap_or(0);
        self.heard = Some((ssrc, timestamp.wrapping_add(len)));
        let decode = law.decoder();
        let samples = payload.iter().map(|octet| decode(*octet));
        let mut pressed = None;
        // Two would need more than 80 ms.
        self.tones.feed(samples, |key| pressed = Some(key));
        pressed
    }
}
