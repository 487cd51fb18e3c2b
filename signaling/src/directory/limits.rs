//! Which limits a call is under.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::config::{LimitRule, Trunk};

use super::{
    Aor, Limit,
    limit::Meter,
    prefix::{PrefixMap, PrefixMapBuilder},
};

/// Every limit, by whose it is.
#[derive(Debug, Default)]
pub(super) struct Limits {
    numbers: HashMap<String, Bounds>,
    each_number: Option<Bounds>,
    users: HashMap<String, Bounds>,
    each_user: Option<Bounds>,
    trunks: HashMap<String, Bounds>,
    each_trunk: Option<Bounds>,
    prefixes: PrefixMap<(Box<str>, Bounds)>,
    /// What the metrics show: a limit's name and its calls at once.
    shown: Vec<(String, u32)>,
    /// Counts outlive the directory.
    meters: Arc<Meters>,
}

/// What one limit allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    calls: Option<u32>,
    cps: Option<u32>,
    longest: Option<u32>,
}

/// What a call has to hold, and how long it may last.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) limits: Vec<Limit>,
    pub(super) longest: Option<Duration>,
}

/// The counts of all limits, by their names. One for the whole node.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<HashMap<Arc<str>, Arc<Meter>>>);

/// Counts that are kept at most, beside those in use.
const IDLE: usize = 10_000;
/// Limits that the metrics show at most, those of trunks before those of users, numbers and prefixes.
const SHOWN: usize = 1_000;

impl Meters {
    /// The count of a name, and the name itself.
    fn of(&self, name: String) -> (Arc<str>, Arc<Meter>) {
        // Nothing panics while it holds the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, meter)) = known.get_key_value(name.as_str()) {
            return (name.clone(), meter.clone());
        }
        if known.len() >= IDLE && known.len().is_power_of_two() {
            // Nobody else holds it, so no call counts in it.
            known.retain(|_, meter| Arc::strong_count(meter) > 1);
        }
        let (name, meter) = (Arc::<str>::from(name), Arc::<Meter>::default());
        known.insert(name.clone(), meter.clone());
        (name, meter)
    }

    /// The calls that a name has.
    fn calls(&self, name: &str) -> u32 {
        // Nothing panics while it holds the lock.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).map_or(0, |meter| meter.calls())
    }
}

impl Limits {
    /// Of limits and trunks that were checked.
    pub(super) fn new(
        rules: &[LimitRule],
        trunks: &[Trunk],
        aor: impl Fn(&str) -> Aor,
        meters: Arc<Meters>,
    ) -> Self {
        let mut this = Self {
            meters,
            ..Self::default()
        };
        let mut prefixes = BTreeMap::<String, Bounds>::new();
        for rule in rules {
            let bounds = Bounds {
                calls: rule.calls,
                cps: rule.cps,
                longest: rule.longest,
            };
            let each = |name: &Option<String>| name.as_deref() == Some("*");
            if each(&rule.number) {
                tighten(&mut this.each_number, bounds);
            } else if each(&rule.user) {
                tighten(&mut this.each_user, bounds);
            } else if each(&rule.trunk) {
                tighten(&mut this.each_trunk, bounds);
            } else if let Some(number) = &rule.number {
                let number = bare(&super::plain(number)).to_owned();
                this.numbers.entry(number).or_default().tighten(bounds);
            } else if let Some(user) = &rule.user {
                let user = aor(user).as_str().to_owned();
                this.users.entry(user).or_default().tighten(bounds);
            } else if let Some(trunk) = &rule.trunk {
                this.trunks
                    .entry(trunk.clone())
                    .or_default()
                    .tighten(bounds);
            } else if let Some(prefix) = &rule.prefix {
                let prefix = bare(&super::plain(prefix)).to_owned();
                prefixes.entry(prefix).or_default().tighten(bounds);
            }
        }
        for trunk in trunks {
            let bounds = Bounds {
                calls: trunk.calls,
                cps: trunk.cps,
                longest: trunk.longest,
            };
            if bounds != Bounds::default() {
                this.trunks
                    .entry(trunk.name.clone())
                    .or_default()
                    .tighten(bounds);
            }
        }
        this.shown = this.named(&prefixes);
        let mut table = PrefixMapBuilder::default();
        for (prefix, bounds) in prefixes {
            let name = prefix.clone().into_boxed_str();
            table.push(&prefix, (name, bounds));
        }
        this.prefixes = table.build();
        this
    }

    /// Those of a number of ours that is called.
    pub(super) fn number(&self, number: &str, held: &mut Held) {
        let bounds = self.numbers.get(bare(number)).copied().or(self.each_number);
        self.hold(bounds, || number_name(number), held);
    }

    /// Those of a number that is called beyond a trunk: its own, and those of every prefix of it.
    pub(super) fn beyond(&self, number: &str, held: &mut Held) {
        let bounds = self.numbers.get(bare(number)).copied();
        self.hold(bounds, || number_name(number), held);
        for (prefix, bounds) in self.prefixes.matches(number).flat_map(|(_, limits)| limits) {
            self.hold(Some(*bounds), || format!("prefix {prefix}"), held);
        }
    }

    /// Those of a user who calls.
    pub(super) fn user(&self, user: &Aor, held: &mut Held) {
        let bounds = self.users.get(user.as_str()).copied().or(self.each_user);
        self.hold(bounds, || format!("user {user}"), held);
    }

    /// Those of a trunk, whichever way the call goes.
    pub(super) fn trunk(&self, name: &str, held: &mut Held) {
        let bounds = self.trunks.get(name).copied().or(self.each_trunk);
        self.hold(bounds, || format!("trunk {name}"), held);
    }

