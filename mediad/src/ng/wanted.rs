//! What is wanted of a party's media, by the commands that block, silence and hold back.

use control::media::{Filter, KeyFilter, MediaFilter};

/// Of a call, of a party, or of a party's way to one other: each is wanted, and ends, by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `block media`.
    pub(super) blocked: bool,
    /// `silence media`.
    pub(super) silenced: bool,
    /// `drop-traffic`, and `media-echo` without an echo: the keys too.
    pub(super) dropped: bool,
    /// `media-echo`: it goes back, and nowhere else.
    pub(super) echoed: bool,
    /// `block DTMF`.
    pub(super) keys: KeyFilter,
}

impl Wanted {
    /// What is wanted by either; `self` has its way with the keys.
    pub(super) const fn with(self, other: Self) -> Self {
        Self {
            blocked: self.blocked || other.blocked,
            silenced: self.silenced || other.silenced,
            dropped: self.dropped || other.dropped,
            echoed: self.echoed || other.echoed,
            keys: match self.keys {
                KeyFilter::Pass => other.keys,
                keys => keys,
            },
        }
    }

    /// As the engine has it.
    pub(super) const fn filter(self) -> Filter {
        Filter {
            media: if self.blocked || self.dropped {
                MediaFilter::Drop
            } else if self.echoed {
                MediaFilter::Echo
            } else if self.silenced {
                MediaFilter::Silence
            } else {
                MediaFilter::Pass
            },
            keys: if self.dropped {
                KeyFilter::Drop
            } else {
                self.keys
            },
        }
    }

    /// rtpengine's words for it, for a query.
    pub(super) fn words(self) -> impl Iterator<Item = &'static str> {
        let words = [
            (self.blocked, "block media"),
            (self.silenced, "silence media"),
            (self.dropped, "drop traffic"),
            (self.echoed, "media echo"),
            (self.keys != KeyFilter::Pass, "block DTMF"),
        ];
        words
            .into_iter()
            .filter_map(|(is, word)| is.then_some(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_blocked_is_not_silenced_and_keys_pass() {
        let silenced = Wanted {
            silenced: true,
            ..Wanted::default()
        };
        let both = Wanted {
            blocked: true,
            ..silenced
        };
        assert_eq!(silenced.filter().media, MediaFilter::Silence);
        assert_eq!(both.filter().media, MediaFilter::Drop);
        assert_eq!(both.filter().keys, KeyFilter::Pass);
        assert_eq!(
            both.words().collect::<Vec<_>>(),
            ["block media", "silence media"]
        );
        let keys = Wanted {
            keys: KeyFilter::As(3),
            ..Wanted::default()
        };
        assert_eq!(both.with(keys).filter().keys, KeyFilter::As(3));
        let echoed = Wanted {
            echoed: true,
            ..silenced
        };
        assert_eq!(echoed.filter().media, MediaFilter::Echo);
        assert_eq!(both.with(echoed).filter().media, MediaFilter::Drop);
        let dropped = Wanted {
            dropped: true,
            ..keys
        };
        assert_eq!(dropped.filter().keys, KeyFilter::Drop);
    }
}
