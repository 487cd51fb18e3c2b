//! `<Gather>`.

use std::time::Duration;

use super::super::*;
use super::host::{Host, Page, SECOND, VOICE, setup};

const MENU: &str =
    "<Response><Gather action=\"/menu\"><Say>Press</Say></Gather><Say>Nothing</Say></Response>";

#[test]
fn digits_end_the_prompt_and_go_to_the_action_without_the_key_that_finished() {
    let mut host = Host::with(MENU);
    host.assert_did(&[
        "POST https://app.test/voice",
        "answer",
        "say \"Press\" to the party",
    ]);
    host.press("1");
    host.assert_did(&["stop"]);
    host.press("23A#");
    host.assert_did(&["POST https://app.test/menu"]);
    let params = host.asked("https://app.test/menu");
    assert_eq!(params.get("Digits"), Some("123"));
    assert_eq!(params.get("FinishedOnKey"), Some("#"));
    assert_eq!(params.get("CallStatus"), Some("in-progress"));
}

#[test]
fn so_many_digits_are_enough() {
    let menu = "<Response><Gather numDigits=\"2\" finishOnKey=\"\"/></Response>";
    let mut host = Host::with(menu);
    host.press("#*5");
    let params = host.asked(VOICE);
    assert_eq!(params.get("Digits"), Some("#*"));
    assert_eq!(params.get("FinishedOnKey"), None);
}

#[test]
fn silence_falls_through_after_the_prompt_and_the_timeout() {
    let mut host = Host::with(MENU);
    host.did();
    host.sleep(Duration::from_millis(6999));
    host.assert_did(&[]);
    host.sleep(Duration::from_millis(1));
    host.assert_did(&["say \"Nothing\" to the party"]);
}

#[test]
fn each_digit_starts_the_timeout_anew() {
    let mut host = Host::with("<Response><Gather timeout=\"3\" action=\"/menu\"/></Response>");
    host.sleep(2 * SECOND);
    host.press("1");
    host.sleep(2 * SECOND);
    host.press("2");
    host.did();
    host.sleep(Duration::from_millis(2999));
    host.assert_did(&[]);
    host.sleep(Duration::from_millis(1));
    host.assert_did(&["POST https://app.test/menu"]);
    assert_eq!(
        host.asked("https://app.test/menu").get("Digits"),
        Some("12")
    );
}

#[test]
fn nothing_goes_to_the_action_where_that_is_asked_for() {
    let mut host =
        Host::with("<Response><Gather actionOnEmptyResult=\"true\" action=\"/menu\"/></Response>");
    host.sleep(5 * SECOND);
    assert_eq!(host.asked("https://app.test/menu").get("Digits"), Some(""));
}

#[test]
fn without_barge_in_the_prompt_is_heard_to_its_end() {
    let menu = "<Response><Gather bargeIn=\"false\" action=\"/menu\"><Say>a</Say><Say>b</Say></Gather></Response>";
    let mut host = Host::with(menu);
    host.press("1");
    host.did();
    host.sleep(4 * SECOND);
    host.assert_did(&["say \"b\" to the party"]);
    host.press("#");
    assert_eq!(host.asked("https://app.test/menu").get("Digits"), Some("1"));
}

#[test]
fn pauses_between_prompts_take_their_time() {
    let menu = "<Response><Gather timeout=\"1\"><Say>a</Say><Pause length=\"3\"/><Say>b</Say></Gather></Response>";
    let mut host = Host::with(menu);
    host.did();
    host.sleep(Duration::from_millis(4999));
    host.assert_did(&[]);
    host.sleep(Duration::from_millis(1));
    host.assert_did(&["say \"b\" to the party"]);
    host.sleep(3 * SECOND);
    host.assert_did(&["hang up the party"]);
}

fn speech(input: &str) -> Host {
    let menu = format!(
        "<Response><Gather input=\"{input}\" action=\"/menu\" partialResultCallback=\"/partial\">\
         <Say>Speak</Say></Gather><Say>Nothing</Say></Response>"
    );
    Host::of(setup(), &[(VOICE, &menu)])
}

fn hear(host: &mut Host, heard: Heard) {
    let job = host.last.listen.unwrap();
    host.tell(Event::Heard { job, heard });
}

fn text(text: &str) -> Heard {
    Heard::Final {
        text: text.to_owned(),
        confidence: 875,
    }
}

