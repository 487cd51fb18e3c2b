//! Any URI: equal to itself, its parts within it, escapes there and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::uri::{Uri, escape_user, unescape};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(&*unescape(&escape_user(text)), data);
    }
    let Ok(uri) = Uri::from_bytes(data) else {
        return;
    };
    assert!(uri == uri);
    assert_eq!(uri.as_str().as_bytes(), data);
    let _ = (
        uri.user_unescaped(),
        uri.headers().count(),
        uri.params().iter().count(),
    );
    if let Some(host) = uri.host() {
        let written = host.to_string();
        assert_eq!(sip::uri::Host::parse(&written), Some(host));
    }
});
