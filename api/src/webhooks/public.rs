//! Where a tenant's webhook may be: at public addresses, for what stands beside the node trusts the node, and is
//! not for those who share it.

use std::net::SocketAddr;

use control::public::is_public;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Looks names up, and forgets the addresses that are not public.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| is_public(at.ip())).collect();
            if public.is_empty() {
                return Err("no public address has this name".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether a URL names an address that is not public. What names lead to, [`Resolver`] sees.
pub(crate) fn leads_home(url: &str) -> bool {
    // As the client reads it, which takes `0x7f.1` for an address.
    let url = Url::parse(url).ok();
    let Some(host) = url.as_ref().and_then(Url::host_str) else {
        return true;
    };
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
    match host.parse() {
        Ok(ip) => !is_public(ip),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_known_however_it_is_written() {
        for (url, home) in [
            ("http://example.com/a", false),
            ("https://8.8.8.8/", false),
            ("https://[2606:4700::1111]:8443/", false),
            ("http://[64:ff9b::8.8.8.8]/", false),
            ("http://127.0.0.1/", true),
            ("http://127.1:9/", true),
            ("http://0x7f000001/", true),
            ("http://2130706433/", true),
            ("http://0/", true),
            ("http://LOCALHOST./", true),
            ("http://a.localhost/", true),
            ("http://10.1.2.3/", true),
            ("http://169.254.169.254/latest/meta-data", true),
            ("http://100.64.0.1/", true),
            ("http://198.19.0.1/", true),
            ("http://255.255.255.255/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:10.0.0.1]/", true),
            ("http://[fd00::1]/", true),
            ("http://[fe80::1]/", true),
            ("http://[2002:7f00:1::]/", true),
            ("http://[64:ff9b::10.0.0.1]/", true),
            ("nonsense", true),
        ] {
            assert_eq!(leads_home(url), home, "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_has_no_public_address() {
        let name = "localhost".parse().unwrap();
        assert!(Resolver.resolve(name).await.is_err());
    }
}
