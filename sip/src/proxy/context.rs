//! The response context: one request, its branches, and the one answer that goes back
//! (RFC 3261 section 16.7).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::best::{self, Outcome};
use super::via::pop_via;
use crate::message::{Message, Method};

/// How a request is spread over its targets, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Timer C: how long an INVITE may go without a final response after its last provisional one
    /// other than 100. More than 3 minutes (RFC 3261 section 16.6); default 200 s.
    pub timer_c: Duration,
    /// How long one branch of an INVITE may take to be answered, whatever it says meanwhile.
    /// Then it is cancelled and counts as 408. Default `None`: timer C alone.
    pub ring_timeout: Option<Duration>,
    /// When the next group of targets is tried.
    pub failover: Failover,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timer_c: Duration::from_secs(200),
            ring_timeout: None,
            failover: Failover::Unreachable,
        }
    }
}

/// When the next group of targets is tried, after every branch of a group has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// Where every branch was out of reach: 503, 408, no answer in time, or a transport error. For
    /// hosts that stand for one another: a busy callee is busy through each of them.
    Unreachable,
    /// After any 3xx to 5xx. For targets that are different places.
    AnyFailure,
}

/// Names a branch within its [`ResponseContext`]: 0 for the first one tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchId(pub usize);

/// What a [`ResponseContext`] wants done.
#[derive(Debug)]
pub enum Action<T> {
    /// Forward the request to this target in a client transaction of its own.
    Try {
        /// The branch's name from here on.
        branch: BranchId,
        /// The target as it was given.
        target: T,
    },
    /// Cancel the branch ([`crate::transaction::Layer::cancel`]).
    Cancel {
        /// Which one.
        branch: BranchId,
    },
    /// Send this response in the server transaction. Our Via is already off.
    Forward {
        /// Whose response it is.
        branch: BranchId,
        /// The response.
        response: Message,
    },
    /// Send a response of our own making in the server transaction.
    Reply {
        /// The status: 408, 480, 487, 500 or 503.
        status: u16,
    },
    /// Give the (non-INVITE) server transaction up without an answer: all that could be said is
    /// 408, which RFC 4320 forbids ([`crate::transaction::Layer::abandon`]).
    Abandon,
    /// A 2xx to INVITE came after the caller was told of a failure. Acknowledge it and end that
    /// call with BYE ([`crate::dialog::Dialog`]): the callee believes in it.
    LateSuccess {
        /// Whose response it is.
        branch: BranchId,
        /// The 2xx, our Via already off.
        response: Message,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for a final response.
    Pending,
    /// Cancelled by us because it took too long; its outcome is settled, unless it succeeds.
    GivenUp,
    /// A final response came, or none will.
    Settled,
}

#[derive(Debug)]
struct Branch {
    state: State,
    timer_c: Option<Instant>,
    ring: Option<Instant>,
    cancelled: bool,
    terminated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Success,
    Failure,
}

/// Collects the responses of a request's branches into one.
///
/// Targets come in groups: the members of a group are tried at once, the groups one after another.
/// `T` is whatever the caller knows a target by.
///
/// Drive it like this: create it, then after each call drain [`poll_action`](Self::poll_action).
/// Report what the client transaction of each branch says by [`handle_response`], [`handle_timeout`
/// of the branch](Self::handle_branch_timeout), [`handle_transport_error`] and
/// [`handle_terminated`], the caller's CANCEL by [`handle_cancel`], and time by
/// [`poll_timeout`](Self::poll_timeout) and [`handle_timeout`]. Drop it when
/// [`is_finished`](Self::is_finished).
///
/// [`handle_response`]: Self::handle_response
/// [`handle_transport_error`]: Self::handle_transport_error
/// [`handle_terminated`]: Self::handle_terminated
/// [`handle_cancel`]: Self::handle_cancel
/// [`handle_timeout`]: Self::handle_timeout
#[derive(Debug)]
pub struct ResponseContext<T> {
    invite: bool,
    policy: Policy,
    waiting: VecDeque<Vec<T>>,
    branches: Vec<Branch>,
    outcomes: Vec<Outcome>,
    /// Where the outcomes of the group that is being tried begin.
    group: usize,
    sent: Sent,
    cancelled: bool,
    actions: VecDeque<Action<T>>,
}

impl<T> ResponseContext<T> {
    /// Starts with the first group: its `Try` actions are waiting. Without any target the answer
    /// is 480 (Temporarily Unavailable).
    pub fn new(
        now: Instant,
        method: &Method,
        policy: Policy,
        groups: impl IntoIterator<Item = Vec<T>>,
    ) -> Self {
        let waiting = groups
            .into_iter()
            .filter(|group| !group.is_empty())
            .collect();
        let mut context = Self {
            invite: *method == Method::Invite,
            policy,
            waiting,
            branches: Vec::new(),
            outcomes: Vec::new(),
            group: 0,
            sent: Sent::Nothing,
            cancelled: false,
            actions: VecDeque::new(),
        };
        if !context.try_next_group(now) {
            context.sent = Sent::Failure;
            context.actions.push_back(Action::Reply { status: 480 });
        }
        context
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action<T>> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.branches.iter().filter_map(Branch::deadline);
        deadlines.min()
    }

