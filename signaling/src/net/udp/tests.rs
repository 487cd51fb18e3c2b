use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::config::Transport;
use tokio::{net::UdpSocket, sync::mpsc, time::timeout};
use tokio_util::sync::DropGuard;

use super::*;
use crate::{
    defence::Defence,
    metrics::Metrics,
    net::{Arrival, Datagram, Inbox, Queued, lanes},
    vitals::Vitals,
};

struct Bed {
    group: Group,
    dispatcher: Dispatcher,
    metrics: Arc<Metrics>,
    inbox: Inbox,
    datagrams: mpsc::UnboundedReceiver<Datagram>,
    vitals: Vitals,
    stop: DropGuard,
}

struct Recorder(mpsc::UnboundedSender<Datagram>);

impl Work for Recorder {
    fn datagram(&self, datagram: Queued<Datagram>) {
        assert_ne!(datagram.arrival.bytes, "panic");
        drop(self.0.send(datagram.arrival));
    }
}

/// A node's sockets, each read in a thread of its own.
fn bed(address: &str, count: usize) -> Bed {
    bed_of(bind(address.parse().unwrap(), count).unwrap())
}

fn bed_of(group: Group) -> Bed {
    let metrics = Arc::new(Metrics::new().unwrap());
    let (worker, inbox) = lanes();
    let (config, t1) = (
        control::config::Defence::default(),
        Duration::from_millis(500),
    );
    let defence = Arc::new(Defence::new(&config, t1, Instant::now()));
    let dispatcher = Dispatcher::new(vec![worker], defence, metrics.clone());
    let (work, datagrams) = mpsc::unbounded_channel();
    let vitals = Vitals::default();
    let shared = Arc::new(Shared {
        work: Arc::new(Recorder(work)),
        dispatcher: dispatcher.clone(),
        metrics: metrics.clone(),
        stop: vitals.stop.clone(),
    });
    group.read(&shared, &vitals).unwrap();
    Bed {
        group,
        dispatcher,
        metrics,
        inbox,
        datagrams,
        stop: vitals.stop.clone().drop_guard(),
        vitals,
    }
}

impl Bed {
    fn send(&self, payload: &[u8], flow: &Flow, worker: usize) {
        self.group
            .send(payload, flow, worker, &self.dispatcher)
            .unwrap();
    }

    async fn arrival(&mut self) -> Arrival {
        let arrival = timeout(Duration::from_secs(20), self.inbox.next());
        arrival.await.unwrap().unwrap()
    }

    async fn datagram(&mut self) -> (Flow, Bytes) {
        let datagram = timeout(Duration::from_secs(20), self.datagrams.recv());
        let Datagram { flow, bytes, .. } = datagram.await.unwrap().unwrap();
        (flow, bytes)
    }
}

#[tokio::test]
async fn what_came_before_the_start_is_thrown_away() {
    let group = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let peers: Vec<_> = (0..8)
        .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    // More than a batch of each, to both sockets.
    for peer in &peers {
        for _ in 0..40 {
            peer.send_to(b"stale", group.local).unwrap();
        }
    }
    let mut bed = bed_of(group);
    for peer in &peers {
        peer.send_to(b"fresh", bed.group.local).unwrap();
        assert_eq!(bed.datagram().await.1, "fresh");
    }
}

/// Or its peers would be heard no more, and nobody would know.
#[tokio::test]
async fn a_reader_that_panics_is_told() {
    let bed = bed("127.0.0.1:0", 1);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    peer.send_to(b"panic", bed.group.local).await.unwrap();
    let lost = timeout(Duration::from_secs(20), bed.vitals.lost());
    lost.await.unwrap();
}

async fn read(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let read = timeout(Duration::from_secs(20), peer.recv_from(&mut buffer));
    let (length, from) = read.await.unwrap().unwrap();
    (buffer[..length].to_vec(), from)
}

#[tokio::test]
async fn datagrams_arrive_keepalives_do_not_and_a_dead_port_is_told() {
    let mut bed = bed("127.0.0.1:0", 1);
    let local = bed.group.local;
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for keepalive in [&b"\r\n\r\n"[..], &[0; 4], &[]] {
        peer.send_to(keepalive, local).await.unwrap();
    }
    peer.send_to(b"hello", local).await.unwrap();
    let (flow, bytes) = bed.datagram().await;
    assert_eq!(bytes, "hello");
    assert_eq!(flow.remote, peer.local_addr().unwrap());

    let dead = peer.local_addr().unwrap();
    drop(peer);
    let flow = Flow::to(Transport::Udp, local, dead);
    bed.send(b"anyone?", &flow, 0);
    match bed.arrival().await {
        Arrival::Unreachable { remote, .. } => assert_eq!(remote, dead),
        other => panic!("{other:?}"),
    }
    let drops = bed.group.drops();
    assert_eq!((drops.len(), drops[0].count), (1, 0));
}

#[tokio::test]
async fn each_peer_keeps_its_order_over_many_sockets_and_all_sockets_are_used() {
    let mut bed = bed("127.0.0.1:0", 4);
    let local = bed.group.local;
    let mut peers = Vec::new();
    for _ in 0..32 {
        peers.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    }
    for number in 0..100u32 {
        for peer in &peers {
            let text = format!("{number} sip:a SIP/2.0\r\nCall-ID: c\r\n\r\n");
            peer.send_to(text.as_bytes(), local).await.unwrap();
        }
    }
    let mut last: HashMap<SocketAddr, u32> = HashMap::new();
    for _ in 0..3_200 {
        let (flow, bytes) = bed.datagram().await;
        let text = std::str::from_utf8(&bytes).unwrap();
        let number: u32 = text.split(' ').next().unwrap().parse().unwrap();
        let next = last.entry(flow.remote).or_default();
        assert_eq!(number, *next, "{}", flow.remote);
        *next += 1;
    }
    assert_eq!(last.len(), 32);
    assert_eq!(bed.group.drops().len(), 4);
}

