//! The way to one end of a dialog: its target and the proxies before it.

use crate::header::{HeaderName, NameAddr};
use crate::message::{Edit, Message, Method, RequestBuilder};
use crate::proxy::Identity;
use crate::uri::Uri;

use super::DialogError;

/// Where requests to one end of a dialog go (RFC 3261 section 12.2.1.1).
#[derive(Debug, Clone)]
pub(super) struct Leg {
    /// The end's Contact.
    pub(super) target: String,
    /// The route set, the next hop first.
    routes: Vec<Route>,
}

/// What a dialog makes of a request that passes to one of its ends
/// ([`ProxyDialog::directions`](super::ProxyDialog::directions)), for
/// [`Forward`](crate::proxy::Forward) to write.
#[derive(Debug, Clone)]
pub struct Directions {
    uri: String,
    /// The value of Route; empty where there is to be none.
    route: Vec<u8>,
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
}

impl Directions {
    pub(crate) fn write<'m>(&self, request: Edit<'m>) -> Edit<'m> {
        let mut request = request.request_uri(&self.uri);
        request = match self.route.is_empty() {
            true => request.remove(HeaderName::Route),
            false => request.replace(HeaderName::Route, &self.route),
        };
        if let Some(from) = &self.from {
            request = request.replace(HeaderName::From, from);
        }
        if let Some(to) = &self.to {
            request = request.replace(HeaderName::To, to);
        }
        request
    }

    /// How long a request gets by them, about: From and To are as long as they were, or nearly.
    #[must_use]
    pub fn length(&self, request: &Message) -> usize {
        let line = |value: &[u8]| "Route: \r\n".len() + value.len();
        let fields = request.headers_named(HeaderName::Route);
        let before: usize = fields.map(|field| line(field.value())).sum();
        let added = match self.route.is_empty() {
            true => 0,
            false => line(&self.route),
        };
        let before = before + request.request_uri_raw().len();
        (request.as_bytes().len() + self.uri.len() + added).saturating_sub(before)
    }
}

#[derive(Debug, Clone)]
struct Route {
    /// As it was written in Record-Route.
    raw: Vec<u8>,
    uri: String,
    loose: bool,
}

impl Leg {
    pub(super) fn new(target: String, routes: RouteSet) -> Self {
        Self {
            target,
            routes: routes.0,
        }
    }

    /// Begins a request to this end: request line, Via, Max-Forwards and Route.
    pub(super) fn request(&self, method: &Method, via: &str) -> RequestBuilder {
        // A strict router wants its own URI in the request line, and the target behind the routes.
        let strict = self.routes.first().filter(|first| !first.loose);
        let uri = strict.map_or(&self.target, |first| &first.uri);
        let mut request = RequestBuilder::new(method, uri)
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70");
        let skip = usize::from(strict.is_some());
        for route in self.routes.iter().skip(skip) {
            request = request.header(HeaderName::Route, &route.raw);
        }
        if strict.is_some() {
            request = request.header(HeaderName::Route, format!("<{}>", self.target));
        }
        request
    }

    /// Sends a request that passes to this end: the target and the route set are the dialog's, whatever
    /// its sender wrote. `from` and `to` where those are to be others.
    pub(super) fn directions(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Directions {
        let mut routes: Vec<_> = self.routes.iter().map(|route| &route.raw[..]).collect();
        let bracketed;
        let uri = match self.routes.first().filter(|first| !first.loose) {
            None => &self.target,
            Some(strict) => {
                // It wants its own URI in the request line, and the target behind the routes.
                bracketed = ["<", &self.target, ">"].concat();
                routes.remove(0);
                routes.push(bracketed.as_bytes());
                &strict.uri
            }
        };
        Directions {
            uri: uri.clone(),
            route: routes.join(&b", "[..]),
            from: from.map(<[u8]>::to_vec),
            to: to.map(<[u8]>::to_vec),
        }
    }

    /// Whether a Route value is one of the route set.
    pub(super) fn has_route(&self, uri: &Uri<'_>) -> bool {
        self.routes.iter().any(|route| {
            let known = Uri::parse(&route.uri);
            known.is_ok_and(|known| known.host() == uri.host())
        })
    }

    /// The URI to resolve for the next hop.
    pub(super) fn next_hop(&self) -> &str {
        self.routes.first().map_or(&self.target, |first| &first.uri)
    }
}

/// Record-Route values, in the order in which requests visit them.
#[derive(Debug, Clone, Default)]
pub(super) struct RouteSet(Vec<Route>);

impl RouteSet {
    /// The Record-Route of a message, from the top.
    pub(super) fn of(message: &Message) -> Result<Self, DialogError> {
        let routes = message.record_routes().map(|route| {
            let route = route?;
            Ok(Route::new(&route, &route.uri()?))
        });
        Ok(Self(routes.collect::<Result<_, DialogError>>()?))
    }

    /// From the bottom: a caller reads a response in this order.
    pub(super) fn reversed(mut self) -> Self {
        self.0.reverse();
        self
    }

    /// Those of a response that were recorded between this proxy and the callee, in the order in which
    /// requests to the callee visit them.
    pub(super) fn to_callee(response: &Message, identity: &Identity) -> Result<Self, DialogError> {
        let mut routes = Vec::new();
        for route in response.record_routes() {
            let route = route?;
            let uri = route.uri()?;
            if identity.is_own_uri(&uri) {
                break;
            }
            routes.push(Route::new(&route, &uri));
        }
        routes.reverse();
        Ok(Self(routes))
    }
}

impl Route {
    fn new(route: &NameAddr<'_>, uri: &Uri<'_>) -> Self {
        Self {
            raw: route.raw().to_vec(),
            uri: uri.without_headers().to_owned(),
            loose: uri.is_loose_router(),
        }
    }
}
