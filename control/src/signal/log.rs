//! `tandem log`: what a running node logs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What is to become of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogOrder {
    /// Nothing: only tell.
    Show,
    /// Log by this filter, in `RUST_LOG`'s words, for 1 to 86,400 s.
    Raise {
        /// Such as `debug`, or `info,signaling=debug`.
        filter: String,
        /// For how long.
        seconds: u32,
    },
    /// Let debug lines about this through for 1 to 86,400 s. A watch for the same subject is replaced.
    Watch {
        /// About whom.
        subject: Subject,
        /// For how long.
        seconds: u32,
    },
    /// Back to what the process was started with, without any watch.
    Reset,
}

/// Whose messages a watch is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Those of a Call-ID.
    CallId(String),
    /// Those from and to an address.
    Source(IpAddr),
    /// Those of a user, `alice` or `alice@example.test`, in From, To or the Request-URI.
    User(String),
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// The filter.
    pub filter: String,
    /// Seconds until it is again what the process was started with; `None` where it is that.
    pub left_s: Option<u64>,
    /// Whose debug lines pass, and for how many seconds yet.
    pub watches: Vec<(Subject, u64)>,
}
