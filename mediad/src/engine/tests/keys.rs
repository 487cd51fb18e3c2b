//! Telephone keys that a party hears.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rtp::dtmf::{TelephoneEvent, key};

use super::*;

on_both_backends! {
    keys_take_the_place_of_what_the_other_party_says;
    keys_are_heard_where_nobody_speaks;
    who_is_muted_keeps_the_time_for_keys;
    keys_that_cannot_be_told_are_refused;
    who_encrypts_is_left_alone;
    who_holds_the_call_is_told_of_no_keys;
}

fn order(id: u8, hears: Side, order: u64, digits: &str) -> Dtmf {
    Dtmf {
        id: session(id),
        hears,
        order,
        digits: digits.into(),
        duration_ms: 60,
        gap_ms: 40,
    }
}

/// An RTP packet as it was heard.
struct Heard {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    event: Option<TelephoneEvent>,
}

/// All that comes until nothing has for a while.
fn hear(socket: &UdpSocket) -> Vec<Heard> {
    socket
        .set_read_timeout(Some(Duration::from_millis(400)))
        .unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok((len, _)) = socket.recv_from(&mut buffer) {
        let packet = rtp::Packet::parse(&buffer[..len]).unwrap();
        let is_event = packet.payload_type() == 101;
        heard.push(Heard {
            ssrc: packet.ssrc(),
            sequence: packet.sequence(),
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            event: TelephoneEvent::parse(packet.payload()).filter(|_| is_event),
        });
    }
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    heard
}

/// The keys that were heard; each is told as RFC 4733 has it, and the stream is one.
fn keys(heard: &[Heard]) -> String {
    for pair in heard.windows(2) {
        assert_eq!(pair[0].ssrc, pair[1].ssrc);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
    let told: Vec<_> = heard
        .iter()
        .filter_map(|heard| Some((heard, heard.event?)))
        .collect();
    let mut keys = String::new();
    for event in told.chunk_by(|(_, _), (next, _)| !next.marker) {
        let (first, pressed) = event[0];
        assert!(first.marker);
        assert!(
            event
                .iter()
                .all(|(heard, _)| heard.timestamp == first.timestamp)
        );
        assert!(event.is_sorted_by_key(|(_, event)| event.duration));
        assert_eq!(event.iter().filter(|(_, event)| event.end).count(), 3);
        assert_eq!(event.last().unwrap().1.duration, 60 * 8);
        keys.extend(key(pressed.event));
    }
    keys
}

async fn press(bed: &Bed, order: Dtmf) {
    let answer = bed.ask(Request::Dtmf(order)).await;
    assert!(matches!(answer, Ok(Response::Session(_))), "{answer:?}");
}

async fn keys_take_the_place_of_what_the_other_party_says(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, mut bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let before = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, before);
    press(&bed, order(1, Side::B, 7, "1#")).await;
    // The control channel may bring it twice.
    press(&bed, order(1, Side::B, 7, "1#")).await;
    press(&bed, order(1, Side::B, 8, "D")).await;
    let mut last = Vec::new();
    for _ in 0..40 {
        last = alice.send(info.a.rtp);
        // What she hears herself is as it was.
        let sent = bob.send(info.b.rtp);
        assert_eq!(alice.receive().0, sent);
    }
    let heard = hear(&bob.rtp);
    assert_eq!(keys(&heard), "1#D");
    assert!(heard.iter().all(|heard| heard.ssrc == 1));
    assert!(heard.iter().any(|heard| heard.event.is_none()));
    // Nothing was made where she spoke: her last packet has the number that she gave it.
    let number = rtp::Packet::parse(&last).unwrap().sequence();
    assert_eq!(heard.last().unwrap().sequence, number);
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent, "and she is heard as before");
}

async fn keys_are_heard_where_nobody_speaks(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    press(&bed, order(1, Side::B, 1, "5w0")).await;
    let heard = hear_long(&bob.rtp);
    assert_eq!(keys(&heard), "50");

    // After she has spoken, hers is the stream, and her numbers go on after those of the keys.
    alice.send(info.a.rtp);
    bob.receive();
    press(&bed, order(1, Side::B, 2, "9")).await;
    let mut heard = hear_long(&bob.rtp);
    assert!(heard.iter().all(|heard| heard.ssrc == 1));
    for _ in 0..5 {
        alice.send(info.a.rtp);
    }
    heard.extend(hear(&bob.rtp));
    assert_eq!(keys(&heard), "9");
    assert_eq!(
        heard.iter().filter(|heard| heard.event.is_none()).count(),
        5
    );
}

/// Two keys may be half a second apart.
fn hear_long(socket: &UdpSocket) -> Vec<Heard> {
    let mut heard = hear(socket);
    heard.extend(hear(socket));
    heard
}

