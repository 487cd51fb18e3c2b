//! What a server that does all as it should gets, and has played.

use std::sync::Arc;
use std::time::Duration;

use control::media::VoiceEvent;
use futures_util::{SinkExt as _, StreamExt as _};
use rtp::g711;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::server::{accept, listen, shake_hands};
use super::*;

#[tokio::test]
async fn a_server_is_told_of_everything_in_twilios_order() {
    let (listener, url) = listen().await;
    let mut stream = new_stream(&format!("{url}?a=1&b=2"));
    stream.parameters = vec![("from".to_owned(), "+15550100".to_owned())];
    let mut shard = Shard::open(stream, settings());
    // What is heard before the server is there is of no stream.
    shard.turn(1);
    let mut server = accept(&listener).await;
    assert_eq!(server.uri, "/media?a=1&b=2");
    assert_eq!(server.signature.as_deref(), Some("c2lnbmVk"));
    assert!(!server.subprotocol);
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    for _ in 0..50 {
        shard.turn(8_000);
    }
    shard.port.digit('5');
    shard.bell.ring();
    assert_eq!(server.json().await["event"], "connected");
    let start = server.json().await;
    assert_eq!(start["event"], "start");
    assert_eq!(start["start"]["customParameters"]["from"], "+15550100");
    let (mut chunk, mut keys) = (0, 0);
    while chunk < 50 || keys == 0 {
        let message = server.json().await;
        assert_eq!(message["sequenceNumber"], (chunk + keys + 2).to_string());
        if message["event"] == "dtmf" {
            assert_eq!(message["dtmf"]["digit"], "5");
            keys += 1;
            continue;
        }
        assert_eq!(message["event"], "media");
        assert_eq!(message["media"]["timestamp"], (chunk * 20).to_string());
        chunk += 1;
        assert_eq!(message["media"]["chunk"], chunk.to_string());
        let payload = message["media"]["payload"].as_str().expect("text");
        assert_eq!(payload.len(), 216);
    }
    drop(shard.port);
    let stop = server.json().await;
    assert_eq!(
        (&stop["event"], &stop["sequenceNumber"]),
        (&"stop".into(), &"53".into())
    );
    let Message::Close(Some(close)) = server.message().await else {
        unreachable!("no close");
    };
    assert_eq!(u16::from(close.code), 1_000);
    assert!(server.socket.next().await.is_none());
    assert!(shard.events.recv().await.is_none(), "a stop has no event");
}

#[tokio::test]
async fn pieces_of_any_size_are_played_without_a_gap() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let mut server = accept(&listener).await;
    let octets: Vec<u8> = (1..=97).cycle().take(1_100).collect();
    for piece in octets.chunks(137) {
        server.media(piece).await;
    }
    server.mark("end").await;
    // All has come when the pieces before a ping are answered.
    server
        .socket
        .send(Message::Ping("x".into()))
        .await
        .expect("sent");
    while !matches!(server.message().await, Message::Pong(_)) {}
    let mut heard = Vec::new();
    while let Some(frame) = shard.turn(0) {
        heard.extend(frame);
    }
    let expected: Vec<i16> = octets
        .iter()
        .map(|octet| g711::decode_ulaw(*octet))
        .collect();
    assert_eq!(&heard[..1_100], expected);
    // Six frames and 140 samples: the tail is filled up with silence.
    assert_eq!(heard.len(), 7 * FRAME);
    assert!(heard[1_100..].iter().all(|sample| *sample == 0));
    assert_eq!(server.event("mark").await["mark"]["name"], "end");
}

#[tokio::test]
async fn marks_come_back_when_what_is_before_them_is_played() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let mut server = accept(&listener).await;
    server.mark("at once").await;
    assert_eq!(server.event("mark").await["mark"]["name"], "at once");
    server.media(&[1; FRAME * 2]).await;
    server.mark("same").await;
    server.mark("same").await;
    server.media(&[1; FRAME]).await;
    server.mark("last").await;
    shard.until_played().await;
    sleep(Duration::from_millis(100)).await;
    let waiting = timeout(Duration::from_millis(50), server.event("mark")).await;
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(shard.turn(0).is_some());
    for name in ["same", "same"] {
        assert_eq!(server.event("mark").await["mark"]["name"], name);
    }
    assert!(shard.turn(0).is_some());
    assert_eq!(server.event("mark").await["mark"]["name"], "last");
}

