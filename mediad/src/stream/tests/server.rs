//! A server of streams.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

pub(crate) struct Server<T> {
    pub(crate) socket: WebSocketStream<T>,
    /// What the client asked for.
    pub(crate) uri: String,
    pub(crate) signature: Option<String>,
    pub(crate) subprotocol: bool,
}

/// A listener, and its URL.
pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/media", listener.local_addr().expect("its address"));
    (listener, url)
}

pub(crate) async fn accept(listener: &TcpListener) -> Server<TcpStream> {
    let (tcp, _) = listener.accept().await.expect("a connection");
    shake_hands(tcp).await
}

pub(crate) async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(octets: T) -> Server<T> {
    let (mut uri, mut signature, mut subprotocol) = (String::new(), None, false);
    #[expect(
        clippy::result_large_err,
        reason = "the type is that of the callback's trait"
    )]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        uri = request.uri().to_string();
        let header = request.headers().get("X-Twilio-Signature");
        signature = header.map(|value| value.to_str().expect("text").to_owned());
        subprotocol = request.headers().contains_key("sec-websocket-protocol");
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(octets, look).await;
    Server {
        socket: socket.expect("a handshake"),
        uri,
        signature,
        subprotocol,
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    pub(crate) async fn message(&mut self) -> Message {
        let message = timeout(Duration::from_secs(20), self.socket.next()).await;
        message
            .expect("a message in time")
            .expect("a message")
            .expect("no error")
    }

    pub(crate) async fn json(&mut self) -> Value {
        let message = self.message().await;
        let text = message.to_text().expect("text");
        serde_json::from_str(text).unwrap_or_else(|error| unreachable!("{text:?}: {error}"))
    }

    /// The next message that is of this event.
    pub(crate) async fn event(&mut self, event: &str) -> Value {
        loop {
            let message = self.json().await;
            if message["event"] == event {
                return message;
            }
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("sent");
    }

    pub(crate) async fn mark(&mut self, name: &str) {
        self.send(&format!(r#"{{"event":"mark","mark":{{"name":"{name}"}}}}"#))
            .await;
    }

    pub(crate) async fn media(&mut self, octets: &[u8]) {
        use base64::Engine as _;
        let payload = base64::engine::general_purpose::STANDARD.encode(octets);
        self.send(&format!(
            r#"{{"event":"media","media":{{"payload":"{payload}"}}}}"#
        ))
        .await;
    }
}
