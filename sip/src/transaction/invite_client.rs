//! INVITE client transaction: RFC 3261 section 17.1.1, with the Accepted state of RFC 6026.

use std::time::{Duration, Instant};

use super::machine::{Actions, Class, Send, Tell};
use super::timer::{Armed, Timer, Timers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The INVITE was sent, nothing was heard.
    Calling,
    /// A provisional response came. No timer runs: how long it may ring is the user's to decide
    /// (timer C of a proxy, the patience of a caller).
    Proceeding,
    /// A 3xx to 6xx came and was acknowledged; its retransmissions are acknowledged again.
    Completed,
    /// A 2xx came; more of them (retransmitted, or from other forks) go to the user.
    Accepted,
    /// Over.
    Terminated,
}

#[derive(Debug)]
pub(super) struct InviteClient {
    state: State,
    reliable: bool,
    /// The running interval of timer A.
    interval: Duration,
    pub(super) timers: Armed,
}

impl InviteClient {
    /// The machine of an INVITE that is being sent now.
    pub(super) fn new(now: Instant, config: &Timers, reliable: bool) -> Self {
        let mut timers = Armed::default();
        timers.start(Timer::B, now + config.limit());
        if !reliable {
            timers.start(Timer::A, now + config.t1);
        }
        Self {
            state: State::Calling,
            reliable,
            interval: config.t1,
            timers,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn on_response(&mut self, now: Instant, config: &Timers, class: Class) -> Actions {
        match (self.state, class) {
            (State::Calling, Class::Provisional) => {
                self.state = State::Proceeding;
                self.timers.clear();
                Actions::tell(Tell::Message)
            }
            (State::Proceeding, Class::Provisional) => Actions::tell(Tell::Message),
            (State::Calling | State::Proceeding, Class::Success) => {
                self.state = State::Accepted;
                self.timers.clear();
                self.timers.start(Timer::M, now + config.limit());
                Actions::tell(Tell::Message)
            }
            (State::Calling | State::Proceeding, Class::Failure) => {
                self.timers.clear();
                if self.reliable {
                    // Timer D is zero: nothing can be retransmitted to us.
                    self.state = State::Terminated;
                } else {
                    self.state = State::Completed;
                    self.timers.start(Timer::D, now + config.d);
                }
                Actions::send(Send::Ack).and_tell(Tell::Message)
            }
            (State::Completed, Class::Failure) => Actions::send(Send::Ack),
            (State::Accepted, Class::Success) => Actions::tell(Tell::Message),
            (State::Completed | State::Accepted | State::Terminated, _) => Actions::NONE,
        }
    }

    /// A CANCEL was sent: the final response must come within 64 × T1, or the transaction counts
    /// as cancelled without one (section 9.1).
    pub(super) fn on_cancel(&mut self, now: Instant, config: &Timers) {
        if self.state == State::Proceeding {
            self.timers.start(Timer::B, now + config.limit());
        }
    }

    pub(super) fn on_timer(&mut self, now: Instant, timer: Timer) -> Actions {
        match (self.state, timer) {
            (State::Calling, Timer::A) => {
                self.interval = self.interval.saturating_mul(2);
                self.timers.start(Timer::A, now + self.interval);
                Actions::send(Send::Request)
            }
            (State::Calling | State::Proceeding, Timer::B) => {
                self.terminate();
                Actions::tell(Tell::Timeout)
            }
            (State::Completed, Timer::D) | (State::Accepted, Timer::M) => {
                self.terminate();
                Actions::NONE
            }
            _ => Actions::NONE,
        }
    }

    /// The transport could not deliver the INVITE, or the ACK. While it rings a lost connection
    /// is not yet a failure: the callee may open another one for its response.
    pub(super) fn on_transport_error(&mut self) -> Actions {
        match self.state {
            State::Calling | State::Completed => {
                self.terminate();
                Actions::tell(Tell::TransportError)
            }
            State::Proceeding | State::Accepted | State::Terminated => Actions::NONE,
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timers.clear();
    }
}
