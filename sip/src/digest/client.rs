//! A client's answer to challenges.

use std::fmt::Write as _;

use super::{
    Algorithm, Challenge, DigestError, Ha1, Qop,
    algorithm::Inputs,
    params::{quote, written},
};

/// What proves who a client is.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// The password: fits any realm and algorithm.
    Password(&'a str),
    /// An HA1: fits its own realm and hash only.
    Ha1(&'a Ha1),
}

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// Who answers, and for which request.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The user's name.
    pub username: &'a str,
    /// What proves it.
    pub secret: Secret<'a>,
    /// The realm that the secret is for. A challenge of any other is not answered: a stranger could
    /// collect responses and guess the password from them. `None` takes any.
    pub realm: Option<&'a str>,
    /// The request's method.
    pub method: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    /// The request's body, for `auth-int`.
    pub body: &'a [u8],
    /// Random, of the client's own making.
    pub cnonce: &'a str,
    /// How often the nonce was used, this time included.
    pub nc: u32,
}

/// The value of `Authorization` or `Proxy-Authorization` for the strongest challenge that is
/// understood, and the index of that challenge.
///
/// # Errors
/// [`DigestError::Realm`] where none is for the realm asked for, [`DigestError::Unsupported`] where
/// none is understood, [`DigestError::Injection`] where a name cannot be written.
pub fn answer(
    challenges: &[Challenge<'_>],
    request: &Answer<'_>,
) -> Result<(String, usize), DigestError> {
    let ours = |challenge: &Challenge<'_>| {
        let wanted = request.realm;
        wanted.is_none_or(|realm| challenge.realm.eq_ignore_ascii_case(realm))
    };
    if !challenges.iter().any(ours) {
        return Err(DigestError::Realm);
    }
    let understood = challenges.iter().enumerate().filter_map(|(at, challenge)| {
        let algorithm = challenge.algorithm.filter(|_| ours(challenge))?;
        let fits = match request.secret {
            Secret::Password(_) => true,
            Secret::Ha1(ha1) => ha1.hash() == algorithm.hash,
        };
        let known_qop = !challenge.requires_qop || !challenge.qop.is_empty();
        (fits && known_qop).then_some((algorithm, at, challenge))
    });
    // The first among equals: the server prefers it.
    let best = understood.min_by_key(|(algorithm, at, _)| (std::cmp::Reverse(algorithm.hash), *at));
    let (algorithm, at, challenge) = best.ok_or(DigestError::Unsupported)?;
    Ok((write(challenge, algorithm, request)?, at))
}

fn write(
    challenge: &Challenge<'_>,
    algorithm: Algorithm,
    request: &Answer<'_>,
) -> Result<String, DigestError> {
    let Answer {
        username,
        method,
        uri,
        cnonce,
        body,
        ..
    } = *request;
    let computed;
    let ha1 = match request.secret {
        Secret::Ha1(ha1) => ha1,
        Secret::Password(password) => {
            computed = Ha1::new(algorithm.hash, username, &challenge.realm, password);
            &computed
        }
    };
    let qop = match challenge.qop.as_slice() {
        [] => None,
        offered if offered.contains(&Qop::Auth) => Some(Qop::Auth),
        _ => Some(Qop::AuthInt),
    };
    let nc = format!("{:08x}", request.nc);
    let inputs = Inputs {
        algorithm,
        nonce: &challenge.nonce,
        cnonce,
        nc: &nc,
        qop: qop.map(|qop| (qop, qop.as_str())),
        method,
        uri,
        body,
    };
    let response = inputs.response(ha1);

    let is_safe = |text: &str| !text.contains(['"', '\\']) && !text.chars().any(char::is_control);
    if !is_safe(uri) || !is_safe(cnonce) {
        return Err(DigestError::Injection);
    }
    let name = if challenge.userhash {
        let parts = [username.as_bytes(), challenge.realm.as_bytes()];
        algorithm.hash.joined(&parts).as_str().to_owned()
    } else {
        quote(username).ok_or(DigestError::Injection)?.into_owned()
    };
    let realm = quote(&challenge.realm).ok_or(DigestError::Injection)?;
    // What the server did not put between quotes may not be fit for them.
    let nonce = written(&challenge.nonce).ok_or(DigestError::Injection)?;
    let mut value = format!(
        "Digest username=\"{name}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"{uri}\",response=\"{}\"",
        response.as_str(),
    );
    // Writing to a String cannot fail. RFC 2617 servers are told MD5 too: RFC 8760 wants it named.
    let _ = write!(value, ",algorithm={algorithm}");
    if qop.is_some() || algorithm.session {
        let _ = write!(value, ",cnonce=\"{cnonce}\"");
    }
    if let Some(qop) = qop {
        let _ = write!(value, ",qop={},nc={nc}", qop.as_str());
    }
    if let Some(opaque) = &challenge.opaque {
        let opaque = written(opaque).ok_or(DigestError::Injection)?;
        let _ = write!(value, ",opaque=\"{opaque}\"");
    }
    if challenge.userhash {
        value.push_str(",userhash=true");
    }
    Ok(value)
}
