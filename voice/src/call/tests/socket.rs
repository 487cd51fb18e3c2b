//! Calls whose application has a WebSocket.

use std::time::Duration;

use serde_json::{Value, json};

use super::host::*;
use crate::{
    call::*,
    signature::{HEADER, sign},
    twiml::{Link, Method, StatusEvents},
};

const SOCKET: &str = "wss://app.test/calls?v=2";
const PAGE: &str = "wss://app.test/calls";

fn by_socket() -> Setup {
    Setup {
        entry: Entry::Url(link(SOCKET)),
        ..setup()
    }
}

fn verbs(verbs: &Value) -> Page {
    let text = json!({"id": "x", "verbs": verbs}).to_string();
    Page::Body("application/json", text.into_bytes())
}

fn host(pages: Vec<Page>) -> Host {
    let pages = pages.into_iter().map(|page| (PAGE, page));
    Host::serving(by_socket(), pages.collect())
}

/// The last message.
fn said(host: &Host) -> Value {
    let request = host.requests.last().unwrap();
    serde_json::from_str(request.body.as_ref().unwrap()).unwrap()
}

#[test]
fn a_call_is_asked_about_and_told_of() {
    let mut host = host(vec![
        verbs(&json!([{"gather": {"numDigits": 2, "prompts": [{"say": "Which?"}]}}])),
        verbs(&json!([{"say": "Bye"}, "hangup"])),
    ]);
    host.assert_did(&[
        "tell call.ringing",
        "ask call.incoming",
        "answer",
        "tell call.answered",
        "say \"Which?\" to the party",
    ]);
    let incoming = host
        .requests
        .iter()
        .find(|request| request.exchange.as_ref().is_some_and(|e| e.is_answered))
        .unwrap();
    assert_eq!((incoming.method, &*incoming.url), ("GET", SOCKET));
    let signature = sign(TOKEN, SOCKET, &Params::new());
    assert_eq!(incoming.headers, [(HEADER, signature)]);
    let exchange = incoming.exchange.clone().unwrap();
    assert_eq!(exchange.account, host.call.setup().account);
    let message: Value = serde_json::from_str(incoming.body.as_ref().unwrap()).unwrap();
    assert_eq!(message["id"], *exchange.id);
    assert_eq!(message["account"], exchange.account.as_str());
    let call = json!({
        "sid": host.call.sid().as_str(),
        "from": "+15550100",
        "to": "+15550199",
        "direction": "inbound",
        "status": "ringing",
    });
    assert_eq!(message["call"], call);
    assert_eq!(message["params"], json!({}));

    host.press("42");
    host.assert_did(&["stop", "ask gather.done", "say \"Bye\" to the party"]);
    assert_eq!(said(&host)["params"]["Digits"], "42");
    host.sleep(3 * SECOND);
    host.assert_did(&["hang up the party", "tell call.completed"]);
    let last = said(&host);
    assert_eq!(last["id"], Value::Null);
    assert_eq!(last["call"]["status"], "completed");
    assert_eq!(last["params"]["CallDuration"], "2");
    assert!(host.call.is_finished());
}

#[test]
fn what_comes_last_tells_its_outcome_and_waits_for_verbs() {
    let mut host = host(vec![
        verbs(&json!([{"gather": {"timeout": 3}}])),
        verbs(&json!([{"dial": "+15550123"}])),
        verbs(&json!([{"connect": {"stream": {"url": "wss://ai.test/"}}}])),
        verbs(&json!([{"refer": "sip:a@b.test"}])),
        verbs(&json!([{"message": "Hi"}])),
        verbs(&json!([{"record": {}}])),
        verbs(&json!([])),
    ]);
    host.did();
    host.sleep(3 * SECOND);
    assert_eq!(host.did()[0], "ask gather.done");
    let leg = host.leg(0);
    host.ends(leg, Cause::Busy);
    let did = host.did();
    assert!(did.contains(&"ask dial.done".to_owned()), "{did:?}");
    let job = host.last.stream.unwrap();
    host.tell(Event::StreamEnded {
        job,
        result: Ok(()),
    });
    let did = host.did();
    assert_eq!(did[..2], ["tell stream.stopped", "ask connect.done"]);
    let job = host.last.refer.unwrap();
    host.tell(Event::Referred {
        job,
        response: Some(202),
        notified: Some(486),
        untold: false,
    });
    assert_eq!(host.did()[0], "ask refer.done");
    let job = host.last.message.unwrap();
    host.tell(Event::Sent {
        job,
        result: Ok(()),
    });
    assert_eq!(host.did()[0], "ask message.done");
    let job = host.last.record.unwrap();
    host.tell(Event::RecordingStarted { job });
    let result = Ok(Duration::ZERO);
    host.tell(Event::Recorded { job, result });
    host.assert_did(&[
        "tell recording.in-progress",
        "tell recording.absent",
        "ask record.done",
        "hang up the party",
        "tell call.completed",
    ]);
}

