//! The application: a webhook whose document streams every call to a WebSocket server, which sends back what it hears.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use rtp::g711;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Audio,
    probe::{self, Histogram, LOUD, Times},
};
use crate::error::BenchError;

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// Sends back what it hears.
    Echo,
    /// Has sent ten seconds at once.
    Flood,
    /// Has taken them back.
    Clear,
}

/// What is known of the application.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) audio: Audio,
    mode: AtomicU8,
    /// When the phones sent a probe, and when the server sent it back.
    pub(super) sent: Times,
    pub(super) echoed: Times,
    /// When each call was cleared.
    pub(super) cleared: Times,
    /// From the phone to the server.
    pub(super) there: Histogram,
    /// What the webhook took itself, by its own clock.
    pub(super) own: Histogram,
    pub(super) heard: AtomicU64,
}

impl Shared {
    pub(super) fn new(audio: Audio, begin: Instant, calls: usize) -> Self {
        Self {
            audio,
            mode: AtomicU8::new(Mode::Echo as u8),
            sent: Times::new(begin, calls),
            echoed: Times::new(begin, calls),
            cleared: Times::new(begin, calls),
            there: Histogram::default(),
            own: Histogram::default(),
            heard: AtomicU64::new(0),
        }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Release);
    }

    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::Acquire) == mode as u8
    }
}

/// Serves until the program ends; returns where the webhook is.
pub(super) fn start(shared: Arc<Shared>) -> Result<SocketAddr, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (webhook, streams) = runtime.block_on(async {
        let webhook = TcpListener::bind("127.0.0.1:0").await?;
        let streams = TcpListener::bind("127.0.0.1:0").await?;
        Ok::<_, std::io::Error>((webhook, streams))
    })?;
    let at = webhook.local_addr()?;
    let parameter = match shared.audio {
        Audio::Json => "",
        Audio::Raw => r#"<Parameter name="x-raw" value="l16"/>"#,
    };
    let document = format!(
        r#"<Response><Connect><Stream url="ws://{}/">{parameter}</Stream></Connect></Response>"#,
        streams.local_addr()?
    );
    std::thread::Builder::new()
        .name("application".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let noted = Arc::clone(&shared);
                tokio::spawn(async move {
                    while let Ok((stream, _)) = webhook.accept().await {
                        tokio::spawn(answer(stream, document.clone(), Arc::clone(&noted)));
                    }
                });
                while let Ok((stream, _)) = streams.accept().await {
                    tokio::spawn(talk(stream, Arc::clone(&shared)));
                }
            });
        })?;
    Ok(at)
}

/// A request to the webhook, which is small enough for one read.
async fn answer(mut stream: TcpStream, document: String, shared: Arc<Shared>) {
    let mut request = vec![0; 16_384];
    let mut len = 0;
    while !is_whole(&request[..len]) {
        match stream.read(&mut request[len..]).await {
            Ok(more) if more > 0 => len += more,
            _ => return,
        }
    }
    let begin = Instant::now();
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{document}",
        document.len()
    );
    if stream.write_all(text.as_bytes()).await.is_ok() {
        let ns = begin.elapsed().as_nanos();
        shared.own.add(u64::try_from(ns).unwrap_or(u64::MAX));
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A stream.
async fn talk(stream: TcpStream, shared: Arc<Shared>) {
    // What is small is to go at once, as any server of audio has it.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let (mut sink, mut source) = socket.split();
    let (mut call, mut flooded, mut cleared) = (None, false, false);
    let mut stream_sid = String::new();
    let mut octets = Vec::new();
    while let Some(Ok(message)) = source.next().await {
        octets.clear();
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Binary(samples) => {
                let samples = samples.as_chunks::<2>().0.iter();
                octets.extend(samples.map(|two| g711::encode_ulaw(i16::from_le_bytes(*two))));
                ""
            }
            _ => continue,
        };
        if let Some(payload) = between(text, r#""payload":""#) {
            octets = STANDARD.decode(payload).unwrap_or_default();
        } else if let Some(sid) = between(text, r#""streamSid":""#) {
            sid.clone_into(&mut stream_sid);
        }
        let Some((of, number)) = probe::read(&octets) else {
            continue;
        };
        call = call.or(Some(of));
        shared.heard.fetch_add(1, Ordering::Relaxed);
        if let Some(ns) = shared.sent.since(of, number) {
            shared.there.add(ns);
        }
        let back = match () {
            () if shared.is(Mode::Echo) => {
                (flooded, cleared) = (false, false);
                shared.echoed.note(of, number);
                match shared.audio {
                    Audio::Raw => message,
                    Audio::Json => media(&stream_sid, &octets, shared.audio),
                }
            }
            () if shared.is(Mode::Flood) && !flooded => {
                flooded = true;
                media(&stream_sid, &[LOUD; 80_000], shared.audio)
            }
            () if shared.is(Mode::Clear) && flooded && !cleared => {
                cleared = true;
                shared.cleared.note(of, 0);
                Message::text(format!(r#"{{"event":"clear","streamSid":"{stream_sid}"}}"#))
            }
            () => continue,
        };
        if sink.send(back).await.is_err() {
            return;
        }
    }
}

/// A message with audio.
fn media(stream_sid: &str, octets: &[u8], audio: Audio) -> Message {
    match audio {
        Audio::Json => {
            let payload = STANDARD.encode(octets);
            Message::text(format!(
                r#"{{"event":"media","streamSid":"{stream_sid}","media":{{"payload":"{payload}"}}}}"#
            ))
        }
        Audio::Raw => {
            let samples = octets.iter().map(|octet| g711::decode_ulaw(*octet));
            let octets: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
            Message::binary(octets)
        }
    }
}

/// The text of a member of a message of Tandem's, which writes no escapes in these.
fn between<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let rest = text.split_once(key)?.1;
    Some(rest.split_once('"')?.0)
}

/// How long the flood may last before it is cleared.
pub(super) const FLOOD: Duration = Duration::from_secs(1);
