use std::{fs, path::Path};

use ::rsip::{Method as TheirMethod, Request, Response};

use super::*;

const INVITE: &str = "INVITE sip:bob@biloxi.test;transport=tcp SIP/2.0\r\n\
    Via: SIP/2.0/TCP pc33.atlanta.test;branch=z9hG4bK776asdhds\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice\" <sip:alice@atlanta.test>;tag=1928301774\r\n\
    To: <sip:bob@biloxi.test>\r\n\
    Call-ID: a84b4c76e66710@pc33.atlanta.test\r\n\
    CSeq: 314159 INVITE\r\n\
    Contact: <sip:alice@pc33.atlanta.test>\r\n\
    X-Custom: k\u{e4}pt\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Length: 4\r\n\r\n";

fn parse(text: impl Into<Vec<u8>>) -> Message {
    Message::parse(text.into().into()).unwrap()
}

fn invite() -> Message {
    // A body that is no text, and looks like an end of headers.
    parse([INVITE.as_bytes(), b"\xff\r\n\r"].concat())
}

fn to_theirs(message: &Message) -> Result<SipMessage, ConversionError> {
    SipMessage::try_from(message)
}

/// What is to be the same on both sides.
fn told(message: &Message) -> (String, Vec<(String, String)>, Vec<u8>) {
    let start = match message.start_line() {
        StartLine::Request { method, .. } => method.to_string(),
        StartLine::Response { status, .. } => status.to_string(),
    };
    let fields = message.headers().map(|header| {
        let known = header.known().map(HeaderName::as_str);
        let name = known.unwrap_or_else(|| header.name());
        (name.to_owned(), header.text().into_owned())
    });
    (start, fields.collect(), message.body().to_vec())
}

fn request(theirs: &mut SipMessage) -> &mut Request {
    match theirs {
        SipMessage::Request(request) => request,
        SipMessage::Response(_) => panic!("{theirs:?}"),
    }
}

#[test]
fn a_request_goes_there_and_back_byte_for_byte() {
    let message = invite();
    let mut theirs = to_theirs(&message).unwrap();
    assert_eq!(request(&mut theirs).method, TheirMethod::Invite);
    assert_eq!(theirs.headers().iter().count(), 10);
    assert!(matches!(
        theirs.headers().iter().nth(8),
        Some(Header::ContentType(_))
    ));
    assert_eq!(theirs.body(), b"\xff\r\n\r");
    let back = Message::try_from(&theirs).unwrap();
    assert_eq!(told(&back), told(&message));
    assert_eq!(back.request_uri(), message.request_uri());
}

#[test]
fn every_method_of_theirs_is_one_of_ours() {
    for method in TheirMethod::all() {
        let text = INVITE.replace("INVITE", &method.to_string());
        let message = parse([text.as_bytes(), b"1234"].concat());
        let mut theirs = to_theirs(&message).unwrap();
        assert_eq!(request(&mut theirs).method, method);
        let back = Message::try_from(&theirs).unwrap();
        assert_eq!(told(&back), told(&message));
    }
}

#[test]
fn a_response_keeps_its_status_and_has_the_reason_of_the_rfc() {
    for (status, reason, back) in [
        (486, "Occupied", "Busy Here"),
        (200, "", "OK"),
        (202, "All right", "All right"),
        (299, "K\u{e4}se", "K\u{e4}se"),
    ] {
        let start = "INVITE sip:bob@biloxi.test;transport=tcp SIP/2.0";
        let text = INVITE.replace(start, &format!("SIP/2.0 {status} {reason}"));
        let message = parse([text.as_bytes(), b"1234"].concat());
        let theirs = to_theirs(&message).unwrap();
        let SipMessage::Response(Response { status_code, .. }) = &theirs else {
            panic!("{theirs:?}");
        };
        assert_eq!(status_code.code(), status);
        let message = Message::try_from(&theirs).unwrap();
        assert_eq!(message.status(), Some(status));
        assert_eq!(message.reason(), back);
    }
}

#[test]
fn short_names_and_folds_are_written_out() {
    let text = INVITE
        .replace("Via: ", "v : ")
        .replace("Call-ID: ", "i:")
        .replace("X-Custom: k\u{e4}pt", "X-Custom: one\r\n  two");
    let mut theirs = to_theirs(&parse([text.as_bytes(), b"1234"].concat())).unwrap();
    let fields: Vec<_> = request(&mut theirs).headers.iter().collect();
    assert!(matches!(fields[0], Header::Via(_)));
    assert_eq!(
        fields[4].to_string(),
        "Call-ID: a84b4c76e66710@pc33.atlanta.test"
    );
    assert_eq!(fields[7].to_string(), "X-Custom: one two");
}

