use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::media::SourcePolicy;

/// The file that the documentation shows.
const EXAMPLE: &str = r#"
[node]
name = "n1"
data_dir = "/var/lib/tandem"
[sip]
listen = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
domains = ["example.test"]
[media]
address = "127.0.0.1"
ports = "20000-59999"
interface = "eth0"
datapath = "auto"
timeout = 60
[api]
listen = "127.0.0.1:8080"
admin_key = "secret"
[store]
url = "sqlite:tandem.db"
[[trunks]]
name = "carrier-a"
hosts = ["127.0.0.1:5090"]
allow = ["127.0.0.1/32"]
[[routes]]
prefix = ""
trunks = ["carrier-a"]
media = "relay"
ring_timeout = 60
"#;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, variables)
}

#[test]
fn the_documented_file_is_understood() {
    let loaded = parse(EXAMPLE, &[]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.trunks[0].hosts[0].to_string(), "127.0.0.1:5090");
    assert_eq!(config.media.devices(), ["eth0"]);
    assert_eq!(
        config.media_endpoint().to_string(),
        "unix:/var/lib/tandem/media.sock"
    );
}

#[test]
fn more_workers_than_there_can_be_are_refused() {
    assert_eq!(
        parse("[sip]\nworkers = 1024\n", &[])
            .unwrap()
            .config
            .sip
            .workers,
        1_024
    );
    let error = parse("[sip]\nworkers = 1025\n", &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("[sip] workers = 1025: 1024 at most"),
        "{error}"
    );
}

#[test]
fn the_stores_cache_is_a_number_of_mebibytes() {
    let cache =
        |text: &str| parse(text, &[]).map(|loaded| loaded.config.store.cache.map(u16::from));
    assert_eq!(cache("").unwrap(), None);
    assert_eq!(cache("[store]\ncache = 512\n").unwrap(), Some(512));
    for wrong in ["0", "-1", "65536", "\"big\""] {
        let text = format!("[store]\ncache = {wrong}\n");
        assert!(cache(&text).is_err(), "{wrong}");
    }
}

#[test]
fn records_are_kept_for_days_or_for_ever() {
    let kept = |text: &str| {
        let store = parse(text, &[])?.config.store;
        Ok::<_, ConfigError>((store.keep_cdrs, store.keep_audit, store.keep_messages.get()))
    };
    assert_eq!(kept("").unwrap(), (0, 0, 7));
    let text = "[store]\nkeep_cdrs = 400\nkeep_audit = 0\nkeep_messages = 1\n";
    assert_eq!(kept(text).unwrap(), (400, 0, 1));
    for wrong in [
        "keep_cdrs = -1",
        "keep_cdrs = \"long\"",
        "keep_messages = 0",
    ] {
        assert!(kept(&format!("[store]\n{wrong}\n")).is_err(), "{wrong}");
    }
}

#[test]
fn an_empty_file_runs_on_loopback_and_warns() {
    let loaded = parse("", &[]).unwrap();
    assert!(loaded.config.api.listen.ip().is_loopback());
    assert!(loaded.warnings[0].contains("403"), "{:?}", loaded.warnings);
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    let error = parse("[sip]\nlisten = []\nlissten = []\n", &[]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("lissten") && text.contains("line 3"),
        "{text}"
    );
}

#[test]
fn an_address_that_can_be_had_once_is_listened_on_once() {
    let listen = |list: &str| {
        let more = "[sip.tls]\ncertificates = [{ certificate = \"a.pem\", key = \"a.key\" }]\n";
        parse(&format!("[sip]\nlisten = [{list}]\n{more}"), &[])
    };
    for twice in [
        "\"udp:127.0.0.1:5060\", \"udp:127.0.0.1:5060\"",
        "\"tcp:127.0.0.1:5060\", \"wss:127.0.0.1:5060\"",
    ] {
        let error = listen(twice).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:5060 is taken"), "{error}");
    }
    for good in [
        "\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5060\"",
        "\"udp:127.0.0.1:0\", \"udp:127.0.0.1:0\"",
        "\"udp:127.0.0.1:5060\", \"udp:127.0.0.2:5060\"",
    ] {
        listen(good).unwrap();
    }
}

