//! Numbers of the node's own: one stream towards each party, and payload types, on XDP and off it.

use rtp::rtcp::{ReportBlock, write_report};

use super::*;

/// What one party has heard so far.
#[derive(Default)]
struct Heard {
    stream: u32,
    sequence: u16,
    timestamp: u32,
    packets: u32,
}

impl Heard {
    /// The next packet, which goes on where the last one ended.
    fn next(&mut self, packet: &[u8], what: &str) {
        let packet = rtp::Packet::parse(packet).unwrap();
        if self.packets > 0 {
            assert_eq!(packet.ssrc(), self.stream, "{what}");
            let next = self.sequence.wrapping_add(1);
            assert_eq!(
                packet.sequence(),
                next,
                "{what}: after {} packets",
                self.packets
            );
            let lasts = packet.timestamp().wrapping_sub(self.timestamp);
            // Packets of one key have one timestamp.
            assert!((0..=24_000).contains(&lasts), "{what}: {lasts}");
        }
        self.stream = packet.ssrc();
        self.sequence = packet.sequence();
        self.timestamp = packet.timestamp();
        self.packets += 1;
    }
}

/// Two who talk, each hearing one stream.
struct Talk {
    alice: Party,
    bob: Party,
    info: SessionInfo,
    /// By alice, and by bob.
    heard: [Heard; 2],
    /// What bob sends with.
    ssrc: u32,
}

impl Talk {
    /// `count` packets each way.
    fn go_on(&mut self, count: u16, what: &str) {
        for _ in 0..count {
            let sent = self.alice.send(self.info.a.rtp);
            let (got, _) = receive(&self.bob.rtp);
            assert_eq!(got[12..], sent[12..], "{what}");
            self.heard[1].next(&got, what);

            // The payload type that he has for what is 0 for her.
            let mut packet = self.bob.packet();
            packet[1] = 100;
            packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
            self.bob.rtp.send_to(&packet, self.info.b.rtp).unwrap();
            let (got, _) = receive(&self.alice.rtp);
            assert_eq!((got[1], &got[12..]), (0, &packet[12..]), "{what}");
            self.heard[0].next(&got, what);
        }
    }

    async fn until_offloaded(&mut self, engine: &Engine, what: &str) {
        let start = Instant::now();
        let mut before = stats(engine).await;
        loop {
            self.go_on(2, what);
            let now = stats(engine).await;
            let on_xdp = |now: &FlowStats, before: &FlowStats| now.packets_xdp > before.packets_xdp;
            if on_xdp(&now.from_a, &before.from_a) && on_xdp(&now.from_b, &before.from_b) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(3), "{what}: {now:?}");
            before = now;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn create(talk: [&Party; 2]) -> Create {
    let [alice, bob] = talk.map(|party| {
        let mut leg = party.leg();
        leg.handling.one_stream = true;
        leg
    });
    let mut create = Create {
        id: ID,
        owner: "test".into(),
        a: alice,
        b: bob,
        apart: false,
    };
    if let Some(remote) = &mut create.a.remote {
        remote.types = vec![TypePair {
            theirs: 100,
            own: 0,
        }];
    }
    create
}

async fn ask(engine: &Engine, request: Request) -> SessionInfo {
    match engine.handle(request).await.unwrap() {
        Response::Session(info) => info,
        other => panic!("{other:?}"),
    }
}

/// A call goes to XDP, its far source changes there, a key is pressed in it, mediad crashes, and the source changes once
/// more: each party hears one stream, and reports are about what the other one has sent.
pub(crate) async fn each_party_hears_one_stream(bed: &Bed) {
    let engine = start().await;
    let (alice, bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let order = create([&alice, &bob]);
    let info = ask(&engine, Request::Create(order.clone())).await;
    let mut talk = Talk {
        alice,
        bob,
        info,
        heard: Default::default(),
        ssrc: 77,
    };
    talk.until_offloaded(&engine, "at first").await;
    let before = stats(&engine).await;
    talk.go_on(30, "on XDP");
    talk.ssrc = 78;
    talk.bob.sequence = 50_000;
    talk.go_on(30, "another source");
    let after = stats(&engine).await;
    assert_eq!(after.path, Path::Xdp);
    assert_eq!(after.from_b.packets_xdp - before.from_b.packets_xdp, 60);
    assert_eq!(after.from_b.ssrc, Some(78));

    // RTCP comes by the shard, and alice's is about number 50,029 of 78.
    let [of_alice, _] = &talk.heard;
    let block = |ssrc, highest_sequence| ReportBlock {
        ssrc,
        highest_sequence,
        ..ReportBlock::default()
    };
    let mut report = Vec::new();
    let highest = of_alice.sequence.into();
    write_report(
        0x0102_0304,
        None,
        &[block(of_alice.stream, highest)],
        &mut report,
    );
    talk.alice.rtcp.send_to(&report, talk.info.a.rtcp).unwrap();
    let mut expected = Vec::new();
    write_report(
        talk.heard[1].stream,
        None,
        &[block(78, 50_029)],
        &mut expected,
    );
    assert_eq!(receive(&talk.bob.rtcp).0, expected);

    // To the shard for a key, and back.
    let key = Dtmf {
        id: ID,
        hears: Side::B,
        order: 1,
        digits: "7".into(),
        duration_ms: 40,
        gap_ms: 40,
    };
    ask(&engine, Request::Dtmf(key)).await;
    for _ in 0..6 {
        talk.alice.send(talk.info.a.rtp);
        let (got, _) = receive(&talk.bob.rtp);
        talk.heard[1].next(&got, "a key");
    }
    talk.until_offloaded(&engine, "after a key").await;

    // Bob says nothing: the packets of a key are made, in his place and with numbers that he has not used.
    let key = Dtmf {
        id: ID,
        hears: Side::A,
        order: 2,
        digits: "8".into(),
        duration_ms: 40,
        gap_ms: 40,
    };
    ask(&engine, Request::Dtmf(key)).await;
    for _ in 0..4 {
        let (got, _) = receive(&talk.alice.rtp);
        assert_eq!(got[1] & 0x7f, 101);
        talk.heard[0].next(&got, "a key in silence");
    }
    // His clock has stood still meanwhile; hers goes on.
    tokio::time::sleep(Duration::from_millis(150)).await;
    talk.until_offloaded(&engine, "after a key in silence")
        .await;

    tokio::task::spawn_blocking(move || engine.abandon())
        .await
        .unwrap();
    talk.go_on(20, "without mediad");
    let engine = start().await;
    assert_eq!(engine.status().adopted, 1);
    talk.ssrc = 79;
    talk.go_on(20, "adopted");
    assert_eq!(ask(&engine, Request::Create(order)).await, talk.info);
    talk.go_on(20, "claimed");
    talk.ssrc = 80;
    talk.until_offloaded(&engine, "another source after that")
        .await;
    engine.stop().await;
}
