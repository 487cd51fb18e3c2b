//! The page for those who come from rtpengine (`docs/rtpengine.md`) says what the parser does: its tables are read here, and
//! each name in them is tried.

use std::collections::BTreeSet;

use crate::{Command, Encoding, Request, Value, dictionary, flags, keys, options, verbs};

const PAGE: &str = include_str!("../../../docs/rtpengine.md");

/// What `rtpengine --help` of 10.5.3 has.
const DAEMON: &[&str] = &[
    "active-switchover",
    "amr-dtx",
    "b2b-url",
    "cn-payload",
    "codecs",
    "config-file",
    "config-section",
    "control-tos",
    "debug-srtp",
    "delete-delay",
    "dtls-cert-cipher",
    "dtls-ciphers",
    "dtls-mtu",
    "dtls-passive",
    "dtls-rsa-key-size",
    "dtls-signature",
    "dtmf-digit-delay",
    "dtmf-log-dest",
    "dtmf-log-ng-tcp",
    "dtmf-no-suppress",
    "dtx-buffer",
    "dtx-cn-params",
    "dtx-delay",
    "dtx-lag",
    "dtx-shift",
    "endpoint-learning",
    "final-timeout",
    "foreground",
    "graphite",
    "graphite-interval",
    "graphite-prefix",
    "graphite-timeout",
    "help",
    "homer",
    "homer-id",
    "homer-protocol",
    "http-threads",
    "https-cert",
    "https-key",
    "idle-priority",
    "idle-scheduling",
    "interface",
    "iptables-chain",
    "janus-secret",
    "jb-clock-drift",
    "jitter-buffer",
    "listen-cli",
    "listen-http",
    "listen-https",
    "listen-ng",
    "listen-tcp",
    "listen-tcp-ng",
    "listen-udp",
    "log-facility",
    "log-facility-cdr",
    "log-facility-dtmf",
    "log-facility-rtcp",
    "log-format",
    "log-level",
    "log-level-codec",
    "log-level-control",
    "log-level-core",
    "log-level-crypto",
    "log-level-dtx",
    "log-level-ffmpeg",
    "log-level-http",
    "log-level-ice",
    "log-level-internals",
    "log-level-rtcp",
    "log-level-spandsp",
    "log-level-srtp",
    "log-level-transcoding",
    "log-mark-prefix",
    "log-mark-suffix",
    "log-srtp-keys",
    "log-stderr",
    "max-bandwidth",
    "max-cpu",
    "max-dtx",
    "max-load",
    "max-log-line-length",
    "max-sessions",
    "media-num-threads",
    "mos",
    "mqtt-cafile",
    "mqtt-capath",
    "mqtt-certfile",
    "mqtt-host",
    "mqtt-id",
    "mqtt-keepalive",
    "mqtt-keyfile",
    "mqtt-pass",
    "mqtt-port",
    "mqtt-publish-interval",
    "mqtt-publish-qos",
    "mqtt-publish-scope",
    "mqtt-publish-topic",
    "mqtt-user",
    "mysql-host",
    "mysql-pass",
    "mysql-port",
    "mysql-query",
    "mysql-user",
    "no-fallback",
    "no-log-timestamps",
    "no-redis-required",
    "num-threads",
    "offer-timeout",
    "pidfile",
    "poller-per-thread",
    "port-max",
    "port-min",
    "priority",
    "recording-dir",
    "recording-format",
    "recording-method",
    "redis",
    "redis-allowed-errors",
    "redis-cmd-timeout",
    "redis-connect-timeout",
    "redis-delete-async",
    "redis-delete-async-interval",
    "redis-disable-time",
    "redis-expires",
    "redis-num-threads",
    "redis-write",
    "reject-invalid-sdp",
    "save-interface-ports",
    "scheduling",
    "silence-detect",
    "silent-timeout",
    "sip-source",
    "socket-cpu-affinity",
    "software-id",
    "split-logs",
    "subscribe-keyspace",
    "table",
    "thread-stack",
    "timeout",
    "tos",
    "version",
    "xmlrpc-format",
];
/// And what the manual pages of later versions have.
const LATER: &[&str] = &[
    "audio-buffer-delay",
    "audio-buffer-length",
    "audio-player",
    "codec-num-threads",
    "control-pmtu",
    "dtmf-no-log-injects",
    "evs-lib-path",
    "homer-disable-rtcp-stats",
    "homer-enable-ng",
    "homer-ng-capture-proto",
    "io-uring",
    "io-uring-buffers",
    "kernel-player",
    "kernel-player-media",
    "log-name",
    "max-recv-iters",
    "measure-rtp",
    "mqtt-tls-alpn",
    "nftables-append",
    "nftables-base-chain",
    "nftables-chain",
    "nftables-family",
    "nftables-start",
    "nftables-status",
    "nftables-stop",
    "player-cache",
    "poller-size",
    "record-egress",
    "rtcp-interval",
];

/// The cells of the tables below a heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = PAGE.split_once(&format!("## {heading}\n")).expect(heading);
    let section = rest.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    let cells = lines.map(|line| {
        let line = line.strip_prefix('|').unwrap_or(line);
        let cells = line.strip_suffix('|').unwrap_or(line).split('|');
        cells.map(str::trim).collect()
    });
    cells.collect()
}

