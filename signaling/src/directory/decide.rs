//! From a call to a plan: what was dialled is read, blocks are looked up, then numbers of ours, users,
//! and routes.

use std::{sync::Arc, time::Duration};

use control::config::{BlockAction, CallerId, Cost, Forward, IdentityHeader, Number, Party};
use store::Cause;

use super::{
    Aor, Caller, Carrier, Decision, Destination, Directory, Edits, FORWARDED_RING_TIMEOUT, Outcome,
    Plan, Query, Refusal, Stage, Trail, Trunk, USER_RING_TIMEOUT, When, bare,
    blocks::Suspect,
    edits::escaped,
    limits::Held,
    numbers::{self, plain},
    routes::Asker,
};

/// Forwards that follow each other at most.
const HOPS: usize = 5;
/// Stages of a plan at most.
const STAGES: usize = 16;

impl Directory {
    /// Where a call goes.
    pub(crate) fn decide(&self, query: &Query<'_>) -> Decision {
        self.decide_aloud(query, &mut Trail::default())
    }

    /// The same, and why. With a trail that is kept, no member of a group uses up its turn.
    pub(crate) fn decide_aloud(&self, query: &Query<'_>, trail: &mut Trail) -> Decision {
        let mut draft = Draft {
            directory: self,
            query,
            emergency: self.is_emergency(query.called),
            caller: self.caller_number(query, trail),
            stages: Vec::new(),
            held: Held::default(),
            longest: None,
            route: None,
            trail,
        };
        let called = draft.called();
        if draft.emergency {
            draft
                .trail
                .say(|| format!("{called} is an emergency call: neither blocked nor limited"));
        } else if let Some(decision) = draft.blocked(&called) {
            return decision;
        }
        let led = match called.as_str() {
            // A route of no prefix is for every number, and this is none.
            "" => Err(no_route("nobody is named")),
            called => draft.lead(called, When::First, 0),
        };
        match led {
            Ok(()) => Decision::Plan(draft.finish(called)),
            Err(refusal) => {
                draft
                    .trail
                    .say(|| format!("refused with {}: {}", refusal.status, refusal.reason));
                Decision::Refuse(refusal)
            }
        }
    }

    /// The caller's number as this node understands it.
    fn caller_number(&self, query: &Query<'_>, trail: &mut Trail) -> String {
        let from = plain(&query.from.user).into_owned();
        match query.caller {
            Caller::Trunk(trunk) => {
                trail.say(|| format!("the call comes from trunk {} as {from}", trunk.name));
                let rules = &trunk.config.numbers_in;
                numbers::rewritten(&from, Party::Caller, rules, |_, old, new| {
                    trail.say(|| {
                        format!("numbers_in of trunk {}: caller {old} is {new}", trunk.name)
                    });
                })
            }
            Caller::User(aor) => {
                trail.say(|| format!("the call comes from user {aor}"));
                let own = self.shown.get(aor).map(Vec::as_slice).unwrap_or_default();
                let is_own = own.iter().find(|number| bare(number) == bare(&from));
                let number = is_own.or_else(|| own.first());
                if let Some(number) = number {
                    trail.say(|| format!("{aor} is shown by the number {number}"));
                }
                number.cloned().unwrap_or(from)
            }
        }
    }
}

/// A decision in the making.
struct Draft<'d, 'q> {
    directory: &'d Directory,
    query: &'d Query<'q>,
    emergency: bool,
    /// The caller's number.
    caller: String,
    stages: Vec<Stage>,
    /// What the whole call is under.
    held: Held,
    longest: Option<Duration>,
    route: Option<String>,
    trail: &'d mut Trail,
}

impl Draft<'_, '_> {
    /// The called number as this node understands it.
    fn called(&mut self) -> String {
        let dialled = plain(self.query.called);
        let trail = &mut *self.trail;
        trail.say(|| format!("{} is called", self.query.called));
        if self.emergency {
            return dialled.into_owned();
        }
        match self.query.caller {
            Caller::Trunk(trunk) => {
                let rules = &trunk.config.numbers_in;
                numbers::rewritten(&dialled, Party::Called, rules, |_, old, new| {
                    trail.say(|| format!("numbers_in of trunk {}: {old} is {new}", trunk.name));
                })
            }
            Caller::User(_) => {
                let numbering = self.directory.numbering.as_ref();
                let read = numbering.and_then(|numbering| numbers::normalised(&dialled, numbering));
                match read {
                    // What is a number of ours as it was dialled is not read any further.
                    Some(read) if !self.directory.numbers.contains_key(bare(&dialled)) => {
                        trail.say(|| format!("[numbering]: {dialled} is {read}"));
                        read
                    }
                    _ => dialled.into_owned(),
                }
            }
        }
    }