async fn who_is_muted_keeps_the_time_for_keys(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    bed.mute(1, true, false).await;
    let number = |packet: &[u8]| rtp::Packet::parse(packet).unwrap().sequence();
    // She speaks all the while: after a pause the clock would make packets.
    let over = Arc::new(AtomicBool::new(false));
    let (is_over, to) = (over.clone(), info.a.rtp);
    let speaker = std::thread::spawn(move || {
        let mut sent = Vec::new();
        while !is_over.load(Relaxed) {
            sent.push(number(&alice.send(to)));
            std::thread::sleep(Duration::from_millis(10));
        }
        (alice, sent)
    });
    press(&bed, order(1, Side::B, 1, "42")).await;
    let heard = hear(&bob.rtp);
    over.store(true, Relaxed);
    let (mut alice, sent) = speaker.join().unwrap();
    let count = u64::try_from(sent.len()).unwrap();
    until("all has come", async || {
        bed.stats(1).await.from_a.packets == count
    })
    .await;
    assert!(heard.iter().all(|heard| heard.event.is_some()));
    // Her packets were there for the keys to take the place of; the clock made none.
    assert!(heard.iter().all(|heard| heard.ssrc == 1));
    assert!(heard.iter().all(|heard| sent.contains(&heard.sequence)));
    let pressed = heard.iter().filter(|heard| heard.marker);
    let pressed: String = pressed
        .filter_map(|heard| key(heard.event?.event))
        .collect();
    assert_eq!(pressed, "42");
    bed.mute(1, false, false).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent, "with the number that she gave it");
}

async fn keys_that_cannot_be_told_are_refused(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (alice, bob) = (Party::new(1), Party::new(2));
    bed.try_create(1).await.unwrap();
    let refused = async |order: Dtmf| bed.ask(Request::Dtmf(order)).await.unwrap_err();
    let fault = refused(order(1, Side::A, 1, "1")).await;
    assert_eq!(fault.code, FaultCode::Conflict, "{fault}");

    let deaf = Remote {
        events: None,
        ..alice.described()
    };
    bed.modify(1, Some(deaf), Some(bob.described())).await;
    let fault = refused(order(1, Side::A, 1, "1")).await;
    assert_eq!(fault.code, FaultCode::Conflict);
    assert!(fault.message.contains("telephone-event"), "{fault}");
    assert_eq!(
        refused(order(2, Side::A, 1, "1")).await.code,
        FaultCode::NotFound
    );
    let fault = refused(order(1, Side::B, 1, "1x")).await;
    assert_eq!(fault.code, FaultCode::Invalid);
    assert!(fault.message.contains("'x'"), "{fault}");

    for (number, digits) in (1..).zip([100, 100]) {
        press(&bed, order(1, Side::B, number, &"W".repeat(digits))).await;
    }
    let fault = refused(order(1, Side::B, 3, "1")).await;
    assert_eq!(fault.code, FaultCode::Conflict);

    let secret = Remote {
        secure: true,
        ..bob.described()
    };
    bed.modify(1, None, Some(secret)).await;
    let fault = refused(order(1, Side::B, 4, "1")).await;
    assert_eq!(fault.code, FaultCode::Conflict);
    assert!(fault.message.contains("SRTP"), "{fault}");
}

async fn who_encrypts_is_left_alone(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (mut alice, bob) = (Party::new(1), Party::new(2));
    let info = bed
        .create(1, Some(alice.described()), Some(bob.described()))
        .await;
    // Where she is silent, the numbers of what she sends later are moved.
    press(&bed, order(1, Side::B, 1, "5")).await;
    hear_long(&bob.rtp);
    alice.send(info.a.rtp);
    bob.receive();
    press(&bed, order(1, Side::B, 2, "5")).await;
    hear_long(&bob.rtp);
    let sent = alice.send(info.a.rtp);
    assert_ne!(bob.receive().0, sent, "her number is moved");

    let secret = Remote {
        secure: true,
        ..alice.described()
    };
    bed.modify(1, Some(secret), None).await;
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive().0, sent, "as she authenticated it");

    // Two who find out by themselves that they can encrypt.
    let (alice, bob) = (Party::new(3), Party::new(4));
    let info = bed
        .create(2, Some(alice.described()), Some(bob.described()))
        .await;
    let hello = b"\x10\0\0\x01ZRTP\0\0\0\0";
    alice.rtp.send_to(hello, info.a.rtp).unwrap();
    assert_eq!(bob.receive().0, hello);
    press(&bed, order(2, Side::B, 1, "WW")).await;
    bob.rtp.send_to(hello, info.b.rtp).unwrap();
    assert_eq!(alice.receive().0, hello);
    for side in [Side::A, Side::B] {
        let asked = Request::Dtmf(order(2, side, 2, "1"));
        let fault = bed.ask(asked).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Conflict);
        assert!(fault.message.contains("SRTP"), "{fault}");
    }
}

async fn who_holds_the_call_is_told_of_no_keys(datapath: &str) {
    let bed = Bed::new(datapath).await;
    let (alice, bob) = (Party::new(1), Party::new(2));
    bed.create(1, Some(alice.described()), Some(bob.described()))
        .await;
    let holding = Remote {
        receives: false,
        ..bob.described()
    };
    press(&bed, order(1, Side::B, 1, "W1")).await;
    bed.modify(1, None, Some(holding)).await;
    let asked = Request::Dtmf(order(1, Side::B, 2, "1"));
    let fault = bed.ask(asked).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Conflict);
    assert!(fault.message.contains("hold"), "{fault}");
    // The one who is held hears them; what was to be pressed is forgotten.
    press(&bed, order(1, Side::A, 3, "2")).await;
    assert_eq!(keys(&hear(&alice.rtp)), "2");
    bed.modify(1, None, Some(bob.described())).await;
    press(&bed, order(1, Side::B, 4, "3")).await;
    assert_eq!(keys(&hear_long(&bob.rtp)), "3");
}
