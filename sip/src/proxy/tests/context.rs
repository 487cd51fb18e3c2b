//! The response context: which targets are tried when, and what the caller hears.

use std::time::{Duration, Instant};

use super::{invite, values};
use crate::header::HeaderName;
use crate::message::{Message, Method};
use crate::proxy::{
    Action, BranchId, Failover, Failure, Group, Policy, ResponseContext, StatusSet,
};

const SECOND: Duration = Duration::from_secs(1);

struct Bed {
    now: Instant,
    context: ResponseContext<&'static str>,
}

impl Bed {
    fn new(method: &Method, policy: Policy, groups: &[&[&'static str]]) -> Self {
        let now = Instant::now();
        let groups = groups.iter().map(|group| group.to_vec());
        Self {
            now,
            context: ResponseContext::new(now, method, policy, groups),
        }
    }

    fn grouped(policy: Policy, groups: Vec<Group<&'static str>>) -> Self {
        let now = Instant::now();
        Self {
            now,
            context: ResponseContext::new(now, &Method::Invite, policy, groups),
        }
    }

    fn invite(groups: &[&[&'static str]]) -> Self {
        Self::new(&Method::Invite, Policy::default(), groups)
    }

    /// What is to be done, in words.
    fn actions(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(action) = self.context.poll_action() {
            words.push(match action {
                Action::Try { branch, target, .. } => format!("try {target} as {}", branch.0),
                Action::Cancel { branch } => format!("cancel {}", branch.0),
                Action::Forward { branch, response } => {
                    assert_eq!(response.vias().count(), 1, "our Via is off");
                    format!("forward {} of {}", response.status().unwrap(), branch.0)
                }
                Action::Reply { status } => format!("reply {status}"),
                Action::Abandon => "abandon".to_owned(),
                Action::Exhausted => "exhausted".to_owned(),
                Action::LateSuccess { branch, response } => {
                    format!("late {} of {}", response.status().unwrap(), branch.0)
                }
            });
        }
        words
    }

    fn respond(&mut self, branch: usize, status: u16) -> Vec<String> {
        self.response(branch, &response(status))
    }

    fn response(&mut self, branch: usize, response: &Message) -> Vec<String> {
        self.context
            .handle_response(self.now, BranchId(branch), response);
        self.actions()
    }

    fn timeout(&mut self, branch: usize) -> Vec<String> {
        self.context
            .handle_branch_timeout(self.now, BranchId(branch));
        self.actions()
    }

    fn sleep(&mut self, duration: Duration) -> Vec<String> {
        self.now += duration;
        self.context.handle_timeout(self.now);
        self.actions()
    }

    fn cancel(&mut self) -> Vec<String> {
        self.context.handle_cancel(self.now);
        self.actions()
    }

    /// Ends every branch's transaction, after which nothing is left to do.
    fn finish(mut self) {
        assert!(self.context.is_answered());
        for branch in 0..10 {
            self.context.handle_terminated(self.now, BranchId(branch));
        }
        assert!(self.actions().is_empty());
        assert!(self.context.is_finished());
        assert_eq!(self.context.poll_timeout(), None);
    }
}

fn response(status: u16) -> Message {
    let ours = "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKours";
    let request = invite().build().unwrap();
    let request = request
        .edit()
        .push_top(HeaderName::Via, ours)
        .finish()
        .unwrap();
    request.respond(status).to_tag("b").build().unwrap()
}

fn ringing(target: &'static str, seconds: u32) -> Group<&'static str> {
    Group::new(vec![target]).ring_timeout(Some(seconds * SECOND))
}

#[test]
fn one_target_rings_and_answers() {
    let mut bed = Bed::invite(&[&["a"]]);
    assert_eq!(bed.actions(), ["try a as 0"]);
    assert!(bed.respond(0, 100).is_empty());
    assert_eq!(bed.respond(0, 180), ["forward 180 of 0"]);
    assert_eq!(bed.respond(0, 200), ["forward 200 of 0"]);
    assert_eq!(
        bed.respond(0, 200),
        ["forward 200 of 0"],
        "a repeated 2xx goes back too"
    );
    assert!(bed.respond(0, 180).is_empty());
    bed.finish();
}

#[test]
fn no_target_is_480() {
    let mut bed = Bed::invite(&[&[]]);
    assert_eq!(bed.actions(), ["reply 480"]);
    bed.finish();
}

#[test]
fn the_next_host_is_tried_only_where_one_is_out_of_reach() {
    let mut bed = Bed::invite(&[&["a"], &["b"], &["c"], &["d"], &["e"]]);
    assert_eq!(bed.actions(), ["try a as 0"]);
    assert_eq!(bed.respond(0, 503), ["try b as 1"]);
    assert_eq!(bed.timeout(1), ["try c as 2"]);
    bed.context.handle_transport_error(bed.now, BranchId(2));
    assert_eq!(bed.actions(), ["try d as 3"]);
    assert_eq!(bed.respond(3, 486), ["forward 486 of 3"]);
    bed.finish();
}

#[test]
fn with_any_failure_the_next_place_is_tried_but_not_after_6xx() {
    let any = |target| Group::new(vec![target]).failover(Failover::AnyFailure);
    let mut bed = Bed::grouped(Policy::default(), vec![any("a"), any("b"), any("c")]);
    bed.actions();
    assert_eq!(bed.respond(0, 486), ["try b as 1"]);
    assert_eq!(bed.respond(1, 603), ["forward 603 of 1"]);
    bed.finish();
}

#[test]
fn all_hosts_down_is_500_and_all_silent_408() {
    let mut bed = Bed::invite(&[&["a"], &["b"]]);
    bed.respond(0, 503);
    assert_eq!(bed.respond(1, 503), ["reply 500"]);
    bed.finish();

    let mut bed = Bed::invite(&[&["a"], &["b"]]);
    bed.timeout(0);
    assert_eq!(bed.timeout(1).last().unwrap(), "reply 408");
    bed.finish();
}

#[test]
fn the_first_answer_of_several_cancels_the_others() {
    let mut bed = Bed::invite(&[&["a", "b", "c"], &["never"]]);
    assert_eq!(bed.actions(), ["try a as 0", "try b as 1", "try c as 2"]);
    assert!(bed.respond(0, 486).is_empty());
    assert_eq!(bed.respond(1, 180), ["forward 180 of 1"]);
    assert_eq!(bed.respond(2, 200), ["forward 200 of 2", "cancel 1"]);
    assert!(bed.respond(1, 487).is_empty());
    bed.finish();
}

#[test]
fn a_second_fork_that_answers_is_forwarded_too() {
    let mut bed = Bed::invite(&[&["a", "b"]]);
    bed.actions();
    assert_eq!(bed.respond(0, 200), ["forward 200 of 0", "cancel 1"]);
    assert_eq!(bed.respond(1, 200), ["forward 200 of 1"]);
    bed.finish();
}

#[test]
fn a_6xx_cancels_the_others_and_wins_once_they_are_done() {
    let mut bed = Bed::invite(&[&["a", "b", "c"], &["never"]]);
    bed.actions();
    assert!(bed.respond(0, 302).is_empty());
    assert_eq!(bed.respond(1, 600), ["cancel 2"]);
    assert_eq!(bed.respond(2, 487), ["forward 600 of 1"]);
    bed.finish();
}

#[test]
fn the_best_of_several_failures_goes_back() {
    for (statuses, best) in [
        ([404, 302, 500], 302),
        ([500, 486, 404], 486),
        ([404, 401, 486], 401),
        ([404, 480, 484], 484),
        ([503, 500, 504], 500),
    ] {
        let mut bed = Bed::invite(&[&["a", "b", "c"]]);
        bed.actions();
        bed.respond(0, statuses[0]);
        bed.respond(1, statuses[1]);
        let last = bed.respond(2, statuses[2]);
        assert!(
            last[0].starts_with(&format!("forward {best} ")),
            "{statuses:?}: {last:?}"
        );
        bed.finish();
    }
}

#[test]
fn challenges_of_all_branches_are_put_together() {
    let challenge = |status, name: &str, value: &str| {
        let response = response(status);
        response.edit().push(name, value).finish().unwrap()
    };
    let mut bed = Bed::invite(&[&["a", "b", "c"]]);
    bed.actions();
    bed.response(
        0,
        &challenge(407, "Proxy-Authenticate", "Digest realm=\"p\""),
    );
    bed.response(
        1,
        &challenge(401, "WWW-Authenticate", "Digest realm=\"u\", nonce=\"1\""),
    );
    bed.context
        .handle_response(bed.now, BranchId(2), &response(404));
    let Some(Action::Forward { response, .. }) = bed.context.poll_action() else {
        panic!("nothing is forwarded")
    };
    assert_eq!(response.status(), Some(407));
    assert_eq!(
        values(&response, "Proxy-Authenticate"),
        ["Digest realm=\"p\""]
    );
    assert_eq!(
        values(&response, "WWW-Authenticate"),
        ["Digest realm=\"u\", nonce=\"1\""]
    );
}

#[test]
fn a_cancel_stops_everything_and_gives_487() {
    let mut bed = Bed::invite(&[&["a", "b"], &["never"]]);
    bed.actions();
    bed.respond(0, 180);
    assert_eq!(bed.cancel(), ["cancel 0", "cancel 1"]);
    assert!(bed.cancel().is_empty());
    assert!(bed.respond(1, 486).is_empty());
    assert_eq!(bed.respond(0, 487), ["forward 487 of 0"]);
    bed.finish();
}

#[test]
fn a_cancelled_call_to_a_dead_host_gives_487_and_no_failover() {
    let mut bed = Bed::invite(&[&["a"], &["never"]]);
    bed.actions();
    bed.cancel();
    assert_eq!(bed.timeout(0), ["reply 487"]);
    bed.finish();
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_forwarded() {
    let mut bed = Bed::invite(&[&["a"]]);
    bed.actions();
    assert_eq!(bed.cancel(), ["cancel 0"]);
    assert_eq!(bed.respond(0, 200), ["forward 200 of 0"]);
    bed.finish();
}

#[test]
fn timer_c_runs_anew_with_each_provisional_response() {
    let mut bed = Bed::invite(&[&["a"]]);
    bed.actions();
    assert!(bed.sleep(199 * SECOND).is_empty());
    assert_eq!(bed.respond(0, 183), ["forward 183 of 0"]);
    assert!(bed.sleep(199 * SECOND).is_empty());
    assert!(bed.respond(0, 100).is_empty());
    assert_eq!(
        bed.sleep(SECOND),
        ["cancel 0", "reply 408"],
        "a 100 does not count"
    );
    bed.finish();
}

#[test]
fn the_ring_timeout_tries_the_next_host_and_a_late_2xx_still_counts() {
    let mut bed = Bed::grouped(Policy::default(), vec![ringing("a", 20), ringing("b", 20)]);
    bed.actions();
    bed.respond(0, 180);
    assert_eq!(bed.context.poll_timeout(), Some(bed.now + 20 * SECOND));
    assert_eq!(bed.sleep(20 * SECOND), ["cancel 0", "try b as 1"]);
    assert_eq!(bed.respond(0, 200), ["forward 200 of 0", "cancel 1"]);
    assert!(bed.respond(1, 487).is_empty());
    bed.finish();
}

#[test]
fn a_2xx_after_the_caller_was_told_of_a_failure_is_late() {
    let mut bed = Bed::grouped(Policy::default(), vec![ringing("a", 20)]);
    bed.actions();
    assert_eq!(bed.sleep(20 * SECOND), ["cancel 0", "reply 408"]);
    assert_eq!(bed.respond(0, 200), ["late 200 of 0"]);
    bed.finish();
}

#[test]
fn a_request_other_than_invite_is_neither_cancelled_nor_told_408() {
    let mut bed = Bed::new(&Method::Message, Policy::default(), &[&["a", "b"]]);
    bed.actions();
    assert_eq!(bed.context.poll_timeout(), None);
    assert!(bed.cancel().is_empty());
    assert!(bed.respond(0, 182).is_empty());
    assert!(bed.timeout(0).is_empty());
    assert_eq!(bed.timeout(1), ["abandon"]);
    bed.finish();

    let mut bed = Bed::new(&Method::Message, Policy::default(), &[&["a", "b"]]);
    bed.actions();
    assert!(bed.respond(0, 408).is_empty());
    assert_eq!(bed.respond(1, 404), ["forward 404 of 1"]);
    bed.finish();
}

#[test]
fn a_branch_that_ends_without_a_word_counts_as_timed_out() {
    let mut bed = Bed::invite(&[&["a"]]);
    bed.actions();
    bed.context.handle_terminated(bed.now, BranchId(0));
    assert_eq!(bed.actions(), ["reply 408"]);
    assert!(bed.context.is_finished());
}

#[test]
fn a_response_for_nobody_behind_us_is_dropped() {
    let mut bed = Bed::invite(&[&["a"]]);
    bed.actions();
    let bare = response(200)
        .edit()
        .remove_first(HeaderName::Via)
        .finish()
        .unwrap();
    assert!(bed.response(0, &bare).is_empty());
    assert!(bed.respond(7, 200).is_empty(), "no such branch");
}

/// A context that asks for further targets.
fn open(groups: &[&[&'static str]]) -> Bed {
    let policy = Policy {
        open: true,
        ..Policy::default()
    };
    Bed::new(&Method::Invite, policy, groups)
}

#[test]
fn a_flow_that_fails_is_430_within_and_480_to_the_caller() {
    let mut bed = open(&[&["a", "b"]]);
    bed.actions();
    assert_eq!(bed.respond(0, 180), ["forward 180 of 0"]);
    bed.context.handle_flow_failure(bed.now, BranchId(0));
    assert!(bed.actions().is_empty(), "b rings on");
    bed.context.handle_flow_failure(bed.now, BranchId(1));
    assert_eq!(bed.actions(), ["exhausted"]);
    let failures: Vec<_> = bed.context.failures().map(|(_, how)| how).collect();
    assert_eq!(failures, [Failure::Status(430); 2]);
    bed.context.conclude();
    assert_eq!(bed.actions(), ["reply 480"]);
    assert_eq!(
        bed.respond(0, 200),
        ["late 200 of 0"],
        "who comes back too late is hung up"
    );
    bed.finish();
}

#[test]
fn a_flow_that_fails_once_the_caller_gave_up_is_487() {
    let mut bed = Bed::invite(&[&["a"]]);
    bed.actions();
    assert_eq!(bed.respond(0, 180), ["forward 180 of 0"]);
    assert_eq!(bed.cancel(), ["cancel 0"]);
    bed.context.handle_flow_failure(bed.now, BranchId(0));
    assert_eq!(bed.actions(), ["reply 487"]);
    bed.finish();
}

#[test]
fn what_another_place_says_counts_more_than_a_flow_that_fails() {
    let mut bed = Bed::invite(&[&["a", "b"]]);
    bed.actions();
    bed.context.handle_flow_failure(bed.now, BranchId(0));
    assert_eq!(bed.respond(1, 486), ["forward 486 of 1"]);
    bed.finish();
}

#[test]
fn an_open_context_asks_before_it_gives_up_and_goes_on_with_what_it_is_given() {
    let mut bed = open(&[&["a"], &["b"]]);
    bed.actions();
    assert_eq!(bed.respond(0, 486), ["exhausted"], "busy: b is not tried");
    assert!(bed.context.add(bed.now, [vec!["c"], vec!["d"]]));
    assert_eq!(bed.actions(), ["try c as 1"]);
    bed.context.handle_transport_error(bed.now, BranchId(1));
    assert_eq!(bed.actions(), ["try d as 2"]);
    assert_eq!(bed.respond(2, 404), ["exhausted"]);
    let failures: Vec<_> = bed.context.failures().collect();
    assert_eq!(
        failures,
        [
            (BranchId(0), Failure::Status(486)),
            (BranchId(1), Failure::Unreachable),
            (BranchId(2), Failure::Status(404)),
        ]
    );
    bed.context.conclude();
    assert_eq!(bed.actions(), ["forward 404 of 2"], "of equals the last");
    bed.context.conclude();
    assert!(!bed.context.add(bed.now, [vec!["e"]]));
    bed.finish();
}

#[test]
fn an_open_context_without_any_target_asks_too() {
    let mut bed = open(&[]);
    assert_eq!(bed.actions(), ["exhausted"]);
    assert!(!bed.context.add(bed.now, [Vec::new()]));
    bed.context.conclude();
    assert_eq!(bed.actions(), ["reply 480"]);
    bed.finish();
}

#[test]
fn after_a_6xx_only_who_is_named_then_is_tried() {
    let mut bed = open(&[&["a", "b"], &["never"]]);
    bed.actions();
    assert_eq!(bed.respond(0, 600), ["cancel 1"]);
    assert!(!bed.context.add(bed.now, [vec!["too early"]]));
    assert_eq!(bed.respond(1, 487), ["exhausted"]);
    assert!(bed.context.add(bed.now, [vec!["c"], vec!["d"]]));
    assert_eq!(bed.actions(), ["try c as 2"]);
    assert_eq!(bed.respond(2, 503), ["try d as 3"]);
    assert_eq!(bed.respond(3, 404), ["exhausted"]);
    bed.context.conclude();
    assert_eq!(bed.actions(), ["forward 600 of 0"]);
    bed.finish();
}

#[test]
fn nobody_is_asked_after_a_cancel() {
    let mut bed = open(&[&["a"]]);
    bed.actions();
    bed.cancel();
    assert_eq!(bed.respond(0, 487), ["forward 487 of 0"]);
    bed.finish();

    // While it asks, which may take a while.
    let mut bed = open(&[&["a"]]);
    bed.actions();
    assert_eq!(bed.respond(0, 404), ["exhausted"]);
    assert_eq!(bed.cancel(), ["forward 404 of 0"]);
    assert!(!bed.context.add(bed.now, [vec!["b"]]));
    bed.finish();

    let mut bed = open(&[]);
    bed.actions();
    assert_eq!(bed.cancel(), ["reply 487"]);
    bed.finish();
}

#[test]
fn a_2xx_that_comes_while_it_asks_is_the_answer() {
    let policy = Policy {
        open: true,
        ..Policy::default()
    };
    let mut bed = Bed::grouped(policy, vec![ringing("a", 20)]);
    bed.actions();
    assert_eq!(bed.sleep(20 * SECOND), ["cancel 0", "exhausted"]);
    assert_eq!(bed.respond(0, 200), ["forward 200 of 0"]);
    assert!(!bed.context.add(bed.now, [vec!["b"]]));
    bed.context.conclude();
    assert!(bed.actions().is_empty());
    bed.finish();
}

#[test]
fn each_group_has_its_own_patience_and_its_own_failover() {
    let listed = StatusSet::new().with(404).with(603);
    let groups = vec![
        ringing("a", 10),
        ringing("b", 5).failover(Failover::Listed(listed)),
        ringing("c", 30).failover(Failover::Listed(listed)),
        Group::new(vec!["d"]),
        Group::new(vec!["never"]),
    ];
    let mut bed = Bed::grouped(Policy::default(), groups);
    bed.actions();
    assert_eq!(bed.sleep(10 * SECOND), ["cancel 0", "try b as 1"]);
    assert_eq!(bed.context.poll_timeout(), Some(bed.now + 5 * SECOND));
    assert_eq!(bed.respond(1, 404), ["try c as 2"]);
    assert_eq!(bed.respond(2, 603), ["try d as 3"], "listed: not the end");
    assert_eq!(bed.respond(3, 486), ["forward 603 of 2"]);
    bed.finish();

    // One member that failed otherwise is enough to stop.
    let groups = vec![
        Group::new(vec!["a", "b"]).failover(Failover::Listed(StatusSet::OUTAGE)),
        Group::new(vec!["never"]),
    ];
    let mut bed = Bed::grouped(Policy::default(), groups);
    bed.actions();
    assert!(bed.respond(0, 500).is_empty());
    assert_eq!(bed.respond(1, 486), ["forward 486 of 1"]);
    bed.finish();
}

#[test]
fn a_member_of_a_group_is_replaced_while_the_others_ring() {
    let groups = vec![
        Group::new(vec!["a", "b"]).ring_timeout(Some(20 * SECOND)),
        Group::new(vec!["later"]).failover(Failover::AnyFailure),
    ];
    let mut bed = Bed::grouped(Policy::default(), groups);
    bed.actions();
    bed.respond(0, 180);
    bed.sleep(5 * SECOND);
    assert!(bed.context.handle_replacement(bed.now, BranchId(1), "c"));
    assert!(!bed.context.handle_replacement(bed.now, BranchId(1), "c"));
    assert_eq!(bed.actions(), ["try c as 2"]);
    assert!(bed.respond(1, 503).is_empty(), "it does not count");
    assert_eq!(bed.context.poll_timeout(), Some(bed.now + 15 * SECOND));
    assert!(bed.respond(2, 486).is_empty(), "a rings yet");
    assert_eq!(bed.respond(0, 404), ["forward 486 of 2"]);
    assert!(!bed.context.handle_replacement(bed.now, BranchId(0), "d"));
    bed.finish();
}

#[test]
fn a_redirection_is_followed_before_what_waits_and_is_no_answer() {
    let mut bed = Bed::invite(&[&["a", "b"], &["later"]]);
    bed.actions();
    let contacts = [vec!["x", "y"], vec!["z"]];
    assert!(
        bed.context
            .handle_redirect(bed.now, BranchId(0), contacts.clone())
    );
    assert!(bed.actions().is_empty(), "b is still asked");
    assert!(
        !bed.context
            .handle_redirect(bed.now, BranchId(0), contacts.clone())
    );
    // Busy would end the search; what somebody was redirected to is tried all the same.
    assert_eq!(bed.respond(1, 486), ["try x as 2", "try y as 3"]);
    bed.respond(2, 503);
    assert_eq!(bed.respond(3, 503), ["try z as 4"]);
    assert_eq!(bed.respond(4, 503), ["try later as 5"]);
    assert_eq!(bed.respond(5, 503), ["forward 486 of 1"]);
    bed.finish();

    // Nobody is to be tried any more: the 3xx is an answer.
    let mut bed = Bed::invite(&[&["a"]]);
    bed.actions();
    bed.cancel();
    assert!(!bed.context.handle_redirect(bed.now, BranchId(0), contacts));
    assert_eq!(bed.respond(0, 302), ["forward 302 of 0"]);
    bed.finish();
}

#[test]
fn there_is_a_limit_to_the_branches_and_to_those_at_once() {
    let policy = Policy {
        branches: 4,
        breadth: 2,
        ..Policy::default()
    };
    let now = Instant::now();
    let groups = [vec!["a", "b", "c"], vec!["d", "e"], vec!["f"]];
    let context = ResponseContext::new(now, &Method::Invite, policy.clone(), groups);
    let mut bed = Bed { now, context };
    assert_eq!(bed.actions(), ["try a as 0", "try b as 1"]);
    bed.respond(0, 503);
    assert_eq!(bed.respond(1, 486), ["try c as 2"], "the rest of the group");
    assert_eq!(bed.timeout(2), ["try d as 3"]);
    assert_eq!(bed.timeout(3), ["forward 486 of 1"]);
    bed.finish();

    let policy = Policy {
        breadth: 0,
        ..policy
    };
    let mut bed = Bed::new(&Method::Invite, policy, &[&["a"]]);
    assert_eq!(bed.actions(), ["reply 440"]);
    assert!(bed.context.is_finished());
}

#[test]
fn the_breadth_is_shared_among_the_members_of_a_group() {
    let policy = Policy {
        breadth: 7,
        ..Policy::default()
    };
    let groups = [vec!["a", "b", "c"]];
    let mut context = ResponseContext::new(Instant::now(), &Method::Invite, policy, groups);
    let mut shares = Vec::new();
    while let Some(Action::Try { breadth, .. }) = context.poll_action() {
        shares.push(breadth);
    }
    assert_eq!(shares, [3, 2, 2]);
}
