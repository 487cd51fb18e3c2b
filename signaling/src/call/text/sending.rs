//! A message that is sent: who is told what becomes of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sip::{
    header::HeaderName,
    message::{Message, Method, RequestBuilder, reason_phrase},
};
use store::{VoiceMessageRow, VoiceMessageStatus};
use tracing::info;
use voice::message::{Action, Outgoing, Status, Trouble};

use super::{NewText, Waits, row, tell};
use crate::{
    call::{Alarm, Core, Output},
    directory::{Account, Caller},
    rows::Row,
};

/// How long its answer may take: longer than the proxy waits for anybody's.
const PATIENCE: Duration = Duration::from_secs(60);
/// A text as RFC 3428 has it.
const TEXT: &str = "text/plain;charset=UTF-8";

/// A message on its way, or that is told of.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) account: Arc<Account>,
    pub(super) by: Caller,
    pub(super) depth: usize,
    pub(super) outgoing: Outgoing,
    /// Until it is answered.
    call_id: Option<String>,
    until: Option<Instant>,
    row: VoiceMessageRow,
    waits: Option<Waits>,
}

/// A message that is ready to go.
struct Written {
    by: Caller,
    call_id: String,
    request: Message,
}

impl Core {
    /// Sends a message; where that cannot be, in words why. It is told of in either case.
    pub(in crate::call) fn send_text(&mut self, now: Instant, text: NewText) -> Result<(), String> {
        let written = self.write_text(&text);
        let time = self.time(now);
        let parties = (&*text.from, &*text.to, &*text.body);
        let row = row(&text.sid, &text.account, parties, text.direction, time);
        let account = text.account;
        let outgoing = Outgoing::new(
            text.sid,
            // Who has an account has a SID: it was checked where it came in.
            voice::sid::Sid::parse(voice::sid::Kind::Account, &account.sid)
                .map_err(|error| error.to_string())?,
            account.token.clone(),
            (text.from, text.to),
            text.callback,
        );
        let mut sending = Box::new(Sending {
            account,
            by: Caller::Node,
            depth: text.depth,
            outgoing,
            call_id: None,
            until: None,
            row,
            waits: text.waits,
        });
        let id = self.number();
        match written {
            Ok(written) => {
                info!(message = %sending.outgoing.sid(), "a message is sent");
                self.texts.by_call_id.insert(written.call_id.clone(), id);
                sending.by = written.by;
                sending.call_id = Some(written.call_id);
                sending.until = Some(now + PATIENCE);
                self.outputs
                    .push_back(Output::VoiceRow(Box::new(Row::Message(
                        sending.row.clone(),
                    ))));
                self.texts.sending.insert(id, sending);
                self.with_sending(id, |_, _| ());
                self.tell_proxy([written.request]);
                Ok(())
            }
            Err((trouble, why)) => {
                info!(message = %sending.outgoing.sid(), why, "a message cannot be sent");
                // Who waits is told by what this gives.
                sending.waits = None;
                self.texts.sending.insert(id, sending);
                self.with_sending(id, |sending, core| {
                    sending.set(now, Status::Failed, Some(trouble), core);
                });
                Err(why)
            }
        }
    }

