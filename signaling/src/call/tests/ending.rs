//! How calls end, and that nothing is left of them.

use std::time::Duration;

use sip::message::Method;
use store::{Cause, EndedBy};

use super::bed::*;
use crate::call::MediaNews;

fn agree(bed: &mut Bed, parties: &[&str]) {
    for party in parties {
        let bye = bed.request(party, &Method::Bye);
        bed.receive_message(party, &bye.respond(200).build().unwrap());
    }
    bed.assert_quiet();
}

fn session(bed: &Bed) -> control::media::SessionId {
    bed.core.list(None)[0].media[0]
}

#[test]
fn silence_ends_an_answered_call_with_bye_to_both() {
    let mut bed = Bed::new();
    call(&mut bed, "+2555", "c1");
    let id = session(&bed);
    bed.pass_ms(60_000);
    bed.core.handle_media_news(bed.now, MediaNews::Silent(id));
    bed.settle();
    agree(&mut bed, &[CALLER, CALLEE]);
    assert_eq!(
        (bed.cdr().cause, bed.cdr().ended_by),
        (Cause::MediaTimeout, EndedBy::Node)
    );
    assert_eq!(bed.cdr().status, 200);
    bed.assert_empty();
}

#[test]
fn silence_before_the_answer_is_asked_about_after_it() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    let id = session(&bed);
    bed.core.handle_media_news(bed.now, MediaNews::Silent(id));
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
    bed.response(CALLER, 180);
    let ok = bed.response(CALLER, 200);
    bed.receive_message(CALLER, &Party::caller(&request, &ok).ack(""));
    bed.sent.clear();
    bed.pass_ms(59_000);
    bed.sent.clear();
    bed.mediad.silent_ms = 60_000;
    bed.pass_ms(1_100);
    agree(&mut bed, &[CALLER, CALLEE]);
    assert_eq!(bed.cdr().cause, Cause::MediaTimeout);
    bed.assert_empty();
}

#[test]
fn a_call_of_two_streams_ends_when_both_are_silent() {
    let mut bed = Bed::new();
    let offer = sdp("192.0.2.10", &[4000, 4002], "sendrecv");
    let request = invite("+2555", "c1", &offer);
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let text = sdp("192.0.2.20", &[5000, 5002], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
    bed.sent.clear();
    let id = session(&bed);
    bed.mediad.silent_ms = 100;
    bed.core.handle_media_news(bed.now, MediaNews::Silent(id));
    bed.settle();
    bed.assert_quiet();
    bed.mediad.silent_ms = 60_000;
    bed.core.handle_media_news(bed.now, MediaNews::Silent(id));
    bed.settle();
    agree(&mut bed, &[CALLER, CALLEE]);
    assert_eq!(bed.cdr().cause, Cause::MediaTimeout);
    assert_eq!(bed.cdr().from_caller.unwrap().packets, 2000);
    bed.assert_empty();
}

#[test]
fn both_parties_hang_up_at_once() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &up.callee.send(&Method::Bye, ""));
    bed.response(CALLEE, 200);
    bed.receive_message(CALLEE, &bye.respond(481).build().unwrap());
    bed.response(CALLER, 481);
    assert_eq!(bed.cdr().ended_by, EndedBy::Caller);
    bed.assert_empty();
}

#[test]
fn a_reinvite_that_crosses_a_bye_comes_too_late_and_asks_mediad_for_nothing() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.asked();
    let offer = sdp("192.0.2.20", &[5002], "sendonly");
    bed.receive_message(CALLEE, &up.callee.send(&Method::Invite, &offer));
    bed.response(CALLEE, 481);
    assert!(bed.asked().is_empty());
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    bed.response(CALLER, 200);
    assert_eq!(bed.cdr().cause, Cause::Bye);
    bed.assert_empty();
}

#[test]
fn a_bye_that_nobody_answers_ends_the_call_all_the_same() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.receive_message(CALLEE, &up.callee.send(&Method::Bye, ""));
    bed.pass(Duration::from_secs(33));
    assert_eq!(
        (bed.cdr().cause, bed.cdr().ended_by),
        (Cause::Bye, EndedBy::Callee)
    );
    let since = bed.cdr().ended.since(bed.cdr().started);
    assert!(
        since < Duration::from_secs(1),
        "the BYE ended it, not its timeout: {since:?}"
    );
    bed.assert_empty();
}

