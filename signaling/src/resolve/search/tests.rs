use std::collections::HashMap;

use super::*;

const TTL: Duration = Duration::from_secs(300);
const NONE: Missing = Missing::None(PINNED);

/// A zone; a name in `troubled` is never answered for.
#[derive(Default)]
struct Zone {
    naptr: HashMap<&'static str, Vec<Naptr>>,
    srv: HashMap<&'static str, Vec<Srv>>,
    addresses: HashMap<&'static str, Vec<&'static str>>,
    pinned: HashMap<&'static str, &'static str>,
    troubled: Vec<&'static str>,
}

impl Zone {
    fn answer<T: Clone>(&self, name: &str, records: Option<Vec<T>>) -> Answer<T> {
        if self.troubled.contains(&name) {
            return Err(Missing::Trouble);
        }
        records
            .filter(|records| !records.is_empty())
            .map_or(Err(NONE), |records| Ok((records, TTL)))
    }
}

impl Source for Zone {
    async fn naptr(&self, name: &str) -> Answer<Naptr> {
        self.answer(name, self.naptr.get(name).cloned())
    }

    async fn srv(&self, name: &str) -> Answer<Srv> {
        self.answer(name, self.srv.get(name).cloned())
    }

    async fn addresses(&self, name: &str, ipv4: bool) -> Answer<IpAddr> {
        let parsed = self.addresses.get(name).map(|texts| {
            let ips = texts.iter().map(|text| text.parse::<IpAddr>().unwrap());
            ips.filter(|ip| ip.is_ipv4() == ipv4).collect()
        });
        self.answer(name, parsed)
    }

    fn pinned(&self, name: &str) -> Vec<IpAddr> {
        let found = self.pinned.get(name);
        found
            .map(|text| text.parse().unwrap())
            .into_iter()
            .collect()
    }
}

fn srv(priority: u16, target: &str) -> Srv {
    Srv {
        priority,
        weight: 1,
        port: 5070,
        target: target.into(),
    }
}

fn naptr(services: &str, replacement: &str) -> Naptr {
    Naptr {
        order: 1,
        preference: 1,
        flags: "S".into(),
        services: services.into(),
        replacement: replacement.into(),
    }
}

fn example() -> Zone {
    Zone {
        naptr: HashMap::from([(
            "example.com",
            vec![naptr("SIP+D2T", "_sip._tcp.example.com")],
        )]),
        srv: HashMap::from([
            (
                "_sip._tcp.example.com",
                vec![srv(2, "b.example.com"), srv(1, "a.example.com")],
            ),
            ("_sip._udp.srv.test", vec![srv(1, "a.example.com")]),
            ("_sip._tcp.srv.test", vec![srv(1, "b.example.com")]),
            ("_sip._udp.refused.test", vec![srv(0, "")]),
        ]),
        addresses: HashMap::from([
            ("a.example.com", vec!["192.0.2.1", "2001:db8::1"]),
            ("b.example.com", vec!["192.0.2.2"]),
            ("plain.test", vec!["192.0.2.3"]),
            ("refused.test", vec!["192.0.2.4"]),
            ("example.com", vec!["192.0.2.9"]),
        ]),
        pinned: HashMap::from([("pinned.test", "192.0.2.7")]),
        troubled: vec!["dead.test", "_sip._udp.half.test"],
    }
}

fn of(uri: &str) -> Authority {
    let uri = sip::uri::Uri::parse(uri).unwrap();
    Authority {
        transport: uri.transport().map(|name| name.parse().unwrap()),
        secure: uri.scheme() == sip::uri::Scheme::Sips,
        host: uri.host().unwrap().to_string(),
        port: uri.port(),
    }
}

