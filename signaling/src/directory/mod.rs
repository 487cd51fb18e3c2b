//! Who and where: trunks, routes, numbers and domains, as data that is never changed in place.
//!
//! A [`Directory`] is built whole, checked, and swapped in for the one before; calls that are under way
//! keep the trunks and plans that they began with. What lives longer than one directory, such as
//! whether a host answers or how many calls count against a limit, is handed on by name.
//!
//! [`Directory::decide`] turns a call into a [`Decision`], and tells whose call it is. It is pure: the time of day and the random
//! bits that shares are drawn by are given, so that the same question has the same answer, on the wire
//! as for `tandem route`.

mod application;
mod blocks;
mod decide;
mod decision;
mod edits;
mod explain;
mod groups;
mod limit;
mod limits;
mod numbers;
mod outside;
mod owners;
mod people;
mod prefix;
mod reach;
mod routes;
mod sources;
mod trail;
mod trunk;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use control::config::{Cidr, Config, Number, Numbering, SipDomain, Transport};
use sip::uri::{Host, Uri};

use self::{
    blocks::Blocks,
    groups::{Group, Who},
    limits::{Limits, Meters},
    routes::Routes,
    sources::Sources,
};

pub(crate) use application::{Account, Application, Programs};
pub(crate) use decision::{
    Aor, Caller, Carrier, Decided, Decision, Destination, Member, Named, Outcome, Plan, Presented,
    Query, Refusal, Ring, Stage, When,
};
pub(crate) use edits::{Edits, without_identity};
pub use explain::explain;
pub(crate) use limit::{Bound, Exceeded, Hold, Limit};
pub(crate) use numbers::{is_number, plain};
pub(crate) use owners::Owners;
pub(crate) use people::People;
pub use prefix::{PrefixMap, PrefixMapBuilder};
pub(crate) use routes::RoutesBuilder;
pub(crate) use trail::Trail;
pub(crate) use trunk::{HostRef, Trunk};

/// How long a user's phones ring where nothing else is said.
const USER_RING_TIMEOUT: Duration = Duration::from_secs(60);
/// The same where another place follows.
const FORWARDED_RING_TIMEOUT: Duration = Duration::from_secs(20);

/// What the node knows of the world, at one moment.
#[derive(Debug)]
pub(crate) struct Directory {
    trunks: Vec<Arc<Trunk>>,
    sources: Sources,
    routes: Routes,
    /// Numbers of ours, without their plus.
    numbers: HashMap<String, Number>,
    /// The number that a user is shown by.
    shown: HashMap<Aor, Vec<String>>,
    groups: HashMap<String, Group>,
    people: People,
    owners: Owners,
    blocks: Blocks,
    programs: Programs,
    limits: Limits,
    meters: Arc<Meters>,
    domains: Vec<String>,
    /// The domains in lower case, by the host that each is, as a URI writes it.
    hosts: HashMap<String, String>,
    numbering: Option<Numbering>,
    emergency: Vec<String>,
    /// Where documents may call beyond all that.
    outside: Vec<SipDomain>,
}

