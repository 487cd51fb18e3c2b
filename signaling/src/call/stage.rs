//! The stages of a call: who is tried, in which order, and what follows where nobody answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sip::proxy::{Failover, Failure, Group, StatusSet};
use tracing::info;

use super::{
    Core,
    course::{ChargeId, Course, Part, Step, carrier_failover, outcome_of},
    divert::{self, Diversion, MAX_DIVERSIONS, Reason},
    exchange::{ExchangeId, Place, Role, Target},
    fallback,
    setup::take_all,
    state::CallKey,
    voice,
};
use crate::{
    directory::{Aor, Carrier, Destination, Edits, Hold, Member, Outcome, Plan, Stage},
    location::Contact,
};

/// How long it rings for a caller who is blocked and is not to know.
const FEIGNED_RING: Duration = Duration::from_secs(60);
/// The phones of a user that are called at most; further ones are left out.
const MAX_CONTACTS: usize = 16;

impl Core {
    /// An exchange has nobody else to try: names further targets, or lets the caller hear of it.
    pub(super) fn on_exhausted(&mut self, now: Instant, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let (Role::Setup, Some(key)) = (exchange.role, exchange.call) else {
            return exchange.context.conclude();
        };
        let feigned = self.calls.get(&key).is_some_and(|call| call.feigned);
        if feigned && !exchange.replied {
            exchange.feigning = Some(now + FEIGNED_RING);
            return;
        }
        while let Some(step) = self.next_step(now, id, key) {
            let Some(exchange) = self.exchanges.get_mut(&id) else {
                return;
            };
            if exchange.context.add(now, step) {
                return;
            }
        }
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            let is_untried = exchange.branches.is_empty();
            exchange.context.conclude();
            if is_untried {
                self.uncount(key);
            }
        }
    }

    /// A call that found nothing but full places has begun nowhere, and does not count as begun where
    /// there was room.
    fn uncount(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if let Some(course) = call.course.as_mut().filter(|course| course.limited) {
            let holds = call.holds.drain(..).chain(course.stage_holds.drain(..));
            holds.for_each(Hold::undo);
        }
    }

    /// The next step of a call's plan, if how it went so far leads to one.
    fn next_step(
        &mut self,
        now: Instant,
        id: ExchangeId,
        key: CallKey,
    ) -> Option<Vec<Group<Target>>> {
        let exchange = self.exchanges.get(&id)?;
        let branches = exchange.branches.len();
        let failures = exchange.context.failures();
        let failures: Vec<_> = failures.map(|(branch, how)| (branch.0, how)).collect();
        loop {
            let call = self.calls.get_mut(&key)?;
            let course = call.course.as_mut()?;
            if let Some(step) = course.next_step(branches, &failures) {
                let mut groups = Vec::new();
                for part in step.parts {
                    match charged(now, course, part, None) {
                        Some(part) => groups.push(part),
                        None => course.limited = true,
                    }
                }
                if groups.is_empty() {
                    continue;
                }
                return Some(merge(groups));
            }
            let stage = course.stage_branches(branches);
            let failed: Vec<_> = failures
                .iter()
                .filter(|(at, _)| stage.contains(at))
                .copied()
                .collect();
            let exchange = self.exchanges.get(&id)?;
            let heard = |at: usize| exchange.branches.get(at).is_some_and(|branch| branch.rang);
            let mut outcome = outcome_of(&failed, heard);
            if !course.next_stage(branches, outcome) {
                // A phone that is silent to the end of its time is one that nobody answered, where
                // nothing else is to follow for it.
                let silent = failed.iter().any(|(_, how)| *how == Failure::Timeout);
                if outcome != Outcome::Unreachable || !silent {
                    return None;
                }
                outcome = Outcome::NoAnswer;
                if !course.next_stage(branches, outcome) {
                    return None;
                }
            }
            let stage = course.plan.stages.get(course.stage)?.clone();
            let received = self.exchanges.get(&id).map(|exchange| &exchange.received);
            if received.is_some_and(|received| divert::count(received) >= MAX_DIVERSIONS) {
                info!(call = %call.id, "the call was diverted too often to go on");
                return None;
            }
            info!(call = %call.id, ?outcome, to = %stage.destination, "the call goes on");
            match take_all(now, stage.limits.iter()) {
                Ok(holds) => course.stage_holds = holds,
                Err(exceeded) => {
                    course.limited = true;
                    info!(call = %call.id, %exceeded, "a forward is full");
                    continue;
                }
            }
            let edits = shared(&course.plan.edits);
            let from = call.request_uri.clone();
            let secure = self
                .exchanges
                .get(&id)
                .is_some_and(|exchange| exchange.secure);
            let mut steps = self.steps_of(now, &stage, edits, secure);
            divert_steps(&mut steps, from, Reason::After(outcome));
            let call = self.calls.get_mut(&key)?;
            call.course.as_mut()?.set_steps(steps);
        }
    }

    /// All places of a plan's first stage, for a request that is no call.
    pub(super) fn groups_of(&self, now: Instant, plan: &Plan, secure: bool) -> Vec<Group<Target>> {
        let steps = self.first_steps(now, plan, secure).into_iter();
        let groups = steps.flat_map(|step| {
            let parts = step.parts.into_iter().map(|part| {
                let spots = part.spots.into_iter();
                let each = spots.map(|spot| Group::new(vec![spot.target]));
                part.groups.into_iter().chain(each).collect()
            });
            at_once(parts, step.failover)
        });
        groups.collect()
    }

    /// The steps of a plan's first stage; with `secure` those that are reached over TLS.
    pub(super) fn first_steps(&self, now: Instant, plan: &Plan, secure: bool) -> Vec<Step> {
        let edits = shared(&plan.edits);
        let first = plan.stages.first();
        first.map_or_else(Vec::new, |stage| self.steps_of(now, stage, edits, secure))
    }

    /// The steps of a stage; `edits` for what goes to users and URIs.
    fn steps_of(
        &self,
        now: Instant,
        stage: &Stage,
        edits: Option<Arc<Edits>>,
        secure: bool,
    ) -> Vec<Step> {
        let patience = Some(stage.ring_timeout);
        let like = Target {
            relay: stage.relay,
            edits,
            ..Target::to(Place::Uri(String::new()))
        };
        let mut steps = match &stage.destination {
            Destination::User(aor) => {
                let groups = self.phones_of(now, aor, &like, patience);
                vec![phones(groups)]
            }
            Destination::Disabled(_) => Vec::new(),
            Destination::Application(_) => {
                let target = Target {
                    place: Place::Agent(voice::uri(self.sent_by())),
                    // Its media is its agent's own.
                    relay: false,
                    ..like
                };
                vec![phones(vec![
                    Group::new(vec![target]).ring_timeout(patience),
                ])]
            }
            Destination::Group(ring) => {
                let patience = ring.step_timeout.min(stage.ring_timeout);
                let part = |member: &Member| self.member_part(now, member, &like, patience);
                let step = |members: &Vec<Member>| Step {
                    parts: members.iter().map(part).collect(),
                    failover: Failover::Listed(StatusSet::FAILURE),
                };
                ring.steps.iter().map(step).collect()
            }
            Destination::Carriers(carriers) => {
                let carriers = alive_first(now, carriers).into_iter();
                let step = |carrier: &Carrier| Step {
                    parts: vec![carrier_part(
                        now,
                        carrier,
                        stage.relay,
                        carrier.ring_timeout,
                    )],
                    failover: carrier_failover(carrier),
                };
                carriers.map(step).collect()
            }
            Destination::Uri(uri) => vec![phones(vec![at_uri(uri, &like, patience)])],
            Destination::Beyond(uri) => {
                let like = Target {
                    beyond: true,
                    ..like
                };
                vec![phones(vec![at_uri(uri, &like, patience)])]
            }
        };
        if secure {
            leave_out_the_clear(&mut steps);
        }
        steps
    }

    /// Where a member of a group is. None speaks for the others, whatever its answer.
    fn member_part(
        &self,
        now: Instant,
        member: &Member,
        like: &Target,
        patience: Duration,
    ) -> Part {
        let mut spots = Vec::new();
        let mut groups = match &member.destination {
            Destination::User(aor) => self.phones_of(now, aor, like, Some(patience)),
            Destination::Carriers(carriers) => {
                let carriers = alive_first(now, carriers);
                spots = fallback::spots(now, &carriers, like.relay, patience);
                Vec::new()
            }
            Destination::Uri(uri) => vec![at_uri(uri, like, Some(patience))],
            Destination::Disabled(_)
            | Destination::Group(_)
            | Destination::Beyond(_)
            | Destination::Application(_) => Vec::new(),
        };
        for group in &mut groups {
            group.failover = Failover::Listed(StatusSet::FAILURE);
        }
        Part {
            groups,
            limits: member.limits.clone(),
            spots,
        }
    }

    /// A user's phones: those of the same q at once, the higher q first.
    fn phones_of(
        &self,
        now: Instant,
        aor: &Aor,
        like: &Target,
        patience: Option<Duration>,
    ) -> Vec<Group<Target>> {
        let mut contacts = self.access.location.phones(self.time(now), aor);
        contacts.truncate(MAX_CONTACTS);
        contacts.sort_by_key(|contact| std::cmp::Reverse(contact.q));
        let same_q = contacts.chunk_by(|a, b| a.q == b.q);
        let group = |contacts: &[Contact]| {
            let target = |contact: &Contact| Target {
                place: Place::Contact(Box::new(contact.clone())),
                user: Some(aor.clone()),
                ..like.clone()
            };
            Group::new(contacts.iter().map(target).collect())
                .ring_timeout(patience)
                .failover(Failover::AnyFailure)
        };
        same_q.map(group).collect()
    }
}

