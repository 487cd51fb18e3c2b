//! One request that is being passed on, and the places that it was passed on to.

use std::{collections::VecDeque, fmt, net::SocketAddr, sync::Arc, time::Instant};

use control::config::{self, Transport};
use sip::{
    dialog::{Directions, Side},
    header::HeaderName,
    message::{Message, Method},
    proxy::{BranchId, ResponseContext},
    session_timer::Proposal,
    transaction::{ClientId, ServerId},
};

use super::{
    CallKey, challenge::Challenger, course::ChargeId, divert::Diversion, fallback::Fallback,
};
use crate::{
    directory::{Aor, Caller, Edits, HostRef},
    location::{Contact, Phone, is_secure_uri},
    net::Flow,
};

/// Names an [`Exchange`] of this worker. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ExchangeId(pub(super) u64);

/// A request and its branches.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) server: ServerId,
    /// Where the request came from.
    pub(super) flow: Flow,
    /// The request as it came, `received` and `rport` written into its Via.
    pub(super) received: Message,
    /// It goes on over TLS or not at all: it is to a `sips:` URI (RFC 3261 section 26.2.2).
    pub(super) secure: bool,
    /// The same after its Route was followed: what is sent on. Gone once nothing is.
    pub(super) onward: Option<Message>,
    /// Where that goes within a dialog.
    pub(super) directions: Option<Directions>,
    pub(super) method: Method,
    pub(super) call: Option<CallKey>,
    pub(super) role: Role,
    pub(super) context: ResponseContext<Target>,
    pub(super) branches: Vec<Branch>,
    /// The session timer that it asks for.
    pub(super) timer: Option<Proposal>,
    /// The user for whom it is kept where it finds nobody: a MESSAGE.
    pub(super) keep_for: Option<Aor>,
    /// It rings for the caller though nobody is called; until then.
    pub(super) feigning: Option<Instant>,
    /// This node gave the final response on its own account: what the context says is void.
    pub(super) replied: bool,
    /// Responses that wait in the call's queue.
    pub(super) queued: usize,
    /// The caller gave up.
    pub(super) cancelled: bool,
    /// The Reason that the caller's CANCEL gave (RFC 3326).
    pub(super) cancel_reason: Option<String>,
    /// To tags of 2xx that were acknowledged and ended because nobody wanted them any more.
    pub(super) disowned: Vec<String>,
    /// Whose challenges this node answers, within a call.
    pub(super) challenger: Option<Challenger>,
    /// How far its request was to go ahead within its dialog when it came, or went out last.
    pub(super) ahead: u32,
}

/// What the request is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The INVITE of a new call.
    Setup,
    /// A request within a call, from this party.
    Within {
        /// Who sent it.
        from: Side,
        /// It carried an offer.
        offered: bool,
    },
    /// Any other.
    Outside,
}

/// A place to pass a request on to, and what holds for what is sent there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    /// Whether its RTP goes through mediad.
    pub(super) relay: bool,
    /// No way leads there that is a trunk's or the node's own: what goes there has gone round routes and limits.
    pub(super) beyond: bool,
    /// The user part of the Request-URI as the trunk wants it, escaped.
    pub(super) number: Option<Arc<str>>,
    /// What the request is changed in.
    pub(super) edits: Option<Arc<Edits>>,
    /// A 3xx of it is followed.
    pub(super) follows: bool,
    /// Who diverted the call there, where somebody did.
    pub(super) diversion: Option<Arc<Diversion>>,
    /// The user whose phone it is.
    pub(super) user: Option<Aor>,
    /// Who is tried in its place where it fails.
    pub(super) fallback: Option<Fallback>,
    /// What it is charged within limits.
    pub(super) charge: Option<ChargeId>,
}

/// Where a target is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A trunk's host.
    Host(HostRef),
    /// A phone that is registered.
    Contact(Box<Contact>),
    /// A URI outside, that a forward or a redirection names.
    Uri(String),
    /// Where the Route or the Request-URI says.
    Next(NextHop),
    /// An agent of this node's own, by the URI that is its.
    Agent(String),
}

impl Target {
    /// A place by itself.
    pub(super) const fn to(place: Place) -> Self {
        Self {
            place,
            relay: false,
            beyond: false,
            number: None,
            edits: None,
            follows: false,
            diversion: None,
            user: None,
            fallback: None,
            charge: None,
        }
    }

    /// Who is called there; `None` for a URI outside.
    pub(super) fn party(&self) -> Option<Caller> {
        let trunk = self.host().map(|host| Caller::Trunk(host.trunk.clone()));
        trunk.or_else(|| self.user.clone().map(Caller::User))
    }

    /// The phone of a user that it is.
    pub(super) fn phone(&self) -> Option<Phone> {
        match &self.place {
            Place::Contact(contact) => Some(contact.phone),
            _ => None,
        }
    }

    /// Whether it is a phone, reached over the flow that it has registered by and over no other
    /// (RFC 5626 section 5.3).
    pub(super) fn is_by_flow(&self) -> bool {
        matches!(&self.place, Place::Contact(contact) if contact.path.is_empty())
    }

    /// Whether it is reached over TLS.
    pub(super) fn is_secure(&self) -> bool {
        match &self.place {
            Place::Host(host) => host.host().is_some_and(|host| host.transport.is_secure()),
            Place::Contact(contact) => contact.is_secure(),
            Place::Uri(uri) | Place::Next(NextHop { uri, .. }) => is_secure_uri(uri),
            // What goes there sees no network.
            Place::Agent(_) => true,
        }
    }

