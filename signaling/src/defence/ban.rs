//! Who is banned, who is close to it, and until when. Pure: the time comes with each call.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use super::{
    Source,
    evidence::{Evidence, STRONG, Score},
    guesses::Guesses,
    known::Known,
};

/// A ban lasts, or slides on, for this many times the first one's length at most.
const MOST: u32 = 24;
/// How long a source that floods is held to a trickle. Short and never longer, since anybody's address
/// can be on a datagram.
pub(super) const FLOOD: Duration = Duration::from_secs(30);

/// How strict to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Points that ban.
    pub(super) threshold: u32,
    /// Time in which that many are forgotten.
    pub(super) window: Duration,
    /// Length of a first ban; zero for none.
    pub(super) first: Duration,
    /// Sources that something is held against, users of a source whose passwords were guessed at, sources
    /// that are known, and bans, at most each.
    pub(super) sources: usize,
    pub(super) bans: usize,
    /// Datagrams a second that a source may still send which floods.
    pub(super) trickle: u32,
}

/// Why a source is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It went on sending far more than strangers may. It is not shut out: of its datagrams a trickle
    /// is let through, so that of many phones behind one address some come through and prove that they
    /// are ours.
    Flood,
    /// Evidence against it, of which this was the last.
    Evidence(Evidence),
    /// An operator said so, in these words.
    Operator(String),
}

impl Reason {
    /// One of a lower rank never takes the place of one of a higher.
    const fn rank(&self) -> usize {
        match self {
            Self::Flood => 0,
            Self::Evidence(_) => 1,
            Self::Operator(_) => 2,
        }
    }

    /// As metrics name it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Evidence(evidence) => evidence.name(),
            Self::Flood => "flood",
            Self::Operator(_) => "operator",
        }
    }
}

/// Its name, and an operator's words.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(words) if !words.is_empty() => write!(f, "operator: {words}"),
            other => f.write_str(other.name()),
        }
    }
}

/// A ban that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) reason: Reason,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
    /// Messages and connections that this process refused for it.
    pub(crate) hits: u64,
    /// The time between two datagrams that are let through all the same; zero for none.
    pub(crate) trickle: Duration,
    /// When the next one may pass.
    next: Instant,
    /// By how much it slides on with each sign of life; zero for not.
    step: Duration,
    latest: Instant,
}

/// A banned source tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// The ban's new end, where it slid on.
    pub(super) moved: Option<Instant>,
}

impl Ban {
    /// One that an operator wants. It does not slide.
    pub(super) fn by_operator(since: Instant, until: Instant, words: &str) -> Self {
        Self {
            reason: Reason::Operator(words.to_owned()),
            since,
            until,
            hits: 0,
            trickle: Duration::ZERO,
            next: until,
            step: Duration::ZERO,
            latest: until,
        }
    }
}

/// What is remembered of a source that is not banned.
#[derive(Clone, Copy, Debug)]
struct Record {
    score: Score,
    /// Points that are for wrong passwords.
    guessed: u32,
    /// Bans so far.
    offences: u32,
    /// Forgotten then.
    offences_until: Option<Instant>,
}

/// A part of all sources.
#[derive(Debug)]
pub(super) struct Bans {
    rules: Rules,
    known: Known,
    guesses: Guesses,
    records: HashMap<Source, Record>,
    /// In the order in which they came, for forgetting the oldest.
    order: VecDeque<Source>,
    bans: HashMap<Source, Ban>,
    /// By [`Reason::rank`].
    expiries: [BTreeSet<(Instant, Source)>; 3],
}

