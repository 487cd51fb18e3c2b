//! Who a request is from, before anything is kept of it.
//!
//! A request that begins something comes from a trunk, which its address shows, or from a user, who
//! has to prove it by digest. Until the proof holds there is no transaction: challenges and refusals go
//! out statelessly, and what has to wait for the store to tell who a user is waits in a bounded queue.
//! A REGISTER is a user's whatever its address; its answer comes from [`super::register`].

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Instant,
};

use control::config::Transport;
use sip::{
    digest::{Challenge, Credentials, DigestError, Freshness, Ha1, Hash, Use},
    header::{HeaderName, Name},
    message::{Message, Method},
    proxy,
    uri::Uri,
};
use tracing::{debug, info};

use super::{
    Core, Output,
    input::{begins, source_ip},
    policy::RETRY_AFTER,
};
use crate::{
    accounts::{Answer, Cached, is_for},
    defence::Evidence,
    directory::{Aor, Caller, Place, is_number, plain},
    metrics::Dropped,
    net::Flow,
};

/// Requests of one worker that may wait for the store, and their octets.
const PARKED: usize = 2_048;
const PARKED_OCTETS: usize = 8 << 20;

/// Octets of a challenge beside what it repeats and the challenges themselves: the first line, the tag
/// and the length.
const FRAME: usize = 96;

/// Requests that wait until the store has told who a user is.
#[derive(Debug)]
pub(super) struct Parked {
    /// As many as may wait.
    pub(super) most: usize,
    by_user: HashMap<Aor, Vec<Waiting>>,
    /// Who each of them waits for, by its [`mark`].
    marks: HashMap<u64, Aor>,
    octets: usize,
}

#[derive(Debug)]
struct Waiting {
    flow: Flow,
    request: Message,
    /// Who sent it, once that is known: then it is its callee who is asked for.
    caller: Option<Caller>,
}

/// What a request showed about who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Right credentials.
    Success,
    /// The same, of a REGISTER.
    Registers,
    /// No credentials: the first leg of every digest.
    NoCredentials,
    /// Credentials over a nonce that is too old, or was used before this process began.
    StaleNonce,
    /// A nonce that this node never made for that realm.
    ForgedNonce,
    /// Right credentials that were used before.
    Replayed,
    /// A digest that does not fit the password.
    WrongPassword,
    /// A user that there is not.
    UnknownUser,
    /// Right credentials of another user than the request is from, or of one who is disabled.
    Forbidden,
    /// Credentials for another target than the request's.
    OtherTarget,
    /// Nobody could tell.
    Unavailable,
}

impl Proof {
    /// As metrics name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Success | Self::Registers => "success",
            Self::NoCredentials => "no-credentials",
            Self::StaleNonce => "stale-nonce",
            Self::ForgedNonce => "forged-nonce",
            Self::Replayed => "replayed",
            Self::WrongPassword => "wrong-password",
            Self::UnknownUser => "unknown-user",
            Self::Forbidden => "forbidden",
            Self::OtherTarget => "other-target",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whom a request says that it is from, and in which realm that has to be proven.
#[derive(Debug)]
struct Claim {
    realm: String,
    /// `None` for a caller who does not want to be known (RFC 3323): the credentials tell.
    aor: Option<Aor>,
}

impl Core {
    /// A request that would begin something, or one of a call whose sender is in doubt.
    pub(super) fn identify(&mut self, now: Instant, flow: Flow, request: Message) {
        let is_register = request.method() == Some(&Method::Register);
        // A retransmission was let in once, and its credentials are used up; or it waits to be. A REGISTER
        // has no transaction.
        if !is_register && self.layer.knows(&request) {
            return self.hand_over(now, flow, request, None);
        }
        if self.parked.knows(&flow, &request) {
            return;
        }
        if flow.is_node() {
            return self.identify_own(now, flow, request, None);
        }
        let is_anybodys = is_register || !begins(&request);
        if let Some(trunk) = self.trunk_of(&flow).cloned().filter(|_| !is_anybodys) {
            if flow.transport.is_secure() {
                // The defence has the addresses of trunks, not their certificates.
                let defence = &self.policy.defence;
                defence.report(now, &flow, Evidence::Certified);
            }
            return self.admit(now, flow, request, Caller::Trunk(trunk), None);
        }
        match self.claim(now, &flow, &request) {
            Ok(claim) => self.prove(now, flow, request, &claim, None),
            Err(status) => {
                debug!(source = %flow, status, "refused a request of nobody known");
                self.respond_stateless(flow, &request, status);
            }
        }
    }

