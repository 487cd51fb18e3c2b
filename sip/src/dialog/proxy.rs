//! What a record-routing proxy knows of a dialog that runs through it.

use super::leg::{Directions, Leg, RouteSet};
use super::user_agent::refreshes_target;
use super::{DialogError, contact, next_cseq, tag, value};
use crate::header::{HeaderName, NameAddr};
use crate::message::{BuildError, Message, Method, RequestBuilder};
use crate::proxy::{Identity, Routed};
use crate::uri::Uri;

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
}

#[derive(Debug, Clone)]
struct End {
    /// Address with tag, as it writes it itself.
    address: Vec<u8>,
    /// The same as the other end knows it, where that is another.
    shown: Option<Vec<u8>>,
    tag: Box<str>,
    /// The way from us to it.
    leg: Leg,
    /// Its Contact before the last refresh: a request that crosses one still names it.
    before: Option<String>,
    /// The highest CSeq number that it used. 0: it has sent nothing yet.
    cseq: u32,
    /// How far its CSeq numbers are ahead on the other side.
    shift: u32,
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
        let to_callee = RouteSet::to_callee(response, identity)?;
        Ok(Self {
            call_id: invite.call_id()?.into(),
            caller: End {
                address: value(invite, HeaderName::From)?,
                shown: None,
                tag: tag(invite, HeaderName::From)?.into(),
                leg: Leg::new(caller_target, RouteSet::of(invite)?),
                before: None,
                cseq,
                shift: 0,
                offered: None,
            },
            callee: End {
                address: value(response, HeaderName::To)?,
                shown: None,
                tag: tag(response, HeaderName::To)?.into(),
                leg: Leg::new(callee_target, to_callee),
                before: None,
                cseq: 0,
                shift: 0,
                offered: None,
            },
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
        let routes = RouteSet::to_callee(response, identity)?;
        if let Ok(target) = contact(response) {
            self.callee.refresh(target);
        }
        let target = std::mem::take(&mut self.callee.leg.target);
        self.callee.leg = Leg::new(target, routes);
        Ok(())
    }

    /// How far the CSeq numbers of one end are ahead on the other side: by one for each challenge of
    /// that side that this proxy answered itself (RFC 3261 section 22.2 has such a request counted as a
    /// new one). Messages that are passed in to this object have their sender's numbers, those that it
    /// writes have the receiver's.
    #[must_use]
    pub fn shift(&self, of: Side) -> u32 {
        self.end(of).shift
    }

    /// The numbers of one end are ahead by this much on the other side now.
    pub fn set_shift(&mut self, of: Side, shift: u32) {
        self.end_mut(of).shift = shift;
    }

    /// How far ahead a request of one end is to be sent again, this being its number: beyond all that
    /// the other side has had, for another request may have gone there meanwhile.
    pub fn move_ahead(&mut self, of: Side, cseq: u32) -> u32 {
        let end = self.end_mut(of);
        end.shift = end.cseq.max(cseq).saturating_sub(cseq) + end.shift + 1;
        end.shift
    }

    /// The other end knows this one by another address, the value of its From or To: what passes is
    /// rewritten ([`directions`](Self::directions)), and each end sees of both what it has seen from the
    /// beginning.
    pub fn set_shown(&mut self, of: Side, address: &[u8]) {
        let end = self.end_mut(of);
        end.shown = (end.address != address).then(|| address.to_vec());
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
        // The one that was noted was read as a Call-ID: what is the same bytes is one too.
        let call_id = request.header(HeaderName::CallId)?;
        if call_id.value() != self.call_id.as_bytes() {
            return None;
        }
        let (from, to) = (request.from_tag()?, request.to_tag()?);
        [Side::Caller, Side::Callee]
            .into_iter()
            .find(|side| *self.end(*side).tag == *from && *self.end(side.other()).tag == *to)
    }

    /// Whether a request to one end, its Route followed as far as this proxy goes, leads elsewhere than
    /// the dialog: to a host that is neither the end's nor, by `is_own`, this proxy, or by a Route that
    /// was never recorded. What is left out counts for nothing: some send to the proxy that they
    /// called, or forget the route set.
    pub fn leads_astray(
        &self,
        to: Side,
        routed: &Routed,
        is_own: impl Fn(&Uri<'_>) -> bool,
    ) -> bool {
        let end = self.end(to);
        let strays = routed.routes().any(|route| {
            let route = route.ok().and_then(|route| route.uri().ok());
            !route.is_some_and(|uri| end.leg.has_route(&uri))
        });
        if strays || routed.request.request_uri_raw() == end.leg.target.as_bytes() {
            return strays;
        }
        let Ok(uri) = routed.request.request_uri() else {
            return true;
        };
        // A tel or urn URI names no place.
        uri.is_sip() && !end.is_at(&uri) && !is_own(&uri)
    }

    /// How a request that passes is sent to one end: to its target, by its route set, whatever was
    /// written; From and To are those that this end knows.
    #[must_use]
    pub fn directions(&self, to: Side) -> Directions {
        let (sender, receiver) = (self.end(to.other()), self.end(to));
        let from = sender.shown.as_deref();
        let to = receiver.shown.as_ref().map(|_| &receiver.address[..]);
        receiver.leg.directions(from, to)
    }

    /// Whether a request of one end has a lower CSeq number than one before it from there: a copy from before, or
    /// what somebody has made up. Its receiver owes it 500 (RFC 3261 section 12.2.2).
    #[must_use]
    pub fn is_out_of_order(&self, from: Side, request: &Message) -> bool {
        let known = self.end(from).cseq;
        request.cseq().is_ok_and(|cseq| cseq.number < known)
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
            self.end_mut(asker.other()).refresh(target);
        }
        let asker = self.end_mut(asker);
        if let Some((_, target)) = asker.offered.take_if(|(number, _)| *number == cseq.number) {
            asker.refresh(target);
        }
    }

    /// The address of one end, as the other knows it: the value of a From or To, tag included.
    #[must_use]
    pub fn address(&self, side: Side) -> &[u8] {
        self.end(side).shown()
    }

    /// Begins a request to one end in the name of the other, within a dialog that goes on: its number is
    /// one that the other end has not used, and what that one sends from now on is ahead by one more
    /// ([`shift`](Self::shift)). `via` is a whole Via value of ours with a new branch.
    pub fn request_towards(&mut self, side: Side, method: &Method, via: &str) -> RequestBuilder {
        self.next_towards(side);
        let cseq = self.end(side.other()).cseq;
        self.write(side, method, cseq, via)
    }

    /// The number of such a request that is sent again, as one that was challenged is: beyond all that went
    /// to that end, for the other one may have sent something since.
    pub fn next_towards(&mut self, side: Side) -> u32 {
        let sender = self.end_mut(side.other());
        sender.shift = sender.shift.saturating_add(1);
        sender.cseq.saturating_add(sender.shift)
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

    /// The ACK of a 2xx of one end, in the name of the other, whose INVITE had this number: for a 2xx
    /// that came when its asker had been told otherwise
    /// ([`Action::LateSuccess`](crate::proxy::Action::LateSuccess)). A BYE follows.
    ///
    /// # Errors
    /// `via` holds a line end.
    pub fn ack_towards(&self, to: Side, cseq: u32, via: &str) -> Result<Message, BuildError> {
        self.write(to, &Method::Ack, cseq, via).build()
    }

    fn write(&self, to: Side, method: &Method, cseq: u32, via: &str) -> RequestBuilder {
        let (sender, receiver) = (self.end(to.other()), self.end(to));
        let cseq = cseq.saturating_add(sender.shift);
        receiver
            .leg
            .request(method, via)
            .header(HeaderName::From, sender.shown())
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

impl End {
    /// Its address as the other end knows it.
    fn shown(&self) -> &[u8] {
        self.shown.as_ref().unwrap_or(&self.address)
    }

    /// It has another Contact now.
    fn refresh(&mut self, target: String) {
        if self.leg.target != target {
            self.before = Some(std::mem::replace(&mut self.leg.target, target));
        }
    }

    /// Whether a URI names this end's host, by any Contact that the other one may know, or by its address.
    /// The user part may be that of an older Contact: there are phones that never take note of a new one.
    fn is_at(&self, uri: &Uri<'_>) -> bool {
        let offered = self.offered.as_ref().map(|(_, target)| target);
        let targets = [Some(&self.leg.target), self.before.as_ref(), offered];
        let is_same = |known: &Uri<'_>| known.host() == uri.host();
        let mut targets = targets.into_iter().flatten();
        if targets.any(|target| Uri::parse(target).is_ok_and(|known| is_same(&known))) {
            return true;
        }
        let address = NameAddr::parse(HeaderName::From, &self.address);
        let address = address.ok().and_then(|address| address.uri().ok());
        address.is_some_and(|known| is_same(&known))
    }
}
