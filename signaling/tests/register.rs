//! Phones that register with real sockets: SIPp with its digest, restarts, and a store that is away.

#![expect(clippy::unwrap_used, reason = "a test may say it the short way")]

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use control::{
    Client, Config, Endpoint,
    channel::RequestError,
    signal::{self, NewUser, ReloadReport, Secret, UserChange, UserDone, UserInfo, UserOrder},
};
use signaling::Running;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use store::{CdrWriter, Store, Timestamp, WriterOptions};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

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
    name: String,
    /// What the file says now.
    file: Arc<Mutex<String>>,
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
    let file = Arc::new(Mutex::new(text));
    let again = file.clone();
    let reread = Box::new(move || {
        let read = Config::parse(&again.lock().unwrap(), []);
        Ok(read.unwrap().config.into())
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
    Node {
        address: address.parse().unwrap(),
        running,
        control: Client::connect(endpoint),
        store,
        name: config.node.name,
        file,
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

    async fn ask(&self, request: signal::Request) -> signal::Response {
        self.control.request(request).await.unwrap()
    }

    /// How long it has waited for the store to take what is to be written.
    async fn unwritten(&self) -> Option<u64> {
        match self.control.request(signal::Request::Status).await.unwrap() {
            signal::Response::Status(status) => status.unwritten_s,
            other => unreachable!("{other:?}"),
        }
    }

    /// Whether it comes to wait for it, or to wait no longer.
    async fn comes_to_wait(&self, waits: bool) -> bool {
        let comes = async {
            while self.unwritten().await.is_some() != waits {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), comes).await.is_ok()
    }

    async fn order(&self, order: UserOrder) -> Result<UserDone, RequestError> {
        match self.control.request(signal::Request::User(order)).await? {
            signal::Response::User(done) => Ok(done),
            other => unreachable!("{other:?}"),
        }
    }

    /// Changes alice of the first domain; tells how many registrations that took.
    async fn change(&self, change: UserChange) -> u32 {
        let user = "alice".to_owned();
        let change = UserChange { user, ..change };
        self.order(UserOrder::Change(change))
            .await
            .unwrap()
            .unregistered
    }

    async fn users(&self) -> Vec<UserInfo> {
        let after = String::new();
        let request = signal::Request::Users { after, limit: 100 };
        match self.control.request(request).await.unwrap() {
            signal::Response::Users(list) => list,
            other => unreachable!("{other:?}"),
        }
    }

    /// Reloads with this text in the place of another in the file.
    async fn reload(&self, from: &str, to: &str) -> ReloadReport {
        let text = self.file.lock().unwrap().replace(from, to);
        *self.file.lock().unwrap() = text;
        let request = signal::Request::Reload;
        match self.control.request(request).await.unwrap() {
            signal::Response::Reloaded(report) => report,
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

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_registrations_is_told_until_it_does() {
    if !has_sipp() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let node = node(folder, "[\"MD5\"]").await;
    let options = SqliteConnectOptions::new().filename(folder.join("test.db"));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON bindings \
                BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    sqlx::query(full).execute(&mut other).await.unwrap();
    assert_eq!(node.unwritten().await, None);
    assert!(registers(&node, folder, "one.test", "of one").await);
    assert!(node.comes_to_wait(true).await);
    node.store.ping().await.unwrap();
    assert_eq!(node.registered().await, ["alice@one.test"]);

    let room = sqlx::query("DROP TRIGGER full").execute(&mut other);
    room.await.unwrap();
    assert!(node.comes_to_wait(false).await);
    let kept = node.store.bindings(&node.name, Timestamp::now(), None);
    assert_eq!(kept.await.unwrap().0.len(), 1);
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_ban_outlasts_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = node(folder, "[\"MD5\"]").await;
    for source in ["198.51.100.0/24", "203.0.113.5", "203.0.113.6"] {
        let request = signal::Request::Ban {
            source: source.to_owned(),
            seconds: 3_600,
            reason: "toll fraud".to_owned(),
        };
        first.control.request(request).await.unwrap();
    }
    let source = "203.0.113.6".to_owned();
    let lift = signal::Request::Lift { source };
    first.control.request(lift).await.unwrap();
    first.running.stop(PATIENCE).await;
    first.store.close().await;

    let second = node(folder, "[\"MD5\"]").await;
    let bans = second.control.request(signal::Request::Bans).await.unwrap();
    let signal::Response::Bans(mut bans) = bans else {
        unreachable!("{bans:?}");
    };
    bans.sort_by(|one, other| one.source.cmp(&other.source));
    let shown = bans.iter().map(|ban| (&*ban.source, &*ban.words));
    let expected = [
        ("198.51.100.0/24", "toll fraud"),
        ("203.0.113.5", "toll fraud"),
    ];
    assert!(shown.eq(expected), "{bans:?}");
    assert!(bans.iter().all(|ban| (3_500..=3_600).contains(&ban.left_s)));
    second.running.stop(PATIENCE).await;
    second.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_of_a_user_holds_at_once() {
    if !has_sipp() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let node = node(folder, "[\"MD5\"]").await;
    assert!(registers(&node, folder, "one.test", "of one").await);

    let change = UserChange {
        password: Some(Secret::new("new")),
        max_contacts: Some(3),
        ..UserChange::default()
    };
    assert_eq!(node.change(change).await, 1);
    assert_eq!(node.registered().await, Vec::<String>::new());
    assert!(!registers(&node, folder, "one.test", "of one").await);
    assert!(registers(&node, folder, "one.test", "new").await);
    let alice = node.users().await.remove(0);
    assert_eq!((alice.user.as_str(), alice.contacts), ("alice@one.test", 1));
    // A name alone is one of the first domain, whatever is asked of it.
    let user = || "alice".to_owned();
    let named = node.ask(signal::Request::UserNamed { user: user() }).await;
    assert_eq!(named, signal::Response::Users(vec![alice.clone()]));
    let of = || node.ask(signal::Request::RegistrationsOf { user: user() });
    let registered = async || match of().await {
        signal::Response::Registrations(list) => list.len(),
        other => unreachable!("{other:?}"),
    };
    assert_eq!(registered().await, 1);
    node.ask(signal::Request::Unregister {
        user: user(),
        contact: None,
    })
    .await;
    assert_eq!(registered().await, 0);
    assert!(registers(&node, folder, "one.test", "new").await);
    assert_eq!(alice.max_contacts, Some(3));

    let enabled = |enabled| UserChange {
        enabled: Some(enabled),
        ..UserChange::default()
    };
    assert_eq!(node.change(enabled(false)).await, 1);
    assert!(!registers(&node, folder, "one.test", "new").await);
    assert_eq!(node.change(enabled(true)).await, 0);
    assert!(registers(&node, folder, "one.test", "new").await);

    // Of many who have seen the same state and change it at once, one does.
    for _ in 0..5 {
        let alice = node.users().await.remove(0);
        let orders = (1..=8).map(|most| {
            let mut change = enabled(true);
            change.user.clone_from(&alice.user);
            change.max_contacts = Some(most);
            change.unchanged_since = Some(alice.updated_ms);
            (most, UserOrder::Change(change))
        });
        let done =
            orders.map(async |(most, order)| node.order(order).await.is_ok().then_some(most));
        let done = futures_util::future::join_all(done).await;
        let done: Vec<_> = done.into_iter().flatten().collect();
        let after = node.users().await.remove(0);
        assert_eq!(done, after.max_contacts.as_slice());
        assert!(after.updated_ms > alice.updated_ms);
    }

    // A domain that was nobody's until now is served at once too.
    let alice = |user: &str| {
        UserOrder::Add(NewUser {
            user: user.to_owned(),
            password: Secret::new("of three"),
            display: None,
            enabled: true,
            max_contacts: None,
            forward: signal::Forwards::default(),
            ring_timeout: None,
        })
    };
    assert!(!registers(&node, folder, "three.test", "of three").await);
    let added = node.order(alice("alice@Three.test")).await.unwrap();
    assert_eq!(
        (added.user.as_str(), added.warnings.len()),
        ("alice@three.test", 0)
    );
    assert!(registers(&node, folder, "three.test", "of three").await);
    for wrong in ["alice@three.test", "a b@three.test", "alice@"] {
        let refused = node.order(alice(wrong)).await;
        assert!(matches!(refused, Err(RequestError::Fault(_))), "{wrong}");
    }

    let remove = |user: &str| UserOrder::Remove {
        user: user.to_owned(),
        unchanged_since: None,
    };
    let removed = node.order(remove("alice@three.test")).await.unwrap();
    assert_eq!((removed.unregistered, removed.warnings.len()), (1, 0));
    assert!(!registers(&node, folder, "three.test", "of three").await);
    let removed = node.order(remove("alice")).await.unwrap();
    assert_eq!((removed.unregistered, removed.warnings.len()), (1, 1));
    assert!(removed.warnings[0].contains("in the file"), "{removed:?}");
    assert!(!registers(&node, folder, "one.test", "new").await);
    assert!(node.order(remove("alice")).await.is_err());
    node.running.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_over_how_users_prove_who_they_are() {
    if !has_sipp() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let node = node(folder, "[\"MD5\"]").await;
    assert!(registers(&node, folder, "one.test", "of one").await);
    // SIPp does not know this one.
    let report = node.reload("\"MD5\"", "\"SHA-256\"").await;
    assert_eq!(report.changed, ["sip.auth.algorithms"]);
    assert!(!registers(&node, folder, "one.test", "of one").await);
    let report = node
        .reload(
            "[\"SHA-256\"]",
            "[\"SHA-256\"]\nby_domain = { \"one.test\" = [\"MD5\"] }",
        )
        .await;
    assert_eq!(report.changed, ["sip.auth.by_domain"]);
    assert!(registers(&node, folder, "one.test", "of one").await);

    // The store is the truth of a user that it has: the file's password is told, and not taken over.
    let report = node.reload("\"of one\"", "\"of the file\"").await;
    assert!(
        report.warnings[0].contains("user alice@one.test"),
        "{report:?}"
    );
    assert!(!registers(&node, folder, "one.test", "of the file").await);
    // Whom somebody changed in the database is known after a reload.
    let mut users = node.store.users(&[("one.test", "alice")]).await.unwrap();
    users[0].enabled = false;
    let since = users[0].updated;
    assert!(node.store.update_user(&users[0], since).await.unwrap());
    node.reload("", "").await;
    assert!(!registers(&node, folder, "one.test", "of one").await);

    let report = node
        .reload(
            "workers = 2",
            "workers = 3\nudp_limit = 900\nregistrar.max_bindings = 1",
        )
        .await;
    assert_eq!(report.changed, ["sip.udp_limit", "sip.registrar"]);
    assert_eq!(report.restart, ["sip.workers"]);
    assert!(!registers(&node, folder, "two.test", "of two").await);
    node.running.stop(PATIENCE).await;
}
