//! What a record-routing proxy knows of a dialog that runs through it.

use super::leg::{Leg, RouteSet};
use super::user_agent::refreshes_target;
use super::{DialogError, contact, next_cseq, tag, value};
use crate::header::HeaderName;
use crate::message::{BuildError, Message, Method, RequestBuilder};
use crate::proxy::Identity;

/// One of the two ends of a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who sent the INVITE that made the dialog.
    Caller,
    /// Who answered it.
    Callee,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// A dialog as a proxy on its way sees it. Feed it every request and 2xx of the dialog as they are
/// received, and it can end the dialog at any time.
#[derive(Debug, Clone)]
pub struct ProxyDialog {
    call_id: Box<str>,
    caller: End,
    callee: End,
    /// The CSeq number of the INVITE that made the dialog.
    invite_cseq: u32,
    /// How far the caller's CSeq numbers are ahead on the callee's side.
    shift: u32,
}

#[derive(Debug, Clone)]
struct End {
    /// Address with tag.
    address: Vec<u8>,
    tag: Box<str>,
    /// The way from us to it.
    leg: Leg,
    /// The highest CSeq number that it used. 0: it has sent nothing yet.
    cseq: u32,
    /// The Contact of its re-INVITE or UPDATE, by CSeq number, until that is accepted.
    offered: Option<(u32, String)>,
}

impl ProxyDialog {
    /// From an INVITE and a response with a To tag, both as this proxy received them (the INVITE
    /// without our Record-Route, the response with it).
    ///
    /// # Errors
    /// A tag or a Contact is missing, or a header cannot be read.
    pub fn new(
        invite: &Message,
        response: &Message,
        identity: &Identity,
    ) -> Result<Self, DialogError> {
        let (caller, callee) = (contact(invite)?, contact(response)?);
        Self::between(invite, response, identity, caller, callee)
    }

    /// The same for ends that gave no Contact, or none that can be read: `caller` and `callee` are
    /// URIs by which they can be reached all the same, such as the addresses that they sent from.
    ///
    /// # Errors
    /// A tag is missing, or a header cannot be read.
    pub fn with_targets(
        invite: &Message,
        response: &Message,
        identity: &Identity,
        caller: &str,
        callee: &str,
    ) -> Result<Self, DialogError> {
        let or = |message, uri: &str| contact(message).unwrap_or_else(|_| uri.to_owned());
        let (caller, callee) = (or(invite, caller), or(response, callee));
        Self::between(invite, response, identity, caller, callee)
    }

    fn between(
        invite: &Message,
        response: &Message,
        identity: &Identity,
        caller_target: String,
        callee_target: String,
    ) -> Result<Self, DialogError> {
        let cseq = invite.cseq()?.number;
        let to_callee = RouteSet::of(response)?
            .above(|uri| identity.is_own_uri(uri))
            .reversed();
        Ok(Self {
            call_id: invite.call_id()?.into(),
            caller: End {
                address: value(invite, HeaderName::From)?,
                tag: tag(invite, HeaderName::From)?,
                leg: Leg::new(caller_target, RouteSet::of(invite)?),
                cseq,
                offered: None,
            },
            callee: End {
                address: value(response, HeaderName::To)?,
                tag: tag(response, HeaderName::To)?,
                leg: Leg::new(callee_target, to_callee),
                cseq: 0,
                offered: None,
            },
            invite_cseq: cseq,
            shift: 0,
        })
    }

    /// Takes the way to the callee from a 2xx, which counts where an earlier response of the same
    /// dialog said otherwise (RFC 3261 section 13.2.2.4).
    ///
    /// Where it has no Contact that can be read, the target stays.
    ///
    /// # Errors
    /// Its Record-Route cannot be read; nothing has changed.
    pub fn confirm(&mut self, response: &Message, identity: &Identity) -> Result<(), DialogError> {
        let routes = RouteSet::of(response)?
            .above(|uri| identity.is_own_uri(uri))
            .reversed();
        let target = contact(response);
        let target = target.unwrap_or_else(|_| std::mem::take(&mut self.callee.leg.target));
        self.callee.leg = Leg::new(target, routes);
        Ok(())
    }

    /// How far the caller's CSeq numbers are ahead on the callee's side: by one for each challenge of
    /// the callee's side that this proxy answered itself (RFC 3261 section 22.2 has such a request
    /// counted as a new one). Messages that are passed in to this object have the caller's numbers,
    /// those that it writes have the receiver's.
    #[must_use]
    pub fn shift(&self) -> u32 {
        self.shift
    }

