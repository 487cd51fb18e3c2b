//! MESSAGE to users who are there, and to those who are away.

use sip::{
    header::HeaderName,
    message::{Message, Method},
};

use super::{
    bed::*,
    forking::{DESK, register},
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
