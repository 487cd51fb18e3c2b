//! Streams, REFER and messages.

use super::super::*;
use super::host::{Host, Page, SECOND, TOKEN, VOICE, setup};
use crate::signature;

#[test]
fn a_fork_starts_and_the_next_verb_runs_at_once() {
    let document = "<Response><Start><Stream name=\"s\" url=\"wss://bot.test/s?x=1\" track=\"both_tracks\" \
        statusCallback=\"/stream\"><Parameter name=\"a\" value=\"1\"/></Stream></Start><Say>Hello</Say>\
        <Stop><Stream name=\"s\"/></Stop><Stop><Stream name=\"s\"/></Stop></Response>";
    let mut host = Host::of(setup(), &[(VOICE, document)]);
    host.page("https://app.test/stream", Page::Status(200));
    host.assert_did(&[
        "POST https://app.test/voice",
        "answer",
        "fork Both to wss://bot.test/s?x=1",
        "say \"Hello\" to the party",
    ]);
    let job = host.last.stream.unwrap();
    host.tell(Event::StreamStarted { job });
    let params = host.asked("https://app.test/stream");
    let names: Vec<_> = params.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "AccountSid",
            "CallSid",
            "StreamSid",
            "StreamName",
            "StreamEvent",
            "Timestamp"
        ]
    );
    assert_eq!(params.get("StreamEvent"), Some("stream-started"));
    assert_eq!(params.get("Timestamp"), Some("2026-11-30T01:50:13Z"));
    host.did();
    host.sleep(2 * SECOND);
    host.assert_did(&[
        "close stream",
        "POST https://app.test/stream",
        "Warning 12200: <Stop>: the call has no stream of the name \"s\"",
        "hang up the party",
    ]);
    assert_eq!(
        host.asked("https://app.test/stream").get("StreamEvent"),
        Some("stream-stopped")
    );
}

#[test]
fn the_handshake_is_signed_with_the_url_alone() {
    let document = "<Response><Connect><Stream url=\"wss://bot.test/s\"/></Connect></Response>";
    let setup = Setup {
        entry: Entry::Document(document.to_owned()),
        ..setup()
    };
    let mut call = Call::new(setup, Instant::now());
    let stream = std::iter::from_fn(|| call.poll_action()).find_map(|action| match action {
        Action::OpenStream(stream) => Some(stream),
        _ => None,
    });
    let stream = stream.unwrap();
    assert_eq!(
        stream.signature,
        signature::sign(TOKEN, "wss://bot.test/s", &Params::new())
    );
    assert!(stream.bidirectional && stream.name == stream.sid.as_str());
    assert!(stream.sid.as_str().starts_with("MZ"));
}

#[test]
fn a_connected_stream_has_the_call_until_its_server_closes_it() {
    for (action, did) in [
        ("", "say \"Bye\" to the party"),
        (" action=\"/next\"", "POST https://app.test/next"),
    ] {
        let document = format!(
            "<Response><Connect{action}><Stream url=\"wss://bot.test/s\" track=\"both_tracks\"/></Connect><Say>Bye</Say></Response>"
        );
        let mut host = Host::of(setup(), &[(VOICE, &document)]);
        let began = host.did();
        assert_eq!(
            began.last().map(String::as_str),
            Some("connect Inbound to wss://bot.test/s")
        );
        host.sleep(600 * SECOND);
        host.assert_did(&[]);
        let job = host.last.stream.unwrap();
        host.tell(Event::StreamEnded {
            job,
            result: Ok(()),
        });
        host.assert_did(&[did]);
    }
}

#[test]
fn a_stream_that_fails_is_told_and_the_call_goes_on() {
    let document = "<Response><Connect><Stream url=\"wss://bot.test/s\" statusCallback=\"/stream\"/></Connect>\
        <Say>Bye</Say></Response>";
    for (error, code) in [
        (StreamError::Timeout, 31901),
        (StreamError::Tls, 31910),
        (StreamError::Handshake(404), 31920),
        (StreamError::Protocol, 31924),
    ] {
        let mut host = Host::of(setup(), &[(VOICE, document)]);
        let job = host.last.stream.unwrap();
        host.tell(Event::StreamEnded {
            job,
            result: Err(error),
        });
        assert_eq!(host.notices, [code]);
        let params = host.asked("https://app.test/stream");
        assert_eq!(params.get("StreamEvent"), Some("stream-error"));
        assert!(
            params
                .get("StreamError")
                .is_some_and(|e| e.starts_with(&code.to_string()))
        );
        assert_eq!(
            host.did().last().map(String::as_str),
            Some("say \"Bye\" to the party")
        );
    }
}