/// Leaves out what is not reached over TLS: it is not there for who calls a `sips:` URI (RFC 3261 section
/// 26.2.2, RFC 5630 section 5.3).
fn leave_out_the_clear(steps: &mut [Step]) {
    let mut left_out = Vec::new();
    let mut is_kept = |target: &Target| {
        let is_secure = target.is_secure();
        if !is_secure {
            left_out.push(target.place.to_string());
        }
        is_secure
    };
    for step in steps {
        for part in &mut step.parts {
            for group in &mut part.groups {
                group.targets.retain(&mut is_kept);
            }
            part.groups.retain(|group| !group.targets.is_empty());
            part.spots.retain(|spot| is_kept(&spot.target));
        }
        // What nobody is left of takes no place within its limits.
        let is_left = |part: &Part| !part.groups.is_empty() || !part.spots.is_empty();
        step.parts.retain(is_left);
    }
    if !left_out.is_empty() {
        info!(
            ?left_out,
            "a sips: URI is called, and these are not reached over TLS"
        );
    }
}

/// A step of phones: whatever they said, the next step may follow.
fn phones(groups: Vec<Group<Target>>) -> Step {
    let part = Part {
        groups,
        limits: Vec::new(),
        spots: Vec::new(),
    };
    Step {
        parts: vec![part],
        failover: Failover::AnyFailure,
    }
}

