//! The longest prefix of a number, among millions.
//!
//! Prefixes of digits are the nodes of a trie that is two flat arrays: a node's children stand side by
//! side, a bit mask says which of them there are. A look-up reads one node of 12 bytes for each digit,
//! whatever the number of prefixes.

use std::collections::HashMap;

/// Values by prefix: how routes are found. Several values may have one prefix.
///
/// ```
/// let mut builder = signaling::PrefixMapBuilder::default();
/// builder.push("+1", 'a');
/// builder.push("1555", 'b');
/// let map = builder.build();
/// let found: Vec<_> = map.matches("+15550100").collect();
/// assert_eq!(found, [(4, &['b'][..]), (1, &['a'][..])]);
/// ```
/// A leading plus does not count; what else a number may be written with is to be taken off before.
#[derive(Clone, Debug)]
pub struct PrefixMap<T> {
    nodes: Vec<Node>,
    /// The prefixes that are not made of digits, or of more than fit into a [`Key`].
    text: HashMap<Box<str>, u32>,
    longest_text: usize,
    /// Where the values of each prefix begin; one more than there are prefixes.
    spans: Vec<u32>,
    values: Vec<T>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The index of the first child.
    children: u32,
    /// The prefix that ends here, or [`NONE`].
    prefix: u32,
    /// Which symbols have a child.
    mask: u16,
}

const NONE: u32 = u32::MAX;

/// Up to 16 symbols, each in 4 bits from the top: what is sorted by it is sorted by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64);

const SYMBOLS: usize = 16;

/// Collects prefixes and their values.
#[derive(Clone, Debug)]
pub struct PrefixMapBuilder<T> {
    keyed: Vec<(Key, u32, T)>,
    text: Vec<(Box<str>, T)>,
}

impl<T> Default for PrefixMapBuilder<T> {
    fn default() -> Self {
        Self {
            keyed: Vec::new(),
            text: Vec::new(),
        }
    }
}

impl<T> PrefixMapBuilder<T> {
    /// Adds a value. Values of one prefix keep their order.
    pub fn push(&mut self, prefix: &str, value: T) {
        let bare = bare(prefix);
        match Key::of(bare) {
            Some(key) => {
                // More than four thousand million rows do not fit into memory.
                let order = u32::try_from(self.keyed.len()).unwrap_or(u32::MAX);
                self.keyed.push((key, order, value));
            }
            None => self.text.push((bare.into(), value)),
        }
    }

    /// How many values there are.
    fn len(&self) -> usize {
        self.keyed.len() + self.text.len()
    }

    /// Builds the map.
    pub fn build(mut self) -> PrefixMap<T> {
        self.keyed
            .sort_unstable_by_key(|(key, order, _)| (*key, *order));
        self.text.sort_by(|a, b| a.0.cmp(&b.0));
        let mut values = Vec::with_capacity(self.len());
        let (mut keys, mut spans) = (Vec::new(), Vec::new());
        for (key, _, value) in self.keyed {
            if keys.last() != Some(&key) {
                keys.push(key);
                spans.push(index(values.len()));
            }
            values.push(value);
        }
        let mut text = HashMap::new();
        let mut longest_text = 0;
        for (prefix, value) in self.text {
            longest_text = longest_text.max(prefix.len());
            text.entry(prefix).or_insert_with(|| {
                spans.push(index(values.len()));
                index(spans.len() - 1)
            });
            values.push(value);
        }
        spans.push(index(values.len()));
        spans.shrink_to_fit();
        PrefixMap {
            nodes: nodes(&keys),
            text,
            longest_text,
            spans,
            values,
        }
    }
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        PrefixMapBuilder::default().build()
    }
}

impl<T> PrefixMap<T> {
    /// The values of each prefix that a number begins with, the longest prefix first, with the number of
    /// characters that it has.
    pub fn matches<'s>(&'s self, number: &str) -> impl Iterator<Item = (usize, &'s [T])> {
        let bare = bare(number);
        let text = self.text_matches(bare);
        let mut found = [(0_u8, NONE); SYMBOLS + 1];
        let mut count = 0;
        let mut node = self.nodes.first();
        let mut symbols = bare.bytes().map(symbol);
        for depth in 0_u8.. {
            let Some(here) = node else { break };
            if here.prefix != NONE {
                found[count] = (depth, here.prefix);
                count += 1;
            }
            let Some(Some(symbol)) = symbols.next() else {
                break;
            };
            node = here.child(symbol).and_then(|child| self.nodes.get(child));
        }
        let digits = (0..count).rev().map(move |at| found[at]);
        let digits = digits.map(|(length, prefix)| (usize::from(length), prefix));
        text.chain(digits)
            .map(|(length, prefix)| (length, self.span(prefix)))
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Bytes that it holds, those that the values point to apart.
    pub fn bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.spans.as_slice())
            + size_of_val(self.values.as_slice())
            + self
                .text
                .keys()
                .map(|prefix| prefix.len() + 32)
                .sum::<usize>()
    }

    fn text_matches(&self, bare: &str) -> impl Iterator<Item = (usize, u32)> {
        (1..=bare.len().min(self.longest_text))
            .rev()
            .filter_map(|length| Some((length, *self.text.get(bare.get(..length)?)?)))
    }

    fn span(&self, prefix: u32) -> &[T] {
        let prefix = prefix as usize;
        let bounds = self.spans.get(prefix).zip(self.spans.get(prefix + 1));
        bounds
            .and_then(|(from, to)| self.values.get(*from as usize..*to as usize))
            .unwrap_or(&[])
    }
}

