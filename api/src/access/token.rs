//! Tokens of an identity provider: signed JWTs (RFC 7519, RFC 7515), as RFC 8725 says to take them.
//!
//! What algorithm a token may be signed with is said by the key and not by the token: with a shared secret it
//! is HS256, with a published key the one that is for that kind of key, and nothing else ever.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use control::config::Jwt;
use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde_json::{Map, Value};
use store::{Role, Store, Timestamp};

use super::{Caller, jwks::Jwks};
use crate::{ApiError, metrics::Metrics, problem::Problem};

/// Octets of a token at most: longer ones are not even read.
const MOST: usize = 8 << 10;
/// Octets of a subject at most.
const MOST_SUBJECT: usize = 255;
/// How long it is remembered whether there is a tenant.
const KEPT: Duration = Duration::from_secs(5);
/// Tenants that are kept in mind at most.
const MOST_TENANTS: usize = 10_000;
/// What stands in the place of a tenant for all of them.
const EVERY_TENANT: &str = "*";

type Claims = Map<String, Value>;

/// Whose tokens are taken.
#[derive(Debug)]
pub(crate) struct Tokens {
    signer: Signer,
    validation: Validation,
    role_claim: String,
    tenant_claim: String,
    store: Store,
    tenants: Mutex<HashMap<String, (Instant, bool)>>,
}

#[derive(Debug)]
enum Signer {
    /// Who has the same secret.
    Shared(DecodingKey),
    /// Who has the private part of one of these.
    Published(Jwks),
}

impl Tokens {
    /// As configured. The issuer's keys are read by [`keep`](Self::keep).
    ///
    /// # Errors
    /// If there is no way to make requests, or the secret is empty.
    pub(crate) fn new(config: &Jwt, store: Store, metrics: Arc<Metrics>) -> Result<Self, ApiError> {
        let signer = match (&config.jwks, &config.secret) {
            (Some(source), _) => {
                let refresh = Duration::from_secs(config.refresh);
                Signer::Published(Jwks::new(source, refresh, metrics)?)
            }
            (None, secret) => {
                let secret = secret.as_deref().unwrap_or_default();
                Signer::Shared(DecodingKey::from_secret(secret.as_bytes())?)
            }
        };
        let mut validation = Validation {
            leeway: config.leeway,
            validate_nbf: true,
            ..Validation::default()
        };
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self {
            signer,
            validation,
            role_claim: config.role_claim.clone(),
            tenant_claim: config.tenant_claim.clone(),
            store,
            tenants: Mutex::default(),
        })
    }

    /// Keeps the issuer's keys fresh, for ever.
    pub(crate) async fn keep(&self) {
        match &self.signer {
            Signer::Shared(_) => std::future::pending().await,
            Signer::Published(keys) => keys.keep().await,
        }
    }

    /// Whether what is shown is made as a token is: of three parts.
    pub(crate) fn is_one(shown: &str) -> bool {
        shown.bytes().filter(|&byte| byte == b'.').count() == 2
    }

    /// Who shows this token. 401 where it is not good; 403 where it is, and opens nothing.
    pub(crate) async fn caller(&self, shown: &str) -> Result<Arc<Caller>, Problem> {
        if shown.len() > MOST {
            return Err(refused("the token is too long"));
        }
        let claims = self.claims(shown).await?;
        let subject = claims.get("sub").and_then(Value::as_str);
        // It goes into logs and the record of changes.
        let is_clean = |subject: &&str| {
            !subject.is_empty()
                && subject.len() <= MOST_SUBJECT
                && !subject.contains(char::is_control)
        };
        let Some(subject) = subject.filter(is_clean) else {
            return Err(refused("the token's sub is empty, too long, or no text"));
        };
        Ok(Arc::new(Caller {
            actor: format!("token:{subject}"),
            role: self.role(&claims)?,
            tenant: self.tenant(&claims).await?,
            key: None,
            is_session: false,
            ends: self.ends(&claims),
        }))
    }

    /// What a good token claims.
    async fn claims(&self, shown: &str) -> Result<Claims, Problem> {
        let header = decode_header(shown).map_err(|_| refused("the token cannot be read"))?;
        if header.crit.is_some() {
            return Err(refused(
                "the token's crit asks for what is not done here (RFC 7515 section 4.1.11)",
            ));
        }
        let checked = match &self.signer {
            Signer::Shared(key) => self.checked(shown, key, Algorithm::HS256),
            Signer::Published(keys) => {
                let Some(algorithm) = published(&header) else {
                    return Err(refused(
                        "the token is not signed with RS256, ES256 or EdDSA",
                    ));
                };
                let key = keys.find(header.kid.as_deref(), algorithm).await;
                let key = key.ok_or_else(|| {
                    refused("the token's kid and alg are those of none of the issuer's keys")
                })?;
                self.checked(shown, &key.key, algorithm)
            }
        };
        checked.map_err(|error| {
            let problem = refused(&told(&error));
            // The signature is looked at first: it is the issuer's, and nobody guesses.
            match error.kind() {
                ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => problem.not_a_guess(),
                _ => problem,
            }
        })
    }

    fn checked(
        &self,
        shown: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Result<Claims, Error> {
        let mut validation = self.validation.clone();
        validation.algorithms = vec![algorithm];
        Ok(decode(shown, key, &validation)?.claims)
    }

    /// Until when a good token is taken.
    fn ends(&self, claims: &Claims) -> Option<Timestamp> {
        let expires = claims.get("exp").and_then(Value::as_f64)?;
        let expires = Duration::try_from_secs_f64(expires).ok()?;
        let leeway = Duration::from_secs(self.validation.leeway);
        Some(Timestamp::from_millis(0).later(expires).later(leeway))
    }

    /// The highest of the roles that are claimed.
    fn role(&self, claims: &Claims) -> Result<Role, Problem> {
        let words = |text: &str| text.split_whitespace().filter_map(Role::from_name).max();
        let role = match claim(claims, &self.role_claim) {
            Some(Value::String(text)) => words(text),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).filter_map(words).max(),
            _ => None,
        };
        role.ok_or_else(|| {
            Problem::forbidden(format!(
                "the token's claim {} has none of viewer, developer, operator and admin",
                self.role_claim
            ))
        })
    }

    async fn tenant(&self, claims: &Claims) -> Result<Option<String>, Problem> {
        let Some(Value::String(tenant)) = claim(claims, &self.tenant_claim) else {
            return Err(Problem::forbidden(format!(
                "the token has no claim {} with a tenant, or '*' for all",
                self.tenant_claim
            )));
        };
        if tenant == EVERY_TENANT {
            return Ok(None);
        }
        if !self.has_tenant(tenant).await? {
            return Err(Problem::forbidden(format!(
                "the token's claim {} is of a tenant that is not here",
                self.tenant_claim
            )));
        }
        Ok(Some(tenant.clone()))
    }

    async fn has_tenant(&self, id: &str) -> Result<bool, Problem> {
        let lock = || self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = lock().get(id).copied();
        if let Some((_, is_there)) = seen.filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(is_there);
        }
        let is_there = self.store.tenant(id).await?.is_some();
        let mut tenants = lock();
        if tenants.len() >= MOST_TENANTS {
            tenants.clear();
        }
        tenants.insert(id.to_owned(), (Instant::now(), is_there));
        Ok(is_there)
    }
}

