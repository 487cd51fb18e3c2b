//! A proxy's edit of any message: the rest is copied byte for byte, and undoing it restores the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::{header::HeaderName, message::Message};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = Message::parse(data.to_vec().into()) else {
        return;
    };
    assert_eq!(message.edit().finish().expect("a copy"), message);
    let via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfuzz";
    // At the limit of headers there is no room for one more.
    let Ok(forwarded) = message.edit().push_top(HeaderName::Via, via).finish() else {
        return;
    };
    assert_eq!(forwarded.via().expect("pushed").as_str(), via);
    assert_eq!(forwarded.body(), message.body());
    let back = forwarded
        .edit()
        .remove_first(HeaderName::Via)
        .finish()
        .expect("removed");
    assert_eq!(back, message);
    for name in HeaderName::all() {
        let without = message.edit().remove(*name).finish().expect("removed");
        assert!(without.header(*name).is_none());
    }
});
