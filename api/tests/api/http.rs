//! Health, metrics, calls and CDRs.

use std::{collections::BTreeSet, time::Duration};

use crate::bed::{Bed, KEY, call, cdr};
use serde_json::{Value, json};
use store::{Timestamp, Uuid};

const PROBLEM: &str = "application/problem+json";

#[tokio::test]
async fn healthz_needs_nobody() {
    let bed = Bed::start().await;
    bed.fake.down(true);
    let answer = bed.get("/healthz").await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "status": "ok" }))
    );
}

#[tokio::test]
async fn readyz_follows_each_part() {
    let bed = Bed::start().await;
    let answer = bed.get("/readyz").await;
    let checks = json!({ "signaling": "ok", "mediad": "ok", "store": "ok" });
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "status": "ready", "checks": checks }))
    );

    bed.fake.drain(true);
    let answer = bed.get("/readyz").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (503, Some(PROBLEM))
    );
    assert!(
        answer.json()["checks"]["signaling"]
            .as_str()
            .unwrap()
            .starts_with("draining")
    );
    assert_eq!(answer.json()["checks"]["mediad"], "ok");
    bed.fake.drain(false);

    bed.fake.down(true);
    let answer = bed.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["type"], "urn:tandem:problem:not-ready");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("signaling: ") && detail.contains("mediad: "),
        "{detail}"
    );
    bed.fake.down(false);
    assert_eq!(bed.get("/readyz").await.status, 200);

    bed.fake.unwritten(true);
    let answer = bed.get("/readyz").await;
    assert_eq!(answer.status, 200, "as with a database that is away");
    assert_eq!(answer.json()["status"], "degraded");
    let store = answer.json()["checks"]["store"].to_string();
    assert!(store.contains("takes no writes"), "{store}");
    let metrics = bed.get("/metrics").await;
    assert!(metrics.body.contains("tandem_up{daemon=\"store\"} 0"));
    bed.fake.unwritten(false);
    assert_eq!(bed.get("/readyz").await.json()["status"], "ready");
    let metrics = bed.get("/metrics").await;
    assert!(metrics.body.contains("tandem_up{daemon=\"store\"} 1"));

    bed.store.close().await;
    // It can take calls without, and all nodes that share the store would be out of service at once.
    let answer = bed.get("/readyz").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["status"], "degraded");
    assert_eq!(answer.json()["checks"]["store"], "does not answer");
    let metrics = bed.get("/metrics").await;
    assert!(metrics.body.contains("tandem_up{daemon=\"store\"} 0"));
}

#[tokio::test]
async fn a_daemon_that_never_started_does_not_hold_up_a_probe() {
    let bed = Bed::without_daemons().await;
    let begin = std::time::Instant::now();
    let answer = bed.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(answer.json()["checks"]["signaling"], "no answer within 2 s");
}

#[tokio::test]
async fn metrics_are_of_all_daemons() {
    let bed = Bed::start().await;
    bed.get("/v1/calls").await;
    let answer = bed.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    for line in [
        "tandem_calls_active 3",
        "tandem_datapath_mode{mode=\"xdp\"} 1",
        "tandem_up{daemon=\"signaling\"} 1",
        "tandem_up{daemon=\"mediad\"} 1",
        "tandem_up{daemon=\"store\"} 1",
        "tandem_api_requests_total{method=\"GET\",route=\"/v1/calls\",status=\"401\"} 1",
    ] {
        assert!(
            answer.body.lines().any(|l| l == line),
            "{line} is not in\n{}",
            answer.body
        );
    }

    bed.fake.down(true);
    let page = bed.get("/metrics").await.body;
    assert!(page.contains("tandem_up{daemon=\"signaling\"} 0"), "{page}");
    assert!(!page.contains("tandem_calls_active"), "{page}");
}

