//! From an Ethernet frame to the datagram in it, with every checksum computed anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A UDP datagram or a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// 802.1Q and 802.1ad tags, outermost first; 0 where there is none.
    pub vlans: [u16; 2],
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// IPv4's time to live, IPv6's hop limit.
    pub ttl: u8,
    /// Whether it is UDP.
    pub udp: bool,
    /// What the checksums are.
    pub checksums: Checksums,
    /// What UDP or TCP carries.
    pub payload: &'a [u8],
}

/// The verdict on a frame's checksums, after recomputing each in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// IP's and UDP's or TCP's are right.
    Right,
    /// The IPv4 header's is wrong.
    WrongIp,
    /// UDP's or TCP's is wrong.
    WrongTransport,
    /// UDP over IPv4 without one, which is allowed (RFC 768).
    Absent,
    /// UDP over IPv6 without one, which is not (RFC 8200 8.1).
    Forbidden,
}

impl Checksums {
    /// Whether a receiver takes such a frame.
    pub const fn acceptable(self) -> bool {
        matches!(self, Self::Right | Self::Absent)
    }
}

/// Reads a frame; `None` for what is neither UDP nor TCP over IP, for fragments, and for what is cut
/// off.
pub fn parse(frame: &[u8]) -> Option<Packet<'_>> {
    let mut kind = be16(frame, 12)?;
    let mut rest = frame.get(14..)?;
    let mut vlans = [0; 2];
    for vlan in &mut vlans {
        if kind != VLAN && kind != QINQ {
            break;
        }
        *vlan = be16(rest, 0)? & 0x0fff;
        kind = be16(rest, 2)?;
        rest = rest.get(4..)?;
    }
    match kind {
        IPV4 => ipv4(rest, vlans),
        IPV6 => ipv6(rest, vlans),
        _ => None,
    }
}

fn ipv4(packet: &[u8], vlans: [u16; 2]) -> Option<Packet<'_>> {
    let first = *packet.first()?;
    let header_length = usize::from(first & 0x0f) * 4;
    let total = usize::from(be16(packet, 2)?);
    let fragment = be16(packet, 6)? & 0x3fff;
    if first >> 4 != 4 || header_length < 20 || fragment != 0 {
        return None;
    }
    let header = packet.get(..header_length)?;
    let body = packet.get(header_length..total)?;
    let address = |at| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
        Some(bytes.into())
    };
    let addresses = (address(12)?.into(), address(16)?.into());
    let mut parsed = transport(header[9], body, addresses, &header[12..20])?;
    if sum(header, 0) != 0xffff {
        parsed.checksums = Checksums::WrongIp;
    }
    Some(Packet {
        vlans,
        ttl: header[8],
        ..parsed
    })
}

fn ipv6(packet: &[u8], vlans: [u16; 2]) -> Option<Packet<'_>> {
    if *packet.first()? >> 4 != 6 {
        return None;
    }
    let length = usize::from(be16(packet, 4)?);
    let body = packet.get(40..40 + length)?;
    let address = |at| -> Option<Ipv6Addr> {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(bytes.into())
    };
    let addresses = (address(8)?.into(), address(24)?.into());
    let parsed = transport(packet[6], body, addresses, &packet[8..40])?;
    Some(Packet {
        vlans,
        ttl: packet[7],
        ..parsed
    })
}

/// `ends` are both addresses as bytes, for the pseudo header (RFC 768, RFC 9293 3.1, RFC 8200 8.1).
fn transport<'a>(
    protocol: u8,
    body: &'a [u8],
    addresses: (IpAddr, IpAddr),
    ends: &[u8],
) -> Option<Packet<'a>> {
    let (udp, segment, header_length) = match protocol {
        UDP => {
            let length = usize::from(be16(body, 4)?);
            (true, body.get(..length)?, 8)
        }
        TCP => (false, body, usize::from(body.get(12)? >> 4) * 4),
        _ => return None,
    };
    let payload = segment.get(header_length..)?;
    let checksums = if udp && be16(segment, 6)? == 0 {
        if addresses.0.is_ipv4() {
            Checksums::Absent
        } else {
            Checksums::Forbidden
        }
    } else {
        // A segment of IP has at most 65,535 bytes.
        let length = u32::try_from(segment.len()).ok()?;
        let pseudo = sum(ends, u32::from(protocol) + length);
        if sum(segment, pseudo.into()) == 0xffff {
            Checksums::Right
        } else {
            Checksums::WrongTransport
        }
    };
    Some(Packet {
        vlans: [0; 2],
        source: SocketAddr::new(addresses.0, be16(segment, 0)?),
        destination: SocketAddr::new(addresses.1, be16(segment, 2)?),
        ttl: 0,
        udp,
        checksums,
        payload,
    })
}

/// The ones' complement sum of RFC 1071 over `bytes`, on top of `start`.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut words = bytes.chunks_exact(2);
    let mut total = u64::from(start);
    for word in &mut words {
        total += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(u16::from_be_bytes([*last, 0]));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// "hi" from 192.0.2.1:1000 to 192.0.2.2:2000, tagged 5; checksums worked out by hand.
    const GOOD: &str = "020000000002020000000001810000050800\
        4500001e000040004011b6cb c0000201c0000202 03e807d0000a07b56869";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex
            .bytes()
            .filter(u8::is_ascii_hexdigit)
            .map(|digit| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap())
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    #[test]
    fn a_tagged_datagram() {
        let frame = bytes(GOOD);
        let packet = parse(&frame).unwrap();
        assert_eq!(packet.vlans, [5, 0]);
        assert_eq!(packet.source, "192.0.2.1:1000".parse().unwrap());
        assert_eq!(packet.destination, "192.0.2.2:2000".parse().unwrap());
        assert_eq!((packet.ttl, packet.udp), (64, true));
        assert_eq!(packet.payload, b"hi");
        assert_eq!(packet.checksums, Checksums::Right);
    }

    #[test]
    fn each_wrong_checksum_is_named() {
        let mut frame = bytes(GOOD);
        *frame.last_mut().unwrap() ^= 1;
        assert_eq!(parse(&frame).unwrap().checksums, Checksums::WrongTransport);
        let mut frame = bytes(GOOD);
        frame[18 + 8] -= 1; // TTL
        assert_eq!(parse(&frame).unwrap().checksums, Checksums::WrongIp);
        let mut frame = bytes(GOOD);
        let checksum = frame.len() - 4;
        frame[checksum..checksum + 2].fill(0);
        assert_eq!(parse(&frame).unwrap().checksums, Checksums::Absent);
    }

    #[test]
    fn fragments_are_not_datagrams() {
        let mut frame = bytes(GOOD);
        frame[18 + 6] = 0x20;
        assert!(parse(&frame).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(frame in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _parsed = parse(&frame);
        }

        #[test]
        fn a_single_changed_bit_is_always_seen(bit in 0..(8_usize + 8 + 2) * 8) {
            let mut frame = bytes(GOOD);
            // From the IPv4 addresses to the last byte of the payload.
            let at = 18 + 12 + bit / 8;
            // Not what says how long the datagram is: those are cut off instead.
            prop_assume!(!(18 + 24..18 + 26).contains(&at));
            frame[at] ^= 1 << (bit % 8);
            let verdict = parse(&frame).unwrap().checksums;
            prop_assert!(!verdict.acceptable(), "{verdict:?} after a change at {at}");
        }
    }
}
