//! What decides each difference, and who is right.

use bytes::Bytes;
use sip_peers::{
    Difference,
    Part::{self, Body, CSeq, CallId, Contact, Framed, From, Headers, Start, To, Valid, Via},
    UNREADABLE,
};

/// One way in which the two parsers differ.
pub struct Explanation {
    pub what: &'static str,
    /// What decides it.
    pub section: &'static str,
    pub verdict: &'static str,
    /// Where it shows.
    pub parts: &'static [Part],
    /// Whether it is behind a difference in one of these parts of a message.
    pub applies: fn(&Bytes, &Difference) -> bool,
}

const OURS: &str = "ours: rsip does not read it";
const STRICT: &str = "ours: rsip takes it";

/// The first that applies to a difference explains it.
pub const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        what: "a header field over several lines",
        section: "RFC 3261 7.3.1",
        verdict: OURS,
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && (has(raw, "\r\n ") || has(raw, "\r\n\t")),
    },
    Explanation {
        what: "white space before the colon",
        section: "RFC 3261 25.1 HCOLON",
        verdict: OURS,
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && lines(raw).any(|line| blank_before_colon(&line)),
    },
    Explanation {
        what: "a byte that is not UTF-8 in a header that need not be read",
        section: "RFC 3261 16.3",
        verdict: OURS,
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && std::str::from_utf8(raw).is_err(),
    },
    Explanation {
        what: "a method that is no known one",
        section: "RFC 3261 25.1 extension-method, 16.3",
        verdict: OURS,
        parts: &[Framed, CSeq, Valid],
        applies: |raw, d| (refused_by_rsip(d) || unread(d)) && has_odd_method(raw),
    },
    Explanation {
        what: "a method in lower case, which is another method",
        section: "RFC 3261 7.1",
        verdict: "ours: rsip takes it for the one in upper case",
        parts: &[Start, CSeq],
        applies: |_, d| {
            d.ours != d.theirs && d.ours.eq_ignore_ascii_case(&d.theirs) && is_method_case(d)
        },
    },
    Explanation {
        what: "an IPv6 address as the host of the Request-URI",
        section: "RFC 3261 25.1 IPv6reference, RFC 5118 4.1",
        verdict: OURS,
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && first_line(raw).contains('['),
    },
    Explanation {
        what: "an IPv6 address in the Request-URI without brackets",
        section: "RFC 5118 4.2",
        verdict: "either: ours frames it and answers 400",
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && first_line(raw).matches(':').count() > 3,
    },
    Explanation {
        what: "an IPv6 address in Via or in an address",
        section: "RFC 3261 25.1 IPv6reference, RFC 5118 4.4 and 4.5",
        verdict: OURS,
        parts: &[Via, From, To, Contact, Valid],
        applies: |raw, d| unread(d) && lines(raw).skip(1).any(|line| line.contains('[')),
    },
    Explanation {
        what: "a transport in Via that is no known one",
        section: "RFC 3261 25.1 other-transport",
        verdict: OURS,
        parts: &[Via, Valid],
        applies: |raw, d| unread(d) && has(raw, "SIP/2.0/QUIC"),
    },
    Explanation {
        what: "white space around the slashes of Via",
        section: "RFC 3261 25.1 SLASH",
        verdict: OURS,
        parts: &[Via, Valid],
        applies: |raw, d| unread(d) && has(raw, "SIP / 2.0"),
    },
    Explanation {
        what: "a version other than 2.0",
        section: "RFC 4475 3.1.2.16",
        verdict: "ours: it frames the request, so that it can answer 505",
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && !first_line(raw).contains("SIP/2.0"),
    },
    Explanation {
        what: "white space in the request line where none may be",
        section: "RFC 4475 3.1.2.8 to 3.1.2.10",
        verdict: "either: ours frames the request and answers 400",
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && first_line(raw).split(' ').count() != 3,
    },
    Explanation {
        what: "a Request-URI with headers",
        section: "RFC 3261 19.1.1, RFC 4475 3.1.2.11",
        verdict: "either: ours frames the request and answers 400",
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && has_uri_headers(&first_line(raw)),
    },
    Explanation {
        what: "a Request-URI that is neither sip nor sips: a number, a service, an unknown scheme",
        section: "RFC 3966, RFC 5031, RFC 3261 8.2.2.1",
        verdict: "ours: rsip does not read it; an unknown scheme is answered 416",
        parts: &[Framed],
        applies: |raw, d| refused_by_rsip(d) && !has_sip_uri(&first_line(raw)),
    },
    Explanation {
        what: "an unknown scheme in the Request-URI",
        section: "RFC 3261 16.3 step 2",
        verdict: "ours: it is owed 416; rsip takes it for a host",
        parts: &[Valid, Start],
        applies: |raw, _| !has_sip_uri(&first_line(raw)),
    },
    Explanation {
        what: "a quoted value of a parameter",
        section: "RFC 3261 25.1 gen-value, RFC 5626 4.1",
        verdict: OURS,
        parts: &[Contact, Valid],
        applies: |raw, d| unread(d) && has(raw, "=\""),
    },
    Explanation {
        what: "a URI that is neither sip nor sips in an address",
        section: "RFC 3261 20.10, 25.1 absoluteURI",
        verdict: OURS,
        parts: &[From, To, Contact, Valid],
        applies: |raw, _| lines(raw).skip(1).any(|line| has_other_uri(&line)),
    },
    Explanation {
        what: "a colon in the value of a URI parameter",
        section: "RFC 3261 25.1 param-unreserved",
        verdict: OURS,
        parts: &[Framed, From, To, Contact, Valid],
        applies: |raw, _| has(raw, "=1:2"),
    },
    Explanation {
        what: "a name in its compact form",
        section: "RFC 3261 7.3.3",
        verdict: "ours: rsip takes it for another header",
        parts: &[Headers, Via, From, To, CallId, Contact, Valid],
        applies: |raw, d| {
            (d.part != Valid || unread(d)) && lines(raw).any(|line| is_compact(&line))
        },
    },
    Explanation {
        what: "several values on one line",
        section: "RFC 3261 7.3.1",
        verdict: OURS,
        parts: &[Contact, Valid],
        applies: |raw, d| {
            unread(d) && lines(raw).any(|line| is_contact(&line) && line.contains(">, "))
        },
    },
    Explanation {
        what: "the reason phrase, which is for people and may be any",
        section: "RFC 3261 7.2",
        verdict: "ours: rsip puts its own in its place",
        parts: &[Start],
        applies: |raw, _| first_line(raw).starts_with("SIP/2.0 "),
    },
    Explanation {
        what: "the letters of a transport parameter",
        section: "RFC 3261 19.1.4",
        verdict: "alike: it compares without regard to case; rsip writes it anew",
        parts: &[Start, From, To, Contact],
        applies: |_, d| d.ours.eq_ignore_ascii_case(&d.theirs) && d.ours.contains("transport="),
    },
    Explanation {
        what: "octets after the body",
        section: "RFC 3261 18.3",
        verdict: "ours: rsip takes them for body",
        parts: &[Body],
        applies: |_, d| d.theirs.starts_with(&d.ours) && d.theirs.len() > d.ours.len(),
    },
    Explanation {
        what: "a body that is shorter than Content-Length",
        section: "RFC 3261 18.3",
        verdict: STRICT,
        parts: &[Framed],
        applies: |_, d| d.ours.contains("shorter than Content-Length"),
    },
    Explanation {
        what: "a Content-Length that is no number, or two that differ",
        section: "RFC 3261 20.14, RFC 4475 3.1.2.3 and 3.3.9",
        verdict: STRICT,
        parts: &[Framed],
        applies: |_, d| d.ours.contains("Content-Length is malformed"),
    },
    Explanation {
        what: "a header section without an empty line behind it",
        section: "RFC 3261 7",
        verdict: STRICT,
        parts: &[Framed],
        applies: |_, d| d.ours.contains("ends within its header section"),
    },
    Explanation {
        what: "a CSeq of another method than the request's",
        section: "RFC 3261 8.1.1.5, RFC 4475 3.1.2.17 and 3.1.2.18",
        verdict: STRICT,
        parts: &[Valid],
        applies: |_, d| d.ours.contains("CSeq's method"),
    },
    Explanation {
        what: "a header that may stand once, twice",
        section: "RFC 3261 7.3.1, RFC 4475 3.3.8",
        verdict: STRICT,
        parts: &[Valid],
        applies: |_, d| d.ours.contains("more than one"),
    },
    Explanation {
        what: "a Request-URI in angle brackets",
        section: "RFC 4475 3.1.2.7",
        verdict: STRICT,
        parts: &[Valid],
        applies: |raw, d| d.ours.contains("Request-URI") && first_line(raw).contains('<'),
    },
    Explanation {
        what: "separators too many in Via",
        section: "RFC 4475 3.1.2.1",
        verdict: STRICT,
        parts: &[Valid],
        applies: |_, d| d.ours.contains("Via header is malformed"),
    },
    Explanation {
        what: "a quotation that never ends",
        section: "RFC 4475 3.1.2.6",
        verdict: STRICT,
        parts: &[Valid, To],
        applies: |raw, d| {
            d.ours.contains("malformed") || (d.ours == UNREADABLE && has(raw, "To: \""))
        },
    },
];