#[tokio::test]
async fn v1_is_for_who_has_a_key() {
    let bed = Bed::start().await;
    for path in ["/v1/calls", "/v1/cdrs", "/v1/cdrs/1"] {
        let answer = bed.get(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (401, Some(PROBLEM)),
            "{path}"
        );
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"tandem\"")
        );
    }
    for value in [
        "Bearer ",
        "Bearer wrong-key-0123",
        "Basic c2VjcmV0LWtleS0wMTIz",
        &format!("Bearer {KEY}x"),
        &format!("Bearer {}", &KEY[1..]),
        &format!("{KEY} {KEY}"),
        KEY,
    ] {
        let answer = bed
            .send("GET", "/v1/calls", &[("Authorization", value)])
            .await;
        assert_eq!(answer.status, 401, "{value}");
        assert!(!answer.body.contains(KEY));
    }
    let wrong = bed
        .send("GET", "/v1/calls", &[("Authorization", "Bearer wrong")])
        .await;
    assert!(
        wrong
            .header("www-authenticate")
            .unwrap()
            .contains("invalid_token")
    );
    let twice = [
        ("Authorization", "Bearer wrong"),
        ("Authorization", &*format!("Bearer {KEY}")),
    ];
    assert_eq!(bed.send("GET", "/v1/calls", &twice).await.status, 401);
    let lower = format!("bearer {KEY}");
    let answer = bed
        .send("GET", "/v1/calls", &[("authorization", &lower)])
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn calls_are_listed_page_by_page() {
    let bed = Bed::start().await;
    let calls: Vec<_> = (0..3).map(call).collect();
    let page = bed.admin("/v1/calls?limit=2").await.json();
    let expected = json!({
        "id": calls[0].id,
        "call_id": "call-0@192.0.2.1",
        "from": "sip:alice@example.test",
        "to": "sip:+15550100@example.test",
        "source": "udp:192.0.2.1:5060",
        "tenant": "default",
        "trunk": "carrier-a",
        "state": "answered",
        "started": "2025-11-21T04:40:00.000Z",
        "answered": "2025-11-21T04:40:02.500Z",
        "media": ["00000000000000000000000000000000"],
        "muted": ["callee"],
        "held": false,
        "peer": null,
        "transfer": null,
        "recording": null,
    });
    assert_eq!(page["items"][0], expected);
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], json!(calls[1].id));

    let next = page["next"].as_str().unwrap();
    let page = bed
        .admin(&format!("/v1/calls?limit=2&cursor={next}"))
        .await
        .json();
    assert_eq!(
        (&page["items"][0]["id"], &page["next"]),
        (&json!(calls[2].id), &Value::Null)
    );
    let page = bed.admin("/v1/calls?limit=3").await.json();
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["next"]),
        (3, &Value::Null)
    );
}

#[tokio::test]
async fn a_call_is_muted_and_held() {
    let bed = Bed::start().await;
    let id = call(1).id;
    let mute = json!({ "party": "callee", "on": false });
    let done = bed
        .ask(KEY, "POST", &format!("/v1/calls/{id}/mute"), Some(mute))
        .await;
    assert_eq!(done.status, 200);
    assert_eq!(done.json()["muted"], json!([]));
    let hold = json!({ "on": true });
    let done = bed
        .ask(
            KEY,
            "POST",
            &format!("/v1/calls/{id}/hold"),
            Some(hold.clone()),
        )
        .await;
    assert_eq!((done.status, &done.json()["held"]), (200, &json!(true)));
    let refused = json!({ "party": "caller", "on": true });
    let path = format!("/v1/calls/{id}/mute");
    let refused = bed.ask(KEY, "POST", &path, Some(refused)).await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json()["detail"], "it goes past the node");
    let nobody = json!({ "party": "nobody", "on": true });
    assert_eq!(bed.ask(KEY, "POST", &path, Some(nobody)).await.status, 400);
    let unknown = format!("/v1/calls/{}/hold", Uuid::from_u128(9));
    assert_eq!(
        bed.ask(KEY, "POST", &unknown, Some(hold.clone()))
            .await
            .status,
        404
    );
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/calls/none/hold", Some(hold))
            .await
            .status,
        404
    );
    let audit = bed.admin("/v1/audit").await.json();
    let done = audit["items"].as_array().unwrap();
    let done: Vec<_> = done.iter().map(|one| &one["action"]).collect();
    assert_eq!(done, ["hold", "mute"]);
}

