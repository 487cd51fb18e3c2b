//! Endpoints that understand speech, on the loopback.

use control::media::Heard;
use serde_json::json;

use super::server::{Server, accept, listen};
use super::*;
use crate::stream::{Hearing, Listening, hear};

fn listening(url: &str, partials: bool) -> Listening {
    let hearing = Hearing::new(url, 16_000).expect("a client");
    Listening::new(order(partials), &hearing)
}

pub(super) fn order(partials: bool) -> control::media::Listen {
    control::media::Listen {
        job: 7,
        side: Side::A,
        account_sid: "AC1".to_owned(),
        call_sid: "CA1".to_owned(),
        language: "de-DE".to_owned(),
        hints: vec!["ja".to_owned(), "nein danke".to_owned()],
        model: Some("phone_call".to_owned()),
        profanity_filter: true,
        speech_timeout_ms: None,
        max_speech_ms: 60_000,
        partials,
    }
}

pub(super) fn begin(listening: Listening) -> Shard {
    let bell = Bell::start(0).expect("a thread");
    let (report, events) = mpsc::unbounded_channel();
    let report = Box::new(move |event| {
        let _ = report.send(event);
    });
    let port = hear(listening, settings(), &bell, report);
    Shard { port, bell, events }
}

pub(super) async fn heard(shard: &mut Shard) -> Heard {
    match shard.event().await {
        VoiceEvent::Heard { job: 7, heard } => heard,
        event => unreachable!("{event:?}"),
    }
}

async fn says<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    server: &mut Server<T>,
    kind: &str,
    text: &str,
) {
    let said = json!({"event": "speech", "type": kind, "text": text, "confidence": 0.5});
    server.send(&said.to_string()).await;
}

#[tokio::test]
async fn an_endpoint_hears_and_says_what_was_said() {
    let (listener, url) = listen().await;
    let mut shard = begin(listening(&url, true));
    let mut server = accept(&listener).await;
    assert_eq!(server.signature, None);
    assert_eq!(server.json().await["event"], "connected");
    let start = server.json().await;
    assert_eq!(
        start["start"]["mediaFormat"],
        json!({"encoding": "audio/l16", "sampleRate": 16_000, "channels": 1})
    );
    assert_eq!(
        start["start"]["customParameters"],
        json!({
            "language": "de-DE", "hints": "ja,nein danke", "model": "phone_call", "profanityFilter": "true",
            "speechTimeout": "auto", "maxSpeechTime": "60", "partials": "true",
        })
    );
    shard.turn(1_000);
    let media = server.event("media").await;
    let payload = media["media"]["payload"].as_str().expect("audio");
    // 20 ms of 16 bits at 16 kHz.
    assert_eq!(payload.len(), (640_usize.div_ceil(3)) * 4);

    server.send("nonsense").await;
    server.send(r#"{"event":"mark","mark":{"name":"x"}}"#).await;
    says(&mut server, "partial", "nein").await;
    assert_eq!(heard(&mut shard).await, Heard::Speaking);
    let partial = Heard::Partial {
        stable: String::new(),
        unstable: "nein".to_owned(),
    };
    assert_eq!(heard(&mut shard).await, partial);
    says(&mut server, "final", "nein danke").await;
    let last = Heard::Final {
        text: "nein danke".to_owned(),
        confidence: 500,
    };
    assert_eq!(heard(&mut shard).await, last);
    assert!(shard.port.is_over());
    assert_eq!(server.event("stop").await["stop"]["callSid"], "CA1");
}

#[tokio::test]
async fn partial_results_that_nobody_wants_tell_that_somebody_speaks() {
    let (listener, url) = listen().await;
    let mut shard = begin(listening(&url, false));
    let mut server = accept(&listener).await;
    for text in ["a", "a b", "a b c"] {
        says(&mut server, "partial", text).await;
    }
    says(&mut server, "final", "a b c").await;
    assert_eq!(heard(&mut shard).await, Heard::Speaking);
    assert!(matches!(heard(&mut shard).await, Heard::Final { .. }));
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_or_dies_has_failed() {
    let (listener, url) = listen().await;
    drop(listener);
    let mut shard = begin(listening(&url, false));
    let Heard::Failed(why) = heard(&mut shard).await else {
        unreachable!("nobody is there")
    };
    assert!(why.contains("[voice] hearing"), "{why}");

    let (listener, url) = listen().await;
    let mut shard = begin(listening(&url, false));
    let mut server = accept(&listener).await;
    says(&mut server, "speaking", "").await;
    assert_eq!(heard(&mut shard).await, Heard::Speaking);
    drop(server);
    assert!(matches!(heard(&mut shard).await, Heard::Failed(_)));
    assert!(shard.port.is_over());
}

#[tokio::test]
async fn who_is_not_wanted_any_more_is_told_to_stop() {
    let (listener, url) = listen().await;
    let shard = begin(listening(&url, false));
    let mut server = accept(&listener).await;
    server.event("start").await;
    let Shard {
        port, mut events, ..
    } = shard;
    drop(port);
    server.event("stop").await;
    assert_eq!(events.recv().await, None);
}
