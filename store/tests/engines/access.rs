//! Tenants, keys, applications and the record of changes, on every engine.

use store::{
    ApiKey, Application, AuditEntry, AuditFilter, Domain, Hook, HttpMethod, Operator, Role,
    StoreError, Tenant, Timestamp, User, Uuid,
};

use crate::Place;

fn tenant(id: &str, name: &str, updated: i64) -> Tenant {
    Tenant {
        id: id.into(),
        name: name.into(),
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(updated),
    }
}

fn key(tenant: Option<&str>, role: Role) -> ApiKey {
    ApiKey {
        id: Uuid::now_v7(),
        tenant: tenant.map(Into::into),
        name: "of a test".into(),
        role,
        created: Timestamp::from_millis(5),
        expires: (role == Role::Viewer).then(|| Timestamp::from_millis(9)),
        operator: None,
    }
}

pub(crate) async fn tenants_are_created_renamed_and_removed(place: Place) {
    let store = place.open().await;
    let acme = tenant("acme", "Acme", 1);
    assert!(store.create_tenant(&acme).await.unwrap());
    assert!(
        !store
            .create_tenant(&tenant("acme", "Other", 2))
            .await
            .unwrap()
    );
    let ids =
        |tenants: Vec<Tenant>| -> Vec<String> { tenants.into_iter().map(|one| one.id).collect() };
    assert_eq!(
        ids(store.tenants("", 9).await.unwrap()),
        ["acme", "default"]
    );
    assert_eq!(ids(store.tenants("acme", 1).await.unwrap()), ["default"]);

    let renamed = tenant("acme", "Acme Ltd", 3);
    let since = Timestamp::from_millis;
    assert!(!store.rename_tenant(&renamed, since(2)).await.unwrap());
    assert!(store.rename_tenant(&renamed, since(1)).await.unwrap());
    assert_eq!(store.tenant("acme").await.unwrap(), Some(renamed));
    assert_eq!(store.tenant("none").await.unwrap(), None);

    let own = key(Some("acme"), Role::Operator);
    store.create_key(&own, "00").await.unwrap();
    let refused = store.remove_tenant("acme", since(3)).await.unwrap_err();
    assert!(refused.is_rejection(), "{refused}");
    assert!(store.remove_key(own.id).await.unwrap());
    let remove = async |since| store.remove_tenant("acme", since).await.unwrap();
    assert!(!remove(since(1)).await, "it was changed meanwhile");
    assert!(remove(since(3)).await);
    assert!(!remove(since(3)).await);
}

pub(crate) async fn keys_are_kept_by_tenant(place: Place) {
    let store = place.open().await;
    store
        .create_tenant(&tenant("acme", "Acme", 1))
        .await
        .unwrap();
    let keys = [
        key(None, Role::Admin),
        key(Some("acme"), Role::Viewer),
        key(Some("default"), Role::Developer),
    ];
    for (number, key) in keys.iter().enumerate() {
        store.create_key(key, &number.to_string()).await.unwrap();
    }
    let nobodys = store
        .create_key(&key(Some("none"), Role::Viewer), "3")
        .await;
    assert!(
        matches!(nobodys, Err(StoreError::Rejected(_))),
        "{nobodys:?}"
    );

    assert_eq!(store.keys(None, None, 9).await.unwrap(), keys);
    assert_eq!(
        store.keys(None, Some(keys[0].id), 1).await.unwrap(),
        keys[1..2]
    );
    assert_eq!(store.keys(Some("acme"), None, 9).await.unwrap(), keys[1..2]);
    let found = store.key(keys[2].id).await.unwrap();
    assert_eq!(found, Some((keys[2].clone(), "2".into())));
    assert!(store.remove_key(keys[2].id).await.unwrap());
    assert!(!store.remove_key(keys[2].id).await.unwrap());
    assert_eq!(store.key(keys[2].id).await.unwrap(), None);
}

