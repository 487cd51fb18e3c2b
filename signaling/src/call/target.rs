//! From URIs and hosts to flows.

use std::{fmt::Write as _, net::SocketAddr, time::Instant};

use control::config::{self, Nat, Transport};
use sip::{
    proxy::Routed,
    uri::{Host, Scheme, Uri},
};
use tracing::debug;

use super::{
    Authority, Core, Hop, Output, ResolveToken,
    exchange::{ExchangeId, NextHop},
    request::COOKIE,
    state::CallKey,
    way::{Wish, by_flow, home, is_at},
    within::Ack,
};
use crate::{
    directory::Aor,
    location::Contact,
    net::{Flow, Local},
};

/// Who waits for a name's addresses.
#[derive(Debug)]
pub(super) enum Resolving {
    /// A branch.
    Branch(ExchangeId, usize),
    /// The ACK of a 2xx.
    Ack(Box<Ack>),
}

/// A question to the resolver.
#[derive(Debug)]
pub(super) struct Asked {
    who: Resolving,
    /// The name that was asked for: over TLS the one that its certificate must have (RFC 5922 section
    /// 7.3), whatever the answer's host is called.
    host: String,
}

/// What is known of where a next hop is.
#[derive(Debug)]
pub(super) enum Located {
    /// Here.
    At(Flow),
    /// It has to be asked for.
    Ask(Authority),
    /// It cannot be reached, and why.
    Nowhere(&'static str),
}

impl Core {
    /// A name's addresses came; none where it has none or nobody could tell.
    pub(crate) fn handle_resolved(&mut self, now: Instant, token: ResolveToken, hops: &[Hop]) {
        if let Some(Asked { who, host }) = self.resolving.remove(&token) {
            let way = |hop: &Hop| {
                let mut way = self.way(*hop, None)?;
                if way.transport == Transport::Tls {
                    way.name = self.policy.names.id(&host);
                }
                Some(way)
            };
            match who {
                Resolving::Branch(exchange, branch) => {
                    let ways: Vec<_> = hops.iter().filter_map(way).collect();
                    self.on_ways(now, exchange, branch, ways);
                    self.run_actions(now, exchange);
                }
                Resolving::Ack(ack) => match hops.iter().find_map(way) {
                    Some(way) => self.send_ack(&ack, way),
                    None => debug!("cannot pass an ACK on: its next hop has no address"),
                },
            }
        }
        self.drain(now);
    }

    /// Asks for addresses.
    pub(super) fn ask_resolver(&mut self, authority: Authority, who: Resolving) {
        let token = ResolveToken(self.number());
        let host = authority.host.clone();
        self.resolving.insert(token, Asked { who, host });
        self.outputs.push_back(Output::Resolve { token, authority });
    }

    /// The phones that a user has registered.
    pub(super) fn contacts_of(&self, now: Instant, aor: &Aor) -> Vec<Contact> {
        self.access.location.contacts(self.time(now), aor)
    }

    /// Where a phone is: over the flow that it registered by, or through what it registered through.
    pub(super) fn locate_contact(&self, contact: &Contact) -> Located {
        match (contact.path.first(), contact.flow) {
            (None, Some(flow)) => Located::At(flow),
            (Some(first), known) => self.locate(&NextHop {
                known,
                ..NextHop::new(first.clone())
            }),
            (None, None) => {
                // Its connection is gone. It may listen where it was; what it says of other hosts would
                // let a user send calls to whomever he names.
                let uri = Uri::parse(&contact.uri).ok();
                let uri = uri.filter(|uri| !uri.params().has("maddr"));
                let host = uri.and_then(|uri| uri.host()?.ip());
                if host.map(|host| host.to_canonical()) != Some(contact.source) {
                    return Located::Nowhere("its connection is gone, and it says to be elsewhere");
                }
                self.locate(&NextHop::new(contact.uri.clone()))
            }
        }
    }

    /// Where a trunk's host is.
    pub(super) fn locate_host(&self, host: &config::Host) -> Located {
        match host.ip() {
            Some(ip) => self.locate_ip(
                host.transport,
                SocketAddr::new(ip, host.port_or_default()),
                None,
            ),
            None => Located::Ask(Authority::of(host)),
        }
    }

