use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP a.example;branch=z9hG4bK1, SIP/2.0/TCP b.example;branch=z9hG4bK2\r\n\
    v: SIP/2.0/UDP c.example;branch=z9hG4bK3\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:alice@example.com>;tag=f\r\n\
    To: <sip:bob@example.com>\r\n\
    Call-ID: one@a.example\r\n\
    CSeq: 1 INVITE\r\n\
    Record-Route: <sip:p.example;lr>\r\n\
    X-Odd \t:  kept   \r\n\
    Contact: <sip:alice@a.example>\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 4\r\n\
    \r\n\
    body";

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn kind(text: &str) -> ParseErrorKind {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
        .unwrap_err()
        .kind
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(message.as_bytes()).unwrap()
}

#[test]
fn an_invite_is_read() {
    let invite = message(INVITE);
    assert_eq!(invite.validate(), Ok(()));
    assert_eq!(invite.method(), Some(&Method::Invite));
    assert_eq!(invite.request_uri().unwrap().user(), Some("bob"));
    let branches: Vec<_> = invite
        .vias()
        .map(|via| via.unwrap().branch().unwrap())
        .collect();
    assert_eq!(branches, ["z9hG4bK1", "z9hG4bK2", "z9hG4bK3"]);
    assert_eq!(invite.call_id(), Ok("one@a.example"));
    assert_eq!(invite.header("x-odd").unwrap().value(), b"kept");
    assert_eq!(invite.headers_named("VIA").count(), 2);
    assert_eq!(invite.body(), b"body");
    assert!(invite.header("X-None").is_none());
}

#[test]
fn a_response_is_read() {
    let response = message("SIP/2.0 486 Busy \u{fc}ber\r\nCSeq: 1 INVITE\r\n\r\n");
    assert_eq!(response.status(), Some(486));
    assert_eq!(response.reason(), "Busy \u{fc}ber");
    assert_eq!(message("SIP/2.0 200\r\n\r\n").reason(), "");
    assert_eq!(message("SIP/2.0 200 \r\n\r\n").reason(), "");
    for status in ["99", "700", "1000", "2x0", "+20", ""] {
        assert_eq!(
            kind(&format!("SIP/2.0 {status} OK\r\n\r\n")),
            ParseErrorKind::StatusCode
        );
    }
}

#[test]
fn what_cannot_be_framed_is_refused() {
    use ParseErrorKind as Kind;
    assert_eq!(kind(""), Kind::Empty);
    assert_eq!(kind("\r\n\r\n"), Kind::Empty);
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "hello",
        "INVITE sip:a\r\n\r\n",
        "IN(VITE a SIP/2.0\r\n\r\n",
    ] {
        assert_eq!(kind(text), Kind::NotSip, "{text}");
    }
    let start = "BYE sip:a SIP/2.0\r\n";
    for (rest, kind_of) in [
        ("Via: x\r\n", Kind::Truncated),
        ("Via: x", Kind::Truncated),
        ("no colon\r\n\r\n", Kind::HeaderLine),
        (" folded: start line\r\n\r\n", Kind::HeaderLine),
        (": nameless\r\n\r\n", Kind::HeaderLine),
        ("Ro\u{b}ute: x\r\n\r\n", Kind::HeaderLine),
        ("A: x\nRoute: evil\r\n\r\n", Kind::BareLineEnd),
        ("A: x\rRoute: evil\r\n\r\n", Kind::BareLineEnd),
        ("Content-Length: 1\r\n\r\n", Kind::BodyTooShort),
        (
            "Content-Length: 18446744073709551616\r\n\r\n",
            Kind::ContentLength,
        ),
        ("l: 1\r\nContent-Length: 0\r\n\r\nx", Kind::ContentLength),
        ("l: +1\r\n\r\nx", Kind::ContentLength),
        ("l:\r\n\r\nx", Kind::ContentLength),
    ] {
        let text = format!("{start}{rest}");
        assert_eq!(kind(&text), kind_of, "{text}");
        let error = Message::parse(text.into()).unwrap_err();
        assert_eq!(error.status(), Some(400));
    }
    let ack = Message::parse("ACK sip:a SIP/2.0\r\nl: 1\r\n\r\n".into()).unwrap_err();
    assert_eq!(ack.status(), None);
    let response = Message::parse("SIP/2.0 200 OK\r\nl: 1\r\n\r\n".into()).unwrap_err();
    assert_eq!(response.status(), None);
}

