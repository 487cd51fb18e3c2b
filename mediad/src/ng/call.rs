//! What is known of a call: its parties by their tags, and the streams between them.
//!
//! The first offerer is party A. Whom it calls are branches: one, or several where a proxy forks. Each branch has a
//! session of the engine for each `m=` line, and so ports of its own. Where another tag that nobody knows offers with the
//! same Call-ID, that one is the party A of branches of its own.

mod parts;

use std::time::{Instant, SystemTime};

use control::media::{SessionId, Side};
use ng::{made::Sketch, options::Mux};

use super::{
    subscription::{Source, Subscription},
    wanted::Wanted,
};

pub(super) use self::parts::{Branch, Offer, Part, Party, Stream, Totals, UnknownTags};

/// A call, from its first offer to its deletion.
#[derive(Debug)]
pub(super) struct Call {
    /// Those who called: one, as a rule.
    pub(super) callers: Vec<Party>,
    pub(super) branches: Vec<Branch>,
    pub(super) created: SystemTime,
    pub(super) last_signal: SystemTime,
    /// Somebody has answered it.
    pub(super) answered: bool,
    /// When all of it is to be deleted. An offer or an answer calls that off.
    pub(super) delete_at: Option<Instant>,
    /// Seconds that a deletion is put off where it does not say.
    pub(super) delete_delay: u32,
    /// What is wanted of all media.
    pub(super) wanted: Wanted,
    /// Who hears its parties beside.
    pub(super) subscriptions: Vec<Subscription>,
    /// It is in the table of calls no more.
    pub(super) ended: bool,
    next_branch: u32,
}

impl Call {
    /// A call whose first offer came with `tag`.
    pub(super) fn new(tag: &[u8]) -> Self {
        let now = SystemTime::now();
        Self {
            callers: vec![Party::of(tag)],
            branches: Vec::new(),
            created: now,
            last_signal: now,
            answered: false,
            delete_at: None,
            delete_delay: 0,
            wanted: Wanted::default(),
            subscriptions: Vec::new(),
            ended: false,
            next_branch: 0,
        }
    }

    /// Notes an offer or an answer for the branch at `at`: what was put off of it is called off.
    pub(super) fn signal(&mut self, at: usize) {
        self.last_signal = SystemTime::now();
        self.delete_at = None;
        if let Some(branch) = self.branches.get_mut(at) {
            branch.signalled = Instant::now();
            branch.delete_at = None;
        }
    }

    /// Has a part deleted at a later time.
    pub(super) fn put_off(&mut self, part: Part, until: Instant) {
        match part {
            Part::Whole => self.delete_at = Some(until),
            Part::Caller(caller) => {
                let own = self.branches.iter_mut();
                own.filter(|branch| branch.caller == caller)
                    .for_each(|branch| branch.delete_at = Some(until));
            }
            Part::Branch(number) => {
                if let Some(branch) = self.branch(number) {
                    branch.delete_at = Some(until);
                }
            }
            Part::Former => {}
        }
    }

    /// When something of it is to be deleted next.
    pub(super) fn next_deletion(&self) -> Option<Instant> {
        let branches = self.branches.iter().filter_map(|branch| branch.delete_at);
        branches.chain(self.delete_at).min()
    }

