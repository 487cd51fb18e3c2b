//! Challenges: those of trunks are answered here, with the trunk's credentials, and never passed on;
//! those of anybody else go to who asked, but for our own realms, in which nobody else may ask.
//!
//! Where a document or the REST API has credentials for a call of this node's own, these are for whoever is called and
//! asks for them in another realm than ours, unless that is a trunk that has its own.
//!
//! RFC 3261 section 22.2 has a request with credentials counted as a new one: the same Call-ID, the
//! next CSeq number. So what a trunk sees of the other party's requests is ahead of what that one sent,
//! from the first challenge to the end of the dialog: requests and ACKs are moved ahead on their way to
//! the trunk, responses have the number that was asked with ([`super::mirror`]). What the trunk sends by
//! itself has numbers of its own.

use std::{sync::Arc, time::Instant};

use sip::{
    digest::Challenge,
    header::HeaderName,
    message::{EditError, Message, Method},
    transaction::ClientId,
    uri::Uri,
};
use tracing::{debug, info, warn};

use super::{
    Client, Core,
    branch::via_transport,
    exchange::{ExchangeId, Role},
    state::{Asked, Call},
};
use crate::{
    directory::{Caller, Trunk},
    net::Flow,
    trunks::Credentials,
};

/// Why a trunk's challenge is not answered that nothing is configured for.
const NO_AUTH: &str = "it has no auth in the configuration";

/// A request of our own within a call, to be sent again where its receiver challenges it.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) sent: Message,
    pub(super) way: Flow,
    /// Whose challenges are answered.
    pub(super) trunk: Arc<Trunk>,
    /// How often it was challenged.
    pub(super) challenged: u32,
}

/// Who challenges a branch's request, and what this node has for an answer.
#[derive(Clone, Debug)]
pub(super) struct Challenger {
    /// For the log.
    name: String,
    credentials: Option<Arc<Credentials>>,
    /// The credentials are a trunk's, and not those of one call.
    is_trunk: bool,
}

impl Challenger {
    /// Of a request within a call, to a party of which this is known. A call may be over before its BYE is answered.
    pub(super) fn within(call: &Call, party: Option<&Caller>, is_own: bool) -> Option<Self> {
        match answering(party) {
            Some(trunk) => Some(Self {
                credentials: trunk.standing.credentials().cloned(),
                name: trunk.name.clone(),
                is_trunk: true,
            }),
            None if is_own => Self::own(call),
            None => None,
        }
    }

    /// Whom a call is to that has credentials.
    fn own(call: &Call) -> Option<Self> {
        Some(Self {
            credentials: Some(call.credentials.clone()?),
            name: call.to_uri.clone(),
            is_trunk: false,
        })
    }
}

impl Core {
    /// A branch's request is challenged: answers, or gives the branch up. `false` where who asked is to hear of it: what
    /// it gave for an answer is refused.
    pub(super) fn on_challenge(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        response: &Message,
    ) -> bool {
        let Some(challenger) = self.challenger(id, index, response) else {
            return false;
        };
        let by = &challenger.name;
        match self.answer_challenge(now, id, index, &challenger, response) {
            Ok(()) => debug!(by, "answered a challenge"),
            Err(error) => {
                warn!(by, error, "a challenge is not answered");
                if !challenger.is_trunk {
                    return false;
                }
                self.fail_branch(now, id, index, true);
            }
        }
        true
    }

    /// A BYE or REFER of our own was challenged: sends it again with the trunk's credentials. `false` where there
    /// are none, or they were refused.
    pub(super) fn answer_for_own(
        &mut self,
        now: Instant,
        client: ClientId,
        response: &Message,
    ) -> bool {
        let Some(own) = self.own.remove(&client) else {
            return false;
        };
        let Some(what) = self.clients.get(&client).copied() else {
            return false;
        };
        let trunk = own.trunk.clone();
        let credentials = trunk.standing.credentials();
        let again = credentials.ok_or_else(|| NO_AUTH.to_owned());
        let again = again.and_then(|credentials| {
            self.with_credentials(credentials, response, &own.sent, &own.way, own.challenged)
        });
        let again = again.and_then(|(again, _)| {
            let number = match what {
                // Its dialog goes on, and the other party may have used the next number.
                Client::Refer(key, _) => self.number_again(key, response),
                _ => None,
            };
            let next = || again.cseq().map_or(0, |cseq| cseq.number.saturating_add(1));
            numbered(&again, number.unwrap_or_else(next)).map_err(|error| error.to_string())
        });
        let sent = again.and_then(|again| {
            let client = self.layer.send_request(now, own.way, again.clone());
            Ok((client.map_err(|error| error.to_string())?, again))
        });
        match sent {
            Ok((again, sent)) => {
                debug!(
                    trunk = trunk.name,
                    "answered a trunk's challenge to a request of ours"
                );
                self.clients.insert(again, what);
                let challenged = own.challenged + 1;
                let own = Own {
                    sent,
                    challenged,
                    ..own
                };
                self.own.insert(again, own);
                true
            }
            Err(error) => {
                warn!(
                    trunk = trunk.name,
                    error, "a trunk's challenge to a request of ours is not answered"
                );
                false
            }
        }
    }

