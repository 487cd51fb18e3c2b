//! Nonces that the server recognises without having kept them.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Octets of a nonce before its encoding: time, uniqueness, the issuer's mark, truncated HMAC.
const TIME: usize = 4;
const UNIQUE: usize = 8;
const MARK: usize = 3;
const TAG: usize = 12;
const FRONT: usize = TIME + UNIQUE + MARK;
const LEN: usize = FRONT + TAG;
/// Characters of a nonce on the wire.
const ENCODED: usize = LEN / 3 * 4;
const _: () = assert!(LEN.is_multiple_of(3), "the encoding needs no padding");

/// The key under which nonces are made: 256 random bits that the nodes of a domain share.
#[derive(Clone, PartialEq, Eq)]
pub struct NonceSecret(pub [u8; 32]);

impl fmt::Debug for NonceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceSecret(...)")
    }
}

/// Makes nonces and judges them: `time | unique | mark | HMAC-SHA-256(secret, time, unique, mark, realm)`,
/// the last cut to 96 bits.
///
/// Whoever has the secret recognises them: other nodes, and this one after a restart. One is good for
/// its realm and for its lifetime; that it is used once, or counted upwards, is the
/// [`ReplayGuard`](super::ReplayGuard)'s business.
#[derive(Clone)]
pub struct Nonces {
    /// Has the secret in it, and what all nonces begin with: half of the work of each.
    mac: Hmac<Sha256>,
    lifetime: u64,
}

/// A nonce of ours: what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce {
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// What distinguishes it from others of that second.
    pub unique: u64,
    /// What the issuer wrote into it: to whom it was given, for example.
    pub mark: u32,
}

/// What a nonce that came back is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Ours, for this realm, and within its lifetime.
    Fresh(Nonce),
    /// Ours, and too old: to be challenged again with `stale=true`.
    Stale,
    /// Not ours, or of another realm.
    Forged,
}

/// Without the secret.
impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Nonces {
    /// `lifetime`: seconds from a challenge to its last use.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever makes nonces needs the secret no more"
    )]
    pub fn new(secret: NonceSecret, lifetime: u64) -> Self {
        // HMAC fills a key up with zeros by itself.
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        key[..secret.0.len()].copy_from_slice(&secret.0);
        let mut mac = Hmac::new(&key);
        mac.update(b"digest nonce\0");
        Self { mac, lifetime }
    }

    /// Seconds from a challenge to its last use.
    pub fn lifetime(&self) -> u64 {
        self.lifetime
    }

    /// A new nonce: issued now, in seconds since 1970 and before 2106, with a random `unique` and 24 bits
    /// of mark.
    pub fn issue(&self, nonce: Nonce, realm: &str) -> String {
        let mut bytes = [0; LEN];
        bytes[..TIME].copy_from_slice(&nonce.issued.to_be_bytes()[8 - TIME..]);
        bytes[TIME..TIME + UNIQUE].copy_from_slice(&nonce.unique.to_be_bytes());
        bytes[TIME + UNIQUE..FRONT].copy_from_slice(&nonce.mark.to_be_bytes()[4 - MARK..]);
        let tag = self.tag(&bytes[..FRONT], realm);
        bytes[FRONT..].copy_from_slice(&tag);
        encode(&bytes)
    }

    /// Judges a nonce that came back. One from the future is another node's, whose clock is ahead: it is
    /// fresh for as long as one from the past is.
    pub fn judge(&self, now: u64, nonce: &str, realm: &str) -> Freshness {
        let Some(bytes) = decode(nonce) else {
            return Freshness::Forged;
        };
        let (front, tag) = bytes.split_at(FRONT);
        if !bool::from(self.tag(front, realm).ct_eq(tag)) {
            return Freshness::Forged;
        }
        let (time, rest) = front.split_at(TIME);
        let (unique, mark) = rest.split_at(UNIQUE);
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let nonce = Nonce {
            issued: number(time),
            unique: number(unique),
            mark: u32::try_from(number(mark)).unwrap_or_default(),
        };
        if nonce.issued.abs_diff(now) > self.lifetime {
            return Freshness::Stale;
        }
        Freshness::Fresh(nonce)
    }

    fn tag(&self, front: &[u8], realm: &str) -> [u8; TAG] {
        let mut mac = self.mac.clone();
        mac.update(front);
        // Realms are domains, which compare without regard to case.
        let lower = realm
            .bytes()
            .any(|b| b.is_ascii_uppercase())
            .then(|| realm.to_ascii_lowercase());
        mac.update(lower.as_deref().unwrap_or(realm).as_bytes());
        let mut tag = [0; TAG];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG]);
        tag
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// base64url without padding (RFC 4648 section 5).
fn encode(bytes: &[u8; LEN]) -> String {
    let mut text = String::with_capacity(ENCODED);
    for chunk in bytes.chunks_exact(3) {
        let word = u32::from(chunk[0]) << 16 | u32::from(chunk[1]) << 8 | u32::from(chunk[2]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(word >> shift & 63) as usize]));
        }
    }
    text
}

fn decode(text: &str) -> Option<[u8; LEN]> {
    if text.len() != ENCODED {
        return None;
    }
    let mut bytes = [0; LEN];
    for (out, chunk) in bytes
        .chunks_exact_mut(3)
        .zip(text.as_bytes().chunks_exact(4))
    {
        let mut word = 0u32;
        for byte in chunk {
            word = word << 6 | u32::from(sextet(*byte)?);
        }
        out.copy_from_slice(&word.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}
