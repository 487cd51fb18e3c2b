//! What `tandem run` says when it is up: where everything is, and what to type next.

use std::fmt::Write as _;

use control::{Config, config::Transport};

use super::node::{Facts, Node};
use crate::{node::Source, output};

/// The text.
pub(super) fn text(config: &Config, source: &Source, node: &Node) -> String {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "tandem".to_owned());
    write(config, source, &node.facts, &program)
}

fn write(config: &Config, source: &Source, facts: &Facts, program: &str) -> String {
    let mut text = String::new();
    let media = &facts.media;
    let mut path = media.path.name().to_owned();
    if !media.stepped_down.is_empty() {
        path += &format!(" ({})", media.stepped_down);
    }
    let data_dir = config.node.data_dir.display();
    let scheme = match config.api.tls {
        Some(_) => "https",
        None => "http",
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\nTandem {version}: node {name} is up\n\n\
         \x20 SIP       {sip}\n\
         \x20 media     {address}, ports {ports}, by {path}\n\
         \x20 dashboard {scheme}://{api}/\n\
         \x20 REST      {scheme}://{api}/v1, described at /docs\n\
         \x20 metrics   {scheme}://{api}/metrics\n\
         \x20 data      {data_dir}\n",
        version = env!("CARGO_PKG_VERSION"),
        name = config.node.name,
        sip = facts.listen.join(", "),
        address = config.media.address,
        ports = config.media.ports,
        api = facts.api,
    );
    if let Some(key) = &facts.new_key {
        let _ = writeln!(
            text,
            "  admin key {key}\n            (shown this once, kept in {data_dir}/admin_key)"
        );
    }
    let option = source.option();
    for (place, new) in facts.new_passwords.iter().enumerate() {
        let label = if place == 0 { "users" } else { "" };
        let _ = writeln!(
            text,
            "  {label:<9} {} password {}",
            new.user,
            new.password.expose()
        );
    }
    if let Some(first) = facts.new_passwords.first() {
        let _ = writeln!(
            text,
            "            (shown this once; '{program} users set {} --generate{option}' makes another)",
            first.user
        );
    }
    text.push_str("\nWhat to type next, in another terminal:\n");
    let mut hint = |command: &str, meaning: &str| {
        let _ = writeln!(text, "  {command}\n      {meaning}");
    };
    if let Some((listen, uri)) = first_call(config, facts) {
        hint(
            &format!("{program} answer --echo --listen {listen}"),
            "be the callee: take the calls of this node's trunk",
        );
        hint(
            &format!("{program} call {uri}"),
            "call through this node, and hear the echo",
        );
    }
    hint(
        &format!("{program} status{option}"),
        "how the node is; 'calls' lists its calls",
    );
    let key = match config.api.admin_key {
        Some(_) => "$ADMIN_KEY".to_owned(),
        None => format!("$(cat {data_dir}/admin_key)"),
    };
    hint(
        &format!(
            "curl -H \"Authorization: Bearer {key}\" {scheme}://{}/v1/calls",
            facts.api
        ),
        "the same by REST; /v1/cdrs has those that are over",
    );
    text.push_str("\nCtrl-C ends the calls and stops the node.\n");
    // A device's or a node's name is not to speak to the terminal.
    text.lines()
        .map(output::printable)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Where `tandem answer` can take the calls of a route to every number, and what to call then: only
/// where both ends are on this machine.
fn first_call(config: &Config, facts: &Facts) -> Option<(String, String)> {
    let route = config.routes.iter().find(|route| route.prefix.is_empty())?;
    let name = &route.trunks.first()?.trunk;
    let trunk = config.trunks.iter().find(|trunk| trunk.name == *name)?;
    let host = &trunk.hosts.first()?.host;
    let ip = host.ip().filter(std::net::IpAddr::is_loopback)?;
    let listen = std::net::SocketAddr::new(ip, host.port_or_default());

    let udp = format!("{}:", Transport::Udp);
    let own = facts
        .listen
        .iter()
        .find_map(|listen| listen.strip_prefix(&udp))?;
    let own: std::net::SocketAddr = own.parse().ok()?;
    let may_call = config
        .trunks
        .iter()
        .any(|trunk| trunk.allow.iter().any(|block| block.contains(own.ip())));
    (own.ip().is_loopback() && may_call).then(|| (listen.to_string(), format!("sip:100@{own}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use control::{
        media::{MediaStatus, Path as MediaPath},
        signal::Secret,
    };
    use signaling::NewPassword;

    use super::*;
    use crate::starter;

    fn facts() -> Facts {
        Facts {
            listen: vec!["udp:127.0.0.1:5060".into(), "tcp:127.0.0.1:5060".into()],
            media: MediaStatus {
                path: MediaPath::IoUring,
                stepped_down: "no interface is configured".into(),
                interfaces: Vec::new(),
                shards: 2,
                sessions: 0,
                ports_used: 0,
                ports: 10_000,
                adopted: 0,
                draining: false,
            },
            api: "127.0.0.1:8080".parse().unwrap(),
            new_key: Some("k".repeat(8)),
            new_passwords: vec![NewPassword {
                user: "alice@127.0.0.1".into(),
                password: Secret::new("p".repeat(8)),
            }],
        }
    }

    fn starter() -> Config {
        let text = starter::text(Path::new("/data"));
        Config::parse(&text, []).unwrap().config
    }

    #[test]
    fn everything_that_a_new_user_needs_is_there() {
        let source = Source::File("target/run/tandem.toml".into());
        let text = write(&starter(), &source, &facts(), "target/release/tandem");
        for part in [
            "SIP       udp:127.0.0.1:5060, tcp:127.0.0.1:5060",
            "ports 20000-29999, by io-uring (no interface is configured)",
            "dashboard http://127.0.0.1:8080/",
            "http://127.0.0.1:8080/v1",
            "users     alice@127.0.0.1 password pppppppp",
            "users set alice@127.0.0.1 --generate --config target/run/tandem.toml",
            "http://127.0.0.1:8080/metrics",
            "admin key kkkkkkkk",
            "target/release/tandem answer --echo --listen 127.0.0.1:5090",
            "target/release/tandem call sip:100@127.0.0.1:5060",
            "target/release/tandem status --config target/run/tandem.toml",
            "Bearer $(cat /data/admin_key)",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn a_configured_key_is_not_shown_and_no_call_is_proposed_that_cannot_work() {
        let mut config = starter();
        config.api.admin_key = Some("a-secret-of-the-operator".into());
        let host: control::config::Host = "192.0.2.1:5060".parse().unwrap();
        config.trunks[0].hosts = vec![host.into()];
        let facts = Facts {
            new_key: None,
            new_passwords: Vec::new(),
            ..facts()
        };
        let text = write(&config, &Source::Starter, &facts, "tandem");
        assert!(!text.contains("secret"), "{text}");
        assert!(!text.contains("answer --echo"), "{text}");
        assert!(text.contains("tandem status\n"), "{text}");
    }
}
