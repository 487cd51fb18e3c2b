//! What a person sees while a call runs: a live line on a terminal, plain lines elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::media::Stats;
use crate::{exit::Failure, output};

/// How often a plain line tells how the call is.
const TELL: Duration = Duration::from_secs(5);

/// Shows progress, or nothing where JSON was asked for.
pub(super) struct Progress {
    quiet: bool,
    live: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// `quiet` for none.
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let live = (!quiet && terminal).then(|| {
            let bar = ProgressBar::new_spinner();
            // The template is fixed; the default one would do as well.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            quiet,
            live,
            told: Instant::now(),
        }
    }

    /// Says that something happened. Words may come from the network.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let text = output::printable(text);
        match &self.live {
            Some(bar) => bar.suspend(|| output::line(text)),
            None => output::line(text),
        }
    }

    /// Shows how the call is, so long after its answer.
    pub(super) fn show(&mut self, up: Duration, stats: &Stats) -> Result<(), Failure> {
        if let Some(bar) = &self.live {
            bar.set_message(line(up, stats));
            bar.tick();
        } else if !self.quiet && self.told.elapsed() >= TELL {
            self.told = Instant::now();
            output::line(line(up, stats))?;
        }
        Ok(())
    }

    /// Takes the live line away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }
}

fn line(up: Duration, stats: &Stats) -> String {
    let received = &stats.received;
    let mos = stats
        .mos()
        .map_or_else(|| "-".to_owned(), |mos| format!("{mos:.2}"));
    format!(
        "{} s  out {}  in {}  lost {} ({:.1} %)  jitter {:.1} ms  MOS {mos}",
        up.as_secs(),
        stats.sent_packets,
        received.packets(),
        received.lost(),
        received.loss_pct(),
        received.jitter_ms(),
    )
}
