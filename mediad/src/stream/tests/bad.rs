//! What servers do that they should not.

use control::media::StreamTrouble;
use futures_util::SinkExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::server::{accept, listen};
use super::*;

fn ended(result: Result<(), StreamTrouble>) -> VoiceEvent {
    VoiceEvent::StreamEnded { job: 7, result }
}

#[tokio::test]
async fn bad_messages_are_warned_of_once_and_the_stream_goes_on() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let mut server = accept(&listener).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    for _ in 0..2 {
        server
            .socket
            .send(Message::binary(vec![0; 320]))
            .await
            .expect("sent");
        for text in [
            "",
            "{",
            r#"{"event":"mark"}"#,
            r#"{"event":"close"}"#,
            r#"{"event":"clear","streamSid":"MZ0"}"#,
        ] {
            server.send(text).await;
        }
    }
    server.media(&[1; FRAME]).await;
    shard.until_played().await;
    let mut codes = Vec::new();
    while let Ok(event) = shard.events.try_recv() {
        let VoiceEvent::StreamWarning { code, .. } = event else {
            unreachable!("{event:?}");
        };
        codes.push(code);
    }
    assert_eq!(codes, [31_950, 31_951]);
}

#[tokio::test]
async fn a_server_that_closes_ends_the_stream() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let mut server = accept(&listener).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    server.media(&[1; 8_000]).await;
    shard.until_played().await;
    server.socket.close(None).await.expect("closed");
    // It is far away, so that the connection is there for a while yet, and audio goes on.
    let told = loop {
        shard.turn(0);
        if let Ok(told) = timeout(Duration::from_millis(5), shard.events.recv()).await {
            break told;
        }
    };
    assert_eq!(told, Some(ended(Ok(()))));
    assert!(shard.port.is_over());
    assert!(shard.turn(0).is_none(), "nothing of it is played any more");
}

#[tokio::test]
async fn a_message_of_100_mb_ends_the_stream() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let mut server = accept(&listener).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    let _ = server
        .socket
        .send(Message::text("x".repeat(100 << 20)))
        .await;
    assert_eq!(shard.event().await, ended(Err(StreamTrouble::Protocol)));
}

#[tokio::test]
async fn a_server_that_vanishes_is_told_of() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    drop(accept(&listener).await);
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    assert_eq!(shard.event().await, ended(Err(StreamTrouble::Protocol)));
}

#[tokio::test]
async fn a_slow_server_loses_the_oldest_audio_and_is_heard_all_the_same() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let mut server = accept(&listener).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    // It reads nothing until audio is discarded.
    let mut turns = 0_u64;
    let warning = loop {
        for _ in 0..20 {
            shard.turn(0);
            turns += 1;
        }
        sleep(Duration::from_millis(1)).await;
        if let Ok(event) = shard.events.try_recv() {
            break event;
        }
        assert!(turns < 1_000_000, "nothing was discarded");
    };
    let VoiceEvent::StreamWarning { code, text, .. } = warning else {
        unreachable!("{warning:?}");
    };
    assert_eq!(code, 31_930, "{text}");
    server.media(&[1; FRAME]).await;
    let before = Instant::now();
    shard.until_played().await;
    assert!(before.elapsed() < Duration::from_secs(20));
    for _ in 0..200 {
        shard.turn(0);
        turns += 1;
    }
    // The newest frame comes, with the time that it is of; what is between is left out.
    let newest = (turns - 1) * 20;
    let mut last = 0;
    let mut jumps = 0;
    while last < newest {
        let media = server.event("media").await;
        let timestamp = media["media"]["timestamp"].as_str().expect("text");
        let timestamp: u64 = timestamp.parse().expect("a number");
        assert!(timestamp >= last);
        jumps += u64::from(timestamp > last + 20);
        last = timestamp;
    }
    assert!(jumps > 0);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_server_that_does_not_read() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let _server = accept(&listener).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    while shard.events.try_recv().is_err() {
        for _ in 0..20 {
            shard.turn(0);
        }
        sleep(Duration::from_millis(1)).await;
    }
    drop(shard.port);
    let over = timeout(Duration::from_secs(10), shard.events.recv()).await;
    assert_eq!(over.expect("in time"), None);
}

#[tokio::test]
async fn what_is_no_server_of_streams_has_its_error() {
    let (listener, url) = listen().await;
    // Not to be asked.
    let mut private = new_stream(&url);
    private.public = true;
    let mut shard = Shard::open(private, settings());
    assert_eq!(shard.event().await, ended(Err(StreamTrouble::Refused)));
    let mut secure = settings();
    secure.plain = false;
    let mut shard = Shard::open(new_stream(&url), secure);
    assert_eq!(shard.event().await, ended(Err(StreamTrouble::Refused)));
    // Something else than WebSocket.
    for (answer, trouble) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            StreamTrouble::Handshake(403),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            StreamTrouble::Handshake(200),
        ),
        (
            "220 mail.example.com ESMTP\r\n\r\n",
            StreamTrouble::Protocol,
        ),
    ] {
        let mut shard = Shard::open(new_stream(&url), settings());
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        let _ = tcp.read(&mut [0; 4_096]).await;
        tcp.write_all(answer.as_bytes()).await.expect("sent");
        assert_eq!(shard.event().await, ended(Err(trouble)), "{answer}");
    }
    // Nothing, in time.
    let mut shard = Shard::open(new_stream(&url), settings());
    let _silent = listener.accept().await.expect("a connection");
    assert_eq!(shard.event().await, ended(Err(StreamTrouble::Timeout)));
    // Nobody.
    drop(listener);
    let mut shard = Shard::open(new_stream(&url), settings());
    assert_eq!(shard.event().await, ended(Err(StreamTrouble::Timeout)));
}

#[tokio::test]
async fn a_format_that_is_not_to_be_had_is_warned_of() {
    let (listener, url) = listen().await;
    let mut stream = new_stream(&url);
    stream.audio_format = Some("audio/opus".to_owned());
    let mut shard = Shard::open(stream, settings());
    let mut server = accept(&listener).await;
    assert!(matches!(
        shard.event().await,
        VoiceEvent::StreamWarning { code: 31_951, .. }
    ));
    let start = server.event("start").await;
    assert_eq!(start["start"]["mediaFormat"]["encoding"], "audio/x-mulaw");
}
