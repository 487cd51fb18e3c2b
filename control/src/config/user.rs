//! `[[users]]`, `[sip.auth]` and `[sip.registrar]`: who may call and be called, and how that is proven.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Forward, checks::Checks as _};

/// `[[users]]`: created in the store where it is missing there; the store is the truth afterwards.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What stands before the `@`; told apart by case.
    pub name: String,
    /// Default: the first domain of `[sip] domains`.
    pub domain: Option<String>,
    /// Kept as one hash for each digest algorithm, never as it is. Default: random, and shown once, when the
    /// user is created.
    pub password: Option<String>,
    /// What callees may be shown. Default none.
    pub display: Option<String>,
    /// Whether it may register, call and be called. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Where its calls go on to, by whichever number or name it is called: a number, a user, or a `sip:`
    /// URI; a table for the cases. In a ring group only a forward of every call counts.
    #[serde(default)]
    pub forward: Forward,
    /// Seconds that its phones ring. Default 60, or 20 where it is forwarded on no answer.
    pub ring_timeout: Option<u32>,
    /// Contacts at most, in place of `[sip.registrar] max_contacts`.
    pub max_contacts: Option<u32>,
}

/// What belongs to a user beside name and password; a JSON document in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// As in `[[users]]`.
    #[serde(skip_serializing_if = "Forward::is_empty")]
    pub forward: Forward,
    /// As in `[[users]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_timeout: Option<u32>,
    /// As in `[[users]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_contacts: Option<u32>,
}

impl User {
    /// The domain, `first` being the first of `[sip] domains`.
    pub fn domain<'a>(&'a self, first: Option<&'a str>) -> Option<&'a str> {
        self.domain.as_deref().or(first)
    }

    /// What the store keeps beside name and password.
    pub fn profile(&self) -> Profile {
        Profile {
            forward: self.forward.clone(),
            ring_timeout: self.ring_timeout,
            max_contacts: self.max_contacts,
        }
    }

    /// What is wrong with it by itself, `first` being the first of `[sip] domains`.
    pub fn check(&self, first: Option<&str>, errors: &mut Vec<String>) {
        let of = format!("user '{}'", self.name);
        let fits = |text: &str| {
            !text.is_empty() && text.len() <= 128 && !text.contains(char::is_whitespace)
        };
        if !fits(&self.name) || self.name.contains(['@', ':', '"', '<', '>']) {
            errors.push(format!(
                "[[users]]: name = \"{}\": use 1 to 128 characters, without white space and \
                 any of @ : \" < >",
                self.name
            ));
        }
        match self.domain(first) {
            None => errors.push(format!("{of}: no domain: write one, or set [sip] domains")),
            Some(domain) if !is_domain(domain) => {
                errors.push(format!("{of}: '{domain}' is no domain"));
            }
            Some(_) => {}
        }
        if self.password.as_deref() == Some("") {
            errors.push(format!("{of}: password is empty"));
        }
        self.forward.check(&of, errors);
        if let Some(seconds) = self.ring_timeout {
            errors.bound(&format!("{of}: ring_timeout"), seconds, 1..=3_600);
        }
        if let Some(most) = self.max_contacts {
            errors.bound(&format!("{of}: max_contacts"), most, 1..=CONTACTS);
        }
    }
}

/// Without the password.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("domain", &self.domain)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// A hash function of digest authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum DigestHash {
    /// `MD5`
    #[serde(rename = "MD5")]
    Md5,
    /// `SHA-256`
    #[serde(rename = "SHA-256")]
    Sha256,
    /// `SHA-512-256`
    #[serde(rename = "SHA-512-256")]
    Sha512_256,
}

