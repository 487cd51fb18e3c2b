//! What is known of a call: its parties by their tags, and the streams between them.
//!
//! The first offerer is party A. Whom it calls are branches: one, or several where a proxy forks. Each branch has a
//! session of the engine for each `m=` line, and so ports of its own.

use std::time::{Instant, SystemTime};

use control::media::{
    Family, FlowStats, Handling, RecordFormat, Remote, SessionId, SessionInfo, SessionStats, Side,
};
use ng::{description::Face, options::Mux};

/// A call, from its first offer to its deletion.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) a: Party,
    pub(super) branches: Vec<Branch>,
    pub(super) created: SystemTime,
    pub(super) last_signal: SystemTime,
    /// Somebody has answered it.
    pub(super) answered: bool,
    /// When all of it is to be deleted. An offer or an answer calls that off.
    pub(super) delete_at: Option<Instant>,
    /// Seconds that a deletion is put off where it does not say.
    pub(super) delete_delay: u32,
    /// It is in the table of calls no more.
    pub(super) ended: bool,
    next_branch: u32,
}

/// A party of a call.
#[derive(Debug, Default)]
pub(super) struct Party {
    /// `None` until it has answered.
    pub(super) tag: Option<Vec<u8>>,
    pub(super) label: Option<Vec<u8>>,
    /// What it was shown.
    pub(super) face: Face,
}

/// Somebody whom party A calls.
#[derive(Debug)]
pub(super) struct Branch {
    /// Names it among those of its call.
    pub(super) number: u32,
    pub(super) via: Option<Vec<u8>>,
    pub(super) b: Party,
    /// Tags that answered this branch before `b` did.
    pub(super) former: Vec<Vec<u8>>,
    pub(super) created: SystemTime,
    /// When it was last offered or answered.
    pub(super) signalled: Instant,
    /// When it is to be deleted. An offer or an answer for it calls that off.
    pub(super) delete_at: Option<Instant>,
    /// By index of the `m=` line; `None` for one that was not offered, or has been freed.
    pub(super) streams: Vec<Option<Stream>>,
    /// How the legs of A and B are treated.
    pub(super) handling: [Handling; 2],
    /// Of the last offer: whose, what was said of RTCP, and whether the call is recorded.
    pub(super) offer: Offer,
    /// What streams that are gone have carried.
    pub(super) gone: Totals,
}

/// What an answer has to know of its offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) by: Side,
    pub(super) mux: Mux,
    pub(super) record: Option<RecordFormat>,
}

/// An `m=` line.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) session: SessionInfo,
    /// Such as `audio`, and `RTP/AVP`.
    pub(super) kind: String,
    pub(super) profile: String,
    /// What A and B have described.
    pub(super) remotes: [Option<Remote>; 2],
    /// What the last offerer has described, as it came: each answer is judged by it, also one after another. `None`
    /// where it offered no such stream.
    pub(super) offered: Option<Remote>,
    /// Whether the last offerer and the answerer are shown to mux.
    pub(super) mux: [bool; 2],
    /// Whose media is not handed on.
    pub(super) blocked: [bool; 2],
    /// Since when the last answer has refused it: it waits for another phone's answer, and carries nothing.
    pub(super) refused: Option<Instant>,
    /// What it is recorded as.
    pub(super) recorded: Option<RecordFormat>,
}

/// What flows carried, in rtpengine's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) errors: u64,
}

/// The tags of a request are not those of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tags are not those of this call")]
pub(super) struct UnknownTags;

/// Which part of a call a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The branch of this number.
    Branch(u32),
    /// What a branch was before somebody else answered it: nothing is left of that.
    Former,
}

