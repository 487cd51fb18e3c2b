//! Answering a trunk's challenges, and nobody else's.
//!
//! A challenge can be forged: a party behind the trunk answers 407 in the name of another carrier, and
//! has our response to break at leisure (CVE-2021-41158). So none is answered but that of the realm
//! which is configured, or, where none is, of a domain that the trunk's hosts are in; and once one of
//! those has let us in, of that one alone.

use std::sync::OnceLock;

use control::config;
use sip::{
    digest::{Answer, Challenge, DigestError, Secret, answer},
    header::HeaderName,
    message::Message,
};

/// Who we are to a trunk, or to who is called with credentials.
pub(crate) struct Credentials {
    user: String,
    password: String,
    realm: Option<String>,
    /// Names of the trunk's hosts, and the domain that we register in.
    names: Vec<String>,
    /// The realm that has let us in.
    pinned: OnceLock<String>,
    /// Whoever is called may ask: they are for that call alone.
    for_anybody: bool,
}

/// An answer to a challenge.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Which field it goes into.
    pub(crate) header: HeaderName,
    /// The field's value.
    pub(crate) value: String,
    /// The realm that was answered.
    pub(crate) realm: String,
    /// The server says that the nonce was too old, not the password wrong.
    pub(crate) stale: bool,
}

/// Why a challenge is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It is of a realm that is not the trunk's.
    #[error(
        "it challenges for realm \"{0}\", which is not the trunk's: if it should be, set realm in the \
         trunk's auth or register"
    )]
    Realm(String),
    /// No challenge of the response is understood.
    #[error("it challenges in a way that is not known: {0}")]
    Unsupported(#[from] DigestError),
}

impl Credentials {
    /// Those of a trunk; `None` where it has none.
    pub(super) fn of(trunk: &config::Trunk) -> Option<Self> {
        let (user, password, realm) = match (&trunk.auth, &trunk.register) {
            (Some(auth), _) => (&auth.user, &auth.password, &auth.realm),
            (None, Some(register)) => (
                register.auth_user.as_ref().unwrap_or(&register.user),
                &register.password,
                &register.realm,
            ),
            (None, None) => return None,
        };
        let register = trunk.register.as_ref();
        let registrar = register.and_then(|register| register.registrar.as_ref());
        let domain = register.and_then(|register| register.domain.clone());
        let hosts = trunk.hosts.iter().map(|host| &host.host);
        let names = hosts.chain(registrar).map(|host| host.name.clone());
        Some(Self {
            user: user.clone(),
            password: password.clone(),
            realm: realm.clone(),
            names: names.chain(domain).collect(),
            pinned: OnceLock::new(),
            for_anybody: false,
        })
    }

    /// Those of one call, as a document or the REST API gives them.
    pub(crate) const fn of_call(user: String, password: String) -> Self {
        Self {
            user,
            password,
            realm: None,
            names: Vec::new(),
            pinned: OnceLock::new(),
            for_anybody: true,
        }
    }

    /// Answers the challenges of a 401 or 407 to `request`. `cnonce` is random; `nc` counts how often
    /// the nonce was used, this time included.
    pub(crate) fn answer(
        &self,
        response: &Message,
        request: &Message,
        cnonce: &str,
        nc: u32,
    ) -> Result<Answered, Unanswered> {
        let header = match response.status() {
            Some(401) => HeaderName::Authorization,
            _ => HeaderName::ProxyAuthorization,
        };
        let challenges = Challenge::of_response(response);
        let Some(first) = challenges.first() else {
            return Err(DigestError::Scheme.into());
        };
        let ours = challenges
            .iter()
            .find(|challenge| self.is_ours(&challenge.realm))
            .ok_or_else(|| Unanswered::Realm(first.realm.clone().into_owned()))?;
        let realm = ours.realm.clone().into_owned();
        let asked = Answer {
            username: &self.user,
            secret: Secret::Password(&self.password),
            realm: Some(&realm),
            method: request.method().map_or("", |method| method.as_str()),
            uri: std::str::from_utf8(request.request_uri_raw()).unwrap_or_default(),
            body: request.body(),
            cnonce,
            nc,
        };
        let (value, at) = answer(&challenges, &asked)?;
        Ok(Answered {
            header,
            value,
            realm,
            stale: challenges.get(at).is_some_and(|challenge| challenge.stale),
        })
    }

    /// A realm has let us in: no other is answered from now on.
    pub(crate) fn pin(&self, realm: &str) {
        // The first one stays.
        let _ = self.pinned.set(realm.to_owned());
    }

    /// Whether the same configuration made both.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let parts = |this: &Self| (this.user.clone(), this.password.clone(), this.realm.clone());
        parts(self) == parts(other) && self.names == other.names
    }

    fn is_ours(&self, realm: &str) -> bool {
        let only = self.realm.as_ref().or_else(|| self.pinned.get());
        match only {
            Some(only) => only.eq_ignore_ascii_case(realm),
            None if self.for_anybody => true,
            None => self.names.iter().any(|name| is_within(name, realm)),
        }
    }
}