    /// The store said who a user is, or that it cannot tell.
    pub(crate) fn handle_account(&mut self, now: Instant, aor: &Aor, answer: &Answer) {
        let told = Some((aor, answer));
        for Waiting {
            flow,
            request,
            caller,
        } in self.parked.take(aor)
        {
            // A retransmission may have overtaken it.
            if self.layer.knows(&request) {
                continue;
            }
            match caller {
                Some(caller) => self.admit(now, flow, request, caller, told),
                None if flow.is_node() => self.identify_own(now, flow, request, told),
                None => match self.claim(now, &flow, &request) {
                    Ok(claim) => self.prove(now, flow, request, &claim, told),
                    Err(status) => self.respond_stateless(flow, &request, status),
                },
            }
        }
        self.drain(now);
    }

    /// A CANCEL came: where its INVITE still waits for the store, both are answered. Tells whether it
    /// does.
    pub(super) fn cancel_parked(&mut self, flow: Flow, cancel: &Message) -> bool {
        let Some(invite) = self.parked.cancel(&flow, cancel) else {
            return false;
        };
        self.respond_stateless(flow, cancel, 200);
        self.respond_stateless(invite.flow, &invite.request, 487);
        true
    }

    /// Reports what a request showed about who sent it. `user` is whose credentials it has, where they
    /// answer a nonce that was given to that very address, so that it is no forgery in somebody else's name.
    pub(super) fn witness(&mut self, now: Instant, flow: &Flow, proof: Proof, user: Option<&Aor>) {
        self.metrics.proof(proof);
        let defence = &self.policy.defence;
        let evidence = match proof {
            Proof::Success => Some(Evidence::Success),
            Proof::Registers => Some(Evidence::Registered),
            Proof::WrongPassword => Some(Evidence::WrongPassword),
            Proof::UnknownUser => Some(Evidence::UnknownUser),
            Proof::Replayed => Some(Evidence::ReplayedNonce),
            Proof::ForgedNonce => Some(Evidence::ForgedNonce),
            _ => None,
        };
        if let Some(evidence) = evidence {
            match user {
                Some(user) => defence.report_user(now, flow, evidence, user.as_str()),
                None => defence.report(now, flow, evidence),
            };
        }
        if matches!(
            proof,
            Proof::WrongPassword | Proof::UnknownUser | Proof::ForgedNonce
        ) {
            let user = user.map(Aor::as_str);
            debug!(source = %flow, proof = proof.name(), user, "refused credentials");
        }
    }

    /// Lets a request in, once it is known whether there is the user that it is for. `told` is what the
    /// store said, where this request waited for it.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        caller: Caller,
        told: Option<(&Aor, &Answer)>,
    ) {
        let place = self.asked_place(&caller, &request);
        if let Some(Place::User(callee)) = place
            && !self.directory.is_number_of_ours(callee.user())
        {
            let told = told.filter(|(about, _)| **about == callee);
            let answer = match told {
                Some((_, answer)) => answer.clone(),
                None => match self.access.accounts.find(now, &callee) {
                    Cached::Fresh(answer) => answer,
                    Cached::Ask => return self.park(now, callee, flow, request, Some(caller)),
                },
            };
            // A number may have another way than to a user; a name has none.
            let is_name = !is_number(&plain(callee.user()));
            let unclear = matches!(answer, Answer::Unavailable) && is_name;
            if unclear && !self.access.location.has(&callee) {
                return self.respond_later(flow, &request);
            }
        }
        self.hand_over(now, flow, request, Some(caller));
    }

    /// Where a request leads by its words alone, once its Route is followed.
    fn asked_place(&self, caller: &Caller, request: &Message) -> Option<Place> {
        let uri = request.request_uri().ok()?;
        if !uri.params().has("lr") && !uri.params().has("maddr") {
            return Some(self.place_of(caller, &uri));
        }
        let routed = proxy::preprocess(request, &self.policy.identity).ok()?;
        let uri = routed.request.request_uri().ok()?;
        Some(self.place_of(caller, &uri))
    }