#[test]
fn what_is_not_last_goes_on_as_in_twiml() {
    let mut host = host(vec![verbs(
        &json!([{"gather": {"timeout": 1}}, {"dial": "+15550123"}, {"say": "Bye"}]),
    )]);
    host.did();
    host.sleep(SECOND);
    let leg = host.leg(0);
    host.ends(leg, Cause::Busy);
    let did = host.did();
    assert!(!did.iter().any(|line| line.starts_with("ask")), "{did:?}");
    assert_eq!(did.last().unwrap(), "say \"Bye\" to the party");
}

#[test]
fn what_is_wrong_is_told_and_a_dead_socket_is_not_told_of_itself() {
    let mut host = host(vec![verbs(&json!(["shout", {"pause": 5}, {"say": "x"}]))]);
    let did = host.did();
    assert!(did.contains(&"tell call.notice".to_owned()), "{did:?}");
    let notice = said(&host);
    assert_eq!(notice["params"]["ErrorCode"], "12200");
    assert_eq!(notice["params"]["Level"], "warning");
    let message = notice["params"]["Message"].as_str().unwrap();
    assert!(message.contains("\"shout\" is no verb"), "{message}");
    assert_eq!(host.notices, [12200]);

    let page = Page::Fails(RequestError::Connect);
    let setup = Setup {
        fallback: Some(link("https://app.test/fallback")),
        ..by_socket()
    };
    let mut host = Host::serving(setup, vec![(PAGE, page)]);
    host.document(
        "https://app.test/fallback",
        "<Response><Say>Sorry</Say></Response>",
    );
    let did = host.did();
    // Each is tried twice; the failure of the document has the fallback asked.
    let asked = did.iter().filter(|line| line.starts_with("ask")).count();
    assert_eq!(asked, 2, "{did:?}");
    assert!(
        did.contains(&"POST https://app.test/fallback".to_owned()),
        "{did:?}"
    );
    assert!(did.len() < 20, "{did:?}");
}

#[test]
fn the_socket_may_change_a_call_and_its_verbs_lead_back_to_it() {
    let mut host = host(vec![verbs(&json!([{"pause": 60}])), verbs(&json!([]))]);
    host.did();
    let text = json!({"verbs": [{"gather": {"numDigits": 1}}]}).to_string();
    host.tell(Event::Update(Update::Document(text)));
    host.did();
    host.press("1");
    assert_eq!(host.did()[0], "ask gather.done");
    assert_eq!(said(&host)["call"]["status"], "completed");
}

#[test]
fn who_is_called_from_the_socket_is_asked_about_when_he_answers() {
    let setup = Setup {
        direction: Direction::OutboundApi,
        ..by_socket()
    };
    let mut host = Host::serving(setup, vec![(PAGE, verbs(&json!([{"play": "/a.wav"}])))]);
    host.assert_did(&["tell call.initiated"]);
    host.tell(Event::Answered { leg: LegId::PARTY });
    host.assert_did(&[
        "tell call.answered",
        "ask call.outgoing",
        "play https://app.test/a.wav to the party",
    ]);
}

#[test]
fn what_is_named_in_a_document_is_told_there() {
    let setup = Setup {
        status: Some((
            Link {
                url: "https://app.test/status".to_owned(),
                method: Method::Post,
            },
            StatusEvents::default(),
        )),
        ..by_socket()
    };
    let mut host = Host::serving(setup, vec![(PAGE, verbs(&json!(["hangup"])))]);
    host.assert_did(&[
        "ask call.incoming",
        "answer",
        "hang up the party",
        "POST https://app.test/status",
    ]);
}
