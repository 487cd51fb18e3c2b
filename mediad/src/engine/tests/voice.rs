//! Programmable voice: what a party hears of the engine, and what the engine hears of it.

use rtp::dtmf::TelephoneEvent;
use rtp::g711;

use super::*;

on_both_backends! {
    a_party_alone_hears_a_file_as_it_is;
    a_part_of_a_file_is_played;
    parties_are_apart_from_the_beginning;
    what_is_played_takes_the_place_of_the_other_party;
    keys_are_told_once_each;
    tones_are_keys_of_a_party_without_events;
    what_cannot_be_played_is_told;
    what_is_stopped_is_not_fetched_any_more;
    keys_are_played_as_events_in_the_stream_of_the_audio;
}

async fn voice(bed: &Bed, orders: Vec<VoiceOrder>) {
    let id = session(1);
    let answer = bed.ask(Request::Voice(Voice { id, orders })).await;
    assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
    // Parties block the only thread of the runtime, which has to hand the audio to the shard first.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn play(job: u32, audio: Audio, loops: u32) -> VoiceOrder {
    VoiceOrder::Play(Play {
        job,
        hears: Side::A,
        audio,
        loops,
        start: 0,
        limit_ms: 0,
    })
}

/// A WAV file of samples.
fn file(folder: &tempfile::TempDir, samples: &[i16]) -> String {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    let len = u32::try_from(data.len()).unwrap();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + len).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(len.to_le_bytes());
    wav.extend(data);
    let path = folder.path().join("a.wav");
    std::fs::write(&path, wav).unwrap();
    path.display().to_string()
}

fn noise(samples: usize) -> Vec<i16> {
    (0..samples).map(|_| rand::random::<i16>() / 4).collect()
}

async fn events(ears: &mut Ears, count: usize) -> Vec<VoiceEvent> {
    let mut all = Vec::new();
    until("events", async || {
        all.extend(ears.heard().into_iter().filter_map(|event| match event {
            Event::Voice { event, .. } => Some(event),
            _ => None,
        }));
        all.len() >= count
    })
    .await;
    all
}

/// `count` packets of one stream, without a gap in its numbers; its SSRC and payloads.
fn hear(party: &Party, count: usize) -> (u32, Vec<u8>) {
    let mut audio = Vec::new();
    let mut before: Option<(u32, u16, u32)> = None;
    for _ in 0..count {
        let (data, _) = party.receive();
        let packet = rtp::Packet::parse(&data).unwrap();
        let now = (packet.ssrc(), packet.sequence(), packet.timestamp());
        assert_eq!(packet.marker(), before.is_none());
        if let Some((ssrc, sequence, timestamp)) = before {
            assert_eq!(
                now,
                (ssrc, sequence.wrapping_add(1), timestamp.wrapping_add(160))
            );
        }
        before = Some(now);
        audio.extend_from_slice(packet.payload());
    }
    (before.unwrap().0, audio)
}

async fn a_party_alone_hears_a_file_as_it_is(datapath: &str) {
    let folder = tempfile::tempdir().unwrap();
    let samples = noise(800);
    let path = file(&folder, &samples);
    for (law, encode) in [
        (0, g711::encode_ulaw as fn(i16) -> u8),
        (8, g711::encode_alaw),
    ] {
        let bed = Bed::new(datapath).await;
        let mut ears = bed.listen().await;
        let alice = Party::new(1);
        let mut described = alice.described();
        described.format.payload_type = law;
        described.format.encoding = if law == 0 { "PCMU" } else { "PCMA" }.into();
        bed.create(1, Some(described), None).await;
        let orders = vec![VoiceOrder::Attach, play(7, Audio::File(path.clone()), 2)];
        let began = Instant::now();
        voice(&bed, orders.clone()).await;
        // The control channel may bring it twice.
        voice(&bed, orders).await;
        let (_, audio) = hear(&alice, 10);
        let lasted = began.elapsed();
        assert!(lasted > Duration::from_millis(150), "{lasted:?}");
        let sent: Vec<u8> = samples.iter().map(|sample| encode(*sample)).collect();
        assert_eq!(audio, [sent.clone(), sent].concat());
        let played = VoiceEvent::Played {
            job: 7,
            result: Ok(()),
        };
        assert_eq!(events(&mut ears, 1).await, [played]);
        assert_silent(&alice.rtp);
    }
}

