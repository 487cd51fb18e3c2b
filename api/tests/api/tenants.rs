//! Two tenants on one node: neither sees anything of the other.

use control::signal::{BanInfo, BindingInfo, Event};
use serde_json::{Value, json};
use store::{
    Cdr, Message, Operator, Recording, Role, RoutingDocument, RoutingKind, Timestamp, User, Uuid,
};

use crate::{
    access::{key, operations, secret},
    bed::{Bed, KEY, call, cdr},
    events::{next, socket},
};

/// The tenant whose key asks, and the other one.
const OWN: &str = "acme";
const RIVAL: &str = "default";

/// What there is of one tenant.
struct Things {
    /// An id for each path that names one thing.
    ids: Vec<(&'static str, String)>,
    /// What tells that an answer has something of the tenant.
    marks: Vec<String>,
}

impl Things {
    fn id(&self, path: &str) -> &str {
        let mut ids = self.ids.iter();
        let known = ids.find(|(start, _)| path.starts_with(start));
        let known = known.unwrap_or_else(|| unreachable!("say which {path} is another tenant's"));
        &known.1
    }
}

/// Call `n` and its record are the tenant's.
async fn plant(bed: &Bed, tenant: &str, n: u8) -> Things {
    let domain = format!("{tenant}.test");
    let (place, owner) = (format!("/v1/domains/{domain}"), json!({ "tenant": tenant }));
    let made = bed.ask(KEY, "PUT", &place, Some(owner)).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let trunk = format!("trunk-{tenant}");
    let record = Cdr {
        trunk: Some(trunk.clone()),
        started: Timestamp::now(),
        ..cdr(n)
    };
    bed.store.insert_cdrs(&[record]).await.unwrap();
    let user = User {
        domain: domain.clone(),
        name: "bob".into(),
        ha1_md5: None,
        ha1_sha256: None,
        ha1_sha512: None,
        display: None,
        enabled: true,
        profile: "{}".into(),
        created: Timestamp::now(),
        updated: Timestamp::now(),
    };
    bed.store.create_users(&[user]).await.unwrap();
    let (number, group) = (format!("+1555020{n}"), format!("desk-{tenant}"));
    for (kind, id, document) in [
        (
            RoutingKind::Number,
            &number,
            json!({ "number": number, "group": group }),
        ),
        (
            RoutingKind::Group,
            &group,
            json!({ "name": group, "members": ["bob"] }),
        ),
    ] {
        let document = RoutingDocument {
            tenant: Some(tenant.into()),
            ..RoutingDocument::new(id.as_str(), document.to_string())
        };
        bed.store.put_routing(kind, &[document]).await.unwrap();
    }
    let message = Message {
        id: Uuid::now_v7(),
        recipient: format!("bob@{domain}"),
        from: "<sip:eve@example.test>".into(),
        to: format!("<sip:bob@{domain}>"),
        content_type: "text/plain".into(),
        body: b"hello".to_vec(),
        received: Timestamp::now(),
    };
    assert!(bed.store.keep_message(&message, 9).await.unwrap());
    let message = message.id.to_string();
    let operator = Operator {
        name: format!("ann-{tenant}"),
        tenant: Some(tenant.into()),
        role: Role::Viewer,
        disabled: true,
        created: Timestamp::now(),
        updated: Timestamp::now(),
    };
    assert!(
        bed.store
            .create_operator(&operator, "no hash")
            .await
            .unwrap()
    );
    let operator = operator.name;
    let hook =
        json!({ "tenant": tenant, "url": format!("https://hooks.{domain}/"), "enabled": false });
    let hook = bed
        .ask(KEY, "POST", "/v1/webhooks", Some(hook))
        .await
        .json();
    let made = key(bed, KEY, "viewer", Some(tenant)).await.json();
    let new = json!({ "name": "ivr", "tenant": tenant, "voice_url": "https://example.com/" });
    let application = bed.ask(KEY, "POST", "/v1/applications", Some(new)).await;
    let application = application.json()["id"].as_str().unwrap().to_owned();
    let recording = Recording {
        id: Uuid::now_v7(),
        call: Uuid::now_v7(),
        tenant: Some(tenant.into()),
        started: Timestamp::now(),
        ended: Timestamp::now(),
        channels: 2,
        bytes: 44,
        node: "node-1".into(),
        file: "a.wav".into(),
    };
    bed.store.insert_recording(&recording).await.unwrap();
    let recording = recording.id.to_string();
    let new = json!({ "name": "bots", "tenant": tenant });
    let account = bed.ask(KEY, "POST", "/v1/accounts", Some(new)).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let account = text(&account["sid"]);
    let (hook, key) = (text(&hook["id"]), text(&made["id"]));
    let bob = format!("bob@{domain}");
    let call = call(n);
    Things {
        marks: vec![
            call.id.clone(),
            call.call_id,
            domain,
            trunk,
            number.clone(),
            group.clone(),
            hook.clone(),
            key.clone(),
            message.clone(),
            operator.clone(),
            application.clone(),
            recording.clone(),
            account.clone(),
        ],
        ids: vec![
            ("/v1/applications/", application),
            ("/v1/accounts/", account),
            ("/v1/recordings/", recording),
            ("/v1/calls/", call.id.clone()),
            ("/v1/cdrs/", call.id),
            ("/v1/users/", bob.clone()),
            ("/v1/registrations/", bob),
            ("/v1/numbers/", number),
            ("/v1/groups/", group),
            ("/v1/webhooks/", hook),
            ("/v1/keys/", key),
            ("/v1/messages/", message),
            ("/v1/operators/", operator),
        ],
    }
}

/// What a client would send to have something of the other tenant's, or changed.
fn body(method: &str, path: &str) -> Option<Value> {
    Some(match (method, path) {
        ("POST", "/v1/users") => json!({ "user": "eve@default.test", "password": "long-enough-1" }),
        ("POST", "/v1/numbers") => {
            json!({ "number": "+15550199", "tenant": RIVAL, "user": "bob@default.test" })
        }
        ("POST", "/v1/groups") => json!({ "name": "theirs", "tenant": RIVAL, "members": ["bob"] }),
        ("POST", "/v1/webhooks") => json!({ "url": "https://example.com/", "tenant": RIVAL }),
        ("POST", "/v1/erasures") => json!({ "number": "+15550200", "tenant": RIVAL }),
        ("POST", "/v1/operators") => {
            json!({ "name": "eve", "password": "long-enough-1", "role": "admin", "tenant": RIVAL })
        }
        ("POST", "/v1/accounts") => json!({ "name": "theirs", "tenant": RIVAL }),
        ("PATCH", path) if path.starts_with("/v1/accounts/") => json!({ "name": "mine" }),
        ("POST", "/v1/applications") => json!({ "name": "theirs", "tenant": RIVAL }),
        ("POST", "/v1/keys") => json!({ "name": "theirs", "role": "admin", "tenant": RIVAL }),
        ("PUT", path) if path.starts_with("/v1/webhooks/") => {
            json!({ "url": "https://example.com/" })
        }
        ("PUT", path) if path.starts_with("/v1/numbers/") => {
            json!({ "number": "+15550200", "user": "x" })
        }
        ("PUT", path) if path.starts_with("/v1/groups/") => {
            json!({ "name": "desk-default", "members": ["x"] })
        }
        ("POST", path) if path.ends_with("/mute") => json!({ "party": "callee", "on": false }),
        ("POST", path) if path.ends_with("/dtmf") => {
            json!({ "party": "callee", "digits": "12#", "gap_ms": 50 })
        }
        ("POST", path) if path.ends_with("/recording") => json!({ "on": true }),
        ("POST", path) if path.ends_with("/hold") => json!({ "on": true }),
        ("PATCH", path) if path.starts_with("/v1/operators/") => json!({ "disabled": true }),
        ("PATCH", path) if path.starts_with("/v1/applications/") => json!({ "name": "mine" }),
        ("PATCH", _) => json!({ "enabled": false }),
        ("POST", _) => json!({}),
        _ => return None,
    })
}

#[tokio::test]
async fn no_operation_shows_or_touches_what_is_another_tenants() {
    let bed = Bed::start().await;
    let tenant = json!({ "id": OWN, "name": "Acme" });
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/tenants", Some(tenant))
            .await
            .status,
        201
    );
    let rival = plant(&bed, RIVAL, 0).await;
    let own = plant(&bed, OWN, 1).await;
    let admin = secret(&key(&bed, KEY, "admin", Some(OWN)).await);

