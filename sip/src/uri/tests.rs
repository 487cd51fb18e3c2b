use proptest::prelude::*;

use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn parts_of_a_sip_uri() {
    let uri =
        uri("sips:alice:secret@[2001:db8::1]:5061;transport=tcp;lr?subject=x&priority=urgent");
    assert_eq!(uri.scheme(), Scheme::Sips);
    assert_eq!(
        (uri.user(), uri.password()),
        (Some("alice"), Some("secret"))
    );
    assert_eq!(uri.host(), Some(Host::V6("2001:db8::1".parse().unwrap())));
    assert_eq!(uri.port(), Some(5061));
    assert_eq!(uri.transport(), Some("tcp"));
    assert!(uri.is_loose_router());
    let headers: Vec<_> = uri.headers().collect();
    assert_eq!(headers, [("subject", "x"), ("priority", "urgent")]);
}

#[test]
fn a_user_may_hold_separators() {
    let uri = uri("sip:+1-555;phone-context=example.com?x/y@gw.example.com;user=phone");
    assert_eq!(uri.user(), Some("+1-555;phone-context=example.com?x/y"));
    assert_eq!(uri.params().get("user"), Some("phone"));
    assert_eq!(uri.headers().count(), 0);
}

#[test]
fn what_the_field_sends_is_accepted() {
    assert_eq!(uri("sip:*31#100@pbx_1.example.com").user(), Some("*31#100"));
    assert_eq!(uri("sip:@192.0.2.1").user(), Some(""));
    assert_eq!(
        uri("tel:+1-201-555-0123;phone-context=x").user(),
        Some("+1-201-555-0123")
    );
    assert_eq!(uri("urn:service:sos").scheme(), Scheme::Other("urn"));
    assert_eq!(uri("sip:a@b;param=1:2").params().get("param"), Some("1:2"));
}

#[test]
fn what_is_no_uri_is_refused() {
    let refused = [
        ("example.com", UriError::NoScheme),
        (":x", UriError::NoScheme),
        ("sip:", UriError::Host),
        ("sip:a@", UriError::Host),
        ("sip:2001:db8::10", UriError::Host),
        ("sip:a@[::1", UriError::Host),
        ("sip:a@b:", UriError::Host),
        ("sip:a@b:66000", UriError::Host),
        ("sip:a@b:+5", UriError::Host),
        ("sip:a b@c", UriError::Character),
        ("<sip:a@b>", UriError::Character),
        ("tel:", UriError::Number),
    ];
    for (text, error) in refused {
        assert_eq!(Uri::parse(text).unwrap_err(), error, "{text}");
    }
    assert_eq!(
        Uri::from_bytes(b"sip:\xFF@b").unwrap_err(),
        UriError::NotUtf8
    );
}

/// The examples of RFC 3261 section 19.1.4.
#[test]
fn equal_uris() {
    for (a, b) in [
        (
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtlanTa.CoM;Transport=tcp",
        ),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;newparam=5",
        ),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("sip:a;x=1;x=2", "sip:a;x=1;x=2"),
    ] {
        assert!(uri(a) == uri(b) && uri(b) == uri(a), "{a} {b}");
    }
}

#[test]
fn different_uris() {
    for (a, b) in [
        (
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
        ),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        (
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com:6000;transport=tcp",
        ),
        (
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
        ),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
        ),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:b"),
        ("sip:a%3bb@c", "sip:a;b@c"),
    ] {
        assert!(uri(a) != uri(b) && uri(b) != uri(a), "{a} {b}");
    }
}

#[test]
fn thousands_of_parameters_compare_at_once() {
    let many = |name: &str| {
        let params: String = (0..2_000).map(|i| format!(";{name}{i}=%61")).collect();
        format!("sip:a@b{params}")
    };
    let (a, b) = (many("p"), many("P").replace("%61", "A"));
    let start = std::time::Instant::now();
    assert!(uri(&a) == uri(&b));
    assert!(uri(&a) == uri(&many("q")));
    assert!(uri(&a) != uri(&b.replace(";P7=A", ";P7=b")));
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn escapes_there_and_back() {
    assert_eq!(&*unescape("a%40b%zz%4"), b"a@b%zz%4");
    assert_eq!(escape_user("a@b c%"), "a%40b%20c%25");
    assert_eq!(
        &*unescape(&escape_user("\u{e9}:\u{0}")),
        "\u{e9}:\u{0}".as_bytes()
    );
}

proptest! {
    #[test]
    fn an_ipv4_address_is_what_the_standard_library_takes_for_one(text in "[0-9.]{0,16}|([0-9]{1,3}\\.){3}[0-9]{1,3}") {
        let address = match Host::parse(&text) {
            Some(Host::V4(address)) => Some(address),
            _ => None,
        };
        prop_assert_eq!(address, text.parse().ok());
    }
}
