//! Calls along plans on a whole node with real sockets: SIPp is every phone and every carrier.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use loadtest::{
    process::Interrupt,
    sipp::{Agent, Outcome, Running, Scenario},
};
use serde_json::Value;
use sip::{
    digest::{Answer, Challenge, Secret, answer},
    header::HeaderName,
    message::Message,
};

use crate::common::{Background, free_port, free_ports, json, output, tandem};

const PATIENCE: Duration = Duration::from_secs(60);
const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];

const CONFIG: &str = r#"
[sip]
listen = ["udp:127.0.0.1:SIP"]
domains = ["example.test"]
[media]
address = "127.0.0.1"
ports = "MEDIA"
[api]
listen = "127.0.0.1:API"
[[trunks]]
name = "pbx"
hosts = ["127.0.0.1:9"]
allow = ["127.0.0.1"]
[[trunks]]
name = "first"
hosts = ["127.0.0.1:FIRST"]
[[trunks]]
name = "second"
hosts = ["127.0.0.1:SECOND"]
[[routes]]
prefix = "+1"
trunks = ["first", "second"]
[[routes]]
prefix = "+9"
trunks = ["second"]
[[users]]
name = "ann"
password = "x"
forward = { busy = "+9001", no_answer = "ben", unreachable = "+9003" }
ring_timeout = 2
[[users]]
name = "ben"
password = "x"
[[users]]
name = "cat"
password = "x"
[[users]]
name = "dan"
password = "x"
forward = "+9004"
[[numbers]]
number = "100"
group = "all"
[[numbers]]
number = "101"
group = "turn"
forward = { no_answer = "+9005" }
[[numbers]]
number = "102"
group = "recent"
[[numbers]]
number = "103"
user = "ann"
[[numbers]]
number = "104"
user = "cat"
[[groups]]
name = "all"
members = ["ben", "cat", "+9010"]
[[groups]]
name = "turn"
members = ["ben", "cat"]
strategy = "in-turn"
ring_timeout = 2
[[groups]]
name = "recent"
members = ["ben", "cat"]
strategy = "least-recent"
ring_timeout = 2
[[blocks]]
prefix = "+70"
of = "called"
[[blocks]]
prefix = "+71"
of = "called"
action = "busy"
[[blocks]]
prefix = "+72"
of = "called"
action = "silence"
[[limits]]
number = "104"
calls = 1
[[limits]]
prefix = "+19"
cps = 1
"#;

/// A node, and the ports of who is around it.
struct Node {
    _process: Background,
    dir: tempfile::TempDir,
    sip: u16,
    api: u16,
    first: u16,
    second: u16,
    phones: [u16; 4],
}