    /// Gives a request to the transaction layer, and with it to `request`.
    pub(super) fn hand_over(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        caller: Option<Caller>,
    ) {
        self.admitted = caller;
        if self.layer.handle_message(now, flow, request).is_err() {
            self.metrics.dropped(Dropped::Malformed);
        }
        // All that it leads to, before anything else can come between.
        self.drain(now);
        self.admitted = None;
    }

    /// Whom a request is from by its own words; `Err` with the status that it is owed where those name
    /// nobody of ours.
    fn claim(&self, now: Instant, flow: &Flow, request: &Message) -> Result<Claim, u16> {
        if !begins(request) {
            let aor = self.doubted(now, flow, request).ok_or(481u16)?;
            let realm = aor.domain().to_owned();
            let aor = Some(aor);
            return Ok(Claim { realm, aor });
        }
        if request.method() == Some(&Method::Register) {
            // RFC 3261 section 10.3, steps 1 and 5; 10.2 has a SIP URI in To.
            let place = request.request_uri().map_err(|_| 400u16)?;
            if !self.is_own(&place) {
                return Err(403);
            }
            let to = request.to().ok().and_then(|to| to.uri().ok());
            let to = to.filter(Uri::is_sip).ok_or(400u16)?;
            return self.own_claim(&to).ok_or(404);
        }
        let from = request.from().ok().and_then(|from| from.uri().ok());
        if let Some(claim) = from.as_ref().and_then(|uri| self.own_claim(uri)) {
            return Ok(claim);
        }
        let is_anonymous = from.is_some_and(|uri| {
            let host = uri.host().map(|host| host.to_string());
            host.is_some_and(|host| host.eq_ignore_ascii_case("anonymous.invalid"))
        });
        if !is_anonymous {
            return Err(403);
        }
        // It says who of the caller's identities stands behind the anonymous one (RFC 3325 section 6); it
        // does not vouch for another From.
        let preferred = request.name_addrs(HeaderName::PPreferredIdentity).flatten();
        let preferred = preferred.filter_map(|address| address.uri().ok());
        if let Some(claim) = preferred.into_iter().find_map(|uri| self.own_claim(&uri)) {
            return Ok(claim);
        }
        let place = request.request_uri().ok();
        let realm = place.and_then(|place| self.directory.domain_of(&place));
        let realm = realm.map(str::to_owned);
        realm.map(|realm| Claim { realm, aor: None }).ok_or(403)
    }

    /// A request without the credentials for any domain of ours: within a dialog too they are nobody
    /// else's to see, used or not.
    pub(super) fn without_own_credentials(&self, mut routed: proxy::Routed) -> proxy::Routed {
        let header = HeaderName::ProxyAuthorization;
        if routed.request.header(header).is_none() {
            return routed;
        }
        let realms = routed.request.values(header).filter_map(|value| {
            let credentials = Credentials::parse(value).ok()?;
            Some(credentials.realm.into_owned())
        });
        for realm in realms.collect::<Vec<_>>() {
            if self.is_own_realm(&realm) {
                routed.request = without_credentials(routed.request, &realm);
            }
        }
        routed
    }

    fn own_claim(&self, uri: &Uri<'_>) -> Option<Claim> {
        let aor = self.own_user(uri)?;
        let realm = aor.domain().to_owned();
        Some(Claim {
            realm,
            aor: Some(aor),
        })
    }

    /// The user of one of our domains that a URI names, whether or not there is one.
    pub(super) fn own_user(&self, uri: &Uri<'_>) -> Option<Aor> {
        let domain = self.directory.domain_of(uri)?;
        let user = uri.user_unescaped().filter(|user| !user.is_empty())?;
        Some(Aor::new(std::str::from_utf8(&user).ok()?, domain))
    }

