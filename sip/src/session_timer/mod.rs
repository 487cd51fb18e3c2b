//! Session timers (RFC 4028) as a proxy on the way of a call sees them.
//!
//! The parties refresh their session by re-INVITE or UPDATE; a proxy that hears no refresh within the
//! agreed interval knows that the call is over, whatever became of its BYE. [`Rules::propose`] judges
//! each INVITE and UPDATE: it is refused ([`TooSmall`]), or goes on with the [`Proposal`]'s headers.
//! [`Proposal::settle`] reads what the 2xx agrees on, and answers for a callee that knows nothing of
//! session timers. Where neither party knows of them nothing is agreed on, and nobody is troubled.

use std::time::Duration;

use crate::header::{HeaderError, HeaderName, Params};
use crate::message::{EditError, Message, Method};
use crate::text::{decimal, trim};

/// The option tag.
const TIMER: &str = "timer";
/// The least interval that anybody may ask for, in seconds (RFC 4028 section 4).
pub const LEAST: u32 = 90;

/// What this proxy wants of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The interval to ask for, in seconds; a longer one is lowered to it.
    pub interval: u32,
    /// The shortest interval that it puts up with, in seconds; [`LEAST`] at least.
    pub min: u32,
}

/// Who is to send the refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// The sender of the request that was answered.
    Uac,
    /// Its receiver.
    Uas,
}

/// A Session-Expires header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds.
    pub interval: u32,
    /// Who refreshes, where it says so.
    pub refresher: Option<Refresher>,
}

/// The request asks for a shorter interval than [`Rules::min`], and its sender knows what 422 means:
/// refuse it with Min-SE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session interval is shorter than {min} s")]
pub struct TooSmall {
    /// For Min-SE, in seconds.
    pub min: u32,
}

/// What a request asks for when it leaves this proxy. To be kept until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    interval: u32,
    /// Set where Session-Expires has to be written.
    is_new: bool,
    /// Min-SE, where it has to be raised.
    min: Option<u32>,
    /// The sender knows of session timers.
    supported: bool,
}

/// What a 2xx agrees on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The session is over when no refresh comes for as long.
    pub interval: Duration,
    /// Who refreshes it.
    pub refresher: Refresher,
    /// The response as it is to go back, where it has to say more than it did.
    pub response: Option<Message>,
}

impl SessionExpires {
    /// The header of a message; `None` where there is none.
    ///
    /// # Errors
    /// It is malformed.
    pub fn of(message: &Message) -> Result<Option<Self>, HeaderError> {
        let name = HeaderName::SessionExpires;
        let Some(header) = message.header(name) else {
            return Ok(None);
        };
        let (seconds, params) = split(name, header.value())?;
        let refresher = match params.get("refresher") {
            Some(who) if who.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(who) if who.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) => return Err(HeaderError::Malformed(name)),
            None => None,
        };
        Ok(Some(Self {
            interval: seconds,
            refresher,
        }))
    }
}

impl Rules {
    /// Judges an INVITE or UPDATE, first or within a dialog. `None` for any other request, and for
    /// one whose headers cannot be read: its receiver may say so.
    ///
    /// # Errors
    /// The request is to be refused with 422.
    pub fn propose(&self, request: &Message) -> Result<Option<Proposal>, TooSmall> {
        if !matches!(request.method(), Some(Method::Invite | Method::Update)) {
            return Ok(None);
        }
        let (Ok(asked), Ok(min)) = (SessionExpires::of(request), min_se(request)) else {
            return Ok(None);
        };
        let supported = [HeaderName::Supported, HeaderName::Require]
            .into_iter()
            .any(|name| request.has_option(name, TIMER));
        let asked = asked.map(|asked| asked.interval);
        let too_small = asked.is_some_and(|asked| asked < self.min);
        if too_small && supported {
            return Err(TooSmall { min: self.min });
        }
        // Nobody goes below what the sender or another proxy put up with (section 8.1).
        let wanted = self.interval.max(self.min).max(min.unwrap_or(LEAST));
        let interval = match asked {
            Some(_) if too_small => self.min.max(min.unwrap_or(LEAST)),
            Some(asked) => asked.min(wanted),
            None => wanted,
        };
        Ok(Some(Proposal {
            interval,
            is_new: asked != Some(interval),
            min: (too_small && min.unwrap_or(LEAST) < self.min).then_some(self.min),
            supported,
        }))
    }
}

impl Proposal {
    /// The request with the headers that it goes on with; `None` where it has them already.
    ///
    /// # Errors
    /// It would be too large.
    pub fn write(&self, request: &Message) -> Result<Option<Message>, EditError> {
        if !self.is_new {
            return Ok(None);
        }
        // A refresher that was named stays: naming one is not for a proxy (section 8.1).
        let header = request.header(HeaderName::SessionExpires);
        let params = header.and_then(|header| {
            let value = header.value();
            let at = value.iter().position(|byte| *byte == b';')?;
            Some(String::from_utf8_lossy(&value[at..]).into_owned())
        });
        let value = format!("{}{}", self.interval, params.unwrap_or_default());
        let mut edit = request.edit().replace(HeaderName::SessionExpires, value);
        if let Some(min) = self.min {
            edit = edit.replace(HeaderName::MinSe, min.to_string());
        }
        edit.finish().map(Some)
    }

    /// What a response agrees on. `None` where it is no 2xx, or where the session has no timer from
    /// now on, since neither party keeps one.
    pub fn settle(&self, response: &Message) -> Option<Agreement> {
        if !matches!(response.status(), Some(200..=299)) {
            return None;
        }
        match SessionExpires::of(response) {
            Ok(Some(agreed)) => Some(Agreement {
                interval: Duration::from_secs(agreed.interval.into()),
                refresher: agreed.refresher.unwrap_or(Refresher::Uac),
                response: None,
            }),
            // The callee knows nothing of it. The caller does, and will refresh (section 8.2).
            Ok(None) if self.supported => {
                let value = format!("{};refresher=uac", self.interval);
                let mut edit = response.edit().replace(HeaderName::SessionExpires, value);
                if !response.has_option(HeaderName::Require, TIMER) {
                    edit = edit.push(HeaderName::Require, TIMER);
                }
                Some(Agreement {
                    interval: Duration::from_secs(self.interval.into()),
                    refresher: Refresher::Uac,
                    response: Some(edit.finish().ok()?),
                })
            }
            Ok(None) | Err(_) => None,
        }
    }
}

fn min_se(request: &Message) -> Result<Option<u32>, HeaderError> {
    let name = HeaderName::MinSe;
    let header = request.header(name);
    header
        .map(|header| split(name, header.value()).map(|(seconds, _)| seconds))
        .transpose()
}

fn split(name: HeaderName, value: &[u8]) -> Result<(u32, Params<'_>), HeaderError> {
    let text = std::str::from_utf8(value).map_err(|_| HeaderError::Malformed(name))?;
    let (seconds, params) = match text.split_once(';') {
        Some((seconds, _)) => (seconds, &text[seconds.len()..]),
        None => (text, ""),
    };
    let seconds = decimal(trim(seconds.as_bytes()))
        .and_then(|seconds| u32::try_from(seconds).ok())
        .ok_or(HeaderError::Malformed(name))?;
    Ok((seconds, Params::new(params)))
}

#[cfg(test)]
mod tests;
