//! Delivers what was kept for a user who has registered.
//!
//! The messages go out in the order in which they came, each to the user's phones as one that comes now
//! would: those of the same q at once, the lower q where none of the higher took it. The next one
//! follows when all that were asked have answered, so that no phone gets them in another order. One
//! 2xx and it is delivered (RFC 3428); else the answers say what becomes of it: see [`Heard`].

use std::{
    collections::{HashSet, VecDeque},
    time::Instant,
};

use sip::{
    header::HeaderName,
    message::{Method, RequestBuilder},
    transaction::ClientId,
};
use tracing::{debug, info, warn};

use super::{Client, Core, Output, branch::via_transport, target::Located};
use crate::{directory::Aor, location::Contact, net::Flow};

/// Users to whom messages are delivered at once.
const MAX_DELIVERIES: usize = 10_000;

/// Messages on their way to a user who came back.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The present one is the first.
    left: VecDeque<store::Message>,
    /// Phones that it is yet to be sent to, if those before them do not take it.
    next: VecDeque<Vec<Contact>>,
    /// Phones that have yet to answer it.
    waiting: usize,
    /// The best that was said of it.
    heard: Option<Heard>,
    /// The URIs of phones that said nothing: they would hold up each of the others for as long again.
    silent: HashSet<String>,
}

/// A kept message that was sent to a phone.
#[derive(Debug)]
pub(super) struct SentKept {
    to: Aor,
    uri: String,
    way: Flow,
}

/// What a phone said of a message, what counts more being greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// It will never take this one: it is forgotten, and the next one's turn.
    Refused(u16),
    /// It could not work on this one, and may later: it stays, and the next one's turn, for it would
    /// be in the way of all others otherwise.
    Failed(u16),
    /// It says nothing of the message but that it is not the time or the phone for it: all stay until
    /// the user registers again.
    Away(u16),
    /// The user does not want it, at any phone (RFC 3261 section 21.6).
    Declined(u16),
    /// It is delivered.
    Taken,
}

impl Heard {
    fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            // Who sent it was told that it will be delivered, and cannot hear that the user is busy. A
            // phone that has no MESSAGE (405, 501) is not the one that a message waits for.
            405 | 408 | 410 | 430 | 480 | 486 | 491 => Self::Away(status),
            505 | 513 => Self::Refused(status),
            500 => Self::Failed(status),
            400..=499 => Self::Refused(status),
            600.. => Self::Declined(status),
            _ => Self::Away(status),
        }
    }
}

impl Core {
    /// A user has registered a phone: what is kept for the user may be delivered.
    pub(super) fn on_registered(&mut self, aor: &Aor) {
        let aor = aor.clone();
        self.outputs.push_back(Output::Collect { aor });
    }

    /// What is kept for a user who registered, the oldest first. It is this worker's alone until
    /// [`Output::Settled`].
    pub(crate) fn handle_collected(
        &mut self,
        now: Instant,
        aor: &Aor,
        messages: Vec<store::Message>,
    ) {
        if self.delivering.len() >= MAX_DELIVERIES {
            self.outputs.push_back(Output::Settled { aor: aor.clone() });
        } else {
            info!(user = %aor, messages = messages.len(), "delivering what was kept");
            let delivery = Delivery {
                left: messages.into(),
                next: VecDeque::new(),
                waiting: 0,
                heard: None,
                silent: HashSet::new(),
            };
            self.delivering.insert(aor.clone(), delivery);
            self.begin_message(now, aor);
            self.go_on_delivering(now, aor);
        }
        self.drain(now);
    }