#[test]
fn what_rsip_cannot_hold_is_refused() {
    let refused = |from: &str, to: &str| {
        let text = INVITE.replacen(from, to, 1);
        to_theirs(&parse([text.as_bytes(), b"1234"].concat())).unwrap_err()
    };
    let method = refused("INVITE", "EXTEND");
    assert!(matches!(method, ConversionError::Method(name) if &*name == "EXTEND"));
    // Another method than the one in upper case.
    let lower = refused("INVITE", "invite");
    assert!(matches!(lower, ConversionError::Method(_)), "{lower}");
    let version = refused("SIP/2.0", "SIP/7.0");
    assert!(matches!(version, ConversionError::Version), "{version}");
    for uri in [
        "tel:+15550100",
        "sip:bob@[2001:db8::1]",
        "sip:bob@biloxi.test?subject=x",
        "sip:bob@biloxi.test;a=b?subject=x",
        "news:bob",
    ] {
        let error = refused("sip:bob@biloxi.test;transport=tcp", uri);
        let is_refused = matches!(
            error,
            ConversionError::RequestUri(_) | ConversionError::Rsip(_)
        );
        assert!(is_refused, "{uri}: {error}");
    }
    let bytes = INVITE.replace("k\u{e4}pt", "?");
    let at = bytes.find('?').unwrap();
    let mut bytes = bytes.into_bytes();
    bytes[at] = 0xff;
    let text = to_theirs(&parse([&bytes[..], b"1234"].concat())).unwrap_err();
    assert!(matches!(text, ConversionError::NotUtf8(name) if &*name == "X-Custom"));
}

#[test]
fn what_would_be_read_as_something_else_is_refused() {
    let refused = |change: fn(&mut Request)| {
        let mut theirs = to_theirs(&invite()).unwrap();
        change(request(&mut theirs));
        Message::try_from(&theirs).unwrap_err()
    };
    for change in [
        |request: &mut Request| {
            let value = "1\r\nRoute: <sip:evil.test>".to_owned();
            request.headers.push(Header::Other("X-A".into(), value));
        },
        |request: &mut Request| {
            let name = "X-A: 1\r\nRoute".to_owned();
            request.headers.push(Header::Other(name, "x".into()));
        },
        |request: &mut Request| {
            let name = "Route: <sip:evil.test>, <sip".to_owned();
            request.headers.push(Header::Other(name, "x>".into()));
        },
        |request: &mut Request| request.headers.push(Header::Subject("a\nb".into())),
    ] {
        let error = refused(change);
        assert!(matches!(error, ConversionError::Broken(_)), "{error}");
    }
    let longer = refused(|request| request.body.push(b'x'));
    assert!(matches!(longer, ConversionError::ContentLength), "{longer}");
    let shorter = refused(|request| request.body.truncate(1));
    assert!(matches!(shorter, ConversionError::Parse(_)), "{shorter}");
    let version = refused(|request| request.version = Version::V1);
    assert!(matches!(version, ConversionError::Version), "{version}");
    let uri = refused(|request| {
        let auth = ("a SIP/2.0\r\nRoute: <sip:evil.test>", None::<String>);
        request.uri.auth = Some(auth.into());
    });
    assert!(matches!(uri, ConversionError::RequestUri(_)), "{uri}");
    let status = Response {
        status_code: StatusCode::Other(99, "no status".into()),
        ..Response::default()
    };
    let status = Message::try_from(&SipMessage::Response(status)).unwrap_err();
    assert!(matches!(status, ConversionError::Parse(_)), "{status}");
}

#[test]
fn what_is_carried_over_of_the_torture_messages_comes_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut carried = 0;
    for rfc in ["rfc4475", "rfc5118"] {
        for entry in fs::read_dir(folder.join(rfc)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(message) = Message::parse(fs::read(&path).unwrap().into()) else {
                continue;
            };
            let Ok(theirs) = to_theirs(&message) else {
                continue;
            };
            // One that says no length of its body, or a wrong one, has lost it on the way here.
            let back = Message::try_from(&theirs);
            let back = back.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(told(&back), told(&message), "{}", path.display());
            carried += 1;
        }
    }
    assert!(carried >= 20, "{carried}");
}
