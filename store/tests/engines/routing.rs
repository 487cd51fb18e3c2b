//! What calls are routed by, on every engine.

use store::{Account, RoutingDocument, RoutingEdit, RoutingKind, Store, Tenant, Timestamp};

use crate::{Place, access::application};

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

pub(crate) async fn numbers_are_found_by_whom_they_lead_to(place: Place) {
    let store = place.open().await;
    let number = |id: &str, more: &str| document(id, &format!(r#"{{"number":"{id}",{more}}}"#));
    let kind = RoutingKind::Number;
    let some = [
        number("3", r#""account":"AC1","application":"ivr""#),
        number("1", r#""application":"ivr""#),
        number("2", r#""user":"ivr""#),
    ];
    store.put_routing(kind, &some).await.unwrap();
    let found = async |owners: &[&str]| -> Vec<String> {
        let numbers = store.numbers_of(owners, "default").await.unwrap();
        numbers.into_iter().map(|number| number.id).collect()
    };
    assert_eq!(found(&["AC1"]).await, ["3"]);
    assert_eq!(found(&["ivr"]).await, ["1"]);
    assert_eq!(found(&["ivr", "AC1", "ivr", "AC2"]).await, ["1", "3"]);
    assert_eq!(found(&[]).await, [""; 0]);
    let many: Vec<String> = (0..1_200).map(|number| format!("AC{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(found(&many).await, ["3"]);

    // However it is written, and changed, and gone.
    let edit = async |edit| {
        let revision = store.routing_revision().await.unwrap();
        assert!(store.edit_routing(kind, edit, revision).await.unwrap());
    };
    let new = number("4", r#""account":"AC1""#);
    edit(RoutingEdit::Create(&new)).await;
    assert_eq!(found(&["AC1"]).await, ["3", "4"]);
    let moved = number("3", r#""account":"AC2""#);
    edit(RoutingEdit::Replace(&moved)).await;
    edit(RoutingEdit::Remove("4")).await;
    assert_eq!(found(&["AC1"]).await, [""; 0]);
    assert_eq!(found(&["AC2"]).await, ["3"]);
    let nobodys = number("3", r#""trunk":"AC2""#);
    store.put_routing(kind, &[nobodys]).await.unwrap();
    assert_eq!(found(&["AC2"]).await, [""; 0]);

    // A name is that of the tenant's own or of the default one's, and calls of an application are of the first account.
    let now = Timestamp::now();
    let acme = Tenant {
        id: "acme".into(),
        name: "Acme".into(),
        created: now,
        updated: now,
    };
    store.create_tenant(&acme).await.unwrap();
    let (own, nodes) = (application("acme", "ivr"), application("default", "ivr"));
    store.create_application(&own).await.unwrap();
    let named = async |name: &str, tenant| store.application_named(name, tenant).await.unwrap();
    assert_eq!(named("ivr", None).await, None);
    store.create_application(&nodes).await.unwrap();
    assert_eq!(named("ivr", None).await, Some(nodes));
    assert_eq!(named("ivr", Some("acme")).await, Some(own.clone()));
    let id = own.id.to_string();
    assert_eq!(named(&id, None).await, Some(own));
    assert_eq!(named(&id, Some("default")).await, None);

    let account = |sid: &str, tenant: Option<&str>| Account {
        sid: sid.into(),
        tenant: tenant.map(Into::into),
        name: "x".into(),
        token: "0123456789abcdef".into(),
        calls_per_second: 1,
        created: now,
        updated: now,
    };
    let accounts = [
        account("AC4", Some("acme")),
        account("AC3", Some("acme")),
        account("AC2", Some("default")),
        account("AC1", None),
    ];
    store.create_accounts(&accounts).await.unwrap();
    for (tenant, sid) in [("acme", Some("AC3")), ("default", Some("AC1")), ("x", None)] {
        let first = store.first_account(tenant).await.unwrap();
        assert_eq!(first.map(|account| account.sid).as_deref(), sid, "{tenant}");
    }
}