#[tokio::test]
async fn keys_are_pressed_or_the_answer_says_why_not() {
    let bed = Bed::start().await;
    let path = format!("/v1/calls/{}/dtmf", call(1).id);
    let press = async |body: Value| bed.ask(KEY, "POST", &path, Some(body)).await;
    let done = press(json!({ "party": "caller", "digits": "12#", "gap_ms": 50 })).await;
    assert_eq!((done.status, &done.json()["id"]), (202, &json!(call(1).id)));
    let refused = press(json!({ "party": "caller", "digits": "1" })).await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json()["detail"], "no telephone-event");
    assert_eq!(
        press(json!({ "party": "caller", "digits": "x" }))
            .await
            .status,
        422
    );
    assert_eq!(press(json!({ "digits": "1" })).await.status, 400);
    let unknown = format!("/v1/calls/{}/dtmf", Uuid::from_u128(9));
    let body = json!({ "party": "caller", "digits": "12#" });
    assert_eq!(bed.ask(KEY, "POST", &unknown, Some(body)).await.status, 404);
    let audit = bed.admin("/v1/audit").await.json();
    let noted = &audit["items"][0];
    assert_eq!(
        (&noted["action"], audit["items"].as_array().unwrap().len()),
        (&json!("dtmf"), 1)
    );
    // How many they were, and not which.
    assert_eq!(noted["detail"], json!({ "party": "caller", "digits": 3 }));
}

#[tokio::test]
async fn a_call_is_recorded_and_no_longer() {
    let bed = Bed::start().await;
    let id = call(1).id;
    let path = format!("/v1/calls/{id}/recording");
    let record = async |on: bool| bed.ask(KEY, "POST", &path, Some(json!({ "on": on }))).await;
    let file = json!(format!("/made/{id}.wav"));
    let done = record(true).await;
    assert_eq!((done.status, &done.json()["recording"]), (200, &file));
    assert_eq!(record(false).await.json()["recording"], Value::Null);
    let audit = bed.admin("/v1/audit").await.json();
    assert_eq!(
        audit["items"][1]["detail"],
        json!({ "on": true, "file": file, "paused": false })
    );
}

#[tokio::test]
async fn a_party_is_transferred_or_says_why_not() {
    let bed = Bed::start().await;
    let path = format!("/v1/calls/{}/transfer", call(1).id);
    let wanted = json!({ "party": "callee", "to": "+15550100" });
    let done = bed.ask(KEY, "POST", &path, Some(wanted.clone())).await;
    assert_eq!(done.status, 202);
    let under_way = json!({ "party": "callee", "to": "+15550100", "status": 100 });
    assert_eq!(done.json()["transfer"], under_way);
    let changes = bed.admin("/v1/audit?kind=calls").await.json();
    assert_eq!(changes["items"][0]["tenant"], json!(call(1).tenant));
    let nobody = json!({ "party": "callee", "to": "nobody" });
    let refused = bed.ask(KEY, "POST", &path, Some(nobody)).await;
    assert_eq!(refused.status, 502);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("405"), "{detail}");
    let wrong = bed
        .ask(KEY, "POST", "/v1/calls/x/transfer", Some(wanted))
        .await;
    assert_eq!(wrong.status, 404);
}

#[tokio::test]
async fn two_parties_are_connected_once() {
    let bed = Bed::start().await;
    let wanted = json!({ "from": "alice@example.test", "to": "+15550100" });
    let made = bed
        .ask(KEY, "POST", "/v1/calls", Some(wanted.clone()))
        .await;
    assert_eq!(made.status, 202);
    let call = made.json();
    assert_eq!(
        made.header("location"),
        Some(&*format!("/v1/calls/{}", call["id"].as_str().unwrap()))
    );
    assert_eq!(
        (&call["from"], &call["to"]),
        (&json!("+15550100"), &json!("alice@example.test for 60 s"))
    );
    let mut shown = wanted.clone();
    shown["caller_id"] = json!("+15550199");
    shown["ring_timeout"] = json!(9);
    let made = bed.ask(KEY, "POST", "/v1/calls", Some(shown)).await.json();
    assert_eq!(
        (&made["from"], &made["to"]),
        (&json!("+15550199"), &json!("alice@example.test for 9 s"))
    );
    let nobody = json!({ "from": "alice", "to": "nobody" });
    let refused = bed.ask(KEY, "POST", "/v1/calls", Some(nobody)).await;
    assert_eq!(
        (refused.status, &refused.json()["detail"]),
        (409, &json!("nobody is there"))
    );
    let lacking = json!({ "from": "alice" });
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/calls", Some(lacking))
            .await
            .status,
        400
    );

    // Sent again under a key, it is done once.
    let auth = format!("Bearer {KEY}");
    let fields = [
        ("Authorization", auth.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "click-1"),
    ];
    let body = wanted.to_string();
    for _ in 0..2 {
        let made = bed.exchange("POST", "/v1/calls", &fields, &body).await;
        assert_eq!(made.status, 202);
    }
    let audit = bed.admin("/v1/audit").await.json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 3);
    assert_eq!(audit["items"][0]["action"], "originate");
}

