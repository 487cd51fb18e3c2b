//! Ways: long requests, encryption, browsers and phones behind a NAT.

use control::config::Transport;
use sip::message::{Message, Method};

use super::bed::*;
use crate::{
    defence::Standing,
    net::{ConnectionId, Flow},
};

fn long(number: &str, id: &str) -> Message {
    let text = String::from_utf8(invite(number, id, "").as_bytes().to_vec()).unwrap();
    let long = format!("X-Custom: {}\r\n", "x".repeat(1_000));
    Message::parse(text.replace("X-Custom: kept\r\n", &long).into()).unwrap()
}

fn record_routes(message: &Message) -> Vec<String> {
    let routes = message.record_routes();
    routes
        .map(|route| route.unwrap().uri_str().to_owned())
        .collect()
}

#[test]
fn a_long_request_goes_over_tcp_and_over_udp_where_nobody_takes_it() {
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &long("+1555", "c1"));
    let first = bed.next(CALLEE);
    assert_eq!(first.flow.transport, Transport::Tcp);
    let via = first.message.via().unwrap();
    assert_eq!(via.transport().as_str(), "TCP");
    assert!(record_routes(&first.message)[0].contains("transport=tcp"));

    bed.core.handle_failed(bed.now, first.transaction.unwrap());
    bed.settle();
    let second = bed.next(CALLEE);
    assert_eq!(second.flow.transport, Transport::Udp);
    bed.receive_message(CALLEE, &answer(&second.message, 486, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 486);

    // It is remembered, and the host is not held to be dead.
    bed.drain();
    bed.receive_message(CALLER, &long("+1555", "c2"));
    let next = bed.next(CALLEE);
    assert_eq!(next.flow.transport, Transport::Udp);
    bed.receive_message(CALLEE, &answer(&next.message, 486, CALLEE, ""));
    bed.drain();
    bed.pass(std::time::Duration::from_secs(600));
    bed.receive_message(CALLER, &long("+1555", "c3"));
    let later = bed.next(CALLEE);
    assert_eq!(later.flow.transport, Transport::Tcp);
    let busy = answer(&later.message, 486, CALLEE, "");
    bed.core.handle_framed(bed.now, later.flow, Ok(busy));
    bed.settle();
    bed.drain();
    bed.assert_empty();
}

#[test]
fn what_a_host_is_called_is_what_its_certificate_must_say() {
    let mut bed = Bed::new();
    bed.names
        .insert("gw.secure.test".to_owned(), vec![at("192.0.2.30:5061")]);
    bed.receive_message(CALLER, &invite("+8555", "c1", ""));
    let sent = bed.next("192.0.2.30:5061");
    assert_eq!(sent.flow.transport, Transport::Tls);
    assert_eq!(sent.flow.name, bed.names_of_hosts().id("gw.secure.test"));
    let routes = record_routes(&sent.message);
    assert!(
        routes[0].starts_with("sip:192.0.2.1:5061;lr;transport=tls"),
        "{routes:?}"
    );
    bed.core.handle_failed(bed.now, sent.transaction.unwrap());
    bed.settle();
    bed.response(CALLER, 500);
    bed.assert_empty();
}

