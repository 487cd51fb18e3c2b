use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;

fn parse(value: &Value) -> Document {
    Document::parse_json(value.to_string().as_bytes()).unwrap()
}

/// The same document in both languages.
fn assert_same(json: &Value, twiml: &str) {
    let read = parse(json);
    assert_eq!(read.warnings, [""; 0], "{json}");
    let twiml = format!("<Response>{twiml}</Response>");
    let expected = Document::parse(twiml.as_bytes()).unwrap();
    assert_eq!(expected.warnings, [""; 0], "{twiml}");
    assert_eq!(read.verbs, expected.verbs, "{json}");
}

#[test]
fn every_verb_is_the_one_of_twiml() {
    for (json, twiml) in [
        (json!([{"say": "Hello"}]), "<Say>Hello</Say>"),
        (
            json!([{"say": {"text": "a < b & c", "voice": "woman", "language": "de-DE", "loop": 2}}]),
            "<Say voice='woman' language='de-DE' loop='2'>a &lt; b &amp; c</Say>",
        ),
        (
            json!([{"say": {"ssml": "Now <break time='1s'/> <emphasis>this</emphasis>"}}]),
            "<Say>Now <break time='1s'/> <emphasis>this</emphasis></Say>",
        ),
        (json!([{"play": "/a.wav"}]), "<Play>/a.wav</Play>"),
        (json!([{"play": {"digits": "1w2", "loop": 0}}]), "<Play digits='1w2' loop='0'/>"),
        (json!([{"pause": 3}, "pause"]), "<Pause length='3'/><Pause/>"),
        (
            json!([{"gather": {
                "input": ["speech", "dtmf"], "numDigits": 4, "timeout": 7, "finishOnKey": "*",
                "actionOnEmptyResult": true, "hints": ["one", "two three"], "speechTimeout": "auto",
                "prompts": [{"say": "Which?"}, {"pause": {"length": 1}}, {"play": "b.mp3"}],
            }}]),
            "<Gather input='speech dtmf' numDigits='4' timeout='7' finishOnKey='*' actionOnEmptyResult='true'
                hints='one,two three' speechTimeout='auto'>
                <Say>Which?</Say><Pause length='1'/><Play>b.mp3</Play></Gather>",
        ),
        (json!([{"dial": "+1 (555) 010-0"}]), "<Dial>+1 (555) 010-0</Dial>"),
        (
            json!([{"dial": {
                "to": [
                    {"number": "+15550100", "sendDigits": "ww1", "statusCallback": "/s",
                     "statusCallbackEvent": ["ringing", "answered"]},
                    {"sip": "sip:a@b.test", "username": "u", "password": "p", "url": "/whisper"},
                    {"client": "alice", "parameters": {"a": "b"}},
                    "sip:c@d.test",
                    "client:bob",
                ],
                "sequential": true, "timeout": 12, "callerId": "+15550199", "record": "record-from-answer-dual",
            }}]),
            "<Dial sequential='true' timeout='12' callerId='+15550199' record='record-from-answer-dual'>
                <Number sendDigits='ww1' statusCallback='/s' statusCallbackEvent='ringing answered'>+15550100</Number>
                <Sip username='u' password='p' url='/whisper'>sip:a@b.test</Sip>
                <Client><Identity>alice</Identity><Parameter name='a' value='b'/></Client>
                <Sip>sip:c@d.test</Sip><Client>bob</Client></Dial>",
        ),
        (
            json!([{"record": {"maxLength": 20, "playBeep": false, "recordingStatusCallback": "/r"}}, "record"]),
            "<Record maxLength='20' playBeep='false' recordingStatusCallback='/r'/><Record/>",
        ),
        (json!([{"redirect": {"url": "/next", "method": "GET"}}]), "<Redirect method='GET'>/next</Redirect>"),
        (json!([{"reject": "busy"}, {"reject": {}}]), "<Reject reason='busy'/><Reject/>"),
        (json!([{"refer": "tel:+15550100"}]), "<Refer><Sip>tel:+15550100</Sip></Refer>"),
        (
            json!([{"refer": {"to": "sip:a@b.test", "action": "/after"}}]),
            "<Refer action='/after'><Sip>sip:a@b.test</Sip></Refer>",
        ),
        (json!(["hangup"]), "<Hangup/>"),
        (
            json!([
                {"start": {"stream": {"url": "wss://a.test", "name": "n", "track": "both_tracks"}}},
                {"stop": {"stream": "n"}},
            ]),
            "<Start><Stream url='wss://a.test' name='n' track='both_tracks'/></Start>
             <Stop><Stream name='n'/></Stop>",
        ),
        (
            json!([{"connect": {"action": "/after", "stream": {
                "url": "wss://a.test",
                "parameters": [{"name": "z", "value": 1}, {"name": "a", "value": true}],
            }}}]),
            "<Connect action='/after'><Stream url='wss://a.test'>
                <Parameter name='z' value='1'/><Parameter name='a' value='true'/></Stream></Connect>",
        ),
        (
            json!([{"message": {"body": "Hi", "to": "+15550100", "media": ["/a.png", "/b.png"]}}]),
            "<Message to='+15550100'>Hi<Media>/a.png</Media><Media>/b.png</Media></Message>",
        ),
    ] {
        assert_same(&json, twiml);
        assert_same(&json!({"id": "7", "verbs": json}), twiml);
    }
}

