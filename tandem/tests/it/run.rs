//! A whole node: started, looked at, called through, drained, reloaded and stopped.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common::{Background, free_port, json, output, tandem};

/// A node on loopback, whose trunk leads to `callee`.
struct Node {
    process: Background,
    dir: tempfile::TempDir,
    sip: u16,
    api: u16,
    callee: u16,
}

impl Node {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sip, api, callee) = (free_port(), free_port(), free_port());
        let init = tandem(["init"]).arg(dir.path()).output().unwrap();
        assert!(init.status.success(), "{}", output(&init));
        let path = dir.path().join("tandem.toml");
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("127.0.0.1:5060", &format!("127.0.0.1:{sip}"))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{api}"))
            .replace("127.0.0.1:5090", &format!("127.0.0.1:{callee}"))
            .replace("20000-29999", &media_ports());
        fs::write(&path, text).unwrap();
        let mut process = Background::start(tandem(["run", "--config"]).arg(&path));
        let socket = dir.path().join("data/signal.sock");
        process.wait(|_| socket.exists() && TcpStream::connect(("127.0.0.1", api)).is_ok());
        let node = Self {
            process,
            dir,
            sip,
            api,
            callee,
        };
        node.wait_until(|| node.ask(&["status", "--json"]).status.success());
        node
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("tandem.toml")
    }

    /// A command that is meant for this node.
    fn ask(&self, arguments: &[&str]) -> Output {
        tandem(arguments)
            .arg("--config")
            .arg(self.path())
            .output()
            .unwrap()
    }

    fn status(&self) -> Value {
        let status = self.ask(&["status", "--json"]);
        assert!(status.status.success(), "{}", output(&status));
        json(&status)
    }

    fn calls(&self) -> Vec<Value> {
        let calls = self.ask(&["calls", "--json"]);
        assert!(calls.status.success(), "{}", output(&calls));
        json(&calls)["items"].as_array().unwrap().clone()
    }

    fn answer(&self, more: &[&str]) -> Background {
        let listen = format!("127.0.0.1:{}", self.callee);
        Background::start(
            tandem(["answer", "--json", "--calls", "1", "--listen", &listen]).args(more),
        )
    }

    fn call(&self, more: &[&str]) -> Background {
        let uri = format!("sip:100@127.0.0.1:{}", self.sip);
        Background::start(tandem(["call", &uri, "--json"]).args(more))
    }

    fn wait_until(&self, ready: impl Fn() -> bool) {
        let start = Instant::now();
        while !ready() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "it does not come to that"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_state(&self, state: &str) {
        self.wait_until(|| self.calls().iter().any(|call| call["state"] == state));
    }

    /// The admin key that the node made for itself.
    fn key(&self) -> String {
        fs::read_to_string(self.dir.path().join("data/admin_key"))
            .unwrap()
            .trim()
            .to_owned()
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.api)).unwrap();
        let key = self.key();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

/// Ports of this test alone: enough for a few calls.
fn media_ports() -> String {
    let first = 10_000 + 40 * u32::from(free_port() % 500);
    format!("{first}-{}", first + 39)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_call_goes_through_the_node_and_every_view_of_it_agrees() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "4"]);
    node.wait_for_state("answered");

    let status = node.status();
    assert_eq!(
        (&status["calls"], &status["draining"]),
        (&1.into(), &false.into()),
        "{status}"
    );
    assert_eq!(status["media"]["sessions"], 1, "{status}");
    let calls = node.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["trunk"], "local");
    let (code, live) = node.get("/v1/calls");
    assert_eq!(code, 200);
    assert_eq!(live["items"][0]["id"], calls[0]["id"]);
    assert_eq!(live["items"][0]["started"], calls[0]["started"]);
    let table = node.ask(&["calls"]);
    assert!(
        String::from_utf8_lossy(&table.stdout).contains("answered"),
        "{}",
        output(&table)
    );

    let id = calls[0]["id"].as_str().unwrap().to_owned();
    let ladder = node.ask(&["trace", &id]);
    let drawn = String::from_utf8_lossy(&ladder.stdout).into_owned();
    assert!(
        drawn.contains("1------->|           INVITE sip:100@"),
        "{}",
        output(&ladder)
    );
    assert!(
        drawn.contains("<-------2  SIP/2.0 200 OK  [1 INVITE]"),
        "{drawn}"
    );

    let call = call.finish();
    assert!(call.status.success(), "{}", output(&call));
    let report = json(&call);
    assert_eq!(report["received"]["lost"], 0, "{report}");
    assert!(
        report["received"]["packets"].as_u64().unwrap() > 150,
        "{report}"
    );
    assert_ne!(report["call_id"], "");
    assert!(answer.finish().status.success());
    node.wait_until(|| node.calls().is_empty());
    let trace = node.ask(&["trace", &id, "--json", "--full"]);
    assert!(trace.status.success(), "{}", output(&trace));
    let trace = json(&trace);
    assert_eq!(
        (&trace["up"], &trace["call_id"]),
        (&false.into(), &report["call_id"])
    );
    let last = trace["items"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["direction"], &last["line"]),
        (&"out".into(), &"SIP/2.0 200 OK".into())
    );
    assert!(last["message"].as_str().unwrap().contains("BYE"), "{last}");
    let none = node.ask(&["trace", "nobody@nowhere"]);
    assert_eq!(none.status.code(), Some(1), "{}", output(&none));
    node.wait_until(|| {
        node.get("/v1/cdrs").1["items"]
            .as_array()
            .is_some_and(|items| items.len() == 1)
    });
    assert_eq!(node.status()["media"]["sessions"], 0);
}

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
fn the_first_start_shows_its_key_and_what_to_type_next() {
    let node = Node::start();
    let key = node.key();
    assert_eq!(mode(&node.dir.path().join("data/admin_key")), 0o600);
    assert_eq!(mode(&node.dir.path().join("data")), 0o700);
    assert_eq!(node.get("/healthz").0, 200);
    let (sip, api, callee) = (node.sip, node.api, node.callee);
    let Node { process, dir, .. } = node;
    process.signal("TERM");
    let ended = process.finish();
    assert_eq!(ended.status.code(), Some(0), "{}", output(&ended));
    let banner = String::from_utf8_lossy(&ended.stdout).into_owned();
    for part in [
        key.clone(),
        format!("udp:127.0.0.1:{sip}"),
        format!("http://127.0.0.1:{api}/metrics"),
        format!("answer --echo --listen 127.0.0.1:{callee}"),
        format!("call sip:100@127.0.0.1:{sip}"),
    ] {
        assert!(banner.contains(&part), "{part}: {banner}");
    }
    assert!(
        !String::from_utf8_lossy(&ended.stderr).contains(&key),
        "no key in the log"
    );
    assert!(!dir.path().join("data/signal.sock").exists());

    let again = Background::start(tandem(["run", "--config"]).arg(dir.path().join("tandem.toml")));
    again.signal("INT");
    let ended = again.finish();
    assert!(
        !String::from_utf8_lossy(&ended.stdout).contains(&key),
        "shown once only"
    );
}

