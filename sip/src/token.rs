//! Tokens that must not repeat: branches and tags.

use std::hash::Hasher as _;

use crate::header::BRANCH_COOKIE;

/// Makes unique tokens from a secret seed and a counter.
///
/// The crate has no source of randomness, so the seed is given: 128 random bits, drawn once for
/// each generator. Tags must also be hard to guess (RFC 3261 section 19.3): a stranger who sees
/// one learns neither the seed nor the next.
#[derive(Debug, Clone)]
pub struct TokenGenerator {
    seed: u128,
    count: u64,
}

impl TokenGenerator {
    /// A generator of its own sequence. Two generators with one seed repeat each other.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        Self { seed, count: 0 }
    }

    /// A token that this generator has not given before: 32 hexadecimal digits.
    #[must_use]
    pub fn token(&mut self) -> String {
        let mut token = String::with_capacity(32);
        self.push_token(&mut token);
        token
    }

    /// The number that a [`token`](Self::token) writes.
    #[must_use]
    pub fn number(&mut self) -> u128 {
        self.count = self.count.wrapping_add(1);
        let high = keyed_hash(self.seed, 0, self.count);
        let low = keyed_hash(self.seed, 1, self.count);
        u128::from(high) << 64 | u128::from(low)
    }

    /// 64 bits that nobody who does not know the seed can foretell.
    #[must_use]
    pub fn bits(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        keyed_hash(self.seed, 2, self.count)
    }

    /// A `tag` for From or To.
    #[must_use]
    pub fn tag(&mut self) -> String {
        hex(self.bits())
    }

    /// A `branch` for Via, with the magic cookie.
    #[must_use]
    pub fn branch(&mut self) -> String {
        // Room for the mark that a proxy adds.
        let mut branch = String::with_capacity(BRANCH_COOKIE.len() + 32 + 17);
        branch.push_str(BRANCH_COOKIE);
        self.push_token(&mut branch);
        branch
    }

    fn push_token(&mut self, text: &mut String) {
        push_hex(text, &self.number().to_be_bytes());
    }
}

/// 16 hexadecimal digits.
pub(crate) fn hex(bits: u64) -> String {
    let mut text = String::with_capacity(16);
    push_hex(&mut text, &bits.to_be_bytes());
    text
}

/// Appends two hexadecimal digits for each byte: a tenth of what `format!` takes.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 0xf)].into());
    }
}

fn keyed_hash(seed: u128, lane: u8, count: u64) -> u64 {
    // SipHash with our seed as the first input block: its key is fixed, the seed is the secret.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u128(seed);
    hasher.write_u8(lane);
    hasher.write_u64(count);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_do_not_repeat_within_or_between_seeds() {
        let mut seen = HashSet::new();
        for seed in 0..10 {
            let mut tokens = TokenGenerator::new(seed);
            assert!((0..1000).all(|_| seen.insert(tokens.token())));
        }
    }

    #[test]
    fn digits_are_those_of_the_formatter() {
        for bits in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(hex(bits), format!("{bits:016x}"));
        }
    }

    #[test]
    fn a_branch_carries_the_cookie() {
        assert!(TokenGenerator::new(7).branch().starts_with("z9hG4bK"));
    }
}
