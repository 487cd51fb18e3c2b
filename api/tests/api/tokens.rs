//! Tokens of an identity provider, which serves its public keys over HTTP.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use api::Api;
use axum::{Router, http::StatusCode, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use control::config::{Jwks, Jwt};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, KEY};

const ISSUER: &str = "https://id.example.test";
const AUDIENCE: &str = "tandem";
const SECRET: &str = "a secret of no less than 32 octets";

/// A key of the issuer.
struct Key {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    /// As it is published.
    public: Value,
}

impl Key {
    fn new(id: &'static str, kind: &'static SignatureAlgorithm) -> Self {
        let pair = KeyPair::generate_for(kind).unwrap();
        let der = pair.serialize_der();
        let (algorithm, private, mut public);
        if *kind == PKCS_ED25519 {
            (algorithm, private) = (Algorithm::EdDSA, EncodingKey::from_ed_der(&der));
            let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
            public = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        } else {
            (algorithm, private) = if *kind == PKCS_RSA_SHA256 {
                // What is within is PKCS#1: PKCS#8 puts 26 octets before a key of 2048 bits.
                (Algorithm::RS256, EncodingKey::from_rsa_der(&der[26..]))
            } else {
                (Algorithm::ES256, EncodingKey::from_ec_der(&der))
            };
            public = json!(Jwk::from_encoding_key(&private, algorithm).unwrap());
        }
        public["kid"] = id.into();
        Self {
            id,
            algorithm,
            private,
            public,
        }
    }

    fn ec(id: &'static str) -> Self {
        Self::new(id, &PKCS_ECDSA_P256_SHA256)
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        encode(&header, claims, &self.private).unwrap()
    }
}

/// What the issuer serves, and how often it was asked.
#[derive(Clone)]
struct Issuer {
    url: String,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(keys: &[&Key]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}/keys", listener.local_addr().unwrap()),
            answer: Arc::new(Mutex::new((StatusCode::OK, String::new()))),
            asked: Arc::default(),
        };
        issuer.publish(keys);
        let serving = issuer.clone();
        let answer = move || async move {
            serving.asked.fetch_add(1, SeqCst);
            serving.answer.lock().unwrap().clone()
        };
        let router = Router::new().route("/keys", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| &key.public).collect();
        *self.answer.lock().unwrap() = (StatusCode::OK, json!({ "keys": keys }).to_string());
    }

    fn fail(&self) {
        *self.answer.lock().unwrap() = (StatusCode::BAD_GATEWAY, "<html>".to_owned());
    }

    /// A node that takes its tokens.
    async fn node(&self) -> Bed {
        Bed::start_as(|api| takes(api, Some(Jwks::Url(self.url.clone())), None)).await
    }
}

fn takes(api: &mut Api, jwks: Option<Jwks>, secret: Option<&str>) {
    api.jwt = Some(Jwt {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        jwks,
        secret: secret.map(str::to_owned),
        role_claim: "role".into(),
        tenant_claim: "tenant".into(),
        leeway: 30,
        refresh: 600,
    });
}

/// Seconds since 1970, so many from now.
fn in_s(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann@example.test", "exp": in_s(600),
        "role": "admin", "tenant": "*",
    })
}

/// The same with another value of a claim; without it for `null`.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

async fn ask(bed: &Bed, token: &str) -> Answer {
    bed.ask(token, "GET", "/v1/tenants", None).await
}

async fn status(bed: &Bed, token: &str) -> u16 {
    ask(bed, token).await.status
}

