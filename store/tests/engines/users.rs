//! Users and bindings, on every engine.

use store::{Binding, Bound, Store, Timestamp, User};

use crate::Place;

const T0: i64 = 1_763_700_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(T0 + ms)
}

fn user(name: &str, domain: &str) -> User {
    User {
        domain: domain.into(),
        name: name.into(),
        ha1_md5: Some("0123456789abcdef0123456789abcdef".into()),
        ha1_sha256: Some("5e".repeat(32)),
        ha1_sha512: None,
        display: Some("Al \u{2603}".into()),
        enabled: true,
        profile: r#"{"ring_timeout":15}"#.into(),
        created: at(0),
        updated: at(1),
    }
}

pub(crate) async fn users_are_created_once(place: Place) {
    let store = place.open().await;
    let (one, two) = (user("alice", "a.test"), user("alice", "b.test"));
    assert_eq!(
        store
            .create_users(&[one.clone(), two.clone()])
            .await
            .unwrap(),
        2
    );
    let changed = User {
        ha1_md5: None,
        enabled: false,
        display: None,
        ..one.clone()
    };
    let third = user("Alice", "a.test");
    let again = [changed.clone(), third.clone()];
    assert_eq!(store.create_users(&again).await.unwrap(), 1);
    let mut found = store
        .users(&[
            ("a.test", "alice"),
            ("b.test", "alice"),
            ("a.test", "Alice"),
            ("a.test", "x"),
        ])
        .await
        .unwrap();
    found.sort_by_key(|user| (user.domain.clone(), user.name.clone()));
    assert_eq!(found, [third, one, two]);

    let (since, late) = (changed.updated, changed.updated.next());
    assert!(!store.update_user(&changed, late).await.unwrap());
    assert!(store.update_user(&changed, since).await.unwrap());
    let nobody = user("nobody", "a.test");
    assert!(!store.update_user(&nobody, since).await.unwrap());
    assert_eq!(
        store.users(&[("a.test", "alice")]).await.unwrap(),
        std::slice::from_ref(&changed)
    );
    assert_eq!(store.user_domains().await.unwrap(), ["a.test", "b.test"]);
    let plain = User {
        profile: "{}".into(),
        ..user("bob", "a.test")
    };
    store
        .create_users(std::slice::from_ref(&plain))
        .await
        .unwrap();
    let mut listed = Vec::new();
    let mut after = (String::new(), String::new());
    loop {
        let page = store
            .particular_users((&after.0, &after.1), 2)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = (last.domain.clone(), last.name.clone());
        listed.extend(page);
    }
    assert_eq!(listed.len(), 3, "whoever has a profile, or may not call");
    assert!(!listed.contains(&plain));
    let disabled = User {
        enabled: false,
        ..plain
    };
    assert!(store.update_user(&disabled, since).await.unwrap());
    assert_eq!(store.particular_users(("", ""), 9).await.unwrap().len(), 4);
    assert!(!format!("{changed:?} {:?}", user("x", "y")).contains("0123456789abcdef"));
    assert_eq!(store.users(&[]).await.unwrap(), []);
}

pub(crate) async fn users_are_listed_in_pages_and_removed(place: Place) {
    let store = place.open().await;
    let all = [("b", "a.test"), ("c", "a.test"), ("a", "b.test")];
    let all = all.map(|(name, domain)| user(name, domain));
    store.create_users(&all).await.unwrap();
    let first = store.list_users(("", ""), 2).await.unwrap();
    assert_eq!(first, all[..2]);
    let rest = store.list_users(("a.test", "c"), 2).await.unwrap();
    assert_eq!(rest, all[2..]);
    let remove = async |since| store.remove_user("a.test", "c", since).await.unwrap();
    let since = all[1].updated;
    assert!(!remove(since.next()).await, "it was changed meanwhile");
    assert!(remove(since).await);
    assert!(!remove(since).await);
    let left = store.list_users(("", ""), 9).await.unwrap();
    assert_eq!(left, [all[0].clone(), all[2].clone()]);
}