#[test]
fn another_node_cannot_take_the_address_too() {
    let first = bind("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    let error = bind(first.local, 4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn answers_leave_by_the_address_that_was_written_to() {
    for (any, one, peer) in [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1:0"),
        ("0.0.0.0:0", "127.0.0.77", "127.0.0.1:0"),
        ("[::]:0", "::1", "[::1]:0"),
        ("[::1]:0", "::1", "[::1]:0"),
        ("0.0.0.0:0", "127.0.0.78", "127.0.0.1:0"),
    ] {
        let mut bed = bed(any, 2);
        let to = SocketAddr::new(one.parse().unwrap(), bed.group.local.port());
        let peer = UdpSocket::bind(peer).await.unwrap();
        peer.send_to(b"hello", to).await.unwrap();
        let (flow, _) = bed.datagram().await;
        let is_any = bed.group.local.ip().is_unspecified();
        assert_eq!(flow.source, is_any.then_some(to.ip()));
        assert_eq!(flow.remote, peer.local_addr().unwrap());
        bed.send(b"answer", &flow, 1);
        assert_eq!(read(&peer).await, (b"answer".to_vec(), to));
    }
}

/// Two datagrams may have one error: the second hears of the first's.
#[tokio::test]
async fn a_dead_port_is_told_again_also_where_the_next_datagram_hears_of_it_first() {
    let mut bed = bed("127.0.0.1:0", 1);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dead = peer.local_addr().unwrap();
    drop(peer);
    let flow = Flow::to(Transport::Udp, bed.group.local, dead);
    for _ in 0..5 {
        bed.send(b"anyone?", &flow, 0);
        bed.send(b"anyone?", &flow, 0);
        let arrival = bed.arrival().await;
        assert!(matches!(arrival, Arrival::Unreachable { remote, .. } if remote == dead));
    }
}

/// Whoever can write to us can send an ICMP error of any kind.
#[tokio::test]
async fn no_icmp_error_ends_a_reader() {
    let icmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
    let Ok(icmp) = icmp else {
        assert!(std::env::var_os("CI").is_none(), "raw sockets need root");
        return eprintln!("skipped: raw sockets need root");
    };
    let mut bed = bed("127.0.0.1:0", 1);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (local, remote) = (bed.group.local, peer.local_addr().unwrap());
    // Protocol unreachable, fragmentation needed, host unknown, host isolated, parameter problem.
    for (kind, code) in [(3, 2), (3, 4), (3, 7), (3, 8), (12, 0)] {
        let error = icmp_error(kind, code, local, remote);
        icmp.send_to(&error, &local.into()).unwrap();
        peer.send_to(b"still there?", local).await.unwrap();
        assert_eq!(bed.datagram().await.1, "still there?");
        icmp.send_to(&error, &local.into()).unwrap();
        bed.send(b"answer", &Flow::to(Transport::Udp, local, remote), 0);
        assert_eq!(read(&peer).await.0, b"answer");
    }
}

/// An ICMP error about a datagram from `from` to `to` (RFC 792).
fn icmp_error(kind: u8, code: u8, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let ip = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => panic!("{ip}"),
    };
    let mut error = vec![kind, code, 0, 0, 0, 0, 5, 0];
    error.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    error.extend([ip(from), ip(to)].concat());
    error.extend([from.port().to_be_bytes(), to.port().to_be_bytes()].concat());
    error.extend([0, 8, 0, 0]);
    let words = error.chunks(2);
    let words = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    error[2..4].copy_from_slice(&checksum.to_be_bytes());
    error
}

#[tokio::test]
async fn readers_end_when_they_are_told_to_though_nothing_comes() {
    let bed = bed("127.0.0.1:0", 4);
    drop(bed.stop);
    bed.vitals.tracker.close();
    let ended = timeout(Duration::from_secs(20), bed.vitals.tracker.wait());
    assert!(ended.await.is_ok());
}

#[tokio::test]
async fn stun_is_answered_on_the_same_port() {
    let mut bed = bed("127.0.0.1:0", 1);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([7; 12]);
    peer.send_to(&request, bed.group.local).await.unwrap();
    let (answer, from) = read(&peer).await;
    assert_eq!((from, &answer[..2]), (bed.group.local, &[1, 1][..]));
    assert_eq!(bed.metrics.stun.get(), 1);
    peer.send_to(b"next", bed.group.local).await.unwrap();
    assert_eq!(bed.datagram().await.1, "next");
}

#[tokio::test]
async fn more_than_a_batch_is_read_without_loss() {
    let mut bed = bed("127.0.0.1:0", 1);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let large = vec![b'x'; 60_000];
    for number in 0..200u32 {
        let text = format!("{number}");
        peer.send_to(text.as_bytes(), bed.group.local)
            .await
            .unwrap();
    }
    peer.send_to(&large, bed.group.local).await.unwrap();
    for number in 0..200u32 {
        assert_eq!(bed.datagram().await.1, number.to_string());
    }
    assert_eq!(bed.datagram().await.1, large);
}