#[test]
fn a_partial_message_holds_no_defective_line() {
    let raw = INVITE
        .replace("tag=f", "tag=f\rg")
        .replace("X-Odd", "X Odd");
    let error = Message::parse(raw.into()).unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::BareLineEnd);
    let partial = error.partial.unwrap();
    assert!(partial.from().is_err());
    assert_eq!(partial.headers().len(), 10);
    assert_eq!(
        partial.respond(400).to_tag("t").build().unwrap().status(),
        Some(400)
    );
}

/// What the original was asked before is no answer for what is made of it where that has more in it.
#[test]
fn a_changed_partial_message_is_read_anew() {
    let limits = Limits {
        header: 60,
        ..Limits::default()
    };
    let long = format!("<sip:{}@example.com>;tag=f", "a".repeat(60));
    let raw = INVITE.replace("<sip:alice@example.com>;tag=f", &long);
    let partial = Message::parse_with(raw.into(), &limits)
        .unwrap_err()
        .partial
        .unwrap();
    assert_eq!(partial.from_tag(), None);
    let changed = partial.edit().push("X", "y").finish().unwrap();
    assert_eq!(changed.from_tag(), Some("f"));
}

#[test]
fn limits_hold() {
    let limits = Limits {
        headers: 2,
        header: 30,
        message: 100,
    };
    let parse = |text: String| Message::parse_with(text.into(), &limits).map_err(|e| e.kind);
    let start = "BYE sip:a SIP/2.0\r\n";
    assert!(parse(format!("{start}A: 1\r\nB: 2\r\n\r\n")).is_ok());
    let many = parse(format!("{start}A: 1\r\nB: 2\r\nC: 3\r\n\r\n"));
    assert_eq!(many.unwrap_err(), ParseErrorKind::TooManyHeaders);
    let long = parse(format!("{start}A: {}\r\n\r\n", "x".repeat(40)));
    assert_eq!(long.unwrap_err(), ParseErrorKind::HeaderTooLong);
    let large = Message::parse_with(format!("{start}\r\n{}", "x".repeat(100)).into(), &limits);
    for refused in [
        large,
        Message::parse_with(
            format!("{start}A: 1\r\nB: 2\r\nC: 3\r\n\r\n").into(),
            &limits,
        ),
        Message::parse_with(
            format!("{start}A: {}\r\n\r\n", "x".repeat(40)).into(),
            &limits,
        ),
    ] {
        assert_eq!(refused.unwrap_err().status(), Some(513));
    }
    let far = format!("BYE sip:{} SIP/2.0\r\n", "a".repeat(40));
    let far = Message::parse_with(format!("{far}A: 1\r\n\r\n").into(), &limits).unwrap_err();
    assert_eq!(
        (far.kind, far.status()),
        (ParseErrorKind::UriTooLong, Some(414))
    );
}

#[test]
fn white_space_before_the_colon_hides_no_header() {
    let odd = message("BYE sip:a SIP/2.0\r\nP-Asserted-Identity \t: <sip:x@y>\r\n\r\n");
    assert!(odd.header(HeaderName::PAssertedIdentity).is_some());
    let clean = odd
        .edit()
        .remove(HeaderName::PAssertedIdentity)
        .finish()
        .unwrap();
    assert_eq!(text(&clean), "BYE sip:a SIP/2.0\r\n\r\n");
}

