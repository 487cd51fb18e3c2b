//! `[[trunks]]`: the carriers and switches that calls come from and go to.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    CallerId, Cidr, Codes, Host, NumberRule, Transport, VoiceMethod,
    checks::{self, Checks},
    voice::is_webhook,
};
use crate::media::{OneStream, SourcePolicy};

/// A carrier or a switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// What routes, numbers and CDRs call it.
    pub name: String,
    /// Where calls to it go, tried by priority and within it by weight, in order where nothing is said;
    /// none for a trunk that only calls us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<TrunkHost>,
    /// Where calls from it come from; none for a trunk that only we call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Source>,
    /// Names of which its certificate has one, by which it is known from any address, where
    /// `[sip.tls] client_auth` asks for certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Final responses after which the next host or carrier is tried. A host that gives no answer
    /// counts as 408 before it was heard, one that cannot be reached as 503.
    #[serde(default = "default_failover")]
    pub failover: Codes,
    /// User and password with which the trunk's challenges are answered (RFC 3261 section 22). Default:
    /// those of `register`; without either a challenge counts as a failure of the trunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<TrunkAuth>,
    /// Where this node registers itself with user and password. Default: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<Register>,
    /// Asking the hosts by OPTIONS whether they are there. Default: they are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What is done to the numbers of calls from it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers_in: Vec<NumberRule>,
    /// What is done to the numbers of calls to it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers_out: Vec<NumberRule>,
    /// Who calls to it are from. Default `pass`.
    #[serde(default)]
    pub caller_id: CallerId,
    /// Within our trust domain (RFC 3325): what it asserts of a caller is believed, and what we assert
    /// may be told to it. Default false.
    #[serde(default)]
    pub trusted: bool,
    /// How the caller is asserted to it. Default `pai` where it is trusted, `none` where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityHeader>,
    /// A caller's wish for privacy is done (RFC 3323). Default true.
    #[serde(default = "yes")]
    pub privacy: bool,
    /// Headers of requests from it.
    #[serde(default, skip_serializing_if = "HeaderRules::is_empty")]
    pub headers_in: HeaderRules,
    /// Headers of requests to it.
    #[serde(default, skip_serializing_if = "HeaderRules::is_empty")]
    pub headers_out: HeaderRules,
    /// What a 3xx from it means. Default `pass`.
    #[serde(default)]
    pub redirect: Redirect,
    /// Calls at once, in both directions. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
    /// Calls that begin within a second, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cps: Option<u32>,
    /// Seconds that a call through it may last. Default: no bound of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<u32>,
    /// Where it may send media from, as `docs/sources.md` has it. Default: as `[media] sources` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<SourcePolicy>,
    /// It may go on from another host after silence. Default: as `[media] handover` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<bool>,
    /// Whether it hears one RTP stream, whoever speaks to it. Default: as `[media] one_stream` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_stream: Option<OneStream>,
    /// The media interface of calls with it, by its name in `[[media.interfaces]]`. Default: `[media] address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Calls from it lead to an application of this account, with `voice_url` or `application`, whatever number they
    /// are to; but those to one of `[[numbers]]` and to a user lead there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// An application of the store: its name or its id. Default `account`: the first one of the application's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Who is asked, by an `http:` or `https:` URL, what becomes of a call from it, in place of `application`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_url: Option<String>,
    /// How it is asked. Default `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_method: Option<VoiceMethod>,
}

/// A host with its rank among the trunk's: a text, or a table with `host`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrunkHost {
    /// Where it is.
    pub host: Host,
    /// The lowest that is up is tried first. Default 0.
    pub priority: u16,
    /// Its share of the calls among those of one priority; where none of them says it, they are
    /// tried in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

impl fmt::Display for TrunkHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

impl From<Host> for TrunkHost {
    fn from(host: Host) -> Self {
        Self {
            host,
            priority: 0,
            weight: None,
        }
    }
}

