//! Any Authorization and WWW-Authenticate: no credentials that hold without the password, and a
//! challenge that is written is read again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::digest::{Challenge, Credentials, Freshness, Ha1, Hash, NonceSecret, Nonces};

fuzz_target!(|data: &[u8]| {
    if let Ok(credentials) = Credentials::parse(data) {
        // Who made this up knows no password: a response that holds would be a collision.
        for hash in [Hash::Md5, Hash::Sha256, Hash::Sha512_256] {
            let ha1 = Ha1::new(hash, "alice", "example.test", "secret");
            assert!(!credentials.verify(&ha1, "REGISTER", b""));
        }
        let nonces = Nonces::new(NonceSecret([7; 32]), 300);
        let judged = nonces.judge(1_000, credentials.nonce, "example.test");
        assert!(!matches!(judged, Freshness::Fresh(_)));
    }
    for challenge in Challenge::parse_all(data) {
        let Ok(written) = challenge.to_value() else {
            continue;
        };
        let again = Challenge::parse_all(written.as_bytes());
        assert_eq!(again.len(), 1, "{written}");
        assert_eq!(again[0].realm, challenge.realm);
        assert_eq!(again[0].nonce, challenge.nonce);
        assert_eq!(again[0].algorithm, challenge.algorithm);
    }
});
