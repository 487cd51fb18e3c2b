//! URI comparison, RFC 3261 section 19.1.4.

use std::borrow::Cow;

use super::{Uri, hex};

/// Parameters that make two URIs differ when only one of them has it. The text of 19.1.4 names the
/// first four; its examples add `transport`, because it resolves differently.
const DECISIVE: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

pub(super) fn equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if a.scheme() != b.scheme() {
        return false;
    }
    if !a.is_sip() {
        // RFC 3966 section 4 compares numbers without visual separators; others are opaque.
        return tel_or_opaque(a) == tel_or_opaque(b);
    }
    let same_user = match (a.user(), b.user()) {
        (Some(x), Some(y)) => normal(x) == normal(y),
        (None, None) => true,
        _ => false,
    };
    let same_password = match (a.password(), b.password()) {
        (Some(x), Some(y)) => normal(x) == normal(y),
        (None, None) => true,
        _ => false,
    };
    same_user
        && same_password
        && a.host() == b.host()
        && a.port() == b.port()
        && params_match(a, b)
        && params_match(b, a)
        && headers_match(a, b)
}

/// Every parameter of `a` is in `b` with that value, or missing there and not decisive. A name that
/// is repeated, which is illegal, matches by any of its values.
fn params_match(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if a.params().iter().next().is_none() {
        return true;
    }
    let lower = |(name, value): (&str, Option<&str>)| {
        let value = normal(value.unwrap_or("")).to_ascii_lowercase();
        (name.to_ascii_lowercase(), value)
    };
    // Sorted, because a URI of some kilobytes has thousands of parameters.
    let mut theirs: Vec<_> = b.params().iter().map(lower).collect();
    theirs.sort_unstable();
    a.params().iter().map(lower).all(|own| {
        if theirs.binary_search(&own).is_ok() {
            return true;
        }
        let at = theirs.partition_point(|(name, _)| *name < own.0);
        let missing = theirs.get(at).is_none_or(|(name, _)| *name != own.0);
        missing && !DECISIVE.contains(&own.0.as_str())
    })
}

/// The same headers, in any order.
fn headers_match(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let sorted = |uri: &Uri<'_>| {
        let fields = uri.headers().map(|(name, value)| {
            (
                normal(name).to_ascii_lowercase(),
                normal(value).into_owned(),
            )
        });
        let mut fields: Vec<_> = fields.collect();
        fields.sort();
        fields
    };
    a.headers().next().is_none() && b.headers().next().is_none() || sorted(a) == sorted(b)
}

fn tel_or_opaque<'a>(uri: &Uri<'a>) -> Cow<'a, str> {
    let Some(number) = uri.user() else {
        return Cow::Borrowed(uri.as_str());
    };
    let digits = number
        .chars()
        .filter(|c| !matches!(c, '-' | '.' | '(' | ')'));
    let mut text: String = digits.map(|c| c.to_ascii_lowercase()).collect();
    let mut params: Vec<_> = uri.params().iter().collect();
    params.sort_unstable();
    for (name, value) in params {
        text.push(';');
        text.push_str(&name.to_ascii_lowercase());
        text.push('=');
        text.push_str(&value.unwrap_or("").to_ascii_lowercase());
    }
    Cow::Owned(text)
}

/// Escapes brought to one form: those of characters that need none are resolved, the hex digits of
/// the rest (reserved characters, whose escape changes the meaning) are written in upper case.
fn normal(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let reserved = |b: u8| {
        matches!(
            b,
            b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b','
        )
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = match bytes[i..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)),
            _ => None,
        };
        match escape.map(|(high, low)| high << 4 | low) {
            Some(byte) if !reserved(byte) && byte != b'%' => out.push(byte),
            Some(_) => out.extend(bytes[i..i + 3].iter().map(u8::to_ascii_uppercase)),
            None => out.push(bytes[i]),
        }
        i += if escape.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}
