//! What is handed on otherwise than it came, who else gets it, and RTCP that is made here.

use rtp::rtcp::{self, SenderInfo};

use super::*;

on_both_backends! {
    who_is_silenced_is_heard_as_silence;
    keys_are_held_back_or_become_others;
    a_party_hears_itself_as_another;
    others_hear_a_party_too;
    parties_have_reports_of_the_nodes_own;
    a_way_is_opened_before_and_waited_for;
}

async fn filtered(bed: &Bed, id: u8, filter: Filter) {
    let handling = Handling {
        filter,
        ..Handling::default()
    };
    let modify = Modify {
        id: session(id),
        a: None,
        b: None,
        handling: [Some(handling), None],
    };
    bed.ask(Request::Modify(modify)).await.unwrap();
}

async fn who_is_silenced_is_heard_as_silence(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let silent = Filter {
        media: MediaFilter::Silence,
        ..Filter::default()
    };
    filtered(&bed, 1, silent).await;
    let sent = alice.send(info.a.rtp);
    let (heard, _) = bob.receive();
    assert_eq!(heard[..12], sent[..12], "the header is as it was");
    assert_eq!(heard[12..], [0xff; 160]);
    // The other party is not concerned, and what has no silence is not let through.
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    let mut opus = alice.send(info.a.rtp);
    drop(bob.receive());
    opus[1] = 96;
    opus[3] = opus[3].wrapping_add(1);
    alice.rtp.send_to(&opus, info.a.rtp).unwrap();
    assert_silent(&bob.rtp);
    // What is encrypted cannot be silenced.
    let secure = Remote {
        secure: true,
        ..alice.described()
    };
    bed.modify(1, Some(secure), None).await;
    alice.send(info.a.rtp);
    assert_silent(&bob.rtp);
    bed.modify(1, Some(alice.described()), None).await;
    filtered(&bed, 1, Filter::default()).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
}

async fn a_party_hears_itself_as_another(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let echo = Filter {
        media: MediaFilter::Echo,
        ..Filter::default()
    };
    filtered(&bed, 1, echo).await;
    for _ in 0..3 {
        let mut sent = alice.send(info.a.rtp);
        sent[8..12].iter_mut().for_each(|octet| *octet = !*octet);
        assert_eq!(alice.receive(), (sent, info.a.rtp));
    }
    assert_silent(&bob.rtp);
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    // What went back to its sender was not sent to the other party.
    assert_eq!(bed.stats(1).await.from_a.forwarded, 1);
    // What is encrypted its own sender cannot decrypt.
    let secure = Remote {
        secure: true,
        ..alice.described()
    };
    bed.modify(1, Some(secure), None).await;
    alice.send(info.a.rtp);
    assert_silent(&alice.rtp);
    bed.modify(1, Some(alice.described()), None).await;
    filtered(&bed, 1, Filter::default()).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
}

async fn keys_are_held_back_or_become_others(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    let mut next = u16::from_be_bytes([sent[2], sent[3]]);
    let mut press = || {
        next = next.wrapping_add(1);
        let mut key = sent[..12].to_vec();
        key[1] = 101;
        key[2..4].copy_from_slice(&next.to_be_bytes());
        key.extend([5, 10, 0, 160]);
        alice.rtp.send_to(&key, info.a.rtp).unwrap();
        key
    };
    let wants = |keys| Filter {
        keys,
        ..Filter::default()
    };
    let key = press();
    assert_eq!(bob.receive().0, key);
    // Media that is not handed on is no key.
    let blocked = Filter {
        media: MediaFilter::Drop,
        ..Filter::default()
    };
    filtered(&bed, 1, blocked).await;
    let key = press();
    assert_eq!(bob.receive().0, key);
    filtered(&bed, 1, wants(KeyFilter::As(0))).await;
    let key = press();
    let (heard, _) = bob.receive();
    assert_eq!((heard[12], &heard[13..]), (0, &key[13..]));
    filtered(&bed, 1, wants(KeyFilter::Random)).await;
    let heard: Vec<_> = (0..3)
        .map(|_| {
            press();
            bob.receive().0[12]
        })
        .collect();
    assert!(
        heard[0] < 10 && heard.iter().all(|key| *key == heard[0]),
        "one event is one key: {heard:?}"
    );
    filtered(&bed, 1, wants(KeyFilter::Drop)).await;
    press();
    assert_silent(&bob.rtp);
    let stats = bed.stats(1).await;
    assert_eq!((stats.from_a.packets, stats.from_a.refused), (8, 0));
}

