//! Status callbacks: what is told, in which order.

use super::super::*;
use super::host::{Host, Page, SECOND, VOICE, params_of, setup, told_of_all};
use crate::twiml::StatusEvents;

const STATUS: &str = "https://app.test/status";

/// What the callbacks of a URL said, in the order in which they were sent.
fn told(host: &Host, url: &str) -> Vec<(String, String)> {
    let requests = host.requests.iter().filter(|request| request.url == url);
    let told = requests.map(|request| {
        let params = params_of(request);
        let of = |name| params.get(name).unwrap_or_default().to_owned();
        (of("CallStatus"), of("SequenceNumber"))
    });
    told.collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

fn status() -> Page {
    Page::Status(200)
}

#[test]
fn a_call_that_comes_in_is_told_of_in_order_one_after_another() {
    let document = Page::Document("<Response><Pause/><Say>Hello</Say></Response>".to_owned());
    let mut host = Host::serving(told_of_all(), vec![(VOICE, document)]);
    host.sleep(3 * SECOND);
    // The receiver has not answered the first one yet.
    assert_eq!(told(&host, STATUS), pairs(&[("ringing", "0")]));
    for _ in 0..3 {
        let id = host
            .requests
            .iter()
            .rev()
            .find(|r| r.url == STATUS)
            .unwrap()
            .id;
        host.tell(Event::Response {
            id,
            result: Ok(Response {
                status: 200,
                ..Response::default()
            }),
        });
    }
    assert_eq!(
        told(&host, STATUS),
        pairs(&[("ringing", "0"), ("in-progress", "1"), ("completed", "2")])
    );
    assert!(host.call.is_finished());
    let params = host.asked(STATUS);
    assert_eq!(
        params.get("Timestamp"),
        Some("Mon, 30 Nov 2026 01:50:16 +0000")
    );
    assert_eq!(params.get("CallbackSource"), Some("call-progress-events"));
    assert_eq!(params.get("CallDuration"), Some("2"));
    assert_eq!(params.get("Duration"), Some("1"));
    assert_eq!(params.get("SipResponseCode"), Some("200"));
}

#[test]
fn a_receiver_that_fails_or_is_late_delays_the_next_and_nothing_else() {
    let document = Page::Document("<Response><Say>Hello</Say></Response>".to_owned());
    let pages = vec![
        (VOICE, document),
        (STATUS, Page::Silent),
        (STATUS, Page::Status(500)),
    ];
    let mut host = Host::serving(told_of_all(), pages);
    host.sleep(2 * SECOND);
    assert!(host.call.is_over());
    host.sleep(13 * SECOND);
    assert!(host.call.is_finished());
    assert_eq!(host.notices, [11205, 11200, 11200]);
    assert_eq!(told(&host, STATUS).len(), 3);
}

fn outbound() -> Host {
    let setup = Setup {
        direction: Direction::OutboundApi,
        ..told_of_all()
    };
    let document = Page::Document("<Response><Say>Hello</Say></Response>".to_owned());
    Host::serving(setup, vec![(VOICE, document), (STATUS, status())])
}

#[test]
fn a_call_that_is_made_is_asked_about_when_it_is_answered() {
    let mut host = outbound();
    host.assert_did(&["POST https://app.test/status"]);
    let leg = LegId::PARTY;
    host.tell(Event::Ringing { leg });
    host.tell(Event::Ringing { leg });
    host.assert_did(&["POST https://app.test/status"]);
    host.tell(Event::Answered { leg });
    host.assert_did(&[
        "POST https://app.test/status",
        "POST https://app.test/voice",
        "say \"Hello\" to the party",
    ]);
    let params = host.asked(VOICE);
    assert_eq!(params.get("Direction"), Some("outbound-api"));
    assert_eq!(params.get("CallStatus"), Some("in-progress"));
    host.sleep(2 * SECOND);
    let expected = [
        ("initiated", "0"),
        ("ringing", "1"),
        ("in-progress", "2"),
        ("completed", "3"),
    ];
    assert_eq!(told(&host, STATUS), pairs(&expected));
}

#[test]
fn a_call_that_is_not_answered_says_why() {
    for (cause, sip_status, status, code) in [
        (Cause::Busy, Some(486), "busy", Some("486")),
        (Cause::NoAnswer, None, "no-answer", Some("487")),
        (Cause::Failed, Some(404), "failed", Some("404")),
        (Cause::Failed, None, "failed", None),
        (Cause::Canceled, None, "canceled", Some("487")),
    ] {
        let mut host = outbound();
        host.tell(Event::Ended {
            leg: LegId::PARTY,
            cause,
            sip_status,
        });
        let params = host.asked(STATUS);
        assert_eq!(params.get("CallStatus"), Some(status));
        assert_eq!(params.get("SipResponseCode"), code);
        assert_eq!(params.get("CallDuration"), Some("0"));
        assert_eq!(params.get("Duration"), None);
        assert!(host.call.is_finished());
        assert!(host.requests.iter().all(|request| request.url != VOICE));
    }
}

#[test]
fn only_what_is_asked_for_is_told() {
    let setup = Setup {
        status: Some((super::host::link(STATUS), StatusEvents::of([]))),
        ..setup()
    };
    let document = Page::Document("<Response><Say>Hello</Say></Response>".to_owned());
    let mut host = Host::serving(setup, vec![(VOICE, document), (STATUS, status())]);
    host.sleep(2 * SECOND);
    assert_eq!(told(&host, STATUS), pairs(&[("completed", "0")]));
}

#[test]
fn a_dialled_leg_is_told_of_with_its_own_sid() {
    let leg = "https://app.test/leg";
    let document = "<Response><Dial><Number statusCallback=\"/leg\" \
        statusCallbackEvent=\"initiated ringing answered completed\">100</Number></Dial></Response>";
    let mut host = Host::of(setup(), &[(VOICE, document)]);
    host.page(leg, status());
    // The first was sent before there was a page.
    let id = host.requests.last().unwrap().id;
    host.tell(Event::Response {
        id,
        result: Err(RequestError::Timeout),
    });
    let child = host.leg(0);
    host.tell(Event::Ringing { leg: child });
    host.tell(Event::Answered { leg: child });
    host.sleep(5 * SECOND);
    host.ends(child, Cause::HungUp);
    let expected = [
        ("initiated", "0"),
        ("ringing", "1"),
        ("in-progress", "2"),
        ("completed", "3"),
    ];
    assert_eq!(told(&host, leg), pairs(&expected));
    let params = host.asked(leg);
    assert_eq!(params.get("ParentCallSid"), Some(host.call.sid().as_str()));
    assert_ne!(params.get("CallSid"), params.get("ParentCallSid"));
    assert_eq!(params.get("CallDuration"), Some("5"));
    assert_eq!(params.get("To"), Some("100"));
}

#[test]
fn the_end_tells_of_what_was_recorded() {
    let document = Page::Document("<Response><Record action=\"/done\"/></Response>".to_owned());
    let mut host = Host::serving(told_of_all(), vec![(VOICE, document), (STATUS, status())]);
    let job = host.last.record.unwrap();
    host.tell(Event::Recorded {
        job,
        result: Ok(3 * SECOND),
    });
    host.party_hangs_up();
    let params = host.asked(STATUS);
    assert_eq!(params.get("RecordingDuration"), Some("3"));
    assert!(params.get("RecordingUrl").is_some() && params.get("RecordingSid").is_some());
}

#[test]
fn a_callback_that_cannot_be_asked_is_told_once() {
    let setup = Setup {
        status: Some((
            super::host::link("/status"),
            StatusEvents::of(StatusEvents::NAMES),
        )),
        ..setup()
    };
    let document =
        "<Response><Dial><Number statusCallback=\"mailto:x\">1</Number></Dial></Response>";
    let mut host = Host::of(setup, &[(VOICE, document)]);
    host.party_hangs_up();
    assert_eq!(host.notices, [11100, 11100]);
    assert!(host.call.is_finished());
}
