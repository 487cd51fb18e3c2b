//! How many orders an application may give by its socket.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Orders a second.
pub(super) const A_SECOND: u32 = 50;
/// Orders at once, after a while without any.
pub(super) const AT_ONCE: u32 = 100;

/// When the orders that were taken are made up for (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Rate(Mutex<Instant>);

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// Takes an order, or says how long one has to wait.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let step = Duration::from_secs(1) / A_SECOND;
        let mut due = self.0.lock();
        let next = due.max(now) + step;
        let over = (next - now).saturating_sub(step * AT_ONCE);
        if over > Duration::ZERO {
            return Err(over);
        }
        *due = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_taken_at_once_and_then_so_many_a_second() {
        let now = Instant::now();
        let rate = Rate::new(now);
        let taken = |at| (0..1_000).filter(|_| rate.take(at).is_ok()).count();
        assert_eq!(taken(now), 100);
        assert_eq!(rate.take(now), Err(Duration::from_millis(20)));
        assert_eq!(taken(now + Duration::from_secs(1)), 50);
        assert_eq!(taken(now + Duration::from_secs(60)), 100);
    }
}
