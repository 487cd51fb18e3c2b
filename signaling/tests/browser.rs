//! A browser of a user: registers over WebSocket, is called by its own connection, calls, and is gone
//! when its connection is.

#![expect(clippy::unwrap_used, reason = "a test may say it the short way")]

use std::{net::SocketAddr, time::Duration};

use control::{Client, Config, Endpoint};
use futures_util::{SinkExt as _, StreamExt as _};
use sip::{
    digest::{self, Answer, Challenge, Secret},
    message::{Message, Method},
};
use store::{CdrWriter, Store, WriterOptions};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, client::IntoClientRequest as _, http::HeaderValue},
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Browser {
    socket: WebSocketStream<TcpStream>,
    count: u32,
}

impl Browser {
    async fn open(node: SocketAddr) -> Self {
        let mut request = format!("ws://{node}/").into_client_request().unwrap();
        let protocol = HeaderValue::from_static("sip");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let stream = TcpStream::connect(node).await.unwrap();
        let (socket, _) = client_async(request, stream).await.unwrap();
        Self { socket, count: 0 }
    }

    async fn send(&mut self, text: impl Into<String>) {
        let message = tungstenite::Message::text(text.into());
        self.socket.send(message).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await.unwrap();
            if let tungstenite::Message::Text(text) = next.unwrap().unwrap() {
                return Message::parse(text.as_bytes().to_vec().into()).unwrap();
            }
        }
    }

    /// The next final response.
    async fn final_response(&mut self) -> Message {
        loop {
            let message = self.next().await;
            if message.status().is_some_and(|status| status >= 200) {
                return message;
            }
        }
    }

    /// Sends a request of alice's; with credentials where it is challenged.
    async fn ask(&mut self, method: &str, uri: &str, to: &str, rest: &str) -> Message {
        let id = format!("{method}-{}", self.count);
        let mut credentials = String::new();
        loop {
            self.count += 1;
            let count = self.count;
            self.send(format!(
                "{method} {uri} SIP/2.0\r\n\
                 Via: SIP/2.0/WS x7.invalid;branch=z9hG4bK{count}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@example.test>;tag=alice\r\nTo: <{to}>\r\n\
                 Call-ID: {id}\r\nCSeq: {count} {method}\r\n\
                 Contact: <sip:alice@x7.invalid;transport=ws>\r\n{credentials}{rest}\r\n"
            ))
            .await;
            let response = self.final_response().await;
            let status = response.status().unwrap();
            if !matches!(status, 401 | 407) || !credentials.is_empty() {
                return response;
            }
            let answer = Answer {
                username: "alice",
                secret: Secret::Password("secret"),
                realm: Some("example.test"),
                method,
                uri,
                body: b"",
                cnonce: "0a4f113b",
                nc: 1,
            };
            let (value, _) = digest::answer(&Challenge::of_response(&response), &answer).unwrap();
            let name = match status {
                401 => "Authorization",
                _ => "Proxy-Authorization",
            };
            credentials = format!("{name}: {value}\r\n");
        }
    }
}

async fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = vec![0; 65_536];
    let read = timeout(PATIENCE, socket.recv_from(&mut buffer));
    let (length, _) = read.await.unwrap().unwrap();
    Message::parse(buffer[..length].to_vec().into()).unwrap()
}

/// The next message of this kind; what was sent again meanwhile is passed over.
async fn receive_until(socket: &UdpSocket, wanted: impl Fn(&Message) -> bool) -> Message {
    loop {
        let message = receive(socket).await;
        if wanted(&message) {
            return message;
        }
    }
}

#[tokio::test]
async fn a_browser_registers_is_called_calls_and_is_gone_with_its_connection() {
    let carrier = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let place = carrier.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:0\", \"ws:127.0.0.1:0\"]\nworkers = 2\n\
         domains = [\"example.test\"]\n\
         [[users]]\nname = \"alice\"\npassword = \"secret\"\n\
         [[trunks]]\nname = \"all\"\nhosts = [\"{place}\"]\nallow = [\"127.0.0.2\"]\n\
         [[routes]]\nprefix = \"+1\"\ntrunks = [\"all\"]\nmedia = \"bypass\"\n"
    );
    let config = Config::parse(&text, []).unwrap().config;
    let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
    let (cdrs, writer) = CdrWriter::start(store.clone(), WriterOptions::default());
    let media = Client::connect(Endpoint::Unix(folder.path().join("media.sock")));
    let (listener, _control) = Endpoint::memory();
    let same = config.clone();
    let reread = Box::new(move || Ok(same.clone().into()));
    let running = signaling::start(
        &config,
        signaling::bind(&config).unwrap(),
        reread,
        media,
        store,
        cdrs,
        listener,
    )
    .await
    .unwrap();
    let listened = |name: &str| -> SocketAddr {
        let mut all = running.listen().iter();
        let found = all.find_map(|listen| listen.strip_prefix(name)).unwrap();
        found.parse().unwrap()
    };
    let (udp, ws) = (listened("udp:"), listened("ws:"));

    let mut browser = Browser::open(ws).await;
    let registered = browser
        .ask(
            "REGISTER",
            "sip:example.test",
            "sip:alice@example.test",
            "Expires: 600\r\n",
        )
        .await;
    assert_eq!(registered.status(), Some(200), "{registered:?}");
    assert!(registered.header("Contact").is_some());

    // A trunk's gateway asks for her: the request takes her connection, and the answer comes back.
    let gateway = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let from = gateway.local_addr().unwrap();
    let options = |id: &str| {
        format!(
            "OPTIONS sip:alice@example.test SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};branch=z9hG4bK{id};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:gw@{from}>;tag=gw\r\nTo: <sip:alice@example.test>\r\nCall-ID: {id}\r\n\
             CSeq: 1 OPTIONS\r\nContact: <sip:gw@{from}>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    gateway
        .send_to(options("o1").as_bytes(), udp)
        .await
        .unwrap();
    let asked = browser.next().await;
    assert_eq!(asked.method(), Some(&Method::Options));
    assert_eq!(
        asked.request_uri().unwrap().as_str(),
        "sip:alice@x7.invalid;transport=ws"
    );
    let ok = asked.respond(200).to_tag("alice").build().unwrap();
    browser
        .send(String::from_utf8(ok.as_bytes().to_vec()).unwrap())
        .await;
    let answered = receive_until(&gateway, |message| message.status().is_some()).await;
    assert_eq!(answered.status(), Some(200));

    // She calls out.
    let mut calling = Box::pin(browser.ask(
        "INVITE",
        "sip:+1555@example.test",
        "sip:+1555@example.test",
        "",
    ));
    let invite = tokio::select! {
        invite = receive_until(&carrier, |message| message.method() == Some(&Method::Invite)) => invite,
        response = &mut calling => panic!("{response:?}"),
    };
    assert!(invite.vias().count() == 2);
    let busy = invite.respond(486).to_tag("callee").build().unwrap();
    carrier.send_to(busy.as_bytes(), udp).await.unwrap();
    assert_eq!(calling.await.status(), Some(486));

    // With her connection she is gone.
    browser.socket.close(None).await.unwrap();
    drop(browser);
    let mut number = 1;
    let gone = async {
        loop {
            number += 1;
            let id = format!("o{number}");
            gateway.send_to(options(&id).as_bytes(), udp).await.unwrap();
            let wanted = |message: &Message| message.call_id().ok() == Some(id.as_str());
            let answer = receive_until(&gateway, wanted).await;
            if answer.status() == Some(480) {
                return;
            }
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    running.stop(PATIENCE).await;
    writer.stop(PATIENCE).await;
}
