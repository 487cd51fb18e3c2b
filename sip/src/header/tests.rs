use super::*;
use crate::uri::Host;

fn via(text: &str) -> Via<'_> {
    Via::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn address(text: &str) -> NameAddr<'_> {
    NameAddr::parse(HeaderName::From, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn every_name_is_found_in_any_case_and_form() {
    for name in HeaderName::all() {
        let text = name.as_str();
        assert_eq!(HeaderName::parse(text.as_bytes()), Some(*name));
        assert_eq!(
            HeaderName::parse(text.to_uppercase().as_bytes()),
            Some(*name)
        );
        assert_eq!(
            HeaderName::parse(text.to_lowercase().as_bytes()),
            Some(*name)
        );
    }
    let compact = [
        ("v", HeaderName::Via),
        ("I", HeaderName::CallId),
        ("l", HeaderName::ContentLength),
    ];
    for (text, name) in compact {
        assert_eq!(HeaderName::parse(text.as_bytes()), Some(name));
    }
    for unknown in ["", "X-Via", "Vi", "Via ", "C%6Fntact", "z"] {
        assert_eq!(HeaderName::parse(unknown.as_bytes()), None, "{unknown}");
    }
}

#[test]
fn lists_split_outside_quotes_and_brackets() {
    let split = |text: &'static str| {
        let values = ListValues::new(text.as_bytes());
        values
            .map(|value| std::str::from_utf8(value).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(split("a, b ,\r\n c"), ["a", "b", "c"]);
    assert_eq!(split(",,a,,"), ["a"]);
    assert_eq!(
        split(r#""x, \", y" <sip:a,b@c>;p="1,2", <d>"#),
        [r#""x, \", y" <sip:a,b@c>;p="1,2""#, "<d>"]
    );
    assert_eq!(split(r#""open, a, b"#), [r#""open, a, b"#]);
    assert_eq!(split("<open, a, b"), ["<open, a, b"]);
    assert_eq!(split(""), [""; 0]);
}

#[test]
fn params_keep_order_and_quotes() {
    let params = Params::new(";a=1; B ; c=\"x;y\\\";z\";d=");
    let all: Vec<_> = params.iter().collect();
    let quoted = "\"x;y\\\";z\"";
    assert_eq!(
        all,
        [
            ("a", Some("1")),
            ("B", None),
            ("c", Some(quoted)),
            ("d", Some(""))
        ]
    );
    assert_eq!(params.get("b"), Some(""));
    assert!(params.has("D") && !params.has("x"));
    assert_eq!(Params::new(";a=\"open;b=2").iter().count(), 1);
}

#[test]
fn parts_of_a_via() {
    let via = via("SIP / 2.0 / TLS  [2001:db8::1]:5071 ;branch=z9hG4bKx;rport;received=192.0.2.7");
    assert_eq!(via.transport(), Transport::Tls);
    assert_eq!(via.host(), Host::V6("2001:db8::1".parse().unwrap()));
    assert_eq!(
        (via.port(), via.sent_by()),
        (Some(5071), "[2001:db8::1]:5071")
    );
    assert!(via.has_rfc3261_branch() && via.has_rport());
    assert_eq!(via.rport(), None);
    assert_eq!(via.received(), Some([192, 0, 2, 7].into()));
}

#[test]
fn what_is_no_via_is_refused() {
    for text in [
        "",
        "SIP/2.0/UDP",
        "SIP/3.0/UDP a",
        "HTTP/2.0/UDP a",
        "SIP/2.0/UDP ;branch=x",
        "SIP/2.0/UDP a:b",
        "SIP/2.0/U(P a",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP a;x=\"open;rport",
        "SIP/2.0/UDP a;received=<;x, SIP/2.0/UDP b",
        "SIP/2.0/UDP a;received=<;x, SIP/2.0/UDP b>",
    ] {
        assert!(Via::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!(via("SIP/2.0/QUIC a").transport(), Transport::Other("quic"));
    assert!(via("SIP/2.0/UDP a;x=\"<,\"").params().has("x"));
    assert!(!via("SIP/2.0/UDP a;branch=z9hG4bK").has_rfc3261_branch());
}

#[test]
fn responses_go_where_the_request_came_from() {
    let target = |text| {
        let (host, port) = via(text).response_target();
        format!("{host}:{port}")
    };
    assert_eq!(
        target("SIP/2.0/UDP a.example:5070;branch=x"),
        "a.example:5070"
    );
    assert_eq!(
        target("SIP/2.0/UDP a.example;received=192.0.2.1;rport=4444"),
        "192.0.2.1:4444"
    );
    assert_eq!(
        target("SIP/2.0/UDP a.example:5080;received=192.0.2.1"),
        "192.0.2.1:5080"
    );
    assert_eq!(
        target("SIP/2.0/UDP a;maddr=239.1.1.1;received=192.0.2.1"),
        "239.1.1.1:5060"
    );
    assert_eq!(target("SIP/2.0/TLS a"), "a:5061");
}

#[test]
fn a_server_stamps_what_it_saw_and_drops_what_the_client_claims() {
    let source = "192.0.2.9:31000".parse().unwrap();
    let stamp = |text| {
        let stamped = via(text).stamped(source);
        stamped.map(|value| String::from_utf8(value).unwrap())
    };
    assert_eq!(stamp("SIP/2.0/UDP 192.0.2.9:31000;branch=x"), None);
    assert_eq!(
        stamp("SIP/2.0/UDP 192.0.2.9;rport;branch=x").as_deref(),
        Some("SIP/2.0/UDP 192.0.2.9;branch=x;received=192.0.2.9;rport=31000")
    );
    assert_eq!(
        stamp("SIP/2.0/UDP host.example ;branch=x").as_deref(),
        Some("SIP/2.0/UDP host.example;branch=x;received=192.0.2.9")
    );
    assert_eq!(
        stamp("SIP/2.0/UDP 192.0.2.9;branch=x;received=203.0.113.66").as_deref(),
        Some("SIP/2.0/UDP 192.0.2.9;branch=x")
    );
    let mapped = "[::ffff:192.0.2.9]:31000".parse().unwrap();
    assert_eq!(via("SIP/2.0/UDP 192.0.2.9;branch=x").stamped(mapped), None);
}

#[test]
fn addresses_in_every_form() {
    let quoted = address(r#""A. \"B\" <x>" <sip:a@b;lr>;tag=1;x="y;z""#);
    assert_eq!(quoted.display(), r#"A. "B" <x>"#);
    assert_eq!((quoted.uri_str(), quoted.tag()), ("sip:a@b;lr", Some("1")));
    let tokens = address("Alice Smith <sip:a@b>");
    assert_eq!(
        (tokens.display().as_ref(), tokens.tag()),
        ("Alice Smith", None)
    );
    let bare = address("sip:a@b;tag=9");
    assert_eq!(
        (bare.uri_str(), bare.tag(), bare.is_bracketed()),
        ("sip:a@b", Some("9"), false)
    );
    let latin1 = NameAddr::parse(HeaderName::From, b"\"J\xFCrgen\" <sip:j@b>;tag=1").unwrap();
    assert_eq!(latin1.display(), "J\u{FFFD}rgen");
    assert_eq!(latin1.tag(), Some("1"));
    let instance = address(r#"<sip:a@b>;reg-id=1;+sip.instance="<urn:uuid:0-1>";expires=60"#);
    assert_eq!(
        instance.params().get("+sip.instance"),
        Some("\"<urn:uuid:0-1>\"")
    );
    assert_eq!(instance.expires(), Some(60));
}

#[test]
fn an_empty_tag_is_none_and_hides_none() {
    assert_eq!(address("<sip:a@b>;tag=").tag(), None);
    assert_eq!(address("<sip:a@b>;tag").tag(), None);
    assert_eq!(address("<sip:a@b>;tag=;Tag=x").tag(), Some("x"));
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "",
        "<>",
        "<sip:a@b",
        "\"x <sip:a@b>",
        "\"x\"",
        "\"x\" y <sip:a@b>",
        "<sip:a>x",
        "<sip:a>;x=\"open",
        "<sip:a>;x=<open",
    ] {
        assert!(
            NameAddr::parse(HeaderName::To, text.as_bytes()).is_err(),
            "{text}"
        );
    }
    // Without brackets a URI holds neither headers nor commas.
    assert!(NameAddr::parse(HeaderName::To, b"sip:a@b?x=y").is_err());
}

#[test]
fn q_values() {
    let q = |text: &str| address(&format!("<sip:a@b>;q={text}")).q();
    assert_eq!(
        (q("0.5"), q("1.000"), q("0"), q("0.333")),
        (Some(500), Some(1000), Some(0), Some(333))
    );
    assert_eq!(
        (q("1.1"), q("2"), q("0.3333"), q("x"), q("0.-1")),
        (None, None, None, None, None)
    );
}

#[test]
fn cseq_bounds() {
    let cseq = CSeq::parse(b"2147483647\r\n INVITE").unwrap();
    assert_eq!((cseq.number, cseq.method), (2_147_483_647, Method::Invite));
    let long = [b"1".repeat(400), b" INVITE".to_vec()].concat();
    for text in [
        &b"2147483648 INVITE"[..],
        b"1",
        b"1INVITE",
        b"-1 INVITE",
        b"1 IN VITE",
        &long,
    ] {
        assert!(CSeq::parse(text).is_err());
    }
}

#[test]
fn content_types() {
    let parsed = ContentType::parse(b"Multipart / Mixed ; boundary=\"a b\"").unwrap();
    assert!(parsed.is("multipart", "mixed"));
    assert_eq!(parsed.params.get("boundary"), Some("\"a b\""));
    assert!(ContentType::parse(b"application").is_err());
}
