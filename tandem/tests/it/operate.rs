//! What an operator does to a node that runs, and what a start says that fails.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs,
    io::Write as _,
    net::TcpStream,
    process::Stdio,
};

use crate::{
    common::{free_port, json, output, tandem},
    node::Node,
};

#[test]
fn the_log_of_one_user_is_raised_while_the_node_runs() {
    let node = Node::start();
    let said = |arguments: &[&str]| {
        let done = node.ask(arguments);
        assert!(done.status.success(), "{}", output(&done));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    assert_eq!(said(&["log"]), "filter  info\n");
    let watched = said(&["log", "--level", "debug", "--user", "100", "--for", "1m"]);
    assert!(watched.contains("debug   user 100, for"), "{watched}");
    assert!(said(&["log", "--level", "warn", "--for", "2h"]).contains("filter  warn, for"));
    let wrong = node.ask(&["log", "--level", "no=such=filter"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", output(&wrong));

    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "1"]).finish();
    assert!(call.status.success(), "{}", output(&call));
    assert!(answer.finish().status.success());
    assert_eq!(said(&["log", "--reset"]), "filter  info\n");

    node.process.signal("TERM");
    let ended = node.process.finish();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        log.contains("DEBUG received") && log.contains("line=INVITE sip:100@"),
        "{log}"
    );
    assert!(log.contains("DEBUG sending"), "{log}");
}

#[test]
fn what_the_media_engine_carries_is_a_table() {
    let node = Node::start();
    let look = |more: &[&str]| {
        let done = node.ask(&[&["media"], more].concat());
        assert!(done.status.success(), "{}", output(&done));
        done
    };
    let nothing = String::from_utf8_lossy(&look(&["--once"]).stdout).into_owned();
    assert!(nothing.starts_with("0 sessions on "), "{nothing}");

    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "6"]);
    let seen = RefCell::new(serde_json::Value::Null);
    node.wait_until(|| {
        *seen.borrow_mut() = json(&look(&["--json"]));
        seen.borrow()["items"][0]["mos"].is_number()
    });
    let seen = seen.into_inner();
    let session = &seen["items"][0];
    assert_eq!(
        (&seen["sessions"], &session["owner"]),
        (&1.into(), &"signaling".into()),
        "{seen}"
    );
    for party in ["a", "b"] {
        let flow = &session[party];
        let speed = flow["packets_per_s"].as_f64().unwrap();
        assert!((30.0..70.0).contains(&speed) && flow["lost"] == 0, "{seen}");
        assert!(flow["mos"].as_f64().unwrap() > 4.0, "{seen}");
    }
    // mediad is asked itself: its socket will do.
    let control = format!("unix:{}", node.dir.path().join("data/media.sock").display());
    let table = tandem(["media", "--once", "--control", &control])
        .output()
        .unwrap();
    assert!(output(&table).contains("signaling"), "{}", output(&table));
    assert!(call.finish().status.success() && answer.finish().status.success());
}

#[test]
fn a_reload_takes_routes_over_keeps_calls_and_refuses_what_is_wrong() {
    let node = Node::start();
    let path = node.path();
    let text = fs::read_to_string(&path).unwrap();
    let answer = node.answer(&["--ring", "30"]);
    let call = node.call(&[]);
    node.wait_for_state("ringing");

    let reload = node.ask(&["reload"]);
    assert!(reload.status.success(), "{}", output(&reload));
    let changed = text
        .replace("ring_timeout = 60", "ring_timeout = 33")
        .replace("[sip]\n", "[sip]\nt1 = 100\n")
        .replace("\ntimeout = 60", "\nshards = 3\ntimeout = 41");
    assert!(changed.contains("timeout = 41"), "{changed}");
    fs::write(&path, &changed).unwrap();
    let reload = node.ask(&["reload"]);
    assert!(reload.status.success(), "{}", output(&reload));
    let said = String::from_utf8_lossy(&reload.stdout).into_owned();
    assert!(
        said.contains("in effect: routes, media.timeout\n"),
        "{said}"
    );
    assert!(
        said.contains("needs a restart of the node: sip.t1, media.shards\n"),
        "{said}"
    );
    // mediad has read it too.
    assert!(!said.contains("warning"), "{said}");
    let trunk = json(&node.ask(&["trunks", "--json"]))["items"][0]["name"].clone();
    let route = [
        "route",
        "1",
        "100",
        "--json",
        "--trunk",
        trunk.as_str().unwrap(),
    ];
    let report = json(&node.ask(&route));
    assert_eq!(report["stages"][0]["ring_timeout_s"], 33);

    let wrong = changed
        .replace("t1 = 100", "t1 = 1\nworker = 1")
        .replace("trunks = [\"local\"]", "trunks = [\"nobody\"]");
    fs::write(&path, &wrong).unwrap();
    // The file does not lead to the node any more.
    let control = format!(
        "unix:{}",
        node.dir.path().join("data/signal.sock").display()
    );
    let reload = tandem(["reload", "--control", &control]).output().unwrap();
    assert_eq!(reload.status.code(), Some(1), "{}", output(&reload));
    let check = tandem(["check-config"]).arg(&path).output().unwrap();
    for part in ["[sip] worker: unknown", "t1 = 1", "no trunk 'nobody'"] {
        assert!(output(&reload).contains(part), "{}", output(&reload));
        assert!(output(&check).contains(part), "{}", output(&check));
    }
    node.process.signal("HUP");
    fs::write(&path, &text).unwrap();
    assert_eq!(node.calls().len(), 1, "the call goes on");

    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    assert!(node.ask(&["calls", "hangup", &id]).status.success());
    drop((call.finish(), answer.finish()));
    node.wait_until(|| node.calls().is_empty());
    let Node { process, .. } = node;
    process.signal("TERM");
    let ended = process.finish();
    assert_eq!(ended.status.code(), Some(0));
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        log.contains("takes effect with a restart of the node: sip.t1, media.shards"),
        "{log}"
    );
}