pub(crate) async fn changes_are_listed_newest_first(place: Place) {
    let store = place.open().await;
    let entries: Vec<_> = (0..4)
        .map(|number: i64| AuditEntry {
            id: Uuid::now_v7(),
            // Two of one millisecond.
            time: Timestamp::from_millis(number / 2),
            tenant: (number > 0).then(|| "acme".to_owned()),
            actor: "admin-key".into(),
            action: "create".into(),
            kind: if number == 3 { "users" } else { "numbers" }.into(),
            target: format!("+{number}"),
            source: "127.0.0.1".into(),
            request_id: "r".into(),
            detail: "{}".into(),
        })
        .collect();
    for entry in &entries {
        store.audit(entry).await.unwrap();
    }
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let filter = AuditFilter::default();
        let page = store.audit_entries(&filter, 1, cursor).await.unwrap();
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(all.iter().rev().eq(&entries), "{all:?}");

    let count = async |filter: AuditFilter| {
        let page = store.audit_entries(&filter, 9, None).await.unwrap();
        page.items.len()
    };
    let none = AuditFilter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        count(AuditFilter {
            tenant: text("acme"),
            ..none()
        })
        .await,
        3
    );
    assert_eq!(
        count(AuditFilter {
            kind: text("users"),
            ..none()
        })
        .await,
        1
    );
    assert_eq!(
        count(AuditFilter {
            target: text("+1"),
            ..none()
        })
        .await,
        1
    );
    assert_eq!(
        count(AuditFilter {
            actor: text("' OR 1=1 --"),
            ..none()
        })
        .await,
        0
    );
    let at = Timestamp::from_millis(1);
    assert_eq!(
        count(AuditFilter {
            since: Some(at),
            ..none()
        })
        .await,
        2
    );
    assert_eq!(
        count(AuditFilter {
            until: Some(at),
            ..none()
        })
        .await,
        2
    );
}

fn domain(name: &str, tenant: &str) -> Domain {
    Domain {
        name: name.into(),
        tenant: tenant.into(),
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(2),
    }
}

pub(crate) async fn users_are_their_domains_tenants(place: Place) {
    let store = place.open().await;
    assert!(
        store
            .create_tenant(&tenant("acme", "Acme", 1))
            .await
            .unwrap()
    );
    let user = |name: &str, domain: &str| User {
        domain: domain.into(),
        name: name.into(),
        ha1_md5: None,
        ha1_sha256: None,
        ha1_sha512: None,
        display: None,
        enabled: true,
        profile: "{}".into(),
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(1),
    };
    let users = [
        user("a", "a.test"),
        user("a", "b.test"),
        user("b", "b.test"),
        user("a", "c.test"),
    ];
    store.create_users(&users).await.unwrap();
    let nobodys = store.put_domain(&domain("x.test", "none"), None).await;
    assert!(
        matches!(nobodys, Err(StoreError::Rejected(_))),
        "{nobodys:?}"
    );
    let (never, since) = (None, Some(Timestamp::from_millis(2)));
    for (name, tenant, unchanged_since, is_put) in [
        ("c.test", "acme", since, false),
        ("c.test", "acme", never, true),
        ("b.test", "default", never, true),
        ("b.test", "acme", never, false),
        ("b.test", "acme", Some(Timestamp::from_millis(1)), false),
        ("b.test", "acme", since, true),
    ] {
        let domain = domain(name, tenant);
        let put = store.put_domain(&domain, unchanged_since);
        assert_eq!(put.await.unwrap(), is_put, "{name} {tenant}");
    }

    let of = async |tenant: &str, after: (&str, &str)| {
        store.tenants_users(tenant, after, 2).await.unwrap()
    };
    assert_eq!(of("default", ("", "")).await, users[..1]);
    assert_eq!(of("acme", ("", "")).await, users[1..3]);
    assert_eq!(of("acme", ("b.test", "b")).await, users[3..]);
    let own = store.domains(Some("acme"), "", 9).await.unwrap();
    assert_eq!(own, [domain("b.test", "acme"), domain("c.test", "acme")]);
    assert_eq!(store.domains(None, "b.test", 9).await.unwrap(), own[1..]);
    assert_eq!(store.domain("a.test").await.unwrap(), None);
    let remove = async |since| store.remove_domain("c.test", since).await.unwrap();
    let since = Timestamp::from_millis;
    assert!(!remove(since(1)).await, "it was changed meanwhile");
    assert!(remove(since(2)).await);
    assert!(!remove(since(2)).await);
    assert_eq!(of("acme", ("b.test", "b")).await, []);
}

