//! `<Dial>`.

use std::time::Duration;

use super::super::*;
use super::host::{Host, Page, SECOND, VOICE, link, setup};

fn dial(attributes: &str, nouns: &str) -> Host {
    let document =
        format!("<Response><Dial action=\"/done\" {attributes}>{nouns}</Dial></Response>");
    Host::of(setup(), &[(VOICE, &document)])
}

fn done(host: &Host) -> Params {
    host.asked("https://app.test/done")
}

fn answers(host: &mut Host, number: usize) {
    let leg = host.leg(number);
    host.tell(Event::Answered { leg });
}

#[test]
fn the_two_are_connected_until_one_hangs_up() {
    let mut host = dial("", "+1 (555) 123-4567");
    host.assert_did(&[
        "POST https://app.test/voice",
        "answer",
        "ringing tone",
        "call +15551234567 from +15550100",
    ]);
    host.sleep(3 * SECOND);
    let leg = host.leg(0);
    host.tell(Event::Ringing { leg });
    answers(&mut host, 0);
    host.assert_did(&["stop", &format!("bridge leg {}", leg.0)]);
    host.sleep(Duration::from_millis(61_500));
    host.ends(leg, Cause::HungUp);
    host.assert_did(&["POST https://app.test/done"]);
    let params = done(&host);
    assert_eq!(params.get("DialCallStatus"), Some("completed"));
    assert_eq!(params.get("DialCallDuration"), Some("61"));
    assert_eq!(params.get("DialBridged"), Some("true"));
    assert!(
        params
            .get("DialCallSid")
            .is_some_and(|sid| sid.starts_with("CA") && sid.len() == 34)
    );
    assert_ne!(params.get("DialCallSid"), params.get("CallSid"));
}

#[test]
fn answer_on_bridge_leaves_the_caller_ringing() {
    let mut host = dial(
        "answerOnBridge=\"true\"",
        "<Client>bob</Client><Client>carol</Client>",
    );
    host.assert_did(&[
        "POST https://app.test/voice",
        "call client:bob from +15550100",
        "call client:carol from +15550100",
    ]);
    for number in [0, 1, 0] {
        let leg = host.leg(number);
        host.tell(Event::Ringing { leg });
    }
    host.assert_did(&["ring"]);
    answers(&mut host, 1);
    let (bob, carol) = (host.leg(0).0, host.leg(1).0);
    host.assert_did(&[
        &format!("hang up leg {bob}"),
        "answer",
        &format!("bridge leg {carol}"),
    ]);
    // An answer that crossed the hanging up is nobody's.
    answers(&mut host, 0);
    host.assert_did(&[]);
}

#[test]
fn who_does_not_answer_in_time_is_given_up() {
    let mut host = dial("timeout=\"10\"", "<Number>+15550001</Number>");
    host.did();
    host.sleep(10 * SECOND);
    let leg = host.leg(0).0;
    host.assert_did(&[
        &format!("hang up leg {leg}"),
        "stop",
        "POST https://app.test/done",
    ]);
    let params = done(&host);
    assert_eq!(params.get("DialCallStatus"), Some("no-answer"));
    assert_eq!(params.get("DialBridged"), Some("false"));
    assert_eq!(params.get("DialCallDuration"), None);
}

#[test]
fn how_nobody_answers_is_told_by_what_says_most() {
    for (first, second, status) in [
        (Cause::Busy, Cause::Failed, "busy"),
        (Cause::Failed, Cause::NoAnswer, "no-answer"),
        (Cause::Failed, Cause::Failed, "failed"),
        (Cause::HungUp, Cause::Canceled, "busy"),
    ] {
        let mut host = dial("", "<Number>+15550001</Number><Sip>sip:a@b.test</Sip>");
        let (one, two) = (host.leg(0), host.leg(1));
        host.ends(one, first);
        host.ends(two, second);
        assert_eq!(done(&host).get("DialCallStatus"), Some(status));
    }
}

