//! Which trunks take a number.

use std::{sync::Arc, time::Duration};

use control::config::{self, MediaTreatment};

use super::Trunk;

/// A prefix, and what happens to the numbers that begin with it.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) prefix: String,
    /// In the order in which they are tried.
    pub(crate) trunks: Vec<Arc<Trunk>>,
    pub(crate) relay: bool,
    pub(crate) ring_timeout: Duration,
}

impl Route {
    /// Of a configuration that was checked, so that each trunk exists.
    pub(super) fn new(route: &config::Route, trunks: &[Arc<Trunk>]) -> Self {
        let named = |choice: &config::Choice| {
            let named = |trunk: &&Arc<Trunk>| trunk.name == choice.trunk;
            trunks.iter().find(named).cloned()
        };
        Self {
            prefix: route.prefix.clone(),
            trunks: route.trunks.iter().filter_map(named).collect(),
            relay: route.media == MediaTreatment::Relay,
            ring_timeout: route.ring_timeout(),
        }
    }
}
