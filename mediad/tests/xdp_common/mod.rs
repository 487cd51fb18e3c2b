//! What the XDP tests share: frames built and checked by the definitions, not by the code under
//! test.

#[path = "permitted.rs"]
mod permission;

use std::net::{IpAddr, SocketAddr};

pub(crate) use permission::permitted;

/// `enum xdp_action`.
pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
pub(crate) const XDP_REDIRECT: u32 = 4;

/// What to put into the UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// The right value.
    Right,
    /// None, which is zero.
    None,
}

/// A UDP packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) macs: [[u8; 6]; 2],
    /// TPID and tag control information, outer first.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ttl: u8,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// IPv4's identification.
    pub(crate) identification: u16,
    /// IPv6's flow label, 20 bits.
    pub(crate) label: u32,
    pub(crate) checksum: Checksum,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn new(from: &str, to: &str) -> Self {
        Self {
            macs: [[0x02, 0, 0, 0, 0, 0x11], [0x02, 0, 0, 0, 0, 0x22]],
            tags: Vec::new(),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            ttl: 64,
            tos: 0xb8,
            identification: 0x1234,
            label: 0x3_2143,
            checksum: Checksum::Right,
            payload: rtp(1, 160, 0xfeed),
        }
    }

    /// Where the IP header starts.
    pub(crate) fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// Where the UDP header starts.
    pub(crate) fn l4(&self) -> usize {
        self.l3() + if self.from.is_ipv4() { 20 } else { 40 }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = self.macs.concat();
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        let udp = u16::try_from(8 + self.payload.len()).unwrap();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend(0x0800_u16.to_be_bytes());
                let mut header = vec![0x45, self.tos];
                header.extend((20 + udp).to_be_bytes());
                header.extend(self.identification.to_be_bytes());
                header.extend([0x40, 0, self.ttl, 17, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                let sum = internet_checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(header);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend(0x86dd_u16.to_be_bytes());
                let first = 0x6000_0000 | u32::from(self.tos) << 20 | self.label;
                frame.extend(first.to_be_bytes());
                frame.extend(udp.to_be_bytes());
                frame.extend([17, self.ttl]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => panic!("one family per packet"),
        }
        let mut segment = Vec::new();
        segment.extend(self.from.port().to_be_bytes());
        segment.extend(self.to.port().to_be_bytes());
        segment.extend(udp.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(&self.payload);
        if self.checksum == Checksum::Right {
            let sum = match udp_checksum(self.from.ip(), self.to.ip(), &segment) {
                0 => 0xffff,
                sum => sum,
            };
            segment[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        frame.extend(segment);
        frame
    }
}

/// An RTP packet of PCMU with 160 octets.
pub(crate) fn rtp(sequence: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|octet| octet ^ 0x5a));
    packet
}

/// An RTCP receiver report without blocks.
pub(crate) fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}

/// RFC 1071, as it is defined there.
pub(crate) fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Over the pseudo header and `segment`.
pub(crate) fn udp_checksum(from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend([0, 17]);
    bytes.extend(u16::try_from(segment.len()).unwrap().to_be_bytes());
    bytes.extend(segment);
    internet_checksum(&bytes)
}
