//! What somebody sends who wants to break something.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::bed::{Bed, KEY};

/// What ends by itself ends within it, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// As a segment of a path or a value of a query: quotes and comments of SQL, steps up, octets that end a text or
/// are none, and very many.
fn odd_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "%27",
        "%27%20OR%20%271%27%3D%271",
        "%27%3B%20DROP%20TABLE%20tenants%3B--",
        "%22%29%20UNION%20SELECT%20secret_sha256%20FROM%20api_keys--",
        "%25",
        "..%2F..%2F..%2Fetc%2Fpasswd",
        "%2E%2E",
        "%00",
        "%0D%0AX-Injected%3A%20yes",
        "%FF%FE",
        "%F0%9F%93%9E",
        "%E2%80%AE",
        "-1",
        "99999999999999999999999999",
        "null",
        "%7B%22%24ne%22%3A1%7D",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("a".repeat(8_000));
    texts
}

/// Every operation of the document that reads, with the names of its parameters of the path and of the query.
fn readers(document: &Value) -> Vec<(String, Vec<String>)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let reads = paths.filter_map(|(path, item)| {
        let parameters = item.get("get")?["parameters"].as_array();
        let parameters = parameters.into_iter().flatten();
        let of_query = parameters.filter(|one| one["in"] == "query");
        let names = of_query.map(|one| one["name"].as_str().unwrap().to_owned());
        Some((path.clone(), names.collect()))
    });
    // A stream of events goes on for ever.
    reads.filter(|(path, _)| path != "/v1/events").collect()
}

/// The text in the place of what names a thing, or else of each parameter in turn.
fn asked(path: &str, names: &[String], text: &str) -> Vec<String> {
    if path.contains('{') {
        let segments = path.split('/').map(|segment| {
            let is_open = segment.starts_with('{');
            if is_open { text } else { segment }
        });
        return vec![segments.collect::<Vec<_>>().join("/")];
    }
    if names.is_empty() {
        return vec![format!("{path}?{text}")];
    }
    let each = names.iter().map(|name| format!("{path}?{name}={text}"));
    each.collect()
}

#[tokio::test]
async fn no_text_in_a_path_or_a_query_is_taken_for_anything_else() {
    let bed = Bed::start().await;
    let tenant = json!({ "id": "acme", "name": "Robert'); DROP TABLE tenants;--" });
    let made = bed.ask(KEY, "POST", "/v1/tenants", Some(tenant)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let key = json!({ "name": "one", "role": "viewer" });
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/keys", Some(key)).await.status,
        201
    );

    let document = bed.get("/openapi.json").await.json();
    let mut tried = 0;
    for (path, names) in readers(&document) {
        for (nth, plain) in asked(&path, &names, "x").iter().enumerate() {
            // What only signaling knows, the one of this test does not.
            if bed.admin(plain).await.status >= 500 {
                continue;
            }
            tried += 1;
            for text in odd_texts() {
                let asked = &asked(&path, &names, &text)[nth];
                let answer = bed.admin(asked).await;
                let is_told = answer.status < 500;
                assert!(is_told, "{asked}: {} {}", answer.status, answer.body);
                assert_eq!(answer.header("x-injected"), None, "{asked}");
                assert!(!answer.body.contains("root:"), "{asked}");
            }
        }
    }
    assert!(tried >= 30, "{tried}");
    for path in ["/v1/tenants", "/v1/keys"] {
        let left = bed.admin(path).await;
        assert_eq!(left.status, 200, "{path}: {}", left.body);
        assert!(!left.json()["items"].as_array().unwrap().is_empty());
    }
    let tenant = bed.admin("/v1/tenants/acme").await.json();
    assert_eq!(tenant["name"], "Robert'); DROP TABLE tenants;--");
    bed.stop().await;
}