impl<'de> Deserialize<'de> for TrunkHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            host: Host,
            #[serde(default)]
            priority: u16,
            weight: Option<u16>,
        }
        checks::text_or_table(
            deserializer,
            |text| {
                text.parse::<Host>()
                    .map(Self::from)
                    .map_err(|error| error.to_string())
            },
            |long: Long| Self {
                host: long.host,
                priority: long.priority,
                weight: long.weight,
            },
        )
    }
}

/// Where calls come from: `192.0.2.0/24`, or a table with `block` and what else has to fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The addresses.
    pub block: Cidr,
    /// The one port. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The one transport. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
}

impl Source {
    /// Whether the address is in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.block.contains(address)
    }
}

impl From<Cidr> for Source {
    fn from(block: Cidr) -> Self {
        Self {
            block,
            port: None,
            transport: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.transport {
            write!(f, "{transport}:")?;
        }
        write!(f, "{}", self.block)?;
        match self.port {
            Some(port) => write!(f, " port {port}"),
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            block: Cidr,
            port: Option<u16>,
            transport: Option<Transport>,
        }
        checks::text_or_table(
            deserializer,
            |text| {
                text.parse::<Cidr>()
                    .map(Self::from)
                    .map_err(|error| error.to_string())
            },
            |long: Long| Self {
                block: long.block,
                port: long.port,
                transport: long.transport,
            },
        )
    }
}

/// A registration of this node with a carrier (RFC 3261 section 10).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The user part of the address that is registered, and of the credentials.
    pub user: String,
    /// Never shown. It has to be there.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(write_only, format = Password))]
    pub password: String,
    /// The name in the credentials, where the carrier wants another than `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_user: Option<String>,
    /// Where REGISTER goes. Default: the trunk's hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrar: Option<Host>,
    /// The domain of the address that is registered. Default: the registrar's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The one realm whose challenges are answered. Default: the registrar's or a host's name, or a
    /// domain that it is in; the first of them with which a registration succeeds, from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// The user part of the Contact: what calls to us are addressed to. Default `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_user: Option<String>,
    /// Seconds that are asked for, 60 to 86,400. Default 3600.
    #[serde(default = "default_expires")]
    pub expires: u32,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register")
            .field("user", &self.user)
            .field("registrar", &self.registrar)
            .finish_non_exhaustive()
    }
}

/// Who this node is to a trunk that challenges.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrunkAuth {
    /// The name in the credentials.
    pub user: String,
    /// Never shown. It has to be there.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(write_only, format = Password))]
    pub password: String,
    /// The one realm whose challenges are answered. Default: a host's name, or a domain that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
}

impl fmt::Debug for TrunkAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrunkAuth")
            .field("user", &self.user)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// Asking hosts whether they are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Seconds between two OPTIONS to a host, 1 to 3,600. Default 30.
    #[serde(default = "default_interval")]
    pub interval: u32,
    /// Failures in a row after which a host is down. Default 2.
    #[serde(default = "default_failures")]
    pub failures: u32,
    /// Answers in a row after which it is up again. Default 1.
    #[serde(default = "default_successes")]
    pub successes: u32,
    /// Answers that count as failures. Default 408, 502, 503 and 504; any other is a sign of life.
    #[serde(default = "default_probe_bad")]
    pub bad: Codes,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            interval: default_interval(),
            failures: default_failures(),
            successes: default_successes(),
            bad: default_probe_bad(),
        }
    }
}

/// Which header field asserts who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum IdentityHeader {
    /// P-Asserted-Identity (RFC 3325).
    Pai,
    /// Remote-Party-ID, which old switches know.
    Rpid,
    /// Neither; what came is taken out.
    None,
}

/// What a redirection of a trunk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// It is the trunk's answer, and goes back to the caller where no other carrier helps.
    #[default]
    Pass,
    /// Its contacts are tried in the trunk's place.
    Follow,
}

/// Header fields that are taken out and put in, by their names as the standard writes them: compact
/// forms and odd spellings are the same field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HeaderRules {
    /// Names of those that are taken out; `X-*` for all that begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// What is put in, after that.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
}

