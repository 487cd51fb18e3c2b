//! Who is held off, and how much strangers may ask.
//!
//! In the order of what it costs: the XDP program drops what banned sources send to the SIP ports;
//! what comes past it is refused here before it is parsed ([`Defence::is_banned`],
//! [`Defence::judge`]); a worker reports what a source then does ([`Defence::report`]), and enough of
//! it within the window bans the source. Sources of the allow set are never held against anything.
//!
//! # What may ban whom
//!
//! Anybody can put anybody's address on a datagram. So over UDP a source is only banned for what shows
//! that it receives at its address: a digest with a nonce that was made for it. What datagrams alone can
//! bring about is silence for scanners, empty buckets, and half a minute in which a source whose bucket
//! has long been empty is held to a trickle; and not even that where the source has shown before that
//! it is one of ours.
//!
//! # Who is who
//!
//! A source of the allow set is a trunk's. Another is known once credentials that hold came from it, a
//! trunk's certificate, or an answer to a request of ours; so a thousand phones behind one address are
//! known by the first of them. All others are strangers, who have a bucket each, one for each network, and
//! one all together: a flood from addresses without number empties that last one and costs no more than
//! to look. What answers a challenge of ours for the first time, from where it was sent to, is no
//! stranger's: who began gets to an end.
//!
//! # Wrong passwords
//!
//! They are counted by source and user. From an address that is known, where an office of phones may be, the
//! first of each user counts in full and those that follow next to nothing: an old password in one phone
//! bans nobody, guesses at several users do. A right one ends what is held for its own user's sake, not for
//! others', and does not make the next ban shorter.
//!
//! Everything here is told the time. What sockets, logs and mediad have to do with it is in `task`.

mod ban;
mod blocks;
mod bucket;
mod command;
mod evidence;
mod guesses;
mod kept;
mod kernel;
mod known;
mod peek;
mod source;
mod task;

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use control::config::{self, Cidr, Transport};
use tokio::sync::Notify;

use self::{
    ban::{Bans, Hit, Rules},
    blocks::Blocks,
    bucket::{Buckets, Class, NETWORK, Rates, Taken},
};
use crate::net::Flow;

pub(crate) use ban::Ban;
pub(crate) use bucket::Cap;
pub(crate) use evidence::Evidence;
pub(crate) use kept::Kept;
pub(crate) use peek::{Kind, Peek};
pub(crate) use source::Source;
pub(crate) use task::Guard;

/// Parts that the sources are spread over, so that workers seldom wait for each other.
const SHARDS: usize = 16;
/// Bans at most: what the XDP program's table holds.
pub(crate) const BANS: usize = 65_536;
/// Sources that something is held against, and those that are known, at most each.
const SOURCES: usize = 262_144;
/// Sets of four buckets at most.
const SETS: usize = 16_384;
/// Banned blocks of an operator at most.
pub(crate) const RANGES: usize = 1_024;
/// Changes that may wait for being made known; beyond that, all bans are made known anew.
const CHANGES: usize = 4_096;

/// Nothing that could prove anything.
const NOBODY: Option<fn() -> bool> = None;

/// What the sources of a node have done, and what follows for them. Shared by all workers and sockets.
#[derive(Debug)]
pub(crate) struct Defence {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    epoch: Instant,
    policy: ArcSwap<Policy>,
    ranges: ArcSwap<Blocks<Ban>>,
    /// What all strangers together may ask, by datagrams and by streams: a flood of the one leaves the
    /// other alone.
    strangers: ArcSwap<[Caps; 2]>,
    /// Bans and banned blocks in force: nothing is looked up while there is none.
    active: AtomicUsize,
    changes: Mutex<Vec<Change>>,
    overrun: AtomicBool,
    changed: Notify,
    /// In milliseconds.
    shed_after: AtomicU64,
}

/// What is asked of each message, and a reload may replace.
#[derive(Clone, Debug, Default)]
struct Policy {
    allow: Blocks<()>,
    /// In lower case.
    scanners: Vec<Vec<u8>>,
    /// The user parts that call for help.
    emergency: Vec<String>,
}

#[derive(Debug)]
struct Caps {
    /// What begins something.
    requests: Cap,
    /// What belongs to something, or so it says.
    others: Cap,
    /// Looks at whether a nonce is one of ours, which take longer than all else here.
    proofs: Cap,
}

#[derive(Debug)]
struct Shard {
    bans: Bans,
    buckets: Buckets,
}

