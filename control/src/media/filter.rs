//! What becomes of what a party sends, and who else gets it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Family, SessionId, Side, TypePair};

/// What of a party's RTP is handed on otherwise than it came. It is received and counted as ever; while any of this is
/// wanted, the leg is a shard's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filter {
    /// All but telephone events.
    pub media: MediaFilter,
    /// Telephone events (RFC 4733).
    pub keys: KeyFilter,
}

/// What becomes of a party's media.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum MediaFilter {
    /// It is handed on.
    #[default]
    Pass,
    /// It is handed on with silence in it. Of G.711 and G.722 alone: packets of anything else, SRTP's too, are not handed
    /// on, for what is said in them is not to be heard.
    Silence,
    /// It goes back to the party itself, keys too, under another SSRC, and to nobody else. SRTP, which its own sender has no
    /// keys of, is not handed on.
    Echo,
    /// It is not handed on.
    Drop,
}

/// What becomes of the telephone events that a party sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyFilter {
    /// They are handed on.
    #[default]
    Pass,
    /// They are not handed on.
    Drop,
    /// Each becomes this event, 0 to 15: its length stays.
    As(u8),
    /// Each becomes one of the digits, at random.
    Random,
}

impl Filter {
    /// Whether there is anything to do.
    pub const fn is_off(self) -> bool {
        matches!(self.media, MediaFilter::Pass) && matches!(self.keys, KeyFilter::Pass)
    }

    /// What is wanted by either; where both want something of the keys, `self` has its way.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            media: self.media.max(other.media),
            keys: match self.keys {
                KeyFilter::Pass => other.keys,
                keys => keys,
            },
        }
    }
}

/// Who hears a party beside the other one: copies of the packets that the party sends, as they are handed on. While
/// there are any, the leg is a shard's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// The session.
    pub id: SessionId,
    /// Who is heard.
    pub of: Side,
    /// Names it among those of the leg. The same again changes `to` and `types` alone.
    pub number: u64,
    /// Of the address that the copies come from, and that the listener is shown.
    pub family: Family,
    /// Which of the node's media interfaces they leave by; `None` for the default one.
    pub interface: Option<String>,
    /// Where they go: RTP and RTCP. `None` for nowhere as yet.
    pub to: Option<[SocketAddr; 2]>,
    /// Payload types that the listener numbers otherwise than the party; of 32 at most. RTP alone has them, and not SRTP.
    pub types: Vec<TypePair>,
}

/// A [`Monitor`] that is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmonitor {
    /// The session.
    pub id: SessionId,
    /// Who is heard.
    pub of: Side,
    /// As in [`Monitor::number`].
    pub number: u64,
}

/// Those of one leg at most.
pub const MAX_MONITORS: usize = 16;

/// Payload types of one of them that are changed at most: as many as there are for descriptions to number.
pub const MAX_MONITOR_TYPES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_more_has_it() {
        let silent = Filter {
            media: MediaFilter::Silence,
            keys: KeyFilter::Pass,
        };
        let keyless = Filter {
            media: MediaFilter::Pass,
            keys: KeyFilter::Drop,
        };
        let both = silent.with(keyless);
        assert_eq!(
            (both.media, both.keys),
            (MediaFilter::Silence, KeyFilter::Drop)
        );
        assert_eq!(both, keyless.with(silent));
        assert!(Filter::default().is_off() && !silent.is_off() && !keyless.is_off());
    }
}
