//! Against a name server of the tests' own, over UDP.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use control::config::Transport;
use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, AAAA, NAPTR, SRV},
    },
};
use tokio::net::UdpSocket as Socket;

use super::*;

/// A name server, and what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// It says nothing any more.
    silent: Arc<AtomicBool>,
}

impl Server {
    async fn start(records: Vec<Record>) -> Self {
        let socket = Socket::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            asked: Arc::default(),
            silent: Arc::default(),
        };
        let (asked, silent) = (server.asked.clone(), server.silent.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                asked.fetch_add(1, Relaxed);
                if !silent.load(Relaxed) {
                    let answer = answer(&buffer[..length], &records);
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        server
    }

    fn resolver(&self) -> Resolver {
        let ips = ["127.0.0.1", "::1"].map(|ip| ip.parse().unwrap());
        let served = [Transport::Udp, Transport::Tcp]
            .into_iter()
            .flat_map(|transport| ips.map(|ip| (transport, ip)));
        let metrics = Arc::new(Metrics::new().unwrap());
        Resolver::new(&[self.address], Served::new(served), metrics)
    }
}

fn answer(question: &[u8], records: &[Record]) -> Vec<u8> {
    let mut message = Message::from_vec(question).unwrap().into_response();
    let query = message.queries[0].clone();
    let fits = |record: &&Record| {
        record.name == *query.name() && record.record_type() == query.query_type()
    };
    let found: Vec<_> = records.iter().filter(fits).cloned().collect();
    if !records.iter().any(|record| record.name == *query.name()) {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    message.add_answers(found);
    message.to_vec().unwrap()
}

fn record(name: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
}

fn a(name: &str, ttl: u32, ip: &str) -> Record {
    record(name, ttl, RData::A(A(ip.parse().unwrap())))
}

fn srv(name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Record {
    let target = Name::from_ascii(target).unwrap();
    record(
        name,
        60,
        RData::SRV(SRV::new(priority, weight, port, target)),
    )
}

fn of(host: &str) -> Authority {
    Authority {
        transport: None,
        secure: false,
        host: host.to_owned(),
        port: None,
    }
}

fn shown(hops: &[Hop]) -> Vec<String> {
    hops.iter()
        .map(|hop| format!("{}:{}", hop.transport, hop.remote))
        .collect()
}

#[tokio::test]
async fn an_address_resolves_to_itself_and_shows_the_source() {
    let server = Server::start(Vec::new()).await;
    let resolver = server.resolver();
    let authority = Authority {
        transport: Some(Transport::Udp),
        port: Some(5070),
        ..of("127.0.0.1")
    };
    let hops = resolver.resolve(authority.clone()).await;
    let wanted = [Hop {
        transport: Transport::Udp,
        remote: "127.0.0.1:5070".parse().unwrap(),
        source: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }];
    assert_eq!(hops, wanted);
    assert_eq!(resolver.known(&authority).unwrap(), wanted);
    assert_eq!(server.asked.load(Relaxed), 0);
}

#[tokio::test]
async fn this_machines_own_table_goes_before_the_servers() {
    let server = Server::start(Vec::new()).await;
    let hops = server.resolver().resolve(of("localhost")).await;
    assert!(
        shown(&hops).contains(&"udp:127.0.0.1:5060".to_owned()),
        "{hops:?}"
    );
    assert_eq!(server.asked.load(Relaxed), 0);
}

#[tokio::test]
async fn naptr_leads_to_srv_and_srv_to_addresses() {
    let naptr = |preference, services: &str, replacement: &str| {
        let replacement = Name::from_ascii(replacement).unwrap();
        let text = |text: &str| text.as_bytes().into();
        let data = NAPTR::new(
            10,
            preference,
            text("S"),
            text(services),
            text(""),
            replacement,
        );
        record("carrier.test.", 60, RData::NAPTR(data))
    };
    let v6 = AAAA("2001:db8::2".parse().unwrap());
    let server = Server::start(vec![
        naptr(2, "SIP+D2U", "_sip._udp.carrier.test."),
        naptr(1, "SIP+D2T", "_sip._tcp.carrier.test."),
        srv("_sip._udp.carrier.test.", 1, 1, 5060, "no.carrier.test."),
        srv("_sip._tcp.carrier.test.", 20, 1, 5080, "b.carrier.test."),
        srv("_sip._tcp.carrier.test.", 10, 1, 5070, "a.carrier.test."),
        a("a.carrier.test.", 60, "192.0.2.1"),
        a("b.carrier.test.", 60, "192.0.2.2"),
        record("b.carrier.test.", 60, RData::AAAA(v6)),
    ])
    .await;
    let hops = server.resolver().resolve(of("Carrier.test")).await;
    assert_eq!(
        shown(&hops),
        [
            "tcp:192.0.2.1:5070",
            "tcp:192.0.2.2:5080",
            "tcp:[2001:db8::2]:5080"
        ]
    );
}

#[tokio::test]
async fn one_search_serves_all_who_wait_and_is_remembered() {
    let server = Server::start(vec![
        srv("_sip._udp.carrier.test.", 1, 30, 5060, "a.carrier.test."),
        srv("_sip._udp.carrier.test.", 1, 70, 5060, "b.carrier.test."),
        a("a.carrier.test.", 60, "192.0.2.1"),
        a("b.carrier.test.", 60, "192.0.2.2"),
    ])
    .await;
    let resolver = server.resolver();
    let all = (0..300).map(|_| resolver.resolve(of("carrier.test")));
    let all = futures_util::future::join_all(all).await;
    // NAPTR; SRV of UDP and TCP; A and AAAA of two hosts. A name is asked for as it stands first.
    let asked = server.asked.load(Relaxed);
    assert!(asked <= 7, "asked {asked} times");
    // Each has both hosts, in an order of its own.
    assert!(all.iter().all(|hops| hops.len() == 2));
    let first: Vec<_> = all.iter().map(|hops| hops[0].remote.to_string()).collect();
    let of_a = first
        .iter()
        .filter(|host| host.starts_with("192.0.2.1:"))
        .count();
    assert!((30..160).contains(&of_a), "{of_a} of 300 went to 30 %");
    assert!(resolver.known(&of("carrier.test")).is_some());
    assert_eq!(server.asked.load(Relaxed), asked);
}

#[tokio::test]
async fn what_is_not_there_is_remembered_too() {
    let server = Server::start(Vec::new()).await;
    let resolver = server.resolver();
    assert_eq!(resolver.resolve(of("nowhere.test")).await, []);
    let asked = server.asked.load(Relaxed);
    assert!(asked > 0);
    assert_eq!(resolver.resolve(of("nowhere.test")).await, []);
    assert_eq!(resolver.resolve(of("no such name")).await, []);
    assert_eq!(server.asked.load(Relaxed), asked);
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_patience_and_no_more() {
    let server = Server::start(Vec::new()).await;
    server.silent.store(true, Relaxed);
    let resolver = server.resolver();
    let began = Instant::now();
    assert_eq!(resolver.resolve(of("carrier.test")).await, []);
    let took = Instant::now() - began;
    assert!(took < 3 * PATIENCE, "{took:?}");
    // And that is believed for a while: nobody waits again.
    assert!(resolver.known(&of("carrier.test")).is_some());

    // However many names are asked for, so many searches run; the others fail at once.
    let names = (0..SEARCHES + 50).map(|n| resolver.resolve(of(&format!("n{n}.test"))));
    let mut searches = futures_util::future::join_all(names);
    let at_once = timeout(Duration::from_millis(500), &mut searches).await;
    assert!(at_once.is_err());
    assert_eq!(resolver.0.memory().searches.len(), SEARCHES);
    let page = resolver.0.metrics.text();
    assert!(
        page.contains("tandem_dns_searches_total{result=\"refused\"} 50"),
        "{page}"
    );
    assert!(searches.await.iter().all(Vec::is_empty));
    assert!(resolver.0.memory().searches.is_empty());
}

#[tokio::test]
async fn records_that_are_over_are_asked_for_again_and_used_while_nobody_answers() {
    let server = Server::start(vec![a("carrier.test.", 1, "192.0.2.1")]).await;
    let resolver = server.resolver();
    let authority = Authority {
        port: Some(5062),
        ..of("carrier.test")
    };
    assert_eq!(resolver.resolve(authority.clone()).await.len(), 1);
    let asked = server.asked.load(Relaxed);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(resolver.known(&authority).is_none());
    assert_eq!(resolver.resolve(authority.clone()).await.len(), 1);
    assert!(server.asked.load(Relaxed) > asked);

    server.silent.store(true, Relaxed);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(
        shown(&resolver.resolve(authority.clone()).await),
        ["udp:192.0.2.1:5062"]
    );
    assert!(resolver.known(&authority).is_some());
}

#[test]
fn the_memory_is_bounded() {
    let (mut memory, now) = (Memory::default(), Instant::now());
    for n in 0..NAMES + 10 {
        let entry = Entry {
            places: Places::default(),
            fresh: now + Duration::from_secs(n as u64),
            found: now,
        };
        memory.remember(of(&format!("n{n}.test")), entry);
    }
    assert_eq!(memory.names.len(), NAMES);
    assert!(!memory.names.contains_key(&of("n9.test")));
    assert!(memory.names.contains_key(&of("n10.test")));
}
