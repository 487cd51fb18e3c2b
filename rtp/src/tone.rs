//! Tones of the telephone, at 8,000 samples a second: what rings, by country, and keys as tones (ITU-T Q.23).

use std::f64::consts::TAU;

use crate::dtmf::Step;

/// Samples a second.
pub const RATE: u32 = 8_000;
/// Amplitude of one of two frequencies, about -13 dBm0.
const PAIR: f64 = 5_000.0;
/// Amplitude of a single frequency, about -10 dBm0.
const SINGLE: f64 = 7_000.0;
/// The low and the high frequencies of the keys (Q.23 section 5), in Hz.
pub(crate) const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
pub(crate) const HIGH: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// A part of a cadence.
type Part = (&'static [f64], u32);

/// One round of the ringing tone of a country (ITU-T E.180, supplement 2), in two letters of any case. That of North
/// America where the country is empty or not known here.
#[must_use]
pub fn ringback(country: &str) -> Vec<i16> {
    synthesize(cadence(&country.to_ascii_lowercase()))
}

/// The tone before a recording: 300 ms of 1,400 Hz, as recording tones are (ITU-T E.180).
#[must_use]
pub fn beep() -> Vec<i16> {
    synthesize(&[(&[1_400.0], 300)])
}

/// Keys as tones, for who takes no events.
#[must_use]
pub fn keys(steps: &[Step]) -> Vec<i16> {
    let mut samples = Vec::new();
    for step in steps {
        match *step {
            Step::Pause { ms } => add(&mut samples, &[], ms.into()),
            Step::Key { event, ms, gap_ms } => {
                add(&mut samples, &frequencies(event), ms.into());
                add(&mut samples, &[], gap_ms.into());
            }
        }
    }
    samples
}

/// Frequencies in Hz and milliseconds; no frequency is silence.
fn cadence(country: &str) -> &'static [Part] {
    const GREAT_BRITAIN: &[f64] = &[400.0, 450.0];
    match country {
        "gb" | "uk" | "ie" | "nz" => &[
            (GREAT_BRITAIN, 400),
            (&[], 200),
            (GREAT_BRITAIN, 400),
            (&[], 2_000),
        ],
        "au" => &[
            (&[413.0, 438.0], 400),
            (&[], 200),
            (&[413.0, 438.0], 400),
            (&[], 2_000),
        ],
        "in" | "za" => &[
            (&[400.0, 433.0], 400),
            (&[], 200),
            (&[400.0, 433.0], 400),
            (&[], 2_000),
        ],
        "sg" => &[(&[425.0], 400), (&[], 200), (&[425.0], 400), (&[], 2_000)],
        "fr" => &[(&[440.0], 1_500), (&[], 3_500)],
        "jp" => &[(&[400.0], 1_000), (&[], 2_000)],
        "at" => &[(&[420.0], 1_000), (&[], 5_000)],
        "be" => &[(&[425.0], 1_000), (&[], 3_000)],
        "ar" | "br" | "ch" | "cn" | "cz" | "de" | "dk" | "fi" | "gr" | "it" | "mx" | "nl"
        | "no" | "pl" => &[(&[425.0], 1_000), (&[], 4_000)],
        "es" => &[(&[425.0], 1_500), (&[], 3_000)],
        "pt" | "se" => &[(&[425.0], 1_000), (&[], 5_000)],
        "ru" | "ua" => &[(&[425.0], 800), (&[], 3_200)],
        _ => &[(&[440.0, 480.0], 2_000), (&[], 4_000)],
    }
}

pub(crate) fn frequencies(event: u8) -> [f64; 2] {
    let (row, column) = match event {
        0 => (3, 1),
        1..=9 => ((event - 1) / 3, (event - 1) % 3),
        10 => (3, 0),
        11 => (3, 2),
        _ => (event.saturating_sub(12) & 3, 3),
    };
    [LOW[usize::from(row)], HIGH[usize::from(column)]]
}

fn synthesize(parts: &[Part]) -> Vec<i16> {
    let mut samples = Vec::new();
    for (frequencies, ms) in parts {
        add(&mut samples, frequencies, *ms);
    }
    samples
}

fn add(samples: &mut Vec<i16>, frequencies: &[f64], ms: u32) {
    let amplitude = if frequencies.len() > 1 { PAIR } else { SINGLE };
    samples.extend((0..ms * RATE / 1000).map(|at| {
        let turns = f64::from(at) * TAU / f64::from(RATE);
        let sum: f64 = frequencies.iter().map(|hz| (turns * hz).sin()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "two amplitudes at most")]
        let sample = (sum * amplitude) as i16;
        sample
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtmf;

    /// How much of a frequency there is (Goertzel), relative to a full sine of the same length.
    fn level(samples: &[i16], hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (at, sample) in (0..).zip(samples) {
            let turn = f64::from(at) * TAU * hz / f64::from(RATE);
            re += f64::from(*sample) * turn.cos();
            im += f64::from(*sample) * turn.sin();
        }
        2.0 * re.hypot(im) / f64::from(u32::try_from(samples.len()).unwrap())
    }

    #[test]
    fn each_key_has_its_two_frequencies_and_no_other() {
        for (key, low, high) in [
            ('1', 0, 0),
            ('5', 1, 1),
            ('9', 2, 2),
            ('0', 3, 1),
            ('*', 3, 0),
        ] {
            let samples = keys(&dtmf::dial(&key.to_string(), 100, 50).unwrap());
            assert_eq!(samples.len(), 1_200);
            assert!(samples[800..].iter().all(|sample| *sample == 0));
            for (row, hz) in (0..).zip(LOW) {
                assert_eq!(
                    level(&samples[..800], hz) > 4_000.0,
                    row == low,
                    "{key} {hz}"
                );
            }
            for (column, hz) in (0..).zip(HIGH) {
                assert_eq!(
                    level(&samples[..800], hz) > 4_000.0,
                    column == high,
                    "{key} {hz}"
                );
            }
        }
        assert_eq!(frequencies(15), [941.0, 1633.0]);
        assert_eq!(frequencies(11), [941.0, 1477.0]);
    }

    #[test]
    fn a_country_rings_in_its_cadence() {
        let america = ringback("");
        assert_eq!(america.len(), 48_000);
        assert_eq!(america, ringback("zz"));
        assert!(level(&america[..8_000], 440.0) > 4_000.0);
        assert!(level(&america[..8_000], 480.0) > 4_000.0);
        assert!(america[16_000..].iter().all(|sample| *sample == 0));
        let britain = ringback("GB");
        assert_eq!(britain.len(), 24_000);
        assert!(level(&britain[..3_200], 450.0) > 4_000.0);
        assert!(britain[3_200..4_800].iter().all(|sample| *sample == 0));
        assert_eq!(ringback("de").len(), 40_000);
        let beep = beep();
        assert!(beep.len() == 2_400 && level(&beep, 1_400.0) > 6_000.0);
    }
}
