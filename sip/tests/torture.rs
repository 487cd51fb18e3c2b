//! The messages of RFC 4475 and RFC 5118 against the parser and the validation.
//!
//! What depends on who answers (405, 415, 420, 483, a registrar's 400) is not judged here: those
//! messages count as valid.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use sip::{
    header::HeaderName,
    message::{Invalid, Message, ParseErrorKind},
    sdp::{self, Relay, Sdp},
    stream::{Frame, Framer},
};

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Valid,
    /// A request that is owed this status.
    Owed(u16),
    /// A response to drop.
    Dropped,
}
use Verdict::{Dropped, Owed, Valid};

/// In the order of RFC 4475's sections.
const RFC4475: [(&str, Verdict); 49] = [
    // 3.1.1 valid messages
    ("wsinv", Valid),
    ("intmeth", Valid),
    ("esc01", Valid),
    ("escnull", Valid),
    ("esc02", Valid),
    ("lwsdisp", Valid),
    ("longreq", Valid),
    ("dblreq", Valid),
    ("semiuri", Valid),
    ("transports", Valid),
    ("mpart01", Valid),
    ("unreason", Valid),
    ("noreason", Valid),
    // 3.1.2 invalid messages
    ("badinv01", Owed(400)),
    ("clerr", Owed(400)),
    ("ncl", Owed(400)),
    ("scalar02", Owed(400)),
    ("scalarlg", Dropped),
    ("quotbal", Owed(400)),
    ("ltgtruri", Owed(400)),
    ("lwsruri", Owed(400)),
    ("lwsstart", Owed(400)),
    ("trws", Owed(400)),
    ("escruri", Owed(400)),
    // The RFC lets an element ignore a Date that it does not use.
    ("baddate", Valid),
    ("regbadct", Owed(400)),
    ("badaspec", Owed(400)),
    ("baddn", Owed(400)),
    ("badvers", Owed(505)),
    ("mismatch01", Owed(400)),
    ("mismatch02", Owed(400)),
    ("bigcode", Dropped),
    // 3.2 transaction layer semantics
    ("badbranch", Valid),
    // 3.3 application layer semantics
    ("insuf", Owed(400)),
    ("unkscm", Owed(416)),
    ("novelsc", Owed(416)),
    ("unksm2", Valid),
    ("bext01", Valid),
    ("invut", Valid),
    ("regaut01", Valid),
    ("multi01", Owed(400)),
    ("mcl01", Owed(400)),
    ("bcast", Valid),
    ("zeromf", Valid),
    ("cparam01", Valid),
    ("cparam02", Valid),
    ("regescrt", Valid),
    ("sdp01", Valid),
    // 3.4 backward compatibility
    ("inv2543", Valid),
];

const RFC5118: [(&str, Verdict); 12] = [
    ("ipv6-good", Valid),
    ("ipv6-bad", Owed(400)),
    ("port-ambiguous", Valid),
    ("port-unambiguous", Valid),
    ("via-received-param-with-delim", Valid),
    ("via-received-param-no-delim", Valid),
    ("ipv6-in-sdp", Valid),
    ("mult-ip-in-header", Valid),
    ("mult-ip-in-sdp", Valid),
    ("ipv4-mapped-ipv6", Valid),
    ("ipv6-bug-abnf-3-colons", Valid),
    ("ipv6-correct-abnf-2-colons", Valid),
];

fn read(folder: &str, name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/torture")
        .join(folder);
    fs::read(path.join(name).with_extension("dat")).expect("a torture file")
}

fn rfc4475(name: &str) -> Bytes {
    read("rfc4475", name).into()
}

fn rfc5118(name: &str) -> Bytes {
    let text = String::from_utf8(read("rfc5118", name))
        .expect("ASCII")
        .replace('\n', "\r\n");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| (text.trim_end(), ""));
    let lines = head
        .split("\r\n")
        .map(|line| match line.starts_with("Content-Length") {
            true => format!("Content-Length: {}", body.len()),
            false => line.to_owned(),
        });
    format!("{}\r\n\r\n{body}", lines.collect::<Vec<_>>().join("\r\n")).into()
}