fn refused_by_rsip(difference: &Difference) -> bool {
    difference.part == Framed && difference.ours == "yes"
}

/// `rsip` does not read a part that ours reads, or for want of one holds the message for useless.
fn unread(difference: &Difference) -> bool {
    difference.theirs == UNREADABLE || (difference.part == Valid && difference.ours == "yes")
}

/// The header section, as far as it is text.
fn head(raw: &Bytes) -> String {
    let text = String::from_utf8_lossy(raw).into_owned();
    let end = text.find("\r\n\r\n").unwrap_or(text.len());
    text[..end].to_owned()
}

fn has(raw: &Bytes, text: &str) -> bool {
    head(raw).contains(text)
}

fn lines(raw: &Bytes) -> impl Iterator<Item = String> {
    let lines: Vec<_> = head(raw).split("\r\n").map(str::to_owned).collect();
    lines.into_iter()
}

fn first_line(raw: &Bytes) -> String {
    lines(raw).next().unwrap_or_default()
}

fn blank_before_colon(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    !name.is_empty() && name.ends_with([' ', '\t']) && !name.trim_end().contains(' ')
}

fn is_compact(line: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(name, _)| name.trim().len() == 1)
}

fn is_contact(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().trim();
    name.eq_ignore_ascii_case("contact") || name.eq_ignore_ascii_case("m")
}

