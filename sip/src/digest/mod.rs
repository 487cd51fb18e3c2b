//! Digest authentication: RFC 3261 section 22, RFC 7616, RFC 8760.
//!
//! A server issues [`Challenge`]s whose nonces it can judge without having kept them ([`Nonces`]),
//! checks what comes back ([`Credentials::verify`]) and lets no answer in twice ([`ReplayGuard`]). A
//! client answers with [`answer`]. Passwords are needed by clients only: a server keeps [`Ha1`]s.

mod algorithm;
mod challenge;
mod client;
mod credentials;
mod nonce;
mod params;
mod replay;

pub use algorithm::{Algorithm, Ha1, Hash, Qop};
pub use challenge::Challenge;
pub use client::{Answer, Secret, answer};
pub use credentials::Credentials;
pub use nonce::{Freshness, Nonce, NonceSecret, Nonces};
pub use replay::{ReplayGuard, Use};

/// Why a challenge or credentials cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The value is not `Digest` followed by parameters, or one of those is malformed.
    #[error("the authentication header is malformed")]
    Malformed,
    /// A parameter stands twice: two readers could each take another one.
    #[error("the authentication header repeats a parameter")]
    Repeated,
    /// A parameter that the scheme requires is missing.
    #[error("the authentication header lacks its {0} parameter")]
    Missing(&'static str),
    /// The scheme is not `Digest`.
    #[error("the authentication scheme is not Digest")]
    Scheme,
    /// The algorithm or every qop value is unknown.
    #[error("the digest algorithm or quality of protection is not supported")]
    Unsupported,
    /// No challenge is for the realm that the credentials are for. Answering would leak them.
    #[error("no challenge is for the expected realm")]
    Realm,
    /// A name or a URI that is to be written holds a control character.
    #[error("a name, a realm or a URI to write holds a control character")]
    Injection,
}

#[cfg(test)]
mod tests;
