//! Our marks on Via: where a request came from, and our own taken off a response.

use std::net::SocketAddr;

use crate::header::HeaderName;
use crate::message::Message;

/// Writes into the topmost Via of a request that came from `source` what a response will need
/// (`received` and `rport`; RFC 3261 section 18.2.1, RFC 3581). To be done before anything else.
///
/// A request without a readable Via comes back as it is; [`Message::validate`] refuses it.
#[must_use]
pub fn stamp_via(request: Message, source: SocketAddr) -> Message {
    let stamped = request.via().ok().and_then(|via| via.stamped(source));
    let Some(stamped) = stamped else {
        return request;
    };
    let edited = request
        .edit()
        .replace_first(HeaderName::Via, stamped)
        .finish();
    edited.unwrap_or(request)
}

/// Takes the topmost Via, our own, off a response that [is in order](Message::validate) (RFC 3261 section
/// 16.7, step 3). `None` where no other is left: the response was for us alone.
#[must_use]
pub fn pop_via(response: &Message) -> Option<Message> {
    response.values(HeaderName::Via).nth(1)?;
    response.edit().remove_first(HeaderName::Via).finish().ok()
}
