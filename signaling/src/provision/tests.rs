mod edits;

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use control::{config, signal::RouteQuestion};
use store::{RoutingDocument, RoutingKind};
use tempfile::TempDir;

use super::*;

const CONFIG: &str = r#"
[sip]
domains = ["example.test"]
[[trunks]]
name = "a"
hosts = ["192.0.2.1"]
allow = ["192.0.2.1"]
[[routes]]
prefix = "+1"
trunks = ["a"]
[[numbers]]
number = "100"
user = "alice"
"#;

struct Bed {
    provision: Arc<Provision>,
    store: Store,
    /// What the file says now.
    file: Arc<Mutex<Result<Config, Vec<String>>>>,
    orders: mpsc::UnboundedReceiver<Command>,
    /// How often certificates, rules, and what stands beside signaling were taken over.
    taken: Arc<AtomicUsize>,
    _folder: TempDir,
}

fn parsed(text: &str) -> Config {
    Config::parse(text, []).unwrap().config
}

fn row(id: &str, document: &str) -> Vec<RoutingDocument> {
    vec![RoutingDocument::new(id, document)]
}

/// What is in force of a plain configuration, on a new store.
pub(crate) async fn provision() -> (Arc<Provision>, Store, TempDir) {
    let bed = Bed::new().await;
    (bed.provision, bed.store, bed._folder)
}

impl Bed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
        let config = parsed(CONFIG);
        let file = Arc::new(Mutex::new(Ok(config.clone())));
        let (worker, orders) = mpsc::unbounded_channel();
        let (directory, revision) = first(&config, &store).await;
        let again = file.clone();
        let taken = Arc::new(AtomicUsize::new(0));
        let [certificates, access, beside] = [taken.clone(), taken.clone(), taken.clone()];
        let t1 = Duration::from_millis(500);
        let defence = Defence::new(&config::Defence::default(), t1, Instant::now());
        let provision = Arc::new(Provision {
            store: store.clone(),
            reread: Box::new(move || {
                let beside = beside.clone();
                Ok(Read {
                    config: again.lock().unwrap().clone()?,
                    beside: Some(Box::new(move || {
                        beside.fetch_add(1, Relaxed);
                    })),
                })
            }),
            current: Arc::new(ArcSwap::new(directory.into())),
            workers: vec![worker],
            defence: Arc::new(defence),
            certificates: Box::new(move |config| {
                let files = &config.sip.tls.certificates;
                if !files.is_empty() {
                    return Err("no such file".to_owned());
                }
                let taken = certificates.clone();
                Ok(Box::new(move || {
                    taken.fetch_add(1, Relaxed);
                }))
            }),
            access: Box::new(move |_| {
                access.fetch_add(1, Relaxed);
            }),
            roster: Box::new(|_| {}),
            state: tokio::sync::Mutex::new(State { config, revision }),
        });
        Self {
            provision,
            store,
            file,
            orders,
            taken,
            _folder: folder,
        }
    }

    /// Whether a number leads anywhere.
    fn leads(&self, number: &str) -> bool {
        let question = RouteQuestion {
            from: "1".into(),
            to: number.into(),
            trunk: Some("a".into()),
            ..RouteQuestion::default()
        };
        let directory = self.provision.current.load();
        let time = store::Timestamp::now();
        let report = directory
            .explain(&question, Instant::now(), time, None)
            .unwrap();
        report.decision == control::signal::RouteDecision::Plan
    }

    /// Whose a call of a trunk to a number is.
    fn owner(&self, number: &str) -> Option<String> {
        let directory = self.provision.current.load();
        let caller = crate::directory::Caller::Trunk(directory.trunks()[0].clone());
        let query = crate::directory::Query {
            caller: &caller,
            from: crate::directory::Presented::default(),
            called: number,
            named: crate::directory::Named::Nobody,
            by_document: None,
            is_call: true,
            at: store::Timestamp::now(),
            draw: 0,
        };
        let tenant = directory.decide(&query).tenant;
        tenant.map(|tenant| tenant.to_string())
    }

    /// How many directories the worker was given since the last time.
    fn given(&mut self) -> usize {
        std::iter::from_fn(|| self.orders.try_recv().ok())
            .filter(|order| matches!(order, Command::Rules(..)))
            .count()
    }
}

