//! The certificates that this node shows, for each daemon that serves TLS: read from files, chosen by the
//! name that a client asks for, and until when they are good.

mod certificate;
mod error;
mod files;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use certificate::{BySni, Expiry, names_of};
pub use error::TlsError;
pub use files::{pair, roots};

/// How long before its end a certificate is warned of.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Warns of certificates that end soon.
pub fn warn_of_ends(expiries: &[Expiry]) {
    let soon = unix(SystemTime::now() + SOON);
    for expiry in expiries.iter().filter(|expiry| expiry.at < soon) {
        let days = expiry.left() / 86_400;
        tracing::warn!(certificate = expiry.name, days, "a certificate ends soon");
    }
}

impl Expiry {
    /// Seconds until then; negative after it.
    pub fn left(&self) -> i64 {
        self.at.saturating_sub(unix(SystemTime::now()))
    }
}

fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
