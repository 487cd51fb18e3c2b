//! A carrier that challenges everything, played by Kamailio: this node registers with it, calls
//! through it, and finds it by DNS that never answers or not at all.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say it the short way"
)]

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use control::{
    Client, Config, Endpoint,
    signal::{Request, Response, Signal, TrunkInfo},
};
use signaling::Running;
use store::{CdrWriter, Store, WriterOptions};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// REGISTER and INVITE are challenged and checked; calls go on to a SIPp behind it.
const KAMAILIO: &str = r#"
debug=1
log_stderror=yes
children=2
disable_tcp=yes
listen=udp:127.0.0.1:@PORT@
mpath="@MODULES@"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("auth", "nonce_count", 1)
modparam("auth", "qop", "auth")
request_route {
    if (has_totag()) {
        loose_route();
        t_relay();
        exit;
    }
    if (is_method("ACK|CANCEL")) { t_relay(); exit; }
    if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
    if (is_method("REGISTER")) {
        if (!pv_www_authenticate("carrier.test", "secret", "0")) {
            www_challenge("carrier.test", "1");
            exit;
        }
        if ($au != "4930") { sl_send_reply("403", "Forbidden"); exit; }
        save("location");
        exit;
    }
    if (!pv_proxy_authenticate("@REALM@", "secret", "0")) {
        proxy_challenge("@REALM@", "1");
        exit;
    }
    consume_credentials();
    record_route();
    $du = "sip:127.0.0.1:@CALLEE@";
    t_relay();
}
"#;

struct Carrier {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // The parent ends its workers at SIGTERM.
        let id = self.process.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.process.wait();
    }
}

impl Carrier {
    /// `None` where there is no Kamailio. In CI there has to be.
    fn start(realm: &str, callee: u16) -> Option<Self> {
        let modules = [
            "/usr/lib/x86_64-linux-gnu/kamailio/modules/",
            "/usr/lib/aarch64-linux-gnu/kamailio/modules/",
            "/usr/lib64/kamailio/modules/",
        ];
        let modules = modules.into_iter().find(|path| Path::new(path).exists());
        let Some(modules) = modules else {
            assert!(
                std::env::var_os("CI").is_none(),
                "kamailio is not installed: apt install kamailio"
            );
            eprintln!("skipped: kamailio is not installed (apt install kamailio)");
            return None;
        };
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let text = KAMAILIO
            .replace("@PORT@", &port.to_string())
            .replace("@CALLEE@", &callee.to_string())
            .replace("@REALM@", realm)
            .replace("@MODULES@", modules);
        std::fs::write(folder.path().join("kamailio.cfg"), text).unwrap();
        let process = Command::new("kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "4", "-f"])
            .arg(folder.path().join("kamailio.cfg"))
            .arg("-Y")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self {
            port,
            process,
            _folder: folder,
        })
    }
}

struct Node {
    running: Running,
    address: SocketAddr,
    control: Client<Signal>,
    folder: TempDir,
}

async fn node(sip: &str, trunk: &str) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[node]\ndata_dir = \"{}\"\n\
         [sip]\nlisten = [\"udp:127.0.0.1:0\"]\nworkers = 2\n{sip}\n\
         [[trunks]]\nname = \"carrier\"\n{trunk}\n\
         [[trunks]]\nname = \"pbx\"\nallow = [\"127.0.0.1\"]\n\
         [[routes]]\ntrunks = [\"carrier\"]\nmedia = \"bypass\"\n",
        folder.path().display()
    );
    let config = Config::parse(&text, []).unwrap().config;
    let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
    let (cdrs, _writer) = CdrWriter::start(store.clone(), WriterOptions::default());
    let media = Client::connect(Endpoint::Unix(folder.path().join("media.sock")));
    let (listener, endpoint) = Endpoint::memory();
    let same = config.clone();
    let reread = Box::new(move || Ok(same.clone().into()));
    let running = signaling::start(
        &config,
        signaling::bind(&config).unwrap(),
        reread,
        media,
        store,
        cdrs,
        listener,
    )
    .await
    .unwrap();
    let address = running.listen()[0].strip_prefix("udp:").unwrap();
    Node {
        address: address.parse().unwrap(),
        running,
        control: Client::connect(endpoint),
        folder,
    }
}