/// What became of a ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is in force, from now until then.
    Banned(Cidr, Ban),
    /// Its end has moved.
    Moved(Cidr, Instant),
    /// It was lifted.
    Lifted(Cidr),
}

/// Who a source is, as far as its address tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Of the allow set, which has every trunk.
    Trusted,
    /// It showed lately that it is one of ours.
    Known,
    /// Anybody.
    Stranger,
}

/// What to do with a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Work on it, as on one of such a source.
    Pass(Standing),
    /// A scanner's: silence tells it nothing.
    Scanner,
    /// The source, or its network, has asked too much.
    Limited,
    /// All strangers together have.
    Crowd,
}

/// Why a ban was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BanError {
    /// It would shut out an address that is never banned.
    #[error("it is in, or around, an address of a trunk or a block of [sip.defence] allow")]
    Allowed,
    /// The table is full.
    #[error(
        "the table of banned blocks ({RANGES}) or addresses ({BANS}) is full: lift some, or use the firewall"
    )]
    Full,
}

impl Defence {
    /// With nobody banned. `t1` is the transactions' timer; `now` begins the engine's time.
    pub(crate) fn new(config: &config::Defence, t1: Duration, now: Instant) -> Self {
        let (rules, rates) = (rules(config), rates(config));
        let shard = || {
            Mutex::new(Shard {
                bans: Bans::new(rules),
                buckets: Buckets::new(SETS / SHARDS, rates),
            })
        };
        let policy = Policy {
            allow: config.allow.iter().copied().collect(),
            scanners: scanners(config),
            emergency: Vec::new(),
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            epoch: now,
            policy: ArcSwap::from_pointee(policy),
            ranges: ArcSwap::default(),
            strangers: ArcSwap::from_pointee(caps(config)),
            active: AtomicUsize::new(0),
            changes: Mutex::default(),
            overrun: AtomicBool::new(false),
            changed: Notify::new(),
            shed_after: AtomicU64::new(shed_after(config, t1)),
        }
    }

