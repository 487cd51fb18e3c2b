//! `[api]`: who may use the node over HTTP, and how.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{net::Cidr, transport::CertificateFiles};

/// Octets of a shared secret at least: as many as HMAC-SHA256 gives (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;

/// `[api]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Where HTTP is served. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// The key of `Authorization: Bearer`. Default: a random one, shown once at the first start and
    /// kept in the data directory.
    pub admin_key: Option<String>,
    /// Requests of one key in a second at most. Default 200.
    pub requests: u32,
    /// The certificate and key of HTTPS, in PEM, which a reload reads again. Default: none, and HTTP is
    /// served.
    pub tls: Option<CertificateFiles>,
    /// Which pages may use the API from a browser, by their origins as browsers write them:
    /// `https://console.example.com`. Default: none but the node's own.
    pub cors: Vec<String>,
    /// Reverse proxies before the API, as addresses or blocks of them: what they say in the field of
    /// `forwarded_by` is who asks, for the limits of an address and the record of changes. Default: none.
    pub trusted_proxies: Vec<Cidr>,
    /// The field that those proxies write; the other one is their clients', and is not read. Default
    /// `x-forwarded-for`.
    pub forwarded_by: ForwardedBy,
    /// `[api.jwt]`: tokens of an identity provider, beside keys. Default: none are taken.
    pub jwt: Option<Jwt>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            admin_key: None,
            requests: 200,
            tls: None,
            cors: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
            jwt: None,
        }
    }
}

impl Api {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        for origin in self.cors.iter().filter(|origin| !is_origin(origin)) {
            errors.push(format!(
                "[api] cors: '{origin}' is no origin: write https://HOST, with :PORT where it is not \
                 the usual one, in lower case and with nothing after it"
            ));
        }
        // Everybody could say to be anybody.
        for block in self
            .trusted_proxies
            .iter()
            .filter(|block| block.prefix() == 0)
        {
            errors.push(format!(
                "[api] trusted_proxies: '{}/0' is everybody: name the proxies' own addresses",
                block.address()
            ));
        }
        if let Some(jwt) = &self.jwt {
            jwt.check(errors);
        }
    }
}

/// Whether this is an origin as browsers write it (RFC 6454 section 6.2): what they would write otherwise would
/// never be found again.
fn is_origin(text: &str) -> bool {
    let is_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_:[]".contains(&b);
    [("https://", ":443"), ("http://", ":80")]
        .into_iter()
        .any(|(scheme, usual)| {
            let rest = text.strip_prefix(scheme);
            rest.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(is_host) && !rest.ends_with(usual)
            })
        })
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("listen", &self.listen)
            .field("admin_key", &self.admin_key.as_ref().map(|_| "(hidden)"))
            .field("requests", &self.requests)
            .field("tls", &self.tls)
            .field("cors", &self.cors)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("forwarded_by", &self.forwarded_by)
            .field("jwt", &self.jwt)
            .finish()
    }
}

/// The field in which reverse proxies say whom they speak for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For`: addresses, the client's first.
    #[default]
    XForwardedFor,
    /// `Forwarded`, by the `for` of its elements (RFC 7239).
    Forwarded,
}

/// `[api.jwt]`: whose tokens (RFC 7519) open the API, and what of it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Who issues them: a token's `iss` is this.
    pub issuer: String,
    /// Whom they are for: a token's `aud` is this, or has it among others.
    pub audience: String,
    /// Where the issuer's public keys are (RFC 7517). A token is signed by one of them, with RS256, ES256
    /// or EdDSA, whichever its kind of key is for. This, or `secret`.
    pub jwks: Option<Jwks>,
    /// What issuer and node share: tokens are signed with HS256. At least 32 octets. This, or `jwks`.
    pub secret: Option<String>,
    /// The claim with a role, or roles, of which the highest counts: `viewer`, `developer`, `operator` or
    /// `admin`. What has no claim of the whole name is looked for with a step at each dot, as in
    /// `realm_access.roles`. A token without one opens nothing. Default `role`.
    #[serde(default = "role_claim")]
    pub role_claim: String,
    /// The claim with the tenant whose things the token opens; `*` for all, and the node. A token without it
    /// opens nothing. Default `tenant`.
    #[serde(default = "tenant_claim")]
    pub tenant_claim: String,
    /// Seconds that the issuer's clock and this one may differ by, 300 at most. Default 30.
    #[serde(default = "leeway")]
    pub leeway: u64,
    /// Seconds after which the keys of `jwks` are read again, 30 to 86,400. A token with a key that is not
    /// known has them read at once. Default 600.
    #[serde(default = "refresh")]
    pub refresh: u64,
}