    /// Checks a request's credentials, and lets it in. `told` is what the store said, where this request
    /// waited for it.
    fn prove(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        claim: &Claim,
        told: Option<(&Aor, &Answer)>,
    ) {
        let is_register = request.method() == Some(&Method::Register);
        let header = if is_register {
            HeaderName::Authorization
        } else {
            HeaderName::ProxyAuthorization
        };
        let time = self.unix_time(now);
        let source = source_ip(&flow);
        let found = Credentials::of_request(&request, header, &claim.realm);
        let credentials = match found {
            Ok(Some(credentials)) => credentials,
            Ok(None) | Err(DigestError::Unsupported) => {
                self.witness(now, &flow, Proof::NoCredentials, None);
                return self.challenge(now, flow, &request, &claim.realm, false);
            }
            Err(error) => {
                debug!(source = %flow, %error, "refused a request");
                return self.respond_stateless(flow, &request, 400);
            }
        };
        if !self.access.is_offered(&credentials) {
            self.witness(now, &flow, Proof::NoCredentials, None);
            return self.challenge(now, flow, &request, &claim.realm, false);
        }
        if !self.is_for(&request, credentials.uri) {
            self.witness(now, &flow, Proof::OtherTarget, None);
            debug!(source = %flow, uri = credentials.uri, "refused credentials that are for another target");
            return self.respond_stateless(flow, &request, 400);
        }
        let nonce = match self.access.judge(time, credentials.nonce, &claim.realm) {
            Freshness::Fresh(nonce) => nonce,
            Freshness::Stale => {
                self.witness(now, &flow, Proof::StaleNonce, None);
                return self.challenge(now, flow, &request, &claim.realm, true);
            }
            Freshness::Forged => {
                self.witness(now, &flow, Proof::ForgedNonce, None);
                return self.challenge(now, flow, &request, &claim.realm, false);
            }
        };
        if !self.access.is_given_to(&nonce, source) {
            // Made for another address: whoever overheard it must not use it, and whoever moved asks
            // again at the price of a round trip.
            self.witness(now, &flow, Proof::StaleNonce, None);
            return self.challenge(now, flow, &request, &claim.realm, true);
        }
        let aor = match &claim.aor {
            Some(own) if own.user() == credentials.username => own.clone(),
            _ => Aor::new(&credentials.username, &claim.realm),
        };
        let told = told.filter(|(about, _)| **about == aor);
        let answer = match told {
            Some((_, answer)) => answer.clone(),
            None => match self.access.accounts.find(now, &aor) {
                Cached::Fresh(answer) => answer,
                Cached::Ask => return self.park(now, aor, flow, request, None),
            },
        };
        let account = match answer {
            Answer::Known(account) => account,
            Answer::Unknown => {
                // As long as for a user that there is.
                let nobody = Ha1::new(credentials.algorithm.hash, "", "", "");
                let _ = credentials.verify(&nobody, "", request.body());
                self.witness(now, &flow, Proof::UnknownUser, Some(&aor));
                return self.challenge(now, flow, &request, &claim.realm, false);
            }
            Answer::Unavailable => {
                self.witness(now, &flow, Proof::Unavailable, None);
                return self.respond_later(flow, &request);
            }
        };
        let method = request.method().map_or("", Method::as_str);
        let ha1 = account.ha1(credentials.algorithm.hash);
        if !ha1.is_some_and(|ha1| credentials.verify(ha1, method, request.body())) {
            self.witness(now, &flow, Proof::WrongPassword, Some(&aor));
            return self.challenge(now, flow, &request, &claim.realm, false);
        }
        let sent_again = u32::try_from(mark(&flow, &request, method) >> 32).unwrap_or_default();
        let proof = match self.access.admit(time, nonce, credentials.nc, sent_again) {
            Use::First => None,
            Use::Again if is_register => {
                self.list_bindings(now, flow, &request, &account);
                return;
            }
            // Its transaction is over, or it was refused without one.
            Use::Again | Use::Stale => Some(Proof::StaleNonce),
            Use::Replayed => Some(Proof::Replayed),
        };
        if let Some(proof) = proof {
            self.witness(now, &flow, proof, Some(&aor));
            return self.challenge(now, flow, &request, &claim.realm, true);
        }
        let is_own = claim.aor.as_ref().is_none_or(|claimed| *claimed == aor);
        if !is_own || !account.enabled {
            self.witness(now, &flow, Proof::Forbidden, Some(&aor));
            let claimed = claim.aor.as_ref().map(Aor::as_str);
            info!(source = %flow, user = %aor, claimed, enabled = account.enabled,
                "refused a user's request");
            self.access.withdraw(&nonce);
            return self.respond_stateless(flow, &request, 403);
        }
        let proof = if is_register {
            Proof::Registers
        } else {
            Proof::Success
        };
        self.witness(now, &flow, proof, Some(&aor));
        if is_register {
            if !self.register(now, flow, &request, &account) {
                self.access.withdraw(&nonce);
            }
            return;
        }
        if !begins(&request) {
            return self.hand_over(now, flow, request, Some(Caller::User(aor)));
        }
        let request = without_credentials(request, &claim.realm);
        self.admit(now, flow, request, Caller::User(aor), None);
    }