#[test]
fn every_key_that_cannot_be_read_is_told_with_its_line() {
    let text = r#"
[sip]
lissten = []
t1 = "quick"
listen = ["udp:127.0.0.1:5060", "tpc:127.0.0.1:5060"]
[sip.tls]
client_auth = "maybe"
[sipp]
x = 1
[media]
ports = "5-3"
[[trunks]]
name = "a"
hosts = [1, "192.0.2.1"]
colour = "red"
[[trunks]]
hosts = ["192.0.2.2"]
[[routes]]
prefix = "+49"
trunks = ["a", "gone"]
[[numbers]]
number = 100
user = "alice@example.test"
[[numbers]]
number = "101"
group = "nobody"
"#;
    let ConfigError::Invalid(errors) = parse(text, &[]).unwrap_err() else {
        panic!("it could be read");
    };
    let expected = [
        "line 3: [sip] lissten: unknown field",
        "line 4: [sip] t1: invalid type: string \"quick\", expected u64",
        "line 5: [sip] listen: 'tpc' is not a transport",
        "line 7: [sip.tls] client_auth: unknown variant `maybe`",
        "line 8: [sipp]: unknown field",
        "line 11: [media] ports: '5-3' is not FROM-TO",
        "line 14: [[trunks]] hosts: invalid type: integer `1`, expected a text or a table",
        "line 15: [[trunks]] colour: unknown field",
        "line 16: [[trunks]]: missing field `name`",
        "line 22: [[numbers]] number: invalid type: integer `100`, expected a string",
        // The trunk that could not be read whole is there all the same.
        "route '+49': there is no trunk 'gone'",
        "number '101': there is no group 'nobody'",
    ];
    let mut left = errors.clone();
    for start in expected {
        let found = left.iter().position(|error| error.starts_with(start));
        left.remove(found.unwrap_or_else(|| panic!("{start}: {errors:#?}")));
    }
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn each_line_that_is_no_toml_is_told() {
    let text = "[sip\nt1 = 500\n[media]\nports = \"1\nx = = 3\n";
    let ConfigError::Invalid(errors) = parse(text, &[]).unwrap_err() else {
        panic!("it could be read");
    };
    for line in [1, 4, 5] {
        let start = format!("line {line}: ");
        let told = errors.iter().any(|error| error.starts_with(&start));
        assert!(told, "{line}: {errors:#?}");
    }
    assert!(parse("", &[]).is_ok());
}

#[test]
fn what_could_not_be_read_has_no_errors_beside_that() {
    let text = "[sip]\ndomains = 1\n\
        [[groups]]\nname = \"g\"\nmembers = \"alice\"\n\
        [[numbers]]\nnumber = \"1\"\ngroup = \"g\"\n\
        [[users]]\nname = \"bob\"\npassword = \"p\"\n";
    let ConfigError::Invalid(errors) = parse(text, &[]).unwrap_err() else {
        panic!("it could be read");
    };
    assert_eq!(errors.len(), 2, "{errors:#?}");
}

#[test]
fn every_error_is_told_at_once() {
    let text = EXAMPLE
        .replace("trunks = [\"carrier-a\"]", "trunks = [\"carrier-b\"]")
        .replace("interface = \"eth0\"", "interface = \"\"")
        .replace("\"auto\"", "\"xdp\"");
    let ConfigError::Invalid(errors) = parse(&text, &[]).unwrap_err() else {
        panic!("the file is well-formed");
    };
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn the_environment_replaces_keys_of_every_type() {
    let loaded = parse(
        EXAMPLE,
        &[
            ("TANDEM_NODE_NAME", "7"),
            ("TANDEM_MEDIA_TIMEOUT", "5"),
            ("TANDEM_MEDIA_DATAPATH", "io-uring"),
            ("TANDEM_SIP_LISTEN", "udp:10.0.0.1:5060, tcp:10.0.0.1:5060"),
            ("TANDEM_SIP_TIMER_C", "30"),
            ("TANDEM_SIP_PORT", "tcp://10.96.0.1:5060"),
            ("HOME", "/nowhere"),
        ],
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.node.name, "7");
    assert_eq!(config.media.timeout, 5);
    assert_eq!(config.media.datapath, DatapathMode::IoUring);
    assert_eq!(config.sip.listen.len(), 2);
    assert_eq!(config.sip.timer_c, 30);
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("TANDEM_SIP_PORT"));
}

#[test]
fn a_variable_that_does_not_fit_its_key_stops_a_start() {
    let variables = [
        ("TANDEM_MEDIA_DATAPATH", "xpd"),
        ("TANDEM_MEDIA_PORTS", "5-3"),
        ("TANDEM_API_PORT_8080_TCP", "tcp://10.96.0.1:8080"),
    ];
    let ConfigError::Invalid(errors) = parse(EXAMPLE, &variables).unwrap_err() else {
        panic!("not the values' fault");
    };
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("TANDEM_MEDIA_DATAPATH") && errors[0].contains("`xdp`"));
    assert!(errors[1].contains("TANDEM_MEDIA_PORTS"));
}

