use proptest::prelude::*;

use super::*;
use crate::activity::tests::{noise, speech};
use crate::g711;

/// A key of some milliseconds: levels of both tones in dBm0, and by how much they are off.
#[derive(Clone, Copy, Debug)]
struct Pressed {
    event: u8,
    ms: f64,
    low: f64,
    high: f64,
    off: f64,
    phase: f64,
}

const KEY: Pressed = Pressed {
    event: 5,
    ms: 40.0,
    low: -10.0,
    high: -10.0,
    off: 0.0,
    phase: 0.0,
};

/// The amplitude of a level in dBm0.
fn amplitude(dbm0: f64) -> f64 {
    22_380.0 * 10_f64.powf(dbm0 / 20.0)
}

impl Pressed {
    fn samples(self) -> Vec<i16> {
        let [low, high] = crate::tone::frequencies(self.event);
        let factor = 1.0 + self.off;
        let sample = |n: u32| {
            let turn = TAU * factor * f64::from(n) / 8_000.0;
            let low = amplitude(self.low) * (turn * low + self.phase).sin();
            let high = amplitude(self.high) * (turn * high).sin();
            (low + high).round() as i16
        };
        (0..(self.ms * 8.0) as u32).map(sample).collect()
    }
}

/// What is heard of samples that a line has carried, in packets of 20 ms.
fn heard(samples: &[i16]) -> String {
    let mut detector = Detector::default();
    let mut keys = String::new();
    for packet in samples.chunks(160) {
        let carried = packet
            .iter()
            .map(|sample| g711::decode_ulaw(g711::encode_ulaw(*sample)));
        detector.feed(carried, |key| keys.push(key));
    }
    keys
}

/// A key between silence, which begins `late` samples after a look.
fn alone(pressed: Pressed, late: usize) -> String {
    heard(&[vec![0; 800 + late], pressed.samples(), vec![0; 800]].concat())
}

fn all() -> impl Iterator<Item = (u8, String)> {
    (0..16).map(|event| (event, key(event).unwrap().to_string()))
}

#[test]
fn keys_of_40_ms_are_taken_and_of_23_ms_are_not() {
    for (event, name) in all() {
        for late in 0..HOP {
            let pressed = Pressed { event, ..KEY };
            assert_eq!(alone(pressed, late), name, "{late}");
            let short = Pressed {
                ms: 23.0,
                ..pressed
            };
            assert_eq!(alone(short, late), "", "{name} {late}");
        }
    }
}

#[test]
fn tones_may_be_off_by_1_and_a_half_percent_and_not_by_3_and_a_half() {
    for (event, name) in all() {
        for late in [0, 7, 20, 33] {
            for (off, taken) in [
                (0.015, true),
                (-0.015, true),
                (0.035, false),
                (-0.035, false),
            ] {
                let pressed = Pressed {
                    event,
                    off,
                    ms: if taken { 40.0 } else { 200.0 },
                    ..KEY
                };
                let expected = if taken { name.as_str() } else { "" };
                assert_eq!(alone(pressed, late), expected, "{name} {off} {late}");
            }
        }
    }
}

#[test]
fn twist_and_level_are_those_of_lines() {
    for (event, name) in all() {
        for (low, high, taken) in [
            (-12.0, -8.0, true),
            (-8.0, -16.0, true),
            (-14.0, -6.0, false),
            (-6.0, -18.0, false),
            (0.0, 0.0, true),
            (-29.0, -29.0, true),
            (-45.0, -45.0, false),
        ] {
            let pressed = Pressed {
                event,
                low,
                high,
                ..KEY
            };
            let expected = if taken { name.as_str() } else { "" };
            assert_eq!(alone(pressed, 11), expected, "{low} {high}");
        }
    }
}

#[test]
fn a_key_is_one_over_a_break_of_10_ms_and_two_over_one_of_40() {
    for (gap, expected) in [(80, "5"), (320, "55")] {
        let pressed = KEY.samples();
        for late in 0..HOP {
            let line = [
                vec![0; 800 + late],
                pressed.clone(),
                vec![0; gap],
                pressed.clone(),
                vec![0; 800],
            ];
            assert_eq!(heard(&line.concat()), expected, "{gap} {late}");
        }
    }
    // One that is held is one.
    let held = Pressed { ms: 3_000.0, ..KEY };
    assert_eq!(alone(held, 0), "5");
}

