//! What a party is sent RTP with, where that is not what it came with.

use rtp::rtcp::{self, ReportBlock, SenderInfo};

use super::*;

on_both_backends! {
    payload_types_are_those_that_each_party_has_asked_for;
    one_stream_goes_on_whoever_speaks;
    a_key_does_not_break_up_where_something_is_played;
    reports_are_told_in_the_numbers_of_who_gets_them;
    what_is_encrypted_keeps_its_numbers;
}

/// A session of two who hear one stream each.
async fn one_stream(bed: &Bed, alice: Remote, bob: Remote, apart: bool) -> SessionInfo {
    let leg = |remote| Leg {
        family: Family::V4,
        port: None,
        remote: Some(remote),
        muted: false,
        handling: Handling {
            one_stream: true,
            ..Handling::default()
        },
    };
    let create = Create {
        id: session(1),
        owner: "test".into(),
        a: leg(alice),
        b: leg(bob),
        apart,
    };
    bed.create_with(create).await.unwrap()
}

async fn orders(bed: &Bed, orders: Vec<VoiceOrder>) {
    let id = session(1);
    let answer = bed.ask(Request::Voice(Voice { id, orders })).await;
    assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
    // Parties block the only thread of the runtime, which has to hand the audio to the shard first.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// SSRC, sequence number and timestamp.
fn numbers(packet: &[u8]) -> (u32, u16, u32) {
    let packet = rtp::Packet::parse(packet).unwrap();
    (packet.ssrc(), packet.sequence(), packet.timestamp())
}

async fn payload_types_are_those_that_each_party_has_asked_for(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let (mut a, mut b) = (alice.described(), bob.described());
    let pair = |theirs, own| vec![TypePair { theirs, own }];
    (a.types, b.types) = (pair(96, 101), pair(101, 96));
    let info = bed.create(1, Some(a.clone()), Some(b)).await;
    for (from, to, local, sends, gets) in [
        (&alice, &bob, info.a.rtp, 101, 96),
        (&bob, &alice, info.b.rtp, 0x80 | 96, 0x80 | 101),
        (&alice, &bob, info.a.rtp, 8, 8),
        (&alice, &bob, info.a.rtp, 96, 96),
    ] {
        let mut packet = vec![0x80, sends, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 3, 10, 0, 160];
        from.rtp.send_to(&packet, local).unwrap();
        packet[1] = gets;
        assert_eq!(to.receive().0, packet);
    }
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    // She has said anew what she takes.
    a.types.clear();
    bed.modify(1, Some(a), None).await;
    let mut sent = bob.send(info.b.rtp);
    sent[1] = 96;
    bob.rtp.send_to(&sent, info.b.rtp).unwrap();
    alice.receive();
    assert_eq!(alice.receive().0, sent);
}

/// An announcement, the other party, a key, another announcement, and somebody else in the other party's place.
async fn one_stream_goes_on_whoever_speaks(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = one_stream(&bed, alice.described(), bob.described(), true).await;
    alice.send(info.a.rtp);
    let began = Instant::now();
    let ringback = VoiceOrder::Play(Play {
        job: 1,
        hears: Side::A,
        audio: Audio::Ringback("de".into()),
        loops: 0,
        start: 0,
        limit_ms: 0,
    });
    orders(&bed, vec![VoiceOrder::Join(true), ringback]).await;
    let mut heard: Vec<_> = (0..5).map(|_| numbers(&alice.receive().0)).collect();
    orders(&bed, vec![VoiceOrder::Stop { job: 1 }]).await;
    alice.rtp.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    while let Ok(len) = alice.rtp.recv(&mut buffer) {
        heard.push(numbers(&buffer[..len]));
    }
    alice.rtp.set_nonblocking(false).unwrap();
    for _ in 0..3 {
        let sent = bob.send(info.b.rtp);
        let (got, _) = alice.receive();
        assert_eq!(got[12..], sent[12..]);
        assert_ne!(numbers(&got).0, 2);
        heard.push(numbers(&got));
    }
    // A key takes the place of what he sends next.
    let key = Dtmf {
        id: session(1),
        hears: Side::A,
        order: 1,
        digits: "5".into(),
        duration_ms: 40,
        gap_ms: 40,
    };
    bed.ask(Request::Dtmf(key)).await.unwrap();
    for _ in 0..4 {
        bob.send(info.b.rtp);
        heard.push(numbers(&alice.receive().0));
    }
    // Somebody else has his place, and no number of his.
    orders(&bed, vec![VoiceOrder::Vacate(Side::B)]).await;
    let mut carol = Party::new(3);
    bed.modify(1, None, Some(carol.described())).await;
    carol.send(info.b.rtp);
    heard.push(numbers(&alice.receive().0));
    let (stream, first, start) = heard[0];
    for (nth, pair) in heard.windows(2).enumerate() {
        let [before, now] = pair else { unreachable!() };
        assert_eq!(now.0, stream, "packet {nth}: {heard:?}");
        assert_eq!(now.1, before.1.wrapping_add(1), "packet {nth}: {heard:?}");
        assert!(
            now.2.wrapping_sub(before.2) < 8_000,
            "packet {nth}: {heard:?}"
        );
    }
    let (_, last, end) = heard[heard.len() - 1];
    assert_eq!(usize::from(last.wrapping_sub(first)), heard.len() - 1);
    let passed = u128::from(end.wrapping_sub(start)) / 8;
    let most = began.elapsed().as_millis() + 200;
    assert!((100..=most).contains(&passed), "{passed} ms of {most}");
    // Carol is another party than bob was: she hears another stream than he did.
    let sent = alice.send(info.a.rtp);
    let (got, _) = carol.receive();
    assert_eq!(got[12..], sent[12..]);
    assert!(numbers(&got).0 != 1 && numbers(&got).0 != stream);
}

async fn a_key_does_not_break_up_where_something_is_played(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = one_stream(&bed, alice.described(), bob.described(), true).await;
    alice.send(info.a.rtp);
    let ringback = VoiceOrder::Play(Play {
        job: 1,
        hears: Side::A,
        audio: Audio::Ringback("de".into()),
        loops: 0,
        start: 0,
        limit_ms: 0,
    });
    orders(&bed, vec![ringback]).await;
    alice.receive();
    let key = Dtmf {
        id: session(1),
        hears: Side::A,
        order: 1,
        digits: "5".into(),
        duration_ms: 200,
        gap_ms: 40,
    };
    bed.ask(Request::Dtmf(key)).await.unwrap();
    let heard: Vec<_> = (0..30).map(|_| alice.receive().0).collect();
    let is_key = |packet: &Vec<u8>| packet[1] & 0x7f == 101;
    let first = heard.iter().position(is_key).unwrap();
    let last = heard.iter().rposition(is_key).unwrap();
    let key = &heard[first..=last];
    assert!(key.len() >= 6 && last < 29, "{first} to {last}");
    for packet in key {
        assert!(is_key(packet), "what is played waits");
        assert_eq!(packet[4..8], key[0][4..8], "one key has one timestamp");
    }
    for pair in heard.windows(2) {
        let [before, now] = pair else { unreachable!() };
        let (before, now) = (numbers(before), numbers(now));
        assert_eq!((before.0, before.1.wrapping_add(1)), (now.0, now.1));
        assert!(now.2.wrapping_sub(before.2) < 8_000);
    }
}

async fn reports_are_told_in_the_numbers_of_who_gets_them(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = one_stream(&bed, alice.described(), bob.described(), false).await;
    // Learned from, both.
    alice.send(info.a.rtp);
    let to_bob = numbers(&bob.receive().0);
    bob.send(info.b.rtp);
    let sent = numbers(&bob.send(info.b.rtp));
    alice.receive();
    let to_alice = numbers(&alice.receive().0);
    assert!(to_bob.0 != 1 && to_alice.0 != 2 && to_alice.0 != to_bob.0);

    let block = |ssrc, highest_sequence| ReportBlock {
        ssrc,
        highest_sequence,
        last_sr: 5,
        delay_since_last_sr: 6,
        ..ReportBlock::default()
    };
    let report = |ssrc, rtp_timestamp, packets, about, highest| {
        let mut octets = Vec::new();
        let info = SenderInfo {
            ntp: 0x1122_3344_5566_7788,
            rtp_timestamp,
            packets,
            octets: packets * 160,
        };
        rtcp::write_report(ssrc, Some(info), &[block(about, highest)], &mut octets);
        rtcp::write_cname(ssrc, "name", &mut octets);
        octets
    };
    // Alice tells of what she has heard up to now, and of the moment of her next packet. Nine of hers went elsewhere before.
    let octets = report(1, 160, 10, to_alice.0, to_alice.1.into());
    alice.rtcp.send_to(&octets, info.a.rtcp).unwrap();
    let expected = report(to_bob.0, to_bob.2.wrapping_add(160), 1, 2, sent.1.into());
    assert_eq!(receive(&bob.rtcp).0, expected);
    // He has received one packet of hers, number 65,530 of her own.
    let octets = report(2, sent.2, 2, to_bob.0, to_bob.1.into());
    bob.rtcp.send_to(&octets, info.b.rtcp).unwrap();
    let expected = report(to_alice.0, to_alice.2, 2, 1, 65_530);
    assert_eq!(receive(&alice.rtcp).0, expected);
    // Who leaves does not take the stream along.
    let mut bye = Vec::new();
    rtcp::write_bye(2, &mut bye);
    bob.rtcp.send_to(&bye, info.b.rtcp).unwrap();
    assert_silent(&alice.rtcp);
}

async fn what_is_encrypted_keeps_its_numbers(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let mut secret = bob.described();
    secret.secure = true;
    secret.types = vec![TypePair { theirs: 0, own: 8 }];
    let info = one_stream(&bed, alice.described(), secret, false).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
}
