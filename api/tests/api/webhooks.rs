//! `/v1/webhooks`, and what their receivers hear.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use control::signal::Event;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    bed::{Answer, Bed, KEY, call},
    events::{hear, listen},
};

/// More than the pause before the second attempt.
const SOON: Duration = Duration::from_secs(20);

/// Who is told.
struct Receiver(TcpListener);

/// What it was told.
struct Heard {
    fields: HashMap<String, String>,
    body: String,
    stream: TcpStream,
}

impl Receiver {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.0.local_addr().unwrap())
    }

    async fn hear(&self) -> Heard {
        let heard = async {
            let (mut stream, _) = self.0.accept().await.unwrap();
            let mut raw = Vec::new();
            loop {
                assert_ne!(stream.read_buf(&mut raw).await.unwrap(), 0);
                let text = String::from_utf8_lossy(&raw).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let mut lines = head.lines();
                assert_eq!(lines.next().unwrap(), "POST /hook?a=b HTTP/1.1");
                let fields = lines.filter_map(|line| line.split_once(": "));
                let fields = fields.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
                let fields: HashMap<_, _> = fields.collect();
                if body.len() == fields["content-length"].parse::<usize>().unwrap() {
                    let body = body.to_owned();
                    return Heard {
                        fields,
                        body,
                        stream,
                    };
                }
            }
        };
        timeout(SOON, heard).await.expect("it is told in time")
    }
}

impl Heard {
    async fn answer(mut self, status: &str) {
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        self.stream.write_all(answer.as_bytes()).await.unwrap();
    }

    fn id(&self) -> String {
        self.fields["webhook-id"].clone()
    }

    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether the signature is one by this secret, as a receiver would look.
    fn is_signed(&self, secret: &str) -> bool {
        let secret = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        let time = &self.fields["webhook-timestamp"];
        mac.update(format!("{}.{time}.{}", self.id(), self.body).as_bytes());
        let given = self.fields["webhook-signature"]
            .strip_prefix("v1,")
            .unwrap();
        mac.verify_slice(&STANDARD.decode(given).unwrap()).is_ok()
    }
}

async fn create(bed: &Bed, url: &str, types: &[&str]) -> Answer {
    let body = json!({ "url": url, "types": types });
    bed.ask(KEY, "POST", "/v1/webhooks", Some(body)).await
}

fn ended(n: u8) -> Event {
    Event::Ended {
        id: call(n).id,
        tenant: call(1).tenant,
        status: 486,
        reason: "Busy Here".into(),
    }
}