    /// What is named for the metrics, each with the calls that it has and may have.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        let shown = self.shown.iter();
        shown.map(|(name, most)| (name.as_str(), self.meters.calls(name), *most))
    }

    /// The limits of one number, user, trunk or prefix; those of each number or user are as many as
    /// there are callers.
    fn named(&self, prefixes: &BTreeMap<String, Bounds>) -> Vec<(String, u32)> {
        let of = |kind: &'static str| {
            move |(name, bounds): (&String, &Bounds)| {
                Some((format!("{kind} {name}"), bounds.calls?))
            }
        };
        let trunks = self.trunks.iter().filter_map(of("trunk"));
        let users = self.users.iter().filter_map(of("user"));
        let numbers = self.numbers.iter().filter_map(of("number"));
        let prefixes = prefixes.iter().filter_map(of("prefix"));
        let all = trunks.chain(users).chain(numbers).chain(prefixes);
        all.take(SHOWN).collect()
    }

    fn hold(&self, bounds: Option<Bounds>, name: impl FnOnce() -> String, held: &mut Held) {
        let Some(bounds) = bounds else { return };
        let longest = bounds
            .longest
            .map(|seconds| Duration::from_secs(seconds.into()));
        held.longest = held.longest.into_iter().chain(longest).min();
        if bounds.calls.is_none() && bounds.cps.is_none() {
            return;
        }
        let (name, meter) = self.meters.of(name());
        held.limits.push(Limit {
            name,
            calls: bounds.calls,
            cps: bounds.cps,
            meter,
        });
    }
}

impl Bounds {
    /// Two limits of one thing: the tighter one of each kind.
    fn tighten(&mut self, other: Self) {
        let least = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
        self.calls = least(self.calls, other.calls);
        self.cps = least(self.cps, other.cps);
        self.longest = least(self.longest, other.longest);
    }
}

fn tighten(known: &mut Option<Bounds>, bounds: Bounds) {
    known.get_or_insert_default().tighten(bounds);
}

/// What a number's count goes by, however it was dialled.
fn number_name(number: &str) -> String {
    format!("number {}", bare(number))
}

fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn limits(json: serde_json::Value, meters: Arc<Meters>) -> Limits {
        let rules: Vec<LimitRule> = serde_json::from_value(json).unwrap();
        let trunk = Trunk {
            calls: Some(5),
            ..Trunk::named("a")
        };
        Limits::new(
            &rules,
            &[trunk],
            |user| Aor::new(user, "example.test"),
            meters,
        )
    }

    #[test]
    fn the_tighter_of_two_holds_and_its_own_replaces_each() {
        let limits = limits(
            serde_json::json!([
                {"user": "*", "calls": 2},
                {"user": "vip", "calls": 9, "longest": 60},
                {"trunk": "a", "calls": 3, "longest": 600},
                {"prefix": "+88", "cps": 1},
                {"prefix": "+8816", "longest": 30},
            ]),
            Arc::default(),
        );
        let mut held = Held::default();
        limits.user(&Aor::new("vip", "Example.TEST"), &mut held);
        limits.user(&Aor::new("bob", "example.test"), &mut held);
        limits.trunk("a", &mut held);
        limits.beyond("+8816123", &mut held);
        let calls: Vec<_> = held.limits.iter().map(|limit| limit.calls).collect();
        assert_eq!(calls, [Some(9), Some(2), Some(3), None]);
        assert_eq!(held.longest, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_count_outlives_the_directory() {
        let meters = Arc::<Meters>::default();
        let rules = serde_json::json!([{"user": "*", "calls": 1}]);
        let bob = Aor::new("bob", "example.test");
        let take = |limits: &Limits| {
            let mut held = Held::default();
            limits.user(&bob, &mut held);
            held.limits[0].take(Instant::now())
        };
        let hold = take(&limits(rules.clone(), meters.clone())).unwrap();
        let next = limits(rules, meters);
        assert!(
            take(&next).is_err(),
            "the call of the directory before counts"
        );
        drop(hold);
        assert!(take(&next).is_ok());
    }

    #[test]
    fn what_is_named_is_shown_with_its_calls() {
        let limits = limits(
            serde_json::json!([
                {"user": "*", "calls": 2},
                {"user": "vip", "calls": 9},
                {"number": "+15550100", "calls": 3},
                {"number": "+15550101", "cps": 3},
                {"prefix": "+88", "calls": 1},
            ]),
            Arc::default(),
        );
        let mut held = Held::default();
        limits.user(&Aor::new("bob", "example.test"), &mut held);
        // With and without its plus it is one number.
        limits.beyond("15550100", &mut held);
        limits.beyond("+15550100", &mut held);
        limits.beyond("+8816", &mut held);
        let now = Instant::now();
        let _holds: Vec<_> = held.limits.iter().map(|l| l.take(now).unwrap()).collect();
        let mut shown: Vec<_> = limits.in_use().collect();
        shown.sort_unstable();
        assert_eq!(
            shown,
            [
                ("number 15550100", 2, 3),
                ("prefix 88", 1, 1),
                ("trunk a", 0, 5),
                ("user vip@example.test", 0, 9),
            ]
        );
    }

    #[test]
    fn idle_counts_are_forgotten() {
        let meters = Meters::default();
        let (_, kept) = meters.of("kept".into());
        for number in 0..100_000 {
            meters.of(format!("number {number}"));
        }
        assert!(meters.0.lock().unwrap().len() < 70_000);
        assert!(Arc::ptr_eq(&kept, &meters.of("kept".into()).1));
    }
}