    /// The trunk's host that it is.
    pub(super) const fn host(&self) -> Option<&HostRef> {
        match &self.place {
            Place::Host(host) => Some(host),
            _ => None,
        }
    }
}

/// For people: where it is.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "trunk {}", host.trunk.name),
            Self::Contact(contact) => f.write_str(&contact.uri),
            Self::Uri(uri) | Self::Agent(uri) | Self::Next(NextHop { uri, .. }) => f.write_str(uri),
        }
    }
}

/// Where the next message of a dialog goes.
#[derive(Clone, Debug)]
pub(super) struct NextHop {
    /// The URI to resolve.
    pub(super) uri: String,
    /// The way by which that party was reached so far.
    pub(super) known: Option<Flow>,
    /// Our address that the Route asks to send from.
    pub(super) prefer: Option<(Transport, SocketAddr)>,
    /// It is a user's phone: it is where `known` says, and what it says of other hosts leads nowhere.
    pub(super) is_phone: bool,
    /// It is to be reached over TLS or not at all.
    pub(super) secure: bool,
    /// It has registered from there since it gave its URI, which may name a port or a connection that it
    /// has left.
    pub(super) has_moved: bool,
}

impl NextHop {
    /// A URI of which nothing else is known.
    pub(super) const fn new(uri: String) -> Self {
        Self {
            uri,
            known: None,
            prefer: None,
            is_phone: false,
            secure: false,
            has_moved: false,
        }
    }
}

/// A host as a URI names it, that has to be turned into addresses (RFC 3263).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Authority {
    /// Over what; `None` leaves it to the host's domain.
    pub(crate) transport: Option<Transport>,
    /// Only what is encrypted will do: the URI is a `sips:` one.
    pub(crate) secure: bool,
    /// A name or an address.
    pub(crate) host: String,
    /// The port; `None` leaves it to the host's domain.
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Of a host of the configuration.
    pub(crate) fn of(host: &config::Host) -> Self {
        Self {
            transport: host.explicit.then_some(host.transport),
            secure: false,
            host: host.name.clone(),
            port: host.port,
        }
    }
}

/// An address that an [`Authority`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Over what.
    pub(crate) transport: Transport,
    /// Where to send.
    pub(crate) remote: SocketAddr,
    /// The address that the kernel would send from, where it has a route.
    pub(crate) source: Option<std::net::IpAddr>,
}

/// One target and what became of it.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) target: Target,
    /// Ways to the target that are still to be tried.
    pub(super) ways: VecDeque<Flow>,
    /// The way that was tried last.
    pub(super) way: Option<Flow>,
    /// Client transactions that are not over.
    pub(super) clients: Vec<ClientId>,
    /// It waits for addresses or for mediad.
    pub(super) preparing: bool,
    /// The present address has said something.
    pub(super) heard: bool,
    /// Some address said that it rings.
    pub(super) rang: bool,
    /// The present address must say something until then.
    pub(super) deadline: Option<Instant>,
    /// Cancelled before it was sent.
    pub(super) dropped: bool,
    /// Its share of Max-Breadth.
    pub(super) breadth: u32,
    /// What was sent last.
    pub(super) sent: Option<Message>,
    /// The trunk's challenges that were answered.
    pub(super) challenged: u32,
    /// How far the CSeq number is ahead of the one that was received.
    pub(super) shift: u32,
    /// What was added to answer the trunk's latest challenge.
    pub(super) credentials: Option<(HeaderName, String)>,
}

impl Branch {
    pub(super) fn new(target: Target, breadth: u32) -> Self {
        Self {
            target,
            ways: VecDeque::new(),
            way: None,
            clients: Vec::new(),
            preparing: true,
            heard: false,
            rang: false,
            deadline: None,
            dropped: false,
            breadth,
            sent: None,
            challenged: 0,
            shift: 0,
            credentials: None,
        }
    }
}

impl Branch {
    /// The From that the callee was shown.
    pub(super) fn shown_from(&self) -> Option<&[u8]> {
        let from = self.sent.as_ref()?.header(HeaderName::From)?;
        Some(from.value())
    }
}

impl Exchange {
    /// When it wants to be woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let branches = self.branches.iter().filter_map(|branch| branch.deadline);
        let own = [self.context.poll_timeout(), self.feigning];
        branches.chain(own.into_iter().flatten()).min()
    }

    /// How long the request is that is sent on, before this node's own headers are added.
    pub(super) fn length(&self) -> usize {
        let request = self.onward.as_ref();
        request.map_or(0, |request| match &self.directions {
            Some(directions) => directions.length(request),
            None => request.as_bytes().len(),
        })
    }

    /// Whether the RTP of a branch goes through mediad.
    pub(super) fn relays(&self, branch: BranchId) -> bool {
        let branch = self.branches.get(branch.0);
        branch.is_some_and(|branch| branch.target.relay)
    }

    /// The caller gave up, or this node did in its name.
    pub(super) const fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Lets go of what is only needed to send the request on, where nobody is asked any more: it waits half a
    /// minute yet for answers that come late, as do twenty thousand others where 600 calls come a second.
    pub(super) fn lighten(&mut self) {
        let is_answered = self.replied || self.context.is_answered();
        if is_answered && !self.branches.iter().any(|branch| branch.preparing) {
            self.onward = None;
            self.directions = None;
        }
    }

    /// Whether nothing can come of it any more.
    pub(super) fn is_over(&self) -> bool {
        let settled = self.context.is_finished()
            || self.replied
                && self
                    .branches
                    .iter()
                    .all(|branch| branch.clients.is_empty() && !branch.preparing);
        settled && self.queued == 0
    }
}
