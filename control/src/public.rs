//! Which addresses are public: what a tenant names may be asked there alone, for what stands beside the node trusts the
//! node, and is not for those who share it.

use std::net::{IpAddr, Ipv4Addr};

/// Whether an address is one of the Internet's. One that has an IPv4 address within it, as translators do, is what that one is.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                // RFC 6598, RFC 6890 and RFC 2544.
                || (a == 100 && b & 0xc0 == 64)
                || (a, b, c) == (192, 0, 0)
                || (a == 198 && b & 0xfe == 18))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let embedded = || {
                let [[p, q], [r, s]] = [g, h].map(u16::to_be_bytes);
                is_public(IpAddr::V4(Ipv4Addr::new(p, q, r, s)))
            };
            match (a, b, c, d, e, f) {
                // RFC 6052: a translator leads to the IPv4 address at the end.
                (0x64, 0xff9b, 0, 0, 0, 0) => embedded(),
                // Global unicast (RFC 4291 section 2.4), without 6to4, Teredo and documentation.
                _ => {
                    a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && matches!(b, 0 | 0xdb8))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_internet_is_known() {
        for (ip, public) in [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("64:ff9b::8.8.8.8", true),
            ("::ffff:8.8.8.8", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("192.0.0.8", false),
            ("198.19.0.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("64:ff9b::10.0.0.1", false),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }
}
