//! What a running node does with what comes on the wire: the torture messages of the RFCs, and what has
//! broken other servers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say it the short way"
)]

mod bed;
mod closing;
mod flood;
mod hostile;
mod registers;
mod stream;
mod torture;
