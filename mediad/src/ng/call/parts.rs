//! What a call is made of: parties, branches and their streams.

use std::time::{Instant, SystemTime};

use control::media::{
    Family, Filter, FlowStats, Handling, RecordFormat, Remote, SessionId, SessionInfo,
    SessionStats, Side,
};
use ng::{Options, description::Face, made::Sketch, options::Mux};
use sip::sdp::Media;

use crate::ng::{formats::Formats, handling, wanted::Wanted};

/// A party of a call.
#[derive(Debug, Default)]
pub(in crate::ng) struct Party {
    /// `None` until it has answered.
    pub(in crate::ng) tag: Option<Vec<u8>>,
    pub(in crate::ng) label: Option<Vec<u8>>,
    /// What it was shown.
    pub(in crate::ng) face: Face,
    /// What is wanted of its media, whoever hears it.
    pub(in crate::ng) wanted: Wanted,
}

/// Somebody whom party A calls.
#[derive(Debug)]
pub(in crate::ng) struct Branch {
    /// Names it among those of its call.
    pub(in crate::ng) number: u32,
    /// Who calls, among the call's [`callers`](super::Call::callers).
    pub(in crate::ng) caller: usize,
    pub(in crate::ng) via: Option<Vec<u8>>,
    pub(in crate::ng) b: Party,
    /// Tags that answered this branch before `b` did.
    pub(in crate::ng) former: Vec<Vec<u8>>,
    pub(in crate::ng) created: SystemTime,
    /// When it was last offered or answered.
    pub(in crate::ng) signalled: Instant,
    /// When it is to be deleted. An offer or an answer for it calls that off.
    pub(in crate::ng) delete_at: Option<Instant>,
    /// By index of the `m=` line; `None` for one that was not offered, or has been freed.
    pub(in crate::ng) streams: Vec<Option<Stream>>,
    /// How the legs of A and B are treated.
    pub(in crate::ng) handling: [Handling; 2],
    /// Some of its streams may not have been told that: the engine could not be asked, or refused.
    pub(in crate::ng) untold: bool,
    /// What is wanted of their media on this branch.
    pub(in crate::ng) wanted: [Wanted; 2],
    /// Its party A only sends, to those who subscribe to it.
    pub(in crate::ng) is_published: bool,
    /// A party of it is in no recording.
    pub(in crate::ng) excluded: bool,
    /// Of the last offer: whose, what was said of RTCP, and whether the call is recorded.
    pub(in crate::ng) offer: Offer,
    /// What streams that are gone have carried.
    pub(in crate::ng) gone: Totals,
}

/// What an answer has to know of its offer.
#[derive(Clone, Copy, Debug)]
pub(in crate::ng) struct Offer {
    pub(in crate::ng) by: Side,
    pub(in crate::ng) mux: Mux,
    pub(in crate::ng) record: Option<RecordFormat>,
}

/// An `m=` line.
#[derive(Clone, Debug)]
pub(in crate::ng) struct Stream {
    pub(in crate::ng) session: SessionInfo,
    /// Such as `audio`, and `RTP/AVP`.
    pub(in crate::ng) kind: String,
    pub(in crate::ng) profile: String,
    /// What A and B have described.
    pub(in crate::ng) remotes: [Option<Remote>; 2],
    /// What the last offerer has described, as it came: each answer is judged by it, also one after another. `None`
    /// where it offered no such stream.
    pub(in crate::ng) offered: Option<Remote>,
    /// How the last offerer numbers its formats.
    pub(in crate::ng) formats: Formats,
    /// Whether the last offerer and the answerer are shown to mux.
    pub(in crate::ng) mux: [bool; 2],
    /// What A and B have said of its formats.
    pub(in crate::ng) sketches: [Option<Sketch>; 2],
    /// What is played to A and B.
    pub(in crate::ng) played: [Option<u32>; 2],
    /// Since when the last answer has refused it: it waits for another phone's answer, and carries nothing.
    pub(in crate::ng) refused: Option<Instant>,
    /// What it is recorded as.
    pub(in crate::ng) recorded: Option<RecordFormat>,
}

