//! From a call to a plan: what was dialled is read, blocks are looked up, and then it is `reach` that
//! finds the way.

use std::{sync::Arc, time::Duration};

use control::config::{BlockAction, CallerId, Cost, IdentityHeader, Party};
use store::Cause;

use super::{
    Caller, Carrier, Decided, Decision, Destination, Directory, Edits, Named, Plan, Query, Refusal,
    Stage, Trail, Trunk, When, bare,
    blocks::Suspect,
    edits::escaped,
    limits::Held,
    numbers::{self, plain},
    reach::Chain,
};

impl Directory {
    /// Where a call goes, and whose it is.
    pub(crate) fn decide(&self, query: &Query<'_>) -> Decided {
        self.decide_aloud(query, &mut Trail::default())
    }

    /// The same, and why. With a trail that is kept, no member of a group uses up its turn.
    pub(crate) fn decide_aloud(&self, query: &Query<'_>, trail: &mut Trail) -> Decided {
        let mut draft = Draft {
            directory: self,
            query,
            emergency: self.is_emergency(query.called),
            caller: self.caller_number(query, trail),
            stages: Vec::new(),
            held: Held::default(),
            longest: None,
            route: None,
            tenant: None,
            trail,
        };
        let called = draft.called();
        let tenant = self.owner(query, &called);
        if let Some(tenant) = &tenant {
            draft
                .trail
                .say(|| format!("it is a call of tenant {tenant}"));
        }
        let (decision, led) = draft.decide(called);
        let tenant = tenant.or(led);
        Decided { decision, tenant }
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
            Caller::Node => {
                trail.say(|| format!("the node calls as {from}"));
                from
            }
        }
    }
}

/// A decision in the making.
pub(super) struct Draft<'d, 'q> {
    pub(super) directory: &'d Directory,
    pub(super) query: &'d Query<'q>,
    pub(super) emergency: bool,
    /// The caller's number.
    pub(super) caller: String,
    pub(super) stages: Vec<Stage>,
    /// What the whole call is under.
    pub(super) held: Held,
    pub(super) longest: Option<Duration>,
    pub(super) route: Option<String>,
    /// Whose the application is that calls from the trunk lead to.
    pub(super) tenant: Option<Arc<str>>,
    pub(super) trail: &'d mut Trail,
}

impl Draft<'_, '_> {
    /// Where the call goes that is to `called`, and whose it is where only that tells.
    fn decide(mut self, called: String) -> (Decision, Option<Arc<str>>) {
        if self.emergency {
            self.trail
                .say(|| format!("{called} is an emergency call: neither blocked nor limited"));
        } else if let Some(decision) = self.blocked(&called) {
            return (decision, None);
        }
        let led = match (called.as_str(), &self.query.named) {
            (_, Named::Elsewhere(host)) if !self.emergency => self.leave(host),
            // A route of no prefix is for every number, and this is none.
            ("", _) => Err(no_route("nobody is named")),
            (called, _) => self.lead(called, When::First, &Chain::default()),
        };
        let led = led.and_then(|()| self.reaches_somebody());
        let tenant = self.tenant.take();
        match led {
            Ok(()) => (Decision::Plan(self.finish(called)), tenant),
            Err(refusal) => {
                self.trail
                    .say(|| format!("refused with {}: {}", refusal.status, refusal.reason));
                (Decision::Refuse(refusal), tenant)
            }
        }
    }

    /// Nobody else's place may be reached through this node, but for those that documents may call.
    fn leave(&mut self, host: &str) -> Result<(), Refusal> {
        let refusal = |reason| Refusal {
            status: 403,
            reason,
            cause: Cause::NoRoute,
        };
        let Some(uri) = self.query.by_document else {
            let why = format!("'{host}' is none of [sip] domains, and no address of this node");
            return Err(refusal(why));
        };
        self.directory.lets_out(uri).map_err(refusal)?;
        self.trail
            .say(|| format!("[voice] sip_domains: a document may call {host}"));
        self.outside(uri);
        Ok(())
    }

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
            Caller::User(_) | Caller::Node => {
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

    /// Whether a trunk is no way out: it is drained. An emergency call takes any.
    pub(super) fn passes_over(&mut self, trunk: &Trunk) -> bool {
        let is_drained = trunk.standing.is_drained() && !self.emergency;
        if is_drained {
            self.trail
                .say(|| format!("trunk {} is drained: it gets no new calls", trunk.name));
        }
        is_drained
    }

    /// A trunk as a way out for a number.
    pub(super) fn carrier(
        &mut self,
        trunk: &Arc<Trunk>,
        number: &str,
        failover: Option<Arc<[u16]>>,
        ring_timeout: Duration,
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
            ring_timeout,
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

    /// Whether there is any other place than a user who may not be called.
    fn reaches_somebody(&self) -> Result<(), Refusal> {
        match self.stages.as_slice() {
            [
                Stage {
                    destination: Destination::Disabled(user),
                    ..
                },
            ] => Err(Refusal {
                status: 480,
                reason: format!("{user} is disabled"),
                cause: Cause::Unreachable,
            }),
            _ => Ok(()),
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
            // What it calls has limits of its own.
            Caller::Node => {}
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

pub(super) fn no_route(reason: &str) -> Refusal {
    Refusal {
        status: 404,
        reason: reason.to_owned(),
        cause: Cause::NoRoute,
    }
}
