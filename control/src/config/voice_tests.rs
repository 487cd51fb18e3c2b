use super::*;

const FULL: &str = r#"
[voice]
public_url = "https://voice.example.com"
allow = ["10.0.0.0/8", "fd00::/8"]
sip_domains = ["sip.example.com", "*.example.net", "192.0.2.7"]
plain_streams = false
speech = "off"
hearing = "ws://127.0.0.1:9100/hear"
cache = 128

[[accounts]]
sid = "AC00000000000000000000000000000000"
token = "0123456789abcdef"

[[accounts]]
sid = "ACffffffffffffffffffffffffffffffff"
token = "fedcba9876543210fedcba9876543210"
name = "acme"
tenant = "acme"
calls_per_second = 50
"#;

fn errors(text: &str) -> Vec<String> {
    match Config::parse(text, []) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Invalid(errors)) => errors,
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn voice_and_accounts_are_understood() {
    let config = Config::parse(FULL, []).unwrap().config;
    assert_eq!(
        config.voice.public_url.as_deref(),
        Some("https://voice.example.com")
    );
    assert!(config.voice.allow[0].contains("10.1.2.3".parse().unwrap()));
    assert!(!config.voice.plain_streams);
    let has = |host: &str| {
        config
            .voice
            .sip_domains
            .iter()
            .any(|domain| domain.has(host))
    };
    assert!(has("sip.example.com") && has("a.example.net") && !has("example.com"));
    assert_eq!(
        (config.voice.speech.as_str(), config.voice.cache),
        ("off", 128)
    );
    let [first, second] = &config.accounts[..] else {
        panic!("two accounts: {:?}", config.accounts);
    };
    assert_eq!(
        (first.calls_per_second, first.tenant.as_deref()),
        (10, None)
    );
    assert_eq!(
        (second.calls_per_second, second.tenant.as_deref()),
        (50, Some("acme"))
    );
    // A token signs webhooks: it is in no log.
    assert!(!format!("{config:?}").contains("0123456789abcdef"));

    let nothing = Config::parse("", []).unwrap().config;
    assert!(nothing.accounts.is_empty());
    assert_eq!(
        (nothing.voice.speech.as_str(), nothing.voice.cache),
        ("espeak-ng", 64)
    );
    assert!(nothing.voice.plain_streams && nothing.voice.allow.is_empty());
    assert!(nothing.voice.sip_domains.is_empty());
}

#[test]
fn what_is_wrong_with_voice_and_accounts_is_told() {
    for (from, to, part) in [
        (
            "https://voice.example.com",
            "voice.example.com",
            "[voice] public_url",
        ),
        ("ws://127.0.0.1:9100/hear", "ftp://a/", "[voice] hearing"),
        ("speech = \"off\"", "speech = \"a b\"", "[voice] speech"),
        ("cache = 128", "cache = 0", "[voice] cache"),
        ("*.example.net", "sip:example.net", "sip:example.net"),
        ("sid = \"AC0", "sid = \"SK0", "write AC and 32 hex digits"),
        ("sid = \"ACf", "sid = \"ACF", "write AC and 32 hex digits"),
        (
            "token = \"0123456789abcdef\"",
            "token = \"0123\"",
            "16 letters and digits or more",
        ),
        (
            "calls_per_second = 50",
            "calls_per_second = 0",
            "calls_per_second",
        ),
        (
            "ACffffffffffffffffffffffffffffffff",
            "AC00000000000000000000000000000000",
            "is there twice",
        ),
    ] {
        let told = errors(&FULL.replacen(from, to, 1));
        assert!(
            told.iter().any(|line| line.contains(part)),
            "{part}: {told:?}"
        );
        let is_secret = |line: &String| line.contains("0123456789abcdef");
        assert!(!told.iter().any(is_secret), "{told:?}");
    }
}
