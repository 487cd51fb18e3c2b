//! Calls to `sips:` URIs: over TLS, or not at all.

use std::sync::Arc;

use control::{Config, config::Transport};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::Cause;

use super::{
    auth::{PHONE, Phone},
    bed::*,
    forking::{DESK, MOBILE, bind_at, bind_by},
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
name = "clear"
hosts = ["192.0.2.20"]
[[trunks]]
name = "tls"
hosts = ["tls:192.0.2.21"]
redirect = "follow"
[[routes]]
prefix = "+1"
trunks = ["clear", "tls"]
media = "bypass"
[[routes]]
prefix = "+2"
trunks = ["clear"]
media = "bypass"
[[routes]]
prefix = "112"
trunks = ["clear"]
media = "bypass"
[[numbers]]
number = "+300"
user = "bob"
[numbers.forward]
unreachable = "sips:vm@192.0.2.21"
[[numbers]]
number = "+301"
user = "bob"
[numbers.forward]
unreachable = "sip:vm@192.0.2.21"
[[numbers]]
number = "+302"
group = "all"
[[groups]]
name = "all"
members = ["bob", "+1555"]
"#;

/// The TLS carrier.
const CARRIER: &str = "192.0.2.21:5061";
/// Where the caller connected from, and where responses go to it.
const SOURCE: &str = "192.0.2.10:40000";

fn bed() -> Bed {
    let mut bed = Bed::new();
    let config = Config::parse(CONFIG, []).unwrap().config;
    bed.core.directory = Arc::new(Directory::new(&config, None));
    bed
}

fn tls(remote: &str, connection: u64) -> Flow {
    let mut flow = Flow::to(Transport::Tls, at(SECURE), at(remote));
    flow.connection = Some(ConnectionId(connection));
    flow
}

/// The caller's INVITE to a user or number by `sips:`.
fn secure(user: &str, id: &str) -> Message {
    let text = String::from_utf8(invite(user, id, "").as_bytes().to_vec()).unwrap();
    let text = text
        .replace(
            &format!("INVITE sip:{user}@192.0.2.1:5060"),
            &format!("INVITE sips:{user}@node.test"),
        )
        .replace("SIP/2.0/UDP", "SIP/2.0/TLS")
        .replace(&format!("<sip:alice@{CALLER}>"), "<sips:alice@192.0.2.10>");
    Message::parse(text.into()).unwrap()
}

fn receive(bed: &mut Bed, flow: Flow, message: Message) {
    bed.core.handle_framed(bed.now, flow, Ok(message));
    bed.settle();
}

fn call_by(bed: &mut Bed, user: &str, id: &str) -> Message {
    let request = secure(user, id);
    receive(bed, tls(SOURCE, 1), request.clone());
    request
}

/// Binds a phone of bob's that registered over `flow`.
fn bind(bed: &Bed, flow: Flow, contact: &str, path: &str) {
    let text = format!(
        "REGISTER sip:node.test SIP/2.0\r\nCall-ID: {}\r\nCSeq: 1 REGISTER\r\n{path}\
         Contact: {contact}\r\n\r\n",
        flow.remote
    );
    bind_by(bed, flow, &text);
}

fn bind_in_the_clear(bed: &Bed) {
    let flow = Flow::to(Transport::Udp, at(NODE), at(MOBILE));
    bind(bed, flow, "<sip:bob@10.0.0.32>", "");
}

/// What the node says to the caller.
fn told(bed: &mut Bed, status: u16) -> Message {
    let told = bed.next(CALLER);
    assert_eq!(told.message.status(), Some(status), "{:?}", told.message);
    assert_eq!(told.flow.connection, Some(ConnectionId(1)));
    told.message
}

fn end(mut bed: Bed) {
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn a_phone_of_tls_has_the_call_and_all_of_its_dialog_and_one_in_the_clear_has_not() {
    for contact in ["<sips:bob@10.0.0.31>", "<sip:bob@10.0.0.31;transport=tls>"] {
        let mut bed = bed();
        bind_in_the_clear(&bed);
        let desk = tls(DESK, 2);
        bind(&bed, desk, contact, "");
        let request = call_by(&mut bed, "bob", "c1");
        let asked = bed.next(DESK);
        assert_eq!(asked.flow.connection, desk.connection);
        bed.assert_quiet();
        let routes = asked.message.record_routes();
        for route in routes {
            let uri = route.unwrap().uri_str().to_owned();
            assert!(uri.starts_with("sips:192.0.2.1:5061;lr;tandem="), "{uri}");
        }
        let contact = contact.trim_matches(['<', '>']);
        let ok = asked.message.respond(200).to_tag("callee");
        let ok = ok.header(HeaderName::Contact, format!("<{contact}>"));
        receive(&mut bed, desk, ok.build().unwrap());
        let ok = told(&mut bed, 200);
        let (mut caller, mut callee) = (
            Party::caller(&request, &ok),
            Party::callee(&asked.message, DESK),
        );
        receive(&mut bed, tls(SOURCE, 1), caller.ack(""));
        let ack = bed.next(DESK);
        assert_eq!(ack.message.request_uri_raw(), contact.as_bytes());
        assert_eq!(ack.flow.connection, desk.connection);
        receive(&mut bed, desk, callee.send(&Method::Bye, ""));
        let bye = bed.sent.pop_front().unwrap();
        assert_eq!(bye.message.request_uri_raw(), b"sips:alice@192.0.2.10");
        assert_eq!(bye.flow.connection, Some(ConnectionId(1)));
        receive(
            &mut bed,
            tls(SOURCE, 1),
            bye.message.respond(200).build().unwrap(),
        );
        let ok = bed.sent.pop_front().unwrap();
        assert_eq!(ok.message.status(), Some(200));
        assert_eq!(bed.cdr().cause, Cause::Bye);
        bed.assert_empty();
    }
}

#[test]
fn a_user_whose_phones_are_all_in_the_clear_is_480() {
    let mut bed = bed();
    bind_in_the_clear(&bed);
    // Its first hop is none of TLS, whatever the hop before says.
    let through = "Path: <sip:192.0.2.40;lr>, <sips:edge.test;lr>\r\n";
    bind(&bed, tls(DESK, 2), "<sip:bob@10.0.0.31>", through);
    call_by(&mut bed, "bob", "c1");
    told(&mut bed, 480);
    bed.assert_quiet();
    let cdr = bed.cdr();
    assert_eq!((cdr.status, cdr.cause), (480, Cause::Unreachable));
    // By `sip:` both are called.
    let text = String::from_utf8(secure("bob", "c2").as_bytes().to_vec()).unwrap();
    let plain = Message::parse(text.replace("INVITE sips:", "INVITE sip:").into()).unwrap();
    receive(&mut bed, tls(SOURCE, 1), plain);
    bed.request(MOBILE, &Method::Invite);
    bed.request("192.0.2.40:5060", &Method::Invite);
    end(bed);
}

#[test]
fn a_phone_behind_a_proxy_is_reached_where_its_path_is_of_tls() {
    let mut bed = bed();
    let through = "Path: <sip:192.0.2.40;transport=tls;lr>\r\n";
    bind(&bed, tls(DESK, 2), "<sip:bob@10.0.0.31>", through);
    call_by(&mut bed, "bob", "c1");
    let asked = bed.next("192.0.2.40:5061");
    assert_eq!(asked.flow.transport, Transport::Tls);
    end(bed);
}

#[test]
fn a_call_by_sip_may_go_over_tls_all_the_same() {
    let mut bed = bed();
    bind(&bed, tls(DESK, 2), "<sips:bob@10.0.0.31>", "");
    let text = invite("bob", "c1", "").as_bytes().to_vec();
    let text = String::from_utf8(text).unwrap();
    bed.receive(CALLER, text.replace("bob@192.0.2.1:5060", "bob@node.test"));
    let asked = bed.next(DESK);
    assert_eq!(asked.flow.connection, Some(ConnectionId(2)));
    // The phone is asked for no more than the caller did.
    assert_eq!(asked.message.request_uri_raw(), b"sip:bob@10.0.0.31");
    end(bed);
}

#[test]
fn a_carrier_in_the_clear_is_left_out_and_one_of_tls_has_the_call() {
    let mut bed = bed();
    call_by(&mut bed, "+1555", "c1");
    let asked = bed.next(CARRIER);
    assert_eq!(asked.flow.transport, Transport::Tls);
    assert_eq!(asked.message.request_uri_raw(), b"sips:+1555@192.0.2.21");
    bed.assert_quiet();
    call_by(&mut bed, "+2555", "c2");
    told(&mut bed, 480);
    bed.assert_quiet();
    end(bed);
}

#[test]
fn a_group_and_a_forward_keep_to_tls_too() {
    let mut bed = bed();
    bind_in_the_clear(&bed);
    // The carriers of a member, one after the other.
    call_by(&mut bed, "+302", "c1");
    let asked = bed.next(CARRIER);
    assert_eq!(asked.flow.transport, Transport::Tls);
    bed.assert_quiet();
    call_by(&mut bed, "+300", "c2");
    let asked = bed.next(CARRIER);
    assert_eq!(asked.message.request_uri_raw(), b"sips:vm@192.0.2.21");
    bed.assert_quiet();
    call_by(&mut bed, "+301", "c3");
    told(&mut bed, 480);
    bed.assert_quiet();
    end(bed);
}

#[test]
fn a_redirection_is_followed_to_sips_alone() {
    let mut bed = bed();
    call_by(&mut bed, "+1555", "c1");
    let redirect = |bed: &mut Bed, contact: &str| {
        let asked = bed.next(CARRIER);
        let redirect = asked.message.respond(302).to_tag("r");
        let redirect = redirect.header(HeaderName::Contact, contact);
        receive(bed, asked.flow, redirect.build().unwrap());
        bed.request(CARRIER, &Method::Ack);
    };
    redirect(&mut bed, "<sip:x@192.0.2.22>, <sips:y@192.0.2.21>;q=0.5");
    // What it leads to may redirect once more.
    redirect(&mut bed, "<sip:x@192.0.2.22;transport=tls>");
    told(&mut bed, 302);
    bed.assert_quiet();
    end(bed);
}

#[test]
fn an_emergency_call_goes_whatever_way_there_is() {
    let mut bed = bed();
    call_by(&mut bed, "112", "c1");
    let asked = bed.next(CALLEE);
    assert_eq!(asked.flow.transport, Transport::Udp);
    end(bed);
}

#[test]
fn a_message_to_sips_is_not_kept_for_whatever_way_its_user_comes_back_by() {
    let mut bed = bed();
    bind_in_the_clear(&bed);
    let text = "MESSAGE sips:bob@node.test SIP/2.0\r\n\
         Via: SIP/2.0/TLS 192.0.2.10:5060;branch=z9hG4bKm1\r\n\
         Max-Forwards: 70\r\nFrom: <sips:alice@pbx.test>;tag=a\r\n\
         To: <sips:bob@node.test>\r\nCall-ID: m1@pbx.test\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";
    let message = Message::parse(text.into()).unwrap();
    receive(&mut bed, tls(SOURCE, 1), message);
    told(&mut bed, 480);
    bed.assert_quiet();
    assert!(bed.kept.is_empty());
    end(bed);
}

/// A call by `sips:` that is up, whose callee has registered in the clear since: the caller.
fn moved_to_the_clear(bed: &mut Bed) -> Party {
    let desk = tls(DESK, 2);
    bind(bed, desk, "<sip:bob@10.0.0.31;transport=tls>", "");
    let request = call_by(bed, "bob", "c1");
    let asked = bed.next(DESK);
    let ok = answer(&asked.message, 200, "10.0.0.31;transport=tls", "");
    receive(bed, desk, ok);
    let ok = told(bed, 200);
    let mut caller = Party::caller(&request, &ok);
    receive(bed, tls(SOURCE, 1), caller.ack(""));
    bed.next(DESK);
    bed.pass_ms(5_000);
    // The same phone, by its Call-ID.
    let flow = Flow::to(Transport::Udp, at(NODE), at(MOBILE));
    let text = format!(
        "REGISTER sip:node.test SIP/2.0\r\nCall-ID: {DESK}\r\nCSeq: 2 REGISTER\r\n\
         Contact: <sip:bob@10.0.0.31>\r\n\r\n"
    );
    bind_at(bed, 10_000, flow, &text);
    caller
}

#[test]
fn a_dialog_that_began_by_sips_follows_its_phone_to_no_way_in_the_clear() {
    let mut bed = bed();
    let mut caller = moved_to_the_clear(&mut bed);
    for method in [Method::Info, Method::Bye] {
        receive(&mut bed, tls(SOURCE, 1), caller.send(&method, ""));
        let told = bed.sent.pop_front().unwrap();
        assert_eq!(told.message.status(), Some(500));
        bed.assert_quiet();
    }
    bed.assert_empty();
}

#[test]
fn nor_does_the_nodes_own_bye() {
    let mut bed = bed();
    moved_to_the_clear(&mut bed);
    bed.core.stop(bed.now);
    bed.settle();
    let bye = bed.sent.pop_front().unwrap();
    assert_eq!(bye.message.method(), Some(&Method::Bye));
    assert_eq!(bye.flow.connection, Some(ConnectionId(1)));
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn what_is_to_a_target_of_sips_takes_no_route_in_the_clear() {
    let mut bed = bed();
    let request = invite("+2555", "c1", "");
    bed.receive_message(CALLER, &request);
    let asked = bed.request(CALLEE, &Method::Invite);
    let ok = asked.respond(200).to_tag("callee");
    let ok = ok.header(HeaderName::Contact, "<sips:bob@192.0.2.50>");
    let ok = ok.build().unwrap();
    let proxied = ok
        .edit()
        .push_top(HeaderName::RecordRoute, "<sip:192.0.2.20;lr>")
        .finish()
        .unwrap();
    bed.receive_message(CALLEE, &proxied);
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.assert_quiet();
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 500);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_contact_of_sips_is_bound_by_a_way_of_tls_alone() {
    let mut bed = bed();
    let mut phone = Phone::new("alice", "node.test");
    phone.register(&mut bed, "");
    let contact = "Contact: <sips:alice@10.0.0.7>\r\n";
    let gone = "Contact: <sips:alice@10.0.0.7>;expires=0\r\n";
    for (contact, status) in [("", 200), (contact, 400), (gone, 200)] {
        let answer = phone.register(&mut bed, contact);
        assert_eq!(answer.status(), Some(status), "{contact}");
    }
    let request = phone.request(&Method::Register, "sip:node.test", contact);
    receive(&mut bed, tls(PHONE, 3), request);
    let bound = bed.sent.pop_front().unwrap().message;
    assert_eq!(bound.status(), Some(200));
    assert_eq!(bound.contacts().count(), 2);
    end(bed);
}

#[test]
fn a_contact_of_sips_is_not_bound_through_a_proxy_in_the_clear() {
    let contact = "Contact: <sips:alice@10.0.0.7>\r\n";
    for (path, status) in [
        ("<sip:192.0.2.10;lr>", 400),
        ("<sips:192.0.2.10;lr>, <sip:inner.test;lr>", 400),
        ("<sips:192.0.2.10;lr>", 200),
    ] {
        let mut bed = bed();
        let mut phone = Phone::new("alice", "node.test");
        phone.address = SOURCE;
        let headers = format!("Path: {path}\r\n{contact}");
        for wanted in [401, status] {
            let request = phone.request(&Method::Register, "sip:node.test", &headers);
            receive(&mut bed, tls(SOURCE, 1), request);
            let answer = bed.sent.pop_front().unwrap().message;
            assert_eq!(answer.status(), Some(wanted), "{path}");
            phone.hear(&answer);
        }
        end(bed);
    }
}