    /// What of it is to be deleted now.
    pub(super) fn due(&self, now: Instant) -> Vec<Part> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.delete_at) {
            return vec![Part::Whole];
        }
        let due = self
            .branches
            .iter()
            .filter(|branch| is_due(branch.delete_at));
        due.map(|branch| Part::Branch(branch.number)).collect()
    }

    /// Who offers, and the branch that the offer is for; a new one where it is for none that is there.
    ///
    /// A tag that nobody knows begins a dialogue of its own within the call, as a phone behind a B2BUA may, or who is
    /// called back.
    pub(super) fn offerer(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        via: Option<&[u8]>,
    ) -> (Side, usize) {
        let is_pair = |branch: &Branch| to.is_some_and(|to| self.callers[branch.caller].is(to));
        let answerers = |branch: &Branch| branch.b.is(from);
        let of_pair = self.position(|branch| answerers(branch) && is_pair(branch));
        if let Some(at) = of_pair.or_else(|| self.position(answerers)) {
            return (Side::B, at);
        }
        let caller = self.caller(from).unwrap_or_else(|| {
            self.callers.push(Party::of(from));
            self.callers.len() - 1
        });
        let is_own = |branch: &Branch| branch.caller == caller;
        let by_tag = to.and_then(|to| self.position(|branch| is_own(branch) && branch.b.is(to)));
        let found = match (by_tag, via) {
            (Some(at), _) => Some(at),
            (None, Some(via)) => {
                self.position(|branch| is_own(branch) && branch.via.as_deref() == Some(via))
            }
            // Who forks without saying so has one branch for all.
            (None, None) => self.branches.iter().rposition(is_own),
        };
        (Side::A, found.unwrap_or_else(|| self.add(caller, via)))
    }

    /// The branch that an answer of `to` is for, and who has offered there.
    pub(super) fn answered(
        &mut self,
        from: &[u8],
        to: &[u8],
        via: Option<&[u8]>,
    ) -> Result<(Side, usize), UnknownTags> {
        if let Some(caller) = self.caller(to)
            && let Some(at) = self.position(|branch| branch.caller == caller && branch.b.is(from))
        {
            return Ok((Side::B, at));
        }
        let caller = self.caller(from).ok_or(UnknownTags)?;
        let is_own = |branch: &Branch| branch.caller == caller;
        let by_via = via.and_then(|via| {
            self.position(|branch| is_own(branch) && branch.via.as_deref() == Some(via))
        });
        let by_tag = self.position(|branch| is_own(branch) && branch.b.is(to));
        let open = self
            .branches
            .iter()
            .rposition(|branch| is_own(branch) && branch.b.tag.is_none());
        let last = self.branches.iter().rposition(is_own);
        let found = by_via.or(by_tag).or(open).or(last);
        found.map(|at| (Side::A, at)).ok_or(UnknownTags)
    }

    /// What is to be deleted.
    pub(super) fn part(
        &self,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        via: Option<&[u8]>,
    ) -> Result<Part, UnknownTags> {
        let Some(from) = from else {
            return Ok(Part::Whole);
        };
        let of = |caller: Option<usize>, tag: &[u8]| {
            let own = || {
                let all = self.branches.iter();
                all.filter(move |branch| caller.is_none_or(|caller| branch.caller == caller))
            };
            let now = own().find(|branch| branch.b.is(tag));
            let now = now.map(|branch| Part::Branch(branch.number));
            let former = || {
                let mut all = own().flat_map(|branch| &branch.former);
                all.any(|former| former == tag).then_some(Part::Former)
            };
            now.or_else(former)
        };
        if let Some(to) = to {
            let callee =
                |caller: Option<usize>, tag: &[u8]| caller.filter(|_| of(caller, tag).is_some());
            let (by_to, by_from) = (self.caller(to), self.caller(from));
            // The callee's BYE: phones that were called beside it ring no more. The caller's may be of an early dialog.
            let is_bye = callee(by_to, from).is_some_and(|caller| {
                let own = self
                    .branches
                    .iter()
                    .filter(|branch| branch.caller == caller);
                let mut answered = own.filter(|branch| branch.b.tag.is_some());
                let is_his = |branch: &Branch| branch.caller == caller && branch.b.is(from);
                self.position(is_his).is_some() && answered.nth(1).is_none()
            });
            if let Some(caller) = by_to.filter(|_| is_bye) {
                return Ok(self.whole(caller));
            }
            let part = by_from.and_then(|_| of(by_from, to));
            let part = part.or_else(|| by_to.and_then(|_| of(by_to, from)));
            // An answer that never came here has a tag that nobody knows.
            let caller = by_from.or(by_to);
            return part
                .or_else(|| Some(self.whole(caller?)))
                .ok_or(UnknownTags);
        }
        let is_of = |branch: &&Branch| branch.via.as_deref() == via;
        if let Some(branch) = via.and_then(|_| self.branches.iter().find(is_of)) {
            return Ok(Part::Branch(branch.number));
        }
        let callee = || {
            let is_his = |branch: &&Branch| branch.b.is(from);
            let branch = self.branches.iter().find(is_his);
            branch.map(|branch| self.whole(branch.caller))
        };
        let caller = self.caller(from).map(|caller| self.whole(caller));
        let former = || of(None, from).map(|_| Part::Whole);
        caller.or_else(callee).or_else(former).ok_or(UnknownTags)
    }

    /// All that is of a caller.
    const fn whole(&self, caller: usize) -> Part {
        match self.callers.len() {
            1 => Part::Whole,
            _ => Part::Caller(caller),
        }
    }

    /// The parties that `is` names, as branches and sides.
    pub(super) fn parties(&self, is: impl Fn(&Branch, Side, &Party) -> bool) -> Vec<(u32, Side)> {
        let mut found = Vec::new();
        for branch in &self.branches {
            for side in [Side::A, Side::B] {
                if is(branch, side, self.party(branch, side)) {
                    found.push((branch.number, side));
                }
            }
        }
        found
    }

    /// A party of a branch.
    pub(super) fn party<'a>(&'a self, branch: &'a Branch, side: Side) -> &'a Party {
        match side {
            Side::A => &self.callers[branch.caller],
            Side::B => &branch.b,
        }
    }

    /// The same, of the branch at `at`.
    pub(super) fn party_at(&mut self, at: usize, side: Side) -> &mut Party {
        let branch = &mut self.branches[at];
        match side {
            Side::A => &mut self.callers[branch.caller],
            Side::B => &mut branch.b,
        }
    }

    /// All that is wanted of what the parties of a branch send.
    pub(super) fn wanted(&self, branch: &Branch) -> [Wanted; 2] {
        [Side::A, Side::B].map(|side| {
            let own = branch.wanted[index(side)].with(self.party(branch, side).wanted);
            own.with(self.wanted)
        })
    }

    pub(super) fn branch(&mut self, number: u32) -> Option<&mut Branch> {
        self.branches
            .iter_mut()
            .find(|branch| branch.number == number)
    }

    /// Takes the branches of `part` out.
    pub(super) fn take(&mut self, part: Part) -> Vec<Branch> {
        match part {
            Part::Whole => std::mem::take(&mut self.branches),
            Part::Caller(caller) => {
                let taken = self
                    .branches
                    .extract_if(.., |branch| branch.caller == caller);
                taken.collect()
            }
            Part::Branch(number) => {
                let taken = self
                    .branches
                    .extract_if(.., |branch| branch.number == number);
                taken.collect()
            }
            Part::Former => Vec::new(),
        }
    }

    /// The sessions.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.branches.iter().flat_map(Branch::sessions)
    }

    fn position(&self, is: impl Fn(&Branch) -> bool) -> Option<usize> {
        self.branches.iter().position(is)
    }

    /// Whether a party that speaks has this tag.
    pub(super) fn party_of(&self, tag: &[u8]) -> bool {
        self.caller(tag).is_some() || self.position(|branch| branch.b.is(tag)).is_some()
    }

    /// The label of the party of this tag.
    pub(super) fn label_of(&self, tag: &[u8]) -> Option<&[u8]> {
        let callees = self.branches.iter().map(|branch| &branch.b);
        let mut all = self.callers.iter().chain(callees);
        all.find(|party| party.is(tag))?.label.as_deref()
    }

    /// The stream of a session.
    pub(super) fn stream(&self, session: SessionId) -> Option<&Stream> {
        let streams = self.branches.iter().flat_map(|branch| &branch.streams);
        let mut streams = streams.flatten();
        streams.find(|stream| stream.session.id == session)
    }

    /// What the party sends in a stream that is heard: of what it has said of its formats what the other one takes, once
    /// that is known.
    pub(super) fn sketch(&self, source: &Source) -> Option<Sketch> {
        let stream = self.stream(source.session)?;
        let [own, other] =
            [source.side, source.side.other()].map(|side| &stream.sketches[index(side)]);
        let own = own.as_ref()?;
        Some(
            other
                .as_ref()
                .map_or_else(|| own.clone(), |other| own.towards(other)),
        )
    }

    /// Notes that a session is over: nobody hears it any more.
    pub(super) fn silence(&mut self, session: SessionId) {
        let sources = self
            .subscriptions
            .iter_mut()
            .flat_map(|one| &mut one.sources);
        sources
            .filter(|source| source.session == session)
            .for_each(|source| source.gone = true);
    }

    /// Who calls with this tag.
    pub(super) fn caller(&self, tag: &[u8]) -> Option<usize> {
        self.callers.iter().position(|party| party.is(tag))
    }

    fn add(&mut self, caller: usize, via: Option<&[u8]>) -> usize {
        self.next_branch += 1;
        // Most calls have one.
        self.branches.reserve_exact(1);
        self.branches.push(Branch {
            number: self.next_branch,
            caller,
            via: via.map(<[u8]>::to_vec),
            b: Party::default(),
            former: Vec::new(),
            created: SystemTime::now(),
            signalled: Instant::now(),
            delete_at: None,
            streams: Vec::new(),
            handling: Default::default(),
            untold: false,
            wanted: Default::default(),
            is_published: false,
            excluded: false,
            offer: Offer {
                by: Side::A,
                mux: Mux::default(),
                record: None,
            },
            gone: Totals::default(),
        });
        self.branches.len() - 1
    }
}

/// Where a side stands in the arrays of a [`Stream`].
pub(super) const fn index(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

#[cfg(test)]
mod tests;
