//! Which trunks take a number: the longest prefix that has a route for the call, then conditions, cost
//! and share.

use std::{collections::HashMap, sync::Arc, time::Duration};

use control::config::{self, Cost, MediaTreatment, Window, Zone};
use jiff::civil::DateTime;
use store::Timestamp;

use super::{
    Aor, Caller,
    prefix::{PrefixMap, PrefixMapBuilder},
};

/// Every route.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    table: PrefixMap<Entry>,
    terms: Vec<Terms>,
}

/// A trunk of a route. There may be millions, so what routes have in common stands apart.
#[derive(Clone, Copy, Debug)]
struct Entry {
    terms: u32,
    /// The trunk's place in the directory.
    trunk: u32,
    cost: Cost,
    share: Option<u16>,
    /// The prefix was written with a plus.
    plus: bool,
}

/// What a route says beside its prefix and its trunks.
#[derive(Debug)]
pub(super) struct Terms {
    from: config::Callers,
    times: Vec<Window>,
    zone: Option<Zone>,
    pub(super) failover: Option<Arc<[u16]>>,
    pub(super) relay: bool,
    pub(super) ring_timeout: Duration,
}

/// A trunk that a route names for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'r> {
    pub(super) trunk: usize,
    pub(super) cost: Cost,
    pub(super) share: Option<u16>,
    pub(super) terms: &'r Terms,
}

/// What the routes' conditions look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'q> {
    pub(super) caller: &'q Caller,
    /// The caller's number.
    pub(super) number: &'q str,
    /// A name is called: a route of no prefix is for every number, and for no name.
    pub(super) by_name: bool,
    pub(super) at: Timestamp,
    pub(super) draw: u64,
}

/// Collects routes.
#[derive(Debug, Default)]
pub(crate) struct RoutesBuilder {
    table: PrefixMapBuilder<Entry>,
    terms: Vec<Terms>,
    known: HashMap<String, u32>,
}

impl RoutesBuilder {
    /// Adds a route that was checked: each of its trunks exists.
    pub(crate) fn push(&mut self, route: &config::Route, trunk: impl Fn(&str) -> Option<u32>) {
        let terms = self.terms_of(route);
        let prefix = super::plain(&route.prefix);
        for choice in &route.trunks {
            if let Some(trunk) = trunk(&choice.trunk) {
                let entry = Entry {
                    terms,
                    trunk,
                    cost: choice.cost,
                    share: choice.share,
                    plus: prefix.starts_with('+'),
                };
                self.table.push(&prefix, entry);
            }
        }
    }

    pub(super) fn build(self) -> Routes {
        Routes {
            table: self.table.build(),
            terms: self.terms,
        }
    }

    /// The place of a route's terms; most routes have those of another one.
    fn terms_of(&mut self, route: &config::Route) -> u32 {
        let said = format!(
            "{:?} {:?} {:?} {:?} {:?} {}",
            route.from, route.times, route.zone, route.failover, route.media, route.ring_timeout
        );
        let next = u32::try_from(self.terms.len()).unwrap_or(u32::MAX);
        let place = *self.known.entry(said).or_insert(next);
        if place == next {
            let failover = route.failover.as_ref();
            self.terms.push(Terms {
                from: route.from.clone(),
                times: route.times.clone(),
                zone: route.zone.clone(),
                failover: failover.map(|codes| codes.iter().collect()),
                relay: route.media == MediaTreatment::Relay,
                ring_timeout: route.ring_timeout(),
            });
        }
        place
    }
}

impl Routes {
    /// The trunks for a number in the order in which they are tried, with the prefix of their routes.
    pub(super) fn find<'r>(
        &'r self,
        number: &str,
        asker: &Asker<'_>,
        mut tell: impl FnMut(&str, &str),
    ) -> Option<(String, Vec<Found<'r>>)> {
        let plus = number.starts_with('+');
        let skip = usize::from(plus);
        let matches = self.table.matches(number);
        for (length, entries) in matches.filter(|(length, _)| *length > 0 || !asker.by_name) {
            let prefix = number.get(..skip + length).unwrap_or_default();
            let written = |entry: &Entry| -> String {
                let bare = &prefix[skip..];
                if entry.plus {
                    format!("+{bare}")
                } else {
                    bare.to_owned()
                }
            };
            // A plus counts only where two prefixes differ in nothing else.
            let both = entries.iter().any(|entry| entry.plus) && entries.iter().any(|e| !e.plus);
            let meant = entries.iter().filter(|entry| !both || entry.plus == plus);
            let mut found = Vec::new();
            for entry in meant {
                let Some(terms) = self.terms.get(entry.terms as usize) else {
                    continue;
                };
                match terms.refusal(asker) {
                    None => found.push((entry, terms)),
                    Some(why) => tell(&written(entry), why),
                }
            }
            if let Some((first, _)) = found.first() {
                let prefix = written(first);
                return Some((prefix, ordered(found, asker.draw)));
            }
        }
        None
    }

    /// How many trunks of routes there are.
    pub(crate) fn count(&self) -> usize {
        self.table.count()
    }

    /// Bytes that the routes hold.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

