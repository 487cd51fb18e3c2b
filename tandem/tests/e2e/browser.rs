//! Browsers: JsSIP, unchanged, in Node.js over WebSocket.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
};

use loadtest::{
    node::{Config, Form, Node},
    process::{self, Interrupt, Tool},
};

const NODE: Ipv4Addr = Ipv4Addr::new(127, 93, 0, 1);
const PHONES: Ipv4Addr = Ipv4Addr::new(127, 93, 0, 2);
const MEDIA: (u16, u16) = (41_000, 41_063);
const NODE_JS: Tool = Tool {
    name: "node",
    package: "nodejs",
};

/// The folder that `scripts/setup.sh test` has put JsSIP into; `None` where this machine has none.
fn jssip() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("jssip");
    let there = NODE_JS.find().is_some() && folder.join("node_modules/jssip").is_dir();
    if !there {
        let why = "Node.js or JsSIP is not there: run scripts/setup.sh test";
        assert!(env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    there.then_some(folder)
}

#[test]
fn two_browsers_register_call_each_other_and_send_messages() {
    let Some(jssip) = jssip() else { return };
    let folder = tempfile::tempdir().unwrap();
    let users = ["alice", "bob"].map(|name| {
        format!("[[users]]\nname = \"{name}\"\ndomain = \"example.test\"\npassword = \"secret\"\n")
    });
    let config = Config {
        name: "browser".to_owned(),
        sip: (NODE, 5060).into(),
        listen: vec![format!("ws:{NODE}:8088")],
        t1: 500,
        media: NODE.into(),
        media_ports: MEDIA,
        interfaces: Vec::new(),
        datapath: "auto".to_owned(),
        media_timeout: 60,
        api: (NODE, 8080).into(),
        allow: vec![IpAddr::from([127, 93, 0, 3])],
        hosts: vec!["127.93.0.4".to_owned()],
        ring_timeout: 60,
        // JsSIP knows the first only.
        more: users.concat() + "[sip.auth]\nalgorithms = [\"MD5\", \"SHA-256\"]\n",
    };
    let programs = Path::new(env!("CARGO_BIN_EXE_tandem")).parent().unwrap();
    let (space, patience) = (None, Interrupt::default());
    let node = Node::start(
        Form::Together,
        programs,
        &config,
        space,
        folder.path(),
        &patience,
    )
    .unwrap_or_else(|error| panic!("{error}"));

    let phones = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jssip/phones.mjs");
    let mut command = Command::new(NODE_JS.find().unwrap());
    command.arg(phones).current_dir(jssip);
    command.args([&format!("ws://{NODE}:8088"), "example.test", "secret"]);
    let said = process::run(command.arg(PHONES.to_string()));
    let said = said.unwrap_or_else(|error| panic!("{error}\n{}", node.log()));
    let said: Vec<&str> = said.lines().collect();
    let [
        "alice registered",
        "bob registered",
        "message hello",
        "message and back",
        media,
        "call over",
        "gone",
    ] = said.as_slice()
    else {
        panic!("{said:#?}");
    };
    // Each was told to send to the node.
    let ports = media.strip_prefix("media ").unwrap().split(' ');
    let ports: Vec<u16> = ports.map(|port| port.parse().unwrap()).collect();
    let of_node = MEDIA.0..=MEDIA.1;
    assert!(ports.len() == 2 && ports.iter().all(|port| of_node.contains(port)));
    assert_ne!(ports[0], ports[1]);

    let page = node.metrics().unwrap();
    let answered = [("result", "answered")];
    assert!((page.sum("tandem_calls_total", &answered) - 1.0).abs() < f64::EPSILON);
    for table in ["tandem_calls_active", "tandem_registered_contacts"] {
        assert!(page.sum(table, &[]).abs() < f64::EPSILON, "{table}");
    }
    assert!(node.stop().unwrap());
}
