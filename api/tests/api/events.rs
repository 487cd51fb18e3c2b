//! `/v1/events`, both ways.

use std::time::Duration;

use control::signal::{BanInfo, Event};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::CloseFrame},
};

use crate::bed::{Bed, KEY, call};

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(60);

/// The beginning of an answer whose body goes on.
pub(crate) async fn listen(bed: &Bed, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    let request =
        format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// What was said until `word` came.
pub(crate) async fn hear(stream: &mut TcpStream, word: &str) -> String {
    let (mut heard, mut part) = (String::new(), [0; 4096]);
    while !heard.contains(word) {
        let read = timeout(SOON, stream.read(&mut part)).await;
        let read = read.expect("it comes in time").unwrap();
        assert_ne!(read, 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    heard
}

fn ended() -> Event {
    Event::Ended {
        id: call(1).id,
        tenant: call(1).tenant,
        status: 200,
        reason: "OK".into(),
    }
}

#[tokio::test]
async fn events_are_told_as_they_happen_and_again_to_who_comes_back() {
    let bed = Bed::start().await;
    let mut first = listen(&bed, "").await;
    let head = hear(&mut first, "\r\n\r\n").await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    bed.until_events_are_wanted().await;
    bed.tell(Event::Call(call(1)));
    let heard = hear(&mut first, "\"answered\"").await;
    assert!(heard.contains("event: call.updated"), "{heard}");
    let id = heard.split("id: ").nth(1).unwrap();
    let id = id.split('\n').next().unwrap().to_owned();
    drop(first);
    bed.tell(ended());

    let mut again = listen(&bed, &format!("Last-Event-ID: {id}\r\n")).await;
    let heard = hear(&mut again, "call.ended").await;
    assert!(heard.contains(&call(1).id), "{heard}");
    assert!(!heard.contains("call.updated"), "{heard}");
    let mut stranger = listen(&bed, "Last-Event-ID: 0-1\r\n").await;
    hear(&mut stranger, "event: missed").await;
    // Who listens does not keep the node from stopping.
    timeout(SOON, bed.stop()).await.expect("it stops");
}

type Socket = WebSocketStream<TcpStream>;

pub(crate) async fn socket(bed: &Bed, query: &str, key: &str) -> Result<Socket, Error> {
    let stream = TcpStream::connect(bed.address).await.unwrap();
    let url = format!("ws://{}/v1/events{query}", bed.address);
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    Ok(client_async(request, stream).await?.0)
}

pub(crate) async fn next(socket: &mut Socket) -> serde_json::Value {
    loop {
        let message = timeout(SOON, socket.next())
            .await
            .expect("it comes in time");
        if let Message::Text(text) = message.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// The reason of the close that ends what is told; a machine under load may have been slow enough for a ping.
async fn farewell(socket: &mut Socket) -> String {
    loop {
        let message = timeout(SOON, socket.next()).await;
        match message.expect("it ends in time") {
            Some(Ok(Message::Close(Some(CloseFrame { reason, .. })))) => return reason.to_string(),
            other => assert!(matches!(other, Some(Ok(Message::Ping(_)))), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_websocket_tells_what_is_wanted_and_goes_on_where_it_was() {
    let bed = Bed::start().await;
    let mut first = socket(&bed, "?types=ban,call.ended", KEY).await.unwrap();
    bed.until_events_are_wanted().await;
    bed.tell(Event::Call(call(1)));
    bed.tell(ended());
    let heard = next(&mut first).await;
    assert_eq!(heard["type"], "call.ended");
    assert_eq!(heard["call_id"], call(1).id);
    let id = heard["id"].as_str().unwrap().to_owned();
    // What a client says is of no interest, and does no harm.
    first.send(Message::Text("hello".into())).await.unwrap();
    drop(first);
    bed.tell(Event::Banned(BanInfo {
        source: "192.0.2.7".into(),
        reason: "wrong-password".into(),
        words: String::new(),
        age_s: 0,
        left_s: 3600,
        hits: 0,
    }));

    let mut again = socket(&bed, &format!("?after={id}"), KEY).await.unwrap();
    let heard = next(&mut again).await;
    assert_eq!(heard["type"], "ban.added");
    assert_eq!(heard["ban"]["source"], "192.0.2.7");
    bed.stop().await;
    assert_eq!(farewell(&mut again).await, "the node is being stopped");
}

#[tokio::test]
async fn a_websocket_is_refused_as_any_request_is() {
    let bed = Bed::start().await;
    for (query, key, status) in [
        ("", "no-such-key", 401),
        ("?types=call.began", KEY, 400),
        ("?kinds=call", KEY, 400),
    ] {
        let error = socket(&bed, query, key).await.unwrap_err();
        let Error::Http(answer) = error else {
            panic!("{error}");
        };
        assert_eq!(answer.status(), status, "{query}");
    }
    let mut odd = listen(&bed, "Upgrade: websocket\r\nConnection: upgrade\r\n").await;
    let refused = hear(&mut odd, "bad-header").await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    // Other protocols may be offered: none is taken.
    let mut offered = listen(&bed, "Upgrade: h2c\r\nConnection: upgrade\r\n").await;
    let head = hear(&mut offered, "\r\n\r\n").await;
    assert!(head.contains("text/event-stream"), "{head}");
}

#[tokio::test]
async fn what_a_key_opened_ends_with_it() {
    let bed = Bed::start().await;
    let body = json!({ "name": "of a test", "role": "viewer" });
    let made = bed.ask(KEY, "POST", "/v1/keys", Some(body)).await.json();
    let key = made["key"].as_str().unwrap();
    let mut socket = socket(&bed, "", key).await.unwrap();
    let mut lines = TcpStream::connect(bed.address).await.unwrap();
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    lines.write_all(request.as_bytes()).await.unwrap();
    hear(&mut lines, "\r\n\r\n").await;
    let place = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(bed.ask(KEY, "DELETE", &place, None).await.status, 204);
    let mut rest = String::new();
    let ended = timeout(LATER, lines.read_to_string(&mut rest)).await;
    ended.expect("it ends").unwrap();
    assert_eq!(farewell(&mut socket).await, "the key is not good any more");
    bed.stop().await;
}
