//! The registrar: what a user's REGISTER does, and its answer.
//!
//! It needs no transaction (RFC 3261 section 17.2.2): its nonce, which is remembered in any case, also
//! tells whether a REGISTER is the one that used it, sent again. If that took effect, what is bound is
//! listed; if it was refused, it is judged again. So fifty thousand phones that come at once leave no
//! fifty thousand answers behind that wait for half a minute to be asked for.

use std::time::Instant;

use sip::{
    header::{HeaderName, NameAddr},
    message::Message,
    registrar::{Contact, Refusal, Register, Wish},
};
use store::Timestamp;
use tracing::{debug, info};

use super::{Core, policy::RETRY_AFTER};
use crate::{
    accounts::Account,
    directory::Aor,
    location::{Came, Denied, is_secure_uri, is_sips},
    net::Flow,
};

/// Extensions that a REGISTER may require.
const EXTENSIONS: [&str; 2] = ["path", "outbound"];

impl Core {
    /// A REGISTER of a user who has proven who it is. Tells whether it took effect.
    pub(super) fn register(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message,
        account: &Account,
    ) -> bool {
        let unpathed = self.without_path(&flow, request);
        let mut unknown = unknown_extensions(request);
        if unpathed.is_some() && request.has_option(HeaderName::Require, "path") {
            unknown.push("path".into());
        }
        if !unknown.is_empty() {
            let unsupported = (HeaderName::Unsupported, unknown.join(", "));
            self.respond_with(flow, request, 420, &[unsupported]);
            return false;
        }
        let request = unpathed.as_ref().unwrap_or(request);
        match Register::parse(request, &self.access.bounds()) {
            Ok(register) if self.is_lost(&flow, &register) => {
                debug!(user = %account.aor, source = %flow, "bound nothing: the connection is closed");
                false
            }
            Ok(register) if is_exposed(&flow, &register) => {
                info!(user = %account.aor, source = %flow,
                    "refused a REGISTER: its Contact is a sips: URI, and it did not come over TLS all the way");
                self.respond_stateless(flow, request, 400);
                false
            }
            Ok(register) => self.bind(now, flow, request, account, &register),
            Err(refusal) => {
                self.refuse_register(flow, request, &account.aor, refusal);
                false
            }
        }
    }

    /// A REGISTER without the Path that it may not have; `None` where it has none, or may. A Path leads
    /// every call for the user to the hosts that it names, so it is a proxy's to write whom the operator
    /// trusts: one that stands as a trunk, by address or certificate. Of anybody else it is ignored, as
    /// RFC 3327 section 5.3 lets a registrar do, and the answer does not repeat it; who requires it is
    /// told 420. The phone is then reached by the flow that it registered over.
    fn without_path(&self, flow: &Flow, request: &Message) -> Option<Message> {
        request.header(HeaderName::Path)?;
        if self.trunk_of(flow).is_some() {
            return None;
        }
        debug!(source = %flow, "ignored the Path of a REGISTER that no trunk has sent");
        request.edit().remove(HeaderName::Path).finish().ok()
    }

    /// The answer to a REGISTER that took effect already.
    pub(super) fn list_bindings(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message,
        account: &Account,
    ) {
        let unpathed = self.without_path(&flow, request);
        let request = unpathed.as_ref().unwrap_or(request);
        if let Ok(register) = Register::parse(request, &self.access.bounds()) {
            let query = Register {
                wish: Wish::Query,
                ..register
            };
            self.bind(now, flow, request, account, &query);
        }
    }

