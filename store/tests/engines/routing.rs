//! What calls are routed by, on every engine.

use store::{RoutingDocument, RoutingEdit, RoutingKind, Store, Tenant, Timestamp};

use crate::Place;

fn document(id: &str, document: &str) -> RoutingDocument {
    RoutingDocument::new(id, document)
}

async fn all(store: &Store, kind: RoutingKind, page: u32) -> Vec<RoutingDocument> {
    let mut all: Vec<RoutingDocument> = Vec::new();
    loop {
        let after = all.last().map(|last| last.id.clone()).unwrap_or_default();
        let documents = store.routing(kind, &after, page).await.unwrap();
        if documents.is_empty() {
            return all;
        }
        all.extend(documents);
    }
}

pub(crate) async fn routing_is_written_read_and_counted(place: Place) {
    let store = place.open().await;
    assert_eq!(store.routing_revision().await.unwrap(), 0);
    let trunks = [document("a", "{}"), document("b", r#"{"x":"\u2603"}"#)];
    store
        .put_routing(RoutingKind::Trunk, &trunks)
        .await
        .unwrap();
    assert_eq!(store.routing_revision().await.unwrap(), 1);
    assert_eq!(all(&store, RoutingKind::Trunk, 1).await, trunks);
    assert_eq!(all(&store, RoutingKind::Route, 1).await, []);
    let kind = RoutingKind::Trunk;
    let one = store.routing_document(kind, "a").await.unwrap();
    assert_eq!(one.as_ref(), Some(&trunks[0]));
    assert_eq!(store.routing_document(kind, "c").await.unwrap(), None);
    let changed = document("b", "2");
    let changed = std::slice::from_ref(&changed);
    store
        .put_routing(RoutingKind::Trunk, changed)
        .await
        .unwrap();
    assert_eq!(all(&store, RoutingKind::Trunk, 9).await[1], changed[0]);
    assert!(store.remove_routing(kind, "a").await.unwrap());
    assert!(!store.remove_routing(kind, "a").await.unwrap());
    assert_eq!(store.routing_revision().await.unwrap(), 3);
}

pub(crate) async fn routing_is_created_where_it_is_missing(place: Place) {
    let store = place.open().await;
    let kind = RoutingKind::Number;
    let first = [document("+1", "1"), document("+2", "2")];
    assert_eq!(store.create_routing(kind, &first).await.unwrap(), 2);
    let again = [document("+2", "other"), document("+3", "3")];
    assert_eq!(store.create_routing(kind, &again).await.unwrap(), 1);
    assert_eq!(store.create_routing(kind, &again).await.unwrap(), 0);
    assert_eq!(
        store.routing_revision().await.unwrap(),
        2,
        "nothing new is no change"
    );
    assert_eq!(all(&store, kind, 2).await[1].document, "2");
}

pub(crate) async fn many_routes_are_replaced_at_once(place: Place) {
    let store = place.open().await;
    let kind = RoutingKind::Route;
    store
        .put_routing(kind, &[document("old", "{}")])
        .await
        .unwrap();
    let routes: Vec<_> = (0..20_000)
        .map(|route| document(&format!("{route:08}"), r#"{"prefix":"+1","trunks":["a"]}"#))
        .collect();
    store.replace_routing(kind, &routes).await.unwrap();
    assert_eq!(all(&store, kind, 7_000).await, routes);
    assert_eq!(store.routing_revision().await.unwrap(), 2);
}

pub(crate) async fn routing_is_edited_where_nothing_has_changed(place: Place) {
    let store = place.open().await;
    let acme = Tenant {
        id: "acme".into(),
        name: "Acme".into(),
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(1),
    };
    assert!(store.create_tenant(&acme).await.unwrap());
    let kind = RoutingKind::Number;
    let mut number = RoutingDocument {
        tenant: Some("acme".into()),
        updated: Timestamp::from_millis(7),
        ..document("+1", "1")
    };
    let edit = async |edit: RoutingEdit<'_>, revision| {
        store.edit_routing(kind, edit, revision).await.unwrap()
    };
    assert!(!edit(RoutingEdit::Create(&number), 1).await, "of later");
    assert!(edit(RoutingEdit::Create(&number), 0).await);
    assert!(!edit(RoutingEdit::Create(&number), 1).await, "it is there");
    assert_eq!(store.routing_revision().await.unwrap(), 1);
    let kept = store.routing_document(kind, "+1").await.unwrap();
    assert_eq!(kept.as_ref(), Some(&number));

    // Two who saw the same state: one of them has to look again.
    number.document = "2".into();
    number.updated = Timestamp::from_millis(8);
    let [one, other] = [store.clone(), store.clone()].map(|store| {
        let number = number.clone();
        tokio::spawn(async move {
            let edit = RoutingEdit::Replace(&number);
            store.edit_routing(kind, edit, 1).await.unwrap()
        })
    });
    assert!(one.await.unwrap() != other.await.unwrap());
    assert_eq!(all(&store, kind, 9).await, [number.clone()]);
    assert!(!edit(RoutingEdit::Replace(&document("+2", "")), 2).await);

    let nodes = document("+2", "3");
    assert!(edit(RoutingEdit::Create(&nodes), 2).await);
    let of = async |tenant, after| {
        let found = store.routing_of_tenant(kind, tenant, after, 9).await;
        found.unwrap()
    };
    assert_eq!(of("acme", "").await, [number.clone()]);
    assert_eq!(
        (of("acme", "+1").await, of("default", "").await),
        (vec![], vec![])
    );
    let refused = store.remove_tenant("acme", acme.updated).await.unwrap_err();
    assert!(refused.is_rejection(), "{refused}");
    number.tenant = Some("nobody".into());
    let refused = store.edit_routing(kind, RoutingEdit::Replace(&number), 3);
    assert!(refused.await.unwrap_err().is_rejection());

    assert!(!edit(RoutingEdit::Remove("+1"), 2).await);
    assert!(edit(RoutingEdit::Remove("+1"), 3).await);
    assert!(!edit(RoutingEdit::Remove("+1"), 4).await, "it is gone");
    assert_eq!(all(&store, kind, 9).await, [nodes]);
    assert!(store.remove_tenant("acme", acme.updated).await.unwrap());
}