/// What stands in backticks.
fn names(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

/// The ways in which a client may write what the page has as a flag.
fn ways(flag: &str) -> Vec<(&str, Value)> {
    let mut ways = vec![
        ("flags", Value::List(vec![Value::from_text(flag)])),
        ("flags", Value::from_text(flag)),
    ];
    // Spaces part what stands in one text.
    if !flag.contains(' ') {
        ways.push(("rtpp-flags", Value::from_text(flag)));
    }
    if let Some((key, value)) = flag.split_once('=') {
        ways.push((key, Value::from_text(value)));
    }
    ways
}

/// Has a key of a request read: the warnings, or why it is refused.
fn tried(command: &str, key: &str, value: Value) -> Result<Vec<String>, String> {
    let request = dictionary([("command", Value::from_text(command)), (key, value)]);
    let mut body = Vec::new();
    Encoding::Bencode.encode(&Value::Dictionary(request), &mut body);
    let request = Request::parse(Encoding::Bencode, &body).unwrap();
    assert_ne!(request.command, Command::Unknown, "{command}");
    let read = match request.command.has_options() {
        true => options::read(&request).map(|options| options.warnings),
        false => verbs::check(&request),
    };
    read.map_err(|refused| refused.to_string())
}

/// Whether a flag of a command is what the page says of it, however it is written.
fn assert_said(command: &str, flag: &str, [verdict, more]: [&str; 2]) {
    for (key, value) in ways(flag) {
        let is = tried(command, key, value);
        let name = keys::plain(flag.split('=').next().unwrap().as_bytes());
        let is_warned = more.contains("with a warning");
        let names = |said: &String| {
            let said = keys::plain(said.as_bytes()).replace('=', "-");
            said.contains(name.trim_start_matches("codec-"))
        };
        let is_so = match (verdict, &is) {
            ("same", Ok(warnings)) => warnings.is_empty(),
            ("different" | "not yet" | "never", Ok(warnings)) if is_warned => {
                let is_known = |warning: &String| !warning.starts_with("unknown");
                !warnings.is_empty() && warnings.iter().all(is_known)
            }
            ("different", Ok(warnings)) => warnings.is_empty(),
            ("not yet" | "never", Err(why)) => !is_warned && names(why),
            _ => false,
        };
        assert!(
            is_so,
            "the page says of {flag} of {command}: {verdict}, {more}; as {key} it is {is:?}"
        );
    }
}

/// Whether one of the page's flags is `name`, or begins with it.
fn has(flags: &[&str], name: &str) -> bool {
    flags.iter().any(|flag| {
        let flag = keys::plain(flag.as_bytes()).replace('=', "-");
        let rest = flag.strip_prefix(name.trim_end_matches('-'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

fn table_names(table: flags::Table) -> impl Iterator<Item = &'static str> {
    table.iter().flat_map(|(names, _)| names.iter().copied())
}

#[test]
fn the_page_says_what_the_parser_does() {
    let mut all = Vec::new();
    for row in rows("Options of offers and answers") {
        for flag in names(row[0]) {
            assert_said("offer", flag, [row[1], row[2]]);
            assert_said("answer", flag, [row[1], row[2]]);
            all.push(flag);
        }
    }
    let known = options::key_names().filter(|name| *name != "flags");
    let known = known
        .chain(table_names(flags::FLAGS))
        .chain(options::PREFIXES);
    let missing: Vec<_> = known.filter(|name| !has(&all, name)).collect();
    assert!(missing.is_empty(), "the page knows nothing of {missing:?}");
}

#[test]
fn the_page_says_what_commands_do_with_their_keys() {
    let rows = rows("Keys of the other commands");
    for row in &rows {
        for command in names(row[0]) {
            names(row[1]).for_each(|flag| assert_said(command, flag, [row[2], row[3]]));
        }
    }
    for command in Command::ALL {
        let own = rows
            .iter()
            .filter(|row| names(row[0]).any(|name| name == command.name()));
        let own: Vec<_> = own.flat_map(|row| names(row[1])).collect();
        let missing: Vec<_> = table_names(verbs::table(*command))
            .filter(|name| !has(&own, name))
            .collect();
        assert!(
            missing.is_empty(),
            "the page knows nothing of {missing:?} of {}",
            command.name()
        );
    }
}

#[test]
fn the_page_has_every_command_and_every_option_of_the_daemon() {
    let verdicts = ["same", "different", "not yet", "never"];
    let commands = rows("Commands");
    let daemon = rows("Options of the daemon");
    for row in commands.iter().chain(&daemon) {
        assert!(row.len() == 3 && verdicts.contains(&row[1]), "{row:?}");
        assert!(
            row[1] == "same" || !row[2].is_empty() || row[1] == "not yet",
            "{row:?}"
        );
    }
    let written: Vec<_> = commands.iter().flat_map(|row| names(row[0])).collect();
    let known: Vec<_> = Command::ALL.iter().map(|command| command.name()).collect();
    assert_eq!(BTreeSet::from_iter(&written), BTreeSet::from_iter(&known));
    assert_eq!(
        written.len(),
        known.len(),
        "a command is there twice: {written:?}"
    );
    let written = daemon.iter().flat_map(|row| names(row[0]));
    let written: Vec<_> = written.map(|name| name.trim_start_matches('-')).collect();
    let known = DAEMON.iter().chain(LATER).copied();
    assert_eq!(
        BTreeSet::from_iter(written.iter().copied()),
        known.collect()
    );
    assert_eq!(
        written.len(),
        DAEMON.len() + LATER.len(),
        "an option is there twice"
    );
}
