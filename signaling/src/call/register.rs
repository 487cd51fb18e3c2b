//! The registrar: what a user's REGISTER does, and its answer.
//!
//! It needs no transaction. A REGISTER that comes again from the same address finds its work done and
//! is told the same (see [`Core::is_sent_again`]), so that nothing is kept for the half minute in which
//! it might.

use std::time::Instant;

use sip::{
    header::HeaderName,
    message::Message,
    registrar::{Refusal, Register, Wish},
};
use store::Timestamp;
use tracing::{debug, info};

use super::{Core, policy::RETRY_AFTER};
use crate::{
    accounts::Account,
    directory::Aor,
    location::{Came, Denied},
    net::Flow,
};

/// Extensions that a REGISTER may require.
const EXTENSIONS: [&str; 2] = ["path", "outbound"];

impl Core {
    /// A REGISTER of a user who has proven who it is.
    pub(super) fn register(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message,
        account: &Account,
    ) {
        if let Some(unknown) = unknown_extensions(request) {
            let unsupported = (HeaderName::Unsupported, unknown);
            return self.respond_with(flow, request, 420, &[unsupported]);
        }
        match Register::parse(request, &self.access.bounds()) {
            Ok(register) => self.bind(now, flow, request, account, &register),
            Err(refusal) => self.refuse_register(flow, request, &account.aor, refusal),
        }
    }

    /// Whether a REGISTER took effect already and its answer was lost.
    pub(super) fn is_sent_again(
        &self,
        now: Instant,
        flow: &Flow,
        request: &Message,
        aor: &Aor,
    ) -> bool {
        let (Ok(call_id), Ok(cseq)) = (request.call_id(), request.cseq()) else {
            return false;
        };
        let location = &self.access.location;
        location.is_repeated(self.time(now), aor, call_id, cseq.number, flow)
    }

    /// The answer to a REGISTER that took effect already.
    pub(super) fn list_bindings(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message,
        account: &Account,
    ) {
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
    ) {
        let time = self.time(now);
        let user_agent = request.header(HeaderName::UserAgent);
        let user_agent = user_agent.map(|header| header.text().replace(char::is_control, " "));
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
                return self.refuse_register(flow, request, aor, refusal);
            }
            Err(Denied::Full) => {
                let retry = (HeaderName::RetryAfter, RETRY_AFTER.to_owned());
                return self.respond_with(flow, request, 503, &[retry]);
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
        headers.push((HeaderName::Date, date(time)));
        self.respond_with(flow, request, 200, &headers);
        if matches!(&register.wish, Wish::Update(wanted) if wanted.iter().any(|one| one.expires > 0))
        {
            self.on_registered(aor);
        }
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

/// What a REGISTER requires and is not known here.
fn unknown_extensions(request: &Message) -> Option<String> {
    let known = |tag: &&[u8]| {
        let mut known = EXTENSIONS.iter();
        known.any(|known| known.as_bytes().eq_ignore_ascii_case(tag))
    };
    let tags = request
        .values(HeaderName::Require)
        .filter(|tag| !known(tag));
    let tags: Vec<_> = tags.map(String::from_utf8_lossy).collect();
    (!tags.is_empty()).then(|| tags.join(", "))
}

/// A Date value (RFC 3261 section 20.17): `Sat, 13 Nov 2010 23:29:00 GMT`.
fn date(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(time.millis()).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