#[test]
fn a_bye_that_is_challenged_leaves_the_call_up() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(407).build().unwrap());
    bed.response(CALLER, 407);
    assert!(bed.cdrs.is_empty());
    assert_eq!(bed.core.calls(), 1);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_challenged_bye_that_is_not_sent_again_ends_the_call_after_a_while() {
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    bed.receive_message(CALLER, &up.caller.send(&Method::Bye, ""));
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(407).build().unwrap());
    bed.response(CALLER, 407);
    bed.pass_ms(36_000);
    assert_eq!(bed.core.calls(), 1);
    bed.sent.clear();
    bed.pass_ms(1_100);
    agree(&mut bed, &[CALLER, CALLEE]);
    assert_eq!(bed.cdr().ended_by, EndedBy::Node);
    bed.assert_empty();
}

#[test]
fn one_that_answers_is_followed_however_many_have_rung() {
    let mut bed = Bed::new();
    let request = invite("+2555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    for number in 0..20 {
        let ringing = forwarded.respond(180).to_tag(format!("r{number}"));
        let contact = format!("<sip:bob@{CALLEE}>");
        let ringing = ringing.header(sip::header::HeaderName::Contact, contact);
        bed.receive_message(CALLEE, &ringing.build().unwrap());
        bed.response(CALLER, 180);
    }
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
    let ok = bed.response(CALLER, 200);
    let mut up = Up {
        caller: Party::caller(&request, &ok),
        callee: Party::callee(&forwarded, CALLEE),
    };
    bed.receive_message(CALLER, &up.caller.ack(""));
    bed.request(CALLEE, &Method::Ack);
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn an_operator_ends_a_call_in_any_state() {
    let mut bed = Bed::new();
    assert!(!bed.core.hang_up_by_id(bed.now, "none"));
    call(&mut bed, "+2555", "c1");
    let id = bed.core.list(None)[0].id.clone();
    assert!(bed.core.hang_up_by_id(bed.now, &id));
    bed.settle();
    agree(&mut bed, &[CALLER, CALLEE]);
    assert_eq!(bed.cdrs.pop().unwrap().cause, Cause::Operator);

    bed.receive_message(
        CALLER,
        &invite("+2555", "c2", &sdp("192.0.2.10", &[4000], "sendrecv")),
    );
    let forwarded = bed.request(CALLEE, &Method::Invite);
    bed.receive_message(CALLEE, &answer(&forwarded, 180, CALLEE, ""));
    bed.response(CALLER, 180);
    let id = bed.core.list(None)[0].id.clone();
    assert!(bed.core.hang_up_by_id(bed.now, &id));
    bed.settle();
    bed.response(CALLER, 487);
    bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &answer(&forwarded, 487, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    assert_eq!(bed.cdr().cause, Cause::Operator);
    bed.assert_empty();
}

#[test]
fn a_stop_that_waits_no_longer_still_writes_every_record() {
    let mut bed = Bed::new();
    call(&mut bed, "+2555", "c1");
    call(&mut bed, "+1555", "c2");
    bed.mediad.holds = true;
    bed.core.stop(bed.now);
    bed.settle();
    bed.pass_ms(3000);
    assert!(bed.cdrs.is_empty());
    bed.core.give_up(bed.now);
    bed.settle();
    assert_eq!(bed.cdrs.len(), 2);
    assert!(
        bed.cdrs
            .iter()
            .all(|cdr| cdr.cause == Cause::Shutdown && cdr.status == 200)
    );
    bed.release();
    bed.assert_empty();
}

#[test]
fn a_bypassed_call_ends_after_the_longest_time_of_a_call() {
    let mut bed = Bed::new();
    call(&mut bed, "+1555", "c1");
    bed.pass(Duration::from_secs(12 * 3600 - 10));
    assert_eq!(bed.core.calls(), 1);
    bed.pass_ms(11_000);
    bed.sent.retain(|sent| sent.message.is_request());
    bed.request(CALLER, &Method::Bye);
    assert_eq!(bed.core.calls(), 1);
    bed.assert_empty();
    assert_eq!(bed.cdr().cause, Cause::PartyLost);
}

#[test]
fn a_second_callee_behind_a_fork_keeps_the_call_up() {
    // However the other dialog's BYE fares: taken, unknown there, or never answered.
    for status in [Some(200), Some(481), Some(408), None] {
        a_call_outlives_one_of_its_dialogs(status);
    }
}

fn a_call_outlives_one_of_its_dialogs(status: Option<u16>) {
    let mut bed = Bed::new();
    let request = invite("+1555", "c1", &sdp("192.0.2.10", &[4000], "sendrecv"));
    bed.receive_message(CALLER, &request);
    let forwarded = bed.request(CALLEE, &Method::Invite);
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    let other = forwarded
        .respond(200)
        .to_tag("other")
        .header(
            sip::header::HeaderName::Contact,
            format!("<sip:bob@{SECOND}>"),
        )
        .body("application/sdp", text.clone())
        .build()
        .unwrap();
    bed.receive_message(CALLEE, &answer(&forwarded, 200, CALLEE, &text));
    bed.receive_message(CALLEE, &other);
    let first = bed.response(CALLER, 200);
    let second = bed.response(CALLER, 200);
    let (mut one, mut two) = (
        Party::caller(&request, &first),
        Party::caller(&request, &second),
    );
    bed.receive_message(CALLER, &one.ack(""));
    bed.receive_message(CALLER, &two.ack(""));
    bed.request(CALLEE, &Method::Ack);
    bed.request(SECOND, &Method::Ack);
    // The caller keeps the first.
    bed.receive_message(CALLER, &two.send(&Method::Bye, ""));
    let bye = bed.request(SECOND, &Method::Bye);
    match status {
        Some(status) => {
            bed.receive_message(SECOND, &bye.respond(status).build().unwrap());
            // A 408 is too late for whoever asked, and told to nobody (RFC 4320 section 4.2).
            if status != 408 {
                bed.response(CALLER, status);
            }
        }
        None => {
            bed.pass(Duration::from_secs(33));
            bed.sent.clear();
        }
    }
    assert!(bed.cdrs.is_empty(), "{status:?}");
    assert_eq!(bed.core.calls(), 1);
    let mut up = Up {
        caller: one,
        callee: Party::callee(&forwarded, CALLEE),
    };
    hang_up(&mut bed, &mut up);
    assert_eq!(bed.cdrs.len(), 1);
    bed.assert_empty();
}

#[test]
fn many_calls_of_every_outcome_leave_nothing_behind() {
    let mut bed = Bed::new();
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    let text = sdp("192.0.2.20", &[5000], "sendrecv");
    for round in 0..40 {
        for (index, number) in ["+1555", "+2555"].into_iter().enumerate() {
            let id = |name: &str| format!("{name}{round}x{index}");
            let mut up = call(&mut bed, number, &id("up"));
            hang_up(&mut bed, &mut up);

            // Never answered by anybody, rejected, ringing for ever, answered and left alone.
            for name in ["busy", "ring", "left", "dead"] {
                let request = invite(number, &id(name), &offer);
                bed.receive_message(CALLER, &request);
                let forwarded = bed.sent.pop_back().unwrap();
                let to = forwarded.flow.reply_to.to_string();
                let mut say = |status, body: &str| {
                    bed.receive_message(&to, &answer(&forwarded.message, status, &to, body));
                };
                match name {
                    "busy" => say(486, ""),
                    "ring" => say(180, ""),
                    "left" => say(200, &text),
                    _ => {}
                }
                bed.sent.clear();
            }
        }
        // Until dead hosts are tried again.
        bed.pass(Duration::from_secs(60));
        bed.sent.clear();
    }
    bed.pass(Duration::from_secs(120));
    bed.sent.clear();
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
    assert_eq!(bed.cdrs.len(), 40 * 2 * 5);
    let ids: std::collections::HashSet<_> = bed.cdrs.iter().map(|cdr| cdr.id).collect();
    assert_eq!(ids.len(), bed.cdrs.len(), "one record each");
}
