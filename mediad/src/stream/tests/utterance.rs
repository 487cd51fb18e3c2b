//! Endpoints that understand whole utterances over HTTP, on the loopback.

use control::media::Heard;
use rtp::wav::Wav;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::speech::{begin, heard, order};
use super::*;
use crate::stream::port::FRAME;
use crate::stream::{Hearing, Listening, Track};

fn listening(url: &str) -> Listening {
    let hearing = Hearing::new(url, 16_000).expect("a client");
    let listen = control::media::Listen {
        speech_timeout_ms: Some(200),
        ..order(false)
    };
    Listening::new(listen, &hearing)
}

pub(crate) async fn endpoint(path: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, format!("http://{address}{path}"))
}

/// Answers one request: its head and body.
pub(crate) async fn serve(listener: &TcpListener, answer: &[u8]) -> (String, Vec<u8>) {
    let (mut socket, _) = listener.accept().await.expect("a client");
    let mut all = Vec::new();
    loop {
        let mut piece = [0; 4_096];
        let length = socket.read(&mut piece).await.expect("a request");
        assert!(length > 0, "it broke off");
        all.extend_from_slice(&piece[..length]);
        let Some(end) = all.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&all[..end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).expect("a length");
        let length: usize = length
            .split("\r\n")
            .next()
            .expect("it")
            .parse()
            .expect("a number");
        if all.len() >= end + 4 + length {
            // What is too large may not be taken.
            let _ = socket.write_all(answer).await;
            return (head, all.split_off(end + 4));
        }
    }
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into()
}

/// Says something, and is silent then.
fn speak(shard: &mut Shard) {
    for number in 0..40 {
        let level = if (10..20).contains(&number) { 6_000 } else { 0 };
        shard.port.hear(Track::Inbound, &[level; FRAME]);
        shard.bell.ring();
    }
}

#[tokio::test]
async fn an_utterance_is_sent_whole_and_its_text_told() {
    let (listener, url) = endpoint("/hear?key=7").await;
    let mut shard = begin(listening(&url));
    speak(&mut shard);
    assert_eq!(heard(&mut shard).await, Heard::Speaking);
    let answer = ok(r#"{"text": "nein danke", "confidence": 0.75, "more": []}"#);
    let (head, body) = serve(&listener, &answer).await;
    let line = head.lines().next().expect("a line");
    for part in [
        "post /hear?key=7&language=de-de",
        "hints=ja%2cnein+danke",
        "callsid=ca1",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!line.contains("timeout"), "{line}");
    assert!(head.contains("content-type: audio/wav"), "{head}");
    let wav = Wav::parse(&body).expect("a WAV file");
    assert_eq!(wav.rate, 8_000);
    let samples: Vec<i16> = wav.mono().collect();
    // 200 ms, and 200 at each end.
    assert_eq!(samples.len(), 8 * 600);
    assert!(samples[1_600..3_200].iter().all(|sample| *sample == 6_000));
    let last = Heard::Final {
        text: "nein danke".to_owned(),
        confidence: 750,
    };
    assert_eq!(heard(&mut shard).await, last);
    assert!(shard.port.is_over());
}

#[tokio::test]
async fn an_endpoint_that_cannot_say_what_was_said_has_failed() {
    let large = ok(&format!("{{\"text\": \"{}\"}}", "x".repeat(100_000)));
    for (answer, part) in [
        (
            &b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"[..],
            "500",
        ),
        (&ok("<html/>"), "did not answer"),
        (&ok(r#"{"confidence": 1}"#), "text"),
        (&large, "64 KiB"),
        (b"", "cannot be asked"),
    ] {
        let (listener, url) = endpoint("/").await;
        let mut shard = begin(listening(&url));
        speak(&mut shard);
        assert_eq!(heard(&mut shard).await, Heard::Speaking);
        serve(&listener, answer).await;
        let Heard::Failed(why) = heard(&mut shard).await else {
            unreachable!("{part}")
        };
        assert!(why.contains(part), "{part} in {why}");
    }
    let (listener, url) = endpoint("/").await;
    drop(listener);
    let mut shard = begin(listening(&url));
    speak(&mut shard);
    assert_eq!(heard(&mut shard).await, Heard::Speaking);
    let Heard::Failed(why) = heard(&mut shard).await else {
        unreachable!("nobody is there")
    };
    assert!(why.contains("[voice] hearing"), "{why}");
}
