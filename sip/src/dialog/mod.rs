//! Dialogs: RFC 3261 section 12, for the two who need them.
//!
//! [`Dialog`] is that of a user agent, caller or callee. [`ProxyDialog`] is what a record-routing
//! proxy notes down so that it can hold requests to their dialog, and end a call by itself: a BYE to
//! each side, in the name of the other. [`Answer`] repeats a callee's 2xx until its ACK comes, which
//! is no transaction's work (section 13.3.1.4).
//!
//! # A caller
//!
//! 1. Send the INVITE through a [`Layer`](crate::transaction::Layer).
//! 2. For each 2xx: [`Dialog::uac`] where its To tag is new, and [`Dialog::ack`] (the same bytes
//!    again for the same 2xx), sent with
//!    [`Layer::send_stateless`](crate::transaction::Layer::send_stateless). A second dialog is
//!    another fork that answered: acknowledge it, and [`Dialog::bye`].
//! 3. A request that [`Dialog::matches`] goes into [`Dialog::handle_request`]; answer it by
//!    [`Message::respond`](crate::message::Message::respond).
//! 4. [`Dialog::bye`] ends it, in a client transaction.

mod answer;
mod leg;
mod proxy;
mod user_agent;

pub use answer::{Answer, Repeat};
pub use leg::Directions;
pub use proxy::{ProxyDialog, Side};
pub use user_agent::{Dialog, OutOfOrder};

use crate::header::{HeaderError, HeaderName};
use crate::message::Message;
use crate::uri::UriError;

/// Why no dialog follows from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialogError {
    /// A header is missing or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The URI of a Contact or of a Record-Route is malformed.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The tag of From or To is missing: the peer follows RFC 2543, or sent no dialog at all.
    #[error("the {0} header has no tag")]
    NoTag(HeaderName),
}

/// The tag of From or To.
fn tag(message: &Message, name: HeaderName) -> Result<&str, DialogError> {
    let tag = match name {
        HeaderName::From => message.from_tag(),
        _ => message.to_tag(),
    };
    tag.ok_or(DialogError::NoTag(name))
}

/// The first value of a header, as it was written.
fn value(message: &Message, name: HeaderName) -> Result<Vec<u8>, HeaderError> {
    message
        .values(name)
        .next()
        .map(<[u8]>::to_vec)
        .ok_or(HeaderError::Missing(name))
}

/// The highest CSeq number there is (RFC 3261 section 8.1.1.5).
const MAX_CSEQ: u32 = (1 << 31) - 1;

/// The number after this one. At the end it stays: a peer takes the same number again, but none
/// beyond.
fn next_cseq(number: u32) -> u32 {
    number.saturating_add(1).min(MAX_CSEQ)
}

/// The URI of the (first) Contact, as a Request-URI may hold it.
fn contact(message: &Message) -> Result<String, DialogError> {
    let contact = message
        .contacts()
        .next()
        .ok_or(HeaderError::Missing(HeaderName::Contact))??;
    Ok(contact.uri()?.without_headers().to_owned())
}

#[cfg(test)]
mod tests;
