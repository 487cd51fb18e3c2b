//! Webhooks: how they are asked, what their answers may be, and what follows where there is none.

use std::time::Duration;

use super::super::*;
use super::host::{Host, Page, SECOND, TOKEN, VOICE, link, params_of, setup};
use crate::{
    signature,
    twiml::{Link, Method},
};

const HELLO: &str = "<Response><Say>Hello</Say></Response>";

fn with_fallback(pages: Vec<(&str, Page)>) -> Host {
    let setup = Setup {
        fallback: Some(link("https://app.test/fallback")),
        ..setup()
    };
    let mut pages = pages;
    pages.push((
        "https://app.test/fallback",
        Page::Document(HELLO.to_owned()),
    ));
    Host::serving(setup, pages)
}

#[test]
fn the_first_request_says_who_calls_whom_and_is_signed() {
    let setup = Setup {
        caller_name: Some("ALICE".to_owned()),
        forwarded_from: Some("+15550177".to_owned()),
        extra: [("SipHeader_X-Account", "7")].into_iter().collect(),
        ..setup()
    };
    let host = Host::of(setup, &[(VOICE, HELLO)]);
    let request = &host.requests[0];
    let params = params_of(request);
    let names: Vec<_> = params.iter().map(|(name, _)| name).collect();
    let expected = [
        "CallSid",
        "AccountSid",
        "From",
        "To",
        "Caller",
        "Called",
        "CallStatus",
        "ApiVersion",
        "Direction",
        "ForwardedFrom",
        "CallerName",
        "SipHeader_X-Account",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        params.get("CallSid"),
        Some("CAabababababababababababababababab")
    );
    assert_eq!(params.get("From"), Some("+15550100"));
    assert_eq!(params.get("Called"), Some("+15550199"));
    assert_eq!(params.get("CallStatus"), Some("ringing"));
    assert_eq!(params.get("Direction"), Some("inbound"));
    assert_eq!(params.get("ApiVersion"), Some("2010-04-01"));
    let header = |name: &str| {
        let found = request.headers.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!(
        header("X-Twilio-Signature"),
        signature::sign(TOKEN, VOICE, &params)
    );
    assert_eq!(header("I-Twilio-Idempotency-Token").len(), 36);
    assert!(header("Content-Type").starts_with("application/x-www-form-urlencoded"));
}

#[test]
fn a_get_has_its_parameters_in_the_url_that_is_signed() {
    let url = "https://app.test/voice?tenant=1#rc=0";
    let setup = Setup {
        entry: Entry::Url(Link {
            url: url.to_owned(),
            method: Method::Get,
        }),
        ..setup()
    };
    let host = Host::of(setup, &[]);
    let request = &host.requests[0];
    assert_eq!((request.method, &request.body), ("GET", &None));
    assert!(
        request
            .url
            .starts_with("https://app.test/voice?tenant=1&CallSid=CA"),
        "{}",
        request.url
    );
    let signed = signature::sign(TOKEN, &request.url, &Params::new());
    assert!(request.headers.contains(&("X-Twilio-Signature", signed)));
}

#[test]
fn what_a_webhook_answers_is_run_by_its_type() {
    for (content_type, body, did) in [
        ("text/xml", HELLO, "say \"Hello\" to the party"),
        (
            "application/xml; charset=utf-8",
            HELLO,
            "say \"Hello\" to the party",
        ),
        ("TEXT/HTML", HELLO, "say \"Hello\" to the party"),
        ("text/plain", "Hello\n", "say \"Hello\" to the party"),
        (
            "audio/mpeg",
            "ID3",
            "play https://app.test/voice to the party",
        ),
    ] {
        let page = Page::Body(content_type, body.as_bytes().to_vec());
        let mut host = Host::serving(setup(), vec![(VOICE, page)]);
        host.assert_did(&["POST https://app.test/voice", "answer", did]);
        host.sleep(2 * SECOND);
        host.assert_did(&["hang up the party"]);
        assert!(host.call.is_finished());
    }
}

#[test]
fn what_is_no_document_goes_to_the_fallback_url_with_the_reason() {
    let big = format!("<Response>{}</Response>", " ".repeat(70_000));
    let ten_megabytes = vec![b' '; 10 << 20];
    let laughs = "<!DOCTYPE r [<!ENTITY a \"ha\">]><Response><Say>&a;</Say></Response>";
    for (page, code) in [
        (Page::Status(404), 11200),
        (Page::Status(500), 11200),
        (Page::Status(304), 11200),
        (Page::Fails(RequestError::Connect), 11205),
        (Page::Fails(RequestError::Timeout), 11205),
        (Page::Fails(RequestError::Protocol), 11206),
        (Page::Fails(RequestError::Host), 11210),
        (Page::Fails(RequestError::Tls), 11220),
        (Page::Fails(RequestError::Refused), 12400),
        (Page::Moved(302, "/voice"), 11215),
        (Page::Moved(302, "ftp://app.test/"), 11100),
        (Page::Body("text/xml", big.into_bytes()), 11750),
        (Page::Body("text/xml", ten_megabytes.clone()), 11750),
        (Page::Body("text/plain", ten_megabytes), 11750),
        (Page::Body("text/xml", Vec::new()), 12100),
        (Page::Body("text/plain", Vec::new()), 12100),
        (Page::Body("text/xml", b"<Response><Say>".to_vec()), 12100),
        (
            Page::Body("text/xml", b"\xff\xfe<Response/>".to_vec()),
            12100,
        ),
        (Page::Body("text/xml", laughs.as_bytes().to_vec()), 12100),
        (
            Page::Body(
                "text/html",
                b"<!DOCTYPE html><html><body>Oops</body></html>".to_vec(),
            ),
            12100,
        ),
        (Page::Body("text/html", b"<html></html>".to_vec()), 12100),
        (Page::Body("application/json", b"{}".to_vec()), 12100),
        (Page::Body("application/pdf", b"%PDF".to_vec()), 12300),
    ] {
        let mut host = with_fallback(vec![(VOICE, page)]);
        assert_eq!(host.notices, [code]);
        let params = host.asked("https://app.test/fallback");
        assert_eq!(params.get("ErrorCode"), Some(&*code.to_string()));
        assert!(
            params
                .get("ErrorUrl")
                .is_some_and(|url| url.starts_with(VOICE)),
            "{params:?}"
        );
        assert_eq!(params.get("CallStatus"), Some("ringing"));
        assert_eq!(
            host.did().last().map(String::as_str),
            Some("say \"Hello\" to the party")
        );
    }
}

#[test]
fn a_webhook_that_is_late_is_not_waited_for() {
    let mut host = with_fallback(vec![(VOICE, Page::Silent)]);
    host.did();
    host.sleep(Duration::from_millis(14_999));
    host.assert_did(&[]);
    host.sleep(Duration::from_millis(1));
    host.assert_did(&[
        "cancel the request",
        "Error 11205: the webhook did not answer within 15 s (https://app.test/voice)",
        "POST https://app.test/fallback",
        "answer",
        "say \"Hello\" to the party",
    ]);
    // What it answers after all is nobody's.
    let id = host.requests[0].id;
    host.tell(Event::Response {
        id,
        result: Ok(Response::default()),
    });
    host.assert_did(&[]);
}

#[test]
fn without_a_fallback_url_the_call_ends() {
    let mut host = Host::serving(setup(), vec![(VOICE, Page::Status(500))]);
    host.assert_did(&[
        "POST https://app.test/voice",
        "Error 11200: the webhook answered 500 (https://app.test/voice)",
        "refuse with 500",
    ]);
    assert!(host.call.is_finished());
    assert_eq!(host.call.status(), CallStatus::Failed);
    let moved = "<Response><Say>Hello</Say><Redirect>/gone</Redirect></Response>";
    let mut host = Host::with(moved);
    host.page("https://app.test/gone", Page::Status(410));
    host.sleep(2 * SECOND);
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("hang up the party")
    );
    assert_eq!(host.call.status(), CallStatus::Completed);
}

