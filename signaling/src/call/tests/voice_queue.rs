//! Calls of the REST API that wait for the rate of their account.

use std::sync::Arc;

use control::{
    FaultCode,
    config::Config,
    signal::{VoiceCall, VoiceDone, VoiceOrder, VoiceUpdate},
};
use sip::message::{Message, Method};
use store::VoiceStatus;

use super::{
    bed::*,
    voice::begin,
    voice_api::{to_carrier, update},
};
use crate::{call::MediaNews, directory::Directory};

/// Asks for a call: its SID, and how long it is to wait in milliseconds.
fn ask(bed: &mut Bed) -> Result<(String, u64), FaultCode> {
    ask_for(bed, &to_carrier().account)
}

fn ask_for(bed: &mut Bed, account: &str) -> Result<(String, u64), FaultCode> {
    let order = VoiceOrder::Call(Box::new(VoiceCall {
        account: account.to_owned(),
        ..to_carrier()
    }));
    let done = bed.core.order_voice(bed.now, &order).unwrap();
    bed.settle();
    match done.map_err(|fault| fault.code)? {
        VoiceDone::Queued { sid, queue_ms } => Ok((sid, queue_ms)),
        other => panic!("{other:?}"),
    }
}

/// The INVITEs that the callee got.
fn invites(bed: &mut Bed) -> Vec<Message> {
    let sent = bed.sent.drain(..).map(|sent| sent.message);
    let is_invite = |message: &Message| message.method() == Some(&Method::Invite);
    sent.filter(is_invite).collect()
}

fn refuse(bed: &mut Bed, invites: &[Message]) {
    for invite in invites {
        bed.receive_message(CALLEE, &answer(invite, 404, CALLEE, ""));
    }
    while let Some(again) = bed.sent.pop_front() {
        if again.message.method() == Some(&Method::Invite) {
            bed.receive_message(SECOND, &answer(&again.message, 404, SECOND, ""));
        }
    }
}

fn last_row(bed: &Bed, sid: &str) -> store::VoiceCallRow {
    bed.rows.iter().rfind(|row| row.sid == sid).unwrap().clone()
}

#[test]
fn calls_begin_one_after_another_at_the_rate_of_their_account() {
    let mut bed = Bed::new();
    let began = bed.now;
    let asked: Vec<_> = (0..4).map(|_| ask(&mut bed).unwrap()).collect();
    let waits: Vec<_> = asked.iter().map(|(_, wait)| *wait).collect();
    // Ten a second is what an account has unless told.
    assert_eq!(waits, [0, 100, 200, 300]);
    assert_eq!(bed.metrics.voice_queued.get(), 3);
    let mut all = invites(&mut bed);
    assert_eq!(all.len(), 1);
    let second = last_row(&bed, &asked[1].0);
    assert_eq!(
        (second.status, second.queue_ms, second.started),
        (VoiceStatus::Queued, 100, None)
    );
    for (number, _) in asked.iter().enumerate().skip(1) {
        bed.pass_ms(99);
        assert!(invites(&mut bed).is_empty(), "{number}");
        bed.pass_ms(1);
        all.extend(invites(&mut bed));
        assert_eq!(all.len(), number + 1);
    }
    assert_eq!((bed.now - began).as_millis(), 300);
    let waits = &bed.metrics.voice_queue;
    assert_eq!(waits.get_sample_count(), 4);
    assert!((waits.get_sample_sum() - 0.6).abs() < 1e-9);
    for (sid, wait) in &asked {
        let row = last_row(&bed, sid);
        assert_eq!((row.status, row.queue_ms), (VoiceStatus::Ringing, *wait));
    }
    refuse(&mut bed, &all);
    for _ in &asked {
        let told = bed.reply_with("http://app.test/status", Ok(String::new()));
        assert!(told.contains("CallStatus=failed"), "{told}");
    }
    bed.assert_empty();
}

#[test]
fn a_call_is_called_off_in_the_queue() {
    let mut bed = Bed::new();
    ask(&mut bed).unwrap();
    let (sid, _) = ask(&mut bed).unwrap();
    let first = invites(&mut bed);
    bed.pass_ms(40);
    assert_eq!(
        update(&mut bed, &sid, VoiceUpdate::Cancel),
        Ok(VoiceDone::Done)
    );
    let row = last_row(&bed, &sid);
    assert_eq!(
        (row.status, row.queue_ms, row.started),
        (VoiceStatus::Canceled, 40, None)
    );
    let told = bed.reply_with("http://app.test/status", Ok(String::new()));
    assert!(
        told.contains("CallStatus=canceled") && told.contains(&sid),
        "{told}"
    );
    bed.pass_ms(200);
    assert!(invites(&mut bed).is_empty());
    refuse(&mut bed, &first);
    bed.assert_told("failed");
}

#[test]
fn a_queue_that_is_full_takes_no_more() {
    let mut bed = Bed::new();
    let mut asked = Vec::new();
    let refused = loop {
        match ask(&mut bed) {
            Ok((sid, _)) => asked.push(sid),
            Err(code) => break code,
        }
    };
    assert_eq!((asked.len(), refused), (10_000, FaultCode::Exhausted));
    // A node that stops makes none of them, and tells so.
    bed.core.stop(bed.now);
    bed.settle();
    bed.webhooks.clear();
    let failed = bed
        .rows
        .iter()
        .filter(|row| row.status == VoiceStatus::Failed);
    assert_eq!(failed.count(), 10_000);
    bed.core.give_up(bed.now);
    bed.settle();
    bed.assert_empty();
}

#[test]
fn calls_that_wait_take_no_room_of_those_that_come_in() {
    let mut bed = Bed::new();
    let other = "AC00000000000000000000000000000001";
    let config = format!("{CONFIG}[[accounts]]\nsid = \"{other}\"\ntoken = \"0123456789abcdef\"\n");
    let config = Config::parse(&config, []).unwrap().config;
    bed.core.directory = Arc::new(Directory::new(&config, None));
    let mut asked = 0;
    for account in [&*to_carrier().account, other] {
        while ask_for(&mut bed, account).is_ok() {
            asked += 1;
        }
    }
    // The first of each account does not wait.
    assert_eq!(asked, 16_384 + 2);
    bed.sent.clear();
    begin(&mut bed, "in");
    assert_eq!(bed.webhooks[0].1.url, "http://app.test/voice");
}

#[test]
fn a_node_that_drains_or_has_no_mediad_makes_none_of_those_that_wait() {
    for drains in [true, false] {
        let mut bed = Bed::new();
        ask(&mut bed).unwrap();
        let (sid, _) = ask(&mut bed).unwrap();
        let first = invites(&mut bed);
        match drains {
            true => bed.core.set_draining(true),
            false => bed.core.handle_media_news(bed.now, MediaNews::Down),
        }
        bed.pass_ms(100);
        assert!(invites(&mut bed).is_empty());
        assert_eq!(last_row(&bed, &sid).status, VoiceStatus::Failed);
        let told = bed.reply_with("http://app.test/status", Ok(String::new()));
        assert!(told.contains("CallStatus=failed"), "{told}");
        refuse(&mut bed, &first);
        bed.assert_told("failed");
    }
}
