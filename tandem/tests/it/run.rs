//! A whole node: started, looked at, called through, drained and stopped.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    common::{Background, json, output, tandem},
    node::Node,
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_call_goes_through_the_node_and_every_view_of_it_agrees() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "120"]);
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

    // A second of it has passed both ways.
    node.wait_until(|| {
        let media = json(&node.ask(&["media", "--json"]));
        ["a", "b"].iter().all(|party| {
            let packets = media["items"][0][party]["packets"].as_u64();
            packets.is_some_and(|packets| packets > 50)
        })
    });
    call.interrupt();
    let call = call.finish();
    assert!(call.status.success(), "{}", output(&call));
    let report = json(&call);
    assert_eq!(report["ended_by"], "local", "{report}");
    assert_eq!(report["received"]["lost"], 0, "{report}");
    assert!(
        report["received"]["packets"].as_u64().unwrap() > 40,
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
fn the_first_start_makes_two_users_and_shows_their_passwords_once() {
    let node = Node::start_by(|text| text);
    let users = json(&node.ask(&["users", "list", "--json"]));
    let named = users["items"].as_array().unwrap().iter();
    let named: Vec<_> = named.map(|user| user["user"].as_str().unwrap()).collect();
    assert_eq!(named, ["alice@127.0.0.1", "bob@127.0.0.1"]);
    let Node { process, dir, .. } = node;
    process.signal("TERM");
    let ended = process.finish();
    let banner = String::from_utf8_lossy(&ended.stdout).into_owned();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    for user in named {
        let (_, password) = banner.split_once(&format!("{user} password ")).unwrap();
        let password = password.lines().next().unwrap();
        assert_eq!(password.len(), 20, "{banner}");
        assert!(!log.contains(password), "no password in the log");
    }

    let again = Background::start(tandem(["run", "--config"]).arg(dir.path().join("tandem.toml")));
    again.signal("INT");
    let ended = again.finish();
    assert!(!String::from_utf8_lossy(&ended.stdout).contains(" password "));
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
    let call = node.call(&["--duration", "120"]);
    node.wait_for_state("answered");
    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();

    let impatient = node.ask(&["drain", "--wait", "1"]);
    assert_eq!(impatient.status.code(), Some(1), "{}", output(&impatient));
    let uri = format!("sip:100@127.0.0.1:{}", node.sip);
    let refused = tandem(["call", &uri, "--json"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", output(&refused));
    assert_eq!(json(&refused)["status"], 503, "{}", output(&refused));
    let patient = Background::spawn(tandem(["drain", "--config"]).arg(node.path()));
    assert!(node.ask(&["calls", "hangup", &id]).status.success());
    let patient = patient.finish();
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
    let unknown = node.ask(&["calls", "hangup", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", output(&unknown));
    assert!(node.ask(&["calls", "hangup", &id]).status.success());
    let call = call.finish();
    assert_eq!(call.status.code(), Some(3), "{}", output(&call));
    assert_eq!(json(&answer.finish())["answered"], false);
    node.wait_until(|| node.calls().is_empty());
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
    node.wait_until(|| node.process.has_said("a second signal stops at once"));
    node.process.signal("TERM");
    let start = Instant::now();
    let Node { process, .. } = node;
    let ended = process.finish();
    assert_eq!(ended.status.code(), Some(130), "{}", output(&ended));
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}