#[test]
fn a_fallback_url_that_fails_ends_the_call() {
    let setup = Setup {
        fallback: Some(link("https://app.test/fallback")),
        ..setup()
    };
    let pages = vec![
        (VOICE, Page::Status(500)),
        ("https://app.test/fallback", Page::Status(503)),
    ];
    let mut host = Host::serving(setup, pages);
    assert_eq!(host.notices, [11200, 11200]);
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("refuse with 500")
    );
    assert!(host.call.is_finished());
}

#[test]
fn a_redirect_to_itself_ends() {
    let mut host = Host::with("<Response><Redirect/></Response>");
    assert!(host.call.is_finished());
    assert_eq!(host.requests.len(), 51);
    assert_eq!(host.notices, [11215]);
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("refuse with 500")
    );
}

#[test]
fn two_documents_that_fail_each_other_end() {
    let setup = Setup {
        fallback: Some(link(VOICE)),
        ..setup()
    };
    let host = Host::of(
        setup,
        &[(VOICE, "<Response><Redirect>ftp://x</Redirect></Response>")],
    );
    assert!(host.call.is_finished());
    assert!(host.requests.len() < 60);
}

#[test]
fn a_menu_may_go_round_for_hours() {
    let menu = "<Response><Gather timeout=\"3\"><Say>Press</Say></Gather><Redirect/></Response>";
    let mut host = Host::with(menu);
    host.sleep(Duration::from_secs(3 * 3600));
    assert!(!host.call.is_over());
    assert!(host.requests.len() > 2000);
    // Until it has lasted as long as a call may.
    host.sleep(Duration::from_secs(3601));
    assert!(host.call.is_finished());
    assert_eq!(host.notices, [12400]);
}

