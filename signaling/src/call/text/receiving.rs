//! A message that has come to a number, and the application that it is given to.

use std::{sync::Arc, time::Instant};

use sip::{
    header::{HeaderName, NameAddr},
    message::Message,
    uri::Uri,
};
use store::VoiceMessageDirection;
use tracing::{info, warn};
use voice::{
    message::{Action, Incoming, MOST_MESSAGES, Setup},
    sid::{Kind, Sid},
};

use super::{DEEPEST, NewText, Waits, row, tell};
use crate::{
    call::{
        Alarm, Core, Output,
        policy::RETRY_AFTER,
        voice::setup::{link, without_nul, written},
    },
    directory::{Account, Application},
    net::Flow,
    rows::Row,
};

/// A longer text is not taken.
const LONGEST: usize = 8 * 1024;

/// What a sender is answered.
pub(in crate::call) type Answer = (u16, &'static [(HeaderName, &'static str)]);

/// A message whose documents are run.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) incoming: Incoming,
    pub(super) account: Arc<Account>,
    sid: Sid,
    /// How many documents have answered each other until it came.
    depth: usize,
}

impl Core {
    /// Gives a message to an application: what its sender is answered, at once.
    pub(in crate::call) fn receive_text(
        &mut self,
        now: Instant,
        flow: &Flow,
        received: &Message,
        application: &Application,
    ) -> Answer {
        let Some((message, fallback)) = &application.message else {
            // The number is there, and takes calls alone.
            return (
                405,
                &[(HeaderName::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS")],
            );
        };
        let body = match text_of(received) {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let call_id = received.call_id().unwrap_or_default();
        let depth = self.texts.of(flow, call_id);
        let depth = depth.map_or(0, |sending| sending.depth + 1);
        if depth > DEEPEST {
            warn!("refused a message to an application: documents answer each other in a circle");
            return (482, &[]);
        }
        let account = application.account.clone();
        if !self.texts.has_room(&account) {
            warn!("refused a message to an application: too many are on their way");
            return (503, &[(HeaderName::RetryAfter, RETRY_AFTER)]);
        }
        let Ok(of) = Sid::parse(Kind::Account, &account.sid) else {
            warn!("a message to an application is refused: its account's SID is none");
            return (500, &[]);
        };
        let uri = |address: Option<&str>| written(address.unwrap_or_default());
        let from = received.from().ok();
        let from = uri(from.as_ref().map(NameAddr::uri_str));
        let to = received.request_uri().ok();
        let to = uri(to.as_ref().map(Uri::as_str));
        let sid = Sid::new(Kind::Message, self.text_uuid(now).into_bytes());
        info!(message = %sid, from, to, "a message is given to an application");
        let parties = (&*from, &*to, &*body);
        let direction = VoiceMessageDirection::Inbound;
        let row = row(&sid, &account, parties, direction, self.time(now));
        self.metrics.message(row.direction, row.status);
        self.outputs
            .push_back(Output::VoiceRow(Box::new(Row::Message(row))));
        let setup = Setup {
            sid: sid.clone(),
            account: of,
            token: account.token.clone(),
            from,
            to,
            body,
            link: link(message),
            fallback: fallback.as_ref().map(link),
            // Documents that answer each other would multiply their messages otherwise.
            most: if depth == 0 { MOST_MESSAGES } else { 1 },
        };
        let receiving = Receiving {
            incoming: Incoming::new(setup, now),
            account,
            sid,
            depth,
        };
        let id = self.number();
        self.texts.receiving.insert(id, Box::new(receiving));
        self.with_receiving(now, id, |_| ());
        (202, &[])
    }

    /// Has a message that has come take something in, and does what its documents want.
    pub(super) fn with_receiving(
        &mut self,
        now: Instant,
        id: u64,
        work: impl FnOnce(&mut Receiving),
    ) {
        let Some(mut receiving) = self.texts.receiving.remove(&id) else {
            return;
        };
        work(&mut receiving);
        while let Some(action) = receiving.incoming.poll_action() {
            match action {
                Action::Request(request) => self.ask_for_text(id, request, &receiving.account),
                Action::CancelRequest(request) => self.cancel_for_text(id, request),
                Action::Notice(notice) => tell(receiving.sid.as_str(), &notice),
                Action::Send(message) => {
                    let text = NewText {
                        account: receiving.account.clone(),
                        sid: message.sid,
                        from: message.from,
                        to: message.to,
                        body: message.body,
                        has_media: !message.media.is_empty(),
                        callback: message.status_callback,
                        direction: VoiceMessageDirection::Reply,
                        waits: Some(Waits::Text(id, message.job)),
                        depth: receiving.depth,
                    };
                    if let Err(why) = self.send_text(now, text) {
                        let (job, why) = (message.job, Some(&*why));
                        receiving.incoming.handle_sent(now, job, why);
                    }
                }
            }
        }
        let is_over = receiving.incoming.is_finished();
        let next = receiving.incoming.poll_timeout().filter(|_| !is_over);
        self.alarms.set(Alarm::Text(id), next);
        if !is_over {
            self.texts.receiving.insert(id, receiving);
        }
    }
}

/// The text of a message, or what its sender is owed for what cannot be read here.
fn text_of(received: &Message) -> Result<String, Answer> {
    const ACCEPT: &[(HeaderName, &str)] = &[(HeaderName::Accept, "text/plain")];
    let kind = received.header(HeaderName::ContentType);
    let kind = kind.map_or_else(String::new, |kind| kind.text().to_ascii_lowercase());
    let mut parts = kind.split(';').map(str::trim);
    if !matches!(parts.next(), Some("text/plain" | "")) {
        return Err((415, ACCEPT));
    }
    let body = received.body();
    if body.len() > LONGEST {
        return Err((513, &[]));
    }
    let charset = parts.find_map(|part| part.strip_prefix("charset="));
    let text: String = match charset.map(|charset| charset.trim_matches('"')) {
        // Its octets are the first characters of Unicode.
        Some("iso-8859-1") => body.iter().map(|octet| char::from(*octet)).collect(),
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    Ok(without_nul(&text))
}
