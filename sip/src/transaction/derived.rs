//! Messages that a transaction makes of others by itself. `None` where the other message lacks
//! what they need, which a validated one does not.

use bytes::Bytes;

use crate::header::HeaderName;
use crate::message::{Message, Method, RequestBuilder};

/// The ACK of a 3xx to 6xx: the request's own but for the To of the response (RFC 3261 section
/// 17.1.1.3).
pub(super) fn ack(invite: &Message, response: &Message) -> Option<Bytes> {
    let ack = like(invite, &Method::Ack)?.copy(response, HeaderName::To);
    ack.build().ok().map(Message::into_bytes)
}

/// The CANCEL of a request (RFC 3261 section 9.1).
pub(super) fn cancel(request: &Message, reason: Option<&str>) -> Option<Message> {
    let mut cancel = like(request, &Method::Cancel)?.copy(request, HeaderName::To);
    if let Some(reason) = reason {
        cancel = cancel.header(HeaderName::Reason, reason);
    }
    cancel.build().ok()
}

/// 100 (Trying).
pub(super) fn trying(request: &Message) -> Option<Bytes> {
    request.respond(100).build().ok().map(Message::into_bytes)
}

/// 200 to a CANCEL.
pub(super) fn ok(request: &Message, tag: &str) -> Option<Message> {
    request.respond(200).to_tag(tag).build().ok()
}

/// A request that follows another on its way: same Request-URI, top Via (so the same branch),
/// Route, From, Call-ID and CSeq number. To is left to the caller.
fn like(request: &Message, method: &Method) -> Option<RequestBuilder> {
    let cseq = request.cseq().ok()?;
    let builder = RequestBuilder::new(method, request.request_uri_raw())
        .copy_first(request, HeaderName::Via)
        .header(HeaderName::MaxForwards, "70")
        .copy(request, HeaderName::Route)
        .copy(request, HeaderName::From)
        .copy(request, HeaderName::CallId)
        .header(HeaderName::CSeq, format!("{} {method}", cseq.number));
    Some(builder)
}
