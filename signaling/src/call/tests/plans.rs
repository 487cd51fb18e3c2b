//! Calls along plans: one carrier after the other, forwards, limits, and who is let in when.

use std::{sync::Arc, time::Duration};

use control::{Config, signal::Event};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::{Cause, EndedBy};

use super::{super::TraceAsked, bed::*};
use crate::directory::{Directory, Owners};

const CONFIG: &str = r#"
[sip]
domains = ["node.test"]
[[trunks]]
name = "pbx"
hosts = ["192.0.2.10"]
allow = ["192.0.2.10/32"]
[[trunks]]
name = "one"
hosts = ["192.0.2.20"]
redirect = "follow"
calls = 1
[[trunks]]
name = "two"
hosts = ["192.0.2.21"]
headers_out = { remove = ["X-Custom"], add = { X-Account = "42" } }
failover = [404]
[[trunks]]
name = "three"
hosts = ["192.0.2.22"]
[[routes]]
prefix = "+1"
trunks = ["one", "two", "three"]
media = "bypass"
ring_timeout = 30
[[routes]]
prefix = "112"
trunks = ["one"]
media = "bypass"
[[numbers]]
number = "+200"
trunk = "one"
ring_timeout = 10
[numbers.forward]
busy = "sip:busy@192.0.2.21"
no_answer = "+1555"
unreachable = "sip:away@192.0.2.21"
[[numbers]]
number = "+201"
user = "carol@node.test"
[numbers.forward]
unreachable = "sip:carol@192.0.2.21"
[[numbers]]
number = "+202"
forward = "sip:dave@192.0.2.21"
[[limits]]
number = "+202"
calls = 1
longest = 90
[[limits]]
number = "+4777"
cps = 1
[[limits]]
prefix = "+4"
cps = 1
[[routes]]
prefix = "+4"
trunks = ["one"]
media = "bypass"
[[blocks]]
number = "alice"
to = "+203"
action = "silence"
"#;

const THIRD: &str = "192.0.2.22:5060";

fn bed() -> Bed {
    let mut bed = Bed::new();
    let config = Config::parse(CONFIG, []).unwrap().config;
    bed.core.directory = Arc::new(Directory::new(&config, None));
    bed
}

fn refuse(bed: &mut Bed, to: &str, request: &Message, status: u16) {
    bed.receive_message(to, &answer(request, status, to, ""));
    bed.request(to, &Method::Ack);
}

fn take(bed: &mut Bed, to: &str, request: &Message) {
    bed.receive_message(to, &answer(request, 200, to, ""));
    bed.response(CALLER, 200);
}

/// Ends all that is up, and sees that nothing is left, neither of calls nor of what they held.
fn end(bed: &mut Bed) {
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
    bed.core.set_draining(false);
}

