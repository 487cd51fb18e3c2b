//! Socket addresses as the kernel writes them (`sockaddr_in`, `sockaddr_in6`), without `unsafe`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for either family's address.
pub(super) const RAW_LEN: usize = size_of::<libc::sockaddr_in6>();

#[expect(
    clippy::cast_possible_truncation,
    reason = "address families are small numbers"
)]
const INET: u16 = libc::AF_INET as u16;
#[expect(
    clippy::cast_possible_truncation,
    reason = "address families are small numbers"
)]
const INET6: u16 = libc::AF_INET6 as u16;

/// A socket address in the kernel's layout.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct RawAddr {
    bytes: [u8; RAW_LEN],
    /// Octets of `bytes` that count.
    pub(super) len: u32,
}

impl RawAddr {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; RAW_LEN],
        len: 0,
    };

    pub(super) fn new(address: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                raw.bytes[..2].copy_from_slice(&INET.to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.len = 16;
            }
            SocketAddr::V6(v6) => {
                raw.bytes[..2].copy_from_slice(&INET6.to_ne_bytes());
                raw.bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.len = 28;
            }
        }
        raw
    }

    #[expect(clippy::cast_possible_truncation, reason = "28")]
    pub(super) const fn capacity(&self) -> u32 {
        self.bytes.len() as u32
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    pub(super) fn decode(&self) -> Option<SocketAddr> {
        decode(&self.bytes)
    }
}

/// Reads an address of either family; `None` for another family or too few octets.
pub(super) fn decode(raw: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*raw.first_chunk::<2>()?);
    let port = u16::from_be_bytes(*raw.get(2..)?.first_chunk::<2>()?);
    match family {
        INET => {
            let octets = *raw.get(4..)?.first_chunk::<4>()?;
            Some(SocketAddr::V4(SocketAddrV4::new(
                Ipv4Addr::from(octets),
                port,
            )))
        }
        INET6 => {
            let octets = *raw.get(8..)?.first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*raw.get(24..)?.first_chunk::<4>()?);
            let ip = Ipv6Addr::from(octets);
            // The flow label is no part of who the sender is.
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_family_survives_the_kernels_layout() {
        for text in ["192.0.2.1:5004", "[2001:db8::1]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddr::new(address).decode(), Some(address), "{text}");
        }
    }

    #[test]
    fn short_or_foreign_addresses_are_refused() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&INET.to_ne_bytes()), None);
        assert_eq!(decode(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