    /// Whether credentials that are for `uri` are for this request.
    fn is_for(&self, request: &Message, uri: &str) -> bool {
        let is_register = request.method() == Some(&Method::Register);
        let is_target = |target: &[u8]| is_for(uri, target, is_register, |uri| self.is_own(uri));
        if is_target(request.request_uri_raw()) {
            return true;
        }
        // A strict router before us has our own URI in the first line, and the target behind the routes.
        let routed = proxy::preprocess(request, &self.policy.identity);
        routed.is_ok_and(|routed| is_target(routed.request.request_uri_raw()))
    }

    /// Keeps a request until the store has told of `aor`: of its sender, or with a `caller` of whom it
    /// is for.
    pub(super) fn park(
        &mut self,
        now: Instant,
        aor: Aor,
        flow: Flow,
        request: Message,
        caller: Option<Caller>,
    ) {
        let is_new = !self.parked.by_user.contains_key(&aor);
        let waiting = Waiting {
            flow,
            request,
            caller,
        };
        match self.parked.add(&aor, waiting) {
            Ok(()) if is_new => self.outputs.push_back(Output::Account { aor }),
            Ok(()) => {}
            Err(refused) => {
                let Waiting { flow, request, .. } = *refused;
                self.witness(now, &flow, Proof::Unavailable, None);
                self.respond_later(flow, &request);
            }
        }
    }

    /// 401 or 407 with a new nonce, one challenge for each algorithm of the realm. What a stranger asks
    /// for over UDP goes to whatever address is on the datagram: it gets no answer that is much
    /// longer than what it sent, as long as one challenge is in it.
    fn challenge(&mut self, now: Instant, flow: Flow, request: &Message, realm: &str, stale: bool) {
        let (status, header) = match request.method() {
            Some(Method::Register) => (401, HeaderName::WwwAuthenticate),
            _ => (407, HeaderName::ProxyAuthenticate),
        };
        let random = self.tokens.bits();
        let time = self.unix_time(now);
        let nonce = self.access.nonce(time, random, realm, source_ip(&flow));
        let asked = request.as_bytes().len();
        // JsSIP knows MD5 only, and of several header fields of a name it keeps the last; SIPp, which
        // comes by other transports, keeps the first.
        let is_browser = matches!(flow.transport, Transport::Ws | Transport::Wss);
        let offered = self.access.hashes(realm);
        let mut room = match flow.transport {
            Transport::Udp if offered.len() > 1 => {
                (asked + asked / 2).saturating_sub(repeated(request) + FRAME)
            }
            _ => usize::MAX,
        };
        let hashes = offered.iter();
        let last = |hash: &&Hash| is_browser && **hash == Hash::Md5;
        let mut headers = Vec::new();
        for hash in hashes
            .clone()
            .filter(|hash| !last(hash))
            .chain(hashes.filter(last))
        {
            let challenge = Challenge {
                stale,
                ..Challenge::new(realm, &nonce, (*hash).into())
            };
            let Ok(value) = challenge.to_value() else {
                continue;
            };
            let octets = header.as_str().len() + value.len() + 4;
            if !headers.is_empty() && octets > room {
                break;
            }
            room = room.saturating_sub(octets);
            headers.push((header, value));
        }
        self.respond_with(flow, request, status, &headers);
    }

    /// 500: what is needed to answer is away for the moment.
    fn respond_later(&mut self, flow: Flow, request: &Message) {
        let retry = (HeaderName::RetryAfter, RETRY_AFTER.to_owned());
        self.respond_with(flow, request, 500, &[retry]);
    }

