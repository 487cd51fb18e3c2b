//! Tables by the numbers that this node gives itself.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A table whose keys no peer can choose: with others' words in them, such a table could be filled so that
/// each look-up takes as long as it has entries.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// One multiplication for each number, where the standard library's hasher takes thirty times as long.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio's digits: numbers in a row are spread over all 64 bits.
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        // A table takes its place from the low bits, which a product mixes least.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher as _};

    use super::*;

    #[test]
    fn numbers_in_a_row_are_spread_over_a_table() {
        let hasher = BuildHasherDefault::<IdHasher>::default();
        for step in [1, 2, 64, 4_096, 1 << 32] {
            let places: HashSet<_> = (0..1_024u64)
                .map(|n| hasher.hash_one(n * step) % 1_024)
                .collect();
            // Drawn at random they would be 647.
            assert!(places.len() > 500, "{step}: {}", places.len());
        }
    }
}
