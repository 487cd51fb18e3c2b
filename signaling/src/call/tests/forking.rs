//! A user with several phones: who rings, whose answer counts, what becomes of the others.

use std::time::Duration;

use control::config::Transport;
use sip::{
    header::HeaderName,
    message::{Message, Method},
    registrar::{Bounds, Register},
};
use store::{Cause, EndedBy, Timestamp};

use super::bed::*;
use crate::{
    directory::Aor,
    location::Came,
    net::{ConnectionId, Flow},
};

/// Phones behind NATs: what they say of themselves is not where they are.
pub(super) const DESK: &str = "198.51.100.31:40031";
pub(super) const MOBILE: &str = "198.51.100.32:40032";
pub(super) const SOFT: &str = "198.51.100.33:40033";

/// Registers bob's phones, each with its q in thousandths.
pub(super) fn register(bed: &mut Bed, phones: &[(&str, u16)]) {
    for (phone, q) in phones {
        bind(bed, phone, *q, "");
    }
}

/// Registers a phone of bob's through `path`.
fn bind(bed: &Bed, phone: &str, q: u16, path: &str) {
    let node = if at(phone).is_ipv4() { NODE } else { NODE6 };
    let flow = Flow::to(Transport::Udp, at(node), at(phone));
    let host = at(phone).port() - 40_000;
    let text = format!(
        "REGISTER sip:node.test SIP/2.0\r\nCall-ID: {phone}\r\nCSeq: 1 REGISTER\r\n{path}\
         Contact: <sip:bob@10.0.0.{host};ob>;q={}.{:03}\r\n\r\n",
        q / 1_000,
        q % 1_000
    );
    bind_by(bed, flow, &text);
}

/// Does what a REGISTER of bob's asks.
pub(super) fn bind_by(bed: &Bed, flow: Flow, text: &str) {
    bind_at(bed, 0, flow, text);
}

/// The same so many milliseconds after the beginning.
pub(super) fn bind_at(bed: &Bed, after: i64, flow: Flow, text: &str) {
    let bounds = Bounds {
        min: 60,
        default: 3_600,
        max: 7_200,
    };
    let request = Message::parse(text.to_owned().into()).unwrap();
    let request = Register::parse(&request, &bounds).unwrap();
    let came = Came {
        flow,
        user_agent: "",
    };
    let (now, bob) = (
        Timestamp::from_millis(1_700_000_000_000 + after),
        Aor::new("bob", "node.test"),
    );
    let capacity = bed.access.capacity(None);
    let location = &bed.access.location;
    location
        .register(now, &bob, &request, &came, capacity)
        .unwrap();
}

/// An INVITE to bob.
pub(super) fn to_bob(id: &str, body: &str) -> Message {
    let text = String::from_utf8(invite("bob", id, body).as_bytes().to_vec()).unwrap();
    let text = text.replace("sip:bob@192.0.2.1:5060", "sip:bob@node.test");
    Message::parse(text.into()).unwrap()
}

/// What a phone says, with a tag of its own.
pub(super) fn say(request: &Message, status: u16, phone: &str, body: &str) -> Message {
    let port = at(phone).port();
    let contact = format!("<sip:bob@10.0.0.{}:5060>", port - 40_000);
    let mut response = request
        .respond(status)
        .to_tag(format!("phone{port}"))
        .header(HeaderName::Contact, contact);
    if !body.is_empty() {
        response = response.body("application/sdp", body.to_owned());
    }
    response.build().unwrap()
}

/// SDP of the phone's own.
fn media(phone: &str) -> String {
    let address = at(phone);
    sdp(
        &address.ip().to_string(),
        &[address.port() + 1000],
        "sendrecv",
    )
}

fn offer() -> String {
    sdp("192.0.2.10", &[4000], "sendrecv")
}

