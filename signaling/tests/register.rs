//! Phones that register with real sockets: SIPp with its digest, restarts, and a store that is away.

#![expect(clippy::unwrap_used, reason = "a test may say it the short way")]

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use control::{Client, Config, Endpoint, signal};
use signaling::Running;
use store::{CdrWriter, Store, WriterOptions};

const PATIENCE: Duration = Duration::from_secs(10);

/// REGISTER, the challenge, and REGISTER with what SIPp makes of it.
const SCENARIO: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="register">
  <send retrans="500"><![CDATA[
    REGISTER sip:DOMAIN SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:alice@DOMAIN>;tag=[call_number]
    To: <sip:alice@DOMAIN>
    Call-ID: [call_id]
    CSeq: 1 REGISTER
    Contact: <sip:alice@[local_ip]:[local_port]>
    Expires: 600
    Content-Length: 0

  ]]></send>
  <recv response="401" auth="true" />
  <send retrans="500"><![CDATA[
    REGISTER sip:DOMAIN SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:alice@DOMAIN>;tag=[call_number]
    To: <sip:alice@DOMAIN>
    Call-ID: [call_id]
    CSeq: 2 REGISTER
    Contact: <sip:alice@[local_ip]:[local_port]>
    Expires: 600
    [authentication]
    Content-Length: 0

  ]]></send>
  <recv response="200" />
</scenario>
"#;

struct Node {
    running: Running,
    address: SocketAddr,
    control: Client<signal::Signal>,
    store: Store,
}

/// A node with two users of one name in two domains, and what an earlier one left in `folder`.
async fn node(folder: &Path, algorithms: &str) -> Node {
    let text = format!(
        "[node]\ndata_dir = \"{}\"\n\
         [sip]\nlisten = [\"udp:127.0.0.1:0\"]\nworkers = 2\ndomains = [\"one.test\"]\n\
         [sip.auth]\nalgorithms = {algorithms}\n\
         [[users]]\nname = \"alice\"\npassword = \"of one\"\n\
         [[users]]\nname = \"alice\"\ndomain = \"two.test\"\npassword = \"of two\"\n",
        folder.display()
    );
    let config = Config::parse(&text, []).unwrap().config;
    let store = Store::open("sqlite:test.db", folder).await.unwrap();
    let (cdrs, _) = CdrWriter::start(store.clone(), WriterOptions::default());
    let media = Client::connect(Endpoint::Unix(folder.join("media.sock")));
    let (listener, endpoint) = Endpoint::memory();
    let same = config.clone();
    let reread = Box::new(move || Ok(same.clone()));
    let running = signaling::start(&config, reread, media, store.clone(), cdrs, listener)
        .await
        .unwrap();
    let address = running.listen()[0].strip_prefix("udp:").unwrap();
    Node {
        address: address.parse().unwrap(),
        running,
        control: Client::connect(endpoint),
        store,
    }
}

impl Node {
    async fn registered(&self) -> Vec<String> {
        let request = signal::Request::Registrations {
            after: String::new(),
            limit: 100,
        };
        match self.control.request(request).await.unwrap() {
            signal::Response::Registrations(list) => {
                list.into_iter().map(|binding| binding.user).collect()
            }
            other => unreachable!("{other:?}"),
        }
    }
}

/// Whether SIPp registers alice of `domain` with this password.
async fn registers(node: &Node, folder: &Path, domain: &str, password: &str) -> bool {
    let scenario = folder.join(format!("{domain}.xml"));
    std::fs::write(&scenario, SCENARIO.replace("DOMAIN", domain)).unwrap();
    let mut sipp = Command::new("sipp")
        .args([
            "-i",
            "127.0.0.1",
            "-nostdin",
            "-timeout",
            "15",
            "-m",
            "1",
            "-sf",
        ])
        .arg(&scenario)
        .args(["-au", "alice", "-ap", password, &node.address.to_string()])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ended = tokio::task::spawn_blocking(move || sipp.wait());
    ended.await.unwrap().unwrap().success()
}

/// Whether SIPp is there. In CI it has to be.
fn has_sipp() -> bool {
    let found = Command::new("sipp")
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "sipp is not installed: apt install sip-tester"
    );
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_registers_and_is_known_after_a_restart() {
    if !has_sipp() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = node(folder, "[\"MD5\", \"SHA-256\"]").await;
    assert!(registers(&first, folder, "one.test", "of one").await);
    assert!(registers(&first, folder, "two.test", "of two").await);
    // The password of the other domain's user of that name is no good.
    assert!(!registers(&first, folder, "two.test", "of one").await);
    let both = ["alice@one.test", "alice@two.test"];
    assert_eq!(first.registered().await, both);
    let page = first.running.metrics();
    assert!(page.contains("tandem_registered_contacts 2"), "{page}");
    assert!(page.contains("tandem_sip_auth_total{result=\"success\"} 2"));
    first.running.stop(PATIENCE).await;
    first.store.close().await;

    let second = node(folder, "[\"MD5\"]").await;
    assert_eq!(second.registered().await, both);
    // A store that goes away takes nobody with it: who is known registers again.
    assert!(registers(&second, folder, "one.test", "of one").await);
    second.store.close().await;
    assert!(registers(&second, folder, "one.test", "of one").await);
    second.running.stop(PATIENCE).await;
    // Nothing of a password is in the database.
    let bytes = std::fs::read(folder.join("test.db")).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"alice") && !has(b"of one") && !has(b"of two"));
}