#[test]
fn what_is_said_ends_the_prompt_and_goes_to_the_action() {
    let mut host = speech("speech");
    host.page("https://app.test/partial", Page::Status(200));
    host.assert_did(&[
        "POST https://app.test/voice",
        "answer",
        "listen to the party",
        "say \"Speak\" to the party",
    ]);
    host.press("1");
    host.assert_did(&[]);
    hear(&mut host, Heard::Speaking);
    host.assert_did(&["stop"]);
    for (stable, unstable) in [("", "a table"), ("a table", "for two")] {
        let (stable, unstable) = (stable.to_owned(), unstable.to_owned());
        hear(&mut host, Heard::Partial { stable, unstable });
    }
    host.assert_did(&[
        "POST https://app.test/partial",
        "POST https://app.test/partial",
    ]);
    let params = host.asked("https://app.test/partial");
    assert_eq!(params.get("StableSpeechResult"), Some("a table"));
    assert_eq!(params.get("UnstableSpeechResult"), Some("for two"));
    assert_eq!(params.get("SequenceNumber"), Some("1"));
    hear(&mut host, text("a table for two"));
    let params = host.asked("https://app.test/menu");
    assert_eq!(params.get("SpeechResult"), Some("a table for two"));
    assert_eq!(params.get("Confidence"), Some("0.875"));
    assert_eq!(params.get("Digits"), None);
}

#[test]
fn of_digits_and_speech_what_comes_first_counts() {
    let mut host = speech("dtmf speech");
    host.did();
    host.press("1");
    host.assert_did(&["stop", "stop"]);
    hear(&mut host, text("too late"));
    host.sleep(5 * SECOND);
    assert_eq!(host.asked("https://app.test/menu").get("Digits"), Some("1"));
    let mut host = speech("dtmf speech");
    hear(&mut host, Heard::Speaking);
    host.press("1#");
    hear(&mut host, text("first"));
    let params = host.asked("https://app.test/menu");
    assert_eq!(
        (params.get("SpeechResult"), params.get("Digits")),
        (Some("first"), None)
    );
}

#[test]
fn nothing_said_or_understood_falls_through() {
    let mut host = speech("speech");
    host.did();
    host.sleep(7 * SECOND);
    host.assert_did(&["stop", "say \"Nothing\" to the party"]);
    let mut host = speech("speech");
    host.did();
    hear(&mut host, text(" "));
    host.assert_did(&["stop", "say \"Nothing\" to the party"]);
}

#[test]
fn an_endpoint_that_fails_or_says_no_more_is_not_waited_for() {
    let mut host = speech("speech");
    host.did();
    hear(&mut host, Heard::Failed("no licence".to_owned()));
    host.assert_did(&[
        "Warning 12400: speech cannot be understood: no licence",
        "stop",
        "say \"Nothing\" to the party",
    ]);
    let mut host = speech("dtmf speech");
    hear(&mut host, Heard::Failed("no licence".to_owned()));
    host.press("7#");
    assert_eq!(host.asked("https://app.test/menu").get("Digits"), Some("7"));
    let mut host = speech("speech");
    hear(&mut host, Heard::Speaking);
    host.did();
    host.sleep(66 * SECOND);
    host.assert_did(&["stop", "say \"Nothing\" to the party"]);
}

#[test]
fn a_key_ends_all_prompts_and_what_crossed_it_begins_none() {
    let menu = "<Response><Gather action=\"/menu\"><Say>a</Say><Say>b</Say><Say>c</Say></Gather></Response>";
    let mut host = Host::with(menu);
    host.did();
    let stale = host.last.play.unwrap();
    host.sleep(2 * SECOND);
    host.assert_did(&["say \"b\" to the party"]);
    host.tell(Event::Played {
        job: stale,
        result: Ok(()),
    });
    host.assert_did(&[]);
    let mut host = Host::with(menu);
    host.press("1");
    host.did();
    host.sleep(4 * SECOND);
    host.assert_did(&[]);
    host.sleep(SECOND);
    host.assert_did(&["POST https://app.test/menu"]);
}

#[test]
fn partial_results_do_not_pile_up_behind_a_receiver_that_is_late() {
    let mut host = speech("speech");
    for number in 0..100 {
        let (stable, unstable) = (number.to_string(), String::new());
        hear(&mut host, Heard::Partial { stable, unstable });
    }
    host.page("https://app.test/partial", Page::Status(200));
    host.sleep(15 * SECOND);
    let partial = |request: &&Request| request.url == "https://app.test/partial";
    assert_eq!(host.requests.iter().filter(partial).count(), 17);
    // The newest are the ones that are told.
    let params = host.asked("https://app.test/partial");
    assert_eq!(params.get("StableSpeechResult"), Some("99"));
}