fn at_uri(uri: &str, like: &Target, patience: Option<Duration>) -> Group<Target> {
    let target = Target {
        place: Place::Uri(uri.to_owned()),
        ..like.clone()
    };
    Group::new(vec![target]).ring_timeout(patience)
}

/// Carriers, those last of whose hosts none gave a sign of life lately.
fn alive_first(now: Instant, carriers: &[Carrier]) -> Vec<&Carrier> {
    let is_alive = |carrier: &&Carrier| {
        let mut hosts = carrier.trunk.host_refs();
        hosts.any(|host| !host.is_down(now))
    };
    let (mut alive, dead): (Vec<_>, Vec<_>) = carriers.iter().partition(is_alive);
    alive.extend(dead);
    alive
}

/// Edits for several targets; `None` for none at all.
fn shared(edits: &Edits) -> Option<Arc<Edits>> {
    (!edits.is_empty()).then(|| Arc::new(edits.clone()))
}

/// The hosts of a carrier's trunk, one after the other.
pub(super) fn carrier_part(
    now: Instant,
    carrier: &Carrier,
    relay: bool,
    patience: Duration,
) -> Part {
    let like = Target {
        relay,
        number: Some(carrier.number.as_str().into()),
        edits: shared(&carrier.edits),
        follows: carrier.follows,
        ..Target::to(Place::Uri(String::new()))
    };
    let hosts = carrier.trunk.drawn_hosts().into_iter();
    let (dead, alive): (Vec<_>, Vec<_>) = hosts.partition(|host| host.is_down(now));
    let groups = alive.into_iter().chain(dead).map(|host| {
        let target = Target {
            place: Place::Host(host),
            ..like.clone()
        };
        Group::new(vec![target]).ring_timeout(Some(patience))
    });
    Part {
        groups: groups.collect(),
        limits: carrier.limits.clone(),
        spots: Vec::new(),
    }
}

