//! Messages (RFC 3428) of applications: those that documents and the REST API send ([`sending`]), and those that come
//! to a number and are given to an application ([`receiving`]).
//!
//! One that is sent is a request like any other's: an agent beside the proxy in this process gives it to that, which
//! knows in whose name it is, where it leads, and keeps it for users who are away.

mod receiving;
mod sending;

use std::{collections::HashMap, sync::Arc, time::Instant};

use ::control::{
    Fault, FaultCode,
    signal::{VoiceDone, VoiceMessage},
};
use sip::message::Message;
use store::{Timestamp, Uuid, VoiceMessageDirection, VoiceMessageRow, VoiceMessageStatus};
use tracing::{info, warn};
use voice::{
    call::{JobId, Request, RequestError, RequestId, Response},
    message::{MAX_BODY, segments},
    notice::{Level, Notice},
    sid::{Kind, Sid},
};

use self::{receiving::Receiving, sending::Sending};
use super::{Alarm, Core, Output, output::WebhookToken};
use crate::{
    directory::{Account, Caller},
    net::Flow,
};

/// Messages of one worker that are on their way, and that documents are run for, at most.
const MOST: usize = 16_384;
/// Of one account, so that others have room.
const MOST_OF_ACCOUNT: usize = MOST / 4;
/// Documents that answer a message with another one, one after the other, at most.
const DEEPEST: usize = 5;

/// Messages of applications.
#[derive(Debug, Default)]
pub(super) struct Texts {
    sending: HashMap<u64, Box<Sending>>,
    /// What is not answered yet.
    by_call_id: HashMap<String, u64>,
    receiving: HashMap<u64, Box<Receiving>>,
    /// For which of either webhooks are asked.
    asking: HashMap<WebhookToken, (u64, RequestId)>,
}

/// A message to send.
pub(super) struct NewText {
    pub(super) account: Arc<Account>,
    pub(super) sid: Sid,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) body: String,
    /// Something is attached, which this node does not send.
    pub(super) has_media: bool,
    pub(super) callback: Option<String>,
    pub(super) direction: VoiceMessageDirection,
    pub(super) waits: Option<Waits>,
    /// How many documents have answered each other until it came to this one.
    pub(super) depth: usize,
}

/// Whose document waits for what becomes of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waits {
    /// A call's.
    Call(u64, JobId),
    /// That of a message which has come.
    Text(u64, JobId),
}

impl Texts {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_empty()
            && self.by_call_id.is_empty()
            && self.receiving.is_empty()
            && self.asking.is_empty()
    }

    fn of(&self, flow: &Flow, call_id: &str) -> Option<&Sending> {
        let id = self.by_call_id.get(call_id).filter(|_| flow.is_node())?;
        self.sending.get(id).map(|sending| &**sending)
    }

    /// In whose name a message of this node's own is sent.
    pub(super) fn by(&self, flow: &Flow, call_id: &str) -> Option<Caller> {
        Some(self.of(flow, call_id)?.by.clone())
    }

    /// Whether another message of this account may be on its way.
    fn has_room(&self, account: &Account) -> bool {
        let all = self.sending.len() + self.receiving.len();
        if all < MOST_OF_ACCOUNT {
            return true;
        }
        let sending = self.sending.values().map(|sending| &sending.account);
        let receiving = self.receiving.values().map(|receiving| &receiving.account);
        let own = sending.chain(receiving).filter(|of| of.sid == account.sid);
        all < MOST && own.count() < MOST_OF_ACCOUNT
    }
}

impl Core {
    /// Sends a message for the REST API.
    pub(super) fn send_for(
        &mut self,
        now: Instant,
        order: &VoiceMessage,
    ) -> Result<VoiceDone, Fault> {
        if self.draining {
            let why = "the node is draining: it takes no new messages";
            return Err(Fault::new(FaultCode::Conflict, why));
        }
        let account = self.directory.account(&order.account).cloned();
        let account = account.ok_or_else(|| {
            let why = format!("there is no account '{}'", order.account);
            Fault::new(FaultCode::NotFound, why)
        })?;
        if !self.texts.has_room(&account) {
            let why = "too many messages are on their way";
            return Err(Fault::new(FaultCode::Exhausted, why));
        }
        if order.body.is_empty() || order.body.chars().count() > MAX_BODY {
            let why = format!("a message has 1 to {MAX_BODY} characters");
            return Err(Fault::new(FaultCode::Invalid, why));
        }
        let uuid = self.text_uuid(now);
        let sid = Sid::new(Kind::Message, uuid.into_bytes());
        let text = NewText {
            account,
            sid: sid.clone(),
            from: order.from.clone(),
            to: order.to.clone(),
            body: order.body.clone(),
            has_media: false,
            callback: order.status_callback.clone(),
            direction: VoiceMessageDirection::Api,
            waits: None,
            depth: 0,
        };
        // What is wrong with it, its status tells.
        drop(self.send_text(now, text));
        Ok(VoiceDone::Message {
            sid: sid.as_str().to_owned(),
            segments: segments(&order.body),
        })
    }

