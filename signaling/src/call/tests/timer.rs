//! Session timers, and answers that nobody acknowledges.

use std::time::Duration;

use sip::{
    header::HeaderName,
    message::{Message, Method},
};
use store::{Cause, EndedBy};

use super::bed::*;

/// An INVITE with more headers.
fn asking(id: &str, headers: &str) -> Message {
    let text = String::from_utf8(invite("+1555", id, "").as_bytes().to_vec()).unwrap();
    Message::parse(text.replace("X-Custom: kept\r\n", headers).into()).unwrap()
}

fn expires(message: &Message) -> Option<String> {
    let header = message.header(HeaderName::SessionExpires)?;
    Some(header.text().into_owned())
}

/// A call in which the caller's INVITE has `headers` and the callee's 200 has `answered`.
fn agreed(bed: &mut Bed, headers: &str, answered: &str) -> (Up, Message) {
    let request = asking("c1", headers);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let mut ok = forwarded.respond(200).to_tag("callee");
    ok = ok.header(HeaderName::Contact, format!("<sip:bob@{CALLEE}>"));
    if !answered.is_empty() {
        ok = ok.header(HeaderName::SessionExpires, answered);
    }
    bed.receive_message(CALLEE, &ok.build().unwrap());
    let ok = bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    let callee = Party::callee(&forwarded, CALLEE);
    (Up { caller, callee }, ok)
}

