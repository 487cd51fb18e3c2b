//! Character classes, trimming and small writing shared by all (RFC 3261 section 25.1).

use std::{io::Write as _, net::IpAddr};

/// Linear white space inside a header value. CR and LF count: a folded value keeps its line breaks.
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts linear white space from both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

/// Cuts linear white space from the front.
pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Cuts linear white space from the end.
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// [`trim`] for text.
pub(crate) fn trim_str(text: &str) -> &str {
    let bytes = text.as_bytes();
    // Nearly all have nothing to cut, and to find its ends again takes longer than to see that.
    if !bytes.first().is_some_and(|b| is_lws(*b)) && !bytes.last().is_some_and(|b| is_lws(*b)) {
        return text;
    }
    let start = bytes.iter().take_while(|b| is_lws(**b)).count();
    let behind = bytes[start..].iter().rev().take_while(|b| is_lws(**b));
    text.get(start..bytes.len() - behind.count())
        .unwrap_or_default()
}

/// Whether all is UTF-8. Nearly all is ASCII, which is seen in a fraction of the time.
pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let high = words
        .iter()
        .fold(0, |high, word| high | u64::from_le_bytes(*word));
    let rest = rest.iter().fold(0, |high, byte| high | byte);
    (high & EACH << 7 == 0 && rest < 0x80) || std::str::from_utf8(bytes).is_ok()
}

/// The text of bytes that are known to be UTF-8: views check a value once, and turn into text only what
/// is asked for.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// One in each octet.
const EACH: u64 = u64::MAX / 255;

/// The index of the first of this byte, looked for in words: what is near is found before a vectorised
/// search has begun.
pub(crate) fn find_near(bytes: &[u8], byte: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // The lowest octet that is zero is the first that loses its high bit to the subtraction.
        let differs = u64::from_le_bytes(*word) ^ (EACH * u64::from(byte));
        let zeros = differs.wrapping_sub(EACH) & !differs & (EACH << 7);
        if zeros != 0 {
            return Some(number * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|b| *b == byte)?;
    Some(bytes.len() - rest.len() + at)
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
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

/// Whether two names are the same without regard to case. Most that are, are the same byte for byte.
pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && (a == b || a.eq_ignore_ascii_case(b))
}

/// How many token characters these bytes begin with.
pub(crate) fn token_len(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|b| !TOKEN[usize::from(*b)]);
    end.unwrap_or(bytes.len())
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

/// Writes a number in decimal digits.
pub(crate) fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = DIGITS[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

const DIGITS: &[u8; 10] = b"0123456789";

/// Writes an address, an IPv6 one without brackets.
pub(crate) fn put_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                put_decimal(out, octet.into());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Where a part of a value stands in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Part {
    start: u32,
    end: u32,
}

impl Part {
    /// Of a slice of this value; of any other, nothing.
    pub(crate) fn of(value: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(value.as_ptr().addr());
        let is_within = start <= value.len() && part.len() <= value.len() - start;
        let place = || {
            Some(Self {
                start: u32::try_from(start).ok()?,
                end: u32::try_from(start + part.len()).ok()?,
            })
        };
        is_within.then(place).flatten().unwrap_or_default()
    }

    /// The part.
    pub(crate) fn slice(self, value: &[u8]) -> &[u8] {
        value
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
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
