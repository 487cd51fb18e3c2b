//! Any REGISTER: what it asks for is within the bounds of the registrar.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::{
    message::Message,
    registrar::{Bounds, Register, Wish},
};

const HEAD: &[u8] = b"REGISTER sip:b.test SIP/2.0\r\nVia: SIP/2.0/UDP a.test;branch=z9hG4bK1\r\n\
    From: <sip:a@b.test>;tag=1\r\nTo: <sip:a@b.test>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n";

fuzz_target!(|data: &[u8]| {
    let Ok(request) = Message::parse([HEAD, data].concat().into()) else {
        return;
    };
    if request.validate().is_err() {
        return;
    }
    let bounds = Bounds {
        min: 60,
        default: 3600,
        max: 7200,
    };
    let Ok(Register {
        wish: Wish::Update(contacts),
        ..
    }) = Register::parse(&request, &bounds)
    else {
        return;
    };
    for contact in contacts {
        assert!(!contact.uri().is_empty());
        assert!(contact.expires == 0 || contact.expires <= bounds.max);
        assert!(contact.q.is_none_or(|q| q <= 1000));
    }
});