impl Terms {
    pub(super) fn is_conditional(&self) -> bool {
        !self.from.is_all() || !self.times.is_empty()
    }

    /// Why a call is not the route's.
    fn refusal(&self, asker: &Asker<'_>) -> Option<&'static str> {
        if !self.is_conditional() {
            return None;
        }
        let from = &self.from;
        let fits = |prefix: &String| {
            let bare = |number: &'_ str| number.strip_prefix('+').unwrap_or(number).to_owned();
            bare(asker.number).starts_with(&bare(prefix))
        };
        if !from.prefixes.is_empty() && !from.prefixes.iter().any(fits) {
            return Some("the caller's number is not one of its own");
        }
        let is_from = match asker.caller {
            Caller::Trunk(trunk) => from.trunks.contains(&trunk.name),
            Caller::User(aor) => from.users.iter().any(|user| is_user(user, aor)),
            Caller::Node => false,
        };
        let is_open = from.trunks.is_empty() && from.users.is_empty();
        if !is_open && !is_from {
            return Some("the call does not come from one of its own");
        }
        if !self.times.is_empty() && !self.is_open(asker.at) {
            return Some("it is not its time");
        }
        None
    }

    fn is_open(&self, at: Timestamp) -> bool {
        let Ok(at) = jiff::Timestamp::from_millisecond(at.millis()) else {
            return false;
        };
        let local: DateTime = match &self.zone {
            Some(zone) => zone.rules().to_datetime(at),
            None => jiff::tz::TimeZone::UTC.to_datetime(at),
        };
        let mut windows = self.times.iter();
        windows.any(|window| window.contains(local.weekday(), local.time()))
    }
}

fn is_user(written: &str, aor: &Aor) -> bool {
    match written.strip_prefix('@') {
        Some(domain) => domain.eq_ignore_ascii_case(aor.domain()),
        None if written == "*" => true,
        None => written.split_once('@').is_some_and(|(user, domain)| {
            user == aor.user() && domain.eq_ignore_ascii_case(aor.domain())
        }),
    }
}

/// Routes with conditions before those without, the cheapest first, and those of one cost drawn by
/// their shares.
fn ordered<'r>(found: Vec<(&Entry, &'r Terms)>, draw: u64) -> Vec<Found<'r>> {
    let mut found = found;
    // Stable: what is equal stays in the order in which it was written.
    found.sort_by_key(|(entry, terms)| (!terms.is_conditional(), entry.cost));
    let mut draw = draw;
    let mut order = Vec::with_capacity(found.len());
    let alike = |(a, at): &(&Entry, &Terms), (b, bt): &(&Entry, &Terms)| {
        a.cost == b.cost && at.is_conditional() == bt.is_conditional()
    };
    for group in found.chunk_by(alike) {
        let mut left = group.to_vec();
        // Those without a share follow, for they were written as a last resort.
        left.sort_by_key(|(entry, _)| entry.share.is_none());
        while !left.is_empty() {
            let (entry, terms) = left.remove(pick(&left, &mut draw));
            order.push(Found {
                trunk: entry.trunk as usize,
                cost: entry.cost,
                share: entry.share,
                terms,
            });
        }
    }
    order
}

/// The next of several by their shares.
fn pick(left: &[(&Entry, &Terms)], draw: &mut u64) -> usize {
    let shares = || {
        left.iter()
            .map(|(entry, _)| entry.share.map_or(0, u64::from))
    };
    let total: u64 = shares().sum();
    if total == 0 {
        return 0;
    }
    let mut mark = next(draw) % total;
    for (at, share) in shares().enumerate() {
        if mark < share {
            return at;
        }
        mark -= share;
    }
    0
}

/// The next of a sequence of draws (SplitMix64): one seed, one order.
const fn next(draw: &mut u64) -> u64 {
    *draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *draw;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
