use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap()
}

/// The only verb of a document that nothing is wrong with.
fn verb(text: &str) -> Verb {
    let document = parse(&format!("<Response>{text}</Response>"));
    assert_eq!(document.warnings, [""; 0]);
    assert_eq!(document.verbs.len(), 1);
    document.verbs.into_iter().next().unwrap()
}

fn warnings(text: &str) -> Vec<String> {
    parse(&format!("<Response>{text}</Response>")).warnings
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let Verb::Gather(gather) = verb("<Gather/>") else {
        panic!()
    };
    assert!(gather.dtmf && !gather.speech && gather.barge_in && !gather.action_on_empty);
    assert_eq!(gather.timeout, Duration::from_secs(5));
    assert_eq!((&*gather.finish_on_key, gather.num_digits), ("#", None));
    assert_eq!(
        (&*gather.action.url, gather.action.method),
        ("", Method::Post)
    );
    assert_eq!(gather.recognition.language, "en-US");
    assert!(gather.recognition.profanity_filter);

    let Verb::Dial(dial) = verb("<Dial>100</Dial>") else {
        panic!()
    };
    assert_eq!(dial.timeout, Duration::from_secs(30));
    assert_eq!(dial.time_limit, Duration::from_secs(14_400));
    assert!(!dial.answer_on_bridge && !dial.hangup_on_star && dial.record.is_none() && !dial.trim);
    assert_eq!((dial.action, dial.caller_id), (None, None));

    let Verb::Record(record) = verb("<Record/>") else {
        panic!()
    };
    assert_eq!(record.timeout, Duration::from_secs(5));
    assert_eq!(record.max_length, Duration::from_secs(3600));
    assert_eq!(record.finish_on_key, "1234567890*#");
    assert!(record.beep && record.trim);

    assert_eq!(
        verb("<Pause/>"),
        Verb::Prompt(Prompt::Pause(Duration::from_secs(1)))
    );
    assert_eq!(verb("<Reject/>"), Verb::Reject(RejectReason::Rejected));
    let Verb::Prompt(Prompt::Say(say)) = verb("<Say>x</Say>") else {
        panic!()
    };
    assert_eq!((say.loops, &*say.language, say.voice), (1, "en-US", None));
    let Verb::StartStream(stream) = verb("<Start><Stream url=\"wss://a.test\"/></Start>") else {
        panic!()
    };
    assert_eq!((stream.tracks, stream.name), (Tracks::Inbound, None));
}

#[test]
fn status_events_are_a_list_and_default_to_the_end() {
    let events = |attribute: &str| {
        let text = format!("<Dial><Number statusCallback=\"/s\" {attribute}>1</Number></Dial>");
        let Verb::Dial(dial) = verb(&text) else {
            panic!()
        };
        dial.nouns[0].status.clone().unwrap().1
    };
    assert_eq!(events(""), StatusEvents::default());
    let some = events("statusCallbackEvent=\"ringing  answered\"");
    assert!(some.ringing && some.answered && !some.initiated && !some.completed);
    assert_eq!(StatusEvents::of(["nonsense"]), StatusEvents::default());
}

#[test]
fn all_words_for_recording_a_dialled_call() {
    for (word, record) in [
        ("do-not-record", None),
        ("true", Some((false, false))),
        ("record-from-answer", Some((false, false))),
        ("record-from-answer-dual", Some((false, true))),
        ("record-from-ringing", Some((true, false))),
        ("record-from-ringing-dual", Some((true, true))),
    ] {
        let Verb::Dial(dial) = verb(&format!("<Dial record=\"{word}\">1</Dial>")) else {
            panic!()
        };
        assert_eq!(dial.record.map(|r| (r.from_ringing, r.dual)), record);
    }
}