#[test]
fn secrets_are_not_shown() {
    let mut config = parse(EXAMPLE, &[]).unwrap().config;
    config.store.url = "postgres://u:hunter2@h/d".to_owned();
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn hosts_are_read_as_operators_write_them() {
    for (text, name, port, transport) in [
        ("192.0.2.1", "192.0.2.1", None, Transport::Udp),
        ("192.0.2.1:5062", "192.0.2.1", Some(5062), Transport::Udp),
        ("2001:db8::1", "2001:db8::1", None, Transport::Udp),
        (
            "[2001:db8::1]:5062",
            "2001:db8::1",
            Some(5062),
            Transport::Udp,
        ),
        ("tcp:gw.example.com", "gw.example.com", None, Transport::Tcp),
        (
            "sip:gw.example.com;transport=tcp",
            "gw.example.com",
            None,
            Transport::Tcp,
        ),
    ] {
        let host: Host = text.parse().unwrap();
        assert_eq!(
            (host.name.as_str(), host.port, host.transport),
            (name, port, transport)
        );
    }
    let tls: Host = "tls:gw.example.com".parse().unwrap();
    assert_eq!((tls.port_or_default(), tls.explicit), (5061, true));
    assert!(!"gw.example.com".parse::<Host>().unwrap().explicit);
    for text in [
        "",
        "a b",
        "gw:0",
        "gw:99999",
        "sip:gw;lr",
        "[::1",
        "ws:gw",
        "sctp:gw:1:2",
    ] {
        assert!(text.parse::<Host>().is_err(), "{text}");
    }
}

#[test]
fn what_secures_and_bounds_connections_is_read_and_checked() {
    let loaded = parse(
        "[sip]\nlisten = [\"tls:127.0.0.1:5061\", \"wss:127.0.0.1:443\"]\n\
         [sip.tls]\ncertificates = [{ certificate = \"a.pem\", key = \"a.key\" }]\n\
         client_auth = \"required\"\nclient_ca = \"ca.pem\"\n\
         [sip.connections]\nper_source = 8\n[sip.keepalive]\nmethod = \"crlf\"\n",
        &[],
    )
    .unwrap();
    let sip = loaded.config.sip;
    assert_eq!(sip.tls.client_auth, ClientAuth::Required);
    assert_eq!(
        (sip.connections.per_source, sip.connections.total),
        (8, 16_384)
    );
    assert_eq!(sip.udp_limit, 1300);

    let Err(ConfigError::Invalid(errors)) = parse(
        "[sip]\nlisten = [\"tls:127.0.0.1:5061\"]\n[sip.tls]\nclient_auth = \"optional\"\n\
         [sip.websocket]\norigins = [\"phone.example.com\"]\nping = 1\n\
         [sip.connections]\ntotal = 0\nidle_timeout = 0\n\
         [sip.keepalive]\ninterval = 1\nmethod = \"off\"\ndrop_after = 3\n",
        &[],
    ) else {
        panic!("accepted");
    };
    assert_eq!(errors.len(), 8, "{errors:#?}");
}

#[test]
fn sources_are_the_nodes_or_a_trunks_own() {
    let text = "[media]\nsources = \"once\"\n\
                [[trunks]]\nname = \"a\"\nhosts = [\"192.0.2.1\"]\nsources = \"strict\"\n\
                [[trunks]]\nname = \"b\"\nhosts = [\"192.0.2.2\"]\nhandover = false\n";
    let config = parse(text, &[]).unwrap().config;
    let of = |trunk| {
        let handling = config.media.handling(trunk, false);
        (handling.sources, handling.handover)
    };
    assert_eq!(of(None), (SourcePolicy::Once, true));
    assert_eq!(of(config.trunks.first()), (SourcePolicy::Strict, true));
    assert_eq!(of(config.trunks.last()), (SourcePolicy::Once, false));
    for policy in SourcePolicy::ALL {
        let loaded = parse("", &[("TANDEM_MEDIA_SOURCES", policy.name())]).unwrap();
        assert_eq!(loaded.config.media.sources, policy);
    }
    let error = parse("[media]\nsources = \"lax\"\n", &[]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("line 2: [media] sources: unknown variant `lax`"),
        "{error}"
    );
    assert!(error.contains("strict"), "{error}");
}

#[test]
fn one_stream_is_of_the_nodes_own_calls_or_as_a_trunk_says() {
    let of = |text: &str| {
        let trunks = "[[trunks]]\nname = \"a\"\nhosts = [\"192.0.2.1\"]\none_stream = \"always\"\n\
                      [[trunks]]\nname = \"b\"\nhosts = [\"192.0.2.2\"]\none_stream = \"never\"\n";
        let config = parse(&format!("{text}{trunks}"), &[]).unwrap().config;
        let trunks = [None, config.trunks.first(), config.trunks.last()];
        let holds = |is_own| trunks.map(|trunk| config.media.handling(trunk, is_own).one_stream);
        [holds(false), holds(true)]
    };
    assert_eq!(of(""), [[false, true, false], [true, true, false]]);
    let never = of("[media]\none_stream = \"never\"\n");
    assert_eq!(never, [[false, true, false]; 2]);
    let always = of("[media]\none_stream = \"always\"\n");
    assert_eq!(always, [[true, true, false]; 2]);
}

#[test]
fn media_interfaces_have_names_addresses_and_devices() {
    let text = "[media]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n\
                [[media.interfaces]]\nname = \"outside\"\naddress = \"10.0.1.1/192.0.2.1, fd00::1\"\n\
                device = \"eth1, eth0\"\n";
    let media = parse(text, &[]).unwrap().config.media;
    assert_eq!(media.devices(), ["eth0", "eth1"]);
    let shown = |name| media.address_of(name).map(ToString::to_string);
    assert_eq!(shown(None).as_deref(), Some("10.0.0.1"));
    assert_eq!(shown(Some("default")), shown(None));
    assert_eq!(
        shown(Some("outside")).as_deref(),
        Some("10.0.1.1/192.0.2.1,fd00::1")
    );
    assert_eq!(shown(Some("inside")), None);

    let error = parse(
        "[sip]\ninterface = \"in\"\n[[trunks]]\nname = \"t\"\nhosts = [\"192.0.2.1\"]\ninterface = \"out\"\n",
        &[],
    );
    let error = error.unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert!(
        lines[0].starts_with("[sip] interface = \"in\": no [[media.interfaces]]"),
        "{error}"
    );
    assert!(
        lines[1].starts_with("trunk 't', interface = \"out\""),
        "{error}"
    );

    let of =
        |name: &str| format!("[[media.interfaces]]\nname = \"{name}\"\naddress = \"10.0.0.1\"\n");
    let Err(ConfigError::Invalid(errors)) =
        parse(&(of("default") + &of("a") + &of("a") + &of("a b")), &[])
    else {
        panic!("accepted");
    };
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors[0].contains("choose another"), "{errors:#?}");
    assert!(errors[1].contains("twice"), "{errors:#?}");
    let error = parse(
        "[[media.interfaces]]\nname = \"a\"\naddress = \"10.0.0\"\n",
        &[],
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("line 3: [media.interfaces] address"),
        "{error}"
    );
}

