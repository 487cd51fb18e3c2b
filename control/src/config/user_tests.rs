use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, []).map(|loaded| loaded.config)
}

#[test]
fn a_user_is_read_and_hides_its_password() {
    let text = r#"
        [sip]
        domains = ["example.test"]
        [sip.auth]
        algorithms = ["SHA-256", "MD5"]
        by_domain = { "old.test" = ["MD5"] }
        nonce_secret = "0123456789abcdef"
        [sip.registrar]
        max_contacts = 3
        when_full = "replace-oldest"
        [[users]]
        name = "alice"
        password = "s3cret-of-alice"
        [[users]]
        name = "alice"
        domain = "old.test"
        password = "s3cret-of-alice"
        enabled = false
        forward = { busy = "+15550100" }
        ring_timeout = 15
    "#;
    let config = parse(text).unwrap();
    let first = config.sip.domains.first().map(String::as_str);
    let domains: Vec<_> = config.users.iter().map(|user| user.domain(first)).collect();
    assert_eq!(domains, [Some("example.test"), Some("old.test")]);
    let profile = config.users[1].profile();
    assert_eq!(profile.forward.busy.as_deref(), Some("+15550100"));
    let json = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("0123456789abcdef"));
}

#[test]
fn what_cannot_be_a_user_is_refused() {
    let text = r#"
        [sip.auth]
        algorithms = []
        nonce_lifetime = 1
        nonce_secret = "short"
        [sip.registrar]
        min_expires = 4000
        max_expires = 100
        max_contacts = 1000
        [[users]]
        name = "a@b"
        password = ""
        [[users]]
        name = "bob"
        domain = "x.test"
        password = "p"
        forward = { always = "nonsense place" }
        [[users]]
        name = "bob"
        domain = "x.test"
        password = "p"
    "#;
    let errors = parse(text).unwrap_err().to_string();
    for wanted in [
        "[sip.auth] algorithms",
        "nonce_lifetime = 1",
        "nonce_secret",
        "min_expires = 4000",
        "must not decrease",
        "max_contacts = 1000",
        "name = \"a@b\"",
        "user 'a@b': no domain",
        "user 'a@b': password is empty",
        "cannot forward to 'nonsense place'",
        "'bob@x.test' is there twice",
    ] {
        assert!(errors.contains(wanted), "{wanted} is not in:\n{errors}");
    }
    assert!(parse("[sip.auth]\nalgorithms = [\"MD6\"]").is_err());
}
