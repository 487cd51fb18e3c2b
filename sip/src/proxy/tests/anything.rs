//! Whatever is received: no panic, and the caller hears of exactly one end.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{identity, invite};
use crate::dialog::{Dialog, ProxyDialog, Side};
use crate::header::{HeaderName, Transport};
use crate::message::{Message, Method};
use crate::proxy::{
    Action, BranchId, Failover, Forward, Group, Policy, RecordRoute, ResponseContext, StatusSet,
    admit, forward, next_hop, pop_via, preprocess, stamp_via,
};

const PLAN: Forward<'_> = Forward {
    target: Some("sip:bob@192.0.2.4"),
    route: &[],
    directions: None,
    record_route: Some(RecordRoute {
        ingress: "sip:192.0.2.10;lr",
        egress: "sip:192.0.2.10;transport=tcp;lr",
    }),
    transport: Transport::Udp,
    sent_by: "192.0.2.10:5060",
    branch: "z9hG4bKours",
};

/// Everything that this module does to a message, one after another.
fn digest(bytes: Vec<u8>) {
    let Ok(message) = Message::parse(bytes.into()) else {
        return;
    };
    let message = stamp_via(message, "[::ffff:198.51.100.7]:1024".parse().unwrap());
    let identity = identity();
    let admitted = admit(&message, &identity, &[]);
    if let Err(refusal) = &admitted {
        let _ = refusal.response(&message, "t");
    }
    let _ = identity.stateless_branch(&message);
    let _ = pop_via(&message);
    let _ = Dialog::uas(&message, "b");
    if let Ok(mut dialog) = ProxyDialog::new(&message, &message, &identity) {
        dialog.handle_request(&message);
        dialog.handle_response(&message);
        let _ = dialog.bye_towards(Side::Caller, "SIP/2.0/UDP a;branch=z9hG4bK1", None);
    }
    let Ok(routed) = preprocess(&message, &identity) else {
        return;
    };
    for plan in [
        PLAN,
        Forward {
            target: None,
            ..PLAN
        },
    ] {
        let hop = next_hop(&routed, &plan);
        if let (Ok(_), Ok(hop), Ok(sent)) = (&admitted, &hop, forward(&routed, &plan)) {
            assert!(!hop.is_empty());
            assert!(
                sent.validate().is_ok(),
                "what was in order is so when it is sent on"
            );
            assert_eq!(sent.via().unwrap().branch(), Some("z9hG4bKours"));
            assert_eq!(sent.body(), message.body());
        }
    }
}

fn seed() -> Vec<u8> {
    let request = invite()
        .header(
            "Route",
            "<sip:192.0.2.10;lr>, \"x\" <sip:[2001:db8::1]:5080>;a=\"b,c\"",
        )
        .header("Record-Route", "<sip:192.0.2.20;lr>")
        .header("Contact", "<sip:alice@192.0.2.1:5062;maddr=192.0.2.10>")
        .header("Max-Forwards", "70")
        .header("Proxy-Require", "foo")
        .body("application/sdp", "v=0\r\n");
    request.build().unwrap().as_bytes().to_vec()
}

