use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::{
    defence::Change,
    net::{
        Arrival,
        bed::{OPTIONS, PATIENCE, bed, read_some, transaction},
    },
};

#[tokio::test]
async fn messages_arrive_pings_are_answered_and_answers_use_the_connection() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_some(&mut peer).await, "\r\n");

    let (first, rest) = OPTIONS.split_at(50);
    peer.write_all(first.as_bytes()).await.unwrap();
    peer.write_all(rest.as_bytes()).await.unwrap();
    let flow = bed.message().await;
    assert_eq!(flow.remote, peer.local_addr().unwrap());

    bed.send(&flow, "answer");
    assert_eq!(read_some(&mut peer).await, "answer");
    // A request to the same peer needs no connection of its own.
    let request = Flow::to(Transport::Tcp, bed.local, flow.remote);
    bed.send(&request, "request");
    assert_eq!(read_some(&mut peer).await, "request");

    assert!(bed.shared.open.has(&flow));
    drop(peer);
    let arrival = bed.arrival().await;
    assert!(
        matches!(&arrival, Arrival::Closed { flow: closed } if closed.connection == flow.connection),
        "{arrival:?}"
    );
    assert!(!bed.shared.open.has(&flow));
    bed.stop.cancel();
}

#[tokio::test]
async fn clients_are_refused_until_the_node_listens() {
    let bound = bind(Transport::Tcp, "127.0.0.1:0".parse().unwrap()).unwrap();
    let local = bound.local;
    let refused = TcpStream::connect(local).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let listening = bound.listen().unwrap();
    TcpStream::connect(local).await.unwrap();
    // Nor is an address taken that somebody listens on.
    let taken = bind(Transport::Tcp, local).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    drop(listening);
}

#[tokio::test]
async fn who_wrote_to_a_connection_is_told_that_it_is_closed_as_is_who_read_from_it() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let flow = bed.message().await;
    let sender = Sender {
        worker: 5,
        transaction: None,
    };
    let text = Bytes::from_static(b"SIP/2.0 200 OK\r\n");
    bed.connections.send(&flow, text, sender);
    read_some(&mut peer).await;
    let table = bed.connections.table();
    let connection = flow.connection.and_then(|id| table.connections.get(&id));
    let concerned = connection.unwrap().concerned.clone();
    drop(table);
    assert_eq!(
        [0, 1, 5].map(|worker| concerned.has(worker)),
        [true, false, true]
    );
}

#[tokio::test]
async fn an_answer_whose_connection_is_gone_takes_a_new_one_to_sent_by() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let callback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let mut flow = bed.message().await;
    flow.reply_to = callback.local_addr().unwrap();
    drop(peer);
    assert!(matches!(bed.arrival().await, Arrival::Closed { .. }));

    bed.send(&flow, "answer");
    let (mut stream, _) = timeout(PATIENCE, callback.accept()).await.unwrap().unwrap();
    assert_eq!(read_some(&mut stream).await, "answer");
}

#[tokio::test]
async fn a_connection_stands_for_where_its_peer_listens_only_where_the_peer_asks_and_may() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let mut peers = Vec::new();
    for (via, shared) in [
        ("127.0.0.1:5999;alias", true),
        ("127.0.0.1:5998", false),
        ("192.0.2.1:5997;alias", false),
    ] {
        let mut peer = TcpStream::connect(bed.local).await.unwrap();
        let text = OPTIONS.replace("a.test", via);
        peer.write_all(text.as_bytes()).await.unwrap();
        let flow = bed.message().await;
        let place = via.split(';').next().unwrap().parse().unwrap();
        let target = Flow::to(Transport::Tcp, bed.local, place);
        let found = bed
            .connections
            .table()
            .candidates(&target, &bed.connections.0.parts);
        assert_eq!(found.contains(&flow.connection), shared, "{via}");
        peers.push(peer);
    }
}

#[tokio::test]
async fn what_cannot_be_framed_closes_the_connection() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let arrival = bed.arrival().await;
    assert!(
        matches!(
            arrival,
            Arrival::Framed {
                message: Err(_),
                ..
            }
        ),
        "{arrival:?}"
    );
    assert_eq!(read_some(&mut peer).await, "");
    bed.counted("tandem_sip_connections_closed_total{reason=\"garbage\"} 1")
        .await;
}

#[tokio::test]
async fn one_source_cannot_take_every_connection() {
    let bed = bed(Transport::Tcp, |sip| {
        sip.defence.allow.clear();
        sip.connections.per_source = 20;
    });
    let mut peers = Vec::new();
    for _ in 0..20 {
        peers.push(TcpStream::connect(bed.local).await.unwrap());
    }
    let mut refused = TcpStream::connect(bed.local).await.unwrap();
    assert_eq!(read_some(&mut refused).await, "");
    bed.counted("tandem_sip_connections_refused_total{limit=\"source\"} 1")
        .await;
    drop(peers.pop());
    bed.counted("tandem_sip_connections{transport=\"tcp\"} 19")
        .await;
    let mut next = TcpStream::connect(bed.local).await.unwrap();
    next.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_some(&mut next).await, "\r\n");
}

