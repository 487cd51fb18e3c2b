//! Where a request goes: RFC 3261 section 16.4 (what its Route says) and 16.6 (the copy that is
//! sent on).

use super::identity::Identity;
use crate::dialog::Directions;
use crate::header::{HeaderError, HeaderName, NameAddr, Transport};
use crate::message::{Edit, EditError, Message};
use crate::uri::{Scheme, Uri, UriError};

/// Why a request could not be routed or forwarded. Answer 400; an ACK is dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A header is missing or malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The Request-URI or a Route's URI is malformed.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// A Route puts a URI into the request line whose scheme is none that can be routed, where a URI is meant that
    /// [`admit`](super::admit) would have let through.
    #[error("a Route's URI has a scheme that is not supported")]
    Scheme,
    /// Max-Forwards is used up; [`admit`](super::admit) would have said so.
    #[error("Max-Forwards is used up")]
    TooManyHops,
    /// What was to be written is no legal header or URI.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// A request whose Route has been followed as far as this proxy goes.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The request: a strict router's change is undone, and our own Route values are off once it is
    /// [settled](Self::settle).
    pub request: Message,
    /// The Route URIs of ours that were taken off, the first first. They hold what this proxy once
    /// put into its Record-Route. Empty: the request is not (or not through us) within a dialog.
    /// Not empty in a request without a To tag: a route that its sender made up, which would make
    /// an open relay of us; refuse it unless the sender is trusted.
    pub own_routes: Vec<String>,
    /// How many Route values of `request`, from the first on, are ours and not to be sent on.
    followed: usize,
}

impl Routed {
    /// A request whose Route is all to be sent on.
    #[must_use]
    pub fn settled(request: Message) -> Self {
        Self {
            request,
            own_routes: Vec::new(),
            followed: 0,
        }
    }

    /// The Route values that the request has beyond ours.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.request.routes().skip(self.followed)
    }

    /// Whether there are any: the request is to follow them, not to be routed anew.
    #[must_use]
    pub fn has_route(&self) -> bool {
        self.routes().next().is_some()
    }

    /// Takes our own Route values off the request itself.
    ///
    /// # Errors
    /// What is left cannot be written.
    pub fn settle(mut self) -> Result<Self, RouteError> {
        if self.followed > 0 {
            let left = self.routes().collect::<Result<Vec<_>, _>>()?;
            let edit = with_routes(self.request.edit(), left.iter().map(NameAddr::raw));
            self.request = edit.finish()?;
            self.followed = 0;
        }
        Ok(self)
    }
}

/// Follows the Route of a request that was admitted (RFC 3261 section 16.4).
///
/// # Errors
/// A Route or the Request-URI cannot be read.
pub fn preprocess(request: &Message, identity: &Identity) -> Result<Routed, RouteError> {
    follow(request, identity)?.settle()
}

/// [`preprocess`] for a request within a dialog, whose Route is going to be another in any case
/// ([`Forward::directions`]): it is not [settled](Routed::settle), which would write a copy.
///
/// # Errors
/// A Route or the Request-URI cannot be read.
pub fn follow(request: &Message, identity: &Identity) -> Result<Routed, RouteError> {
    let routes = request.routes().collect::<Result<Vec<_>, _>>()?;
    let mut routes = &routes[..];
    let mut own_routes = Vec::new();
    let mut uri = None;

    let received = request.request_uri()?;
    if identity.is_own_uri(&received)
        && received.is_loose_router()
        && let Some((last, others)) = routes.split_last()
    {
        // A strict router sent what we put into Record-Route as the Request-URI.
        own_routes.push(received.as_str().to_owned());
        uri = Some(last.uri_str().to_owned());
        routes = others;
    }
    let target = match &uri {
        Some(uri) => routable(Uri::parse(uri)?)?,
        None => received,
    };
    if let Some(plain) = without_own_maddr(&target, identity) {
        uri = Some(plain);
    }
    let is_own = |route: &&NameAddr<'_>| {
        Uri::parse(route.uri_str()).is_ok_and(|uri| identity.is_own_uri(&uri))
    };
    let own = routes.iter().take_while(is_own).count();
    let (own, others) = routes.split_at(own);
    own_routes.extend(own.iter().map(|route| route.uri_str().to_owned()));

    let Some(uri) = uri else {
        return Ok(Routed {
            request: request.clone(),
            own_routes,
            followed: own.len(),
        });
    };
    let edit = request.edit().request_uri(uri);
    let edit = with_routes(edit, others.iter().map(NameAddr::raw));
    Ok(Routed {
        request: edit.finish()?,
        own_routes,
        followed: 0,
    })
}