#[tokio::test]
async fn calls_without_signaling_are_an_error_not_an_empty_list() {
    let bed = Bed::start().await;
    bed.fake.down(true);
    let answer = bed.admin("/v1/calls").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (503, Some(PROBLEM))
    );
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("signaling does not answer")
    );
}

#[tokio::test]
async fn a_cdr_is_shown_whole() {
    let bed = Bed::start().await;
    let cdr = cdr(0);
    bed.store
        .insert_cdrs(std::slice::from_ref(&cdr))
        .await
        .unwrap();
    let expected = json!({
        "id": cdr.id,
        "call_id": "call-0@192.0.2.1",
        "from": "sip:alice@example.test",
        "to": "sip:+15550100@example.test",
        "request_uri": "sip:+15550100@198.51.100.1",
        "source": "tcp:[2001:db8::1]:5060",
        "origin": "alice@example.test",
        "callee_user": null,
        "tenant": "default",
        "trunk": "carrier-a",
        "route": "+1",
        "started": "2025-11-21T04:40:00.000Z",
        "ringing": "2025-11-21T04:40:00.250Z",
        "answered": "2025-11-21T04:40:02.500Z",
        "ended": "2025-11-21T04:41:00.001Z",
        "talk_ms": 57_501,
        "status": 200,
        "reason": "OK",
        "ended_by": "node",
        "cause": "media-timeout",
        "datapath": "xdp",
        "media": {
            "caller": { "packets": 2_875, "bytes": 494_500, "lost": 1, "jitter_ms": 0.25, "mos": 4.25, "rtt_ms": 18.5, "burst_ratio": 1.5, "late": 2,
                "longest_gap_ms": 61, "duplicates": 3, "reordered": 4, "sources": 2 },
            "callee": null,
        },
    });
    let one = bed.admin(&format!("/v1/cdrs/{}", cdr.id)).await;
    assert_eq!(
        (one.status, one.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(one.json(), expected);
    assert_eq!(
        bed.admin("/v1/cdrs").await.json(),
        json!({ "items": [expected], "next": null })
    );
    for id in [Uuid::now_v7().to_string(), "nonsense".into()] {
        let missing = bed.admin(&format!("/v1/cdrs/{id}")).await;
        assert_eq!(
            (missing.status, missing.header("content-type")),
            (404, Some(PROBLEM))
        );
    }
}

#[tokio::test]
async fn cdrs_are_filtered_and_paged() {
    let bed = Bed::start().await;
    let mut cdrs: Vec<_> = (0..25).map(cdr).collect();
    cdrs[3].to_uri = "sip:+15550177@example.test".into();
    cdrs[4].status = 486;
    bed.store.insert_cdrs(&cdrs).await.unwrap();

    let ids = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (mut seen, mut path) = (Vec::new(), "/v1/cdrs?limit=10".to_owned());
    loop {
        let page = bed.admin(&path).await.json();
        seen.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/cdrs?limit=10&cursor={next}"),
            None => break,
        }
    }
    let newest_first: Vec<_> = cdrs.iter().rev().map(|cdr| cdr.id.to_string()).collect();
    assert_eq!(seen, newest_first);

    let since = Timestamp::from_millis(cdrs[20].started.millis());
    for (query, expected) in [
        // As it should be written, and as it is.
        ("to=%2B15550177".to_owned(), &[3][..]),
        ("to=+15550177".to_owned(), &[3]),
        ("status=486".to_owned(), &[4]),
        ("call_id=call-7%40192.0.2.1".to_owned(), &[7]),
        (
            "from=sip%3Aalice%40example.test&status=486".to_owned(),
            &[4],
        ),
        ("trunk=carrier-b".to_owned(), &[]),
        (format!("since={since}"), &[24, 23, 22, 21, 20]),
        (format!("since={since}&until={since}"), &[]),
    ] {
        let page = bed.admin(&format!("/v1/cdrs?{query}")).await.json();
        let expected: Vec<_> = expected
            .iter()
            .map(|&n: &usize| cdrs[n].id.to_string())
            .collect();
        assert_eq!(ids(&page), expected, "{query}");
    }
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let bed = Bed::start().await;
    for (path, word) in [
        ("/v1/cdrs?form=%2B1555", "form"),
        ("/v1/calls?trunk=a", "trunk"),
        ("/v1/cdrs?limit=0", "limit"),
        ("/v1/cdrs?limit=1001", "1000"),
        ("/v1/cdrs?limit=ten", "limit"),
        ("/v1/cdrs?limit=-1", "limit"),
        ("/v1/cdrs?status=ok", "status"),
        ("/v1/cdrs?status=1&status=2", "status"),
        ("/v1/cdrs?since=yesterday", "RFC 3339"),
        ("/v1/cdrs?cursor=%27%20OR%201", "cursor"),
        ("/v1/calls?cursor=x", "cursor"),
        ("/v1/calls?limit=5000000000", "limit"),
    ] {
        let answer = bed.admin(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, Some(PROBLEM)),
            "{path}"
        );
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:tandem:problem:bad-parameter");
        assert_eq!(problem["status"], 400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{path}: {detail}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let bed = Bed::start().await;
    for path in [
        "/dashboard",
        "/v2/calls",
        "/v1",
        "/v1/nothing",
        "/v1/cdrs/1/2",
    ] {
        let answer = bed.admin(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, Some(PROBLEM)),
            "{path}"
        );
    }
    let key = format!("Bearer {KEY}");
    for path in ["/healthz", "/v1/cdrs"] {
        let answer = bed.send("DELETE", path, &[("Authorization", &key)]).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (405, Some(PROBLEM)),
            "{path}"
        );
        assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{path}");
    }
}

