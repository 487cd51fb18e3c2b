//! `<Record>`.

use std::time::Duration;

use super::super::*;
use super::host::{Host, SECOND, VOICE, setup};

const MAILBOX: &str = "<Response><Record action=\"/done\" maxLength=\"30\" recordingStatusCallback=\"/rec\" \
    recordingStatusCallbackEvent=\"in-progress completed absent\"/><Say>Nothing</Say></Response>";

fn mailbox() -> Host {
    let mut host = Host::of(setup(), &[(VOICE, MAILBOX)]);
    host.assert_did(&["POST https://app.test/voice", "answer", "record Inbound x1"]);
    let job = host.last.record.unwrap();
    host.tell(Event::RecordingStarted { job });
    host.assert_did(&["POST https://app.test/rec"]);
    let id = host.requests.last().unwrap().id;
    host.tell(Event::Response {
        id,
        result: Ok(Response {
            status: 204,
            ..Response::default()
        }),
    });
    host
}

fn recorded(host: &mut Host, length: Duration) {
    let job = host.last.record.unwrap();
    host.tell(Event::Recorded {
        job,
        result: Ok(length),
    });
}

#[test]
fn a_key_ends_it_and_the_action_is_told_where_it_is() {
    let mut host = mailbox();
    let params = host.asked("https://app.test/rec");
    assert_eq!(params.get("RecordingStatus"), Some("in-progress"));
    host.sleep(12 * SECOND);
    host.press("#1");
    host.assert_did(&["stop recording"]);
    recorded(&mut host, Duration::from_millis(11_200));
    host.assert_did(&["POST https://app.test/rec", "POST https://app.test/done"]);
    let params = host.asked("https://app.test/done");
    assert_eq!(params.get("RecordingDuration"), Some("12"));
    assert_eq!(params.get("Digits"), Some("#"));
    let sid = params.get("RecordingSid").unwrap().to_owned();
    let url = format!(
        "https://api.test/2010-04-01/Accounts/AC01010101010101010101010101010101/Recordings/{sid}"
    );
    assert_eq!(params.get("RecordingUrl"), Some(&*url));
    let params = host.asked("https://app.test/rec");
    let names: Vec<_> = params.iter().map(|(name, _)| name).collect();
    let expected = [
        "AccountSid",
        "CallSid",
        "RecordingSid",
        "RecordingUrl",
        "RecordingStatus",
        "RecordingDuration",
        "RecordingChannels",
        "RecordingStartTime",
        "RecordingSource",
        "RecordingTrack",
    ];
    assert_eq!(names, expected);
    assert_eq!(params.get("RecordingSource"), Some("RecordVerb"));
    assert_eq!(
        params.get("RecordingStartTime"),
        Some("Mon, 30 Nov 2026 01:50:13 +0000")
    );
}

#[test]
fn it_lasts_no_longer_than_it_may() {
    let mut host = mailbox();
    host.did();
    host.sleep(30 * SECOND);
    host.assert_did(&["stop recording"]);
    recorded(&mut host, 30 * SECOND);
    assert_eq!(host.asked("https://app.test/done").get("Digits"), Some(""));
}

#[test]
fn silence_falls_through() {
    let mut host = mailbox();
    host.did();
    recorded(&mut host, Duration::ZERO);
    host.assert_did(&["POST https://app.test/rec", "say \"Nothing\" to the party"]);
    assert_eq!(
        host.asked("https://app.test/rec").get("RecordingStatus"),
        Some("absent")
    );
}

#[test]
fn who_hangs_up_has_left_a_message() {
    let mut host = mailbox();
    host.did();
    host.party_hangs_up();
    host.assert_did(&[]);
    assert!(host.call.is_over() && !host.call.is_finished());
    recorded(&mut host, 5 * SECOND);
    host.assert_did(&["POST https://app.test/rec", "POST https://app.test/done"]);
    let params = host.asked("https://app.test/done");
    assert_eq!(params.get("Digits"), Some("hangup"));
    assert_eq!(params.get("CallStatus"), Some("completed"));
    host.sleep(15 * SECOND);
    assert!(host.call.is_finished());
}

#[test]
fn an_engine_that_says_no_more_is_not_waited_for() {
    let mut host = mailbox();
    host.press("#");
    host.did();
    host.sleep(30 * SECOND);
    let did = host.did();
    assert_eq!(
        did.last().map(String::as_str),
        Some("say \"Nothing\" to the party")
    );
    let mut host = mailbox();
    host.party_hangs_up();
    host.sleep(45 * SECOND);
    assert!(host.call.is_finished());
}

#[test]
fn its_callback_is_relative_to_the_document_that_recorded() {
    let document = "<Response><Start><Stream name=\"s\" url=\"wss://b.test\" statusCallback=\"stream\"/></Start>\
        <Dial record=\"true\" recordingStatusCallback=\"rec\">100</Dial>\
        <Redirect>https://other.test/x/next</Redirect></Response>";
    let mut host = Host::of(setup(), &[(VOICE, document)]);
    host.document(
        "https://other.test/x/next",
        "<Response><Pause length=\"9\"/></Response>",
    );
    let leg = host.leg(0);
    host.tell(Event::Answered { leg });
    host.ends(leg, Cause::HungUp);
    host.did();
    recorded(&mut host, 5 * SECOND);
    host.assert_did(&["POST https://app.test/rec"]);
    host.party_hangs_up();
    host.assert_did(&["POST https://app.test/stream"]);
    let params = host.asked("https://app.test/stream");
    assert_eq!(params.get("StreamEvent"), Some("stream-stopped"));
}

#[test]
fn who_hangs_up_at_once_has_left_none() {
    let mut host = mailbox();
    host.party_hangs_up();
    host.did();
    recorded(&mut host, Duration::ZERO);
    host.assert_did(&["POST https://app.test/rec"]);
    assert_eq!(
        host.asked("https://app.test/rec").get("RecordingStatus"),
        Some("absent")
    );
}