#[tokio::test]
async fn the_store_and_the_file_make_one_directory() {
    let mut bed = Bed::new().await;
    assert!(bed.leads("100") && bed.leads("+1555") && !bed.leads("+44"));
    let route = row("r", r#"{"prefix": "+44", "trunks": ["b"]}"#);
    let trunk = row("b", r#"{"name": "b", "hosts": ["192.0.2.2"]}"#);
    bed.store
        .put_routing(RoutingKind::Trunk, &trunk)
        .await
        .unwrap();
    bed.store
        .put_routing(RoutingKind::Route, &route)
        .await
        .unwrap();
    assert!(!bed.leads("+44"), "nothing is taken over halfway");
    bed.provision.reload().await.unwrap();
    assert!(bed.leads("+44") && bed.leads("+1555"));
    assert_eq!(bed.given(), 1);
}

#[tokio::test]
async fn the_store_is_the_truth_of_numbers() {
    let bed = Bed::new().await;
    let kind = RoutingKind::Number;
    assert_eq!(bed.store.routing(kind, "", 9).await.unwrap().len(), 1);
    let other = row("100", r#"{"number": "100", "forward": "+44"}"#);
    bed.store.put_routing(kind, &other).await.unwrap();
    bed.provision.reload().await.unwrap();
    assert!(
        !bed.leads("100"),
        "the store's number leads to a number without a route"
    );
}

#[tokio::test]
async fn what_a_user_of_the_store_has_set_counts_once_it_has_changed() {
    let bed = Bed::new().await;
    let now = store::Timestamp::from_millis(0);
    let mut alice = store::User {
        domain: "example.test".into(),
        name: "alice".into(),
        ha1_md5: None,
        ha1_sha256: None,
        ha1_sha512: None,
        display: None,
        enabled: true,
        profile: r#"{"forward": {"always": "+44"}}"#.into(),
        created: now,
        updated: now,
    };
    let mut revision = bed.store.routing_revision().await.unwrap();
    for (profile, leads) in [
        (r#"{"forward": {"always": "+44"}}"#, false),
        (r#"{"forward": {"always": "+1555"}}"#, true),
        ("{}", true),
    ] {
        alice.profile = profile.into();
        if !bed.store.update_user(&alice, now).await.unwrap() {
            bed.store.create_users(&[alice.clone()]).await.unwrap();
        }
        let now = bed.store.routing_revision().await.unwrap();
        assert!(now > std::mem::replace(&mut revision, now));
        bed.provision.reload().await.unwrap();
        assert_eq!(bed.leads("100"), leads, "{profile}");
    }
}

#[tokio::test]
async fn what_is_wrong_leaves_the_directory_as_it_is() {
    let mut bed = Bed::new().await;
    *bed.file.lock().unwrap() = Err(vec!["line 3: no".into()]);
    assert_eq!(bed.provision.reload().await.unwrap_err(), ["line 3: no"]);
    *bed.file.lock().unwrap() = Ok(parsed(CONFIG));
    for (kind, document, part) in [
        (
            RoutingKind::Route,
            r#"{"prefix": "+44", "trunks": ["gone"]}"#,
            "no trunk 'gone'",
        ),
        (RoutingKind::Route, "{", "route 'x'"),
        (
            RoutingKind::Group,
            r#"{"name": "g", "members": []}"#,
            "members",
        ),
        (RoutingKind::Block, r#"{"prefixx": "1"}"#, "prefixx"),
    ] {
        bed.store
            .put_routing(kind, &row("x", document))
            .await
            .unwrap();
        let reasons = bed.provision.reload().await.unwrap_err().join("\n");
        assert!(reasons.contains(part), "{part}: {reasons}");
        assert!(bed.leads("+1555"));
        bed.store.remove_routing(kind, "x").await.unwrap();
    }
    assert_eq!(bed.given(), 0);
    bed.provision.reload().await.unwrap();
}

#[tokio::test]
async fn a_reload_that_fails_late_has_written_and_taken_over_nothing() {
    let mut bed = Bed::new().await;
    let text = format!(
        "{CONFIG}[[numbers]]\nnumber = \"200\"\nuser = \"bob\"\n\
         [[users]]\nname = \"bob\"\npassword = \"p\"\n"
    );
    let broken = text.replace(
        "[sip]\n",
        "[sip]\ntls.certificates = [{ certificate = \"a.pem\", key = \"a.key\" }]\n",
    );
    *bed.file.lock().unwrap() = Ok(parsed(&broken));
    assert_eq!(bed.provision.reload().await.unwrap_err(), ["no such file"]);
    assert_eq!((bed.given(), bed.taken.load(Relaxed)), (0, 0));
    let numbers = || async { bed.store.routing(RoutingKind::Number, "", 9).await.unwrap() };
    let users = || async { bed.store.list_users(("", ""), 9).await.unwrap() };
    assert_eq!((numbers().await.len(), users().await.len()), (1, 0));

    *bed.file.lock().unwrap() = Ok(parsed(&text));
    let report = bed.provision.reload().await.unwrap().0;
    assert_eq!(report.changed, ["numbers", "users"]);
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!((numbers().await.len(), users().await.len()), (2, 1));
    assert_eq!(bed.taken.load(Relaxed), 3);
    assert!(bed.leads("200"));
    assert_eq!(bed.given(), 1);
}

#[tokio::test]
async fn what_the_store_has_otherwise_and_what_waits_for_a_start_is_told() {
    let bed = Bed::new().await;
    let with = |user: &str| format!("{CONFIG}[[users]]\nname = \"bob\"\n{user}\n");
    *bed.file.lock().unwrap() = Ok(parsed(&with("password = \"p\"")));
    let report = bed.provision.reload().await.unwrap().0;
    assert_eq!((report.warnings.len(), report.restart.len()), (0, 0));
    for (user, part) in [
        ("password = \"other\"", "in password"),
        ("password = \"p\"\nenabled = false", "in enabled"),
        (
            "password = \"p\"\ndisplay = \"Bob\"\nmax_contacts = 2",
            "in display, profile",
        ),
    ] {
        let text = with(user).replace("[sip]\n", "[sip]\nworkers = 7\n");
        *bed.file.lock().unwrap() = Ok(parsed(&text));
        for _ in 0..2 {
            let report = bed.provision.reload().await.unwrap().0;
            assert_eq!(report.restart, ["sip.workers"]);
            let told = report.warnings.join("\n");
            assert!(
                told.contains("user bob@example.test") && told.contains(part),
                "{told}"
            );
            assert!(told.contains("tandem users set bob@example.test"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_number_that_is_taken_out_of_the_store_stays_out_until_a_reload() {
    let bed = Bed::new().await;
    let text = format!("{CONFIG}[[numbers]]\nnumber = \"500\"\nuser = \"bob\"\n");
    *bed.file.lock().unwrap() = Ok(parsed(&text));
    bed.provision.reload().await.unwrap();
    assert!(bed.leads("500"));
    let watching = tokio::spawn(bed.provision.clone().watch());
    let kind = RoutingKind::Number;
    assert!(bed.store.remove_routing(kind, "500").await.unwrap());
    let gone = async {
        while bed.leads("500") {
            time::sleep(Duration::from_millis(50)).await;
        }
    };
    time::timeout(3 * POLL, gone).await.unwrap();
    watching.abort();
    assert_eq!(bed.store.routing(kind, "", 9).await.unwrap().len(), 1);
    bed.provision.reload().await.unwrap();
    assert!(bed.leads("500"));
}

#[tokio::test]
async fn a_store_that_is_down_leaves_the_directory_as_it_is() {
    let mut bed = Bed::new().await;
    bed.store.close().await;
    bed.provision.reload().await.unwrap_err();
    assert!(bed.leads("100") && bed.leads("+1555"));
    assert_eq!(bed.given(), 0);
}

#[tokio::test]
async fn a_change_of_the_store_is_seen_by_itself() {
    let mut bed = Bed::new().await;
    let watching = tokio::spawn(bed.provision.clone().watch());
    let route = row("r", r#"{"prefix": "+44", "trunks": ["a"]}"#);
    bed.store
        .put_routing(RoutingKind::Route, &route)
        .await
        .unwrap();
    let seen = async {
        while !bed.leads("+44") {
            time::sleep(Duration::from_millis(50)).await;
        }
    };
    time::timeout(3 * POLL, seen).await.unwrap();
    watching.abort();
    assert_eq!(bed.given(), 1);
}

#[tokio::test]
async fn who_has_a_domain_or_a_number_has_its_calls_from_then_on() {
    let bed = Bed::new().await;
    let now = store::Timestamp::now();
    let tenant = store::Tenant {
        id: "acme".into(),
        name: "Acme".into(),
        created: now,
        updated: now,
    };
    bed.store.create_tenant(&tenant).await.unwrap();
    // The node's number, which leads to a user of a domain that nobody was given.
    assert_eq!(bed.owner("100").as_deref(), Some("default"));
    let watching = tokio::spawn(bed.provision.clone().watch());
    let until = async |owner: Option<&str>| {
        while bed.owner("100").as_deref() != owner {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    let domain = store::Domain {
        name: "example.test".into(),
        tenant: "acme".into(),
        created: now,
        updated: now,
    };
    assert!(bed.store.put_domain(&domain, None).await.unwrap());
    time::timeout(Duration::from_secs(60), until(Some("acme")))
        .await
        .unwrap();
    assert!(bed.store.remove_domain("example.test", now).await.unwrap());
    time::timeout(Duration::from_secs(60), until(Some("default")))
        .await
        .unwrap();
    watching.abort();

    // Of an edit, at once.
    let before = bed.store.routing_document(RoutingKind::Number, "100").await;
    let edit = control::signal::RoutingEdit::Replace {
        new: control::signal::NewDocument {
            document: control::signal::Secret::new(r#"{"number": "100", "user": "alice"}"#),
            tenant: Some("acme".into()),
        },
        unchanged_since: before.unwrap().unwrap().updated.millis(),
    };
    let order = control::signal::RoutingOrder {
        kind: control::signal::RoutingKind::Number,
        id: "100".into(),
        edit,
    };
    bed.provision.edit(order).await.unwrap();
    assert_eq!(bed.owner("100").as_deref(), Some("acme"));
}
