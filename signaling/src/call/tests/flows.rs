//! Phones whose connection closes while they are called.

use std::sync::Arc;

use control::{Config, config::Transport};
use sip::message::{Message, Method};
use store::Cause;

use super::{
    bed::*,
    forking::{DESK, MOBILE, bind_at, say, to_bob},
};
use crate::{
    directory::Directory,
    net::{ConnectionId, Flow},
};

const CONFIG: &str = r#"
[sip]
domains = ["node.test"]
[[trunks]]
name = "pbx"
hosts = ["192.0.2.10"]
allow = ["192.0.2.10/32"]
[[trunks]]
name = "tcp"
hosts = ["tcp:192.0.2.20"]
[[routes]]
prefix = "+7"
trunks = ["tcp"]
media = "bypass"
[[users]]
name = "bob"
password = "x"
forward = { no_answer = "sip:late@192.0.2.21", unreachable = "sip:away@192.0.2.21" }
"#;

const CONNECTED: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Wss];

/// A bed where bob's calls are forwarded.
fn forwarding() -> Bed {
    let mut bed = Bed::new();
    let config = Config::parse(CONFIG, []).unwrap().config;
    bed.core.directory = Arc::new(Directory::new(&config, None));
    bed
}

fn flow(transport: Transport, remote: &str, connection: u64) -> Flow {
    let local = match transport {
        Transport::Wss => BROWSERS,
        Transport::Tls => SECURE,
        _ => NODE,
    };
    let mut flow = Flow::to(transport, at(local), at(remote));
    flow.connection = Some(ConnectionId(connection));
    flow
}

/// Registers the phone `id` of bob's by `flow`, as its `cseq`th time.
fn bind(bed: &Bed, flow: Flow, id: &str, cseq: u32) {
    let text = format!(
        "REGISTER sip:node.test SIP/2.0\r\nCall-ID: {id}\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:bob@10.0.0.31;transport={}>\r\n\r\n",
        flow.transport.parameter()
    );
    bind_at(bed, i64::from(cseq) * 1_000, flow, &text);
}

/// A phone says something.
fn hear(bed: &mut Bed, flow: Flow, message: Message) {
    bed.core.handle_framed(bed.now, flow, Ok(message));
    bed.settle();
}

/// Has bob's desk phone ring, which registered by `desk`; the INVITE as it got it.
fn ring(bed: &mut Bed, desk: Flow) -> Message {
    bind(bed, desk, "desk", 1);
    bed.receive_message(CALLER, &to_bob("c1", ""));
    let asked = bed.next(DESK);
    assert_eq!(asked.flow.connection, desk.connection);
    hear(bed, desk, say(&asked.message, 180, DESK, ""));
    bed.response(CALLER, 180);
    asked.message
}

/// The CANCEL of a phone whose connection is gone, which the network cannot deliver.
fn cancelled(bed: &mut Bed) {
    let cancel = bed.next(DESK);
    assert_eq!(cancel.message.method(), Some(&Method::Cancel));
    bed.core.handle_failed(bed.now, cancel.transaction.unwrap());
    bed.settle();
}

#[test]
fn a_phone_whose_connection_closes_while_it_rings_is_given_up_at_once() {
    for transport in CONNECTED {
        let mut bed = Bed::new();
        let desk = flow(transport, DESK, 2);
        ring(&mut bed, desk);
        // Another's.
        bed.close(&flow(transport, MOBILE, 3));
        bed.assert_quiet();
        bed.close(&desk);
        cancelled(&mut bed);
        bed.response(CALLER, 480);
        bed.assert_quiet();
        let cdr = bed.cdr();
        assert_eq!((cdr.status, cdr.cause), (480, Cause::Unreachable));
        bed.assert_empty();
    }
}

#[test]
fn so_is_one_that_has_said_nothing_yet() {
    for transport in CONNECTED {
        let mut bed = Bed::new();
        let desk = flow(transport, DESK, 2);
        bind(&bed, desk, "desk", 1);
        bed.receive_message(CALLER, &to_bob("c1", ""));
        bed.next(DESK);
        bed.close(&desk);
        bed.response(CALLER, 480);
        bed.assert_quiet();
        assert_eq!(bed.core.calls(), 0);
        bed.assert_empty();
    }
}

