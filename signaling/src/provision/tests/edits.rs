//! Changes of one document.

use control::{
    Fault, FaultCode,
    signal::{NewDocument, RoutingEdit, RoutingKind as Kind, RoutingOrder, RoutingOutcome, Secret},
};
use store::{RoutingKind, Tenant, Timestamp};

use super::*;

fn new(document: &str) -> NewDocument {
    NewDocument {
        document: Secret::new(document),
        tenant: None,
    }
}

impl Bed {
    async fn edit(&self, kind: Kind, id: &str, edit: RoutingEdit) -> Result<RoutingOutcome, Fault> {
        let id = id.to_owned();
        self.provision.edit(RoutingOrder { kind, id, edit }).await
    }

    /// When it was changed, and what is stored.
    async fn create(&self, kind: Kind, id: &str, document: &str) -> (i64, String) {
        let outcome = self
            .edit(kind, id, RoutingEdit::Create(new(document)))
            .await;
        stored(outcome.unwrap())
    }

    async fn reasons(&self, kind: Kind, id: &str, edit: RoutingEdit) -> String {
        let fault = self.edit(kind, id, edit).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Invalid, "{fault}");
        fault.message
    }
}

fn stored(outcome: RoutingOutcome) -> (i64, String) {
    match outcome {
        RoutingOutcome::Stored {
            document,
            updated_ms,
        } => (updated_ms, document.expose().to_owned()),
        other => panic!("{other:?}"),
    }
}

fn replace(document: &str, unchanged_since: i64) -> RoutingEdit {
    RoutingEdit::Replace {
        new: new(document),
        unchanged_since,
    }
}

