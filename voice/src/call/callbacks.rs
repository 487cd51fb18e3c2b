//! Callbacks: whoever only wants to be told. Those of a lane go one after another, so that they arrive in order.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{Call, Lane, LegId, fetch::Purpose, socket::Topic};
use crate::{
    form::Params,
    notice::Code,
    twiml::Link,
    url::{Scheme, is_socket, resolve},
};

/// The most callbacks that wait in a lane behind the one under way; the oldest of more are dropped.
const MAX_WAITING: usize = 16;

/// What waits behind the callback of each lane that is under way.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<Lane, VecDeque<(Link, Params)>>);

impl Call {
    /// The link of a callback that a leg's document has: absolute, since the leg may run another one by the time that
    /// it is used. `None` for one that cannot be asked, which is told.
    pub(super) fn absolute(&mut self, leg: LegId, link: &Link) -> Option<Link> {
        let script = match leg {
            // The party's, though it has hung up.
            LegId::PARTY => Some(&self.main),
            leg => self.script(leg),
        };
        let base = script.and_then(|script| script.base.as_ref());
        match resolve(base.map(|base| &*base.url), &link.url, Scheme::Webhook) {
            Ok(url) => Some(Link {
                url,
                method: link.method,
            }),
            Err(error) => {
                self.warn(Code::InvalidUrl, Some(&link.url), error.to_string());
                None
            }
        }
    }

    /// Tells somebody. The link is absolute.
    pub(super) fn tell(&mut self, now: Instant, lane: Lane, link: Link, params: Params) {
        // A socket keeps the order by itself, that to questions too.
        if is_socket(&link.url) {
            self.request(
                now,
                link,
                params,
                Purpose::Callback(lane),
                Topic::Told(lane),
            );
            return;
        }
        let Some(waiting) = self.lanes.0.get_mut(&lane) else {
            self.lanes.0.insert(lane, VecDeque::new());
            self.request(
                now,
                link,
                params,
                Purpose::Callback(lane),
                Topic::Told(lane),
            );
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
                self.request(
                    now,
                    link,
                    params,
                    Purpose::Callback(lane),
                    Topic::Told(lane),
                );
            }
            None => {
                self.lanes.0.remove(&lane);
            }
        }
    }
}
