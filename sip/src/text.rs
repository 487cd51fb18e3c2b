//! Character classes and trimming shared by the parsers (RFC 3261 section 25.1).

/// Linear white space inside a header value. CR and LF count: a folded value keeps its line breaks.
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts linear white space from both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if !is_lws(*first) {
            break;
        }
        bytes = rest;
    }
    while let [rest @ .., last] = bytes {
        if !is_lws(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// [`trim`] for text.
pub(crate) fn trim_str(text: &str) -> &str {
    let bytes = text.as_bytes();
    let start = bytes.iter().take_while(|b| is_lws(**b)).count();
    let behind = bytes[start..].iter().rev().take_while(|b| is_lws(**b));
    text.get(start..bytes.len() - behind.count())
        .unwrap_or_default()
}

/// Splits at the first of this ASCII byte, which goes; `None` where there is none. For what is found within
/// a few bytes: a vectorised search needs longer to begin.
pub(crate) fn split_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|b| b == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Splits in front of the first of this ASCII byte; where there is none, all is in front.
pub(crate) fn split_before(text: &str, byte: u8) -> (&str, &str) {
    let at = text.bytes().position(|b| b == byte).unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// `token` characters: alphanumerics and `-.!%*_+`'~`.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0u8;
    while c < 128 {
        table[c as usize] = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        c += 1;
    }
    table
};

/// Whether these bytes are one `token`: not empty, token characters only.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| TOKEN[usize::from(*b)])
}

/// A decimal number of digits only: no sign, no white space. `None` on overflow too.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |n, b| {
        if !b.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}

/// The end of the quoted string that opens at `bytes[0]`: the index after its closing quote.
/// `None` if it never closes.
pub(crate) fn quoted_end(bytes: &[u8]) -> Option<usize> {
    let mut i = 1;
    loop {
        let hit = i + memchr::memchr2(b'"', b'\\', bytes.get(i..)?)?;
        if bytes[hit] == b'"' {
            return Some(hit + 1);
        }
        i = hit + 2;
    }
}
