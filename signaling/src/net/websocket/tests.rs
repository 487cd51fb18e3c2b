use control::config::Transport;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_tungstenite::{
    client_async,
    tungstenite::{
        client::IntoClientRequest as _,
        http::HeaderValue,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::*;
use crate::net::{
    Arrival,
    bed::{Authority, Bed, OPTIONS, PATIENCE, bed, read_some},
};

/// A browser that offers `protocol`, its page from `origin`.
async fn browse<S>(
    stream: S,
    protocol: Option<&'static str>,
    origin: Option<&'static str>,
) -> Result<WebSocketStream<S>, tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://node.test/".into_client_request().unwrap();
    let headers = request.headers_mut();
    if let Some(protocol) = protocol {
        let value = HeaderValue::from_static(protocol);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    if let Some(origin) = origin {
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
    }
    let (socket, response) = timeout(PATIENCE, client_async(request, stream))
        .await
        .unwrap()?;
    assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], "sip");
    Ok(socket)
}

async fn next<S>(socket: &mut WebSocketStream<S>) -> Message
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(PATIENCE, socket.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

async fn connected(bed: &Bed) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(bed.local).await.unwrap();
    browse(stream, Some("sip"), None).await.unwrap()
}

#[tokio::test]
async fn messages_come_in_frames_of_either_kind_and_answers_go_back() {
    let mut bed = bed(Transport::Ws, |_| {});
    let mut peer = connected(&bed).await;
    peer.send(Message::text("\r\n\r\n")).await.unwrap();
    assert_eq!(next(&mut peer).await, Message::text("\r\n"));

    // A message in a frame needs no Content-Length.
    let bare = OPTIONS.replace("Content-Length: 0\r\n", "");
    let (first, second) = (Message::text(bare), Message::binary(OPTIONS.as_bytes()));
    for message in [first, second] {
        peer.send(message).await.unwrap();
        let flow = bed.message().await;
        assert_eq!(flow.transport, Transport::Ws);
        bed.send(&flow, "answer");
        assert_eq!(next(&mut peer).await, Message::text("answer"));
    }
    peer.send(Message::Ping(Bytes::from_static(b"x")))
        .await
        .unwrap();
    assert_eq!(
        next(&mut peer).await,
        Message::Pong(Bytes::from_static(b"x"))
    );

    let flow = {
        peer.send(Message::text(OPTIONS)).await.unwrap();
        bed.message().await
    };
    peer.close(None).await.unwrap();
    assert!(matches!(bed.arrival().await, Arrival::Closed { .. }));
    // Nobody can call a browser back.
    bed.connections.send(
        &flow,
        Bytes::from_static(b"late"),
        crate::net::Sender {
            worker: 0,
            transaction: Some(crate::net::bed::transaction()),
        },
    );
    assert!(matches!(bed.arrival().await, Arrival::Failed { .. }));
}

#[tokio::test]
async fn the_subprotocol_and_the_origin_are_looked_at() {
    let bed = bed(Transport::Ws, |sip| {
        sip.websocket.origins = vec!["https://phone.test".to_owned()];
    });
    for (protocol, origin, status) in [
        (Some("chat, SIP"), Some("https://PHONE.test"), 101),
        (Some("sip"), None, 101),
        (Some("sip"), Some("https://evil.test"), 403),
        (Some("chat"), Some("https://phone.test"), 400),
        (None, Some("https://phone.test"), 400),
    ] {
        let stream = TcpStream::connect(bed.local).await.unwrap();
        // tungstenite's client wants the subprotocol in the answer to be one of its own.
        let offered = if protocol == Some("chat, SIP") {
            Some("chat, sip")
        } else {
            protocol
        };
        match browse(stream, offered, origin).await {
            Ok(_) => assert_eq!(status, 101, "{protocol:?} {origin:?}"),
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), status),
            Err(error) => panic!("{protocol:?} {origin:?}: {error}"),
        }
    }
    bed.counted("tandem_sip_connections_closed_total{reason=\"handshake\"} 3")
        .await;
}

