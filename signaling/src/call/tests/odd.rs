//! Peers that answer oddly still have a call, and it still ends.

use std::time::Duration;

use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::Cause;

use super::bed::*;

/// A response with another To tag than usual.
fn tagged(request: &Message, status: u16, tag: &str, body: &str) -> Message {
    let mut response = request
        .respond(status)
        .to_tag(tag)
        .header(HeaderName::Contact, format!("<sip:bob@{CALLEE}>"));
    if !body.is_empty() {
        response = response.body("application/sdp", body.to_owned());
    }
    response.build().unwrap()
}

fn callee_media(bed: &Bed) -> String {
    let remote = bed.mediad.only().b.remote.as_ref();
    remote.map_or_else(String::new, |remote| remote.rtp.to_string())
}

#[test]
fn a_call_whose_answer_has_no_contact_can_be_ended() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    let ok = forwarded.respond(200).to_tag("callee");
    let ok = ok.body("application/sdp", text).build().unwrap();
    bed.receive_message(CALLEE, &ok);
    bed.response(CALLER, 200);
    // The caller has no better place for its ACK than the one that it called.
    let ack = format!(
        "ACK sip:+2555@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {CALLER};branch=z9hG4bKack;rport\r\nMax-Forwards: 70\r\n\
         Route: <sip:192.0.2.1:5060;lr>\r\nFrom: \"A\" <sip:alice@pbx.test>;tag=ac1\r\n\
         To: <sip:+2555@node.test>;tag=callee\r\nCall-ID: c1@pbx.test\r\nCSeq: 1 ACK\r\n\
         Content-Length: 0\r\n\r\n"
    );
    bed.receive(CALLER, ack);
    let ack = bed.request(CALLEE, &Method::Ack);
    assert_eq!(ack.request_uri_raw(), b"sip:192.0.2.20:5060");
    bed.core.stop(bed.now);
    bed.settle();
    for party in [CALLER, CALLEE] {
        let bye = bed.request(party, &Method::Bye);
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    assert_eq!(bed.cdr().cause, Cause::Shutdown);
    bed.assert_empty();
}

#[test]
fn an_answer_may_come_from_another_fork_than_the_ringing() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let early = sdp("192.0.2.30", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &tagged(&forwarded, 183, "one", &early));
    bed.response(CALLER, 183);
    assert_eq!(callee_media(&bed), "192.0.2.30:5000");
    let text = sdp("192.0.2.40", &[6000], "sendrecv");
    bed.receive_message(CALLEE, &tagged(&forwarded, 200, "two", &text));
    let ok = bed.response(CALLER, 200);
    assert_eq!(callee_media(&bed), "192.0.2.40:6000");
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    assert_eq!(bye.to().unwrap().tag(), Some("two"));
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.assert_empty();
}