    /// Takes over what a configuration says, but for the allow set: that is [`Defence::set_policy`]'s.
    pub(crate) fn reload(&self, config: &config::Defence, t1: Duration) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.bans.set_rules(rules(config));
            shard.buckets.set_rates(rates(config));
        }
        self.strangers.store(Arc::new(caps(config)));
        self.policy.rcu(|policy| Policy {
            scanners: scanners(config),
            ..Policy::clone(policy)
        });
        self.shed_after.store(shed_after(config, t1), Relaxed);
    }

    /// Replaces the allow set, and the user parts of emergency calls. Whoever is allowed now is not
    /// banned any more.
    pub(crate) fn set_policy(
        &self,
        now: Instant,
        allow: impl IntoIterator<Item = Cidr>,
        emergency: Vec<String>,
    ) {
        let policy = Policy {
            allow: allow.into_iter().collect(),
            scanners: self.policy.load().scanners.clone(),
            emergency,
        };
        self.policy.store(policy.into());
        // mediad has to know the allow set too.
        self.overrun.store(true, Relaxed);
        self.changed.notify_one();
        let is_freed = |block: &Cidr| self.is_allowed(block.address());
        let freed = self.list(now).into_iter().map(|(block, _)| block);
        for block in freed.filter(is_freed).collect::<Vec<_>>() {
            self.lift(block);
        }
    }

    /// Whether an address is in the allow set.
    pub(crate) fn is_allowed(&self, address: IpAddr) -> bool {
        self.policy.load().allow.find(address).is_some()
    }

    /// How long a request may wait in this node.
    pub(crate) fn shed_after(&self) -> Duration {
        Duration::from_millis(self.shed_after.load(Relaxed))
    }

    /// Who a source is.
    pub(crate) fn standing(&self, now: Instant, address: IpAddr) -> Standing {
        if self.is_allowed(address) {
            return Standing::Trusted;
        }
        let is_known = self.shard(address).bans.is_known(now, Source::of(address));
        match is_known {
            true => Standing::Known,
            false => Standing::Stranger,
        }
    }

    /// Whether a source is banned, as it sends something over `transport` or opens a connection. A
    /// connection makes its ban last longer.
    pub(crate) fn is_banned(&self, now: Instant, address: IpAddr, transport: Transport) -> bool {
        if self.active.load(Relaxed) == 0 || self.is_allowed(address) {
            return false;
        }
        let ranges = self.ranges.load();
        if ranges.find(address).is_some_and(|ban| ban.until > now) {
            return true;
        }
        let source = Source::of(address);
        let is_stream = transport != Transport::Udp;
        let hit = self.shard(address).bans.hit(now, source, is_stream);
        if let Some(Hit { moved: Some(until) }) = hit {
            self.push(Change::Moved(source.block(), until));
        }
        hit.is_some()
    }

    /// What to do with a message of a source that is not banned. `proves` tells whether credentials answer
    /// a challenge that was sent to its source; it is asked only where that matters.
    pub(crate) fn judge(
        &self,
        now: Instant,
        flow: &Flow,
        peek: &Peek<'_>,
        proves: impl FnOnce(&[u8]) -> bool,
    ) -> Verdict {
        let class = |standing| match peek.kind {
            Kind::Cancel => Class::Within,
            _ if peek.is_within(standing) => Class::Within,
            Kind::Register => Class::Register,
            Kind::Invite => Class::Invite,
            _ => Class::Other,
        };
        let address = flow.remote.ip();
        let policy = self.policy.load();
        if policy.allow.find(address).is_some() {
            return Verdict::Pass(Standing::Trusted);
        }
        if peek.kind != Kind::Response && policy.is_scanner(peek) {
            drop(policy);
            self.report(now, flow, Evidence::Scanner);
            // Each costs a token, so that one that is never answered and goes on floods.
            self.take(now, flow, class, NOBODY);
            return Verdict::Scanner;
        }
        if peek.kind == Kind::Invite && policy.is_emergency(peek.uri) {
            let standing = self.standing(now, address);
            if standing != Standing::Stranger {
                return Verdict::Pass(standing);
            }
            // He has to say who he is, as for any call; that he calls for help is easily said, too.
            drop(policy);
            let proves = peek.credentials.map(|value| move || proves(value));
            return self.take(now, flow, |_| Class::Within, proves);
        }
        drop(policy);
        let proves = peek.credentials.map(|value| move || proves(value));
        self.take(now, flow, class, proves)
    }

    /// Whether a source may ask for what no message is: it costs a token of `others`.
    pub(crate) fn admits_other(&self, now: Instant, flow: &Flow) -> bool {
        self.is_allowed(flow.remote.ip())
            || matches!(
                self.take(now, flow, |_| Class::Other, NOBODY),
                Verdict::Pass(_)
            )
    }

    /// Whether a call for help: never shed, and of nobody who is known limited.
    pub(crate) fn is_emergency(&self, uri: &[u8]) -> bool {
        self.policy.load().is_emergency(uri)
    }

    /// Reports what the source of `flow` did. Tells whether it is banned for it from now on.
    pub(crate) fn report(&self, now: Instant, flow: &Flow, evidence: Evidence) -> bool {
        self.report_from(now, flow.remote.ip(), flow.transport, evidence)
    }

    /// The same of what is about a user's credentials, that answered a nonce which was given to the source.
    pub(crate) fn report_user(
        &self,
        now: Instant,
        flow: &Flow,
        evidence: Evidence,
        user: &str,
    ) -> bool {
        let address = flow.remote.ip();
        let user = self.hasher.hash_one((Source::of(address), user));
        self.hold(now, address, flow.transport, evidence, Some(user))
    }

    /// The same where there is no flow yet, or none any more.
    pub(crate) fn report_from(
        &self,
        now: Instant,
        address: IpAddr,
        transport: Transport,
        evidence: Evidence,
    ) -> bool {
        self.hold(now, address, transport, evidence, None)
    }

    fn hold(
        &self,
        now: Instant,
        address: IpAddr,
        transport: Transport,
        evidence: Evidence,
        user: Option<u64>,
    ) -> bool {
        let points = evidence.points(transport);
        if points == 0 && !evidence.is_good() || self.is_allowed(address) {
            return false;
        }
        let source = Source::of(address);
        let mut shard = self.shard(address);
        let banned = shard.bans.report(now, source, evidence, points, user);
        if banned {
            self.announce(now, &shard, source);
        } else if evidence.is_good() && shard.bans.relieve(source) {
            // Where it was counted anew meanwhile, it is not there any more.
            let less = |active: usize| active.checked_sub(1);
            let _ = self.active.fetch_update(Relaxed, Relaxed, less);
            self.push(Change::Lifted(source.block()));
        }
        banned
    }

    /// Knows a source that phones had registered from before this process began.
    pub(crate) fn remember(&self, now: Instant, address: IpAddr) {
        self.report_from(now, address, Transport::Udp, Evidence::Registered);
    }

    /// Bans a block for so long, whatever it did; `words` say why.
    pub(crate) fn ban(
        &self,
        now: Instant,
        block: Cidr,
        length: Duration,
        words: &str,
    ) -> Result<(), BanError> {
        self.put(now, block, Ban::by_operator(now, now + length, words))
    }

    /// Bans a block by an operator's ban.
    fn put(&self, now: Instant, block: Cidr, ban: Ban) -> Result<(), BanError> {
        let allow = self.policy.load();
        if allow.allow.find(block.address()).is_some() || allow.allow.touches(block) {
            return Err(BanError::Allowed);
        }
        let source = Source::of(block.address());
        if source.block() == block.network() {
            let mut shard = self.shard(block.address());
            if !shard.bans.add(source, ban) {
                return Err(BanError::Full);
            }
            self.announce(now, &shard, source);
            return Ok(());
        }
        let mut ranges = Blocks::clone(&self.ranges.load());
        if ranges.len() >= RANGES {
            return Err(BanError::Full);
        }
        ranges.insert(block, ban.clone());
        self.ranges.store(ranges.into());
        self.recount();
        self.push(Change::Banned(block.network(), ban));
        Ok(())
    }

    /// Lifts the ban of exactly this block. Tells whether there was one.
    pub(crate) fn lift(&self, block: Cidr) -> bool {
        let source = Source::of(block.address());
        let mut lifted = false;
        // An address of a /64 stands for all of it.
        if source.block().contains(block.address()) && block.prefix() >= source.block().prefix() {
            lifted |= self.shard(block.address()).bans.lift(source);
            if lifted {
                self.push(Change::Lifted(source.block()));
            }
        }
        let mut ranges = Blocks::clone(&self.ranges.load());
        if ranges.remove(block).is_some() {
            self.ranges.store(ranges.into());
            self.push(Change::Lifted(block.network()));
            lifted = true;
        }
        self.recount();
        lifted
    }

    /// Every ban in force.
    pub(crate) fn list(&self, now: Instant) -> Vec<(Cidr, Ban)> {
        let mut bans: Vec<_> = self
            .ranges
            .load()
            .iter()
            .filter(|(_, ban)| ban.until > now)
            .map(|(block, ban)| (block, ban.clone()))
            .collect();
        for shard in &self.shards {
            let shard = lock(shard);
            let own = shard.bans.iter(now);
            bans.extend(own.map(|(source, ban)| (source.block(), ban.clone())));
        }
        bans
    }

    /// The blocks of the allow set.
    pub(crate) fn allowed(&self) -> Vec<Cidr> {
        let policy = self.policy.load();
        policy.allow.iter().map(|(block, ())| block).collect()
    }

    /// Takes out what is over; to be called once in a while.
    pub(crate) fn expire(&self, now: Instant) {
        for shard in &self.shards {
            lock(shard).bans.expire(now);
        }
        let ranges = self.ranges.load();
        if ranges.iter().any(|(_, ban)| ban.until <= now) {
            let left = ranges.iter().filter(|(_, ban)| ban.until > now);
            let left: Blocks<Ban> = left.map(|(block, ban)| (block, ban.clone())).collect();
            self.ranges.store(left.into());
        }
        self.recount();
    }

    /// What changed since the last time; `None` where so much did that all has to be looked at.
    pub(crate) fn take_changes(&self) -> Option<Vec<Change>> {
        let changes = std::mem::take(&mut *lock(&self.changes));
        (!self.overrun.swap(false, Relaxed)).then_some(changes)
    }

    /// Completes when [`Defence::take_changes`] has something to give.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How many bans and banned blocks there are.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Relaxed)
    }

    /// Takes a token of the class that it has by the standing of its source.
    fn take(
        &self,
        now: Instant,
        flow: &Flow,
        class: impl Fn(Standing) -> Class,
        proves: Option<impl FnOnce() -> bool>,
    ) -> Verdict {
        let address = flow.remote.ip();
        let is_stream = flow.transport != Transport::Udp;
        let time = u64::try_from(now.saturating_duration_since(self.epoch).as_nanos());
        let time = time.unwrap_or(u64::MAX / 2);
        let source = Source::of(address);
        // A stream's address is no forgery: what datagrams in its name ask is counted apart.
        let own = self.hasher.hash_one((source, is_stream));
        let network = Source::network(address);
        let shared = self.hasher.hash_one((network, is_stream));
        let strangers = self.strangers.load();
        let caps = &strangers[usize::from(is_stream)];
        let mut shard = self.shard(address);
        let mut standing = Standing::Stranger;
        if shard.bans.is_known(now, source) {
            standing = Standing::Known;
        } else if let Some(proves) = proves
            && caps.proofs.take(time)
        {
            // It takes a while, in which others of the same shard need not wait.
            drop(shard);
            if proves() {
                standing = Standing::Known;
            }
            shard = self.shard(address);
        }
        let class = class(standing);
        let is_known = standing == Standing::Known;
        let Shard { bans, buckets } = &mut *shard;
        let taken = match buckets.take(time, own, class, 1, is_known) {
            Taken::Within => buckets.take(time, shared, class, NETWORK, is_known),
            // The network's others are not this one's business.
            refused => refused,
        };
        match taken {
            Taken::Within => {}
            Taken::Over => return Verdict::Limited,
            Taken::Flood => {
                // A stream has shown whose it is, and is closed where it goes on.
                if !is_stream && bans.flood(now, source) {
                    self.announce(now, &shard, source);
                }
                return Verdict::Limited;
            }
        }
        drop(shard);
        let cap = match class {
            Class::Within => &caps.others,
            _ => &caps.requests,
        };
        if standing == Standing::Stranger && !cap.take(time) {
            return Verdict::Crowd;
        }
        Verdict::Pass(standing)
    }

    fn announce(&self, now: Instant, shard: &Shard, source: Source) {
        if let Some(ban) = shard.bans.find(now, source) {
            self.active.fetch_add(1, Relaxed);
            self.push(Change::Banned(source.block(), ban.clone()));
        }
    }

    fn recount(&self) {
        let bans: usize = self.shards.iter().map(|shard| lock(shard).bans.len()).sum();
        self.active.store(bans + self.ranges.load().len(), Relaxed);
    }

    fn push(&self, change: Change) {
        let mut changes = lock(&self.changes);
        if changes.len() < CHANGES {
            changes.push(change);
        } else {
            self.overrun.store(true, Relaxed);
        }
        drop(changes);
        self.changed.notify_one();
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(Source::network(address));
        let index = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        lock(&self.shards[index])
    }
}