#[test]
fn what_is_no_document_is_refused_in_words() {
    for (text, expected) in [
        ("", "empty"),
        ("{", "not JSON: EOF"),
        ("{}", "no list of verbs"),
        ("7", "no list of verbs"),
        ("{\"verbs\": {\"say\": \"x\"}}", "no list of verbs"),
        ("<Response/>", "not JSON"),
    ] {
        let error = Document::parse_json(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    let big = format!("[{}]", " ".repeat(MAX_DOCUMENT));
    let error = Document::parse_json(big.as_bytes()).unwrap_err();
    assert_eq!(error, ParseError::TooLarge);
    assert!(Document::parse_json(b"\xff").is_err());
    let deep = "[".repeat(20_000);
    assert!(Document::parse_json(deep.as_bytes()).is_err());
}

#[test]
fn what_is_wrong_in_one_is_left_out_and_named_by_its_place() {
    for (json, expected) in [
        (json!([7]), "verbs[0]: a verb is an object with one key"),
        (
            json!([{"say": "a", "play": "b"}]),
            "verbs[0]: a verb is an object",
        ),
        (json!([{"shout": {}}]), "verbs[0]: \"shout\" is no verb"),
        (json!([{"Say": "x"}]), "\"Say\" is no verb"),
        (
            json!(["hangup", {"say": {}}]),
            "verbs[1].say: <Say> has nothing to say",
        ),
        (
            json!([{"say": {"text": ["x"]}}]),
            "\"text\" is a text, a number",
        ),
        (json!([{"say": {"ssml": "<b"}}]), "ssml is not well-formed"),
        (
            json!([{"record": 7}]),
            "verbs[0].record: what a verb has is an object",
        ),
        (
            json!([{"gather": {"numDigits": "x"}}]),
            "use a whole number",
        ),
        (
            json!([{"gather": {"nunDigits": 4}}]),
            "nunDigits of <Gather> is not known",
        ),
        (
            json!([{"gather": {"prompts": [{"dial": "1"}]}}]),
            "verbs[0].gather.prompts[0].dial: <Dial> cannot stand",
        ),
        (
            json!([{"dial": {"to": [{"conference": "room"}]}}]),
            "<Conference> cannot be dialled",
        ),
        (
            json!([{"dial": {"to": [{"name": "x"}]}}]),
            "verbs[0].dial.to[0]: it has no \"number\"",
        ),
        (json!([{"dial": {"to": "sip:a>b"}}]), "is no SIP URI"),
        (json!([{"connect": {}}]), "<Connect> has no <Stream>"),
        (json!(["enqueue"]), "<Enqueue> is not run"),
    ] {
        let document = parse(&json);
        let warnings = document.warnings.join("\n");
        assert!(warnings.contains(expected), "{json}: {warnings}");
    }
    let many = Value::from(vec!["shout"; 500]);
    assert_eq!(parse(&many).warnings.len(), 21);
    let document = parse(&json!([{"say": "a\u{0}b\u{7}\nc"}]));
    let [Verb::Prompt(Prompt::Say(say))] = &*document.verbs else {
        panic!()
    };
    assert_eq!(say.text, "ab\nc");
}

#[test]
fn a_brace_tells_json_from_twiml() {
    let json = Document::parse_any(b" {\"verbs\": [\"hangup\"]}").unwrap();
    let list = Document::parse_any(b"[\"hangup\"]").unwrap();
    let twiml = Document::parse_any(b"<Response><Hangup/></Response>").unwrap();
    assert_eq!(json.verbs, twiml.verbs);
    assert_eq!(list.verbs, twiml.verbs);
}

/// An element in both languages.
#[derive(Clone, Debug)]
struct Both {
    twiml: String,
    json: Value,
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('"', "&quot;")
}

/// A value as JSON writers write it.
fn value_of(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => number.into(),
            _ => text.into(),
        },
    }
}