async fn a_part_of_a_file_is_played(datapath: &str) {
    let folder = tempfile::tempdir().unwrap();
    let samples = noise(800);
    let path = file(&folder, &samples);
    let bed = Bed::new(datapath).await;
    let alice = Party::new(1);
    bed.create(1, Some(alice.described()), None).await;
    let part = |job, loops, start, limit_ms| {
        VoiceOrder::Play(Play {
            job,
            hears: Side::A,
            audio: Audio::File(path.clone()),
            loops,
            start,
            limit_ms,
        })
    };
    let encode = |samples: &[i16]| -> Vec<u8> {
        samples
            .iter()
            .map(|sample| g711::encode_ulaw(*sample))
            .collect()
    };
    let mut ears = bed.listen().await;
    let id = session(1);
    let order = async |order| {
        let orders = vec![VoiceOrder::Attach, order];
        bed.ask(Request::Voice(Voice { id, orders })).await.unwrap();
    };
    let played = |job| VoiceEvent::Played {
        job,
        result: Ok(()),
    };
    // What is over before it begins, its end and then all of it, and for so long and no longer.
    let parts = [
        (part(1, 1, 8_000, 0), Vec::new()),
        (part(2, 2, 480, 0), [&samples[480..], &samples].concat()),
        (part(3, 0, 0, 140), [&samples[..], &samples[..320]].concat()),
    ];
    for (job, (part, heard)) in (1..).zip(parts) {
        order(part).await;
        assert_eq!(events(&mut ears, 1).await, [played(job)]);
        let packets = heard.len() / 160;
        if packets > 0 {
            assert_eq!(hear(&alice, packets).1, encode(&heard));
        }
        assert_silent(&alice.rtp);
    }
}

async fn parties_are_apart_from_the_beginning(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let leg = |party: &Party| Leg {
        family: Family::V4,
        port: None,
        remote: Some(party.described()),
        muted: false,
        handling: Handling::default(),
    };
    let create = Create {
        id: session(1),
        owner: "test".into(),
        a: leg(&alice),
        b: leg(&bob),
        apart: true,
    };
    let info = bed.create_with(create.clone()).await.unwrap();
    alice.send(info.a.rtp);
    bob.send(info.b.rtp);
    // Nor do they learn each other's names, which are in RTCP.
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
    assert_silent(&bob.rtp);
    assert_silent(&bob.rtcp);
    assert_silent(&alice.rtp);
    voice(&bed, vec![VoiceOrder::Join(true)]).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    // A client that says it again does not part them.
    bed.create_with(create).await.unwrap();
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
}

async fn what_is_played_takes_the_place_of_the_other_party(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    voice(&bed, vec![VoiceOrder::Attach]).await;
    bob.send(info.b.rtp);
    alice.send(info.a.rtp);
    assert_silent(&alice.rtp);
    assert_silent(&bob.rtp);

    voice(
        &bed,
        vec![
            VoiceOrder::Join(true),
            play(1, Audio::Ringback("de".into()), 0),
        ],
    )
    .await;
    let (first, _) = hear(&alice, 3);
    bob.send(info.b.rtp);
    for _ in 0..4 {
        let (data, _) = alice.receive();
        assert_eq!(rtp::Packet::parse(&data).unwrap().ssrc(), first);
    }
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent, "he hears her meanwhile");

    voice(&bed, vec![VoiceOrder::Stop { job: 1 }]).await;
    while alice
        .rtp
        .set_read_timeout(Some(Duration::from_millis(60)))
        .is_ok()
        && alice.rtp.recv(&mut [0; 2048]).is_ok()
    {}
    alice.rtp.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent, "as he sent it");

    voice(&bed, vec![VoiceOrder::Vacate(Side::B)]).await;
    let carol = Party::new(3);
    bed.modify(1, None, Some(carol.described())).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(carol.receive().0, sent);
    assert_silent(&bob.rtp);
}

async fn keys_are_told_once_each(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    let info = bed.create(1, Some(alice.described()), None).await;
    voice(&bed, vec![VoiceOrder::Attach, VoiceOrder::Attend(true)]).await;
    let mut stream = rtp::Packetizer::new(101, 1, 0, 0);
    for key in [5, 5, 11] {
        for end in [false, true, true, true] {
            let event = TelephoneEvent {
                event: key,
                end,
                volume: 10,
                duration: 160,
            };
            let mut packet = Vec::new();
            stream.packet(&event.encode(), 0, &mut packet);
            alice.rtp.send_to(&packet, info.a.rtp).unwrap();
        }
        stream.silence(1600);
    }
    let digit = |digit| VoiceEvent::Digit {
        side: Side::A,
        digit,
    };
    assert_eq!(
        events(&mut ears, 3).await,
        [digit('5'), digit('5'), digit('#')]
    );
}

