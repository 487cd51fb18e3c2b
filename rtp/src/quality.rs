//! Estimated speech quality: the E-model (ITU-T G.107) for what was received.
//!
//! Only what the transport does to speech is modelled: the codec, loss and its burstiness, delay.
//! Everything else keeps the default of G.107, which gives R = 93.2 for a perfect G.711 call.

/// R of a narrow-band call with nothing wrong (G.107 table 2, all parameters at their defaults).
const BASE: f64 = 93.2;

/// How a codec suffers (ITU-T G.113 appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Codec {
    /// Equipment impairment factor, without loss.
    pub ie: f64,
    /// Packet-loss robustness: the larger, the better loss is concealed.
    pub bpl: f64,
}

impl Codec {
    /// G.711 with packet-loss concealment, which every endpoint of today has.
    pub const G711: Self = Self { ie: 0.0, bpl: 25.1 };

    /// By encoding name as in `a=rtpmap`, in any case. `None` for a codec without known figures.
    ///
    /// For the wide-band codecs G.722, AMR-WB and Opus the figures are mapped to the narrow-band
    /// scale, so that one scale serves all calls; they are approximations, not of G.113.
    #[must_use]
    pub fn by_name(encoding: &str) -> Option<Self> {
        let (ie, bpl) = match encoding.to_ascii_uppercase().as_str() {
            "PCMU" | "PCMA" | "L16" => return Some(Self::G711),
            "G722" => (0.0, 14.0),
            "G729" | "G729A" => (11.0, 19.0),
            "G723" => (15.0, 16.1),
            "G728" => (7.0, 17.0),
            "GSM" => (20.0, 10.0),
            "GSM-EFR" => (5.0, 10.0),
            "ILBC" => (11.0, 32.0),
            "AMR" => (5.0, 10.0),
            "AMR-WB" => (2.0, 18.0),
            "OPUS" => (1.0, 20.0),
            _ => return None,
        };
        Some(Self { ie, bpl })
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Part of the packets that did not come in time to be played, 0 to 1.
    pub loss: f64,
    /// Mean length of the runs of loss over what random loss would give; 1 for random loss (BurstR).
    pub burst_ratio: f64,
    /// Mouth to ear, one way, in milliseconds (Ta).
    pub delay_ms: f64,
}

/// The rating factor R, 0 to 93.2.
#[must_use]
pub fn r_factor(codec: Codec, measured: Measured) -> f64 {
    let ppl = measured.loss.clamp(0.0, 1.0) * 100.0;
    let burst = measured.burst_ratio.max(1.0);
    // G.107 equation 7-29.
    let ie_eff = codec.ie + (95.0 - codec.ie) * ppl / (ppl / burst + codec.bpl);
    (BASE - delay_impairment(measured.delay_ms) - ie_eff).clamp(0.0, BASE)
}

/// The mean opinion score that R means (G.107 annex B), 1 to 4.5.
#[must_use]
pub fn mos(r: f64) -> f64 {
    if r <= 0.0 {
        return 1.0;
    }
    if r >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).max(1.0)
}

/// Idd of G.107 equation 7-27: nothing below 100 ms.
fn delay_impairment(delay_ms: f64) -> f64 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    let first = (1.0 + x.powi(6)).powf(1.0 / 6.0);
    let second = 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0);
    25.0 * (first - second + 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERFECT: Measured = Measured {
        loss: 0.0,
        burst_ratio: 1.0,
        delay_ms: 20.0,
    };

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.05
    }

    #[test]
    fn a_perfect_g711_call_has_the_textbook_score() {
        let r = r_factor(Codec::G711, PERFECT);
        assert!(close(r, 93.2), "{r}");
        assert!(close(mos(r), 4.41), "{}", mos(r));
    }

    #[test]
    fn known_points_of_the_model() {
        // G.729A, no loss: R = 82.2, MOS 4.1.
        let g729 = Codec::by_name("g729").unwrap();
        assert!(close(mos(r_factor(g729, PERFECT)), 4.11));
        // G.711 with 2 % random loss: Ie,eff = 95 * 2 / 27.1 = 7.01.
        let lossy = Measured {
            loss: 0.02,
            ..PERFECT
        };
        assert!(close(r_factor(Codec::G711, lossy), 86.19));
        // Bursty loss weighs more: 95 * 2 / (1 + 25.1) = 7.28.
        let bursty = Measured {
            burst_ratio: 2.0,
            ..lossy
        };
        assert!(close(r_factor(Codec::G711, bursty), 85.92));
        // Idd at 200 ms and 400 ms (equation 7-27).
        assert!(
            close(delay_impairment(200.0), 3.05),
            "{}",
            delay_impairment(200.0)
        );
        assert!(
            close(delay_impairment(400.0), 24.07),
            "{}",
            delay_impairment(400.0)
        );
    }

    #[test]
    fn total_loss_is_the_worst() {
        let r = r_factor(
            Codec::G711,
            Measured {
                loss: 1.0,
                burst_ratio: 50.0,
                delay_ms: 1000.0,
            },
        );
        assert!(r < 1.0 && close(mos(r), 1.0), "{r}");
    }

    proptest! {
        #[test]
        fn more_of_anything_bad_never_sounds_better(
            loss in 0.0..0.9_f64, burst in 1.0..10.0_f64, delay in 0.0..2000.0_f64,
        ) {
            let at = |loss, burst_ratio, delay_ms| {
                mos(r_factor(Codec::G711, Measured { loss, burst_ratio, delay_ms }))
            };
            let here = at(loss, burst, delay);
            prop_assert!((1.0..=4.5).contains(&here));
            prop_assert!(at(loss + 0.1, burst, delay) <= here + 1e-9);
            prop_assert!(at(loss, burst + 1.0, delay) <= here + 1e-9);
            prop_assert!(at(loss, burst, delay + 50.0) <= here + 1e-9);
        }
    }
}
