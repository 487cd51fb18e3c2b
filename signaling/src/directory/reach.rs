//! How whoever is called is reached: numbers of ours, users, groups, and routes, and where their calls
//! are forwarded to.
//!
//! What a user has set for its own calls goes before what is set for the number by which it was called:
//! whoever calls alice, by whichever number, is forwarded as she wants it. A group rings its members'
//! phones; of what they have set only `always` counts there, since the group says what follows.

use std::{sync::Arc, time::Duration};

use control::config::{Cost, Forward, Number, Profile};
use store::Cause;

use super::{
    Aor, Caller, Destination, FORWARDED_RING_TIMEOUT, Member, Named, Outcome, Refusal, Ring, Stage,
    Trunk, USER_RING_TIMEOUT, When, bare,
    decide::{Draft, no_route},
    groups::{Turn, Who},
    limits::Held,
    numbers::{is_number, plain},
    routes::Asker,
};

/// Forwards that follow each other at most.
const HOPS: usize = 5;
/// Stages of a plan at most.
const STAGES: usize = 16;

/// How a call has come so far, forward by forward.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    hops: usize,
    /// The users who were called: none is called again, and it is in the last one's name that the call
    /// goes on, by the routes that user may take and within that user's limits.
    users: Vec<Aor>,
    /// Every call is forwarded here, not one that failed elsewhere.
    always: bool,
    /// One place is wanted, and nothing that follows it.
    single: bool,
}

impl Chain {
    /// The next one, by a forward of `user` or of a number.
    fn onward(&self, user: Option<&Aor>, always: bool) -> Self {
        Self {
            hops: self.hops + 1,
            users: self.users.iter().chain(user).cloned().collect(),
            always,
            single: self.single,
        }
    }
}

impl Draft<'_, '_> {
    /// Adds the stages by which a number, or a user that it names, is reached. Nothing is added where it
    /// leads nowhere.
    pub(super) fn lead(&mut self, called: &str, when: When, chain: &Chain) -> Result<(), Refusal> {
        if self.emergency {
            return self.by_route(called, when, chain);
        }
        let directory = self.directory;
        if let Some(number) = directory.numbers.get(bare(called)) {
            return self.by_number(number, when, chain);
        }
        // Only what was called first was called at a place.
        let is_first = chain.hops == 0;
        match self.query.named.clone() {
            Named::User(user) if is_first => {
                self.trail.say(|| format!("{user} is a user"));
                self.user(user, None, when, chain)
            }
            Named::Disabled(user) if is_first => {
                self.disabled(user, when);
                Ok(())
            }
            // Of a trunk's own, whatever it is called.
            _ if is_first && self.is_led() => self.by_trunk(when, chain),
            Named::Unknown(user) if is_first && !is_number(called) => {
                self.trail.say(|| format!("there is no user {user}"));
                self.by_route(called, when, chain)
                    .map_err(|_| no_route(&format!("there is no user {user}")))
            }
            _ => self.by_route(called, when, chain),
        }
    }

    /// The call goes to a URI beyond this node.
    pub(super) fn outside(&mut self, uri: &str) {
        let destination = Destination::Beyond(uri.to_owned());
        let chain = Chain::default();
        self.push(destination, USER_RING_TIMEOUT, true, When::First, &chain);
    }

    /// Whether the call comes from a trunk whose calls lead to an application.
    fn is_led(&self) -> bool {
        matches!(self.query.caller, Caller::Trunk(trunk) if trunk.config.is_led())
    }

    fn by_trunk(&mut self, when: When, chain: &Chain) -> Result<(), Refusal> {
        let Caller::Trunk(trunk) = self.query.caller else {
            return Ok(());
        };
        let name = &trunk.name;
        let application = self.directory.application_of_trunk(&trunk.config);
        let application = application.map_err(|why| Refusal {
            status: 503,
            reason: format!("calls from trunk {name} lead to an application, and {why}"),
            cause: Cause::NoRoute,
        })?;
        self.trail.say(|| {
            let (url, account) = (application.shown(), &application.account.sid);
            format!(
                "[[trunks]]: calls from {name} lead to the application {url} of account {account}"
            )
        });
        self.tenant.clone_from(&application.account.tenant);
        let application = Destination::Application(Arc::new(application));
        self.push(application, USER_RING_TIMEOUT, true, when, chain);
        Ok(())
    }

