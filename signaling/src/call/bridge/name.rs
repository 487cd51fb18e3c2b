//! What operators and phones name: users, numbers and URIs.

use control::{Fault, FaultCode};
use sip::uri::{Uri, escape_user};

use crate::{
    call::Core,
    directory::{is_number, plain},
};

/// Characters of a name or number at most.
const LONGEST: usize = 256;

impl Core {
    /// The URI that is meant by `alice@example.test`, `alice` of the first domain, a number, or a `sip:` or
    /// `tel:` URI.
    pub(in crate::call) fn uri_of_party(&self, member: &str, name: &str) -> Result<String, Fault> {
        let invalid = |why: &str| Fault::new(FaultCode::Invalid, format!("{member}: {why}"));
        let name = name.trim();
        if name.len() > LONGEST {
            return Err(invalid("it is too long"));
        }
        let number;
        let mut named = None;
        let bare = match scheme(name) {
            Some(("sip", rest)) => {
                named = Some(user_of(name).ok_or_else(|| invalid("its sip: URI has no user"))?);
                rest
            }
            Some(("tel", rest)) => {
                number = plain(rest);
                if !is_number(&number) {
                    return Err(invalid("what follows tel: is no telephone number"));
                }
                &number
            }
            Some(("sips", _)) => {
                return Err(invalid(
                    "sips: asks for TLS up to the phone, which the node does not promise for a call of \
                     its own: write sip:",
                ));
            }
            _ => name,
        };
        if bare.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(invalid("it has white space"));
        }
        let domain = self.directory.domains().first();
        let (user, host) = bare.rsplit_once('@').unwrap_or_else(|| {
            let host = domain.map_or_else(|| self.sent_by(), String::as_str);
            (bare, host)
        });
        // That of a URI has its escapes already.
        let user = named.as_deref().unwrap_or(user);
        if user.is_empty() {
            return Err(invalid("name a user or a number"));
        }
        let uri = format!("sip:{}@{host}", escape_user(user));
        match Uri::parse(&uri) {
            Ok(parsed) if parsed.host().is_some() && parsed.user().is_some() => Ok(uri),
            _ => Err(invalid("write it as alice@example.test, or as a number")),
        }
    }
}

/// The user of a `sip:` URI, without escapes.
fn user_of(uri: &str) -> Option<String> {
    let uri = Uri::parse(uri).ok()?;
    String::from_utf8(uri.user_unescaped()?.into_owned()).ok()
}

/// The scheme of a name that has one of those known here, in lower case, and what follows.
fn scheme(name: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = name.split_once(':')?;
    let mut known = ["sip", "sips", "tel"].into_iter();
    let known = known.find(|known| scheme.eq_ignore_ascii_case(known))?;
    Some((known, rest))
}
