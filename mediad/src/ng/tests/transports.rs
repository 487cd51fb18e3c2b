//! The same over UDP, TCP, HTTP and WebSocket, in both encodings.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::bed::{Bed, Party};

const PING: &[u8] = b"c1 d7:command4:pinge";
const PONG: &[u8] = b"c1 d6:result4:ponge";

#[tokio::test]
async fn a_datagram_is_answered_in_its_encoding_and_again_for_its_cookie() {
    let bed = Bed::new().await;
    assert_eq!(bed.raw(PING).await.as_deref(), Some(PONG));
    let json = bed.raw(b"c2 {\"command\":\"ping\"}").await;
    assert_eq!(
        json.as_deref(),
        Some(b"c2 {\"result\":\"pong\"}".as_slice())
    );
    // The cookie was answered: whatever comes with it now has the same answer.
    let again = bed.raw(b"c2 {\"command\":\"no such\"}").await;
    assert_eq!(again, json);
    let unread = bed.raw(b"c3 {\"command\":").await.unwrap();
    assert!(
        unread.starts_with(b"c3 {\"error-reason\":\"Invalid NG data format"),
        "{unread:?}"
    );
    let unread = bed.raw(b"c4 xxx").await.unwrap();
    assert!(unread.starts_with(b"c4 d12:error-reason"), "{unread:?}");
}

#[tokio::test]
async fn a_connection_carries_messages_one_after_the_other() {
    let bed = Bed::new().await;
    let mut stream = TcpStream::connect(bed.addresses[1]).await.unwrap();
    let mut messages = PING.to_vec();
    messages.extend(b"c2 {\"command\":\"ping\"}\nc3 d7:comm");
    stream.write_all(&messages).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(b"and4:pinge").await.unwrap();
    let wanted = [PONG, b"c2 {\"result\":\"pong\"}", b"c3 d6:result4:ponge"].concat();
    let mut answers = vec![0; wanted.len()];
    stream.read_exact(&mut answers).await.unwrap();
    assert_eq!(answers, wanted);
    // What makes no sense ends it, and no other: once all before has its answer, and in words.
    stream
        .write_all(b"c5 d7:command4:pingec4 nonsense")
        .await
        .unwrap();
    let mut last = String::new();
    stream.read_to_string(&mut last).await.unwrap();
    let said = "c5 d6:result4:pongec4 d12:error-reason";
    assert!(
        last.starts_with(said) && last.contains("Invalid NG data format: "),
        "{last}"
    );
    let mut other = TcpStream::connect(bed.addresses[1]).await.unwrap();
    other.write_all(PING).await.unwrap();
    other.shutdown().await.unwrap();
    let mut answer = Vec::new();
    other.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, PONG);
}

