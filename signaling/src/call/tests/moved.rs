//! Phones that register from elsewhere while they are in a call.

use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::Cause;

use super::{
    auth::{PHONE, Phone},
    bed::*,
};

/// Where the phone comes from after its NAT, or its connection, is another one.
const LATER: &str = "198.51.100.7:41111";

/// Has the phone register; `headers` goes with it.
fn register(bed: &mut Bed, phone: &mut Phone, headers: &str) {
    let answer = phone.register(bed, headers);
    if answer.status() == Some(401) {
        phone.register(bed, headers);
    }
}

/// A call from the trunk to alice's phone, which answers it: both parties.
fn call_to(bed: &mut Bed) -> (Party, Party) {
    let text = invite("alice", "c1", "").as_bytes().to_vec();
    let text = String::from_utf8(text).unwrap();
    let text = text.replace("sip:alice@192.0.2.1:5060", "sip:alice@node.test");
    let request = Message::parse(text.into()).unwrap();
    bed.receive_message(CALLER, &request);
    let asked = bed.request(PHONE, &Method::Invite);
    bed.receive_message(PHONE, &answer(&asked, 200, "10.0.0.7:5060", ""));
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(PHONE, &Method::Ack);
    (caller, Party::callee(&asked, "10.0.0.7:5060"))
}

fn end_by(bed: &mut Bed, caller: &mut Party, at: &str) {
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(at, &Method::Bye);
    bed.receive_message(at, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_quiet();
}

#[test]
fn a_call_follows_its_phone_to_where_it_registers_from() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    register(&mut bed, &mut phone, "");
    let (mut caller, _) = call_to(&mut bed);
    bed.pass_ms(5_000);
    phone.address = LATER;
    register(&mut bed, &mut phone, "");
    bed.receive_message(CALLER, &caller.send(&Method::Info, ""));
    let info = bed.request(LATER, &Method::Info);
    assert_eq!(info.request_uri_raw(), b"sip:bob@10.0.0.7:5060");
    bed.receive_message(LATER, &info.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    end_by(&mut bed, &mut caller, LATER);
    bed.assert_empty();
}

#[test]
fn a_call_that_a_phone_made_follows_it_too_and_so_does_the_nodes_own_bye() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    register(&mut bed, &mut phone, "");
    let uri = "sip:+1555@node.test";
    phone.send(&mut bed, &Method::Invite, uri, "");
    let request = phone.request(&Method::Invite, uri, "");
    bed.receive_message(PHONE, &request);
    let asked = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&asked, 200, CALLEE, ""));
    let ok = bed.response(PHONE, 200);
    let mut alice = Party::caller(&request, &ok);
    bed.receive_message(PHONE, &alice.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.pass_ms(5_000);
    phone.address = LATER;
    register(&mut bed, &mut phone, "");
    bed.core.stop(bed.now);
    bed.settle();
    let bye = bed.request(LATER, &Method::Bye);
    assert!(bye.header(HeaderName::Reason).is_some());
    bed.request(CALLEE, &Method::Bye);
    bed.assert_empty();
    assert_eq!(bed.cdr().cause, Cause::Shutdown);
}

#[test]
fn a_call_stays_with_its_phone_when_another_registers() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    register(&mut bed, &mut phone, "");
    let (mut caller, _) = call_to(&mut bed);
    bed.pass_ms(5_000);
    let mut other = Phone::new("alice", "node.test");
    other.address = LATER;
    let contact = "Contact: <sip:alice@10.0.0.8>;+sip.instance=\"<urn:uuid:8>\"\r\n";
    register(&mut bed, &mut other, contact);
    end_by(&mut bed, &mut caller, PHONE);
    bed.assert_empty();
}

#[test]
fn where_a_phone_was_heard_last_counts_more_than_where_it_had_registered_from() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    register(&mut bed, &mut phone, "");
    let (mut caller, mut callee) = call_to(&mut bed);
    bed.pass_ms(5_000);
    // Its NAT has given it another port, and the registrar has not heard of that yet.
    bed.receive_message(LATER, &callee.send(&Method::Info, ""));
    let info = bed.request(CALLER, &Method::Info);
    bed.receive_message(CALLER, &info.respond(200).build().unwrap());
    bed.response(LATER, 200);
    end_by(&mut bed, &mut caller, LATER);
    bed.assert_empty();
}