#[tokio::test]
async fn a_filter_finds_what_is_the_same_and_not_what_sql_would_make_of_it() {
    let bed = Bed::start().await;
    bed.store.insert_cdrs(&[crate::bed::cdr(1)]).await.unwrap();
    let found = async |query: &str| {
        let answer = bed.admin(&format!("/v1/cdrs?{query}")).await;
        (
            answer.status,
            answer.json()["items"].as_array().map(Vec::len),
        )
    };
    assert_eq!(found("trunk=carrier-a").await, (200, Some(1)));
    for odd in [
        "trunk=%27%20OR%20%271%27%3D%271",
        "trunk=carrier-a%27--",
        "trunk=carrier_a",
        "trunk=carrier-%25",
        "trunk=%25",
        "trunk=CARRIER-A",
    ] {
        assert_eq!(found(odd).await, (200, Some(0)), "{odd}");
    }
    bed.stop().await;
}

#[tokio::test]
async fn files_are_those_of_the_pages_and_no_others() {
    let bed = Bed::start().await;
    for path in [
        "/web/..%2F..%2Fetc%2Fpasswd",
        "/web/../../etc/passwd",
        "/web/%2Fetc%2Fpasswd",
        "/web/app.js%00.html",
        "/web/app.js/",
        "/web/",
        "//etc/passwd",
        "/web/....//app.js",
    ] {
        let answer = bed.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    bed.stop().await;
}

#[tokio::test]
async fn odd_header_fields_open_nothing() {
    let bed = Bed::start().await;
    let good = format!("Bearer {KEY}");
    for fields in [
        vec![
            ("Authorization", good.as_str()),
            ("Authorization", "Bearer x"),
        ],
        vec![
            ("Authorization", "Bearer x"),
            ("Authorization", good.as_str()),
        ],
        vec![("Authorization", KEY)],
        vec![("Authorization", "Basic YWRtaW46YWRtaW4=")],
        vec![("Authorization", "Bearer")],
        vec![("Authorization", "Bearer ' OR '1'='1")],
        vec![("X-Authorization", good.as_str())],
        vec![("Cookie", good.as_str())],
        vec![
            ("X-Original-URL", "/healthz"),
            ("X-Forwarded-For", "127.0.0.1"),
        ],
    ] {
        let answer = bed.send("GET", "/v1/calls", &fields).await;
        assert_eq!(answer.status, 401, "{fields:?}: {}", answer.body);
    }
    // One that says what method it would rather be is the method that it is.
    let fields = [
        ("Authorization", good.as_str()),
        ("X-HTTP-Method-Override", "DELETE"),
        ("If-Match", "\u{27} OR 1=1--"),
    ];
    assert_eq!(
        bed.send("GET", "/v1/tenants/default", &fields).await.status,
        200
    );
    let long = "x".repeat(600_000);
    let fields = [("Authorization", good.as_str()), ("X-Long", long.as_str())];
    let answer = bed.send("GET", "/v1/calls", &fields).await;
    assert_eq!(answer.status, 431, "{}", answer.body);
    assert_eq!(bed.admin("/v1/calls").await.status, 200, "it goes on");
    bed.stop().await;
}

/// Whether the node closes a connection.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    // What it says before does not matter, nor how it is ended.
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    ended.is_ok()
}

#[tokio::test]
async fn half_a_head_is_not_waited_for_for_ever() {
    let bed = Bed::start().await;
    let mut half = TcpStream::connect(bed.address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: ")
        .await
        .unwrap();
    let silent = TcpStream::connect(bed.address).await.unwrap();
    assert_eq!(bed.get("/healthz").await.status, 200);
    assert!(is_closed(half).await && is_closed(silent).await);
    assert_eq!(bed.get("/healthz").await.status, 200);
    bed.stop().await;
}

#[tokio::test]
async fn nobody_alone_has_all_the_connections() {
    const MOST: usize = 256;
    let bed = Bed::start().await;
    let mut streams = Vec::new();
    for _ in 0..=MOST {
        streams.push(TcpStream::connect(bed.address).await.unwrap());
    }
    assert!(is_closed(streams.pop().unwrap()).await);
    // Whoever comes from elsewhere is served.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(bed.address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    bed.stop().await;
}
