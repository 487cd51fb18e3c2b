//! The configuration that the Kubernetes manifests carry is one that this version takes.

#![expect(
    clippy::panic,
    reason = "a test says \"this cannot fail\" the short way"
)]

use std::path::Path;

use control::{Config, Endpoint};

const FILE: &str = include_str!("../../k8s/base/tandem.toml");
const MANIFEST: &str = include_str!("../../k8s/base/node.yaml");

/// The variables that the manifest sets, as a pod on the machine `n1.example.test` sees them.
fn variables() -> Vec<(String, String)> {
    let lines: Vec<_> = MANIFEST.lines().map(str::trim).collect();
    let mut variables = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("- name: TANDEM_") else {
            continue;
        };
        let value = match lines[number + 1].strip_prefix("value: ") {
            Some(value) => value.replace("$(HOST_IP)", "192.0.2.1"),
            None if name == "NODE_NAME" => "n1.example.test".into(),
            None if name == "API_ADMIN_KEY" => "0123456789abcdef".into(),
            None if name == "STORE_URL" => "postgres://tandem@192.0.2.2/tandem".into(),
            None => panic!("where does TANDEM_{name} come from?"),
        };
        variables.push((format!("TANDEM_{name}"), value));
    }
    variables
}

#[test]
fn the_pods_configuration_is_valid() {
    let loaded = Config::parse(FILE, variables()).unwrap();
    assert_eq!(loaded.warnings, [] as [&str; 0]);
    let config = loaded.config;
    assert_eq!(config.node.name, "n1.example.test");
    assert_eq!(config.sip.listen.len(), 2);
    let listen = config.sip.listen.iter().map(|listen| listen.address);
    assert!(
        listen
            .into_iter()
            .all(|address| address == "192.0.2.1:5060".parse().unwrap())
    );

    // Where the volumes and the probes expect things.
    let socket = |name: &str| Endpoint::Unix(Path::new("/run/tandem").join(name));
    assert_eq!(config.media_endpoint(), socket("media.sock"));
    assert_eq!(config.signal_endpoint(), socket("signal.sock"));
    for (address, port) in [
        (Some(config.api.listen), 8080),
        (config.media.metrics, 9091),
    ] {
        assert_eq!(address, Some(([127, 0, 0, 1], port).into()));
        assert!(MANIFEST.contains(&format!("host: 127.0.0.1, port: {port}")));
    }
}