    fn write_text(&mut self, text: &NewText) -> Result<Written, (Trouble, String)> {
        if !self.texts.has_room(&text.account) {
            return Err((
                Trouble::OVERFLOW,
                "too many messages are on their way".to_owned(),
            ));
        }
        if text.body.is_empty() {
            let why = match text.has_media {
                true => "it has no text, and this node sends nothing that is attached",
                false => "it has no text",
            };
            return Err((Trouble::UNKNOWN, why.to_owned()));
        }
        let tenant = text.account.tenant.as_deref();
        let by = self.directory.caller_for(&text.account.sid, tenant);
        let by = by.ok_or_else(|| {
            let why = "the account's tenant has no domain to send from";
            (Trouble::FROM, why.to_owned())
        })?;
        let domain = match &by {
            Caller::User(aor) => Some(aor.domain().to_owned()),
            Caller::Trunk(_) | Caller::Node => None,
        };
        let from = self.uri_of(&text.from, domain.as_deref());
        let from = from.map_err(|why| (Trouble::FROM, why))?;
        if !self.directory.may_show(tenant, &from) {
            let why = format!("{} is no number of the account's to send from", text.from);
            return Err((Trouble::FROM, why));
        }
        let to = text.to.split('?').next().unwrap_or_default();
        let to = self.uri_of(to, domain.as_deref());
        let to = to.map_err(|why| (Trouble::TO, why))?;
        let call_id = self.own_call_id();
        let (branch, tag) = (self.tokens.branch(), self.tokens.tag());
        let via = format!("SIP/2.0/TCP {};branch={branch}", self.sent_by());
        let request = RequestBuilder::new(&Method::Message, &*to)
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, format!("<{from}>;tag={tag}"))
            .header(HeaderName::To, format!("<{to}>"))
            .header(HeaderName::CallId, &*call_id)
            .header(HeaderName::CSeq, "1 MESSAGE")
            .body(TEXT, text.body.clone())
            .build()
            .map_err(|error| (Trouble::TO, error.to_string()))?;
        Ok(Written {
            by,
            call_id,
            request,
        })
    }

    /// A message has its final response: 2xx says that it is there, 202 that it will be.
    pub(super) fn on_text_answered(&mut self, now: Instant, id: u64, status: u16) {
        let (mut waits, mut result) = (None, Ok(()));
        self.with_sending(id, |sending, core| {
            sending.answered(core);
            waits = sending.waits.take();
            match status {
                200..=299 => {
                    sending.set(now, Status::Sent, None, core);
                    if status == 200 {
                        sending.set(now, Status::Delivered, None, core);
                    }
                }
                _ => {
                    let trouble = Trouble::of_response(status);
                    sending.set(now, Status::Undelivered, Some(trouble), core);
                    result = Err(format!("{status} {}", reason_phrase(status)));
                }
            }
        });
        match waits {
            Some(Waits::Call(call, job)) => self.on_voice_sent(now, call, job, result),
            Some(Waits::Text(text, job)) => self.with_receiving(now, text, |receiving| {
                let refused = result.as_ref().err().map(String::as_str);
                receiving.incoming.handle_sent(now, job, refused);
            }),
            None => {}
        }
    }

    /// Time has passed.
    pub(super) fn on_sending_time(&mut self, now: Instant, id: u64) {
        let until = self
            .texts
            .sending
            .get(&id)
            .and_then(|sending| sending.until);
        if until.is_some_and(|until| until <= now) {
            self.on_text_answered(now, id, 408);
        }
        self.with_sending(id, |sending, _| sending.outgoing.handle_timeout(now));
    }

    /// Has a message take something in, and tells of it.
    pub(super) fn with_sending(&mut self, id: u64, work: impl FnOnce(&mut Sending, &mut Self)) {
        let Some(mut sending) = self.texts.sending.remove(&id) else {
            return;
        };
        work(&mut sending, self);
        while let Some(action) = sending.outgoing.poll_action() {
            match action {
                Action::Request(request) => self.ask_for_text(id, request, &sending.account),
                Action::CancelRequest(request) => self.cancel_for_text(id, request),
                Action::Notice(notice) => tell(sending.outgoing.sid().as_str(), &notice),
                // Nothing is sent for having been sent.
                Action::Send(_) => {}
            }
        }
        let is_over = sending.call_id.is_none() && sending.outgoing.is_idle();
        let next = sending
            .until
            .into_iter()
            .chain(sending.outgoing.poll_timeout());
        let next = next.min().filter(|_| !is_over);
        self.alarms.set(Alarm::Text(id), next);
        if !is_over {
            self.texts.sending.insert(id, sending);
        }
    }
}

impl Sending {
    /// Nothing is heard of it any more.
    fn answered(&mut self, core: &mut Core) {
        self.until = None;
        if let Some(call_id) = self.call_id.take() {
            core.texts.by_call_id.remove(&call_id);
        }
    }

    /// The node stops before it is answered.
    pub(super) fn give_up(&mut self, now: Instant, core: &mut Core) {
        self.answered(core);
        self.set(now, Status::Undelivered, Some(Trouble::UNKNOWN), core);
    }

    /// It is so now.
    fn set(&mut self, now: Instant, status: Status, trouble: Option<Trouble>, core: &mut Core) {
        let time = core.time(now);
        let row = &mut self.row;
        row.status = match status {
            Status::Queued => VoiceMessageStatus::Queued,
            Status::Sending => VoiceMessageStatus::Sending,
            Status::Sent => VoiceMessageStatus::Sent,
            Status::Delivered => VoiceMessageStatus::Delivered,
            Status::Undelivered => VoiceMessageStatus::Undelivered,
            Status::Failed => VoiceMessageStatus::Failed,
            Status::Received => VoiceMessageStatus::Received,
        };
        row.error = trouble.map(|Trouble(code)| code);
        row.updated = time;
        if status != Status::Failed {
            row.sent.get_or_insert(time);
        }
        row.sequence += 1;
        core.metrics.message(row.direction, row.status);
        core.outputs
            .push_back(Output::VoiceRow(Box::new(Row::Message(row.clone()))));
        self.outgoing.tell(now, status, trouble);
    }
}