/// The algorithm of a token, where there are published keys for it.
fn published(header: &Header) -> Option<Algorithm> {
    let all = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    all.into_iter().find(|one| *one == header.alg)
}

/// A claim by its name, or by the steps to it.
fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut steps = name.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    })
}

fn refused(reason: &str) -> Problem {
    Problem::unauthorized(reason, "Bearer realm=\"tandem\", error=\"invalid_token\"")
}

/// Why a token is not taken, for who shows it.
fn told(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ExpiredSignature => "the token is over: get a new one".to_owned(),
        ErrorKind::ImmatureSignature => {
            "the token is not good yet (nbf): is the node's clock right?".to_owned()
        }
        ErrorKind::InvalidIssuer => {
            "the token's iss is another one than [api.jwt] issuer".to_owned()
        }
        ErrorKind::InvalidAudience => {
            "the token's aud is another one than [api.jwt] audience".to_owned()
        }
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            format!("the token has no {name}, or not as RFC 7519 has it")
        }
        ErrorKind::InvalidAlgorithm => {
            "the token is not signed with the algorithm that is agreed on".to_owned()
        }
        ErrorKind::InvalidSignature => "the token's signature is wrong".to_owned(),
        _ => "the token cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_found_by_its_whole_name_and_by_the_steps_to_it() {
        let claims = json!({
            "role": "viewer",
            "https://example.test/role": "admin",
            "realm_access": { "roles": ["operator"] },
        });
        let claims = claims.as_object().unwrap();
        let found = |name| claim(claims, name).cloned();
        assert_eq!(found("role"), Some(json!("viewer")));
        assert_eq!(found("https://example.test/role"), Some(json!("admin")));
        assert_eq!(found("realm_access.roles"), Some(json!(["operator"])));
        for missing in ["", ".", "role.name", "realm_access.", "realm_access.role"] {
            assert_eq!(found(missing), None, "{missing}");
        }
    }

    #[test]
    fn three_parts_are_a_token() {
        assert!(Tokens::is_one("a.b.c") && Tokens::is_one(".."));
        for other in ["", "a", "a.b", "a.b.c.d", "tk_0_1"] {
            assert!(!Tokens::is_one(other), "{other}");
        }
    }
}