pub(crate) async fn many_users_are_found_at_once(place: Place) {
    let store = place.open().await;
    let names: Vec<_> = (0..1_200).map(|n| format!("u'{n}")).collect();
    let users: Vec<_> = names.iter().map(|name| user(name, "a.test")).collect();
    assert_eq!(store.create_users(&users).await.unwrap(), 1_200);
    let asked: Vec<_> = names.iter().map(|name| ("a.test", name.as_str())).collect();
    assert_eq!(store.users(&asked).await.unwrap().len(), 1_200);
}

fn binding(n: i64) -> Binding {
    Binding {
        contact: format!("\"A\" <sip:alice@192.0.2.{n}:5060>;q=0.5;+x=\"'\""),
        call_id: format!("call{n}"),
        cseq: (1 << 31) - 1,
        q: Some(500),
        path: "<sip:edge.test;lr>".into(),
        flow: Some(("urn:uuid:1".into(), u32::MAX)),
        user_agent: "Phone \u{e9}".into(),
        transport: "udp".into(),
        local: "192.0.2.1:5060".into(),
        remote: "[2001:db8::1]:5060".into(),
        renewed: at(n),
        expires: at(n + 1_000),
    }
}

fn bound(name: &str, bindings: Vec<Binding>) -> Bound {
    Bound {
        domain: "a.test".into(),
        name: name.into(),
        bindings,
    }
}

async fn all(store: &Store, node: &str) -> Vec<Bound> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = store.bindings(node, at(0), cursor.as_ref()).await.unwrap();
        all.extend(page);
        cursor = next;
        if cursor.is_none() {
            return all;
        }
    }
}

pub(crate) async fn bindings_are_replaced_by_address(place: Place) {
    let store = place.open().await;
    let plain = Binding {
        q: None,
        path: String::new(),
        flow: None,
        ..binding(9)
    };
    let first = [
        bound("alice", vec![binding(1), plain.clone(), binding(3)]),
        bound("bob", vec![binding(4)]),
    ];
    store.write_bindings("n1", &first).await.unwrap();
    assert_eq!(all(&store, "n1").await, first);
    let second = [bound("alice", vec![plain]), bound("bob", vec![])];
    store.write_bindings("n1", &second).await.unwrap();
    assert_eq!(all(&store, "n1").await, second[..1]);
    store.write_bindings("n1", &[]).await.unwrap();
}

pub(crate) async fn nodes_have_their_own_bindings(place: Place) {
    let store = place.open().await;
    store
        .write_bindings("n1", &[bound("alice", vec![binding(1)])])
        .await
        .unwrap();
    store
        .write_bindings("n2", &[bound("alice", vec![binding(2)])])
        .await
        .unwrap();
    store
        .write_bindings("n1", &[bound("alice", vec![])])
        .await
        .unwrap();
    assert_eq!(all(&store, "n1").await, []);
    assert_eq!(all(&store, "n2").await, [bound("alice", vec![binding(2)])]);
}

pub(crate) async fn bindings_are_read_in_pages_of_whole_addresses(place: Place) {
    let store = place.open().await;
    let many: Vec<_> = (0..7_000)
        .map(|n| {
            bound(
                &format!("u{n:05}"),
                vec![binding(1), binding(2), binding(3)],
            )
        })
        .collect();
    for many in many.chunks(2_000) {
        store.write_bindings("n1", many).await.unwrap();
    }
    assert_eq!(all(&store, "n1").await, many);
}

pub(crate) async fn bindings_that_are_over_are_purged(place: Place) {
    let store = place.open().await;
    let two = [
        bound("alice", vec![binding(1)]),
        bound("bob", vec![binding(100)]),
    ];
    store.write_bindings("n1", &two).await.unwrap();
    let (left, _) = store.bindings("n1", at(1_001), None).await.unwrap();
    assert_eq!(left, two[1..]);
    assert_eq!(store.purge_bindings(at(1_002)).await.unwrap(), 1);
    assert_eq!(all(&store, "n1").await, two[1..]);
}
