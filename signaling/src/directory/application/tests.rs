use store::{Timestamp, Uuid};

use super::*;

const NODES: &str = "AC00000000000000000000000000000000";
const ACMES: &str = "AC11111111111111111111111111111111";

fn account(sid: &str, tenant: Option<&str>) -> Account {
    Account {
        sid: sid.to_owned(),
        token: "0123456789abcdef".to_owned(),
        tenant: tenant.map(Into::into),
        calls_per_second: 1,
    }
}

fn stored(id: u128, tenant: &str, name: &str, url: Option<&str>) -> store::Application {
    let hook = |url: Option<&str>, method| Hook {
        url: url.map(str::to_owned),
        method,
    };
    store::Application {
        id: Uuid::from_u128(id),
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        voice: hook(url, HttpMethod::Get),
        fallback: hook(None, HttpMethod::Post),
        status: hook(Some("https://app.test/status"), HttpMethod::Post),
        message: hook(None, HttpMethod::Post),
        created: Timestamp::from_millis(0),
        updated: Timestamp::from_millis(0),
    }
}

fn programs() -> Programs {
    let mut programs = Programs::default();
    programs.add_account(account(NODES, None));
    programs.add_account(account(ACMES, Some("acme")));
    programs.add_application(stored(1, "acme", "ivr", Some("https://acme.test/voice")));
    programs.add_application(stored(
        2,
        DEFAULT_TENANT,
        "ivr",
        Some("https://us.test/voice"),
    ));
    programs.add_application(stored(
        3,
        DEFAULT_TENANT,
        "raw",
        Some("wss://us.test/stream"),
    ));
    programs.add_application(stored(4, "other", "lone", Some("https://other.test/voice")));
    programs
}

fn number(text: &str) -> Number {
    let text = format!("{{\"number\": \"+15550100\", {text}}}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_number_names_what_its_calls_are_given_to() {
    let number = number(&format!(
        r#""account": "{NODES}", "voice_url": "https://me:secret@app.test/a?b", "voice_method": "GET",
        "voice_fallback_url": "https://app.test/sorry", "status_callback": "https://app.test/status",
        "status_callback_method": "GET""#
    ));
    let application = programs().of_number(&number, None, true).unwrap();
    assert_eq!(application.account.sid, NODES);
    assert!(!application.is_abroad());
    assert!(!application.voice.post);
    assert!(application.fallback.as_ref().unwrap().post);
    assert!(!application.status.as_ref().unwrap().post);
    assert_eq!(application.shown(), "https://app.test/a?b");
}

#[test]
fn an_application_of_the_store_is_found_by_name_and_by_id() {
    let programs = programs();
    let by_name = number(r#""application": "ivr""#);
    let acmes = programs.of_number(&by_name, Some("acme"), true).unwrap();
    assert_eq!(acmes.voice.url, "https://acme.test/voice");
    assert_eq!(acmes.account.sid, ACMES);
    assert!(acmes.is_abroad());
    assert!(!acmes.voice.post);
    assert_eq!(acmes.fallback, None);
    assert_eq!(acmes.status.unwrap().url, "https://app.test/status");
    let by_id = number(&format!(r#""application": "{}""#, Uuid::from_u128(2)));
    let ours = programs.of_number(&by_id, None, true).unwrap();
    assert_eq!(
        (ours.voice.url.as_str(), ours.account.sid.as_str()),
        ("https://us.test/voice", NODES)
    );
    assert!(!ours.is_abroad());
    // Whatever others call theirs.
    let ours = programs.of_number(&by_name, None, true).unwrap();
    assert_eq!(ours.voice.url, "https://us.test/voice");
    let acmes = number(&format!(r#""application": "{}""#, Uuid::from_u128(1)));
    let acmes = programs.of_number(&acmes, None, true).unwrap();
    assert_eq!(acmes.account.sid, ACMES);
}

#[test]
fn what_keeps_a_number_from_its_application_is_told() {
    let programs = programs();
    let unknown = "AC22222222222222222222222222222222";
    let url = r#""voice_url": "https://app.test/""#;
    for (text, tenant, expected) in [
        (
            format!(r#""account": "{unknown}", {url}"#),
            None,
            "there is no account",
        ),
        // Neither in another's name nor with another's application.
        (
            format!(r#""account": "{NODES}", {url}"#),
            Some("acme"),
            "is not of tenant 'acme'",
        ),
        (
            format!(r#""account": "{ACMES}", {url}"#),
            Some("other"),
            "is not of tenant 'other'",
        ),
        (
            r#""application": "lone""#.to_owned(),
            Some("acme"),
            "there is no application 'lone'",
        ),
        (
            format!(
                r#""application": "{}", "account": "{NODES}""#,
                Uuid::from_u128(4)
            ),
            None,
            "is not of tenant 'other'",
        ),
        // A name of the node's number is no other tenant's to take.
        (
            r#""application": "lone""#.to_owned(),
            None,
            "there is no application 'lone': another tenant's is reached by its id",
        ),
        (
            format!(r#""application": "{}""#, Uuid::from_u128(4)),
            None,
            "tenant 'other' has no account",
        ),
    ] {
        let why = programs
            .of_number(&number(&text), tenant, true)
            .unwrap_err();
        assert!(why.contains(expected), "{text}: {why}");
    }
    // One may have a socket, which is kept open.
    let raw = number(r#""application": "raw""#);
    let raw = programs.of_number(&raw, None, true).unwrap();
    let socket = raw.socket().unwrap();
    assert_eq!(
        (&*socket.url, &*socket.account),
        ("wss://us.test/stream", NODES)
    );
    assert!(!socket.public);
    // The default tenant is who runs the node.
    let of_the_node = number(&format!(r#""account": "{NODES}", {url}"#));
    assert!(
        programs
            .of_number(&of_the_node, Some(DEFAULT_TENANT), true)
            .is_ok()
    );
}

#[test]
fn messages_of_a_number_are_given_to_who_is_named_for_them() {
    let mut programs = programs();
    let number = number(&format!(
        r#""account": "{NODES}", "message_url": "https://app.test/sms",
        "message_fallback_url": "https://app.test/sorry", "message_fallback_method": "GET""#
    ));
    let why = programs.of_number(&number, None, true).unwrap_err();
    assert!(why.contains("no voice_url"), "{why}");
    let application = programs.of_number(&number, None, false).unwrap();
    let (link, fallback) = application.message.unwrap();
    assert_eq!((&*link.url, link.post), ("https://app.test/sms", true));
    let fallback = fallback.unwrap();
    assert_eq!(
        (&*fallback.url, fallback.post),
        ("https://app.test/sorry", false)
    );
    let mut texts = stored(9, DEFAULT_TENANT, "texts", None);
    texts.message.url = Some("https://app.test/sms".to_owned());
    programs.add_application(texts);
    let number = self::number(r#""application": "texts""#);
    assert!(programs.of_number(&number, None, true).is_err());
    let application = programs.of_number(&number, None, false).unwrap();
    assert_eq!(application.message.unwrap().0.url, "https://app.test/sms");
}