    /// A 401 or 407 as who asked may see it: without the challenges for realms of ours, which only this
    /// node makes. Whoever was called and sends one fishes for the answer: the node would take it for a
    /// forgery, and ban the caller who gave it in good faith. Where no other challenge is left the answer
    /// is 403: the callee refuses, asking again does not help, and no other place would say otherwise,
    /// as a 500 would suggest. `None` where there is no such challenge.
    pub(super) fn without_own_challenges(
        &self,
        response: &Message,
        sent: &Message,
    ) -> Option<Message> {
        let name = match response.status() {
            Some(401) => HeaderName::WwwAuthenticate,
            Some(407) => HeaderName::ProxyAuthenticate,
            _ => return None,
        };
        let challenges = Challenge::of_response(response);
        if !challenges.iter().any(|one| self.is_own_realm(&one.realm)) {
            return None;
        }
        info!(
            realm = %challenges.iter().map(|one| &*one.realm).collect::<Vec<_>>().join(", "),
            "a callee challenges in a realm of this node: the caller does not hear of it"
        );
        // Several may share a field, so all of it stays or goes.
        let is_ours = |value: &[u8]| {
            let found = Challenge::parse_all(value);
            found.is_empty() || found.iter().any(|one| self.is_own_realm(&one.realm))
        };
        let fields = response.headers_named(name);
        let others: Vec<_> = fields
            .map(|field| field.value())
            .filter(|value| !is_ours(value))
            .collect();
        if others.is_empty() {
            let tag = response.to_tag();
            let refused = sent.respond(403).to_tag(tag.unwrap_or_default());
            return refused.build().ok();
        }
        let edit = response.edit().remove(name);
        let edit = others
            .iter()
            .fold(edit, |edit, value| edit.push(name, value));
        edit.finish().ok()
    }

    /// Whether a realm is one of our domains.
    pub(super) fn is_own_realm(&self, realm: &str) -> bool {
        Uri::parse(&format!("sip:{realm}"))
            .is_ok_and(|uri| self.directory.domain_of(&uri).is_some())
    }

    fn answer_challenge(
        &mut self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        challenger: &Challenger,
        response: &Message,
    ) -> Result<(), String> {
        let credentials = challenger.credentials.as_ref().ok_or(NO_AUTH)?;
        let exchange = self.exchanges.get(&id).ok_or("it is over")?;
        if exchange.replied || exchange.is_cancelled() || exchange.context.is_answered() {
            return Err("nobody waits for it any more".to_owned());
        }
        let branch = exchange.branches.get(index).ok_or("it is over")?;
        let way = branch.way.ok_or("it is over")?;
        let sent = branch.sent.clone().ok_or("it is over")?;
        let (again, credentials) =
            self.with_credentials(credentials, response, &sent, &way, branch.challenged)?;
        let exchange = self.exchanges.get_mut(&id).ok_or("it is over")?;
        let branch = exchange.branches.get_mut(index).ok_or("it is over")?;
        let number = exchange
            .received
            .cseq()
            .map_err(|error| error.to_string())?;
        let number = number.number;
        let call = exchange.call.and_then(|key| self.calls.get_mut(&key));
        let leg = call.filter(|_| matches!(exchange.role, Role::Within { .. }));
        let leg = leg.and_then(|call| call.leg_of(&exchange.received));
        let mut leg = leg.map(|(leg, _)| leg);
        let shift = match (&mut leg, exchange.role) {
            (Some(leg), Role::Within { from, .. }) => leg.dialog.move_ahead(from, number),
            _ => branch.shift + 1,
        };
        let again = numbered(&again, number.saturating_add(shift));
        let again = again.map_err(|error| error.to_string())?;
        let client = self.layer.send_request(now, way, again.clone());
        let client = client.map_err(|error| error.to_string())?;
        branch.challenged += 1;
        branch.shift = shift;
        branch.credentials = Some(credentials.clone());
        branch.sent = Some(again);
        branch.clients.push(client);
        branch.heard = false;
        self.waits.add_answer(&way, client, false);
        self.clients.insert(client, Client::Branch(id, index));
        if let (Some(leg), Role::Within { from, .. }) = (leg, exchange.role)
            && exchange.method == Method::Invite
        {
            leg.asked = Some(Asked {
                from,
                cseq: number,
                shift,
                credentials: Some(credentials),
            });
        }
        Ok(())
    }