#[test]
fn validation_names_what_is_owed() {
    let owed = |from: &str, to: &str| {
        assert!(INVITE.contains(from), "{from}");
        message(&INVITE.replace(from, to))
            .validate()
            .map_err(|invalid| invalid.status())
    };
    assert_eq!(owed("com SIP/2.0", "com sip/2.0"), Ok(()));
    assert_eq!(owed("com SIP/2.0", "com SIP/3.0"), Err(505));
    assert_eq!(owed("sip:bob@example.com SIP", "http://x SIP"), Err(416));
    assert_eq!(
        owed("sip:bob@example.com SIP", "<sip:bob@example.com> SIP"),
        Err(400)
    );
    assert_eq!(owed("INVITE sip", "BYE sip"), Err(400));
    assert_eq!(owed("CSeq: 1 INVITE\r\n", ""), Err(400));
    assert_eq!(owed("Max-Forwards: 70\r\n", ""), Ok(()));
    assert_eq!(owed("Max-Forwards: 70", "Max-Forwards: 256"), Err(400));
    assert_eq!(owed("X-Odd \t:", "t:"), Err(400));
    assert_eq!(owed("v: SIP/2.0/UDP c", "v: SIP/2.0/UDP :"), Err(400));
    assert_eq!(owed("From: <", "From: Smith, Al <"), Err(400));
    assert_eq!(
        owed("sip:bob@example.com SIP", "urn:service:sos SIP"),
        Ok(())
    );
    assert_eq!(owed("sip:bob@example.com SIP", "urn:x:sos SIP"), Err(416));
    // What only the far end reads is the far end's to judge.
    assert_eq!(owed("Contact: <", "Contact: \"x <"), Ok(()));
    assert_eq!(owed("Max-", "Expires: soon\r\nExpires: 1\r\nMax-"), Ok(()));
    assert_eq!(owed("<sip:alice@example.com>", "<sip:alice@>"), Ok(()));
    assert_eq!(owed("<sip:alice@example.com>", "<sip:al ice@>"), Err(400));
    assert_eq!(owed("To: <sip:bob@", "To: <sip:b:o:b"), Ok(()));
    assert_eq!(owed("Route: <sip:p", "Route: <sip:p:"), Ok(()));
    assert_eq!(owed("Record-Route: <sip:p", "Route: <sip:p:"), Err(400));

    let registers = |from: &str, to: &str| {
        let register = INVITE
            .replace("INVITE sip", "REGISTER sip")
            .replace("1 INVITE", "1 REGISTER");
        let result = message(&register.replace(from, to)).validate();
        result.map_err(|invalid| invalid.status())
    };
    assert_eq!(registers("<sip:alice@a.example>", "*"), Ok(()));
    assert_eq!(registers("To: <sip:bob@", "To: <sip:b:o:b"), Err(400));
    assert_eq!(registers("Contact: <", "Contact: \"x <"), Err(400));
    assert_eq!(registers("Max-", "Expires: soon\r\nMax-"), Err(400));
    assert_eq!(
        registers("Max-", "Expires: 1\r\nExpires: 1\r\nMax-"),
        Err(400)
    );
}

#[test]
fn a_route_set_may_be_long_where_another_header_may_not() {
    let hops = (0..400).map(|hop| format!("<sip:p{hop}.example.test;lr>"));
    let hops = hops.collect::<Vec<_>>().join(", ");
    assert!(hops.len() > 8192);
    let with = |name: &str| {
        Message::parse(
            INVITE
                .replace("Max-", &format!("{name}: {hops}\r\nMax-"))
                .into(),
        )
    };
    let routed = with("Route").unwrap();
    assert_eq!(routed.validate(), Ok(()));
    let rest = routed
        .edit()
        .remove_first(HeaderName::Route)
        .finish()
        .unwrap();
    assert_eq!(rest.routes().count(), 399);
    assert_eq!(
        with("X-Hops").unwrap_err().kind,
        ParseErrorKind::HeaderTooLong
    );
}

#[test]
fn edits_change_what_they_name() {
    let invite = message(INVITE);
    let edited = invite
        .edit()
        .request_uri("sip:bob@192.0.2.4:5070;lr")
        .push_top(HeaderName::RecordRoute, "<sip:q.example;lr>")
        .push_top(HeaderName::Via, "SIP/2.0/UDP q.example;branch=z9hG4bK0")
        .replace(HeaderName::MaxForwards, "69")
        .remove("X-ODD")
        .push("X-New", "1")
        .finish()
        .unwrap();
    let expected = INVITE
        .replace("bob@example.com SIP", "bob@192.0.2.4:5070;lr SIP")
        .replacen(
            "Via:",
            "Via: SIP/2.0/UDP q.example;branch=z9hG4bK0\r\n\
             Record-Route: <sip:q.example;lr>\r\nVia:",
            1,
        )
        .replace("Forwards: 70", "Forwards: 69")
        .replace("X-Odd \t:  kept   \r\n", "")
        .replace("Length: 4\r\n", "Length: 4\r\nX-New: 1\r\n");
    assert_eq!(text(&edited), expected);
}