#[test]
fn redirections_of_http_are_followed_as_browsers_do() {
    for (status, method) in [
        (301, "GET"),
        (302, "GET"),
        (303, "GET"),
        (307, "POST"),
        (308, "POST"),
    ] {
        let pages = vec![
            (VOICE, Page::Moved(status, "../v2/voice?x=1")),
            (
                "https://app.test/v2/voice",
                Page::Document(HELLO.to_owned()),
            ),
        ];
        let mut host = Host::serving(setup(), pages);
        let request = &host.requests[1];
        assert_eq!(request.method, method);
        assert!(request.url.starts_with("https://app.test/v2/voice?x=1"));
        assert_eq!(
            host.asked("https://app.test/v2/voice").get("From"),
            Some("+15550100")
        );
        let did = host.did();
        assert_eq!(
            did.last().map(String::as_str),
            Some("say \"Hello\" to the party")
        );
    }
}

#[test]
fn a_fragment_has_requests_repeated_with_one_token() {
    let url = "https://app.test/voice#rc=3&rp=5xx";
    let setup = Setup {
        entry: Entry::Url(link(url)),
        ..setup()
    };
    let pages = vec![
        (VOICE, Page::Status(500)),
        (VOICE, Page::Status(503)),
        (VOICE, Page::Document(HELLO.to_owned())),
    ];
    let host = Host::serving(setup, pages);
    assert_eq!(host.requests.len(), 3);
    assert_eq!(host.notices, [0; 0]);
    let token = |request: &Request| request.headers[1].1.clone();
    assert_eq!(token(&host.requests[0]), token(&host.requests[2]));
    assert!(host.requests.iter().all(|request| request.url == VOICE));
}

#[test]
fn a_failed_connection_is_tried_again_once() {
    let refused = Page::Fails(RequestError::Connect);
    let host = Host::serving(
        setup(),
        vec![
            (VOICE, refused.clone()),
            (VOICE, Page::Document(HELLO.into())),
        ],
    );
    assert_eq!((host.requests.len(), host.notices.len()), (2, 0));
    let host = Host::serving(setup(), vec![(VOICE, refused)]);
    assert_eq!((host.requests.len(), host.notices.len()), (2, 1));
}

