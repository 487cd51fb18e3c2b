//! Streams of programmable voice, to a real WebSocket server on the loopback.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rtp::dtmf::TelephoneEvent;
use rtp::g711;
use tokio::time::{sleep, timeout};

use super::*;
use crate::stream::tests::new_stream;
use crate::stream::tests::server::{accept, listen};

on_both_backends! {
    a_server_hears_the_party_and_is_heard;
    what_cannot_be_streamed_is_told;
}

async fn order(bed: &Bed, orders: Vec<VoiceOrder>) {
    let id = session(1);
    let answer = bed.ask(Request::Voice(Voice { id, orders })).await;
    assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
}

fn voice_events(ears: &mut Ears) -> Vec<VoiceEvent> {
    let events = ears.heard().into_iter();
    let events = events.filter_map(|event| match event {
        Event::Voice { event, .. } => Some(event),
        _ => None,
    });
    events.collect()
}

/// How much `heard` is `said` at the delay that fits best: 1 for the same, about 0 for something else.
fn correlation(said: &[i16], heard: &[i16]) -> f64 {
    let product = |one: &[i16], other: &[i16]| -> f64 {
        let pairs = one.iter().zip(other);
        pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let power = product(said, said);
    let at = |delay: usize| {
        let heard = &heard[delay..delay + said.len()];
        product(said, heard) / (power * product(heard, heard)).sqrt().max(1.0)
    };
    (0..=heard.len().saturating_sub(said.len()))
        .map(at)
        .fold(0.0, f64::max)
}

/// What has arrived at the party so far, without waiting.
fn drain(party: &Party, heard: &mut Vec<i16>) -> usize {
    party.rtp.set_nonblocking(true).unwrap();
    let (mut buffer, mut packets) = ([0; 2048], 0);
    while let Ok(len) = party.rtp.recv(&mut buffer) {
        let packet = rtp::Packet::parse(&buffer[..len]).unwrap();
        heard.extend(
            packet
                .payload()
                .iter()
                .map(|octet| g711::decode_ulaw(*octet)),
        );
        packets += 1;
    }
    packets
}

async fn a_server_hears_the_party_and_is_heard(datapath: &str) {
    let (listener, url) = listen().await;
    let bed = Bed::new(datapath).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    let info = bed.create(1, Some(alice.described()), None).await;
    let begin = VoiceOrder::Stream(Box::new(new_stream(&url)));
    // The control channel may bring it twice.
    order(&bed, vec![VoiceOrder::Attach, begin.clone()]).await;
    order(&bed, vec![begin]).await;
    let mut server = accept(&listener).await;
    server.event("start").await;
    let again = timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(again.is_err(), "it was opened twice");

    // She speaks for a second; the server sends all that it hears back at once.
    let said: Vec<i16> = (0..8_000).map(|_| rand::random::<i16>() / 8).collect();
    let mut stream = rtp::Packetizer::new(0, 1, 0, 0);
    let mut heard = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for frame in said.chunks(160) {
        pace.tick().await;
        let payload: Vec<u8> = frame
            .iter()
            .map(|sample| g711::encode_ulaw(*sample))
            .collect();
        let mut packet = Vec::new();
        stream.packet(&payload, 160, &mut packet);
        alice.rtp.send_to(&packet, info.a.rtp).unwrap();
        let media = server.event("media").await;
        let octets = STANDARD
            .decode(media["media"]["payload"].as_str().unwrap())
            .unwrap();
        server.media(&octets).await;
        drain(&alice, &mut heard);
    }
    for _ in 0..15 {
        pace.tick().await;
        let media = server.event("media").await;
        let octets = STANDARD
            .decode(media["media"]["payload"].as_str().unwrap())
            .unwrap();
        server.media(&octets).await;
        drain(&alice, &mut heard);
    }
    // On a thread of its own: the stream goes on meanwhile, and would discard what it is held up with.
    let (piece, compared) = (said[1_600..3_200].to_vec(), heard.clone());
    let alike = tokio::task::spawn_blocking(move || correlation(&piece, &compared));
    let alike = alike.await.unwrap();
    assert!(alike > 0.8, "{alike} of {} samples", heard.len());

    // A key is told, and a mark comes back when all before it was heard.
    for end in [false, true, true] {
        let key = TelephoneEvent {
            event: 5,
            end,
            volume: 10,
            duration: 160,
        };
        let mut packet = Vec::new();
        rtp::Packetizer::new(101, 1, stream.sequence(), stream.timestamp()).packet(
            &key.encode(),
            0,
            &mut packet,
        );
        stream.skip();
        alice.rtp.send_to(&packet, info.a.rtp).unwrap();
    }
    let told = server.event("dtmf").await;
    assert_eq!(told["dtmf"]["digit"], "5");
    server.mark("heard").await;
    assert_eq!(server.event("mark").await["mark"]["name"], "heard");

    // Loud for ten seconds, and silent within 40 ms of what is on its way.
    server.media(&vec![0x10; 80_000]).await;
    heard.clear();
    until("the server is heard", async || {
        drain(&alice, &mut heard);
        heard.iter().any(|sample| sample.abs() > 5_000)
    })
    .await;
    server
        .send(&format!(
            r#"{{"event":"clear","streamSid":"MZ{}"}}"#,
            "c".repeat(32)
        ))
        .await;
    server.mark("cleared").await;
    server.event("mark").await;
    heard.clear();
    drain(&alice, &mut heard);
    heard.clear();
    let mut packets = 0;
    for _ in 0..20 {
        sleep(Duration::from_millis(20)).await;
        packets += drain(&alice, &mut heard);
    }
    assert!(packets >= 10, "silence is sent: {packets} packets");
    let loud = heard.iter().filter(|sample| sample.abs() > 100).count();
    assert!(loud <= 320, "{loud} samples after it was cleared");

    order(&bed, vec![VoiceOrder::Stop { job: 7 }]).await;
    server.event("stop").await;
    drain(&alice, &mut heard);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(drain(&alice, &mut Vec::new()), 0, "its clock is stopped");
    // No end is told of what was stopped, and no key of a party that nobody attends to.
    assert_eq!(
        voice_events(&mut ears),
        [VoiceEvent::StreamStarted { job: 7 }]
    );
}

async fn what_cannot_be_streamed_is_told(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    let mut secret = alice.described();
    secret.secure = true;
    bed.create(1, Some(secret), None).await;
    order(
        &bed,
        vec![VoiceOrder::Stream(Box::new(new_stream(
            "ws://127.0.0.1:9/",
        )))],
    )
    .await;
    bed.modify(1, Some(alice.described()), None).await;
    let mut inside = new_stream("ws://127.0.0.1:9/");
    (inside.job, inside.public) = (8, true);
    order(&bed, vec![VoiceOrder::Stream(Box::new(inside))]).await;
    let mut told = Vec::new();
    until("both are told", async || {
        told.extend(voice_events(&mut ears));
        told.len() == 2
    })
    .await;
    let ended = |job, why| VoiceEvent::StreamEnded {
        job,
        result: Err(why),
    };
    assert_eq!(
        told,
        [
            ended(7, StreamTrouble::Media),
            ended(8, StreamTrouble::Refused)
        ]
    );
}