#[test]
fn keys_are_heard_over_noise_of_the_line() {
    for (event, name) in all() {
        let pressed = Pressed {
            event,
            ms: 60.0,
            ..KEY
        };
        let key = [vec![0; 800], pressed.samples(), vec![0; 800]].concat();
        // 15 dB below the tones together.
        let noise = noise(-31.0, key.len());
        let line = key.iter().zip(&noise).map(|(a, b)| a + b);
        assert_eq!(heard(&line.collect::<Vec<_>>()), name);
    }
}

#[test]
fn voices_music_and_single_tones_are_no_keys() {
    for level in [-12.0, -20.0, -30.0] {
        assert_eq!(heard(&speech(level, 80_000)), "");
        assert_eq!(heard(&noise(level, 80_000)), "");
    }
    // Vowels whose harmonics are those of a key, such as of 1: 697 Hz with its own, and 1,209 Hz.
    let vowel = |parts: &[(f64, f64)]| -> Vec<i16> {
        let sample = |n: u32| {
            let turn = TAU * f64::from(n) / 8_000.0;
            let parts = parts.iter().map(|(hz, level)| level * (turn * hz).sin());
            parts.sum::<f64>() as i16
        };
        (0..4_000).map(sample).collect()
    };
    for parts in [
        &[(697.0, 6_000.0), (1_209.0, 6_000.0), (1_394.0, 2_500.0)][..],
        &[(852.0, 6_000.0), (1_336.0, 6_000.0), (2_672.0, 2_500.0)],
        &[(770.0, 6_000.0), (1_336.0, 6_000.0), (2_000.0, 5_000.0)],
        &[(697.0, 6_000.0), (852.0, 6_000.0), (1_336.0, 6_000.0)],
        &[(941.0, 9_000.0)],
        &[(1_477.0, 9_000.0)],
        // Dial and ringing tones.
        &[(350.0, 6_000.0), (440.0, 6_000.0)],
        &[(440.0, 6_000.0), (480.0, 6_000.0)],
    ] {
        assert_eq!(heard(&vowel(parts)), "", "{parts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is dialled is heard, wherever it begins, off and with twist as lines make it.
    #[test]
    fn what_is_dialled_is_heard(
        keys in prop::collection::vec((0_u8..16, 40.0..200.0, 40_usize..200), 1..12),
        late in 0_usize..1_000,
        low in -20.0..-5.0,
        twist in -8.0..4.0,
        off in -0.015..0.015,
        phase in 0.0..TAU,
    ) {
        let mut line = vec![0; late];
        let mut dialled = String::new();
        for (event, ms, gap) in keys {
            let high = low + twist;
            line.extend(Pressed { event, ms, low, high, off, phase }.samples());
            line.extend(vec![0; gap * 8]);
            dialled.extend(key(event));
        }
        line.extend([0; 400]);
        prop_assert_eq!(heard(&line), dialled);
    }

    /// Nothing of noise, tones and clicks is a key.
    #[test]
    fn what_is_not_dialled_is_not_heard(
        tones in prop::collection::vec((800.0_f64..3_400.0, 0.0_f64..8_000.0), 3..8),
        samples in prop::collection::vec(any::<i16>(), 0..2_000),
    ) {
        let mut detector = Detector::default();
        let mut keys = String::new();
        detector.feed(samples, |key| keys.push(key));
        prop_assert_eq!(&keys, "");
        // Harmonics of one voice.
        let (pitch, _) = tones[0];
        let voice = (0..4_000).map(|n| {
            let turn = TAU * f64::from(n) / 8_000.0 * pitch / 10.0;
            let parts = (1..30_u8).zip(tones.iter().cycle());
            let parts = parts.map(|(k, (_, level))| -> f64 { (turn * f64::from(k)).sin() * level });
            (parts.sum::<f64>() / 6.0) as i16
        });
        detector.feed(voice, |key| keys.push(key));
        prop_assert_eq!(&keys, "");
    }
}
