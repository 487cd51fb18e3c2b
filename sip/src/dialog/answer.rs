//! A callee's 2xx, repeated until it is acknowledged.

use std::time::{Duration, Instant};

use crate::transaction::Timers;

/// Repeats a 2xx to INVITE until its ACK comes (RFC 3261 section 13.3.1.4): over every transport,
/// for a proxy on the way may have another one.
///
/// Send the 2xx in its server transaction, then wake at [`poll_timeout`](Self::poll_timeout) and do
/// what [`handle_timeout`](Self::handle_timeout) says. [`acknowledge`](Self::acknowledge) it when
/// the ACK comes.
#[derive(Debug, Clone)]
pub struct Answer {
    interval: Duration,
    t2: Duration,
    next: Option<Instant>,
    end: Instant,
}

/// What an [`Answer`] wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Send the 2xx again.
    Send,
    /// No ACK came within 64 × T1: end the dialog with BYE.
    GiveUp,
}

impl Answer {
    /// For a 2xx that is being sent now.
    #[must_use]
    pub fn new(now: Instant, timers: &Timers) -> Self {
        let timers = timers.clamped();
        Self {
            interval: timers.t1,
            t2: timers.t2,
            next: Some(now + timers.t1),
            end: now + timers.limit(),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. `None` when it is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Repeat> {
        self.next.filter(|at| *at <= now)?;
        if now >= self.end {
            self.next = None;
            return Some(Repeat::GiveUp);
        }
        self.interval = self.interval.saturating_mul(2).min(self.t2);
        self.next = Some((now + self.interval).min(self.end));
        Some(Repeat::Send)
    }

    /// The ACK came.
    pub fn acknowledge(&mut self) {
        self.next = None;
    }
}
