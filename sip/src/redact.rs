//! Messages for the eyes of an operator: what would let somebody act as another party is taken out.
//!
//! Hidden are the values of the headers that prove who somebody is, the passwords of URIs,
//! `response=` and `password=` wherever they stand, and the keys that SDP carries. Control characters
//! are replaced, so that what a stranger sent does not speak to a terminal.

/// Stands for what is hidden.
const HIDDEN: &str = "***";

/// Headers whose whole value is hidden, in lower case.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "proxy-authentication-info",
    // STIR tokens are signatures of ours or of others (RFC 8224): long, and of no use to read.
    "identity",
];

/// Keys of parameters whose values are hidden wherever they stand.
const SECRET_PARAMS: [&str; 3] = ["response=", "password=", "passwd="];

/// A whole message, or what was received in place of one.
#[must_use]
pub fn message(raw: &[u8]) -> String {
    let text = printable(raw);
    let (head, body) = match text.find("\r\n\r\n") {
        Some(end) => text.split_at(end + 4),
        None => (text.as_str(), ""),
    };
    let mut out = String::with_capacity(text.len());
    let mut hiding = false;
    for line in head.split_inclusive('\n') {
        let is_fold = line.starts_with([' ', '\t']);
        if hiding && is_fold {
            continue;
        }
        hiding = false;
        let name = line.split(':').next().unwrap_or_default().trim();
        let is_credential = CREDENTIALS
            .iter()
            .any(|credential| credential.eq_ignore_ascii_case(name));
        if is_credential && line.contains(':') {
            hiding = true;
            out.push_str(name);
            out.push_str(": ");
            out.push_str(HIDDEN);
            out.push_str("\r\n");
        } else {
            out.push_str(&line_of(line));
        }
    }
    for line in body.split_inclusive('\n') {
        out.push_str(&body_line(line));
    }
    out
}

/// One line: a start line, or the value of a header that holds no credentials.
#[must_use]
pub fn line(raw: &[u8]) -> String {
    line_of(&printable(raw))
}

fn line_of(line: &str) -> String {
    hide_params(&hide_passwords(line))
}

fn body_line(line: &str) -> String {
    let end = line.len() - line.trim_end_matches(['\r', '\n']).len();
    let (content, end) = line.split_at(line.len() - end);
    let hide = |before: &str| format!("{before}{HIDDEN}{end}");
    if content.starts_with("k=") {
        return hide("k=");
    }
    if content.starts_with("a=ice-pwd:") {
        return hide("a=ice-pwd:");
    }
    if content.starts_with("a=crypto:")
        && let Some(at) = content.find("inline:")
    {
        return hide(&content[..at + "inline:".len()]);
    }
    line_of(line)
}

/// `sip:user:password@host` without the password.
fn hide_passwords(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = find_scheme(rest) {
        let (before, uri) = rest.split_at(at);
        out.push_str(before);
        let end = uri
            .find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'))
            .unwrap_or(uri.len());
        let (uri, after) = uri.split_at(end);
        match uri.rfind('@').and_then(|at| Some((uri.find(':')?, at))) {
            Some((start, at)) if start < at => match uri[start + 1..at].find(':') {
                Some(colon) => {
                    out.push_str(&uri[..start + 1 + colon + 1]);
                    out.push_str(HIDDEN);
                    out.push_str(&uri[at..]);
                }
                None => out.push_str(uri),
            },
            _ => out.push_str(uri),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Where the next `sip:` or `sips:` begins.
fn find_scheme(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|at| {
        let starts = |scheme: &[u8]| {
            let candidate = bytes.get(*at..*at + scheme.len());
            candidate.is_some_and(|candidate| candidate.eq_ignore_ascii_case(scheme))
        };
        starts(b"sip:") || starts(b"sips:")
    })
}

fn hide_params(line: &str) -> String {
    // ASCII lower case keeps every position.
    let lower = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    let mut from = 0;
    let next = |from: usize| {
        let found = SECRET_PARAMS.iter().filter_map(|key| {
            let at = lower[from..].find(key)?;
            Some((from + at, from + at + key.len()))
        });
        found.min()
    };
    while let Some((_, value_at)) = next(from) {
        out.push_str(&line[from..value_at]);
        out.push_str(HIDDEN);
        let value = &line[value_at..];
        let length = match value.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(value.len(), |end| end + 2),
            None => value
                .find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '>' | '"'))
                .unwrap_or(value.len()),
        };
        from = value_at + length;
    }
    out.push_str(&line[from..]);
    out
}

/// Text that may be shown: bytes that are not UTF-8 and control characters but CR, LF and tab are
/// replaced.
fn printable(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    text.chars()
        .map(|c| match c {
            '\r' | '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_and_keys_are_hidden_and_nothing_else() {
        let text = "REGISTER sip:alice:hunter2@example.test SIP/2.0\r\n\
            From: \"A <sips:x:hunter2@y>\" <sip:alice;x=1:hunter2@example.test>;tag=1\r\n\
            Authorization : Digest username=\"alice\",\r\n response=\"hunter2\"\r\n\
            proxy-authorization: Digest response=\"hunter2\"\r\n\
            X-Proof: a, Response=\"hunter2\";b=2;password=hunter2\r\n\
            Contact: <sip:alice@192.0.2.1:5060>\r\n\
            Content-Type: application/sdp\r\n\r\n\
            v=0\r\nk=clear:hunter2\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:hunter2|2^20\r\n\
            a=ice-pwd:hunter2\r\nm=audio 4000 RTP/SAVP 0\r\n";
        let shown = message(text.as_bytes());
        assert!(!shown.contains("hunter2"), "{shown}");
        for kept in [
            "REGISTER sip:alice:***@example.test SIP/2.0\r\n",
            "Authorization: ***\r\nproxy-authorization: ***\r\n",
            "Response=***;b=2;password=***\r\n",
            "Contact: <sip:alice@192.0.2.1:5060>\r\n",
            "inline:***\r\n",
            "m=audio 4000 RTP/SAVP 0\r\n",
        ] {
            assert!(shown.contains(kept), "{kept} is missing in {shown}");
        }
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        let text = "SIP/2.0 200 OK\r\nTo: <sip:+1;ext=2@[2001:db8::1]:5060;lr>\r\n\
            Date: Sat, 13 Nov 2010 23:29:00 GMT\r\nVia: SIP/2.0/UDP a:5060\r\n\r\nv=0\r\n";
        assert_eq!(message(text.as_bytes()), text);
        assert_eq!(
            line(b"INVITE tel:+15550100 SIP/2.0"),
            "INVITE tel:+15550100 SIP/2.0"
        );
        assert_eq!(line(b"a\x1b[31m\xff"), "a\u{fffd}[31m\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_secret_comes_through_whatever_is_around_it(before in ".{0,30}", after in ".{0,30}") {
            let text = format!("INVITE sip:b SIP/2.0\r\nX: {before} sip:u:s3cr3tw0rd@h{after}\r\n\r\n");
            prop_assert!(!message(text.as_bytes()).contains("s3cr3tw0rd"));
            let text = format!("INVITE sip:b SIP/2.0\r\nAuthorization: {}s3cr3tw0rd\r\n\r\n",
                before.replace(['\r', '\n'], ""));
            prop_assert!(!message(text.as_bytes()).contains("s3cr3tw0rd"));
        }

        #[test]
        fn any_bytes_can_be_shown(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            let shown = message(&raw);
            prop_assert!(shown.chars().all(|c| !c.is_control() || matches!(c, '\r' | '\n' | '\t')));
        }
    }
}