impl Node {
    fn child(&self, symbol: u8) -> Option<usize> {
        let bit = 1_u16 << symbol;
        let before = (self.mask & (bit - 1)).count_ones();
        (self.mask & bit != 0).then(|| (self.children + before) as usize)
    }
}

impl Key {
    fn of(bare: &str) -> Option<Self> {
        if bare.len() > SYMBOLS {
            return None;
        }
        let mut key = 0;
        for (at, byte) in bare.bytes().enumerate() {
            // No symbol is 0, so that the end of a key sorts before everything that goes on.
            key |= u64::from(symbol(byte)?) << (60 - 4 * at);
        }
        Some(Self(key))
    }

    /// The symbol at a place; 0 after the end.
    const fn symbol(self, at: usize) -> u8 {
        if at >= SYMBOLS {
            return 0;
        }
        (self.0 >> (60 - 4 * at) & 0xf) as u8
    }
}

/// A dialled character, from 1 to 12.
const fn symbol(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0' + 1),
        b'*' => Some(11),
        b'#' => Some(12),
        _ => None,
    }
}

/// The trie of sorted keys, each there once; level by level, so that what every look-up reads stays in
/// the cache.
fn nodes(keys: &[Key]) -> Vec<Node> {
    let mut nodes = vec![Node {
        children: 0,
        prefix: NONE,
        mask: 0,
    }];
    // The keys below each node of the level at hand.
    let mut level = vec![(0, keys.len())];
    let mut first = 0;
    for depth in 0..=SYMBOLS {
        let mut below = Vec::new();
        for (offset, (mut from, to)) in level.iter().copied().enumerate() {
            let children = index(nodes.len());
            let node = first + offset;
            if from < to && keys[from].symbol(depth) == 0 {
                nodes[node].prefix = index(from);
                from += 1;
            }
            nodes[node].children = children;
            while from < to {
                let symbol = keys[from].symbol(depth);
                let end = from + keys[from..to].partition_point(|key| key.symbol(depth) == symbol);
                nodes[node].mask |= 1 << symbol;
                nodes.push(Node {
                    children: 0,
                    prefix: NONE,
                    mask: 0,
                });
                below.push((from, end));
                from = end;
            }
        }
        first = nodes.len() - below.len();
        level = below;
    }
    nodes.shrink_to_fit();
    nodes
}

fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

/// An index into a table that memory bounds far below.
fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(prefixes: &[&str]) -> PrefixMap<usize> {
        let mut builder = PrefixMapBuilder::default();
        for (at, prefix) in prefixes.iter().enumerate() {
            builder.push(prefix, at);
        }
        builder.build()
    }

    fn all(map: &PrefixMap<usize>, number: &str) -> Vec<(usize, Vec<usize>)> {
        let matches = map.matches(number);
        matches
            .map(|(length, values)| (length, values.to_vec()))
            .collect()
    }

    #[test]
    fn the_longest_comes_first() {
        let map = map(&["", "1", "+1555", "155501", "alice", "1a", "1555"]);
        assert_eq!(
            all(&map, "+15550100"),
            [(6, vec![3]), (4, vec![2, 6]), (1, vec![1]), (0, vec![0])]
        );
        assert_eq!(all(&map, "alice2"), [(5, vec![4]), (0, vec![0])]);
        assert_eq!(all(&map, "1ab"), [(2, vec![5]), (1, vec![1]), (0, vec![0])]);
        assert_eq!(all(&map, ""), [(0, vec![0])]);
    }

    #[test]
    fn an_empty_map_has_nothing() {
        assert_eq!(all(&PrefixMap::default(), "1"), []);
    }

    #[test]
    fn prefixes_may_be_longer_than_a_key() {
        let long = "1234567890123456789";
        let map = map(&[&long[..16], &long[..17], long, "é", "12*#"]);
        let lengths = |number: &str| -> Vec<usize> {
            map.matches(number).map(|(length, _)| length).collect()
        };
        assert_eq!(lengths("12345678901234567890"), [19, 17, 16]);
        assert_eq!(lengths("ééé"), [2]);
        assert_eq!(lengths("12*#1"), [4]);
    }

    /// The plain way: every prefix is tried.
    fn naive(prefixes: &[String], number: &str) -> Vec<(usize, Vec<usize>)> {
        let number = bare(number);
        let mut found: Vec<(usize, Vec<usize>)> = Vec::new();
        for (at, prefix) in prefixes.iter().enumerate() {
            let prefix = bare(prefix);
            if number.starts_with(prefix) {
                match found.iter_mut().find(|(length, _)| *length == prefix.len()) {
                    Some((_, values)) => values.push(at),
                    None => found.push((prefix.len(), vec![at])),
                }
            }
        }
        found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        found
    }

    proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            prefixes in proptest::collection::vec("\\+?[0-3*#a]{0,5}|[0-1]{12,19}", 0..40),
            numbers in proptest::collection::vec("\\+?[0-3*#a]{0,8}|[0-1]{12,22}", 1..20),
        ) {
            let borrowed: Vec<_> = prefixes.iter().map(String::as_str).collect();
            let map = map(&borrowed);
            for number in numbers {
                prop_assert_eq!(all(&map, &number), naive(&prefixes, &number));
            }
        }

        #[test]
        fn no_text_panics(prefix in ".{0,30}", number in ".{0,30}") {
            let map = map(&[&prefix]);
            drop(all(&map, &number));
        }
    }
}
