//! Any bytes as a WAV file: it is refused, or read and brought to telephony's rate in its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtp::{resample::Resampler, wav::Wav};

fuzz_target!(|data: &[u8]| {
    let Ok(wav) = Wav::parse(data) else { return };
    let samples: Vec<i16> = wav.mono().collect();
    assert_eq!(samples.len(), wav.len());
    let Some(mut resampler) = Resampler::new(wav.rate, 8000) else {
        return;
    };
    let mut out = Vec::new();
    let (head, tail) = samples.split_at(samples.len() / 3);
    resampler.push(head, &mut out);
    resampler.push(tail, &mut out);
    resampler.finish(&mut out);
    let wanted = (samples.len() as u64 * 8000).div_ceil(wav.rate.into());
    assert_eq!(out.len() as u64, wanted);
});