#[test]
fn values_of_a_list_are_taken_one_by_one() {
    let mut invite = message(INVITE);
    for left in [2, 1, 0] {
        invite = invite
            .edit()
            .remove_first(HeaderName::Via)
            .finish()
            .unwrap();
        assert_eq!(invite.vias().count(), left);
    }
    let invite = message(INVITE);
    let two = invite
        .edit()
        .remove_first(HeaderName::Via)
        .remove_first(HeaderName::Via);
    assert_eq!(
        two.finish().unwrap().via().unwrap().branch(),
        Some("z9hG4bK3")
    );
    let stamped = invite
        .edit()
        .replace_first(HeaderName::Via, "SIP/2.0/UDP z;branch=z9hG4bKz");
    let vias = stamped.finish().unwrap();
    let branches: Vec<_> = vias
        .vias()
        .map(|via| via.unwrap().branch().unwrap())
        .collect();
    assert_eq!(branches, ["z9hG4bKz", "z9hG4bK2", "z9hG4bK3"]);
}

/// What is taken off or stamped is the first value, not the first line.
#[test]
fn a_line_without_any_value_is_not_the_first_value() {
    let odd = message(&INVITE.replacen("Via:", "Via:\r\nVia: ,\r\nVia:", 1));
    assert_eq!(odd.vias().count(), 3);
    let stamped = odd.edit().replace_first(HeaderName::Via, "SIP/2.0/UDP z");
    let stamped = stamped.finish().unwrap();
    assert_eq!(stamped.vias().count(), 3);
    assert_eq!(stamped.via().unwrap().as_str(), "SIP/2.0/UDP z");
    let popped = odd.edit().remove_first(HeaderName::Via).finish().unwrap();
    assert_eq!(popped.vias().count(), 2);
}