#[test]
fn of_two_forks_with_early_media_the_one_that_answers_is_heard() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    for (tag, address) in [("one", "192.0.2.30"), ("two", "192.0.2.40")] {
        let early = sdp(address, &[5000], "sendrecv");
        bed.receive_message(CALLEE, &tagged(&forwarded, 183, tag, &early));
        bed.response(CALLER, 183);
        assert_eq!(callee_media(&bed), format!("{address}:5000"));
    }
    // Its reliable 183 had the answer: the 200 need not repeat it (RFC 3262 section 5).
    bed.receive_message(CALLEE, &tagged(&forwarded, 200, "one", ""));
    let ok = bed.response(CALLER, 200);
    assert_eq!(callee_media(&bed), "192.0.2.30:5000");
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn an_update_in_an_early_dialog_changes_its_media() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let early = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 183, CALLEE, &early));
    let progress = bed.response(CALLER, 183);
    let mut caller = Party::caller(&request, &progress);
    let mut callee = Party::callee(&forwarded, CALLEE);
    bed.receive_message(CALLER, &caller.send(&Method::Prack, ""));
    let prack = bed.request(CALLEE, &Method::Prack);
    bed.receive_message(CALLEE, &prack.respond(200).build().unwrap());
    bed.response(CALLER, 200);

    let moved = sdp("192.0.2.21", &[5002], "sendrecv");
    bed.receive_message(CALLEE, &callee.send(&Method::Update, &moved));
    let update = bed.request(CALLER, &Method::Update);
    assert!(body(&update).contains("c=IN IP4 198.51.100.1"));
    let text = sdp("192.0.2.10", &[4000], "sendrecv");
    bed.receive_message(CALLER, &answer(&update, 200, CALLER, &text));
    bed.response(CALLEE, 200);
    assert_eq!(callee_media(&bed), "192.0.2.21:5002");

    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    bed.response(CALLER, 200);
    assert_eq!(callee_media(&bed), "192.0.2.21:5002", "the UPDATE counts");
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    let mut up = Up { caller, callee };
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn offers_that_cross_are_refused_by_the_parties_and_change_nothing() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let before = bed.mediad.only().clone();
    let hold = |address, port| sdp(address, &[port, port + 10], "sendonly");
    bed.receive_message(
        CALLER,
        &up.caller.send(&Method::Invite, &hold("192.0.2.10", 4000)),
    );
    let to_callee = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(
        CALLEE,
        &up.callee.send(&Method::Invite, &hold("192.0.2.20", 5000)),
    );
    let to_caller = bed.request(CALLER, &Method::Invite);
    bed.receive_message(CALLER, &to_caller.respond(491).build().unwrap());
    bed.response(CALLEE, 491);
    bed.request(CALLER, &Method::Ack);
    bed.receive_message(CALLEE, &to_callee.respond(491).build().unwrap());
    bed.response(CALLER, 491);
    bed.request(CALLEE, &Method::Ack);
    assert_eq!(*bed.mediad.only(), before);
    // They try again, one after the other.
    bed.pass_ms(40_000);
    bed.sent.clear();
    let offer = sdp("192.0.2.10", &[4000], "sendonly");
    bed.receive_message(CALLER, &up.caller.send(&Method::Invite, &offer));
    let passed = bed.request(CALLEE, &Method::Invite);
    let text = sdp("192.0.2.20", &[5000], "recvonly");
    bed.receive_message(CALLEE, &answer(&passed, 200, CALLEE, &text));
    bed.response(CALLER, 200);
    bed.receive_message(CALLER, &up.caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_reinvite_that_nobody_answers_is_408_and_the_call_is_as_it_was() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let before = bed.mediad.only().clone();
    let offer = sdp("192.0.2.11", &[4000, 4010], "sendrecv");
    bed.receive_message(CALLER, &up.caller.send(&Method::Invite, &offer));
    bed.pass(Duration::from_secs(33));
    bed.sent
        .retain(|sent| !matches!(sent.message.status(), Some(100)));
    bed.sent.retain(|sent| sent.flow.reply_to == at(CALLER));
    bed.response(CALLER, 408);
    bed.pass(Duration::from_secs(40));
    bed.sent.clear();
    assert_eq!(*bed.mediad.only(), before);
    assert_eq!(bed.core.calls(), 1);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_fax_takes_the_place_of_audio_and_gives_it_back() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let image = |address: &str, port: u16| {
        format!(
            "v=0\r\no=- 1 2 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=image {port} udptl t38\r\na=T38FaxVersion:0\r\n"
        )
    };
    for (offer, answered) in [
        (image("192.0.2.20", 5500), image("192.0.2.10", 4500)),
        (
            sdp("192.0.2.20", &[5000], "sendrecv"),
            sdp("192.0.2.10", &[4000], "sendrecv"),
        ),
    ] {
        bed.receive_message(CALLEE, &up.callee.send(&Method::Invite, &offer));
        let passed = bed.request(CALLER, &Method::Invite);
        assert!(body(&passed).contains("c=IN IP4 198.51.100.1"));
        bed.receive_message(CALLER, &answer(&passed, 200, CALLER, &answered));
        bed.response(CALLEE, 200);
        bed.receive_message(CALLEE, &up.callee.ack(""));
        bed.request(CALLER, &Method::Ack);
        let port = if offer.contains("image") { 5500 } else { 5000 };
        assert_eq!(callee_media(&bed), format!("192.0.2.20:{port}"));
        // UDPTL has no clock: what is told to have one is checked as RTP.
        let remote = bed.mediad.only().b.remote.as_ref().unwrap();
        assert_eq!(remote.format.clock_rate == 0, offer.contains("image"));
        assert!(body(&passed).contains("20000"), "the same port throughout");
    }
    // One that has no fax refuses: the audio goes on.
    let offer = image("192.0.2.20", 5600);
    bed.receive_message(CALLEE, &up.callee.send(&Method::Invite, &offer));
    let passed = bed.request(CALLER, &Method::Invite);
    bed.receive_message(CALLER, &answer(&passed, 488, CALLER, ""));
    bed.request(CALLER, &Method::Ack);
    bed.response(CALLEE, 488);
    bed.pass(Duration::from_secs(40));
    bed.sent.clear();
    assert_eq!(callee_media(&bed), "192.0.2.20:5000");
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_hold_without_an_address_in_either_family_forgets_none() {
    for address in ["0.0.0.0", "::"] {
        let mut bed = Bed::new();
        let mut up = call(&mut bed, "+2555", "c1");
        let offer = sdp(address, &[5000], "sendrecv");
        bed.receive_message(CALLEE, &up.callee.send(&Method::Invite, &offer));
        let passed = bed.request(CALLER, &Method::Invite);
        assert!(
            body(&passed).contains("c=IN IP4 0.0.0.0"),
            "{}",
            body(&passed)
        );
        let text = sdp("192.0.2.10", &[4000], "sendrecv");
        bed.receive_message(CALLER, &answer(&passed, 200, CALLER, &text));
        bed.response(CALLEE, 200);
        bed.receive_message(CALLEE, &up.callee.ack(""));
        bed.request(CALLER, &Method::Ack);
        assert_eq!(callee_media(&bed), "192.0.2.20:5000");
        hang_up(&mut bed, &mut up);
        bed.assert_empty();
    }
}

#[test]
fn the_200_to_a_cancel_and_our_487_have_one_tag() {
    let mut bed = Bed::new();
    bed.mediad.holds = true;
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let text = String::from_utf8(invite("+2555", "c1", "").as_bytes().to_vec()).unwrap();
    bed.receive(CALLER, text.replace("INVITE", "CANCEL"));
    let ok = bed.response(CALLER, 200);
    let refusal = bed.response(CALLER, 487);
    assert_eq!(ok.to().unwrap().tag(), refusal.to().unwrap().tag());
    bed.release();
    bed.assert_empty();
}

/// An INVITE to `target`; with `strict` as a strict router sends it on.
fn to_target(target: &str, strict: bool, id: &str) -> Message {
    let text = invite("+2555", id, &sdp("192.0.2.10", &[4000], "sendrecv"));
    let text = String::from_utf8(text.as_bytes().to_vec()).unwrap();
    let line = match strict {
        true => format!("INVITE sip:192.0.2.1:5060;lr SIP/2.0\r\nRoute: <{target}>\r\n"),
        false => format!("INVITE {target} SIP/2.0\r\n"),
    };
    let plain = "INVITE sip:+2555@192.0.2.1:5060 SIP/2.0\r\n";
    Message::parse(text.replace(plain, &line).into()).unwrap()
}

#[test]
fn what_a_strict_router_sends_leads_where_its_last_route_says_and_nowhere_else() {
    let target = "sip:+2555@192.0.2.1:5060";
    let mut bed = Bed::new();
    bed.receive_message(CALLER, &to_target(target, true, "c1"));
    let forwarded = bed.request(CALLEE, &Method::Invite);
    assert_eq!(forwarded.request_uri_raw(), b"sip:+2555@192.0.2.20");
    assert!(forwarded.header(HeaderName::Route).is_none());
    bed.receive_message(CALLEE, &answer(&forwarded, 486, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.response(CALLER, 486);
    assert_eq!(bed.cdr().request_uri, target);
    bed.assert_empty();
    // As if it stood in the first line: a user, nobody, and a host that is not ours.
    for target in [
        "sip:bob@node.test",
        "sip:nobody@node.test",
        "sip:bob@203.0.113.9",
    ] {
        let [plain, strict] = [false, true].map(|strict| {
            let mut bed = Bed::new();
            bed.receive_message(CALLER, &to_target(target, strict, "c2"));
            let refused = bed.next(CALLER).message.status().unwrap();
            bed.assert_quiet();
            bed.assert_empty();
            refused
        });
        assert!(strict >= 400, "{target}: {strict}");
        assert_eq!(strict, plain, "{target}");
    }
}
