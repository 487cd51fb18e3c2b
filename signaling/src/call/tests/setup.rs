//! From an INVITE to its answer: who may call, which host is called, and what the caller hears.

use control::config::Transport;
use sip::{header::HeaderName, message::Method};
use store::{Cause, EndedBy};

use super::bed::*;
use crate::net::Flow;

#[test]
fn a_call_goes_through_a_record_routing_proxy_and_leaves_a_record() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    assert_eq!(forwarded.request_uri_raw(), b"sip:+1555@192.0.2.20");
    assert_eq!(forwarded.max_forwards(), Ok(Some(69)));
    assert_eq!(forwarded.vias().count(), 2);
    assert_eq!(forwarded.record_routes().count(), 1);
    assert_eq!(
        forwarded.body(),
        request.body(),
        "bypassed media is not touched"
    );
    assert_eq!(forwarded.header("X-Custom").unwrap().value(), b"kept");

    bed.pass_ms(250);
    bed.response(CALLER, 100);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    let ringing = bed.response(CALLER, 180);
    assert_eq!(ringing.vias().count(), 1);
    bed.pass_ms(2000);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    let ack = bed.request(CALLEE, &Method::Ack);
    assert_eq!(ack.request_uri_raw(), b"sip:bob@192.0.2.20:5060");
    assert_eq!(ack.routes().count(), 0, "our own Route is taken off");

    bed.pass_ms(5000);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);

    let cdr = bed.cdr();
    assert_eq!(
        (cdr.status, cdr.cause, cdr.ended_by),
        (200, Cause::Bye, EndedBy::Caller)
    );
    assert_eq!(cdr.trunk.as_deref(), Some("carrier"));
    assert_eq!(cdr.route.as_deref(), Some("+1"));
    assert_eq!(cdr.request_uri, "sip:+1555@192.0.2.1:5060");
    assert_eq!(cdr.talk_time().as_millis(), 5000);
    assert_eq!(cdr.ringing.unwrap().since(cdr.started).as_millis(), 250);
    assert!(cdr.from_caller.is_none() && cdr.datapath.is_none());
    assert!(bed.asked().is_empty());
    bed.assert_empty();
}

#[test]
fn a_dead_host_gives_way_to_the_next_within_seconds_and_is_tried_last_then() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    bed.request(CALLEE, &Method::Invite);
    bed.pass_ms(4100);
    let second = bed.request_after_retransmissions(SECOND);
    assert_eq!(second.request_uri_raw(), b"sip:+1555@192.0.2.21");
    bed.receive_message(SECOND, &answer(&second, 486, SECOND, ""));
    bed.sent.clear();

    bed.receive_message(CALLER, &invite("+1555", "c2", ""));
    let third = bed.request(SECOND, &Method::Invite);
    bed.receive_message(SECOND, &answer(&third, 486, SECOND, ""));
    bed.request(SECOND, &Method::Ack);
    assert_eq!(bed.cdrs.len(), 2);
    assert_eq!(bed.cdrs[0].cause, Cause::Rejected);
    bed.assert_empty();
}

#[test]
fn a_late_answer_of_a_host_that_was_given_up_is_ended() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let first = bed.request(CALLEE, &Method::Invite);
    bed.pass_ms(4100);
    let second = bed.request_after_retransmissions(SECOND);
    bed.receive_message(SECOND, &answer(&second, 486, SECOND, ""));
    bed.request(SECOND, &Method::Ack);
    bed.sent.clear();
    // It wakes up: its ringing is cancelled, and its answer, which crosses, is ended.
    bed.receive_message(CALLEE, &answer(&first, 180, CALLEE, ""));
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &answer(&first, 200, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    // Its 2xx comes again: only the ACK is repeated.
    bed.receive_message(CALLEE, &answer(&first, 200, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn icmp_and_503_lead_to_the_next_host_at_once_and_busy_does_not() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    bed.request(CALLEE, &Method::Invite);
    bed.core.handle_unreachable(bed.now, at(NODE), at(CALLEE));
    bed.settle();
    let second = bed.request(SECOND, &Method::Invite);
    bed.receive_message(SECOND, &answer(&second, 503, SECOND, ""));
    bed.request(SECOND, &Method::Ack);
    // RFC 3261 section 16.7: a 503 does not go back.
    bed.response(CALLER, 500);
    assert_eq!(bed.cdr().cause, Cause::Unreachable);
    bed.drain();

    bed.receive_message(CALLER, &invite("+1555", "c2", ""));
    let first = bed.sent.pop_front().unwrap();
    let to = first.flow.reply_to.to_string();
    bed.receive_message(&to, &answer(&first.message, 486, &to, ""));
    assert_eq!(bed.request(&to, &Method::Ack).method(), Some(&Method::Ack));
    bed.response(CALLER, 486);
    bed.assert_quiet();
    assert_eq!(bed.cdrs[1].status, 486);
    bed.assert_empty();
}

#[test]
fn who_refuses_without_a_word_has_refused_all_the_same() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    let sent = bed.request(CALLEE, &Method::Invite);
    let busy = answer(&sent, 486, CALLEE, "").as_bytes().to_vec();
    let busy = String::from_utf8(busy).unwrap();
    bed.receive(CALLEE, busy.replacen("486 Busy Here", "486 ", 1));
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 486);
    let cdr = bed.cdr();
    let end = (cdr.cause, cdr.ended_by, &*cdr.reason);
    assert_eq!(end, (Cause::Rejected, EndedBy::Callee, "Busy Here"));
    bed.assert_empty();
}

