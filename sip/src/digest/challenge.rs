//! `WWW-Authenticate` and `Proxy-Authenticate`.

use std::borrow::Cow;

use super::{
    Algorithm, DigestError, Qop,
    params::{AuthParams, Scheme, quote, schemes, written},
};
use crate::{header::HeaderName, message::Message};

/// A digest challenge: what the client has to prove, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The realm, quoting resolved.
    pub realm: Cow<'a, str>,
    /// The nonce as written between its quotes.
    pub nonce: Cow<'a, str>,
    /// `None` for an algorithm that is unknown here; MD5 where none is named.
    pub algorithm: Option<Algorithm>,
    /// The qualities of protection that are offered and known here. Empty together with
    /// `requires_qop` unset: the client answers as RFC 2069 had it.
    pub qop: Vec<Qop>,
    /// Whether a `qop` parameter is there at all, known values or not.
    pub requires_qop: bool,
    /// The credentials were right but for the nonce's age: to be computed anew, without a question
    /// to the user.
    pub stale: bool,
    /// To be given back as written.
    pub opaque: Option<Cow<'a, str>>,
    /// The server wants the user's name hashed (RFC 7616 section 3.4.4).
    pub userhash: bool,
}

impl<'a> Challenge<'a> {
    /// A challenge to send, with `qop="auth"`.
    pub fn new(realm: &'a str, nonce: &'a str, algorithm: Algorithm) -> Self {
        Self {
            realm: Cow::Borrowed(realm),
            nonce: Cow::Borrowed(nonce),
            algorithm: Some(algorithm),
            qop: vec![Qop::Auth],
            requires_qop: true,
            stale: false,
            opaque: None,
            userhash: false,
        }
    }

    /// Every digest challenge of one header field's value. Other schemes and malformed challenges are
    /// passed over: a client answers what it understands (RFC 7616 section 3.7).
    pub fn parse_all(value: &'a [u8]) -> Vec<Self> {
        let schemes = schemes(value).unwrap_or_default();
        let digests = schemes.into_iter().filter(Scheme::is_digest);
        digests
            .filter_map(|scheme| Self::from_params(&scheme.params.ok()?).ok())
            .collect()
    }

    /// Every digest challenge of a 401 or 407 response, in order.
    pub fn of_response(response: &'a Message) -> Vec<Self> {
        let name = match response.status() {
            Some(401) => HeaderName::WwwAuthenticate,
            Some(407) => HeaderName::ProxyAuthenticate,
            _ => return Vec::new(),
        };
        response.values(name).flat_map(Self::parse_all).collect()
    }

    /// The header field's value.
    ///
    /// # Errors
    /// [`DigestError::Injection`] where a text holds a control character, or would end its quotes, and
    /// [`DigestError::Unsupported`] without an algorithm.
    pub fn to_value(&self) -> Result<String, DigestError> {
        let algorithm = self.algorithm.ok_or(DigestError::Unsupported)?;
        let realm = quote(&self.realm).ok_or(DigestError::Injection)?;
        let nonce = written(&self.nonce).ok_or(DigestError::Injection)?;
        let mut value = String::with_capacity(256);
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| value.push_str(part));
        put(&["Digest realm=\"", &realm, "\",nonce=\"", nonce, "\""]);
        if let Some(opaque) = &self.opaque {
            let opaque = written(opaque).ok_or(DigestError::Injection)?;
            put(&[",opaque=\"", opaque, "\""]);
        }
        if self.stale {
            put(&[",stale=true"]);
        }
        put(&[",algorithm=", algorithm.hash.as_str(), algorithm.suffix()]);
        for (at, qop) in self.qop.iter().enumerate() {
            let before = if at == 0 { ",qop=\"" } else { "," };
            put(&[before, qop.as_str()]);
        }
        if !self.qop.is_empty() {
            put(&["\""]);
        }
        Ok(value)
    }

    fn from_params(params: &AuthParams<'a>) -> Result<Self, DigestError> {
        let algorithm = match params.find("algorithm") {
            Some(value) => Algorithm::parse(&value.text()),
            None => Some(super::Hash::Md5.into()),
        };
        let offered = params.find("qop");
        let known = offered.iter().flat_map(|value| value.raw().split(','));
        let flag = |name| params.find(name).is_some_and(|value| value.is("true"));
        Ok(Self {
            realm: params.need("realm")?.text(),
            nonce: Cow::Borrowed(params.need("nonce")?.raw()),
            algorithm,
            qop: known.filter_map(|name| Qop::parse(name.trim())).collect(),
            requires_qop: offered.is_some(),
            stale: flag("stale"),
            opaque: params
                .find("opaque")
                .map(|value| Cow::Borrowed(value.raw())),
            userhash: flag("userhash"),
        })
    }
}