    fn bind(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message,
        account: &Account,
        register: &Register,
    ) -> bool {
        let time = self.time(now);
        let user_agent = request.header(HeaderName::UserAgent);
        let user_agent = user_agent.map(|header| match header.text() {
            text if text.contains(char::is_control) => text.replace(char::is_control, " ").into(),
            text => text,
        });
        let came = Came {
            flow,
            user_agent: user_agent.as_deref().unwrap_or_default(),
        };
        let capacity = self.access.capacity(account.profile.max_contacts);
        let aor = &account.aor;
        let done = self
            .access
            .location
            .register(time, aor, register, &came, capacity);
        let contacts = match done {
            Ok(contacts) => contacts,
            Err(Denied::Rules(refusal)) => {
                self.refuse_register(flow, request, aor, refusal);
                return false;
            }
            Err(Denied::Full) => {
                let retry = (HeaderName::RetryAfter, RETRY_AFTER.to_owned());
                self.respond_with(flow, request, 503, &[retry]);
                return false;
            }
        };
        debug!(user = %aor, source = %flow, contacts = contacts.len(), "registered");
        let mut headers: Vec<_> = contacts
            .into_iter()
            .map(|contact| (HeaderName::Contact, contact))
            .collect();
        if register.outbound {
            // RFC 5626 section 6.
            headers.push((HeaderName::Require, "outbound".to_owned()));
        }
        if register.echoes_path {
            headers.push((HeaderName::Path, register.path.join(", ")));
        }
        headers.push((HeaderName::Date, self.date.at(time).to_owned()));
        self.respond_with(flow, request, 200, &headers);
        if binds(register).next().is_some() {
            self.on_registered(aor);
        }
        true
    }

    /// Whether a REGISTER would bind a phone to a connection that is closed: it waited, for the store or for
    /// its turn, and nobody would be told again that nobody is there.
    fn is_lost(&self, flow: &Flow, register: &Register) -> bool {
        register.path.is_empty() && binds(register).next().is_some() && !self.policy.open.has(flow)
    }

    fn refuse_register(&mut self, flow: Flow, request: &Message, aor: &Aor, refusal: Refusal) {
        info!(user = %aor, source = %flow, %refusal, "refused a REGISTER");
        let least = match refusal {
            Refusal::TooBrief(least) => vec![(HeaderName::MinExpires, least.to_string())],
            _ => Vec::new(),
        };
        self.respond_with(flow, request, refusal.status(), &least);
    }
}

/// The contacts that a REGISTER binds, rather than removes.
fn binds(register: &Register) -> impl Iterator<Item = &Contact> {
    let contacts = match &register.wish {
        Wish::Update(contacts) => &contacts[..],
        Wish::Query | Wish::RemoveAll => &[],
    };
    contacts.iter().filter(|contact| contact.expires > 0)
}

/// Whether a Contact promises encryption that the way to it does not have: bound, it would have who calls a
/// `sips:` URI reach a phone in the clear (RFC 5630 section 5.2). Its Request-URI is not asked for `sips:`,
/// as that section has it: over TLS some phones write `sip:` there.
fn is_exposed(flow: &Flow, register: &Register) -> bool {
    if !binds(register).any(|contact| is_sips(contact.uri())) {
        return false;
    }
    let is_secure = |hop: &String| {
        let hop = NameAddr::parse(HeaderName::Path, hop.as_bytes());
        hop.is_ok_and(|hop| is_secure_uri(hop.uri_str()))
    };
    !flow.transport.is_secure() || !register.path.iter().all(is_secure)
}

/// What a REGISTER requires and is not known here.
fn unknown_extensions(request: &Message) -> Vec<String> {
    let known = |tag: &&[u8]| {
        let mut known = EXTENSIONS.iter();
        known.any(|known| known.as_bytes().eq_ignore_ascii_case(tag))
    };
    let tags = request
        .values(HeaderName::Require)
        .filter(|tag| !known(tag));
    tags.map(|tag| String::from_utf8_lossy(tag).into_owned())
        .collect()
}

/// A Date value (RFC 3261 section 20.17): `Sat, 13 Nov 2010 23:29:00 GMT`. Written once a second.
#[derive(Debug, Default)]
pub(super) struct Date {
    second: i64,
    text: String,
}

impl Date {
    fn at(&mut self, time: Timestamp) -> &str {
        let second = time.millis().div_euclid(1_000);
        if self.second != second || self.text.is_empty() {
            let time = jiff::Timestamp::from_second(second).unwrap_or_default();
            self.second = second;
            self.text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_goes_on_with_the_time() {
        let mut date = Date::default();
        for (millis, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_289_690_940_000, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (1_289_690_940_999, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (1_289_690_941_000, "Sat, 13 Nov 2010 23:29:01 GMT"),
        ] {
            assert_eq!(date.at(Timestamp::from_millis(millis)), text);
        }
    }
}
