//! A node that is killed in the middle of a call: the next one of its name ends what it had under way.

use std::net::TcpStream;

use super::*;
use crate::common::Background;

#[test]
fn what_a_killed_node_had_under_way_is_over_when_it_comes_back() {
    let app = App::start(|_| {
        let document = b"<Response><Record timeout=\"0\" maxLength=\"60\"/></Response>";
        HashMap::from([("/voice", ("text/xml", document.to_vec()))])
    });
    let dir = tempfile::tempdir().unwrap();
    let media = format!("[media]\nrecordings = \"{}\"", dir.path().display());
    let number = format!(
        "\n[[accounts]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\n\n\
         [[numbers]]\nnumber = \"200\"\naccount = \"{ACCOUNT}\"\nvoice_url = \"{}\"\n",
        app.url("/voice")
    );
    let mut node = Node::start_by(|text| text.replace("[media]", &media) + &number);
    let uri = format!("sip:200@127.0.0.1:{}", node.sip);
    let _caller = Background::start(tandem(["call", &uri, "--json"]).args(["--duration", "60"]));
    let first = |node: &Node, path: &str, list: &str| {
        let told = ask(node, "GET", path, "");
        told[list].get(0).cloned().unwrap_or_default()
    };
    let call = |node: &Node| first(node, "/Calls.json", "calls");
    let recording = |node: &Node| first(node, "/Recordings.json", "recordings");
    node.wait_until(|| {
        call(&node)["status"] == "in-progress" && recording(&node)["status"] == "in-progress"
    });

    node.process.kill();
    let path = node.path();
    let mut process = Background::start(tandem(["run", "--config"]).arg(&path));
    let api = node.api;
    process.wait(|_| TcpStream::connect(("127.0.0.1", api)).is_ok());
    node.process = process;
    node.wait_until(|| {
        node.ask(&["status", "--json"]).status.success() && call(&node)["status"] == "completed"
    });
    let over = call(&node);
    assert!(over["end_time"].is_string(), "{over}");
    assert!(over["duration"].is_string(), "{over}");
    node.wait_until(|| recording(&node)["status"] == "absent");
}