#[test]
fn the_other_phones_ring_on_and_the_next_has_its_turn() {
    let mut bed = Bed::new();
    let (desk, mobile) = (
        flow(Transport::Tls, DESK, 2),
        flow(Transport::Tcp, MOBILE, 3),
    );
    bind(&bed, mobile, "mobile", 1);
    ring(&mut bed, desk);
    let other = bed.next(MOBILE);
    hear(&mut bed, mobile, say(&other.message, 180, MOBILE, ""));
    bed.response(CALLER, 180);
    bed.close(&desk);
    cancelled(&mut bed);
    bed.assert_quiet();
    hear(&mut bed, mobile, say(&other.message, 200, MOBILE, ""));
    bed.response(CALLER, 200);
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn the_call_is_forwarded_as_of_one_who_cannot_be_reached() {
    let mut bed = forwarding();
    let desk = flow(Transport::Tls, DESK, 2);
    ring(&mut bed, desk);
    bed.close(&desk);
    cancelled(&mut bed);
    let asked = bed.request(SECOND, &Method::Invite);
    assert_eq!(asked.request_uri_raw(), b"sip:away@192.0.2.21");
    bed.receive_message(SECOND, &answer(&asked, 200, SECOND, ""));
    bed.response(CALLER, 200);
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn a_phone_that_picks_up_after_it_was_given_up_is_hung_up() {
    let mut bed = Bed::new();
    let desk = flow(Transport::Tcp, DESK, 2);
    let asked = ring(&mut bed, desk);
    bed.close(&desk);
    cancelled(&mut bed);
    bed.response(CALLER, 480);
    let later = flow(Transport::Tcp, DESK, 4);
    hear(&mut bed, later, say(&asked, 200, DESK, ""));
    for method in [Method::Ack, Method::Bye] {
        let sent = bed.next(DESK);
        assert_eq!(sent.message.method(), Some(&method));
        assert_eq!(sent.flow.connection, later.connection);
    }
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_phone_that_has_registered_from_elsewhere_meanwhile_rings_on_and_is_answered_there() {
    for transport in CONNECTED {
        for place in [DESK, MOBILE] {
            let mut bed = Bed::new();
            let desk = flow(transport, DESK, 2);
            let later = flow(transport, place, 4);
            let asked = ring(&mut bed, desk);
            bind(&bed, later, "desk", 2);
            bed.close(&desk);
            bed.assert_quiet();
            hear(&mut bed, later, say(&asked, 200, DESK, ""));
            let ok = bed.response(CALLER, 200);
            let mut caller = Party::caller(&to_bob("c1", ""), &ok);
            bed.receive_message(CALLER, &caller.ack(""));
            let ack = bed.next(place);
            assert_eq!(ack.message.method(), Some(&Method::Ack));
            assert_eq!(ack.flow.connection, later.connection);
            bed.core.stop(bed.now);
            bed.settle();
            bed.assert_empty();
        }
    }
}

#[test]
fn there_it_is_told_that_the_caller_gave_up_and_given_up_where_that_closes_too() {
    for gives_up in [true, false] {
        let mut bed = Bed::new();
        let desk = flow(Transport::Tls, DESK, 2);
        let later = flow(Transport::Tls, MOBILE, 4);
        let asked = ring(&mut bed, desk);
        bind(&bed, later, "desk", 2);
        bed.close(&desk);
        bed.assert_quiet();
        match gives_up {
            true => bed.receive(CALLER, cancel_of(&to_bob("c1", ""))),
            false => bed.close(&later),
        }
        let cancel = bed.next(MOBILE);
        assert_eq!(cancel.message.method(), Some(&Method::Cancel));
        assert_eq!(cancel.flow.connection, later.connection);
        if gives_up {
            bed.response(CALLER, 200);
            hear(&mut bed, later, say(&asked, 487, DESK, ""));
            assert_eq!(bed.next(MOBILE).message.method(), Some(&Method::Ack));
        }
        bed.response(CALLER, if gives_up { 487 } else { 480 });
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn a_phone_that_answers_by_its_new_connection_before_the_old_one_closes_is_followed() {
    let mut bed = Bed::new();
    let desk = flow(Transport::Tls, DESK, 2);
    let later = flow(Transport::Tls, MOBILE, 4);
    let asked = ring(&mut bed, desk);
    // Not registered there: somebody else.
    hear(&mut bed, later, say(&asked, 200, DESK, ""));
    bed.assert_quiet();
    bind(&bed, later, "desk", 2);
    hear(&mut bed, later, say(&asked, 200, DESK, ""));
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&to_bob("c1", ""), &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    assert_eq!(bed.next(MOBILE).flow.connection, later.connection);
    bed.close(&desk);
    bed.assert_quiet();
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn a_phone_that_rings_by_a_new_connection_rings_on_when_the_old_one_closes() {
    let mut bed = Bed::new();
    let desk = flow(Transport::Tcp, DESK, 2);
    let later = flow(Transport::Tcp, "198.51.100.31:50001", 4);
    let asked = ring(&mut bed, desk);
    hear(&mut bed, later, say(&asked, 180, DESK, ""));
    bed.response(CALLER, 180);
    bind(&bed, later, "desk", 2);
    bed.close(&desk);
    bed.assert_quiet();
    bed.close(&later);
    cancelled(&mut bed);
    bed.response(CALLER, 480);
    bed.assert_empty();
}

#[test]
fn a_carrier_may_answer_by_another_connection_than_the_one_that_this_node_opened() {
    let mut bed = forwarding();
    bed.receive_message(CALLER, &invite("+7555", "c1", ""));
    let asked = bed.next(CALLEE);
    let opened = flow(Transport::Tcp, CALLEE, 2);
    hear(&mut bed, opened, answer(&asked.message, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    bed.close(&opened);
    bed.assert_quiet();
    let later = flow(Transport::Tcp, "192.0.2.20:33333", 3);
    hear(&mut bed, later, answer(&asked.message, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn so_may_the_proxy_that_a_phone_registered_through() {
    let mut bed = Bed::new();
    let edge = flow(Transport::Tcp, "192.0.2.40:40000", 2);
    let text = "REGISTER sip:node.test SIP/2.0\r\nCall-ID: desk\r\nCSeq: 1 REGISTER\r\n\
         Path: <sip:192.0.2.40;transport=tcp;lr>\r\nContact: <sip:bob@10.0.0.31>\r\n\r\n";
    bind_at(&bed, 0, edge, text);
    bed.receive_message(CALLER, &to_bob("c1", ""));
    let asked = bed.sent.pop_back().unwrap();
    assert_eq!(asked.message.method(), Some(&Method::Invite));
    hear(&mut bed, edge, say(&asked.message, 180, DESK, ""));
    bed.response(CALLER, 180);
    bed.close(&edge);
    bed.assert_quiet();
    let later = flow(Transport::Tcp, "192.0.2.40:40001", 3);
    hear(&mut bed, later, say(&asked.message, 486, DESK, ""));
    bed.response(CALLER, 486);
    bed.sent.clear();
    bed.assert_empty();
}