    /// A final response outside of any transaction.
    pub(super) fn respond_with(
        &mut self,
        flow: Flow,
        request: &Message,
        status: u16,
        headers: &[(HeaderName, String)],
    ) {
        let tag = self.policy.identity.stateless_tag(request);
        let mut response = request.respond(status).to_tag(tag);
        for (name, value) in headers {
            response = response.header(Name::from(*name), value);
        }
        match response.build() {
            Ok(response) => self.layer.send_stateless(flow, response),
            Err(error) => {
                debug!(source = %flow, %error, "cannot answer a request");
                self.metrics.dropped(Dropped::Malformed);
            }
        }
    }

    /// Seconds since 1970.
    fn unix_time(&self, now: Instant) -> u64 {
        u64::try_from(self.time(now).millis() / 1_000).unwrap_or_default()
    }
}

impl Default for Parked {
    fn default() -> Self {
        Self {
            most: PARKED,
            by_user: HashMap::new(),
            marks: HashMap::new(),
            octets: 0,
        }
    }
}

impl Parked {
    /// Whether nothing waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_user.is_empty() && self.marks.is_empty() && self.octets == 0
    }

    /// Whether a request repeats one that waits.
    fn knows(&self, flow: &Flow, request: &Message) -> bool {
        !self.marks.is_empty() && self.marks.contains_key(&mark_of(flow, request))
    }

    /// `Err` with the request where there is no room for it.
    fn add(&mut self, aor: &Aor, waiting: Waiting) -> Result<(), Box<Waiting>> {
        let octets = waiting.request.as_bytes().len();
        if self.marks.len() >= self.most || self.octets + octets > PARKED_OCTETS {
            return Err(waiting.into());
        }
        self.octets += octets;
        self.marks
            .insert(mark_of(&waiting.flow, &waiting.request), aor.clone());
        self.by_user.entry(aor.clone()).or_default().push(waiting);
        Ok(())
    }

    fn take(&mut self, aor: &Aor) -> Vec<Waiting> {
        let taken = self.by_user.remove(aor).unwrap_or_default();
        for waiting in &taken {
            self.marks.remove(&mark_of(&waiting.flow, &waiting.request));
            self.octets -= waiting.request.as_bytes().len();
        }
        taken
    }

    /// Takes out the INVITE of a CANCEL. Its user stays asked for.
    fn cancel(&mut self, flow: &Flow, cancel: &Message) -> Option<Waiting> {
        if self.marks.is_empty() {
            return None;
        }
        let invite = mark(flow, cancel, Method::Invite.as_str());
        let list = self.by_user.get_mut(&self.marks.remove(&invite)?)?;
        let is_it = |waiting: &Waiting| mark_of(&waiting.flow, &waiting.request) == invite;
        let taken = list.remove(list.iter().position(is_it)?);
        self.octets -= taken.request.as_bytes().len();
        Some(taken)
    }
}

/// What tells a request from every other, taken as one of this method: a hash of its source, its branch
/// and its place in its dialog. The same when it is sent again.
fn mark(flow: &Flow, request: &Message, method: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    flow.remote.hash(&mut hasher);
    method.hash(&mut hasher);
    if let Ok(via) = request.via() {
        (via.branch(), via.sent_by()).hash(&mut hasher);
    }
    request.call_id().ok().hash(&mut hasher);
    request
        .cseq()
        .ok()
        .map(|cseq| cseq.number)
        .hash(&mut hasher);
    hasher.finish()
}

fn mark_of(flow: &Flow, request: &Message) -> u64 {
    mark(flow, request, request.method().map_or("", Method::as_str))
}

/// The octets of a request that its answer repeats.
fn repeated(request: &Message) -> usize {
    let names = [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
    ];
    let fields = request.headers();
    let fields = fields.filter(|field| field.known().is_some_and(|name| names.contains(&name)));
    fields
        .map(|field| field.name().len() + field.value().len() + 4)
        .sum()
}

/// The request without the credentials that were for us (RFC 3261 section 22.3): nobody behind this
/// node has to see them.
fn without_credentials(request: Message, realm: &str) -> Message {
    let header = HeaderName::ProxyAuthorization;
    let is_ours = |value: &[u8]| {
        let credentials = Credentials::parse(value);
        credentials.is_ok_and(|credentials| credentials.realm.eq_ignore_ascii_case(realm))
    };
    let others = request.values(header).filter(|value| !is_ours(value));
    let edit = others.fold(request.edit().remove(header), |edit, value| {
        edit.push(header, value)
    });
    let stripped = edit.finish();
    stripped.unwrap_or(request)
}
