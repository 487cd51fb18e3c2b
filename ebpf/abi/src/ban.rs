//! Who is banned from the SIP ports.

/// A source's address, in memory order: IPv6, or IPv4 as `::ffff:0:0/96` has it.
pub type SourceKey = [u32; 4];

/// A ban, of one source or of a block.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ban {
    /// CLOCK_MONOTONIC in nanoseconds: then it is over, whether or not userspace has taken it out.
    pub until: u64,
    /// Nanoseconds between two datagrams that pass all the same; 0 where none does. Where it is not 0,
    /// TCP passes: it is a flood of datagrams that is held to a trickle.
    pub every: u64,
    /// When the next one passes, in the time of `until`. The program writes it.
    pub next: u64,
}

/// An IPv4 address, in memory order, as a key.
#[must_use]
#[inline(always)]
pub const fn ipv4_key(address: u32) -> SourceKey {
    [0, 0, 0xffff_u32.to_be(), address]
}

/// What an exact ban of `source` is found by: the address itself of IPv4, the /64 of IPv6.
#[must_use]
#[inline(always)]
pub const fn ban_key(source: SourceKey) -> SourceKey {
    let [a, b, c, _] = source;
    if a == 0 && b == 0 && c == 0xffff_u32.to_be() {
        return source;
    }
    [a, b, 0, 0]
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn words(address: Ipv6Addr) -> SourceKey {
        let octets = address.octets();
        [0, 4, 8, 12].map(|at| {
            u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
        })
    }

    #[test]
    fn keys_are_the_address_or_its_64() {
        let v4 = Ipv4Addr::new(192, 0, 2, 1);
        let key = ipv4_key(u32::from_ne_bytes(v4.octets()));
        assert_eq!(key, words(v4.to_ipv6_mapped()));
        assert_eq!(ban_key(key), key);
        let v6 = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        let net = "2001:db8:1:2::".parse().unwrap();
        assert_eq!(ban_key(words(v6)), words(net));
    }
}
