//! Where a request comes from, where reverse proxies stand before the API: what those of `[api] trusted_proxies`
//! say of it is believed. All else of the API asks for the source by `ConnectInfo`, and is given what stands here.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, header},
};
use control::config::{Cidr, ForwardedBy};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose word is taken, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    trusted: Arc<[Cidr]>,
    field: ForwardedBy,
}

impl Proxies {
    pub(crate) fn new(trusted: &[Cidr], field: ForwardedBy) -> Self {
        Self {
            trusted: trusted.into(),
            field,
        }
    }

    /// Whether this is one of them.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|block| block.contains(address))
    }

    /// Puts the client's address in the place of its proxy's, and tells it.
    pub(crate) fn believe(&self, peer: SocketAddr, request: &mut Request) -> SocketAddr {
        let source = self.source(peer, request.headers());
        if source != peer {
            request.extensions_mut().insert(ConnectInfo(source));
        }
        source
    }

    /// Who asks, of what came from `peer`: each proxy adds at the end whom it heard, so the last one that is no
    /// proxy of ours is the first that nobody could have made up.
    fn source(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.has(peer.ip()) {
            return peer;
        }
        let mut source = peer;
        for hop in hops(headers, self.field).into_iter().rev() {
            // What is no address ends what can be known.
            let Some(hop) = hop else { break };
            source = hop;
            if !self.has(hop.ip()) {
                break;
            }
        }
        source
    }
}

/// Who passed a request on, the client first. A proxy writes one field, and lets the other one through as its client
/// wrote it: that one is not looked at, and nobody hides behind the proxy by sending it.
fn hops(headers: &HeaderMap, field: ForwardedBy) -> Vec<Option<SocketAddr>> {
    let (name, of): (_, fn(&str) -> _) = match field {
        ForwardedBy::XForwardedFor => (X_FORWARDED_FOR, address),
        ForwardedBy::Forwarded => (header::FORWARDED, node),
    };
    let fields = headers.get_all(name).iter();
    // What is no text is no address, and ends what can be known.
    fields
        .flat_map(|one| one.to_str().unwrap_or_default().split(','))
        .map(|text| of(text.trim()))
        .collect()
}

/// The node that `for` of an element names (RFC 7239 section 6).
fn node(element: &str) -> Option<SocketAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

/// An address, with a port or without.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 0)),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn source(field: ForwardedBy, peer: &str, fields: &[(HeaderName, &'static str)]) -> String {
        let blocks = ["10.0.0.0/8", "2001:db8::/32"].map(|block| block.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 9);
        let source = Proxies::new(&blocks, field).source(peer, &headers);
        source.ip().to_string()
    }

    #[test]
    fn a_proxys_word_counts_and_nobody_elses() {
        let plain = |value| vec![(X_FORWARDED_FOR, value)];
        for (peer, fields, wanted) in [
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("192.0.2.9", plain("198.51.100.1"), "192.0.2.9"),
            ("10.0.0.1", plain("198.51.100.1"), "198.51.100.1"),
            (
                "::ffff:10.0.0.1",
                plain("198.51.100.1:4711"),
                "198.51.100.1",
            ),
            // What the client wrote stands before what its proxy did.
            ("10.0.0.1", plain("127.0.0.1, 198.51.100.1"), "198.51.100.1"),
            ("10.0.0.1", plain("198.51.100.1, 10.0.0.2"), "198.51.100.1"),
            (
                "10.0.0.1",
                plain("198.51.100.1, unknown, 10.0.0.2"),
                "10.0.0.2",
            ),
            ("10.0.0.1", plain("10.0.0.3"), "10.0.0.3"),
            ("10.0.0.1", plain("nonsense"), "10.0.0.1"),
            ("10.0.0.1", plain(""), "10.0.0.1"),
            (
                "10.0.0.1",
                [plain("127.0.0.1"), plain("198.51.100.1")].concat(),
                "198.51.100.1",
            ),
        ] {
            let told = source(ForwardedBy::XForwardedFor, peer, &fields);
            assert_eq!(told, wanted, "{peer} {fields:?}");
        }
    }

    #[test]
    fn a_proxy_may_write_forwarded() {
        let forwarded = |value| vec![(header::FORWARDED, value)];
        for (peer, fields, wanted) in [
            ("192.0.2.9", forwarded("for=198.51.100.1"), "192.0.2.9"),
            (
                "10.0.0.1",
                forwarded("for=198.51.100.1;proto=https"),
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                forwarded("for=127.0.0.1, proto=https; For=\"[2001:470::1]:4711\""),
                "2001:470::1",
            ),
            (
                "2001:db8::1",
                forwarded("for=\"[2001:470::1]\""),
                "2001:470::1",
            ),
            ("10.0.0.1", forwarded("for=_hidden"), "10.0.0.1"),
        ] {
            let told = source(ForwardedBy::Forwarded, peer, &fields);
            assert_eq!(told, wanted, "{peer} {fields:?}");
        }
    }

    #[test]
    fn a_client_hides_behind_no_other_field() {
        let fields = [
            (X_FORWARDED_FOR, "198.51.100.1"),
            (header::FORWARDED, "for=203.0.113.1"),
        ];
        for (field, own, wanted) in [
            (ForwardedBy::XForwardedFor, 0, "198.51.100.1"),
            (ForwardedBy::Forwarded, 1, "203.0.113.1"),
        ] {
            assert_eq!(source(field, "10.0.0.1", &fields), wanted);
            let other = [fields[1 - own].clone()];
            assert_eq!(source(field, "10.0.0.1", &other), "10.0.0.1");
        }
    }
}
