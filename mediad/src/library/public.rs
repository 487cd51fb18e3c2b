//! Where the audio of a tenant may be: at public addresses, and where `[voice] allow` says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use control::config::Cidr;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Looks names up, and forgets the addresses that are not allowed.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    pub allow: Vec<Cidr>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = self.allow.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| may(at.ip(), &allow)).collect();
            if public.is_empty() {
                return Err("no public address has this name".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether a URL names an address that may not be asked. What names lead to, [`Resolver`] sees.
pub(super) fn leads_home(url: &Url, allow: &[Cidr]) -> bool {
    let Some(host) = url.host_str() else {
        return true;
    };
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
    host.parse().is_ok_and(|ip| !may(ip, allow))
}

fn may(ip: IpAddr, allow: &[Cidr]) -> bool {
    is_public(ip) || allow.iter().any(|block| block.contains(ip))
}

fn is_public(ip: IpAddr) -> bool {
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
