//! Whether what a party hears is one stream.

use serde::{Deserialize, Serialize};

/// Which calls' parties hear one RTP stream each, with an SSRC and numbers of this node's own, whoever speaks to them.
/// What that costs, and what it does not do: `docs/media.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OneStream {
    /// None.
    Never,
    /// Those that this node is a party of itself: of applications, and those that it makes to connect two parties. There it is
    /// this node that lets another one speak.
    #[default]
    Own,
    /// All that are relayed.
    Always,
}

impl OneStream {
    /// Whether a call's are, which is this node's own or not.
    pub const fn holds(self, is_own: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Own => is_own,
            Self::Always => true,
        }
    }
}