/// The port of the audio stream.
fn port(message: &Message) -> u16 {
    let text = body(message);
    let line = text.lines().find_map(|line| line.strip_prefix("m=audio "));
    line.unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn answer_ok(bed: &mut Bed, phone: &str, request: &Message) {
    bed.receive_message(phone, &request.respond(200).build().unwrap());
}

#[test]
fn a_phone_that_has_registered_twice_is_called_once() {
    let mut bed = Bed::new();
    register(&mut bed, &[(MOBILE, 1000)]);
    let flow = Flow::to(Transport::Udp, at(NODE), at(DESK));
    for reg_id in 1..=2 {
        let text = format!(
            "REGISTER sip:node.test SIP/2.0\r\nCall-ID: {reg_id}\r\nCSeq: 1 REGISTER\r\n\
             Supported: outbound\r\nContact: <sip:bob@10.0.0.31;ob>;reg-id={reg_id};\
             +sip.instance=\"<urn:uuid:0>\"\r\n\r\n"
        );
        bind_by(&bed, flow, &text);
    }
    bed.receive_message(CALLER, &to_bob("c1", &offer()));
    let mobile = bed.request(MOBILE, &Method::Invite);
    let desk = bed.request(DESK, &Method::Invite);
    bed.assert_quiet();
    for (phone, invite) in [(MOBILE, mobile), (DESK, desk)] {
        bed.receive_message(phone, &say(&invite, 486, phone, ""));
        bed.request(phone, &Method::Ack);
    }
    bed.response(CALLER, 486);
    bed.assert_empty();
}

#[test]
fn all_phones_ring_and_the_one_that_answers_has_the_call_over_its_own_flow() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000), (MOBILE, 1000), (SOFT, 1000)]);
    let request = to_bob("c1", &offer());
    bed.receive_message(CALLER, &request);
    let desk = bed.request(DESK, &Method::Invite);
    let mobile = bed.request(MOBILE, &Method::Invite);
    let soft = bed.request(SOFT, &Method::Invite);
    assert_eq!(desk.request_uri_raw(), b"sip:bob@10.0.0.31;ob");
    assert_eq!(desk.header("Max-Breadth").unwrap().value(), b"20");
    assert_eq!(port(&desk), port(&mobile), "one session for all of them");
    assert_eq!(bed.asked(), ["create"]);

    bed.receive_message(DESK, &say(&desk, 180, DESK, ""));
    bed.response(CALLER, 180);
    bed.receive_message(MOBILE, &say(&mobile, 180, MOBILE, ""));
    bed.response(CALLER, 180);
    bed.receive_message(SOFT, &say(&soft, 486, SOFT, ""));
    bed.request(SOFT, &Method::Ack);
    bed.receive_message(MOBILE, &say(&mobile, 200, MOBILE, &media(MOBILE)));
    let ok = bed.response(CALLER, 200);
    let cancel = bed.request(DESK, &Method::Cancel);
    answer_ok(&mut bed, DESK, &cancel);
    bed.receive_message(DESK, &say(&desk, 487, DESK, ""));
    bed.request(DESK, &Method::Ack);
    let remote = bed.mediad.only().b.remote.clone().unwrap();
    assert_eq!(remote.rtp.port(), at(MOBILE).port() + 1000);

    // Its Contact is an address of its own network, which nobody can reach from here.
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    let ack = bed.request(MOBILE, &Method::Ack);
    assert_eq!(ack.request_uri_raw(), b"sip:bob@10.0.0.32:5060");
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(MOBILE, &Method::Bye);
    answer_ok(&mut bed, MOBILE, &bye);
    bed.response(CALLER, 200);
    bed.assert_quiet();
    let cdr = bed.cdr();
    assert_eq!((cdr.cause, cdr.ended_by), (Cause::Bye, EndedBy::Caller));
    assert_eq!(cdr.origin.as_deref(), Some("pbx"));
    assert_eq!(cdr.callee_user.as_deref(), Some("bob@node.test"));
    assert_eq!(cdr.trunk, None);
    bed.assert_empty();
}

