//! Where a call would go, and why: what `tandem route` shows.

use std::time::Instant;

use control::signal::{
    RouteCarrier, RouteDecision, RouteHost, RouteLimit, RouteQuestion, RouteReport, RouteStage,
    RouteTo,
};
use sip::uri::Uri;
use store::Timestamp;

use super::{
    Aor, Caller, Carrier, Decision, Destination, Directory, Limit, Member, Named, Place, Plan,
    Presented, Query, Stage, Trail, When, is_number, plain,
};

impl Directory {
    /// The user of ours whom a question is about, who may exist or not.
    pub(crate) fn user_asked(&self, question: &RouteQuestion) -> Option<Aor> {
        match self.named(&question.to, question.trunk.is_some()).1 {
            Place::User(aor) => Some(aor),
            Place::Number | Place::Elsewhere(_) => None,
        }
    }

    /// Answers a question about a call that nobody makes. `user` is who [`Self::user_asked`] is;
    /// without it that user exists.
    ///
    /// # Errors
    /// What is wrong with the question.
    pub(crate) fn explain(
        &self,
        question: &RouteQuestion,
        now: Instant,
        time: Timestamp,
        user: Option<Named>,
    ) -> Result<RouteReport, String> {
        let caller = self.questioned(question)?;
        let at = match &question.at {
            Some(at) => read_time(at)?,
            None => time,
        };
        let (called, place) = self.named(&question.to, question.trunk.is_some());
        let named = match place {
            Place::Number => Named::Nobody,
            Place::User(aor) => user.unwrap_or(Named::User(aor)),
            Place::Elsewhere(host) => Named::Elsewhere(host),
        };
        let query = Query {
            caller: &caller,
            from: Presented {
                user: named_user(&question.from),
                display: None,
                private: question.private,
            },
            called: &called,
            named,
            by_document: None,
            is_call: true,
            at,
            draw: question.draw,
        };
        let mut trail = Trail::kept();
        let decision = self.decide_aloud(&query, &mut trail).decision;
        let why = trail.into_reasons();
        Ok(match decision {
            Decision::Plan(plan) => report(&plan, now, why),
            Decision::Silence => refused(RouteDecision::Silence, called, why),
            Decision::Refuse(no) => {
                let refusal = RouteDecision::Refuse {
                    status: no.status,
                    reason: no.reason,
                };
                refused(refusal, called, why)
            }
        })
    }

    fn questioned(&self, question: &RouteQuestion) -> Result<Caller, String> {
        match (&question.trunk, &question.user) {
            (Some(_), Some(_)) => Err("a call comes from a trunk or from a user, not both".into()),
            (Some(name), None) => {
                let mut trunks = self.trunks.iter();
                let known = trunks.find(|trunk| trunk.name == *name);
                known
                    .map(|trunk| Caller::Trunk(trunk.clone()))
                    .ok_or_else(|| format!("there is no trunk '{name}'"))
            }
            (None, Some(user)) => Ok(Caller::User(self.aor_of(user))),
            (None, None) => {
                let user = match self.named(&question.from, false).1 {
                    Place::User(aor) => Some(aor),
                    Place::Number | Place::Elsewhere(_) => None,
                };
                let by_number = || {
                    let number = self.numbers.get(super::bare(&plain(&question.from)))?;
                    Some(self.aor_of(number.user.as_deref()?))
                };
                user.or_else(by_number).map(Caller::User).ok_or_else(|| {
                    format!(
                        "'{}' is no user and no number of a user: say where the call comes from \
                         with --trunk or --user",
                        question.from
                    )
                })
            }
        }
    }

    fn aor_of(&self, user: &str) -> Aor {
        let domain = self.domains.first().map_or("", String::as_str);
        let user = user.strip_prefix("sip:").unwrap_or(user);
        let (user, domain) = user.rsplit_once('@').unwrap_or((user, domain));
        Aor::new(user, domain)
    }

    /// What a text calls, and where that is; at any address, for it may be this node's.
    fn named(&self, text: &str, by_trunk: bool) -> (String, Place) {
        let is_name = text.bytes().any(|b| b.is_ascii_alphabetic());
        let with_scheme = match self.domains.first() {
            _ if text.contains(':') => text.to_owned(),
            _ if text.contains('@') => format!("sip:{text}"),
            Some(domain) if is_name => format!("sip:{text}@{domain}"),
            _ => text.to_owned(),
        };
        let Ok(uri) = Uri::parse(&with_scheme) else {
            return (text.to_owned(), Place::Number);
        };
        let user = uri.user_unescaped();
        let Some(user) = user.map(|user| String::from_utf8_lossy(&user).into_owned()) else {
            return (text.to_owned(), Place::Number);
        };
        let is_here = uri.host().is_some_and(|host| host.ip().is_some());
        (user, self.place_of(&uri, is_here, by_trunk))
    }
}