    let document = bed.get("/openapi.json").await.json();
    let all = operations(&document);
    let of_tenants = all
        .iter()
        .filter(|(.., scopes)| !scopes.iter().any(|one| one == "node"));
    let mut looked_at = 0;
    for (method, path, _) in of_tenants {
        // Signing out and the own password are about who asks, numbering plans are the world's, and events go on for ever:
        // `events_are_told_to_whom_they_belong` looks at those.
        if matches!(
            path.as_str(),
            "/v1/events" | "/v1/logout" | "/v1/me/password" | "/v1/lookup/{number}"
        ) {
            continue;
        }
        looked_at += 1;
        if let Some((start, rest)) = path.split_once('{') {
            let end = rest.split_once('}').unwrap().1;
            let at =
                |things: &Things| format!("{start}{}{end}", things.id(path).replace('+', "%2B"));
            let theirs = at(&rival);
            let answer = bed
                .ask(&admin, method, &theirs, body(method, &theirs))
                .await;
            assert_eq!(answer.status, 404, "{method} {theirs}: {}", answer.body);
            // The file of a recording is in no folder here.
            if method == "GET" && !path.ends_with("/audio.wav") && !path.ends_with("/packets.pcap")
            {
                // What is the tenant's own is there, where the daemons of this bed know of it.
                let answer = bed.ask(&admin, method, &at(&own), None).await;
                assert!(
                    matches!(answer.status, 200 | 503),
                    "{}: {}",
                    at(&own),
                    answer.body
                );
            }
            continue;
        }
        if method != "GET" {
            let answer = bed.ask(&admin, method, path, body(method, path)).await;
            assert!(
                matches!(answer.status, 404 | 422),
                "{method} {path}: {}",
                answer.body
            );
            continue;
        }
        let answer = bed.ask(&admin, method, path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let seen = |things: &Things| {
            things
                .marks
                .iter()
                .find(|mark| answer.body.contains(*mark))
                .cloned()
        };
        assert_eq!(seen(&rival), None, "{path}: {}", answer.body);
        assert!(seen(&own).is_some(), "{path}: {}", answer.body);
        let others = bed
            .ask(&admin, method, &format!("{path}?tenant={RIVAL}"), None)
            .await;
        assert!(
            matches!(others.status, 400 | 404),
            "{path}: {}",
            others.body
        );
    }
    assert!(looked_at >= 25, "{looked_at}");
    for format in ["csv", "ndjson"] {
        let whole = format!("/v1/cdrs?format={format}");
        let whole = bed.ask(&admin, "GET", &whole, None).await.body;
        assert!(
            whole.contains(&own.marks[0]) && !whole.contains(&rival.marks[0]),
            "{whole}"
        );
    }
    // A key of the node has both, and each where it is asked for.
    for (tenant, other) in [(RIVAL, &own), (OWN, &rival)] {
        for list in [
            "calls",
            "cdrs",
            "webhooks",
            "stats/trunks",
            "keys",
            "applications",
        ] {
            let answer = bed.admin(&format!("/v1/{list}?tenant={tenant}")).await;
            assert!(
                answer.body.contains("\"items\":[{"),
                "{list}: {}",
                answer.body
            );
            assert!(
                !other.marks.iter().any(|mark| answer.body.contains(mark)),
                "{list}: {}",
                answer.body
            );
        }
    }
}

fn registered(user: &str) -> Event {
    Event::Registered(BindingInfo {
        user: user.into(),
        contact: "sip:192.0.2.9".into(),
        q: None,
        source: "udp:192.0.2.9:5060".into(),
        user_agent: String::new(),
        expires_s: 60,
    })
}

#[tokio::test]
async fn events_are_told_to_whom_they_belong() {
    let bed = Bed::start().await;
    let tenant = json!({ "id": OWN, "name": "Acme" });
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/tenants", Some(tenant))
            .await
            .status,
        201
    );
    plant(&bed, OWN, 1).await;
    let developer = secret(&key(&bed, KEY, "developer", Some(OWN)).await);
    let refused = socket(&bed, "?tenant=default", &developer).await;
    assert!(refused.is_err());
    let hook = json!({ "url": "https://hooks.acme.test/" });
    let hook = bed
        .ask(&developer, "POST", "/v1/webhooks", Some(hook))
        .await;
    assert_eq!(hook.json()["tenant"], OWN, "{}", hook.body);
    let mut theirs = socket(&bed, "", &developer).await.unwrap();
    let mut nodes = socket(&bed, "", KEY).await.unwrap();
    bed.until_events_are_wanted().await;
    bed.tell(Event::Call(call(0)));
    bed.tell(registered("eve@elsewhere.test"));
    bed.tell(Event::Banned(BanInfo {
        source: "192.0.2.7".into(),
        reason: "operator".into(),
        words: String::new(),
        age_s: 0,
        left_s: 60,
        hits: 0,
    }));
    bed.tell(Event::Call(call(1)));
    bed.tell(registered("bob@acme.test"));
    bed.tell(Event::Ended {
        id: call(2).id,
        tenant: call(2).tenant,
        status: 200,
        reason: "bye".into(),
    });
    bed.tell(Event::Ended {
        id: call(1).id,
        tenant: call(1).tenant,
        status: 200,
        reason: "bye".into(),
    });

