use jiff::civil::{Weekday, time};
use serde::{Serialize, de::DeserializeOwned};

use super::*;

/// One of everything, as an operator would write it.
const FULL: &str = r#"
[sip]
domains = ["example.test"]
emergency = ["112", "110"]

[numbering]
country = "49"

[[trunks]]
name = "carrier-a"
hosts = ["192.0.2.1", { host = "sip:gw.example.com;transport=tcp", priority = 1, weight = 30 }]
allow = ["192.0.2.0/24", { block = "198.51.100.7", port = 5060, transport = "udp" }]
failover = ["5xx", 408]
probe = { interval = 10 }
register = { user = "4930", password = "hunter2", realm = "carrier.example" }
numbers_in = [{ of = "both", normalise = { country = "49" } }]
numbers_out = [{ match = "^\\+49(.*)$", replace = "0$1" }, { of = "caller", strip = 1 }]
caller_id = ["+4930100", "+4930101"]
trusted = true
identity = "rpid"
headers_in = { remove = ["X-*"] }
headers_out = { remove = ["User-Agent"], add = { "X-Account" = "42" } }
redirect = "follow"
calls = 100
cps = 10

[[trunks]]
name = "carrier-b"
hosts = ["192.0.2.9"]
caller_id = "+4930100"

[[routes]]
prefix = "+49"
trunks = [{ trunk = "carrier-a", cost = 0.0105, share = 70 }, { trunk = "carrier-b", cost = 0.0105, share = 30 }]
failover = [503]

[[routes]]
prefix = "+49"
trunks = ["carrier-b"]
times = ["mon-fri 18:00-08:00", "sat,sun"]
zone = "UTC"
from = { users = ["*"], trunks = ["carrier-a"], prefixes = ["+4930"] }

[[numbers]]
number = "+4930100"
user = "alice"
ring_timeout = 15
forward = { busy = "+4930101", no_answer = "bob@example.test", unreachable = "sip:vm@192.0.2.7" }

[[numbers]]
number = "+4930101"
group = "sales"

[[numbers]]
number = "+4930102"
forward = "+4930100"

[[numbers]]
number = "+4930103"
trunk = "carrier-b"

[[numbers]]
number = "+15550100"
account = "AC00000000000000000000000000000000"
voice_url = "http://127.0.0.1:9000/voice"

[[numbers]]
number = "+15550101"
account = "AC00000000000000000000000000000000"
voice_url = "https://app.example.com/voice"
voice_method = "GET"
voice_fallback_url = "https://app.example.com/sorry"
voice_fallback_method = "POST"
status_callback = "https://app.example.com/status"
status_callback_method = "GET"
message_url = "https://app.example.com/sms"
message_method = "GET"
message_fallback_url = "https://app.example.com/sorry"
message_fallback_method = "POST"

[[numbers]]
number = "+15550102"
application = "ivr"

[[groups]]
name = "sales"
members = ["alice", "bob@example.test"]
strategy = "least-recent"

[[blocks]]
number = "+49900123"
of = "called"
direction = "out"

[[blocks]]
anonymous = true
to = "+4930100"
action = "busy"

[[limits]]
user = "*"
calls = 4

[[limits]]
prefix = "+88"
cps = 1
longest = 600
"#;

fn errors(text: &str) -> Vec<String> {
    match Config::parse(text, []) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Invalid(errors)) => errors,
        Err(error) => vec![error.to_string()],
    }
}

/// What is stored as JSON comes back as it was.
fn round<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(items: &[T]) {
    for item in items {
        let json = serde_json::to_string(item).unwrap();
        assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), item, "{json}");
    }
}

#[test]
fn everything_is_understood_and_survives_the_store() {
    let config = Config::parse(FULL, []).unwrap().config;
    let trunk = &config.trunks[0];
    assert_eq!(trunk.hosts[1].weight, Some(30));
    assert!(trunk.failover.contains(599) && !trunk.failover.contains(486));
    assert_eq!(trunk.identity(), IdentityHeader::Rpid);
    assert_eq!(config.trunks[1].identity(), IdentityHeader::None);
    assert_eq!(config.trunks[1].failover.iter().count(), 5);
    assert_eq!(config.routes[0].trunks[0].cost.micros(), 10_500);
    assert_eq!(
        config.numbers[2].forward.always.as_deref(),
        Some("+4930100")
    );
    round(&config.trunks);
    round(&config.routes);
    round(&config.numbers);
    round(&config.groups);
    round(&config.blocks);
    round(&config.limits);
}

