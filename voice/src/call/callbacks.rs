//! Callbacks: whoever only wants to be told. Those of a lane go one after another, so that they arrive in order.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{Call, Lane, fetch::Purpose};
use crate::{
    form::Params,
    notice::Code,
    twiml::Link,
    url::{Scheme, resolve},
};

/// The most callbacks that wait in a lane behind the one under way; the oldest of more are dropped.
const MAX_WAITING: usize = 16;

/// What waits behind the callback of each lane that is under way.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<Lane, VecDeque<(Link, Params)>>);

impl Call {
    /// Tells somebody. The link may be relative to the party's document.
    pub(super) fn tell(&mut self, now: Instant, lane: Lane, link: &Link, params: Params) {
        let base = self.main.base.as_ref().map(|base| base.url.clone());
        let url = match resolve(base.as_deref(), &link.url, Scheme::Http) {
            Ok(url) => url,
            Err(error) => return self.warn(Code::InvalidUrl, Some(&link.url), error.to_string()),
        };
        let link = Link {
            url,
            method: link.method,
        };
        let Some(waiting) = self.lanes.0.get_mut(&lane) else {
            self.lanes.0.insert(lane, VecDeque::new());
            self.request(now, link, params, Purpose::Callback(lane));
            return;
        };
        if waiting.len() == MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((link, params));
    }

    /// The callback of a lane that was under way is over.
    pub(super) fn next_in_lane(&mut self, now: Instant, lane: Lane) {
        let Some(waiting) = self.lanes.0.get_mut(&lane) else {
            return;
        };
        match waiting.pop_front() {
            Some((link, params)) => {
                self.request(now, link, params, Purpose::Callback(lane));
            }
            None => {
                self.lanes.0.remove(&lane);
            }
        }
    }
}
