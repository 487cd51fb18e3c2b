use std::{net::SocketAddr, sync::Arc, time::Duration};

use control::config::Voice;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request as Upgrade, Response as Reply},
    },
};
use voice::{
    call::{Action, Call, Direction, Entry, Request, RequestError, Response, Setup},
    form::Params,
    sid::{Kind, Sid},
    signature::sign,
    twiml::{Link, Method},
};

use super::*;
use crate::webhook::Client;

const TOKEN: &str = "0123456789abcdef";

/// What a new call says first: that it rings, and the question for its verbs.
fn requests(url: &str, call: u8) -> [Request; 2] {
    let setup = Setup {
        uuid: [call; 16],
        account: Sid::new(Kind::Account, [2; 16]),
        token: TOKEN.to_owned(),
        direction: Direction::Inbound,
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        caller_name: None,
        forwarded_from: None,
        extra: Params::new(),
        entry: Entry::Url(Link {
            url: url.to_owned(),
            method: Method::Post,
        }),
        fallback: None,
        status: None,
        api: "https://api.test/".to_owned(),
        started: std::time::SystemTime::UNIX_EPOCH,
        time_limit: Duration::from_secs(60),
        plain_streams: false,
        record: None,
    };
    let mut call = Call::new(setup, std::time::Instant::now());
    let mut asked = Vec::new();
    while let Some(action) = call.poll_action() {
        if let Action::Request(request) = action {
            asked.push(*request);
        }
    }
    let Ok(asked) = asked.try_into() else {
        unreachable!("it rings and asks")
    };
    asked
}

fn question(url: &str) -> Request {
    let [_, asked] = requests(url, 1);
    asked
}

fn client() -> Client {
    Client::trusting(RootCertStore::empty(), &Voice::default()).unwrap()
}

type Server = WebSocketStream<TcpStream>;

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, format!("ws://{at}/calls?v=1"))
}

/// A handshake, whose signature is that of the URL.
async fn accept(listener: &TcpListener, url: &str) -> Server {
    let (stream, _) = listener.accept().await.unwrap();
    let expected = sign(TOKEN, url, &Params::new());
    #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
    let check = |request: &Upgrade, reply: Reply| {
        assert_eq!(request.headers()["x-twilio-signature"], *expected);
        assert_eq!(request.uri().to_string(), "/calls?v=1");
        Ok(reply)
    };
    accept_hdr_async(stream, check).await.unwrap()
}

async fn hear(server: &mut Server) -> Value {
    loop {
        let message = timeout(Duration::from_secs(20), server.next()).await;
        if let Message::Text(text) = message.unwrap().unwrap().unwrap() {
            return serde_json::from_str(text.as_str()).unwrap();
        }
    }
}

async fn say(server: &mut Server, message: &Value) {
    let text = Message::text(message.to_string());
    server.send(text).await.unwrap();
}

fn ask(
    client: &Client,
    request: Request,
) -> tokio::task::JoinHandle<Result<Response, RequestError>> {
    let client = client.clone();
    tokio::spawn(async move { client.ask(request, false).await })
}

#[tokio::test]
async fn all_calls_share_a_socket_and_are_answered_in_any_order() {
    let (listener, url) = listen().await;
    let client = client();
    let [rings, first] = requests(&url, 1);
    let [_, second] = requests(&url, 2);
    let told = ask(&client, rings);
    let mut server = accept(&listener, &url).await;
    assert_eq!(told.await.unwrap().unwrap().status, 204);
    let heard = hear(&mut server).await;
    assert_eq!(heard["type"], "call.ringing");
    assert_eq!(heard["id"], Value::Null);

    let (first, second) = (ask(&client, first), ask(&client, second));
    let messages = [hear(&mut server).await, hear(&mut server).await];
    assert_ne!(messages[0]["id"], messages[1]["id"]);
    for message in messages.iter().rev() {
        assert_eq!(message["type"], "call.incoming");
        let verbs = json!([{"say": message["call"]["sid"]}]);
        say(&mut server, &json!({"id": message["id"], "verbs": verbs})).await;
    }
    for (asked, byte) in [(first, "01"), (second, "02")] {
        let response = asked.await.unwrap().unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.content_type.as_deref(), Some("application/json"));
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        let sid = answer["verbs"][0]["say"].as_str().unwrap();
        assert_eq!(sid, format!("CA{}", byte.repeat(16)));
    }
    // Nobody has opened a second one.
    let another = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(another.is_err());
}