pub(crate) async fn much_is_imported_at_once_or_not_at_all(place: Place) {
    let store = place.open().await;
    let now = Timestamp::from_millis(1);
    let tenant = |id: &str, name: &str| Tenant {
        id: id.into(),
        name: name.into(),
        created: now,
        updated: now,
    };
    let user = |number: usize, display: &str| User {
        domain: "acme.test".into(),
        name: format!("u{number:05}"),
        ha1_md5: Some("0".into()),
        ha1_sha256: None,
        ha1_sha512: None,
        display: Some(display.into()),
        enabled: true,
        profile: "{}".into(),
        created: now,
        updated: now,
    };
    let domain = Domain {
        name: "acme.test".into(),
        tenant: "acme".into(),
        created: now,
        updated: now,
    };
    let number = store::RoutingDocument {
        tenant: Some("acme".into()),
        ..store::RoutingDocument::new("700", "{}")
    };
    let mut import = store::Import {
        tenants: vec![tenant("acme", "Acme")],
        domains: vec![domain],
        // More than one statement takes.
        users: (0..4_500).map(|number| user(number, "one")).collect(),
        routing: vec![(store::RoutingKind::Number, vec![number])],
    };
    assert!(!import.is_empty() && store::Import::default().is_empty());
    let revision = store.routing_revision().await.unwrap();
    assert!(!store.import(&import, revision + 1).await.unwrap());
    assert_eq!(store.tenant("acme").await.unwrap(), None);
    assert!(store.import(&import, revision).await.unwrap());
    assert_eq!(store.routing_revision().await.unwrap(), revision + 1);
    let last = store.users(&[("acme.test", "u04499")]).await.unwrap();
    assert_eq!(last[0].display.as_deref(), Some("one"));
    let number = store.routing_document(store::RoutingKind::Number, "700");
    assert_eq!(
        number.await.unwrap().unwrap().tenant.as_deref(),
        Some("acme")
    );

    // What is there is replaced, and what is refused takes the rest with it.
    import.tenants[0].name = "Acme Ltd".into();
    import.users = vec![user(7, "two")];
    assert!(store.import(&import, revision + 1).await.unwrap());
    import.users = vec![user(7, "three")];
    import.domains[0].tenant = "gone".into();
    let refused = store.import(&import, revision + 2).await;
    assert!(refused.unwrap_err().is_rejection());
    let kept = store.users(&[("acme.test", "u00007")]).await.unwrap();
    assert_eq!(kept[0].display.as_deref(), Some("two"));
    let tenant = store.tenant("acme").await.unwrap().unwrap();
    assert_eq!(tenant.name, "Acme Ltd");
}

fn operator(name: &str, tenant: Option<&str>, updated: i64) -> Operator {
    Operator {
        name: name.into(),
        tenant: tenant.map(Into::into),
        role: Role::Operator,
        disabled: false,
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(updated),
    }
}

pub(crate) async fn operators_are_kept_and_what_they_signed_in_for_ends_with_each_change(
    place: Place,
) {
    let store = place.open().await;
    assert!(
        store
            .create_tenant(&tenant("acme", "Acme", 1))
            .await
            .unwrap()
    );
    let ann = operator("ann", Some("acme"), 1);
    assert!(store.create_operator(&ann, "hash-1").await.unwrap());
    assert!(
        !store
            .create_operator(&operator("ann", None, 2), "x")
            .await
            .unwrap()
    );
    let lost = store
        .create_operator(&operator("lost", Some("none"), 1), "x")
        .await;
    assert!(lost.unwrap_err().is_rejection());
    assert!(
        store
            .create_operator(&operator("bob", None, 1), "hash-2")
            .await
            .unwrap()
    );
    let names =
        |all: Vec<Operator>| -> Vec<String> { all.into_iter().map(|one| one.name).collect() };
    assert_eq!(
        names(store.operators(None, "", 9).await.unwrap()),
        ["ann", "bob"]
    );
    assert_eq!(
        names(store.operators(None, "ann", 1).await.unwrap()),
        ["bob"]
    );
    assert_eq!(
        names(store.operators(Some("acme"), "", 9).await.unwrap()),
        ["ann"]
    );
    assert_eq!(store.operator("carl").await.unwrap(), None);

    let session = |of: &Operator| ApiKey {
        expires: Some(Timestamp::now().later(std::time::Duration::from_secs(3_600))),
        operator: Some(of.name.clone()),
        ..key(of.tenant.as_deref(), of.role)
    };
    let first = session(&ann);
    store.create_session(&first, "00", &ann).await.unwrap();
    let known = store.key(first.id).await.unwrap().unwrap();
    assert_eq!(known, (first.clone(), "00".to_owned()));
    assert_eq!(
        store.keys(None, None, 9).await.unwrap(),
        [],
        "it is no key of its own"
    );

    // Nothing is changed by who has not seen what it is.
    let since = Timestamp::from_millis;
    let off = Operator {
        disabled: true,
        ..operator("ann", Some("acme"), 5)
    };
    assert!(!store.change_operator(&off, None, since(4)).await.unwrap());
    assert!(store.key(first.id).await.unwrap().is_some());
    assert!(store.change_operator(&off, None, since(1)).await.unwrap());
    assert_eq!(
        store.operator("ann").await.unwrap(),
        Some((off.clone(), "hash-1".to_owned()))
    );
    assert_eq!(store.key(first.id).await.unwrap(), None);

    // One that began before a change and is written after it opens nothing.
    let late = session(&ann);
    store.create_session(&late, "00", &ann).await.unwrap();
    assert_eq!(store.key(late.id).await.unwrap(), None);
    // Nor does one of who is disabled.
    let refused = session(&off);
    store.create_session(&refused, "00", &off).await.unwrap();
    assert_eq!(store.key(refused.id).await.unwrap(), None);

    let on = operator("ann", Some("acme"), 6);
    assert!(
        store
            .change_operator(&on, Some("hash-3"), since(5))
            .await
            .unwrap()
    );
    assert_eq!(
        store.operator("ann").await.unwrap(),
        Some((on.clone(), "hash-3".to_owned()))
    );
    let over = ApiKey {
        expires: Some(since(9)),
        ..session(&on)
    };
    store.create_session(&over, "00", &on).await.unwrap();
    let good = session(&on);
    store.create_session(&good, "00", &on).await.unwrap();
    assert_eq!(store.key(over.id).await.unwrap(), None, "it was forgotten");
    assert!(!store.remove_operator("ann", since(5)).await.unwrap());
    assert!(store.key(good.id).await.unwrap().is_some());
    assert!(store.remove_operator("ann", since(6)).await.unwrap());
    assert_eq!(store.key(good.id).await.unwrap(), None);
    // Nothing of it keeps the tenant.
    assert!(store.remove_tenant("acme", since(1)).await.unwrap());
    store.close().await;
}