async fn tones_are_keys_of_a_party_without_events(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    let mut described = alice.described();
    described.format.payload_type = 8;
    described.format.encoding = "PCMA".into();
    let without = Remote {
        events: None,
        ..described.clone()
    };
    let info = bed.create(1, Some(without), None).await;
    voice(&bed, vec![VoiceOrder::Attach, VoiceOrder::Attend(true)]).await;
    let steps = rtp::dtmf::dial("1#19", 60, 60).unwrap();
    let samples = rtp::tone::keys(&steps);
    let mut stream = rtp::Packetizer::new(8, 1, 0, 0);
    let mut send = || {
        for part in samples.chunks(160) {
            let payload: Vec<u8> = part.iter().map(|s| g711::encode_alaw(*s)).collect();
            let mut packet = Vec::new();
            stream.packet(&payload, 160, &mut packet);
            // A network that doubles packets presses no key twice.
            for _ in 0..2 {
                alice.rtp.send_to(&packet, info.a.rtp).unwrap();
            }
        }
    };
    send();
    let digit = |digit| VoiceEvent::Digit {
        side: Side::A,
        digit,
    };
    assert_eq!(events(&mut ears, 4).await, ['1', '#', '1', '9'].map(digit));
    // Who has events is not listened to.
    bed.modify(1, Some(described), None).await;
    send();
    let event = TelephoneEvent {
        event: 5,
        end: true,
        volume: 10,
        duration: 800,
    };
    let mut packet = Vec::new();
    rtp::Packetizer::new(101, 1, 9_000, 90_000).packet(&event.encode(), 0, &mut packet);
    alice.rtp.send_to(&packet, info.a.rtp).unwrap();
    assert_eq!(events(&mut ears, 1).await, [digit('5')]);
}

async fn what_cannot_be_played_is_told(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    bed.create(1, Some(alice.described()), None).await;
    voice(&bed, vec![play(1, Audio::File("/nowhere.wav".into()), 1)]).await;
    let told = events(&mut ears, 1).await;
    let [
        VoiceEvent::Played {
            job: 1,
            result: Err(AudioTrouble::Fetch(why)),
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert!(why.contains("/nowhere.wav"), "{why}");
    let mut secret = alice.described();
    secret.secure = true;
    bed.modify(1, Some(secret), None).await;
    voice(&bed, vec![play(2, Audio::Ringback(String::new()), 0)]).await;
    let told = events(&mut ears, 1).await;
    assert!(
        matches!(
            &told[..],
            [VoiceEvent::Played {
                job: 2,
                result: Err(AudioTrouble::Engine(_))
            }]
        ),
        "{told:?}"
    );
    assert_silent(&alice.rtp);
}

async fn what_is_stopped_is_not_fetched_any_more(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let alice = Party::new(1);
    bed.create(1, Some(alice.described()), None).await;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.wav", server.local_addr().unwrap());
    let public = false;
    voice(&bed, vec![play(1, Audio::Url { url, public }, 1)]).await;
    let (mut asked, _) = server.accept().await.unwrap();
    voice(&bed, vec![VoiceOrder::Stop { job: 1 }]).await;
    // The server sees its client go.
    let mut rest = Vec::new();
    let all = tokio::io::AsyncReadExt::read_to_end(&mut asked, &mut rest);
    let gone = tokio::time::timeout(Duration::from_secs(20), all).await;
    assert!(gone.is_ok(), "it is asked all the same");
}

async fn keys_are_played_as_events_in_the_stream_of_the_audio(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let mut ears = bed.listen().await;
    let alice = Party::new(1);
    bed.create(1, Some(alice.described()), None).await;
    voice(&bed, vec![play(1, Audio::Keys("7".into()), 1)]).await;
    let played = |job| VoiceEvent::Played {
        job,
        result: Ok(()),
    };
    assert_eq!(events(&mut ears, 1).await, [played(1)]);
    voice(&bed, vec![play(2, Audio::Ringback("fr".into()), 0)]).await;
    let mut numbers = Vec::new();
    let mut ends = 0;
    loop {
        let (data, _) = alice.receive();
        let packet = rtp::Packet::parse(&data).unwrap();
        numbers.push((packet.ssrc(), packet.sequence()));
        if packet.payload_type() == 0 {
            break;
        }
        let event = TelephoneEvent::parse(packet.payload()).unwrap();
        assert_eq!(event.event, 7);
        ends += u8::from(event.end);
    }
    assert_eq!(ends, 3);
    assert!(
        numbers
            .windows(2)
            .all(|pair| pair[1] == (pair[0].0, pair[0].1.wrapping_add(1)))
    );
}
