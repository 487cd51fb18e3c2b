//! Requests within a call.

use sip::{
    header::HeaderName,
    message::{Message, Method},
};

use super::bed::*;

#[test]
fn requests_pass_both_ways_unchanged_whatever_their_method() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    for method in [
        "INFO",
        "MESSAGE",
        "REFER",
        "OPTIONS",
        "NOTIFY",
        "FROBNICATE",
    ] {
        let method = Method::parse(method.as_bytes()).unwrap();
        bed.receive_message(CALLER, &up.caller.send(&method, ""));
        let passed = bed.request(CALLEE, &method);
        assert_eq!(passed.request_uri_raw(), b"sip:bob@192.0.2.20:5060");
        bed.receive_message(CALLEE, &passed.respond(202).build().unwrap());
        bed.response(CALLER, 202);

        bed.receive_message(CALLEE, &up.callee.send(&method, ""));
        let passed = bed.request(CALLER, &method);
        assert_eq!(passed.request_uri_raw(), b"sip:alice@192.0.2.10:5060");
        bed.receive_message(CALLER, &passed.respond(403).build().unwrap());
        bed.response(CALLEE, 403);
    }
    bed.assert_quiet();
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn an_options_that_may_go_no_further_is_answered_by_the_node() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    let last = |message: Message| {
        let edit = message.edit().replace(HeaderName::MaxForwards, "0");
        edit.finish().unwrap()
    };
    let options = last(up.caller.send(&Method::Options, ""));
    bed.receive_message(CALLER, &options);
    let answer = bed.response(CALLER, 200);
    assert!(answer.header(HeaderName::Allow).is_some());
    let info = last(up.caller.send(&Method::Info, ""));
    bed.receive_message(CALLER, &info);
    bed.response(CALLER, 483);
    bed.assert_quiet();
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_new_contact_of_either_party_is_where_our_bye_goes() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    bed.receive_message(CALLEE, &up.callee.send(&Method::Invite, ""));
    let passed = bed.request(CALLER, &Method::Invite);
    bed.receive_message(CALLER, &answer(&passed, 200, "192.0.2.99:5099", ""));
    bed.response(CALLEE, 200);
    bed.receive_message(CALLEE, &up.callee.ack(""));
    // The ACK goes to where the callee sends it: to the old Contact, which is all it has.
    bed.sent.clear();
    bed.core.stop(bed.now);
    bed.settle();
    let bye = bed.request("192.0.2.99:5099", &Method::Bye);
    assert_eq!(
        bye.cseq().unwrap().number,
        2,
        "after the callee's own re-INVITE"
    );
    assert!(bye.header(HeaderName::Reason).is_some());
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(bye.request_uri_raw(), b"sip:me@192.0.2.20:5060");
    assert_eq!(bye.cseq().unwrap().number, 2, "after the caller's INVITE");
    bed.assert_empty();
}

#[test]
fn a_caller_that_ignores_record_route_is_helped() {
    let mut bed = Bed::new();
    let up = call(&mut bed, "+1555", "c1");
    let dialog = format!(
        "Via: SIP/2.0/UDP {CALLER};branch=z9hG4bKx;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@pbx.test>;tag=ac1\r\nTo: <sip:+1555@node.test>;tag=callee\r\n\
         Call-ID: c1@pbx.test\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    );
    drop(up);
    bed.receive(
        CALLER,
        format!("BYE sip:+1555@192.0.2.1:5060 SIP/2.0\r\n{dialog}"),
    );
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(bye.request_uri_raw(), b"sip:bob@192.0.2.20:5060");
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_empty();
}

#[test]
fn a_bye_from_before_ends_nothing() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    let early = up.caller.send(&Method::Bye, "");
    for _ in 0..2 {
        bed.receive_message(CALLER, &up.caller.send(&Method::Info, ""));
        let info = bed.request(CALLEE, &Method::Info);
        bed.receive_message(CALLEE, &info.respond(200).build().unwrap());
        bed.response(CALLER, 200);
    }
    bed.receive_message(CALLER, &early);
    bed.response(CALLER, 500);
    bed.assert_quiet();
    assert!(bed.cdrs.is_empty());
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_cancel_of_nothing_leaves_nothing() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive(STRANGER, cancel_of(&request));
    bed.response(STRANGER, 481);
    assert!(bed.core.is_empty());
    // Nor does it where the call is over, and its transaction with it.
    bed.receive_message(CALLER, &request);
    let asked = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&asked, 486, CALLEE, ""));
    bed.drain();
    bed.receive(CALLER, cancel_of(&request));
    bed.response(CALLER, 481);
    bed.assert_empty();
}

#[test]
fn a_strangers_request_in_a_call_is_481_and_harms_nothing() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let bye = format!(
        "BYE sip:bob@{CALLEE} SIP/2.0\r\nVia: SIP/2.0/UDP {STRANGER};branch=z9hG4bKx;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@pbx.test>;tag=guess\r\n\
         To: <sip:+2555@node.test>;tag=callee\r\nCall-ID: c1@pbx.test\r\nCSeq: 2 BYE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    bed.receive(STRANGER, bye);
    bed.response(STRANGER, 481);
    bed.assert_quiet();
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_trunks_bye_from_before_a_restart_is_passed_on_along_its_route() {
    let mut bed = Bed::new();
    let bye = |branch: &str, source: &str| {
        format!(
            "BYE sip:bob@{CALLEE} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {source};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             Route: <sip:192.0.2.1:5060;lr;tandem=5>\r\n\
             From: <sip:alice@pbx.test>;tag=a\r\nTo: <sip:x@node.test>;tag=b\r\n\
             Call-ID: gone@pbx.test\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    bed.receive(CALLER, bye("1", CALLER));
    let passed = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.receive(STRANGER, bye("2", STRANGER));
    bed.response(STRANGER, 481);
    bed.assert_quiet();
    bed.assert_empty();
}