/// The directory of a file alone, asked once.
///
/// # Errors
/// What is wrong with the question.
pub fn explain(config: &control::Config, question: &RouteQuestion) -> Result<RouteReport, String> {
    let directory = Directory::new(config, None);
    let first = config.sip.domains.first().map(String::as_str);
    let is_of_file = |aor: &Aor| {
        let mut users = config.users.iter();
        users.any(|user| user.name == aor.user() && user.domain(first) == Some(aor.domain()))
    };
    // Other users may be in the store; but few are called by a number.
    let is_unlikely = |aor: &Aor| !is_of_file(aor) && is_number(&plain(aor.user()));
    let user = directory.user_asked(question).filter(is_unlikely);
    let user = user.map(Named::Unknown);
    directory.explain(question, Instant::now(), Timestamp::now(), user)
}

fn named_user(text: &str) -> String {
    let text = ["sips:", "sip:", "tel:"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    text.split('@').next().unwrap_or_default().to_owned()
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    let zoned = text.parse::<jiff::Timestamp>();
    let civil = || {
        let local = text.parse::<jiff::civil::DateTime>()?;
        let zone = jiff::tz::TimeZone::UTC;
        zone.to_timestamp(local)
    };
    let time = zoned.or_else(|_: jiff::Error| civil());
    let time = time.map_err(|_| {
        format!("'{text}' is no time: write 2026-01-05T08:30:00+01:00, or without the zone for UTC")
    })?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

fn refused(decision: RouteDecision, called: String, why: Vec<String>) -> RouteReport {
    RouteReport {
        decision,
        called,
        emergency: false,
        longest_s: None,
        limits: Vec::new(),
        stages: Vec::new(),
        why,
    }
}

fn report(plan: &Plan, now: Instant, why: Vec<String>) -> RouteReport {
    RouteReport {
        decision: RouteDecision::Plan,
        called: plan.called.clone(),
        emergency: plan.emergency,
        longest_s: plan.longest.map(|longest| longest.as_secs()),
        limits: limits(&plan.limits),
        stages: plan.stages.iter().map(|stage| shown(stage, now)).collect(),
        why,
    }
}

fn shown(stage: &Stage, now: Instant) -> RouteStage {
    RouteStage {
        when: match stage.when {
            When::First => "first".to_owned(),
            When::After(before, outcome) => format!("where {} is {outcome}", before + 1),
        },
        to: match &stage.destination {
            Destination::User(aor) | Destination::Disabled(aor) => RouteTo::User(aor.to_string()),
            Destination::Group(ring) => {
                let step = |step: &Vec<Member>| step.iter().map(called).collect();
                RouteTo::Group {
                    name: ring.name.to_string(),
                    steps: ring.steps.iter().map(step).collect(),
                    step_s: ring.step_timeout.as_secs(),
                }
            }
            Destination::Carriers(carriers) => {
                let carriers = carriers.iter().map(|carrier| carried(carrier, now));
                RouteTo::Carriers(carriers.collect())
            }
            Destination::Uri(uri) | Destination::Beyond(uri) => RouteTo::Uri(uri.clone()),
            Destination::Application(application) => RouteTo::Application {
                account: application.account.sid.clone(),
                voice_url: application.shown(),
            },
        },
        ring_timeout_s: stage.ring_timeout.as_secs(),
        relay: stage.relay,
        limits: limits(&stage.limits),
    }
}

/// A member of a group, for people.
fn called(member: &Member) -> String {
    match &member.destination {
        Destination::User(aor) | Destination::Disabled(aor) => aor.to_string(),
        Destination::Carriers(carriers) => {
            let first = carriers.first();
            first.map_or_else(String::new, |carrier| {
                format!("{} by {}", carrier.number, carrier.trunk.name)
            })
        }
        Destination::Uri(uri) => uri.clone(),
        // None is a member.
        Destination::Group(_) | Destination::Beyond(_) | Destination::Application(_) => {
            member.destination.to_string()
        }
    }
}

fn carried(carrier: &Carrier, now: Instant) -> RouteCarrier {
    let hosts = carrier.trunk.host_refs().filter_map(|host| {
        Some(RouteHost {
            host: host.host()?.to_string(),
            up: !host.is_down(now),
        })
    });
    RouteCarrier {
        trunk: carrier.trunk.name.clone(),
        number: carrier.number.clone(),
        cost: carrier.cost.into(),
        share: carrier.share,
        hosts: hosts.collect(),
        edits: carrier.edits.describe(),
        failover: carrier.failover.to_vec(),
        follows: carrier.follows,
        ring_timeout_s: carrier.ring_timeout.as_secs(),
        limits: limits(&carrier.limits),
    }
}

fn limits(limits: &[Limit]) -> Vec<RouteLimit> {
    let limits = limits.iter().map(|limit| RouteLimit {
        name: limit.name.to_string(),
        calls: limit.calls,
        cps: limit.cps,
        in_use: limit.meter.calls(),
    });
    limits.collect()
}