#[test]
fn stopping_the_node_ends_calls_with_bye() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "60"]);
    node.wait_for_state("answered");
    thread::sleep(Duration::from_millis(500));
    node.process.signal("TERM");
    for ended in [call.finish(), answer.finish()] {
        assert!(ended.status.success(), "{}", output(&ended));
        assert_eq!(json(&ended)["ended_by"], "remote", "{}", output(&ended));
    }
    let Node { process, .. } = node;
    let ended = process.finish();
    assert_eq!(ended.status.code(), Some(0), "{}", output(&ended));
}

#[test]
fn draining_refuses_new_calls_and_waits_for_the_old_one() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "4"]);
    node.wait_for_state("answered");

    let impatient = node.ask(&["drain", "--wait", "1"]);
    assert_eq!(impatient.status.code(), Some(1), "{}", output(&impatient));
    let uri = format!("sip:100@127.0.0.1:{}", node.sip);
    let refused = tandem(["call", &uri, "--json"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", output(&refused));
    assert_eq!(json(&refused)["status"], 503, "{}", output(&refused));
    let patient = node.ask(&["drain"]);
    assert!(patient.status.success(), "{}", output(&patient));
    assert!(call.finish().status.success());
    assert!(answer.finish().status.success());

    assert_eq!(node.status()["draining"], true);
    assert!(node.ask(&["drain", "--off"]).status.success());
    assert_eq!(node.status()["draining"], false);
}

#[test]
fn a_call_can_be_hung_up_from_outside() {
    let node = Node::start();
    let answer = node.answer(&["--ring", "30"]);
    let call = node.call(&[]);
    node.wait_for_state("ringing");
    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    let unknown = node.ask(&["hangup", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", output(&unknown));
    assert!(node.ask(&["hangup", &id]).status.success());
    let call = call.finish();
    assert_eq!(call.status.code(), Some(3), "{}", output(&call));
    assert_eq!(json(&answer.finish())["answered"], false);
    node.wait_until(|| node.calls().is_empty());
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
        .replace("[sip]\n", "[sip]\nt1 = 100\n");
    fs::write(&path, &changed).unwrap();
    let reload = node.ask(&["reload"]);
    assert!(reload.status.success(), "{}", output(&reload));
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

    fs::write(&path, changed.replace("t1 = 100", "t1 = 1")).unwrap();
    // The file does not lead to the node any more.
    let control = format!(
        "unix:{}",
        node.dir.path().join("data/signal.sock").display()
    );
    let reload = tandem(["reload", "--control", &control]).output().unwrap();
    assert_eq!(reload.status.code(), Some(1), "{}", output(&reload));
    assert!(output(&reload).contains("t1 = 1"), "{}", output(&reload));
    node.process.signal("HUP");
    fs::write(&path, &text).unwrap();
    assert_eq!(node.calls().len(), 1, "the call goes on");

    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    assert!(node.ask(&["hangup", &id]).status.success());
    drop((call.finish(), answer.finish()));
    node.wait_until(|| node.calls().is_empty());
    let Node { process, .. } = node;
    process.signal("TERM");
    let ended = process.finish();
    assert_eq!(ended.status.code(), Some(0));
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        log.contains("next start only") && log.contains("[sip]"),
        "{log}"
    );
}

#[test]
fn a_second_node_in_the_same_place_says_what_is_in_its_way() {
    let node = Node::start();
    let second = node.ask(&["run"]);
    assert_eq!(second.status.code(), Some(1), "{}", output(&second));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("served by another process"), "{said}");
    assert!(
        node.ask(&["status"]).status.success(),
        "the first one is unharmed"
    );
}

#[test]
fn a_second_signal_stops_at_once() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "60"]);
    node.wait_for_state("answered");
    // Neither party can answer the node's BYE any more.
    answer.signal("STOP");
    call.signal("STOP");
    node.process.signal("TERM");
    thread::sleep(Duration::from_millis(500));
    node.process.signal("TERM");
    let start = Instant::now();
    let Node { process, .. } = node;
    let ended = process.finish();
    assert_eq!(ended.status.code(), Some(130), "{}", output(&ended));
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}
