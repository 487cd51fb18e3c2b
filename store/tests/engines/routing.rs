//! What calls are routed by, on every engine.

use store::{RoutingDocument, RoutingKind, Store};

use crate::Place;

fn document(id: &str, document: &str) -> RoutingDocument {
    RoutingDocument {
        id: id.into(),
        document: document.into(),
    }
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