/// What flows carried, in rtpengine's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ng) struct Totals {
    pub(in crate::ng) packets: u64,
    pub(in crate::ng) bytes: u64,
    pub(in crate::ng) errors: u64,
    /// Streams that are over in which nobody sent, and in which one party alone did.
    pub(in crate::ng) zero_way: u64,
    pub(in crate::ng) one_way: u64,
}

/// The tags of a request are not those of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tags are not those of this call")]
pub(in crate::ng) struct UnknownTags;

/// Which part of a call a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ng) enum Part {
    /// All of it.
    Whole,
    /// The branches of one of several callers.
    Caller(usize),
    /// The branch of this number.
    Branch(u32),
    /// What a branch was before somebody else answered it: nothing is left of that.
    Former,
}

impl Party {
    /// One of `tag`.
    pub(super) fn of(tag: &[u8]) -> Self {
        Self {
            tag: Some(tag.to_vec()),
            ..Self::default()
        }
    }

    /// Whether it is the one of `tag`.
    pub(in crate::ng) fn is(&self, tag: &[u8]) -> bool {
        self.tag.as_deref() == Some(tag)
    }
}

impl Branch {
    /// The sessions.
    pub(in crate::ng) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.streams
            .iter()
            .flatten()
            .map(|stream| stream.session.id)
    }

    /// Has room for so many streams, and for none that were not offered: they are kept as long as the call.
    pub(in crate::ng) fn make_room(&mut self, count: usize) {
        let more = count.saturating_sub(self.streams.len());
        self.streams.reserve_exact(more);
        self.streams.resize(self.streams.len() + more, None);
    }

    /// Takes in what `side` has said; what its streams are to be told of each leg. Whoever tells them all clears
    /// [`untold`](Self::untold) then.
    pub(in crate::ng) fn treat(&mut self, side: Side, options: &Options) -> [Option<Handling>; 2] {
        let new = handling::apply(&mut self.handling, side, options);
        self.due(new)
    }

    /// The same, of how its legs are filtered.
    pub(in crate::ng) fn filter(&mut self, filters: [Filter; 2]) -> [Option<Handling>; 2] {
        let mut new = [None, None];
        for ((leg, filter), new) in self.handling.iter_mut().zip(filters).zip(&mut new) {
            if leg.filter != filter {
                leg.filter = filter;
                *new = Some(leg.clone());
            }
        }
        self.due(new)
    }

    fn due(&mut self, new: [Option<Handling>; 2]) -> [Option<Handling>; 2] {
        let told = match self.untold {
            true => self.handling.clone().map(Some),
            false => new,
        };
        self.untold = told != [None, None];
        told
    }

    /// Notes who has answered.
    pub(in crate::ng) fn answer(&mut self, tag: &[u8]) {
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
    /// One of which only the `m=` section is known that it began with.
    pub(in crate::ng) fn new(session: SessionInfo, media: &Media<'_, '_>) -> Self {
        Self {
            session,
            kind: media.kind().to_owned(),
            profile: media.proto().to_owned(),
            remotes: [None, None],
            offered: None,
            formats: Formats::default(),
            mux: [false; 2],
            sketches: [None, None],
            played: [None, None],
            refused: None,
            recorded: None,
        }
    }

    /// The address families of the legs of A and B.
    pub(in crate::ng) fn families(&self) -> [Family; 2] {
        [self.session.a, self.session.b].map(|leg| Family::of(&leg.rtp))
    }
}

impl Totals {
    /// Adds what a flow carried.
    pub(in crate::ng) const fn add(&mut self, flow: &FlowStats) {
        self.packets += flow.packets;
        self.bytes += flow.bytes;
        self.errors += flow.refused;
    }

    /// Adds what a session carried.
    pub(in crate::ng) const fn add_session(&mut self, stats: &SessionStats) {
        self.add(&stats.from_a);
        self.add(&stats.from_b);
        match (stats.from_a.packets, stats.from_b.packets) {
            (0, 0) => self.zero_way += 1,
            (0, _) | (_, 0) => self.one_way += 1,
            _ => {}
        }
    }

    /// Adds what others carried.
    pub(in crate::ng) const fn add_all(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.zero_way += other.zero_way;
        self.one_way += other.one_way;
    }
}
