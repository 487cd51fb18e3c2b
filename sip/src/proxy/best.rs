//! Which of several failures the caller hears (RFC 3261 section 16.7, steps 6 and 7).

use std::cmp::Reverse;

use super::context::{BranchId, Failure};
use crate::header::HeaderName;
use crate::message::Message;

/// How a branch ended without success.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) branch: BranchId,
    /// The number of its group.
    pub(super) group: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each message"
)]
pub(super) enum Kind {
    /// A 3xx to 6xx.
    Response(Message),
    /// Nobody answered in time: counts as 408.
    Timeout,
    /// The request could not be delivered: counts as 503.
    Unreachable,
    /// The flow by which it was delivered is gone: counts as 430.
    FlowFailed,
}

/// What the server transaction is to send.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each message"
)]
pub(super) enum Answer {
    Forward { branch: BranchId, response: Message },
    Reply(u16),
    Nothing,
}

impl Outcome {
    pub(super) fn status(&self) -> u16 {
        match self.failure() {
            Failure::Status(status) => status,
            Failure::Timeout => 408,
            Failure::Unreachable => 503,
        }
    }

    pub(super) fn failure(&self) -> Failure {
        match &self.kind {
            Kind::Response(response) => Failure::Status(response.status().unwrap_or_default()),
            Kind::Timeout => Failure::Timeout,
            Kind::Unreachable => Failure::Unreachable,
            Kind::FlowFailed => Failure::Status(430),
        }
    }

    /// Whether another host might do what this one did not.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self.status(), 408 | 503)
    }

    /// The smaller, the better: any 6xx first, then the lowest class, and within 4xx what tells the
    /// caller how to ask again. Of equals the last place that was tried.
    fn rank(&self, cancelled: bool) -> (u8, u8, Reverse<usize>) {
        let status = self.status();
        let (class, within) = match status {
            600.. => (0, 0),
            487 if cancelled => (1, 0),
            300..=399 => (2, 0),
            401 | 407 | 415 | 420 | 484 => (3, 0),
            // A response that somebody gave says more than a wait that ended.
            400..=499 => (
                3,
                if matches!(self.kind, Kind::Timeout | Kind::FlowFailed) {
                    2
                } else {
                    1
                },
            ),
            _ => (4, if status == 503 { 1 } else { 0 }),
        };
        (class, within, Reverse(self.group))
    }
}

/// Chooses the answer from what the branches said. Of equals in the same group the first.
pub(super) fn choose(mut outcomes: Vec<Outcome>, invite: bool, cancelled: bool) -> Answer {
    if !invite {
        // RFC 4320 section 4.2: no 408 to a non-INVITE request, whoever says it.
        outcomes.retain(|outcome| outcome.status() != 408);
    }
    let ranked = outcomes.iter().enumerate();
    let best = ranked
        .min_by_key(|(_, outcome)| outcome.rank(cancelled))
        .map(|(index, _)| index);
    let Some(best) = best else {
        return Answer::Nothing;
    };
    let Outcome { branch, kind, .. } = outcomes.swap_remove(best);
    match kind {
        Kind::Timeout | Kind::FlowFailed if cancelled => Answer::Reply(487),
        Kind::Timeout => Answer::Reply(408),
        // What is out of order is the way to one place, not this proxy: 503 would make the caller
        // give up on us for everything.
        Kind::Unreachable => Answer::Reply(500),
        // 430 is said between proxies: what the caller is to know is that the callee is away.
        Kind::FlowFailed => Answer::Reply(480),
        Kind::Response(response) if response.status() == Some(503) => Answer::Reply(500),
        Kind::Response(response) => {
            let response = with_challenges(response, &outcomes);
            Answer::Forward { branch, response }
        }
    }
}

/// Adds the challenges of the other 401 and 407 to a chosen one, so that the caller can answer all
/// at once (section 16.7, step 7).
fn with_challenges(chosen: Message, others: &[Outcome]) -> Message {
    if !is_challenge(&chosen) {
        return chosen;
    }
    let mut edit = chosen.edit();
    let mut any = false;
    for outcome in others {
        let Kind::Response(response) = &outcome.kind else {
            continue;
        };
        if !is_challenge(response) {
            continue;
        }
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for challenge in response.values(name) {
                edit = edit.push(name, challenge);
                any = true;
            }
        }
    }
    if !any {
        return chosen;
    }
    // If they do not fit together, one challenge is still an answer.
    edit.finish().unwrap_or_else(|_| chosen.clone())
}

fn is_challenge(response: &Message) -> bool {
    matches!(response.status(), Some(401 | 407))
}