    /// Where a URI is.
    pub(super) fn locate(&self, next: &NextHop) -> Located {
        if let Some(node) = next.known.filter(Flow::is_node) {
            return Located::At(node);
        }
        let Ok(uri) = Uri::parse(&next.uri) else {
            return Located::Nowhere("its URI is malformed");
        };
        let secure = match uri.scheme() {
            Scheme::Sip => false,
            Scheme::Sips => true,
            _ => return Located::Nowhere("only sip: and sips: URIs can be reached"),
        };
        let written = match uri.transport().map(str::parse::<Transport>) {
            None => None,
            // RFC 3261 section 26.2.2: `sips:` over TCP is TLS.
            Some(Ok(Transport::Tcp)) if secure => Some(Transport::Tls),
            Some(Ok(transport)) => Some(transport),
            Some(Err(_)) => return Located::Nowhere("its transport is not served"),
        };
        let maddr = uri.params().get("maddr").and_then(Host::parse);
        let Some(host) = maddr.or_else(|| uri.host()) else {
            return Located::Nowhere("its URI has no host");
        };
        let wish = Wish {
            host,
            port: uri.port(),
            transport: written,
            secure,
        };
        if let Some(known) = &next.known
            && next.is_phone
            && (next.has_moved || self.terms.nat != Nat::Off && !is_at(known, &wish))
        {
            // To follow it would let a user make this node send to whomever he names.
            return match secure && !known.transport.is_secure() {
                true => Located::Nowhere("its URI wants encryption over a transport that has none"),
                false => Located::At(home(known)),
            };
        }
        if let Some(way) = next
            .known
            .and_then(|known| by_flow(&known, &wish, self.terms.nat))
        {
            return Located::At(way);
        }
        let Some(ip) = host.ip() else {
            return Located::Ask(Authority {
                transport: written,
                secure,
                host: host.to_string(),
                port: uri.port(),
            });
        };
        let transport = written.unwrap_or(if secure {
            Transport::Tls
        } else {
            Transport::Udp
        });
        if secure && !transport.is_secure() {
            return Located::Nowhere("its URI wants encryption over a transport that has none");
        }
        let port = uri.port().unwrap_or_else(|| transport.default_port());
        let remote = SocketAddr::new(ip, port);
        self.locate_ip(transport, remote, next.prefer)
    }

    /// The way to an address that the resolver gave.
    pub(super) fn way(&self, hop: Hop, prefer: Option<(Transport, SocketAddr)>) -> Option<Flow> {
        self.policy.way(hop, prefer)
    }

    /// A next hop, to be sent to from the address of ours by which that party knows us.
    pub(super) fn by_the_address_it_knows(&self, next: NextHop, routed: &Routed) -> NextHop {
        NextHop {
            prefer: self.recorded_local(routed),
            ..next
        }
    }

    /// Our Record-Route for one side of a call; with `secure` where the request is to a `sips:` URI,
    /// and its dialog stays encrypted (RFC 3261 section 16.6, step 4).
    pub(super) fn record_uri(local: &Local, key: CallKey, secure: bool) -> String {
        let secure = secure && local.transport.is_secure();
        let mut uri = String::with_capacity(local.sent_by.len() + 64);
        uri.push_str(if secure { "sips:" } else { "sip:" });
        uri.push_str(&local.sent_by);
        uri.push_str(";lr");
        // TLS is what `sips:` means.
        let is_meant = secure && local.transport == Transport::Tls;
        if local.transport != Transport::Udp && !is_meant {
            uri.push_str(";transport=");
            uri.push_str(local.transport.parameter());
        }
        // Writing to a String cannot fail.
        let _ = write!(uri, ";{COOKIE}={:x}", key.0);
        uri
    }

    fn locate_ip(
        &self,
        transport: Transport,
        remote: SocketAddr,
        prefer: Option<(Transport, SocketAddr)>,
    ) -> Located {
        let mut candidates = self.policy.locals_for(transport, remote.ip());
        let several = candidates.next().is_some() && candidates.next().is_some();
        let preferred = prefer.is_some_and(|prefer| {
            let mut candidates = self.policy.locals_for(transport, remote.ip());
            candidates.any(|local| prefer == (local.transport, local.address))
        });
        if several && !preferred {
            // The kernel knows which of our addresses reaches it.
            let host = remote.ip().to_string();
            return Located::Ask(Authority {
                transport: Some(transport),
                secure: false,
                host,
                port: Some(remote.port()),
            });
        }
        match self.way(
            Hop {
                transport,
                remote,
                source: None,
            },
            prefer,
        ) {
            Some(way) => Located::At(way),
            None => Located::Nowhere("this node has no address of that transport and family"),
        }
    }