#[test]
fn what_is_called_by_sips_stays_encrypted_or_fails() {
    let mut bed = Bed::new();
    bed.names
        .insert("gw.secure.test".to_owned(), vec![at("192.0.2.30:5061")]);
    let secure = |number: &str, id: &str| {
        let text = String::from_utf8(invite(number, id, "").as_bytes().to_vec()).unwrap();
        let text = text
            .replace(
                &format!("INVITE sip:{number}@192.0.2.1:5060"),
                &format!("INVITE sips:{number}@192.0.2.1"),
            )
            .replace("SIP/2.0/UDP", "SIP/2.0/TLS");
        Message::parse(text.into()).unwrap()
    };
    let mut flow = Flow::to(Transport::Tls, at(SECURE), at("192.0.2.10:40000"));
    flow.connection = Some(ConnectionId(1));
    bed.core
        .handle_framed(bed.now, flow, Ok(secure("+8555", "c1")));
    bed.settle();
    let sent = bed.next("192.0.2.30:5061");
    let uri = sent.message.request_uri().unwrap().as_str().to_owned();
    assert_eq!(uri, "sips:+8555@gw.secure.test");
    let routes = record_routes(&sent.message);
    assert!(
        routes
            .iter()
            .all(|route| route.starts_with("sips:192.0.2.1:5061;lr")),
        "{routes:?}"
    );
    bed.core.handle_failed(bed.now, sent.transaction.unwrap());
    bed.settle();
    bed.sent.clear();

    bed.core
        .handle_framed(bed.now, flow, Ok(secure("+1555", "c2")));
    bed.settle();
    bed.response("192.0.2.10:5060", 480);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_trunk_is_known_by_its_certificate_from_any_address() {
    let mut bed = Bed::new();
    let mut flow = Flow::to(Transport::Tls, at(SECURE), at(STRANGER));
    flow.connection = Some(ConnectionId(7));
    bed.core
        .handle_framed(bed.now, flow, Ok(invite("+1555", "c1", "")));
    bed.settle();
    assert_eq!(bed.sent.pop_front().unwrap().message.status(), Some(403));
    assert_eq!(bed.standing(STRANGER), Standing::Stranger);

    bed.certify(ConnectionId(7), "PBX.secure.test");
    bed.core
        .handle_framed(bed.now, flow, Ok(invite("+1555", "c2", "")));
    bed.settle();
    let invite = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&invite, 486, CALLEE, ""));
    bed.drain();
    bed.assert_empty();
    // What it asks from now on is no stranger's.
    assert_eq!(bed.standing(STRANGER), Standing::Known);
}

#[test]
fn requests_to_a_browser_and_to_a_phone_behind_a_nat_take_their_flow() {
    let mut bed = Bed::new();
    for (transport, local, contact, via) in [
        (
            Transport::Wss,
            BROWSERS,
            "x7.invalid;transport=ws",
            "WSS x7.invalid",
        ),
        (Transport::Udp, NODE, "10.9.8.7:5060", "UDP 10.9.8.7:5060"),
    ] {
        let id = transport.name();
        let text = String::from_utf8(invite("+1555", id, "").as_bytes().to_vec()).unwrap();
        let text = text
            .replace(&format!("alice@{CALLER}"), &format!("alice@{contact}"))
            .replace(&format!("UDP {CALLER}"), via);
        let request = Message::parse(text.into()).unwrap();
        let mut flow = Flow::to(transport, at(local), at("192.0.2.10:40000"));
        flow.connection = transport.is_websocket().then_some(ConnectionId(3));
        bed.core.handle_framed(bed.now, flow, Ok(request.clone()));
        bed.settle();
        let forwarded = bed.request(CALLEE, &Method::Invite);
        bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
        let ok = bed.sent.pop_back().unwrap();
        assert_eq!(ok.message.status(), Some(200));
        assert_eq!(ok.flow.connection, flow.connection);
        let mut caller = Party::caller(&request, &ok.message);
        let mut callee = Party::callee(&forwarded, CALLEE);
        bed.core.handle_framed(bed.now, flow, Ok(caller.ack("")));
        bed.settle();
        bed.request(CALLEE, &Method::Ack);

        bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
        let bye = bed.next("192.0.2.10:40000");
        assert_eq!(bye.message.method(), Some(&Method::Bye));
        assert_eq!(
            (bye.flow.transport, bye.flow.connection),
            (transport, flow.connection)
        );
        let ok = bye.message.respond(200).build().unwrap();
        bed.core.handle_framed(bed.now, flow, Ok(ok));
        bed.settle();
        bed.response(CALLEE, 200);
    }
    bed.assert_empty();
}
