//! How far a call has come along its plan.
//!
//! A plan has stages (a user, a group, carriers, a URI), each tried in steps: a step is what the
//! exchange's context is given at once, and when it has failed, how it failed decides whether the
//! next step follows, another stage, or the end.

use std::{collections::VecDeque, ops::Range};

use sip::proxy::{Failover, Failure, Group, StatusSet};

use super::{exchange::Target, fallback::Spot};
use crate::directory::{Carrier, Hold, Limit, Outcome, Plan};

/// Redirections that are followed for one call, all branches together (RFC 3261 section 8.1.3.4 asks
/// for a bound).
pub(super) const MAX_REDIRECTS: usize = 5;

/// The way of a call through its plan.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) plan: Plan,
    /// The stage that is being tried.
    pub(super) stage: usize,
    /// Stages that were entered: none is entered twice.
    entered: Vec<bool>,
    /// What is left of the stage.
    steps: VecDeque<Step>,
    /// After which failures the step that is being tried gives way to the next one.
    failover: Failover,
    /// The branches of the stage and of the step begin here.
    stage_from: usize,
    step_from: usize,
    /// The places that the stage has taken within limits.
    pub(super) stage_holds: Vec<Hold>,
    /// Those that the targets of the step have.
    charges: Vec<Charge>,
    /// The last of their numbers.
    charged: u32,
    /// A place was full, and left out.
    pub(super) limited: bool,
    /// URIs that were tried by redirection.
    pub(super) redirected: Vec<String>,
}

/// Names what some targets of a call are charged within limits. Never reused within the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChargeId(u32);

/// What some targets are charged within limits: to be kept where one of them answers, and given back where
/// another does.
#[derive(Debug)]
struct Charge {
    id: ChargeId,
    /// What they are charged beside it: a carrier of a group's member what the member is charged, a place
    /// that a phone redirects to what the phone is.
    beside: Option<ChargeId>,
    holds: Vec<Hold>,
}

/// Places that the context is given at once.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) parts: Vec<Part>,
    /// After which failures of all of them the next step follows.
    pub(super) failover: Failover,
}

/// A place of a step: a carrier, or who is rung beside others.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) groups: Vec<Group<Target>>,
    /// What to take before it is tried, and to give back when the step has failed. Where one refuses, it
    /// is left out.
    pub(super) limits: Vec<Limit>,
    /// In the place of the groups: hosts of carriers, each tried where the one before it failed.
    pub(super) spots: Vec<Spot>,
}

impl Course {
    /// At the beginning of a plan's first stage, whose steps are still to be set.
    pub(super) fn new(plan: Plan) -> Self {
        let mut entered = vec![false; plan.stages.len()];
        if let Some(first) = entered.first_mut() {
            *first = true;
        }
        Self {
            plan,
            stage: 0,
            entered,
            steps: VecDeque::new(),
            failover: Failover::AnyFailure,
            stage_from: 0,
            step_from: 0,
            stage_holds: Vec::new(),
            charges: Vec::new(),
            charged: 0,
            limited: false,
            redirected: Vec::new(),
        }
    }

    /// Sets the steps of the stage that was entered.
    pub(super) fn set_steps(&mut self, steps: Vec<Step>) {
        self.steps = steps.into();
    }

    /// The next step, where the failures of the present one lead on. `branches` is how many there
    /// are by now.
    pub(super) fn next_step(
        &mut self,
        branches: usize,
        failures: &[(usize, Failure)],
    ) -> Option<Step> {
        let mut failed = failures.iter().filter(|(at, _)| *at >= self.step_from);
        let leads_on = match self.failover {
            // Where the callee declines for every place (RFC 3261 section 21.6), none follows.
            Failover::AnyFailure => failed.all(|(_, failure)| status_of(*failure) < 600),
            Failover::Unreachable => failed.all(|(_, failure)| is_outage(*failure)),
            Failover::Listed(set) => failed.all(|(_, failure)| {
                set.contains(status_of(*failure)) || !matches!(failure, Failure::Status(_))
            }),
        };
        if !leads_on {
            self.steps.clear();
        }
        let step = self.steps.pop_front()?;
        // What the trunk before was charged is given back.
        self.charges.clear();
        self.failover = step.failover;
        self.step_from = branches;
        Some(step)
    }

