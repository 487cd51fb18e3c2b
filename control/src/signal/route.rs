//! `tandem route`: where a call would go.

use serde::{Deserialize, Serialize};

/// A call that nobody makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteQuestion {
    /// The caller: a number, a user, or a `sip:` URI.
    pub from: String,
    /// Whom it calls, likewise.
    pub to: String,
    /// The trunk that it comes from.
    pub trunk: Option<String>,
    /// The user who calls, where `from` does not say it.
    pub user: Option<String>,
    /// When, as in RFC 3339; now where it is not said.
    pub at: Option<String>,
    /// The caller wants to stay unknown.
    pub private: bool,
    /// What shares are drawn by: one number, one order.
    pub draw: u64,
}

/// Where a call would go, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Whether it goes anywhere.
    pub decision: RouteDecision,
    /// The called number as the node understood it.
    pub called: String,
    /// It would be neither blocked nor limited.
    pub emergency: bool,
    /// Seconds that it may last.
    pub longest_s: Option<u64>,
    /// What it would have to hold.
    pub limits: Vec<RouteLimit>,
    /// What would be tried.
    pub stages: Vec<RouteStage>,
    /// Each rule that had a say, in order.
    pub why: Vec<String>,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteDecision {
    /// It goes along the stages.
    Plan,
    /// It is refused.
    Refuse {
        /// The final response.
        status: u16,
        /// Why.
        reason: String,
    },
    /// Nobody is told anything.
    Silence,
}

/// A place that would be tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteStage {
    /// What brings a call there.
    pub when: String,
    /// Where it is.
    pub to: RouteTo,
    /// Seconds that it rings.
    pub ring_timeout_s: u64,
    /// RTP goes through the node.
    pub relay: bool,
    /// What it would have to hold beside the call's.
    pub limits: Vec<RouteLimit>,
}

/// Where a stage leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteTo {
    /// A user.
    User(String),
    /// A ring group.
    Group {
        /// Its name.
        name: String,
        /// Who is rung together, step by step.
        steps: Vec<Vec<String>>,
        /// Seconds that a step rings.
        step_s: u64,
    },
    /// Trunks, one after the other.
    Carriers(Vec<RouteCarrier>),
    /// A URI outside.
    Uri(String),
    /// An application.
    Application {
        /// The account's SID.
        account: String,
        /// Who is asked what becomes of the call.
        voice_url: String,
    },
}

/// A trunk that would be tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteCarrier {
    /// Its name.
    pub trunk: String,
    /// The number as it gets it.
    pub number: String,
    /// What it costs.
    pub cost: f64,
    /// Its part of the calls of that cost.
    pub share: Option<u16>,
    /// Its hosts.
    pub hosts: Vec<RouteHost>,
    /// What else of the request is changed for it.
    pub edits: Vec<String>,
    /// Final responses after which the next one is tried.
    pub failover: Vec<u16>,
    /// Its redirections are followed.
    pub follows: bool,
    /// Seconds that it rings there.
    pub ring_timeout_s: u64,
    /// What it would have to hold.
    pub limits: Vec<RouteLimit>,
}

/// A host of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHost {
    /// As configured.
    pub host: String,
    /// It is not known to be down.
    pub up: bool,
}

/// A limit that a call would be under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLimit {
    /// Whose it is.
    pub name: String,
    /// Calls at once.
    pub calls: Option<u32>,
    /// Calls a second.
    pub cps: Option<u32>,
    /// Calls that there are now.
    pub in_use: u32,
}
