//! Ends: by the party at every step, and by documents.

use super::super::*;
use super::host::{Host, SECOND, VOICE, setup, told_of_all};

#[test]
fn only_reject_leaves_a_call_unanswered() {
    for (document, did, status) in [
        (
            "<Response><Reject/></Response>",
            &["refuse with 603"][..],
            CallStatus::NoAnswer,
        ),
        (
            "<Response><Reject reason=\"busy\"/><Say>x</Say></Response>",
            &["refuse with 486"],
            CallStatus::Busy,
        ),
        (
            "<Response><Hangup/></Response>",
            &["answer", "hang up the party"],
            CallStatus::Completed,
        ),
        (
            "<Response/>",
            &["answer", "hang up the party"],
            CallStatus::Completed,
        ),
    ] {
        let mut host = Host::with(document);
        assert_eq!(host.did()[1..], *did);
        assert_eq!(host.call.status(), status);
        assert!(host.call.is_finished());
    }
    let mut host = Host::with("<Response><Say>x</Say><Reject/></Response>");
    host.sleep(2 * SECOND);
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("hang up the party")
    );
}

#[test]
fn a_pause_at_the_start_is_heard_as_ringing() {
    let mut host = Host::with("<Response><Pause length=\"4\"/><Reject/></Response>");
    host.sleep(4 * SECOND);
    host.assert_did(&["POST https://app.test/voice", "ring", "refuse with 603"]);
}

/// Whatever the call is at when the party hangs up, there is nothing more to do but to tell.
#[test]
fn nothing_is_done_any_more_after_the_party_has_hung_up() {
    for step in [
        "<Say>x</Say>",
        "<Pause length=\"60\"/>",
        "<Gather input=\"dtmf speech\" partialResultCallback=\"/p\"><Say>x</Say></Gather>",
        "<Gather><Pause length=\"9\"/></Gather>",
        "<Record recordingStatusCallback=\"/r\"/>",
        "<Dial action=\"/done\" record=\"true\">100</Dial>",
        "<Dial><Client url=\"/silent\">a</Client><Client>b</Client></Dial>",
        "<Connect><Stream url=\"wss://b.test/\" statusCallback=\"/s\"/></Connect>",
        "<Start><Stream url=\"wss://b.test/\" statusCallback=\"/s\"/></Start><Pause length=\"9\"/>",
        "<Refer action=\"/done\"><Sip>sip:a@b.test</Sip></Refer>",
        "<Message action=\"/done\">x</Message>",
        "<Redirect>/silent</Redirect>",
    ] {
        for answers in [false, true] {
            let document = format!("<Response>{step}<Say>after</Say></Response>");
            let mut host = Host::of(told_of_all(), &[(VOICE, &document)]);
            if let Some(leg) = host.last.legs.first().copied().filter(|_| answers) {
                host.tell(Event::Answered { leg });
            }
            let called = host.last.legs.len();
            let before = host.did();
            host.party_hangs_up();
            // All that was playing would be over by now, and everybody has answered or is late.
            host.sleep(120 * SECOND);
            let allowed = ["POST ", "hang up leg ", "cancel the request", "Warning "];
            let did = host.did();
            for did in &did {
                assert!(
                    allowed.iter().any(|start| did.starts_with(start)),
                    "{step}: {did}"
                );
            }
            let hung_up = before
                .iter()
                .chain(&did)
                .filter(|did| did.starts_with("hang up leg "))
                .count();
            assert_eq!(hung_up, called, "{step}");
            assert!(host.call.is_finished(), "{step}: {:?}", host.call);
            assert_eq!(host.call.poll_timeout(), None, "{step}");
        }
    }
}

#[test]
fn a_caller_who_gives_up_before_the_webhook_answers_leaves_nothing() {
    let mut host = Host::of(setup(), &[]);
    host.did();
    host.party_hangs_up();
    host.assert_did(&["cancel the request"]);
    assert_eq!(host.call.status(), CallStatus::Canceled);
    assert!(host.call.is_finished());
    assert_eq!(host.call.poll_timeout(), None);
}

#[test]
fn what_crosses_the_end_is_ignored() {
    let mut host = Host::with("<Response><Say>x</Say></Response>");
    let job = host.last.play.unwrap();
    host.party_hangs_up();
    host.did();
    host.press("123");
    host.tell(Event::Played {
        job,
        result: Ok(()),
    });
    host.party_hangs_up();
    host.tell(Event::Answered { leg: LegId::PARTY });
    host.tell(Event::Ringing { leg: LegId::PARTY });
    host.tell(Event::Sent {
        job,
        result: Err("no".to_owned()),
    });
    host.assert_did(&[]);
}
