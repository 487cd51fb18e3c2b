//! Who may do what.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::bed::{Answer, Bed, KEY};

/// Between one look and the next.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

const ROLES: [&str; 4] = ["viewer", "developer", "operator", "admin"];

pub(crate) async fn key(bed: &Bed, by: &str, role: &str, tenant: Option<&str>) -> Answer {
    let mut body = json!({ "name": "of a test", "role": role });
    if let Some(tenant) = tenant {
        body["tenant"] = tenant.into();
    }
    bed.ask(by, "POST", "/v1/keys", Some(body)).await
}

pub(crate) fn secret(made: &Answer) -> String {
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()["key"].as_str().unwrap().to_owned()
}

async fn acme(bed: &Bed) {
    let body = json!({ "id": "acme", "name": "Acme" });
    let made = bed.ask(KEY, "POST", "/v1/tenants", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

/// Every operation of the document, with what it asks.
pub(crate) fn operations(document: &Value) -> Vec<(String, String, Vec<String>)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // Who signs in has no key yet.
            if path == "/v1/login" {
                assert_eq!(operation["security"], json!([{}]));
                continue;
            }
            let scopes = operation["security"][0]["bearer"].as_array();
            let scopes = scopes.expect("each operation names a role");
            let scopes = scopes.iter().map(|one| one.as_str().unwrap().to_owned());
            all.push((method.to_uppercase(), path.clone(), scopes.collect()));
        }
    }
    all
}