#[tokio::test]
async fn a_request_has_an_id() {
    let bed = Bed::start().await;
    let answer = bed
        .send("GET", "/healthz", &[("X-Request-Id", "abc-1.2_3:4")])
        .await;
    assert_eq!(answer.header("x-request-id"), Some("abc-1.2_3:4"));
    let new = bed
        .get("/nothing")
        .await
        .header("x-request-id")
        .unwrap()
        .to_owned();
    assert!(Uuid::try_parse(&new).is_ok(), "{new}");
    for odd in ["", "a b", "x\u{1b}[31m", &"x".repeat(129)] {
        let answer = bed.send("GET", "/healthz", &[("X-Request-Id", odd)]).await;
        // A field that HTTP itself forbids never reaches us.
        if answer.status == 200 {
            assert_ne!(answer.header("x-request-id"), Some(odd));
            assert!(Uuid::try_parse(answer.header("x-request-id").unwrap()).is_ok());
        }
    }
}

#[tokio::test]
async fn shutdown_is_quick_even_with_a_client_that_hangs() {
    let bed = Bed::start().await;
    // Connected, half a request, and then silence.
    let mut hanging = tokio::net::TcpStream::connect(bed.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut hanging, b"GET /healthz HT")
        .await
        .unwrap();
    assert_eq!(bed.get("/healthz").await.status, 200);
    let begin = std::time::Instant::now();
    bed.stop().await;
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let bed = Bed::start().await;
    let error = bed.second().await.unwrap_err().to_string();
    assert!(
        error.contains(&bed.address.to_string()) && error.contains("[api] listen"),
        "{error}"
    );
}

