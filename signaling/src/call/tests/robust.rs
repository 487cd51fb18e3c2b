//! Bad input: counted, answered or dropped, and never the end of anything.

use bytes::Bytes;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use sip::message::Method;

use super::bed::*;

#[test]
fn broken_requests_are_answered_400_where_they_can_be() {
    let mut bed = Bed::new();
    let text = String::from_utf8(invite("+1555", "c1", "").as_bytes().to_vec()).unwrap();
    for broken in [
        text.replace("Content-Length: 0", "Content-Length: 999"),
        text.replace("Content-Length: 0", "Content-Length: -1"),
        text.replace("X-Custom: kept", "no colon here"),
        text.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        text.replace(
            "CSeq: 1 INVITE",
            &format!("CSeq: {} INVITE", "9".repeat(400)),
        ),
        text.replace("tag=ac1", "tag=ac1\r\nFrom: <sip:b@b.test>;tag=2"),
    ] {
        bed.receive(CALLER, broken.clone());
        bed.response(CALLER, 400);
        bed.assert_quiet();
    }
    // In order, and more than is taken.
    for large in [
        text.replace("kept", &"x".repeat(70_000)),
        text.replace("X-Custom: kept", "X: y\r\n".repeat(300).trim_end()),
    ] {
        bed.receive(CALLER, large);
        bed.response(CALLER, 513);
        bed.assert_quiet();
    }
    // RFC 3261 section 21.4.12.
    bed.receive(
        CALLER,
        text.replace("INVITE sip:+", &format!("INVITE sip:{}", "1".repeat(9_000))),
    );
    bed.response(CALLER, 414);
    bed.assert_quiet();
    assert!(bed.core.is_empty());
}

#[test]
fn what_cannot_be_answered_is_dropped_and_counted() {
    let mut bed = Bed::new();
    let text = String::from_utf8(invite("+1555", "c1", "").as_bytes().to_vec()).unwrap();
    let inputs = [
        Bytes::from_static(b"\0\0\0\0\0"),
        Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"),
        Bytes::from(vec![b'A'; 65_000]),
        Bytes::from(text.replace("INVITE", "ACK").replace("kept", "kept\0")),
        Bytes::from(text[..120].to_owned()),
        Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n"),
        Bytes::from_static(
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.77;branch=z9hG4bKx\r\nFrom: <sip:a@b>\
              ;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n",
        ),
    ];
    for input in inputs {
        bed.receive(STRANGER, input);
        bed.sent.retain(|sent| sent.message.status() != Some(400));
        bed.assert_quiet();
    }
    assert!(bed.metrics.parse_errors.get() >= 4);
    assert!(bed.core.is_empty());
}

#[test]
fn no_bytes_make_it_panic_or_harm_the_call_that_is_up() {
    let mut random = StdRng::seed_from_u64(42);
    let mut bed = Bed::new();
    let mut up = call(&mut bed, "+2555", "c1");
    let offer = sdp("192.0.2.10", &[4000], "sendrecv");
    let seeds = [
        invite("+2555", "f1", &offer).into_bytes(),
        invite("+1555", "f2", "").into_bytes(),
        up.caller.send(&Method::Update, &offer).into_bytes(),
        up.callee.send(&Method::Info, "").into_bytes(),
    ];
    for round in 0..4000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..random.random_range(1..12) {
            let place = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[place] = random.random(),
                1 => bytes.truncate(place.max(1)),
                2 => bytes.insert(place, b"\r\n\0;,<\"=:"[random.random_range(0..9)]),
                _ => drop(bytes.remove(place)),
            }
            if bytes.is_empty() {
                bytes.push(b'x');
            }
        }
        // Not a mutation that happens to be the call's own end.
        if !bytes.starts_with(b"BYE") {
            bed.receive(if round % 3 == 0 { STRANGER } else { CALLER }, bytes);
        }
        if round % 50 == 0 {
            bed.pass_ms(700);
        }
        bed.sent.clear();
    }
    for _ in 0..200 {
        let mut noise = vec![0; random.random_range(1..1500)];
        random.fill_bytes(&mut noise);
        bed.receive(STRANGER, noise);
    }
    bed.sent.clear();
    assert!(
        bed.core
            .list(None)
            .iter()
            .any(|info| info.call_id == "c1@pbx.test")
    );
    let bye = up.caller.send(&Method::Bye, "");
    bed.receive_message(CALLER, &bye);
    bed.sent
        .retain(|sent| sent.message.method() == Some(&Method::Bye));
    let passed = bed
        .sent
        .pop_front()
        .expect("the call's BYE is passed on")
        .message;
    bed.receive_message(CALLEE, &passed.respond(200).build().unwrap());
    bed.drain();
    bed.core.stop(bed.now);
    bed.settle();
    bed.assert_empty();
}
