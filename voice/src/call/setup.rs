//! What a call is when its interpreter begins, and what was set for the number or request that it came by.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::RecordingOrder;
use crate::{
    form::Params,
    sid::Sid,
    twiml::{Link, StatusEvents},
};

/// What has to be known of a call before its first document.
#[derive(Clone)]
pub struct Setup {
    /// The call's UUID, which its SID is made of.
    pub uuid: [u8; 16],
    /// Whose call it is.
    pub account: Sid,
    /// The account's token, which signs every request.
    pub token: String,
    /// Who called whom.
    pub direction: Direction,
    /// The caller: a number, `client:name` or `sip:user@host`.
    pub from: String,
    /// The called, written like the caller.
    pub to: String,
    /// The caller's name, where it is known.
    pub caller_name: Option<String>,
    /// Who forwarded the call to the number, where somebody did.
    pub forwarded_from: Option<String>,
    /// What else each request tells, such as `SipHeader_X-Account` or `StirVerstat`.
    pub extra: Params,
    /// What to run first.
    pub entry: Entry,
    /// Who is asked where a document cannot be had.
    pub fallback: Option<Link>,
    /// Who is told how the call goes, and of which steps.
    pub status: Option<(Link, StatusEvents)>,
    /// The party is recorded from its answer on.
    pub record: Option<RecordingOrder>,
    /// Where the REST API is, such as `https://voice.example.com`: the URLs of recordings begin with it.
    pub api: String,
    /// The wall clock's time at the start, for what callbacks say of times.
    pub started: SystemTime,
    /// The longest that the call may last, from its answer on, and before; Twilio's is four hours.
    pub time_limit: Duration,
    /// Streams may go to `ws://` as well as `wss://`.
    pub plain_streams: bool,
}

/// Who called whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Somebody called in.
    Inbound,
    /// The REST API asked for the call.
    OutboundApi,
    /// A `<Dial>` did.
    OutboundDial,
}

/// Where the first document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// From a webhook, by an absolute URL.
    Url(Link),
    /// From who made the call.
    Document(String),
}

impl Direction {
    /// As webhooks write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::OutboundApi => "outbound-api",
            Self::OutboundDial => "outbound-dial",
        }
    }
}

/// Without the token.
impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("account", &self.account)
            .field("direction", &self.direction)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}
