//! WAV files as recorders, editors and speech engines write them: RIFF chunks of linear PCM or G.711.
//!
//! Sizes are not believed beyond what is there: who writes to a pipe does not know them, and puts 0, the largest number,
//! or nonsense.

use thiserror::Error;

use crate::g711;

/// The most channels that are mixed.
const MOST_CHANNELS: u16 = 8;

/// Audio of a file, which is borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wav<'a> {
    /// Sample rate in Hz, as the file tells it; not 0.
    pub rate: u32,
    /// 1 to 8.
    pub channels: u16,
    encoding: Encoding,
    data: &'a [u8],
}

/// Why a file is not played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WavError {
    /// It does not begin as one.
    #[error("no WAV file: RIFF and WAVE are missing")]
    NotWav,
    /// The file ends before its audio, or has none.
    #[error("the WAV file has no {0} chunk: it was cut off or is damaged")]
    Missing(&'static str),
    /// Compressed, or with samples of an odd size.
    #[error(
        "the WAV file has format {tag:#06x} with {bits} bits a sample: convert it to PCM of 8, 16, 24 or 32 bits, or to A-law or µ-law"
    )]
    Format {
        /// As registered, of the extension where there is one.
        tag: u16,
        /// Of a sample.
        bits: u16,
    },
    /// More than 8, or none.
    #[error("the WAV file has {0} channels: convert it to mono or stereo")]
    Channels(u16),
    /// A rate of 0.
    #[error("the WAV file has a sample rate of 0")]
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Octets around 128.
    Unsigned8,
    /// Little-endian, of 2, 3 or 4 octets.
    Signed(usize),
    /// Of 4 octets, from -1 to 1.
    Float,
    Alaw,
    Ulaw,
}

impl<'a> Wav<'a> {
    /// Reads a file's header.
    ///
    /// # Errors
    /// If it is no WAV file, or one that cannot be played.
    pub fn parse(file: &'a [u8]) -> Result<Self, WavError> {
        let Some((head, mut rest)) = file.split_at_checked(12) else {
            return Err(WavError::NotWav);
        };
        // RF64 and its like have their sizes elsewhere, and the same chunks.
        if !matches!(&head[..4], b"RIFF" | b"RF64" | b"BW64") || &head[8..] != b"WAVE" {
            return Err(WavError::NotWav);
        }
        let mut format = None;
        while let Some((chunk, body)) = rest.split_at_checked(8) {
            let (name, size) = chunk.split_at(4);
            let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize;
            let content = body.get(..size).unwrap_or(body);
            match name {
                b"fmt " => format = Some(Format::parse(content)?),
                b"data" => {
                    let format = format.ok_or(WavError::Missing("fmt"))?;
                    // A size of 0 at the end of a header is of one who wrote to a pipe.
                    let data = if size == 0 { body } else { content };
                    return format.with(data);
                }
                _ => {}
            }
            // Chunks begin at even places.
            rest = body
                .get(size.saturating_add(size % 2)..)
                .unwrap_or_default();
        }
        Err(WavError::Missing(match format {
            Some(_) => "data",
            None => "fmt",
        }))
    }

    /// The samples, all channels mixed to one.
    pub fn mono(&self) -> impl Iterator<Item = i16> + use<'a> {
        let Self {
            channels,
            encoding,
            data,
            ..
        } = *self;
        let size = encoding.size();
        data.chunks_exact(size * usize::from(channels))
            .map(move |frame| {
                let samples = frame
                    .chunks_exact(size)
                    .map(|sample| encoding.decode(sample));
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a mean of samples is a sample"
                )]
                let mean = (samples.map(i32::from).sum::<i32>() / i32::from(channels)) as i16;
                mean
            })
    }

    /// Samples of each channel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len() / (self.encoding.size() * usize::from(self.channels))
    }

    /// There is not one sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a `fmt ` chunk says.
#[derive(Clone, Copy)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

impl Format {
    fn parse(chunk: &[u8]) -> Result<Self, WavError> {
        let short = |at: usize| Some(u16::from_le_bytes([*chunk.get(at)?, *chunk.get(at + 1)?]));
        let missing = WavError::Missing("complete fmt");
        let [tag, channels, low, high, bits] = [0, 2, 4, 6, 14].map(|at| short(at).ok_or(missing));
        let rate = u32::from(low?) | u32::from(high?) << 16;
        let tag = match tag? {
            // WAVE_FORMAT_EXTENSIBLE: the format is the begin of the GUID at its end.
            0xfffe => short(24).ok_or(missing)?,
            tag => tag,
        };
        Ok(Self {
            tag,
            channels: channels?,
            rate,
            bits: bits?,
        })
    }

    fn with(self, data: &[u8]) -> Result<Wav<'_>, WavError> {
        let Self {
            tag,
            channels,
            rate,
            bits,
        } = self;
        let encoding = match (tag, bits) {
            (1, 8) => Encoding::Unsigned8,
            (1, 16 | 24 | 32) => Encoding::Signed(usize::from(bits / 8)),
            (3, 32) => Encoding::Float,
            (6, 8) => Encoding::Alaw,
            (7, 8) => Encoding::Ulaw,
            _ => return Err(WavError::Format { tag, bits }),
        };
        if !(1..=MOST_CHANNELS).contains(&channels) {
            return Err(WavError::Channels(channels));
        }
        if rate == 0 {
            return Err(WavError::Rate);
        }
        Ok(Wav {
            rate,
            channels,
            encoding,
            data,
        })
    }
}