    /// A phone answered a message that was kept; no status where it said nothing.
    pub(super) fn on_delivered(&mut self, now: Instant, client: ClientId, status: Option<u16>) {
        let Some(SentKept { to: aor, uri, .. }) = self.delivered_by.remove(&client) else {
            return;
        };
        let Some(delivery) = self.delivering.get_mut(&aor) else {
            return;
        };
        debug!(user = %aor, uri, status, "a phone was sent a message that was kept");
        if status.is_none() {
            delivery.silent.insert(uri);
        }
        let heard = Heard::of(status.unwrap_or(408));
        let is_first = heard == Heard::Taken && delivery.heard != Some(Heard::Taken);
        delivery.waiting = delivery.waiting.saturating_sub(1);
        delivery.heard = delivery.heard.max(Some(heard));
        if is_first {
            self.forget_message(&aor);
        }
        self.go_on_delivering(now, &aor);
    }

    /// A kept message was sent to a phone by a way, and is unanswered.
    pub(super) fn is_kept_by(&self, client: ClientId, by: impl Fn(&Flow) -> bool) -> bool {
        let sent = self.delivered_by.get(&client);
        sent.is_some_and(|sent| by(&sent.way))
    }

    /// Goes on as far as the phones have answered.
    fn go_on_delivering(&mut self, now: Instant, aor: &Aor) {
        loop {
            let Some(delivery) = self.delivering.get_mut(aor) else {
                return;
            };
            if delivery.waiting > 0 {
                return;
            }
            let decided = delivery.heard >= Some(Heard::Declined(0));
            if !decided && let Some(contacts) = delivery.next.pop_front() {
                for contact in contacts {
                    self.send_kept(now, aor, &contact);
                }
                continue;
            }
            match delivery.heard {
                Some(Heard::Taken) => {}
                Some(Heard::Refused(status) | Heard::Declined(status)) => {
                    warn!(user = %aor, status, "a message that was kept is refused for good, and dropped");
                    self.forget_message(aor);
                }
                Some(Heard::Failed(status)) => {
                    info!(user = %aor, status, "a message that was kept was not taken; it stays");
                }
                Some(Heard::Away(_)) | None => return self.end_delivery(aor),
            }
            if let Some(delivery) = self.delivering.get_mut(aor) {
                delivery.left.pop_front();
                if delivery.left.is_empty() {
                    return self.end_delivery(aor);
                }
            }
            self.begin_message(now, aor);
        }
    }

    /// Finds the phones for the message that is first.
    fn begin_message(&mut self, now: Instant, aor: &Aor) {
        let mut contacts = self.access.location.phones(self.time(now), aor);
        if let Some(delivery) = self.delivering.get_mut(aor) {
            contacts.retain(|contact| !delivery.silent.contains(&contact.uri));
            contacts.sort_by_key(|contact| std::cmp::Reverse(contact.q));
            let same_q = contacts.chunk_by(|a, b| a.q == b.q);
            delivery.next = same_q.map(<[Contact]>::to_vec).collect();
            delivery.heard = None;
        }
    }

    /// The message that is first need not be kept any longer.
    fn forget_message(&mut self, aor: &Aor) {
        let delivery = self.delivering.get(aor);
        if let Some(message) = delivery.and_then(|delivery| delivery.left.front()) {
            let (aor, id) = (aor.clone(), message.id);
            self.outputs.push_back(Output::Forget { aor, id });
        }
    }

    fn end_delivery(&mut self, aor: &Aor) {
        if let Some(delivery) = self.delivering.remove(aor) {
            info!(user = %aor, left = delivery.left.len(), "what was kept was delivered");
            self.outputs.push_back(Output::Settled { aor: aor.clone() });
        }
    }

    /// Sends the message that is first to a phone. `None` where it cannot be sent there.
    fn send_kept(&mut self, now: Instant, aor: &Aor, contact: &Contact) -> Option<()> {
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
        // None is kept that was to a sips: URI.
        let place = contact.request_uri(false);
        let mut request = RequestBuilder::new(&Method::Message, &*place)
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
        self.waits.add_answer(&way, client, false);
        self.clients.insert(client, Client::Kept);
        let (to, uri) = (aor.clone(), contact.uri.clone());
        self.delivered_by.insert(client, SentKept { to, uri, way });
        self.delivering.get_mut(aor)?.waiting += 1;
        Some(())
    }
}
