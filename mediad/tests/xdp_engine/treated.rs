//! What the program cannot do: while it is wanted the leg is the shard's, and the program's again afterwards.

use rtp::rtcp::Packet;

use super::*;

async fn handled(engine: &Engine, handling: [Option<Handling>; 2]) {
    let modify = Modify {
        id: ID,
        a: None,
        b: None,
        handling,
    };
    engine.handle(Request::Modify(modify)).await.unwrap();
}

pub(super) async fn what_is_silenced_or_overheard_leaves_xdp_and_comes_back(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let carol = bed.party(&bed.callee, 2);
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let silent = Handling {
        filter: Filter {
            media: MediaFilter::Silence,
            keys: KeyFilter::Pass,
        },
        ..Handling::default()
    };
    handled(&engine, [Some(silent), None]).await;
    let before = stats(&engine).await;
    for _ in 0..5 {
        let sent = alice.send(info.a.rtp);
        let (heard, _) = receive(&bob.rtp);
        assert_eq!(
            (&heard[..12], &heard[12..]),
            (&sent[..12], &[0xff; 160][..])
        );
        let sent = bob.send(info.b.rtp);
        assert_eq!(receive(&alice.rtp).0, sent);
    }
    let after = stats(&engine).await;
    assert_eq!(after.from_a.packets_xdp, before.from_a.packets_xdp);
    assert_eq!(
        after.from_b.packets_xdp,
        before.from_b.packets_xdp + 5,
        "the other way stays"
    );
    handled(&engine, [Some(Handling::default()), None]).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;

    let monitor = Monitor {
        id: ID,
        of: Side::A,
        number: 1,
        family: Family::of(&info.a.rtp),
        interface: None,
        to: Some([
            carol.rtp.local_addr().unwrap(),
            carol.rtcp.local_addr().unwrap(),
        ]),
        types: Vec::new(),
    };
    engine.handle(Request::Monitor(monitor)).await.unwrap();
    for _ in 0..5 {
        let sent = alice.send(info.a.rtp);
        assert_eq!(receive(&bob.rtp).0, sent);
        assert_eq!(receive(&carol.rtp).0, sent);
    }
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
    assert_eq!(receive(&bob.rtcp).0, report);
    assert_eq!(receive(&carol.rtcp).0, report);
    let unmonitor = Unmonitor {
        id: ID,
        of: Side::A,
        number: 1,
    };
    engine.handle(Request::Unmonitor(unmonitor)).await.unwrap();
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    assert_eq!(stats(&engine).await.from_a.lost, 0);
    engine.stop().await;
}

/// The audio stays where it was, and the numbers are the program's.
pub(super) async fn reports_are_made_of_calls_that_stay_on_xdp(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    let makes = || {
        Some(Handling {
            makes_rtcp: true,
            ..Handling::default()
        })
    };
    handled(&engine, [makes(), makes()]).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    // What the parties say of themselves goes no further.
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    alice.rtcp.send_to(&report, info.a.rtcp).unwrap();
    talk(&mut alice, &mut bob, &info, 10);
    let said = u32::from(alice.sequence);
    let last = u32::from(bob.sequence) - 1;
    // A report may have been made amid all that: then one that tells the rest follows.
    bob.rtcp
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let (mut told, mut made) = (Vec::new(), 0);
    let block = loop {
        let (packet, _) = receive(&bob.rtcp);
        let packets = rtp::rtcp::parse(&packet).unwrap();
        let (ssrc, blocks) = match &packets[0] {
            Packet::SenderReport { ssrc, info, blocks } => {
                told.push((info.packets, info.octets));
                (*ssrc, blocks)
            }
            Packet::ReceiverReport { ssrc, blocks } => (*ssrc, blocks),
            other => panic!("{other:?}"),
        };
        assert_eq!(ssrc, 0x0102_0304);
        let mut blocks = blocks.iter();
        let whole = blocks.find(|block| block.highest_sequence & 0xffff == last);
        if let (Some(&block), true) = (whole, told.last() == Some(&(said, said * 160))) {
            break block;
        }
        made += 1;
        assert!(made < 4, "{said} packets each way: {packets:?}, {told:?}");
    };
    assert_eq!((block.cumulative_lost, block.fraction_lost), (0, 0));
    let now = stats(&engine).await;
    assert_eq!(now.path, Path::Xdp);
    assert!(now.from_a.packets_xdp >= 10, "{now:?}");
    engine.stop().await;
}