#[test]
fn addresses_of_the_command_line_may_have_names() {
    let read = |text: &str| {
        let arg: InterfaceArg = text.parse().ok()?;
        Some((arg.name, arg.address.to_string()))
    };
    let named = |name: &str, address: &str| Some((Some(name.to_owned()), address.to_owned()));
    let plain = |address: &str| Some((None, address.to_owned()));
    assert_eq!(read("10.0.0.1"), plain("10.0.0.1"));
    assert_eq!(read("10.0.0.1/192.0.2.1"), plain("10.0.0.1/192.0.2.1"));
    assert_eq!(read("10.0.0.1!192.0.2.1"), plain("10.0.0.1/192.0.2.1"));
    assert_eq!(read("fd00::1"), plain("fd00::1"));
    assert_eq!(read("out/10.0.0.1"), named("out", "10.0.0.1"));
    assert_eq!(
        read("out/10.0.0.1!192.0.2.1"),
        named("out", "10.0.0.1/192.0.2.1")
    );
    for wrong in [
        "",
        "out",
        "out/",
        "out/10.0.0.1!",
        "a b/10.0.0.1",
        "10.0.0.1!fd00::1",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn blocks_contain_their_addresses() {
    let block: Cidr = "10.1.0.0/16".parse().unwrap();
    assert!(block.contains("10.1.255.255".parse().unwrap()));
    assert!(block.contains("::ffff:10.1.0.1".parse().unwrap()));
    assert!(!block.contains("10.2.0.0".parse().unwrap()));
    assert!(!block.contains("2001:db8::".parse().unwrap()));
    let all: Cidr = "::/0".parse().unwrap();
    assert!(all.contains("2001:db8::".parse().unwrap()));
    assert!("10.0.0.0/33".parse::<Cidr>().is_err());
}

#[test]
fn media_addresses_pair_what_is_bound_with_what_is_told() {
    let address: MediaAddress = "10.0.0.1/203.0.113.1, fd00::1".parse().unwrap();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(
        address.pairs(),
        [
            (ip("10.0.0.1"), ip("203.0.113.1")),
            (ip("fd00::1"), ip("fd00::1"))
        ]
    );
    for text in [
        "",
        "0.0.0.0",
        "10.0.0.1,10.0.0.2",
        "10.0.0.1/fd00::1",
        "224.0.0.1",
    ] {
        assert!(text.parse::<MediaAddress>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}") {
        drop(text.parse::<Host>());
        drop(text.parse::<Listen>());
        drop(text.parse::<Cidr>());
        drop(text.parse::<MediaAddress>());
        drop(text.parse::<PortRange>());
        drop(parse(&text, &[("TANDEM_SIP_LISTEN", &text)]));
    }
}

#[test]
fn the_cap_of_a_party_has_a_bound() {
    let of = |times: u32| parse(&format!("[media]\nrate_cap = {times}\n"), &[]);
    assert_eq!(parse("", &[]).unwrap().config.media.rate_cap, 4);
    assert_eq!(of(0).unwrap().config.media.rate_cap, 0);
    let ConfigError::Invalid(errors) = of(1_001).unwrap_err() else {
        panic!("it could be read");
    };
    assert!(
        errors[0].starts_with("[media] rate_cap = 1001"),
        "{errors:?}"
    );
}
