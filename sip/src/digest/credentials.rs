//! `Authorization` and `Proxy-Authorization`.

use std::borrow::Cow;

use super::{
    Algorithm, DigestError, Ha1, Hash, Qop,
    algorithm::Inputs,
    params::{AuthParams, schemes},
};
use crate::{header::HeaderName, message::Message};

/// What a client sends to prove that it knows a password. Nothing of it is proven before
/// [`Credentials::verify`].
#[derive(Clone)]
pub struct Credentials<'a> {
    /// The user's name, quoting resolved; of `username*` the decoded text.
    pub username: Cow<'a, str>,
    /// The realm, quoting resolved.
    pub realm: Cow<'a, str>,
    /// The nonce as written.
    pub nonce: &'a str,
    /// `digest-uri` as written.
    pub uri: &'a str,
    /// The algorithm; MD5 where none is named.
    pub algorithm: Algorithm,
    /// What the response covers. `None`: as RFC 2069 had it.
    pub qop: Option<Qop>,
    /// The nonce count: 1 for the first use of a nonce. `None` exactly where `qop` is.
    pub nc: Option<u32>,
    /// `username` is a hash (RFC 7616 section 3.4.4).
    pub userhash: bool,
    qop_raw: &'a str,
    nc_raw: &'a str,
    cnonce: &'a str,
    response: &'a str,
}

impl<'a> Credentials<'a> {
    /// Parses a header field's value.
    ///
    /// # Errors
    /// [`DigestError::Scheme`] for another scheme, [`DigestError::Unsupported`] for an algorithm or qop
    /// that is not known here, and others where the value breaks the grammar. A qop without `nc` and
    /// `cnonce` is malformed: its response could be used for ever.
    pub fn parse(value: &'a [u8]) -> Result<Self, DigestError> {
        let mut schemes = schemes(value)?.into_iter();
        let scheme = schemes.next().ok_or(DigestError::Malformed)?;
        if !scheme.is_digest() {
            return Err(DigestError::Scheme);
        }
        // Credentials stand alone in their field (RFC 3261 section 20.7).
        if schemes.next().is_some() {
            return Err(DigestError::Malformed);
        }
        Self::from_params(&scheme.params?)
    }

    /// The credentials of a request that are for this realm; several proxies may each find theirs
    /// (RFC 3261 section 22.3). The first error where none is and one is malformed.
    ///
    /// # Errors
    /// As [`Credentials::parse`].
    pub fn of_request(
        request: &'a Message,
        name: HeaderName,
        realm: &str,
    ) -> Result<Option<Self>, DigestError> {
        let mut malformed = None;
        for value in request.values(name) {
            match Self::parse(value) {
                Ok(credentials) if credentials.realm.eq_ignore_ascii_case(realm) => {
                    return Ok(Some(credentials));
                }
                // Another proxy's, whatever they are.
                Ok(_) | Err(DigestError::Scheme) => {}
                Err(error) => malformed = malformed.or(Some(error)),
            }
        }
        malformed.map_or(Ok(None), Err)
    }

    /// Whether whoever wrote them knew the password. The time that this takes does not depend on
    /// where the response differs.
    pub fn verify(&self, ha1: &Ha1, method: &str, body: &[u8]) -> bool {
        if ha1.hash() != self.algorithm.hash {
            return false;
        }
        let inputs = Inputs {
            algorithm: self.algorithm,
            nonce: self.nonce,
            cnonce: self.cnonce,
            nc: self.nc_raw,
            qop: self.qop.map(|qop| (qop, self.qop_raw)),
            method,
            uri: self.uri,
            body,
        };
        inputs.response(ha1).matches(self.response)
    }

    fn from_params(params: &AuthParams<'a>) -> Result<Self, DigestError> {
        let username = match (params.find("username"), params.find("username*")) {
            (Some(name), None) => name.text(),
            (None, Some(name)) => extended(name.raw())?,
            (Some(_), Some(_)) => return Err(DigestError::Repeated),
            (None, None) => return Err(DigestError::Missing("username")),
        };
        let algorithm = match params.find("algorithm") {
            Some(value) => Algorithm::parse(&value.text()).ok_or(DigestError::Unsupported)?,
            None => Hash::Md5.into(),
        };
        let raw = |name| params.find(name).map(|value| value.raw());
        let qop = match raw("qop") {
            // Some old clients write the parameter without a value where none was asked for.
            None | Some("") => None,
            Some(text) => Some((Qop::parse(text).ok_or(DigestError::Unsupported)?, text)),
        };
        let (nc, nc_raw) = match (qop, raw("nc")) {
            (None, _) => (None, ""),
            (Some(_), None) => return Err(DigestError::Missing("nc")),
            (Some(_), Some(text)) => (Some(count(text)?), text),
        };
        let cnonce = raw("cnonce");
        if cnonce.is_none() && (qop.is_some() || algorithm.session) {
            return Err(DigestError::Missing("cnonce"));
        }
        Ok(Self {
            username,
            realm: params.need("realm")?.text(),
            nonce: params.need("nonce")?.raw(),
            uri: params.need("uri")?.raw(),
            algorithm,
            qop: qop.map(|(qop, _)| qop),
            nc,
            userhash: params
                .find("userhash")
                .is_some_and(|value| value.is("true")),
            qop_raw: qop.map(|(_, text)| text).unwrap_or_default(),
            nc_raw,
            cnonce: cnonce.unwrap_or_default(),
            response: params.need("response")?.raw(),
        })
    }
}

/// Who they are for; not what they prove.
impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .field("qop", &self.qop)
            .field("nc", &self.nc)
            .finish_non_exhaustive()
    }
}

/// `nc-value`: eight hex digits.
fn count(text: &str) -> Result<u32, DigestError> {
    let legal = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let count = legal.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    count
        .filter(|count| *count > 0)
        .ok_or(DigestError::Malformed)
}

/// `UTF-8''percent-encoded` (RFC 8187).
fn extended(raw: &str) -> Result<Cow<'_, str>, DigestError> {
    let mut parts = raw.splitn(3, '\'');
    let charset = parts.next().unwrap_or_default();
    let text = parts.nth(1).ok_or(DigestError::Malformed)?;
    if !charset.eq_ignore_ascii_case("UTF-8") {
        return Err(DigestError::Unsupported);
    }
    let bytes = crate::uri::unescape(text).into_owned();
    let text = String::from_utf8(bytes).map_err(|_| DigestError::Malformed)?;
    Ok(Cow::Owned(text))
}