fn role_claim() -> String {
    "role".to_owned()
}

fn tenant_claim() -> String {
    "tenant".to_owned()
}

const fn leeway() -> u64 {
    30
}

const fn refresh() -> u64 {
    600
}

impl Jwt {
    fn check(&self, errors: &mut Vec<String>) {
        for (key, value) in [
            ("issuer", &self.issuer),
            ("audience", &self.audience),
            ("role_claim", &self.role_claim),
            ("tenant_claim", &self.tenant_claim),
        ] {
            if value.is_empty() {
                errors.push(format!("[api.jwt] {key}: must not be empty"));
            }
        }
        match (&self.jwks, &self.secret) {
            (Some(_), None) => {}
            (None, Some(secret)) if secret.len() >= SHORTEST_SECRET => {}
            (None, Some(_)) => errors.push(format!(
                "[api.jwt] secret: must have at least {SHORTEST_SECRET} octets; \
                 'openssl rand -hex 32' makes one"
            )),
            // With both, a public key would be only a step from being taken for a secret.
            (Some(_), Some(_)) | (None, None) => errors.push(
                "[api.jwt]: write either jwks, the issuer's public keys, or secret, what it shares \
                 with this node"
                    .to_owned(),
            ),
        }
        if self.leeway > 300 {
            errors.push(format!(
                "[api.jwt] leeway = {}: must be 300 s at most",
                self.leeway
            ));
        }
        if !(30..=86_400).contains(&self.refresh) {
            errors.push(format!(
                "[api.jwt] refresh = {}: must be 30 to 86400 s",
                self.refresh
            ));
        }
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("jwks", &self.jwks)
            .field("secret", &self.secret.as_ref().map(|_| "(hidden)"))
            .field("role_claim", &self.role_claim)
            .field("tenant_claim", &self.tenant_claim)
            .field("leeway", &self.leeway)
            .field("refresh", &self.refresh)
            .finish()
    }
}

/// Where an issuer's public keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwks {
    /// `https://…`; `http://…` on this machine only, since whoever is on the way could put in keys.
    Url(String),
    /// A file.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Jwks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text.is_empty() {
                true => Err(D::Error::custom("name a URL, or a file")),
                false => Ok(Self::File(text.into())),
            };
        };
        let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err(D::Error::custom("the URL names no host"));
        }
        // The log names the URL; and what stands before an '@' only looks like a host.
        if authority.contains('@') {
            return Err(D::Error::custom(
                "write the URL without a user and a password: https://HOST/PATH",
            ));
        }
        match scheme {
            "https" => Ok(Self::Url(text)),
            "http" if is_here(authority) => Ok(Self::Url(text)),
            "http" => Err(D::Error::custom(
                "whoever is on the way could put in keys: use https://, or a file",
            )),
            _ => Err(D::Error::custom(
                "only https:// is read, http:// of this machine, and files",
            )),
        }
    }
}

