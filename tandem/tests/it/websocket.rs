//! A WebSocket server that answers each message by a rule of its test.

use std::{
    collections::HashMap,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message, accept_hdr,
    handshake::server::{ErrorResponse, Request, Response},
};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a rule has done.
pub(crate) enum Reply {
    Say(Value),
    /// Close the connection.
    Close,
}

/// How the server was asked for a connection.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    pub(crate) uri: String,
    /// By their names in small letters.
    pub(crate) headers: HashMap<String, String>,
}

/// A server. Each connection gets a rule of its own, which is asked for the first word with `null`.
pub(crate) struct Server {
    pub(crate) port: u16,
    upgrades: Arc<Mutex<Vec<Upgrade>>>,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    pub(crate) fn start<R>(rule: impl Fn() -> R + Send + 'static) -> Self
    where
        R: FnMut(&Value) -> Vec<Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            upgrades: Arc::default(),
            messages: Arc::default(),
        };
        let (upgrades, messages) = (server.upgrades.clone(), server.messages.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (upgrades, messages, rule) = (upgrades.clone(), messages.clone(), rule());
                thread::spawn(move || serve(stream, &upgrades, &messages, rule));
            }
        });
        server
    }

    pub(crate) fn upgrade(&self) -> Upgrade {
        let upgrades = self.upgrades.lock().unwrap();
        assert_eq!(upgrades.len(), 1, "{upgrades:?}");
        upgrades[0].clone()
    }

    /// All messages so far, and `{"event": "closed", "code": 1000}` at a connection's end.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }

    /// The messages whose member has this value.
    pub(crate) fn of(&self, member: &str, value: &str) -> Vec<Value> {
        let mut messages = self.messages();
        messages.retain(|message| message[member] == value);
        messages
    }

    /// Waits until this is so.
    pub(crate) fn wait(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !so(self) {
            let messages = self.messages();
            let last = messages.iter().rev().take(3).collect::<Vec<_>>();
            assert!(start.elapsed() < PATIENCE, "no {what}: {last:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn serve<R: FnMut(&Value) -> Vec<Reply>>(
    stream: TcpStream,
    upgrades: &Mutex<Vec<Upgrade>>,
    messages: &Mutex<Vec<Value>>,
    mut rule: R,
) {
    stream.set_nodelay(true).unwrap();
    #[expect(
        clippy::result_large_err,
        reason = "the type is that of the callback's trait"
    )]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        upgrades.lock().unwrap().push(Upgrade {
            uri: request.uri().to_string(),
            headers: headers.collect(),
        });
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr(stream, look) else {
        return;
    };
    let (mut code, mut replies) = (None, rule(&Value::Null));
    loop {
        for reply in replies {
            let _ = match reply {
                Reply::Say(value) => socket.send(Message::text(value.to_string())),
                Reply::Close => socket.close(None),
            };
        }
        replies = match socket.read() {
            Ok(Message::Text(text)) => {
                let message = serde_json::from_str(&text).unwrap();
                let replies = rule(&message);
                messages.lock().unwrap().push(message);
                replies
            }
            Ok(Message::Close(frame)) => {
                code = frame.map(|frame| u16::from(frame.code));
                Vec::new()
            }
            Ok(_) => Vec::new(),
            Err(_) => break,
        };
    }
    let closed = json!({ "event": "closed", "code": code });
    messages.lock().unwrap().push(closed);
}

/// Audio to be played.
pub(crate) fn media(octets: &[u8]) -> Reply {
    let payload = STANDARD.encode(octets);
    Reply::Say(json!({ "event": "media", "media": { "payload": payload } }))
}

pub(crate) fn mark(name: &str) -> Reply {
    Reply::Say(json!({ "event": "mark", "mark": { "name": name } }))
}

/// The octets of a message of audio.
pub(crate) fn payload(message: &Value) -> Vec<u8> {
    let payload = message["media"]["payload"].as_str().unwrap();
    STANDARD.decode(payload).unwrap()
}
