//! MESSAGE (RFC 3428) for users who are away: kept, and delivered when they register.
//!
//! One that reaches no phone of its user is given to the store and answered 202. When the user registers,
//! what is kept goes out in the order in which it came, each after the one before was taken; what a
//! phone does not take stays for the next time.

use std::{collections::VecDeque, time::Instant};

use sip::{
    header::{HeaderName, NameAddr},
    message::{Message, Method, RequestBuilder},
    transaction::{ClientId, ServerId},
};
use store::Uuid;
use tracing::{debug, info};

use super::{
    Client, Core, Output, branch::via_transport, exchange::ExchangeId, policy::RETRY_AFTER,
    target::Located,
};
use crate::directory::Aor;

/// A longer body is not kept.
const MAX_BODY: usize = 8 * 1024;
/// Messages that wait for the store's word at most; further ones are not kept.
const MAX_KEEPING: usize = 10_000;
/// Users to whom messages are delivered at once.
const MAX_DELIVERIES: usize = 10_000;

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

/// Messages on their way to a user who came back.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The next one is the first.
    left: VecDeque<store::Message>,
}

impl Core {
    /// A MESSAGE found nobody. `false` where it is not to be kept, and the caller hears of it.
    pub(super) fn keep(&mut self, now: Instant, id: ExchangeId, status: u16) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        // What says that the user is away, not that the message is unwelcome.
        let is_away = matches!(status, 408 | 410 | 430 | 480 | 500 | 503 | 504);
        let Some(recipient) = exchange.keep_for.take().filter(|_| is_away) else {
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

    /// A user has registered a phone: what is kept for the user may be delivered.
    pub(super) fn on_registered(&mut self, aor: &Aor) {
        if !self.delivering.contains_key(aor) && self.delivering.len() < MAX_DELIVERIES {
            let aor = aor.clone();
            self.outputs.push_back(Output::Collect { aor });
        }
    }

    /// What is kept for a user who registered, the oldest first.
    pub(crate) fn handle_collected(
        &mut self,
        now: Instant,
        aor: &Aor,
        messages: Vec<store::Message>,
    ) {
        if self.delivering.contains_key(aor) {
            self.give_back(messages);
        } else if !messages.is_empty() {
            info!(user = %aor, messages = messages.len(), "delivering what was kept");
            let left = messages.into();
            self.delivering.insert(aor.clone(), Delivery { left });
            self.deliver_next(now, aor);
        }
        self.drain(now);
    }

    /// A phone answered a message that was kept, or nobody did.
    pub(super) fn on_delivered(&mut self, now: Instant, client: ClientId, status: u16) {
        let Some(aor) = self.delivered_by.remove(&client) else {
            return;
        };
        let Some(delivery) = self.delivering.get_mut(&aor) else {
            return;
        };
        if !(200..300).contains(&status) {
            debug!(user = %aor, status, "a message that was kept was not taken; it stays");
            return self.end_delivery(&aor);
        }
        if let Some(message) = delivery.left.pop_front() {
            self.outputs.push_back(Output::Forget { id: message.id });
        }
        self.deliver_next(now, &aor);
    }

    fn deliver_next(&mut self, now: Instant, aor: &Aor) {
        if self.send_kept(now, aor).is_none() {
            self.end_delivery(aor);
        }
    }

    fn end_delivery(&mut self, aor: &Aor) {
        if let Some(Delivery { left }) = self.delivering.remove(aor) {
            self.give_back(left);
        }
    }

    /// Lets messages that are not delivered be collected again, by this worker or another one.
    fn give_back(&mut self, messages: impl IntoIterator<Item = store::Message>) {
        let ids: Vec<_> = messages.into_iter().map(|message| message.id).collect();
        if !ids.is_empty() {
            self.outputs.push_back(Output::Undelivered { ids });
        }
    }

    /// Sends the next message to the user's preferred phone. `None` where there is none of either.
    fn send_kept(&mut self, now: Instant, aor: &Aor) -> Option<()> {
        let mut contacts = self.contacts_of(now, aor);
        contacts.sort_by_key(|contact| std::cmp::Reverse(contact.q));
        let contact = contacts.first()?;
        let Located::At(way) = self.locate_contact(contact) else {
            return None;
        };
        let local = self.policy.local(&way)?;
        let via = format!(
            "SIP/2.0/{} {};branch={};rport",
            via_transport(&way),
            local.sent_by,
            self.tokens.branch()
        );
        let (tag, call_id) = (self.tokens.tag(), self.own_call_id());
        let message = self.delivering.get(aor)?.left.front()?;
        let mut request = RequestBuilder::new(&Method::Message, &contact.uri)
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70");
        for uri in &contact.path {
            request = request.header(HeaderName::Route, format!("<{uri}>"));
        }
        let request = request
            .header(HeaderName::From, format!("{};tag={tag}", message.from))
            .header(HeaderName::To, &message.to)
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::CSeq, "1 MESSAGE")
            .body(&message.content_type, message.body.clone())
            .build()
            .ok()?;
        let client = self.layer.send_request(now, way, request).ok()?;
        self.clients.insert(client, Client::Kept);
        self.delivered_by.insert(client, aor.clone());
        Some(())
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