impl Node {
    /// `None` where SIPp is not installed.
    fn start() -> Option<Self> {
        if let Err(missing) = loadtest::process::Tool::require(&[loadtest::process::Tool::SIPP]) {
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            eprintln!("skipped: {missing}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let [sip, api, first, second] = [(); 4].map(|()| free_port());
        let media = free_ports(40);
        let text = format!(
            "[node]\ndata_dir = \"{}\"\n{CONFIG}",
            dir.path().join("data").display()
        );
        let text = text
            .replace("127.0.0.1:SIP", &format!("127.0.0.1:{sip}"))
            .replace("127.0.0.1:API", &format!("127.0.0.1:{api}"))
            .replace("127.0.0.1:FIRST", &format!("127.0.0.1:{first}"))
            .replace("127.0.0.1:SECOND", &format!("127.0.0.1:{second}"))
            .replace("MEDIA", &format!("{media}-{}", media + 39));
        fs::write(dir.path().join("tandem.toml"), text).unwrap();
        let mut command = tandem(["run", "--config"]);
        let mut process = Background::start(command.arg(dir.path().join("tandem.toml")));
        process.wait(|_| TcpStream::connect(("127.0.0.1", api)).is_ok());
        let node = Self {
            _process: process,
            dir,
            sip,
            api,
            first,
            second,
            phones: [(); 4].map(|()| free_port()),
        };
        until("the node is ready", || {
            node.ask(&["status"]).status.success()
        });
        Some(node)
    }

    fn ask(&self, arguments: &[&str]) -> std::process::Output {
        let path = self.dir.path().join("tandem.toml");
        tandem(arguments)
            .arg("--config")
            .arg(path)
            .output()
            .unwrap()
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.sip).into()
    }

    fn phone(&self, user: &str) -> u16 {
        self.phones[USERS.iter().position(|known| *known == user).unwrap()]
    }

    /// Registers a user's phone for so many seconds; the socket that it did it from.
    fn register(&self, user: &str, expires: u32) -> UdpSocket {
        let socket = UdpSocket::bind(("127.0.0.1", self.phone(user))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let local = socket.local_addr().unwrap();
        let request = |cseq: u32, more: &str| {
            format!(
                "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{user}\
                 {cseq}{expires};rport\r\nMax-Forwards: 70\r\nFrom: <sip:{user}@example.test>;tag=1\r\n\
                 To: <sip:{user}@example.test>\r\nCall-ID: {user}-{expires}\r\nCSeq: {cseq} REGISTER\r\n\
                 Contact: <sip:{user}@{local}>;expires={expires}\r\n{more}Content-Length: 0\r\n\r\n"
            )
        };
        let ask = |request: String| {
            socket.send_to(request.as_bytes(), self.address()).unwrap();
            receive(&socket)
        };
        let challenge = ask(request(1, ""));
        let proof = Answer {
            username: user,
            secret: Secret::Password("x"),
            realm: Some("example.test"),
            method: "REGISTER",
            uri: "sip:example.test",
            body: b"",
            cnonce: "cn",
            nc: 1,
        };
        let (value, _) = answer(&Challenge::of_response(&challenge), &proof).unwrap();
        let ok = ask(request(2, &format!("Authorization: {value}\r\n")));
        assert_eq!(ok.status(), Some(200), "{ok:?}");
        socket
    }

    /// SIPp at a port, which takes one call.
    fn at(&self, port: u16, scenario: Scenario) -> Running {
        let agent = Agent {
            media_port: media_port(),
            limit: Duration::from_secs(30),
            ..Agent::new(scenario, ([127, 0, 0, 1], port).into())
        };
        let running = agent.start(None, self.dir.path()).unwrap();
        let end = format!(":{port:04X}");
        until("SIPp listens", || {
            let table = fs::read_to_string("/proc/net/udp").unwrap();
            let mut locals = table
                .lines()
                .filter_map(|line| line.split_whitespace().nth(1));
            locals.any(|local| local.ends_with(&end))
        });
        running
    }

    /// Begins a call from the trunk, whose caller talks for a time.
    fn call(&self, number: &str, scenario: Scenario, talk: Duration) -> Running {
        let agent = Agent {
            target: Some(self.address()),
            number: number.to_owned(),
            media_port: media_port(),
            talk,
            limit: Duration::from_secs(30),
            ..Agent::new(scenario, ([127, 0, 0, 1], free_port()).into())
        };
        agent.start(None, self.dir.path()).unwrap()
    }

    /// A call that goes as everybody expects: the caller, and who is called by port.
    fn plays(&self, number: &str, caller: Scenario, called: &[(u16, Scenario)]) {
        let parties = called.iter();
        let parties: Vec<_> = parties
            .map(|(port, scenario)| self.at(*port, *scenario))
            .collect();
        let talk = Duration::from_millis(200);
        well(number, self.call(number, caller, talk));
        for (running, (port, scenario)) in parties.into_iter().zip(called) {
            well(&format!("{number}: {} at {port}", scenario.name()), running);
        }
    }

    /// The final answers to three calls that begin at once.
    fn answers_to_three(&self, number: &str) -> Vec<u16> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let from = socket.local_addr().unwrap();
        for id in 0..3 {
            let text = format!(
                "INVITE sip:{number}@{} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKi{id};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:a@a.test>;tag={id}\r\nTo: <sip:{number}@a.test>\r\n\
                 Call-ID: three-{id}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{from}>\r\n\
                 Content-Length: 0\r\n\r\n",
                self.address()
            );
            socket.send_to(text.as_bytes(), self.address()).unwrap();
        }
        let mut finals = std::collections::BTreeMap::new();
        while finals.len() < 3 {
            let response = receive(&socket);
            let status = response.status().unwrap();
            if status >= 200 {
                // Sent again until somebody acknowledges it: once is enough here.
                finals.insert(response.call_id().unwrap().to_owned(), status);
            }
        }
        finals.into_values().collect()
    }

    /// The records, the latest first, once there are so many.
    fn cdrs(&self, count: usize) -> Vec<Value> {
        let mut records = Vec::new();
        until("the records are written", || {
            records = self.get("/v1/cdrs?limit=100")["items"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            records.len() >= count
        });
        assert_eq!(records.len(), count, "{records:#?}");
        records
    }

    fn get(&self, path: &str) -> Value {
        let key = fs::read_to_string(self.dir.path().join("data/admin_key")).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", self.api)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            key.trim()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// What `tandem route` says of a call from the trunk.
    fn route(&self, number: &str) -> Value {
        let asked = self.ask(&["route", "+15550000", number, "--trunk", "pbx", "--json"]);
        json(&asked)
    }

    /// No call is left, and nothing that one held.
    fn is_idle(&self) {
        until("the node is idle", || {
            let status = json(&self.ask(&["status", "--json"]));
            status["calls"] == 0 && status["media"]["sessions"] == 0
        });
        for number in ["104", "+1900"] {
            let report = self.route(number);
            assert_eq!(report["limits"][0]["in_use"], 0, "{report:#}");
        }
    }
}

fn well(what: &str, running: Running) {
    let outcome: Outcome = running.finish(PATIENCE, &Interrupt::default()).unwrap();
    assert!(outcome.all_well(1), "{what}: {outcome:#?}");
}

fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = vec![0; 65_536];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    Message::parse(buffer.into()).unwrap()
}

/// Another one for each party: its files are named by it, and SIPp takes the next ones too.
fn media_port() -> u16 {
    free_ports(8)
}

const RINGS: Scenario = Scenario::CalleeRings;
const TALKS: Scenario = Scenario::Callee;

#[test]
fn groups_ring_all_at_once_in_turn_and_whoever_waited_longest() {
    let Some(node) = Node::start() else { return };
    let (ben, cat, second) = (node.phone("ben"), node.phone("cat"), node.second);
    node.register("ben", 600);
    node.register("cat", 600);
    // All at once: a user who declines has declined for nobody else, and a number beyond a trunk is one
    // of them.
    let declines = Scenario::CalleeRefuses(603);
    node.plays(
        "100",
        Scenario::Caller,
        &[(ben, declines), (cat, TALKS), (second, RINGS)],
    );
    node.plays(
        "100",
        Scenario::Caller,
        &[(ben, RINGS), (cat, RINGS), (second, TALKS)],
    );
    let records = node.cdrs(2);
    assert_eq!(records[1]["callee_user"], "cat@example.test");
    assert_eq!(records[0]["trunk"], "second");
    assert!(
        records
            .iter()
            .all(|cdr| cdr["status"] == 200 && cdr["cause"] == "bye")
    );
    // In turn, each for its time; and then where the number goes on to.
    node.plays("101", Scenario::Caller, &[(ben, RINGS), (cat, TALKS)]);
    node.plays(
        "101",
        Scenario::Caller,
        &[(ben, RINGS), (cat, RINGS), (second, TALKS)],
    );
    // Whoever waited longest: by turns, while both pick up.
    for first in [ben, cat, ben] {
        node.plays("102", Scenario::Caller, &[(first, TALKS)]);
    }
    node.plays("102", Scenario::Caller, &[(cat, RINGS), (ben, TALKS)]);
    let report = node.route("102");
    let steps = &report["stages"][0]["to"]["group"]["steps"];
    assert_eq!(steps[0][0], "ben@example.test", "{report:#}");
    node.is_idle();
}

#[test]
fn users_are_forwarded_always_when_busy_on_no_answer_and_when_away() {
    let Some(node) = Node::start() else { return };
    let (ann, ben, second) = (node.phone("ann"), node.phone("ben"), node.second);
    // Whoever is called by a name and by a number of theirs.
    node.plays("dan", Scenario::Caller, &[(second, TALKS)]);
    node.plays("ann", Scenario::Caller, &[(second, TALKS)]);
    node.register("ann", 600);
    node.register("ben", 600);
    for (number, status) in [("ann", 486), ("103", 600)] {
        let busy = Scenario::CalleeRefuses(status);
        node.plays(number, Scenario::Caller, &[(ann, busy), (second, TALKS)]);
    }
    node.plays(
        "103",
        Scenario::CallerRefused(603),
        &[(ann, Scenario::CalleeRefuses(603))],
    );
    node.plays("103", Scenario::Caller, &[(ann, RINGS), (ben, TALKS)]);
    // Nobody is at the address any more: it is as if she were away.
    node.plays("ann", Scenario::Caller, &[(second, TALKS)]);
    let records = node.cdrs(7);
    let told: Vec<_> = records
        .iter()
        .rev()
        .map(|cdr| (cdr["status"].as_u64().unwrap(), cdr["callee_user"].as_str()))
        .collect();
    let ben = Some("ben@example.test");
    assert_eq!(told[5], (200, ben), "{records:#?}");
    assert_eq!(told[4].0, 603);
    assert_eq!(records[6]["trunk"], "second");
    // It would go where it went.
    let report = node.route("103");
    let stages = report["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 4, "{report:#}");
    assert_eq!(stages[0]["to"]["user"], "ann@example.test");
    assert_eq!(stages[0]["ring_timeout_s"], 2);
    assert_eq!(stages[2]["to"]["user"], "ben@example.test");
    let report = node.route("nobody");
    assert_eq!(report["decision"]["refuse"]["status"], 404, "{report:#}");
    node.plays("nobody", Scenario::CallerRefused(404), &[]);
    node.is_idle();
}

#[test]
fn blocks_and_limits_hold_and_are_given_back() {
    let Some(node) = Node::start() else { return };
    node.plays("+7001", Scenario::CallerRefused(603), &[]);
    node.plays("+7101", Scenario::CallerRefused(486), &[]);
    // It rings for whom silence is meant, until that caller gives up.
    node.plays("+7201", Scenario::CallerCancels, &[]);
    let records = node.cdrs(3);
    assert!(
        records
            .iter()
            .all(|cdr| cdr["cause"] == "blocked" || cdr["cause"] == "cancel")
    );

    node.register("cat", 600);
    let cat = node.phone("cat");
    let phone = node.at(cat, TALKS);
    let call = node.call("104", Scenario::Caller, Duration::from_secs(5));
    let full = || node.route("104")["limits"][0]["in_use"] == 1;
    until("the call is counted", full);
    node.plays("104", Scenario::CallerRefused(486), &[]);
    well("the first call", call);
    well("its phone", phone);
    node.is_idle();
    // There is room again, and one that is given up gives its place back too.
    node.plays("104", Scenario::CallerCancels, &[(cat, RINGS)]);
    node.is_idle();
    // Calls a second: of three at once two are too many, and a second later there is room again. The
    // first one finds no carrier, for none listens yet.
    let mut statuses = node.answers_to_three("+1900");
    statuses.sort_unstable();
    assert_eq!(statuses, [500, 503, 503]);
    thread::sleep(Duration::from_millis(1_100));
    node.plays("+1900", Scenario::Caller, &[(node.first, TALKS)]);
    node.is_idle();
}

#[test]
fn carriers_follow_one_another_and_messages_wait_for_their_users() {
    let Some(node) = Node::start() else { return };
    let fails = Scenario::CalleeRefuses(503);
    node.plays(
        "+1555",
        Scenario::Caller,
        &[(node.first, fails), (node.second, TALKS)],
    );
    node.plays(
        "+1555",
        Scenario::CallerRefused(404),
        &[(node.first, Scenario::CalleeRefuses(404))],
    );
    let records = node.cdrs(2);
    assert_eq!(
        (&records[1]["trunk"], &records[0]["trunk"]),
        (&"second".into(), &"first".into())
    );
    assert_eq!(records[1]["route"], "+1");

    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.set_read_timeout(Some(PATIENCE)).unwrap();
    let from = sender.local_addr().unwrap();
    let text = format!(
        "MESSAGE sip:cat@example.test SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKm1;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+15550000@pbx.test>;tag=1\r\nTo: <sip:cat@example.test>\r\n\
         Call-ID: m1\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    );
    sender.send_to(text.as_bytes(), node.address()).unwrap();
    assert_eq!(receive(&sender).status(), Some(202));
    let phone = node.register("cat", 600);
    let delivered = receive(&phone);
    assert_eq!(delivered.body(), b"hello");
    let sent_by = delivered.from().unwrap().uri_str().to_owned();
    assert_eq!(sent_by, "sip:+15550000@pbx.test");
    assert!(delivered.header(HeaderName::ContentType).is_some());
    let ok = delivered.respond(200).to_tag("p").build().unwrap();
    phone.send_to(ok.as_bytes(), node.address()).unwrap();
    // It is not delivered again, however soon the phone is back.
    drop(phone);
    let phone = node.register("cat", 601);
    phone
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    assert!(phone.recv(&mut [0; 64]).is_err());
    node.is_idle();
    let status = node.ask(&["status"]);
    assert!(status.status.success(), "{}", output(&status));
}
