//! Calls that the REST API asks for, and what it changes of calls.

use control::{
    FaultCode,
    media::{Audio, Side, VoiceEvent, VoiceOrder as Order},
    signal::{VoiceCall, VoiceDone, VoiceEntry, VoiceLink, VoiceOrder, VoiceUpdate},
};
use sip::message::{Message, Method};
use store::{Cause, VoiceDirection};

use super::{
    bed::*,
    voice::{WAIT, begin, offer, pick_up},
};
use crate::call::MediaNews;

pub(super) fn url(url: &str) -> VoiceLink {
    VoiceLink {
        url: url.to_owned(),
        post: true,
    }
}

pub(super) fn to_carrier() -> VoiceCall {
    VoiceCall {
        account: "AC00000000000000000000000000000000".to_owned(),
        to: "+1555".to_owned(),
        from: "+1500".to_owned(),
        entry: VoiceEntry::Url(url("http://app.test/out")),
        fallback: None,
        status: Some(url("http://app.test/status")),
        status_events: Vec::new(),
        ring_timeout_s: 20,
        time_limit_s: None,
        send_digits: None,
        record: None,
        auth: None,
    }
}

/// Has somebody called: the call's SID, and what the callee got.
pub(super) fn call(bed: &mut Bed, call: VoiceCall) -> (String, Message) {
    let order = VoiceOrder::Call(Box::new(call));
    let done = bed.core.order_voice(bed.now, &order).unwrap().unwrap();
    bed.settle();
    let VoiceDone::Queued { sid, .. } = done else {
        panic!("{done:?}");
    };
    let invite = bed.request(CALLEE, &Method::Invite);
    (sid, invite)
}

pub(super) fn update(
    bed: &mut Bed,
    sid: &str,
    update: VoiceUpdate,
) -> Result<VoiceDone, FaultCode> {
    let call = sid.to_owned();
    let order = VoiceOrder::Update { call, update };
    let done = bed.core.order_voice(bed.now, &order).unwrap();
    bed.settle();
    done.map_err(|fault| fault.code)
}

pub(super) fn answered() -> String {
    offer()
        .replace("192.0.2.10", "192.0.2.20")
        .replace("4000", "5000")
}

