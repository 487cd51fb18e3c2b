//! INVITE server transaction: RFC 3261 section 17.2.1, with the Accepted state of RFC 6026.

use std::time::{Duration, Instant};

use super::machine::{Actions, Class, Send, Tell};
use super::timer::{Armed, Timer, Timers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The INVITE came; its user may send provisional responses, and owes a final one.
    Proceeding,
    /// A 3xx to 6xx was sent and is retransmitted until the ACK comes.
    Completed,
    /// The ACK came; its retransmissions are absorbed.
    Confirmed,
    /// A 2xx was sent; retransmitted INVITEs are absorbed, the 2xx is the user's to repeat.
    Accepted,
    /// Over.
    Terminated,
}

#[derive(Debug)]
pub(super) struct InviteServer {
    state: State,
    reliable: bool,
    /// Whether a provisional response is at hand to be repeated.
    answered: bool,
    /// The running interval of timer G.
    interval: Duration,
    pub(super) timers: Armed,
}

impl InviteServer {
    /// The machine of an INVITE that has just arrived.
    pub(super) fn new(now: Instant, config: &Timers, reliable: bool) -> Self {
        let mut timers = Armed::default();
        timers.start(Timer::Trying, now + config.trying);
        Self {
            state: State::Proceeding,
            reliable,
            answered: false,
            interval: config.t1,
            timers,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The INVITE came again.
    pub(super) fn on_retransmission(&mut self) -> Actions {
        match self.state {
            State::Proceeding if self.answered => Actions::send(Send::Response),
            State::Completed => Actions::send(Send::Response),
            State::Proceeding | State::Accepted | State::Confirmed | State::Terminated => {
                Actions::NONE
            }
        }
    }

    /// An ACK that belongs to this transaction by its branch. In Accepted it acknowledges the 2xx
    /// (from a peer that does not choose a new branch for it) and goes to the user.
    pub(super) fn on_ack(&mut self, now: Instant, config: &Timers) -> Actions {
        match self.state {
            State::Completed => {
                self.timers.clear();
                if self.reliable {
                    // Timer I is zero.
                    self.state = State::Terminated;
                } else {
                    self.state = State::Confirmed;
                    self.timers.start(Timer::I, now + config.t4);
                }
                Actions::NONE
            }
            State::Accepted => Actions::tell(Tell::Message),
            State::Proceeding | State::Confirmed | State::Terminated => Actions::NONE,
        }
    }

    /// The user answers. `None`: the response does not fit the state, and is not sent.
    pub(super) fn on_user_response(
        &mut self,
        now: Instant,
        config: &Timers,
        class: Class,
    ) -> Option<Actions> {
        match (self.state, class) {
            (State::Proceeding, Class::Provisional) => {
                self.answered = true;
                self.timers.stop(Timer::Trying);
            }
            (State::Proceeding, Class::Success) => {
                self.state = State::Accepted;
                self.timers.clear();
                self.timers.start(Timer::L, now + config.limit());
            }
            (State::Proceeding, Class::Failure) => {
                self.state = State::Completed;
                self.timers.clear();
                self.timers.start(Timer::H, now + config.limit());
                if !self.reliable {
                    self.timers.start(Timer::G, now + self.interval);
                }
            }
            (State::Accepted, Class::Success) => {}
            _ => return None,
        }
        Some(Actions::send(Send::Response))
    }

    pub(super) fn on_timer(&mut self, now: Instant, config: &Timers, timer: Timer) -> Actions {
        match (self.state, timer) {
            (State::Proceeding, Timer::Trying) => {
                self.answered = true;
                Actions::send(Send::Trying)
            }
            (State::Completed, Timer::G) => {
                self.interval = config.doubled(self.interval);
                self.timers.start(Timer::G, now + self.interval);
                Actions::send(Send::Response)
            }
            (State::Completed, Timer::H) => {
                self.terminate();
                Actions::tell(Tell::Timeout)
            }
            (State::Confirmed, Timer::I) | (State::Accepted, Timer::L) => {
                self.terminate();
                Actions::NONE
            }
            _ => Actions::NONE,
        }
    }

    /// RFC 6026 section 7.1: the state stays what it is, so that retransmissions are still
    /// absorbed; the timers end it.
    pub(super) fn on_transport_error(&self) -> Actions {
        match self.state {
            State::Proceeding | State::Completed | State::Accepted => {
                Actions::tell(Tell::TransportError)
            }
            State::Confirmed | State::Terminated => Actions::NONE,
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timers.clear();
    }
}