fn verdict(raw: Bytes) -> Verdict {
    match Message::parse(raw) {
        Ok(message) => match message.validate() {
            Ok(()) => Valid,
            Err(_) if !message.is_request() => Dropped,
            Err(invalid) => Owed(invalid.status()),
        },
        Err(error) => error.status().map_or(Dropped, Owed),
    }
}

#[test]
fn each_message_of_rfc_4475_gets_its_verdict() {
    let wrong: Vec<_> = RFC4475
        .iter()
        .map(|(name, expected)| (name, expected, verdict(rfc4475(name))))
        .filter(|(_, expected, got)| *expected != got)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_message_of_rfc_5118_gets_its_verdict() {
    let wrong: Vec<_> = RFC5118
        .iter()
        .map(|(name, expected)| (name, expected, verdict(rfc5118(name))))
        .filter(|(_, expected, got)| *expected != got)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_forwarded_message_keeps_every_other_byte() {
    for (name, _) in RFC4475.iter().filter(|(_, verdict)| *verdict == Valid) {
        let message = Message::parse(rfc4475(name)).unwrap();
        let via = "SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKtest";
        let forwarded = message
            .edit()
            .push_top(HeaderName::Via, via)
            .finish()
            .unwrap();
        let line = format!("Via: {via}\r\n");
        let at = forwarded
            .as_bytes()
            .windows(line.len())
            .position(|w| w == line.as_bytes());
        let mut bytes = forwarded.as_bytes().to_vec();
        bytes.drain(at.unwrap()..at.unwrap() + line.len());
        assert_eq!(bytes, message.as_bytes()[..], "{name}");
        assert_eq!(forwarded.via().unwrap().as_str(), via, "{name}");
    }
}

#[test]
fn a_refusal_can_be_answered_from_what_was_framed() {
    for name in ["clerr", "ncl", "mcl01", "baddn"] {
        let error = Message::parse(rfc4475(name)).unwrap_err();
        let partial = error.partial.unwrap();
        let answer = partial.respond(400).to_tag("t").build().unwrap();
        assert_eq!(
            answer.via().unwrap().as_str(),
            partial.via().unwrap().as_str(),
            "{name}"
        );
        assert_eq!(answer.call_id(), partial.call_id(), "{name}");
    }
}

#[test]
fn the_short_tortuous_invite_reads_as_the_rfc_says() {
    let message = Message::parse(rfc4475("wsinv")).unwrap();
    assert_eq!(message.to().unwrap().tag(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!(from.display(), r#"J Rosenberg \""#);
    assert_eq!(from.tag(), Some("98asjd8"));
    assert_eq!(message.max_forwards(), Ok(Some(68)));
    assert_eq!(message.cseq().unwrap().number, 9);
    let vias: Vec<_> = message.vias().map(Result::unwrap).collect();
    let branches: Vec<_> = vias.iter().map(|via| via.branch().unwrap()).collect();
    assert_eq!(branches, ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
    let transports: Vec<_> = vias.iter().map(|via| via.transport().as_str()).collect();
    assert_eq!(transports, ["UDP", "TCP", "UDP"]);
    assert!(!vias[0].has_rfc3261_branch());
    let route = message.routes().next().unwrap().unwrap();
    assert!(route.uri().unwrap().is_loose_router());
    let contact = message.contacts().next().unwrap().unwrap();
    assert_eq!(contact.q(), Some(330));
    assert_eq!(contact.params().get("newparam"), Some("newvalue"));
    let folded = message.header("NewFangledHeader").unwrap();
    assert_eq!(folded.text(), "newfangled value continued newfangled value");
}

#[test]
fn an_escaped_name_is_not_the_name() {
    let message = Message::parse(rfc4475("esc02")).unwrap();
    assert_eq!(message.contacts().count(), 2);
    assert_eq!(message.method().unwrap().as_str(), "RE%47IST%45R");
}

#[test]
fn octets_after_the_body_are_ignored() {
    let message = Message::parse(rfc4475("dblreq")).unwrap();
    assert_eq!(message.method().unwrap().as_str(), "REGISTER");
    assert!(message.body().is_empty());
    assert!(message.as_bytes().ends_with(b"\r\n\r\n"));
}

#[test]
fn addresses_of_rfc_5118_are_read() {
    let ambiguous = Message::parse(rfc5118("port-ambiguous")).unwrap();
    assert_eq!(ambiguous.request_uri().unwrap().port(), None);
    let plain = Message::parse(rfc5118("port-unambiguous")).unwrap();
    assert_eq!(plain.request_uri().unwrap().port(), Some(5070));
    for name in [
        "via-received-param-with-delim",
        "via-received-param-no-delim",
    ] {
        let message = Message::parse(rfc5118(name)).unwrap();
        let received = message.via().unwrap().received();
        assert_eq!(received, Some("2001:db8::9:255".parse().unwrap()), "{name}");
    }
    let two = Message::parse(rfc5118("ipv6-correct-abnf-2-colons")).unwrap();
    let three = Message::parse(rfc5118("ipv6-bug-abnf-3-colons")).unwrap();
    assert_eq!(
        two.request_uri().unwrap().host(),
        three.request_uri().unwrap().host()
    );
}

#[test]
fn sdp_of_both_families_is_relayed() {
    let relay = |port| {
        let address = "203.0.113.7".parse().unwrap();
        Some(Relay {
            address,
            rtp: port,
            rtcp: port + 1,
        })
    };
    for name in ["ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"] {
        let message = Message::parse(rfc5118(name)).unwrap();
        let at = sdp::locate(&message).unwrap().unwrap();
        let sdp = Sdp::parse(&message.body()[at]).unwrap();
        let rewritten = sdp.rewrite(&[relay(20_000), relay(20_004)]).unwrap();
        let read = Sdp::parse(&rewritten).unwrap();
        for (media, port) in read.media().iter().zip([20_000, 20_004]) {
            assert_eq!(
                media.rtp().unwrap(),
                ([203, 0, 113, 7], port).into(),
                "{name}"
            );
        }
    }
}

#[test]
fn a_stream_of_valid_messages_is_cut_where_each_ends() {
    let names = [
        "intmeth",
        "esc01",
        "escnull",
        "longreq",
        "semiuri",
        "transports",
        "mpart01",
    ];
    let messages: Vec<Bytes> = names.map(rfc4475).to_vec();
    let stream = messages.concat();
    for chunk in [1, 7, 1460, stream.len()] {
        let mut framer = Framer::default();
        let mut got = Vec::new();
        for bytes in stream.chunks(chunk) {
            framer.push(bytes);
            while let Some(frame) = framer.poll().unwrap() {
                let Frame::Message(message) = frame else {
                    panic!("{frame:?}")
                };
                got.push(message.into_bytes());
            }
        }
        assert_eq!(got, messages, "in chunks of {chunk}");
    }
}

#[test]
fn verdicts_say_why() {
    let parse = |name| Message::parse(rfc4475(name));
    assert_eq!(
        parse("clerr").unwrap_err().kind,
        ParseErrorKind::BodyTooShort
    );
    assert_eq!(
        parse("bigcode").unwrap_err().kind,
        ParseErrorKind::StatusCode
    );
    let invalid = |name| parse(name).unwrap().validate().unwrap_err();
    assert_eq!(invalid("badvers"), Invalid::Version);
    assert_eq!(invalid("escruri"), Invalid::RequestUriHeaders);
    assert_eq!(invalid("trws"), Invalid::StartLine);
    assert_eq!(invalid("mismatch02"), Invalid::CSeqMethod);
}