    /// Whether the answer went back and every branch's client transaction is over.
    pub fn is_finished(&self) -> bool {
        self.sent != Sent::Nothing && self.branches.iter().all(|branch| branch.terminated)
    }

    /// Whether a final response was chosen (it may still be among the actions).
    pub fn is_answered(&self) -> bool {
        self.sent != Sent::Nothing
    }

    /// A response of a branch, as the transaction layer gave it: our Via still on top.
    ///
    /// A response without a Via below ours is for nobody behind us, and is dropped, as is one that
    /// names a branch that was never tried.
    pub fn handle_response(&mut self, now: Instant, branch: BranchId, response: &Message) {
        let Some(response) = pop_via(response) else {
            return;
        };
        let Some(state) = self.branches.get(branch.0).map(|known| known.state) else {
            return;
        };
        match response.status().unwrap_or_default() {
            0..=100 => {}
            101..=199 => self.on_provisional(now, branch, response),
            200..=299 => self.on_success(branch, response),
            status => {
                if state != State::Pending {
                    return;
                }
                self.settle(branch, Outcome::Response { branch, response });
                if status >= 600 {
                    self.waiting.clear();
                    self.cancel_pending();
                }
                self.proceed(now);
            }
        }
    }

    /// The client transaction of a branch timed out: counts as 408.
    pub fn handle_branch_timeout(&mut self, now: Instant, branch: BranchId) {
        self.fail(now, branch, Outcome::Timeout);
    }

    /// A branch could not be sent (or its target not be resolved): counts as 503.
    pub fn handle_transport_error(&mut self, now: Instant, branch: BranchId) {
        self.fail(now, branch, Outcome::Unreachable);
    }

    /// The client transaction of a branch is gone. A branch that was never sent is gone at once.
    pub fn handle_terminated(&mut self, now: Instant, branch: BranchId) {
        // Without any outcome so far none will come: never leave the caller waiting.
        self.fail(now, branch, Outcome::Timeout);
        if let Some(branch) = self.branches.get_mut(branch.0) {
            branch.terminated = true;
            branch.timer_c = None;
            branch.ring = None;
        }
    }

    /// The caller cancelled the INVITE (RFC 3261 section 16.10): no further target is tried, and
    /// what rings is cancelled. A 2xx that crosses the CANCEL is forwarded as ever.
    pub fn handle_cancel(&mut self, now: Instant) {
        if !self.invite || self.sent != Sent::Nothing {
            return;
        }
        self.cancelled = true;
        self.waiting.clear();
        self.cancel_pending();
        self.proceed(now);
    }

    /// Lets timer C and the ring timeout of each branch fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |branch: &Branch| branch.deadline().is_some_and(|at| at <= now);
        for index in 0..self.branches.len() {
            if !due(&self.branches[index]) {
                continue;
            }
            let id = BranchId(index);
            self.cancel(id);
            self.settle(id, Outcome::Timeout);
            self.branches[index].state = State::GivenUp;
            self.proceed(now);
        }
    }