#[tokio::test]
async fn every_operation_asks_for_the_role_that_its_document_names() {
    let bed = Bed::start().await;
    acme(&bed).await;
    let document = bed.get("/openapi.json").await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    let document = document.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let operations = operations(&document);
    assert!(operations.len() >= 12, "{}", operations.len());

    let mut keys = Vec::new();
    for role in ROLES {
        keys.push(secret(&key(&bed, KEY, role, None).await));
    }
    let tenants = secret(&key(&bed, KEY, "admin", Some("acme")).await);
    for (method, path, scopes) in operations {
        let nowhere = "00000000-0000-0000-0000-000000000000";
        let path = path.replace("{id}", nowhere);
        let what = format!("{method} {path} {scopes:?}");
        assert_eq!(bed.send(&method, &path, &[]).await.status, 401, "{what}");

        let least = ROLES.iter().position(|role| *role == scopes[0]).unwrap();
        for (rank, key) in keys.iter().enumerate() {
            let answer = bed.ask(key, &method, &path, None).await;
            let is_let = !matches!(answer.status, 401 | 403);
            assert_eq!(is_let, rank >= least, "{what}: {}", answer.body);
        }
        let answer = bed.ask(&tenants, &method, &path, None).await;
        let is_of_node = scopes.iter().any(|scope| scope == "node");
        assert_eq!(answer.status == 403, is_of_node, "{what}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_key_opens_until_it_is_removed() {
    let bed = Bed::start().await;
    let made = key(&bed, KEY, "viewer", None).await;
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let shown = secret(&made);
    let place = made.header("location").unwrap().to_owned();
    assert_eq!(bed.ask(&shown, "GET", "/v1/calls", None).await.status, 200);
    let changed = format!("{shown}0");
    let refused = bed.ask(&changed, "GET", "/v1/calls", None).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .contains("invalid_token")
    );

    let seen = bed.ask(KEY, "GET", &place, None).await;
    assert_eq!((seen.status, &seen.json()["role"]), (200, &json!("viewer")));
    let list = bed.ask(KEY, "GET", "/v1/keys", None).await;
    let secret = shown.rsplit('_').next().unwrap();
    assert!(!seen.body.contains(secret) && !list.body.contains(secret));

    assert_eq!(bed.ask(KEY, "DELETE", &place, None).await.status, 204);
    assert_eq!(bed.ask(&shown, "GET", "/v1/calls", None).await.status, 401);
    assert_eq!(bed.ask(KEY, "DELETE", &place, None).await.status, 404);

    let over = json!({ "name": "x", "role": "admin", "expires": "2001-01-01T00:00:00Z" });
    let over = bed.ask(KEY, "POST", "/v1/keys", Some(over)).await;
    assert_eq!(over.status, 422);
}

#[tokio::test]
async fn a_tenants_key_finds_nothing_of_anybody_else() {
    let bed = Bed::start().await;
    acme(&bed).await;
    let nodes = key(&bed, KEY, "viewer", None)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let own = secret(&key(&bed, KEY, "admin", Some("acme")).await);
    let by_own = key(&bed, &own, "viewer", None).await;
    assert_eq!(by_own.json()["tenant"], "acme");

    let list = bed.ask(&own, "GET", "/v1/keys", None).await.json();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{list}");
    assert!(items.iter().all(|key| key["tenant"] == "acme"));
    for method in ["GET", "DELETE"] {
        assert_eq!(bed.ask(&own, method, &nodes, None).await.status, 404);
    }
    assert_eq!(key(&bed, &own, "viewer", Some("default")).await.status, 404);
    let others = bed.ask(&own, "GET", "/v1/keys?tenant=default", None).await;
    assert_eq!(others.status, 404);

    let changes = bed.ask(&own, "GET", "/v1/audit", None).await.json();
    let changes = changes["items"].as_array().unwrap();
    assert!(!changes.is_empty());
    assert!(
        changes.iter().all(|change| change["tenant"] == "acme"),
        "{changes:?}"
    );
    let all = bed
        .ask(KEY, "GET", "/v1/audit?kind=keys&limit=2", None)
        .await
        .json();
    assert_eq!(all["items"][0]["detail"]["role"], "viewer");
    assert!(
        all["items"][0]["actor"]
            .as_str()
            .unwrap()
            .starts_with("key:")
    );
    assert!(all["next"].is_string());
}

#[tokio::test]
async fn tenants_are_edited_one_at_a_time() {
    let bed = Bed::start().await;
    acme(&bed).await;
    let place = "/v1/tenants/acme";
    let again = json!({ "id": "acme", "name": "Other" });
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/tenants", Some(again))
            .await
            .status,
        409
    );
    for wrong in ["", "Acme", "a b", "../x", &"a".repeat(41)] {
        let body = json!({ "id": wrong, "name": "x" });
        let answer = bed.ask(KEY, "POST", "/v1/tenants", Some(body)).await;
        assert_eq!(answer.status, 422, "{wrong}");
    }

    let tag = bed.ask(KEY, "GET", place, None).await;
    let tag = tag.header("etag").unwrap().to_owned();
    let bearer = format!("Bearer {KEY}");
    let put = async |tag: &str, name: &str| {
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("If-Match", tag),
        ];
        let body = json!({ "name": name }).to_string();
        bed.exchange("PUT", place, &fields, &body).await
    };
    let first = put(&tag, "First").await;
    assert_eq!(
        (first.status, &first.json()["name"]),
        (200, &json!("First"))
    );
    let second = put(&tag, "Second").await;
    assert_eq!(second.status, 412, "{}", second.body);
    assert_eq!(second.json()["type"], "urn:tandem:problem:changed");
    let newest = first.header("etag").unwrap();
    assert_eq!(put(&format!("\"0\", {newest}"), "Second").await.status, 200);
    assert_eq!(put("*", "Third").await.status, 200);

    // What is not there is in no state (RFC 9110 section 13.1.1).
    for tag in ["*", "\"0\""] {
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("If-Match", tag),
        ];
        let body = r#"{"tenant": "acme"}"#;
        let answer = bed.exchange("PUT", "/v1/domains/new.test", &fields, body);
        assert_eq!(answer.await.status, 412, "{tag}");
    }

    key(&bed, KEY, "viewer", Some("acme")).await;
    let held = bed.ask(KEY, "DELETE", place, None).await;
    assert_eq!(held.status, 409, "{}", held.body);
    assert_eq!(
        bed.ask(KEY, "DELETE", "/v1/tenants/default", None)
            .await
            .status,
        409
    );
    assert_eq!(key(&bed, KEY, "viewer", Some("none")).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_give_a_domain_away_at_once_one_does() {
    let bed = Bed::start().await;
    acme(&bed).await;
    let bearer = format!("Bearer {KEY}");
    let place = "/v1/domains/acme.test";
    let body = r#"{"tenant": "acme"}"#;
    let mut tag = String::new();
    for round in 0..20 {
        let mut fields = vec![
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        // At first there is none, and nobody says so.
        if round > 0 {
            fields.push(("If-Match", &tag));
        }
        let puts = (0..8).map(|_| bed.exchange("PUT", place, &fields, body));
        let answers = join_all(puts).await;
        let (done, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 200);
        // Who is late enough there has the new state before him.
        assert!(round == 0 || done.len() == 1, "{done:?}");
        assert!(refused.iter().all(|answer| answer.status == 412));
        let last = bed.store.domain("acme.test").await.unwrap().unwrap();
        let newest = |answer: &&&Answer| {
            answer.json()["updated"].as_str() == Some(&last.updated.to_string())
        };
        tag = done
            .iter()
            .find(newest)
            .and_then(|answer| answer.header("etag"))
            .unwrap()
            .to_owned();
    }
    let deletes = (0..8).map(|_| bed.ask(KEY, "DELETE", place, None));
    let done = join_all(deletes).await;
    let gone = done.iter().filter(|answer| answer.status == 204);
    assert_eq!(gone.count(), 1, "{done:?}");
}

#[tokio::test]
async fn a_body_that_is_not_what_is_asked_for_is_refused_in_words() {
    let bed = Bed::start().await;
    let bearer = format!("Bearer {KEY}");
    let post = async |kind: &str, body: &str| {
        let fields = [("Authorization", bearer.as_str()), ("Content-Type", kind)];
        bed.exchange("POST", "/v1/tenants", &fields, body).await
    };
    let json = "application/json";
    let good = r#"{"id": "a", "name": "A"}"#;
    assert_eq!(post("text/plain", good).await.status, 415);
    for wrong in [
        "",
        "{",
        "[]",
        "null",
        r#"{"id": "a"}"#,
        r#"{"id": "a", "name": 7}"#,
        r#"{"id": "a", "name": "A", "nmae": "B"}"#,
        &"[".repeat(100_000),
        "{\"id\": \"a\", \"name\": \"\\ud800\"}",
    ] {
        let answer = post(json, wrong).await;
        let start: String = wrong.chars().take(60).collect();
        assert_eq!(answer.status, 400, "{start}: {}", answer.body);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    let long = format!(r#"{{"id": "a", "name": "{}"}}"#, "x".repeat(300_000));
    assert_eq!(post(json, &long).await.status, 413);
    let zero = r#"{"id": "a", "name": "a\u0000b"}"#;
    assert_eq!(post(json, zero).await.status, 422);
    assert_eq!(post(json, good).await.status, 201);
}

#[tokio::test]
async fn a_post_that_is_sent_again_is_done_once() {
    let bed = Bed::start().await;
    let other = secret(&key(&bed, KEY, "admin", None).await);
    let post = async |key: &str, name: &str, path: &str, body: Value| {
        let bearer = format!("Bearer {key}");
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", name),
        ];
        bed.exchange("POST", path, &fields, &body.to_string()).await
    };
    let acme = || json!({ "id": "acme", "name": "Acme" });
    let tenants = "/v1/tenants";
    let first = post(KEY, "one", tenants, acme()).await;
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (201, None)
    );
    let again = post(KEY, "one", tenants, acme()).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }

    let changed = json!({ "id": "acme", "name": "Other" });
    assert_eq!(post(KEY, "one", tenants, changed).await.status, 409);
    assert_eq!(post(KEY, "one", "/v1/keys", acme()).await.status, 409);
    // Another caller's name is another name, and a refusal is an answer.
    let refused = post(&other, "one", tenants, acme()).await;
    assert_eq!(refused.json()["type"], "urn:tandem:problem:conflict");
    assert_eq!(refused.header("idempotent-replayed"), None);
    let refused = post(&other, "one", tenants, acme()).await;
    assert_eq!(refused.header("idempotent-replayed"), Some("true"));
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );

    let new = || json!({ "name": "k", "role": "viewer" });
    assert_eq!(post(KEY, "two", "/v1/keys", new()).await.status, 201);
    let second = post(KEY, "two", "/v1/keys", new()).await;
    assert_eq!(second.status, 409, "{}", second.body);
    let keys = bed.ask(KEY, "GET", "/v1/keys", None).await.json();
    assert_eq!(keys["items"].as_array().unwrap().len(), 2, "{keys}");

    for wrong in ["", "a b", &"x".repeat(256)] {
        assert_eq!(
            post(KEY, wrong, tenants, acme()).await.status,
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_post_that_came_to_nothing_may_be_sent_again() {
    let bed = Bed::start().await;
    let post = async || {
        let bearer = format!("Bearer {KEY}");
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "ban"),
        ];
        bed.exchange("POST", "/v1/bans", &fields, r#"{"source": "192.0.2.1"}"#)
            .await
    };
    bed.fake.down(true);
    assert_eq!(post().await.status, 503);
    bed.fake.down(false);
    assert_eq!(post().await.status, 201);
    assert_eq!(post().await.header("idempotent-replayed"), Some("true"));
    assert_eq!(bed.fake.bans(), 1);
}

#[tokio::test]
async fn what_was_begun_is_done_though_the_client_hangs_up() {
    let bed = Bed::start().await;
    let body = r#"{"source": "192.0.2.1"}"#;
    let bearer = format!("Bearer {KEY}");
    let fields = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "ban"),
    ];
    let held = bed.fake.hold_bans().await;
    let asking = bed.exchange("POST", "/v1/bans", &fields, body);
    let begun = async {
        while bed.fake.bans() == 0 {
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        answer = asking => unreachable!("{answer:?}"),
        () = begun => {}
    }
    // Whoever serves this has seen before that the other one is gone.
    assert_eq!(bed.get("/healthz").await.status, 200);
    drop(held);
    let done = async {
        while bed.admin("/v1/audit?kind=bans").await.json()["items"] == json!([]) {
            sleep(PAUSE).await;
        }
        loop {
            let again = bed.exchange("POST", "/v1/bans", &fields, body).await;
            if again.status != 409 {
                return again;
            }
            sleep(PAUSE).await;
        }
    };
    let again = timeout(PATIENCE, done).await.unwrap();
    assert_eq!(again.status, 201, "{}", again.body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(bed.fake.bans(), 1);
}

#[tokio::test]
async fn who_asks_too_much_is_told_when_to_come_back() {
    let bed = Bed::start_with(2).await;
    let first = bed.ask(KEY, "GET", "/v1/keys", None).await;
    assert_eq!(
        (first.status, first.header("ratelimit-limit")),
        (200, Some("2"))
    );
    // A machine that is slow may not make three in a second each time.
    for _ in 0..60 {
        let answer = bed.ask(KEY, "GET", "/v1/keys", None).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
            assert_eq!(bed.get("/healthz").await.status, 200);
            return;
        }
    }
    unreachable!("nobody was told");
}

#[tokio::test]
async fn who_tries_keys_is_not_heard_for_a_while() {
    let bed = Bed::start().await;
    for _ in 0..30 {
        assert_eq!(bed.ask("wrong", "GET", "/v1/keys", None).await.status, 401);
    }
    let refused = bed.ask(KEY, "GET", "/v1/keys", None).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(bed.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn behind_a_proxy_each_client_is_heard_for_itself() {
    let proxy = |api: &mut api::Api| api.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let bed = Bed::start_as(proxy).await;
    let ask = async |key: &str, client: &str, body: Option<Value>| {
        let key = format!("Bearer {key}");
        let fields = [
            ("Authorization", key.as_str()),
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", client),
        ];
        match body {
            Some(body) => {
                let body = body.to_string();
                bed.exchange("POST", "/v1/tenants", &fields, &body).await
            }
            None => bed.send("GET", "/v1/keys", &fields).await,
        }
    };
    for _ in 0..30 {
        // What a client says before the proxy does is nothing.
        let told = ask("wrong", "198.51.100.7, 203.0.113.1", None).await;
        assert_eq!(told.status, 401);
    }
    assert_eq!(ask(KEY, "203.0.113.1", None).await.status, 429);
    for client in ["198.51.100.7", "203.0.113.2"] {
        assert_eq!(ask(KEY, client, None).await.status, 200, "{client}");
    }
    let new = json!({ "id": "acme", "name": "Acme" });
    let made = ask(KEY, "203.0.113.2", Some(new)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let changes = bed.admin("/v1/audit").await.json();
    assert_eq!(changes["items"][0]["source"], "203.0.113.2");
    bed.stop().await;

    // Nobody else's word counts.
    let bed = Bed::start().await;
    let fields = [
        ("Authorization", "Bearer wrong"),
        ("X-Forwarded-For", "203.0.113.9"),
    ];
    for _ in 0..30 {
        assert_eq!(bed.send("GET", "/v1/keys", &fields).await.status, 401);
    }
    assert_eq!(bed.ask(KEY, "GET", "/v1/keys", None).await.status, 429);
}

#[tokio::test]
async fn nothing_has_a_nul_in_its_name() {
    let bed = Bed::start().await;
    for (path, status) in [
        ("/v1/keys?tenant=%00", 400),
        ("/v1/cdrs?from=a%00b", 400),
        ("/v1/audit?target=%00", 400),
        ("/v1/operators/%00", 404),
        ("/v1/users/a%00@example.test", 404),
    ] {
        let told = bed.admin(path).await;
        assert_eq!(told.status, status, "{path} {}", told.body);
    }
}
