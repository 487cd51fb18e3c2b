use std::time::{Duration, Instant};

use store::{Store, Timestamp};
use tokio::sync::mpsc;

use super::*;

fn user(name: &str) -> store::User {
    store::User {
        domain: "example.test".to_owned(),
        name: name.to_owned(),
        ha1_md5: Some("0123456789ABCDEF0123456789abcdef".to_owned()),
        ha1_sha256: Some("not a hash".to_owned()),
        ha1_sha512: None,
        display: None,
        enabled: true,
        profile: r#"{"max_contacts":2,"of_a_later_version":1}"#.to_owned(),
        created: Timestamp::from_millis(0),
        updated: Timestamp::from_millis(0),
    }
}

fn aor(name: &str) -> Aor {
    Aor::new(name, "example.test")
}

#[test]
fn an_account_is_read_from_its_row() {
    let account = Account::from(user("alice"));
    assert!(account.ha1(Hash::Md5).is_some());
    // What is no hash proves nothing, and harms nobody.
    assert!(account.ha1(Hash::Sha256).is_none());
    assert_eq!(account.profile.max_contacts, Some(2));
    assert!(
        !format!("{account:?}")
            .to_lowercase()
            .contains("0123456789abcdef")
    );
}

#[test]
fn what_is_remembered_ages_and_is_bounded() {
    let cache = Cache::new(64, 64);
    let now = Instant::now();
    assert!(matches!(cache.find(now, &aor("alice")), Cached::Ask));
    cache.learn(now, user("alice").into());
    let fresh = |after: u64| cache.find(now + Duration::from_secs(after), &aor("alice"));
    assert!(matches!(fresh(29), Cached::Fresh(Answer::Known(_))));
    assert!(matches!(fresh(30), Cached::Ask));
    assert!(matches!(cache.recall(&aor("alice")), Answer::Known(_)));

    cache.learn_absent(now, &aor("bob"));
    assert!(matches!(
        cache.find(now, &aor("bob")),
        Cached::Fresh(Answer::Unknown)
    ));
    let later = now + Duration::from_secs(5);
    assert!(matches!(cache.find(later, &aor("bob")), Cached::Ask));
    assert!(matches!(cache.recall(&aor("bob")), Answer::Unavailable));
    // Created meanwhile, and deleted again.
    cache.learn(later, user("bob").into());
    assert!(matches!(
        cache.find(later, &aor("bob")),
        Cached::Fresh(Answer::Known(_))
    ));
    cache.learn_absent(later, &aor("bob"));
    assert!(matches!(cache.recall(&aor("bob")), Answer::Unavailable));

    for n in 0..10_000 {
        cache.learn(now, user(&format!("u{n}")).into());
        cache.learn_absent(now, &aor(&format!("x{n}")));
        // Who is asked for all the time is not forgotten.
        assert!(matches!(cache.recall(&aor("alice")), Answer::Known(_)));
    }
    let remembered = (0..10_000).filter(|n| {
        let answer = cache.recall(&aor(&format!("u{n}")));
        matches!(answer, Answer::Known(_))
    });
    assert!(remembered.count() <= 64);
}

#[test]
fn an_answer_that_was_late_brings_nobody_back() {
    let cache = Cache::new(64, 64);
    let asked = Instant::now();
    let changed = asked + Duration::from_secs(1);
    let disabled = store::User {
        enabled: false,
        ..user("alice")
    };
    cache.learn(changed, disabled.into());
    let is_enabled = |answer| matches!(answer, Answer::Known(account) if account.enabled);
    assert!(!is_enabled(cache.learn(asked, user("alice").into())));
    assert!(matches!(
        cache.learn_absent(asked, &aor("alice")),
        Answer::Known(_)
    ));
    assert!(!is_enabled(cache.recall(&aor("alice"))));

    cache.learn_absent(changed, &aor("alice"));
    let late = cache.learn(asked, user("alice").into());
    assert!(matches!(late, Answer::Unknown));
    assert!(matches!(cache.recall(&aor("alice")), Answer::Unavailable));
    assert!(is_enabled(cache.learn(changed, user("alice").into())));
}

