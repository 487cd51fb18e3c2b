//! `/v1/erasures`, and `/v1/messages`.

use serde_json::json;
use store::{Message, Timestamp, Uuid};

use crate::bed::{Bed, KEY, cdr};

#[tokio::test]
async fn who_is_erased_is_in_no_record_and_not_in_that_of_changes() {
    let bed = Bed::start().await;
    bed.store
        .insert_cdrs(&[cdr(0), cdr(1), cdr(2)])
        .await
        .unwrap();
    let erase = async |body| bed.ask(KEY, "POST", "/v1/erasures", Some(body)).await;
    let done = erase(json!({ "number": "+15550100", "tenant": "acme" })).await;
    assert_eq!(done.status, 200, "{}", done.body);
    let told = done.json();
    assert_eq!(
        (&told["as_caller"], &told["as_callee"]),
        (&json!(0), &json!(1))
    );
    let done = erase(json!({ "user": "alice@Example.TEST" })).await;
    assert_eq!(done.json()["as_caller"], 3, "{}", done.body);
    let left = bed.admin("/v1/cdrs").await.body;
    assert!(!left.contains("alice"), "{left}");
    assert_eq!(left.matches("+15550100@example.test").count(), 2, "{left}");

    let changes = bed.admin("/v1/audit?kind=erasures").await;
    assert!(
        !changes.body.contains("15550100") && !changes.body.contains("alice"),
        "{}",
        changes.body
    );
    let changes = changes.json();
    assert_eq!(changes["items"][1]["target"], told["id"]);
    assert_eq!(changes["items"][1]["tenant"], "acme");
    assert_eq!(changes["items"][0]["detail"]["as_caller"], 3);

    for wrong in [
        json!({}),
        json!({ "number": "1", "user": "a@b" }),
        json!({ "number": "" }),
        json!({ "number": "+" }),
        json!({ "number": "erased" }),
        json!({ "number": "1 2" }),
        json!({ "user": "alice" }),
        json!({ "user": "@example.test" }),
    ] {
        let refused = erase(wrong.clone()).await;
        assert_eq!(refused.status, 422, "{wrong}: {}", refused.body);
    }
}

#[tokio::test]
async fn what_waits_for_users_is_listed_read_and_removed() {
    let bed = Bed::start().await;
    let mut ids = Vec::new();
    for (recipient, body) in [
        ("alice@example.test", &b"hello"[..]),
        ("alice@example.test", &[0xff]),
        ("bob@example.test", b"other"),
    ] {
        let message = Message {
            id: Uuid::now_v7(),
            recipient: recipient.into(),
            from: "<sip:eve@example.test>".into(),
            to: format!("<sip:{recipient}>"),
            content_type: "text/plain".into(),
            body: body.to_vec(),
            received: Timestamp::from_millis(0),
        };
        assert!(bed.store.keep_message(&message, 9).await.unwrap());
        ids.push(message.id.to_string());
    }
    let list = async |query: &str| {
        let list = bed.admin(&format!("/v1/messages{query}")).await;
        assert_eq!(list.status, 200, "{}", list.body);
        let items = list.json()["items"].as_array().unwrap().clone();
        assert!(!list.body.contains("hello"), "{}", list.body);
        let ids = items
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), list.json()["next"].clone())
    };
    assert_eq!(list("").await.0, ids);
    assert_eq!(list("?recipient=bob@example.test").await.0, ids[2..]);
    let (first, next) = list("?limit=2").await;
    assert_eq!(first, ids[..2]);
    let rest = format!("?limit=2&cursor={}", next.as_str().unwrap());
    assert_eq!(list(&rest).await.0, ids[2..]);
    let one = bed.admin(&format!("/v1/messages/{}", ids[0])).await.json();
    assert_eq!((&one["text"], &one["bytes"]), (&json!("hello"), &json!(5)));
    let odd = bed.admin(&format!("/v1/messages/{}", ids[1])).await.json();
    assert_eq!((&odd["text"], &odd["bytes"]), (&json!(null), &json!(1)));
    let place = format!("/v1/messages/{}", ids[0]);
    assert_eq!(bed.ask(KEY, "DELETE", &place, None).await.status, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(bed.ask(KEY, method, &place, None).await.status, 404);
    }
    assert_eq!(list("").await.0, ids[1..]);
    let changes = bed.admin("/v1/audit?kind=messages").await.json();
    assert_eq!(changes["items"][0]["target"], ids[0]);
    for wrong in ["?cursor=x", "?limit=0", "?to=x"] {
        let refused = bed.admin(&format!("/v1/messages{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}");
    }
}
