//! `[media.quality]`: what is told of how calls sound while they are up.

use serde::{Deserialize, Deserializer, de::Error as _};

/// What is told of how calls sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    /// Seconds between two events that say how a call sounds, 1 to 10; 0 for none of them, and no warnings. Nothing is
    /// measured for them while nobody listens for events. Default 10.
    pub interval: u8,
    /// A party that is heard worse is warned of: a mean opinion score, 1.0 to 4.5; 0 for no warnings. Default 3.0.
    pub low: Mos,
    /// For how many intervals, one after the other, 1 to 100. Default 3.
    pub periods: u8,
}

/// A mean opinion score, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mos(u16);

impl Mos {
    /// From 1.0 to 4.5; `None` for no score.
    pub fn score(self) -> Option<f32> {
        (self.0 != 0).then(|| f32::from(self.0) / 100.0)
    }
}

impl<'de> Deserialize<'de> for Mos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let score = f64::deserialize(deserializer)?;
        if score != 0.0 && !(1.0..=4.5).contains(&score) {
            return Err(D::Error::custom(
                "write a mean opinion score, 1.0 to 4.5, or 0",
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 450"
        )]
        let hundredths = (score * 100.0).round() as u16;
        Ok(Self(hundredths))
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            interval: 10,
            low: Mos(300),
            periods: 3,
        }
    }
}

impl Quality {
    pub(super) fn check(self, errors: &mut Vec<String>) {
        if self.interval > 10 {
            errors.push(format!(
                "[media.quality] interval = {}: write 1 to 10 seconds, or 0 for no events",
                self.interval
            ));
        }
        if !(1..=100).contains(&self.periods) {
            errors.push(format!(
                "[media.quality] periods = {}: write 1 to 100",
                self.periods
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Quality, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn scores_and_intervals_are_checked() {
        assert_eq!(parse("").unwrap().low.score(), Some(3.0));
        assert_eq!(parse("low = 3.65").unwrap().low.score(), Some(3.65));
        assert_eq!(parse("low = 0").unwrap().low.score(), None);
        for wrong in [
            "low = 4.6",
            "low = 0.5",
            "low = -1",
            "low = nan",
            "lower = 1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let errors = |text| {
            let mut errors = Vec::new();
            parse(text).unwrap().check(&mut errors);
            errors.len()
        };
        assert_eq!(errors(""), 0);
        assert_eq!(errors("interval = 0"), 0);
        assert_eq!(errors("interval = 11\nperiods = 0"), 2);
    }
}