#[test]
fn somebody_is_called_and_hears_a_document() {
    let mut bed = Bed::new();
    let (sid, invite) = call(&mut bed, to_carrier());
    assert!(
        body(&invite).contains("m=audio 20000 RTP/AVP 0 8 101\r\n"),
        "{}",
        body(&invite)
    );
    assert!(invite.from().unwrap().uri_str().starts_with("sip:+1500@"));
    // It is one of the proxy's calls, whose id is that of the SID.
    let calls = bed.core.list(None);
    assert_eq!(format!("CA{}", calls[0].id.replace('-', "")), sid);
    assert_eq!((calls.len(), &*calls[0].source), (1, "node"));
    bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
    assert!(bed.webhooks.is_empty());
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    let told = bed.reply("http://app.test/out", "<Say>Hello</Say>");
    for part in [
        "Direction=outbound-api",
        "To=%2B1555",
        "CallStatus=in-progress",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(
        bed.mediad.only().a.remote.as_ref().unwrap().rtp.port(),
        5000
    );
    let play = bed.plays();
    assert_eq!(play.hears, Side::A);
    bed.pass_ms(1_000);
    bed.played(play.job);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    assert_eq!(
        (bed.cdr().cause, bed.cdr().from_caller.is_some()),
        (Cause::Bye, true)
    );
    bed.assert_told("completed");
}

#[test]
fn keys_are_sent_before_the_document_runs() {
    let mut bed = Bed::new();
    let order = VoiceCall {
        send_digits: Some("ww12".to_owned()),
        entry: VoiceEntry::Document("<Response><Say>Hello</Say></Response>".to_owned()),
        ..to_carrier()
    };
    let (_, invite) = call(&mut bed, order);
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.request(CALLEE, &Method::Ack);
    let play = bed.plays();
    assert_eq!(play.audio, Audio::Keys("ww12".to_owned()));
    bed.played(play.job);
    assert!(matches!(bed.plays().audio, Audio::Speech { .. }));
    let mut callee = Party::callee(&invite, CALLEE);
    bed.receive_message(CALLEE, &callee.send(&Method::Bye, ""));
    bed.response(CALLEE, 200);
    bed.assert_told("completed");
}

#[test]
fn what_becomes_of_a_call_that_is_not_answered_is_told() {
    for (status, told) in [(486, "busy"), (480, "no-answer"), (404, "failed")] {
        let mut bed = Bed::new();
        let (_, invite) = call(&mut bed, to_carrier());
        bed.receive_message(CALLEE, &answer(&invite, status, CALLEE, ""));
        bed.request(CALLEE, &Method::Ack);
        // A carrier's other host may be tried after some of these.
        while let Some(again) = bed.sent.pop_front() {
            if again.message.method() == Some(&Method::Invite) {
                bed.receive_message(SECOND, &answer(&again.message, status, SECOND, ""));
            }
        }
        assert_eq!(bed.cdr().status, status);
        bed.assert_told(told);
    }
}

#[test]
fn a_call_rings_no_longer_than_was_asked_for() {
    let mut bed = Bed::new();
    let (_, invite) = call(&mut bed, to_carrier());
    bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
    bed.pass_ms(20_100);
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.receive_message(CALLEE, &answer(&invite, 487, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.sent.clear();
    bed.assert_told("no-answer");
}

#[test]
fn a_call_is_called_off_and_one_that_is_answered_is_not() {
    let mut bed = Bed::new();
    let (sid, invite) = call(&mut bed, to_carrier());
    bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
    assert_eq!(
        update(&mut bed, &sid, VoiceUpdate::Cancel),
        Ok(VoiceDone::Done)
    );
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.receive_message(CALLEE, &answer(&invite, 487, CALLEE, ""));
    bed.request(CALLEE, &Method::Ack);
    bed.assert_told("canceled");

    let mut bed = Bed::new();
    let request = begin(&mut bed, "up");
    bed.reply("http://app.test/voice", WAIT);
    pick_up(&mut bed, &request);
    let sid = format!("CA{}", bed.core.list(None)[0].id.replace('-', ""));
    let conflict = Err(FaultCode::Conflict);
    assert_eq!(update(&mut bed, &sid, VoiceUpdate::Cancel), conflict);
    assert_eq!(
        update(&mut bed, &sid, VoiceUpdate::Complete),
        Ok(VoiceDone::Done)
    );
    let bye = bed.request(CALLER, &Method::Bye);
    assert_eq!(update(&mut bed, &sid, VoiceUpdate::Complete), conflict);
    bed.receive_message(CALLER, &bye.respond(200).build().unwrap());
    bed.assert_told("completed");
    let order = VoiceOrder::Update {
        call: sid,
        update: VoiceUpdate::Complete,
    };
    assert!(bed.core.order_voice(bed.now, &order).is_none());
}

#[test]
fn a_call_goes_on_with_another_document() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "redirect");
    bed.reply("http://app.test/voice", WAIT);
    let (mut caller, _) = pick_up(&mut bed, &request);
    let job = bed.plays().job;
    let sid = format!("CA{}", bed.core.list(None)[0].id.replace('-', ""));
    let redirect = VoiceUpdate::Change {
        entry: Some(VoiceEntry::Document(
            "<Response><Play>http://app.test/b.wav</Play></Response>".to_owned(),
        )),
        fallback: None,
        status: None,
        time_limit_s: None,
    };
    assert_eq!(update(&mut bed, &sid, redirect), Ok(VoiceDone::Done));
    let orders = bed.orders();
    assert_eq!(orders[0], Order::Stop { job });
    bed.receive_message(CALLER, &caller.send(&Method::Bye, ""));
    bed.response(CALLER, 200);
    bed.assert_told("completed");
}

#[test]
fn orders_that_cannot_be_done_say_why() {
    let mut bed = Bed::new();
    let code = |bed: &mut Bed, call: VoiceCall| {
        let order = VoiceOrder::Call(Box::new(call));
        let done = bed.core.order_voice(bed.now, &order).unwrap();
        done.unwrap_err().code
    };
    let account = "AC99999999999999999999999999999999".to_owned();
    let nobodys = VoiceCall {
        account,
        ..to_carrier()
    };
    assert_eq!(code(&mut bed, nobodys), FaultCode::NotFound);
    bed.core.handle_media_news(bed.now, MediaNews::Down);
    assert_eq!(code(&mut bed, to_carrier()), FaultCode::Unavailable);
    bed.core.set_draining(true);
    assert_eq!(code(&mut bed, to_carrier()), FaultCode::Conflict);
    bed.assert_empty();
}

#[test]
fn a_call_without_a_session_fails() {
    let mut bed = Bed::new();
    bed.mediad.fails = true;
    let order = VoiceOrder::Call(Box::new(to_carrier()));
    assert!(bed.core.order_voice(bed.now, &order).unwrap().is_ok());
    bed.settle();
    bed.assert_quiet();
    bed.assert_told("failed");
}

#[test]
fn an_event_of_a_session_that_is_gone_is_nobodys() {
    let mut bed = Bed::new();
    let (side, digit) = (Side::A, '1');
    let event = VoiceEvent::Digit { side, digit };
    let id = control::media::SessionId(*b"mark\0\0\0\0nothing!");
    bed.core
        .handle_media_news(bed.now, MediaNews::Voice(id, event));
    bed.assert_empty();
}

#[test]
fn a_callee_who_answers_as_it_is_called_off_is_hung_up_and_counts_as_one_who_did_not() {
    let mut bed = Bed::new();
    let (sid, invite) = call(&mut bed, to_carrier());
    bed.receive_message(CALLEE, &answer(&invite, 180, CALLEE, ""));
    bed.pass_ms(20_100);
    let cancel = bed.request(CALLEE, &Method::Cancel);
    bed.receive_message(CALLEE, &answer(&invite, 200, CALLEE, &answered()));
    bed.receive_message(CALLEE, &cancel.respond(200).build().unwrap());
    bed.request(CALLEE, &Method::Ack);
    let bye = bed.request(CALLEE, &Method::Bye);
    bed.receive_message(CALLEE, &bye.respond(200).build().unwrap());
    let row = bed.rows.iter().rfind(|row| row.sid == sid).unwrap();
    assert_eq!(row.status, store::VoiceStatus::NoAnswer);
    bed.sent.clear();
    bed.assert_told("no-answer");
}

#[test]
fn a_call_to_a_number_of_the_node_is_two_of_applications() {
    let mut bed = Bed::new();
    let order = VoiceOrder::Call(Box::new(VoiceCall {
        to: "+55".to_owned(),
        ..to_carrier()
    }));
    let done = bed.core.order_voice(bed.now, &order).unwrap().unwrap();
    bed.settle();
    let VoiceDone::Queued { sid: calls, .. } = done else {
        panic!("{done:?}");
    };
    let told = bed.reply("http://app.test/voice", WAIT);
    let is_called = |row: &&store::VoiceCallRow| row.direction == VoiceDirection::Inbound;
    let row = bed.rows.iter().find(is_called).unwrap();
    assert!(row.sid != calls && told.contains(&row.sid), "{told}");
    // Both are the same call of the proxy's.
    let both = bed.rows.iter().filter(|row| row.sid == calls).chain([row]);
    let cdrs: Vec<_> = both.map(|row| row.cdr.unwrap().to_string()).collect();
    let call = bed.core.list(None).remove(0);
    assert!(cdrs.len() > 1 && cdrs.iter().all(|id| *id == call.id));
    // The SID leads to the one that it was given for.
    bed.reply("http://app.test/out", WAIT);
    assert_eq!(
        update(&mut bed, &calls, VoiceUpdate::Complete),
        Ok(VoiceDone::Done)
    );
    let mut ended = std::mem::take(&mut bed.webhooks);
    assert!(ended.remove(0).unwrap().1.body.unwrap().contains(&calls));
}
