//! Address blocks and what belongs to each: a lookup costs one hash for each length of prefix that is
//! there, however many blocks there are.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use control::config::Cidr;

/// Values by address block.
#[derive(Clone, Debug)]
pub(crate) struct Blocks<V> {
    /// Longest prefix first, in the 128-bit space where IPv4 is `::ffff:0:0/96`.
    lengths: Vec<(u8, HashMap<u128, V>)>,
}

impl<V> Default for Blocks<V> {
    fn default() -> Self {
        Self {
            lengths: Vec::new(),
        }
    }
}

impl<V> Blocks<V> {
    /// Puts a block in, or another value in its place.
    pub(crate) fn insert(&mut self, block: Cidr, value: V) {
        let (bits, prefix) = key(block);
        let table = match self
            .lengths
            .binary_search_by(|(length, _)| prefix.cmp(length))
        {
            Ok(at) => &mut self.lengths[at].1,
            Err(at) => {
                self.lengths.insert(at, (prefix, HashMap::new()));
                &mut self.lengths[at].1
            }
        };
        table.insert(masked(bits, prefix), value);
    }

    /// Takes exactly this block out.
    pub(crate) fn remove(&mut self, block: Cidr) -> Option<V> {
        let (bits, prefix) = key(block);
        let at = self
            .lengths
            .iter()
            .position(|(length, _)| *length == prefix)?;
        let value = self.lengths[at].1.remove(&masked(bits, prefix));
        if self.lengths[at].1.is_empty() {
            self.lengths.remove(at);
        }
        value
    }

    /// The value of the smallest block around `address`.
    pub(crate) fn find(&self, address: IpAddr) -> Option<&V> {
        let bits = widened(address);
        self.lengths
            .iter()
            .find_map(|(prefix, table)| table.get(&masked(bits, *prefix)))
    }

    /// Whether a block of these lies in `block`, or `block` in one of these.
    pub(crate) fn touches(&self, block: Cidr) -> bool {
        let (bits, prefix) = key(block);
        self.lengths.iter().any(|(length, table)| {
            let shared = prefix.min(*length);
            let bits = masked(bits, shared);
            table.keys().any(|key| masked(*key, shared) == bits)
        })
    }

    /// How many are in.
    pub(crate) fn len(&self) -> usize {
        self.lengths.iter().map(|(_, table)| table.len()).sum()
    }

    /// Each block with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Cidr, &V)> {
        self.lengths.iter().flat_map(|(prefix, table)| {
            table
                .iter()
                .map(|(bits, value)| (block(*bits, *prefix), value))
        })
    }
}

impl FromIterator<Cidr> for Blocks<()> {
    fn from_iter<I: IntoIterator<Item = Cidr>>(blocks: I) -> Self {
        blocks.into_iter().map(|block| (block, ())).collect()
    }
}

impl<V> FromIterator<(Cidr, V)> for Blocks<V> {
    fn from_iter<I: IntoIterator<Item = (Cidr, V)>>(blocks: I) -> Self {
        let mut this = Self::default();
        for (block, value) in blocks {
            this.insert(block, value);
        }
        this
    }
}

fn block(bits: u128, prefix: u8) -> Cidr {
    let ip = Ipv6Addr::from_bits(bits);
    match ip.to_ipv4_mapped() {
        Some(ip) if prefix >= 96 => Cidr::new(ip.into(), prefix - 96),
        _ => Cidr::new(ip.into(), prefix),
    }
}

fn key(block: Cidr) -> (u128, u8) {
    match block.address() {
        IpAddr::V4(_) => (widened(block.address()), 96 + block.prefix()),
        // `::ffff:192.0.2.0/120` is 192.0.2.0/24 already.
        IpAddr::V6(ip) => (ip.to_bits(), block.prefix()),
    }
}

fn widened(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn masked(bits: u128, prefix: u8) -> u128 {
    match prefix {
        0 => 0,
        prefix => bits >> (128 - u32::from(prefix)) << (128 - u32::from(prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_block_around_an_address_is_found() {
        let mut blocks = Blocks::default();
        for (nth, block) in ["10.0.0.0/8", "10.1.2.3/16", "2001:db8::/32", "10.1.2.3"]
            .iter()
            .enumerate()
        {
            blocks.insert(block.parse().unwrap(), nth);
        }
        for (address, found) in [
            ("10.1.2.3", Some(3)),
            ("::ffff:10.1.2.3", Some(3)),
            ("10.1.9.9", Some(1)),
            ("10.2.0.1", Some(0)),
            ("11.0.0.1", None),
            ("2001:db8:ffff::1", Some(2)),
            ("2001:db9::1", None),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(blocks.find(address).copied(), found, "{address}");
        }
        assert_eq!(blocks.remove("10.1.0.0/16".parse().unwrap()), Some(1));
        assert_eq!(blocks.remove("10.1.0.0/16".parse().unwrap()), None);
        assert_eq!(blocks.find("10.1.9.9".parse().unwrap()), Some(&0));
    }

    #[test]
    fn everything_is_a_block_too() {
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        let blocks: Blocks<()> = [all].into_iter().collect();
        assert!(blocks.find("203.0.113.1".parse().unwrap()).is_some());
        assert!(blocks.find("2001:db8::1".parse().unwrap()).is_none());
    }
}
