//! Webhooks, and what they are to be told, on every engine.

use store::{Delivery, Timestamp, Uuid, Webhook};

use crate::Place;

fn webhook(types: &[&str]) -> Webhook {
    Webhook {
        id: Uuid::now_v7(),
        tenant: None,
        url: "https://example.test/hook".into(),
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        secret: "whsec_x".into(),
        enabled: true,
        created: at(1),
        updated: at(2),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn delivery(webhook: &Webhook, node: &str, next: i64) -> Delivery {
    Delivery {
        id: Uuid::now_v7(),
        webhook: webhook.id,
        node: node.into(),
        body: "{}".into(),
        created: at(next),
        attempts: 0,
        next: Some(at(next)),
        error: String::new(),
    }
}

pub(crate) async fn webhooks_are_kept_changed_and_removed(place: Place) {
    let store = place.open().await;
    let all = webhook(&[]);
    let some = webhook(&["call", "ban.added"]);
    for webhook in [&all, &some] {
        store.create_webhook(webhook).await.unwrap();
    }
    assert_eq!(
        store.webhooks(None, None, 9).await.unwrap(),
        [all.clone(), some.clone()]
    );
    assert_eq!(
        store.webhooks(None, Some(all.id), 9).await.unwrap(),
        std::slice::from_ref(&some)
    );
    assert_eq!(store.webhooks(None, None, 1).await.unwrap().len(), 1);
    let of = async |tenant| store.webhooks(Some(tenant), None, 9).await.unwrap();
    let theirs = Webhook {
        tenant: Some("default".into()),
        ..webhook(&[])
    };
    store.create_webhook(&theirs).await.unwrap();
    assert_eq!(of("default").await, [theirs]);
    assert_eq!(of("acme").await, []);
    let nobodys = Webhook {
        tenant: Some("acme".into()),
        ..webhook(&[])
    };
    let refused = store.create_webhook(&nobodys).await.unwrap_err();
    assert!(refused.is_rejection(), "{refused}");

    let off = Webhook {
        enabled: false,
        url: "http://127.0.0.1/".into(),
        updated: at(3),
        ..some.clone()
    };
    assert!(!store.change_webhook(&off, at(1)).await.unwrap());
    assert!(store.change_webhook(&off, at(2)).await.unwrap());
    assert_eq!(store.webhook(off.id).await.unwrap(), Some(off));
    assert_eq!(store.webhook(Uuid::now_v7()).await.unwrap(), None);
    assert!(!format!("{all:?}").contains("whsec"), "{all:?}");

    let kept = delivery(&all, "n1", 5);
    let gone = delivery(&some, "n1", 5);
    store.add_deliveries(&[kept, gone]).await.unwrap();
    assert!(store.remove_webhook(some.id).await.unwrap());
    assert!(!store.remove_webhook(some.id).await.unwrap());
    assert_eq!(store.count_deliveries("n1").await.unwrap(), 1);
}

pub(crate) async fn deliveries_wait_until_they_are_due_or_given_up(place: Place) {
    let store = place.open().await;
    let (hook, off) = (webhook(&[]), webhook(&[]));
    let off = Webhook {
        enabled: false,
        ..off
    };
    store.create_webhook(&hook).await.unwrap();
    store.create_webhook(&off).await.unwrap();
    let all = [
        delivery(&hook, "n1", 20),
        delivery(&hook, "n1", 10),
        delivery(&hook, "n2", 10),
        delivery(&off, "n1", 10),
    ];
    store.add_deliveries(&all).await.unwrap();
    let due = async |now| {
        store
            .due_deliveries("n1", hook.id, at(now), 9)
            .await
            .unwrap()
    };
    assert_eq!(due(9).await, []);
    assert_eq!(due(10).await, [all[1].clone()]);
    assert_eq!(due(20).await, [all[1].clone(), all[0].clone()]);
    assert_eq!(
        store
            .due_deliveries("n1", hook.id, at(20), 1)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(store.count_deliveries("n1").await.unwrap(), 3);

    store.end_delivery(all[1].id).await.unwrap();
    store
        .put_off_delivery(all[0].id, 3, Some(at(30)), "503")
        .await
        .unwrap();
    assert_eq!(due(29).await, []);
    let again = due(30).await.remove(0);
    assert_eq!((again.attempts, again.error.as_str()), (3, "503"));
    store
        .put_off_delivery(all[0].id, 4, None, "410")
        .await
        .unwrap();
    assert_eq!(due(99).await, []);

    let dead = store.dead_deliveries(hook.id, None, 9).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].attempts, dead[0].error.as_str(), dead[0].next),
        (4, "410", None)
    );
    let after = store.dead_deliveries(hook.id, Some(dead[0].id), 9).await;
    assert_eq!(after.unwrap(), []);
    let revive = async |webhook, id| store.revive_deliveries(webhook, id, at(40)).await.unwrap();
    assert_eq!(revive(off.id, None).await, 0);
    assert_eq!(revive(hook.id, Some(all[1].id)).await, 0);
    assert_eq!(revive(hook.id, Some(all[0].id)).await, 1);
    assert_eq!(due(40).await[0].attempts, 0);

    store
        .put_off_delivery(all[0].id, 1, None, "x")
        .await
        .unwrap();
    let orphan = delivery(&webhook(&[]), "n1", 15);
    store.add_deliveries(&[orphan]).await.unwrap();
    assert_eq!(store.forget_deliveries_before(at(15)).await.unwrap(), 0);
    assert_eq!(store.forget_deliveries_before(at(21)).await.unwrap(), 2);
    assert_eq!(store.count_deliveries("n2").await.unwrap(), 1);
}