#[test]
fn what_cannot_be_streamed_is_left_out() {
    let fork =
        |attributes: &str| format!("<Start><Stream url=\"wss://b.test/\" {attributes}/></Start>");
    let document = format!(
        "<Response>{}{}{}{}{}<Start><Stream url=\"ws://b.test/\"/></Start></Response>",
        fork("name=\"a\""),
        fork("name=\"a\""),
        fork("track=\"both_tracks\""),
        fork(""),
        fork("track=\"outbound_track\""),
    );
    let host = Host::of(setup(), &[(VOICE, &document)]);
    assert_eq!(host.notices, [12200, 12400, 31922]);
    let plain = Setup {
        plain_streams: true,
        ..setup()
    };
    let document = "<Response><Connect><Stream url=\"ws://b.test/\"/></Connect></Response>";
    let host = Host::of(plain, &[(VOICE, document)]);
    assert_eq!(host.notices, [0; 0]);
}

#[test]
fn how_a_refer_went_is_told() {
    let document =
        "<Response><Refer action=\"/done\"><Sip>sip:a@b.test?X-A=1</Sip></Refer></Response>";
    for (response, notified, untold, status) in [
        (Some(202), Some(200), false, "in-progress"),
        (Some(202), Some(486), false, "busy"),
        (Some(202), Some(487), false, "canceled"),
        (Some(202), None, false, "failed"),
        (Some(202), None, true, "in-progress"),
        (Some(202), Some(180), true, "in-progress"),
        (Some(202), Some(603), true, "failed"),
        (Some(603), None, false, "failed"),
        (None, None, false, "failed"),
    ] {
        let mut host = Host::of(setup(), &[(VOICE, document)]);
        host.assert_did(&[
            "POST https://app.test/voice",
            "answer",
            "refer to sip:a@b.test?X-A=1",
        ]);
        let job = host.last.refer.unwrap();
        host.tell(Event::Referred {
            job,
            response,
            notified,
            untold,
        });
        let params = host.asked("https://app.test/done");
        assert_eq!(params.get("ReferCallStatus"), Some(status));
        let text = |status: Option<u16>| status.map(|status| status.to_string());
        assert_eq!(
            params.get("ReferSipResponseCode"),
            text(response).as_deref()
        );
        assert_eq!(
            params.get("NotifySipResponseCode"),
            text(notified).as_deref()
        );
    }
    let mut host = Host::of(setup(), &[(VOICE, document)]);
    host.sleep(180 * SECOND);
    assert_eq!(
        host.asked("https://app.test/done").get("ReferCallStatus"),
        Some("failed")
    );
}

#[test]
fn a_party_that_was_transferred_and_hung_up_is_told_of() {
    let document = "<Response><Refer action=\"/done\"><Sip>sip:a@b.test</Sip></Refer></Response>";
    let mut host = Host::of(setup(), &[(VOICE, document)]);
    let job = host.last.refer.unwrap();
    host.did();
    host.tell(Event::Referred {
        job,
        response: Some(202),
        notified: None,
        untold: true,
    });
    host.party_hangs_up();
    // The request is not taken back, and the answer, which is a document, is not run.
    host.assert_did(&["POST https://app.test/done"]);
    assert!(!host.call.is_finished());
    host.sleep(20 * SECOND);
    assert!(host.call.is_finished(), "{:?}", host.did());
}

#[test]
fn a_message_is_sent_on_the_way_or_waited_for() {
    let mut host =
        Host::with("<Response><Message>Hi</Message><Sms to=\"1\" from=\"2\">Ho</Sms></Response>");
    host.assert_did(&[
        "POST https://app.test/voice",
        "send \"Hi\" to +15550100 from +15550199",
        "send \"Ho\" to 1 from 2",
        "answer",
        "hang up the party",
    ]);
    let document = "<Response><Message action=\"/done\">Hi</Message></Response>";
    let mut host = Host::with(document);
    let job = host.last.message.unwrap();
    host.tell(Event::Sent {
        job,
        result: Ok(()),
    });
    let params = host.asked("https://app.test/done");
    assert_eq!(params.get("MessageStatus"), Some("sent"));
    assert!(
        params
            .get("MessageSid")
            .is_some_and(|sid| sid.starts_with("SM"))
    );
    let mut host = Host::with(document);
    host.sleep(15 * SECOND);
    assert_eq!(
        host.asked("https://app.test/done").get("SmsStatus"),
        Some("failed")
    );
    host.party_hangs_up();
    assert!(host.call.is_over());
}