    /// A challenge was answered: the callee's side is ahead by this much now.
    pub fn set_shift(&mut self, shift: u32) {
        self.shift = shift;
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The tag of one end.
    #[must_use]
    pub fn tag(&self, side: Side) -> &str {
        &self.end(side).tag
    }

    /// The Contact of one end.
    #[must_use]
    pub fn target(&self, side: Side) -> &str {
        &self.end(side).leg.target
    }

    /// The URI to resolve for sending to one end.
    #[must_use]
    pub fn next_hop(&self, side: Side) -> &str {
        self.end(side).leg.next_hop()
    }

    /// Which end a request of this dialog comes from; `None` where it is of another dialog.
    #[must_use]
    pub fn sender(&self, request: &Message) -> Option<Side> {
        if request.call_id() != Ok(&self.call_id) {
            return None;
        }
        let (from, to) = (
            tag(request, HeaderName::From).ok()?,
            tag(request, HeaderName::To).ok()?,
        );
        [Side::Caller, Side::Callee]
            .into_iter()
            .find(|side| self.end(*side).tag == from && self.end(side.other()).tag == to)
    }

    /// Takes note of a request that passes: its CSeq, and the new target that it may bring.
    /// Returns who sent it; `None` where it is of another dialog.
    pub fn handle_request(&mut self, request: &Message) -> Option<Side> {
        let side = self.sender(request)?;
        let cseq = request.cseq().ok()?;
        let end = self.end_mut(side);
        end.cseq = end.cseq.max(cseq.number);
        if refreshes_target(&cseq.method) {
            end.offered = contact(request).ok().map(|target| (cseq.number, target));
        }
        Some(side)
    }

    /// Takes note of a response that passes. A 2xx to a re-INVITE or UPDATE settles the targets of
    /// both ends: its own Contact, and that of the request it answers.
    pub fn handle_response(&mut self, response: &Message) {
        if !matches!(response.status(), Some(200..=299)) {
            return;
        }
        // A response has the From and To of its request.
        let (Some(asker), Ok(cseq)) = (self.sender(response), response.cseq()) else {
            return;
        };
        if !refreshes_target(&cseq.method) {
            return;
        }
        if let Ok(target) = contact(response) {
            self.end_mut(asker.other()).leg.target = target;
        }
        let asker = self.end_mut(asker);
        if let Some((_, target)) = asker.offered.take_if(|(number, _)| *number == cseq.number) {
            asker.leg.target = target;
        }
    }

    /// A BYE to one end in the name of the other, to be sent in a client transaction of our own.
    /// `via` is a whole Via value of ours with a new branch; `reason` the value of a Reason header
    /// (RFC 3326).
    ///
    /// # Errors
    /// `via` or `reason` holds a line end.
    pub fn bye_towards(
        &mut self,
        side: Side,
        via: &str,
        reason: Option<&str>,
    ) -> Result<Message, BuildError> {
        let sender = self.end_mut(side.other());
        sender.cseq = next_cseq(sender.cseq);
        let cseq = sender.cseq;
        let mut bye = self.write(side, &Method::Bye, cseq, via);
        if let Some(reason) = reason {
            bye = bye.header(HeaderName::Reason, reason);
        }
        bye.build()
    }

    /// The ACK of the 2xx that made the dialog, in the name of the caller: for a 2xx that came when
    /// the caller had been told otherwise
    /// ([`Action::LateSuccess`](crate::proxy::Action::LateSuccess)). A BYE follows.
    ///
    /// # Errors
    /// `via` holds a line end.
    pub fn ack_towards_callee(&self, via: &str) -> Result<Message, BuildError> {
        self.write(Side::Callee, &Method::Ack, self.invite_cseq, via)
            .build()
    }

    fn write(&self, to: Side, method: &Method, cseq: u32, via: &str) -> RequestBuilder {
        let receiver = self.end(to);
        let cseq = match to {
            Side::Callee => cseq.saturating_add(self.shift),
            Side::Caller => cseq,
        };
        receiver
            .leg
            .request(method, via)
            .header(HeaderName::From, &self.end(to.other()).address)
            .header(HeaderName::To, &receiver.address)
            .header(HeaderName::CallId, self.call_id.as_bytes())
            .header(HeaderName::CSeq, format!("{cseq} {method}"))
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }
}