    fn text_uuid(&mut self, now: Instant) -> Uuid {
        let time = self.time(now);
        self.call_uuid(time)
    }

    /// A message of the proxy's, where it answers one of ours. `false` where it does not.
    pub(super) fn hand_to_text(&mut self, now: Instant, message: &Message) -> bool {
        let call_id = message.call_id().unwrap_or_default();
        let Some(id) = self.texts.by_call_id.get(call_id).copied() else {
            return false;
        };
        if let Some(status) = message.status().filter(|status| *status >= 200) {
            self.on_text_answered(now, id, status);
        }
        true
    }

    /// A webhook has answered, or will not.
    pub(super) fn on_text_webhook(
        &mut self,
        now: Instant,
        token: WebhookToken,
        result: Result<Response, RequestError>,
    ) {
        let Some((id, request)) = self.texts.asking.remove(&token) else {
            return;
        };
        if self.texts.sending.contains_key(&id) {
            self.with_sending(id, |sending, _| {
                sending.outgoing.handle_response(now, request, result);
            });
        } else {
            self.with_receiving(now, id, |receiving| {
                receiving.incoming.handle_response(now, request, result);
            });
        }
    }

    pub(super) fn on_text_alarm(&mut self, now: Instant, id: u64) {
        if self.texts.sending.contains_key(&id) {
            self.on_sending_time(now, id);
        } else {
            self.with_receiving(now, id, |receiving| receiving.incoming.handle_timeout(now));
        }
    }

    /// Nobody is waited for any more. What is not answered yet is told to be lost, or it would be on its way for ever.
    pub(super) fn give_up_texts(&mut self, now: Instant) {
        for id in self.texts.by_call_id.values().copied().collect::<Vec<_>>() {
            self.with_sending(id, |sending, core| sending.give_up(now, core));
        }
        let texts = std::mem::take(&mut self.texts);
        for id in texts.sending.into_keys().chain(texts.receiving.into_keys()) {
            self.alarms.set(Alarm::Text(id), None);
        }
    }

    fn ask_for_text(&mut self, id: u64, request: Box<Request>, account: &Account) {
        let token = WebhookToken(self.number());
        self.texts.asking.insert(token, (id, request.id));
        self.outputs.push_back(Output::Webhook {
            token,
            request,
            public: account.is_abroad(),
        });
    }

    fn cancel_for_text(&mut self, id: u64, request: RequestId) {
        let mut asking = self.texts.asking.iter();
        let token = asking.find(|(_, asking)| **asking == (id, request));
        if let Some(token) = token.map(|(token, _)| *token) {
            self.texts.asking.remove(&token);
            self.outputs.push_back(Output::CancelWebhook(token));
        }
    }
}

/// The row of a message in its first state.
fn row(
    sid: &Sid,
    account: &Account,
    (from, to, body): (&str, &str, &str),
    direction: VoiceMessageDirection,
    now: Timestamp,
) -> VoiceMessageRow {
    let is_inbound = direction == VoiceMessageDirection::Inbound;
    VoiceMessageRow {
        sid: sid.as_str().to_owned(),
        account: account.sid.clone(),
        tenant: account.tenant.as_deref().map(str::to_owned),
        from: from.to_owned(),
        to: to.to_owned(),
        body: body.to_owned(),
        segments: segments(body),
        direction,
        status: match is_inbound {
            true => VoiceMessageStatus::Received,
            false => VoiceMessageStatus::Sending,
        },
        error: None,
        created: now,
        updated: now,
        sent: is_inbound.then_some(now),
        sequence: 1,
    }
}

/// Tells whoever runs the node what is wrong with a webhook or a document.
fn tell(sid: &str, notice: &Notice) {
    let (code, url) = (notice.code.number(), notice.url.as_deref());
    let why = &notice.message;
    match notice.level {
        Level::Error => warn!(
            message = sid,
            code, url, "a message of an application: {why}"
        ),
        Level::Warning => info!(
            message = sid,
            code, url, "a message of an application: {why}"
        ),
    }
}
