//! What is sent: a tone, a file, or what was heard.

use std::{f64::consts::TAU, path::Path};

use crate::exit::Failure;

/// Samples a second of everything here.
pub(in crate::call) const RATE: u32 = 8_000;
/// Samples in a packet: 20 ms.
pub(super) const FRAME: usize = 160;
/// A tone's peak: -12 dB below the loudest, as loud as speech.
const TONE_PEAK: f64 = 8_192.0;

/// Audio to send, 20 ms at a time.
#[derive(Debug)]
pub(in crate::call) enum Source {
    /// A sine.
    Tone {
        /// Where in its period it is, 0 to 1.
        phase: f64,
        /// Periods a sample.
        step: f64,
    },
    /// A file; silence after its end.
    Wav {
        /// The whole of it.
        samples: Vec<i16>,
        /// What was sent of it.
        at: usize,
    },
    /// Every packet goes back as it came: nothing is sent by the clock.
    Echo,
}

impl Source {
    /// A sine of `hertz`, 1 to 3,999.
    pub(in crate::call) fn tone(hertz: u16) -> Self {
        Self::Tone {
            phase: 0.0,
            step: f64::from(hertz) / f64::from(RATE),
        }
    }

    /// Reads a WAV file of 8,000 samples a second in any of PCM's widths; the channels are mixed.
    pub(in crate::call) fn wav(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let cannot = |error: hound::Error| Failure::other(format!("cannot play {shown}: {error}"));
        let reader = hound::WavReader::open(path).map_err(cannot)?;
        let spec = reader.spec();
        if spec.sample_rate != RATE {
            return Err(Failure::other(format!(
                "cannot play {shown}: it has {} samples a second, G.711 takes {RATE}; \
                 convert it with: sox {shown} -r {RATE} -c 1 -b 16 converted.wav",
                spec.sample_rate
            )));
        }
        let interleaved = read(reader, spec).map_err(cannot)?;
        let samples = mix(&interleaved, spec.channels);
        if samples.is_empty() {
            return Err(Failure::other(format!(
                "cannot play {shown}: it holds no audio"
            )));
        }
        Ok(Self::Wav { samples, at: 0 })
    }

    /// The next 20 ms; `None` where this source does not send by the clock.
    pub(super) fn frame(&mut self) -> Option<[i16; FRAME]> {
        let mut frame = [0; FRAME];
        match self {
            Self::Tone { phase, step } => {
                for sample in &mut frame {
                    #[expect(clippy::cast_possible_truncation, reason = "at most TONE_PEAK")]
                    let value = ((*phase * TAU).sin() * TONE_PEAK) as i16;
                    *sample = value;
                    *phase = (*phase + *step).fract();
                }
            }
            Self::Wav { samples, at } => {
                let rest = samples.get(*at..).unwrap_or_default();
                for (sample, value) in frame.iter_mut().zip(rest) {
                    *sample = *value;
                }
                *at += FRAME;
            }
            Self::Echo => return None,
        }
        Some(frame)
    }

    /// How long a file lasts, in milliseconds.
    pub(in crate::call) fn length_ms(&self) -> Option<u64> {
        match self {
            Self::Wav { samples, .. } => Some(samples.len() as u64 * 1_000 / u64::from(RATE)),
            _ => None,
        }
    }
}

/// The samples in 16 bits, channels interleaved.
fn read<R: std::io::Read>(
    reader: hound::WavReader<R>,
    spec: hound::WavSpec,
) -> Result<Vec<i16>, hound::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "scaled to 16 bits, and `as` saturates"
    )]
    match spec.sample_format {
        hound::SampleFormat::Float => reader
            .into_samples::<f32>()
            .map(|sample| Ok((sample? * f32::from(i16::MAX)) as i16))
            .collect(),
        hound::SampleFormat::Int => {
            let bits = i32::from(spec.bits_per_sample);
            reader
                .into_samples::<i32>()
                .map(|sample| {
                    let sample = sample?;
                    Ok(if bits > 16 {
                        sample >> (bits - 16)
                    } else {
                        sample << (16 - bits)
                    } as i16)
                })
                .collect()
        }
    }
}

fn mix(interleaved: &[i16], channels: u16) -> Vec<i16> {
    let channels = usize::from(channels.max(1));
    let average = |frame: &[i16]| {
        let sum: i32 = frame.iter().copied().map(i32::from).sum();
        let count = i32::try_from(frame.len()).unwrap_or(1);
        i16::try_from(sum / count).unwrap_or(0)
    };
    interleaved.chunks_exact(channels).map(average).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(spec: hound::WavSpec, samples: &[i32]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = hound::WavWriter::create(file.path(), spec).unwrap();
        for sample in samples {
            writer.write_sample(*sample).unwrap();
        }
        writer.finalize().unwrap();
        file
    }

    fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> hound::WavSpec {
        hound::WavSpec {
            channels,
            sample_rate,
            bits_per_sample,
            sample_format: hound::SampleFormat::Int,
        }
    }

    #[test]
    fn a_tone_goes_on_across_frames() {
        let mut source = Source::tone(1_000);
        let first = source.frame().unwrap();
        // 8 samples a period: frame 2 begins where frame 1 began.
        let second = source.frame().unwrap();
        for (a, b) in first.iter().zip(&second) {
            assert!((a - b).abs() <= 1, "{a} {b}");
        }
        assert!(
            (first[2] - 8_192).abs() <= 1,
            "the peak is at a quarter: {}",
            first[2]
        );
    }

    #[test]
    fn stereo_is_mixed_and_wide_samples_are_narrowed() {
        let stereo = file(spec(2, RATE, 24), &[256 * 100, 256 * 300, -256 * 8, 0]);
        let mut source = Source::wav(stereo.path()).unwrap();
        let frame = source.frame().unwrap();
        assert_eq!(frame[..3], [200, -4, 0]);
        assert_eq!(source.frame().unwrap(), [0; FRAME], "silence after the end");
    }

    #[test]
    fn another_rate_is_refused_with_the_way_out() {
        let fast = file(spec(1, 44_100, 16), &[1, 2, 3]);
        let error = Source::wav(fast.path()).unwrap_err().to_string();
        assert!(error.contains("44100") && error.contains("sox"), "{error}");
        let empty = file(spec(1, RATE, 16), &[]);
        assert!(Source::wav(empty.path()).is_err());
    }
}
