//! Ports that keep their sockets from one session to the next: nothing else of the last one is left in them.

use std::collections::HashSet;

use super::relaying::{hear_tos, receive_tos};
use super::*;

on_both_backends! {
    late_packets_do_not_reach_the_next_call;
    tos_is_of_one_session;
    kept_sockets_are_of_one_address;
    kept_sockets_are_held_until_the_end;
}

/// A leg that takes the first source there is, the most that a stranger can hope for.
fn trusting(party: &Party, tos: Option<u8>) -> Leg {
    Leg {
        family: Family::of(&party.address()),
        port: None,
        remote: Some(party.described()),
        muted: false,
        handling: Handling {
            sources: SourcePolicy::Once,
            tos,
            ..Handling::default()
        },
    }
}

fn between(id: u8, a: Leg, b: Leg) -> Create {
    Create {
        id: session(id),
        owner: "test".into(),
        a,
        b,
        apart: false,
    }
}

async fn end(bed: &Bed, id: u8) {
    let gone = bed.ask(Request::Delete(session(id))).await.unwrap();
    assert!(matches!(gone, Response::Stats(_)), "{gone:?}");
}

/// There are two pairs, so each call has those of the one before, at once.
async fn late_packets_do_not_reach_the_next_call(datapath: &str) {
    let bed = Bed::with(datapath, 4, "").await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let mut before: Option<SessionInfo> = None;
    for id in 1..20 {
        if let Some(before) = before.take() {
            end(&bed, id - 1).await;
            // The phones have not heard of it yet.
            for _ in 0..10 {
                alice.send(before.a.rtp);
                bob.send(before.b.rtp);
                alice.rtcp.send_to(&REPORT, before.a.rtcp).unwrap();
            }
        }
        let (mut carol, mut dave) = (Party::new(3), Party::new(4));
        let create = between(id, trusting(&carol, None), trusting(&dave, None));
        let info = bed.create_with(create).await.unwrap();
        let stats = bed.stats(id).await;
        assert_eq!((stats.from_a.source, stats.from_b.source), (None, None));
        let sent = carol.send(info.a.rtp);
        assert_eq!(dave.receive(), (sent, info.b.rtp));
        let sent = dave.send(info.b.rtp);
        assert_eq!(carol.receive(), (sent, info.a.rtp));
        let stats = bed.stats(id).await;
        for flow in [&stats.from_a, &stats.from_b] {
            assert_eq!((flow.packets, flow.refused), (1, 0), "{stats:?}");
        }
        (alice, bob) = (carol, dave);
        before = Some(info);
    }
    // Each of them was counted, wherever it was found.
    let late = 18 * 30;
    until("late packets are counted", async || {
        let page = bed.engine.metrics();
        let of = |name: &str| {
            let lines = page.lines().filter(|line| line.contains(name));
            let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
            values.sum::<u64>()
        };
        of("result=\"no_session\"") + of("event=\"left_over\"") == late
    })
    .await;
}

const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

async fn tos_is_of_one_session(datapath: &str) {
    let bed = Bed::with(datapath, 4, "").await;
    let changes = [(Some(0xb8), 0xb8), (None, 0), (Some(0x2c), 0x2c), (None, 0)];
    for (id, (tos, heard)) in (1..).zip(changes) {
        let (mut alice, mut bob) = (Party::new(1), Party::new(2));
        let create = between(id, trusting(&alice, tos), trusting(&bob, tos));
        let info = bed.create_with(create).await.unwrap();
        hear_tos(&alice.rtp);
        hear_tos(&bob.rtp);
        // Unconnected, and connected.
        for _ in 0..2 {
            alice.send(info.a.rtp);
            assert_eq!(receive_tos(&bob.rtp), heard);
            bob.send(info.b.rtp);
            assert_eq!(receive_tos(&alice.rtp), heard);
        }
        end(&bed, id).await;
    }
}

async fn kept_sockets_are_of_one_address(datapath: &str) {
    let bed = Bed::with(datapath, 4, "").await;
    for (id, ip) in (1..).zip(["127.0.0.1", "::1", "127.0.0.1", "127.0.0.1"]) {
        let (mut alice, bob) = (Party::on(ip, 1), Party::on(ip, 2));
        let create = between(id, trusting(&alice, None), trusting(&bob, None));
        let info = bed.create_with(create).await.unwrap();
        assert_eq!(info.a.rtp.ip(), alice.address().ip());
        let sent = alice.send(info.a.rtp);
        assert_eq!(bob.receive(), (sent, info.b.rtp));
        end(&bed, id).await;
    }
}

async fn kept_sockets_are_held_until_the_end(datapath: &str) {
    let bed = Bed::with(datapath, 8, "").await;
    let info = bed.create(1, None, None).await;
    end(&bed, 1).await;
    let ports: HashSet<u16> = [info.a, info.b]
        .iter()
        .flat_map(|local| [local.rtp.port(), local.rtcp.port()])
        .collect();
    assert_eq!(bed.engine.status().ports_used, 0);
    assert!(bed.engine.metrics().contains("tandem_media_ports_kept 4"));
    assert!(bound_ports().is_superset(&ports));
    bed.engine.stop().await;
    assert!(bound_ports().is_disjoint(&ports));
}

/// The UDP ports that have a socket in this network namespace. (Descriptors are not counted: other
/// tests of this process open some.)
fn bound_ports() -> HashSet<u16> {
    let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
    let locals = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    locals
        .filter_map(|local| u16::from_str_radix(local.split_once(':')?.1, 16).ok())
        .collect()
}