/// Notes who diverted the call to all of these places, and why.
pub(super) fn divert_steps(steps: &mut [Step], from: String, reason: Reason) {
    let diversion = Arc::new(Diversion { from, reason });
    for part in steps.iter_mut().flat_map(|step| &mut step.parts) {
        divert(&mut part.groups, &diversion);
        for spot in &mut part.spots {
            spot.target.diversion = Some(diversion.clone());
        }
    }
}

/// The places of a part, charged within its limits and `beside` that; `None` where they are full.
pub(super) fn charged(
    now: Instant,
    course: &mut Course,
    mut part: Part,
    beside: Option<ChargeId>,
) -> Option<Vec<Group<Target>>> {
    let charge = match take_all(now, part.limits.iter()) {
        Ok(holds) => course.charge(beside, holds),
        Err(exceeded) => {
            info!(%exceeded, "full; others are tried");
            return None;
        }
    };
    if part.spots.is_empty() {
        charge_to(&mut part.groups, charge);
        return Some(part.groups);
    }
    let Some((group, holds)) = fallback::first(now, part.spots) else {
        course.discharge(charge).into_iter().for_each(Hold::undo);
        return None;
    };
    let mut groups = vec![group.failover(Failover::Listed(StatusSet::FAILURE))];
    charge_to(&mut groups, course.charge(Some(charge), holds));
    Some(groups)
}

/// Notes what these places are charged within limits.
fn charge_to(groups: &mut [Group<Target>], charge: ChargeId) {
    let targets = groups.iter_mut().flat_map(|group| &mut group.targets);
    for target in targets {
        target.charge = Some(charge);
    }
}

/// Notes who diverted the call to these places.
pub(super) fn divert(groups: &mut [Group<Target>], diversion: &Arc<Diversion>) {
    let targets = groups.iter_mut().flat_map(|group| &mut group.targets);
    for target in targets {
        target.diversion = Some(diversion.clone());
    }
}

/// The places of a step, and after which failures of theirs what stands behind them follows.
pub(super) fn at_once(
    parts: impl IntoIterator<Item = Vec<Group<Target>>>,
    failover: Failover,
) -> Vec<Group<Target>> {
    let mut groups = merge(parts);
    if let Some(last) = groups.last_mut() {
        last.failover = failover;
    }
    groups
}

/// The phones of several places as one: all first choices at once, then all second ones.
fn merge(parts: impl IntoIterator<Item = Vec<Group<Target>>>) -> Vec<Group<Target>> {
    let mut merged: Vec<Group<Target>> = Vec::new();
    for groups in parts {
        for (rank, group) in groups.into_iter().enumerate() {
            match merged.get_mut(rank) {
                Some(known) => known.targets.extend(group.targets),
                None => merged.push(group),
            }
        }
    }
    merged
}