#[test]
fn users_come_and_go_while_the_node_runs() {
    let node = Node::start();
    let named = |arguments: &[&str], line: &str| {
        let mut command = tandem(["users"]);
        command.args(arguments).arg("--config").arg(node.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // It may have ended before it reads.
        drop(child.stdin.take().unwrap().write_all(line.as_bytes()));
        child.wait_with_output().unwrap()
    };
    let none = named(&["list"], "");
    assert!(
        output(&none).contains("there is no user"),
        "{}",
        output(&none)
    );
    let nameless = named(&["add", "alice"], "secret\n");
    assert_eq!(nameless.status.code(), Some(1), "{}", output(&nameless));
    assert!(
        output(&nameless).contains("alice@DOMAIN"),
        "{}",
        output(&nameless)
    );
    let added = named(
        &["add", "alice@example.test", "--display", "Alice"],
        "secret\n",
    );
    assert!(added.status.success(), "{}", output(&added));
    // The domain is served from now on, and the first one is that of who is named without.
    let made = named(&["add", "bob", "--generate", "--disabled", "--json"], "");
    let made = json(&made);
    assert_eq!(made["user"], "bob@example.test");
    assert_eq!(made["password"].as_str().unwrap().len(), 20);
    let users = json(&named(&["list", "--json"], ""));
    let users = users["items"].as_array().unwrap();
    assert_eq!((users.len(), &users[0]["display"]), (2, &"Alice".into()));
    assert_eq!(
        (&users[0]["enabled"], &users[1]["enabled"]),
        (&true.into(), &false.into())
    );

    for (arguments, line, code) in [
        (
            &["set", "bob", "--enable", "--max-contacts", "2"][..],
            "",
            0,
        ),
        (&["set", "bob", "--password"], "other\n", 0),
        (&["set", "bob", "--password"], "\n", 1),
        (&["set", "bob"], "", 2),
        (&["set", "nobody", "--disable"], "", 1),
        (&["set", "bob", "--max-contacts", "1000"], "", 1),
        (&["add", "bob"], "again\n", 1),
        (&["remove", "alice"], "", 0),
        (&["remove", "alice"], "", 1),
    ] {
        let done = named(arguments, line);
        assert_eq!(
            done.status.code(),
            Some(code),
            "{arguments:?} {}",
            output(&done)
        );
        assert!(!output(&done).contains("other"), "{}", output(&done));
    }
    for name in ["bob", "bob@Example.test"] {
        let left = json(&named(&["list", name, "--json"], ""));
        assert_eq!(left["items"][0]["max_contacts"], 2);
        assert_eq!(left["items"].as_array().unwrap().len(), 1);
        let none = node.ask(&["registrations", "list", name]);
        assert!(output(&none).contains("nobody"), "{}", output(&none));
        let none = node.ask(&["registrations", "remove", name]);
        assert_eq!(none.status.code(), Some(1));
        let told = output(&none);
        assert!(
            told.contains("'bob@example.test' has registered no"),
            "{told}"
        );
    }

    let Node { process, dir, .. } = node;
    process.signal("TERM");
    let ended = process.finish();
    assert!(!output(&ended).contains("secret"), "{}", output(&ended));
    let path = dir.path().join("tandem.toml");
    let gone = tandem(["users", "list", "--config"])
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert!(output(&gone).contains("tandem run"), "{}", output(&gone));
}

#[test]
fn a_second_node_in_the_same_place_says_what_is_in_its_way() {
    let node = Node::start();
    // The same file twice, and another file with the same folder.
    let text = fs::read_to_string(node.path()).unwrap();
    let other = text.replace(&format!(":{}", node.sip), &format!(":{}", free_port()));
    let path = node.dir.path().join("other.toml");
    fs::write(&path, other).unwrap();
    for (path, part) in [
        (node.path(), "Address already in use"),
        (path, "served by another process"),
    ] {
        let second = tandem(["run", "--config"]).arg(path).output().unwrap();
        assert_eq!(second.status.code(), Some(1), "{}", output(&second));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        node.ask(&["status"]).status.success(),
        "the first one is unharmed"
    );
}

#[test]
fn a_start_that_fails_says_why_in_one_line() {
    let node = Node::start();
    let text = fs::read_to_string(node.path()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let own = text
        .replace(
            &node.dir.path().join("data").display().to_string(),
            &data.display().to_string(),
        )
        .replace("datapath = \"auto\"", "datapath = \"sockets\"");
    let (sip, api) = (node.sip, node.api);
    let free_sip = own.replace(&format!(":{sip}"), &format!(":{}", free_port()));
    let free_api = |text: &str| text.replace(&format!(":{api}"), &format!(":{}", free_port()));
    let both_free = free_api(&free_sip);
    let certificate =
        "[sip]\ntls.certificates = [{ certificate = \"/no.pem\", key = \"/no.key\" }]\n";
    for (text, part) in [
        (free_api(&own), "ss -lnptu"),
        (free_sip.clone(), "cannot serve HTTP"),
        (
            both_free.replace("[sip]\n", certificate),
            "cannot read /no.pem",
        ),
        (
            both_free.replace("[sip]\n", "[sip]\nworker = 1\n"),
            "line 9: [sip] worker",
        ),
        (
            both_free.replace("sqlite:tandem.db", "postgres://u:hunter2@127.0.0.1:1/d"),
            "Connection refused",
        ),
        (
            both_free.replace(&data.display().to_string(), "/dev/null/data"),
            "data_dir /dev/null/data",
        ),
    ] {
        let path = dir.path().join("tandem.toml");
        fs::write(&path, text).unwrap();
        let ended = tandem(["run", "--config"]).arg(&path).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{part}: {}", output(&ended));
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains(part), "{part}: {said}");
        assert!(
            !said.contains("WARN") && !said.contains("ERROR"),
            "{part}: {said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn prometheus_can_read_the_metrics() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    assert!(node.call(&["--duration", "1"]).finish().status.success());
    assert!(answer.finish().status.success());
    node.wait_until(|| node.calls().is_empty());
    let page = node.page("/metrics");
    let (mut help, mut kinds) = (HashSet::new(), HashMap::new());
    let mut series = HashSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(help.insert(name) && !words.is_empty(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                help.contains(name) && kinds.insert(name, kind).is_none(),
                "{line}"
            );
            assert!(name.starts_with("tandem_"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                value.parse::<f64>().is_ok() && series.insert(name),
                "{line}"
            );
            let family = name.split('{').next().unwrap();
            let part = ["_bucket", "_sum", "_count"].into_iter();
            let mut part = part.filter_map(|end| family.strip_suffix(end));
            let known = kinds.contains_key(family)
                || part.any(|family| kinds.get(family) == Some(&"histogram"));
            assert!(known, "{line}");
        }
    }
    for part in [
        "tandem_sip_messages_total{direction=\"in\",method=\"INVITE\"} 1",
        "tandem_sip_responses_total{code=\"200\",direction=\"out\"} 2",
        "tandem_trunk_calls_total{code=\"200\",trunk=\"local\"} 1",
    ] {
        assert!(
            series.contains(part.rsplit_once(' ').unwrap().0),
            "{part}: {page}"
        );
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let node = Node::start();
    node.process.signal("TERM");
    let address = ("127.0.0.1", node.api);
    node.wait_until(|| TcpStream::connect(address).is_err());
    // A pipe takes 64 KiB; then who writes to it waits for who reads.
    let mut unread = tandem(["run", "--config"])
        .arg(node.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    node.wait_until(|| TcpStream::connect(address).is_ok());
    for _ in 0..1_000 {
        // Each of them is a line, also where it is one too many for the limit.
        let (status, _) = node.get("/v1/nothing");
        assert!(matches!(status, 404 | 429), "{status}");
    }
    assert_eq!(node.get("/healthz").0, 200);
    unread.kill().unwrap();
    unread.wait().unwrap();
}