/// How a request is sent on.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The new Request-URI. `None` keeps it: within a dialog, or where we are not responsible for
    /// its domain.
    pub target: Option<&'a str>,
    /// Route URIs to put before those that the request has (a Path, an outbound proxy).
    pub route: &'a [&'a str],
    /// Where the request goes and by which Route, where that is its dialog's to say: what it has itself
    /// counts for nothing then, nor do `target` and `route`.
    pub directions: Option<&'a Directions>,
    /// Our Record-Route. `None` where this proxy need not stay in the dialog.
    pub record_route: Option<RecordRoute<'a>>,
    /// The transport of our Via: that of the next hop.
    pub transport: Transport<'a>,
    /// `host[:port]` of our Via: where responses reach us.
    pub sent_by: &'a str,
    /// The branch of our Via ([`Identity::branch`] or [`Identity::stateless_branch`]).
    pub branch: &'a str,
}

/// The URIs of ours that the two sides of a dialog are to send through. Each has `lr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRoute<'a> {
    /// Where the side that the request came from reaches us.
    pub ingress: &'a str,
    /// Where the side that it goes to reaches us. If it is not the same URI (another transport, or
    /// another address), both are recorded (RFC 5658).
    pub egress: &'a str,
}

/// The hop that a request is to be sent to (RFC 3261 section 16.6, step 7), as a URI to resolve.
///
/// # Errors
/// The first Route or the Request-URI cannot be read.
pub fn next_hop(routed: &Routed, plan: &Forward<'_>) -> Result<String, RouteError> {
    if let Some(first) = plan.route.first() {
        return Ok((*first).to_owned());
    }
    if let Some(first) = routed.routes().next() {
        return Ok(first?.uri_str().to_owned());
    }
    let uri = match plan.target {
        Some(target) => Uri::parse(target)?,
        None => routed.request.request_uri()?,
    };
    Ok(uri.as_str().to_owned())
}

/// The copy of a request that is sent on (RFC 3261 section 16.6, steps 1 to 8).
///
/// # Errors
/// The copy cannot be written: a URI of the plan or of the request is none.
pub fn forward(routed: &Routed, plan: &Forward<'_>) -> Result<Message, RouteError> {
    let request = &routed.request;
    let mut edit = request.edit();
    if let Some(directions) = plan.directions {
        edit = directions.write(edit);
    }
    edit = match request.max_forwards()? {
        None => edit.push(HeaderName::MaxForwards, "70"),
        Some(0) => return Err(RouteError::TooManyHops),
        Some(hops) => edit.replace(HeaderName::MaxForwards, (hops - 1).to_string()),
    };
    if plan.directions.is_none() {
        edit = aim(edit, routed, plan)?;
    }
    if let Some(record) = &plan.record_route {
        edit = edit.push_top(HeaderName::RecordRoute, bracketed(record.ingress));
        if record.egress != record.ingress {
            edit = edit.push_top(HeaderName::RecordRoute, bracketed(record.egress));
        }
    }
    let Forward {
        transport,
        sent_by,
        branch,
        ..
    } = plan;
    let transport = transport.as_str();
    let via = [
        "SIP/2.0/", transport, " ", sent_by, ";branch=", branch, ";rport",
    ];
    Ok(edit.push_top(HeaderName::Via, via.concat()).finish()?)
}