impl Encoding {
    const fn size(self) -> usize {
        match self {
            Self::Unsigned8 | Self::Alaw | Self::Ulaw => 1,
            Self::Signed(size) => size,
            Self::Float => 4,
        }
    }

    /// A sample of [`Self::size`] octets.
    fn decode(self, sample: &[u8]) -> i16 {
        match (self, sample) {
            (Self::Unsigned8, [octet]) => (i16::from(*octet) - 128) << 8,
            (Self::Alaw, [octet]) => g711::decode_alaw(*octet),
            (Self::Ulaw, [octet]) => g711::decode_ulaw(*octet),
            (Self::Float, &[a, b, c, d]) => {
                let scaled = f32::from_le_bytes([a, b, c, d]) * 32_768.0;
                #[expect(clippy::cast_possible_truncation, reason = "saturates; NaN is 0")]
                let sample = scaled.round() as i16;
                sample
            }
            // The highest 16 bits are the last two.
            (Self::Signed(_), [.., low, high]) => i16::from_le_bytes([*low, *high]),
            _ => 0,
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "tests know how large their numbers are"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record;

    fn file(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let block = channels * bits.div_ceil(8);
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        file.extend(tag.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend((rate * u32::from(block)).to_le_bytes());
        file.extend(block.to_le_bytes());
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file
    }

    fn samples(file: &[u8]) -> Vec<i16> {
        Wav::parse(file).unwrap().mono().collect()
    }

    #[test]
    fn every_encoding_is_read() {
        assert_eq!(
            samples(&file(1, 1, 8000, 8, &[128, 0, 255])),
            [0, -32_768, 32_512]
        );
        assert_eq!(
            samples(&file(1, 1, 8000, 16, &[1, 0, 0, 0x80])),
            [1, i16::MIN]
        );
        assert_eq!(
            samples(&file(1, 1, 8000, 24, &[9, 1, 0, 9, 0, 0x80])),
            [1, i16::MIN]
        );
        assert_eq!(samples(&file(1, 1, 8000, 32, &[9, 9, 1, 0])), [1]);
        let floats: Vec<u8> = [0.5_f32, -2.0, f32::NAN]
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect();
        assert_eq!(
            samples(&file(3, 1, 8000, 32, &floats)),
            [16_384, i16::MIN, 0]
        );
        assert_eq!(samples(&file(6, 1, 8000, 8, &[0xd5, 0xaa])), [8, 32_256]);
        assert_eq!(samples(&file(7, 1, 8000, 8, &[0xff, 0x80])), [0, 32_124]);
        // Left and right; half a frame at the end is left out.
        assert_eq!(samples(&file(1, 2, 8000, 16, &[10, 0, 20, 0, 5])), [15]);
    }

    #[test]
    fn headers_of_all_kinds_are_read() {
        let mut extensible = file(0xfffe, 1, 48_000, 16, &[]);
        extensible.truncate(36);
        extensible[16] = 40;
        extensible.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0]);
        extensible.extend([0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        extensible.extend(b"LIST\x03\0\0\0abc\0data\x02\0\0\0\x07\0");
        let wav = Wav::parse(&extensible).unwrap();
        assert_eq!((wav.rate, wav.len()), (48_000, 1));
        assert_eq!(wav.mono().collect::<Vec<_>>(), [7]);
        // What a recording of this node begins with.
        let mut own = record::header(2, 4).to_vec();
        own.extend([2, 0, 4, 0]);
        assert_eq!(samples(&own), [3]);
        // From a pipe: sizes that are not known.
        for size in [0, u32::MAX, 0x7fff_f000] {
            let mut piped = file(1, 1, 22_050, 16, &[5, 0, 6, 0]);
            piped[40..44].copy_from_slice(&size.to_le_bytes());
            assert_eq!(samples(&piped), [5, 6], "{size}");
        }
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        for (bytes, error) in [
            (b"ID3".to_vec(), WavError::NotWav),
            (b"RIFF\0\0\0\0AVI LIST".to_vec(), WavError::NotWav),
            (b"RIFF\0\0\0\0WAVE".to_vec(), WavError::Missing("fmt")),
            (
                b"RIFF\0\0\0\0WAVEdata\0\0\0\0".to_vec(),
                WavError::Missing("fmt"),
            ),
            (
                file(1, 1, 8000, 16, &[])[..36].to_vec(),
                WavError::Missing("data"),
            ),
            (
                file(1, 1, 8000, 16, &[])[..30].to_vec(),
                WavError::Missing("complete fmt"),
            ),
            (
                file(0x11, 1, 8000, 4, &[]),
                WavError::Format { tag: 0x11, bits: 4 },
            ),
            (
                file(1, 1, 8000, 12, &[]),
                WavError::Format { tag: 1, bits: 12 },
            ),
            (file(1, 0, 8000, 16, &[]), WavError::Channels(0)),
            (file(1, 9, 8000, 16, &[]), WavError::Channels(9)),
            (file(1, 1, 0, 16, &[]), WavError::Rate),
        ] {
            assert_eq!(Wav::parse(&bytes), Err(error));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(
            head in prop::sample::select(vec![0_usize, 12, 20, 36, 44]),
            tag in prop::sample::select(vec![1_u16, 3, 6, 7, 0xfffe]),
            channels in 0_u16..10,
            bits in prop::sample::select(vec![8_u16, 16, 24, 32]),
            tail: Vec<u8>,
        ) {
            let mut bytes = file(tag, channels, 8000, bits, &[]);
            bytes.truncate(head);
            bytes.extend(&tail);
            if let Ok(wav) = Wav::parse(&bytes) {
                prop_assert_eq!(wav.mono().count(), wav.len());
            }
        }
    }
}