fn has_odd_method(raw: &Bytes) -> bool {
    const KNOWN: [&str; 14] = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "UPDATE",
        "INFO",
        "MESSAGE",
        "REFER",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "PRACK",
    ];
    let is_odd = |method: &str| !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(method));
    let mut cseqs = lines(raw).filter(|line| line.to_ascii_lowercase().starts_with("cseq"));
    let first = first_line(raw);
    let start = first.split(' ').next().unwrap_or_default();
    !first.starts_with("SIP/") && is_odd(start)
        || cseqs.any(|line| line.split_whitespace().last().is_some_and(is_odd))
}

fn is_method_case(difference: &Difference) -> bool {
    let method = |text: &str| {
        text.split(' ')
            .find(|word| word.chars().all(char::is_alphabetic))
            .map(str::to_owned)
    };
    method(&difference.ours) != method(&difference.theirs)
}

fn has_sip_uri(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.contains(" sip:")
        || lower.contains(" sips:")
        || lower.contains("<sip:")
        || lower.starts_with("sip/")
}

fn has_other_uri(line: &str) -> bool {
    let value = line.split_once(':').map_or("", |(_, value)| value.trim());
    ["tel:", "urn:", "http:", "isbn:", "name:"]
        .iter()
        .any(|scheme| value.contains(scheme))
}

fn has_uri_headers(line: &str) -> bool {
    line.contains('?')
}
