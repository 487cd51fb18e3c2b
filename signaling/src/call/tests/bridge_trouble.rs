//! Trouble with one of three while a party is moved, and with what a party is asked for.

use control::signal::{CallState, Party as Who};
use sip::{
    header::HeaderName,
    message::{Message, Method},
};

use super::{
    bed::*,
    bridge::{FIRST, SECOND_PARTY, first_says, led_to, second_says},
    bridge_transfer::{THIRD, both, connect, hold, hung_up, status, third_says, transfer, up},
};

/// As long as a request or a 2xx is sent again; what has begun since.
fn wait_out(bed: &mut Bed) {
    bed.pass_ms(32_100);
    bed.sent
        .retain(|sent| sent.message.method() == Some(&Method::Bye));
}

/// The next one is connected, and hangs up.
fn connect_and_part(bed: &mut Bed, invite: &Message) {
    assert_eq!(
        connect(bed, invite, FIRST, &first_says()),
        "192.0.2.21:6000"
    );
    let mut third = Party::callee(invite, THIRD);
    bed.receive_message(THIRD, &third.send(&Method::Bye, ""));
    bed.response(THIRD, 200);
    hung_up(bed, FIRST);
}

#[test]
fn who_leaves_may_owe_an_ack_and_the_move_goes_on() {
    for hangs_up in [true, false] {
        let (mut bed, mut up) = up();
        let [first, _] = both(&bed);
        transfer(&mut bed, &first.id, Who::Callee).unwrap();
        let invite = hold(&mut bed, FIRST, &first_says());
        bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
        let held = sdp("2001:db8::20", &[5000], "sendonly");
        bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Invite, &held));
        bed.response(SECOND_PARTY, 200);
        if hangs_up {
            bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
            bed.response(SECOND_PARTY, 200);
            wait_out(&mut bed);
            bed.assert_quiet();
        } else {
            wait_out(&mut bed);
            let reason = hung_up(&mut bed, SECOND_PARTY);
            assert!(reason.starts_with("SIP;cause=408;"), "{reason}");
        }
        assert_eq!(status(&bed, &first.id), Some(180));
        connect_and_part(&mut bed, &invite);
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn a_next_one_that_owes_an_ack_leaves_both_connected_as_before() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let invite = hold(&mut bed, FIRST, &first_says());
    bed.receive_message(THIRD, &answer(&invite, 200, THIRD, &third_says()));
    bed.request(THIRD, &Method::Ack);
    // Who stays takes its time.
    let joined = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&joined, 100, FIRST, ""));
    let mut third = Party::callee(&invite, THIRD);
    bed.receive_message(THIRD, &third.send(&Method::Invite, &third_says()));
    bed.response(THIRD, 200);
    wait_out(&mut bed);
    hung_up(&mut bed, THIRD);
    bed.assert_quiet();
    assert_eq!(status(&bed, &first.id), Some(408));
    bed.receive_message(FIRST, &answer(&joined, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    let back = bed.request(FIRST, &Method::Invite);
    assert_eq!(led_to(&back), "198.51.100.1:20000");
    bed.receive_message(FIRST, &answer(&back, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();
    assert!(
        both(&bed)
            .iter()
            .all(|call| call.state == CallState::Answered)
    );
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    bed.response(SECOND_PARTY, 200);
    hung_up(&mut bed, FIRST);
    bed.assert_empty();
}

#[test]
fn what_who_stays_has_asked_of_who_leaves_is_not_in_the_way() {
    for answers in [true, false] {
        let (mut bed, mut up) = up();
        let [first, _] = both(&bed);
        // The other phone is silent when it is asked.
        let held = sdp("192.0.2.20", &[4000], "sendonly");
        bed.receive_message(FIRST, &up.first.send(&Method::Invite, &held));
        let carried = bed.request(SECOND_PARTY, &Method::Invite);
        bed.sent.clear();
        transfer(&mut bed, &first.id, Who::Callee).unwrap();
        bed.response(FIRST, 491);
        let invite = hold(&mut bed, FIRST, &first_says());
        bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
        if answers {
            // It has taken the hold: it is told so, and where the first one is now when nobody comes.
            let ok = answer(&carried, 200, SECOND_PARTY, &second_says());
            bed.receive_message(SECOND_PARTY, &ok);
            bed.request(SECOND_PARTY, &Method::Ack);
            bed.sent.clear();
            bed.receive_message(THIRD, &answer(&invite, 486, THIRD, ""));
            bed.request(THIRD, &Method::Ack);
            let back = bed.request(FIRST, &Method::Invite);
            bed.receive_message(FIRST, &answer(&back, 200, FIRST, &first_says()));
            bed.request(FIRST, &Method::Ack);
            let refit = bed.request(SECOND_PARTY, &Method::Invite);
            assert!(body(&refit).contains("a=sendrecv"), "{refit:?}");
            let ok = answer(&refit, 200, SECOND_PARTY, &second_says());
            bed.receive_message(SECOND_PARTY, &ok);
            bed.request(SECOND_PARTY, &Method::Ack);
            bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
            bed.response(SECOND_PARTY, 200);
            hung_up(&mut bed, FIRST);
        } else {
            wait_out(&mut bed);
            let reason = hung_up(&mut bed, SECOND_PARTY);
            assert!(reason.starts_with("SIP;cause=408;"), "{reason}");
            bed.sent.clear();
            assert_eq!(status(&bed, &first.id), Some(180));
            connect_and_part(&mut bed, &invite);
        }
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn a_party_that_is_busy_with_an_earlier_invite_is_asked_again_when_it_says() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let invite = hold(&mut bed, FIRST, &first_says());
    bed.receive_message(THIRD, &answer(&invite, 200, THIRD, &third_says()));
    bed.request(THIRD, &Method::Ack);
    let joined = bed.request(FIRST, &Method::Invite);
    let busy = answer(&joined, 500, FIRST, "");
    let later = |s: &str| {
        let edit = busy.edit().push(HeaderName::RetryAfter, s);
        edit.finish().unwrap()
    };
    bed.receive_message(FIRST, &later("7 (soon)"));
    bed.request(FIRST, &Method::Ack);
    bed.pass_ms(6_900);
    bed.assert_quiet();
    bed.pass_ms(200);
    let joined = bed.request(FIRST, &Method::Invite);
    assert_eq!(led_to(&joined), "192.0.2.21:6000");
    // It has moved, and whoever is left hears of it, but does not want to.
    let moved = sdp("192.0.2.20", &[4600], "sendrecv");
    bed.receive_message(FIRST, &answer(&joined, 200, FIRST, &moved));
    bed.request(FIRST, &Method::Ack);
    hung_up(&mut bed, SECOND_PARTY);
    let refit = bed.request(THIRD, &Method::Invite);
    assert_eq!(led_to(&refit), "192.0.2.20:4600");
    bed.receive_message(THIRD, &answer(&refit, 488, THIRD, ""));
    bed.request(THIRD, &Method::Ack);
    bed.assert_quiet();
    assert_eq!(status(&bed, &first.id), Some(200));
    bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    hung_up(&mut bed, THIRD);
    bed.assert_empty();
}

#[test]
fn a_party_that_is_busy_for_too_long_does_not_want_to_be_moved() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let asked = bed.request(FIRST, &Method::Invite);
    let busy = answer(&asked, 503, FIRST, "");
    let edit = busy.edit().push(HeaderName::RetryAfter, "3600");
    let busy = edit.finish().unwrap();
    bed.receive_message(FIRST, &busy);
    bed.request(FIRST, &Method::Ack);
    // What a host says of itself is not told on (RFC 3261 section 16.7).
    assert_eq!(status(&bed, &first.id), Some(500));
    bed.assert_quiet();
    bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
    bed.response(FIRST, 200);
    hung_up(&mut bed, SECOND_PARTY);
    bed.assert_empty();
}

#[test]
fn what_a_phone_tells_of_a_transfer_that_it_does_not_make_counts_for_nothing() {
    for told in ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"] {
        let (mut bed, mut up) = up();
        let [first, _] = both(&bed);
        transfer(&mut bed, &first.id, Who::Callee).unwrap();
        let invite = hold(&mut bed, FIRST, &first_says());
        bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
        let notify = up.first.send(&Method::Notify, "");
        let edit = notify.edit().push(HeaderName::Event, "refer");
        let edit = edit.push(HeaderName::SubscriptionState, "active");
        let edit = edit.push(HeaderName::ContentType, "message/sipfrag");
        let notify = edit.body(told).finish().unwrap();
        bed.receive_message(FIRST, &notify);
        bed.response(FIRST, 405);
        bed.pass_ms(59_000);
        bed.assert_quiet();
        assert_eq!(status(&bed, &first.id), Some(180));
        connect(&mut bed, &invite, FIRST, &first_says());
        hung_up(&mut bed, SECOND_PARTY);
        bed.receive_message(FIRST, &up.first.send(&Method::Bye, ""));
        bed.response(FIRST, 200);
        hung_up(&mut bed, THIRD);
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn what_is_offered_after_a_move_that_failed_has_every_line_that_was_agreed_on() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    // It can see as well.
    let video = format!("{}m=video 4002 RTP/AVP 96\r\n", first_says());
    let invite = hold(&mut bed, FIRST, &video);
    assert!(body(&invite).contains("m=video 4002 "), "{invite:?}");
    bed.receive_message(THIRD, &answer(&invite, 486, THIRD, ""));
    bed.request(THIRD, &Method::Ack);
    let back = bed.request(FIRST, &Method::Invite);
    assert_eq!(led_to(&back), "198.51.100.1:20000");
    assert!(
        body(&back).ends_with("m=video 0 RTP/AVP 96\r\n"),
        "{back:?}"
    );
    let answered = format!("{}m=video 0 RTP/AVP 96\r\n", first_says());
    bed.receive_message(FIRST, &answer(&back, 200, FIRST, &answered));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();

    // The other one knows of one line: that is what it is answered, and offered.
    let held = sdp("2001:db8::20", &[5000], "sendonly");
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Invite, &held));
    let carried = bed.request(FIRST, &Method::Invite);
    assert!(
        body(&carried).ends_with("m=video 0 RTP/AVP 96\r\n"),
        "{carried:?}"
    );
    let answered = answered.replace("sendrecv", "recvonly");
    bed.receive_message(FIRST, &answer(&carried, 200, FIRST, &answered));
    bed.request(FIRST, &Method::Ack);
    let ok = bed.response(SECOND_PARTY, 200);
    assert_eq!(body(&ok).matches("m=").count(), 1, "{ok:?}");
    bed.receive_message(SECOND_PARTY, &up.second.ack(""));
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    bed.response(SECOND_PARTY, 200);
    hung_up(&mut bed, FIRST);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn an_operator_ends_all_three_by_the_call_of_either_party() {
    for at in [0, 1] {
        let (mut bed, _up) = up();
        let calls = both(&bed);
        transfer(&mut bed, &calls[0].id, Who::Callee).unwrap();
        let invite = hold(&mut bed, FIRST, &first_says());
        bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
        assert!(bed.core.hang_up_by_id(bed.now, &calls[at].id));
        bed.settle();
        hung_up(&mut bed, FIRST);
        hung_up(&mut bed, SECOND_PARTY);
        let cancel = bed.request(THIRD, &Method::Cancel);
        bed.receive_message(THIRD, &cancel.respond(200).build().unwrap());
        bed.receive_message(THIRD, &answer(&invite, 487, THIRD, ""));
        bed.request(THIRD, &Method::Ack);
        bed.assert_quiet();
        bed.assert_empty();
    }
}

#[test]
fn an_operator_gives_a_move_up_by_the_call_of_the_next_one() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    let invite = hold(&mut bed, FIRST, &first_says());
    bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
    let calls = bed.core.list(None);
    let next = calls.iter().find(|call| call.to.contains("+3555")).unwrap();
    assert!(bed.core.hang_up_by_id(bed.now, &next.id));
    bed.settle();
    let cancel = bed.request(THIRD, &Method::Cancel);
    bed.receive_message(THIRD, &cancel.respond(200).build().unwrap());
    bed.receive_message(THIRD, &answer(&invite, 487, THIRD, ""));
    bed.request(THIRD, &Method::Ack);
    let back = bed.request(FIRST, &Method::Invite);
    assert_eq!(led_to(&back), "198.51.100.1:20000");
    bed.receive_message(FIRST, &answer(&back, 200, FIRST, &first_says()));
    bed.request(FIRST, &Method::Ack);
    bed.assert_quiet();
    assert_eq!(status(&bed, &first.id), Some(487));
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    bed.response(SECOND_PARTY, 200);
    hung_up(&mut bed, FIRST);
    bed.assert_empty();
}

#[test]
fn an_offer_that_nobody_waits_for_any_more_is_answered_for_the_while() {
    // Who stays has asked the other one for it, and is moved.
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    bed.receive_message(FIRST, &up.first.send(&Method::Invite, ""));
    let carried = bed.request(SECOND_PARTY, &Method::Invite);
    bed.sent.clear();
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    bed.response(FIRST, 491);
    let invite = hold(&mut bed, FIRST, &first_says());
    let ok = answer(&carried, 200, SECOND_PARTY, &second_says());
    bed.receive_message(SECOND_PARTY, &ok);
    let ack = bed.request(SECOND_PARTY, &Method::Ack);
    assert!(body(&ack).contains("a=inactive"), "{ack:?}");
    bed.sent.clear();
    bed.receive_message(THIRD, &answer(&invite, 180, THIRD, ""));
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    bed.response(SECOND_PARTY, 200);
    connect_and_part(&mut bed, &invite);
    bed.assert_quiet();
    bed.assert_empty();
}

#[test]
fn an_offer_whose_asker_hangs_up_is_answered_for_the_while() {
    let (mut bed, mut up) = up();
    let [first, _] = both(&bed);
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Invite, ""));
    let carried = bed.request(FIRST, &Method::Invite);
    bed.receive_message(FIRST, &answer(&carried, 200, FIRST, &first_says()));
    bed.response(SECOND_PARTY, 200);
    transfer(&mut bed, &first.id, Who::Callee).unwrap();
    bed.receive_message(SECOND_PARTY, &up.second.send(&Method::Bye, ""));
    let ack = bed.request(FIRST, &Method::Ack);
    assert!(body(&ack).contains("a=inactive"), "{ack:?}");
    bed.response(SECOND_PARTY, 200);
    bed.pass_ms(1_100);
    let invite = hold(&mut bed, FIRST, &first_says());
    connect_and_part(&mut bed, &invite);
    bed.assert_quiet();
    bed.assert_empty();
}
