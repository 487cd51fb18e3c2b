//! Non-INVITE server transaction: RFC 3261 section 17.2.2, with the corrections of RFC 4320.

use std::time::Instant;

use super::machine::{Actions, Class, Send, Tell};
use super::timer::{Armed, Timer, Timers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The request came, its user owes an answer.
    Trying,
    /// A 100 was sent.
    Proceeding,
    /// The final response was sent and is repeated for each retransmitted request.
    Completed,
    /// The user gave up; retransmitted requests are absorbed in silence.
    Abandoned,
    /// Over.
    Terminated,
}

#[derive(Debug)]
pub(super) struct NonInviteServer {
    state: State,
    reliable: bool,
    pub(super) timers: Armed,
}

impl NonInviteServer {
    /// The machine of a request that has just arrived.
    pub(super) fn new(now: Instant, config: &Timers, reliable: bool) -> Self {
        let mut timers = Armed::default();
        timers.start(Timer::Trying, now + config.non_invite_trying());
        // The client's timer F has fired by then: an answer would find nobody (RFC 4320
        // section 4.2), and a user that never answers must not leave a transaction behind.
        timers.start(Timer::J, now + config.limit());
        Self {
            state: State::Trying,
            reliable,
            timers,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The request came again.
    pub(super) fn on_retransmission(&mut self) -> Actions {
        match self.state {
            State::Proceeding | State::Completed => Actions::send(Send::Response),
            State::Trying | State::Abandoned | State::Terminated => Actions::NONE,
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
            (State::Trying | State::Proceeding, Class::Provisional) => {
                self.state = State::Proceeding;
                self.timers.stop(Timer::Trying);
            }
            (State::Trying | State::Proceeding, Class::Success | Class::Failure) => {
                self.finish(now, config, State::Completed);
            }
            _ => return None,
        }
        Some(Actions::send(Send::Response))
    }

    /// The user will not answer: what it would have said is 408, which RFC 4320 section 4.2
    /// forbids.
    pub(super) fn on_abandon(&mut self, now: Instant, config: &Timers) {
        if matches!(self.state, State::Trying | State::Proceeding) {
            self.finish(now, config, State::Abandoned);
        }
    }

    pub(super) fn on_timer(&mut self, timer: Timer) -> Actions {
        match (self.state, timer) {
            (State::Trying, Timer::Trying) => {
                self.state = State::Proceeding;
                Actions::send(Send::Trying)
            }
            (State::Trying | State::Proceeding, Timer::J) => {
                self.terminate();
                Actions::tell(Tell::Timeout)
            }
            (State::Completed | State::Abandoned, Timer::J) => {
                self.terminate();
                Actions::NONE
            }
            _ => Actions::NONE,
        }
    }

    pub(super) fn on_transport_error(&mut self) -> Actions {
        match self.state {
            State::Proceeding | State::Completed => {
                self.terminate();
                Actions::tell(Tell::TransportError)
            }
            State::Trying | State::Abandoned | State::Terminated => Actions::NONE,
        }
    }

    fn finish(&mut self, now: Instant, config: &Timers, state: State) {
        self.timers.clear();
        if self.reliable {
            // Timer J is zero.
            self.state = State::Terminated;
        } else {
            self.state = state;
            self.timers.start(Timer::J, now + config.limit());
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timers.clear();
    }
}
