//! DNS itself: hickory's resolver, and this machine's table of hosts.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::Query,
        rr::{Name, RData, RecordType},
    },
};
use tracing::{debug, warn};

use super::{
    search::{Answer, Missing, Source},
    select::{Naptr, Srv},
};

/// How long one server may take for one question before it is asked again, and how often that is.
pub(super) const QUESTION: Duration = Duration::from_millis(900);
const ATTEMPTS: usize = 2;
/// How long there being no record is believed where the zone does not say.
const NEGATIVE: Duration = Duration::from_secs(30);
/// How often the table of hosts is looked at for changes.
const TABLE: Duration = Duration::from_secs(5);
const TABLE_PATH: &str = "/etc/hosts";

/// Asks the name servers.
pub(super) struct Dns {
    /// `None` where the system names no server.
    resolver: Option<TokioResolver>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    looked: Option<Instant>,
    written: Option<SystemTime>,
    hosts: Arc<Hosts>,
}

impl Dns {
    /// Asks `servers`, or those of the system where there are none.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        let provider = TokioRuntimeProvider::default();
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Ok(TokioResolver::builder_with_config(config, provider))
        };
        let built = builder.and_then(|mut builder| {
            set_options(builder.options_mut());
            builder.build()
        });
        let resolver = built
            .inspect_err(|error| {
                warn!(%error, "no name server is known: set [sip] resolver, or use addresses");
            })
            .ok();
        Self {
            resolver,
            table: Mutex::default(),
        }
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T> + Send,
    ) -> Answer<T> {
        let Some(resolver) = &self.resolver else {
            return Err(Missing::None(NEGATIVE));
        };
        let Ok(asked) = Name::from_utf8(name) else {
            return Err(Missing::None(NEGATIVE));
        };
        let answer = resolver.lookup(asked, kind).await;
        let lookup = answer.map_err(|error| missing(name, kind, &error))?;
        let records: Vec<_> = lookup
            .answers()
            .iter()
            .filter_map(|record| read(&record.data))
            .collect();
        let now = Instant::now();
        match records.is_empty() {
            true => Err(Missing::None(NEGATIVE)),
            false => Ok((records, lookup.valid_until().saturating_duration_since(now))),
        }
    }

    fn hosts(&self) -> Arc<Hosts> {
        // Nothing panics while it holds the lock.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if table.looked.is_some_and(|looked| now < looked + TABLE) {
            return table.hosts.clone();
        }
        table.looked = Some(now);
        let written = fs::metadata(TABLE_PATH)
            .and_then(|file| file.modified())
            .ok();
        if written != table.written {
            table.written = written;
            match Hosts::from_system() {
                Ok(hosts) => table.hosts = Arc::new(hosts),
                Err(error) => debug!(%error, "cannot read {TABLE_PATH}"),
            }
        }
        table.hosts.clone()
    }
}

impl Source for Dns {
    async fn naptr(&self, name: &str) -> Answer<Naptr> {
        let read = |data: &RData| match data {
            RData::NAPTR(naptr) => Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: String::from_utf8_lossy(&naptr.flags).into_owned(),
                services: String::from_utf8_lossy(&naptr.services).into_owned(),
                replacement: plain(&naptr.replacement),
            }),
            _ => None,
        };
        self.ask(name, RecordType::NAPTR, read).await
    }

    async fn srv(&self, name: &str) -> Answer<Srv> {
        let read = |data: &RData| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: plain(&srv.target),
            }),
            _ => None,
        };
        self.ask(name, RecordType::SRV, read).await
    }

    async fn addresses(&self, name: &str, ipv4: bool) -> Answer<IpAddr> {
        let kind = if ipv4 {
            RecordType::A
        } else {
            RecordType::AAAA
        };
        self.ask(name, kind, RData::ip_addr).await
    }

    fn pinned(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_utf8(name) else {
            return Vec::new();
        };
        let hosts = self.hosts();
        let of = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
        let answers = found.flat_map(|lookup| {
            let ips = lookup
                .answers()
                .iter()
                .filter_map(|record| record.data.ip_addr());
            ips.collect::<Vec<_>>()
        });
        answers.collect()
    }
}

fn set_options(options: &mut ResolverOpts) {
    options.timeout = QUESTION;
    options.attempts = ATTEMPTS;
    // What was found is kept by authority, and so as long as its shortest record.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

/// A name as it stands in a URI; empty for the root.
fn plain(name: &Name) -> String {
    name.to_utf8().trim_end_matches('.').to_owned()
}

fn missing(name: &str, kind: RecordType, error: &NetError) -> Missing {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let lasts = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
            Missing::None(lasts.unwrap_or(NEGATIVE))
        }
        error => {
            debug!(name, %kind, %error, "a DNS question has no answer");
            Missing::Trouble
        }
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns")
            .field("has_servers", &self.resolver.is_some())
            .finish_non_exhaustive()
    }
}