#[derive(Debug, Clone)]
enum Step {
    Response { branch: usize, status: u16 },
    Timeout { branch: usize },
    Fail { branch: usize },
    FlowFail { branch: usize },
    Terminated { branch: usize },
    Cancel,
    Sleep { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let branch = 0usize..5;
    let status = prop_oneof![Just(180u16), Just(200), Just(503), Just(487), 100u16..700];
    prop_oneof![
        4 => (branch.clone(), status)
            .prop_map(|(branch, status)| Step::Response { branch, status }),
        1 => branch.clone().prop_map(|branch| Step::Timeout { branch }),
        1 => branch.clone().prop_map(|branch| Step::Fail { branch }),
        1 => branch.clone().prop_map(|branch| Step::FlowFail { branch }),
        1 => branch.prop_map(|branch| Step::Terminated { branch }),
        1 => Just(Step::Cancel),
        1 => (0u64..250).prop_map(|seconds| Step::Sleep { seconds }),
    ]
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

/// How often each kind of end has been told.
#[derive(Debug, Default)]
struct Told {
    success: usize,
    failure: usize,
    tried: usize,
}

impl Told {
    /// `more` times further targets are named where they are asked for.
    fn drain(&mut self, context: &mut ResponseContext<u8>, now: Instant, more: &mut Option<usize>) {
        while let Some(action) = context.poll_action() {
            match action {
                Action::Forward { response, .. } => match response.status().unwrap() {
                    100..=199 => assert_eq!(self.success + self.failure, 0, "it is over"),
                    200..=299 => self.success += 1,
                    _ => self.failure += 1,
                },
                Action::Reply { .. } | Action::Abandon => self.failure += 1,
                Action::LateSuccess { .. } => assert_eq!(self.failure, 1),
                Action::Try { .. } => self.tried += 1,
                Action::Cancel { branch } => assert!(branch.0 < self.tried),
                Action::Exhausted => match more {
                    Some(left @ 1..) => {
                        *left -= 1;
                        assert!(context.add(now, [vec![9u8, 10]]));
                    }
                    Some(_) => context.conclude(),
                    None => panic!("nobody wanted to be asked"),
                },
            }
        }
    }
}

proptest! {
    #[test]
    fn any_message_is_digested(bytes in vec(any::<u8>(), 0..200)) {
        digest(bytes);
    }

    #[test]
    fn a_message_with_a_few_wrong_bytes_is_digested(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = seed();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        digest(bytes);
    }

    #[test]
    fn a_message_with_a_part_cut_out_is_digested(
        from in any::<prop::sample::Index>(),
        len in 0usize..60,
    ) {
        let mut bytes = seed();
        let from = from.index(bytes.len());
        let to = (from + len).min(bytes.len());
        bytes.drain(from..to);
        digest(bytes);
    }

    #[test]
    fn the_caller_hears_of_one_end(
        invite in any::<bool>(),
        any_failure in any::<bool>(),
        ring in prop::option::of(1u64..100),
        breadth in 1u32..4,
        mut more in prop::option::of(0usize..4),
        steps in vec(step(), 0..40),
    ) {
        let mut now = Instant::now();
        let policy = Policy {
            breadth,
            open: more.is_some(),
            ..Policy::default()
        };
        let failover = if any_failure {
            Failover::AnyFailure
        } else {
            Failover::Listed(StatusSet::OUTAGE.with(603))
        };
        let group = |targets| {
            Group::new(targets)
                .failover(failover)
                .ring_timeout(ring.map(Duration::from_secs))
        };
        let method = if invite { Method::Invite } else { Method::Message };
        let groups = [vec![1u8, 2], vec![3], vec![4, 5]].map(group);
        let mut context = ResponseContext::new(now, &method, policy, groups);
        let mut told = Told::default();
        told.drain(&mut context, now, &mut more);
        for step in steps {
            match step {
                Step::Response { branch, status } => {
                    let id = BranchId(branch);
                    let follows = (300..400).contains(&status) && more.is_some_and(|left| left > 0);
                    if follows && context.handle_redirect(now, id, [vec![6, 7], vec![8]]) {
                        more = more.map(|left| left - 1);
                    } else {
                        context.handle_response(now, id, &response(status));
                    }
                }
                Step::Timeout { branch } => context.handle_branch_timeout(now, BranchId(branch)),
                Step::Fail { branch } => context.handle_transport_error(now, BranchId(branch)),
                Step::FlowFail { branch } => context.handle_flow_failure(now, BranchId(branch)),
                Step::Terminated { branch } => context.handle_terminated(now, BranchId(branch)),
                Step::Cancel => context.handle_cancel(now),
                Step::Sleep { seconds } => {
                    now += Duration::from_secs(seconds);
                    context.handle_timeout(now);
                }
            }
            told.drain(&mut context, now, &mut more);
        }
        // The transactions of the last targets end after those before them.
        for _ in 0..24 {
            for branch in 0..told.tried {
                context.handle_terminated(now, BranchId(branch));
            }
            told.drain(&mut context, now, &mut more);
        }
        prop_assert!(context.is_finished());
        prop_assert_eq!(context.poll_timeout(), None);
        prop_assert!(told.failure + told.success.min(1) == 1, "{:?}", told);
        prop_assert!(invite || told.success <= 1);
    }
}
