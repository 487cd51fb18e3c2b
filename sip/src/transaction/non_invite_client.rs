//! Non-INVITE client transaction: RFC 3261 section 17.1.2.

use std::time::{Duration, Instant};

use super::machine::{Actions, Class, Send, Tell};
use super::timer::{Armed, Timer, Timers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The request was sent, nothing was heard.
    Trying,
    /// A provisional response came; the request is still retransmitted, every T2.
    Proceeding,
    /// The final response came; its retransmissions are absorbed.
    Completed,
    /// Over.
    Terminated,
}

#[derive(Debug)]
pub(super) struct NonInviteClient {
    state: State,
    reliable: bool,
    /// The running interval of timer E.
    interval: Duration,
    pub(super) timers: Armed,
}

impl NonInviteClient {
    /// The machine of a request that is being sent now.
    pub(super) fn new(now: Instant, config: &Timers, reliable: bool) -> Self {
        let mut timers = Armed::default();
        timers.start(Timer::F, now + config.limit());
        if !reliable {
            timers.start(Timer::E, now + config.t1);
        }
        Self {
            state: State::Trying,
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
            (State::Trying | State::Proceeding, Class::Provisional) => {
                self.state = State::Proceeding;
                Actions::tell(Tell::Message)
            }
            (State::Trying | State::Proceeding, Class::Success | Class::Failure) => {
                self.timers.clear();
                if self.reliable {
                    // Timer K is zero.
                    self.state = State::Terminated;
                } else {
                    self.state = State::Completed;
                    self.timers.start(Timer::K, now + config.t4);
                }
                Actions::tell(Tell::Message)
            }
            (State::Completed | State::Terminated, _) => Actions::NONE,
        }
    }

    pub(super) fn on_timer(&mut self, now: Instant, config: &Timers, timer: Timer) -> Actions {
        match (self.state, timer) {
            (State::Trying, Timer::E) => {
                self.interval = config.doubled(self.interval);
                self.timers.start(Timer::E, now + self.interval);
                Actions::send(Send::Request)
            }
            (State::Proceeding, Timer::E) => {
                self.timers.start(Timer::E, now + config.t2);
                Actions::send(Send::Request)
            }
            (State::Trying | State::Proceeding, Timer::F) => {
                self.terminate();
                Actions::tell(Tell::Timeout)
            }
            (State::Completed, Timer::K) => {
                self.terminate();
                Actions::NONE
            }
            _ => Actions::NONE,
        }
    }

    pub(super) fn on_transport_error(&mut self) -> Actions {
        match self.state {
            State::Trying | State::Proceeding => {
                self.terminate();
                Actions::tell(Tell::TransportError)
            }
            State::Completed | State::Terminated => Actions::NONE,
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timers.clear();
    }
}
