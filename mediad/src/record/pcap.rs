//! The pcap format, of Ethernet frames with nanoseconds (draft-ietf-opsawg-pcap), and frames for what came without.

use std::net::{IpAddr, SocketAddr};

use ebpf_abi::{
    checksum::{fold, sum},
    wire::{
        ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, PROTOCOL_UDP, UDP_LEN,
    },
};

/// Octets of a file's header.
pub(super) const HEADER: usize = 24;
/// Times are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;
/// The longest frame that a file has, in octets.
const SNAPLEN: u32 = 65_535;
/// TTL of headers that are written anew: what is left of it is not known.
const TTL: u8 = 64;

/// The header of a file.
pub(super) fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let words = [MAGIC, 4 << 16 | 2, 0, 0, SNAPLEN, ETHERNET];
    for (place, word) in header.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// Appends a frame that came at `at`, in nanoseconds since 1970, and was `len` octets long.
pub(super) fn write(at: u64, len: u16, frame: &[u8], out: &mut Vec<u8>) {
    let captured = u32::try_from(frame.len()).unwrap_or(SNAPLEN);
    // 2106, and then it begins anew.
    let seconds = u32::try_from(at / 1_000_000_000 % (1 << 32)).unwrap_or(0);
    let nanoseconds = u32::try_from(at % 1_000_000_000).unwrap_or(0);
    for word in [seconds, nanoseconds, captured, len.into()] {
        out.extend(word.to_le_bytes());
    }
    out.extend(frame);
}

/// Writes the frame that a datagram may have come in to `place`: its link-layer addresses are zeros, as they are not
/// known. How long it is; `None` where there is no room, or the addresses are of two families.
pub(super) fn frame(
    source: SocketAddr,
    local: SocketAddr,
    payload: &[u8],
    place: &mut [u8],
) -> Option<usize> {
    let udp = u16::try_from(UDP_LEN + payload.len()).ok()?;
    let l4 = ETHERNET_LEN
        + match local {
            SocketAddr::V4(_) => IPV4_LEN,
            SocketAddr::V6(_) => IPV6_LEN,
        };
    let place = place.get_mut(..l4 + usize::from(udp))?;
    let (link, rest) = place.split_at_mut_checked(ETHERNET_LEN)?;
    let (ip, segment) = rest.split_at_mut_checked(l4 - ETHERNET_LEN)?;
    link.fill(0);
    let (ethertype, pseudo) = match (source.ip(), local.ip()) {
        (IpAddr::V4(source), IpAddr::V4(local)) => {
            let header = ip.first_chunk_mut::<IPV4_LEN>()?;
            *header = [0; IPV4_LEN];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&udp.checked_add(20)?.to_be_bytes());
            header[8] = TTL;
            header[9] = PROTOCOL_UDP;
            header[12..16].copy_from_slice(&source.octets());
            header[16..].copy_from_slice(&local.octets());
            let checksum = !fold(sum(header));
            header[10..12].copy_from_slice(&checksum.to_ne_bytes());
            (ETHERTYPE_IPV4, sum(&source.octets()) + sum(&local.octets()))
        }
        (IpAddr::V6(source), IpAddr::V6(local)) => {
            let header = ip.first_chunk_mut::<IPV6_LEN>()?;
            *header = [0; IPV6_LEN];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&udp.to_be_bytes());
            header[6] = PROTOCOL_UDP;
            header[7] = TTL;
            header[8..24].copy_from_slice(&source.octets());
            header[24..].copy_from_slice(&local.octets());
            (ETHERTYPE_IPV6, sum(&source.octets()) + sum(&local.octets()))
        }
        _ => return None,
    };
    link.last_chunk_mut::<2>()?
        .copy_from_slice(&ethertype.to_be_bytes());
    let (header, data) = segment.split_first_chunk_mut::<UDP_LEN>()?;
    header[..2].copy_from_slice(&source.port().to_be_bytes());
    header[2..4].copy_from_slice(&local.port().to_be_bytes());
    header[4..6].copy_from_slice(&udp.to_be_bytes());
    header[6..].fill(0);
    data.copy_from_slice(payload);
    let rest = sum(&[0, PROTOCOL_UDP]) + sum(&udp.to_be_bytes()) + sum(segment);
    // Zero would say that there is none (RFC 768).
    let checksum = match !fold(u32::from(fold(pseudo)) + u32::from(fold(rest))) {
        0 => u16::MAX,
        checksum => checksum,
    };
    segment
        .get_mut(6..8)?
        .copy_from_slice(&checksum.to_ne_bytes());
    Some(l4 + usize::from(udp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_as_the_format_wants_it_and_has_frames_with_times() {
        let header = header();
        assert_eq!(header[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(header[20..], [1, 0, 0, 0]);
        let mut out = Vec::new();
        write(3_000_000_009, 300, &[7; 5], &mut out);
        let head = [3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 44, 1, 0, 0];
        assert_eq!(out, [&head[..], &[7; 5]].concat());
    }

    #[test]
    fn headers_that_are_written_anew_are_whole() {
        for (source, local, l4) in [
            ("192.0.2.1:4000", "192.0.2.9:30000", 34),
            ("[2001:db8::1]:4000", "[2001:db8::9]:30000", 54),
        ] {
            let mut place = [0xff; 200];
            let ends = [source, local].map(|end| end.parse().unwrap());
            let len = frame(ends[0], ends[1], b"hello", &mut place).unwrap();
            assert_eq!(len, l4 + 8 + 5);
            let frame = &place[..len];
            assert_eq!(frame[l4..l4 + 6], [0x0f, 0xa0, 0x75, 0x30, 0, 13]);
            assert_eq!(&frame[l4 + 8..], b"hello");
            // Over all that it covers, with itself, each sum is all ones (RFC 1071).
            let addresses = if l4 == 34 { 26..34 } else { 22..54 };
            let pseudo = sum(&frame[addresses]) + sum(&[0, 17, 0, 13]);
            assert_eq!(fold(pseudo + sum(&frame[l4..])), u16::MAX);
            if l4 == 34 {
                assert_eq!(fold(sum(&frame[14..34])), u16::MAX);
                assert_eq!(frame[16..18], [0, 33]);
            }
        }
        let (v4, v6) = ("192.0.2.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        assert_eq!(frame(v4, v6, b"", &mut [0; 99]), None);
        assert_eq!(frame(v4, v4, b"hello", &mut [0; 40]), None);
    }
}