    fn blocked(&mut self, called: &str) -> Option<Decision> {
        let suspect = Suspect {
            caller: self.query.caller,
            number: &self.caller,
            private: self.query.from.private,
            called,
        };
        let (action, rule) = self.directory.blocks.find(&suspect)?;
        self.trail
            .say(|| format!("[[blocks]]: {rule} matches: {action:?}"));
        let status = match action {
            BlockAction::Reject => 603,
            BlockAction::Busy => 486,
            BlockAction::Silence => return Some(Decision::Silence),
        };
        Some(Decision::Refuse(Refusal {
            status,
            reason: format!("blocked: {rule}"),
            cause: Cause::Blocked,
        }))
    }

    /// Adds the stages by which a number is reached. Nothing is added where it leads nowhere.
    fn lead(&mut self, called: &str, when: When, hops: usize) -> Result<(), Refusal> {
        let directory = self.directory;
        let number = directory
            .numbers
            .get(bare(called))
            .filter(|_| !self.emergency);
        if let Some(number) = number {
            return self.by_number(number, when, hops);
        }
        if let Some(user) = self
            .query
            .user
            .as_ref()
            .filter(|_| hops == 0 && !self.emergency)
        {
            self.trail.say(|| format!("{user} is a user"));
            self.ring(Destination::User(user.clone()), USER_RING_TIMEOUT, when);
            return Ok(());
        }
        self.by_route(called, when)
    }

    fn by_number(&mut self, number: &Number, when: When, hops: usize) -> Result<(), Refusal> {
        let directory = self.directory;
        let name = &number.number;
        let mut held = Held::default();
        directory.limits.number(name, &mut held);
        if let Some(target) = &number.forward.always {
            self.trail
                .say(|| format!("[[numbers]]: {name} is forwarded to {target}"));
            let first = self.stages.len();
            self.forward(target, when, hops)?;
            self.under(held, first);
            return Ok(());
        }
        let patience = match (number.ring_timeout, &number.forward.no_answer) {
            (Some(seconds), _) => Duration::from_secs(seconds.into()),
            (None, Some(_)) => FORWARDED_RING_TIMEOUT,
            (None, None) => USER_RING_TIMEOUT,
        };
        let stage = self.stages.len();
        if let Some(user) = &number.user {
            let (user, domain) = user.rsplit_once('@').unwrap_or((user, ""));
            let aor = Aor::new(user, domain);
            self.trail
                .say(|| format!("[[numbers]]: {name} leads to user {aor}"));
            self.ring(Destination::User(aor), patience, when);
        } else if let Some(group) = &number.group {
            let Some(ring) = directory.groups.get(group) else {
                return Err(no_route(&format!("there is no group '{group}'")));
            };
            let dry = self.trail.is_kept();
            self.trail
                .say(|| format!("[[numbers]]: {name} leads to group {group}"));
            self.ring(Destination::Group(ring.ring(dry)), patience, when);
        } else if let Some(trunk) = &number.trunk {
            let named = |known: &&Arc<Trunk>| known.name == *trunk;
            let Some(trunk) = directory.trunks.iter().find(named) else {
                return Err(no_route(&format!("there is no trunk '{trunk}'")));
            };
            self.trail
                .say(|| format!("[[numbers]]: {name} leads to trunk {}", trunk.name));
            let carrier = self.carrier(trunk, name, None, (Cost::default(), None));
            self.push(Destination::Carriers(vec![carrier]), patience, true, when);
        } else {
            self.trail
                .say(|| format!("[[numbers]]: {name} leads to an application"));
            return Err(Refusal {
                status: 501,
                reason: format!("{name} leads to an application, which this version does not run"),
                cause: Cause::NoRoute,
            });
        }
        self.under(held, stage);
        self.cases(&number.forward, stage, hops);
        Ok(())
    }

