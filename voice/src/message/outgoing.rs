//! A message that was sent: who wants to know is told what becomes of it, one thing after the other.

use std::{collections::VecDeque, time::Instant};

use super::{
    Action, Status,
    line::{Line, Outcome},
    sids,
};
use crate::{
    call::{API_VERSION, RequestError, RequestId, Response, fetch::Failure},
    form::Params,
    notice::{Level, Notice, shown},
    sid::Sid,
    twiml::{Link, Method},
};

/// Why a message was not delivered: a number of Twilio's error dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble(
    /// The number.
    pub u32,
);

impl Trouble {
    /// `To` is nobody who can be sent to.
    pub const TO: Self = Self(21211);
    /// `From` is not one of the account's.
    pub const FROM: Self = Self(21606);
    /// Too many wait.
    pub const OVERFLOW: Self = Self(30001);
    /// Something else, or of the node's own.
    pub const UNKNOWN: Self = Self(30008);

    /// What a final response of SIP means that is no success.
    pub const fn of_response(status: u16) -> Self {
        match status {
            // Nobody has heard of the number.
            404 | 410 | 484 | 485 | 604 => Self(30005),
            // Nobody can be reached there.
            408 | 430 | 480 | 503 | 504 => Self(30003),
            // It is not wanted.
            403 | 603 | 606..=608 => Self(30004),
            // What is there takes no messages, or none such.
            405 | 415 | 488 | 501 | 505 | 513 => Self(30006),
            _ => Self::UNKNOWN,
        }
    }
}

/// Tells of one message.
#[derive(Debug)]
pub struct Outgoing {
    account: Sid,
    from: String,
    to: String,
    link: Option<Link>,
    line: Line<()>,
    waiting: VecDeque<Params>,
    actions: VecDeque<Action>,
}

impl Outgoing {
    /// A message of this SID, of an account whose token signs what it is told at `callback`: an absolute URL.
    pub fn new(
        sid: Sid,
        account: Sid,
        token: String,
        (from, to): (String, String),
        callback: Option<String>,
    ) -> Self {
        let link = callback.map(|url| Link {
            url,
            method: Method::Post,
        });
        Self {
            account,
            from,
            to,
            link,
            line: Line::new(sid, token),
            waiting: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// Its SID.
    pub const fn sid(&self) -> &Sid {
        &self.line.sid
    }

    /// It is so now.
    pub fn tell(&mut self, now: Instant, status: Status, trouble: Option<Trouble>) {
        if self.link.is_none() {
            return;
        }
        let mut params = sids(&self.line.sid, status);
        for (name, value) in [
            ("AccountSid", self.account.as_str()),
            ("From", &*self.from),
            ("To", &*self.to),
            ("ApiVersion", API_VERSION),
        ] {
            params.push(name, value);
        }
        params.push_some("ErrorCode", trouble.map(|Trouble(code)| code.to_string()));
        self.waiting.push_back(params);
        self.next(now);
    }

    /// A webhook has answered, or will not.
    pub fn handle_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: Result<Response, RequestError>,
    ) {
        match self.line.handle_response(now, id, result) {
            Some(Outcome::Again(request)) => self.actions.push_back(Action::Request(request)),
            Some(Outcome::Failed(fetch, failure)) => self.failed(&fetch.link, failure),
            Some(Outcome::Answered(..)) | None => {}
        }
        self.next(now);
    }

    /// When [`Outgoing::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.line.poll_timeout()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((id, fetch, failure)) = self.line.handle_timeout(now) {
            self.actions.push_back(Action::CancelRequest(id));
            self.failed(&fetch.link, failure);
        }
        self.next(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether everybody has been told all there was so far.
    pub fn is_idle(&self) -> bool {
        !self.line.is_busy() && self.waiting.is_empty() && self.actions.is_empty()
    }

    fn next(&mut self, now: Instant) {
        if self.line.is_busy() {
            return;
        }
        if let Some((link, params)) = self.link.clone().zip(self.waiting.pop_front()) {
            let request = self.line.ask(now, link, params, ());
            self.actions.push_back(Action::Request(request));
        }
    }

    fn failed(&mut self, link: &Link, failure: Failure) {
        self.actions.push_back(Action::Notice(Notice {
            code: failure.code,
            level: Level::Warning,
            url: Some(shown(&link.url)),
            message: failure.message,
        }));
    }
}