    fn by_number(&mut self, number: &Number, when: When, chain: &Chain) -> Result<(), Refusal> {
        let directory = self.directory;
        let name = &number.number;
        let mut held = Held::default();
        directory.limits.number(name, &mut held);
        let stage = self.stages.len();
        if let Some(target) = &number.forward.always {
            self.trail
                .say(|| format!("[[numbers]]: {name} is forwarded to {target}"));
            self.forward(target, when, &chain.onward(None, true))?;
            self.under(held, stage);
            return Ok(());
        }
        if let Some(user) = &number.user {
            let (user, domain) = user.rsplit_once('@').unwrap_or((user, ""));
            let aor = Aor::new(user, domain);
            self.trail
                .say(|| format!("[[numbers]]: {name} leads to user {aor}"));
            self.user(aor, Some(number), when, chain)?;
            self.under(held, stage);
            return Ok(());
        }
        let patience = patience(number.ring_timeout, &number.forward);
        if let Some(group) = &number.group {
            let Some(group) = directory.groups.get(group) else {
                return Err(no_route(&format!("there is no group '{group}'")));
            };
            let turn = group.ring(self.trail.is_kept());
            self.trail
                .say(|| format!("[[numbers]]: {name} leads to group {}", turn.name));
            let ring = self.group(turn, chain);
            self.push(Destination::Group(ring), patience, true, when, chain);
        } else if let Some(trunk) = &number.trunk {
            let named = |known: &&Arc<Trunk>| known.name == *trunk;
            let Some(trunk) = directory.trunks.iter().find(named) else {
                return Err(no_route(&format!("there is no trunk '{trunk}'")));
            };
            self.trail
                .say(|| format!("[[numbers]]: {name} leads to trunk {}", trunk.name));
            if self.passes_over(trunk) {
                return Err(drained(name));
            }
            let free = (Cost::default(), None);
            let carrier = self.carrier(trunk, name, None, patience, free);
            let carriers = Destination::Carriers(vec![carrier]);
            self.push(carriers, patience, true, when, chain);
        } else {
            let is_call = self.query.is_call;
            let application = directory.application_of(number, is_call);
            let application = application.map_err(|why| Refusal {
                status: 503,
                reason: format!("{name} leads to an application, and {why}"),
                cause: Cause::NoRoute,
            })?;
            self.trail.say(|| {
                let (url, account) = (application.shown(), &application.account.sid);
                format!("[[numbers]]: {name} leads to the application {url} of account {account}")
            });
            let application = Destination::Application(Arc::new(application));
            self.push(application, patience, true, when, chain);
        }
        self.under(held, stage);
        self.cases(&number.forward, stage, None, chain);
        Ok(())
    }

    /// Adds the stages by which a user is reached, by `number` where one led here.
    fn user(
        &mut self,
        aor: Aor,
        number: Option<&Number>,
        when: When,
        chain: &Chain,
    ) -> Result<(), Refusal> {
        let directory = self.directory;
        let person = directory.people.find(&aor);
        let of_number = number.map(|number| &number.forward);
        let stage = self.stages.len();
        if person.is_some_and(|person| !person.enabled) {
            self.disabled(aor, when);
            if let Some(forward) = of_number {
                self.cases(forward, stage, None, chain);
            }
            return Ok(());
        }
        if chain.users.contains(&aor) {
            return Err(circle(&aor));
        }
        let plain = Profile::default();
        let own = person
            .map(|person| &person.profile)
            .filter(|_| self.query.is_call)
            .unwrap_or(&plain);
        if let Some(target) = &own.forward.always {
            self.trail
                .say(|| format!("{aor} has every call forwarded to {target}"));
            return self.forward(target, when, &chain.onward(Some(&aor), true));
        }
        let (mine, mut numbers) = (&own.forward, Forward::default());
        if let Some(of_number) = of_number {
            let unless = |mine: &Option<String>, other: &Option<String>| {
                other.clone().filter(|_| mine.is_none())
            };
            numbers = Forward {
                always: None,
                busy: unless(&mine.busy, &of_number.busy),
                no_answer: unless(&mine.no_answer, &of_number.no_answer),
                unreachable: unless(&mine.unreachable, &of_number.unreachable),
            };
        }
        let seconds = number.and_then(|number| number.ring_timeout);
        let is_followed = if mine.no_answer.is_some() {
            mine
        } else {
            &numbers
        };
        let patience = patience(seconds.or(own.ring_timeout), is_followed);
        self.push(Destination::User(aor.clone()), patience, true, when, chain);
        self.cases(mine, stage, Some(&aor), chain);
        self.cases(&numbers, stage, None, chain);
        Ok(())
    }

