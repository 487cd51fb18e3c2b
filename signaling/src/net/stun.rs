//! Answers STUN binding requests that come to a SIP port: clients keep their NAT's mapping open by
//! them, and see when it changes (RFC 5626 section 4.4.2, RFC 8489).

use std::net::{IpAddr, SocketAddr};

const REQUEST: [u8; 2] = 0x0001u16.to_be_bytes();
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;
const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Attributes below must be understood.
const OPTIONAL: u16 = 0x8000;
/// Those of RFC 8489 that a binding request may have and that change nothing here: nobody
/// authenticates keepalives.
const KNOWN: [u16; 3] = [0x0006, 0x0008, 0x001c];
/// Unknown attributes that are named in an answer: it is never much larger than its request.
const NAMED: usize = 4;

/// The answer to a datagram that is a binding request from `source`; `None` where it is none.
pub(super) fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    // No SIP message begins with a byte of 0.
    if datagram.len() < HEADER || datagram[..2] != REQUEST || datagram[4..8] != COOKIE.to_be_bytes()
    {
        return None;
    }
    let attributes = &datagram[HEADER..];
    let length = u16::from_be_bytes([datagram[2], datagram[3]]);
    if usize::from(length) != attributes.len() || !length.is_multiple_of(4) {
        return None;
    }
    let id = &datagram[4..HEADER];
    let unknown = unknown(attributes)?;
    Some(if unknown.is_empty() {
        message(SUCCESS, id, &[(XOR_MAPPED_ADDRESS, mapped(source, id))])
    } else {
        let mut names: Vec<_> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        names.truncate(2 * NAMED);
        let code = [0, 0, 4, 20].into_iter().chain(*b"Unknown Attribute");
        message(
            ERROR,
            id,
            &[(ERROR_CODE, code.collect()), (UNKNOWN_ATTRIBUTES, names)],
        )
    })
}

/// The attributes that must be understood and are not; `None` where they cannot be read.
fn unknown(mut attributes: &[u8]) -> Option<Vec<u16>> {
    let mut unknown = Vec::new();
    while !attributes.is_empty() {
        let (head, rest) = attributes.split_at_checked(4)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        attributes = rest.get(length.next_multiple_of(4)..)?;
        if kind < OPTIONAL && !KNOWN.contains(&kind) {
            unknown.push(kind);
        }
    }
    Some(unknown)
}

/// The source, hidden from NATs that rewrite addresses wherever they see them.
fn mapped(source: SocketAddr, id: &[u8]) -> Vec<u8> {
    let cookie = COOKIE.to_be_bytes();
    let port = source.port() ^ u16::from_be_bytes([cookie[0], cookie[1]]);
    let (family, octets) = match source.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(port.to_be_bytes());
    value.extend(octets.iter().zip(id).map(|(octet, mask)| octet ^ mask));
    value
}

/// `id` is the cookie and the transaction's id.
fn message(kind: u16, id: &[u8], attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        body.extend(kind.to_be_bytes());
        body.extend(length.to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(kind.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(id);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transaction of RFC 5769 section 2.
    const ID: [u8; 12] = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap();
        let mut request = REQUEST.to_vec();
        request.extend(length.to_be_bytes());
        request.extend(COOKIE.to_be_bytes());
        request.extend(ID);
        request.extend(attributes);
        request
    }

    #[test]
    fn addresses_are_told_as_the_rfc_5769_vectors_have_them() {
        let v4 = answer(&request(&[]), "192.0.2.1:32853".parse().unwrap()).unwrap();
        let wanted = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(v4[..4], [1, 1, 0, 12]);
        assert_eq!(v4[8..20], ID);
        assert_eq!(v4[20..], wanted);

        let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
        let v6 = answer(&request(&[]), source.parse().unwrap()).unwrap();
        let wanted = [
            0, 0x20, 0, 0x14, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79,
            0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(v6[20..], wanted);
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let optional = request(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        assert_eq!(answer(&optional, source).unwrap()[..2], [1, 1]);
        let change = answer(&request(&[0, 3, 0, 4, 0, 0, 0, 6]), source).unwrap();
        assert_eq!(change[..2], [1, 0x11]);
        assert_eq!(change[24..28], [0, 0, 4, 20]);
        assert_eq!(change[change.len() - 8..], [0, 10, 0, 2, 0, 3, 0, 0]);
    }

    #[test]
    fn what_is_no_binding_request_is_left_alone() {
        let source = "192.0.2.1:5060".parse().unwrap();
        assert_eq!(answer(b"OPTIONS sip:a SIP/2.0\r\n\r\n", source), None);
        let good = request(&[0x80, 0x22, 0, 1, 0, 0, 0, 0]);
        assert!(answer(&good, source).is_some());
        for length in 0..good.len() {
            assert_eq!(answer(&good[..length], source), None, "{length}");
        }
        assert_eq!(
            answer(&request(&[0x80, 0x22, 0, 9, 0, 0, 0, 0]), source),
            None
        );
        let mut old = good;
        old[4] = 0;
        assert_eq!(answer(&old, source), None);
    }
}