#[test]
fn in_turn_the_next_is_called_when_one_is_gone() {
    let mut host = dial(
        "sequential=\"true\" timeout=\"5\" callerId=\"+15559\"",
        "<Number>1</Number><Number>2</Number><Number>3</Number>",
    );
    host.did();
    let leg = host.leg(0);
    host.sleep(3 * SECOND);
    host.ends(leg, Cause::Busy);
    host.assert_did(&["call 2 from +15559"]);
    // Each may ring as long as the first.
    host.sleep(Duration::from_millis(4999));
    host.assert_did(&[]);
    host.sleep(Duration::from_millis(1));
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("call 3 from +15559")
    );
    answers(&mut host, 2);
    let leg = host.leg(2);
    host.ends(leg, Cause::HungUp);
    assert_eq!(done(&host).get("DialCallStatus"), Some("completed"));
}

#[test]
fn without_an_action_the_next_verb_follows() {
    let mut host = Host::with("<Response><Dial>100</Dial><Say>Busy</Say></Response>");
    host.did();
    let leg = host.leg(0);
    host.ends(leg, Cause::Busy);
    host.assert_did(&["stop", "say \"Busy\" to the party"]);
}

#[test]
fn the_called_hears_a_document_before_the_two_are_connected() {
    let noun = "<Number url=\"whisper?x=1\" sendDigits=\"w1\">100</Number>";
    let mut host = dial("answerOnBridge=\"true\"", noun);
    let whisper = "<Response><Record/><Gather numDigits=\"1\" action=\"/screen\"><Say>Press 1</Say></Gather><Hangup/></Response>";
    host.document("https://app.test/whisper", whisper);
    host.document("https://app.test/screen", "<Response/>");
    host.did();
    answers(&mut host, 0);
    let leg = host.leg(0);
    let to = format!("leg {}", leg.0);
    host.assert_did(&[&format!("send w1 to {to}")]);
    host.sleep(2 * SECOND);
    let did = host.did();
    assert_eq!(did[0], "POST https://app.test/whisper?x=1");
    assert!(did[1].starts_with("Warning 12200"), "{did:?}");
    assert_eq!(did[2], format!("say \"Press 1\" to {to}"));
    let params = host.asked("https://app.test/whisper");
    assert_eq!(params.get("Direction"), Some("outbound-dial"));
    assert_eq!(params.get("CallStatus"), Some("in-progress"));
    assert_eq!(params.get("ParentCallSid"), Some(host.call.sid().as_str()));
    assert_eq!(params.get("To"), Some("100"));
    // The party's keys are its own.
    host.press("1");
    host.assert_did(&[]);
    host.tell(Event::Digit { leg, digit: '1' });
    host.assert_did(&[
        "stop",
        "POST https://app.test/screen",
        "answer",
        &format!("bridge {to}"),
    ]);
}

#[test]
fn a_whisper_that_hangs_up_or_cannot_be_had_connects_nobody() {
    for whisper in ["<Response><Hangup/></Response>", "<html/>"] {
        let mut host = dial("", "<Client url=\"/whisper\">bob</Client>");
        host.document("https://app.test/whisper", whisper);
        answers(&mut host, 0);
        let params = done(&host);
        assert_eq!(params.get("DialCallStatus"), Some("completed"));
        assert_eq!(params.get("DialBridged"), Some("false"));
        let hung_up = format!("hang up leg {}", host.leg(0).0);
        assert!(host.did().contains(&hung_up));
    }
}

#[test]
fn the_two_talk_no_longer_than_they_may() {
    let mut host = dial("timeLimit=\"60\"", "100");
    answers(&mut host, 0);
    host.did();
    host.sleep(60 * SECOND);
    let leg = host.leg(0).0;
    host.assert_did(&[&format!("hang up leg {leg}"), "POST https://app.test/done"]);
    assert_eq!(done(&host).get("DialCallDuration"), Some("60"));
}

#[test]
fn a_star_hangs_up_the_other_where_that_is_asked_for() {
    let mut host = dial("hangupOnStar=\"true\"", "100");
    host.press("*");
    answers(&mut host, 0);
    host.press("1");
    host.did();
    host.press("*");
    let leg = host.leg(0).0;
    host.assert_did(&[&format!("hang up leg {leg}"), "POST https://app.test/done"]);
    let mut host = dial("", "100");
    answers(&mut host, 0);
    host.did();
    host.press("*");
    host.assert_did(&[]);
}