#[test]
fn of_several_that_send_early_media_the_last_is_heard_until_one_answers() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000), (MOBILE, 1000)]);
    bed.receive_message(CALLER, &to_bob("c1", &offer()));
    let desk = bed.request(DESK, &Method::Invite);
    let mobile = bed.request(MOBILE, &Method::Invite);
    let heard = |bed: &Bed| bed.mediad.only().b.remote.clone().unwrap().rtp.port() - 1000;
    bed.receive_message(DESK, &say(&desk, 183, DESK, &media(DESK)));
    assert_eq!(heard(&bed), at(DESK).port());
    bed.receive_message(MOBILE, &say(&mobile, 183, MOBILE, &media(MOBILE)));
    assert_eq!(heard(&bed), at(MOBILE).port());
    let (one, two) = (bed.response(CALLER, 183), bed.response(CALLER, 183));
    assert_eq!(port(&one), port(&two), "the caller keeps its place");

    bed.receive_message(DESK, &say(&desk, 200, DESK, &media(DESK)));
    bed.response(CALLER, 200);
    assert_eq!(heard(&bed), at(DESK).port());
    let cancel = bed.request(MOBILE, &Method::Cancel);
    answer_ok(&mut bed, MOBILE, &cancel);
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn a_stream_that_one_phone_refuses_is_there_for_another() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000), (MOBILE, 1000)]);
    bed.receive_message(
        CALLER,
        &to_bob("c1", &sdp("192.0.2.10", &[4000, 4002], "sendrecv")),
    );
    let desk = bed.request(DESK, &Method::Invite);
    let mobile = bed.request(MOBILE, &Method::Invite);
    let refusing = sdp("198.51.100.31", &[5000, 0], "sendrecv");
    bed.receive_message(DESK, &say(&desk, 183, DESK, &refusing));
    assert_eq!(bed.mediad.sessions.len(), 2);
    let both = sdp("198.51.100.32", &[6000, 6002], "sendrecv");
    bed.receive_message(MOBILE, &say(&mobile, 200, MOBILE, &both));
    bed.response(CALLER, 183);
    let ok = bed.response(CALLER, 200);
    assert!(
        !body(&ok).contains("6002"),
        "it goes through mediad: {}",
        body(&ok)
    );
    assert_eq!(bed.mediad.sessions.len(), 2);
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn two_that_pick_up_at_once_are_one_call_and_the_other_is_hung_up() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000), (MOBILE, 1000)]);
    let request = to_bob("c1", &offer());
    bed.receive_message(CALLER, &request);
    let desk = bed.request(DESK, &Method::Invite);
    let mobile = bed.request(MOBILE, &Method::Invite);
    bed.receive_message(MOBILE, &say(&mobile, 180, MOBILE, ""));
    bed.response(CALLER, 180);
    bed.mediad.holds = true;
    bed.receive_message(DESK, &say(&desk, 200, DESK, &media(DESK)));
    // It crosses the CANCEL, and while mediad is still being told of the first.
    bed.receive_message(MOBILE, &say(&mobile, 200, MOBILE, &media(MOBILE)));
    bed.release();
    let ok = bed.response(CALLER, 200);
    bed.request(MOBILE, &Method::Cancel);
    bed.request(MOBILE, &Method::Ack);
    let bye = bed.request(MOBILE, &Method::Bye);
    assert_eq!(bye.request_uri_raw(), b"sip:bob@10.0.0.32:5060");
    bed.assert_quiet();
    assert_eq!(ok.to().unwrap().tag(), Some("phone40031"));
    let remote = bed.mediad.only().b.remote.clone().unwrap();
    assert_eq!(remote.rtp.port(), at(DESK).port() + 1000);
    answer_ok(&mut bed, MOBILE, &bye);

    // Both 2xx come again: one goes back, the other is acknowledged once more.
    bed.receive_message(MOBILE, &say(&mobile, 200, MOBILE, &media(MOBILE)));
    bed.request(MOBILE, &Method::Ack);
    bed.receive_message(DESK, &say(&desk, 200, DESK, &media(DESK)));
    bed.response(CALLER, 200);
    bed.assert_quiet();
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(DESK, &Method::Ack);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(DESK, &Method::Bye);
    answer_ok(&mut bed, DESK, &bye);
    bed.response(CALLER, 200);
    assert_eq!(bed.cdr().cause, Cause::Bye);
    bed.assert_empty();
}

#[test]
fn the_preferred_phones_ring_first_and_the_others_where_nobody_answers() {
    let mut bed = Bed::new();
    register(&mut bed, &[(SOFT, 100), (DESK, 1000), (MOBILE, 500)]);
    bed.receive_message(CALLER, &to_bob("c1", ""));
    let desk = bed.request(DESK, &Method::Invite);
    bed.assert_quiet();
    bed.receive_message(DESK, &say(&desk, 480, DESK, ""));
    bed.request(DESK, &Method::Ack);
    let mobile = bed.request(MOBILE, &Method::Invite);
    bed.receive_message(MOBILE, &say(&mobile, 180, MOBILE, ""));
    bed.response(CALLER, 180);
    bed.pass(Duration::from_secs(60));
    let cancel = bed.request(MOBILE, &Method::Cancel);
    answer_ok(&mut bed, MOBILE, &cancel);
    let soft = bed.request(SOFT, &Method::Invite);
    bed.receive_message(SOFT, &say(&soft, 603, SOFT, ""));
    bed.response(CALLER, 603);
    assert_eq!((bed.cdr().status, bed.cdr().cause), (603, Cause::Rejected));
    bed.assert_empty();
}