impl Call {
    /// A call whose first offer came with `tag`.
    pub(super) fn new(tag: &[u8]) -> Self {
        let now = SystemTime::now();
        Self {
            a: Party {
                tag: Some(tag.to_vec()),
                ..Party::default()
            },
            branches: Vec::new(),
            created: now,
            last_signal: now,
            answered: false,
            delete_at: None,
            delete_delay: 0,
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
    pub(super) fn offerer(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        via: Option<&[u8]>,
    ) -> Result<(Side, usize), UnknownTags> {
        if let Some(at) = self.position(|branch| branch.b.is(from)) {
            return Ok((Side::B, at));
        }
        if !self.a.is(from) {
            return Err(UnknownTags);
        }
        let by_tag = to.and_then(|to| self.position(|branch| branch.b.is(to)));
        let found = match (by_tag, via) {
            (Some(at), _) => Some(at),
            (None, Some(via)) => self.position(|branch| branch.via.as_deref() == Some(via)),
            // Who forks without saying so has one branch for all.
            (None, None) => self.branches.len().checked_sub(1),
        };
        Ok((Side::A, found.unwrap_or_else(|| self.add(via))))
    }

    /// The branch that an answer of `to` is for, and who has offered there.
    pub(super) fn answered(
        &mut self,
        from: &[u8],
        to: &[u8],
        via: Option<&[u8]>,
    ) -> Result<(Side, usize), UnknownTags> {
        if self.a.is(to)
            && let Some(at) = self.position(|branch| branch.b.is(from))
        {
            return Ok((Side::B, at));
        }
        if !self.a.is(from) {
            return Err(UnknownTags);
        }
        let by_via = via.and_then(|via| self.position(|branch| branch.via.as_deref() == Some(via)));
        let by_tag = self.position(|branch| branch.b.is(to));
        let open = self
            .branches
            .iter()
            .rposition(|branch| branch.b.tag.is_none());
        let last = self.branches.len().checked_sub(1);
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
        let of = |tag: &[u8]| {
            let now = self.branches.iter().find(|branch| branch.b.is(tag));
            let now = now.map(|branch| Part::Branch(branch.number));
            let former = || {
                let mut all = self.branches.iter().flat_map(|branch| &branch.former);
                all.any(|former| former == tag).then_some(Part::Former)
            };
            now.or_else(former)
        };
        if let Some(to) = to {
            // The callee's BYE: phones that were called beside it ring no more. The caller's may be of an early dialog.
            let is_bye = self.a.is(to) && self.position(|branch| branch.b.is(from)).is_some();
            let mut answered = self.branches.iter().filter(|branch| branch.b.tag.is_some());
            if is_bye && answered.nth(1).is_none() {
                return Ok(Part::Whole);
            }
            let is_a = self.a.is(from) || self.a.is(to);
            let part = of(to).or_else(|| of(from)).filter(|_| is_a);
            // An answer that never came here has a tag that nobody knows.
            return part
                .or_else(|| is_a.then_some(Part::Whole))
                .ok_or(UnknownTags);
        }
        let is_of = |branch: &&Branch| branch.via.as_deref() == via;
        if let Some(branch) = via.and_then(|_| self.branches.iter().find(is_of)) {
            return Ok(Part::Branch(branch.number));
        }
        let known = self.a.is(from) || of(from).is_some();
        known.then_some(Part::Whole).ok_or(UnknownTags)
    }

    /// The parties that a tag or a label names, as branches and sides; all where neither is given.
    pub(super) fn parties(&self, tag: Option<&[u8]>, label: Option<&[u8]>) -> Vec<(u32, Side)> {
        let wanted = |party: &Party| match (tag, label) {
            (Some(tag), _) => party.is(tag),
            (None, Some(label)) => party.label.as_deref() == Some(label),
            (None, None) => true,
        };
        let mut found = Vec::new();
        for branch in &self.branches {
            if wanted(&self.a) {
                found.push((branch.number, Side::A));
            }
            if wanted(&branch.b) {
                found.push((branch.number, Side::B));
            }
        }
        found
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

    fn add(&mut self, via: Option<&[u8]>) -> usize {
        self.next_branch += 1;
        self.branches.push(Branch {
            number: self.next_branch,
            via: via.map(<[u8]>::to_vec),
            b: Party::default(),
            former: Vec::new(),
            created: SystemTime::now(),
            signalled: Instant::now(),
            delete_at: None,
            streams: Vec::new(),
            handling: Default::default(),
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

impl Party {
    /// Whether it is the one of `tag`.
    pub(super) fn is(&self, tag: &[u8]) -> bool {
        self.tag.as_deref() == Some(tag)
    }
}

impl Branch {
    /// The sessions.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.streams
            .iter()
            .flatten()
            .map(|stream| stream.session.id)
    }

    /// Notes who has answered.
    pub(super) fn answer(&mut self, tag: &[u8]) {
        let before = self.b.tag.replace(tag.to_vec());
        // A phone is one of few that a forking proxy behind us calls.
        if let Some(before) = before.filter(|before| before != tag)
            && self.former.len() < 16
        {
            self.former.push(before);
        }
    }
}

impl Stream {
    /// The address families of the legs of A and B.
    pub(super) fn families(&self) -> [Family; 2] {
        [self.session.a, self.session.b].map(|leg| Family::of(&leg.rtp))
    }
}

impl Totals {
    /// Adds what a flow carried.
    pub(super) const fn add(&mut self, flow: &FlowStats) {
        self.packets += flow.packets;
        self.bytes += flow.bytes;
        self.errors += flow.refused;
    }

    /// Adds what a session carried.
    pub(super) const fn add_session(&mut self, stats: &SessionStats) {
        self.add(&stats.from_a);
        self.add(&stats.from_b);
    }

    /// Adds what others carried.
    pub(super) const fn add_all(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.errors += other.errors;
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
