//! Names and addresses to ways: what a host's addresses are, and from which of ours each is reached.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

use crate::call::{Authority, Hop};

/// How long an answer is used. The system's resolver tells no time to live.
const FRESH: Duration = Duration::from_secs(30);
/// How long a failure is believed.
const FAILED: Duration = Duration::from_secs(2);
/// How long the system's resolver may take: below the patience with a silent host.
const PATIENCE: Duration = Duration::from_secs(3);
/// Names that are remembered at most.
const NAMES: usize = 10_000;

/// Asks the system, and remembers.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    known: Mutex<HashMap<Authority, (Instant, Vec<Hop>)>>,
}

impl Resolver {
    /// The addresses of a host in the order in which they should be tried; none where it has none, or
    /// nobody could tell in time.
    pub(crate) async fn resolve(&self, authority: Authority) -> Vec<Hop> {
        let now = Instant::now();
        let remembered = self
            .known()
            .get(&authority)
            .filter(|(until, _)| *until > now)
            .cloned();
        if let Some((_, hops)) = remembered {
            return hops;
        }
        let host = authority.host.trim_matches(['[', ']']).to_owned();
        let place = (host.as_str(), authority.port);
        let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(place)).await;
        let (hops, lasts) = match found {
            Ok(Ok(addresses)) => (addresses.map(hop).collect(), FRESH),
            Ok(Err(error)) => {
                warn!(host = authority.host, %error, "cannot resolve a host");
                (Vec::new(), FAILED)
            }
            Err(_) => {
                warn!(
                    host = authority.host,
                    "cannot resolve a host: no answer in time"
                );
                (Vec::new(), FAILED)
            }
        };
        let mut known = self.known();
        if known.len() >= NAMES {
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() < NAMES {
            known.insert(authority, (now + lasts, hops.clone()));
        }
        hops
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Authority, (Instant, Vec<Hop>)>> {
        // Nothing panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hop(remote: SocketAddr) -> Hop {
    Hop {
        remote,
        source: source_for(remote).ok(),
    }
}

/// The address that the kernel would send from. Nothing is sent.
fn source_for(remote: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use control::config::Transport;

    use super::*;

    #[tokio::test]
    async fn an_address_resolves_to_itself_and_shows_the_source() {
        let resolver = Resolver::default();
        let authority = Authority {
            transport: Transport::Udp,
            host: "127.0.0.1".to_owned(),
            port: 5070,
        };
        let hops = resolver.resolve(authority.clone()).await;
        let source = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(
            hops,
            [Hop {
                remote: "127.0.0.1:5070".parse().unwrap(),
                source
            }]
        );
        assert_eq!(resolver.resolve(authority).await, hops);
    }

    #[tokio::test]
    async fn a_name_that_is_none_has_no_address() {
        let resolver = Resolver::default();
        let host = "no such name".to_owned();
        let authority = Authority {
            transport: Transport::Udp,
            host,
            port: 5060,
        };
        assert_eq!(resolver.resolve(authority).await, []);
    }
}
