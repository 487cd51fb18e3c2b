//! The public keys of an identity provider (RFC 7517), read from it, and again as they change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::config;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{client, metrics::Metrics};

/// How long the provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the keys are not read again for tokens of unknown keys, which anyone can show.
const PAUSE: Duration = Duration::from_secs(10);
/// How long after a failure the keys are read again.
const AGAIN: Duration = Duration::from_secs(30);
/// Octets of a set at most.
const MOST: usize = 256 << 10;

/// The keys, as far as they could be read.
#[derive(Debug)]
pub(super) struct Jwks {
    source: Source,
    refresh: Duration,
    /// The last good set.
    keys: Mutex<Vec<Arc<PublicKey>>>,
    reading: tokio::sync::Mutex<Reading>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Source {
    Url(reqwest::Client, String),
    File(PathBuf),
}

/// What was tried so far.
#[derive(Debug, Default)]
struct Reading {
    /// When it was tried last.
    last: Option<Instant>,
    /// When it was for a token of an unknown key.
    asked: Option<Instant>,
}

/// A key that tokens may be signed with.
#[derive(Debug)]
pub(super) struct PublicKey {
    id: Option<String>,
    /// The one algorithm that it is for: a token does not choose.
    algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl Jwks {
    pub(super) fn new(
        source: &config::Jwks,
        refresh: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let source = match source {
            config::Jwks::Url(url) => Source::Url(client::new(PATIENCE)?, url.clone()),
            config::Jwks::File(path) => Source::File(path.clone()),
        };
        Ok(Self {
            source,
            refresh,
            keys: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            metrics,
        })
    }

    /// Reads the keys now, and again whenever they are old, for ever.
    pub(super) async fn keep(&self) {
        loop {
            let is_good = {
                let mut reading = self.reading.lock().await;
                self.read(&mut reading).await
            };
            sleep(if is_good { self.refresh } else { AGAIN }).await;
        }
    }

    /// The key that a token names. Where none is known the keys are read again: it may be a new one.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<Arc<PublicKey>> {
        if let Some(key) = self.known(id, algorithm) {
            return Some(key);
        }
        let since = Instant::now();
        let mut reading = self.reading.lock().await;
        // While this one waited for its turn they may have been read.
        let is_fresh = reading.last.is_some_and(|last| last >= since);
        let is_too_soon = reading.asked.is_some_and(|asked| asked.elapsed() < PAUSE);
        if !is_fresh && !is_too_soon {
            reading.asked = Some(since);
            self.read(&mut reading).await;
        }
        drop(reading);
        self.known(id, algorithm)
    }