impl HeaderRules {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

impl Trunk {
    /// A trunk of this name with nothing in it.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            hosts: Vec::new(),
            allow: Vec::new(),
            certificates: Vec::new(),
            failover: default_failover(),
            auth: None,
            register: None,
            probe: None,
            numbers_in: Vec::new(),
            numbers_out: Vec::new(),
            caller_id: CallerId::Pass,
            trusted: false,
            identity: None,
            privacy: true,
            headers_in: HeaderRules::default(),
            headers_out: HeaderRules::default(),
            redirect: Redirect::Pass,
            calls: None,
            cps: None,
            longest: None,
            sources: None,
            handover: None,
            one_stream: None,
            interface: None,
            account: None,
            application: None,
            voice_url: None,
            voice_method: None,
        }
    }

    /// Its addresses, as far as the configuration tells them: those that calls come from, and those
    /// of its hosts.
    pub fn addresses(&self) -> impl Iterator<Item = Cidr> {
        let hosts = self.hosts.iter().filter_map(|host| host.host.ip());
        let hosts = hosts.map(|ip| Cidr::new(ip, if ip.is_ipv4() { 32 } else { 128 }));
        self.allow.iter().map(|source| source.block).chain(hosts)
    }

    /// How the caller is asserted to it.
    pub fn identity(&self) -> IdentityHeader {
        match (self.identity, self.trusted) {
            (Some(header), _) => header,
            (None, true) => IdentityHeader::Pai,
            (None, false) => IdentityHeader::None,
        }
    }

    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let name = &self.name;
        if let Some(wrong) = checks::bad_name(name) {
            return errors.push(format!("[[trunks]]: name = \"{name}\": {wrong}"));
        }
        let of = |part: &str| format!("trunk '{name}', {part}");
        if self.hosts.is_empty() && self.allow.is_empty() && self.certificates.is_empty() {
            errors.push(format!(
                "trunk '{name}' has neither hosts nor allow nor certificates: it could not be used \
                 at all"
            ));
        }
        self.check_weights(errors);
        for (part, rules) in [
            ("numbers_in", &self.numbers_in),
            ("numbers_out", &self.numbers_out),
        ] {
            for rule in rules {
                rule.check(&of(part), errors);
            }
        }
        for (part, rules) in [
            ("headers_in", &self.headers_in),
            ("headers_out", &self.headers_out),
        ] {
            rules.check(&of(part), errors);
        }
        if let Some(auth) = &self.auth {
            if auth.user.is_empty() {
                errors.push(of("auth: user is empty"));
            }
            if auth.password.is_empty() {
                errors.push(of("auth: password is missing"));
            }
        }
        if let Some(register) = &self.register {
            register.check(self, errors);
        }
        if let Some(probe) = &self.probe {
            errors.bound(&of("probe: interval"), probe.interval, 1..=3_600);
            errors.bound(&of("probe: failures"), probe.failures, 1..=100);
            errors.bound(&of("probe: successes"), probe.successes, 1..=100);
            if self.hosts.is_empty() {
                errors.push(of("probe: there is no host to ask; give it hosts"));
            }
        }
        if self.longest == Some(0) {
            errors.push(of("longest: must be 1 s or more"));
        }
        self.check_application(errors);
    }

    /// Whether calls from it lead to an application.
    pub const fn is_led(&self) -> bool {
        self.account.is_some() || self.application.is_some() || self.voice_url.is_some()
    }

    fn check_application(&self, errors: &mut Vec<String>) {
        let of = format!("trunk '{}'", self.name);
        match self.voice_url.as_deref() {
            Some(url) if !is_webhook(url) => errors.push(format!(
                "{of}: voice_url = \"{url}\": write an http: or https: URL, or ws: or wss: for a socket"
            )),
            None if self.voice_method.is_some() => {
                errors.push(format!("{of}: voice_method without voice_url is of no use"));
            }
            _ => {}
        }
        match (&self.account, &self.application, &self.voice_url) {
            (_, Some(_), Some(_)) => {
                errors.push(format!("{of}: write application or voice_url, not both"));
            }
            (Some(_), None, None) | (None, None, Some(_)) => errors.push(format!(
                "{of}: an application needs both account and voice_url, or application"
            )),
            _ => {}
        }
    }

    fn check_weights(&self, errors: &mut Vec<String>) {
        let mut weighted = BTreeMap::new();
        for host in &self.hosts {
            let (with, without) = weighted.entry(host.priority).or_insert((0, 0));
            match host.weight {
                Some(_) => *with += 1,
                None => *without += 1,
            }
        }
        for (priority, (with, without)) in weighted {
            if with > 0 && without > 0 {
                errors.push(format!(
                    "trunk '{}': of its hosts of priority {priority} some have a weight and some \
                     do not; give it to all of them or to none",
                    self.name
                ));
            }
        }
    }
}