#[test]
fn every_address_of_a_name_is_tried() {
    let mut bed = Bed::new();
    bed.names
        .insert("gw.carrier.test".to_owned(), vec![at(CALLEE), at(SECOND)]);
    bed.receive_message(CALLER, &invite("+3555", "c1", ""));
    let first = bed.request(CALLEE, &Method::Invite);
    assert_eq!(first.request_uri_raw(), b"sip:+3555@gw.carrier.test");
    bed.receive_message(CALLEE, &answer(&first, 503, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    let second = bed.request(SECOND, &Method::Invite);
    bed.receive_message(SECOND, &answer(&second, 200, SECOND, ""));
    bed.response(CALLER, 200);
    bed.drain();
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();

    bed.names.clear();
    bed.receive_message(CALLER, &invite("+3555", "c2", ""));
    // Draining since stop.
    bed.response(CALLER, 503);
    bed.core.set_draining(false);
    bed.receive_message(CALLER, &invite("+3555", "c3", ""));
    bed.response(CALLER, 500);
    bed.assert_empty();
}

#[test]
fn ringing_too_long_is_cancelled_and_told_as_408() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &invite("+1555", "c1", ""));
    for host in [CALLEE, SECOND] {
        let forwarded = bed.request(host, &Method::Invite);
        bed.receive_message(host, &answer(&forwarded, 180, host, ""));
        bed.response(CALLER, 180);
        bed.pass_ms(30_100);
        let cancel = bed.request(host, &Method::Cancel);
        bed.receive_message(host, &cancel.respond(200).build().unwrap());
        bed.receive_message(host, &answer(&forwarded, 487, host, ""));
        bed.request(host, &Method::Ack);
    }
    bed.response(CALLER, 408);
    assert_eq!(
        (bed.cdr().status, bed.cdr().cause),
        (408, Cause::RingTimeout)
    );
    bed.assert_empty();
}

#[test]
fn a_cancel_reaches_the_callee_and_an_answer_that_crosses_it_is_passed_on() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    bed.receive(CALLER, cancel_of(&request));
    let own = bed.response(CALLER, 200);
    assert_eq!(own.cseq().unwrap().method, Method::Cancel);
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.receive_message(CALLEE, &answer(&forwarded, 487, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 487);
    assert_eq!((bed.cdr().status, bed.cdr().cause), (487, Cause::Cancel));
    assert_eq!(bed.cdr().ended_by, EndedBy::Caller);
    bed.assert_empty();

    bed.cdrs.clear();
    let request = invite("+1555", "c2", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.receive(CALLER, cancel_of(&request));
    bed.sent.clear();
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    let ok = bed.response(CALLER, 200);
    // The caller, who wanted no call, ends it.
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.request(CALLEE, &Method::Ack);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    assert_eq!(bed.cdr().cause, Cause::Bye);
    bed.assert_empty();
}

#[test]
fn who_may_not_call_is_told_so_without_state() {
    let mut bed = Bed::new();
    let mut count = 0;
    let mut refused = |from: &str, text: String, status: u16| {
        count += 1;
        bed.receive(
            from,
            text.replace("z9hG4bKc1", &format!("z9hG4bKc1x{count}")),
        );
        bed.response(from, status);
        bed.assert_quiet();
    };
    let request = String::from_utf8(invite("+1555", "c1", "").as_bytes().to_vec()).unwrap();
    let options = |uri: &str| request.replace("INVITE sip:+1555@192.0.2.1:5060", uri);
    refused(STRANGER, request.replace(CALLER, STRANGER), 403);
    refused(
        CALLER,
        request.replace("+1555@192.0.2.1", "nobody@192.0.2.1"),
        404,
    );
    refused(
        CALLER,
        request.replace("Max-Forwards: 70", "Max-Forwards: 0"),
        483,
    );
    refused(
        CALLER,
        request.replace("X-Custom: kept", "Proxy-Require: future"),
        420,
    );
    refused(
        CALLER,
        request.replace("X-Custom: kept", "Route: <sip:198.51.100.9;lr>"),
        403,
    );
    refused(
        CALLER,
        request.replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
        505,
    );
    refused(
        CALLER,
        request.replace("sip:+1555@192.0.2.1:5060", "http://x/"),
        416,
    );
    refused(
        CALLER,
        request.replace(
            "To: <sip:+1555@node.test>",
            "To: <sip:+1555@node.test>;tag=x",
        ),
        481,
    );
    let method = |name: &str, uri: &str| {
        options(&format!("{name} {uri}")).replace("1 INVITE", &format!("1 {name}"))
    };
    refused(CALLER, method("OPTIONS", "sip:node.test"), 200);
    let requiring = method("OPTIONS", "sip:node.test").replace("X-Custom: kept", "Require: future");
    refused(CALLER, requiring, 420);
    refused(
        STRANGER,
        method("OPTIONS", "sip:node.test").replace(CALLER, STRANGER),
        403,
    );
    // A REGISTER is a user's, whatever address it comes from.
    refused(CALLER, method("REGISTER", "sip:node.test"), 401);
    refused(CALLER, method("REGISTER", "sip:elsewhere.test"), 403);
    refused(CALLER, method("MESSAGE", "sip:node.test"), 405);
    refused(CALLER, method("FROBNICATE", "sip:node.test"), 501);
    refused(CALLER, method("BYE", "sip:+1555@node.test"), 481);
    refused(CALLER, method("CANCEL", "sip:+1555@node.test"), 481);
    // The strangers and the broken have no record; the 404 has.
    assert_eq!(bed.cdrs.len(), 1);
    assert_eq!(bed.cdr().cause, Cause::NoRoute);
    bed.assert_empty();
}

#[test]
fn other_requests_go_to_the_trunk_of_their_number_with_failover() {
    let mut bed = Bed::new();
    let request = String::from_utf8(invite("+1555", "c1", "").as_bytes().to_vec()).unwrap();
    bed.receive(CALLER, request.replace("INVITE", "FROBNICATE"));
    bed.next(CALLEE);
    bed.core.handle_unreachable(bed.now, at(NODE), at(CALLEE));
    bed.settle();
    let second = bed.next(SECOND).message;
    assert_eq!(second.method().unwrap().as_str(), "FROBNICATE");
    assert_eq!(second.record_routes().count(), 0);
    bed.receive_message(SECOND, &second.respond(299).build().unwrap());
    bed.response(CALLER, 299);
    assert!(bed.cdrs.is_empty());
    bed.assert_empty();
}

#[test]
fn a_draining_node_refuses_new_calls_and_keeps_the_old() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    bed.core.set_draining(true);
    bed.receive_message(CALLER, &invite("+1555", "c2", ""));
    let refusal = bed.response(CALLER, 503);
    assert!(refusal.header(HeaderName::RetryAfter).is_some());
    bed.pass_ms(100);
    hang_up(&mut bed, &mut up);
    assert_eq!(bed.cdr().cause, Cause::Bye);
    bed.assert_empty();
}

