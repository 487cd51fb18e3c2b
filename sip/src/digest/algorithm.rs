//! Hash functions, HA1 and the response.

use std::{fmt, str::FromStr};

use md5::Md5;
use sha2::{Sha256, Sha512_256};
use subtle::ConstantTimeEq as _;

use super::DigestError;

/// A hash function, weaker before stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// MD5: broken as a hash, and what most phones know.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256 (RFC 7616 section 3.2).
    Sha512_256,
}

impl Hash {
    /// All of them, weaker before stronger.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512_256];

    /// The name in an `algorithm` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// Octets of a digest: 16 or 32.
    pub const fn octets(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 | Self::Sha512_256 => 32,
        }
    }

    /// The hash of these parts joined by colons, in hex.
    pub(super) fn joined(self, parts: &[&[u8]]) -> Hex {
        match self {
            Self::Md5 => Hex::new(&joined::<Md5>(parts)),
            Self::Sha256 => Hex::new(&joined::<Sha256>(parts)),
            Self::Sha512_256 => Hex::new(&joined::<Sha512_256>(parts)),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Hash {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let known = Self::ALL
            .into_iter()
            .find(|hash| hash.as_str().eq_ignore_ascii_case(text));
        known.ok_or(DigestError::Unsupported)
    }
}

/// The value of an `algorithm` parameter: a hash, and whether HA1 is bound to the session's nonces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    /// The hash function.
    pub hash: Hash,
    /// The `-sess` variant.
    pub session: bool,
}

impl Algorithm {
    /// Parses `MD5`, `SHA-256-sess` and their like, in any case. `None` for others, such as AKA.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, session) = match text
            .len()
            .checked_sub(5)
            .and_then(|at| text.split_at_checked(at))
        {
            Some((name, suffix)) if suffix.eq_ignore_ascii_case("-sess") => (name, true),
            _ => (text, false),
        };
        let hash = name.parse().ok()?;
        Some(Self { hash, session })
    }
}

impl Algorithm {
    /// What its name has behind that of the hash.
    pub(super) const fn suffix(self) -> &'static str {
        if self.session { "-sess" } else { "" }
    }
}

impl From<Hash> for Algorithm {
    fn from(hash: Hash) -> Self {
        Self {
            hash,
            session: false,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.hash, self.suffix())
    }
}

/// Quality of protection: what the response covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qop {
    /// Method and URI.
    Auth,
    /// The body too.
    AuthInt,
}

impl Qop {
    /// The value as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut known = [Self::Auth, Self::AuthInt].into_iter();
        known.find(|qop| qop.as_str().eq_ignore_ascii_case(text))
    }
}

/// H(user ":" realm ":" password): what a server keeps instead of the password.
///
/// As good as the password within its realm, so it shows itself to no one by accident.
#[derive(Clone)]
pub struct Ha1 {
    hash: Hash,
    hex: Hex,
}

impl Ha1 {
    /// Of a user and a password.
    pub fn new(hash: Hash, user: &str, realm: &str, password: &str) -> Self {
        let parts = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
        Self {
            hash,
            hex: hash.joined(&parts),
        }
    }

    /// From the hex digits that a database keeps, in either case. `None` where their number is wrong
    /// or one is no digit.
    pub fn from_hex(hash: Hash, text: &str) -> Option<Self> {
        let legal = text.len() == hash.octets() * 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
        legal.then(|| Self {
            hash,
            hex: Hex::of_text(text),
        })
    }

    /// Which hash it is of.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The hex digits, lower case: for the store, never for a log.
    pub fn expose(&self) -> &str {
        self.hex.as_str()
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({}, ...)", self.hash)
    }
}

/// What a response is computed over.
pub(super) struct Inputs<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a str,
    pub(super) cnonce: &'a str,
    /// As written, eight hex digits.
    pub(super) nc: &'a str,
    /// As written.
    pub(super) qop: Option<(Qop, &'a str)>,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) body: &'a [u8],
}

impl Inputs<'_> {
    /// The `response` parameter (RFC 7616 section 3.4.1).
    pub(super) fn response(&self, ha1: &Ha1) -> Hex {
        let hash = self.algorithm.hash;
        let (nonce, cnonce) = (self.nonce.as_bytes(), self.cnonce.as_bytes());
        let session;
        let a1 = if self.algorithm.session {
            session = hash.joined(&[ha1.hex.as_bytes(), nonce, cnonce]);
            &session
        } else {
            &ha1.hex
        };
        let (method, uri) = (self.method.as_bytes(), self.uri.as_bytes());
        let a2 = match self.qop {
            Some((Qop::AuthInt, _)) => {
                let body = hash.joined(&[self.body]);
                hash.joined(&[method, uri, body.as_bytes()])
            }
            _ => hash.joined(&[method, uri]),
        };
        match self.qop {
            Some((_, qop)) => hash.joined(&[
                a1.as_bytes(),
                nonce,
                self.nc.as_bytes(),
                cnonce,
                qop.as_bytes(),
                a2.as_bytes(),
            ]),
            None => hash.joined(&[a1.as_bytes(), nonce, a2.as_bytes()]),
        }
    }
}

/// A digest in lower-case hex digits, without an allocation.
#[derive(Clone, Copy)]
pub(super) struct Hex {
    digits: [u8; 64],
    len: u8,
}

impl Hex {
    fn new(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [b'0'; 64];
        let mut len = 0;
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
            len += 2;
        }
        Self { digits, len }
    }

    fn of_text(text: &str) -> Self {
        let mut digits = [b'0'; 64];
        let mut len = 0;
        for (digit, byte) in digits.iter_mut().zip(text.bytes()) {
            *digit = byte.to_ascii_lowercase();
            len += 1;
        }
        Self { digits, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..usize::from(self.len)).unwrap_or_default()
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether a text has these digits, in a time that does not depend on where it differs.
    pub(super) fn matches(&self, text: &str) -> bool {
        let given = Self::of_text(text);
        text.len() == usize::from(self.len) && bool::from(self.digits.ct_eq(&given.digits))
    }
}

fn joined<D: md5::Digest>(parts: &[&[u8]]) -> md5::digest::Output<D> {
    let mut digest = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    digest.finalize()
}
