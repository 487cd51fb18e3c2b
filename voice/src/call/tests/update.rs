//! What the REST API does to a call in progress.

use super::super::*;
use super::host::{Host, SECOND, VOICE, link, setup};

const NEXT: &str = "<Response><Say>Next</Say></Response>";

/// Documents that each stop at another step, and what is done of it when the call goes elsewhere.
const STEPS: [(&str, &[&str]); 7] = [
    ("<Say loop=\"0\">x</Say>", &["stop"]),
    ("<Pause length=\"60\"/>", &[]),
    (
        "<Gather input=\"dtmf speech\"><Say>x</Say></Gather>",
        &["stop", "stop"],
    ),
    ("<Record/>", &["stop recording"]),
    (
        "<Dial action=\"/done\">100</Dial>",
        &["hang up leg 3", "stop"],
    ),
    (
        "<Connect action=\"/done\"><Stream url=\"wss://b.test/\"/></Connect>",
        &["close stream"],
    ),
    ("<Redirect>/silent</Redirect>", &["cancel the request"]),
];

#[test]
fn a_call_goes_elsewhere_from_every_step() {
    for (step, undone) in STEPS {
        let document = format!("<Response><Say>First</Say>{step}</Response>");
        let mut host = Host::of(
            setup(),
            &[(VOICE, &document), ("https://app.test/next", NEXT)],
        );
        host.sleep(2 * SECOND);
        host.did();
        host.tell(Event::Update(Update::Redirect(link(
            "https://app.test/next",
        ))));
        let mut did = host.did();
        let next = did.split_off(undone.len());
        assert_eq!(did.len(), undone.len(), "{step}");
        for (did, undone) in did.iter().zip(undone) {
            let word = undone.split(" 3").next().unwrap_or_default();
            assert!(did.starts_with(word), "{step}: {did}");
        }
        assert_eq!(
            next,
            ["POST https://app.test/next", "say \"Next\" to the party"],
            "{step}"
        );
    }
}

#[test]
fn a_call_is_hung_up_from_every_step() {
    for (step, _) in STEPS {
        let document = format!("<Response><Say>First</Say>{step}</Response>");
        let mut host = Host::of(setup(), &[(VOICE, &document)]);
        host.sleep(2 * SECOND);
        host.did();
        host.tell(Event::Update(Update::Complete));
        assert_eq!(host.did()[0], "hang up the party", "{step}");
        host.sleep(60 * SECOND);
        assert!(host.call.is_finished(), "{step}");
        host.tell(Event::Update(Update::Document(NEXT.to_owned())));
        assert!(host.call.is_finished(), "{step}");
    }
}

#[test]
fn who_has_not_answered_yet_begins_with_what_it_was_changed_to() {
    let setup = Setup {
        direction: Direction::OutboundApi,
        ..setup()
    };
    let mut host = Host::of(setup.clone(), &[]);
    host.tell(Event::Update(Update::Document(NEXT.to_owned())));
    host.assert_did(&[]);
    host.tell(Event::Answered { leg: LegId::PARTY });
    host.assert_did(&["say \"Next\" to the party"]);
    let mut host = Host::of(setup, &[]);
    host.tell(Event::Update(Update::Complete));
    host.assert_did(&["hang up the party"]);
    assert_eq!(host.call.status(), CallStatus::Canceled);
    assert!(host.call.is_finished());
}

/// Whoever steers a call by the REST API may do so as often as it likes.
#[test]
fn changes_in_a_row_are_no_loop() {
    let mut host = Host::of(setup(), &[(VOICE, NEXT)]);
    for _ in 0..200 {
        host.tell(Event::Update(Update::Redirect(link(VOICE))));
    }
    assert!(!host.call.is_over());
    assert_eq!(host.notices, [0; 0]);
}