const NAMES: &[&str] = &[
    "action",
    "method",
    "timeout",
    "loop",
    "voice",
    "language",
    "length",
    "numDigits",
    "finishOnKey",
    "input",
    "bargeIn",
    "hints",
    "speechTimeout",
    "actionOnEmptyResult",
    "callerId",
    "record",
    "hangupOnStar",
    "trim",
    "timeLimit",
    "maxLength",
    "playBeep",
    "reason",
    "nonsense",
    "partialResultCallback",
    "sequential",
    "statusCallback",
    "statusCallbackEvent",
    "recordingStatusCallback",
    "recordingStatusCallbackEvent",
    "sendDigits",
    "username",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "7",
    "-3",
    "99999999",
    "true",
    "false",
    "auto",
    "dtmf",
    "speech",
    "dtmf speech",
    "GET",
    "POST",
    "/next",
    "https://a.test/x?y=z&w",
    "#",
    "*1",
    "busy",
    "rejected",
    "record-from-ringing-dual",
    "trim-silence",
    "a,b c,,d",
    "initiated ringing",
    "completed absent",
    "+15550100",
    "\"<&>'",
    "ä€𝄞",
    "de-DE",
];
const TEXTS: &[&str] = &[
    "Hello",
    "a < b & \"c\"",
    "+1 555 0100",
    "sip:a@b.test",
    "alice",
    "/a.wav",
    "x\ny",
    "",
];

fn attributes() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let some = vec((select(NAMES), select(VALUES)), 0..5);
    // XML has each name once.
    some.prop_map(|mut all| {
        all.sort_unstable();
        all.dedup_by_key(|(name, _)| *name);
        all
    })
}

fn both(
    name: &str,
    own: Option<(&str, Value)>,
    inner: &str,
    attributes: &[(&'static str, &'static str)],
) -> Both {
    let element = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    let written = attributes.iter();
    let written = written.map(|(name, value)| format!(" {name}=\"{}\"", escaped(value)));
    let written: String = written.collect();
    let mut object: serde_json::Map<_, _> = attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value_of(value)))
        .collect();
    if let Some((key, value)) = own {
        object.insert(key.to_owned(), value);
    }
    Both {
        twiml: format!("<{element}{written}>{inner}</{element}>"),
        json: json!({ name: object }),
    }
}

fn prompt() -> impl Strategy<Value = Both> {
    (
        select(&["say", "play", "pause"][..]),
        select(TEXTS),
        attributes(),
    )
        .prop_map(|(name, text, attributes)| match name {
            "say" => both(
                name,
                Some(("text", text.into())),
                &escaped(text),
                &attributes,
            ),
            "play" => both(
                name,
                Some(("url", text.into())),
                &escaped(text),
                &attributes,
            ),
            _ => both(name, None, "", &attributes),
        })
}

fn noun() -> impl Strategy<Value = Both> {
    (
        select(&["number", "sip", "client"][..]),
        select(TEXTS),
        attributes(),
    )
        .prop_map(|(name, text, attributes)| {
            let both = both(name, Some((name, text.into())), &escaped(text), &attributes);
            Both {
                json: both.json[name].clone(),
                ..both
            }
        })
}

fn verb() -> impl Strategy<Value = Both> {
    let plain = (
        select(&["record", "reject", "hangup", "gather", "enqueue"][..]),
        attributes(),
    )
        .prop_map(|(name, attributes)| both(name, None, "", &attributes));
    let redirect = (select(TEXTS), attributes()).prop_map(|(text, attributes)| {
        both(
            "redirect",
            Some(("url", text.into())),
            &escaped(text),
            &attributes,
        )
    });
    let gather = (vec(prompt(), 0..4), attributes()).prop_map(|(prompts, attributes)| {
        let inner: String = prompts.iter().map(|both| both.twiml.as_str()).collect();
        let list = prompts.into_iter().map(|both| both.json).collect();
        both("gather", Some(("prompts", list)), &inner, &attributes)
    });
    let dial = (vec(noun(), 0..4), attributes()).prop_map(|(nouns, attributes)| {
        let inner: String = nouns.iter().map(|both| both.twiml.as_str()).collect();
        let list = nouns.into_iter().map(|both| both.json).collect();
        both("dial", Some(("to", list)), &inner, &attributes)
    });
    prop_oneof![prompt(), plain, redirect, gather, dial]
}

proptest! {
    #[test]
    fn both_languages_say_the_same(verbs in vec(verb(), 0..6)) {
        let twiml: String = verbs.iter().map(|both| both.twiml.as_str()).collect();
        let twiml = format!("<Response>{twiml}</Response>");
        let json: Value = verbs.into_iter().map(|both| both.json).collect();
        let expected = Document::parse(twiml.as_bytes()).unwrap();
        let read = parse(&json);
        prop_assert_eq!(&read.verbs, &expected.verbs, "{} {}", twiml, json);
        prop_assert_eq!(read.warnings.len(), expected.warnings.len(), "{} {}", twiml, json);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        drop(Document::parse_json(&bytes));
    }
}