/// `[sip.auth]`: how users prove who they are.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Digest algorithms, in the order in which they are offered. Clients should take the first one that
    /// they know (RFC 8760). Those that know MD5 only are many, and do not: SIPp reads the first challenge,
    /// JsSIP the last, and baresip 1.0 gives up where any is unknown to it. Default `["MD5"]`.
    pub algorithms: Vec<DigestHash>,
    /// Other lists for some domains, by domain.
    pub by_domain: BTreeMap<String, Vec<DigestHash>>,
    /// Seconds for which a nonce can be answered, 10 to 86,400. Default 300.
    pub nonce_lifetime: u32,
    /// What nonces are signed with: the same text, of 16 characters or more, on every node that serves
    /// a domain together with others. Default: random, and kept in the data directory.
    pub nonce_secret: Option<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            algorithms: vec![DigestHash::Md5],
            by_domain: BTreeMap::new(),
            nonce_lifetime: 300,
            nonce_secret: None,
        }
    }
}

impl Auth {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let lists = self.by_domain.iter();
        let lists = lists.map(|(domain, list)| (format!("by_domain '{domain}'"), list));
        let own = ("algorithms".to_owned(), &self.algorithms);
        for (of, list) in lists.chain([own]) {
            let twice = |(at, hash)| list[..at].contains(hash);
            if list.is_empty() || list.iter().enumerate().any(twice) {
                errors.push(format!(
                    "[sip.auth] {of}: name one algorithm at least, and none twice"
                ));
            }
        }
        errors.bound(
            "[sip.auth] nonce_lifetime",
            self.nonce_lifetime,
            10..=86_400,
        );
        let short = |secret: &String| secret.chars().count() < 16;
        if self.nonce_secret.as_ref().is_some_and(short) {
            errors.push("[sip.auth] nonce_secret: use 16 characters or more".to_owned());
        }
    }
}

/// Without the secret.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("algorithms", &self.algorithms)
            .field("by_domain", &self.by_domain)
            .field("nonce_lifetime", &self.nonce_lifetime)
            .finish_non_exhaustive()
    }
}

/// `[sip.registrar]`: how long phones are known, and how many of a user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registrar {
    /// The shortest registration in seconds; less is refused with 423. 1 to 3,600. Default 60.
    pub min_expires: u32,
    /// Where the phone asks for none. Default 3,600.
    pub default_expires: u32,
    /// The longest; more is cut to it. Default 7,200.
    pub max_expires: u32,
    /// Contacts of one user at once, 1 to 100. Default 10.
    pub max_contacts: u32,
    /// What becomes of one more. Default `refuse`.
    pub when_full: WhenFull,
    /// Registered contacts of all users at once; more are refused with 503. Default 2,000,000.
    pub max_bindings: u32,
}

/// What becomes of a contact for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It is refused with 403.
    #[default]
    Refuse,
    /// It takes the place of the user's contact that was refreshed longest ago.
    ReplaceOldest,
}

/// Contacts of a user at most, whatever is configured: a call to it has a branch for each.
const CONTACTS: u32 = 100;

impl Default for Registrar {
    fn default() -> Self {
        Self {
            min_expires: 60,
            default_expires: 3_600,
            max_expires: 7_200,
            max_contacts: 10,
            when_full: WhenFull::Refuse,
            max_bindings: 2_000_000,
        }
    }
}

impl Registrar {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        // RFC 3261 10.3: nobody may refuse an hour.
        errors.bound("[sip.registrar] min_expires", self.min_expires, 1..=3_600);
        errors.bound(
            "[sip.registrar] max_contacts",
            self.max_contacts,
            1..=CONTACTS,
        );
        errors.bound(
            "[sip.registrar] max_bindings",
            self.max_bindings,
            1..=100_000_000,
        );
        let ordered = self.min_expires <= self.default_expires
            && self.default_expires <= self.max_expires
            && self.max_expires <= 365 * 86_400;
        if !ordered {
            errors.push(
                "[sip.registrar]: min_expires, default_expires and max_expires must not decrease, \
                 nor exceed a year"
                    .to_owned(),
            );
        }
    }
}

/// Whether a text can stand behind the `@` of an address of record.
pub(super) fn is_domain(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(good)
}

const fn yes() -> bool {
    true
}
