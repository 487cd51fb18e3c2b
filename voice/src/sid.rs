//! SIDs: two letters for the kind of thing and 32 hexadecimal digits.

use std::{borrow::Borrow, fmt};

use sha1::{Digest as _, Sha1};

/// What a SID names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An account: `AC`.
    Account,
    /// A call, or one leg of a call: `CA`.
    Call,
    /// A recording: `RE`.
    Recording,
    /// A media stream: `MZ`.
    Stream,
    /// A message: `SM`.
    Message,
}

/// A SID: 34 characters, such as `CA` and the 32 hexadecimal digits of the call's UUID.
///
/// Clients check the shape: one that gives out plain UUIDs breaks them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid(String);

/// This text is no SID of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no SID: write {} and 32 hexadecimal digits", .kind.prefix())]
pub struct SidError {
    /// What was to be named.
    pub kind: Kind,
    /// What was given instead.
    pub text: String,
}

impl Kind {
    /// The two letters.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Account => "AC",
            Self::Call => "CA",
            Self::Recording => "RE",
            Self::Stream => "MZ",
            Self::Message => "SM",
        }
    }
}

impl Sid {
    /// The SID of what has this UUID.
    pub fn new(kind: Kind, uuid: [u8; 16]) -> Self {
        Self(format!("{}{}", kind.prefix(), hex(&uuid)))
    }

    /// Reads a SID; upper-case digits are accepted.
    ///
    /// # Errors
    /// It has another prefix, another length, or other characters.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, SidError> {
        let digits = text.strip_prefix(kind.prefix());
        let is_sid = |d: &&str| d.len() == 32 && d.bytes().all(|b| b.is_ascii_hexdigit());
        match digits.filter(is_sid) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(SidError {
                kind,
                text: text.chars().take(40).collect(),
            }),
        }
    }

    /// The SID of the `number`th thing of a kind that this one gave rise to: the same each time, so that
    /// whoever interprets a call again names its legs and recordings as before.
    pub fn derive(&self, kind: Kind, number: u32) -> Self {
        Self::new(kind, self.digest(kind.prefix(), number))
    }

    /// A UUID (version 8) for the `number`th thing of a name.
    pub(crate) fn token(&self, name: &str, number: u32) -> String {
        let mut uuid = self.digest(name, number);
        uuid[6] = uuid[6] & 0x0F | 0x80;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        let digits = hex(&uuid);
        let (a, rest) = digits.split_at(8);
        let (b, rest) = rest.split_at(4);
        let (c, rest) = rest.split_at(4);
        let (d, e) = rest.split_at(4);
        format!("{a}-{b}-{c}-{d}-{e}")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn digest(&self, name: &str, number: u32) -> [u8; 16] {
        let mut hash = Sha1::new();
        hash.update(self.0.as_bytes());
        hash.update(name.as_bytes());
        hash.update(number.to_be_bytes());
        let digest = hash.finalize();
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest[..16]);
        uuid
    }
}

/// So that a table by SIDs is asked with what somebody wrote.
impl Borrow<str> for Sid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0F])
        .map(|digit| DIGITS[usize::from(digit)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = [
        0x01, 0x9a, 0xf0, 0x11, 0x22, 0x33, 0x74, 0x55, 0x86, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc,
        0xdd,
    ];

    #[test]
    fn a_calls_sid_is_its_uuid() {
        let sid = Sid::new(Kind::Call, UUID);
        assert_eq!(
            sid.as_str(),
            "CA019af011223374558677 8899aabbccdd".replace(' ', "")
        );
        assert_eq!(Sid::parse(Kind::Call, sid.as_str()), Ok(sid));
    }

    #[test]
    fn what_it_gives_rise_to_has_a_sid_of_its_own_each_time_the_same() {
        let call = Sid::new(Kind::Call, UUID);
        let first = call.derive(Kind::Call, 1);
        assert_eq!(first, call.derive(Kind::Call, 1));
        assert_ne!(first, call.derive(Kind::Call, 2));
        assert_ne!(
            first.as_str()[2..],
            call.derive(Kind::Stream, 1).as_str()[2..]
        );
        assert!(Sid::parse(Kind::Call, first.as_str()).is_ok());
    }

    #[test]
    fn what_is_no_sid_is_refused() {
        let of = |text: &str| Sid::parse(Kind::Account, text);
        assert!(of("AC00000000000000000000000000000000").is_ok());
        assert!(of("CA00000000000000000000000000000000").is_err());
        assert!(of("AC0000000000000000000000000000000").is_err());
        assert!(of("AC0000000000000000000000000000000g").is_err());
        assert!(of("").is_err());
    }

    #[test]
    fn a_token_is_a_uuid() {
        let token = Sid::new(Kind::Call, UUID).token("request", 7);
        let parts: Vec<_> = token.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&token[14..15], "8");
    }
}
