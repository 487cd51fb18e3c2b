//! Who and where: trunks, routes and domains, as data that is never changed in place.
//!
//! A [`Directory`] is built whole, checked, and swapped in for the one before; calls that are under way
//! keep the trunks and routes that they began with. What lives longer than one directory, such as
//! whether a host answers, hangs on the [`Trunk`] and is handed on to the next one of its name.

mod decide;
#[expect(dead_code, reason = "numbers, users and groups are decided on soon")]
mod decision;
#[cfg_attr(not(test), expect(dead_code, reason = "calls take their limits soon"))]
mod limit;
mod prefix;
mod route;
mod trunk;

use std::{net::IpAddr, sync::Arc, time::Duration};

use control::config::Config;
use sip::uri::{Host, Uri};

use self::prefix::Prefixes;

#[expect(unused_imports, reason = "users and groups are decided on soon")]
pub(crate) use decision::{
    Aor, Caller, Carrier, Decision, Destination, Outcome, Plan, Presented, Query, Refusal, Ring,
    Stage, When,
};
#[expect(unused_imports, reason = "calls take their limits soon")]
pub(crate) use limit::{Bound, Exceeded, Hold, Limit, Meter};
pub(crate) use route::Route;
pub(crate) use trunk::{HostRef, Trunk};

/// How long a user's phones ring where nothing else is said.
const USER_RING_TIMEOUT: Duration = Duration::from_secs(60);

/// What the node knows of the world, at one moment.
#[derive(Debug)]
pub(crate) struct Directory {
    trunks: Vec<Arc<Trunk>>,
    routes: Vec<Arc<Route>>,
    domains: Vec<String>,
    prefixes: Prefixes,
}

impl Directory {
    /// From a configuration that was checked.
    pub(crate) fn new(config: &Config) -> Self {
        let trunks: Vec<_> = config
            .trunks
            .iter()
            .map(|trunk| Arc::new(Trunk::new(trunk)))
            .collect();
        let routes = config
            .routes
            .iter()
            .map(|route| Arc::new(Route::new(route, &trunks)));
        let routes: Vec<_> = routes.collect();
        Self {
            domains: config.sip.domains.clone(),
            prefixes: Prefixes::new(routes.iter().map(|route| route.prefix.as_str())),
            trunks,
            routes,
        }
    }

    /// The trunk that a source address belongs to; the first one that allows it.
    pub(crate) fn trunk_of(&self, source: IpAddr) -> Option<&Arc<Trunk>> {
        self.trunks.iter().find(|trunk| trunk.allows(source))
    }

    /// The trunk whose certificate a peer showed; the first one that has one of its names.
    pub(crate) fn trunk_by_certificate(&self, names: &[String]) -> Option<&Arc<Trunk>> {
        self.trunks.iter().find(|trunk| trunk.is_shown_by(names))
    }

    /// The route of a Request-URI's user part.
    pub(crate) fn route_of(&self, user: &str) -> Option<&Arc<Route>> {
        self.routes.get(self.prefixes.find(user)?)
    }

    /// Whether a URI's host is one of this node's domains.
    pub(crate) fn has_domain(&self, uri: &Uri<'_>) -> bool {
        let host = uri.host();
        self.domains
            .iter()
            .any(|domain| Host::parse(domain) == host)
    }
}