    /// Adds where a call goes on to that a stage did not answer.
    fn cases(&mut self, forward: &Forward, stage: usize, hops: usize) {
        let cases = [
            (&forward.busy, Outcome::Busy),
            (&forward.no_answer, Outcome::NoAnswer),
            (&forward.unreachable, Outcome::Unreachable),
        ];
        for (target, outcome) in cases {
            let Some(target) = target else { continue };
            self.trail
                .say(|| format!("where that is {outcome}, it goes on to {target}"));
            if let Err(refusal) = self.forward(target, When::After(stage, outcome), hops) {
                self.trail
                    .say(|| format!("which leads nowhere: {}", refusal.reason));
            }
        }
    }

    /// Follows a forward: to a URI, a user or a number.
    fn forward(&mut self, target: &str, when: When, hops: usize) -> Result<(), Refusal> {
        if hops + 1 > HOPS || self.stages.len() >= STAGES {
            return Err(Refusal {
                status: 482,
                reason: format!("forwarded more than {HOPS} times"),
                cause: Cause::NoRoute,
            });
        }
        if target.starts_with("sip:") || target.starts_with("sips:") {
            self.push(
                Destination::Uri(target.to_owned()),
                USER_RING_TIMEOUT,
                true,
                when,
            );
            return Ok(());
        }
        match target.rsplit_once('@') {
            Some((user, domain)) => {
                let aor = Aor::new(user, domain);
                self.ring(Destination::User(aor), USER_RING_TIMEOUT, when);
                Ok(())
            }
            None => self.lead(&plain(target), when, hops + 1),
        }
    }

    fn by_route(&mut self, called: &str, when: When) -> Result<(), Refusal> {
        let directory = self.directory;
        let asker = Asker {
            caller: self.query.caller,
            number: &self.caller,
            at: self.query.at,
            draw: self.query.draw,
        };
        let trail = &mut *self.trail;
        // A URN without a route of its own is called as the first emergency number.
        let first = directory.emergency.first().filter(|_| self.emergency);
        let mut candidates = std::iter::once(called).chain(first.map(String::as_str));
        let found = candidates.find_map(|number| {
            let found = directory.routes.find(number, &asker, |prefix, why| {
                trail.say(|| format!("[[routes]]: prefix '{prefix}' matches, but {why}"));
            });
            found.map(|found| (number, found))
        });
        let Some((number, (prefix, found))) = found else {
            return Err(no_route(&format!("no route for {called}")));
        };
        self.trail
            .say(|| format!("[[routes]]: prefix '{prefix}' is the longest for {number}"));
        let mut carriers = Vec::with_capacity(found.len());
        for found_one in &found {
            let Some(trunk) = directory.trunks.get(found_one.trunk) else {
                continue;
            };
            let failover = found_one.terms.failover.clone();
            let price = (found_one.cost, found_one.share);
            carriers.push(self.carrier(trunk, number, failover, price));
        }
        let Some(first) = found.first().filter(|_| !carriers.is_empty()) else {
            return Err(no_route(&format!("no route for {called}")));
        };
        let relay = found.iter().any(|found| found.terms.relay);
        if when == When::First {
            self.route = Some(prefix);
        }
        let mut held = Held::default();
        directory.limits.beyond(number, &mut held);
        let stage = self.stages.len();
        self.push(
            Destination::Carriers(carriers),
            first.terms.ring_timeout,
            relay,
            when,
        );
        self.under(held, stage);
        Ok(())
    }

    /// A trunk as a way out for a number.
    fn carrier(
        &mut self,
        trunk: &Arc<Trunk>,
        number: &str,
        failover: Option<Arc<[u16]>>,
        (cost, share): (Cost, Option<u16>),
    ) -> Carrier {
        let name = &trunk.name;
        self.trail.say(|| {
            let share = share
                .map(|share| format!(", share {share}"))
                .unwrap_or_default();
            format!("by trunk {name}, cost {cost}{share}")
        });
        let rules = &trunk.config.numbers_out;
        let trail = &mut *self.trail;
        let number = numbers::rewritten(number, Party::Called, rules, |_, old, new| {
            trail.say(|| format!("numbers_out of trunk {name}: {old} is {new}"));
        });
        let mut held = Held::default();
        self.directory.limits.trunk(name, &mut held);
        if !self.emergency {
            self.longest = self.longest.into_iter().chain(held.longest).min();
        }
        Carrier {
            edits: self.edits_to(trunk),
            trunk: trunk.clone(),
            number: escaped(&number),
            failover: failover.unwrap_or_else(|| trunk.failover.clone()),
            follows: trunk.config.redirect == control::config::Redirect::Follow,
            limits: self.unless_emergency(held),
            cost,
            share,
        }
    }