#[test]
fn a_recording_of_both_is_named_in_the_action() {
    let mut host = dial(
        "record=\"record-from-answer-dual\" recordingStatusCallback=\"/rec\"",
        "100",
    );
    assert!(!host.did().iter().any(|did| did.starts_with("record")));
    answers(&mut host, 0);
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("record Both x2")
    );
    let (leg, job) = (host.leg(0), host.last.record.unwrap());
    host.sleep(10 * SECOND);
    host.ends(leg, Cause::HungUp);
    host.assert_did(&["stop recording", "POST https://app.test/done"]);
    let url = done(&host)
        .get("RecordingUrl")
        .unwrap_or_default()
        .to_owned();
    assert!(url.starts_with(
        "https://api.test/2010-04-01/Accounts/AC01010101010101010101010101010101/Recordings/RE"
    ));
    host.tell(Event::Recorded {
        job,
        result: Ok(10 * SECOND),
    });
    let params = host.asked("https://app.test/rec");
    assert_eq!(params.get("RecordingTrack"), Some("both"));
    assert_eq!(params.get("RecordingUrl"), Some(&*url));
    assert_eq!(params.get("RecordingSource"), Some("DialVerb"));
    assert_eq!(params.get("RecordingChannels"), Some("2"));
}

#[test]
fn nobody_to_call_is_failed() {
    let mut host = dial("", "<Conference>Room</Conference>");
    assert_eq!(host.notices, [12200, 13223]);
    assert_eq!(done(&host).get("DialCallStatus"), Some("failed"));
    host.did();
    // However many there are, one after another and not one within another.
    let many = format!("<Response>{}</Response>", "<Dial/>".repeat(9000));
    let host = Host::with(&many);
    assert!(host.call.is_finished());
}

#[test]
fn the_party_that_hangs_up_takes_everybody_with_it() {
    let mut host = dial("", "<Number>1</Number><Number>2</Number>");
    host.did();
    host.party_hangs_up();
    let (one, two) = (host.leg(0).0, host.leg(1).0);
    host.assert_did(&[
        &format!("hang up leg {one}"),
        &format!("hang up leg {two}"),
        "POST https://app.test/done",
    ]);
    let params = done(&host);
    assert_eq!(params.get("DialCallStatus"), Some("canceled"));
    assert_eq!(params.get("CallStatus"), Some("completed"));
    // What the action answers is not run.
    let id = host.requests.last().unwrap().id;
    host.tell(Event::Response {
        id,
        result: Ok(Response {
            status: 200,
            body: b"<Response><Say>x</Say></Response>".to_vec(),
            ..Response::default()
        }),
    });
    host.assert_did(&[]);
    assert!(host.call.is_finished());
}

#[test]
fn the_caller_is_not_answered_while_the_called_hears_something() {
    let mut host = dial(
        "answerOnBridge=\"true\"",
        "<Client url=\"/whisper\">bob</Client>",
    );
    let whisper = "<Response><Say>A call for you</Say></Response>";
    host.document("https://app.test/whisper", whisper);
    host.did();
    answers(&mut host, 0);
    let leg = host.leg(0).0;
    host.assert_did(&[
        "POST https://app.test/whisper",
        &format!("say \"A call for you\" to leg {leg}"),
    ]);
    host.sleep(2 * SECOND);
    host.assert_did(&["answer", &format!("bridge leg {leg}")]);
}

#[test]
fn a_recording_from_ringing_begins_with_it_and_is_one() {
    let mut host = dial("record=\"record-from-ringing\"", "100");
    let records = |did: &[String]| did.iter().filter(|did| did.starts_with("record")).count();
    assert_eq!(records(&host.did()), 1);
    answers(&mut host, 0);
    assert_eq!(records(&host.did()), 0);
    // Nothing is recorded of who has not been answered.
    let mut host = dial(
        "answerOnBridge=\"true\" record=\"record-from-ringing\"",
        "100",
    );
    assert_eq!(records(&host.did()), 0);
    answers(&mut host, 0);
    assert_eq!(records(&host.did()), 1);
}

#[test]
fn the_fallback_url_is_the_partys_alone() {
    let document =
        "<Response><Dial><Client url=\"/whisper\">bob</Client></Dial><Say>Sorry</Say></Response>";
    let setup = Setup {
        fallback: Some(link("https://app.test/fallback")),
        ..setup()
    };
    let mut host = Host::of(setup, &[(VOICE, document)]);
    host.page("https://app.test/whisper", Page::Status(500));
    answers(&mut host, 0);
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("say \"Sorry\" to the party")
    );
}
