use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc::Receiver,
};

use super::*;
use crate::net::Arrival;

const PATIENCE: Duration = Duration::from_secs(5);
const OPTIONS: &str = "OPTIONS sip:node SIP/2.0\r\nVia: SIP/2.0/TCP a.test;branch=z9hG4bK1\r\n\
    From: <sip:a@a.test>;tag=1\r\nTo: <sip:node>\r\nCall-ID: c1\r\nCSeq: 1 OPTIONS\r\n\
    Content-Length: 0\r\n\r\n";

struct Bed {
    tcp: Tcp,
    local: SocketAddr,
    arrived: Receiver<Arrival>,
    stop: CancellationToken,
}

fn bed() -> Bed {
    let metrics = Arc::new(Metrics::new().unwrap());
    let (sender, arrived) = mpsc::channel(16);
    let dispatcher = Dispatcher::new(vec![sender], metrics.clone());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let tcp = Tcp::new(dispatcher, metrics, tracker.clone(), stop.clone());
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let local = bound.local;
    tracker.spawn(tcp.clone().accept(bound));
    Bed {
        tcp,
        local,
        arrived,
        stop,
    }
}

fn sender(worker: usize) -> Sender {
    Sender {
        worker,
        transaction: None,
    }
}

async fn message(bed: &mut Bed) -> Flow {
    match timeout(PATIENCE, bed.arrived.recv())
        .await
        .unwrap()
        .unwrap()
    {
        Arrival::Framed {
            flow,
            message: Ok(_),
        } => flow,
        other => panic!("{other:?}"),
    }
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 2048];
    let length = timeout(PATIENCE, stream.read(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test]
async fn messages_arrive_pings_are_answered_and_answers_use_the_connection() {
    let mut bed = bed();
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_some(&mut peer).await, "\r\n");

    let (first, rest) = OPTIONS.split_at(50);
    peer.write_all(first.as_bytes()).await.unwrap();
    peer.write_all(rest.as_bytes()).await.unwrap();
    let flow = message(&mut bed).await;
    assert_eq!(flow.remote, peer.local_addr().unwrap());

    bed.tcp
        .send(&flow, Bytes::from_static(b"answer"), sender(0));
    assert_eq!(read_some(&mut peer).await, "answer");
    // A request to the same peer needs no connection of its own.
    let request = Flow::to(Transport::Tcp, bed.local, flow.remote);
    bed.tcp
        .send(&request, Bytes::from_static(b"request"), sender(0));
    assert_eq!(read_some(&mut peer).await, "request");
    bed.stop.cancel();
}

#[tokio::test]
async fn an_answer_whose_connection_is_gone_takes_a_new_one_to_sent_by() {
    let mut bed = bed();
    let callback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let mut flow = message(&mut bed).await;
    flow.reply_to = callback.local_addr().unwrap();
    drop(peer);
    let gone = async {
        while bed
            .tcp
            .table()
            .connections
            .contains_key(&flow.connection.unwrap())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();

    bed.tcp
        .send(&flow, Bytes::from_static(b"answer"), sender(0));
    let (mut stream, _) = timeout(PATIENCE, callback.accept()).await.unwrap().unwrap();
    assert_eq!(read_some(&mut stream).await, "answer");
}

#[tokio::test]
async fn what_cannot_be_framed_closes_the_connection() {
    let mut bed = bed();
    let mut peer = TcpStream::connect(bed.local).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let arrival = timeout(PATIENCE, bed.arrived.recv())
        .await
        .unwrap()
        .unwrap();
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
}

#[tokio::test]
async fn one_source_cannot_take_every_connection() {
    let bed = bed();
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS_OF_ONE {
        peers.push(TcpStream::connect(bed.local).await.unwrap());
    }
    let mut refused = TcpStream::connect(bed.local).await.unwrap();
    assert_eq!(read_some(&mut refused).await, "");
    let count = bed.tcp.table().connections.len();
    assert_eq!(count, CONNECTIONS_OF_ONE);
}
