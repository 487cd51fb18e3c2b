//! Whose RTCP the program forwards, where it has a port of its own, and when.

use super::*;

const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

/// Alice's host sends RTCP from another port first. Her own gives it no chance, and what bob reports comes to her.
pub(crate) async fn a_neighbour_does_not_keep_the_rtcp_of_a_party(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let info = create(&engine, &alice, &bob).await;
    talk_until_offloaded(&engine, &mut alice, &mut bob, &info).await;
    let mallory = bed.party(&bed.caller, 1);
    for _ in 0..3 {
        mallory.rtcp.send_to(&REPORT, info.a.rtcp).unwrap();
        receive(&bob.rtcp);
    }
    for _ in 0..3 {
        alice.rtcp.send_to(&REPORT, info.a.rtcp).unwrap();
        receive(&bob.rtcp);
        bob.rtcp.send_to(&REPORT, info.b.rtcp).unwrap();
        receive(&alice.rtcp);
    }
    mallory.rtcp.send_to(&REPORT, info.a.rtcp).unwrap();
    assert!(!hears(&bob.rtcp) && !hears(&mallory.rtcp));
    engine.stop().await;
}

/// Who waits in a queue, or for a whisper to end, tells nobody of itself.
pub(crate) async fn rtcp_of_parties_that_are_apart_stays(bed: &Bed) {
    let engine = start().await;
    let (mut alice, mut bob) = (bed.party(&bed.caller, 1), bed.party(&bed.callee, 2));
    let create = Create {
        id: ID,
        owner: "test".into(),
        a: alice.leg(),
        b: bob.leg(),
        apart: true,
    };
    let answer = engine.handle(Request::Create(create)).await.unwrap();
    let Response::Session(info) = answer else {
        panic!("{answer:?}");
    };
    // Long enough for the next hops to be found.
    for _ in 0..25 {
        for (party, local) in [(&mut alice, info.a), (&mut bob, info.b)] {
            party.send(local.rtp);
            party.rtcp.send_to(&REPORT, local.rtcp).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!hears(&alice.rtcp) && !hears(&bob.rtcp));
    let orders = Voice {
        id: ID,
        orders: vec![VoiceOrder::Join(true)],
    };
    engine.handle(Request::Voice(orders)).await.unwrap();
    for _ in 0..3 {
        alice.rtcp.send_to(&REPORT, info.a.rtcp).unwrap();
        receive(&bob.rtcp);
    }
    engine.stop().await;
}

/// Whether something comes in a while.
fn hears(socket: &UdpSocket) -> bool {
    socket
        .set_read_timeout(Some(Duration::from_millis(150)))
        .unwrap();
    let heard = socket.recv_from(&mut [0; 2048]).is_ok();
    socket
        .set_read_timeout(Some(Duration::from_secs(6)))
        .unwrap();
    heard
}