    /// Without an id it is the only one of its algorithm.
    fn known(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<PublicKey>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = keys.iter().filter(|key| {
            key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id))
        });
        let first = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then(|| first.clone())
    }

    /// Tells whether there is a new set; without one the last good one stays.
    async fn read(&self, reading: &mut Reading) -> bool {
        let read = self.fetch().await.and_then(|text| keys_of(&text));
        reading.last = Some(Instant::now());
        self.metrics.jwks_read(read.is_ok());
        let mut kept = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(keys) => {
                let ids = |keys: &[Arc<PublicKey>]| -> Vec<_> {
                    keys.iter().map(|key| key.id.clone()).collect()
                };
                if ids(&keys) != ids(&kept) {
                    tracing::info!(keys = keys.len(), source = %self.source, "public keys for tokens were read");
                }
                *kept = keys;
                true
            }
            Err(reason) => {
                tracing::warn!(reason, source = %self.source, kept = kept.len(),
                    "cannot read the public keys for tokens; the last good ones stay");
                false
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<u8>, String> {
        match &self.source {
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                let read = read.map_err(|error| error.to_string())?;
                read.map_err(|error| error.to_string())
            }
            Source::Url(client, url) => {
                let told = |error: reqwest::Error| client::told(&error.without_url());
                let mut answer = client.get(url).send().await.map_err(told)?;
                if !answer.status().is_success() {
                    return Err(format!("the answer is {}", answer.status()));
                }
                let mut text = Vec::new();
                while let Some(part) = answer.chunk().await.map_err(told)? {
                    text.extend_from_slice(&part);
                    if text.len() > MOST {
                        return Err(format!("the answer has more than {MOST} octets"));
                    }
                }
                Ok(text)
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // A query may hold a secret.
            Self::Url(_, url) => f.write_str(url.split('?').next().unwrap_or_default()),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The keys of a set that tokens may be signed with; what is of another kind is left out.
fn keys_of(text: &[u8]) -> Result<Vec<Arc<PublicKey>>, String> {
    let mut set: Value = serde_json::from_slice(text).map_err(|_| "it is no JSON".to_owned())?;
    let Some(Value::Array(all)) = set.get_mut("keys").map(Value::take) else {
        return Err("it is no set of keys: it has no list 'keys'".to_owned());
    };
    let keys = all.into_iter().filter_map(public_key).map(Arc::new);
    let keys: Vec<_> = keys.collect();
    match keys.is_empty() {
        true => Err("it has no key for RS256, ES256 or EdDSA".to_owned()),
        false => Ok(keys),
    }
}

fn public_key(written: Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(written).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let common = &jwk.common;
    let verifies = common
        .public_key_use
        .as_ref()
        .is_none_or(|use_| *use_ == PublicKeyUse::Signature)
        && common
            .key_operations
            .as_ref()
            .is_none_or(|all| all.contains(&KeyOperations::Verify))
        && common
            .key_algorithm
            .is_none_or(|only| only == KeyAlgorithm::from(algorithm));
    Some(PublicKey {
        id: common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(&jwk).ok()?,
    })
    .filter(|_| verifies)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";

    #[test]
    fn only_what_signs_tokens_is_a_key_and_each_for_one_algorithm() {
        let set = json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "x": X, "y": X, "kid": "ec", "use": "sig", "alg": "ES256" },
            { "kty": "OKP", "crv": "Ed25519", "x": X, "kid": "ed" },
            { "kty": "RSA", "n": X, "e": "AQAB", "kid": "rsa", "key_ops": ["verify"] },
            { "kty": "RSA", "n": X, "e": "AQAB", "kid": "encrypts", "use": "enc" },
            { "kty": "RSA", "n": X, "e": "AQAB", "kid": "wraps", "key_ops": ["wrapKey"] },
            { "kty": "RSA", "n": X, "e": "AQAB", "kid": "pss", "alg": "PS256" },
            { "kty": "EC", "crv": "P-384", "x": X, "y": X, "kid": "longer" },
            { "kty": "EC", "crv": "secp256k1", "x": X, "y": X, "kid": "coin" },
            { "kty": "oct", "k": X, "kid": "shared" },
            { "kty": "RSA", "n": "!", "e": "AQAB", "kid": "broken" },
            "text",
        ]});
        let keys = keys_of(set.to_string().as_bytes()).unwrap();
        let keys: Vec<_> = keys
            .iter()
            .map(|key| (key.id.as_deref().unwrap(), key.algorithm))
            .collect();
        assert_eq!(
            keys,
            [
                ("ec", Algorithm::ES256),
                ("ed", Algorithm::EdDSA),
                ("rsa", Algorithm::RS256)
            ]
        );
    }

    #[test]
    fn what_is_no_set_of_keys_is_told() {
        for (text, wanted) in [
            ("<html>", "no JSON"),
            ("{}", "no list"),
            ("[]", "no list"),
            (r#"{"keys": []}"#, "no key for"),
            (r#"{"keys": [{"kty": "oct", "k": "aa"}]}"#, "no key for"),
        ] {
            let told = keys_of(text.as_bytes()).unwrap_err();
            assert!(told.contains(wanted), "{text}: {told}");
        }
    }
}