    /// The address of ours that the last of our Route values names: where the other side of the
    /// dialog knows us.
    fn recorded_local(&self, routed: &Routed) -> Option<(Transport, SocketAddr)> {
        let uri = Uri::parse(routed.own_routes.last()?).ok()?;
        let secure = uri.scheme() == Scheme::Sips;
        let written: Option<Transport> = match uri.transport() {
            None => None,
            Some(transport) => Some(transport.parse().ok()?),
        };
        let transport = match written {
            None | Some(Transport::Tcp) if secure => Transport::Tls,
            None => Transport::Udp,
            Some(transport) => transport,
        };
        let port = uri.port().unwrap_or_else(|| transport.default_port());
        let host = uri.host()?;
        // Both kinds of WebSocket have one word, and listen at two places.
        let named = |local: &&Local| {
            local.transport.parameter() == transport.parameter()
                && is_written(&local.sent_by, host, port)
        };
        let local = self.policy.locals.iter().find(named)?;
        Some((local.transport, local.address))
    }
}

/// Whether `sent_by` is this host and port.
fn is_written(sent_by: &str, host: Host<'_>, port: u16) -> bool {
    let Some((written, digits)) = sent_by.rsplit_once(':') else {
        return false;
    };
    let is_host = match host {
        Host::Name(name) => name == written,
        Host::V4(_) | Host::V6(_) => Host::parse(written) == Some(host),
    };
    is_host && digits.parse() == Ok(port)
}

/// A URI for the far end of a way, where it has given none itself.
pub(super) fn uri_of(way: &Flow) -> String {
    let transport = match way.transport {
        Transport::Udp => String::new(),
        other => format!(";transport={other}"),
    };
    format!("sip:{}{transport}", way.reply_to)
}

/// The Request-URI for a trunk's host: the number and the parameters stay, the place is the host's.
/// `number` is what this trunk is to see as the user part, escaped.
pub(super) fn retarget(uri: &Uri<'_>, host: &config::Host, number: Option<&str>) -> String {
    if uri.is_service() {
        // Who answers for it is the host's to say: it stays what it is (RFC 6881 section 9).
        return uri.as_str().to_owned();
    }
    let is_sips = uri.scheme() == Scheme::Sips;
    let mut target = String::from(if is_sips { "sips:" } else { "sip:" });
    let is_tel = uri.scheme() == Scheme::Tel;
    if let Some(user) = number.or_else(|| uri.user()) {
        target.push_str(user);
        if is_tel && !user.contains(';') {
            // RFC 3261 section 19.1.6: a tel URI's parameters belong to the user part.
            target.push_str(uri.params().as_str());
        }
        target.push('@');
    }
    let is_v6 = host.name.contains(':');
    target.push_str(&if is_v6 {
        format!("[{}]", host.name)
    } else {
        host.name.clone()
    });
    if let Some(port) = host.port {
        target.push_str(&format!(":{port}"));
    }
    if is_tel {
        target.push_str(";user=phone");
    } else {
        let ours = ["transport", "maddr", "ttl", "method", "lr"];
        for (name, value) in uri.params() {
            if ours.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                continue;
            }
            target.push(';');
            target.push_str(name);
            if let Some(value) = value {
                target.push('=');
                target.push_str(value);
            }
        }
    }
    if host.transport != Transport::Udp && !is_sips {
        target.push_str(";transport=");
        target.push_str(host.transport.parameter());
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_parameters_and_loses_its_place() {
        let host: config::Host = "192.0.2.9:5070".parse().unwrap();
        let tcp: config::Host = "sip:gw.example.com;transport=tcp".parse().unwrap();
        let v6: config::Host = "[2001:db8::1]:5060".parse().unwrap();
        for (uri, host, wanted) in [
            (
                "sip:+15550100@node:5060;user=phone",
                &host,
                "sip:+15550100@192.0.2.9:5070;user=phone",
            ),
            (
                "sip:1@node;transport=udp;x=1",
                &tcp,
                "sip:1@gw.example.com;x=1;transport=tcp",
            ),
            (
                "tel:+15550100;ext=5",
                &v6,
                "sip:+15550100;ext=5@[2001:db8::1]:5060;user=phone",
            ),
            ("urn:service:sos", &tcp, "urn:service:sos"),
        ] {
            assert_eq!(retarget(&Uri::parse(uri).unwrap(), host, None), wanted);
        }
    }
}