#[test]
fn a_caller_who_gives_up_stops_every_phone() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000), (MOBILE, 1000), (SOFT, 1)]);
    let request = to_bob("c1", &offer());
    bed.receive_message(CALLER, &request);
    let desk = bed.request(DESK, &Method::Invite);
    let mobile = bed.request(MOBILE, &Method::Invite);
    bed.receive_message(DESK, &say(&desk, 180, DESK, ""));
    bed.receive_message(MOBILE, &say(&mobile, 180, MOBILE, ""));
    bed.sent.clear();
    bed.receive(CALLER, cancel_of(&request));
    bed.response(CALLER, 200);
    for (phone, invite) in [(DESK, desk), (MOBILE, mobile)] {
        let cancel = bed.request(phone, &Method::Cancel);
        answer_ok(&mut bed, phone, &cancel);
        bed.receive_message(phone, &say(&invite, 487, phone, ""));
        bed.request(phone, &Method::Ack);
    }
    bed.response(CALLER, 487);
    bed.assert_quiet();
    assert_eq!(bed.cdr().cause, Cause::Cancel);
    bed.assert_empty();
}

#[test]
fn a_user_without_a_phone_is_480() {
    let mut bed = Bed::new();
    register(&mut bed, &[]);
    bed.receive_message(CALLER, &to_bob("c1", &offer()));
    bed.response(CALLER, 480);
    assert_eq!(bed.cdr().cause, Cause::Unreachable);
    bed.assert_empty();
}

#[test]
fn a_phone_is_reached_through_the_path_that_it_registered_by() {
    let mut bed = Bed::new();
    let path = "Path: <sip:192.0.2.40;lr>, <sip:edge.test;lr>\r\n";
    bind(&bed, DESK, 1000, path);
    bed.receive_message(CALLER, &to_bob("c1", ""));
    let invite = bed.request("192.0.2.40:5060", &Method::Invite);
    assert_eq!(invite.request_uri_raw(), b"sip:bob@10.0.0.31;ob");
    let routes: Vec<_> = invite.routes().flatten().collect();
    let routes: Vec<_> = routes.iter().map(sip::header::NameAddr::uri_str).collect();
    assert_eq!(routes, ["sip:192.0.2.40;lr", "sip:edge.test;lr"]);
    bed.receive_message("192.0.2.40:5060", &say(&invite, 404, DESK, ""));
    bed.request("192.0.2.40:5060", &Method::Ack);
    bed.response(CALLER, 404);
    bed.assert_empty();
}

