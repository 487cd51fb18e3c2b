//! Where the audio of a tenant may be: at public addresses, and where `[voice] allow` says.

use std::net::{IpAddr, SocketAddr};

use control::{config::Cidr, public::is_public};
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

/// Whether an address may be asked for a tenant.
pub(crate) fn may(ip: IpAddr, allow: &[Cidr]) -> bool {
    is_public(ip) || allow.iter().any(|block| block.contains(ip))
}
