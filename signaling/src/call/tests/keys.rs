//! Telephone keys that operators have pressed.

use control::{
    FaultCode,
    media::{self, EventFormat, Side},
    signal::{DtmfOrder, Party as Who},
};

use super::bed::*;

fn order(bed: &Bed, party: Who) -> DtmfOrder {
    DtmfOrder {
        id: bed.core.list(None)[0].id.clone(),
        party,
        digits: "12#".into(),
        duration_ms: 100,
        gap_ms: 50,
    }
}

/// What becomes of an order.
fn press(bed: &mut Bed, party: Who) -> Result<(), FaultCode> {
    let order = order(bed, party);
    let begun = bed.core.dtmf(bed.now, &order).expect("the call is up");
    begun.map_err(|fault| fault.code)?;
    bed.settle();
    let outcome = bed.obeyed.pop().expect("mediad has answered");
    outcome.map(drop).map_err(|fault| fault.code)
}

/// Audio with these formats, as `a=rtpmap` has them.
fn audio(address: &str, port: u16, formats: &[(u8, &str)]) -> String {
    let types: Vec<_> = formats
        .iter()
        .map(|(number, _)| number.to_string())
        .collect();
    let mut text = sdp(address, &[], "");
    text.push_str(&format!("m=audio {port} RTP/AVP {}\r\n", types.join(" ")));
    for (number, name) in formats {
        text.push_str(&format!("a=rtpmap:{number} {name}\r\n"));
    }
    text
}

/// How mediad is to tell each party of keys.
fn told(bed: &Bed) -> [Option<EventFormat>; 2] {
    let (create, _) = bed.mediad.sessions.values().next().unwrap();
    [&create.a, &create.b].map(|leg| leg.remote.as_ref().unwrap().events)
}

#[test]
fn keys_are_told_each_party_in_the_format_that_it_takes() {
    let mut bed = Bed::new();
    let offer = audio(
        "192.0.2.10",
        4000,
        &[
            (111, "opus/48000/2"),
            (8, "PCMA/8000"),
            (110, "telephone-event/48000"),
            (101, "telephone-event/8000"),
        ],
    );
    let answered = audio(
        "192.0.2.20",
        5000,
        &[(8, "PCMA/8000"), (96, "TELEPHONE-EVENT/8000")],
    );
    let mut up = call_with(&mut bed, "+2555", "c1", &offer, &answered);
    let format = |payload_type| {
        Some(EventFormat {
            payload_type,
            clock_rate: 8000,
            audio_rate: 8000,
        })
    };
    assert_eq!(told(&bed), [format(101), format(96)]);
    // Who sends his own number in place of the other's is put right.
    let (create, _) = bed.mediad.sessions.values().next().unwrap();
    let types = [&create.a, &create.b].map(|leg| leg.remote.as_ref().unwrap().types.clone());
    let pair = |theirs, own| vec![media::TypePair { theirs, own }];
    assert_eq!(types, [pair(96, 101), pair(101, 96)]);
    bed.asked();
    for (party, side) in [(Who::Caller, Side::A), (Who::Callee, Side::B)] {
        assert_eq!(press(&mut bed, party), Ok(()));
        let Some(media::Request::Dtmf(asked)) = bed.mediad.asked.pop() else {
            unreachable!("mediad was not asked");
        };
        assert_eq!((asked.hears, &*asked.digits), (side, "12#"));
        assert_eq!((asked.duration_ms, asked.gap_ms), (100, 50));
    }
    bed.assert_quiet();

    // An order whose call ends before mediad has answered.
    bed.mediad.holds = true;
    let order = order(&bed, Who::Caller);
    bed.core.dtmf(bed.now, &order).unwrap().unwrap();
    bed.settle();
    hang_up(&mut bed, &mut up);
    bed.mediad.holds = false;
    bed.release();
    let outcome = bed.obeyed.pop().unwrap();
    assert_eq!(outcome.unwrap_err().code, FaultCode::Conflict);
    assert!(bed.core.dtmf(bed.now, &order).is_none());
    bed.assert_empty();
}

#[test]
fn keys_that_were_not_agreed_on_are_refused() {
    let mut bed = Bed::new();
    let with = [(8, "PCMA/8000"), (101, "telephone-event/8000")];
    let offer = audio("192.0.2.10", 4000, &with);
    let answered = audio("192.0.2.20", 5000, &with[..1]);
    let mut up = call_with(&mut bed, "+2555", "c1", &offer, &answered);
    assert_eq!(told(&bed), [None, None]);
    for party in [Who::Caller, Who::Callee] {
        assert_eq!(press(&mut bed, party), Err(FaultCode::Conflict));
    }
    hang_up(&mut bed, &mut up);

    // What goes past this node cannot be told anything.
    let mut up = call_with(&mut bed, "+1555", "c2", &offer, &offer);
    assert_eq!(press(&mut bed, Who::Callee), Err(FaultCode::Conflict));
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

#[test]
fn a_mediad_that_lost_the_session_is_told_of_no_keys() {
    let mut bed = Bed::new();
    let with = audio(
        "192.0.2.10",
        4000,
        &[(0, "PCMU/8000"), (101, "telephone-event/8000")],
    );
    let mut up = call_with(&mut bed, "+2555", "c1", &with, &with);
    bed.mediad.sessions.clear();
    assert_eq!(press(&mut bed, Who::Callee), Err(FaultCode::Conflict));
    hang_up(&mut bed, &mut up);
    bed.assert_empty();
}

/// Which parties' media is secret, and which of them want to hear.
fn described(bed: &Bed) -> [(bool, bool); 2] {
    let create = bed.mediad.only();
    [&create.a, &create.b].map(|leg| {
        let remote = leg.remote.as_ref().unwrap();
        (remote.secure, remote.receives)
    })
}

#[test]
fn media_that_may_be_encrypted_is_told_as_secret() {
    let with = [(0, "PCMU/8000"), (101, "telephone-event/8000")];
    let plain = |address, port| audio(address, port, &with);
    let session = |text: String, line: &str| text.replace("m=", &format!("{line}\r\nm="));
    let crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc\r\n";
    let print = "a=fingerprint:sha-256 AA:BB";
    let hash = "a=zrtp-hash:1.10 fe30\r\n";
    let (a, b) = (|| plain("192.0.2.10", 4000), || plain("192.0.2.20", 5000));
    for (offer, answered, is_secret) in [
        (a(), b(), false),
        (a() + crypto, b() + crypto, true),
        (session(a(), print), b() + print + "\r\n", true),
        (a() + hash, b() + hash, true),
        // What only one of them can do is not done.
        (a() + crypto, b(), false),
        (a() + crypto, session(b(), print), false),
    ] {
        let mut bed = Bed::new();
        let mut up = call_with(&mut bed, "+2555", "c1", &offer, &answered);
        assert_eq!(described(&bed), [(is_secret, true); 2], "{offer}{answered}");
        hang_up(&mut bed, &mut up);
        bed.assert_empty();
    }
}