/// Of a URI, as text: `udp:192.0.2.1:5060 ...` in the order of the priorities.
fn found(zone: &Zone, uri: &str) -> Result<String, Missing> {
    let locals = [
        (Transport::Udp, "192.0.2.100"),
        (Transport::Tcp, "192.0.2.100"),
        (Transport::Tls, "192.0.2.100"),
        (Transport::Udp, "2001:db8::100"),
    ];
    let served = Served::new(locals.map(|(t, ip)| (t, ip.parse().unwrap())));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut found = runtime.block_on(search(zone, &served, &of(uri)))?;
    found.hosts.sort_by_key(|host| host.priority);
    let hops = found.hosts.iter().flat_map(|host| &host.item);
    let shown: Vec<_> = hops
        .map(|(transport, to)| format!("{transport}:{to}"))
        .collect();
    Ok(shown.join(" "))
}

#[test]
fn a_uri_leads_where_rfc_3263_says() {
    let zone = example();
    for (uri, wanted) in [
        // Numeric: no question at all.
        ("sip:192.0.2.50", "udp:192.0.2.50:5060"),
        ("sips:192.0.2.50", "tls:192.0.2.50:5061"),
        ("sip:192.0.2.50:99;transport=tcp", "tcp:192.0.2.50:99"),
        ("sip:[2001:db8::7]", "udp:[2001:db8::7]:5060"),
        // NAPTR, then SRV, by priority.
        ("sip:example.com", "tcp:192.0.2.1:5070 tcp:192.0.2.2:5070"),
        // A port: the name's addresses, of the families that we have.
        (
            "sip:a.example.com:5062",
            "udp:192.0.2.1:5062 udp:[2001:db8::1]:5062",
        ),
        ("sip:a.example.com:5062;transport=tcp", "tcp:192.0.2.1:5062"),
        // No NAPTR: SRV of the transport that we like best.
        ("sip:srv.test", "udp:192.0.2.1:5070 udp:[2001:db8::1]:5070"),
        ("sip:srv.test;transport=tcp", "tcp:192.0.2.2:5070"),
        // Neither: the addresses, and the defaults.
        ("sip:plain.test", "udp:192.0.2.3:5060"),
        ("sip:plain.test;transport=tcp", "tcp:192.0.2.3:5060"),
        ("sips:plain.test", "tls:192.0.2.3:5061"),
        // This machine's own table goes before DNS.
        ("sip:pinned.test", "udp:192.0.2.7:5060"),
        ("sip:pinned.test.", "udp:192.0.2.7:5060"),
    ] {
        assert_eq!(found(&zone, uri).as_deref(), Ok(wanted), "{uri}");
    }
}

#[test]
fn nothing_is_guessed_where_a_domain_says_no_or_nobody_can_tell() {
    let zone = example();
    assert_eq!(found(&zone, "sip:refused.test;transport=udp"), Err(NONE));
    assert_eq!(found(&zone, "sip:nowhere.test"), Err(NONE));
    assert_eq!(found(&zone, "sip:dead.test:5060"), Err(Missing::Trouble));
    assert_eq!(
        found(&zone, "sip:half.test;transport=udp"),
        Err(Missing::Trouble)
    );
    // Not encrypted, though the URI wants it.
    assert_eq!(found(&zone, "sips:plain.test;transport=udp"), Err(NONE));
}

#[test]
fn a_target_that_nobody_can_tell_of_does_not_hide_the_others() {
    let mut zone = example();
    zone.srv.insert(
        "_sip._udp.srv.test",
        vec![srv(1, "dead.test"), srv(2, "b.example.com")],
    );
    assert_eq!(
        found(&zone, "sip:srv.test").as_deref(),
        Ok("udp:192.0.2.2:5070")
    );
}

#[test]
fn a_domain_with_too_many_targets_is_cut_short() {
    let mut zone = example();
    zone.srv
        .insert("_sip._udp.srv.test", vec![srv(1, "b.example.com"); 1_000]);
    let hops = found(&zone, "sip:srv.test").unwrap();
    assert_eq!(hops.split(' ').count(), TARGETS);
}
