//! `tandem trunks`: the trunks, and how they are.

use serde::{Deserialize, Serialize};

/// A trunk as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkInfo {
    /// Its name.
    pub name: String,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<TrunkHostInfo>,
    /// Calls to it that are up, those that ring included.
    pub calls: u64,
    /// Calls that were tried through it since the node started.
    pub offered: u64,
    /// Those of them that it answered.
    pub answered: u64,
    /// It gets no new calls, by an operator's order.
    pub drained: bool,
    /// Our registration with it; `None` where it wants none.
    pub registration: Option<RegistrationInfo>,
}

/// A host of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkHostInfo {
    /// As configured.
    pub host: String,
    /// Whether it is thought to be up; one that is not is tried last.
    pub up: bool,
    /// Whether OPTIONS ask it.
    pub probed: bool,
    /// What went wrong with it last.
    pub error: Option<String>,
}

/// What a host of a trunk said to OPTIONS, asked for once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeInfo {
    /// As configured.
    pub host: String,
    /// The status that it answered with; `None` where it did not.
    pub status: Option<u16>,
    /// Why it counts as down, or as not asked; `None` where it is well.
    pub error: Option<String>,
    /// Milliseconds until that was known.
    pub took_ms: u64,
}

/// A registration of this node with a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationInfo {
    /// Seconds until it ends; `None` where we are not registered.
    pub expires_s: Option<u64>,
    /// Why the last attempt failed; `None` where it did not.
    pub error: Option<String>,
}
