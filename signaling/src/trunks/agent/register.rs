//! A registration of this node with a trunk (RFC 3261 section 10.2), kept for as long as the trunk is
//! configured.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use control::config::{self, Host};
use sip::{
    header::{HeaderName, NameAddr},
    message::{BuildError, Message, Method, RequestBuilder},
    token::TokenGenerator,
    uri::escape_user,
};
use tracing::{info, warn};

use super::{
    super::{Answered, Credentials, Registered},
    spread,
};
use crate::{directory::Trunk, net::Local};

/// The first pause after nobody answered, and the longest one.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The same after a refusal: who is asked too often may shut us out.
const REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1_800));
/// The longest lifetime that a registrar may make us ask for, in seconds.
const LONGEST: u32 = 7 * 24 * 3600;

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask again, by the same way.
    Again,
    /// Ask the next address or host; why this one will not do.
    Elsewhere(String),
    /// Nothing until then.
    Rest(Duration),
    /// It is over for good.
    Over,
}

/// A registration.
pub(super) struct Registration {
    config: config::Register,
    credentials: Arc<Credentials>,
    domain: String,
    /// One for all its requests (RFC 3261 section 10.2).
    call_id: String,
    from_tag: String,
    cseq: u32,
    /// What is asked for, in seconds.
    expires: u32,
    /// What goes into the next request, where it answers a challenge.
    answer: Option<Answered>,
    /// Challenges that were answered in this round.
    challenged: u32,
    /// The last challenge that was answered, to be answered again without being asked, and how often
    /// its nonce was used.
    known: Option<(Message, u32)>,
    /// `expires` was raised in this round.
    raised: bool,
    /// A host asked for this much patience in this round.
    wait: Option<Duration>,
    failures: u32,
    until: Option<Instant>,
    error: Option<String>,
    leaving: bool,
}

impl Registration {
    /// That of a trunk; `None` where it wants none.
    pub(super) fn of(trunk: &Trunk, mark: &str, tokens: &mut TokenGenerator) -> Option<Self> {
        let config = trunk.config.register.clone()?;
        let credentials = trunk.standing.credentials()?.clone();
        let place = config.registrar.as_ref().or_else(|| trunk.hosts.first())?;
        let name = match place.ip() {
            Some(ip) => sip::uri::Host::from(ip).to_string(),
            None => place.name.clone(),
        };
        Some(Self {
            domain: config.domain.clone().unwrap_or(name),
            credentials,
            call_id: format!("{mark}{}", tokens.token()),
            from_tag: tokens.tag(),
            cseq: 0,
            expires: config.expires,
            answer: None,
            challenged: 0,
            known: None,
            raised: false,
            wait: None,
            failures: 0,
            until: None,
            error: None,
            leaving: false,
            config,
        })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.config == other.config
            && self.domain == other.domain
            && Arc::ptr_eq(&self.credentials, &other.credentials)
    }

    /// Where it is to be asked for, in order.
    pub(super) fn hosts(&self, now: Instant, trunk: &Arc<Trunk>) -> Vec<Host> {
        match &self.config.registrar {
            Some(registrar) => vec![registrar.clone()],
            None => {
                let (down, up): (Vec<_>, Vec<_>) =
                    trunk.host_refs().partition(|host| host.is_down(now));
                let all = up.iter().chain(&down);
                all.filter_map(|host| host.host().cloned()).collect()
            }
        }
    }

    /// It is to be taken back. Tells whether anything has to be done for that.
    pub(super) fn leave(&mut self) -> bool {
        self.leaving = true;
        self.rest();
        self.until.is_some()
    }

