//! Which way a message takes to a party that is known: the flow that it came by, or what it says of
//! itself; and over which transport, where that is left to us.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use control::config::{Nat, Transport};
use sip::{dialog::Side, uri::Host};

use super::{
    Core, Hop,
    exchange::{ExchangeId, NextHop, Place, Target},
    state::{Call, Leg},
};
use crate::{directory::Caller, location::is_sips, net::Flow};

/// What a request grows by on its way through: our Via, Record-Route, a longer Request-URI.
const GROWTH: usize = 300;
/// How long an address that takes no TCP is not asked again.
const NO_TCP: Duration = Duration::from_secs(600);
/// Such addresses that are remembered.
const MOST: usize = 10_000;

/// What the URI of a party asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
    /// The transport that is written.
    pub(super) transport: Option<Transport>,
    /// It is a `sips:` URI.
    pub(super) secure: bool,
}

/// The way to a party by the flow that its messages came by, where that is better than what its URI
/// says; `None` where the URI is to be followed.
///
/// A browser listens nowhere. A party behind a NAT names an address of its own network. A party that
/// has a connection to us is answered over it: its Contact may name a port that it does not listen at.
pub(super) fn by_flow(flow: &Flow, wish: &Wish<'_>, nat: Nat) -> Option<Flow> {
    let fits = match wish.transport {
        None => true,
        Some(Transport::Ws) => flow.transport.is_websocket(),
        Some(transport) => transport == flow.transport,
    };
    if !fits || (wish.secure && !flow.transport.is_secure()) {
        return None;
    }
    let home = home(flow);
    if flow.transport.is_websocket() {
        return Some(home);
    }
    let Some(ip) = wish.host.ip() else {
        // RFC 2606: a name that says that there is none.
        let name = wish.host.to_string();
        return name.ends_with(".invalid").then_some(home);
    };
    let source = flow.remote.ip().to_canonical();
    if ip.to_canonical() == source {
        let port = wish.port.unwrap_or_else(|| flow.transport.default_port());
        return Some(Flow {
            reply_to: if flow.nat && nat != Nat::Off {
                flow.remote
            } else {
                SocketAddr::new(ip, port)
            },
            ..*flow
        });
    }
    let foreign = match nat {
        Nat::Auto => is_private(ip) && (flow.nat || !is_private(source)) || is_nowhere(ip, source),
        Nat::Always => true,
        Nat::Off => false,
    };
    foreign.then_some(home)
}

/// The way back over a flow, whatever its peer says of where it is.
pub(super) const fn home(flow: &Flow) -> Flow {
    Flow {
        reply_to: flow.remote,
        ..*flow
    }
}

/// Whether a URI names the host that a flow comes from.
pub(super) fn is_at(flow: &Flow, wish: &Wish<'_>) -> bool {
    let host = wish.host.ip().map(|ip| ip.to_canonical());
    host == Some(flow.remote.ip().to_canonical())
}

/// Whether an address is none that anybody could be reached at from here: the party's own loopback,
/// or no address at all.
fn is_nowhere(ip: IpAddr, source: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_unspecified() || ip.is_loopback() && !source.is_loopback()
}

/// Whether an address means something in one network only, or nothing.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = u32::from(ip) >> 22 == u32::from(Ipv4Addr::new(100, 64, 0, 0)) >> 22;
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                // RFC 6598: what carriers have behind their NATs.
                || shared
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

impl Core {
    /// Where the next message to a party of a dialog goes: by its route set to its Contact; to a user's
    /// phone by the way that it was heard by last, or has registered by since.
    pub(super) fn next_to(&self, now: Instant, call: &Call, leg: &Leg, side: Side) -> NextHop {
        let known = call.way_to(leg, side);
        let moved = match (call.party(leg, side), call.phone(leg, side), &known) {
            (Some(Caller::User(aor)), Some((phone, heard)), Some(known)) => {
                let location = &self.access.location;
                location.moved(self.time(now), aor, phone, known, heard)
            }
            _ => None,
        };
        NextHop {
            known: moved.or(known),
            is_phone: matches!(call.party(leg, side), Some(Caller::User(_))),
            secure: call.secure || is_sips(leg.dialog.target(side)),
            has_moved: moved.is_some(),
            ..NextHop::new(leg.dialog.next_hop(side).to_owned())
        }
    }