#[test]
fn a_new_body_brings_its_length() {
    let invite = message(INVITE);
    let edited = invite
        .edit()
        .body_of("application/sdp", &b"v=0\r\n"[..])
        .finish()
        .unwrap();
    assert_eq!(edited.body(), b"v=0\r\n");
    let expected = INVITE
        .replace("text/plain", "application/sdp")
        .replace("Length: 4", "Length: 5")
        .replace("\r\n\r\nbody", "\r\n\r\nv=0\r\n");
    assert_eq!(text(&edited), expected);
    let none = message("BYE sip:a SIP/2.0\r\n\r\n")
        .edit()
        .body("")
        .finish()
        .unwrap();
    assert_eq!(
        text(&none),
        "BYE sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn nothing_written_can_forge_a_header() {
    let invite = message(INVITE);
    let refused = [
        invite.edit().push("X-A", "1\r\nRoute: <sip:evil>"),
        invite.edit().push("X-A", "1\n"),
        invite.edit().push("X-A: 1\r\nB", "1"),
        invite.edit().replace(HeaderName::Subject, "a\rb"),
        invite.edit().request_uri("sip:a SIP/2.0\r\nX: y"),
        invite.edit().request_uri(""),
    ];
    for edit in refused {
        assert_eq!(edit.finish().unwrap_err(), EditError::Injection);
    }
    let answer = invite.respond(200).to_tag("x\r\nA: b").build();
    assert_eq!(answer.unwrap_err(), BuildError::Injection);
    let answer = invite.respond(200).reason("x\r\nA: b").build();
    assert_eq!(answer.unwrap_err(), BuildError::Injection);
    let request = RequestBuilder::new(&Method::Bye, "sip:a\r\n").build();
    assert_eq!(request.unwrap_err(), BuildError::Injection);
}

#[test]
fn a_response_copies_what_rfc_3261_says() {
    let answer = message(INVITE).respond(180).to_tag("t1").build().unwrap();
    assert_eq!(
        text(&answer),
        "SIP/2.0 180 Ringing\r\n\
         Via: SIP/2.0/UDP a.example;branch=z9hG4bK1, SIP/2.0/TCP b.example;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/UDP c.example;branch=z9hG4bK3\r\n\
         From: <sip:alice@example.com>;tag=f\r\n\
         To: <sip:bob@example.com>;tag=t1\r\n\
         Call-ID: one@a.example\r\n\
         CSeq: 1 INVITE\r\n\
         Record-Route: <sip:p.example;lr>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(answer.validate(), Ok(()));
    let busy = message(INVITE).respond(486).to_tag("t1").build().unwrap();
    assert!(busy.header(HeaderName::RecordRoute).is_none());
    let tagged = message(&INVITE.replace("To: <sip:bob@example.com>", "To: sip:bob@b;tag=old"));
    let answer = tagged.respond(200).to_tag("new").build().unwrap();
    assert_eq!(answer.to().unwrap().tag(), Some("old"));
}

#[test]
fn a_request_is_built() {
    let invite = message(INVITE);
    let cancel = RequestBuilder::new(&Method::Cancel, invite.request_uri_raw())
        .copy_first(&invite, HeaderName::Via)
        .copy(&invite, HeaderName::CallId)
        .header(HeaderName::CSeq, "1 CANCEL")
        .build()
        .unwrap();
    assert_eq!(
        text(&cancel),
        "CANCEL sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n\
         Call-ID: one@a.example\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn debug_shows_no_secret() {
    let secret = message("BYE sip:a SIP/2.0\r\nAuthorization: Digest hidden\r\n\r\nhidden");
    assert!(!format!("{secret:?}").contains("hidden"));
}

/// Header fields of any token and any bytes that may stand in a value.
fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = "[A-Za-z][A-Za-z0-9-]{0,12}";
    let byte = prop_oneof![
        Just(b','),
        Just(b'"'),
        Just(b'<'),
        Just(b'>'),
        Just(b';'),
        32u8..=255
    ];
    let value = prop::collection::vec(byte, 0..40);
    prop::collection::vec((name, value), 0..20)
}

fn written(fields: &[(String, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let mut raw = b"OPTIONS sip:a@b SIP/2.0\r\n".to_vec();
    for (name, value) in fields {
        raw.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    raw.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    raw.extend_from_slice(body);
    raw
}

/// Touches everything that can be asked of a message.
fn read_all(message: &Message) {
    let _ = (
        message.validate(),
        message
            .request_uri()
            .map(|uri| Uri::parse("sip:a") == Ok(uri)),
    );
    let tag = |address: Result<NameAddr<'_>, _>| address.ok()?.tag().map(str::to_owned);
    assert_eq!(message.from_tag(), tag(message.from()).as_deref());
    assert_eq!(message.to_tag(), tag(message.to()).as_deref());
    let _ = (
        message.from().map(|a| a.display().len()),
        message.to(),
        message.cseq(),
    );
    let _ = (
        message.call_id(),
        message.max_forwards(),
        message.content_type(),
        message.expires(),
    );
    for header in message.headers() {
        let _ = (header.text(), header.name());
    }
    for name in HeaderName::all() {
        for value in message.values(*name) {
            let _ = Via::parse(value).map(|via| {
                let source = "[2001:db8::1]:9".parse().unwrap();
                (
                    via.response_target().1,
                    via.stamped(source),
                    via.ttl(),
                    via.received(),
                )
            });
            if let Ok(address) = NameAddr::parse(*name, value) {
                let _ = (
                    address.display(),
                    address.q(),
                    address.expires(),
                    address.tag(),
                );
            }
        }
        let _ = message
            .edit()
            .remove_first(*name)
            .remove_first(*name)
            .finish();
        let _ = message
            .edit()
            .replace_first(*name, "x")
            .remove(*name)
            .finish();
    }
    let _ = (
        message.respond(200).to_tag("t").build(),
        format!("{message:?}"),
    );
}

proptest! {
    #[test]
    fn what_was_written_is_read(fields in fields(), body: Vec<u8>) {
        let is_length = |name: &str| HeaderName::parse(name.as_bytes()) == Some(HeaderName::ContentLength);
        prop_assume!(!fields.iter().any(|(name, _)| is_length(name)));
        let raw = written(&fields, &body);
        let message = Message::parse(raw.clone().into()).unwrap();
        prop_assert_eq!(&message.as_bytes()[..], &raw[..]);
        prop_assert_eq!(message.body(), &body[..]);
        prop_assert_eq!(message.headers().len(), fields.len() + 1);
        for (header, (name, value)) in message.headers().zip(&fields) {
            prop_assert_eq!(header.name(), name);
            prop_assert_eq!(header.value(), trim(value));
        }
        // An edit that changes nothing is a copy.
        let copy = message.edit().finish().unwrap();
        prop_assert_eq!(&copy, &message);
    }

    #[test]
    fn an_edit_leaves_other_fields_alone(fields in fields(), pick: prop::sample::Index) {
        let raw = written(&fields, b"");
        let Ok(message) = Message::parse(raw.into()) else { return Ok(()) };
        let headers: Vec<_> = message.headers().collect();
        let name = pick.get(&headers).name().to_owned();
        let is_other = |header: &Header<'_>| match HeaderName::parse(name.as_bytes()) {
            Some(known) => header.known() != Some(known),
            None => !header.name().eq_ignore_ascii_case(&name),
        };
        let others = |message: &Message| -> Vec<Vec<u8>> {
            message.headers().filter(is_other).map(|header| header.value().to_vec()).collect()
        };
        let removed = message.edit().remove(&name[..]).finish().unwrap();
        prop_assert_eq!(others(&removed), others(&message));
        prop_assert!(removed.header(&name[..]).is_none());
        prop_assume!(Name::from(&name[..]).as_str() != "Content-Length");
        let replaced = message.edit().replace(&name[..], "new").finish().unwrap();
        prop_assert_eq!(others(&replaced), others(&message));
        prop_assert_eq!(replaced.header(&name[..]).unwrap().value(), b"new");
        prop_assert_eq!(replaced.headers_named(&name[..]).count(), 1);
    }

    /// The index that an edit makes is compared with that of parsing within [`Edit::finish`].
    #[test]
    fn many_changes_at_once_are_written(
        fields in fields(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..5u8, "[ -~]{0,20}"), 1..6),
        body: Vec<u8>,
    ) {
        let Ok(message) = Message::parse(written(&fields, &body).into()) else { return Ok(()) };
        let mut edit = message.edit().request_uri("sip:somebody.else@elsewhere.test");
        for (pick, what, value) in &picks {
            let headers: Vec<_> = message.headers().collect();
            let name = pick.get(&headers).name().to_owned();
            edit = match what {
                0 => edit.remove(&name[..]),
                1 => edit.replace(&name[..], value),
                2 => edit.push(&name[..], format!("{value}\r\n {value}")),
                3 => edit.push_top(HeaderName::Via, value),
                _ => edit.remove_first(HeaderName::Via),
            };
        }
        if let Ok(written) = edit.finish() {
            prop_assert_eq!(Message::parse(written.as_bytes().clone()).unwrap(), written);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(raw: Vec<u8>) {
        if let Ok(message) = Message::parse(raw.into()) {
            read_all(&message);
        }
    }

    #[test]
    fn mutated_messages_never_panic(
        at: prop::sample::Index,
        cut: prop::sample::Index,
        bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'"'), any::<u8>()], 0..4),
    ) {
        let mut raw = INVITE.as_bytes().to_vec();
        let at = at.index(raw.len());
        let end = (at + bytes.len()).min(raw.len());
        raw.splice(at..end, bytes);
        raw.truncate(raw.len() - cut.index(raw.len()) / 8);
        match Message::parse(raw.into()) {
            Ok(message) => read_all(&message),
            Err(error) => {
                let _ = error.partial.map(|partial| read_all(&partial));
            }
        }
    }
}
