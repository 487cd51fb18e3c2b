//! What a person sees while a run goes on.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is written where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// A bar on a terminal, lines elsewhere; both on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{bar:30} {elapsed:>4} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            last_line: None,
        }
    }

    /// A new step.
    pub(super) fn step(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
        self.last_line = None;
    }

    /// How far the present step is: `done` of `all` seconds.
    pub(super) fn at(&mut self, done: Duration, all: Duration, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(all.as_secs());
            bar.set_position(done.as_secs().min(all.as_secs()));
            bar.set_message(text.to_owned());
            return;
        }
        let now = Instant::now();
        if self.last_line.is_none_or(|last| now - last >= PLAIN_EVERY) {
            eprintln!("  {:>3} s: {text}", done.as_secs());
            self.last_line = Some(now);
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