    /// Enters the stage that follows from how the present one has failed. `false` where none does.
    pub(super) fn next_stage(&mut self, branches: usize, outcome: Outcome) -> bool {
        let Some(next) = self.plan.after(self.stage, outcome) else {
            return false;
        };
        match self.entered.get_mut(next) {
            Some(entered) if !*entered => *entered = true,
            _ => return false,
        }
        self.stage = next;
        self.stage_from = branches;
        self.step_from = branches;
        self.failover = Failover::AnyFailure;
        self.charges.clear();
        self.stage_holds.clear();
        true
    }

    /// Charges targets of the step.
    pub(super) fn charge(&mut self, beside: Option<ChargeId>, holds: Vec<Hold>) -> ChargeId {
        self.charged += 1;
        let id = ChargeId(self.charged);
        self.charges.push(Charge { id, beside, holds });
        id
    }

    /// What the targets of a charge are charged beside it.
    pub(super) fn beside(&self, id: ChargeId) -> Option<ChargeId> {
        let mut charges = self.charges.iter();
        charges.find(|charge| charge.id == id)?.beside
    }

    /// Takes a charge back from its targets, which have failed or are not tried.
    pub(super) fn discharge(&mut self, id: ChargeId) -> Vec<Hold> {
        let at = self.charges.iter().position(|charge| charge.id == id);
        at.map_or_else(Vec::new, |at| self.charges.swap_remove(at).holds)
    }

    /// What a call holds that a target with this charge has answered; all else is given back.
    pub(super) fn into_holds(mut self, answered: Option<ChargeId>) -> Vec<Hold> {
        let mut holds = self.stage_holds;
        let mut next = answered;
        while let Some(at) = next.and_then(|id| self.charges.iter().position(|c| c.id == id)) {
            let charge = self.charges.swap_remove(at);
            holds.extend(charge.holds);
            next = charge.beside;
        }
        holds
    }

    /// The branches of the stage.
    pub(super) fn stage_branches(&self, branches: usize) -> Range<usize> {
        self.stage_from.min(branches)..branches
    }

    /// Whether another place is to be tried where the present step is silent.
    pub(super) fn has_alternative(&self) -> bool {
        !self.steps.is_empty() || self.plan.after(self.stage, Outcome::Unreachable).is_some()
    }
}

/// Which failures of a carrier lead to the next one: what its operator listed, or what says that it
/// cannot carry the call now.
pub(super) fn carrier_failover(carrier: &Carrier) -> Failover {
    let listed: StatusSet = carrier.failover.iter().copied().collect();
    Failover::Listed(if listed.is_empty() {
        StatusSet::OUTAGE
    } else {
        listed
    })
}

/// How a stage ended, by the failures of its branches and whether each was heard of.
pub(super) fn outcome_of(failures: &[(usize, Failure)], heard: impl Fn(usize) -> bool) -> Outcome {
    let any = |is: &dyn Fn(usize, Failure) -> bool| failures.iter().any(|(at, f)| is(*at, *f));
    if any(&|_, failure| matches!(status_of(failure), 486 | 600)) {
        return Outcome::Busy;
    }
    // A phone that rang and then says 480 or 408 was not picked up.
    let unanswered = |at, failure| matches!(status_of(failure), 408 | 480 | 487) && heard(at);
    if any(&unanswered) {
        return Outcome::NoAnswer;
    }
    let absent = |failure| matches!(status_of(failure), 408 | 410 | 430 | 480 | 500..=599);
    if any(&|_, failure| !absent(failure)) {
        return Outcome::Failed;
    }
    Outcome::Unreachable
}

fn is_outage(failure: Failure) -> bool {
    matches!(status_of(failure), 408 | 503)
}

/// The status that a failure counts as.
fn status_of(failure: Failure) -> u16 {
    match failure {
        Failure::Status(status) => status,
        Failure::Timeout => 408,
        Failure::Unreachable => 503,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_stage_ended_is_told_by_what_the_phones_said() {
        use Failure::{Status, Timeout, Unreachable};
        let rang = |at| at == 0;
        for (failures, outcome) in [
            (vec![], Outcome::Unreachable),
            (vec![Unreachable, Timeout], Outcome::Unreachable),
            (vec![Unreachable, Status(480)], Outcome::Unreachable),
            (vec![Timeout, Status(480)], Outcome::NoAnswer),
            (vec![Status(480)], Outcome::NoAnswer),
            (vec![Timeout, Status(486)], Outcome::Busy),
            (vec![Status(404), Unreachable], Outcome::Failed),
            (vec![Status(503), Status(500)], Outcome::Unreachable),
        ] {
            let failures: Vec<_> = failures.into_iter().enumerate().collect();
            assert_eq!(outcome_of(&failures, rang), outcome, "{failures:?}");
        }
    }
}
