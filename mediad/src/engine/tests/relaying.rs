//! Packets that are relayed, and those that must not be.

use super::*;

on_both_backends! {
    octets_arrive_unchanged_both_ways;
}

async fn octets_arrive_unchanged_both_ways(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    assert_eq!(info.a.rtp.port() % 2, 0);
    assert_eq!(info.a.rtcp.port(), info.a.rtp.port() + 1);
    for _ in 0..50 {
        let sent = alice.send(info.a.rtp);
        assert_eq!(bob.receive(), (sent, info.b.rtp));
        let sent = bob.send(info.b.rtp);
        assert_eq!(alice.receive(), (sent, info.a.rtp));
    }
    let stats = bed.stats(1).await;
    for (flow, party) in [(&stats.from_a, &alice), (&stats.from_b, &bob)] {
        assert_eq!(
            (flow.packets, flow.forwarded, flow.lost, flow.refused),
            (50, 50, 0, 0)
        );
        assert_eq!(flow.bytes, 50 * 172);
        assert_eq!(flow.source, Some(party.rtp.local_addr().unwrap()));
        assert!(flow.mos.is_some_and(|mos| mos > 4.0), "{:?}", flow.mos);
    }
    assert_eq!(stats.path.name(), datapath);
}