    /// What a request is changed in before it goes to a trunk.
    fn edits_to(&mut self, trunk: &Trunk) -> Edits {
        let (config, query) = (&trunk.config, self.query);
        let (name, caller) = (&trunk.name, &self.caller);
        let allowed = match &config.caller_id {
            CallerId::Pass => caller,
            CallerId::Fixed(number) => number,
            CallerId::OneOf(numbers) => {
                let is_one = numbers.iter().find(|number| bare(number) == bare(caller));
                is_one.or_else(|| numbers.first()).unwrap_or(caller)
            }
        };
        let trail = &mut *self.trail;
        if allowed != caller {
            trail.say(|| format!("caller_id of trunk {name}: {caller} is shown as {allowed}"));
        }
        let rules = &config.numbers_out;
        let shown = numbers::rewritten(allowed, Party::Caller, rules, |_, old, new| {
            trail.say(|| format!("numbers_out of trunk {name}: caller {old} is {new}"));
        });
        let mut edits = Edits::inbound(query.caller);
        edits.rules(&config.headers_out);
        // A service that has to find the caller is told who it is (RFC 3325 section 7).
        let private = query.from.private && config.privacy && !self.emergency;
        if private {
            edits.anonymise();
        } else if shown != query.from.user {
            edits.show(shown.clone());
        }
        if query.from.private && !private {
            edits.reveal();
        }
        let domain = self.directory.domains.first().map(String::as_str);
        let header = config.identity();
        let is_told = !private || config.trusted;
        let header = if is_told && domain.is_some() {
            header
        } else {
            IdentityHeader::None
        };
        edits.assert(header, &shown, domain.unwrap_or_default(), private);
        for line in edits.describe() {
            self.trail.say(|| format!("to trunk {name}: {line}"));
        }
        edits
    }

    fn ring(&mut self, destination: Destination, patience: Duration, when: When) {
        self.push(destination, patience, true, when);
    }

    fn push(&mut self, destination: Destination, ring_timeout: Duration, relay: bool, when: When) {
        self.stages.push(Stage {
            when,
            destination,
            ring_timeout,
            relay,
            limits: Vec::new(),
        });
    }

    /// Puts a stage under limits: with the whole call where it begins there.
    fn under(&mut self, held: Held, stage: usize) {
        if self.emergency {
            return;
        }
        self.longest = self.longest.into_iter().chain(held.longest).min();
        match self.stages.get_mut(stage) {
            Some(stage) if stage.when != When::First => stage.limits.extend(held.limits),
            _ => self.held.limits.extend(held.limits),
        }
    }

    fn unless_emergency(&self, held: Held) -> Vec<super::Limit> {
        if self.emergency {
            Vec::new()
        } else {
            held.limits
        }
    }

    fn finish(mut self, called: String) -> Plan {
        let mut held = std::mem::take(&mut self.held);
        match self.query.caller {
            Caller::User(aor) => self.directory.limits.user(aor, &mut held),
            Caller::Trunk(trunk) => self.directory.limits.trunk(&trunk.name, &mut held),
        }
        let longest = self.longest.into_iter().chain(held.longest).min();
        let mut edits = Edits::inbound(self.query.caller);
        if self.query.from.private {
            edits.anonymise();
            // Users are outside of every trust domain.
            edits.assert(IdentityHeader::None, "", "", true);
        } else if matches!(self.query.caller, Caller::Trunk(_))
            && self.caller != self.query.from.user
        {
            edits.show(self.caller.clone());
        }
        Plan {
            longest: longest.filter(|_| !self.emergency),
            limits: self.unless_emergency(held),
            stages: self.stages,
            emergency: self.emergency,
            called,
            edits,
            route: self.route,
        }
    }
}

fn no_route(reason: &str) -> Refusal {
    Refusal {
        status: 404,
        reason: reason.to_owned(),
        cause: Cause::NoRoute,
    }
}
