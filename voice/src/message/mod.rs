//! Messages under the control of documents: what a webhook wants done with one that has come ([`Incoming`]), and who
//! is told what becomes of one that was sent ([`Outgoing`]).
//!
//! As [`crate::call::Call`], both hold no socket and read no clock: they take what happens and the time, and are
//! drained of [`Action`]s; [`Incoming::poll_timeout`] tells when they have to be woken.

mod incoming;
mod line;
mod outgoing;
mod segments;

use std::fmt;

pub use incoming::{Incoming, MOST_MESSAGES, Setup};
pub use outgoing::{Outgoing, Trouble};
pub use segments::segments;

use crate::{
    call::{NewMessage, Request, RequestId},
    form::Params,
    notice::Notice,
    sid::Sid,
};

/// The longest text that a message has, in characters.
pub const MAX_BODY: usize = 1600;

/// Something to do, at once and in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask a webhook; its response is waited for.
    Request(Box<Request>),
    /// Nobody waits for this answer any more.
    CancelRequest(RequestId),
    /// Send a message; [`Incoming::handle_sent`] hears of it.
    Send(Box<NewMessage>),
    /// Something is wrong: for the account's debugger and the log.
    Notice(Notice),
}

/// How a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits to be sent.
    Queued,
    /// It is on its way.
    Sending,
    /// The next place has it.
    Sent,
    /// Whom it is for has it.
    Delivered,
    /// It was sent, and not taken.
    Undelivered,
    /// It could not be sent.
    Failed,
    /// It has come from outside.
    Received,
}

impl Status {
    /// As webhooks and the REST API write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Received => "received",
        }
    }

    /// Whether nothing more will be told of it.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request says of the message that it is about.
fn sids(sid: &Sid, status: Status) -> Params {
    [
        ("MessageSid", sid.as_str()),
        ("SmsSid", sid.as_str()),
        ("SmsMessageSid", sid.as_str()),
        ("MessageStatus", status.as_str()),
        ("SmsStatus", status.as_str()),
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests;
