//! What pages of other hosts may do.

use crate::bed::{Answer, Bed, KEY};

const OURS: &str = "https://console.example.test";

async fn bed() -> Bed {
    let origins = vec![OURS.to_owned(), "http://localhost:3000".to_owned()];
    Bed::start_as(|api| api.cors = origins).await
}

async fn preflight(bed: &Bed, path: &str, origin: &str) -> Answer {
    let fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "authorization,if-match"),
    ];
    bed.send("OPTIONS", path, &fields).await
}

fn told(answer: &Answer) -> Vec<String> {
    let names = ["origin", "methods", "headers", "credentials"];
    let names = names.map(|name| format!("access-control-allow-{name}"));
    let names = names.into_iter();
    let names = names.chain(["access-control-expose-headers".to_owned()]);
    names.filter(|name| answer.header(name).is_some()).collect()
}

#[tokio::test]
async fn a_listed_page_is_told_what_it_may_do_without_a_key() {
    let bed = bed().await;
    for path in ["/v1/users/a@b", "/v1/calls", "/v1/nothing", "/openapi.json"] {
        let answer = preflight(&bed, path, OURS).await;
        assert_eq!(answer.status, 204, "{path}: {}", answer.body);
        let header = |name: &str| answer.header(name).unwrap();
        assert_eq!(header("access-control-allow-origin"), OURS);
        assert!(header("access-control-allow-methods").contains("PUT"));
        let sent = header("access-control-allow-headers");
        assert!(sent.contains("Authorization") && sent.contains("If-Match"));
        assert_eq!(header("vary").to_lowercase(), "origin");
        // With them a browser would send what belongs to whoever looks at the page.
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_listed_page_may_read_answers_and_errors() {
    let bed = bed().await;
    let key = format!("Bearer {KEY}");
    for (fields, status) in [
        (vec![("Origin", OURS), ("Authorization", key.as_str())], 200),
        (vec![("Origin", "http://localhost:3000")], 401),
    ] {
        let answer = bed.send("GET", "/v1/calls", &fields).await;
        assert_eq!(answer.status, status);
        let header = |name: &str| answer.header(name).unwrap();
        assert_eq!(header("access-control-allow-origin"), fields[0].1);
        assert!(header("access-control-expose-headers").contains("ETag"));
    }
    bed.stop().await;
}

#[tokio::test]
async fn any_other_page_is_told_nothing() {
    let bed = bed().await;
    for origin in [
        "https://console.example.test.evil.test",
        "https://evil.test",
        "http://console.example.test",
        "https://console.example.test:8443",
        "https://Console.example.test",
        "null",
        "*",
        "",
    ] {
        let answer = preflight(&bed, "/v1/calls", origin).await;
        assert_eq!(answer.status, 403, "{origin}");
        assert_eq!(told(&answer), [] as [String; 0], "{origin}");
        let key = format!("Bearer {KEY}");
        let fields = [("Origin", origin), ("Authorization", key.as_str())];
        let answer = bed.send("GET", "/v1/calls", &fields).await;
        assert_eq!(told(&answer), [] as [String; 0], "{origin}");
        assert_eq!(
            answer.header("vary").map(str::to_lowercase).as_deref(),
            Some("origin")
        );
    }
    // What is no question of a browser goes on as ever.
    let answer = bed.send("OPTIONS", "/v1/calls", &[("Origin", OURS)]).await;
    assert_eq!(answer.status, 405, "{}", answer.body);
    let answer = bed.admin("/v1/calls").await;
    assert_eq!((answer.status, told(&answer).len()), (200, 0));
    bed.stop().await;
}

#[tokio::test]
async fn without_a_list_nothing_is_told() {
    let bed = Bed::start().await;
    let answer = preflight(&bed, "/v1/calls", OURS).await;
    assert_eq!(told(&answer), [] as [String; 0]);
    assert_eq!((answer.status, answer.header("vary")), (405, None));
    bed.stop().await;
}
