//! MESSAGE (RFC 3428) for users who are away: one that reaches no phone of its user is given to the
//! store and answered 202. [`delivery`](super::delivery) has it go out when the user registers.

use std::time::Instant;

use sip::{
    header::{HeaderName, NameAddr},
    message::Message,
    transaction::ServerId,
};
use store::Uuid;

use super::{Core, Output, exchange::ExchangeId, policy::RETRY_AFTER};
use crate::directory::Aor;

/// A longer body is not kept.
const MAX_BODY: usize = 8 * 1024;
/// Messages that wait for the store's word at most; further ones are not kept.
const MAX_KEEPING: usize = 10_000;

/// Names a message that is being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeepToken(pub(super) u64);

/// What became of a message that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is kept.
    Yes,
    /// Its recipient has as many as are kept for one user.
    Full,
    /// The store cannot be reached.
    Failed,
}

impl Core {
    /// A MESSAGE found nobody. `false` where it is not to be kept, and the caller hears of it.
    pub(super) fn keep(&mut self, now: Instant, id: ExchangeId, status: u16) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        // What says that the user is away, not that the message is unwelcome.
        let is_away = matches!(status, 408 | 410 | 430 | 480 | 500 | 503 | 504);
        // Nobody knows whether the user comes back over TLS.
        let may_wait = is_away && !exchange.secure;
        let Some(recipient) = exchange.keep_for.take().filter(|_| may_wait) else {
            return false;
        };
        let (server, received) = (exchange.server, exchange.received.clone());
        if self.keeping.len() >= MAX_KEEPING {
            return false;
        }
        let time = self.time(now);
        let message_id = self.call_uuid(time);
        let Some(message) = kept(&received, &recipient, message_id, time) else {
            return false;
        };
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.replied = true;
        }
        let token = KeepToken(self.number());
        self.keeping.insert(token, (server, received));
        let message = Box::new(message);
        self.outputs.push_back(Output::Keep { token, message });
        true
    }

    /// The store has kept a message, or has not.
    pub(crate) fn handle_kept(&mut self, now: Instant, token: KeepToken, kept: Kept) {
        if let Some((server, received)) = self.keeping.remove(&token) {
            self.answer_kept(now, server, &received, kept);
        }
        self.drain(now);
    }

    fn answer_kept(&mut self, now: Instant, server: ServerId, received: &Message, kept: Kept) {
        let retry = [(HeaderName::RetryAfter, RETRY_AFTER)];
        match kept {
            Kept::Yes => self.answer(now, server, received, 202, &[]),
            Kept::Full => self.answer(now, server, received, 480, &[]),
            Kept::Failed => self.answer(now, server, received, 500, &retry),
        }
    }
}

/// What is kept of a MESSAGE; `None` where it is too long, or has no readable From or To.
fn kept(
    received: &Message,
    recipient: &Aor,
    id: Uuid,
    time: store::Timestamp,
) -> Option<store::Message> {
    let bare = |address: NameAddr<'_>| {
        let display = String::from_utf8_lossy(address.display_raw())
            .trim()
            .to_owned();
        let uri = address.uri_str();
        if display.is_empty() {
            format!("<{uri}>")
        } else {
            format!("{display} <{uri}>")
        }
    };
    let content_type = received.header(HeaderName::ContentType);
    let content_type = content_type.map(|value| value.text().into_owned());
    (received.body().len() <= MAX_BODY).then_some(())?;
    Some(store::Message {
        id,
        recipient: recipient.to_string(),
        from: bare(received.from().ok()?),
        to: bare(received.to().ok()?),
        content_type: content_type.unwrap_or_else(|| "text/plain".to_owned()),
        body: received.body().to_vec(),
        received: time,
    })
}