#[tokio::test]
async fn nor_can_one_network_whose_phones_make_room_as_they_become_known() {
    let bed = bed(Transport::Tcp, |sip| {
        sip.defence.allow.clear();
        sip.connections.per_source = 2;
    });
    let from = async |last: u8| {
        let socket = TcpSocket::new_v4().unwrap();
        let address: IpAddr = [127, 0, 0, last].into();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(bed.local).await.unwrap()
    };
    let mut peers = Vec::new();
    for nth in 0..16 {
        peers.push(from(100 + nth / 2).await);
    }
    let mut refused = from(200).await;
    assert_eq!(read_some(&mut refused).await, "");
    bed.counted("tandem_sip_connections_refused_total{limit=\"network\"} 1")
        .await;
    bed.counted("tandem_sip_connections{transport=\"tcp\"} 16")
        .await;
    bed.defence
        .remember(Instant::now(), [127, 0, 0, 100].into());
    let later = Instant::now() + RANKED;
    assert!(bed.connections.table().rank(later, |remote| {
        let defence = &bed.defence;
        defence.standing(Instant::now(), remote.ip())
    }));
    for _ in 0..2 {
        let mut next = from(200).await;
        next.write_all(b"\r\n\r\n").await.unwrap();
        assert_eq!(read_some(&mut next).await, "\r\n");
        peers.push(next);
    }
}

#[tokio::test]
async fn handshakes_are_bounded_in_number_and_time() {
    let authority = crate::net::bed::Authority::new();
    let files = authority.issue(&["a.test"]);
    let bed = bed(Transport::Tls, |sip| {
        sip.defence.allow.clear();
        sip.tls.certificates = vec![files];
        sip.connections.handshakes_per_source = 2;
        sip.connections.handshake_timeout = 1;
    });
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(bed.local).await.unwrap());
    }
    bed.counted("tandem_sip_handshakes 2").await;
    let mut refused = TcpStream::connect(bed.local).await.unwrap();
    assert_eq!(read_some(&mut refused).await, "");
    bed.counted("tandem_sip_connections_refused_total{limit=\"source-handshakes\"} 1")
        .await;
    bed.counted("tandem_sip_connections_closed_total{reason=\"slow-handshake\"} 2")
        .await;
    bed.counted("tandem_sip_handshakes 0").await;
}