    fn disabled(&mut self, aor: Aor, when: When) {
        self.trail
            .say(|| format!("{aor} is disabled, and not rung"));
        let chain = Chain::default();
        let nobody = Destination::Disabled(aor);
        self.push(nobody, USER_RING_TIMEOUT, false, when, &chain);
    }

    /// The members of a group, each with where it is.
    fn group(&mut self, turn: Turn, chain: &Chain) -> Ring {
        let Turn {
            name,
            steps,
            step_timeout,
        } = turn;
        // Whoever is a member twice, by a number too, is rung once.
        let mut known = Vec::new();
        let mut is_new = |member: &Member| match &member.destination {
            Destination::User(user) if known.contains(user) => false,
            Destination::User(user) => {
                known.push(user.clone());
                true
            }
            _ => true,
        };
        let steps = steps.into_iter().map(|step| {
            let members = step.into_iter().filter_map(|who| self.member(&who, chain));
            members.filter(&mut is_new).collect::<Vec<_>>()
        });
        let steps = steps.filter(|step| !step.is_empty()).collect();
        Ring {
            name,
            steps,
            step_timeout,
        }
    }

    /// Where a member of a group is: the first place to which a call to it would go.
    fn member(&mut self, who: &Who, chain: &Chain) -> Option<Member> {
        let from = self.stages.len();
        let chain = Chain {
            single: true,
            ..chain.onward(None, false)
        };
        // Not the stage where the call begins, whatever the group is: its limits are its own.
        let when = When::After(from, Outcome::Failed);
        let led = match who {
            Who::User(aor) => self.user(aor.clone(), None, when, &chain),
            Who::Place(place) => self.forward(place, when, &chain),
        };
        let stage = self.stages.drain(from..).next();
        if let Err(refusal) = led {
            self.trail
                .say(|| format!("a member leads nowhere: {}", refusal.reason));
            return None;
        }
        let Stage {
            destination,
            limits,
            ..
        } = stage?;
        match destination {
            Destination::Disabled(_) => None,
            Destination::Group(ring) => {
                self.trail.say(|| {
                    let name = &ring.name;
                    format!("a member leads to group {name}: no group is rung within another")
                });
                None
            }
            Destination::Application(_) => {
                self.trail
                    .say(|| "a member leads to an application: none is rung in a group".to_owned());
                None
            }
            destination => Some(Member {
                destination,
                limits,
            }),
        }
    }

    /// Adds where a call goes on to that a stage did not answer; by the wish of `user`, where it is not
    /// the number's.
    fn cases(&mut self, forward: &Forward, stage: usize, user: Option<&Aor>, chain: &Chain) {
        if chain.single {
            return;
        }
        let cases = [
            (&forward.busy, Outcome::Busy),
            (&forward.no_answer, Outcome::NoAnswer),
            (&forward.unreachable, Outcome::Unreachable),
        ];
        for (target, outcome) in cases {
            let Some(target) = target else { continue };
            self.trail
                .say(|| format!("where that is {outcome}, it goes on to {target}"));
            let when = When::After(stage, outcome);
            if let Err(refusal) = self.forward(target, when, &chain.onward(user, false)) {
                self.trail
                    .say(|| format!("which leads nowhere: {}", refusal.reason));
            }
        }
    }

