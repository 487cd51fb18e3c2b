//! Files as samples.

use nanomp3::SliceReader;
use rtp::{g711, resample::Resampler, wav::Wav};

use super::RATE;

/// The longest clip, in samples: an hour.
const LONGEST: usize = 3600 * RATE as usize;
/// Samples that are converted at once.
const PIECE: usize = 4096;

/// What a file has, and the rate that it had it at; `kind` is its content type where one is known. Otherwise, why it
/// cannot be played.
pub(super) fn clip(kind: Option<&str>, bytes: &[u8]) -> Result<(Vec<i16>, u32), String> {
    let (samples, rate) = match kind {
        Some("audio/basic" | "audio/x-mulaw" | "audio/ulaw" | "audio/pcmu") if !is_riff(bytes) => {
            let octets = bytes.iter();
            let samples: Vec<_> = octets.map(|octet| g711::decode_ulaw(*octet)).collect();
            (samples, RATE)
        }
        _ if is_riff(bytes) => wav(bytes)?,
        _ if nanomp3::detect(bytes) => mp3(bytes)?,
        Some(kind) => return Err(format!("{kind} is neither WAV nor MP3: convert it to one")),
        None => return Err("the file is neither WAV nor MP3: convert it to one".to_owned()),
    };
    if samples.is_empty() {
        return Err("the file has no audio".to_owned());
    }
    Ok((samples, rate))
}

/// Whether a file that begins so is worth to be decoded.
pub(super) fn is_known(head: &[u8]) -> bool {
    (is_riff(head) && head.get(8..12) == Some(b"WAVE")) || nanomp3::detect(head)
}

fn is_riff(bytes: &[u8]) -> bool {
    matches!(bytes.get(..4), Some(b"RIFF" | b"RF64" | b"BW64"))
}

fn wav(bytes: &[u8]) -> Result<(Vec<i16>, u32), String> {
    let wav = Wav::parse(bytes).map_err(|error| error.to_string())?;
    let mut out = Out::new(wav.rate)?;
    let mut piece = Vec::with_capacity(PIECE);
    for sample in wav.mono() {
        piece.push(sample);
        if piece.len() == PIECE {
            out.push(&piece)?;
            piece.clear();
        }
    }
    out.push(&piece)?;
    Ok((out.finish(), wav.rate))
}

fn mp3(bytes: &[u8]) -> Result<(Vec<i16>, u32), String> {
    let options = nanomp3::Options::default().skip_scan(true);
    let mut reader = SliceReader::<i16>::with_options(bytes, options);
    let Some(channels) = reader.channels() else {
        return Err("the MP3 file has no audio".to_owned());
    };
    let channels = match channels {
        nanomp3::Channels::Mono => 1,
        nanomp3::Channels::Stereo => 2,
    };
    let rate = reader.sample_rate();
    let mut out = Out::new(rate)?;
    let mut mono = Vec::new();
    while let Some(frame) = reader.read_frame().map_err(|error| error.to_string())? {
        mono.clear();
        mono.extend(frame.chunks_exact(channels).map(|samples| match *samples {
            [left, right] => left.midpoint(right),
            [sample, ..] => sample,
            [] => 0,
        }));
        out.push(&mono)?;
    }
    Ok((out.finish(), rate))
}

/// Audio at telephony's rate, no more of it than may be.
struct Out {
    resampler: Resampler,
    samples: Vec<i16>,
}

impl Out {
    fn new(rate: u32) -> Result<Self, String> {
        let resampler = Resampler::new(rate, RATE)
            .ok_or_else(|| format!("a sample rate of {rate} Hz: convert it to 8,000 to 48,000"))?;
        Ok(Self {
            resampler,
            samples: Vec::new(),
        })
    }

    fn push(&mut self, samples: &[i16]) -> Result<(), String> {
        self.resampler.push(samples, &mut self.samples);
        match self.samples.len() > LONGEST {
            true => Err("it is longer than an hour: cut it".to_owned()),
            false => Ok(()),
        }
    }

    fn finish(mut self) -> Vec<i16> {
        self.resampler.finish(&mut self.samples);
        self.samples
    }
}
