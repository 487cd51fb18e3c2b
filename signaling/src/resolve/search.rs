//! The search of RFC 3263 section 4 through whatever answers DNS questions.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use control::config::Transport;
use futures_util::future::join_all;

use super::select::{self, Naptr, NotOffered, Served, Srv};
use crate::{call::Authority, weighted::Weighted};

/// SRV targets, and addresses of one target, that are looked at; a domain that has more has enough.
const TARGETS: usize = 16;
const ADDRESSES: usize = 8;

/// Why a question has no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There are none, for this long.
    None(Duration),
    /// Nobody could tell.
    Trouble,
}

/// Records, and how long they hold.
pub(super) type Answer<T> = Result<(Vec<T>, Duration), Missing>;

/// Who answers questions.
pub(super) trait Source: Sync {
    /// A domain's NAPTR records.
    fn naptr(&self, name: &str) -> impl Future<Output = Answer<Naptr>> + Send;
    /// A service's SRV records.
    fn srv(&self, name: &str) -> impl Future<Output = Answer<Srv>> + Send;
    /// A host's addresses of one family.
    fn addresses(&self, name: &str, ipv4: bool) -> impl Future<Output = Answer<IpAddr>> + Send;
    /// Its addresses in this machine's own table (`/etc/hosts`), which goes before DNS.
    fn pinned(&self, name: &str) -> Vec<IpAddr>;
}

/// What was found for an [`Authority`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Hosts and their addresses, each over its transport.
    pub(super) hosts: Vec<Weighted<Vec<(Transport, SocketAddr)>>>,
    /// How long it holds.
    pub(super) lasts: Duration,
}

impl Found {
    fn at(hops: Vec<(Transport, SocketAddr)>, lasts: Duration) -> Self {
        let host = Weighted {
            priority: 0,
            weight: 0,
            item: hops,
        };
        Self {
            hosts: vec![host],
            lasts,
        }
    }
}

/// How long what does not come from DNS holds.
const PINNED: Duration = Duration::from_secs(30);

/// Where requests for `authority` go.
///
/// # Errors
/// It has no address that this node can send to, or nobody could tell.
pub(super) async fn search(
    source: &impl Source,
    served: &Served,
    authority: &Authority,
) -> Result<Found, Missing> {
    let host = authority
        .host
        .trim_matches(['[', ']'])
        .trim_end_matches('.');
    let secure = authority.secure;
    let transport = authority
        .transport
        .unwrap_or_else(|| select::default_transport(secure));
    let port = authority.port.unwrap_or_else(|| transport.default_port());
    if secure && !transport.is_secure() {
        return Err(Missing::None(PINNED));
    }
    let hop = |ip| (transport, SocketAddr::new(ip, port));
    if let Ok(ip) = host.parse() {
        return Ok(Found::at(vec![hop(ip)], PINNED));
    }
    let pinned = source.pinned(host);
    if !pinned.is_empty() {
        let reached = |ip: &IpAddr| served.reaches(transport, ip.is_ipv4());
        let hops = pinned.into_iter().filter(reached).map(hop).collect();
        return Ok(Found::at(hops, PINNED));
    }
    if authority.port.is_some() {
        return addresses(source, served, transport, host, port).await;
    }
    let offered = match authority.transport {
        Some(transport) => select::srv_name(transport, host)
            .map(|name| (transport, name))
            .into_iter()
            .collect(),
        None => services(source, served, secure, host).await,
    };
    match by_srv(source, served, offered).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => addresses(source, served, transport, host, port).await,
        Err(missing) => Err(missing),
    }
}

/// The services to look for where the URI names no transport: what NAPTR says, else all of ours.
async fn services(
    source: &impl Source,
    served: &Served,
    secure: bool,
    host: &str,
) -> Vec<(Transport, String)> {
    // A server that cannot answer for NAPTR may well do for SRV: some middle boxes know only A.
    let records = source
        .naptr(host)
        .await
        .map_or(Vec::new(), |(records, _)| records);
    let offered = select::by_naptr(records, served, secure);
    if !offered.is_empty() {
        return offered;
    }
    let named = |transport| Some((transport, select::srv_name(transport, host)?));
    served.transports(secure).filter_map(named).collect()
}