impl Bans {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            known: Known::new(rules.sources),
            guesses: Guesses::new(rules.sources),
            records: HashMap::new(),
            order: VecDeque::new(),
            bans: HashMap::new(),
            expiries: Default::default(),
        }
    }

    /// Other rules from now on; bans in force last as long as they would have.
    pub(super) const fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Whether what `source` sends, by a stream or not, is refused. A connection that it tries counts: the
    /// ban slides on. A datagram does not, which may be anybody's in its name.
    pub(super) fn hit(&mut self, now: Instant, source: Source, is_stream: bool) -> Option<Hit> {
        let ban = self.bans.get_mut(&source)?;
        if ban.until <= now {
            return None;
        }
        if !ban.trickle.is_zero() {
            // A flood of datagrams says nothing of a connection from there.
            if is_stream {
                return None;
            }
            if ban.next <= now {
                ban.next = now + ban.trickle;
                return None;
            }
        }
        ban.hits += 1;
        let slid = (now + ban.step).min(ban.latest);
        // In steps of an eighth, so that a flood does not move it with each packet.
        if !is_stream || slid <= ban.until + ban.step / 8 {
            return Some(Hit { moved: None });
        }
        let expiries = &mut self.expiries[ban.reason.rank()];
        expiries.remove(&(ban.until, source));
        ban.until = slid;
        expiries.insert((slid, source));
        Some(Hit { moved: Some(slid) })
    }

    /// The ban of `source`, without counting.
    pub(super) fn find(&self, now: Instant, source: Source) -> Option<&Ban> {
        self.bans.get(&source).filter(|ban| ban.until > now)
    }

    /// Takes evidence of so many points; tells whether it bans. `user` is a hash of the source and of the
    /// user whose credentials it is about.
    pub(super) fn report(
        &mut self,
        now: Instant,
        source: Source,
        evidence: Evidence,
        points: u32,
        user: Option<u64>,
    ) -> bool {
        if evidence.is_good() {
            let is_phone = evidence == Evidence::Registered;
            self.known.see(now, source, is_phone);
            if evidence.is_login() {
                self.forgive(now, source, user);
            }
            return false;
        }
        if points == 0 || self.rules.first.is_zero() {
            return false;
        }
        if evidence == Evidence::NeverAcked && self.known.has_phones(now, source) {
            return false;
        }
        if let Some(ban) = self.find(now, source)
            && ban.reason != Reason::Flood
        {
            return false;
        }
        let rules = self.rules;
        let Rules {
            threshold, first, ..
        } = rules;
        let mut points = points;
        if let Some(user) = user {
            let is_known = self.is_known(now, source);
            points = self.guesses.wrong(now, &rules, user, points, is_known);
        }
        let record = self.record(now, source);
        record.score.add(now, &rules, points);
        record.guessed = record.guessed.min(record.score.points - points);
        if user.is_some() {
            record.guessed += points;
        }
        // Who comes back from a ban has almost as many: only what is held against him now bans anew.
        if points == 0 || record.score.points < threshold {
            return false;
        }
        if record.offences_until.is_some_and(|until| until <= now) {
            record.offences = 0;
        }
        let length = first * 2_u32.saturating_pow(record.offences).min(MOST);
        record.offences = record.offences.saturating_add(1);
        record.offences_until = Some(now + length + first * MOST);
        // One more strong sign after the ban is enough for the next one.
        record.score = Score {
            points: threshold.saturating_sub(STRONG),
            at: now + length,
        };
        record.guessed = record.guessed.min(record.score.points);
        let ban = Ban {
            reason: Reason::Evidence(evidence),
            since: now,
            until: now + length,
            hits: 0,
            trickle: Duration::ZERO,
            next: now + length,
            step: length,
            latest: now + (first * MOST).max(length),
        };
        self.put(source, ban)
    }

    /// Credentials that hold end what the source has for their user's sake, and what it has for no user's.
    /// That somebody has an account makes up neither for guesses at the passwords of others, nor for bans.
    fn forgive(&mut self, now: Instant, source: Source, user: Option<u64>) {
        let Some(record) = self.records.get_mut(&source) else {
            return;
        };
        let share = user.map_or(0, |user| self.guesses.clear(now, &self.rules, user));
        record.guessed = record.guessed.saturating_sub(share);
        record.score.points = record.score.points.min(record.guessed);
    }

    /// Holds a source to a trickle that floods, unless it is known.
    pub(super) fn flood(&mut self, now: Instant, source: Source) -> bool {
        if self.rules.first.is_zero()
            || self.is_known(now, source)
            || self.find(now, source).is_some()
        {
            return false;
        }
        let ban = Ban {
            reason: Reason::Flood,
            since: now,
            until: now + FLOOD,
            hits: 0,
            trickle: Duration::from_secs(1) / self.rules.trickle.max(1),
            next: now,
            step: Duration::ZERO,
            latest: now + FLOOD,
        };
        self.put(source, ban)
    }

    /// Whether it showed lately that it is one of ours.
    pub(super) fn is_known(&self, now: Instant, source: Source) -> bool {
        self.known.has(now, source)
    }

    /// Ends what a flood brought upon a source that is known now. Tells whether it did.
    pub(super) fn relieve(&mut self, source: Source) -> bool {
        let is_flood = |ban: &Ban| ban.reason == Reason::Flood;
        self.bans.get(&source).is_some_and(is_flood) && self.remove(source)
    }

    /// Bans a source whatever it did. `false` where there is no room.
    pub(super) fn add(&mut self, source: Source, ban: Ban) -> bool {
        self.put(source, ban)
    }

    /// Ends a ban, and forgets what led to it.
    pub(super) fn lift(&mut self, source: Source) -> bool {
        if let Some(record) = self.records.get_mut(&source) {
            record.score.points = 0;
            record.guessed = 0;
            record.offences = 0;
        }
        self.remove(source)
    }

    /// Takes out the bans that are over.
    pub(super) fn expire(&mut self, now: Instant) {
        for expiries in &mut self.expiries {
            while let Some((until, source)) = expiries.first().copied()
                && until <= now
            {
                expiries.pop_first();
                self.bans.remove(&source);
            }
        }
    }

    /// How many there are, those that ended and were not taken out yet included.
    pub(super) fn len(&self) -> usize {
        self.bans.len()
    }

    /// Each that is in force.
    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = (Source, &Ban)> {
        self.bans
            .iter()
            .filter(move |(_, ban)| ban.until > now)
            .map(|(source, ban)| (*source, ban))
    }

    /// How many sources are remembered, or users of sources.
    #[cfg(test)]
    pub(super) fn records(&self) -> usize {
        let sources = self.records.len().max(self.order.len());
        sources.max(self.guesses.len())
    }

    fn remove(&mut self, source: Source) -> bool {
        let Some(ban) = self.bans.remove(&source) else {
            return false;
        };
        self.expiries[ban.reason.rank()].remove(&(ban.until, source));
        true
    }

    /// `false` where all places are taken by bans of a higher rank: a flood in forged names pushes out
    /// nobody who is banned for what it did, and nobody at all whom an operator banned.
    fn put(&mut self, source: Source, ban: Ban) -> bool {
        let rank = ban.reason.rank();
        self.remove(source);
        if self.bans.len() >= self.rules.bans {
            // Nor does an operator's ban push out another one.
            let mut lower = self.expiries[..2.min(rank + 1)].iter_mut();
            let Some((_, first)) = lower.find_map(BTreeSet::pop_first) else {
                return false;
            };
            self.bans.remove(&first);
        }
        self.expiries[rank].insert((ban.until, source));
        self.bans.insert(source, ban);
        true
    }

    fn record(&mut self, now: Instant, source: Source) -> &mut Record {
        if !self.records.contains_key(&source) {
            if self.order.len() >= self.rules.sources
                && let Some(oldest) = self.order.pop_front()
            {
                self.records.remove(&oldest);
            }
            self.order.push_back(source);
        }
        self.records.entry(source).or_insert_with(|| Record {
            score: Score::new(now),
            guessed: 0,
            offences: 0,
            offences_until: None,
        })
    }
}