#[test]
fn two_transports_are_recorded_twice_and_each_side_is_reached_by_its_own() {
    let mut bed = Bed::new();
    let request = invite("+7555", "c1", "");
    bed.receive_message(CALLER, &request);
    let sent = bed.next(CALLEE);
    assert_eq!(sent.flow.transport, Transport::Tcp);
    let routes: Vec<_> = sent
        .message
        .record_routes()
        .map(|route| route.unwrap().uri_str().to_owned())
        .collect();
    assert_eq!(routes.len(), 2);
    assert!(routes[0].contains(";transport=tcp"), "{routes:?}");
    assert!(!routes[1].contains("transport"), "{routes:?}");

    // The answer comes by the connection.
    let ok = answer(&sent.message, 200, "192.0.2.20:5060;transport=tcp", "");
    let flow = Flow::to(Transport::Tcp, at(NODE), at(CALLEE));
    bed.core.handle_framed(bed.now, flow, Ok(ok));
    bed.settle();
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    let ack = bed.next(CALLEE);
    assert_eq!(ack.flow.transport, Transport::Tcp);
    assert_eq!(ack.message.routes().count(), 0);
    bed.core.stop(bed.now);
    bed.settle();
    for (party, transport) in [(CALLEE, Transport::Tcp), (CALLER, Transport::Udp)] {
        let bye = bed.next(party);
        assert_eq!(bye.flow.transport, transport);
        let response = bye.message.respond(200).build().unwrap();
        bed.core.handle_framed(bed.now, bye.flow, Ok(response));
        bed.settle();
    }
    assert_eq!(bed.cdr().cause, Cause::Shutdown);
    bed.assert_empty();
}

#[test]
fn answers_go_to_the_port_that_via_names_where_rport_is_not_asked_for() {
    let mut bed = Bed::new();
    let text = String::from_utf8(invite("nobody", "c1", "").as_bytes().to_vec()).unwrap();
    bed.receive("192.0.2.10:33333", text.replace(";rport", ""));
    bed.response(CALLER, 404);
    bed.receive("192.0.2.10:33333", text.replace("z9hG4bKc1", "z9hG4bKc2"));
    bed.response("192.0.2.10:33333", 404);
    bed.assert_empty();
}

impl Bed {
    /// The INVITE to `to`, those that were sent again to others dropped.
    fn request_after_retransmissions(&mut self, to: &str) -> sip::message::Message {
        self.sent.retain(|sent| {
            sent.flow.reply_to == at(to) || sent.message.status().is_some_and(|status| status > 100)
        });
        self.request(to, &Method::Invite)
    }
}