#[test]
fn carriers_follow_one_another_by_what_each_says() {
    let mut bed = bed();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let one = bed.request(CALLEE, &Method::Invite);
    assert!(one.header("X-Custom").is_some());
    refuse(&mut bed, CALLEE, &one, 503);
    let two = bed.request(SECOND, &Method::Invite);
    assert!(two.header("X-Custom").is_none());
    assert_eq!(two.header("X-Account").unwrap().value(), b"42");
    // Its own list of failures: 404 leads on, 503 from it does not.
    refuse(&mut bed, SECOND, &two, 404);
    let three = bed.request(THIRD, &Method::Invite);
    refuse(&mut bed, THIRD, &three, 486);
    bed.response(CALLER, 486);
    assert_eq!(bed.cdr().trunk.as_deref(), Some("three"));
    bed.assert_empty();

    bed.receive_message(CALLER, &invite("+1555", "c2", ""));
    let one = bed.request(CALLEE, &Method::Invite);
    refuse(&mut bed, CALLEE, &one, 404);
    bed.response(CALLER, 404);
    bed.assert_quiet();
    bed.receive_message(CALLER, &invite("+1555", "c3", ""));
    let one = bed.request(CALLEE, &Method::Invite);
    refuse(&mut bed, CALLEE, &one, 500);
    let two = bed.request(SECOND, &Method::Invite);
    refuse(&mut bed, SECOND, &two, 500);
    bed.response(CALLER, 500);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_trunk_that_is_full_is_passed_over_and_has_room_again_when_its_call_ends() {
    let mut bed = bed();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let one = bed.request(CALLEE, &Method::Invite);
    // While it rings, and when it is up.
    bed.receive_message(CALLER, &invite("+1556", "c2", ""));
    let two = bed.request(SECOND, &Method::Invite);
    take(&mut bed, SECOND, &two);
    take(&mut bed, CALLEE, &one);
    bed.receive_message(CALLER, &invite("+1557", "c3", ""));
    bed.request(SECOND, &Method::Invite);
    end(&mut bed);

    // A carrier that failed gives its place back at once, though the call goes on elsewhere.
    bed.receive_message(CALLER, &invite("+1555", "c4", ""));
    let one = bed.request(CALLEE, &Method::Invite);
    refuse(&mut bed, CALLEE, &one, 503);
    bed.request(SECOND, &Method::Invite);
    bed.receive_message(CALLER, &invite("+1555", "c5", ""));
    bed.request(CALLEE, &Method::Invite);
    end(&mut bed);
}

#[test]
fn what_one_limit_refuses_costs_the_others_nothing() {
    let mut bed = bed();
    // The carrier is full: a call that it does not take has begun nowhere.
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let one = bed.request(CALLEE, &Method::Invite);
    for id in ["c2", "c3"] {
        bed.receive_message(CALLER, &invite("+4777", id, ""));
        bed.response(CALLER, 480);
    }
    refuse(&mut bed, CALLEE, &one, 486);
    bed.response(CALLER, 486);
    bed.receive_message(CALLER, &invite("+4777", "c4", ""));
    let four = bed.request(CALLEE, &Method::Invite);
    refuse(&mut bed, CALLEE, &four, 486);
    bed.response(CALLER, 486);
    // It did begin.
    bed.receive_message(CALLER, &invite("+4777", "c5", ""));
    bed.response(CALLER, 503);
    bed.pass(Duration::from_secs(2));
    bed.sent.clear();
    // The prefix is used up; the number is not, by a call that the prefix refuses.
    bed.receive_message(CALLER, &invite("+4888", "c6", ""));
    let six = bed.request(CALLEE, &Method::Invite);
    refuse(&mut bed, CALLEE, &six, 486);
    bed.response(CALLER, 486);
    bed.pass(Duration::from_millis(500));
    bed.sent.clear();
    bed.receive_message(CALLER, &invite("+4777", "c7", ""));
    bed.response(CALLER, 503);
    bed.pass(Duration::from_millis(500));
    bed.sent.clear();
    bed.receive_message(CALLER, &invite("+4777", "c8", ""));
    let eight = bed.request(CALLEE, &Method::Invite);
    refuse(&mut bed, CALLEE, &eight, 486);
    bed.response(CALLER, 486);
    bed.assert_empty();
}

#[test]
fn a_carrier_that_answers_while_the_caller_hangs_up_another_is_a_call_of_its_own() {
    let mut bed = bed();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let one = bed.request(CALLEE, &Method::Invite);
    bed.pass(Duration::from_secs(5));
    bed.sent.retain(|sent| sent.flow.remote == at(SECOND));
    let two = bed.request(SECOND, &Method::Invite);
    bed.sent.clear();
    bed.receive_message(SECOND, &answer(&two, 200, SECOND, ""));
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(SECOND, &Method::Ack);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(SECOND, &Method::Bye);
    // The first one had only been slow.
    let late = one.respond(200).to_tag("slow");
    let late = late.header(HeaderName::Contact, format!("<sip:bob@{CALLEE}>"));
    bed.receive_message(CALLEE, &late.build().unwrap());
    let late = bed.response(CALLER, 200);
    bed.receive_message(SECOND, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);

    let mut caller = Party::caller(&request, &late);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    assert_eq!(bed.cdr().cause, Cause::Bye);
    bed.assert_empty();
}

#[test]
fn a_call_goes_on_to_where_its_number_is_forwarded() {
    let mut bed = bed();
    bed.receive_message(CALLER, &invite("+200", "c1", ""));
    let first = bed.request(CALLEE, &Method::Invite);
    assert!(first.header(HeaderName::Diversion).is_none());
    refuse(&mut bed, CALLEE, &first, 486);
    let busy = bed.request(SECOND, &Method::Invite);
    assert_eq!(busy.request_uri_raw(), b"sip:busy@192.0.2.21");
    assert_eq!(
        busy.header(HeaderName::Diversion).unwrap().value(),
        b"<sip:+200@192.0.2.1:5060>;reason=user-busy;counter=1"
    );
    take(&mut bed, SECOND, &busy);
    end(&mut bed);

    bed.receive_message(CALLER, &invite("+200", "c2", ""));
    let first = bed.request(CALLEE, &Method::Invite);
    refuse(&mut bed, CALLEE, &first, 503);
    let away = bed.request(SECOND, &Method::Invite);
    assert_eq!(away.request_uri_raw(), b"sip:away@192.0.2.21");
    refuse(&mut bed, SECOND, &away, 480);
    bed.response(CALLER, 480);
    bed.assert_empty();

    bed.receive_message(CALLER, &invite("+200", "c3", ""));
    let first = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&first, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    bed.pass(Duration::from_secs(10));
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    // A number, by its route; its first carrier has room again.
    let next = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&first, 487, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    assert_eq!(next.request_uri_raw(), b"sip:+1555@192.0.2.20");
    assert!(
        next.header(HeaderName::Diversion)
            .unwrap()
            .text()
            .contains("no-answer")
    );
    take(&mut bed, CALLEE, &next);
    end(&mut bed);

    bed.receive_message(CALLER, &invite("+201", "c4", ""));
    let carol = bed.request(SECOND, &Method::Invite);
    assert_eq!(carol.request_uri_raw(), b"sip:carol@192.0.2.21");
    refuse(&mut bed, SECOND, &carol, 603);
    bed.response(CALLER, 603);
    bed.assert_empty();
}

#[test]
fn a_call_that_was_diverted_too_often_goes_nowhere_else() {
    let mut bed = bed();
    let text = String::from_utf8(invite("+201", "c1", "").as_bytes().to_vec()).unwrap();
    let diverted = "Diversion: <sip:1@a>, <sip:2@a>, <sip:3@a>\r\nDiversion: <sip:4@a>, <sip:5@a>";
    bed.receive(CALLER, text.replace("X-Custom: kept", diverted));
    bed.response(CALLER, 480);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_number_has_so_many_calls_and_each_lasts_so_long() {
    let mut bed = bed();
    let request = invite("+202", "c1", "");
    bed.receive_message(CALLER, &request);
    let first = bed.request(SECOND, &Method::Invite);
    bed.receive_message(CALLER, &invite("+202", "c2", ""));
    bed.response(CALLER, 486);
    assert_eq!((bed.cdr().cause, bed.cdr().status), (Cause::Limit, 486));
    bed.receive_message(SECOND, &answer(&first, 200, SECOND, ""));
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(SECOND, &Method::Ack);
    bed.pass(Duration::from_secs(89));
    // The other call's answer is still sent, as nobody acknowledged it.
    bed.sent.retain(|sent| sent.message.status() != Some(486));
    bed.assert_quiet();
    bed.pass(Duration::from_secs(1));
    for party in [CALLER, SECOND] {
        let bye = bed.request(party, &Method::Bye);
        assert!(bye.header(HeaderName::Reason).is_some());
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    let cdr = &bed.cdrs[1];
    assert_eq!(
        (cdr.cause, cdr.ended_by),
        (Cause::LongestCall, EndedBy::Node)
    );
    assert_eq!(cdr.talk_time().as_secs(), 90);
    bed.receive_message(CALLER, &invite("+202", "c3", ""));
    bed.request(SECOND, &Method::Invite);
    end(&mut bed);
}

#[test]
fn for_a_caller_who_is_not_to_know_that_he_is_blocked_it_rings() {
    let mut bed = bed();
    let request = invite("+203", "c1", "");
    bed.receive_message(CALLER, &request);
    bed.response(CALLER, 180);
    bed.pass(Duration::from_secs(59));
    bed.assert_quiet();
    bed.pass(Duration::from_secs(1));
    bed.response(CALLER, 480);
    assert_eq!((bed.cdr().cause, bed.cdr().status), (Cause::Blocked, 480));
    bed.assert_empty();

    let request = invite("+203", "c2", "");
    bed.receive_message(CALLER, &request);
    bed.response(CALLER, 180);
    bed.receive(CALLER, cancel_of(&request));
    bed.response(CALLER, 200);
    bed.response(CALLER, 487);
    bed.assert_empty();
}

#[test]
fn a_trunk_that_redirects_is_followed_but_not_in_circles() {
    let mut bed = bed();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let mut request = bed.request(CALLEE, &Method::Invite);
    let mut to = CALLEE;
    for (contact, next) in [
        (
            "<sip:a@192.0.2.21>;q=0.1, <sip:b@192.0.2.22?x=y>;q=0.9, <sips:c@192.0.2.22>",
            THIRD,
        ),
        ("<sip:a@192.0.2.21>, <sip:b@192.0.2.22>", SECOND),
    ] {
        let redirect = request.respond(302).to_tag("r");
        let redirect = redirect
            .header(HeaderName::Contact, contact)
            .build()
            .unwrap();
        bed.receive_message(to, &redirect);
        bed.request(to, &Method::Ack);
        request = bed.request(next, &Method::Invite);
        to = next;
    }
    assert_eq!(request.request_uri_raw(), b"sip:a@192.0.2.21");
    assert!(
        request
            .header(HeaderName::Diversion)
            .unwrap()
            .text()
            .contains("deflection")
    );
    refuse(&mut bed, SECOND, &request, 486);
    bed.response(CALLER, 302);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_305_leads_nowhere() {
    let mut bed = bed();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let one = bed.request(CALLEE, &Method::Invite);
    let proxy = one.respond(305).to_tag("r");
    let proxy = proxy.header(HeaderName::Contact, format!("<sip:+1555@{THIRD}>"));
    bed.receive_message(CALLEE, &proxy.build().unwrap());
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 305);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_call_for_help_is_let_in_whatever_the_limits_and_while_the_node_drains() {
    let mut bed = bed();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    bed.request(CALLEE, &Method::Invite);
    bed.core.set_draining(true);
    bed.receive_message(CALLER, &invite("+1556", "c2", ""));
    bed.response(CALLER, 503);
    bed.receive_message(CALLER, &invite("112", "c3", ""));
    let help = bed.request(CALLEE, &Method::Invite);
    assert_eq!(help.request_uri_raw(), b"sip:112@192.0.2.20");
    take(&mut bed, CALLEE, &help);
    end(&mut bed);
}

#[test]
fn a_call_its_record_and_its_events_name_whose_it_is() {
    let mut bed = Bed::new();
    let config = Config::parse(CONFIG, []).unwrap().config;
    let mut owners = Owners::new("default");
    owners.give_number("+4555", "acme");
    bed.core.directory = Arc::new(Directory::new(&config, None).owned(owners));
    bed.core.set_listened(true);
    bed.receive_message(CALLER, &invite("+4555", "c1", ""));
    let id = bed.core.list(None)[0].id.clone();
    for (tenant, found) in [("acme", 1), ("default", 0)] {
        assert_eq!(bed.core.list(Some(tenant)).len(), found, "{tenant}");
        let asked = |id: &str| TraceAsked {
            id: id.to_owned(),
            after: 0,
            full: false,
            tenant: Some(tenant.to_owned()),
        };
        assert_eq!(bed.core.trace(&asked(&id)).is_some(), found == 1);
        // Anybody may write this one.
        assert!(bed.core.trace(&asked("c1@pbx.test")).is_none());
    }
    end(&mut bed);
    let told = bed.events.iter().map(|event| match event {
        Event::Call(call) => call.tenant.as_deref(),
        Event::Ended { tenant, .. } => tenant.as_deref(),
        other => unreachable!("{other:?}"),
    });
    let told: Vec<_> = told.collect();
    assert!(
        told.len() >= 2 && told.iter().all(|tenant| *tenant == Some("acme")),
        "{told:?}"
    );
    assert_eq!(bed.cdrs[0].tenant.as_deref(), Some("acme"));
    let over = TraceAsked {
        id,
        after: 0,
        full: false,
        tenant: Some("acme".to_owned()),
    };
    assert!(bed.core.trace(&over).is_some());
}

#[test]
fn a_trunk_that_was_drained_since_the_plan_was_made_is_passed_over_but_for_emergencies() {
    let mut bed = bed();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let first = bed.request(CALLEE, &Method::Invite);
    bed.drain_trunk("two", true);
    bed.receive_message(CALLEE, &answer(&first, 503, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    let third = bed.request("192.0.2.22:5060", &Method::Invite);
    let trunks = bed.core.directory.trunks();
    let two = trunks.iter().find(|trunk| trunk.name == "two").unwrap();
    assert_eq!(two.standing.counts(), (0, 0));
    take(&mut bed, "192.0.2.22:5060", &third);
    assert_eq!(bed.core.list(None)[0].trunk.as_deref(), Some("three"));

    bed.drain_trunk("one", true);
    bed.receive_message(CALLER, &invite("112", "c2", ""));
    let help = bed.request(CALLEE, &Method::Invite);
    take(&mut bed, CALLEE, &help);
    end(&mut bed);
}

#[test]
fn the_other_hosts_of_a_trunk_that_was_drained_meanwhile_are_not_tried() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let first = bed.request(CALLEE, &Method::Invite);
    bed.drain_trunk("carrier", true);
    bed.receive_message(CALLEE, &answer(&first, 503, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 500);
    bed.assert_quiet();
    assert_eq!(bed.cdr().trunk.as_deref(), Some("carrier"));
    bed.assert_empty();
}
