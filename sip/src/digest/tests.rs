//! Published vectors, odd spellings, forgeries and replays.

use proptest::prelude::*;

use super::*;
use crate::{header::HeaderName, message::Message};

/// RFC 7616 section 3.9.1, as one header value each.
fn rfc7616(algorithm: &str, response: &str) -> String {
    format!(
        "Digest username=\"Mufasa\",\r\n realm=\"http-auth@example.org\",\r\n \
         uri=\"/dir/index.html\", algorithm={algorithm}, \
         nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
         cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
         response=\"{response}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
    )
}

#[test]
fn the_vectors_of_rfc_7616_verify() {
    for (hash, response) in [
        (Hash::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (
            Hash::Sha256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ] {
        let value = rfc7616(hash.as_str(), response);
        let credentials = Credentials::parse(value.as_bytes()).unwrap();
        let ha1 = Ha1::new(hash, "Mufasa", "http-auth@example.org", "Circle of Life");
        assert!(credentials.verify(&ha1, "GET", b""));
        assert!(!credentials.verify(&ha1, "POST", b""));
        let wrong = Ha1::new(hash, "Mufasa", "http-auth@example.org", "Circle of life");
        assert!(!credentials.verify(&wrong, "GET", b""));
        let stored = Ha1::from_hex(hash, &ha1.expose().to_ascii_uppercase()).unwrap();
        assert!(credentials.verify(&stored, "GET", b""));
    }
}

/// RFC 7616 section 3.9.2 with the values of its erratum 4897.
#[test]
fn sha_512_256_and_a_hashed_name() {
    let challenge = "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
        nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", \
        opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\", charset=UTF-8, userhash=true";
    let challenges = Challenge::parse_all(challenge.as_bytes());
    let name = "J\u{e4}s\u{f8}n Doe";
    let (value, at) = answer(
        &challenges,
        &Answer {
            username: name,
            secret: Secret::Password("Secret, or not?"),
            realm: Some("api@example.org"),
            method: "GET",
            uri: "/doe.json",
            body: b"",
            cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            nc: 1,
        },
    )
    .unwrap();
    assert_eq!(at, 0);
    let hashed = "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b";
    assert!(value.contains(&format!("username=\"{hashed}\"")), "{value}");
    assert!(value.contains(",userhash=true"));
    let ha1 = Ha1::new(Hash::Sha512_256, name, "api@example.org", "Secret, or not?");
    let own = Credentials::parse(value.as_bytes()).unwrap();
    assert!(own.userhash && own.verify(&ha1, "GET", b""));

    let vector = "response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\"";
    assert!(value.contains(vector), "{value}");
}

/// RFC 2617 section 3.5, and without qop as RFC 2069 had it.
#[test]
fn old_clients_are_understood() {
    let ha1 = Ha1::new(Hash::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
    assert_eq!(ha1.expose(), "939e7578ed9e3c518a452acee763bce9");
    let old = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
        nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\"";
    let with_qop = format!(
        "{old}, qop=auth, nc=00000001, cnonce=\"0a4f113b\", \
         response=\"6629fae49393a05397450978507c4ef1\""
    );
    let without = format!("{old}, response=\"670fd8c2df070c60b045671b8b24ff02\"");
    for value in [with_qop, without] {
        let credentials = Credentials::parse(value.as_bytes()).unwrap();
        assert!(credentials.verify(&ha1, "GET", b""), "{value}");
    }
}

#[test]
fn what_is_odd_but_plain_is_understood() {
    let value = "DIGEST\tusername=\"a\\\"b\" ,REALM = \"x, y\",nonce=n,uri=\"sip:a,b@x\",,\
        response=\"0\", X-Unknown=\"1,2\", algorithm=\"md5\",qop=\"auth\",nc=0000000a,cnonce=\"\"";
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    assert_eq!(credentials.username, "a\"b");
    assert_eq!(credentials.realm, "x, y");
    assert_eq!(credentials.uri, "sip:a,b@x");
    assert_eq!(credentials.nc, Some(10));
    let named = "Digest username*=UTF-8''J%C3%A4s%C3%B8n, realm=r, nonce=n, uri=u, response=0";
    let credentials = Credentials::parse(named.as_bytes()).unwrap();
    assert_eq!(credentials.username, "J\u{e4}s\u{f8}n");
}

#[test]
fn what_is_broken_is_named() {
    let base = "Digest username=u,realm=r,nonce=n,uri=u,response=0";
    for (value, error) in [
        ("", DigestError::Malformed),
        ("Basic YTpi", DigestError::Scheme),
        ("Digest", DigestError::Missing("username")),
        ("Digest username=\"u, realm=r", DigestError::Malformed),
        ("Digest username", DigestError::Malformed),
        (&format!("{base},nonce=m"), DigestError::Repeated),
        (&format!("{base},algorithm=MD6"), DigestError::Unsupported),
        (&format!("{base},qop=auth"), DigestError::Missing("nc")),
        (
            &format!("{base},qop=auth,nc=00000000,cnonce=c"),
            DigestError::Malformed,
        ),
        (
            &format!("{base},qop=auth,nc=1,cnonce=c"),
            DigestError::Malformed,
        ),
        (
            &format!("{base},qop=auth,nc=00000001"),
            DigestError::Missing("cnonce"),
        ),
        (
            &format!("{base},qop=auth-conf,nc=00000001,cnonce=c"),
            DigestError::Unsupported,
        ),
        (
            &format!("{base},algorithm=MD5-sess"),
            DigestError::Missing("cnonce"),
        ),
        (
            &format!("{base}, Digest username=v"),
            DigestError::Malformed,
        ),
        (
            "Digest username=u,realm=r,nonce=n,response=0",
            DigestError::Missing("uri"),
        ),
    ] {
        assert_eq!(
            Credentials::parse(value.as_bytes()).unwrap_err(),
            error,
            "{value}"
        );
    }
}

#[test]
fn a_request_has_credentials_for_several_realms() {
    let raw = "INVITE sip:b@example.test SIP/2.0\r\n\
        Proxy-Authorization: Basic YTpi\r\n\
        Proxy-Authorization: Digest username=a,realm=\"other\",nonce=1,uri=u,response=0\r\n\
        Proxy-Authorization: Digest username=b,realm=\"Example.Test\",nonce=2,uri=u,response=0\r\n\
        \r\n";
    let request = Message::parse(raw.into()).unwrap();
    let name = HeaderName::ProxyAuthorization;
    let found = Credentials::of_request(&request, name, "example.test").unwrap();
    assert_eq!(found.unwrap().username, "b");
    let none = Credentials::of_request(&request, name, "third").unwrap();
    assert!(none.is_none());
}

#[test]
fn the_strongest_challenge_of_the_right_realm_is_answered() {
    let raw = "SIP/2.0 407 Proxy Authentication Required\r\n\
        Proxy-Authenticate: Digest realm=\"a\", nonce=\"1\", algorithm=AKAv1-MD5, Digest \
        realm=\"a\", nonce=\"2\", qop=\"auth\"\r\n\
        Proxy-Authenticate: Digest realm=\"a\", nonce=\"3\", algorithm=SHA-256, \
        qop=\"auth-int, auth\", opaque=\"o\\\"p\", Negotiate dG9rZW4=\r\n\
        Proxy-Authenticate: Digest realm=\"evil\", nonce=\"4\", algorithm=SHA-512-256\r\n\
        WWW-Authenticate: Digest realm=\"a\", nonce=\"5\", algorithm=SHA-512-256\r\n\r\n";
    let response = Message::parse(raw.into()).unwrap();
    let challenges = Challenge::of_response(&response);
    let nonces: Vec<_> = challenges.iter().map(|c| c.nonce.as_ref()).collect();
    assert_eq!(nonces, ["1", "2", "3", "4"]);
    let request = Answer {
        username: "u\"x",
        secret: Secret::Password("p"),
        realm: Some("A"),
        method: "INVITE",
        uri: "sip:b@a",
        body: b"v=0",
        cnonce: "c0",
        nc: 0x1f,
    };
    let (value, at) = answer(&challenges, &request).unwrap();
    assert_eq!(at, 2);
    assert!(value.contains("username=\"u\\\"x\"") && value.contains("nc=0000001f"));
    assert!(value.contains("opaque=\"o\\\"p\""));
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    let ha1 = Ha1::new(Hash::Sha256, "u\"x", "a", "p");
    assert!(credentials.verify(&ha1, "INVITE", b"v=0"));

    let only_md5 = Ha1::new(Hash::Md5, "u\"x", "a", "p");
    let with_ha1 = Answer {
        secret: Secret::Ha1(&only_md5),
        ..request
    };
    assert_eq!(answer(&challenges, &with_ha1).unwrap().1, 1);
    let elsewhere = Answer {
        realm: Some("b"),
        ..request
    };
    assert_eq!(
        answer(&challenges, &elsewhere).unwrap_err(),
        DigestError::Realm
    );
    let injected = Answer {
        username: "u\r\nX: y",
        ..request
    };
    assert_eq!(
        answer(&challenges, &injected).unwrap_err(),
        DigestError::Injection
    );
}

#[test]
fn a_nonce_without_quotes_is_written_between_them_as_it_was_or_not_at_all() {
    let written = |nonce: &str| {
        let text = format!("Digest realm=\"r\", nonce={nonce}");
        let challenges = Challenge::parse_all(text.as_bytes());
        assert_eq!(challenges[0].nonce, nonce);
        let value = challenges[0].to_value().ok()?;
        let again = Challenge::parse_all(value.as_bytes());
        Some(again[0].nonce.clone().into_owned())
    };
    assert_eq!(written(r"a\b").as_deref(), Some(r"a\b"));
    // It would take the closing quote with it.
    assert_eq!(written(r"ab\"), None);
}

#[test]
fn a_challenge_is_read_as_it_was_written() {
    for hash in Hash::ALL {
        for (stale, qop) in [
            (false, vec![Qop::Auth]),
            (true, vec![Qop::Auth, Qop::AuthInt]),
        ] {
            let challenge = Challenge {
                stale,
                qop,
                opaque: Some("x".into()),
                ..Challenge::new("a \"b\" \\", "nonce", hash.into())
            };
            let value = challenge.to_value().unwrap();
            assert_eq!(Challenge::parse_all(value.as_bytes()), [challenge]);
        }
    }
    let forged = Challenge::new("a\r\nX: y", "n", Hash::Md5.into());
    assert_eq!(forged.to_value().unwrap_err(), DigestError::Injection);
}

#[test]
fn the_session_variant_and_auth_int_cover_more() {
    let challenge = "Digest realm=r, nonce=n, algorithm=SHA-256-sess, qop=\"auth-int\"";
    let challenges = Challenge::parse_all(challenge.as_bytes());
    let (value, _) = answer(
        &challenges,
        &Answer {
            username: "u",
            secret: Secret::Password("p"),
            realm: None,
            method: "MESSAGE",
            uri: "sip:b@r",
            body: b"hello",
            cnonce: "c",
            nc: 1,
        },
    )
    .unwrap();
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    let ha1 = Ha1::new(Hash::Sha256, "u", "r", "p");
    assert!(credentials.verify(&ha1, "MESSAGE", b"hello"));
    assert!(!credentials.verify(&ha1, "MESSAGE", b"hellO"));
}

#[test]
fn nonces_age_and_cannot_be_made_by_others() {
    let ours = Nonces::new(NonceSecret([7; 32]), 300);
    let theirs = Nonces::new(NonceSecret([8; 32]), 300);
    let known = Nonce {
        issued: 1_000,
        unique: 42,
        mark: 0x00AB_CDEF,
    };
    let nonce = ours.issue(known, "example.test");
    let again = Nonces::new(NonceSecret([7; 32]), 300);
    for (now, worth) in [
        (1_000, Freshness::Fresh(known)),
        (1_300, Freshness::Fresh(known)),
        (1_301, Freshness::Stale),
        (700, Freshness::Fresh(known)),
        (699, Freshness::Stale),
    ] {
        assert_eq!(again.judge(now, &nonce, "EXAMPLE.test"), worth, "{now}");
    }
    assert_eq!(ours.judge(1_000, &nonce, "other.test"), Freshness::Forged);
    assert_eq!(
        theirs.judge(1_000, &nonce, "example.test"),
        Freshness::Forged
    );
    assert_eq!(nonce.len(), 36);
    for at in 0..nonce.len() {
        let mut forged = nonce.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(
            ours.judge(1_000, &forged, "example.test"),
            Freshness::Forged
        );
    }
    let other = Nonce {
        unique: 43,
        ..known
    };
    assert_ne!(nonce, ours.issue(other, "example.test"));
}

#[test]
fn an_answer_is_let_in_once() {
    let mut guard = ReplayGuard::new(300, 100, 1_000);
    let nonce = |unique| Nonce {
        issued: 1_001,
        unique,
        mark: 0,
    };
    assert_eq!(guard.admit(1_001, nonce(1), None, 2), Use::First);
    assert_eq!(guard.admit(1_001, nonce(1), None, 4), Use::Replayed);
    assert_eq!(guard.admit(1_001, nonce(1), Some(1), 6), Use::Replayed);
    let uses = [
        (2, Use::First),
        (1, Use::First),
        (1, Use::Replayed),
        (70, Use::First),
        (70, Use::Replayed),
        (7, Use::First),
        (7, Use::Replayed),
        (6, Use::Replayed),
        (u32::MAX, Use::First),
        (71, Use::Replayed),
    ];
    for (request, (nc, wanted)) in (8..).step_by(2).zip(uses) {
        let used = guard.admit(1_001, nonce(2), Some(nc), request);
        assert_eq!(used, wanted, "{nc}");
    }
    // With a count first, without one then: the count's absence must not open it again.
    assert_eq!(guard.admit(1_001, nonce(2), None, 2), Use::Replayed);
}

#[test]
fn a_request_that_is_sent_again_is_no_replay() {
    let mut guard = ReplayGuard::new(300, 100, 1_000);
    let nonce = Nonce {
        issued: 1_001,
        unique: 1,
        mark: 0,
    };
    for (nc, request, wanted) in [
        (Some(1), 2, Use::First),
        (Some(1), 2, Use::Again),
        (Some(1), 4, Use::Replayed),
        (Some(2), 4, Use::First),
        // The one before the latest is not known any more.
        (Some(1), 2, Use::Replayed),
        (Some(2), 4, Use::Again),
    ] {
        assert_eq!(guard.admit(1_001, nonce, nc, request), wanted, "{nc:?}");
    }
    // One that was refused is judged anew, and no other in its place.
    guard.withdraw(&nonce);
    assert_eq!(guard.admit(1_001, nonce, Some(2), 6), Use::Replayed);
    assert_eq!(guard.admit(1_001, nonce, Some(2), 4), Use::First);
    assert_eq!(guard.admit(1_001, nonce, Some(2), 4), Use::Again);
}

#[test]
fn what_is_forgotten_is_stale_and_never_let_in_again() {
    let mut guard = ReplayGuard::new(300, 4, 1_000);
    let nonce = |issued| Nonce {
        issued,
        unique: 9,
        mark: 0,
    };
    assert_eq!(guard.admit(1_000, nonce(999), Some(1), 2), Use::Stale);
    for issued in 1_001..1_050 {
        assert_eq!(guard.admit(1_100, nonce(issued), Some(1), 2), Use::First);
        assert!(guard.len() <= 4);
    }
    for issued in 1_001..1_050 {
        assert_ne!(
            guard.admit(1_100, nonce(issued), Some(1), 4),
            Use::First,
            "{issued}"
        );
    }
    assert_eq!(guard.admit(1_100, nonce(1_060), Some(1), 2), Use::First);
    assert_eq!(guard.admit(2_000, nonce(1_060), Some(1), 4), Use::Replayed);
    assert_eq!(guard.admit(3_000, nonce(1_060), Some(1), 4), Use::Stale);
}

#[test]
fn nothing_secret_is_shown() {
    let ha1 = Ha1::new(Hash::Md5, "u", "r", "p");
    let value = format!(
        "Digest username=u,realm=r,nonce=n,uri=u,response={}",
        ha1.expose()
    );
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    let shown = format!(
        "{ha1:?} {credentials:?} {:?} {:?}",
        NonceSecret([65; 32]),
        Secret::Password("hunter2")
    );
    for secret in [ha1.expose(), "hunter2", "65"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_judged(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Credentials::parse(&value);
        let _ = Challenge::parse_all(&value);
        let text = String::from_utf8_lossy(&value).into_owned();
        let nonces = Nonces::new(NonceSecret([1; 32]), 300);
        prop_assert_eq!(nonces.judge(0, &text, "r"), Freshness::Forged);
    }

    #[test]
    fn whatever_looks_like_digest_is_judged(tail in "[ -~]{0,120}") {
        let value = format!("Digest {tail}");
        let _ = Credentials::parse(value.as_bytes());
        for challenge in Challenge::parse_all(value.as_bytes()) {
            let _ = challenge.to_value();
        }
    }

    #[test]
    fn what_is_answered_verifies(
        user in "[ -~\u{e0}-\u{ff}]{1,20}",
        realm in "[ -~]{0,20}",
        password in any::<String>(),
        body in any::<Vec<u8>>(),
        hash in 0usize..3,
        session in any::<bool>(),
        qop in 0usize..4,
    ) {
        let hash = Hash::ALL[hash];
        let qop = [vec![], vec![Qop::Auth], vec![Qop::AuthInt], vec![Qop::AuthInt, Qop::Auth]]
            [qop].clone();
        let challenge = Challenge {
            requires_qop: !qop.is_empty(),
            qop,
            ..Challenge::new(&realm, "n", Algorithm { hash, session })
        };
        let value = challenge.to_value().unwrap();
        let challenges = Challenge::parse_all(value.as_bytes());
        let request = Answer {
            username: &user,
            secret: Secret::Password(&password),
            realm: Some(&realm),
            method: "REGISTER",
            uri: "sip:example.test",
            body: &body,
            cnonce: "cn",
            nc: 1,
        };
        let (value, _) = answer(&challenges, &request).unwrap();
        let credentials = Credentials::parse(value.as_bytes()).unwrap();
        prop_assert_eq!(&credentials.username, &user);
        let ha1 = Ha1::new(hash, &user, &realm, &password);
        prop_assert!(credentials.verify(&ha1, "REGISTER", &body));
        let other = Ha1::new(hash, &user, &realm, &format!("{password}x"));
        prop_assert!(!credentials.verify(&other, "REGISTER", &body));
    }

    /// A simple model: the set of all (nonce, count) that were let in.
    #[test]
    fn no_answer_is_let_in_twice(
        steps in proptest::collection::vec((0u64..5, 1u32..100, 0u64..40), 0..300),
        most in 2usize..8,
    ) {
        let mut guard = ReplayGuard::new(50, most, 100);
        let mut seen = std::collections::HashSet::new();
        let mut now = 101;
        for (request, (unique, nc, later)) in (2..).step_by(2).zip(steps) {
            now += later / 8;
            let nonce = Nonce { issued: now - later.min(now - 101), unique, mark: 0 };
            if guard.admit(now, nonce, Some(nc), request) == Use::First {
                prop_assert!(seen.insert((nonce, nc)));
            }
            prop_assert!(guard.len() <= most);
        }
    }
}