impl Directory {
    /// From a configuration that was checked. `before` is the directory that this one replaces.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Self {
        let mut routes = RoutesBuilder::default();
        let places: HashMap<&str, u32> = (0..)
            .zip(&config.trunks)
            .map(|(place, trunk)| (trunk.name.as_str(), place))
            .collect();
        for route in &config.routes {
            routes.push(route, |name| places.get(name).copied());
        }
        let (owners, programs) = (Owners::default(), Programs::new(&config.accounts));
        let people = People::of_config(config);
        Self::build(config, routes, people, owners, programs, before)
    }

    /// The same with routes that were collected before, those of `config` and others, and with the
    /// users that the store has, whose everything is, and what programmable calls are given to.
    pub(crate) fn build(
        config: &Config,
        routes: RoutesBuilder,
        people: People,
        owners: Owners,
        programs: Programs,
        before: Option<&Self>,
    ) -> Self {
        let known: HashMap<&str, &Trunk> = before
            .iter()
            .flat_map(|before| &before.trunks)
            .map(|trunk| (trunk.name.as_str(), trunk.as_ref()))
            .collect();
        let trunks = config.trunks.iter().map(|trunk| {
            let before = known.get(trunk.name.as_str()).copied();
            Arc::new(Trunk::new(trunk, before))
        });
        let trunks: Vec<_> = trunks.collect();
        let domain = config.sip.domains.first().cloned().unwrap_or_default();
        let aor = |user: &str| match user.rsplit_once('@') {
            Some((user, domain)) => Aor::new(user, domain),
            None => Aor::new(user, &domain),
        };
        let mut shown = HashMap::<Aor, Vec<String>>::new();
        let mut numbers = HashMap::<String, Number>::new();
        for number in &config.numbers {
            let key = bare(&plain(&number.number)).to_owned();
            let mut number = number.clone();
            if let Some(user) = &mut number.user {
                let aor = aor(user);
                *user = aor.as_str().to_owned();
                shown.entry(aor).or_default().push(number.number.clone());
            }
            numbers.insert(key, number);
        }
        let groups = config.groups.iter().map(|group| {
            let before = before.and_then(|before| before.groups.get(&group.name));
            let members = group.members.iter().map(|member| {
                let is_number = member.starts_with('+')
                    || numbers.contains_key(bare(&plain(member)))
                    || member.starts_with("sip:")
                    || member.starts_with("sips:");
                if is_number {
                    Who::Place(member.clone())
                } else {
                    Who::User(aor(member))
                }
            });
            (group.name.clone(), Group::new(group, members, before))
        });
        let groups: HashMap<_, _> = groups.collect();
        let meters = before
            .map(|before| before.meters.clone())
            .unwrap_or_default();
        Self {
            sources: Sources::new(trunks.iter().map(|trunk| trunk.config.allow.as_slice())),
            routes: routes.build(),
            numbers,
            shown,
            groups,
            people,
            owners,
            blocks: Blocks::new(&config.blocks),
            programs,
            limits: Limits::new(&config.limits, &config.trunks, aor, meters.clone()),
            meters,
            domains: config.sip.domains.clone(),
            hosts: hosts(&config.sip.domains),
            numbering: config.numbering.clone(),
            emergency: config.sip.emergency.clone(),
            outside: config.voice.sip_domains.clone(),
            trunks,
        }
    }

    /// The trunk that a source belongs to: that of the smallest block that allows it.
    pub(crate) fn trunk_of(&self, transport: Transport, source: SocketAddr) -> Option<&Arc<Trunk>> {
        self.trunks.get(self.sources.trunk_of(transport, source)?)
    }

    /// The trunk whose certificate a peer showed; the first one that has one of its names.
    pub(crate) fn trunk_by_certificate(&self, names: &[String]) -> Option<&Arc<Trunk>> {
        self.trunks.iter().find(|trunk| trunk.is_shown_by(names))
    }

    /// Whether a URI's host is a trunk's: one that calls are sent to, or an address that they come from.
    pub(crate) fn has_trunk_at(&self, uri: &Uri<'_>) -> bool {
        let Some(host) = uri.host() else {
            return false;
        };
        match host.ip() {
            Some(ip) => self.has_trunk_in(ip),
            None => self
                .hosts_of_trunks()
                .any(|own| host == Host::Name(&own.name)),
        }
    }

    /// The same of an address.
    pub(crate) fn has_trunk_in(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let is_it =
            |own: &control::config::Host| own.ip().is_some_and(|own| own.to_canonical() == ip);
        self.hosts_of_trunks().any(is_it) || self.allowed().any(|block| block.contains(ip))
    }

    fn hosts_of_trunks(&self) -> impl Iterator<Item = &control::config::Host> {
        self.trunks.iter().flat_map(|trunk| &trunk.hosts)
    }

    /// The addresses of trunks, which nothing is held against.
    pub(crate) fn allowed(&self) -> impl Iterator<Item = Cidr> {
        let trunks = self.trunks.iter();
        trunks.flat_map(|trunk| trunk.config.addresses())
    }

    /// What it holds, for the log.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} trunks, {} routes in {} KB, {} numbers",
            self.trunks.len(),
            self.routes.count(),
            self.routes.bytes() / 1024,
            self.numbers.len()
        )
    }

    /// Every trunk, in order.
    pub(crate) fn trunks(&self) -> &[Arc<Trunk>] {
        &self.trunks
    }

    /// The domains that are ours, the first one being that of users who are named without.
    pub(crate) fn domains(&self) -> &[String] {
        &self.domains
    }

    /// The domain of ours that is a URI's host, in lower case.
    pub(crate) fn domain_of(&self, uri: &Uri<'_>) -> Option<&str> {
        let known = match uri.host()? {
            // As nearly all write it.
            Host::Name(name) if !name.bytes().any(|b| b.is_ascii_uppercase()) => {
                self.hosts.get(name)
            }
            host => self.hosts.get(&key(host)),
        };
        known.map(String::as_str)
    }

    /// Where a request goes by its Request-URI: to a user of ours, to a number, or to nobody's place of
    /// ours. `is_here` where the host is this node's address; `by_trunk` where a trunk calls, which may
    /// know this node by an address that it does not know itself.
    ///
    /// A name at an address is one of the first domain, so that it does not matter whether a peer
    /// writes the domain or the address. A node without domains has trunks alone, and means what they
    /// mean.
    pub(crate) fn place_of(&self, uri: &Uri<'_>, is_here: bool, by_trunk: bool) -> Place {
        let Some(host) = uri.host().filter(|_| !uri.is_service()) else {
            return Place::Number;
        };
        let user = uri.user_unescaped();
        let user = user
            .as_deref()
            .and_then(|user| std::str::from_utf8(user).ok());
        let user = user.filter(|user| !user.is_empty());
        let of =
            |domain: &str| user.map_or(Place::Number, |user| Place::User(Aor::new(user, domain)));
        if let Some(domain) = self.domain_of(uri) {
            return of(domain);
        }
        let Some(first) = self.domains.first() else {
            return Place::Number;
        };
        let is_ours = is_here || by_trunk && host.ip().is_some();
        match user {
            _ if !is_ours => Place::Elsewhere(host.to_string()),
            Some(user) if !is_number(&plain(user)) => of(first),
            _ => Place::Number,
        }
    }

    /// Whether what is called is one of `[[numbers]]`, whoever else has that name.
    pub(crate) fn is_number_of_ours(&self, called: &str) -> bool {
        self.numbers.contains_key(bare(&plain(called)))
    }

    /// The limits that the operator named, each with the calls that it has and may have.
    pub(crate) fn limits_in_use(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        self.limits.in_use()
    }

    /// Whether this is one of this node's domains.
    fn is_domain(&self, domain: &str) -> bool {
        let mut domains = self.domains.iter();
        domains.any(|known| known.eq_ignore_ascii_case(domain))
    }

    /// Whether a URI's host is one of this node's domains.
    pub(crate) fn has_domain(&self, uri: &Uri<'_>) -> bool {
        self.domain_of(uri).is_some()
    }

    /// Whether a number, as it is called, is that of an emergency service.
    pub(crate) fn is_emergency(&self, called: &str) -> bool {
        let sos = called.get(..EMERGENCY_URN.len());
        let is_urn = sos.is_some_and(|sos| sos.eq_ignore_ascii_case(EMERGENCY_URN))
            && matches!(
                called.as_bytes().get(EMERGENCY_URN.len()),
                None | Some(b'.')
            );
        let called = plain(called);
        is_urn || self.emergency.iter().any(|number| *number == called)
    }
}

fn hosts(domains: &[String]) -> HashMap<String, String> {
    let hosts = domains.iter().filter_map(|domain| {
        let host = key(Host::parse(domain)?);
        Some((host, domain.to_ascii_lowercase()))
    });
    hosts.collect()
}

/// What is the same for what is the same host.
fn key(host: Host<'_>) -> String {
    host.to_string().to_ascii_lowercase()
}

/// Where a Request-URI leads, before it is known whether there is such a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To a number.
    Number,
    /// To this user of ours.
    User(Aor),
    /// To this host, which is not ours.
    Elsewhere(String),
}

/// RFC 5031 section 4.2: this one and what begins with it and a dot.
const EMERGENCY_URN: &str = "urn:service:sos";

fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}
