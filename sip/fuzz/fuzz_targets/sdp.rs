//! Any body: what a relay writes is SDP that leads every live stream to the relay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::sdp::{Relay, Sdp, locate_in, splice};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(at)) = locate_in(b"multipart/mixed;boundary=b", data) {
        assert_eq!(&splice(data, &at, &data[at.clone()])[..], data);
    }
    let Ok(sdp) = Sdp::parse(data) else { return };
    let relay = Relay {
        address: [203, 0, 113, 1].into(),
        rtp: 20_000,
        rtcp: 20_001,
    };
    let relays = vec![Some(relay); sdp.media().len()];
    let Ok(rewritten) = sdp.rewrite(&relays) else {
        return;
    };
    let again = Sdp::parse(&rewritten).expect("still SDP");
    assert_eq!(again.media().len(), sdp.media().len());
    for (new, old) in again.media().iter().zip(sdp.media()) {
        assert_eq!(new.is_refused(), old.is_refused());
        if new.is_refused() {
            continue;
        }
        assert_eq!(new.port(), relay.rtp);
        assert_eq!(new.is_held(), old.is_held());
        let address = new.address().expect("an address");
        assert!(address == relay.address || address.is_unspecified());
    }
});