impl Policy {
    fn is_scanner(&self, peek: &Peek<'_>) -> bool {
        let Some(agent) = peek.user_agent else {
            return false;
        };
        let has = |pattern: &Vec<u8>| {
            let mut windows = agent.windows(pattern.len().max(1));
            windows.any(|window| window.eq_ignore_ascii_case(pattern))
        };
        self.scanners.iter().any(has)
    }

    fn is_emergency(&self, uri: &[u8]) -> bool {
        let Ok(uri) = str::from_utf8(uri) else {
            return false;
        };
        let Some((scheme, rest)) = uri.split_once(':') else {
            return false;
        };
        if scheme.eq_ignore_ascii_case("urn") {
            let service = rest.get(..11);
            return service.is_some_and(|service| service.eq_ignore_ascii_case("service:sos"));
        }
        let user = rest.split(['@', ';']).next().unwrap_or_default();
        self.emergency.iter().any(|number| number == user)
    }
}

fn rules(config: &config::Defence) -> Rules {
    Rules {
        threshold: config.threshold.max(1),
        window: Duration::from_secs(config.window.into()),
        first: Duration::from_secs(config.ban.into()),
        sources: SOURCES / SHARDS,
        bans: BANS / SHARDS,
        trickle: config.registers,
    }
}

/// By datagrams, and by streams.
fn caps(config: &config::Defence) -> [Caps; 2] {
    [(), ()].map(|()| Caps {
        requests: Cap::new(config.strangers),
        others: Cap::new(config.strangers),
        proofs: Cap::new(config.strangers.saturating_mul(4)),
    })
}

fn rates(config: &config::Defence) -> Rates {
    let within = 500_u32.max(config.invites.saturating_mul(10));
    [config.registers, config.invites, config.others, within]
}

/// In lower case.
fn scanners(config: &config::Defence) -> Vec<Vec<u8>> {
    let patterns = config.scanners.iter();
    patterns
        .map(|pattern| pattern.trim().to_ascii_lowercase().into_bytes())
        .collect()
}

/// In milliseconds.
fn shed_after(config: &config::Defence, t1: Duration) -> u64 {
    config.shed_after.map_or_else(
        || u64::try_from(16 * t1.as_millis()).unwrap_or(u64::MAX),
        u64::from,
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock; if something did, the table is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
