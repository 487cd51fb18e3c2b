//! The response context: one request, its branches, and the one answer that goes back
//! (RFC 3261 section 16.7).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::best::{self, Kind, Outcome};
use super::group::{Failover, Group};
use super::via::pop_via;
use crate::message::{Message, Method};

/// How a request is spread over its targets, whatever their group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Timer C: how long an INVITE may go without a final response after its last provisional one
    /// other than 100. More than 3 minutes (RFC 3261 section 16.6); default 200 s.
    pub timer_c: Duration,
    /// Branches at most, over all groups; further targets are not tried. Default 64.
    pub branches: usize,
    /// Branches at once (RFC 5393 section 5.3.3): what the request's Max-Breadth says, or 60. A
    /// larger group is tried in several parts; with 0 the answer is 440.
    pub breadth: u32,
    /// Whether to ask for further targets ([`Action::Exhausted`]) before the caller hears of a
    /// failure. Default `false`.
    pub open: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timer_c: Duration::from_secs(200),
            branches: 64,
            breadth: 60,
            open: false,
        }
    }
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
        /// The branch's share of Max-Breadth.
        breadth: u32,
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
        /// The status: 408, 440, 480, 487 or 500.
        status: u16,
    },
    /// Every target has failed. Name further ones by [`ResponseContext::add`], or let the caller
    /// hear of it by [`ResponseContext::conclude`]. Only with [`Policy::open`]; never after the
    /// caller's CANCEL. After a 6xx it is for those whom the callee itself has named for that case:
    /// nobody else may be tried.
    Exhausted,
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

/// How a branch ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// By this response, 300 to 699.
    Status(u16),
    /// Nobody answered in time.
    Timeout,
    /// The request could not be delivered.
    Unreachable,
}

#[derive(Debug)]
struct Waiting<T> {
    group: Group<T>,
    /// To be tried whatever the group before it said.
    due: bool,
}

#[derive(Debug)]
struct Branch {
    state: State,
    group: usize,
    breadth: u32,
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
/// Targets come in groups: the members of a group are tried at once, the groups one after another,
/// as far as the [`Failover`] of each allows. `T` is whatever the caller knows a target by.
///
/// Drive it like this: create it, then after each call drain [`poll_action`](Self::poll_action).
/// Report what the client transaction of each branch says by [`handle_response`], [`handle_timeout`
/// of the branch](Self::handle_branch_timeout), [`handle_transport_error`], [`handle_flow_failure`] and
/// [`handle_terminated`], a redirection that is to be followed by [`handle_redirect`], a failure that another target makes good
/// by [`handle_replacement`], the caller's CANCEL by [`handle_cancel`], and time by
/// [`poll_timeout`](Self::poll_timeout) and [`handle_timeout`]. Drop it when
/// [`is_finished`](Self::is_finished).
///
/// [`handle_response`]: Self::handle_response
/// [`handle_transport_error`]: Self::handle_transport_error
/// [`handle_flow_failure`]: Self::handle_flow_failure
/// [`handle_terminated`]: Self::handle_terminated
/// [`handle_cancel`]: Self::handle_cancel
/// [`handle_redirect`]: Self::handle_redirect
/// [`handle_replacement`]: Self::handle_replacement
/// [`handle_timeout`]: Self::handle_timeout
#[derive(Debug)]
pub struct ResponseContext<T> {
    invite: bool,
    policy: Policy,
    waiting: VecDeque<Waiting<T>>,
    branches: Vec<Branch>,
    outcomes: Vec<Outcome>,
    /// How many groups were begun, and the failover of the last one.
    group: usize,
    failover: Failover,
    sent: Sent,
    cancelled: bool,
    /// A 6xx came: none of those who wait may be tried.
    stopped: bool,
    /// [`Action::Exhausted`] was said, and nothing heard since.
    asking: bool,
    actions: VecDeque<Action<T>>,
}

impl<T> ResponseContext<T> {
    /// Starts with the first group: its `Try` actions are waiting. Without any target the answer
    /// is 480 (Temporarily Unavailable), unless the context is [open](Policy::open).
    pub fn new<G: Into<Group<T>>>(
        now: Instant,
        method: &Method,
        policy: Policy,
        groups: impl IntoIterator<Item = G>,
    ) -> Self {
        let mut context = Self {
            invite: *method == Method::Invite,
            policy,
            waiting: VecDeque::new(),
            branches: Vec::new(),
            outcomes: Vec::new(),
            group: 0,
            failover: Failover::AnyFailure,
            sent: Sent::Nothing,
            cancelled: false,
            stopped: false,
            asking: false,
            actions: VecDeque::new(),
        };
        if context.policy.breadth == 0 {
            context.sent = Sent::Failure;
            context.actions.push_back(Action::Reply { status: 440 });
            return context;
        }
        context.push(groups);
        context.proceed(now);
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
        let status = response.status().unwrap_or_default();
        let state = self.branches.get(branch.0).map(|known| known.state);
        let Some(state) = state.filter(|_| status > 100) else {
            return;
        };
        let Some(response) = pop_via(response) else {
            return;
        };
        match status {
            101..=199 => self.on_provisional(now, branch, response),
            200..=299 => self.on_success(branch, response),
            status => {
                if state != State::Pending {
                    return;
                }
                self.settle(branch, Kind::Response(response));
                if status >= 600 && !self.failover.lists(status) {
                    self.stopped = true;
                    self.waiting.clear();
                    self.cancel_pending();
                }
                self.proceed(now);
            }
        }
    }

