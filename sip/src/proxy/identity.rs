//! Which hops are this proxy, and the branches by which it knows its own Vias again.

use std::hash::Hasher as _;
use std::net::IpAddr;

use crate::header::{BRANCH_COOKIE, HeaderName, Transport, Via};
use crate::message::Message;
use crate::token::{TokenGenerator, hex, push_hex};
use crate::uri::{Host, Scheme, Uri};

/// The names and addresses under which this proxy appears in Via, Route and Record-Route, and a
/// secret by which nobody else can make a branch of its kind.
#[derive(Debug, Clone)]
pub struct Identity {
    hops: Vec<(Place, u16)>,
    secret: u128,
}

/// A host of ours, parsed once.
#[derive(Debug, Clone)]
enum Place {
    Address(IpAddr),
    Name(Box<str>),
}

impl Identity {
    /// An identity without any hop. `secret` is 128 random bits; nodes that share addresses share
    /// it, so that each finds the loops of the others.
    #[must_use]
    pub fn new(secret: u128) -> Self {
        Self {
            hops: Vec::new(),
            secret,
        }
    }

    /// Adds an address or a name that this proxy listens at or is advertised by. An IPv6 address
    /// has brackets.
    #[must_use]
    pub fn with_hop(mut self, host: &str, port: u16) -> Self {
        let place = match Host::parse(host).and_then(|host| host.ip()) {
            Some(address) => Place::Address(address),
            None => Place::Name(host.into()),
        };
        self.hops.push((place, port));
        self
    }

    /// Whether this host and port are one of ours.
    #[must_use]
    pub fn is_own(&self, host: Host<'_>, port: u16) -> bool {
        self.hops
            .iter()
            .filter(|(_, own_port)| *own_port == port)
            .any(|(own, _)| match own {
                Place::Address(own) => host.ip() == Some(*own),
                Place::Name(own) => host == Host::Name(own),
            })
    }

    /// Whether a URI names this proxy as a hop: by a host of ours and its port, default where it is
    /// not written. The user part does not matter.
    #[must_use]
    pub fn is_own_uri(&self, uri: &Uri<'_>) -> bool {
        uri.host()
            .is_some_and(|host| self.is_own(host, uri_port(uri)))
    }

    /// Whether a Via was written by this proxy.
    #[must_use]
    pub fn is_own_via(&self, via: &Via<'_>) -> bool {
        let port = via.port().unwrap_or_else(|| via.transport().default_port());
        self.is_own(via.host(), port)
    }

    /// A branch for forwarding `received` in a client transaction: unique, and holding what
    /// [`Self::is_loop`] needs. `received` is the request as it came, before any routing.
    #[must_use]
    pub fn branch(&self, tokens: &mut TokenGenerator, received: &Message) -> String {
        self.marked(tokens.branch(), received)
    }

    /// A branch for forwarding `received` without state: the same for each retransmission of it
    /// (RFC 3261 section 16.11).
    #[must_use]
    pub fn stateless_branch(&self, received: &Message) -> String {
        let mut hash = self.hasher(b"stateless");
        if let Ok(via) = received.via() {
            feed(&mut hash, via.sent_by().as_bytes());
            feed(&mut hash, via.branch().unwrap_or_default().as_bytes());
        }
        feed(
            &mut hash,
            received
                .method()
                .map_or("", |method| method.as_str())
                .as_bytes(),
        );
        let mut branch = String::with_capacity(BRANCH_COOKIE.len() + 16 + 17);
        branch.push_str(BRANCH_COOKIE);
        push_hex(&mut branch, &hash.finish().to_be_bytes());
        self.marked(branch, received)
    }

    /// A branch with what [`Self::is_loop`] looks for.
    fn marked(&self, mut branch: String, received: &Message) -> String {
        branch.push('.');
        push_hex(&mut branch, &self.loop_hash(received).to_be_bytes());
        branch
    }

    /// A To tag for answering `received` without state: the same each time it comes (RFC 3261 section
    /// 8.2.7). What tells it from every other request is taken as it is written.
    #[must_use]
    pub fn stateless_tag(&self, received: &Message) -> String {
        let mut hash = self.hasher(b"tag");
        for name in [HeaderName::Via, HeaderName::CallId, HeaderName::CSeq] {
            let field = received.header(name);
            feed(&mut hash, field.map_or(&[][..], |field| field.value()));
        }
        hex(hash.finish())
    }

    /// Whether this request has been here before and nothing that routes it has changed since: a
    /// loop. With another Request-URI or Route it is a spiral, which is legitimate (RFC 3261
    /// section 16.3).
    #[must_use]
    pub fn is_loop(&self, received: &Message) -> bool {
        let mut own_hash = None;
        received
            .vias()
            .flatten()
            .filter(|via| self.is_own_via(via))
            .any(|via| {
                let mark = via.branch().and_then(|branch| branch.rsplit_once('.'));
                let mark = mark.and_then(|(_, hash)| u64::from_str_radix(hash, 16).ok());
                mark.is_some_and(|mark| {
                    mark == *own_hash.get_or_insert_with(|| self.loop_hash(received))
                })
            })
    }

    /// What identifies a request and decides where it goes. The topmost Via, which RFC 3261 lists
    /// here, is left out: it differs on each turn of a loop of several hops (RFC 5393 section 4.2).
    fn loop_hash(&self, request: &Message) -> u64 {
        let mut hash = self.hasher(b"loop");
        feed(&mut hash, request.request_uri_raw());
        feed(&mut hash, request.call_id().unwrap_or_default().as_bytes());
        for tag in [request.from_tag(), request.to_tag()] {
            feed(&mut hash, tag.unwrap_or_default().as_bytes());
        }
        hash.write_u32(request.cseq().map_or(0, |cseq| cseq.number));
        for name in [
            HeaderName::Route,
            HeaderName::ProxyRequire,
            HeaderName::ProxyAuthorization,
        ] {
            for value in request.values(name) {
                feed(&mut hash, value);
            }
            hash.write_u8(0);
        }
        hash.finish()
    }

    fn hasher(&self, purpose: &[u8]) -> std::hash::DefaultHasher {
        // SipHash with a fixed key: the secret is its first block.
        let mut hash = std::hash::DefaultHasher::new();
        hash.write_u128(self.secret);
        feed(&mut hash, purpose);
        hash
    }
}

/// The port that a URI means: its own, or that of its scheme and transport.
fn uri_port(uri: &Uri<'_>) -> u16 {
    if let Some(port) = uri.port() {
        return port;
    }
    if uri.scheme() == Scheme::Sips {
        return 5061;
    }
    let transport = uri.transport().and_then(Transport::parse);
    transport.map_or(5060, |transport| transport.default_port())
}

/// Adds a part and its length, so that the border between two parts counts.
fn feed(hash: &mut std::hash::DefaultHasher, part: &[u8]) {
    hash.write_usize(part.len());
    hash.write(part);
}