#[tokio::test]
async fn it_runs_over_tls_too() {
    let authority = Authority::new();
    let files = authority.issue(&["node.test"]);
    let mut bed = bed(Transport::Wss, |sip| sip.tls.certificates = vec![files]);
    let stream = authority
        .connect(bed.local, "node.test", None)
        .await
        .unwrap();
    let mut peer = browse(stream, Some("sip"), None).await.unwrap();
    peer.send(Message::text(OPTIONS)).await.unwrap();
    let flow = bed.message().await;
    assert_eq!(flow.transport, Transport::Wss);
    bed.send(&flow, "answer");
    assert_eq!(next(&mut peer).await, Message::text("answer"));
}

#[tokio::test]
async fn what_is_no_sip_or_too_large_ends_it() {
    for text in ["GET / HTTP/1.1\r\n\r\n".to_owned(), "x".repeat(100_000)] {
        let bed = bed(Transport::Ws, |_| {});
        let mut peer = connected(&bed).await;
        peer.send(Message::text(text)).await.unwrap();
        let gone = async { while let Some(Ok(_)) = peer.next().await {} };
        timeout(PATIENCE, gone).await.unwrap();
        bed.counted("tandem_sip_connections_closed_total{reason=\"garbage\"} 1")
            .await;
    }
}

#[tokio::test]
async fn what_is_no_sip_or_no_frame_bans_its_source_and_what_browsers_do_does_not() {
    let text = |text: String| Frame::message(text, OpCode::Data(Data::Text), true);
    let unknown = || Frame::message("", OpCode::Data(Data::Reserved(3)), true);
    for (frame, bans) in [
        (text("GET / HTTP/1.1\r\n\r\n".to_owned()), true),
        (text("x".to_owned()), true),
        (unknown(), true),
        (text("x".repeat(100_000)), false),
    ] {
        let bed = bed(Transport::Ws, |sip| sip.defence.allow.clear());
        for nth in 1..=4 {
            assert_eq!(bed.defence.active(), 0);
            let mut peer = connected(&bed).await;
            peer.send(Message::Frame(frame.clone())).await.unwrap();
            let line = "tandem_sip_connections_closed_total{reason=\"garbage\"}";
            bed.counted(&format!("{line} {nth}")).await;
        }
        assert_eq!(bed.defence.active(), usize::from(bans), "{frame:?}");
    }
    let bed = bed(Transport::Ws, |sip| sip.defence.allow.clear());
    for nth in 1..=20 {
        // The page was left: no leave is taken.
        drop(connected(&bed).await);
        let line = "tandem_sip_connections_closed_total{reason=\"peer\"}";
        bed.counted(&format!("{line} {nth}")).await;
    }
    assert_eq!(bed.defence.active(), 0);
}

#[tokio::test]
async fn a_browser_that_stalls_is_cut_off_and_its_memory_is_bounded() {
    let mut bed = bed(Transport::Ws, |sip| sip.connections.write_timeout = 1);
    let mut peer = connected(&bed).await;
    peer.send(Message::text(OPTIONS)).await.unwrap();
    let flow = bed.message().await;
    let text: &'static str = "x".repeat(60_000).leak();
    for _ in 0..400 {
        bed.send(&flow, text);
        tokio::task::yield_now().await;
    }
    bed.counted("tandem_sip_connections{transport=\"ws\"} 0")
        .await;
}

#[tokio::test]
async fn a_browser_that_answers_no_ping_is_gone() {
    let bed = bed(Transport::Ws, |sip| {
        // Below what the configuration takes, for the test's sake.
        sip.websocket.ping = 1;
        sip.connections.first_message_timeout = 600;
    });
    let mut alive = connected(&bed).await;
    let dead = connected(&bed).await;
    let listen = async { while let Some(Ok(_)) = alive.next().await {} };
    tokio::select! {
        () = listen => panic!("the one that answers was closed"),
        () = tokio::time::sleep(Duration::from_secs(2) + PONG + Duration::from_secs(1)) => {}
    }
    bed.counted("tandem_sip_connections{transport=\"ws\"} 1")
        .await;
    bed.counted("tandem_sip_connections_closed_total{reason=\"idle\"} 1")
        .await;
    drop(dead);
}

#[tokio::test]
async fn a_slow_upgrade_is_cut_off() {
    let bed = bed(Transport::Ws, |sip| sip.connections.handshake_timeout = 1);
    let mut slow = TcpStream::connect(bed.local).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n")
        .await
        .unwrap();
    assert_eq!(read_some(&mut slow).await, "");
    bed.counted("tandem_sip_connections_closed_total{reason=\"slow-handshake\"} 1")
        .await;
}