/// Whoever hangs up or does not read harms nobody: what was begun is done to its end, and the call stays free for others.
#[tokio::test]
async fn a_client_that_hangs_up_or_does_not_read_holds_no_call() {
    let (bed, a) = (Bed::new().await, Party::new());
    let body = a.sdp("").replace("\r\n", "\\r\\n");
    // It resets the connection once the offer is read.
    for at in 0..5 {
        let mut stream = TcpStream::connect(bed.addresses[1]).await.unwrap();
        let offer = format!(
            "o{at} {{\"command\":\"offer\",\"call-id\":\"h{at}\",\"from-tag\":\"a\",\"sdp\":\"{body}\"}}"
        );
        stream.write_all(offer.as_bytes()).await.unwrap();
        stream.set_zero_linger().unwrap();
        for _ in 0..at {
            tokio::task::yield_now().await;
        }
        drop(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let list = bed.done("{\"command\":\"list\"}").await;
    let ids: Vec<_> = list[b"calls".as_slice()].texts().collect();
    assert_eq!(
        u64::try_from(ids.len()).unwrap(),
        bed.engine.status().sessions
    );
    for id in ids {
        let id = std::str::from_utf8(id).unwrap();
        bed.done(&format!("{{\"command\":\"delete\",\"call-id\":\"{id}\"}}"))
            .await;
    }
    assert_eq!(bed.engine.status().sessions, 0);

    // It asks much, and reads nothing.
    let mut deaf = TcpStream::connect(bed.addresses[1]).await.unwrap();
    bed.sdp("offer", "\"call-id\":\"c\",\"from-tag\":\"a\"", &a.sdp(""))
        .await;
    let pour = async {
        for number in 0_u64.. {
            let query = format!("q{number} {{\"command\":\"query\",\"call-id\":\"c\"}}");
            if deaf.write_all(query.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    // Until nothing more goes into the connection.
    tokio::time::timeout(Duration::from_secs(20), pour)
        .await
        .ok();
    let query = bed.raw(b"q {\"command\":\"query\",\"call-id\":\"c\"}");
    assert!(query.await.is_some(), "the call is locked");
}

#[tokio::test]
async fn a_copy_of_a_request_waits_for_the_first_ones_answer() {
    let (bed, a) = (Bed::new().await, Party::new());
    let body = a.sdp("").replace("\r\n", "\\r\\n");
    let offer = format!(
        "same {{\"command\":\"offer\",\"call-id\":\"c\",\"from-tag\":\"a\",\"sdp\":\"{body}\"}}"
    );
    // In one write, so that the second is read while the first is worked on.
    let mut stream = TcpStream::connect(bed.addresses[1]).await.unwrap();
    stream
        .write_all(format!("{offer}{offer}").as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    let (first, second) = answers.split_at(answers.len() / 2);
    assert_eq!(first, second);
    assert!(first.starts_with(b"same {") && bed.engine.status().sessions == 1);
}

async fn http(server: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let head = format!(
        "{head}\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(&[head.as_bytes(), body].concat())
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn http_has_messages_a_ping_and_metrics() {
    let bed = Bed::new().await;
    let server = bed.addresses[2];
    let kind = "\r\nContent-Type: application/x-rtpengine-ng";
    let answer = http(server, &format!("POST /ng HTTP/1.1{kind}"), PING).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nc1 d6:result4:ponge"),
        "{answer}"
    );
    assert!(
        answer.contains("content-type: application/x-rtpengine-ng"),
        "{answer}"
    );
    let plain = format!("POST /ng-plain HTTP/1.1{kind}");
    let answer = http(server, &plain, b"{\"command\":\"ping\"}").await;
    assert!(answer.ends_with("{\"result\":\"pong\"}"), "{answer}");
    assert!(
        http(server, "GET /ping HTTP/1.1", b"")
            .await
            .ends_with("pong\n")
    );
    let metrics = http(server, "GET /metrics HTTP/1.1", b"").await;
    assert!(
        metrics.contains("tandem_ng_requests_total{command=\"ping\",result=\"ok\"} 2"),
        "{metrics}"
    );
    assert!(
        http(server, "GET /ng HTTP/1.1", b"")
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        http(server, "GET /nope HTTP/1.1", b"")
            .await
            .starts_with("HTTP/1.1 404")
    );
    // A page in a browser on this machine may send these unasked.
    let page = http(
        server,
        "POST /ng HTTP/1.1\r\nContent-Type: text/plain",
        PING,
    )
    .await;
    assert!(page.starts_with("HTTP/1.1 415"), "{page}");
    let page = http(
        server,
        &format!("POST /ng HTTP/1.1\r\nOrigin: http://evil.test{kind}"),
        PING,
    )
    .await;
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");
    // Also one that has made its own name mean this machine.
    let page = http(
        server,
        &format!("POST /ng HTTP/1.1\r\nOrigin: http://{server}{kind}"),
        PING,
    )
    .await;
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");
    let long = http(
        server,
        &format!("POST /ng HTTP/1.1{kind}"),
        &vec![b'x'; 300 << 10],
    )
    .await;
    assert!(long.starts_with("HTTP/1.1 413"), "{long}");
}

#[tokio::test]
async fn a_websocket_carries_messages() {
    let bed = Bed::new().await;
    let server = bed.addresses[2];
    let open = async |protocol: Option<&'static str>, origin: Option<&'static str>| {
        let stream = TcpStream::connect(server).await.unwrap();
        let mut request = format!("ws://{server}/ng").into_client_request().unwrap();
        let headers = request.headers_mut();
        if let Some(protocol) = protocol {
            headers.insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert("Origin", origin.parse().unwrap());
        }
        client_async(request, stream).await
    };
    let (mut socket, _) = open(Some("ng.rtpengine.com"), None).await.unwrap();
    socket.send(Message::binary(PING)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(PONG));
    socket
        .send(Message::text("c2 {\"command\":\"ping\"}"))
        .await
        .unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::text("c2 {\"result\":\"pong\"}"));
    // What is no message is answered so, and the next one as ever.
    let nonsense = Message::text("{\"command\":\"ping\"}");
    socket.send(nonsense).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    let answer = answer.to_text().unwrap();
    let said = "{\"error-reason\":\"Invalid NG data format: a message has no cookie";
    assert!(answer.starts_with(said), "{answer}");
    socket.send(Message::binary(PING)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(PONG));
    assert!(open(None, None).await.is_err());
    assert!(
        open(Some("ng.rtpengine.com"), Some("http://evil.test"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn strangers_are_not_answered() {
    // This machine always is; another one would have to be listed.
    let bed = Bed::with("ng_allow = [\"192.0.2.0/24\"]\n").await;
    assert_eq!(bed.raw(PING).await.as_deref(), Some(PONG));
    let desk = |allow: &str| {
        let allow = allow.split(',').filter(|block| !block.is_empty());
        let media = control::config::Media {
            ng_allow: allow.map(|block| block.parse().unwrap()).collect(),
            ..Default::default()
        };
        let (_, endpoint) = control::Endpoint::memory();
        let opts = prometheus::Opts::new("x", "x");
        let requests = prometheus::IntCounterVec::new(opts, &["command", "result"]).unwrap();
        let front = super::super::front::Front::new(
            control::Client::connect(endpoint),
            tokio::sync::watch::channel(media).1,
            requests,
        );
        super::super::desk::Desk::new(front)
    };
    let listed = desk("192.0.2.0/24,2001:db8::/32");
    for (client, allowed) in [
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("2001:db8::1", true),
        ("127.0.0.1", true),
        ("192.0.3.7", false),
        ("2001:db9::1", false),
        ("::ffff:10.0.0.1", false),
    ] {
        assert_eq!(listed.allows(client.parse().unwrap()), allowed, "{client}");
    }
    assert!(desk("").allows("203.0.113.1".parse().unwrap()));
}

/// Who says half of what it wants, or nothing, has its place for a while only: by the clock of the server, which is put
/// forward here.
#[tokio::test]
async fn who_does_not_come_to_the_point_is_not_waited_for() {
    let bed = Bed::new().await;
    let [_, tcp, http] = bed.addresses;
    let upgrade = "GET /ng HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: ng.rtpengine.com\r\n\r\n\x02";
    let slow = [
        (tcp, ""),
        (tcp, "c1 d7:comm"),
        (http, ""),
        (http, "POST /ng HTTP/1.1\r\nHost: x\r\nConte"),
        (
            http,
            "POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\nc1 {",
        ),
        (http, upgrade),
    ];
    let mut streams = Vec::new();
    for (address, said) in slow {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // One that has asked may be silent.
    let mut quiet = TcpStream::connect(tcp).await.unwrap();
    quiet.write_all(PING).await.unwrap();
    let mut answer = vec![0; PONG.len()];
    quiet.read_exact(&mut answer).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    let mut ends = Vec::new();
    for stream in &mut streams {
        let mut said = Vec::new();
        // Whether in order or by a reset.
        drop(stream.read_to_end(&mut said).await);
        ends.push(String::from_utf8_lossy(&said).into_owned());
    }
    tokio::time::resume();
    assert!(ends[4].starts_with("HTTP/1.1 408"), "{ends:?}");
    assert!(ends[5].starts_with("HTTP/1.1 101"), "{ends:?}");
    quiet.write_all(PING).await.unwrap();
    quiet.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, PONG);
}