    fn on_provisional(&mut self, now: Instant, id: BranchId, response: Message) {
        let branch = &mut self.branches[id.0];
        if branch.state != State::Pending {
            return;
        }
        // RFC 4320 section 4.1: no provisional response to another request is passed on.
        if !self.invite {
            return;
        }
        branch.timer_c = Some(now + self.policy.timer_c);
        if self.sent == Sent::Nothing {
            self.actions.push_back(Action::Forward {
                branch: id,
                response,
            });
        }
    }

    fn on_success(&mut self, id: BranchId, response: Message) {
        self.branches[id.0].settle();
        self.waiting.clear();
        match self.sent {
            Sent::Nothing => {
                self.sent = Sent::Success;
                self.actions.push_back(Action::Forward {
                    branch: id,
                    response,
                });
                self.cancel_pending();
            }
            // Every 2xx to INVITE goes back: a retransmission, or another fork that answered.
            Sent::Success if self.invite => {
                self.actions.push_back(Action::Forward {
                    branch: id,
                    response,
                });
            }
            Sent::Failure if self.invite => {
                self.actions.push_back(Action::LateSuccess {
                    branch: id,
                    response,
                });
            }
            Sent::Success | Sent::Failure => {}
        }
    }

    fn fail(&mut self, now: Instant, id: BranchId, outcome: Outcome) {
        let Some(branch) = self.branches.get_mut(id.0) else {
            return;
        };
        match branch.state {
            State::Pending => {
                self.settle(id, outcome);
                self.proceed(now);
            }
            State::GivenUp => branch.settle(),
            State::Settled => {}
        }
    }

    fn settle(&mut self, id: BranchId, outcome: Outcome) {
        self.branches[id.0].settle();
        self.outcomes.push(outcome);
    }

    /// Goes on where every branch has an outcome: to the next group, or to the answer.
    fn proceed(&mut self, now: Instant) {
        let pending = self
            .branches
            .iter()
            .any(|branch| branch.state == State::Pending);
        if pending || self.sent != Sent::Nothing {
            return;
        }
        if self.may_fail_over() && self.try_next_group(now) {
            return;
        }
        self.sent = Sent::Failure;
        let outcomes = std::mem::take(&mut self.outcomes);
        let answer = best::choose(outcomes, self.invite, self.cancelled);
        self.actions.push_back(match answer {
            best::Answer::Forward { branch, response } => Action::Forward { branch, response },
            best::Answer::Reply(status) => Action::Reply { status },
            best::Answer::Nothing => Action::Abandon,
        });
    }

    fn may_fail_over(&self) -> bool {
        let group = self.outcomes.get(self.group..).unwrap_or_default();
        match self.policy.failover {
            Failover::Unreachable => group.iter().all(Outcome::is_unreachable),
            Failover::AnyFailure => true,
        }
    }

    fn try_next_group(&mut self, now: Instant) -> bool {
        let Some(group) = self.waiting.pop_front() else {
            return false;
        };
        self.group = self.outcomes.len();
        for target in group {
            let branch = BranchId(self.branches.len());
            self.branches.push(Branch {
                state: State::Pending,
                timer_c: self.invite.then(|| now + self.policy.timer_c),
                ring: self
                    .policy
                    .ring_timeout
                    .filter(|_| self.invite)
                    .map(|after| now + after),
                cancelled: false,
                terminated: false,
            });
            self.actions.push_back(Action::Try { branch, target });
        }
        true
    }

    fn cancel_pending(&mut self) {
        if !self.invite {
            return;
        }
        for index in 0..self.branches.len() {
            if self.branches[index].state == State::Pending {
                self.cancel(BranchId(index));
            }
        }
    }

    fn cancel(&mut self, id: BranchId) {
        let branch = &mut self.branches[id.0];
        if !std::mem::replace(&mut branch.cancelled, true) {
            self.actions.push_back(Action::Cancel { branch: id });
        }
    }
}

impl Branch {
    fn deadline(&self) -> Option<Instant> {
        match (self.timer_c, self.ring) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (at, None) | (None, at) => at,
        }
    }

    fn settle(&mut self) {
        self.state = State::Settled;
        self.timer_c = None;
        self.ring = None;
    }
}
