//! Refusals in the log: a few a second, and how many more there were. Who sends nonsense, or a proxy that asks the same
//! for ever, fills no disk; `tandem_ng_requests_total` has them all.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

/// Lines in each [`TURN`].
const LINES: u32 = 5;
const TURN: Duration = Duration::from_secs(1);

/// What was said of late. What is no request at all hides no refusal of one.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    requests: Mutex<Turn>,
    nonsense: Mutex<Turn>,
}

/// Those of one kind.
#[derive(Debug, Default)]
struct Turn {
    begun: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Refusals {
    /// Says why a request was refused, unless too many were in this second; `None` for what is no request.
    pub(super) fn say(&self, command: Option<&str>, reason: &dyn std::fmt::Display) {
        let kind = match command {
            Some(_) => &self.requests,
            None => &self.nonsense,
        };
        let mut turn = kind.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let before = turn.over(now);
        let is_said = turn.line(now);
        drop(turn);
        told(before);
        if is_said {
            let command = command.unwrap_or("none");
            warn!(command, %reason, "refused an NG request");
        }
    }

    /// Says how many were not said in a second that is over.
    pub(super) fn sum_up(&self) {
        for kind in [&self.requests, &self.nonsense] {
            let mut turn = kind.lock().unwrap_or_else(PoisonError::into_inner);
            let unsaid = turn.over(Instant::now());
            drop(turn);
            told(unsaid);
        }
    }
}

fn told(unsaid: u64) {
    if unsaid > 0 {
        warn!(more = unsaid, "refused further NG requests");
    }
}

impl Turn {
    /// Whether one more may be said.
    fn line(&mut self, now: Instant) -> bool {
        self.begun.get_or_insert(now);
        let may = self.lines < LINES;
        match may {
            true => self.lines += 1,
            false => self.unsaid += 1,
        }
        may
    }

    /// Ends the turn where its time is over: how many it has not said.
    fn over(&mut self, now: Instant) -> u64 {
        let is_over = |begun| now.saturating_duration_since(begun) >= TURN;
        match self.begun.is_some_and(is_over) {
            true => std::mem::take(self).unsaid,
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_count() {
        let (mut turn, begun) = (Turn::default(), Instant::now());
        let said = (0..1_000).filter(|_| turn.line(begun)).count();
        assert_eq!(said, 5);
        assert_eq!(turn.over(begun + TURN / 2), 0);
        let next = begun + TURN;
        assert_eq!(turn.over(next), 995);
        assert_eq!(turn.over(next), 0);
        assert!(turn.line(next));
    }
}
