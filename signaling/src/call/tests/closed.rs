//! Callers over connections that close.

use control::config::Transport;
use sip::message::{Message, Method};
use store::{Cause, EndedBy};

use super::bed::*;
use crate::net::{ConnectionId, Flow};

/// Where the caller connected from.
const SOURCE: &str = "192.0.2.10:40000";

/// A connection of the caller's.
fn connection(transport: Transport) -> Flow {
    let local = match transport {
        Transport::Wss => BROWSERS,
        Transport::Tls => SECURE,
        _ => NODE,
    };
    let mut flow = Flow::to(transport, at(local), at(SOURCE));
    flow.connection = Some(ConnectionId(3));
    flow
}

/// The INVITE of a caller over `flow` whose Via says that it is at `sent_by`.
fn invite_over(flow: &Flow, sent_by: &str) -> Message {
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    let text = String::from_utf8(invite("+2555", "c1", &offer).as_bytes().to_vec()).unwrap();
    let transport = flow.transport.name().to_uppercase();
    let via = format!("SIP/2.0/{transport} {sent_by}");
    Message::parse(text.replace(&format!("SIP/2.0/UDP {CALLER}"), &via).into()).unwrap()
}

/// Has the callee ring for an INVITE over `flow`; the INVITE as it came, and as the callee got it.
fn ring(bed: &mut Bed, flow: &Flow, sent_by: &str) -> (Message, Message) {
    let request = invite_over(flow, sent_by);
    bed.core.handle_framed(bed.now, *flow, Ok(request.clone()));
    bed.settle();
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    let ringing = bed.sent.pop_front().unwrap();
    assert_eq!(ringing.message.status(), Some(180));
    assert_eq!(ringing.flow.connection, flow.connection);
    bed.assert_quiet();
    (request, forwarded)
}

/// The network could not send it.
fn fail(bed: &mut Bed, sent: &Sent) {
    bed.core.handle_failed(bed.now, sent.transaction.unwrap());
    bed.settle();
}

/// The call is given up: the callee is told, and the record says why.
fn assert_given_up(bed: &mut Bed, forwarded: &Message) {
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    // It is owed, whoever takes it.
    let owed = bed.sent.pop_front().unwrap();
    assert_eq!(owed.message.status(), Some(487));
    fail(bed, &owed);
    bed.receive_message(CALLEE, &answer(forwarded, 487, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.assert_quiet();
    let cdr = bed.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::PartyLost, EndedBy::Node));
    assert_eq!((cdr.status, cdr.answered), (487, None));
    assert_eq!(cdr.reason, "the caller's connection is closed");
    let page = bed.metrics.text();
    assert!(
        page.contains("tandem_calls_total{result=\"cancelled\"} 1"),
        "{page}"
    );
    bed.assert_empty();
}

#[test]
fn a_caller_whose_connection_closes_is_answered_where_its_via_says_that_it_listens() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut bed = Bed::new();
        let flow = connection(transport);
        let (request, forwarded) = ring(&mut bed, &flow, CALLER);
        bed.close(&flow);
        // It is seen at once whether it can be.
        let again = bed.next(CALLER);
        assert_eq!(again.message.status(), Some(180));
        assert_eq!(again.flow.transport, transport);
        assert_eq!(again.flow.connection, None);

        let text = sdp("192.0.2.20", &[5000], "sendrecv");
        bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
        let ok = bed.next(CALLER);
        assert_eq!(ok.message.status(), Some(200));
        assert_eq!(ok.flow.connection, None);
        let mut caller = Party::caller(&request, &ok.message);
        let mut later = flow;
        later.connection = Some(ConnectionId(4));
        bed.core.handle_framed(bed.now, later, Ok(caller.ack("")));
        bed.settle();
        bed.request(CALLEE, &Method::Ack);
        bed.core
            .handle_framed(bed.now, later, Ok(caller.send(&Method::Bye, "")));
        bed.settle();
        let bye = bed.request(CALLEE, &Method::Bye);
        bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
        assert_eq!(bed.sent.pop_front().unwrap().message.status(), Some(200));
        assert_eq!(bed.cdr().cause, Cause::Bye);
        bed.assert_empty();
    }
}

