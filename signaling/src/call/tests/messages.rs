//! MESSAGE to users who are there, and to those who are away.

use std::time::Duration;

use sip::{
    header::HeaderName,
    message::{Message, Method},
};

use super::{
    bed::*,
    forking::{DESK, MOBILE, SOFT, register},
};
use crate::{directory::Aor, net::Placement};

fn bob() -> Aor {
    Aor::new("bob", "node.test")
}

/// A MESSAGE to bob.
fn message(id: &str, text: &str) -> Message {
    let text = format!(
        "MESSAGE sip:bob@node.test SIP/2.0\r\n\
         Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"A\" <sip:alice@pbx.test>;tag=a{id}\r\n\
         To: <sip:bob@node.test>\r\nCall-ID: {id}@pbx.test\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    Message::parse(text.into()).unwrap()
}

fn reply(bed: &mut Bed, request: &Message, status: u16) {
    bed.receive_message(DESK, &request.respond(status).to_tag("p").build().unwrap());
}

#[test]
fn a_message_goes_to_the_phones_of_its_user_and_its_answer_back() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000)]);
    bed.receive_message(CALLER, &message("m1", "hello"));
    let sent = bed.request(DESK, &Method::Message);
    assert_eq!(sent.body(), b"hello");
    assert_eq!(sent.record_routes().count(), 0);
    reply(&mut bed, &sent, 200);
    bed.response(CALLER, 200);
    // What its user does not want is told, and not kept.
    bed.receive_message(CALLER, &message("m2", "spam"));
    let sent = bed.request(DESK, &Method::Message);
    reply(&mut bed, &sent, 603);
    bed.response(CALLER, 603);
    assert!(bed.kept.is_empty());
    bed.assert_empty();
}

#[test]
fn what_came_for_a_user_who_was_away_is_delivered_in_order() {
    let mut bed = Bed::new();
    register(&mut bed, &[]);
    for (id, text) in [("m1", "one"), ("m2", "two")] {
        bed.receive_message(CALLER, &message(id, text));
        bed.response(CALLER, 202);
    }
    bed.receive_message(CALLER, &message("m3", "too many"));
    bed.response(CALLER, 480);

    register(&mut bed, &[(DESK, 1000)]);
    bed.core.on_registered(&bob());
    bed.settle();
    let one = bed.request(DESK, &Method::Message);
    assert_eq!(one.body(), b"one");
    assert_eq!(one.request_uri_raw(), b"sip:bob@10.0.0.31;ob");
    assert_eq!(one.from().unwrap().uri_str(), "sip:alice@pbx.test");
    assert_eq!(one.from().unwrap().display(), "A");
    assert_eq!(
        one.header(HeaderName::ContentType).unwrap().value(),
        b"text/plain"
    );
    bed.assert_quiet();
    // It registers again meanwhile: nothing is sent twice.
    bed.core.on_registered(&bob());
    bed.settle();
    bed.assert_quiet();
    reply(&mut bed, &one, 200);
    let two = bed.request(DESK, &Method::Message);
    reply(&mut bed, &two, 486);
    bed.assert_quiet();
    let left: Vec<_> = bed.kept.iter().map(|message| &message.body[..]).collect();
    assert_eq!(left, [b"two"], "what was not taken stays");

    bed.core.on_registered(&bob());
    bed.settle();
    let two = bed.request(DESK, &Method::Message);
    assert_eq!(two.body(), b"two");
    reply(&mut bed, &two, 200);
    assert!(bed.kept.is_empty());
    bed.assert_empty();
}

/// Has two messages kept for bob, and him register.
fn kept_and_registered(phones: &[(&str, u16)]) -> Bed {
    let mut bed = Bed::new();
    register(&mut bed, &[]);
    for (id, text) in [("m1", "one"), ("m2", "two")] {
        bed.receive_message(CALLER, &message(id, text));
        bed.response(CALLER, 202);
    }
    register(&mut bed, phones);
    bed.core.on_registered(&bob());
    bed.settle();
    bed
}

/// What a phone is asked to take.
fn asked(bed: &mut Bed, phone: &str, text: &str) -> Message {
    let sent = bed.request(phone, &Method::Message);
    assert_eq!(sent.body(), text.as_bytes());
    sent
}

fn reply_from(bed: &mut Bed, phone: &str, request: &Message, status: u16) {
    bed.receive_message(phone, &request.respond(status).to_tag("p").build().unwrap());
}

fn left(bed: &Bed) -> Vec<&str> {
    let kept = bed.kept.iter();
    kept.map(|message| std::str::from_utf8(&message.body).unwrap())
        .collect()
}

#[test]
fn what_a_phone_refuses_for_good_is_dropped_and_the_next_is_delivered() {
    for status in [400, 415, 488, 513, 603] {
        let mut bed = kept_and_registered(&[(DESK, 1000)]);
        let one = asked(&mut bed, DESK, "one");
        reply(&mut bed, &one, status);
        let two = asked(&mut bed, DESK, "two");
        assert_eq!(left(&bed), ["two"], "{status}");
        reply(&mut bed, &two, 200);
        assert!(bed.kept.is_empty());
        bed.assert_empty();
    }
}