impl Node {
    async fn carrier(&self) -> TrunkInfo {
        match self.control.request(Request::Trunks).await.unwrap() {
            Response::Trunks(trunks) => trunks.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the carrier is as `wanted`.
    async fn until(&self, wanted: impl Fn(&TrunkInfo) -> bool) -> TrunkInfo {
        let end = Instant::now() + PATIENCE;
        loop {
            let carrier = self.carrier().await;
            if wanted(&carrier) {
                return carrier;
            }
            assert!(Instant::now() < end, "{carrier:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// Waits until a program has a UDP socket on `port`: an INVITE before that would be refused.
async fn until_bound(port: u16) {
    let end = format!(":{port:04X}");
    let is_bound = || {
        let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
        let mut sockets = table.lines();
        sockets.any(|socket| {
            let local = socket.split_whitespace().nth(1);
            local.is_some_and(|local| local.ends_with(&end))
        })
    };
    let until = Instant::now() + PATIENCE;
    while !is_bound() {
        assert!(Instant::now() < until, "nothing listens on UDP port {port}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Starts SIPp; `None` where there is none.
fn sipp(folder: &Path, arguments: &[&str]) -> Option<Child> {
    let started = Command::new("sipp")
        .args(["-i", "127.0.0.1", "-nostdin", "-timeout", "30"])
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    assert!(
        started.is_ok() || std::env::var_os("CI").is_none(),
        "sipp is not installed: apt install sip-tester"
    );
    started.ok()
}

/// Places calls with SIPp; `None` where there is none, else whether all succeeded.
async fn calls(node: &Node, count: &str) -> Option<bool> {
    let (target, port) = (node.address.to_string(), free_port().to_string());
    let arguments = [
        "-sn",
        "uac",
        "-s",
        "+15550100",
        "-d",
        "200",
        "-m",
        count,
        "-r",
        "20",
    ];
    let arguments: Vec<_> = arguments
        .into_iter()
        .chain(["-p", &port, &target])
        .collect();
    let mut caller = sipp(node.folder.path(), &arguments)?;
    let status = tokio::task::spawn_blocking(move || caller.wait().unwrap());
    Some(status.await.unwrap().success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_challenges_is_registered_with_and_called_through() {
    let callee = free_port();
    let Some(carrier) = Carrier::start("carrier.test", callee) else {
        return;
    };
    let trunk = format!(
        "hosts = [\"127.0.0.1:{}\"]\nprobe = {{ interval = 1 }}\n\
         register = {{ user = \"4930\", password = \"secret\", realm = \"carrier.test\", expires = 60 }}",
        carrier.port
    );
    let node = node("", &trunk).await;
    let known = node
        .until(|carrier| {
            carrier
                .registration
                .as_ref()
                .is_some_and(|r| r.expires_s.is_some())
        })
        .await;
    assert_eq!(known.registration.unwrap().error, None);
    assert!(node.carrier().await.hosts[0].up);
    let page = node.running.metrics();
    assert!(
        page.contains("tandem_trunk_registered{trunk=\"carrier\"} 1"),
        "{page}"
    );

    let port = callee.to_string();
    let Some(mut answering) = sipp(node.folder.path(), &["-sn", "uas", "-p", &port]) else {
        return;
    };
    until_bound(callee).await;
    let done = calls(&node, "10").await.unwrap();
    answering.kill().unwrap();
    answering.wait().unwrap();
    let carrier = node.carrier().await;
    assert!(done, "{carrier:?}");
    assert_eq!((carrier.offered, carrier.answered), (10, 10));
    assert_eq!(node.running.stop(PATIENCE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_challenges_for_another_realm_gets_no_answer() {
    let Some(carrier) = Carrier::start("bank.test", free_port()) else {
        return;
    };
    let trunk = format!(
        "hosts = [\"127.0.0.1:{}\"]\n\
         auth = {{ user = \"4930\", password = \"secret\", realm = \"carrier.test\" }}\n\
         probe = {{ interval = 1 }}",
        carrier.port
    );
    let node = node("", &trunk).await;
    node.until(|carrier| carrier.hosts[0].up).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    if let Some(done) = calls(&node, "1").await {
        assert!(!done);
        assert_eq!(node.carrier().await.answered, 0);
    }
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_host_is_found_by_its_probes_and_calls_go_to_the_other() {
    let (dead, callee) = (free_port(), free_port());
    let trunk = format!(
        "hosts = [\"127.0.0.1:{dead}\", \"127.0.0.1:{callee}\"]\n\
         probe = {{ interval = 1, failures = 1, successes = 1 }}"
    );
    let node = node("", &trunk).await;
    let port = callee.to_string();
    let Some(mut answering) = sipp(node.folder.path(), &["-sn", "uas", "-p", &port]) else {
        return;
    };
    let down = node.until(|carrier| !carrier.hosts[0].up).await;
    assert!(down.hosts[0].error.is_some());
    until_bound(callee).await;
    let began = Instant::now();
    let done = calls(&node, "5").await.unwrap();
    answering.kill().unwrap();
    answering.wait().unwrap();
    assert!(done);
    assert!(
        Instant::now() - began < Duration::from_secs(15),
        "no call waited for the dead host"
    );
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_that_never_answers_holds_up_nobody() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sip = format!("resolver = [\"{}\"]", silent.local_addr().unwrap());
    let node = node(&sip, "hosts = [\"sip:gw.carrier.test\"]").await;
    let began = Instant::now();
    let Some(done) = calls(&node, "3").await else {
        return;
    };
    let took = Instant::now() - began;
    assert!(!done);
    assert!(took < Duration::from_secs(20), "{took:?}");
    let page = node.running.metrics();
    assert!(
        page.contains("tandem_dns_searches_total{result=\"trouble\"} 1"),
        "{page}"
    );
    node.running.stop(PATIENCE).await;
}