pub(crate) fn application(tenant: &str, name: &str) -> Application {
    let hook = |url: Option<&str>, method| Hook {
        url: url.map(Into::into),
        method,
    };
    Application {
        id: Uuid::now_v7(),
        tenant: tenant.into(),
        name: name.into(),
        voice: hook(Some("https://example.test/voice"), HttpMethod::Get),
        fallback: hook(None, HttpMethod::Post),
        status: hook(Some("wss://example.test/status"), HttpMethod::Post),
        message: hook(None, HttpMethod::Get),
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(2),
    }
}

pub(crate) async fn applications_are_kept_by_tenant_under_names_of_their_own(place: Place) {
    let store = place.open().await;
    let acme = tenant("acme", "Acme", 1);
    assert!(store.create_tenant(&acme).await.unwrap());
    let all = [
        application("acme", "ivr"),
        application("default", "ivr"),
        application("acme", "queue"),
    ];
    for one in &all {
        assert!(store.create_application(one).await.unwrap());
    }
    let twice = application("acme", "ivr");
    assert!(!store.create_application(&twice).await.unwrap());
    let nobodys = store.create_application(&application("none", "ivr")).await;
    assert!(nobodys.unwrap_err().is_rejection());

    let list = async |tenant, after, limit| store.applications(tenant, after, limit).await.unwrap();
    assert_eq!(list(None, None, 9).await, all);
    assert_eq!(list(None, Some(all[0].id), 1).await, all[1..2]);
    assert_eq!(list(Some("default"), None, 9).await, all[1..2]);
    assert_eq!(list(Some("none"), None, 9).await, []);
    let found = store.application(all[2].id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&all[2]));

    let changed = Application {
        name: "hall".into(),
        fallback: all[0].voice.clone(),
        voice: all[0].fallback.clone(),
        updated: Timestamp::from_millis(3),
        ..all[2].clone()
    };
    let since = Timestamp::from_millis;
    let change = async |to, at| store.change_application(to, since(at)).await;
    let revision = store.routing_revision().await.unwrap();
    assert!(
        !change(&changed, 1).await.unwrap(),
        "it was changed meanwhile"
    );
    // Nodes read them again where one was changed, and not for what came to nothing.
    assert_eq!(store.routing_revision().await.unwrap(), revision);
    assert!(change(&changed, 2).await.unwrap());
    assert_eq!(store.routing_revision().await.unwrap(), revision + 1);
    assert_eq!(
        store.application(changed.id).await.unwrap(),
        Some(changed.clone())
    );
    let taken = Application {
        name: "ivr".into(),
        ..all[2].clone()
    };
    assert!(change(&taken, 3).await.unwrap_err().is_rejection());

    let kept = store.remove_tenant("acme", since(1)).await;
    assert!(kept.unwrap_err().is_rejection(), "it has applications");
    let remove = async |at| {
        store
            .remove_application(all[2].id, since(at))
            .await
            .unwrap()
    };
    assert!(!remove(2).await);
    assert!(remove(3).await);
    assert!(!remove(3).await);
    assert_eq!(store.application(all[2].id).await.unwrap(), None);
}