/// Writes the target and the Route that a plan without directions has.
fn aim<'m>(
    mut edit: Edit<'m>,
    routed: &Routed,
    plan: &Forward<'_>,
) -> Result<Edit<'m>, RouteError> {
    let mut uri = plan.target.map(str::to_owned);
    let mut routes = plan
        .route
        .iter()
        .map(|uri| Route::of(uri))
        .collect::<Vec<_>>();
    for route in routed.routes() {
        let route = route?;
        routes.push(Route {
            raw: route.raw().to_vec(),
            uri: route.uri_str().to_owned(),
        });
    }
    let first_is_strict = match routes.first() {
        Some(first) => !Uri::parse(&first.uri)?.is_loose_router(),
        None => false,
    };
    if first_is_strict {
        // The next hop is a strict router: it takes its own URI from the request line, and the
        // target from the end of the Route.
        let target = match &uri {
            Some(uri) => uri.clone(),
            None => routed.request.request_uri()?.as_str().to_owned(),
        };
        routes.push(Route::of(&target));
        uri = Some(routes.remove(0).uri);
    }
    if let Some(mut uri) = uri {
        // A Contact may hold headers, for those who take it from a page; a Request-URI may not.
        let plain = routable(Uri::parse(&uri)?)?.without_headers().len();
        uri.truncate(plain);
        edit = edit.request_uri(uri);
    }
    let is_other = first_is_strict || !plan.route.is_empty() || routed.followed > 0;
    Ok(match is_other {
        true => with_routes(edit, routes.iter().map(|route| &route.raw[..])),
        false => edit,
    })
}

/// One Route value: as it was written, and its URI.
struct Route {
    raw: Vec<u8>,
    uri: String,
}

impl Route {
    fn of(uri: &str) -> Self {
        Self {
            raw: bracketed(uri).into_bytes(),
            uri: uri.to_owned(),
        }
    }
}

fn with_routes<'m, 'r>(edit: Edit<'m>, routes: impl Iterator<Item = &'r [u8]>) -> Edit<'m> {
    let routes: Vec<_> = routes.collect();
    match routes.is_empty() {
        true => edit.remove(HeaderName::Route),
        false => edit.replace(HeaderName::Route, routes.join(&b", "[..])),
    }
}

/// `uri`, where a request line may hold it.
fn routable(uri: Uri<'_>) -> Result<Uri<'_>, RouteError> {
    match uri.scheme() {
        Scheme::Other(_) if !uri.is_service() => Err(RouteError::Scheme),
        _ => Ok(uri),
    }
}

fn bracketed(uri: &str) -> String {
    ["<", uri, ">"].concat()
}

/// The URI without `maddr`, and without the port and transport by which we were reached, where
/// `maddr` is us (RFC 3261 section 16.4).
fn without_own_maddr(uri: &Uri<'_>, identity: &Identity) -> Option<String> {
    let maddr = uri
        .params()
        .get("maddr")
        .and_then(crate::uri::Host::parse)?;
    if !identity.is_own(maddr, uri.port().unwrap_or(5060)) {
        return None;
    }
    let mut plain = match uri.scheme() {
        Scheme::Sips => String::from("sips:"),
        _ => String::from("sip:"),
    };
    if let Some(user) = uri.user() {
        plain.push_str(user);
        if let Some(password) = uri.password() {
            plain.push(':');
            plain.push_str(password);
        }
        plain.push('@');
    }
    plain.push_str(&uri.host()?.to_string());
    for (name, value) in uri.params() {
        if name.eq_ignore_ascii_case("maddr") || name.eq_ignore_ascii_case("transport") {
            continue;
        }
        plain.push(';');
        plain.push_str(name);
        if let Some(value) = value {
            plain.push('=');
            plain.push_str(value);
        }
    }
    Some(plain)
}
