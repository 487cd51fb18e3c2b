//! Any Via: what a server writes into it is a Via again, and says where the request came from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::header::Via;

fuzz_target!(|data: &[u8]| {
    let Ok(via) = Via::parse(data) else { return };
    let _ = (
        via.branch(),
        via.maddr(),
        via.ttl(),
        via.received(),
        via.response_target(),
    );
    let source = "192.0.2.77:4321".parse().expect("an address");
    let Some(stamped) = via.stamped(source) else {
        return;
    };
    let again = Via::parse(&stamped).expect("still a Via");
    assert_eq!(again.branch(), via.branch());
    assert_eq!(again.sent_by(), via.sent_by());
    assert_eq!(again.has_rport(), via.has_rport());
    if again.has_rport() {
        assert_eq!(again.rport(), Some(4321));
        assert_eq!(again.received(), Some(source.ip()));
    }
});