#[test]
fn values_that_cannot_be_leave_the_default_and_are_reported() {
    for (text, expected) in [
        (
            "<Gather timeout=\"soon\"/>",
            "timeout=\"soon\" of <Gather> is not possible",
        ),
        ("<Gather numDigits=\"x\"/>", "use a whole number"),
        ("<Gather finishOnKey=\"any\"/>", "use keys"),
        ("<Gather input=\"dtmf telepathy\"/>", "use dtmf, speech"),
        (
            "<Dial answerOnBridge=\"yes\">1</Dial>",
            "use one of true, false",
        ),
        ("<Dial timeout=\"9999\">1</Dial>", "use 1 to 600"),
        (
            "<Redirect method=\"post\">/x</Redirect>",
            "use one of POST, GET",
        ),
        ("<Pause length=\"-1\"/>", "use 0 to 86400"),
        (
            "<Say Voice=\"x\">y</Say>",
            "the attribute Voice of <Say> is not known",
        ),
        ("<say>x</say>", "<say> is no verb"),
        (
            "<Enqueue>q</Enqueue>",
            "<Enqueue> is not run by this switch",
        ),
        ("stray", "text outside of a verb"),
        ("<Say/>", "nothing to say"),
        ("<Play/>", "no URL"),
        ("<Refer/>", "needs a <Sip>"),
        ("<Stop><Stream/></Stop>", "needs a <Stream> with a name"),
        ("<Message/>", "neither text nor media"),
        ("<Start><Siprec/></Start>", "<Siprec> in <Start> is not run"),
        (
            "<Dial><Number>nobody</Number></Dial>",
            "\"nobody\" is no telephone number",
        ),
        ("<Dial><Sip>a@b.test</Sip></Dial>", "is no SIP URI"),
        (
            "<Dial><Sip>sip:a&#10;b@c.test</Sip></Dial>",
            "is no SIP URI",
        ),
        (
            "<Dial><Client>a b</Client></Dial>",
            "is no client's identity",
        ),
        (
            "<Dial callerId=\"a&#13;&#10;X: y\">1</Dial>",
            "callerId=\"a\\r\\nX: y\" of <Dial>",
        ),
        (
            "<Dial callerId=\"&lt;sip:a@b>\">1</Dial>",
            "use a number, client:name",
        ),
        ("<Dial callerId=\"\">1</Dial>", "use a number, client:name"),
        (
            "<Dial><Client>a<Parameter name=\"a&#10;\" value=\"x\"/></Client></Dial>",
            "control characters",
        ),
        (
            "<Dial><Queue>q</Queue></Dial>",
            "<Queue> cannot be dialled by this switch",
        ),
        (
            "<Gather><Dial>1</Dial></Gather>",
            "<Dial> cannot stand in <Gather>",
        ),
        ("<Play digits=\"12x\">/a</Play>", "use 0-9, A-D"),
        (
            "<Pause><Say>x</Say></Pause>",
            "<Say> cannot stand in <Pause>",
        ),
    ] {
        let warnings = warnings(text);
        assert!(
            warnings.iter().any(|w| w.contains(expected)),
            "{text}: {warnings:?}"
        );
    }
}

#[test]
fn a_warning_names_its_line_and_many_are_counted() {
    let document = parse("<Response>\n<Say>a</Say>\n<Dance/>\n</Response>");
    assert_eq!(
        document.warnings,
        ["line 3: <Dance> is no verb and was left out"]
    );
    let document = parse(&format!("<Response>{}</Response>", "<Dance/>".repeat(8000)));
    assert_eq!(document.warnings.len(), 21);
    assert_eq!(document.warnings[20], "and 7980 more like these");
}

#[test]
fn numbers_are_written_as_people_write_them() {
    for (text, number) in [
        ("+1 (555) 010-0199", "+15550100199"),
        ("555.0100", "5550100"),
        ("*72#", "*72#"),
    ] {
        let Verb::Dial(dial) = verb(&format!("<Dial><Number>{text}</Number></Dial>")) else {
            panic!()
        };
        assert_eq!(dial.nouns[0].target, Target::Number(number.to_owned()));
    }
}

#[test]
fn a_log_shows_no_password() {
    let text = "<Dial><Sip username=\"u\" password=\"secret\">sip:a@b.test?X-A=1</Sip></Dial>";
    let Verb::Dial(dial) = verb(text) else {
        panic!()
    };
    let Target::Sip { uri, password, .. } = &dial.nouns[0].target else {
        panic!()
    };
    assert_eq!(uri, "sip:a@b.test?X-A=1");
    assert_eq!(password.as_deref(), Some("secret"));
    assert!(!format!("{dial:?}").contains("secret"));
}