    /// The ways to a branch's target, where the request is too long for UDP and the transport is left
    /// to us with TCP before UDP (RFC 3261 section 18.1.1).
    pub(super) fn widened(
        &self,
        now: Instant,
        id: ExchangeId,
        index: usize,
        ways: Vec<Flow>,
    ) -> Vec<Flow> {
        let limit = self.terms.udp_limit;
        let Some(exchange) = self.exchanges.get(&id).filter(|_| limit > 0) else {
            return ways;
        };
        let length = exchange.length() + GROWTH;
        let is_open = exchange
            .branches
            .get(index)
            .is_some_and(|branch| leaves_transport_to_us(&branch.target));
        if length <= limit || !is_open {
            return ways;
        }
        let mut widened = Vec::with_capacity(ways.len() * 2);
        for way in ways {
            if way.transport == Transport::Udp {
                let hop = Hop {
                    transport: Transport::Tcp,
                    remote: way.reply_to,
                    source: Some(way.local.ip()),
                };
                let takes_none = self.no_tcp.get(&way.reply_to).is_some_and(|at| *at > now);
                widened.extend(self.policy.way(hop, None).filter(|_| !takes_none));
            }
            widened.push(way);
        }
        widened
    }

    /// Notes that a branch's address takes no TCP, where that was tried for a long request and UDP
    /// comes next. Tells whether it was so: the host is not to blame.
    pub(super) fn note_no_tcp(&mut self, now: Instant, id: ExchangeId, index: usize) -> bool {
        let Some(branch) = self.branch(id, index) else {
            return false;
        };
        let next = branch.ways.front();
        let Some(way) = branch.way.filter(|way| {
            way.transport == Transport::Tcp
                && next.is_some_and(|next| {
                    next.transport == Transport::Udp && next.reply_to == way.reply_to
                })
        }) else {
            return false;
        };
        if self.no_tcp.len() >= MOST {
            self.no_tcp.retain(|_, at| *at > now);
        }
        if self.no_tcp.len() < MOST {
            self.no_tcp.insert(way.reply_to, now + NO_TCP);
        }
        true
    }
}