#[test]
fn what_a_phone_cannot_take_yet_stays_with_all_that_follow() {
    for status in [302, 405, 408, 480, 486, 501, 503] {
        let mut bed = kept_and_registered(&[(DESK, 1000)]);
        let one = asked(&mut bed, DESK, "one");
        reply(&mut bed, &one, status);
        bed.assert_quiet();
        assert_eq!(left(&bed), ["one", "two"], "{status}");
        bed.core.on_registered(&bob());
        bed.settle();
        let one = asked(&mut bed, DESK, "one");
        reply(&mut bed, &one, 200);
        let two = asked(&mut bed, DESK, "two");
        reply(&mut bed, &two, 200);
        bed.assert_empty();
    }
}

#[test]
fn what_a_phone_fails_at_stays_and_is_in_nobodys_way() {
    let mut bed = kept_and_registered(&[(DESK, 1000)]);
    let one = asked(&mut bed, DESK, "one");
    reply(&mut bed, &one, 500);
    let two = asked(&mut bed, DESK, "two");
    reply(&mut bed, &two, 200);
    assert_eq!(left(&bed), ["one"]);
    bed.assert_empty();
}

#[test]
fn what_was_kept_goes_to_all_phones_in_order() {
    let mut bed = kept_and_registered(&[(DESK, 1000), (MOBILE, 1000), (SOFT, 500)]);
    let desk = asked(&mut bed, DESK, "one");
    let mobile = asked(&mut bed, MOBILE, "one");
    bed.assert_quiet();
    // One has it: it is delivered. The next one must not come before this one at the other.
    reply_from(&mut bed, MOBILE, &mobile, 200);
    assert_eq!(left(&bed), ["two"]);
    bed.assert_quiet();
    reply_from(&mut bed, DESK, &desk, 603);
    let desk = asked(&mut bed, DESK, "two");
    let mobile = asked(&mut bed, MOBILE, "two");
    bed.assert_quiet();
    // None of the preferred ones takes it, and not for ever.
    reply_from(&mut bed, DESK, &desk, 415);
    reply_from(&mut bed, MOBILE, &mobile, 480);
    let soft = asked(&mut bed, SOFT, "two");
    reply_from(&mut bed, SOFT, &soft, 200);
    assert!(bed.kept.is_empty());
    bed.assert_empty();
}

#[test]
fn a_silent_phone_holds_up_one_message_and_no_more() {
    let mut bed = kept_and_registered(&[(DESK, 1000), (MOBILE, 1000)]);
    let mobile = asked(&mut bed, MOBILE, "one");
    reply_from(&mut bed, MOBILE, &mobile, 200);
    bed.pass(Duration::from_secs(32));
    bed.sent.retain(|sent| sent.flow.remote != at(DESK));
    let mobile = asked(&mut bed, MOBILE, "two");
    bed.assert_quiet();
    reply_from(&mut bed, MOBILE, &mobile, 200);
    bed.assert_empty();
}

#[test]
fn a_phone_that_is_gone_is_not_waited_for() {
    let mut bed = kept_and_registered(&[(DESK, 1000)]);
    asked(&mut bed, DESK, "one");
    bed.core.handle_unreachable(bed.now, at(NODE), at(DESK));
    bed.settle();
    assert_eq!(left(&bed), ["one", "two"]);
    // It is back at once, and need not wait for the end of the transaction that failed.
    bed.core.on_registered(&bob());
    bed.settle();
    let one = asked(&mut bed, DESK, "one");
    reply(&mut bed, &one, 200);
    let two = asked(&mut bed, DESK, "two");
    reply(&mut bed, &two, 200);
    bed.assert_empty();
}

#[test]
fn the_answer_to_a_kept_message_comes_back_to_who_sent_it() {
    let mut bed = Bed::new();
    let placement = Placement::new(8);
    bed.core.set_home(placement.clone(), 5);
    register(&mut bed, &[]);
    for round in 0..4 {
        bed.receive_message(CALLER, &message(&format!("m{round}"), "one"));
        bed.response(CALLER, 202);
        register(&mut bed, &[(DESK, 1000)]);
        bed.core.on_registered(&bob());
        bed.settle();
        let sent = bed.request(DESK, &Method::Message);
        assert_eq!(placement.of(sent.call_id().unwrap().as_bytes()), 5);
        reply(&mut bed, &sent, 200);
        bed.access.location.remove(&bob(), None);
    }
    bed.assert_empty();
}

#[test]
fn a_message_that_no_phone_answers_is_kept() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000)]);
    bed.receive_message(CALLER, &message("m1", "one"));
    bed.request(DESK, &Method::Message);
    bed.core.handle_unreachable(bed.now, at(NODE), at(DESK));
    bed.settle();
    bed.response(CALLER, 202);
    bed.core.on_registered(&bob());
    bed.settle();
    bed.request(DESK, &Method::Message);
    // Nor is it there now.
    bed.drain();
    assert_eq!(bed.kept.len(), 1);
    bed.assert_empty();
}