#[test]
fn everybody_is_asked_for_anew_after_a_reload() {
    let cache = Cache::new(64, 64);
    let now = Instant::now();
    cache.learn(now, user("alice").into());
    cache.distrust(now + Duration::from_secs(1));
    let later = now + Duration::from_secs(2);
    assert!(matches!(cache.find(later, &aor("alice")), Cached::Ask));
    assert!(matches!(cache.recall(&aor("alice")), Answer::Known(_)));
    cache.learn(later, user("alice").into());
    assert!(matches!(cache.find(later, &aor("alice")), Cached::Fresh(_)));
}

/// An asker over a database with these users, and what it says.
async fn asker(
    names: &[String],
) -> (
    Asker,
    mpsc::UnboundedReceiver<(usize, Aor, Answer)>,
    Store,
    tempfile::TempDir,
) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open("sqlite:test.db", dir.path()).await.unwrap();
    let users: Vec<_> = names.iter().map(|name| user(name)).collect();
    store.create_users(&users).await.unwrap();
    let (told, answers) = mpsc::unbounded_channel();
    let tell = std::sync::Arc::new(move |who, aor, answer| drop(told.send((who, aor, answer))));
    let (asker, task) = ask(store.clone(), Default::default(), tell);
    tokio::spawn(task);
    (asker, answers, store, dir)
}

#[tokio::test]
async fn many_questions_are_answered_each_to_who_asked() {
    let names: Vec<_> = (0..2_000).map(|n| format!("u{n}")).collect();
    let (asker, mut answers, _store, _dir) = asker(&names).await;
    for n in 0..2_000 {
        asker.ask(aor(&format!("u{n}")), n % 3);
        asker.ask(aor(&format!("nobody{n}")), n % 3);
    }
    for _ in 0..4_000 {
        let (who, aor, answer) = answers.recv().await.unwrap();
        let number = aor.user().trim_start_matches(|c: char| c.is_alphabetic());
        assert_eq!(who, number.parse::<usize>().unwrap() % 3);
        let is_known = matches!(answer, Answer::Known(_));
        assert_eq!(is_known, aor.user().starts_with('u'), "{aor}: {answer:?}");
    }
}

#[tokio::test]
async fn where_the_store_is_away_who_is_remembered_goes_on() {
    let (asker, mut answers, store, _dir) = asker(&["alice".to_owned()]).await;
    asker.ask(aor("alice"), 0);
    assert!(matches!(answers.recv().await.unwrap().2, Answer::Known(_)));
    store.close().await;
    for _ in 0..3 {
        asker.ask(aor("alice"), 1);
        asker.ask(aor("bob"), 2);
        for _ in 0..2 {
            let (who, _, answer) = answers.recv().await.unwrap();
            match who {
                1 => assert!(matches!(answer, Answer::Known(_))),
                _ => assert!(matches!(answer, Answer::Unavailable)),
            }
        }
    }
}

#[test]
fn the_secret_of_nonces_is_made_once_and_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut config = control::Config::default();
    config.node.data_dir = dir.path().to_owned();
    let first = secret(&config).unwrap();
    assert!(secret(&config).unwrap() == first);
    let path = dir.path().join("nonce.secret");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    config.sip.auth.nonce_secret = Some("0123456789abcdef".to_owned());
    let shared = secret(&config).unwrap();
    assert!(shared != first && shared == secret(&config).unwrap());
    config.sip.auth.nonce_secret = None;
    std::fs::write(&path, b"short").unwrap();
    let error = secret(&config).unwrap_err().to_string();
    assert!(
        error.contains("nonce.secret") && error.contains("nonce_secret"),
        "{error}"
    );
}
