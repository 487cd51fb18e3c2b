//! The encodings of a stream's audio, from and to samples of 8,000 Hz.

use rtp::g711;
use rtp::resample::Resampler;

use super::port::FRAME;

/// Samples a second of the telephone.
const RATE: u32 = 8_000;

/// An encoding, and its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `audio/x-mulaw`, 8,000 Hz.
    Ulaw,
    /// `audio/x-alaw`, 8,000 Hz.
    Alaw,
    /// `audio/l16`: 16 bits, the low octet first. The factor to 8,000 Hz is 1, 2 or 3.
    L16(u8),
}

impl Format {
    /// What `<Stream audioFormat sampleRate>` ask for; `None` for what there is not.
    pub(super) fn of(name: Option<&str>, rate: Option<u32>) -> Option<Self> {
        let name = name.unwrap_or("audio/x-mulaw").to_ascii_lowercase();
        match (name.as_str(), rate.unwrap_or(8_000)) {
            ("audio/x-mulaw", 8_000) => Some(Self::Ulaw),
            ("audio/x-alaw", 8_000) => Some(Self::Alaw),
            ("audio/l16", 8_000) => Some(Self::L16(1)),
            ("audio/l16", 16_000) => Some(Self::L16(2)),
            ("audio/l16", 24_000) => Some(Self::L16(3)),
            _ => None,
        }
    }

    /// As `start.mediaFormat.encoding` has it.
    pub(super) const fn encoding(self) -> &'static str {
        match self {
            Self::Ulaw => "audio/x-mulaw",
            Self::Alaw => "audio/x-alaw",
            Self::L16(_) => "audio/l16",
        }
    }

    /// In Hz.
    pub(super) fn rate(self) -> u32 {
        match self {
            Self::Ulaw | Self::Alaw => 8_000,
            Self::L16(factor) => u32::from(factor) * 8_000,
        }
    }
}

/// Encodes the frames of a track.
#[derive(Debug)]
pub(super) struct Encoder {
    format: Format,
    /// Where the rate is another one, and what it gives.
    up: Option<Resampler>,
    samples: Vec<i16>,
}

impl Encoder {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            up: resampler(RATE, format.rate()),
            samples: Vec::new(),
        }
    }

    /// Puts the octets of a frame in the place of `octets`.
    pub(super) fn encode(&mut self, frame: &[i16; FRAME], octets: &mut Vec<u8>) {
        octets.clear();
        match self.format {
            Format::Ulaw => octets.extend(frame.iter().map(|sample| g711::encode_ulaw(*sample))),
            Format::Alaw => octets.extend(frame.iter().map(|sample| g711::encode_alaw(*sample))),
            Format::L16(_) => {
                let samples = match &mut self.up {
                    Some(up) => {
                        self.samples.clear();
                        up.push(frame, &mut self.samples);
                        &self.samples
                    }
                    None => &frame[..],
                };
                octets.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
            }
        }
    }
}

/// Decodes what a server sends. Pieces end where they will, even within a sample.
#[derive(Debug)]
pub(super) struct Decoder {
    format: Format,
    /// Where the rate is another one, and what it takes.
    down: Option<Resampler>,
    raw: Vec<i16>,
    /// The first octet of a sample whose other one is to come.
    half: Option<u8>,
}

impl Decoder {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            down: resampler(format.rate(), RATE),
            raw: Vec::new(),
            half: None,
        }
    }

    /// Puts the samples of a piece in the place of `samples`.
    pub(super) fn decode(&mut self, octets: &[u8], samples: &mut Vec<i16>) {
        samples.clear();
        match self.format {
            Format::Ulaw => samples.extend(octets.iter().map(|octet| g711::decode_ulaw(*octet))),
            Format::Alaw => samples.extend(octets.iter().map(|octet| g711::decode_alaw(*octet))),
            Format::L16(_) => {
                self.raw.clear();
                for octet in octets {
                    let Some(low) = self.half.take() else {
                        self.half = Some(*octet);
                        continue;
                    };
                    self.raw.push(i16::from_le_bytes([low, *octet]));
                }
                match &mut self.down {
                    Some(down) => down.push(&self.raw, samples),
                    None => samples.extend_from_slice(&self.raw),
                }
            }
        }
    }

    /// What follows does not continue what was before.
    pub(super) fn reset(&mut self) {
        if let Some(down) = &mut self.down {
            down.reset();
        }
        self.half = None;
    }
}

/// `None` where nothing is to be done.
fn resampler(from: u32, to: u32) -> Option<Resampler> {
    if from == to {
        return None;
    }
    Resampler::steady(from, to)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[test]
    fn formats_are_those_of_twilio_and_beside() {
        assert_eq!(Format::of(None, None), Some(Format::Ulaw));
        assert_eq!(
            Format::of(Some("audio/L16"), Some(24_000)),
            Some(Format::L16(3))
        );
        assert_eq!(Format::of(Some("audio/x-mulaw"), Some(16_000)), None);
        assert_eq!(Format::of(Some("audio/opus"), None), None);
        assert_eq!(
            (Format::L16(2).encoding(), Format::L16(2).rate()),
            ("audio/l16", 16_000)
        );
    }

    #[test]
    fn a_tone_survives_there_and_back_in_pieces_of_any_size() {
        for format in [
            Format::Ulaw,
            Format::Alaw,
            Format::L16(1),
            Format::L16(2),
            Format::L16(3),
        ] {
            let tone: Vec<i16> = (0..1_600).map(|n| wave(f64::from(n))).collect();
            let (mut encoder, mut decoder) = (Encoder::new(format), Decoder::new(format));
            let (mut all, mut octets) = (Vec::new(), Vec::new());
            for frame in tone.as_chunks::<FRAME>().0 {
                encoder.encode(frame, &mut octets);
                assert_eq!(
                    octets.len(),
                    match format {
                        Format::L16(factor) => FRAME * 2 * usize::from(factor),
                        _ => FRAME,
                    }
                );
                all.extend_from_slice(&octets);
            }
            let (mut back, mut samples) = (Vec::new(), Vec::new());
            for piece in all.chunks(77) {
                decoder.decode(piece, &mut samples);
                back.extend_from_slice(&samples);
            }
            assert_eq!(back.len(), tone.len(), "{format:?}");
            // Each way takes 32 samples.
            let error = (0..70)
                .map(|delay| difference(&tone[200..1_200], &back[200 + delay..1_200 + delay]))
                .fold(f64::MAX, f64::min);
            assert!(error < 0.03, "{format:?}: {error}");
        }
    }

    fn wave(n: f64) -> i16 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wave is within 16 bits"
        )]
        let sample = (8_000.0 * (TAU * 1_000.0 / 8_000.0 * n + 0.3).sin()) as i16;
        sample
    }

    /// The power of the difference by that of the signal, as amplitudes.
    fn difference(a: &[i16], b: &[i16]) -> f64 {
        let power = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let off = power(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        (off / power(&mut a.iter().map(|a| f64::from(*a)))).sqrt()
    }
}
