//! Figures of several rounds.

use std::fmt;

use serde_json::{Value, json};

/// A median with its extremes.
#[derive(Debug)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "median": self.median(),
            "lowest": self.0.first(),
            "highest": self.0.last(),
        })
    }

    pub(crate) fn highest(&self) -> Option<f64> {
        self.0.last().copied()
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.0.get(self.0.len() / 2).copied()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        match (self.median(), self.0.first(), self.0.last()) {
            (Some(median), Some(low), Some(high)) => {
                write!(f, "{median:.digits$} ({low:.digits$} to {high:.digits$})")
            }
            _ => f.write_str("-"),
        }
    }
}

/// What was measured of each subject in each round.
#[derive(Debug)]
pub(crate) struct Rounds<S, F>(Vec<(u32, S, F)>);

impl<S: Copy + PartialEq, F> Rounds<S, F> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, round: u32, subject: S, figures: F) {
        self.0.push((round, subject, figures));
    }

    /// What was measured of a subject in one round.
    pub(crate) fn find(&self, round: u32, subject: S) -> Option<&F> {
        let mut runs = self.0.iter();
        runs.find(|run| run.0 == round && run.1 == subject)
            .map(|run| &run.2)
    }

    /// Whether `wanted` holds of every run.
    pub(crate) fn all(&self, wanted: impl Fn(&F) -> bool) -> bool {
        self.0.iter().all(|run| wanted(&run.2))
    }

    /// A figure of one subject.
    pub(crate) fn of(&self, subject: S, figure: impl Fn(&F) -> f64) -> Spread {
        let runs = self.0.iter().filter(|run| run.1 == subject);
        Spread::of(runs.map(|run| figure(&run.2)).collect())
    }

    /// A figure of one subject as a ratio to the other's of the same round.
    pub(crate) fn ratio(&self, one: S, other: S, figure: impl Fn(&F) -> f64) -> Spread {
        let ratios = self.0.iter().filter(|run| run.1 == one).filter_map(|run| {
            let base = figure(self.find(run.0, other)?);
            (base > 0.0).then(|| figure(&run.2) / base)
        });
        Spread::of(ratios.collect())
    }
}

/// The value that this share of sorted `values` does not exceed.
pub(crate) fn quantile<T: Copy + Default>(values: &[T], percent: usize) -> T {
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or_default()
}
