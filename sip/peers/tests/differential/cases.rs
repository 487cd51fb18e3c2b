//! The fixed messages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;

const PLAIN: &str = "INVITE sip:bob@b.test SIP/2.0\r\n\
    Via: SIP/2.0/UDP a.test:5060;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    From: Alice <sip:alice@a.test>;tag=1\r\n\
    To: Bob <sip:bob@b.test>\r\n\
    Call-ID: c@a.test\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@a.test:5060>\r\n\
    Content-Length: 0\r\n\r\n";

const RINGING: &str = "SIP/2.0 180 Ringing\r\n\
    Via: SIP/2.0/UDP a.test:5060;branch=z9hG4bK1\r\n\
    From: Alice <sip:alice@a.test>;tag=1\r\n\
    To: Bob <sip:bob@b.test>;tag=2\r\n\
    Call-ID: c@a.test\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:bob@b.test:5060>\r\n\
    Content-Length: 0\r\n\r\n";

const BODY: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n";

/// What is seen in the field: the plain INVITE, or its 180, with one thing changed.
#[rustfmt::skip]
const FIELD: [(&str, &str, &str, &str); 46] = [
    ("plain", PLAIN, "", ""),
    ("plain response", RINGING, "", ""),
    ("quoted display", PLAIN, "From: Alice", "From: \"Alice B.\""),
    ("escaped quote in display", PLAIN, "From: Alice", r#"From: "A \"B\" C""#),
    ("no display", PLAIN, "Alice <sip:alice@a.test>", "<sip:alice@a.test>"),
    ("no brackets", PLAIN, "Alice <sip:alice@a.test>;tag=1", "sip:alice@a.test;tag=1"),
    ("UTF-8 display", PLAIN, "From: Alice", "From: \"J\u{f6}rg\""),
    ("dot in user", PLAIN, "sip:bob@b.test SIP", "sip:bob.b@b.test SIP"),
    ("hash in user", PLAIN, "sip:bob@b.test SIP", "sip:*31#100@b.test SIP"),
    ("escape in user", PLAIN, "sip:bob@b.test SIP", "sip:bob%20b@b.test SIP"),
    ("parameters in user", PLAIN, "sip:bob@b.test SIP", "sip:+15550100;npdi@b.test;user=phone SIP"),
    ("password", PLAIN, "sip:bob@b.test SIP", "sip:bob:secret@b.test SIP"),
    ("port in Request-URI", PLAIN, "sip:bob@b.test SIP", "sip:bob@b.test:5080 SIP"),
    ("sips", PLAIN, "sip:bob@b.test SIP", "sips:bob@b.test SIP"),
    ("tel", PLAIN, "sip:bob@b.test SIP", "tel:+15550100 SIP"),
    ("urn:service:sos", PLAIN, "sip:bob@b.test SIP", "urn:service:sos SIP"),
    ("colon in URI parameter", PLAIN, "sip:bob@b.test SIP", "sip:bob@b.test;ob=1:2 SIP"),
    ("IPv6 in Request-URI", PLAIN, "sip:bob@b.test SIP", "sip:bob@[2001:db8::1] SIP"),
    ("IPv6 and port in Request-URI", PLAIN, "sip:bob@b.test SIP", "sip:bob@[2001:db8::1]:5060 SIP"),
    ("IPv6 in Via", PLAIN, "a.test:5060;branch", "[2001:db8::1]:5060;branch"),
    ("IPv6 in received", PLAIN, "z9hG4bK1\r", "z9hG4bK1;received=[2001:db8::1]\r"),
    ("IPv6 in Contact", PLAIN, "alice@a.test:5060>", "alice@[2001:db8::1]:5060>"),
    ("transport parameter", PLAIN, "alice@a.test:5060>", "alice@a.test;transport=tcp>"),
    ("rport", PLAIN, "z9hG4bK1\r", "z9hG4bK1;rport\r"),
    ("unknown transport", PLAIN, "SIP/2.0/UDP", "SIP/2.0/QUIC"),
    ("blanks in Via", PLAIN, "SIP/2.0/UDP a.test:5060", "SIP / 2.0 / UDP a.test:5060"),
    ("two Vias on a line", PLAIN, "z9hG4bK1\r", "z9hG4bK1, SIP/2.0/TCP c.test;branch=z9hG4bK2\r"),
    ("compact Via", PLAIN, "Via:", "v:"),
    ("compact From", PLAIN, "From:", "f:"),
    ("compact Contact", PLAIN, "Contact:", "m:"),
    ("names in lower case", PLAIN, "Call-ID", "call-id"),
    ("folded header", PLAIN, "To: Bob <", "To: Bob\r\n <"),
    ("space before colon", PLAIN, "To: Bob", "To : Bob"),
    ("tab before colon", PLAIN, "Max-Forwards: 70", "Max-Forwards\t: 70"),
    ("no space after colon", PLAIN, "To: Bob", "To:Bob"),
    ("extension method", PLAIN, "INVITE", "FOO"),
    ("extension method answered", RINGING, "1 INVITE", "1 FOO"),
    ("method in lower case", PLAIN, "INVITE", "invite"),
    ("two Contacts on a line", PLAIN, "<sip:alice@a.test:5060>", "<sip:alice@a.test>, <sip:alice@c.test>"),
    ("RFC 5626 Contact", PLAIN, "alice@a.test:5060>", "alice@a.test>;reg-id=1;+sip.instance=\"<urn:uuid:0>\""),
    ("unknown status", RINGING, "180 Ringing", "299 Odd"),
    ("other reason", RINGING, "180 Ringing", "180 Klingelt"),
    ("body longer than it says", PLAIN, "Length: 0\r\n\r\n", "Length: 4\r\n\r\nv=0\r\no=- 1"),
    ("body shorter than it says", PLAIN, "Length: 0\r\n\r\n", "Length: 400\r\n\r\nv=0\r\n"),
    ("two Content-Lengths that differ", PLAIN, "Content-Length: 0", "Content-Length: 0\r\nContent-Length: 5"),
    ("Content-Length that is no number", PLAIN, "Content-Length: 0", "Content-Length: none"),
];

/// Every fixed message, by its name.
pub fn all() -> Vec<(String, Bytes)> {
    let mut all = Vec::new();
    for (name, base, find, replace) in FIELD {
        let text = match find {
            "" => base.to_owned(),
            find => base.replace(find, replace),
        };
        assert!(find.is_empty() || text != base, "{name} changes nothing");
        all.push((name.to_owned(), Bytes::from(text)));
    }
    let length = format!("Length: {}\r\n\r\n{BODY}", BODY.len());
    let body = PLAIN.replace("Length: 0\r\n\r\n", &length);
    all.push(("body".to_owned(), body.into()));
    let without = PLAIN.replace("Content-Length: 0\r\n\r\n", &format!("\r\n{BODY}"));
    all.push(("body without Content-Length".to_owned(), without.into()));
    let mut raw = PLAIN.as_bytes().to_vec();
    raw[PLAIN.find("Alice").expect("there")] = 0xE9;
    all.push(("header byte that is not UTF-8".to_owned(), raw.into()));
    for (folder, name) in torture() {
        let rfc = folder.trim_start_matches("rfc");
        all.push((format!("RFC {rfc} {name}"), read(folder, &name)));
    }
    all
}

fn torture() -> Vec<(&'static str, String)> {
    let mut names = Vec::new();
    for folder in ["rfc4475", "rfc5118"] {
        for entry in fs::read_dir(root().join(folder)).expect("the messages") {
            let path = entry.expect("a message").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            names.push((folder, name.into_owned()));
        }
    }
    names.sort();
    assert_eq!(names.len(), 49 + 12);
    names
}

/// RFC 5118's archive has bare line feeds, and lengths that count CR LF.
fn read(folder: &str, name: &str) -> Bytes {
    let raw = fs::read(root().join(folder).join(name).with_extension("dat")).expect("read");
    if folder == "rfc4475" {
        return raw.into();
    }
    let text = String::from_utf8(raw).expect("ASCII").replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.trim_end(), ""));
    let lines = head
        .split("\r\n")
        .map(|line| match line.starts_with("Content-Length") {
            true => format!("Content-Length: {}", body.len()),
            false => line.to_owned(),
        });
    let head = lines.collect::<Vec<_>>().join("\r\n");
    format!("{head}\r\n\r\n{body}").into()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/torture")
}
