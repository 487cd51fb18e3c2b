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
        self.count = self.count.wrapping_add(1);
        let (high, low) = (
            keyed_hash(self.seed, 0, self.count),
            keyed_hash(self.seed, 1, self.count),
        );
        format!("{high:016x}{low:016x}")
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
        let mut token = self.token();
        token.truncate(16);
        token
    }

    /// A `branch` for Via, with the magic cookie.
    #[must_use]
    pub fn branch(&mut self) -> String {
        format!("{BRANCH_COOKIE}{}", self.token())
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
    fn a_branch_carries_the_cookie() {
        assert!(TokenGenerator::new(7).branch().starts_with("z9hG4bK"));
    }
}