#[tokio::test]
async fn cdrs_are_exported_whole() {
    let bed = Bed::start().await;
    // More than a page of the store has.
    let mut cdrs: Vec<_> = (0..=255).map(cdr).collect();
    for round in 1..5_u128 {
        let more = cdrs[..256].iter().map(|one| store::Cdr {
            id: Uuid::from_u128(one.id.as_u128() + (round << 32)),
            ..one.clone()
        });
        let more: Vec<_> = more.collect();
        cdrs.extend(more);
    }
    cdrs[0].reason = "=cmd, \"quoted\"\r\nnew line".into();
    bed.store.insert_cdrs(&cdrs).await.unwrap();

    let lines = bed.admin("/v1/cdrs?format=ndjson").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let lines = lines.unchunked();
    let ids: std::collections::HashSet<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|cdr| cdr["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((lines.lines().count(), ids.len()), (1280, 1280));

    let table = bed.admin("/v1/cdrs?format=csv&status=200").await;
    assert!(
        table
            .header("content-disposition")
            .unwrap()
            .contains("cdrs.csv")
    );
    let table = table.unchunked();
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let header = rows.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|one| one == name).unwrap();
    let (id, reason, packets) = (column("id"), column("reason"), column("caller_packets"));
    let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1280);
    assert!(rows.iter().all(|row| &row[packets] == "2875"));
    let odd = rows
        .iter()
        .find(|row| row[id] == cdrs[0].id.to_string())
        .unwrap();
    assert_eq!(&odd[reason], "'=cmd, \"quoted\"\r\nnew line");

    let wrong = bed.admin("/v1/cdrs?format=csv&limit=5").await;
    assert_eq!(wrong.status, 400);
    assert_eq!(bed.admin("/v1/cdrs?format=xml").await.status, 400);
    bed.store.close().await;
    assert_eq!(bed.admin("/v1/cdrs?format=csv").await.status, 503);
}

#[tokio::test]
async fn trunks_have_their_figures() {
    let bed = Bed::start().await;
    let mut cdrs: Vec<_> = (0..4).map(cdr).collect();
    for failed in &mut cdrs[2..] {
        failed.answered = None;
        failed.ringing = None;
        failed.status = 503;
    }
    bed.store.insert_cdrs(&cdrs).await.unwrap();
    let (since, until) = (
        cdrs[0].started,
        Timestamp::from_millis(cdrs[3].started.millis() + 1),
    );
    let path = format!("/v1/stats/trunks?since={since}&until={until}");
    let stats = bed.admin(&path).await.json();
    let trunk = &stats["items"][0];
    assert_eq!(trunk["trunk"], "carrier-a", "{stats}");
    assert_eq!((&trunk["asr"], &trunk["ner"]), (&json!(0.5), &json!(0.5)));
    assert_eq!(
        (&trunk["acd_s"], &trunk["pdd_ms"]),
        (&json!(57.501), &json!(250.0))
    );
    // A day until now has none of them.
    assert_eq!(
        bed.admin("/v1/stats/trunks").await.json()["items"],
        json!([])
    );
}

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let bed = Bed::start().await;
    let (mut open, mut seen) = (vec!["/".to_owned(), "/docs".to_owned()], BTreeSet::new());
    while let Some(path) = open.pop() {
        let file = bed.get(&path).await;
        assert_eq!(file.status, 200, "{path}");
        let policy = file.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'self'"), "{policy}");
        // The name of what SVG is, which nobody loads.
        let text = file.body.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{path}"
        );
        let tag = file.header("etag").unwrap();
        let again = bed.send("GET", &path, &[("If-None-Match", tag)]).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        let named = text.split(['"']).filter(|part| part.starts_with("/web/"));
        let named: Vec<_> = named.map(str::to_owned).collect();
        open.extend(named.into_iter().filter(|name| seen.insert(name.clone())));
    }
    // What a page loads, and what that loads.
    assert!(
        seen.contains("/web/docs.js") && seen.contains("/web/edit.js"),
        "{seen:?}"
    );
    assert_eq!(bed.get("/web/..%2f..%2fCargo.toml").await.status, 404);
}