    pub(super) fn request(
        &mut self,
        local: &Local,
        tokens: &mut TokenGenerator,
    ) -> Result<Message, BuildError> {
        self.cseq = self.cseq.wrapping_add(1).max(1);
        let user = escape_user(&self.config.user);
        let contact = self
            .config
            .contact_user
            .as_ref()
            .unwrap_or(&self.config.user);
        let transport = match local.transport {
            config::Transport::Udp => String::new(),
            other => format!(";transport={}", other.parameter()),
        };
        let aor = format!("<sip:{user}@{}>", self.domain);
        let expires = if self.leaving { 0 } else { self.expires };
        let request = RequestBuilder::new(&Method::Register, format!("sip:{}", self.domain))
            .header(HeaderName::Via, via_of(local, tokens))
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, format!("{aor};tag={}", self.from_tag))
            .header(HeaderName::To, &aor)
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format!("{} REGISTER", self.cseq))
            .header(
                HeaderName::Contact,
                format!(
                    "<sip:{}@{}{transport}>",
                    escape_user(contact),
                    local.sent_by
                ),
            )
            .header(HeaderName::Expires, expires.to_string());
        if self.answer.is_none() {
            self.answer = self.answer_known(&request, tokens);
        }
        match self.answer.take() {
            Some(answer) => request.header(answer.header, answer.value).build(),
            None => request.build(),
        }
    }

    /// What a final response to `sent` means.
    pub(super) fn on_response(
        &mut self,
        now: Instant,
        trunk: &Trunk,
        sent: &Message,
        response: &Message,
        tokens: &mut TokenGenerator,
    ) -> Step {
        let status = response.status().unwrap_or(0);
        let shown = format!("{status} {}", response.reason());
        match status {
            200..=299 if self.leaving => Step::Over,
            200..=299 => self.on_success(now, trunk, sent, response, tokens),
            401 | 407 => match self.on_challenge(sent, response, tokens) {
                Ok(()) => Step::Again,
                Err(error) => self.fail(now, trunk, error, REFUSED, tokens),
            },
            423 if !self.raised && !self.leaving => {
                self.raised = true;
                let least = response
                    .header(HeaderName::MinExpires)
                    .and_then(|header| header.text().trim().parse::<u32>().ok())
                    .filter(|least| (self.expires..=LONGEST).contains(least));
                match least {
                    Some(least) => {
                        self.expires = least;
                        Step::Again
                    }
                    None => self.fail(now, trunk, shown, REFUSED, tokens),
                }
            }
            408 | 500..=599 => {
                let after = response.header(HeaderName::RetryAfter);
                let wait = after.and_then(|header| retry_after(&header.text()));
                self.wait = self.wait.max(wait);
                Step::Elsewhere(shown)
            }
            _ => self.fail(now, trunk, shown, REFUSED, tokens),
        }
    }

    /// No host answered.
    pub(super) fn on_exhausted(
        &mut self,
        now: Instant,
        trunk: &Trunk,
        error: String,
        tokens: &mut TokenGenerator,
    ) -> Step {
        self.fail(now, trunk, error, RETRY, tokens)
    }

    fn on_success(
        &mut self,
        now: Instant,
        trunk: &Trunk,
        sent: &Message,
        response: &Message,
        tokens: &mut TokenGenerator,
    ) -> Step {
        let granted = granted(sent, response).unwrap_or(self.expires);
        if granted == 0 {
            let error = "it grants no time: it does not have our Contact".to_owned();
            return self.fail(now, trunk, error, REFUSED, tokens);
        }
        if let Some((challenge, _)) = &self.known
            && let Some(realm) = answered_realm(sent, challenge)
        {
            self.credentials.pin(&realm);
        }
        let was_registered = self.until.is_some_and(|until| until > now) && self.error.is_none();
        let lasts = Duration::from_secs(granted.into());
        self.until = Some(now + lasts);
        self.error = None;
        self.failures = 0;
        self.rest();
        self.tell(trunk);
        if !was_registered {
            info!(
                trunk = trunk.name,
                domain = self.domain,
                expires = granted,
                "registered with a trunk"
            );
        }
        // Early enough for several attempts, and not at the same moment as all other trunks.
        Step::Rest((lasts * 3 / 4 + spread(tokens, lasts * 3 / 20)).max(Duration::from_secs(1)))
    }

    fn on_challenge(
        &mut self,
        sent: &Message,
        response: &Message,
        tokens: &mut TokenGenerator,
    ) -> Result<(), String> {
        let answered = self
            .credentials
            .answer(response, sent, &tokens.token(), 1)
            .map_err(|error| error.to_string())?;
        // What was sent unasked may have been for a nonce that is too old; not what was answered
        // just now, unless the server says so, and that once.
        let may_try = self.challenged == 0 || self.challenged == 1 && answered.stale;
        if !may_try {
            self.known = None;
            let status = response.status().unwrap_or(0);
            return Err(format!(
                "{status} to our credentials: are user and password right?"
            ));
        }
        self.challenged += 1;
        self.known = Some((response.clone(), 1));
        self.answer = Some(answered);
        Ok(())
    }

    /// An answer to the challenge that was answered before, so that a refresh is not challenged.
    fn answer_known(
        &mut self,
        request: &RequestBuilder,
        tokens: &mut TokenGenerator,
    ) -> Option<Answered> {
        let (challenge, uses) = self.known.as_mut()?;
        let request = request.clone().build().ok()?;
        *uses = uses.checked_add(1)?;
        let cnonce = tokens.token();
        self.credentials
            .answer(challenge, &request, &cnonce, *uses)
            .ok()
    }

    fn fail(
        &mut self,
        now: Instant,
        trunk: &Trunk,
        error: String,
        (first, longest): (Duration, Duration),
        tokens: &mut TokenGenerator,
    ) -> Step {
        let wait = self.wait;
        self.rest();
        if self.leaving {
            return Step::Over;
        }
        if self.error.as_ref() != Some(&error) {
            let registered = self.until.is_some_and(|until| until > now);
            warn!(
                trunk = trunk.name,
                error, registered, "cannot register with a trunk"
            );
        }
        self.error = Some(error);
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
        self.tell(trunk);
        let pause = first
            .saturating_mul(1 << self.failures.min(16))
            .min(longest);
        let pause = pause.max(wait.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        Step::Rest(pause * 3 / 4 + spread(tokens, pause / 2))
    }

    /// A round is over.
    fn rest(&mut self) {
        self.challenged = 0;
        self.raised = false;
        self.wait = None;
        self.answer = None;
    }

    fn tell(&self, trunk: &Trunk) {
        trunk.standing.set_registration(Some(Registered {
            until: self.until,
            error: self.error.clone(),
        }));
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("user", &self.config.user)
            .field("domain", &self.domain)
            .field("until", &self.until)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Our Via over a listener, with a new branch.
pub(super) fn via_of(local: &Local, tokens: &mut TokenGenerator) -> String {
    let transport = local.transport.name().to_ascii_uppercase();
    format!(
        "SIP/2.0/{transport} {};branch={};rport",
        local.sent_by,
        tokens.branch()
    )
}

/// The lifetime that a registrar grants to the Contact that was sent; `None` where it says nothing.
fn granted(sent: &Message, response: &Message) -> Option<u32> {
    let ours = sent.contacts().next()?.ok()?;
    let ours = ours.uri().ok()?;
    let is_ours = |contact: &NameAddr<'_>| contact.uri().is_ok_and(|uri| uri == ours);
    let mut contacts = response.contacts().flatten();
    let listed = contacts.find(is_ours).and_then(|contact| contact.expires());
    listed.or_else(|| response.expires())
}

/// The realm of the credentials that a request carried.
fn answered_realm(sent: &Message, challenge: &Message) -> Option<String> {
    let name = match challenge.status() {
        Some(401) => HeaderName::Authorization,
        _ => HeaderName::ProxyAuthorization,
    };
    let value = sent.header(name)?;
    let given = sip::digest::Credentials::parse(value.value()).ok()?;
    Some(given.realm.into_owned())
}

/// What a Retry-After asks for, within the longest pause.
fn retry_after(text: &str) -> Option<Duration> {
    let digits = text.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    let wait = Duration::from_secs(digits.parse().ok()?);
    Some(wait.min(REFUSED.1))
}