    /// Follows a forward: to a URI, a user or a number.
    fn forward(&mut self, target: &str, when: When, chain: &Chain) -> Result<(), Refusal> {
        if chain.hops > HOPS || self.stages.len() >= STAGES {
            return Err(Refusal {
                status: 482,
                reason: format!("forwarded more than {HOPS} times"),
                cause: Cause::NoRoute,
            });
        }
        let uri = ["sip:", "sips:"]
            .iter()
            .find_map(|s| target.strip_prefix(s));
        let (name, domain) = match uri.unwrap_or(target).rsplit_once('@') {
            Some((user, domain)) if uri.is_none() => {
                return self.user(Aor::new(user, domain), None, when, chain);
            }
            Some((user, domain)) if self.directory.is_domain(domain) => (plain(user), domain),
            _ if uri.is_some() => {
                let uri = Destination::Uri(target.to_owned());
                self.push(uri, USER_RING_TIMEOUT, true, when, chain);
                return Ok(());
            }
            _ => {
                let first = self.directory.domains.first();
                (plain(target), first.map_or("", String::as_str))
            }
        };
        let is_known = self.directory.numbers.contains_key(bare(&name));
        if is_known || is_number(&name) || domain.is_empty() {
            return self.lead(&name, when, chain);
        }
        self.user(Aor::new(&name, domain), None, when, chain)
    }

    fn by_route(&mut self, called: &str, when: When, chain: &Chain) -> Result<(), Refusal> {
        let directory = self.directory;
        let behalf = chain.users.last().cloned().map(Caller::User);
        let asker = Asker {
            caller: behalf.as_ref().unwrap_or(self.query.caller),
            number: &self.caller,
            by_name: !is_number(called) && !directory.domains.is_empty() && !self.emergency,
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
            if self.passes_over(trunk) {
                continue;
            }
            let failover = found_one.terms.failover.clone();
            let patience = found_one.terms.ring_timeout;
            let price = (found_one.cost, found_one.share);
            carriers.push(self.carrier(trunk, number, failover, patience, price));
        }
        let Some(longest) = carriers.iter().map(|carrier| carrier.ring_timeout).max() else {
            return Err(drained(called));
        };
        let relay = found.iter().any(|found| found.terms.relay);
        if when == When::First {
            self.route = Some(prefix);
        }
        let mut held = Held::default();
        directory.limits.beyond(number, &mut held);
        if let Some(Caller::User(user)) = &behalf
            && !matches!(self.query.caller, Caller::User(caller) if caller == user)
        {
            directory.limits.user(user, &mut held);
        }
        let stage = self.stages.len();
        self.push(Destination::Carriers(carriers), longest, relay, when, chain);
        self.under(held, stage);
        Ok(())
    }

    fn push(
        &mut self,
        destination: Destination,
        ring_timeout: Duration,
        relay: bool,
        when: When,
        chain: &Chain,
    ) {
        self.stages.push(Stage {
            when,
            destination,
            ring_timeout,
            relay,
            limits: Vec::new(),
            forwarded: chain.always,
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
}

/// How long it rings: as it is written, or shorter where another place follows.
fn patience(written: Option<u32>, forward: &Forward) -> Duration {
    match (written, &forward.no_answer) {
        (Some(seconds), _) => Duration::from_secs(seconds.into()),
        (None, Some(_)) => FORWARDED_RING_TIMEOUT,
        (None, None) => USER_RING_TIMEOUT,
    }
}

fn drained(called: &str) -> Refusal {
    Refusal {
        status: 503,
        reason: format!("every trunk that leads to {called} is drained"),
        cause: Cause::Unreachable,
    }
}

fn circle(user: &Aor) -> Refusal {
    Refusal {
        status: 482,
        reason: format!("a call to {user} is forwarded back to {user}"),
        cause: Cause::NoRoute,
    }
}
