//! Who hears parties of a call beside the others.

use control::media::{Local, SessionId, Side};
use ng::description::Face;

/// A party of a call that only hears.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) tag: Vec<u8>,
    pub(super) label: Option<Vec<u8>>,
    /// Names it to the engine.
    pub(super) number: u64,
    /// What it was shown.
    pub(super) face: Face,
    /// One for each `m=` line of its description.
    pub(super) sources: Vec<Source>,
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