    /// A branch answered with a 3xx whose contacts are to be tried in its place (RFC 3261 section
    /// 16.7, step 4): these groups come before those that wait already, once the branch's own group
    /// is through. The 3xx itself is none of the answers to choose from.
    ///
    /// `false`, and nothing done, where the branch is through already or nobody else may be tried:
    /// then the response is one like any other, for [`handle_response`](Self::handle_response).
    pub fn handle_redirect<G: Into<Group<T>>>(
        &mut self,
        now: Instant,
        branch: BranchId,
        groups: impl IntoIterator<Item = G>,
    ) -> bool {
        let pending = |branch: &Branch| branch.state == State::Pending;
        if self.is_closed() || !self.branches.get(branch.0).is_some_and(pending) {
            return false;
        }
        let groups: Vec<_> = waiting(groups, true).collect();
        if groups.is_empty() {
            return false;
        }
        for group in groups.into_iter().rev() {
            self.waiting.push_front(group);
        }
        self.branches[branch.0].settle();
        self.proceed(now);
        true
    }

    /// A branch has failed, and this target is tried at once in its place: in its group, for what is left of
    /// its time, whatever the others of the group do. How it failed is none of the answers to choose
    /// from.
    ///
    /// `false`, and nothing done, where the branch is through already or nobody else may be tried.
    pub fn handle_replacement(&mut self, now: Instant, branch: BranchId, target: T) -> bool {
        if self.is_closed() || self.branches.len() >= self.policy.branches {
            return false;
        }
        let failed = self.branches.get_mut(branch.0);
        let Some(failed) = failed.filter(|failed| failed.state == State::Pending) else {
            return false;
        };
        let next = Branch {
            state: State::Pending,
            timer_c: self.invite.then(|| now + self.policy.timer_c),
            cancelled: false,
            terminated: false,
            ..*failed
        };
        failed.settle();
        self.actions.push_back(Action::Try {
            branch: BranchId(self.branches.len()),
            target,
            breadth: next.breadth,
        });
        self.branches.push(next);
        true
    }

    /// Names further targets, to be tried after those that wait already; at once where
    /// [`Action::Exhausted`] asked for them. Tells whether any is tried because of that.
    pub fn add<G: Into<Group<T>>>(
        &mut self,
        now: Instant,
        groups: impl IntoIterator<Item = G>,
    ) -> bool {
        if self.is_closed() && !self.asking {
            return false;
        }
        self.push(groups);
        if !self.asking {
            return false;
        }
        self.asking = !self.try_next_group(now);
        self.stopped &= self.asking;
        !self.asking
    }

    /// After [`Action::Exhausted`]: there are no further targets. The best of the failures goes back.
    pub fn conclude(&mut self) {
        if std::mem::take(&mut self.asking) {
            self.fail_request();
        }
    }

    /// Whether further targets wait for those that are being tried.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many branches are being tried.
    pub fn pending(&self) -> usize {
        let pending = self.branches.iter();
        pending
            .filter(|branch| branch.state == State::Pending)
            .count()
    }

    /// How the branches have failed that did, in the order in which they did.
    pub fn failures(&self) -> impl Iterator<Item = (BranchId, Failure)> {
        let failures = self.outcomes.iter();
        failures.map(|outcome| (outcome.branch, outcome.failure()))
    }

    /// The client transaction of a branch timed out: counts as 408.
    pub fn handle_branch_timeout(&mut self, now: Instant, branch: BranchId) {
        self.fail(now, branch, Kind::Timeout);
    }

    /// A branch could not be sent (or its target not be resolved): counts as 503.
    pub fn handle_transport_error(&mut self, now: Instant, branch: BranchId) {
        self.fail(now, branch, Kind::Unreachable);
    }

    /// The flow is gone that a branch was sent over, and no answer can come by another one (RFC 5626
    /// section 5.3): counts as 430, and the caller hears 480.
    pub fn handle_flow_failure(&mut self, now: Instant, branch: BranchId) {
        self.fail(now, branch, Kind::FlowFailed);
    }