/// Whether a host is in a domain, or is it. A top-level domain is everybody's, and counts for none.
fn is_within(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let above = host
        .strip_suffix(&domain)
        .is_some_and(|front| front.ends_with('.'));
    let is_ip = host.parse::<std::net::IpAddr>().is_ok();
    host == domain || above && !is_ip && domain.contains('.')
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answered")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sip::{
        digest::Credentials as Given,
        message::{Method, RequestBuilder},
    };

    use super::*;

    fn trunk(text: &str) -> config::Trunk {
        let text = format!("[[trunks]]\nname = \"a\"\n{text}\n");
        let loaded = config::Config::parse(&text, Vec::new()).unwrap();
        loaded.config.trunks.into_iter().next().unwrap()
    }

    fn request() -> Message {
        RequestBuilder::new(&Method::Invite, "sip:1@gw.carrier.test")
            .header(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
            .header(HeaderName::From, "<sip:a@node>;tag=1")
            .header(HeaderName::To, "<sip:1@gw.carrier.test>")
            .header(HeaderName::CallId, "1")
            .header(HeaderName::CSeq, "1 INVITE")
            .build()
            .unwrap()
    }

    fn answered(
        credentials: &Credentials,
        status: u16,
        values: &[&str],
    ) -> Result<Answered, Unanswered> {
        let request = request();
        let name = match status {
            401 => HeaderName::WwwAuthenticate,
            _ => HeaderName::ProxyAuthenticate,
        };
        let mut response = request.respond(status).to_tag("2");
        for value in values {
            response = response.header(name, value);
        }
        credentials.answer(&response.build().unwrap(), &request, "cn", 1)
    }

    const AUTH: &str =
        "hosts = [\"sip:gw.carrier.test\"]\nauth = { user = \"u\", password = \"p\" }";

    #[test]
    fn only_the_trunks_own_realm_is_answered() {
        let ours = Credentials::of(&trunk(AUTH)).unwrap();
        let named = AUTH.replace("\"p\"", "\"p\", realm = \"asterisk\"");
        let named = Credentials::of(&trunk(&named)).unwrap();
        let ip = AUTH.replace("sip:gw.carrier.test", "192.0.2.7");
        let ip = Credentials::of(&trunk(&ip)).unwrap();
        for (credentials, realm, wanted) in [
            (&ours, "gw.carrier.test", true),
            (&ours, "Carrier.Test", true),
            (&ours, "test", false),
            (&ours, "arrier.test", false),
            (&ours, "gw.carrier.test.evil.test", false),
            (&ours, "asterisk", false),
            (&ours, "", false),
            (&named, "asterisk", true),
            (&named, "gw.carrier.test", false),
            (&ip, "192.0.2.7", true),
            (&ip, "2.7", false),
        ] {
            let value = format!("Digest realm=\"{realm}\",nonce=\"n\",qop=\"auth\"");
            let got = answered(credentials, 407, &[&value]);
            assert_eq!(got.is_ok(), wanted, "{realm}: {got:?}");
            if !wanted {
                assert_eq!(got, Err(Unanswered::Realm(realm.to_owned())));
            }
        }
    }

    #[test]
    fn the_realm_that_let_us_in_is_the_only_one_from_then_on() {
        let ours = Credentials::of(&trunk(AUTH)).unwrap();
        ours.pin("carrier.test");
        ours.pin("gw.carrier.test");
        let of = |realm: &str| format!("Digest realm=\"{realm}\",nonce=\"n\"");
        assert!(answered(&ours, 401, &[&of("carrier.test")]).is_ok());
        assert!(answered(&ours, 401, &[&of("gw.carrier.test")]).is_err());
    }

    #[test]
    fn the_strongest_algorithm_of_our_realm_is_taken() {
        let ours = Credentials::of(&trunk(AUTH)).unwrap();
        let of = |realm: &str, algorithm: &str| {
            format!(
                "Digest realm=\"{realm}\",nonce=\"n-{algorithm}\",qop=\"auth\",algorithm={algorithm}"
            )
        };
        let got = answered(
            &ours,
            401,
            &[
                &of("carrier.test", "MD5"),
                &of("other.test", "SHA-512-256"),
                &of("carrier.test", "SHA-256"),
                "Basic realm=\"carrier.test\"",
            ],
        );
        let got = got.unwrap();
        assert_eq!(got.header, HeaderName::Authorization);
        let given = Given::parse(got.value.as_bytes()).unwrap();
        assert_eq!(given.realm, "carrier.test");
        assert!(got.value.contains("nonce=\"n-SHA-256\""), "{}", got.value);
        assert!(!got.value.contains("n-MD5"));
    }

    #[test]
    fn what_cannot_be_answered_says_why_and_shows_no_secret() {
        let ours = Credentials::of(&trunk(&AUTH.replace("\"p\"", "\"hunter2\""))).unwrap();
        let none: [&str; 0] = [];
        assert!(matches!(
            answered(&ours, 401, &none),
            Err(Unanswered::Unsupported(_))
        ));
        let odd = "Digest realm=\"carrier.test\",nonce=\"n\",algorithm=TOKEN-9";
        assert!(matches!(
            answered(&ours, 401, &[odd]),
            Err(Unanswered::Unsupported(_))
        ));
        assert!(!format!("{ours:?}").contains("hunter2"));
        assert!(Credentials::of(&trunk("hosts = [\"192.0.2.1\"]")).is_none());
    }
}