#[test]
fn passwords_are_not_shown() {
    let config = Config::parse(FULL, []).unwrap().config;
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_cannot_work_is_told_with_what_to_do() {
    for (from, to, part) in [
        (
            "group = \"sales\"",
            "group = \"nobody\"",
            "there is no group 'nobody'",
        ),
        (
            "trunk = \"carrier-b\"\n",
            "trunk = \"x\"\n",
            "there is no trunk 'x'",
        ),
        (
            "priority = 1",
            "priority = 0",
            "give it to all of them or to none",
        ),
        (", share = 30", "", "give it to all of them or to none"),
        ("[\"X-*\"]", "[\"V\"]", "'V' cannot be removed"),
        ("[\"X-*\"]", "[\"C*\"]", "'C*' cannot be removed"),
        (
            "\"X-Account\"",
            "\"from\"",
            "'from' is this node's own to write",
        ),
        ("\"42\"", "\"4\\r\\n2\"", "line end"),
        (
            "add = { \"X-Account\" = \"42\" }",
            "ad = {}",
            "unknown field `ad`",
        ),
        ("\"5xx\", 408", "\"5xx\", 200", "300 to 699"),
        ("interval = 10", "interval = 0", "must be 1 to 3600"),
        ("^\\\\+49(.*)$", "(", "not a regular expression"),
        (
            "country = \"49\" } }]",
            "country = \"+49\" } }]",
            "without the plus",
        ),
        ("sat,sun", "sat,son", "a time of the week"),
        ("zone = \"UTC\"", "zone = \"Europe/Nowhere\"", "tzdata"),
        (
            "domains = [\"example.test\"]",
            "",
            "user 'alice' has no domain",
        ),
        (
            "number = \"+4930102\"",
            "number = \"+4930101\"",
            "is there twice",
        ),
        (
            "busy = \"+4930101\"",
            "always = \"1\"",
            "which would never come about",
        ),
        (
            "busy = \"+4930101\"",
            "busy = \"a b\"",
            "cannot forward to 'a b'",
        ),
        (
            "voice_url = \"http://127.0.0.1:9000/voice\"",
            "",
            "both account and voice_url",
        ),
        (
            "voice_url = \"http://127.0.0.1:9000/voice\"",
            "voice_url = \"ftp://127.0.0.1/\"",
            "write an http: or https: URL",
        ),
        (
            "voice_url = \"http://127.0.0.1:9000/voice\"",
            "application = \"ivr\"\nvoice_url = \"http://127.0.0.1:9000/voice\"",
            "not both",
        ),
        (
            "voice_url = \"http://127.0.0.1:9000/voice\"",
            "application = \"ivr\"\nstatus_callback = \"http://127.0.0.1/\"",
            "status_callback goes with voice_url",
        ),
        (
            "voice_url = \"http://127.0.0.1:9000/voice\"",
            "voice_url = \"http://127.0.0.1:9000/voice\"\nvoice_fallback_method = \"GET\"",
            "a method without voice_fallback_url",
        ),
        (
            "voice_url = \"http://127.0.0.1:9000/voice\"",
            "message_url = \"wss://127.0.0.1/\"",
            "message_url = \"wss://127.0.0.1/\": write an http: or https: URL",
        ),
        (
            "message_url = \"https://app.example.com/sms\"\nmessage_method = \"GET\"",
            "",
            "message_fallback_url goes with message_url",
        ),
        (
            "application = \"ivr\"",
            "application = \"ivr\"\nmessage_url = \"https://app.example.com/sms\"",
            "write application or message_url, not both",
        ),
        (
            "account = \"AC",
            "group = \"sales\"\naccount = \"AC",
            "it leads to one place",
        ),
        (
            "anonymous = true",
            "anonymous = true\nprefix = \"1\"",
            "write one of number",
        ),
        ("calls = 4", "", "it limits nothing"),
        (
            "prefix = \"+88\"",
            "",
            "write one of number, user, trunk and prefix",
        ),
        (
            "emergency = [\"112\"",
            "emergency = [\"1 12\"",
            "[sip] emergency",
        ),
        (
            "name = \"carrier-a\"",
            "name = \"carrier a\"",
            "1 to 63 letters",
        ),
    ] {
        let told = errors(&FULL.replacen(from, to, 1));
        assert!(
            told.iter().any(|line| line.contains(part)),
            "{part}: {told:?}"
        );
    }
}

#[test]
fn calls_of_a_trunk_may_be_led_to_a_socket() {
    let led = |url: &str| {
        let led = format!(
            "name = \"carrier-b\"\naccount = \"AC00000000000000000000000000000000\"\nvoice_url = \"{url}\""
        );
        errors(&FULL.replacen("name = \"carrier-b\"", &led, 1))
    };
    assert_eq!(led("wss://app.example.com/voice"), Vec::<String>::new());
    assert!(led("ftp://app.example.com/")[0].contains("or ws: or wss: for a socket"));
}

#[test]
fn one_prefix_may_have_routes_for_different_times() {
    let twice = "prefix = \"+49\"\ntrunks = [\"carrier-b\"]\n";
    let text = format!("{FULL}\n[[routes]]\n{twice}");
    assert!(errors(&text)[0].contains("list its trunks in one route"));
    let text = format!("{FULL}\n[[routes]]\n{twice}times = [\"08:00-09:00\"]\n");
    assert_eq!(errors(&text), Vec::<String>::new());
}

#[test]
fn windows_hold_their_minutes() {
    let window = |text: &str| text.parse::<Window>().unwrap();
    let office = window("mon-fri 08:00-18:00");
    assert!(office.contains(Weekday::Monday, time(8, 0, 0, 0)));
    assert!(!office.contains(Weekday::Monday, time(18, 0, 0, 0)));
    assert!(!office.contains(Weekday::Saturday, time(12, 0, 0, 0)));
    let night = window("fri 22:00-06:00");
    assert!(night.contains(Weekday::Friday, time(23, 0, 0, 0)));
    assert!(night.contains(Weekday::Saturday, time(5, 59, 59, 0)));
    assert!(!night.contains(Weekday::Saturday, time(6, 0, 0, 0)));
    assert!(!night.contains(Weekday::Friday, time(5, 0, 0, 0)));
    let turned = window("sat-mon");
    assert!(turned.contains(Weekday::Sunday, time(0, 0, 0, 0)));
    assert!(!turned.contains(Weekday::Tuesday, time(0, 0, 0, 0)));
    assert!(window("00:00-24:00").contains(Weekday::Tuesday, time(23, 59, 0, 0)));
    for text in [
        "",
        "8:00-9:00",
        "mon mon",
        "08:00-08:00",
        "24:00-01:00",
        "08:00-24:01",
        "x 1:2",
    ] {
        assert!(text.parse::<Window>().is_err(), "{text}");
    }
}