#[tokio::test]
async fn what_is_wrong_is_said_and_may_be_said_again() {
    let (listener, url) = listen().await;
    let asked = ask(&client(), question(&url));
    let mut server = accept(&listener, &url).await;
    let id = hear(&mut server).await["id"].clone();
    for (text, expected) in [
        ("{", "this is not JSON"),
        (r#"{"id": "nobody", "verbs": []}"#, "no message of this id"),
        (r#"{"type": "call.dance"}"#, "is no type of message"),
        (
            r#"{"type": "call.hangup", "call": "CA1"}"#,
            "the node is not ready",
        ),
    ] {
        server.send(Message::text(text)).await.unwrap();
        let reply = hear(&mut server).await;
        assert_eq!(reply["type"], "error");
        let message = reply["message"].as_str().unwrap();
        assert!(message.contains(expected), "{text}: {message}");
    }
    say(&mut server, &json!({"id": id, "verbs": "hangup"})).await;
    let reply = hear(&mut server).await;
    assert_eq!(reply["id"], id);
    assert!(
        reply["message"]
            .as_str()
            .unwrap()
            .contains("no list of verbs")
    );
    server.send(Message::binary(vec![0; 10])).await.unwrap();
    assert_eq!(hear(&mut server).await["type"], "error");
    say(&mut server, &json!({"id": id, "verbs": ["hangup"]})).await;
    assert_eq!(asked.await.unwrap().unwrap().status, 200);
    // It has been answered.
    say(&mut server, &json!({"id": id, "verbs": ["hangup"]})).await;
    assert_eq!(hear(&mut server).await["id"], id);
}

#[tokio::test]
async fn a_socket_that_is_lost_fails_what_waits_and_is_opened_again() {
    let (listener, url) = listen().await;
    let client = client();
    let asked = ask(&client, question(&url));
    let mut server = accept(&listener, &url).await;
    hear(&mut server).await;
    drop(server);
    assert_eq!(asked.await.unwrap(), Err(RequestError::Connect));

    let asked = ask(&client, question(&url));
    let mut server = accept(&listener, &url).await;
    let id = hear(&mut server).await["id"].clone();
    let much = "x".repeat((1 << 20) + 1);
    server.send(Message::text(much)).await.unwrap();
    let reply = hear(&mut server).await;
    let message = reply["message"].as_str().unwrap();
    assert!(message.contains("1048576 octets"), "{message}");
    assert_eq!(asked.await.unwrap(), Err(RequestError::Connect), "{id}");

    let asked = ask(&client, question(&url));
    let mut server = accept(&listener, &url).await;
    let again = hear(&mut server).await["id"].clone();
    assert_eq!(again, id, "what is said again has the same id");
    say(&mut server, &json!({"id": id, "verbs": []})).await;
    assert_eq!(asked.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn nobody_there_is_as_a_webhook_that_is_not() {
    let client = client();
    let (listener, url) = listen().await;
    drop(listener);
    let start = Instant::now();
    for _ in 0..2 {
        let result = client.ask(question(&url), false).await;
        assert_eq!(result, Err(RequestError::Connect));
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );

    // Another status than 101.
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let reply = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            let mut head = [0; 2048];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, reply).await;
        }
    });
    let result = client.ask(question(&url), false).await;
    assert_eq!(result.unwrap().status, 403);

    // A tenant's socket is at a public address, and what is said in the clear is not.
    let (_listener, url) = listen().await;
    let result = client.ask(question(&url), true).await;
    assert_eq!(result, Err(RequestError::Refused));
    let result = client.ask(question("ws://8.8.8.8/calls"), false).await;
    assert_eq!(result, Err(RequestError::Refused));
}