/// The hosts of the first service that has any; `None` where no service has SRV records at all.
async fn by_srv(
    source: &impl Source,
    served: &Served,
    offered: Vec<(Transport, String)>,
) -> Result<Option<Found>, Missing> {
    let asked = offered.iter().map(|(_, name)| source.srv(name));
    let answers = join_all(asked).await;
    let (mut denied, mut trouble) = (false, false);
    for ((transport, _), answer) in offered.iter().zip(answers) {
        let (records, lasts) = match answer {
            Ok(answer) => answer,
            Err(Missing::None(_)) => continue,
            Err(Missing::Trouble) => {
                trouble = true;
                continue;
            }
        };
        let records = match select::usable_srv(records) {
            Ok(records) => records,
            Err(NotOffered) => {
                denied = true;
                continue;
            }
        };
        if records.is_empty() {
            continue;
        }
        let found = targets(source, served, *transport, records, lasts).await;
        match found {
            Ok(found) => return Ok(Some(found)),
            Err(Missing::Trouble) => trouble = true,
            // Names without an address: the next service may have others.
            Err(Missing::None(_)) => denied = true,
        }
    }
    match (trouble, denied) {
        // To guess while nobody can tell would send calls to where they do not belong.
        (true, _) => Err(Missing::Trouble),
        (false, true) => Err(Missing::None(PINNED)),
        (false, false) => Ok(None),
    }
}

async fn targets(
    source: &impl Source,
    served: &Served,
    transport: Transport,
    mut records: Vec<Srv>,
    lasts: Duration,
) -> Result<Found, Missing> {
    records.sort_by_key(|record| record.priority);
    records.truncate(TARGETS);
    let asked = records
        .iter()
        .map(|record| addresses(source, served, transport, &record.target, record.port));
    let answers = join_all(asked).await;
    let mut found = Found {
        hosts: Vec::new(),
        lasts,
    };
    let mut trouble = false;
    for (record, answer) in records.iter().zip(answers) {
        match answer {
            Ok(target) => {
                found.lasts = found.lasts.min(target.lasts);
                found
                    .hosts
                    .extend(target.hosts.into_iter().map(|host| Weighted {
                        priority: record.priority,
                        weight: record.weight,
                        item: host.item,
                    }));
            }
            Err(missing) => trouble |= missing == Missing::Trouble,
        }
    }
    if trouble {
        // Ask again soon for those that are missing.
        found.lasts = found.lasts.min(PINNED);
    }
    match (found.hosts.is_empty(), trouble) {
        (false, _) => Ok(found),
        (true, true) => Err(Missing::Trouble),
        (true, false) => Err(Missing::None(PINNED)),
    }
}

/// A host's addresses of the families that this node can reach, IPv4 first.
async fn addresses(
    source: &impl Source,
    served: &Served,
    transport: Transport,
    name: &str,
    port: u16,
) -> Result<Found, Missing> {
    let pinned = source.pinned(name);
    let (mut ips, mut lasts, mut missing) = (Vec::new(), Duration::MAX, None);
    if pinned.is_empty() {
        let families = [true, false].map(|ipv4| served.reaches(transport, ipv4).then_some(ipv4));
        let asked = families
            .into_iter()
            .flatten()
            .map(|ipv4| source.addresses(name, ipv4));
        for answer in join_all(asked).await {
            match answer {
                Ok((found, holds)) => {
                    ips.extend(found);
                    lasts = lasts.min(holds);
                }
                Err(Missing::Trouble) => missing = Some(Missing::Trouble),
                Err(none) => missing = missing.or(Some(none)),
            }
        }
    } else {
        let reached = |ip: &IpAddr| served.reaches(transport, ip.is_ipv4());
        (ips, lasts) = (pinned.into_iter().filter(reached).collect(), PINNED);
    }
    if ips.is_empty() {
        return Err(missing.unwrap_or(Missing::None(PINNED)));
    }
    ips.truncate(ADDRESSES);
    let hops = ips
        .into_iter()
        .map(|ip| (transport, SocketAddr::new(ip, port)));
    Ok(Found::at(hops.collect(), lasts))
}

#[cfg(test)]
mod tests;