    let (mut heard, mut all) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let event = next(&mut theirs).await;
        assert_eq!(event["tenant"], OWN, "{event}");
        heard.push(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(heard, ["call.updated", "registration.added", "call.ended"]);
    for _ in 0..7 {
        let event = next(&mut nodes).await;
        all.push(event["tenant"].as_str().map(str::to_owned));
    }
    let tenants = [
        Some(RIVAL),
        Some(RIVAL),
        None,
        Some(OWN),
        Some(OWN),
        Some(RIVAL),
        Some(OWN),
    ];
    assert_eq!(
        all.iter().map(Option::as_deref).collect::<Vec<_>>(),
        tenants
    );

    // The same goes for the webhook. Nobody takes what it is told, so it is all in the store.
    let id = hook.json()["id"].as_str().unwrap().parse().unwrap();
    let later = Timestamp::from_millis(i64::MAX);
    let due = loop {
        let due = bed.store.due_deliveries("n1", id, later, 99).await.unwrap();
        if due.iter().any(|one| one.body.contains("call.ended")) {
            break due;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(due.len(), 3, "{due:?}");
    assert!(
        due.iter()
            .all(|one| one.body.contains("\"tenant\":\"acme\"")),
        "{due:?}"
    );
}

#[tokio::test]
async fn a_tenants_webhook_is_at_a_public_address() {
    let bed = Bed::start().await;
    let developer = secret(&key(&bed, KEY, "developer", Some(RIVAL)).await);
    for url in [
        "http://127.0.0.1:9000/",
        "http://[::1]/",
        "http://169.254.169.254/latest",
    ] {
        let hook = || Some(json!({ "url": url }));
        let refused = bed.ask(&developer, "POST", "/v1/webhooks", hook()).await;
        assert_eq!(refused.status, 422, "{url}");
        let made = bed.ask(KEY, "POST", "/v1/webhooks", hook()).await;
        assert_eq!(made.status, 201, "{url}");
    }
    let hook = Some(json!({ "url": "https://example.com/", "tenant": "nobody" }));
    assert_eq!(bed.ask(KEY, "POST", "/v1/webhooks", hook).await.status, 422);
}
