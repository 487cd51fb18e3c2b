//! The timers of RFC 3261 table 4, as configuration and as a closed set.
//!
//! A transaction never runs more than two timers at once: one that repeats (a retransmission, or
//! the automatic 100) and one that limits how long the present state may last. [`Armed`] keeps
//! exactly those two, so that a table of a hundred thousand transactions stays small.

use std::time::{Duration, Instant};

/// The base values from which every timer of a transaction follows (RFC 3261 section 17.1.1.1).
///
/// The defaults are the RFC's. T1 may be larger on links with a known long round trip; a smaller
/// one is for closed networks only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of the round trip time. First retransmission interval; B, F, H, J, L and M are
    /// 64 times this. Default 500 ms.
    pub t1: Duration,
    /// Longest interval between retransmissions of a non-INVITE request or of a final response to
    /// INVITE. Default 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network: I and K over unreliable transports.
    /// Default 5 s.
    pub t4: Duration,
    /// How long a completed INVITE client transaction absorbs retransmitted final responses over
    /// unreliable transports (timer D). The RFC asks for at least 32 s, the default.
    pub d: Duration,
    /// How long an INVITE server transaction waits for its user before it sends 100 (Trying) by
    /// itself (section 17.2.1). Default 200 ms.
    pub trying: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            d: Duration::from_secs(32),
            trying: Duration::from_millis(200),
        }
    }
}

impl Timers {
    /// 64 × T1: timers B, F, H, J, L and M. 32 s by default.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// How long a non-INVITE server transaction waits before it sends 100 (Trying) by itself: the
    /// time that a client's timer E takes to reach T2 (RFC 4320 section 4.1). 3.5 s by default.
    #[must_use]
    pub fn non_invite_trying(&self) -> Duration {
        let mut waited = Duration::ZERO;
        let mut interval = self.t1;
        // 32 doublings outgrow any T2; the bound only matters where T1 is configured as zero.
        for _ in 0..32 {
            waited = waited.saturating_add(interval);
            interval = self.doubled(interval);
            if interval >= self.t2 {
                break;
            }
        }
        waited
    }

    /// These times within bounds that leave a machine working: no timer that repeats without time
    /// passing, none that lies beyond what an [`Instant`] can hold.
    pub(crate) fn clamped(self) -> Self {
        const LONGEST: Duration = Duration::from_secs(3600);
        let t1 = self
            .t1
            .clamp(Duration::from_millis(1), Duration::from_secs(60));
        Self {
            t1,
            t2: self.t2.clamp(t1, LONGEST),
            t4: self.t4.min(LONGEST),
            d: self.d.min(LONGEST),
            trying: self.trying.min(LONGEST),
        }
    }

    /// The next interval of timers E and G: twice the last, never more than T2.
    pub(super) fn doubled(&self, interval: Duration) -> Duration {
        interval.saturating_mul(2).min(self.t2)
    }
}

/// Every timer that a transaction can run. The letters are those of RFC 3261 table 4, and of
/// RFC 6026 for L and M. Timer C belongs to the proxy ([`crate::proxy::ResponseContext`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE request retransmission interval, unreliable transports only.
    A,
    /// INVITE client transaction timeout; also the wait for a final response after CANCEL.
    B,
    /// Wait for retransmitted final responses to INVITE.
    D,
    /// Non-INVITE request retransmission interval, unreliable transports only.
    E,
    /// Non-INVITE client transaction timeout.
    F,
    /// Final response to INVITE retransmission interval, unreliable transports only.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for retransmitted ACKs.
    I,
    /// Wait for retransmitted non-INVITE requests.
    J,
    /// Wait for retransmitted responses to a non-INVITE request.
    K,
    /// Wait for retransmitted INVITEs after a 2xx was sent.
    L,
    /// Wait for retransmitted or forked 2xx responses to INVITE.
    M,
    /// Delay of the automatic 100 (Trying) of a server transaction.
    Trying,
}

impl Timer {
    /// Whether the timer drives a retransmission, and so may run beside a limit.
    fn repeats(self) -> bool {
        matches!(self, Self::A | Self::E | Self::G | Self::Trying)
    }
}

/// The timers that one transaction has running.
#[derive(Debug, Clone, Default)]
pub(super) struct Armed {
    repeat: Option<(Timer, Instant)>,
    limit: Option<(Timer, Instant)>,
}

impl Armed {
    /// Starts `timer`, in place of the timer of the same kind (repeating or limiting).
    pub(super) fn start(&mut self, timer: Timer, at: Instant) {
        *self.slot(timer) = Some((timer, at));
    }

    /// Stops `timer` if it runs.
    pub(super) fn stop(&mut self, timer: Timer) {
        let slot = self.slot(timer);
        if slot.is_some_and(|(armed, _)| armed == timer) {
            *slot = None;
        }
    }

    /// Stops everything: what a state change does before it starts its own timers.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the next timer fires.
    pub(super) fn next(&self) -> Option<Instant> {
        match (self.repeat, self.limit) {
            (Some((_, a)), Some((_, b))) => Some(a.min(b)),
            (Some((_, at)), None) | (None, Some((_, at))) => Some(at),
            (None, None) => None,
        }
    }

    /// Takes one timer that is due. A limit goes first: a machine that gives up does not
    /// retransmit once more at the same instant.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let due = |slot: &mut Option<(Timer, Instant)>| match *slot {
            Some((timer, at)) if at <= now => {
                *slot = None;
                Some(timer)
            }
            _ => None,
        };
        due(&mut self.limit).or_else(|| due(&mut self.repeat))
    }

    fn slot(&mut self, timer: Timer) -> &mut Option<(Timer, Instant)> {
        if timer.repeats() {
            &mut self.repeat
        } else {
            &mut self.limit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_automatic_100_of_a_non_invite_follows_timer_e() {
        // 0.5 + 1 + 2 s, then E is T2.
        assert_eq!(
            Timers::default().non_invite_trying(),
            Duration::from_millis(3500)
        );
        let zero = Timers {
            t1: Duration::ZERO,
            ..Timers::default()
        };
        assert_eq!(zero.non_invite_trying(), Duration::ZERO);
        assert_eq!(zero.clamped().t1, Duration::from_millis(1));
    }

    #[test]
    fn a_limit_fires_before_a_retransmission_due_at_the_same_instant() {
        let now = Instant::now();
        let mut armed = Armed::default();
        armed.start(Timer::E, now);
        armed.start(Timer::F, now);
        assert_eq!(armed.next(), Some(now));
        assert_eq!(armed.expire(now), Some(Timer::F));
        assert_eq!(armed.expire(now), Some(Timer::E));
        assert_eq!(armed.expire(now), None);
    }

    #[test]
    fn stopping_one_timer_leaves_another_of_its_kind() {
        let now = Instant::now();
        let mut armed = Armed::default();
        armed.start(Timer::D, now);
        armed.stop(Timer::B);
        assert_eq!(armed.next(), Some(now));
        armed.stop(Timer::D);
        assert_eq!(armed.next(), None);
    }
}