#[test]
fn who_is_connected_to_anew_must_have_the_certificate_of_the_name_that_its_via_gives() {
    for (transport, sent_by, name) in [
        (Transport::Tls, "pbx.secure.test:5061", true),
        (Transport::Tls, "192.0.2.10:5061", false),
        (Transport::Tcp, "pbx.secure.test:5061", false),
    ] {
        let mut bed = Bed::new();
        let flow = connection(transport);
        let (_, forwarded) = ring(&mut bed, &flow, sent_by);
        bed.close(&flow);
        let ringing = bed.next("192.0.2.10:5061");
        bed.receive_message(CALLEE, &answer(&forwarded, 486, CALLEE, ""));
        bed.request(CALLEE, &Method::Ack);
        let busy = bed.next("192.0.2.10:5061");
        let id = bed.names_of_hosts().id("pbx.secure.test");
        for sent in [ringing, busy] {
            assert_eq!(sent.flow.connection, None);
            assert_eq!(sent.flow.name, id.filter(|_| name), "{sent_by}");
        }
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn a_caller_who_takes_no_connection_is_given_up() {
    let mut bed = Bed::new();
    let flow = connection(Transport::Tcp);
    let (_, forwarded) = ring(&mut bed, &flow, CALLER);
    bed.close(&flow);
    let again = bed.next(CALLER);
    bed.assert_quiet();
    fail(&mut bed, &again);
    assert_given_up(&mut bed, &forwarded);
}

#[test]
fn a_browser_and_a_phone_behind_a_nat_are_given_up_at_once() {
    for (transport, sent_by) in [
        (Transport::Wss, "x7.invalid"),
        (Transport::Tcp, "10.0.0.7:5060"),
        (Transport::Tls, "10.0.0.7:5061"),
    ] {
        let mut bed = Bed::new();
        let flow = connection(transport);
        let (_, forwarded) = ring(&mut bed, &flow, sent_by);
        // Another's.
        let mut other = flow;
        other.connection = Some(ConnectionId(2));
        bed.close(&other);
        bed.assert_quiet();
        bed.close(&flow);
        assert_given_up(&mut bed, &forwarded);
    }
}

#[test]
fn a_callee_who_picks_up_for_a_caller_who_is_gone_is_hung_up() {
    let mut bed = Bed::new();
    let flow = connection(Transport::Wss);
    let (_, forwarded) = ring(&mut bed, &flow, "x7.invalid");
    bed.close(&flow);
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.sent.clear();
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
    bed.request(CALLEE, &Method::Ack);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.assert_quiet();
    assert_eq!(bed.cdr().cause, Cause::PartyLost);
    bed.assert_empty();
}

#[test]
fn what_a_closing_connection_did_not_take_goes_by_a_new_one() {
    let mut bed = Bed::new();
    let flow = connection(Transport::Tcp);
    let (_, forwarded) = ring(&mut bed, &flow, CALLER);
    bed.receive_message(CALLEE, &answer(&forwarded, 486, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    let busy = bed.next(CALLER);
    assert_eq!(busy.flow.connection, flow.connection);
    fail(&mut bed, &busy);
    let again = bed.next(CALLER);
    assert_eq!(again.message.status(), Some(486));
    assert_eq!(again.flow.connection, None);
    // Who has heard all is not sought.
    bed.close(&flow);
    fail(&mut bed, &again);
    bed.assert_quiet();
    assert_eq!(bed.cdr().cause, Cause::Rejected);
    bed.assert_empty();
}

#[test]
fn a_call_that_is_up_stays_up_when_a_connection_of_it_closes() {
    for (transport, sent_by) in [
        (Transport::Tcp, CALLER),
        (Transport::Tls, "10.0.0.7:5061"),
        (Transport::Wss, "x7.invalid"),
    ] {
        let mut bed = Bed::new();
        let flow = connection(transport);
        let (request, forwarded) = ring(&mut bed, &flow, sent_by);
        let text = sdp("192.0.2.20", &[5000], "sendrecv");
        bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
        let ok = bed.sent.pop_front().unwrap();
        // Before its ACK, and after it.
        bed.close(&flow);
        bed.assert_quiet();
        let mut caller = Party::caller(&request, &ok.message);
        let mut later = flow;
        later.connection = Some(ConnectionId(4));
        bed.core.handle_framed(bed.now, later, Ok(caller.ack("")));
        bed.settle();
        bed.request(CALLEE, &Method::Ack);
        let offer = caller.send(&Method::Invite, &text);
        bed.core.handle_framed(bed.now, later, Ok(offer));
        bed.settle();
        let reinvite = bed.request(CALLEE, &Method::Invite);
        bed.close(&later);
        bed.assert_quiet();
        bed.receive_message(CALLEE, &answer(&reinvite, 488, CALLEE, ""));
        bed.request(CALLEE, &Method::Ack);
        assert_eq!(bed.core.calls(), 1);
        bed.sent.clear();

        let mut callee = Party::callee(&forwarded, CALLEE);
        bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
        let bye = bed.sent.pop_front().unwrap();
        assert_eq!(bye.message.method(), Some(&Method::Bye));
        let done = bye.message.respond(200).build().unwrap();
        bed.core.handle_framed(bed.now, bye.flow, Ok(done));
        bed.settle();
        bed.response(CALLEE, 200);
        assert_eq!(bed.cdr().cause, Cause::Bye);
        bed.assert_empty();
    }
}

#[test]
fn what_was_sent_to_a_browser_that_closes_is_unanswered_and_others_wait_on() {
    let mut bed = Bed::new();
    let browser = connection(Transport::Wss);
    let mut other = browser;
    other.connection = Some(ConnectionId(4));
    let mut bye = Vec::new();
    for (flow, id) in [(browser, "c1"), (other, "c2")] {
        let text = invite_over(&flow, "x7.invalid").as_bytes().to_vec();
        let text = String::from_utf8(text).unwrap();
        let text = text.replace("c1", id).replace("+2555", "+1555");
        let request = Message::parse(text.replace(CALLER, "x7.invalid").into()).unwrap();
        bed.core.handle_framed(bed.now, flow, Ok(request.clone()));
        bed.settle();
        let forwarded = bed.request(CALLEE, &Method::Invite);
        bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
        let ok = bed.sent.pop_front().unwrap().message;
        let ack = Party::caller(&request, &ok).ack("");
        bed.core.handle_framed(bed.now, flow, Ok(ack));
        bed.settle();
        bed.request(CALLEE, &Method::Ack);
        let mut callee = Party::callee(&forwarded, CALLEE);
        bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
        let sent = bed.sent.pop_front().unwrap();
        assert_eq!(sent.message.method(), Some(&Method::Bye));
        assert_eq!(sent.flow.connection, flow.connection);
        bye.push(sent);
    }
    bed.close(&browser);
    // One is over at once, with no answer that could be had; the other's is still to come.
    assert_eq!(bed.core.calls(), 1);
    bed.sent.clear();
    let ok = bye[1].message.respond(200).build().unwrap();
    bed.core.handle_framed(bed.now, other, Ok(ok));
    bed.settle();
    bed.response(CALLEE, 200);
    assert_eq!(bed.core.calls(), 0);
    bed.assert_empty();
}