#[tokio::test]
async fn an_edit_takes_effect_at_once_and_lasts() {
    let mut bed = Bed::new().await;
    let trunk = r#"{"name": "b", "hosts": ["192.0.2.2"]}"#;
    let (trunk, _) = bed.create(Kind::Trunk, "b", trunk).await;
    let route = r#"{"prefix": "+44", "trunks": ["b"]}"#;
    let (route, document) = bed.create(Kind::Route, "uk", route).await;
    assert!(document.contains(r#""ring_timeout":60"#), "{document}");
    assert!(bed.leads("+44") && !bed.leads("+49"));
    let moved = replace(r#"{"prefix": "+49", "trunks": ["b"]}"#, route);
    let (route, _) = stored(bed.edit(Kind::Route, "uk", moved).await.unwrap());
    assert!(bed.leads("+49") && !bed.leads("+44"));
    assert_eq!(bed.given(), 3);

    // What was swapped in is what a fresh look finds, and nobody looks again.
    let edited = bed.provision.current.load().describe();
    let revision = bed.store.routing_revision().await.unwrap();
    assert_eq!(bed.provision.state.lock().await.revision, Some(revision));
    bed.provision.reload().await.unwrap();
    assert_eq!(bed.provision.current.load().describe(), edited);
    assert!(bed.leads("+49") && !bed.leads("+44"));

    let used = RoutingEdit::Remove {
        unchanged_since: trunk,
    };
    let reasons = bed.reasons(Kind::Trunk, "b", used.clone()).await;
    assert_eq!(reasons, "route '+49': there is no trunk 'b'");
    let unused = RoutingEdit::Remove {
        unchanged_since: route,
    };
    let removed = Ok(RoutingOutcome::Removed);
    assert_eq!(bed.edit(Kind::Route, "uk", unused).await, removed);
    assert_eq!(bed.edit(Kind::Trunk, "b", used).await, removed);
    assert!(!bed.leads("+49") && bed.leads("+1555"));
}

#[tokio::test]
async fn routes_are_tried_in_the_order_of_their_ids_whenever_they_were_made() {
    let bed = Bed::new().await;
    for name in ["b", "c", "d"] {
        let trunk = format!(r#"{{"name": "{name}", "hosts": ["192.0.2.9"]}}"#);
        bed.create(Kind::Trunk, name, &trunk).await;
    }
    let order = || {
        let question = RouteQuestion {
            from: "1".into(),
            to: "+4420".into(),
            trunk: Some("a".into()),
            ..RouteQuestion::default()
        };
        let directory = bed.provision.current.load();
        let now = Timestamp::now();
        let report = directory
            .explain(&question, Instant::now(), now, None)
            .unwrap();
        format!("{:?}", report.stages)
    };
    for (id, trunk) in [("2", "c"), ("1", "b"), ("3", "d")] {
        let route = format!(r#"{{"prefix": "+44", "trunks": ["{trunk}"]}}"#);
        bed.create(Kind::Route, id, &route).await;
    }
    let edited = order();
    bed.provision.reload().await.unwrap();
    assert_eq!(edited, order());
    let places = ["b", "c", "d"].map(|name| edited.find(&format!("trunk: \"{name}\"")));
    assert!(places.is_sorted() && places[0].is_some(), "{edited}");
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_is_told_with_its_member() {
    let mut bed = Bed::new().await;
    let create = |document: &str| RoutingEdit::Create(new(document));
    for (kind, id, document, part) in [
        (Kind::Route, "r", "{", "EOF"),
        (Kind::Route, "r", r#"{"prefix": "+44"}"#, "trunks"),
        (
            Kind::Route,
            "r",
            r#"{"trunks": ["gone"]}"#,
            "no trunk 'gone'",
        ),
        (
            Kind::Route,
            "r",
            r#"{"trunks": [{"trunk": "a", "cost": "x"}]}"#,
            "trunks[0].cost: invalid type",
        ),
        (
            Kind::Route,
            "r",
            r#"{"trunks": ["a"], "tims": []}"#,
            "tims: unknown",
        ),
        (Kind::Route, "file-1x", r#"{"trunks": ["a"]}"#, "id: use"),
        (Kind::Route, "a b", r#"{"trunks": ["a"]}"#, "id: use"),
        (
            Kind::Trunk,
            "b",
            r#"{"name": "b"}"#,
            "neither hosts nor allow",
        ),
        (Kind::Trunk, "b", r#"{"name": "c"}"#, "name: it is 'c'"),
        (
            Kind::Trunk,
            "b",
            r#"{"name": "b", "hosts": ["h"], "auth": {"user": "u"}}"#,
            "auth: password is missing",
        ),
        (
            Kind::Block,
            "b",
            r#"{"pattern": "("}"#,
            "pattern: not a regular expression",
        ),
        (
            Kind::Limit,
            "l",
            r#"{"trunk": "b", "calls": 1}"#,
            "no trunk 'b'",
        ),
        (
            Kind::Number,
            "7",
            r#"{"number": "7", "group": "g"}"#,
            "no group 'g'",
        ),
        (
            Kind::Group,
            "g",
            r#"{"name": "g", "members": [], "ring_timeout": 0}"#,
            "1 to 64 members\ngroup 'g': ring_timeout = 0",
        ),
    ] {
        let reasons = bed.reasons(kind, id, create(document)).await;
        assert!(reasons.contains(part), "{document}: {reasons}");
    }
    assert_eq!(bed.given(), 0);
    // The number of the file alone.
    assert_eq!(bed.store.routing_revision().await.unwrap(), 1);
    bed.store.close().await;
    let away = bed.edit(Kind::Route, "r", create(r#"{"trunks": ["a"]}"#));
    assert_eq!(away.await.unwrap_err().code, FaultCode::Unavailable);
}

#[tokio::test]
async fn who_edits_what_is_not_as_it_was_changes_nothing() {
    let bed = Bed::new().await;
    let route = r#"{"prefix": "+44", "trunks": ["a"]}"#;
    let (first, _) = bed.create(Kind::Route, "r", route).await;
    let again = bed.edit(Kind::Route, "r", RoutingEdit::Create(new(route)));
    assert_eq!(again.await, Ok(RoutingOutcome::Exists));
    let edits = (0..8).map(|_| bed.edit(Kind::Route, "r", replace(route, first)));
    let outcomes = futures_util::future::join_all(edits).await;
    let done = |outcome: &&Result<_, Fault>| matches!(outcome, Ok(RoutingOutcome::Stored { .. }));
    assert_eq!(outcomes.iter().filter(done).count(), 1, "{outcomes:?}");
    let changed = Ok(RoutingOutcome::Changed);
    assert_eq!(outcomes.iter().filter(|one| **one == changed).count(), 7);
    let none = bed.edit(Kind::Route, "none", replace(route, first)).await;
    assert_eq!(none, changed);
    let stale = RoutingEdit::Remove {
        unchanged_since: first,
    };
    assert_eq!(bed.edit(Kind::Route, "r", stale).await, changed);
}

#[tokio::test]
async fn what_the_file_has_is_listed_and_left_alone() {
    let bed = Bed::new().await;
    let trunks = bed.provision.of_file(Kind::Trunk).await;
    assert_eq!((trunks.len(), trunks[0].id.as_str()), (1, "a"));
    let routes = bed.provision.of_file(Kind::Route).await;
    assert_eq!((routes.len(), routes[0].id.as_str()), (1, "file-1"));
    assert!(routes[0].document.expose().contains(r#""prefix":"+1""#));
    assert_eq!(bed.provision.of_file(Kind::Number).await, []);

    let trunk = r#"{"name": "a", "hosts": ["192.0.2.7"]}"#;
    let of_file = Ok(RoutingOutcome::OfFile);
    let create = RoutingEdit::Create(new(trunk));
    assert_eq!(bed.edit(Kind::Trunk, "a", create).await, of_file);
    let remove = RoutingEdit::Remove { unchanged_since: 0 };
    assert_eq!(
        bed.edit(Kind::Route, "file-1", remove.clone()).await,
        of_file
    );

    // The file's number is in the store, and may go from there.
    let number = bed.store.routing_document(RoutingKind::Number, "100").await;
    let unchanged_since = number.unwrap().unwrap().updated.millis();
    let gone = bed.edit(Kind::Number, "100", RoutingEdit::Remove { unchanged_since });
    assert!(bed.provision.current.load().is_number_of_ours("100"));
    assert_eq!(gone.await, Ok(RoutingOutcome::Removed));
    assert!(!bed.provision.current.load().is_number_of_ours("100"));
}

#[tokio::test]
async fn a_trunk_keeps_the_passwords_that_an_edit_leaves_out() {
    let bed = Bed::new().await;
    let trunk = |auth: &str, register: &str| {
        format!(
            r#"{{"name": "b", "hosts": ["192.0.2.2"], "auth": {{"user": "u"{auth}}},
                "register": {{"user": "v"{register}}}}}"#
        )
    };
    let [one, two] = [r#", "password": "one""#, r#", "password": "two""#];
    let (first, _) = bed.create(Kind::Trunk, "b", &trunk(one, two)).await;
    let kept = bed.edit(Kind::Trunk, "b", replace(&trunk("", ""), first));
    let (second, document) = stored(kept.await.unwrap());
    assert!(document.contains("one") && document.contains("two"));
    let order = replace(&trunk("", r#", "password": "three""#), second);
    assert!(!format!("{order:?}").contains("three"), "{order:?}");
    let (_, document) = stored(bed.edit(Kind::Trunk, "b", order).await.unwrap());
    assert!(document.contains("one") && document.contains("three") && !document.contains("two"));
}

#[tokio::test]
async fn a_tenants_number_leads_to_that_tenants_groups_alone() {
    let bed = Bed::new().await;
    for id in ["acme", "other"] {
        let tenant = Tenant {
            id: id.into(),
            name: id.into(),
            created: Timestamp::now(),
            updated: Timestamp::now(),
        };
        assert!(bed.store.create_tenant(&tenant).await.unwrap());
    }
    let create = |document: &str, tenant: Option<&str>| {
        RoutingEdit::Create(NewDocument {
            document: Secret::new(document),
            tenant: tenant.map(str::to_owned),
        })
    };
    for (name, tenant) in [
        ("ours", Some("acme")),
        ("theirs", Some("other")),
        ("nodes", None),
    ] {
        let group = format!(r#"{{"name": "{name}", "members": ["alice"]}}"#);
        let made = bed.edit(Kind::Group, name, create(&group, tenant)).await;
        stored(made.unwrap());
    }
    let number = |group: &str| format!(r#"{{"number": "7", "group": "{group}"}}"#);
    for group in ["theirs", "nodes", "none"] {
        let order = create(&number(group), Some("acme"));
        let reasons = bed.reasons(Kind::Number, "7", order).await;
        assert_eq!(reasons, format!("number '7': there is no group '{group}'"));
    }
    let made = bed.edit(Kind::Number, "7", create(&number("ours"), Some("acme")));
    stored(made.await.unwrap());
    let nobodys = create(r#"{"number": "8", "user": "alice"}"#, Some("none"));
    let reasons = bed.reasons(Kind::Number, "8", nobodys).await;
    assert_eq!(reasons, "tenant: there is none of this id");
    assert!(!bed.leads("8"));
}