    /// The client transaction of a branch is gone. A branch that was never sent is gone at once.
    pub fn handle_terminated(&mut self, now: Instant, branch: BranchId) {
        // Without any outcome so far none will come: never leave the caller waiting.
        self.fail(now, branch, Kind::Timeout);
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
        if std::mem::take(&mut self.asking) {
            return self.fail_request();
        }
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
            self.settle(id, Kind::Timeout);
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
        self.asking = false;
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

    fn fail(&mut self, now: Instant, id: BranchId, kind: Kind) {
        let Some(branch) = self.branches.get_mut(id.0) else {
            return;
        };
        match branch.state {
            State::Pending => {
                self.settle(id, kind);
                self.proceed(now);
            }
            State::GivenUp => branch.settle(),
            State::Settled => {}
        }
    }

    fn settle(&mut self, id: BranchId, kind: Kind) {
        let branch = &mut self.branches[id.0];
        branch.settle();
        self.outcomes.push(Outcome {
            branch: id,
            group: branch.group,
            kind,
        });
    }

    /// Whether no further target may be tried.
    fn is_closed(&self) -> bool {
        self.sent != Sent::Nothing || self.cancelled || self.stopped
    }

    fn push<G: Into<Group<T>>>(&mut self, groups: impl IntoIterator<Item = G>) {
        self.waiting.extend(waiting(groups, false));
    }

    /// Goes on where every branch has an outcome: to the next group, or to the answer.
    fn proceed(&mut self, now: Instant) {
        let pending = self
            .branches
            .iter()
            .any(|branch| branch.state == State::Pending);
        if pending || self.asking || self.sent != Sent::Nothing {
            return;
        }
        if self.may_fail_over() && self.try_next_group(now) {
            return;
        }
        self.waiting.clear();
        if self.policy.open && self.sent == Sent::Nothing && !self.cancelled {
            self.asking = true;
            return self.actions.push_back(Action::Exhausted);
        }
        self.fail_request();
    }

    /// Tells the caller of the failure.
    fn fail_request(&mut self) {
        self.sent = Sent::Failure;
        let outcomes = std::mem::take(&mut self.outcomes);
        if outcomes.is_empty() {
            let status = if self.cancelled { 487 } else { 480 };
            return self.actions.push_back(Action::Reply { status });
        }
        let answer = best::choose(outcomes, self.invite, self.cancelled);
        self.actions.push_back(match answer {
            best::Answer::Forward { branch, response } => Action::Forward { branch, response },
            best::Answer::Reply(status) => Action::Reply { status },
            best::Answer::Nothing => Action::Abandon,
        });
    }

    fn may_fail_over(&self) -> bool {
        if self.waiting.front().is_some_and(|waiting| waiting.due) {
            return true;
        }
        let failed = self.outcomes.iter();
        let mut failed = failed.filter(|outcome| outcome.group == self.group);
        match self.failover {
            Failover::Unreachable => failed.all(Outcome::is_unreachable),
            Failover::Listed(set) => failed.all(|outcome| set.contains(outcome.status())),
            Failover::AnyFailure => true,
        }
    }

    fn try_next_group(&mut self, now: Instant) -> bool {
        let room = self.policy.branches.saturating_sub(self.branches.len());
        if room == 0 {
            self.waiting.clear();
        }
        let Some(Waiting { mut group, .. }) = self.waiting.pop_front() else {
            return false;
        };
        group.targets.truncate(room);
        let breadth = usize::try_from(self.policy.breadth).unwrap_or(usize::MAX);
        self.failover = group.failover;
        self.group += 1;
        if group.targets.len() > breadth {
            let rest = Group {
                targets: group.targets.split_off(breadth),
                ..group
            };
            self.waiting.push_front(Waiting {
                group: rest,
                due: true,
            });
        }
        let count = u32::try_from(group.targets.len()).unwrap_or(u32::MAX);
        let share = self.policy.breadth / count.max(1);
        let mut spare = self.policy.breadth % count.max(1);
        for target in group.targets {
            let branch = BranchId(self.branches.len());
            self.branches.push(Branch {
                state: State::Pending,
                group: self.group,
                breadth: share + std::mem::take(&mut spare),
                timer_c: self.invite.then(|| now + self.policy.timer_c),
                ring: group
                    .ring_timeout
                    .filter(|_| self.invite)
                    .map(|after| now + after),
                cancelled: false,
                terminated: false,
            });
            self.actions.push_back(Action::Try {
                branch,
                target,
                breadth: self.branches[branch.0].breadth,
            });
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

/// Groups that have any target.
fn waiting<T, G: Into<Group<T>>>(
    groups: impl IntoIterator<Item = G>,
    due: bool,
) -> impl Iterator<Item = Waiting<T>> {
    let groups = groups.into_iter().map(Into::into);
    groups
        .filter(|group: &Group<T>| !group.targets.is_empty())
        .map(move |group| Waiting { group, due })
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
