//! What RFC 3263 makes of DNS records: which transport, and which names to ask for next.

use std::net::IpAddr;

use control::config::Transport;

/// A NAPTR record (RFC 3403), as far as SIP uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naptr {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) flags: String,
    pub(super) services: String,
    pub(super) replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// Empty where the service is decidedly not offered.
    pub(super) target: String,
}

/// What this node can send over: the transport, and whether its address is IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served(Vec<(Transport, bool)>);

/// In which order transports are preferred where the other side leaves the choice.
const PREFERENCE: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

impl Served {
    /// By the transports and addresses of our listeners.
    pub(crate) fn new(locals: impl IntoIterator<Item = (Transport, IpAddr)>) -> Self {
        Self(
            locals
                .into_iter()
                .map(|(transport, ip)| (transport, ip.is_ipv4()))
                .collect(),
        )
    }

    /// Whether anything can be sent over `transport` to this family.
    pub(super) fn reaches(&self, transport: Transport, is_ipv4: bool) -> bool {
        self.0.contains(&(transport, is_ipv4))
    }

    /// The transports that a request may take, the best first.
    pub(super) fn transports(&self, secure: bool) -> impl Iterator<Item = Transport> {
        PREFERENCE.into_iter().filter(move |transport| {
            let allowed = !secure || transport.is_secure();
            allowed && self.0.iter().any(|(served, _)| served == transport)
        })
    }
}

/// The transport that a name without NAPTR and SRV is reached over (RFC 3263 section 4.1).
pub(super) const fn default_transport(secure: bool) -> Transport {
    if secure {
        Transport::Tls
    } else {
        Transport::Udp
    }
}

/// The name of a domain's SRV records for a transport; `None` for one that has none.
pub(super) fn srv_name(transport: Transport, domain: &str) -> Option<String> {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws | Transport::Wss => return None,
    };
    Some(format!("{prefix}.{domain}"))
}

/// The transports that a domain offers by NAPTR and their SRV names, the best first; none where no
/// record fits.
pub(super) fn by_naptr(
    mut records: Vec<Naptr>,
    served: &Served,
    secure: bool,
) -> Vec<(Transport, String)> {
    let transport = |record: &Naptr| {
        // Terminal, and an SRV lookup next (RFC 3263 section 4.1); what asks for a regular
        // expression is none of SIP's.
        let is_srv = record.flags.eq_ignore_ascii_case("s") && !record.replacement.is_empty();
        let named = match record.services.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Transport::Udp,
            "SIP+D2T" => Transport::Tcp,
            "SIPS+D2T" => Transport::Tls,
            _ => return None,
        };
        let usable = served.transports(secure).any(|served| served == named);
        (is_srv && usable).then_some(named)
    };
    records.sort_by_key(|record| (record.order, record.preference));
    let mut fitting = records
        .iter()
        .filter_map(|record| Some((record.order, transport(record)?, record)));
    let Some(first) = fitting.next() else {
        return Vec::new();
    };
    // RFC 3403 section 4.1: once a record fits, those of a higher order do not count.
    let order = first.0;
    std::iter::once(first)
        .chain(fitting)
        .filter(|(of, ..)| *of == order)
        .map(|(_, transport, record)| (transport, record.replacement.clone()))
        .collect()
}

/// SRV records that can be used. `Err` where the domain says that it does not offer the service
/// (RFC 2782: a target of `.`), so that nothing else may be guessed.
pub(super) fn usable_srv(records: Vec<Srv>) -> Result<Vec<Srv>, NotOffered> {
    let refused = records.iter().any(|record| record.target.is_empty());
    let usable: Vec<_> = records
        .into_iter()
        .filter(|record| !record.target.is_empty() && record.port != 0)
        .collect();
    if refused && usable.is_empty() {
        return Err(NotOffered);
    }
    Ok(usable)
}

/// A domain does not offer the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOffered;

#[cfg(test)]
mod tests {
    use super::*;

    fn served(transports: &[Transport]) -> Served {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        Served::new(transports.iter().map(|transport| (*transport, ip)))
    }

    fn naptr(order: u16, preference: u16, services: &str, replacement: &str) -> Naptr {
        Naptr {
            order,
            preference,
            flags: "s".into(),
            services: services.into(),
            replacement: replacement.into(),
        }
    }

    /// The example of RFC 3263 section 4.1.
    fn example() -> Vec<Naptr> {
        vec![
            naptr(90, 50, "SIP+D2U", "_sip._udp.example.com"),
            naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
            naptr(90, 40, "SIP+D2T", "_sip._tcp.example.com"),
        ]
    }

    #[test]
    fn the_lowest_order_that_can_be_served_counts() {
        let all = served(&[Transport::Udp, Transport::Tcp, Transport::Tls]);
        let plain = served(&[Transport::Udp, Transport::Tcp]);
        let udp = served(&[Transport::Udp]);
        let tls = (Transport::Tls, "_sips._tcp.example.com".to_owned());
        let tcp = (Transport::Tcp, "_sip._tcp.example.com".to_owned());
        let datagram = (Transport::Udp, "_sip._udp.example.com".to_owned());
        assert_eq!(by_naptr(example(), &all, false), std::slice::from_ref(&tls));
        assert_eq!(by_naptr(example(), &plain, false), [tcp, datagram.clone()]);
        assert_eq!(by_naptr(example(), &udp, false), [datagram]);
        assert_eq!(by_naptr(example(), &all, true), [tls]);
        assert_eq!(by_naptr(example(), &plain, true), []);
    }

    #[test]
    fn records_that_are_not_for_sip_are_passed_over() {
        let all = served(&[Transport::Udp]);
        let mut enum_record = naptr(1, 1, "E2U+sip", "_sip._udp.x");
        enum_record.flags = "u".into();
        let mut unflagged = naptr(1, 1, "SIP+D2U", "_sip._udp.x");
        unflagged.flags = String::new();
        let lower = naptr(2, 1, "sip+d2u", "_sip._udp.y");
        let records = vec![enum_record, unflagged, lower, naptr(3, 1, "SIP+D2U", "")];
        let wanted = (Transport::Udp, "_sip._udp.y".to_owned());
        assert_eq!(by_naptr(records, &all, false), [wanted]);
    }

    #[test]
    fn a_service_that_is_not_offered_is_not_guessed() {
        let srv = |port, target: &str| Srv {
            priority: 1,
            weight: 1,
            port,
            target: target.into(),
        };
        assert_eq!(usable_srv(vec![srv(0, "")]), Err(NotOffered));
        assert_eq!(usable_srv(Vec::new()), Ok(Vec::new()));
        let good = srv(5060, "a");
        let mixed = vec![srv(0, ""), good.clone(), srv(0, "b")];
        assert_eq!(usable_srv(mixed), Ok(vec![good]));
    }

    #[test]
    fn srv_names_are_those_of_the_registry() {
        let name = |transport| srv_name(transport, "example.com").unwrap_or_default();
        assert_eq!(name(Transport::Udp), "_sip._udp.example.com");
        assert_eq!(name(Transport::Tcp), "_sip._tcp.example.com");
        assert_eq!(name(Transport::Tls), "_sips._tcp.example.com");
        assert_eq!(name(Transport::Wss), "");
    }
}
