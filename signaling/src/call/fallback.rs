//! The carriers of a group's member beyond a trunk: where one fails, the next is tried in its place, while
//! the other members go on ringing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sip::proxy::{BranchId, Failover, Group, StatusSet};
use tracing::info;

use super::{
    Core,
    course::carrier_failover,
    exchange::{ExchangeId, Target},
    setup::take_all,
    stage::carrier_part,
};
use crate::directory::{Carrier, Hold, Limit};

/// A host of one of the carriers.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) target: Target,
    /// How long it rings, together with those before it.
    pub(super) patience: Duration,
    /// Whose it is, counted in the order in which they are tried.
    carrier: usize,
    /// After which failures the next carrier is tried.
    failover: StatusSet,
    /// What to take before the first of the carrier's hosts is tried.
    limits: Vec<Limit>,
}

/// Where a target stands among those that stand in for one another.
#[derive(Clone, Debug)]
pub(super) struct Fallback {
    spots: Arc<[Spot]>,
    at: usize,
}

/// The hosts of carriers, in the order in which they are tried.
pub(super) fn spots(
    now: Instant,
    carriers: &[&Carrier],
    relay: bool,
    patience: Duration,
) -> Vec<Spot> {
    let of = |(nth, carrier): (usize, &&Carrier)| {
        let part = carrier_part(now, carrier, relay, patience);
        let failover = match carrier_failover(carrier) {
            Failover::Listed(set) => set,
            Failover::Unreachable | Failover::AnyFailure => StatusSet::OUTAGE,
        };
        let targets = part.groups.into_iter().flat_map(|group| group.targets);
        let spot = move |target| Spot {
            target,
            patience,
            carrier: nth,
            failover,
            limits: part.limits.clone(),
        };
        targets.map(spot).collect::<Vec<_>>()
    };
    carriers.iter().enumerate().flat_map(of).collect()
}

/// The first of them whose carrier is not full, and what it holds.
pub(super) fn first(now: Instant, spots: Vec<Spot>) -> Option<(Group<Target>, Vec<Hold>)> {
    let spots: Arc<[Spot]> = spots.into();
    let (at, holds) = pick(now, &spots, 0, None)?;
    let patience = spots.get(at)?.patience;
    let group = Group::new(vec![target(&spots, at)?]).ring_timeout(Some(patience));
    Some((group, holds))
}

/// The one from `from` on that has room; `held` is the carrier whose limits are held already.
fn pick(
    now: Instant,
    spots: &[Spot],
    from: usize,
    held: Option<usize>,
) -> Option<(usize, Vec<Hold>)> {
    let mut full = None;
    for (at, spot) in spots.iter().enumerate().skip(from) {
        if held == Some(spot.carrier) {
            return Some((at, Vec::new()));
        }
        if full == Some(spot.carrier) {
            continue;
        }
        match take_all(now, spot.limits.iter()) {
            Ok(holds) => return Some((at, holds)),
            Err(exceeded) => {
                info!(%exceeded, "full; the member's next carrier is tried");
                full = Some(spot.carrier);
            }
        }
    }
    None
}

fn target(spots: &Arc<[Spot]>, at: usize) -> Option<Target> {
    let spots = spots.clone();
    let target = spots.get(at)?.target.clone();
    let fallback = Some(Fallback { spots, at });
    Some(Target { fallback, ..target })
}

impl Fallback {
    /// Whether any follows.
    pub(super) fn is_more(&self) -> bool {
        self.at + 1 < self.spots.len()
    }

    /// Where a failure leads on to: from a host that is out of reach to the next one, from a carrier that
    /// cannot carry the call to another. With what that one holds, where it is another.
    fn after(&self, now: Instant, status: u16) -> Option<(Target, Option<Vec<Hold>>)> {
        let present = self.spots.get(self.at)?;
        let others = |spot: &Spot| spot.carrier != present.carrier;
        let next = match status {
            408 | 503 => self.at + 1,
            _ if present.failover.contains(status) => {
                let mut spots = self.spots.iter();
                let next = spots.by_ref().skip(self.at).position(others);
                self.at + next?
            }
            _ => return None,
        };
        let (at, holds) = pick(now, &self.spots, next, Some(present.carrier))?;
        let is_other = others(self.spots.get(at)?);
        Some((target(&self.spots, at)?, is_other.then_some(holds)))
    }
}

impl Core {
    /// Tries what stands in for a branch that has failed so. `false` where nothing does, and it counts.
    pub(super) fn replace(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        status: u16,
    ) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let Some(branch) = exchange.branches.get(index) else {
            return false;
        };
        let (fallback, charge) = (branch.target.fallback.as_ref(), branch.target.charge);
        let Some((mut target, holds)) = fallback.and_then(|fallback| fallback.after(now, status))
        else {
            return false;
        };
        let call = exchange.call.and_then(|key| self.calls.get_mut(&key));
        let Some((call, course)) = call.and_then(|call| Some((call.id, call.course.as_mut()?)))
        else {
            return false;
        };
        target.charge = match holds {
            None => charge,
            Some(holds) => {
                let beside = charge.and_then(|charge| course.beside(charge));
                Some(course.charge(beside, holds))
            }
        };
        let (place, next) = (target.place.clone(), target.charge);
        let context = &mut exchange.context;
        let is_replaced = context.handle_replacement(now, BranchId(index), target);
        if is_replaced {
            info!(%call, status, to = %place, "a member is tried at another place");
        }
        if charge != next {
            let over = if is_replaced { charge } else { next };
            let over = over.map_or_else(Vec::new, |over| course.discharge(over));
            if !is_replaced {
                over.into_iter().for_each(Hold::undo);
            }
        }
        is_replaced
    }
}