async fn monitor(bed: &Bed, number: u64, to: Option<[SocketAddr; 2]>) -> Result<Local, Fault> {
    monitor_as(bed, number, to, Vec::new()).await
}

/// With payload types of the listener's own.
async fn monitor_as(
    bed: &Bed,
    number: u64,
    to: Option<[SocketAddr; 2]>,
    types: Vec<TypePair>,
) -> Result<Local, Fault> {
    let monitor = Monitor {
        id: session(1),
        of: Side::A,
        number,
        family: Family::V4,
        interface: None,
        to,
        types,
    };
    match bed.ask(Request::Monitor(monitor)).await? {
        Response::Monitor(local) => Ok(local),
        other => panic!("{other:?}"),
    }
}

async fn others_hear_a_party_too(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let (carol, dave) = (Party::new(3), Party::new(4));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let to = |party: &Party| {
        Some([
            party.rtp.local_addr().unwrap(),
            party.rtcp.local_addr().unwrap(),
        ])
    };
    // First where it is from, then where it goes.
    let from = monitor(&bed, 1, None).await.unwrap();
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    assert_eq!(monitor(&bed, 1, to(&carol)).await.unwrap(), from);
    let second = monitor(&bed, 2, to(&dave)).await.unwrap();
    assert_ne!(from.rtp, second.rtp);
    for _ in 0..20 {
        let sent = alice.send(info.a.rtp);
        assert_eq!(bob.receive(), (sent.clone(), info.b.rtp));
        assert_eq!(carol.receive(), (sent.clone(), from.rtp));
        assert_eq!(dave.receive(), (sent, second.rtp));
        let sent = bob.send(info.b.rtp);
        assert_eq!(alice.receive().0, sent);
    }
    let mut report = Vec::new();
    rtcp::write_report(1, None, &[], &mut report);
    alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
    assert_eq!(receive(&carol.rtcp), (report, from.rtcp));
    // One of them has another number for the codec.
    let pair = TypePair { theirs: 0, own: 96 };
    let again = monitor_as(&bed, 1, to(&carol), vec![pair]).await;
    assert_eq!(again, Ok(from));
    let mut sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent);
    assert_eq!(dave.receive().0, sent);
    sent[1] = sent[1] & 0x80 | 96;
    assert_eq!(carol.receive().0, sent);
    let many = vec![pair; MAX_MONITOR_TYPES + 1];
    let fault = monitor_as(&bed, 1, None, many).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Invalid);
    // Who is not heard by the other party is heard by nobody.
    bed.mute(1, true, false).await;
    alice.send(info.a.rtp);
    assert_silent(&carol.rtp);
    bed.mute(1, false, false).await;
    let unmonitor = Unmonitor {
        id: session(1),
        of: Side::A,
        number: 1,
    };
    for _ in 0..2 {
        assert_eq!(
            bed.ask(Request::Unmonitor(unmonitor)).await,
            Ok(Response::Gone)
        );
    }
    let sent = alice.send(info.a.rtp);
    assert_eq!(dave.receive().0, sent);
    assert_silent(&carol.rtp);
    assert_eq!(bed.engine.status().ports_used, 6);
    let circle = monitor(&bed, 3, Some([info.a.rtp; 2])).await.unwrap_err();
    assert!(circle.message.contains("in a circle"), "{circle:?}");
    for number in 3..=MAX_MONITORS as u64 + 1 {
        // Of twenty pairs, two are the parties'.
        monitor(&bed, number, None).await.unwrap();
    }
    let fault = monitor(&bed, 99, None).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Conflict);
    bed.ask(Request::Delete(session(1))).await.unwrap();
    assert_eq!(bed.engine.status().ports_used, 0);
    until("the copies are counted", async || {
        bed.engine
            .metrics()
            .contains("tandem_media_copies_total{result=\"sent\"} 45")
    })
    .await;
}

