//! Whose packets are taken, by each policy, over sockets (CVE-2025-53399).

use super::*;

fn leg(remote: Option<Remote>, sources: SourcePolicy) -> Leg {
    Leg {
        family: Family::V4,
        port: None,
        remote,
        muted: false,
        handling: Handling {
            sources,
            ..Handling::default()
        },
    }
}

impl Bed {
    async fn create_by(
        &self,
        policy: SourcePolicy,
        a: Option<Remote>,
        b: Option<Remote>,
    ) -> SessionInfo {
        let create = Create {
            id: session(1),
            owner: "test".into(),
            a: leg(a, policy),
            b: leg(b, policy),
            apart: false,
        };
        self.create_with(create).await.unwrap()
    }
}

/// What has arrived is of no interest.
fn drain(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    while socket.recv_from(&mut [0; 2048]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
}

const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

/// A stranger floods before the peer's first packet and after it, by RTP and RTCP. `heard` and `fed`: whether it is
/// heard, and gets what the other party says, before; afterwards nobody hears it whom the policy protects.
async fn before_and_after(datapath: &str, policy: SourcePolicy, heard: bool, fed: bool) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    // Alice's SDP names her address, and the stranger is on her host, the most that one can be.
    let info = bed
        .create_by(policy, Some(alice.described()), Some(bob.described()))
        .await;
    let mut mallory = Party::new(3);
    for _ in 0..8 {
        mallory.send(info.a.rtp);
    }
    if heard {
        receive(&bob.rtp);
    } else {
        assert_silent(&bob.rtp);
    }
    bob.send(info.b.rtp);
    let (hears, deaf) = if fed {
        (&mallory, &alice)
    } else {
        (&alice, &mallory)
    };
    hears.receive();
    assert_silent(&deaf.rtp);
    if !heard {
        // Nor by RTCP.
        mallory.rtcp.send_to(&REPORT, info.a.rtcp).unwrap();
        assert_silent(&bob.rtcp);
    }
    bed.ask(Request::Delete(session(1))).await.unwrap();
    drain(&bob.rtp);

    // The peer first.
    let info = bed
        .create_by(policy, Some(alice.described()), Some(bob.described()))
        .await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(receive(&bob.rtp).0, sent);
    for _ in 0..8 {
        mallory.send(info.a.rtp);
        let sent = alice.send(info.a.rtp);
        assert_eq!(receive(&bob.rtp).0, sent, "nothing of the stranger");
    }
    bob.send(info.b.rtp);
    alice.receive();
    assert_silent(&mallory.rtp);
    let stats = bed.stats(1).await;
    assert_eq!(stats.from_a.source, Some(alice.address()));
    assert_eq!(stats.from_a.refused, 8);
}

async fn strict_takes_nobody_but_the_peer(datapath: &str) {
    before_and_after(datapath, SourcePolicy::Strict, false, false).await;
}

async fn by_heuristic_a_neighbour_is_in_until_the_peer_sends(datapath: &str) {
    before_and_after(datapath, SourcePolicy::Heuristic, true, true).await;
}

async fn once_takes_the_first(datapath: &str) {
    before_and_after(datapath, SourcePolicy::Once, true, true).await;
}

async fn off_sends_nothing_to_a_stranger(datapath: &str) {
    before_and_after(datapath, SourcePolicy::Off, true, false).await;
}

/// The caller's SDP alone opens no port: before the answer only strangers are in a hurry.
async fn nobody_is_taken_before_the_answer(datapath: &str) {
    for policy in SourcePolicy::ALL {
        let bed = Bed::new(datapath).await;
        let (mut alice, bob, mut mallory) = (Party::new(1), Party::new(2), Party::new(3));
        let info = bed.create_by(policy, Some(alice.described()), None).await;
        for _ in 0..8 {
            mallory.send(info.a.rtp);
            mallory.send(info.b.rtp);
        }
        until("they are refused", async || {
            let stats = bed.stats(1).await;
            (stats.from_a.refused, stats.from_b.refused) == (8, 8)
        })
        .await;
        bed.modify(1, None, Some(bob.described())).await;
        let sent = alice.send(info.a.rtp);
        assert_eq!(receive(&bob.rtp).0, sent);
        assert_eq!(bed.stats(1).await.from_b.source, None);
        bed.ask(Request::Delete(session(1))).await.unwrap();
    }
}

/// A gateway that sends from another port than it receives on.
async fn an_asymmetric_party_is_heard_and_hears(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (gateway, mut out, mut bob) = (Party::new(1), Party::new(1), Party::new(2));
    let policy = SourcePolicy::Off;
    let info = bed
        .create_by(policy, Some(gateway.described()), Some(bob.described()))
        .await;
    for _ in 0..8 {
        out.send(info.a.rtp);
    }
    receive(&bob.rtp);
    let sent = bob.send(info.b.rtp);
    assert_eq!(gateway.receive(), (sent, info.a.rtp));
    assert_silent(&out.rtp);
    assert_eq!(bed.stats(1).await.from_a.source, Some(out.address()));
}

/// A stricter policy in mid-call throws out whom it does not allow.
async fn a_policy_is_changed_in_mid_call(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob, mut mallory) = (Party::new(1), Party::new(2), Party::new(3));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    for _ in 0..4 {
        mallory.send(info.a.rtp);
    }
    receive(&bob.rtp);
    let strict = Handling {
        sources: SourcePolicy::Strict,
        ..Handling::default()
    };
    let modify = Modify {
        id: session(1),
        a: None,
        b: None,
        handling: [Some(strict), None],
    };
    bed.ask(Request::Modify(modify)).await.unwrap();
    drain(&bob.rtp);
    mallory.send(info.a.rtp);
    assert_silent(&bob.rtp);
    let sent = alice.send(info.a.rtp);
    assert_eq!(receive(&bob.rtp).0, sent);
    assert_eq!(bed.stats(1).await.from_a.source, Some(alice.address()));
}

on_both_backends! {
    strict_takes_nobody_but_the_peer;
    by_heuristic_a_neighbour_is_in_until_the_peer_sends;
    once_takes_the_first;
    off_sends_nothing_to_a_stranger;
    nobody_is_taken_before_the_answer;
    an_asymmetric_party_is_heard_and_hears;
    a_policy_is_changed_in_mid_call;
}
