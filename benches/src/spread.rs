//! Figures of several rounds.

use std::fmt;

use serde_json::{Value, json};

/// A median with its extremes.
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