/// Whether the authority of a URL is on this machine.
fn is_here(authority: &str) -> bool {
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = authority
        .split_once(':')
        .map_or(authority, |(host, _)| host);
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse().is_ok_and(is_loopback)
        || bare.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::ForwardedBy;
    use crate::Config;

    fn errors(jwt: &str) -> String {
        let text = format!("[api.jwt]\n{jwt}");
        Config::parse(&text, []).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn tokens_are_taken_by_public_keys_or_by_a_long_secret() {
        let of = "issuer = \"https://id.example.test\"\naudience = \"tandem\"\n";
        let secret = "0123456789abcdef0123456789abcdef";
        for good in [
            "jwks = \"https://id.example.test/keys\"".to_owned(),
            "jwks = \"http://127.0.0.1:9000/keys\"".to_owned(),
            "jwks = \"http://[::1]/keys\"".to_owned(),
            "jwks = \"http://localhost/keys\"".to_owned(),
            "jwks = \"/etc/tandem/keys.json\"".to_owned(),
            format!("secret = \"{secret}\""),
        ] {
            assert_eq!(errors(&format!("{of}{good}")), "", "{good}");
        }
        for (bad, wanted) in [
            (String::new(), "write either jwks"),
            (
                format!("jwks = \"/keys.json\"\nsecret = \"{secret}\""),
                "write either jwks",
            ),
            (
                format!("secret = \"{}\"", &secret[1..]),
                "at least 32 octets",
            ),
            ("jwks = \"http://id.example.test/\"".to_owned(), "https://"),
            (
                "jwks = \"http://127.0.0.1.example.test/\"".to_owned(),
                "https://",
            ),
            (
                "jwks = \"http://127.0.0.1@example.test/\"".to_owned(),
                "without a user",
            ),
            (
                "jwks = \"http://localhost:80@evil.test/keys\"".to_owned(),
                "without a user",
            ),
            (
                "jwks = \"https://ann:secret@id.example.test/keys\"".to_owned(),
                "without a user",
            ),
            (
                "jwks = \"https:///ann@id.example.test/keys\"".to_owned(),
                "no host",
            ),
            (
                "jwks = \"ftp://id.example.test/\"".to_owned(),
                "only https://",
            ),
            ("jwks = \"\"".to_owned(), "name a URL"),
            ("algorithm = \"none\"".to_owned(), "unknown field"),
            (
                format!("secret = \"{secret}\"\nleeway = 301"),
                "300 s at most",
            ),
            (format!("secret = \"{secret}\"\nrefresh = 1"), "30 to 86400"),
            (
                format!("secret = \"{secret}\"\nrole_claim = \"\""),
                "role_claim",
            ),
        ] {
            let told = errors(&format!("{of}{bad}"));
            assert!(told.contains(wanted), "{bad}: {told}");
        }
        assert!(errors("audience = \"a\"").contains("missing field `issuer`"));
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        let check = |origin: &str| Config::parse(&format!("[api]\ncors = [\"{origin}\"]"), []);
        for good in [
            "https://console.example.test",
            "http://localhost:3000",
            "https://[::1]:8443",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "",
            "https://",
            "https://*.example.test",
            "https://console.example.test/",
            "https://Console.example.test",
            "https://console.example.test:443",
            "http://localhost:80",
            "console.example.test",
        ] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains("[api] cors"), "{bad}: {error}");
        }
    }

    #[test]
    fn proxies_write_one_field_of_two() {
        let field = |text: &str| {
            let read = Config::parse(&format!("[api]\n{text}"), []);
            read.map(|read| read.config.api.forwarded_by)
        };
        assert_eq!(field("").unwrap(), ForwardedBy::XForwardedFor);
        for (name, wanted) in [
            ("x-forwarded-for", ForwardedBy::XForwardedFor),
            ("forwarded", ForwardedBy::Forwarded),
        ] {
            let read = field(&format!("forwarded_by = \"{name}\""));
            assert_eq!(read.unwrap(), wanted, "{name}");
        }
        let error = field("forwarded_by = \"x-real-ip\"").unwrap_err();
        let told = error.to_string();
        assert!(told.contains("`x-forwarded-for` or `forwarded`"), "{told}");
    }

    #[test]
    fn a_secret_is_in_no_error_and_no_debug() {
        let wrong = errors("issuer = \"a\"\naudience = \"b\"\nsecret = 1234567890123456789");
        assert!(
            !wrong.is_empty() && !wrong.contains("1234567890"),
            "{wrong}"
        );
        let text = "[api.jwt]\nissuer = \"a\"\naudience = \"b\"\nsecret = \"HUSHHUSHHUSHHUSHHUSHHUSHHUSHHUSH\"";
        let config = Config::parse(text, []).unwrap().config;
        assert!(!format!("{config:?}").contains("HUSH"));
    }
}