#[tokio::test]
async fn a_clear_is_silent_within_a_frame_and_returns_every_mark() {
    let (listener, url) = listen().await;
    let mut shard = Shard::open(new_stream(&url), settings());
    let mut server = accept(&listener).await;
    // A minute at once, as servers send it.
    for second in 0..60 {
        server.media(&[1; 8_000]).await;
        server.mark(&second.to_string()).await;
    }
    shard.until_played().await;
    server.send(r#"{"event":"clear"}"#).await;
    for second in 0..60 {
        assert_eq!(
            server.event("mark").await["mark"]["name"],
            second.to_string()
        );
    }
    assert!(shard.turn(0).is_none(), "the next frame is silent");
    // What comes after is played at once.
    server.media(&[2; FRAME]).await;
    assert_eq!(shard.until_played().await, [g711::decode_ulaw(2); FRAME]);
}

#[tokio::test]
async fn both_tracks_are_told_apart_and_a_fork_plays_nothing() {
    let (listener, url) = listen().await;
    let mut stream = new_stream(&url);
    stream.outbound = true;
    stream.bidirectional = false;
    let mut shard = Shard::open(stream, settings());
    let mut server = accept(&listener).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    for _ in 0..2 {
        shard.port.hear(Track::Outbound, &[100; FRAME]);
        shard.turn(1);
    }
    let start = server.event("start").await;
    assert_eq!(
        start["start"]["tracks"],
        serde_json::json!(["inbound", "outbound"])
    );
    for (track, timestamp) in [
        ("outbound", "0"),
        ("inbound", "0"),
        ("outbound", "20"),
        ("inbound", "20"),
    ] {
        let media = server.event("media").await["media"].take();
        assert_eq!(
            (&media["track"], &media["timestamp"]),
            (&track.into(), &timestamp.into())
        );
    }
    server.media(&[1; FRAME]).await;
    let VoiceEvent::StreamWarning { code, .. } = shard.event().await else {
        unreachable!("no warning");
    };
    assert_eq!(code, 31_951);
    assert!(shard.turn(0).is_none());
}

#[tokio::test]
async fn raw_audio_is_binary_both_ways() {
    let (listener, url) = listen().await;
    let mut stream = new_stream(&url);
    stream.parameters = vec![("x-raw".to_owned(), "l16".to_owned())];
    stream.sample_rate = Some(16_000);
    let mut shard = Shard::open(stream, settings());
    let mut server = accept(&listener).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    let format = server.event("start").await["start"]["mediaFormat"].take();
    assert_eq!(
        (&format["encoding"], &format["sampleRate"]),
        (&"audio/l16".into(), &16_000.into())
    );
    // The filter has settled in the second frame.
    shard.turn(1_000);
    shard.turn(1_000);
    assert_eq!(server.message().await.into_data().len(), 640);
    let second = server.message().await.into_data();
    assert_eq!(second.len(), 640);
    let last = i16::from_le_bytes([second[638], second[639]]);
    assert!((990..=1_010).contains(&last), "{last}");
    let octets: Vec<u8> = [500_i16; 640]
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    for piece in octets.chunks(333) {
        server
            .socket
            .send(Message::binary(piece.to_vec()))
            .await
            .expect("sent");
    }
    // All of it is there, so that no frame is filled up.
    while shard.port.ahead() < 2 * FRAME {
        sleep(Duration::from_millis(1)).await;
    }
    shard.until_played().await;
    let second = shard.until_played().await;
    assert!((495..=505).contains(&second[100]), "{second:?}");
}

#[tokio::test]
async fn a_wss_server_is_held_to_its_certificate() {
    let key =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let certificate = key.cert.der().clone();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private)
        .expect("a key");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let (listener, url) = listen().await;
    let url = url.replace("ws://127.0.0.1", "wss://localhost");

    let mut shard = Shard::open(new_stream(&url), settings());
    let (tcp, _) = listener.accept().await.expect("a connection");
    assert!(acceptor.accept(tcp).await.is_err());
    let result = Err(control::media::StreamTrouble::Tls);
    assert_eq!(
        shard.event().await,
        VoiceEvent::StreamEnded { job: 7, result }
    );

    let mut trusting = settings();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    trusting.tls = Arc::new(client);
    trusting.plain = false;
    let mut shard = Shard::open(new_stream(&url), trusting);
    let (tcp, _) = listener.accept().await.expect("a connection");
    let mut server = shake_hands(acceptor.accept(tcp).await.expect("TLS")).await;
    assert_eq!(shard.event().await, VoiceEvent::StreamStarted { job: 7 });
    shard.turn(0);
    server.event("media").await;
}