#[tokio::test]
async fn a_receiver_is_told_signed_and_again_until_it_takes_it() {
    let (bed, receiver) = (Bed::start().await, Receiver::start().await);
    let created = create(&bed, &receiver.url(), &["call.ended"]).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let secret = created.json()["secret"].as_str().unwrap().to_owned();
    bed.until_events_are_wanted().await;
    bed.tell(Event::Call(call(1)));
    bed.tell(ended(1));

    let first = receiver.hear().await;
    assert!(first.is_signed(&secret), "{:?}", first.fields);
    assert!(!first.is_signed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    assert_eq!(first.fields["content-type"], "application/json");
    assert_eq!(first.event()["type"], "call.ended");
    assert_eq!(first.event()["call_id"], call(1).id);
    let (id, body) = (first.id(), first.body.clone());
    first.answer("503 Service Unavailable").await;
    let second = receiver.hear().await;
    assert_eq!((second.id(), &second.body), (id, &body));
    assert!(second.is_signed(&secret));
    second.answer("204 No Content").await;

    // What nobody takes is kept for the next start.
    while bed.store.count_deliveries("n1").await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bed.tell(ended(2));
    let unanswered = receiver.hear().await;
    assert_eq!(unanswered.event()["call_id"], call(2).id);
    assert_eq!(bed.store.count_deliveries("n1").await.unwrap(), 1);
    let metrics = bed.get("/metrics").await.body;
    for outcome in ["delivered", "failed"] {
        let line = format!("tandem_webhook_events_total{{outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
    // What happened just before the end is kept too.
    let store = bed.store.clone();
    let mut stream = listen(&bed, "").await;
    hear(&mut stream, "\r\n\r\n").await;
    bed.tell(ended(3));
    hear(&mut stream, "call.ended").await;
    timeout(SOON, bed.stop()).await.expect("it stops");
    assert_eq!(store.count_deliveries("n1").await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_given_up_is_kept_and_can_be_replayed() {
    let (bed, receiver) = (Bed::start().await, Receiver::start().await);
    let created = create(&bed, &receiver.url(), &[]).await;
    let place = created.header("location").unwrap().to_owned();
    assert_eq!(
        bed.ask(KEY, "POST", &format!("{place}/test"), None)
            .await
            .status,
        202
    );
    let told = receiver.hear().await;
    assert_eq!(told.event()["type"], "test");
    told.answer("410 Gone").await;

    let failures = format!("{place}/failures");
    let failure = async {
        loop {
            let list = bed.admin(&failures).await.json();
            if let Some(failure) = list["items"].get(0) {
                return failure.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let failure = timeout(SOON, failure).await.expect("it is given up");
    assert_eq!(failure["error"], "it answered 410");
    assert_eq!(
        (&failure["attempts"], &failure["event"]["type"]),
        (&json!(1), &json!("test"))
    );
    // It is told nothing any more, as soon as what was given up is written down.
    let off = async {
        loop {
            let hook = bed.admin(&place).await;
            if hook.json()["enabled"] == false {
                return hook;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let hook = timeout(SOON, off).await.expect("it is not enabled");
    assert!(!hook.body.contains("secret"), "{}", hook.body);
    assert_eq!(
        bed.ask(KEY, "POST", &format!("{place}/test"), None)
            .await
            .status,
        409
    );

    let on = json!({ "url": receiver.url(), "types": ["call"] });
    let changed = bed.ask(KEY, "PUT", &place, Some(on)).await;
    assert_eq!(
        (changed.status, &changed.json()["enabled"]),
        (200, &json!(true))
    );
    let replay = format!("{place}/replay");
    let nothing = json!({ "id": "00000000-0000-0000-0000-000000000000" });
    assert_eq!(
        bed.ask(KEY, "POST", &replay, Some(nothing)).await.status,
        404
    );
    let replayed = bed.ask(KEY, "POST", &replay, Some(json!({}))).await;
    assert_eq!(
        (replayed.status, replayed.json()),
        (202, json!({ "events": 1 }))
    );
    let told = receiver.hear().await;
    assert_eq!(told.id(), failure["id"].as_str().unwrap());
    told.answer("200 OK").await;

    assert_eq!(bed.ask(KEY, "DELETE", &place, None).await.status, 204);
    for path in [&place, &failures] {
        assert_eq!(bed.admin(path).await.status, 404);
    }
}

#[tokio::test]
async fn what_is_no_webhook_is_refused() {
    let bed = Bed::start().await;
    for (url, types) in [
        ("ftp://example.test/", &[][..]),
        ("example.test", &[]),
        ("/hook", &[]),
        ("", &[]),
        ("http://example.test/", &["call.began"]),
    ] {
        let refused = create(&bed, url, types).await;
        assert_eq!(refused.status, 422, "{url} {types:?} {}", refused.body);
    }
    let created = create(&bed, "http://user:pass@example.test/", &["ban"]).await;
    let place = created.header("location").unwrap().to_owned();
    let tag = created.header("etag").unwrap().to_owned();
    let bearer = format!("Bearer {KEY}");
    let put = async |tag: &str, url: &str| {
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("If-Match", tag),
        ];
        let body = json!({ "url": url }).to_string();
        bed.exchange("PUT", &place, &fields, &body).await.status
    };
    assert_eq!(put("\"0\"", "http://b.test/").await, 412);
    assert_eq!(put(&tag, "http://b.test/").await, 200);
    assert_eq!(put(&tag, "http://c.test/").await, 412);
    let audit = bed.admin("/v1/audit?kind=webhooks").await;
    assert_eq!(audit.json()["items"].as_array().unwrap().len(), 2);
    assert!(!audit.body.contains("pass"), "{}", audit.body);
}
