//! People who sign in with a name and a password.

use serde_json::{Value, json};

use crate::bed::{Answer, Bed, KEY};

const PASSWORD: &str = "correct horse battery";

async fn add(bed: &Bed, by: &str, name: &str, role: &str, tenant: Option<&str>) -> Answer {
    let mut body = json!({ "name": name, "password": PASSWORD, "role": role });
    if let Some(tenant) = tenant {
        body["tenant"] = tenant.into();
    }
    bed.ask(by, "POST", "/v1/operators", Some(body)).await
}

async fn login(bed: &Bed, name: &str, password: &str) -> Answer {
    let body = json!({ "name": name, "password": password }).to_string();
    let fields = [("Content-Type", "application/json")];
    bed.exchange("POST", "/v1/login", &fields, &body).await
}

async fn signed_in(bed: &Bed, name: &str) -> String {
    let answer = login(bed, name, PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["key"].as_str().unwrap().to_owned()
}

async fn status(bed: &Bed, key: &str, path: &str) -> u16 {
    bed.ask(key, "GET", path, None).await.status
}

#[tokio::test]
async fn an_operator_signs_in_does_what_the_role_allows_and_signs_out() {
    let bed = Bed::start().await;
    let made = add(&bed, KEY, "Ann@example.test", "operator", None).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(
        made.header("location"),
        Some("/v1/operators/ann@example.test")
    );
    assert!(
        !made.body.contains("argon2") && !made.body.contains("correct"),
        "{}",
        made.body
    );
    assert_eq!(
        add(&bed, KEY, "ann@EXAMPLE.test", "viewer", None)
            .await
            .status,
        409
    );

    let answer = login(&bed, "ANN@example.test", PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let session = answer.json();
    assert_eq!(
        (&session["name"], &session["role"], &session["tenant"]),
        (&json!("ann@example.test"), &json!("operator"), &Value::Null)
    );
    let key = session["key"].as_str().unwrap();
    assert_eq!(status(&bed, key, "/v1/calls").await, 200);
    assert_eq!(status(&bed, key, "/v1/operators").await, 403);
    // It is no key that is listed, or looked at, or removed as one.
    let keys = bed.admin("/v1/keys").await.json();
    assert_eq!(keys["items"], json!([]));
    let id = &key[3..35];
    assert_eq!(status(&bed, KEY, &format!("/v1/keys/{id}")).await, 404);

    assert_eq!(bed.ask(key, "POST", "/v1/logout", None).await.status, 204);
    assert_eq!(status(&bed, key, "/v1/calls").await, 401);
    // Who shows a key of another kind did not sign in.
    assert_eq!(bed.ask(KEY, "POST", "/v1/logout", None).await.status, 409);
    let changes = bed.admin("/v1/audit?kind=operators").await.json();
    let told = changes["items"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|one| {
            (
                one["action"].as_str().unwrap(),
                one["actor"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("logout", "operator:ann@example.test"),
            ("login", "operator:ann@example.test"),
            ("create", "admin-key"),
        ]
    );
    assert!(!changes.to_string().contains(PASSWORD));
    bed.stop().await;
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_told_alike() {
    let bed = Bed::start().await;
    assert_eq!(add(&bed, KEY, "ann", "viewer", None).await.status, 201);
    assert_eq!(add(&bed, KEY, "off", "viewer", None).await.status, 201);
    let off = json!({ "disabled": true });
    let changed = bed.ask(KEY, "PATCH", "/v1/operators/off", Some(off)).await;
    assert_eq!(changed.json()["disabled"], true, "{}", changed.body);
    let wrong = login(&bed, "ann", "incorrect horse").await;
    assert_eq!(wrong.status, 401, "{}", wrong.body);
    assert!(wrong.header("www-authenticate").is_some());
    for (name, password) in [
        ("nobody", PASSWORD),
        ("off", PASSWORD),
        ("", ""),
        (&"a".repeat(65), PASSWORD),
        (&"a".repeat(200_000), PASSWORD),
        ("ann' OR '1'='1", PASSWORD),
        ("ann", &"x".repeat(10_000)),
    ] {
        let other = login(&bed, name, password).await;
        assert_eq!((other.status, &other.body), (401, &wrong.body), "{name}");
    }
    for body in [
        "{}",
        "[]",
        r#"{"name": "ann"}"#,
        r#"{"name": 1, "password": 2}"#,
    ] {
        let fields = [("Content-Type", "application/json")];
        let answer = bed.exchange("POST", "/v1/login", &fields, body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    }
    bed.stop().await;
}

#[tokio::test]
async fn whatever_is_changed_of_an_operator_ends_what_was_signed_in_for() {
    let bed = Bed::start().await;
    assert_eq!(add(&bed, KEY, "ann", "operator", None).await.status, 201);
    let place = "/v1/operators/ann";
    for change in [
        json!({ "role": "viewer" }),
        json!({ "disabled": true }),
        json!({ "disabled": false }),
        json!({ "password": "another horse battery" }),
    ] {
        let key = match login(&bed, "ann", PASSWORD).await {
            answer if answer.status == 200 => answer.json()["key"].as_str().unwrap().to_owned(),
            _ => String::new(),
        };
        let before = bed.admin(place).await;
        let tag = before.header("etag").unwrap();
        assert_eq!(
            status(&bed, &key, "/v1/calls").await,
            if key.is_empty() { 401 } else { 200 }
        );
        let admin = format!("Bearer {KEY}");
        let fields = [
            ("Authorization", admin.as_str()),
            ("Content-Type", "application/json"),
            ("If-Match", tag),
        ];
        let body = change.to_string();
        let changed = bed.exchange("PATCH", place, &fields, &body).await;
        assert_eq!(changed.status, 200, "{change}: {}", changed.body);
        let again = bed.exchange("PATCH", place, &fields, &body).await;
        assert_eq!(again.status, 412, "{change}: {}", again.body);
        assert_eq!(status(&bed, &key, "/v1/calls").await, 401, "{change}");
    }
    assert_eq!(login(&bed, "ann", PASSWORD).await.status, 401);
    let answer = login(&bed, "ann", "another horse battery").await.json();
    let key = answer["key"].as_str().unwrap();
    assert_eq!(answer["role"], "viewer");
    assert_eq!(status(&bed, key, "/v1/calls").await, 200);
    assert_eq!(bed.ask(KEY, "DELETE", place, None).await.status, 204);
    assert_eq!(status(&bed, key, "/v1/calls").await, 401);
    assert_eq!(status(&bed, KEY, place).await, 404);
    bed.stop().await;
}

#[tokio::test]
async fn a_tenants_admin_has_operators_of_that_tenant_only() {
    let bed = Bed::start().await;
    let acme = json!({ "id": "acme", "name": "Acme" });
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/tenants", Some(acme)).await.status,
        201
    );
    assert_eq!(
        add(&bed, KEY, "boss", "admin", Some("acme")).await.status,
        201
    );
    assert_eq!(add(&bed, KEY, "root", "admin", None).await.status, 201);
    assert_eq!(
        add(&bed, KEY, "lost", "admin", Some("none")).await.status,
        422
    );
    let boss = signed_in(&bed, "boss").await;
    assert_eq!(add(&bed, &boss, "desk", "viewer", None).await.status, 201);
    assert_eq!(
        add(&bed, &boss, "spy", "viewer", Some("default"))
            .await
            .status,
        404
    );
    let list = bed.ask(&boss, "GET", "/v1/operators", None).await.json();
    let names = list["items"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|one| (&one["name"], &one["tenant"])).collect();
    let acme = &json!("acme");
    assert_eq!(names, [(&json!("boss"), acme), (&json!("desk"), acme)]);
    for method in ["GET", "DELETE"] {
        let answer = bed.ask(&boss, method, "/v1/operators/root", None).await;
        assert_eq!(answer.status, 404, "{method}: {}", answer.body);
    }
    let change = Some(json!({ "password": "a password of mine" }));
    let answer = bed.ask(&boss, "PATCH", "/v1/operators/root", change).await;
    assert_eq!(answer.status, 404, "{}", answer.body);
    // What is the node's is not theirs.
    assert_eq!(status(&bed, &boss, "/v1/node").await, 403);
    bed.stop().await;
}

#[tokio::test]
async fn an_operator_that_cannot_be_is_refused_in_words() {
    let bed = Bed::start().await;
    for (body, wanted) in [
        (
            json!({ "name": "", "password": PASSWORD, "role": "viewer" }),
            "name: 1 to 64",
        ),
        (
            json!({ "name": "a b", "password": PASSWORD, "role": "viewer" }),
            "name: 1 to 64",
        ),
        (
            json!({ "name": "a".repeat(65), "password": PASSWORD, "role": "viewer" }),
            "name: 1 to 64",
        ),
        (
            json!({ "name": "ann", "password": "short", "role": "viewer" }),
            "password: at least 12",
        ),
    ] {
        let answer = bed.ask(KEY, "POST", "/v1/operators", Some(body)).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains(wanted), "{}", answer.body);
    }
    let role = json!({ "name": "ann", "password": PASSWORD, "role": "root" });
    let answer = bed.ask(KEY, "POST", "/v1/operators", Some(role)).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    bed.stop().await;
}

#[tokio::test]
async fn who_tries_passwords_is_not_heard_for_a_while() {
    let bed = Bed::start().await;
    for _ in 0..10 {
        assert_eq!(login(&bed, "ann", "a wrong password").await.status, 401);
    }
    let answer = login(&bed, "Ann", "a wrong password").await;
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
    // Another name is another matter, until the address has tried too many.
    assert_eq!(login(&bed, "bob", "a wrong password").await.status, 401);
    bed.stop().await;
}

#[tokio::test]
async fn an_operator_changes_the_own_password_and_signs_in_again() {
    let bed = Bed::start().await;
    assert_eq!(add(&bed, KEY, "ann", "viewer", None).await.status, 201);
    let key = signed_in(&bed, "ann").await;
    let change = async |key: &str, old: &str, new: &str| {
        let body = json!({ "old": old, "new": new });
        bed.ask(key, "POST", "/v1/me/password", Some(body)).await
    };
    const NEW: &str = "staple battery horse";
    let wrong = change(&key, "incorrect horse", NEW).await;
    assert_eq!(wrong.status, 422, "{}", wrong.body);
    let short = change(&key, PASSWORD, "short").await;
    assert_eq!(short.status, 422);
    let detail = short.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("new: at least 12"), "{detail}");
    assert_eq!(change(KEY, PASSWORD, NEW).await.status, 409);
    assert_eq!(status(&bed, &key, "/v1/calls").await, 200);

    let done = change(&key, PASSWORD, NEW).await;
    assert_eq!(done.status, 204, "{}", done.body);
    assert_eq!(status(&bed, &key, "/v1/calls").await, 401);
    assert_eq!(login(&bed, "ann", PASSWORD).await.status, 401);
    let again = login(&bed, "ann", NEW).await;
    assert_eq!(again.status, 200, "{}", again.body);
    let changes = bed.admin("/v1/audit?kind=operators&target=ann").await;
    let told = &changes.json()["items"][1];
    assert_eq!(
        (&told["action"], &told["actor"], &told["detail"]["password"]),
        (
            &json!("update"),
            &json!("operator:ann"),
            &json!("(changed)")
        )
    );
    assert!(!changes.body.contains(NEW) && !changes.body.contains(PASSWORD));

    // An old password is guessed no faster here than where one signs in.
    let key = again.json()["key"].as_str().unwrap().to_owned();
    let mut told = Vec::new();
    for _ in 0..10 {
        told.push(change(&key, "incorrect horse", PASSWORD).await.status);
    }
    assert_eq!(told.last(), Some(&429), "{told:?}");
    bed.stop().await;
}

#[tokio::test]
async fn of_two_who_change_a_password_at_once_one_is_told_so() {
    let bed = Bed::start().await;
    assert_eq!(add(&bed, KEY, "ann", "viewer", None).await.status, 201);
    let key = signed_in(&bed, "ann").await;
    let change = async |new: &str| {
        let body = json!({ "old": PASSWORD, "new": new });
        bed.ask(&key, "POST", "/v1/me/password", Some(body)).await
    };
    let (one, other) = tokio::join!(
        change("staple battery horse"),
        change("battery horse staple")
    );
    let (done, refused) = if one.status == 204 {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(
        (done.status, refused.status),
        (204, 409),
        "{}",
        refused.body
    );
    assert!(refused.body.contains("sign in again"), "{}", refused.body);
    bed.stop().await;
}