    /// A request with the answer to a challenge, by a new branch; and that answer.
    fn with_credentials(
        &mut self,
        credentials: &Credentials,
        response: &Message,
        sent: &Message,
        way: &Flow,
        challenged: u32,
    ) -> Result<(Message, (HeaderName, String)), String> {
        let cnonce = self.tokens.token();
        let answered = credentials
            .answer(response, sent, &cnonce, 1)
            .map_err(|error| error.to_string())?;
        let may_try = challenged == 0 || challenged == 1 && answered.stale;
        if !may_try {
            return Err("our credentials are refused: are user and password right?".to_owned());
        }
        let local = self.policy.local(way);
        let local = local.ok_or("there is no address to send from")?;
        // The mark by which a loop is found is that of the request, and stays.
        let mark = sent.via().ok().and_then(|via| {
            let (_, mark) = via.branch()?.rsplit_once('.')?;
            Some(mark.to_owned())
        });
        let branch = match mark {
            Some(mark) => format!("{}.{mark}", self.tokens.branch()),
            None => self.tokens.branch(),
        };
        let via = format!(
            "SIP/2.0/{} {};branch={branch};rport",
            via_transport(way),
            local.sent_by,
        );
        let again = sent
            .edit()
            .remove(answered.header)
            .remove_first(HeaderName::Via)
            .push_top(HeaderName::Via, via)
            .push(answered.header, &answered.value)
            .finish()
            .map_err(|error| error.to_string())?;
        Ok((again, (answered.header, answered.value)))
    }

    /// Who challenges a branch's request: a trunk's host; or, within a call, who was found when the request was passed on;
    /// or whoever a call with credentials is to.
    fn challenger(&self, id: ExchangeId, index: usize, response: &Message) -> Option<Challenger> {
        let exchange = self.exchanges.get(&id)?;
        let branch = exchange.branches.get(index)?;
        let trunk = branch.target.host().map(|host| &host.trunk);
        let its = trunk.and_then(|trunk| trunk.standing.credentials());
        let own = match exchange.role {
            Role::Within { .. } => exchange.challenger.clone(),
            _ => {
                let call = exchange.call.and_then(|key| self.calls.get(&key));
                call.filter(|_| its.is_none())
                    .and_then(|call| Challenger::own(call))
            }
        };
        let own = own.filter(|own| own.is_trunk || !self.is_in_own_realm(response));
        own.or_else(|| {
            Some(Challenger {
                credentials: its.cloned(),
                name: trunk?.name.clone(),
                is_trunk: true,
            })
        })
    }

    fn is_in_own_realm(&self, response: &Message) -> bool {
        let challenges = Challenge::of_response(response);
        challenges.iter().any(|one| self.is_own_realm(&one.realm))
    }
}

/// The trunk that a party is, where we have credentials for it: else the parties have settled it between
/// themselves from the beginning.
pub(super) fn answering(party: Option<&Caller>) -> Option<Arc<Trunk>> {
    match party {
        Some(Caller::Trunk(trunk)) => trunk.standing.credentials().map(|_| trunk.clone()),
        _ => None,
    }
}

/// A request of one party as the other side is to see it: its CSeq number so much ahead; and that in a
/// PRACK's RAck as much as its INVITE was.
pub(super) fn ahead(request: Message, shift: u32, invite: u32) -> Result<Message, EditError> {
    let Ok(cseq) = request.cseq() else {
        return Ok(request);
    };
    let acknowledged = request.header(HeaderName::RAck).filter(|_| invite > 0);
    let acknowledged = acknowledged.and_then(|rack| rack_ahead(&rack.text(), invite));
    let request = match acknowledged {
        Some(value) => request.edit().replace(HeaderName::RAck, value).finish()?,
        None => request,
    };
    if shift == 0 {
        return Ok(request);
    }
    numbered(&request, cseq.number.saturating_add(shift))
}

/// An ACK with the credentials that its INVITE had (RFC 3261 section 13.2.2.4): who challenged that one
/// must not challenge an ACK, and may ignore one without.
pub(super) fn proven(ack: Message, invite: Option<&Asked>) -> Result<Message, EditError> {
    match invite.and_then(|invite| invite.credentials.as_ref()) {
        Some((header, value)) => ack.edit().push(*header, value).finish(),
        None => Ok(ack),
    }
}

/// A message with another CSeq number.
pub(super) fn numbered(message: &Message, number: u32) -> Result<Message, EditError> {
    let Ok(cseq) = message.cseq() else {
        return Ok(message.clone());
    };
    let edit = message.edit();
    edit.replace(HeaderName::CSeq, format!("{number} {}", cseq.method))
        .finish()
}

/// `RSeq CSeq-number method` (RFC 3262 section 7.2).
fn rack_ahead(rack: &str, shift: u32) -> Option<String> {
    let mut words = rack.split_ascii_whitespace();
    let (rseq, number, method) = (words.next()?, words.next()?, words.next()?);
    let number = number.parse::<u32>().ok()?.saturating_add(shift);
    Some(format!("{rseq} {number} {method}"))
}