#[test]
fn markup_of_a_text_is_kept_and_escaped() {
    let text = "a &lt; b <break time=\"1s\"/><sub alias=\"x &quot;y&quot;\">c</sub> <lang xml:lang=\"fr-FR\">d</lang>";
    let Verb::Prompt(Prompt::Say(say)) = verb(&format!("<Say>{text}</Say>")) else {
        panic!()
    };
    assert_eq!(say.text, "a < b  c d");
    let ssml = "a &lt; b <break time=\"1s\"></break><sub alias=\"x &quot;y&quot;\">c</sub> <lang xml:lang=\"fr-FR\">d</lang>";
    assert_eq!(say.ssml.as_deref(), Some(ssml));
}

#[test]
fn what_is_no_document_is_refused_in_words() {
    let of = |text: &str| Document::parse(text.as_bytes()).unwrap_err();
    assert_eq!(of(""), ParseError::Empty);
    assert_eq!(of(" \n"), ParseError::Empty);
    assert_eq!(of("<!DOCTYPE html><html/>"), ParseError::Dtd);
    assert_eq!(
        of("<!DOCTYPE r SYSTEM \"file:///etc/passwd\"><Response/>"),
        ParseError::Dtd
    );
    assert_eq!(of("<html/>"), ParseError::Root("html".into()));
    assert_eq!(of("<response/>"), ParseError::Root("response".into()));
    assert!(matches!(
        of("<Response><Say>&nbsp;</Say></Response>"),
        ParseError::Xml(_)
    ));
    assert!(matches!(of("<Response>"), ParseError::Xml(_)));
    assert!(matches!(of("{}"), ParseError::Xml(_)));
    assert!(matches!(of("<Response/><Response/>"), ParseError::Xml(_)));
    assert_eq!(
        Document::parse(b"<Response>\xE9</Response>").unwrap_err(),
        ParseError::Encoding
    );
    let large = vec![b' '; MAX_DOCUMENT + 1];
    assert_eq!(Document::parse(&large).unwrap_err(), ParseError::TooLarge);
}

#[test]
fn the_largest_and_the_deepest_document_are_read() {
    for (open, close) in [("<p>", "</p>"), ("<Gather>", "</Gather>"), ("<x>", "</x>")] {
        let depth = (MAX_DOCUMENT - 100) / (open.len() + close.len());
        let inner = format!("{}{}", open.repeat(depth), close.repeat(depth));
        for text in [
            format!("<Response><Say>x{inner}</Say></Response>"),
            format!("<Response>{inner}</Response>"),
        ] {
            // Whether it is accepted matters less than that it is decided on, within a thread's stack.
            let _ = Document::parse(text.as_bytes());
        }
    }
    let wide = format!("<Response>{}</Response>", "<Hangup/>".repeat(7000));
    assert_eq!(parse(&wide).verbs.len(), 7000);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        let _ = Document::parse(&bytes);
    }

    #[test]
    fn no_markup_makes_it_panic(text in "(<(/)?(Response|Say|Dial|Gather|Number|Stream|Start)( (url|timeout|loop|record)=\"[a-z0-9 -]{0,6}\"){0,2}/?>|[a-z&;]{0,3}){0,30}") {
        let _ = Document::parse(format!("<Response>{text}</Response>").as_bytes());
    }
}

#[test]
fn what_is_too_much_is_cut_and_reported() {
    let document = parse(&format!(
        "<Response><Say>{}<break/></Say></Response>",
        "ä".repeat(5000)
    ));
    let Some(Verb::Prompt(Prompt::Say(say))) = document.verbs.first() else {
        panic!()
    };
    assert_eq!((say.text.chars().count(), &say.ssml), (4096, &None));
    assert_eq!(document.warnings.len(), 1);

    let document = parse(&format!(
        "<Response><Dial>{}</Dial></Response>",
        "<Number>1</Number>".repeat(12)
    ));
    let Some(Verb::Dial(dial)) = document.verbs.first() else {
        panic!()
    };
    assert_eq!((dial.nouns.len(), document.warnings.len()), (10, 1));

    let value = "x".repeat(499);
    let text = format!(
        "<Start><Stream url=\"wss://a.test\"><Parameter name=\"a\" value=\"{value}\"/></Stream></Start>"
    );
    let document = parse(&format!("<Response>{text}</Response>"));
    let Some(Verb::StartStream(stream)) = document.verbs.first() else {
        panic!()
    };
    assert_eq!((stream.parameters.len(), document.warnings.len()), (0, 1));
}