#[tokio::test]
async fn slow_senders_are_cut_off_however_often_they_send_a_byte() {
    let bed = bed(Transport::Tcp, |sip| {
        sip.connections.message_timeout = 1;
        sip.connections.first_message_timeout = 2;
    });
    let began = Instant::now();
    let mut slow = TcpStream::connect(bed.local).await.unwrap();
    let mut mute = TcpStream::connect(bed.local).await.unwrap();
    let dribble = async {
        for byte in OPTIONS.as_bytes() {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody minded");
    };
    timeout(PATIENCE, dribble).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    bed.counted("tandem_sip_connections_closed_total{reason=\"slow-message\"} 1")
        .await;
    assert_eq!(read_some(&mut mute).await, "");
    bed.counted("tandem_sip_connections_closed_total{reason=\"no-message\"} 1")
        .await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off_and_its_memory_is_bounded() {
    let mut bed = bed(Transport::Tcp, |sip| sip.connections.write_timeout = 1);
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let flow = bed.message().await;
    let text: &'static str = "x".repeat(60_000).leak();
    // More than any socket buffer takes, and then more than the queue does.
    for _ in 0..400 {
        bed.send(&flow, text);
        tokio::task::yield_now().await;
        let table = bed.connections.table();
        let Some(connection) = flow.connection.and_then(|id| table.connections.get(&id)) else {
            break;
        };
        assert!(connection.queued.load(Acquire) <= QUEUED);
    }
    let page = async {
        loop {
            let text = bed.metrics.text();
            if text.contains("reason=\"overrun\"} 1") || text.contains("reason=\"stalled\"} 1") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, page).await.unwrap();
    bed.counted("tandem_sip_connections{transport=\"tcp\"} 0")
        .await;
}

#[tokio::test]
async fn what_is_no_sip_bans_its_source_and_a_ban_closes_what_is_open() {
    let mut bed = bed(Transport::Tcp, |sip| sip.defence.allow.clear());
    let mut open = TcpStream::connect(bed.local).await.unwrap();
    open.write_all(OPTIONS.as_bytes()).await.unwrap();
    bed.message().await;
    for _ in 0..4 {
        let mut peer = TcpStream::connect(bed.local).await.unwrap();
        let garbage = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        peer.write_all(garbage).await.unwrap();
        assert!(matches!(bed.arrival().await, Arrival::Framed { .. }));
        assert_eq!(read_some(&mut peer).await, "");
    }
    timeout(PATIENCE, bed.defence.changed()).await.unwrap();
    let changes = bed.defence.take_changes().unwrap();
    let [Change::Banned(block, _)] = &changes[..] else {
        panic!("{changes:?}");
    };
    bed.connections.close(|address| block.contains(address));
    assert_eq!(read_some(&mut open).await, "");
    let mut refused = TcpStream::connect(bed.local).await.unwrap();
    assert_eq!(read_some(&mut refused).await, "");
}

#[tokio::test]
async fn who_floods_over_a_connection_is_told_to_come_back_then_cut_off_then_banned() {
    let mut bed = bed(Transport::Tcp, |sip| sip.defence.allow.clear());
    let flood = OPTIONS.repeat(400);
    for nth in 1..=4 {
        let mut peer = TcpStream::connect(bed.local).await.unwrap();
        // What comes after the connection was closed finds nobody.
        drop(peer.write_all(flood.as_bytes()).await);
        let line = format!("tandem_sip_connections_closed_total{{reason=\"flooding\"}} {nth}");
        bed.counted(&line).await;
    }
    let mut batch = Vec::new();
    assert!(bed.arrived.recv(&mut batch).await);
    while batch.len() < 400 {
        assert!(bed.arrived.recv(&mut batch).await);
    }
    // As many as the bucket holds are worked on, and the next ones told by 503 when to come back.
    assert!(batch.iter().take(100).all(|queued| !queued.is_crowded));
    assert!(batch.iter().skip(150).any(|queued| queued.is_crowded));
    let mut refused = TcpStream::connect(bed.local).await.unwrap();
    assert_eq!(read_some(&mut refused).await, "");
    assert_eq!(bed.defence.active(), 1);
}

/// What a peer gets until the connection ends.
async fn read_all(peer: &mut TcpStream) -> String {
    let mut all = String::new();
    loop {
        match read_some(peer).await {
            some if some.is_empty() => return all,
            some => all += &some,
        }
    }
}

#[tokio::test]
async fn a_peer_that_says_no_more_is_told_what_it_is_owed() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    let two = OPTIONS.repeat(2);
    peer.write_all(two.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    bed.message().await;
    let flow = bed.message().await;
    bed.send(&flow, "SIP/2.0 100 Trying\r\n");
    bed.send(&flow, "SIP/2.0 200 OK\r\n");
    assert!(read_some(&mut peer).await.starts_with("SIP/2.0 100"));
    bed.send(&flow, "SIP/2.0 404 Not Found\r\n");
    assert!(read_all(&mut peer).await.ends_with("404 Not Found\r\n"));
    assert!(matches!(bed.arrival().await, Arrival::Closed { .. }));

    // Nothing is owed to who has only acknowledged.
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    let ack = OPTIONS.replace("OPTIONS", "ACK");
    peer.write_all(ack.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    bed.message().await;
    let soon = timeout(connection::LINGER / 2, bed.arrival()).await;
    assert!(matches!(soon, Ok(Arrival::Closed { .. })), "{soon:?}");
}

#[tokio::test]
async fn a_peer_that_says_no_more_is_not_waited_for_for_ever() {
    let mut bed = bed(Transport::Tcp, |sip| {
        sip.defence.allow.clear();
        sip.connections.per_source = 1;
    });
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    let flow = bed.message().await;
    // It counts as long as it is there.
    let mut refused = TcpStream::connect(bed.local).await.unwrap();
    assert_eq!(read_some(&mut refused).await, "");
    bed.send(&flow, "SIP/2.0 100 Trying\r\n");
    assert_eq!(read_all(&mut peer).await, "SIP/2.0 100 Trying\r\n");
    bed.counted("tandem_sip_connections_closed_total{reason=\"peer\"} 1")
        .await;
    let mut next = TcpStream::connect(bed.local).await.unwrap();
    next.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_some(&mut next).await, "\r\n");
}

#[tokio::test]
async fn a_node_that_stops_waits_for_no_answer_to_a_peer_that_says_no_more() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    let flow = bed.message().await;
    // By then the node has read the end.
    tokio::time::sleep(Duration::from_millis(50)).await;
    bed.send(&flow, "SIP/2.0 100 Trying\r\n");
    bed.stop.cancel();
    assert_eq!(read_all(&mut peer).await, "SIP/2.0 100 Trying\r\n");
    bed.counted("tandem_sip_connections_closed_total{reason=\"stop\"} 1")
        .await;
}

#[tokio::test]
async fn what_is_being_written_when_a_connection_is_closed_is_told_as_not_delivered() {
    let mut bed = bed(Transport::Tcp, |_| {});
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let flow = bed.message().await;
    let sender = Sender {
        worker: 0,
        transaction: Some(transaction()),
    };
    let text = Bytes::from("x".repeat(60_000));
    let id = flow.connection.unwrap();
    let queued = bed.connections.table().connections[&id].queued.clone();
    // The peer does not read: at last all of its buffers are full, and what comes then waits.
    while queued.load(Acquire) < 10 * text.len() {
        bed.connections.send(&flow, text.clone(), sender);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bed.connections.close(|address| address.is_loopback());
    let mut failed = 0;
    loop {
        match bed.arrival().await {
            Arrival::Failed { .. } => failed += 1,
            Arrival::Closed { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    // What was not written is still counted.
    assert_eq!(failed, queued.load(Acquire) / text.len());
    assert!(failed > 0);
}