/// Whether nothing says over which transport a target is to be reached.
fn leaves_transport_to_us(target: &Target) -> bool {
    let says_none = |uri: &str| {
        let uri = sip::uri::Uri::parse(uri);
        uri.is_ok_and(|uri| uri.transport().is_none())
    };
    match &target.place {
        Place::Host(host) => host.host().is_some_and(|host| !host.explicit),
        Place::Next(next) => next.known.is_none() && says_none(&next.uri),
        Place::Uri(uri) => says_none(uri),
        // It is reached as it registered.
        Place::Contact(_) => false,
        Place::Agent(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(transport: Transport, remote: &str, nat: bool) -> Flow {
        let mut flow = Flow::to(
            transport,
            "192.0.2.9:5060".parse().unwrap(),
            remote.parse().unwrap(),
        );
        flow.nat = nat;
        flow
    }

    fn way(flow: &Flow, host: &str, transport: Option<Transport>, secure: bool) -> Option<String> {
        way_by(Nat::Auto, flow, host, transport, secure)
    }

    fn way_by(
        nat: Nat,
        flow: &Flow,
        host: &str,
        transport: Option<Transport>,
        secure: bool,
    ) -> Option<String> {
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().unwrap())),
            None => (host, None),
        };
        let wish = Wish {
            host: Host::parse(host).unwrap(),
            port,
            transport,
            secure,
        };
        by_flow(flow, &wish, nat).map(|flow| flow.reply_to.to_string())
    }

    #[test]
    fn a_browser_is_reached_by_its_own_connection_whatever_it_says() {
        use Transport::{Udp, Ws, Wss};

        let browser = flow(Wss, "198.51.100.7:40000", true);
        let home = Some("198.51.100.7:40000".to_owned());
        assert_eq!(way(&browser, "x7.invalid", Some(Ws), false), home);
        assert_eq!(way(&browser, "x7.invalid", None, true), home);
        assert_eq!(way(&browser, "10.0.0.1:5060", None, false), home);
        assert_eq!(way(&browser, "192.0.2.77", Some(Udp), false), None);
        let plain = flow(Ws, "198.51.100.7:40000", true);
        assert_eq!(way(&plain, "x7.invalid", Some(Ws), true), None);
    }

    #[test]
    fn an_address_of_another_network_is_not_believed() {
        use Transport::Udp;

        let outside = flow(Udp, "198.51.100.7:40000", false);
        let home = Some("198.51.100.7:40000".to_owned());
        for private in [
            "10.0.0.1:5060",
            "192.168.1.2",
            "100.64.0.1",
            "127.0.0.1",
            "0.0.0.0",
        ] {
            assert_eq!(way(&outside, private, None, false), home, "{private}");
        }
        assert_eq!(way(&outside, "203.0.113.5:5080", None, false), None);
        // Another machine of the same private network is just that, unless a NAT was seen.
        let inside = flow(Udp, "10.0.0.9:5060", false);
        assert_eq!(way(&inside, "10.0.0.1:5060", None, false), None);
        let behind = flow(Udp, "10.0.0.9:5060", true);
        assert_eq!(
            way(&behind, "192.168.1.2:5060", None, false),
            Some("10.0.0.9:5060".to_owned())
        );
    }

    #[test]
    fn the_operator_says_whether_contacts_are_believed() {
        use Transport::{Udp, Wss};

        let inside = flow(Udp, "10.0.0.9:5060", false);
        let home = Some("10.0.0.9:5060".to_owned());
        let always = |host| way_by(Nat::Always, &inside, host, None, false);
        assert_eq!(always("10.0.0.1:5060"), home);
        assert_eq!(always("203.0.113.5"), home);
        let outside = flow(Udp, "198.51.100.7:40000", true);
        let off = |host| way_by(Nat::Off, &outside, host, None, false);
        assert_eq!(off("10.0.0.1:5060"), None);
        assert_eq!(
            off("198.51.100.7:5062"),
            Some("198.51.100.7:5062".to_owned())
        );
        let browser = flow(Wss, "198.51.100.7:40000", true);
        let reached = way_by(Nat::Off, &browser, "x7.invalid", None, false);
        assert_eq!(reached, Some("198.51.100.7:40000".to_owned()));
        // A phone that gives its own loopback is not there, unless all is on one machine.
        assert_eq!(way(&inside, "127.0.0.1:5060", None, false), home);
        let local = flow(Udp, "127.0.0.1:5070", false);
        assert_eq!(way(&local, "127.0.0.2:5060", None, false), None);
    }

    #[test]
    fn the_port_of_a_contact_counts_where_the_address_is_right() {
        use Transport::{Tcp, Udp};

        let known = flow(Tcp, "198.51.100.7:40000", false);
        let listens = Some("198.51.100.7:5062".to_owned());
        assert_eq!(way(&known, "198.51.100.7:5062", Some(Tcp), false), listens);
        assert_eq!(way(&known, "198.51.100.7:5062", Some(Udp), false), None);
        let behind = flow(Udp, "198.51.100.7:40000", true);
        assert_eq!(
            way(&behind, "198.51.100.7:5062", None, false),
            Some("198.51.100.7:40000".to_owned())
        );
    }
}
