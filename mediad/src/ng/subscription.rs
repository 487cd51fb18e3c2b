//! Who hears parties of a call beside the others.

use std::net::SocketAddr;

use control::media::{Local, MAX_MONITOR_TYPES, SessionId, Side, TypePair, Unmonitor};
use ng::{description::Face, made::Sketch};

use super::call::{Call, index};

/// A party of a call that only hears.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) tag: Vec<u8>,
    pub(super) label: Option<Vec<u8>>,
    /// Names it to the engine.
    pub(super) number: u64,
    /// What it was shown.
    pub(super) face: Face,
    /// The media interface that it was asked to be on.
    pub(super) interface: Option<String>,
    /// One for each `m=` line of its description.
    pub(super) sources: Vec<Source>,
    /// What it is to hear no longer, and the engine could not be told of yet.
    pub(super) left: Vec<Unmonitor>,
}

/// What it hears.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Of whom.
    pub(super) tag: Vec<u8>,
    pub(super) session: SessionId,
    pub(super) side: Side,
    /// Such as `audio`.
    pub(super) kind: String,
    /// Index of the party's `m=` line.
    pub(super) index: usize,
    /// Where it comes from.
    pub(super) local: Local,
    /// The session is over.
    pub(super) gone: bool,
    /// Where it goes, and what the listener has said of its formats.
    pub(super) to: Option<[SocketAddr; 2]>,
    pub(super) answered: Option<Sketch>,
    /// The payload types that are changed on the way there.
    pub(super) types: Vec<TypePair>,
}

impl Source {
    /// The payload types to be changed, so that the listener has its own numbers: from those of the party, which are those
    /// that were offered, or where it does not keep to what its peer has said, others. None of SRTP, of which the header is
    /// authenticated too.
    pub(super) fn types(&self, call: &Call) -> Vec<TypePair> {
        if self.is_secure(call) {
            return Vec::new();
        }
        let numbers = self.numbers(call);
        let stream = call.stream(self.session);
        let peer = stream.and_then(|stream| stream.remotes[index(self.side.other())].as_ref());
        let strays = peer.map_or(&[][..], |peer| &peer.types);
        let own = |offered: u8| {
            let pair = numbers.iter().find(|[from, _]| *from == offered);
            pair.map_or(offered, |[_, to]| *to)
        };
        let kept = numbers
            .iter()
            .filter(|[from, _]| strays.iter().all(|stray| stray.theirs != *from));
        let kept = kept.map(|[from, to]| TypePair {
            theirs: *from,
            own: *to,
        });
        let put_right = strays.iter().map(|stray| TypePair {
            theirs: stray.theirs,
            own: own(stray.own),
        });
        kept.chain(put_right).take(MAX_MONITOR_TYPES).collect()
    }

    /// That the listener of this number hears it no longer.
    pub(super) const fn left_by(&self, number: u64) -> Unmonitor {
        Unmonitor {
            id: self.session,
            of: self.side,
            number,
        }
    }

    /// Whether the listener numbers formats otherwise than the party, and nobody here has the keys to change that.
    pub(super) fn is_misnumbered(&self, call: &Call) -> bool {
        self.is_secure(call) && !self.numbers(call).is_empty()
    }

    /// The payload types that the listener numbers otherwise than it was offered them.
    fn numbers(&self, call: &Call) -> Vec<[u8; 2]> {
        let sketch = call.sketch(self);
        let both = sketch.as_ref().zip(self.answered.as_ref());
        both.map_or_else(Vec::new, |(sketch, answered)| sketch.numbered_by(answered))
    }

    /// Whether what it hears is SRTP, or may be.
    fn is_secure(&self, call: &Call) -> bool {
        let stream = call.stream(self.session);
        let mut parties = stream
            .into_iter()
            .flat_map(|stream| stream.remotes.iter().flatten());
        parties.any(|party| party.secure)
    }
}

impl Subscription {
    /// The tags of those who are heard, each once.
    pub(super) fn heard(&self) -> Vec<Vec<u8>> {
        let mut tags: Vec<Vec<u8>> = Vec::new();
        for source in &self.sources {
            if !tags.contains(&source.tag) {
                tags.push(source.tag.clone());
            }
        }
        tags
    }
}
