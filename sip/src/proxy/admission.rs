//! Whether a request may be routed at all (RFC 3261 section 16.3).

use super::identity::Identity;
use crate::header::HeaderName;
use crate::message::{Invalid, Message, Method};

/// What is to become of a request that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Route it.
    Route,
    /// An OPTIONS whose Max-Forwards is used up: it asks this proxy, which answers for itself.
    AnswerOptions,
}

/// Why a request is not routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The message breaks the rules. Owed 400, 416 or 505.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Max-Forwards is used up. Owed 483.
    #[error("Max-Forwards is used up: the request may run in a circle")]
    TooManyHops,
    /// The request has been here before. Owed 482.
    #[error("the request has been here before with the same target: check the routes for a loop")]
    Loop,
    /// Proxy-Require asks for what this proxy does not know. Owed 420.
    #[error("Proxy-Require asks for unknown extensions: {}", .0.join(", "))]
    Extensions(Vec<String>),
}

/// Judges a request, `extensions` being the option tags that this proxy knows.
///
/// # Errors
/// The request is to be refused; see [`Refusal::response`].
pub fn admit(
    request: &Message,
    identity: &Identity,
    extensions: &[&str],
) -> Result<Admission, Refusal> {
    request.validate()?;
    let hops = request.max_forwards().map_err(Invalid::from)?;
    if hops == Some(0) {
        return match request.method() {
            Some(Method::Options) => Ok(Admission::AnswerOptions),
            _ => Err(Refusal::TooManyHops),
        };
    }
    if identity.is_loop(request) {
        return Err(Refusal::Loop);
    }
    let known = |tag: &[u8]| {
        extensions
            .iter()
            .any(|k| k.as_bytes().eq_ignore_ascii_case(tag))
    };
    let unknown = request
        .values(HeaderName::ProxyRequire)
        .filter(|tag| !known(tag));
    let unknown: Vec<_> = unknown
        .map(|tag| String::from_utf8_lossy(tag).into_owned())
        .collect();
    // A CANCEL and an ACK cannot be refused for it: they follow an INVITE that was let pass.
    if !unknown.is_empty() && !matches!(request.method(), Some(Method::Ack | Method::Cancel)) {
        return Err(Refusal::Extensions(unknown));
    }
    Ok(Admission::Route)
}

impl Refusal {
    /// The status that the request is owed.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(invalid) => invalid.status(),
            Self::TooManyHops => 483,
            Self::Loop => 482,
            Self::Extensions(_) => 420,
        }
    }

    /// The response that the request is owed, with this To tag. `None` for an ACK, which is never
    /// answered, and for a request that is too broken to be.
    #[must_use]
    pub fn response(&self, request: &Message, tag: &str) -> Option<Message> {
        if request.method().is_none_or(|method| *method == Method::Ack) {
            return None;
        }
        let mut response = request.respond(self.status()).to_tag(tag);
        if let Self::Extensions(tags) = self {
            response = response.header(HeaderName::Unsupported, tags.join(", "));
        }
        response.build().ok()
    }
}
