//! Whose packets a leg takes.

use serde::{Deserialize, Serialize};

/// Where a leg's packets may come from, and where its party's go. What each policy leaves open to strangers:
/// `docs/sources.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SourcePolicy {
    /// Only from the SDP's address and port, and only there: for parties that no NAT is before.
    Strict,
    /// From the SDP's address at once; from another port of its host, or, where that address is no public one, from
    /// another host, after several packets of one stream. Who fits better takes over in the first three seconds, who
    /// sends on after two seconds of silence later.
    #[default]
    Heuristic,
    /// The first that `heuristic` would accept, until new SDP.
    Once,
    /// Always to the SDP's address, for parties that send from elsewhere than they receive (asymmetric RTP). What
    /// they send is accepted as with `heuristic`, and from another host even where the SDP's address is public.
    Off,
}

impl SourcePolicy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Heuristic, Self::Once, Self::Off];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Heuristic => "heuristic",
            Self::Once => "once",
            Self::Off => "off",
        }
    }
}
