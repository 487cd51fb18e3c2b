//! Redirections that are followed: the contacts of a 3xx are tried in the place of who sent it
//! (RFC 3261 section 16.7, step 4).
//!
//! A trunk's are followed where its `redirect` says so, to anywhere: its operator trusts it. A phone's
//! are followed where they lead to places of this node alone, with its user's rights: to follow them
//! elsewhere would let a stolen password send calls to any host. All else is an answer like any other,
//! and so is a 305 (RFC 3261 section 21.3.4).

use std::{cmp::Reverse, time::Instant};

use sip::{
    message::Message,
    proxy::{BranchId, Failover, Group},
    uri::{Scheme, Uri},
};
use tracing::info;

use super::{
    Core,
    course::MAX_REDIRECTS,
    divert::{Diversion, Reason},
    exchange::{ExchangeId, Place, Role, Target},
    setup::take_all,
    stage::{at_once, charged, divert},
    state::CallKey,
};
use crate::directory::{Caller, Decision};

impl Core {
    /// Follows a redirection of a branch. `false` where it is to be an answer.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        response: &Message,
    ) -> bool {
        if response.status() == Some(305) {
            // It names no other place for the callee but a proxy through which to reach it, and who is
            // asked so is whoever asked: this node takes its way from its configuration.
            return false;
        }
        let Some(exchange) = self.exchanges.get(&id) else {
            return false;
        };
        let (Role::Setup, Some(key)) = (exchange.role, exchange.call) else {
            return false;
        };
        let Some(branch) = exchange.branches.get(index) else {
            return false;
        };
        let from = branch.target.clone();
        let secure = exchange.secure;
        let contacts = contacts_of(response, secure);
        let own = |uri: &String| Uri::parse(uri).is_ok_and(|uri| self.is_own(&uri));
        let may = match from.host() {
            Some(_) => from.follows,
            None => from.user.is_some() && contacts.iter().all(|(_, uri)| own(uri)),
        };
        if !may || contacts.is_empty() {
            return false;
        }
        let mut groups: Vec<Group<Target>> = Vec::new();
        for (_, uri) in contacts {
            if self.remember(key, &uri) {
                groups.extend(self.redirected(now, key, &from, &uri, secure));
            }
        }
        let call = self.calls.get(&key);
        if let Some(call) = call {
            let diversion = Diversion {
                from: call.request_uri.clone(),
                reason: Reason::Redirected,
            };
            divert(&mut groups, &std::sync::Arc::new(diversion));
        }
        let call = call.map(|call| call.id);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let count = groups.len();
        let follows = exchange
            .context
            .handle_redirect(now, BranchId(index), groups);
        info!(
            call = call.map(tracing::field::display),
            places = count,
            follows,
            "redirected"
        );
        follows
    }

    /// Notes that a URI is tried by redirection: none twice, and so many at most.
    fn remember(&mut self, key: CallKey, uri: &str) -> bool {
        let course = self.calls.get_mut(&key);
        let Some(course) = course.and_then(|call| call.course.as_mut()) else {
            return false;
        };
        let known = course.redirected.iter().any(|known| known == uri);
        if known || course.redirected.len() >= MAX_REDIRECTS {
            return false;
        }
        course.redirected.push(uri.to_owned());
        true
    }

    /// The places that a contact of a redirection stands for.
    fn redirected(
        &mut self,
        now: Instant,
        key: CallKey,
        from: &Target,
        uri: &str,
        secure: bool,
    ) -> Vec<Group<Target>> {
        let Some(course) = self.calls.get(&key).and_then(|call| call.course.as_ref()) else {
            return Vec::new();
        };
        let emergency = course.plan.emergency;
        let stage = course.plan.stages.get(course.stage);
        let patience = stage.map(|stage| stage.ring_timeout);
        let Ok(parsed) = Uri::parse(uri) else {
            return Vec::new();
        };
        if !self.is_own(&parsed) {
            let target = Target {
                place: Place::Uri(uri.to_owned()),
                ..from.clone()
            };
            let group = Group::new(vec![target])
                .ring_timeout(patience)
                .failover(Failover::AnyFailure);
            return vec![group];
        }
        // Who redirects is who calls there.
        let caller = match (&from.user, self.calls.get(&key)) {
            (Some(user), _) => Caller::User(user.clone()),
            (None, Some(call)) => call.caller.clone(),
            (None, None) => return Vec::new(),
        };
        let Decision::Plan(mut plan) = self.decide_for(now, &caller, &parsed).decision else {
            return Vec::new();
        };
        let limits = plan.limits.iter().filter(|_| !emergency);
        let holds = match take_all(now, limits) {
            Ok(holds) => holds,
            Err(exceeded) => {
                info!(%exceeded, uri, "a redirection is not followed");
                return Vec::new();
            }
        };
        // What was offered to mediad, or was not, cannot be changed any more.
        if let Some(first) = plan.stages.first_mut() {
            first.relay = from.relay;
        }
        let steps = self.first_steps(now, &plan, secure);
        let call = self.calls.get_mut(&key);
        let Some(course) = call.and_then(|call| call.course.as_mut()) else {
            return Vec::new();
        };
        let charge = course.charge(from.charge, holds);
        let mut groups = Vec::new();
        for step in steps {
            let parts = step.parts.into_iter();
            let parts = parts.filter_map(|part| charged(now, course, part, Some(charge)));
            groups.extend(at_once(parts, step.failover));
        }
        groups
    }
}

/// The places that a 3xx names, the preferred ones first, without the headers that RFC 3261 section 19.1.5
/// lets their URIs have: `sip:` for a call to `sip:`, `sips:` for one to `sips:` (RFC 5630 section 5.3).
fn contacts_of(response: &Message, secure: bool) -> Vec<(Reverse<u16>, String)> {
    let scheme = if secure { Scheme::Sips } else { Scheme::Sip };
    let contacts = response.contacts().flatten();
    let mut found: Vec<_> = contacts
        .filter_map(|contact| {
            let uri = contact.uri().ok()?;
            uri.host().filter(|_| uri.scheme() == scheme)?;
            let text = uri.as_str();
            let bare = text.split_once('?').map_or(text, |(bare, _)| bare);
            Some((Reverse(contact.q().unwrap_or(1000)), bare.to_owned()))
        })
        .collect();
    found.sort_by_key(|(q, _)| *q);
    found
}