fn both_get_bye(bed: &mut Bed) {
    for party in [CALLER, CALLEE] {
        let bye = bed.request(party, &Method::Bye);
        assert!(bye.header(HeaderName::Reason).is_some());
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    bed.assert_quiet();
}

#[test]
fn phones_without_session_timers_are_not_troubled() {
    let mut bed = Bed::new();
    let (mut up, ok) = agreed(&mut bed, "", "");
    assert_eq!(expires(&ok), None);
    bed.pass(Duration::from_secs(3 * 3600));
    bed.assert_quiet();
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_session_that_nobody_refreshes_ends_with_bye_to_both() {
    // The caller keeps timers, the callee does, both do.
    for (headers, answered, told, seconds) in [
        ("Supported: timer\r\n", "", "1800;refresher=uac", 1800),
        ("", "600;refresher=uas", "600;refresher=uas", 600),
        (
            "Supported: timer\r\nSession-Expires: 300\r\n",
            "300;refresher=uac",
            "300;refresher=uac",
            300,
        ),
    ] {
        let mut bed = Bed::new();
        let (_, ok) = agreed(&mut bed, headers, answered);
        assert_eq!(expires(&ok).as_deref(), Some(told));
        let asks = ok.has_option(HeaderName::Require, "timer");
        assert_eq!(asks, answered.is_empty());
        bed.pass(Duration::from_secs(seconds - 1));
        bed.assert_quiet();
        bed.pass_ms(1_001);
        both_get_bye(&mut bed);
        assert_eq!(
            (bed.cdr().cause, bed.cdr().ended_by),
            (Cause::SessionExpired, EndedBy::Node)
        );
        assert_eq!(bed.cdr().talk_time().as_secs(), seconds);
        bed.assert_empty();
    }
}

#[test]
fn a_refresh_from_either_side_keeps_the_session_and_a_refused_one_does_not() {
    let mut bed = Bed::new();
    let (mut up, _) = agreed(&mut bed, "Supported: timer\r\n", "600;refresher=uac");
    bed.pass(Duration::from_secs(500));
    let update = up.caller.send(&Method::Update, "");
    let update = update.edit().push(HeaderName::Supported, "timer");
    let update = update.push(HeaderName::SessionExpires, "600;refresher=uac");
    bed.receive_message(CALLER, &update.finish().unwrap());
    let passed = bed.request(CALLEE, &Method::Update);
    assert_eq!(expires(&passed).as_deref(), Some("600;refresher=uac"));
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    let ok = bed.response(CALLER, 200);
    assert_eq!(expires(&ok).as_deref(), Some("600;refresher=uac"));

    bed.pass(Duration::from_secs(500));
    bed.receive_message(CALLEE, &up.callee.send(&Method::Invite, ""));
    let passed = bed.request(CALLER, &Method::Invite);
    assert_eq!(expires(&passed).as_deref(), Some("1800"));
    let ok = answer(&passed, 200, CALLER, "");
    let ok = ok
        .edit()
        .push(HeaderName::SessionExpires, "400;refresher=uas");
    bed.receive_message(CALLER, &ok.finish().unwrap());
    bed.response(CALLEE, 200);
    bed.receive_message(CALLEE, &up.callee.ack(""));
    bed.request(CALLER, &Method::Ack);

    bed.pass(Duration::from_secs(300));
    bed.receive_message(CALLEE, &up.callee.send(&Method::Update, ""));
    let passed = bed.request(CALLER, &Method::Update);
    bed.receive_message(CALLER, &passed.respond(491).build().unwrap());
    bed.response(CALLEE, 491);
    bed.pass(Duration::from_secs(99));
    bed.assert_quiet();
    bed.pass_ms(1_001);
    both_get_bye(&mut bed);
    assert_eq!(bed.cdr().cause, Cause::SessionExpired);
    bed.assert_empty();
}

#[test]
fn a_refresh_that_agrees_on_no_timer_ends_it() {
    let mut bed = Bed::new();
    let (mut up, _) = agreed(&mut bed, "", "600;refresher=uas");
    bed.receive_message(CALLER, &up.caller.send(&Method::Update, ""));
    let passed = bed.request(CALLEE, &Method::Update);
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    bed.pass(Duration::from_secs(3600));
    bed.assert_quiet();
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn too_short_an_interval_is_422_and_that_of_a_callee_passes() {
    let mut bed = Bed::new();
    let short = "Supported: timer\r\nSession-Expires: 60\r\n";
    bed.receive_message(CALLER, &asking("c1", short));
    let refusal = bed.response(CALLER, 422);
    assert_eq!(refusal.header(HeaderName::MinSe).unwrap().value(), b"90");
    assert_eq!(bed.cdrs.pop().unwrap().status, 422);

    // The callee wants more than we do; the caller asks again.
    bed.receive_message(CALLER, &asking("c2", "Supported: timer\r\n"));
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let refusal = forwarded.respond(422).to_tag("x");
    let refusal = refusal.header(HeaderName::MinSe, "3600").build().unwrap();
    bed.receive_message(CALLEE, &refusal);
    bed.request(CALLEE, &Method::Ack);
    let refusal = bed.response(CALLER, 422);
    assert_eq!(refusal.header(HeaderName::MinSe).unwrap().value(), b"3600");
    let again = "Supported: timer\r\nMin-SE: 3600\r\nSession-Expires: 3600\r\n";
    bed.receive_message(CALLER, &asking("c3", again));
    let forwarded = bed.request(CALLEE, &Method::Invite);
    assert_eq!(expires(&forwarded).as_deref(), Some("3600"));
    bed.receive_message(CALLEE, &answer(&forwarded, 486, CALLEE, ""));
    bed.assert_empty();
    assert_eq!(bed.cdrs.pop().unwrap().status, 486);

    // Within a call too, and the call goes on.
    bed.cdrs.clear();
    let mut up = call(&mut bed, "+2555", "c4");
    let offer = sdp("192.0.2.10", &[4000, 4010], "sendrecv");
    let reinvite = up.caller.send(&Method::Invite, &offer);
    let reinvite = reinvite.edit().push(HeaderName::Supported, "timer");
    let reinvite = reinvite.push(HeaderName::SessionExpires, "60");
    bed.receive_message(CALLER, &reinvite.finish().unwrap());
    bed.response(CALLER, 422);
    assert_eq!(
        bed.mediad.sessions.len(),
        1,
        "what it offered is taken back"
    );
    bed.pass(Duration::from_secs(40));
    bed.sent.clear();
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    let ok = answer(&forwarded, 200, CALLEE, &text);
    bed.receive_message(CALLEE, &ok);
    bed.response(CALLER, 200);
    for _ in 0..7 {
        bed.pass(Duration::from_secs(4));
        bed.receive_message(CALLEE, &ok);
        bed.response(CALLER, 200);
    }
    bed.pass(Duration::from_secs(8));
    bed.assert_quiet();
    bed.pass(Duration::from_secs(1));
    both_get_bye(&mut bed);
    assert_eq!((bed.cdr().cause, bed.cdr().status), (Cause::NoAck, 200));
    bed.assert_empty();
}

#[test]
fn a_reinvite_whose_answer_is_never_acknowledged_ends_the_call_and_an_ack_of_the_first_does_not_help()
 {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let first = up.caller.ack("");
    let offer = sdp("192.0.2.10", &[4000], "sendonly");
    bed.receive_message(CALLER, &up.caller.send(&Method::Invite, &offer));
    let passed = bed.request(CALLEE, &Method::Invite);
    let text = sdp("192.0.2.20", &[5000], "recvonly");
    bed.receive_message(CALLEE, &answer(&passed, 200, CALLEE, &text));
    bed.response(CALLER, 200);
    bed.receive_message(CALLER, &first);
    bed.request(CALLEE, &Method::Ack);
    bed.pass(Duration::from_secs(37));
    both_get_bye(&mut bed);
    assert_eq!(bed.cdr().cause, Cause::NoAck);
    bed.assert_empty();
}

#[test]
fn a_reinvite_of_the_callee_is_not_the_callers_invite_of_the_same_number() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+1555", "c1");
    let reinvite = up.callee.send(&Method::Invite, "");
    assert_eq!(reinvite.cseq().unwrap().number, 1);
    bed.receive_message(CALLEE, &reinvite);
    let passed = bed.request(CALLER, &Method::Invite);
    bed.receive_message(CALLER, &answer(&passed, 200, CALLER, ""));
    bed.response(CALLEE, 200);
    bed.pass(Duration::from_secs(37));
    both_get_bye(&mut bed);
    assert_eq!(bed.cdr().cause, Cause::NoAck);
    bed.assert_empty();
}

#[test]
fn of_two_answers_the_one_that_is_not_acknowledged_is_ended_alone() {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", "");
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let other = forwarded.respond(200).to_tag("other");
    let other = other.header(HeaderName::Contact, format!("<sip:bob@{SECOND}>"));
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, ""));
    bed.receive_message(CALLEE, &other.build().unwrap());
    let ok = bed.response(CALLER, 200);
    bed.response(CALLER, 200);
    let mut caller = Party::caller(&request, &ok);
    bed.receive_message(CALLER, &caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.pass(Duration::from_secs(37));
    let bye = bed.request(CALLER, &Method::Bye);
    assert_eq!(bye.from().unwrap().tag(), Some("other"));
    bed.receive_message(CALLER, &bye.respond(481).build().unwrap());
    let bye = bed.request(SECOND, &Method::Bye);
    bed.receive_message(SECOND, &bye.respond(200).build().unwrap());
    bed.pass(Duration::from_secs(60));
    bed.assert_quiet();
    assert_eq!(bed.core.calls(), 1);
    let callee = Party::callee(&forwarded, CALLEE);
    hang_up(&mut bed, &mut Up { caller, callee });
    assert_eq!(bed.cdr().cause, Cause::Bye);
    bed.assert_empty();
}