impl Register {
    fn check(&self, trunk: &Trunk, errors: &mut Vec<String>) {
        let of = |part: &str| format!("trunk '{}', register: {part}", trunk.name);
        if self.user.is_empty() {
            errors.push(of("user is empty"));
        }
        if self.password.is_empty() {
            errors.push(of("password is missing"));
        }
        if self.registrar.is_none() && trunk.hosts.is_empty() {
            errors.push(of("name a registrar, or give the trunk hosts"));
        }
        errors.bound(&of("expires"), self.expires, 60..=86_400);
    }
}

impl HeaderRules {
    fn check(&self, of: &str, errors: &mut Vec<String>) {
        let is_token = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-.!%_+`'~".contains(&b))
        };
        for name in &self.remove {
            let plain = name.strip_suffix('*').unwrap_or(name);
            if !is_token(plain) {
                errors.push(format!("{of}: '{name}' is no name of a header field"));
            } else if OURS.iter().any(|own| {
                let front = own.get(..plain.len());
                own.eq_ignore_ascii_case(plain)
                    || name.ends_with('*') && front.is_some_and(|f| f.eq_ignore_ascii_case(plain))
            }) {
                errors.push(format!(
                    "{of}: '{name}' cannot be removed: the call would not work without it"
                ));
            }
        }
        for (name, value) in &self.add {
            if !is_token(name) {
                errors.push(format!("{of}: '{name}' is no name of a header field"));
            } else if OURS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                errors.push(format!("{of}: '{name}' is this node's own to write"));
            }
            if value.bytes().any(|b| b.is_ascii_control()) {
                errors.push(format!(
                    "{of}: the value of '{name}' holds a line end or another control character"
                ));
            }
        }
    }
}

/// What a proxy lives by, compact forms included.
const OURS: [&str; 31] = [
    "Via",
    "v",
    "From",
    "f",
    "To",
    "t",
    "Call-ID",
    "i",
    "CSeq",
    "Contact",
    "m",
    "Route",
    "Record-Route",
    "Path",
    "Service-Route",
    "Max-Forwards",
    "Content-Length",
    "l",
    "Content-Type",
    "c",
    "Content-Encoding",
    "e",
    "Proxy-Authorization",
    "Authorization",
    "Proxy-Authenticate",
    "WWW-Authenticate",
    "RAck",
    "RSeq",
    "Event",
    "o",
    "Subscription-State",
];

impl<'de> Deserialize<'de> for Transport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Transport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for Host {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("sip:{self}"))
    }
}

impl Serialize for Cidr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn default_failover() -> Codes {
    Codes::from_iter([408, 500, 502, 503, 504])
}

fn default_probe_bad() -> Codes {
    Codes::from_iter([408, 502, 503, 504])
}

const fn yes() -> bool {
    true
}

const fn default_expires() -> u32 {
    3_600
}

const fn default_interval() -> u32 {
    30
}

const fn default_failures() -> u32 {
    2
}

const fn default_successes() -> u32 {
    1
}