#[test]
fn all_attempts_together_take_no_longer_than_they_may() {
    let url = "https://app.test/voice#tt=2000&rc=5&rp=all";
    let setup = Setup {
        entry: Entry::Url(link(url)),
        ..setup()
    };
    let mut host = Host::serving(setup, vec![(VOICE, Page::Silent)]);
    host.sleep(SECOND);
    let id = host.requests[0].id;
    host.tell(Event::Response {
        id,
        result: Err(RequestError::Connect),
    });
    assert_eq!(host.requests.len(), 2);
    host.sleep(SECOND);
    assert!(host.call.is_finished());
    assert_eq!(host.requests.len(), 2);
}

#[test]
fn a_document_that_came_with_the_call_is_run_without_a_url() {
    let setup = |text: &str| Setup {
        entry: Entry::Document(text.to_owned()),
        ..setup()
    };
    let mut host = Host::of(setup(HELLO), &[]);
    host.assert_did(&["answer", "say \"Hello\" to the party"]);
    let mut host = Host::of(setup("<Response><Redirect>next</Redirect></Response>"), &[]);
    assert_eq!(host.notices, [11100]);
    host.did();
    let mut host = Host::of(setup("nonsense"), &[]);
    assert_eq!(host.notices, [12100]);
    assert_eq!(
        host.did().last().map(String::as_str),
        Some("refuse with 500")
    );
}

#[test]
fn a_document_that_asks_for_itself_keeps_how_it_is_asked() {
    let setup = Setup {
        entry: Entry::Url(link("https://app.test/voice#rp=5xx&rc=2")),
        ..setup()
    };
    let pages = vec![
        (
            VOICE,
            Page::Document("<Response><Gather timeout=\"2\"/><Redirect/></Response>".into()),
        ),
        (VOICE, Page::Status(500)),
        (VOICE, Page::Document(HELLO.into())),
    ];
    let mut host = Host::serving(setup, pages);
    host.sleep(2 * SECOND);
    assert_eq!((host.requests.len(), host.notices.len()), (3, 0));
}

#[test]
fn references_are_relative_to_the_document() {
    let setup = Setup {
        entry: Entry::Url(link("https://app.test/a/b?x=1#rc=2")),
        ..setup()
    };
    let document =
        "<Response><Play>c.wav</Play><Redirect method=\"GET\">?y=2</Redirect></Response>";
    let mut host = Host::of(setup, &[("https://app.test/a/b", document)]);
    host.assert_did(&[
        "POST https://app.test/a/b?x=1",
        "answer",
        "play https://app.test/a/c.wav to the party",
    ]);
    host.sleep(2 * SECOND);
    assert!(host.did()[0].starts_with("GET https://app.test/a/b?y=2&CallSid="));
}

#[test]
fn an_answer_after_the_deadline_is_not_followed_by_another_try() {
    let mut host = Host::serving(setup(), vec![(VOICE, Page::Silent)]);
    // The host is late with the timer, too.
    host.now += 16 * SECOND;
    let id = host.requests[0].id;
    host.tell(Event::Response {
        id,
        result: Err(RequestError::Connect),
    });
    assert_eq!(host.requests.len(), 1);
    assert!(host.call.is_finished());
}

#[test]
fn the_fallback_url_is_told_no_fragment() {
    let setup = Setup {
        entry: Entry::Url(link("https://app.test/voice?x=1#rc=0")),
        fallback: Some(link("https://app.test/fallback")),
        ..setup()
    };
    let host = Host::serving(setup, vec![(VOICE, Page::Status(500))]);
    let params = host.asked("https://app.test/fallback");
    assert_eq!(params.get("ErrorUrl"), Some("https://app.test/voice?x=1"));
}
