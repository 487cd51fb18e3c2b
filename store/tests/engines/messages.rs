//! What is kept for users who are away.

use store::{Aged, Domain, Message, Tenant, Timestamp, Uuid};

use crate::Place;

const T0: i64 = 1_763_700_000_000;

/// A message for a user that came `ms` after the first.
fn message(recipient: &str, ms: i64) -> Message {
    Message {
        id: Uuid::now_v7(),
        recipient: recipient.into(),
        from: "\"A\" <sip:alice@example.test>".into(),
        to: format!("<sip:{recipient}>"),
        content_type: "text/plain;charset=utf-8".into(),
        body: format!("message {ms} \u{1f642}").into_bytes(),
        received: Timestamp::from_millis(T0 + ms),
    }
}

pub(crate) async fn messages_are_read_in_order_until_they_are_forgotten(place: Place) {
    let store = place.open().await;
    let bob = "bob@example.test";
    let mut kept = Vec::new();
    for ms in [2, 0, 1] {
        let one = message(bob, ms);
        assert!(store.keep_message(&one, 10).await.unwrap());
        kept.push(one);
    }
    let other = message("Bob@example.test", 5);
    assert!(store.keep_message(&other, 10).await.unwrap());
    kept.sort_by_key(|message| message.received);
    assert_eq!(store.messages(bob, 10).await.unwrap(), kept);
    assert_eq!(store.messages(bob, 2).await.unwrap(), kept[..2]);
    assert!(store.forget_message(kept[0].id).await.unwrap());
    assert!(!store.forget_message(kept[0].id).await.unwrap());
    assert_eq!(store.messages(bob, 10).await.unwrap(), kept[1..]);
    assert_eq!(
        store.recipients("", 10).await.unwrap().len(),
        2,
        "users are told apart by case"
    );
}

pub(crate) async fn a_user_has_so_many_messages_for_so_long(place: Place) {
    let store = place.open().await;
    let bob = "bob@example.test";
    for ms in 0..3 {
        assert!(store.keep_message(&message(bob, ms), 3).await.unwrap());
    }
    assert!(!store.keep_message(&message(bob, 3), 3).await.unwrap());
    assert!(
        store
            .keep_message(&message("eve@example.test", 3), 3)
            .await
            .unwrap()
    );
    let before = Timestamp::from_millis(T0 + 2);
    assert_eq!(
        store.forget_before(Aged::Messages, before).await.unwrap(),
        2
    );
    assert_eq!(store.messages(bob, 10).await.unwrap().len(), 1);
    assert!(store.keep_message(&message(bob, 4), 3).await.unwrap());
    let users = store.recipients("bob@example.test", 10).await.unwrap();
    assert_eq!(users, ["eve@example.test"]);
}

pub(crate) async fn messages_are_listed_by_whose_they_are(place: Place) {
    let store = place.open().await;
    let now = Timestamp::now();
    let tenant = Tenant {
        id: "acme".into(),
        name: "Acme".into(),
        created: now,
        updated: now,
    };
    assert!(store.create_tenant(&tenant).await.unwrap());
    let domain = Domain {
        name: "acme.test".into(),
        tenant: "acme".into(),
        created: now,
        updated: now,
    };
    assert!(store.put_domain(&domain, None).await.unwrap());
    let [bob, eve, carol] = ["bob@acme.test", "eve@example.test", "carol@acme.test"]
        .map(|recipient| message(recipient, 1));
    for message in [&bob, &eve, &carol] {
        assert!(store.keep_message(message, 9).await.unwrap());
    }
    let list = async |recipient, tenant, after, limit| {
        let list = store.kept_messages(recipient, tenant, after, limit).await;
        list.unwrap()
    };
    let all = [bob.clone(), eve.clone(), carol.clone()];
    assert_eq!(list(None, None, None, 9).await, all);
    assert_eq!(list(None, None, Some(bob.id), 1).await, all[1..2]);
    let acme = [bob.clone(), carol];
    assert_eq!(list(None, Some("acme"), None, 9).await, acme);
    assert_eq!(list(None, Some("default"), None, 9).await, all[1..2]);
    assert_eq!(
        list(Some("bob@acme.test"), Some("default"), None, 9).await,
        []
    );
    assert_eq!(list(Some("bob@acme.test"), None, None, 9).await, acme[..1]);
    assert_eq!(store.kept_message(bob.id).await.unwrap(), Some(bob));
    assert_eq!(store.kept_message(Uuid::now_v7()).await.unwrap(), None);
}

pub(crate) async fn a_message_may_be_anything(place: Place) {
    let store = place.open().await;
    let mut odd = message("o'brien; DROP TABLE messages@example.test", 0);
    odd.body = (0..=255).collect();
    odd.from = "\"a\0b\" <sip:a@b>".into();
    assert!(store.keep_message(&odd, 1).await.unwrap());
    let found = store.messages(&odd.recipient, 10).await.unwrap();
    assert_eq!(found[0].body, odd.body);
    assert_eq!(found[0].from, "\"a\u{fffd}b\" <sip:a@b>");
    odd.id = Uuid::now_v7();
    odd.body.clear();
    assert!(store.keep_message(&odd, 2).await.unwrap());
    assert_eq!(store.messages(&odd.recipient, 10).await.unwrap().len(), 2);
}
