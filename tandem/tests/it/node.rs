//! A whole node under test.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common::{Background, PATIENCE, free_port, free_ports, json, output, tandem};

/// The users that a first configuration has: tests make their own.
const USERS: &str = "[[users]]\nname = \"alice\"\ndomain = \"127.0.0.1\"\n\n\
                     [[users]]\nname = \"bob\"\ndomain = \"127.0.0.1\"\n";

/// A node on loopback, whose trunk leads to `callee`.
pub(crate) struct Node {
    pub(crate) process: Background,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) sip: u16,
    pub(crate) api: u16,
    pub(crate) callee: u16,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::start_by(|text| text.replace(USERS, ""))
    }

    /// With this done to its first configuration.
    pub(crate) fn start_by(change: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sip, api, callee) = (free_port(), free_port(), free_port());
        // Enough for a few calls.
        let media = free_ports(40);
        let init = tandem(["init"]).arg(dir.path()).output().unwrap();
        assert!(init.status.success(), "{}", output(&init));
        let path = dir.path().join("tandem.toml");
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("127.0.0.1:5060", &format!("127.0.0.1:{sip}"))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{api}"))
            .replace("127.0.0.1:5090", &format!("127.0.0.1:{callee}"))
            .replace("20000-29999", &format!("{media}-{}", media + 39));
        assert!(text.contains(USERS), "{text}");
        fs::write(&path, change(text)).unwrap();
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

    /// `[node] name`.
    pub(crate) fn name(&self) -> String {
        let (_, node) = self.rest(&self.key(), "GET", "/v1/node", &Value::Null);
        node["name"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("tandem.toml")
    }

    /// A command that is meant for this node.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        tandem(arguments)
            .arg("--config")
            .arg(self.path())
            .output()
            .unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        let status = self.ask(&["status", "--json"]);
        assert!(status.status.success(), "{}", output(&status));
        json(&status)
    }

    pub(crate) fn calls(&self) -> Vec<Value> {
        let calls = self.ask(&["calls", "--json"]);
        assert!(calls.status.success(), "{}", output(&calls));
        json(&calls)["items"].as_array().unwrap().clone()
    }

    pub(crate) fn answer(&self, more: &[&str]) -> Background {
        let listen = format!("127.0.0.1:{}", self.callee);
        Background::start(
            tandem(["answer", "--json", "--calls", "1", "--listen", &listen]).args(more),
        )
    }

    pub(crate) fn call(&self, more: &[&str]) -> Background {
        let uri = format!("sip:100@127.0.0.1:{}", self.sip);
        Background::start(tandem(["call", &uri, "--json"]).args(more))
    }

    pub(crate) fn wait_until(&self, ready: impl Fn() -> bool) {
        let start = Instant::now();
        while !ready() {
            assert!(start.elapsed() < PATIENCE, "it does not come to that");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn wait_for_state(&self, state: &str) {
        self.wait_until(|| self.calls().iter().any(|call| call["state"] == state));
    }

    /// The admin key that the node made for itself.
    pub(crate) fn key(&self) -> String {
        fs::read_to_string(self.dir.path().join("data/admin_key"))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        split(&self.answer_to(path))
    }

    /// The body of a page that is no JSON.
    pub(crate) fn page(&self, path: &str) -> String {
        let answer = self.answer_to(path);
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// A request to the API, and what comes back: `Null` where that is no JSON.
    pub(crate) fn rest(&self, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        split(&self.exchange(key, method, path, "", &body))
    }

    /// The same of a thing whose state has this tag.
    pub(crate) fn rest_if(
        &self,
        tag: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let field = format!("If-Match: {tag}\r\n");
        split(&self.exchange(&self.key(), method, path, &field, &body.to_string()))
    }

    /// The tag of a thing's state.
    pub(crate) fn tag(&self, path: &str) -> Option<String> {
        let answer = self.answer_to(path);
        let line = answer.lines().find(|line| line.starts_with("etag: "))?;
        Some(line["etag: ".len()..].to_owned())
    }

    fn answer_to(&self, path: &str) -> String {
        self.exchange(&self.key(), "GET", path, "", "")
    }

    /// `fields` are more header fields, each with its line end.
    fn exchange(&self, key: &str, method: &str, path: &str, fields: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.api)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Status and body, `Null` where that is no JSON.
fn split(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
