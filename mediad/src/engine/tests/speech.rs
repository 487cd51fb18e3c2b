//! Speech of a party, understood by an endpoint on the loopback.

use control::media::{Heard, Listen};
use rtp::g711;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::stream::tests::server::{accept, listen};
use crate::stream::tests::utterance::{endpoint, ok, serve};

on_both_backends! {
    an_endpoint_hears_the_party_and_is_told_of;
}

fn order(job: u32) -> VoiceOrder {
    VoiceOrder::Listen(Box::new(Listen {
        job,
        side: Side::A,
        account_sid: "AC1".to_owned(),
        call_sid: "CA1".to_owned(),
        language: "en-US".to_owned(),
        hints: Vec::new(),
        model: None,
        profanity_filter: false,
        speech_timeout_ms: Some(1_500),
        max_speech_ms: 60_000,
        partials: false,
    }))
}

async fn say(bed: &Bed, orders: Vec<VoiceOrder>) {
    let id = session(1);
    let answer = bed.ask(Request::Voice(Voice { id, orders })).await;
    assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
}

fn heard(ears: &mut Ears) -> Vec<(u32, Heard)> {
    let events = ears.heard().into_iter();
    let events = events.filter_map(|event| match event {
        Event::Voice {
            event: VoiceEvent::Heard { job, heard },
            ..
        } => Some((job, heard)),
        _ => None,
    });
    events.collect()
}

async fn an_endpoint_hears_the_party_and_is_told_of(datapath: &str) {
    let (listener, url) = listen().await;
    let more = format!("[voice]\nhearing = \"{url}\"\nhearing_rate = 8000\n");
    let bed = Bed::with(datapath, 40, &more).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    let info = bed.create(1, Some(alice.described()), None).await;
    say(&bed, vec![VoiceOrder::Attach, order(5)]).await;
    let mut server = accept(&listener).await;
    let start = server.event("start").await;
    let told = &start["start"]["customParameters"];
    assert_eq!(told["speechTimeout"], "1.5", "{told}");

    // She says something loud.
    let mut stream = rtp::Packetizer::new(0, 1, 0, 0);
    let loud = g711::encode_ulaw(8_000);
    let mut peak = 0;
    for _ in 0..50 {
        let mut packet = Vec::new();
        stream.packet(&[loud; 160], 160, &mut packet);
        alice.rtp.send_to(&packet, info.a.rtp).unwrap();
        let media = server.event("media").await;
        let payload = media["media"]["payload"].as_str().unwrap();
        let octets = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, payload);
        let octets = octets.unwrap();
        assert_eq!(octets.len(), 320);
        let samples = octets.as_chunks::<2>().0.iter();
        let loudest = samples.map(|sample| i16::from_le_bytes(*sample)).max();
        peak = peak.max(loudest.unwrap());
        if peak > 7_000 {
            break;
        }
    }
    assert!(peak > 7_000, "{peak}");
    let last = json!({"event": "speech", "type": "final", "text": "loud", "confidence": 0.75});
    server.send(&last.to_string()).await;
    let text = "loud".to_owned();
    let expected = (
        5,
        Heard::Final {
            text,
            confidence: 750,
        },
    );
    let mut all = Vec::new();
    until("it is told", async || {
        all.extend(heard(&mut ears));
        all.contains(&expected)
    })
    .await;
    server.event("stop").await;

    // What is stopped tells nothing, and its endpoint is let go of.
    say(&bed, vec![order(6)]).await;
    let mut server = accept(&listener).await;
    server.event("start").await;
    say(&bed, vec![VoiceOrder::Stop { job: 6 }]).await;
    server.event("stop").await;
    assert_eq!(heard(&mut ears), []);

    // The same order again begins nothing.
    say(&bed, vec![order(6)]).await;
    let again = timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(again.is_err(), "it was opened twice");
}

#[tokio::test]
async fn an_endpoint_over_http_gets_what_was_said() {
    let (listener, url) = endpoint("/hear").await;
    let more = format!("[voice]\nhearing = \"{url}\"\n");
    let bed = Bed::with("sockets", 40, &more).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    let info = bed.create(1, Some(alice.described()), None).await;
    let VoiceOrder::Listen(mut listen) = order(5) else {
        unreachable!("it is an order to listen")
    };
    listen.speech_timeout_ms = Some(300);
    say(&bed, vec![VoiceOrder::Attach, VoiceOrder::Listen(listen)]).await;
    // She says something loud, and then nothing.
    let mut stream = rtp::Packetizer::new(0, 1, 0, 0);
    for _ in 0..20 {
        let mut packet = Vec::new();
        stream.packet(&[g711::encode_ulaw(8_000); 160], 160, &mut packet);
        alice.rtp.send_to(&packet, info.a.rtp).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = ok(r#"{"text": "loud", "confidence": 0.5}"#);
    let served = timeout(Duration::from_secs(10), serve(&listener, &answer)).await;
    let (_, body) = served.unwrap();
    let wav = rtp::wav::Wav::parse(&body).unwrap();
    assert_eq!(wav.rate, 8_000);
    let loud = wav.mono().filter(|sample| *sample > 7_000).count();
    // Some of it may be lost, or made up for.
    assert!((1_600..=4_800).contains(&loud), "{loud}");
    let expected = Heard::Final {
        text: "loud".to_owned(),
        confidence: 500,
    };
    let mut all = Vec::new();
    until("it is told", async || {
        all.extend(heard(&mut ears));
        all.contains(&(5, expected.clone()))
    })
    .await;
    assert_eq!(all, [(5, Heard::Speaking), (5, expected)]);
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_understood() {
    let bed = Bed::new("sockets").await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    bed.create(1, Some(alice.described()), None).await;
    say(&bed, vec![VoiceOrder::Attach, order(5)]).await;
    let mut all = Vec::new();
    until("it is told", async || {
        all.extend(heard(&mut ears));
        matches!(&*all, [(5, Heard::Failed(why))] if why.contains("[voice] hearing"))
    })
    .await;
}