#[test]
fn a_phone_may_redirect_within_the_node_and_nowhere_else() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000)]);
    let redirect = |invite: &Message, contact: &str| {
        let response = invite.respond(302).to_tag("r");
        let response = response.header(HeaderName::Contact, contact);
        response.build().unwrap()
    };
    bed.receive_message(CALLER, &to_bob("c1", ""));
    let desk = bed.request(DESK, &Method::Invite);
    bed.receive_message(
        DESK,
        &redirect(&desk, "<sip:bob@node.test>, <sip:+1555@node.test>;q=0.5"),
    );
    bed.request(DESK, &Method::Ack);
    // Itself again, which is not tried a third time; then the trunk of that number.
    let again = bed.request(DESK, &Method::Invite);
    bed.receive_message(DESK, &redirect(&again, "<sip:bob@node.test>"));
    bed.request(DESK, &Method::Ack);
    let trunk = bed.request(CALLEE, &Method::Invite);
    assert_eq!(trunk.request_uri_raw(), b"sip:+1555@192.0.2.20");
    bed.receive_message(CALLEE, &answer(&trunk, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    bed.core.stop(bed.now);
    bed.settle();
    bed.drain();
    assert_eq!(bed.cdrs[0].trunk.as_deref(), Some("carrier"));
    bed.core.set_draining(false);

    // Elsewhere: the caller is told.
    bed.receive_message(CALLER, &to_bob("c2", ""));
    let desk = bed.request(DESK, &Method::Invite);
    bed.receive_message(DESK, &redirect(&desk, "<sip:bob@elsewhere.test>"));
    bed.request(DESK, &Method::Ack);
    let told = bed.response(CALLER, 302);
    assert_eq!(
        told.header("Contact").unwrap().value(),
        b"<sip:bob@elsewhere.test>"
    );
    bed.assert_empty();
}

#[test]
fn a_phone_whose_connection_is_gone_is_where_it_was_or_nowhere() {
    let was = "198.51.100.31:40031";
    for (contact, reached) in [
        ("<sip:bob@198.51.100.31:5070;transport=tcp>", true),
        // Premium numbers at the carrier, who knows this node by its address.
        ("<sip:+1900@192.0.2.20:5060;transport=tcp>", false),
        ("<sip:bob@victim.test;transport=tcp>", false),
    ] {
        let mut bed = Bed::new();
        let text = format!(
            "REGISTER sip:node.test SIP/2.0\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n\
             Contact: {contact}\r\n\r\n"
        );
        // As a binding is after a restart.
        let flow = Flow::to(Transport::Tcp, at(NODE), at(was));
        bind_by(&bed, flow, &text);
        bed.receive_message(CALLER, &to_bob("c1", ""));
        if reached {
            let invite = bed.request("198.51.100.31:5070", &Method::Invite);
            let busy = invite.respond(486).to_tag("x").build().unwrap();
            let mut flow = flow;
            flow.connection = Some(ConnectionId(10));
            bed.core.handle_framed(bed.now, flow, Ok(busy));
            bed.settle();
            bed.request("198.51.100.31:5070", &Method::Ack);
            bed.response(CALLER, 486);
        } else {
            assert!(matches!(bed.next(CALLER).message.status(), Some(480 | 500)));
        }
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn a_phone_that_asks_in_our_realm_is_not_heard() {
    let challenge = |realm: &str| format!("Digest realm=\"{realm}\",nonce=\"n\",qop=\"auth\"");
    for (realms, told, left) in [
        (&["node.test"][..], 403, &[][..]),
        (&["NODE.test", "two.test"], 403, &[]),
        (&["far.test"], 407, &["far.test"]),
        (&["node.test", "far.test"], 407, &["far.test"]),
    ] {
        for name in [HeaderName::ProxyAuthenticate, HeaderName::WwwAuthenticate] {
            let mut bed = Bed::new();
            register(&mut bed, &[(DESK, 1000)]);
            bed.receive_message(CALLER, &to_bob("c1", ""));
            let desk = bed.request(DESK, &Method::Invite);
            let is_proxy = name == HeaderName::ProxyAuthenticate;
            let status = if is_proxy { 407 } else { 401 };
            let mut response = desk.respond(status).to_tag("x");
            for realm in realms {
                response = response.header(name, challenge(realm));
            }
            bed.receive_message(DESK, &response.build().unwrap());
            bed.request(DESK, &Method::Ack);
            let told = if told == 407 { status } else { told };
            let heard = bed.response(CALLER, told);
            let found: Vec<_> = heard.values(name).map(<[u8]>::to_vec).collect();
            let left: Vec<_> = left
                .iter()
                .map(|realm| challenge(realm).into_bytes())
                .collect();
            assert_eq!(found.concat(), left.concat());
            assert_eq!(heard.to().unwrap().tag(), Some("x"));
            bed.assert_quiet();
            bed.assert_empty();
        }
    }
}

#[test]
fn a_fork_that_is_limited_by_max_breadth_is_tried_in_parts() {
    let mut bed = Bed::new();
    register(&mut bed, &[(DESK, 1000), (MOBILE, 1000)]);
    let text = String::from_utf8(to_bob("c1", "").as_bytes().to_vec()).unwrap();
    let narrow = |breadth: &str| text.replace("X-Custom: kept", &format!("Max-Breadth: {breadth}"));
    bed.receive(CALLER, narrow("1"));
    let desk = bed.request(DESK, &Method::Invite);
    assert_eq!(desk.header("Max-Breadth").unwrap().value(), b"1");
    bed.assert_quiet();
    bed.receive_message(DESK, &say(&desk, 404, DESK, ""));
    bed.request(DESK, &Method::Ack);
    let mobile = bed.request(MOBILE, &Method::Invite);
    bed.receive_message(MOBILE, &say(&mobile, 486, MOBILE, ""));
    bed.request(MOBILE, &Method::Ack);
    bed.response(CALLER, 486);
    bed.receive(CALLER, narrow("0").replace("z9hG4bKc1", "z9hG4bKc2"));
    bed.sent.clear();
    assert_eq!(bed.cdrs[1].status, 440);
    bed.assert_empty();
}
