//! How far long work has come: a line on standard error where that is a terminal, and nothing elsewhere.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the line is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// The line. It is gone when this is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Says what is being done.
    pub(crate) fn new(words: impl Into<Cow<'static, str>>) -> Self {
        Self::drawn("{spinner} {msg}", words)
    }

    /// The same, with a number before it that [`one_more`](Self::one_more) counts up.
    pub(crate) fn counting(words: impl Into<Cow<'static, str>>) -> Self {
        Self::drawn("{spinner} {human_pos} {msg}", words)
    }

    fn drawn(template: &str, words: impl Into<Cow<'static, str>>) -> Self {
        // It draws to standard error, and only on terminals.
        let bar = ProgressBar::new_spinner();
        // The templates are fixed; the default one would do as well.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(words);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// One more of what is counted.
    pub(crate) fn one_more(&self) {
        self.0.inc(1);
    }

    /// Something else is being done now.
    pub(crate) fn now(&self, words: &'static str) {
        self.0.set_message(words);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