#[tokio::test]
async fn who_does_not_answer_or_read_keeps_nobody_waiting() {
    let (listener, url) = listen().await;
    let client = client();
    let asked = ask(&client, question(&format!("{url}#rt=200")));
    // It reads nothing from here on.
    let _server = accept(&listener, &url).await;
    assert_eq!(asked.await.unwrap(), Err(RequestError::Timeout));

    let start = Instant::now();
    let mut told = 0;
    let refused = loop {
        let [mut rings, _] = requests(&url, 1);
        rings.body = Some("x".repeat(20_000));
        match client.ask(rings, false).await {
            Ok(response) => assert_eq!(response.status, 204),
            Err(error) => break error,
        }
        told += 1;
        assert!(told < 10_000, "its queue has no end");
        tokio::task::yield_now().await;
    };
    assert_eq!(refused, RequestError::Refused);
    assert!(told >= MOST_WAITING, "{told}");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn the_application_orders_and_is_told_what_came_of_it() {
    let (listener, url) = listen().await;
    let client = client();
    let (told, mut ordered) = mpsc::unbounded_channel();
    client.set_orders(Arc::new(move |place, order| {
        told.send((place, order.clone())).unwrap();
        Box::pin(async move {
            match order.call() {
                Some("CA1") => Ok("CA1".to_owned()),
                Some(_) => Err("there is no such call".to_owned()),
                None => Ok("CA2".to_owned()),
            }
        })
    }));
    // One that is configured is opened though nobody calls.
    let place = Place {
        url: url.clone(),
        account: "AC1".to_owned(),
        signature: sign(TOKEN, &url, &Params::new()),
        public: false,
    };
    client.keep_open([place.clone()].into());
    let mut server = accept(&listener, &url).await;
    for (message, reply) in [
        (
            json!({"type": "call.hangup", "id": 7, "call": "CA1"}),
            json!({"type": "ok", "id": "7", "call": "CA1"}),
        ),
        (
            json!({"type": "call.update", "id": "8", "call": "CA9", "verbs": ["hangup"]}),
            json!({"type": "error", "id": "8", "message": "there is no such call"}),
        ),
        (
            json!({"type": "call.create", "from": "+1 (555) 010-0", "to": "client:alice"}),
            json!({"type": "ok", "id": null, "call": "CA2"}),
        ),
    ] {
        say(&mut server, &message).await;
        assert_eq!(hear(&mut server).await, reply);
        let (by, _) = ordered.recv().await.unwrap();
        assert_eq!(by, place);
    }
}

#[tokio::test]
async fn orders_of_a_socket_are_done_one_after_the_other() {
    let (listener, url) = listen().await;
    let client = client();
    client.set_orders(Arc::new(|_, order| {
        Box::pin(async move {
            let call = order.call().unwrap_or_default().to_owned();
            // The first takes longer.
            let ms = if call == "CA1" { 100 } else { 0 };
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(call)
        })
    }));
    let place = Place {
        url: url.clone(),
        account: "AC1".to_owned(),
        signature: sign(TOKEN, &url, &Params::new()),
        public: false,
    };
    client.keep_open([place].into());
    let mut server = accept(&listener, &url).await;
    for call in ["CA1", "CA2"] {
        say(&mut server, &json!({"type": "call.hangup", "call": call})).await;
    }
    for call in ["CA1", "CA2"] {
        assert_eq!(hear(&mut server).await["call"], call);
    }
}

#[tokio::test]
async fn who_orders_too_much_is_told_to_wait() {
    let (listener, url) = listen().await;
    let client = client();
    client.set_orders(Arc::new(|_, order| {
        Box::pin(async move { Ok(order.call().unwrap_or_default().to_owned()) })
    }));
    let place = Place {
        url: url.clone(),
        account: "AC1".to_owned(),
        signature: sign(TOKEN, &url, &Params::new()),
        public: false,
    };
    client.keep_open([place].into());
    let mut server = accept(&listener, &url).await;
    let order = json!({"type": "call.hangup", "id": 1, "call": "CA1"});
    // Some at once, fewer than may be under way: one by one a slow machine would not get to so many a second.
    let mut refused = None;
    for _ in 0..100 {
        for _ in 0..32 {
            say(&mut server, &order).await;
        }
        for _ in 0..32 {
            let reply = hear(&mut server).await;
            if reply["type"] == "error" {
                refused = Some(reply);
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused["id"], "1");
    let why = refused["message"].as_str().unwrap();
    assert!(why.contains("50 a second"), "{why}");
    // The socket stays, and takes orders again.
    tokio::time::sleep(Duration::from_millis(60)).await;
    say(&mut server, &order).await;
    assert_eq!(hear(&mut server).await["type"], "ok");
}

#[tokio::test]
async fn no_account_takes_all_sockets() {
    let (_listener, url) = listen().await;
    let client = client();
    let place = |number: usize, account: &str| Place {
        url: format!("{url}&n={number}"),
        account: account.to_owned(),
        signature: String::new(),
        public: false,
    };
    let open = |place: &Place| client.shared.sockets.handle(&client.shared, place).is_ok();
    for number in 0..MOST_OF_ACCOUNT {
        assert!(open(&place(number, "AC1")));
    }
    assert!(open(&place(0, "AC1")), "it is there");
    let another = place(MOST_OF_ACCOUNT, "AC1");
    assert!(!open(&another));
    assert!(open(&place(0, "AC2")));
    client.keep_open([another.clone()].into());
    assert!(client.shared.sockets.open.lock().contains_key(&another));
}

#[tokio::test]
async fn one_that_was_never_open_is_forgotten() {
    let (listener, url) = listen().await;
    drop(listener);
    let client = client();
    let result = client.ask(question(&url), false).await;
    assert_eq!(result, Err(RequestError::Connect));
    let forgotten = async {
        while !client.shared.sockets.open.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), forgotten).await.unwrap();
}

#[tokio::test]
async fn what_is_configured_no_more_is_forgotten_when_it_is_idle() {
    let (listener, url) = listen().await;
    let at: SocketAddr = listener.local_addr().unwrap();
    let client = client();
    let place = Place {
        url,
        account: "AC1".to_owned(),
        signature: String::new(),
        public: false,
    };
    client.keep_open([place.clone()].into());
    let sockets = &client.shared.sockets;
    let handle = sockets.handle(&client.shared, &place).unwrap();
    let long_ago = Instant::now().checked_sub(IDLE);
    let Some(long_ago) = long_ago else {
        return;
    };
    *handle.used.lock() = long_ago;
    assert!(!sockets.forget_if_idle(&place), "{at} is configured");
    client.keep_open(HashSet::new());
    assert!(sockets.forget_if_idle(&place));
    assert!(sockets.open.lock().is_empty());
}
