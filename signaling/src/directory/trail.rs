//! Why a decision came out as it did, for people.

use std::fmt::Display;

/// Collects reasons, where somebody wants to read them.
#[derive(Debug, Default)]
pub(crate) struct Trail(Option<Vec<String>>);

impl Trail {
    /// A trail that keeps what it is told; the default one does not.
    pub(crate) const fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Whether it keeps what it is told.
    pub(super) const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// One reason. Made only where it is kept, for a call has no time for it.
    pub(super) fn say<T: Display>(&mut self, reason: impl FnOnce() -> T) {
        if let Some(reasons) = &mut self.0 {
            reasons.push(reason().to_string());
        }
    }

    /// The reasons, in order.
    pub(crate) fn into_reasons(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }
}
