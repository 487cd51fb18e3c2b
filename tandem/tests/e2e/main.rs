//! Whole calls: SIPp as caller and callee in namespaces of their own, a node between them, and
//! captures at both parties that say what really arrived.
//!
//! They need root, SIPp and tcpdump. Without these they are skipped, but not where `CI` is set.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "functions that only tests call, which clippy does not see"
)]

mod audio;
mod bans;
mod browser;
mod failures;
mod hold;
mod hostile;
mod originate;
mod phones;
mod restart;
mod stage;
mod stop;
