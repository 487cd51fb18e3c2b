//! What an application is told of a call that has come in.

use std::time::{Duration, SystemTime};

use ::control::signal::VoiceLink;
use sip::{header::HeaderName, message::Message, uri::Uri};
use voice::{
    call::{Direction, Entry, Setup},
    form::Params,
    sid::{Kind, Sid},
    twiml::{Link, Method, StatusEvents},
};

use crate::{
    call::{policy::Voice, state::Call},
    directory::Application,
};

/// The longest that a call may last: Twilio's.
pub(super) const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);
/// Headers of the INVITE that are told at most.
const MOST_HEADERS: usize = 30;

/// `None` where the account's SID is none.
pub(super) fn of(
    call: &Call,
    invite: &Message,
    application: &Application,
    terms: &Voice,
) -> Option<Setup> {
    let millis = u64::try_from(call.started.millis()).unwrap_or_default();
    let from = invite.from().ok();
    let name = from.map(|from| without_nul(&from.display()));
    Some(Setup {
        uuid: call.id.into_bytes(),
        account: Sid::parse(Kind::Account, &application.account.sid).ok()?,
        token: application.account.token.clone(),
        direction: Direction::Inbound,
        from: written(&call.from_uri),
        to: written(&call.request_uri),
        caller_name: name.filter(|name| !name.is_empty()),
        forwarded_from: diverted_by(invite),
        extra: headers(invite),
        entry: Entry::Url(link(&application.voice)),
        fallback: application.fallback.as_ref().map(link),
        status: application
            .status
            .as_ref()
            .map(|status| (link(status), StatusEvents::default())),
        record: None,
        api: terms.api.clone(),
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
        time_limit: LONGEST,
        plain_streams: terms.plain_streams,
    })
}

pub(in crate::call) fn link(link: &VoiceLink) -> Link {
    Link {
        url: link.url.clone(),
        method: match link.post {
            true => Method::Post,
            false => Method::Get,
        },
    }
}

/// A party as applications write it: a number by itself, anybody else as `sip:user@host`.
pub(in crate::call) fn written(uri: &str) -> String {
    let Ok(parsed) = Uri::parse(uri) else {
        return without_nul(uri);
    };
    let user = parsed.user_unescaped().unwrap_or_default();
    let user = without_nul(&String::from_utf8_lossy(&user));
    let digits = user.strip_prefix('+').unwrap_or(&user);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match parsed.host() {
        Some(host) if !is_number && user.is_empty() => format!("sip:{host}"),
        Some(host) if !is_number => format!("sip:{user}@{host}"),
        _ => user,
    }
}

/// A text as a database can hold it.
pub(in crate::call) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Who forwarded the call last (RFC 5806).
fn diverted_by(invite: &Message) -> Option<String> {
    let header = invite.header("Diversion")?.text().into_owned();
    let uri = header.split_once('<')?.1.split('>').next()?;
    Some(written(uri))
}

/// The headers that begin with `X-`, as Twilio tells them; and the INVITE's Call-ID.
fn headers(invite: &Message) -> Params {
    let mut params = Params::new();
    let own = invite.headers().filter(|header| {
        let name = header.name().as_bytes();
        matches!(name, [b'X' | b'x', b'-', ..])
    });
    for header in own.take(MOST_HEADERS) {
        params.push(format!("SipHeader_{}", header.name()), header.text());
    }
    if let Some(id) = invite.header(HeaderName::CallId) {
        params.push("SipCallId", id.text());
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_by_themselves_and_others_with_their_host() {
        assert_eq!(written("sip:+4930104@192.0.2.1:5060"), "+4930104");
        assert_eq!(written("sip:100@pbx.test;user=phone"), "100");
        assert_eq!(written("sip:alice@pbx.test:5070"), "sip:alice@pbx.test");
        assert_eq!(written("tel"), "tel");
    }

    #[test]
    fn what_a_database_cannot_hold_is_left_out() {
        let user = "sip:al%00ice@pbx.test";
        assert_eq!(written(user), "sip:al\u{fffd}ice@pbx.test");
        assert_eq!(written("\0"), "\u{fffd}");
    }
}
