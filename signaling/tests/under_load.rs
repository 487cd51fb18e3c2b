//! What is done to a node while registered users call through it, played by SIPp: PostgreSQL is killed
//! and comes back, the configuration is reloaded, right and wrong.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say it the short way"
)]

#[path = "../../store/tests/engines/postgres.rs"]
mod postgres;

use std::{
    collections::HashSet,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use control::{
    Client, Config, Endpoint,
    config::ConfigError,
    signal::{Request, Response, Signal},
};
use postgres::Postgres;
use signaling::Running;
use store::{CdrFilter, CdrWriter, Store, WriterOptions, WriterTask};

const PATIENCE: Duration = Duration::from_secs(30);

/// REGISTER of USER with what SIPp makes of the challenge; the last answer is LAST.
const REGISTER: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="register">
  <send retrans="500"><![CDATA[
    REGISTER sip:one.test SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:USER@one.test>;tag=[call_number]
    To: <sip:USER@one.test>
    Call-ID: [call_id]
    CSeq: 1 REGISTER
    Contact: <sip:USER@[local_ip]:[local_port]>
    Expires: 600
    Content-Length: 0

  ]]></send>
  <recv response="401" auth="true" />
  <send retrans="500"><![CDATA[
    REGISTER sip:one.test SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:USER@one.test>;tag=[call_number]
    To: <sip:USER@one.test>
    Call-ID: [call_id]
    CSeq: 2 REGISTER
    Contact: <sip:USER@[local_ip]:[local_port]>
    Expires: 600
    [authentication]
    Content-Length: 0

  ]]></send>
  LAST
</scenario>
"#;

/// A call of alice to a number, challenged, answered and ended.
const CALL: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="call">
  <send retrans="500"><![CDATA[
    INVITE sip:+15550100@one.test SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:alice@one.test>;tag=[call_number]
    To: <sip:+15550100@one.test>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:alice@[local_ip]:[local_port]>
    Content-Length: 0

  ]]></send>
  <recv response="407" auth="true" />
  <send><![CDATA[
    ACK sip:+15550100@one.test SIP/2.0
    [last_Via:]
    Max-Forwards: 70
    From: <sip:alice@one.test>;tag=[call_number]
    [last_To:]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Content-Length: 0

  ]]></send>
  <send retrans="500"><![CDATA[
    INVITE sip:+15550100@one.test SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:alice@one.test>;tag=[call_number]
    To: <sip:+15550100@one.test>
    Call-ID: [call_id]
    CSeq: 2 INVITE
    Contact: <sip:alice@[local_ip]:[local_port]>
    [authentication]
    Content-Length: 0

  ]]></send>
  <recv response="100" optional="true" />
  <recv response="180" optional="true" />
  <recv response="200" rrs="true" />
  <send><![CDATA[
    ACK [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    [routes]
    From: <sip:alice@one.test>;tag=[call_number]
    [last_To:]
    Call-ID: [call_id]
    CSeq: 2 ACK
    Content-Length: 0

  ]]></send>
  <pause milliseconds="300" />
  <send retrans="500"><![CDATA[
    BYE [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    [routes]
    From: <sip:alice@one.test>;tag=[call_number]
    [last_To:]
    Call-ID: [call_id]
    CSeq: 3 BYE
    Content-Length: 0

  ]]></send>
  <recv response="200" />
</scenario>
"#;

/// The answer to who cannot be looked up.
const LATER: &str = r#"<recv response="500"><action>
    <ereg regexp="[0-9]+" search_in="hdr" header="Retry-After:" check_it="true" assign_to="1" />
    <log message="[$1]" />
  </action></recv>"#;

/// The answer to who proved who it is.
const DONE: &str = r#"<recv response="200" />"#;

struct Node {
    running: Running,
    address: SocketAddr,
    control: Client<Signal>,
    /// What the file says now.
    file: Arc<Mutex<String>>,
    callee: Child,
    /// Writes the records of calls.
    cdrs: WriterTask,
    store: Store,
}

/// A node on this database, whose trunk is a SIPp.
async fn node(folder: &Path, database: &str) -> Node {
    let callee = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let text = format!(
        "[node]\ndata_dir = \"{}\"\n\
         [sip]\nlisten = [\"udp:127.0.0.1:0\"]\nworkers = 2\ndomains = [\"one.test\"]\n\
         [[trunks]]\nname = \"carrier\"\nhosts = [\"{callee}\"]\n\
         [[routes]]\nprefix = \"\"\ntrunks = [\"carrier\"]\nmedia = \"bypass\"\n\
         [[users]]\nname = \"alice\"\npassword = \"of alice\"\n\
         [[users]]\nname = \"bob\"\npassword = \"of bob\"\n",
        folder.display()
    );
    let config = Config::parse(&text, []).unwrap().config;
    let store = Store::open(database, folder).await.unwrap();
    let (cdrs, writing) = CdrWriter::start(store.clone(), WriterOptions::default());
    let media = Client::connect(Endpoint::Unix(folder.join("media.sock")));
    let (listener, endpoint) = Endpoint::memory();
    let file = Arc::new(Mutex::new(text));
    let again = file.clone();
    let reread = Box::new(move || {
        let read = Config::parse(&again.lock().unwrap(), []);
        Ok(read.map_err(ConfigError::reasons)?.config.into())
    });
    let running = signaling::start(
        &config,
        signaling::bind(&config).unwrap(),
        reread,
        media,
        store.clone(),
        cdrs,
        listener,
    )
    .await
    .unwrap();
    let address = running.listen()[0].strip_prefix("udp:").unwrap();
    let mut sipp = Command::new("sipp");
    sipp.args(["-sn", "uas", "-nostdin", "-i", "127.0.0.1", "-p"]);
    sipp.arg(callee.port().to_string()).current_dir(folder);
    let callee = sipp.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Node {
        address: address.parse().unwrap(),
        running,
        control: Client::connect(endpoint),
        file,
        callee: callee.unwrap(),
        cdrs: writing,
        store,
    }
}

impl Node {
    /// The calls are over: each was answered and ended, by SIPp's count and by the node's, and left one record.
    async fn check(self, folder: &Path, calls: Child, count: u32) {
        let store = self.store.clone();
        let lost = self.end(folder, calls, count, PATIENCE).await;
        assert_eq!(lost, 0);
        assert_records(&store, count).await;
    }

    /// The same, where the records need not be written in this time. Tells how many are lost.
    async fn end(mut self, folder: &Path, mut calls: Child, count: u32, patience: Duration) -> u64 {
        let ended = tokio::task::spawn_blocking(move || calls.wait());
        let ended: ExitStatus = ended.await.unwrap().unwrap();
        let errors = std::fs::read_to_string(folder.join("errors")).unwrap_or_default();
        assert!(ended.success(), "{errors}");
        assert_eq!(self.running.calls().await, 0);
        let page = self.running.metrics();
        let answered = format!("tandem_calls_total{{result=\"answered\"}} {count}\n");
        assert!(page.contains(&answered), "{page}");
        self.callee.kill().unwrap();
        self.callee.wait().unwrap();
        self.running.stop(PATIENCE).await;
        self.cdrs.stop(patience).await
    }
}

/// There is one record of each call, and no other.
async fn assert_records(store: &Store, count: u32) {
    let all = store
        .cdrs(&CdrFilter::default(), 1_000, None)
        .await
        .unwrap();
    let calls: HashSet<_> = all.items.iter().map(|cdr| cdr.call_id.as_str()).collect();
    let count = count as usize;
    assert_eq!((all.items.len(), calls.len()), (count, count));
    assert!(all.items.iter().all(|cdr| cdr.status == 200), "{all:?}");
}

/// A SIPp that is a phone of this user.
fn phone(node: &Node, folder: &Path, name: &str, scenario: &str, user: &str) -> Command {
    let file = folder.join(format!("{name}.xml"));
    std::fs::write(&file, scenario).unwrap();
    let mut sipp = Command::new("sipp");
    sipp.args(["-i", "127.0.0.1", "-nostdin", "-timeout", "40", "-sf"])
        .arg(file)
        .args(["-au", user, "-ap", &format!("of {user}")])
        .arg(node.address.to_string())
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sipp
}

/// Calls of alice, so many a second.
fn calls(node: &Node, folder: &Path, count: u32, rate: u32) -> Child {
    let mut sipp = phone(node, folder, "call", CALL, "alice");
    sipp.args(["-trace_err", "-error_file", "errors", "-m"]);
    sipp.args([&count.to_string(), "-r", &rate.to_string()]);
    sipp.spawn().unwrap()
}

/// Whether USER, who registers, is answered like this in the end.
async fn registers(node: &Node, folder: &Path, user: &str, last: &str) -> bool {
    let scenario = REGISTER.replace("USER", user).replace("LAST", last);
    let mut sipp = phone(node, folder, "register", &scenario, user);
    let ended = tokio::task::spawn_blocking(move || sipp.args(["-m", "1"]).status());
    ended.await.unwrap().unwrap().success()
}

/// Whether a test can run. In CI it has to.
fn can_run<T>(what: Result<T, String>) -> Option<T> {
    match what {
        Ok(ready) => Some(ready),
        Err(why) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}

fn sipp() -> Result<(), String> {
    let found = Command::new("sipp")
        .arg("-v")
        .stdout(Stdio::null())
        .status();
    let found = found.map(drop);
    found.map_err(|_| "sipp is not installed: apt install sip-tester".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_users_call_while_postgresql_is_killed_and_started_again() {
    let Some(mut postgres) = can_run(sipp().and_then(|()| Postgres::start(&["fsync=off"]))) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let node = node(folder, &postgres.url("postgres")).await;
    assert!(registers(&node, folder, "alice", DONE).await);

    let mut calls = calls(&node, folder, 240, 20);
    tokio::time::sleep(Duration::from_secs(2)).await;
    postgres.pause();
    // Nobody has asked about bob yet, so only the store knows him.
    let start = Instant::now();
    assert!(registers(&node, folder, "bob", LATER).await);
    assert!(
        start.elapsed() < PATIENCE,
        "he waited {:?}",
        start.elapsed()
    );
    assert!(registers(&node, folder, "alice", DONE).await);
    let ended = calls.try_wait().unwrap();
    assert!(ended.is_none(), "the calls ended too early: {ended:?}");
    postgres.resume();
    let again = async {
        while !registers(&node, folder, "bob", DONE).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    node.check(folder, calls, 240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_while_postgresql_is_killed_writes_every_record_after_its_next_start() {
    let Some(mut postgres) = can_run(sipp().and_then(|()| Postgres::start(&["fsync=off"]))) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = node(folder, &postgres.url("postgres")).await;
    assert!(registers(&first, folder, "alice", DONE).await);
    let calls = calls(&first, folder, 80, 20);
    tokio::time::sleep(Duration::from_secs(2)).await;
    postgres.pause();
    let lost = first
        .end(folder, calls, 80, Duration::from_millis(200))
        .await;
    assert_eq!(lost, 0);
    let kept = std::fs::read_to_string(folder.join("cdrs-unwritten.jsonl")).unwrap();
    assert!(kept.lines().count() > 10, "{kept}");

    postgres.resume();
    let mut second = node(folder, &postgres.url("postgres")).await;
    second.callee.kill().unwrap();
    second.callee.wait().unwrap();
    second.running.stop(PATIENCE).await;
    assert_eq!(second.cdrs.stop(PATIENCE).await, 0);
    assert_records(&second.store, 80).await;
    assert!(!folder.join("cdrs-unwritten.jsonl").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_fail_no_call_and_wrong_ones_change_nothing() {
    if can_run(sipp()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let node = node(folder, "sqlite:test.db").await;
    let good = node.file.lock().unwrap().clone();
    let more = format!("{good}[[trunks]]\nname = \"spare\"\nhosts = [\"192.0.2.1\"]\n")
        .replace("[sip]\n", "[sip]\ntimer_c = 90\ndefence.ban = 60\n")
        .replace("prefix = \"\"", "prefix = \"+1\"");
    let wrong = good.replace("trunks = [\"carrier\"]", "trunks = [\"nobody\"]");
    let mut calls = calls(&node, folder, 400, 50);
    let mut reloads = 0;
    while calls.try_wait().unwrap().is_none() {
        for (text, is_good) in [(&more, true), (&wrong, false), (&good, true)] {
            node.file.lock().unwrap().clone_from(text);
            match node.control.request(Request::Reload).await {
                Ok(Response::Reloaded(report)) => {
                    assert!(
                        is_good && report.changed.contains(&"trunks".to_owned()),
                        "{report:?}"
                    );
                }
                Err(error) => {
                    assert!(!is_good && error.to_string().contains("nobody"), "{error}");
                }
                other => panic!("{other:?}"),
            }
            reloads += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(reloads > 30, "{reloads} reloads");
    node.check(folder, calls, 400).await;
}