async fn parties_have_reports_of_the_nodes_own(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let leg = |party: &Party| Leg {
        family: Family::V4,
        port: None,
        remote: Some(party.described()),
        muted: false,
        handling: Handling {
            makes_rtcp: true,
            ..Handling::default()
        },
    };
    // What she is told is in the numbers that she hears.
    let mut hears_one = leg(&alice);
    hears_one.handling.one_stream = true;
    let create = Create {
        id: session(1),
        owner: String::new(),
        a: hears_one,
        b: leg(&bob),
        apart: false,
    };
    let info = bed.create_with(create).await.unwrap();
    for at in 0..20 {
        alice.send(info.a.rtp);
        if at % 4 == 0 {
            bob.send(info.b.rtp);
        }
    }
    alice.lose();
    alice.send(info.a.rtp);
    // The party's own goes no further.
    let mut own = Vec::new();
    let about = SenderInfo {
        ntp: 0x1_2345_6789,
        rtp_timestamp: 0,
        packets: 21,
        octets: 0,
    };
    rtcp::write_report(1, Some(about), &[], &mut own);
    alice.rtcp.send_to(&own, info.a.rtcp).unwrap();
    let (to_bob, from) = receive(&bob.rtcp);
    assert_eq!(from, info.b.rtcp);
    let (to_alice, from) = receive(&alice.rtcp);
    assert_eq!(from, info.a.rtcp);
    let read = |packet: &[u8]| match rtcp::parse(packet).unwrap().swap_remove(0) {
        rtcp::Packet::SenderReport { ssrc, info, blocks } => (ssrc, info, blocks[0]),
        other => panic!("{other:?}"),
    };
    let (ssrc, sent, block) = read(&to_bob);
    assert_eq!((ssrc, sent.packets, sent.octets), (1, 21, 21 * 160));
    assert_eq!(
        (block.ssrc, block.cumulative_lost, block.last_sr),
        (2, 0, 0)
    );
    let (ssrc, sent, block) = read(&to_alice);
    let (heard, _) = alice.receive();
    let stream = rtp::Packet::parse(&heard).unwrap().ssrc();
    assert_ne!(stream, 2);
    assert_eq!((ssrc, sent.packets, sent.octets), (stream, 5, 5 * 160));
    assert_eq!((block.ssrc, block.cumulative_lost), (1, 1));
    assert_eq!((block.last_sr, block.fraction_lost), (0x1_2345, 11));
    assert!(
        (1..131_072).contains(&block.delay_since_last_sr),
        "{block:?}"
    );
    // An answer to it tells how far it is.
    let mut answer = Vec::new();
    let (_, of_bob, _) = read(&to_bob);
    let heard = rtcp::ReportBlock {
        ssrc: 1,
        last_sr: u32::try_from(of_bob.ntp >> 16 & 0xffff_ffff).unwrap(),
        ..rtcp::ReportBlock::default()
    };
    rtcp::write_report(2, None, &[heard], &mut answer);
    bob.rtcp.send_to(&answer, info.b.rtcp).unwrap();
    until("the way is known", async || {
        bed.stats(1).await.from_b.rtt_us.is_some()
    })
    .await;
}

async fn a_way_is_opened_before_and_waited_for(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let leg = |party: &Party, waits| Leg {
        family: Family::V4,
        port: None,
        remote: Some(party.described()),
        muted: false,
        handling: Handling {
            waits,
            pierces: !waits,
            ..Handling::default()
        },
    };
    let create = Create {
        id: session(1),
        owner: String::new(),
        a: leg(&alice, true),
        b: leg(&bob, false),
        apart: false,
    };
    let info = bed.create_with(create).await.unwrap();
    // Bob hears nothing of anybody yet, but that somebody is there.
    assert_eq!(bob.receive(), (Vec::new(), info.b.rtp));
    bob.send(info.b.rtp);
    assert_silent(&alice.rtp);
    let first = alice.send(info.a.rtp);
    let heard = std::iter::repeat_with(|| bob.receive().0).find(|packet| !packet.is_empty());
    assert_eq!(heard, Some(first));
    let sent = bob.send(info.b.rtp);
    assert_eq!(alice.receive().0, sent);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_silent(&bob.rtp);
}