/// A token of whatever header, signed with HS256.
fn by_hand(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(secret).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

#[tokio::test]
async fn a_token_opens_what_its_claims_say_whichever_key_signed_it() {
    let keys = [
        Key::new("rsa", &PKCS_RSA_SHA256),
        Key::ec("ec"),
        Key::new("ed", &PKCS_ED25519),
    ];
    let issuer = Issuer::start(&keys.each_ref()).await;
    let bed = issuer.node().await;
    for key in &keys {
        assert_eq!(status(&bed, &key.sign(&claims())).await, 200, "{}", key.id);
    }
    let key = &keys[1];
    // Roles as identity providers have them.
    for role in [
        json!("admin"),
        json!(["viewer", "admin", "of something else"]),
        json!("openid admin"),
    ] {
        let token = key.sign(&with("role", role.clone()));
        assert_eq!(status(&bed, &token).await, 200, "{role}");
    }
    let token = key.sign(&with("aud", json!(["other", AUDIENCE])));
    assert_eq!(status(&bed, &token).await, 200);
    // The issuer's clock is behind a little.
    let token = key.sign(&with("exp", json!(in_s(-10))));
    assert_eq!(status(&bed, &token).await, 200);

    let viewer = key.sign(&with("role", json!("viewer")));
    assert_eq!(bed.ask(&viewer, "GET", "/v1/calls", None).await.status, 200);
    let body = json!({ "id": "acme", "name": "Acme" });
    let made = bed
        .ask(&viewer, "POST", "/v1/tenants", Some(body.clone()))
        .await;
    assert_eq!(made.status, 403, "{}", made.body);
    let admin = key.sign(&claims());
    let made = bed.ask(&admin, "POST", "/v1/tenants", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let changes = bed.admin("/v1/audit?kind=tenants").await.json();
    assert_eq!(changes["items"][0]["actor"], "token:ann@example.test");
    // All of it with the keys of one answer.
    assert_eq!(issuer.asked.load(SeqCst), 1);
    bed.stop().await;
}

#[tokio::test]
async fn a_token_that_is_over_is_no_guess() {
    let key = Key::ec("a");
    let issuer = Issuer::start(&[&key]).await;
    let bed = issuer.node().await;
    let over = key.sign(&with("exp", json!(in_s(-40))));
    for _ in 0..31 {
        assert_eq!(status(&bed, &over).await, 401);
    }
    assert_eq!(status(&bed, &key.sign(&claims())).await, 200);
    bed.stop().await;
}

#[tokio::test]
async fn a_token_that_is_not_good_opens_nothing() {
    let (key, strange) = (Key::ec("a"), Key::ec("a"));
    let issuer = Issuer::start(&[&key]).await;
    let bed = issuer.node().await;
    let good = key.sign(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let foreign = strange.sign(&claims());
    let (_, other) = foreign.rsplit_once('.').unwrap();
    let mut crit = Header::new(Algorithm::ES256);
    (crit.kid, crit.crit) = (Some("a".into()), Some(vec!["b64".into()]));
    let crit = encode(&crit, &claims(), &key.private).unwrap();
    let none = json!({ "alg": "none", "kid": "a" });
    let none = by_hand(&none, &claims(), b"x");
    let unsigned = none.rsplit_once('.').unwrap().0;
    for (token, wanted) in [
        (key.sign(&with("exp", json!(in_s(-40)))), "is over"),
        (key.sign(&with("exp", Value::Null)), "has no exp"),
        (key.sign(&with("exp", json!("soon"))), "has no exp"),
        (key.sign(&with("nbf", json!(in_s(90)))), "not good yet"),
        (key.sign(&with("iss", json!("https://other.test"))), "iss"),
        (key.sign(&with("iss", Value::Null)), "iss"),
        (key.sign(&with("aud", json!("other"))), "aud"),
        (key.sign(&with("aud", Value::Null)), "aud"),
        (key.sign(&with("sub", Value::Null)), "sub"),
        (key.sign(&with("sub", json!("a\nb"))), "sub"),
        (key.sign(&with("sub", json!("a".repeat(256)))), "sub"),
        (
            key.sign(&with("more", json!("a".repeat(8_192)))),
            "too long",
        ),
        (strange.sign(&claims()), "signature"),
        (format!("{signed}.{other}"), "signature"),
        (format!("{signed}."), "signature"),
        (format!("{signed}.{signature}AA"), "signature"),
        (format!("{unsigned}."), "cannot be read"),
        (none.clone(), "cannot be read"),
        (crit, "crit"),
        ("..".to_owned(), "cannot be read"),
        ("a.b.c".to_owned(), "cannot be read"),
    ] {
        let answer = ask(&bed, &token).await;
        assert_eq!(answer.status, 401, "{wanted}: {}", answer.body);
        assert!(answer.body.contains(wanted), "{wanted}: {}", answer.body);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("invalid_token"), "{challenge}");
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let rsa = Key::new("rsa", &PKCS_RSA_SHA256);
    let ec = Key::ec("ec");
    let issuer = Issuer::start(&[&rsa, &ec]).await;
    let bed = issuer.node().await;
    let public = &rsa.public;
    let modulus = public["n"].as_str().unwrap();
    // What everybody knows of the issuer, taken for a secret.
    for secret in [
        public.to_string().into_bytes(),
        modulus.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(modulus).unwrap(),
    ] {
        for kid in ["rsa", "ec"] {
            let header = json!({ "alg": "HS256", "kid": kid });
            let token = by_hand(&header, &claims(), &secret);
            assert_eq!(status(&bed, &token).await, 401);
            // And one that lies about how it is signed.
            let header = json!({ "alg": "RS256", "kid": kid });
            let token = by_hand(&header, &claims(), &secret);
            assert_eq!(status(&bed, &token).await, 401);
        }
    }
    // A good signature of the one key does not stand for the other.
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("rsa".into());
    let token = encode(&header, &claims(), &ec.private).unwrap();
    assert_eq!(status(&bed, &token).await, 401);
    // Nor does another algorithm of the same kind of key.
    let mut header = Header::new(Algorithm::PS256);
    header.kid = Some("rsa".into());
    let token = encode(&header, &claims(), &rsa.private).unwrap();
    assert_eq!(status(&bed, &token).await, 401);
    bed.stop().await;
}

#[tokio::test]
async fn with_a_secret_only_who_has_it_signs() {
    let bed = Bed::start_as(|api| takes(api, None, Some(SECRET))).await;
    let header = |alg: &str| json!({ "alg": alg });
    let sign = |alg: &str, secret: &str| by_hand(&header(alg), &claims(), secret.as_bytes());
    assert_eq!(status(&bed, &sign("HS256", SECRET)).await, 200);
    assert_eq!(status(&bed, &sign("HS256", &SECRET[1..])).await, 401);
    for alg in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "none", ""] {
        assert_eq!(status(&bed, &sign(alg, SECRET)).await, 401, "{alg}");
    }
    assert_eq!(status(&bed, &Key::ec("a").sign(&claims())).await, 401);
    // The API's own keys go on as before.
    assert_eq!(status(&bed, KEY).await, 200);
    bed.stop().await;
}

#[tokio::test]
async fn a_token_without_role_or_tenant_opens_nothing() {
    let key = Key::ec("a");
    let issuer = Issuer::start(&[&key]).await;
    let bed = issuer.node().await;
    for (name, value) in [
        ("role", Value::Null),
        ("role", json!("root")),
        ("role", json!([])),
        ("role", json!({ "admin": true })),
        ("role", json!("Admin")),
        ("tenant", Value::Null),
        ("tenant", json!("nobody")),
        ("tenant", json!("")),
        ("tenant", json!(["*"])),
        ("tenant", json!(true)),
    ] {
        let answer = ask(&bed, &key.sign(&with(name, value.clone()))).await;
        assert_eq!(answer.status, 403, "{name} {value}: {}", answer.body);
        assert!(
            answer.body.contains(&format!("claim {name}")),
            "{}",
            answer.body
        );
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_tenants_token_finds_nothing_of_anybody_else() {
    let key = Key::ec("a");
    let issuer = Issuer::start(&[&key]).await;
    let bed = issuer.node().await;
    let body = json!({ "id": "acme", "name": "Acme" });
    let made = bed.ask(KEY, "POST", "/v1/tenants", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let body = json!({ "name": "the node's", "role": "viewer" });
    let made = bed.ask(KEY, "POST", "/v1/keys", Some(body)).await.json();
    let place = format!("/v1/keys/{}", made["id"].as_str().unwrap());

    let token = key.sign(&with("tenant", json!("acme")));
    assert_eq!(bed.ask(&token, "GET", &place, None).await.status, 404);
    assert_eq!(bed.ask(&token, "DELETE", &place, None).await.status, 404);
    let keys = bed.ask(&token, "GET", "/v1/keys", None).await.json();
    assert_eq!(keys["items"], json!([]));
    let other = bed
        .ask(&token, "GET", "/v1/keys?tenant=default", None)
        .await;
    assert_eq!(other.status, 404);
    assert_eq!(bed.ask(&token, "GET", "/v1/node", None).await.status, 403);
    // What it makes is its tenant's.
    let body = json!({ "name": "ours", "role": "viewer" });
    let made = bed.ask(&token, "POST", "/v1/keys", Some(body)).await;
    assert_eq!(made.json()["tenant"], "acme", "{}", made.body);
    bed.stop().await;
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_read_when_it_is_first_shown() {
    let (old, new) = (Key::ec("2026-10"), Key::ec("2026-11"));
    let issuer = Issuer::start(&[&old]).await;
    let bed = issuer.node().await;
    assert_eq!(status(&bed, &old.sign(&claims())).await, 200);
    issuer.publish(&[&new]);
    assert_eq!(status(&bed, &new.sign(&claims())).await, 200);
    assert_eq!(status(&bed, &old.sign(&claims())).await, 401);
    // Whoever makes up keys has the issuer asked no more often for it.
    let made_up = Key::ec("made-up");
    for _ in 0..5 {
        assert_eq!(status(&bed, &made_up.sign(&claims())).await, 401);
    }
    assert_eq!(issuer.asked.load(SeqCst), 2);
    bed.stop().await;
}

#[tokio::test]
async fn an_issuer_that_is_down_locks_nobody_out() {
    let key = Key::ec("a");
    let issuer = Issuer::start(&[&key]).await;
    let bed = issuer.node().await;
    assert_eq!(status(&bed, &key.sign(&claims())).await, 200);
    issuer.fail();
    assert_eq!(status(&bed, &Key::ec("b").sign(&claims())).await, 401);
    assert_eq!(issuer.asked.load(SeqCst), 2);
    assert_eq!(status(&bed, &key.sign(&claims())).await, 200);
    let page = bed.get("/metrics").await.body;
    for line in [
        "tandem_api_jwks_reads_total{outcome=\"done\"} 1",
        "tandem_api_jwks_reads_total{outcome=\"failed\"} 1",
    ] {
        assert!(page.contains(line), "{page}");
    }
    bed.stop().await;

    // One that was never there opens nothing, and says so.
    let bed = Bed::start_as(|api| {
        takes(api, Some(Jwks::Url("http://127.0.0.1:1/keys".into())), None);
    });
    let bed = bed.await;
    assert_eq!(status(&bed, &key.sign(&claims())).await, 401);
    bed.stop().await;
}

#[tokio::test]
async fn keys_are_read_from_a_file_too() {
    let key = Key::ec("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, json!({ "keys": [key.public] }).to_string()).unwrap();
    let bed = Bed::start_as(|api| takes(api, Some(Jwks::File(path)), None)).await;
    assert_eq!(status(&bed, &key.sign(&claims())).await, 200);
    bed.stop().await;
}

#[tokio::test]
async fn wrong_tokens_count_as_wrong_keys_do() {
    let bed = Bed::start_as(|api| takes(api, None, Some(SECRET))).await;
    for _ in 0..30 {
        assert_eq!(status(&bed, "a.b.c").await, 401);
    }
    let answer = ask(&bed, "a.b.c").await;
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
    bed.stop().await;
}
