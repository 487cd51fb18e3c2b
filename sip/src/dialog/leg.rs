//! The way to one end of a dialog: its target and the proxies before it.

use crate::header::{HeaderName, NameAddr};
use crate::message::{Edit, Message, Method, RequestBuilder};
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
    /// its sender wrote.
    pub(super) fn direct<'m>(&self, request: Edit<'m>) -> Edit<'m> {
        let request = request.request_uri(&self.target);
        let routes: Vec<_> = self.routes.iter().map(|route| &route.raw[..]).collect();
        match routes.is_empty() {
            true => request.remove(HeaderName::Route),
            false => request.replace(HeaderName::Route, routes.join(&b", "[..])),
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
        let routes = message.record_routes().map(|route| Route::new(&route?));
        Ok(Self(routes.collect::<Result<_, _>>()?))
    }

    /// From the bottom: a caller reads a response in this order.
    pub(super) fn reversed(mut self) -> Self {
        self.0.reverse();
        self
    }

    /// Those above the first that is `own`: between that proxy and the callee.
    pub(super) fn above(mut self, own: impl Fn(&Uri<'_>) -> bool) -> Self {
        let end = self
            .0
            .iter()
            .position(|route| Uri::parse(&route.uri).is_ok_and(|uri| own(&uri)));
        self.0.truncate(end.unwrap_or(self.0.len()));
        self
    }
}

impl Route {
    fn new(route: &NameAddr<'_>) -> Result<Self, DialogError> {
        let uri = route.uri()?;
        Ok(Self {
            raw: route.raw().to_vec(),
            uri: uri.without_headers().to_owned(),
            loose: uri.is_loose_router(),
        })
    }
}
