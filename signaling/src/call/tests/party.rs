//! Whose a request of a call is, where it may lead, and who may answer.

use sip::{
    header::HeaderName,
    message::{Message, Method},
};

use super::{
    auth::{PHONE, Phone},
    bed::*,
};
use crate::directory::Aor;

/// Another network that the phone may come from.
const MOVED: &str = "198.51.100.99:5060";

/// The message with one part of its text replaced.
fn altered(message: &Message, from: &str, to: &str) -> Message {
    let text = String::from_utf8(message.as_bytes().to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    Message::parse(text.replace(from, to).into()).unwrap()
}

fn uri(message: &Message) -> String {
    String::from_utf8_lossy(message.request_uri_raw()).into_owned()
}

fn dropped(bed: &Bed, reason: &str) -> u64 {
    let page = bed.metrics.text();
    let name = format!("tandem_sip_drops_total{{reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn who_is_not_the_party_cannot_speak_for_it() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    // All tags are right, as everybody on the way has seen them.
    let offer = sdp("203.0.113.66", &[4000], "sendrecv");
    for method in [Method::Bye, Method::Invite, Method::Info, Method::Update] {
        let body = if method == Method::Info { "" } else { &offer };
        bed.receive_message(STRANGER, &up.caller.send(&method, body));
        let refused = bed.sent.pop_front().unwrap();
        assert_eq!(refused.message.status(), Some(403), "{method}");
        bed.receive_message(STRANGER, &up.callee.send(&method, body));
        let refused = bed.sent.pop_front().unwrap();
        assert_eq!(refused.message.status(), Some(403), "{method}");
    }
    bed.receive_message(STRANGER, &up.caller.ack(""));
    assert_eq!(dropped(&bed, "foreign"), 1);
    bed.assert_quiet();
    // One party is not the other.
    bed.receive_message(CALLER, &up.callee.send(&Method::Bye, ""));
    assert_eq!(bed.sent.pop_front().unwrap().message.status(), Some(403));
    bed.assert_quiet();
    assert_eq!(bed.core.calls(), 1);
    assert_eq!(
        bed.mediad.only().a.remote.as_ref().unwrap().rtp.port(),
        4000
    );
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_party_may_come_from_another_port_or_another_address_of_its_trunk() {
    for (source, is_caller) in [("192.0.2.10:40000", true), (SECOND, false)] {
        let mut bed = Bed::new();
        let mut up = call(&mut bed, "+1555", "c1");
        let (party, other) = match is_caller {
            true => (&mut up.caller, CALLEE),
            false => (&mut up.callee, CALLER),
        };
        bed.receive_message(source, &party.send(&Method::Bye, ""));
        let bye = bed.request(other, &Method::Bye);
        bed.receive_message(other, &bye.respond(200).build().unwrap());
        assert_eq!(bed.sent.pop_front().unwrap().message.status(), Some(200));
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn a_callee_may_come_from_the_address_that_it_asked_to_be_sent_to() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    // A carrier whose media gateway speaks for itself once the call is up.
    bed.receive_message(CALLEE, &answer(&forwarded, 200, "198.51.100.80:5062", ""));
    let ok = bed.response(CALLER, 200);
    bed.receive_message(CALLER, &Party::caller(&request, &ok).ack(""));
    bed.request("198.51.100.80:5062", &Method::Ack);
    let mut callee = Party::callee(&forwarded, CALLEE);
    bed.receive_message("198.51.100.80:5062", &callee.send(&Method::Bye, ""));
    let bye = bed.request(CALLER, &Method::Bye);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    bed.drain();
    bed.assert_empty();
}

#[test]
fn a_request_of_a_call_leads_to_its_other_party_and_nowhere_else() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    let line = "sip:bob@192.0.2.20:5060 SIP";
    let route = "Route: <sip:192.0.2.1:5060;lr";
    for (from, to) in [
        (line, "sip:bob@203.0.113.9 SIP"),
        (route, "Route: <sip:203.0.113.9;lr>, <sip:192.0.2.1:5060;lr"),
        (
            route,
            "Route: <sip:192.0.2.1:5060;lr>, <sip:203.0.113.9;lr>\r\nX: <sip:x",
        ),
    ] {
        let info = altered(&up.caller.send(&Method::Info, ""), from, to);
        bed.receive_message(CALLER, &info);
        bed.response(CALLER, 403);
        bed.assert_quiet();
    }
    // What names the callee, or nobody, is sent to its Contact.
    for (from, to) in [
        (line, "sip:bob@192.0.2.20;x=y SIP"),
        (line, "sip:+1900@192.0.2.20:5060 SIP"),
        (line, "sip:+1555@node.test SIP"),
        (line, "tel:+1555 SIP"),
        (route, "X-Route: <sip:192.0.2.1:5060;lr"),
    ] {
        let info = altered(&up.caller.send(&Method::Info, ""), from, to);
        bed.receive_message(CALLER, &info);
        let passed = bed.request(CALLEE, &Method::Info);
        assert_eq!(uri(&passed), "sip:bob@192.0.2.20:5060");
        bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
        bed.response(CALLER, 200);
    }
    // A call ends however badly a phone keeps its dialogs: at the other party.
    let bye = altered(
        &up.caller.send(&Method::Bye, ""),
        line,
        "sip:bob@203.0.113.9 SIP",
    );
    let bye = altered(
        &bye,
        route,
        "Route: <sip:203.0.113.9;lr>, <sip:192.0.2.1:5060;lr",
    );
    bed.receive_message(CALLER, &bye);
    let passed = bed.request(CALLEE, &Method::Bye);
    assert_eq!(uri(&passed), "sip:bob@192.0.2.20:5060");
    assert_eq!(passed.routes().count(), 0);
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn the_recorded_route_set_is_kept_for_who_forgets_it() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let ok = answer(&forwarded, 200, "10.0.0.5:5060", "");
    let ok = ok
        .edit()
        .push_top(HeaderName::RecordRoute, "<sip:192.0.2.21;lr>");
    bed.receive_message(CALLEE, &ok.finish().unwrap());
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    let ack = bed.request(SECOND, &Method::Ack);
    assert_eq!(uri(&ack), "sip:bob@10.0.0.5:5060");
    for forgets in [false, true] {
        let mut info = caller.send(&Method::Info, "");
        if forgets {
            info = info.edit().remove(HeaderName::Route).finish().unwrap();
        }
        bed.receive_message(CALLER, &info);
        let passed = bed.request(SECOND, &Method::Info);
        assert_eq!(uri(&passed), "sip:bob@10.0.0.5:5060");
        let routes: Vec<_> = passed.routes().flatten().collect();
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].uri_str(), "sip:192.0.2.21;lr");
        bed.receive_message(SECOND, &passed.respond(200).build().unwrap());
        bed.response(CALLER, 200);
    }
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

/// A call of alice's phone to the carrier: her INVITE, and the callee's end of the dialog.
fn users_call(bed: &mut Bed, phone: &mut Phone, contact: &str) -> Party {
    phone.send(bed, &Method::Invite, "sip:+1555@node.test", "");
    let invite = phone.request(&Method::Invite, "sip:+1555@node.test", "");
    let invite = altered(&invite, "alice@10.0.0.7:5060", contact);
    bed.receive_message(PHONE, &invite);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    bed.response(PHONE, 200);
    bed.receive_message(PHONE, &users(&Method::Ack, 2));
    bed.request(CALLEE, &Method::Ack);
    Party::callee(&forwarded, CALLEE)
}

/// A request of alice's within that call.
fn users(method: &Method, cseq: u32) -> Message {
    let text = format!(
        "{method} sip:bob@{CALLEE} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.7:5060;branch=z9hG4bKw{method}{cseq};rport\r\n\
         Max-Forwards: 70\r\nRoute: <sip:192.0.2.1:5060;lr>\r\n\
         From: <sip:alice@node.test>;tag=f\r\nTo: <sip:+1555@node.test>;tag=callee\r\n\
         Call-ID: alice@phone\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(text.into()).unwrap()
}

#[test]
fn a_phone_that_changed_its_network_proves_who_it_is() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    users_call(&mut bed, &mut phone, "alice@10.0.0.7:5060");
    // Another user's proof is none.
    let mut bob = Phone::new("bob", "node.test");
    bed.receive_message(MOVED, &users(&Method::Bye, 3));
    bob.hear(&bed.response(MOVED, 407));
    let bye = bob.prove(users(&Method::Bye, 4), &format!("sip:bob@{CALLEE}"));
    bed.receive_message(MOVED, &bye);
    bed.response(MOVED, 403);
    bed.assert_quiet();

    bed.receive_message(MOVED, &users(&Method::Bye, 5));
    phone.hear(&bed.response(MOVED, 407));
    let bye = phone.prove(users(&Method::Bye, 6), &format!("sip:bob@{CALLEE}"));
    bed.receive_message(MOVED, &bye);
    let passed = bed.request(CALLEE, &Method::Bye);
    // The credentials are nobody else's to see.
    assert!(passed.header(HeaderName::ProxyAuthorization).is_none());
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.response(MOVED, 200);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn a_phone_that_registered_from_its_new_network_is_known_there() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    let mut callee = users_call(&mut bed, &mut phone, "alice@10.0.0.7:5060");
    let mut moved = Phone::new("alice", "node.test");
    moved.address = MOVED;
    moved.register(&mut bed, "");
    assert_eq!(moved.register(&mut bed, "").status(), Some(200));
    bed.receive_message(MOVED, &users(&Method::Info, 3));
    let passed = bed.request(CALLEE, &Method::Info);
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.response(MOVED, 200);
    // And is reached there from now on.
    bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
    let bye = bed.request(MOVED, &Method::Bye);
    bed.receive_message(MOVED, &bye.respond(200).build().unwrap());
    bed.response(CALLEE, 200);
    let alice = Aor::new("alice", "node.test");
    assert_eq!(bed.cdr().origin.as_deref(), Some(alice.as_str()));
    bed.assert_empty();
}

#[test]
fn a_phone_is_where_it_sends_from_whatever_its_contact_says() {
    for contact in [
        "x@203.0.113.9:5060",
        "+1900@192.0.2.21",
        "x@victim.test",
        "x@203.0.113.9;transport=tcp",
    ] {
        let mut bed = Bed::new();
        let mut phone = Phone::new("alice", "node.test");
        let mut callee = users_call(&mut bed, &mut phone, contact);
        bed.receive_message(CALLEE, &callee.send(&Method::Info, ""));
        let info = bed.request(PHONE, &Method::Info);
        assert_eq!(uri(&info), format!("sip:{contact}"));
        bed.receive_message(PHONE, &info.respond(200).build().unwrap());
        bed.response(CALLEE, 200);
        bed.core.stop(bed.now);
        bed.settle();
        bed.request(PHONE, &Method::Bye);
        bed.request(CALLEE, &Method::Bye);
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn credentials_stay_with_the_node_within_a_dialog_too() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    users_call(&mut bed, &mut phone, "alice@10.0.0.7:5060");
    let far = "Digest username=\"a\",realm=\"far\",nonce=\"n\",uri=\"u\",response=\"0\"";
    for (cseq, method) in [(3, Method::Info), (4, Method::Bye)] {
        let request = phone.prove(users(&method, cseq), &format!("sip:bob@{CALLEE}"));
        let request = request.edit().push(HeaderName::ProxyAuthorization, far);
        bed.receive_message(PHONE, &request.finish().unwrap());
        let passed = bed.request(CALLEE, &method);
        let left: Vec<_> = passed.values(HeaderName::ProxyAuthorization).collect();
        assert_eq!(left, [far.as_bytes()]);
        bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
        bed.response(PHONE, 200);
    }
    bed.assert_empty();
}

#[test]
fn within_a_dialog_too_a_user_asserts_no_identity() {
    let mut bed = Bed::new();
    let mut phone = Phone::new("alice", "node.test");
    users_call(&mut bed, &mut phone, "alice@10.0.0.7:5060");
    let update = users(&Method::Update, 3);
    let update = update
        .edit()
        .push(HeaderName::PAssertedIdentity, "<sip:+1900@bank.test>");
    bed.receive_message(PHONE, &update.finish().unwrap());
    let passed = bed.request(CALLEE, &Method::Update);
    assert!(passed.header(HeaderName::PAssertedIdentity).is_none());
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn only_who_was_asked_answers() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    for status in [180, 200, 486] {
        bed.receive_message(STRANGER, &answer(&forwarded, status, STRANGER, ""));
    }
    assert_eq!(dropped(&bed, "foreign"), 3);
    bed.pass_ms(250);
    bed.response(CALLER, 100);
    bed.assert_quiet();
    // Another host of the trunk's may.
    bed.receive_message(SECOND, &answer(&forwarded, 486, SECOND, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 486);
    bed.assert_empty();
}

#[test]
fn only_who_called_cancels() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    bed.receive(STRANGER, cancel_of(&request));
    assert_eq!(bed.sent.pop_front().unwrap().message.status(), Some(481));
    bed.assert_quiet();
    bed.receive(CALLER, cancel_of(&request));
    bed.response(CALLER, 200);
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.receive_message(CALLEE, &forwarded.respond(487).to_tag("x").build().unwrap());
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 487);
    bed.assert_empty();
}

#[test]
fn what_belongs_to_no_call_leads_nowhere() {
    let mut bed = Bed::new();
    let mut count = 0;
    let mut request = |method: &str, uri: &str, tag: &str| {
        count += 1;
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{count};rport\r\nMax-Forwards: 70\r\n\
             Route: <sip:192.0.2.1:5060;lr;tandem=5>\r\n\
             From: <sip:alice@pbx.test>;tag=a\r\nTo: <sip:x@node.test>{tag}\r\n\
             Call-ID: gone@pbx.test\r\nCSeq: 2 {method}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    // Within a dialog that is none, with the Route that this node once recorded.
    for (method, uri) in [
        ("INVITE", "sip:bob@192.0.2.20:5060"),
        ("MESSAGE", "sip:bob@192.0.2.20:5060"),
        ("BYE", "sip:bob@203.0.113.9"),
        ("BYE", "sip:bob@victim.test"),
        ("BYE", "sip:x@node.test"),
    ] {
        bed.receive(CALLER, request(method, uri, ";tag=b"));
        bed.response(CALLER, 481);
    }
    // Outside of one, with a Route of its sender's own making.
    let preloaded = request("MESSAGE", "sip:bob@203.0.113.9", "")
        .replace("Route: ", "Route: <sip:203.0.113.9;lr>, ");
    bed.receive(CALLER, preloaded);
    bed.response(CALLER, 403);
    bed.assert_quiet();
    bed.drain();
    bed.assert_empty();
}
