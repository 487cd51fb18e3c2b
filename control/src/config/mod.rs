//! The configuration: one TOML file for all daemons, each key of which the environment can replace.
//!
//! Unknown keys are refused, and every error in the file is told at once. Defaults are such that a
//! file with nothing but trunks and routes runs on loopback.

mod api;
mod checks;
mod codes;
mod defence;
mod env;
mod interface;
mod net;
mod ng;
mod number;
mod number_rule;
mod quality;
mod read;
mod route;
mod routing;
#[cfg(feature = "openapi")]
mod schema;
mod sections;
mod sip_domain;
mod transport;
mod trunk;
mod user;
mod voice;

#[cfg(test)]
mod routing_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod user_tests;
#[cfg(test)]
mod voice_tests;

use std::{collections::HashSet, fs, io, path::Path};

use serde::Deserialize;

use self::read::{Read, Unread};
use crate::Endpoint;

pub use api::{Api, ForwardedBy, Jwks, Jwt};
pub use codes::Codes;
pub use defence::Defence;
pub use interface::{DEFAULT_INTERFACE, InterfaceArg, MediaInterface};
pub use net::{Cidr, Host, Listen, MediaAddress, ParseError, PortRange, Transport};
pub use ng::{NgListen, NgTransport};
pub use number::{Block, BlockAction, Direction, Forward, Group, LimitRule, Number, Strategy};
pub use number_rule::{CallerId, NumberRule, Numbering, Otherwise, Party, Pattern, PatternError};
pub use quality::{Mos, Quality};
pub use route::{Callers, Choice, Cost, MediaTreatment, Route, Window, Zone, ZoneError};
pub use routing::Routing;
pub use sections::{DatapathMode, Media, Nat, Node, Sip, Store};
pub use sip_domain::SipDomain;
pub use transport::{
    CertificateFiles, ClientAuth, Connections, Keepalive, KeepaliveMethod, Tls, WebSocket,
};
pub use trunk::{
    HeaderRules, IdentityHeader, Probe, Redirect, Register, Source, Trunk, TrunkAuth, TrunkHost,
};
pub use user::{Auth, DigestHash, Profile, Registrar, User, WhenFull};
pub use voice::{Account, Voice, VoiceMethod};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[sip]`
    pub sip: Sip,
    /// `[media]`
    pub media: Media,
    /// `[api]`
    pub api: Api,
    /// `[store]`
    pub store: Store,
    /// `[voice]`
    pub voice: Voice,
    /// `[[trunks]]`
    pub trunks: Vec<Trunk>,
    /// `[[routes]]`
    pub routes: Vec<Route>,
    /// `[numbering]`: how users dial numbers, so that they can be read to E.164. Default: numbers stay
    /// as they are dialled.
    pub numbering: Option<Numbering>,
    /// `[[numbers]]`
    pub numbers: Vec<Number>,
    /// `[[groups]]`
    pub groups: Vec<Group>,
    /// `[[blocks]]`
    pub blocks: Vec<Block>,
    /// `[[limits]]`
    pub limits: Vec<LimitRule>,
    /// `[[users]]`
    pub users: Vec<User>,
    /// `[[accounts]]`
    pub accounts: Vec<Account>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// As given.
        path: String,
        /// The system's reason.
        error: io::Error,
    },
    /// What the text says cannot be read, or cannot work; one line each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl ConfigError {
    /// One line for each thing that is wrong.
    pub fn reasons(self) -> Vec<String> {
        match self {
            Self::Invalid(reasons) => reasons,
            other @ Self::Read { .. } => vec![other.to_string()],
        }
    }
}

/// A configuration and what its author should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// What to run with.
    pub config: Config,
    /// One line each; none stops a start.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads `path`, lays the process's `TANDEM_SECTION_KEY` variables over it, and checks it.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.display().to_string(),
            error,
        })?;
        Self::parse(&text, std::env::vars())
    }

    /// The same from a text and a list of variables.
    pub fn parse(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let Read {
            mut table,
            mut config,
            mut errors,
            unread,
        } = read::read(text);
        let mut warnings = Vec::new();
        if env::overlay(&mut table, variables, &mut warnings, &mut errors) {
            match table.try_into() {
                Ok(changed) => config = changed,
                Err(error) => errors.push(error.message().to_owned()),
            }
        }
        if !unread.all {
            errors.extend(config.errors(&unread));
        }
        if !errors.is_empty() {
            return Err(ConfigError::Invalid(errors));
        }
        warnings.extend(config.warnings());
        Ok(Loaded { config, warnings })
    }

    /// Where mediad's control socket is.
    pub fn media_endpoint(&self) -> Endpoint {
        self.endpoint(self.media.control.as_ref(), "media.sock")
    }

    /// Where signaling's control socket is.
    pub fn signal_endpoint(&self) -> Endpoint {
        self.endpoint(self.sip.control.as_ref(), "signal.sock")
    }

    /// What calls are decided by.
    pub fn routing(&self) -> Routing<'_> {
        Routing {
            trunks: &self.trunks,
            routes: &self.routes,
            numbers: &self.numbers,
            groups: &self.groups,
            blocks: &self.blocks,
            limits: &self.limits,
            has_domain: !self.sip.domains.is_empty(),
            ..Routing::default()
        }
    }

    fn endpoint(&self, written: Option<&Endpoint>, name: &str) -> Endpoint {
        written
            .cloned()
            .unwrap_or_else(|| Endpoint::Unix(self.node.data_dir.join(name)))
    }

    fn errors(&self, unread: &Unread) -> Vec<String> {
        let mut errors = Vec::new();
        self.node.check(&mut errors);
        self.sip.check(&mut errors);
        self.media.check(&mut errors);
        self.check_interfaces(&mut errors);
        self.api.check(&mut errors);
        self.voice.check(&mut errors);
        let mut sids = HashSet::new();
        for account in &self.accounts {
            account.check(&mut errors);
            if !sids.insert(account.sid.as_str()) {
                errors.push(format!("[[accounts]]: '{}' is there twice", account.sid));
            }
        }
        if let Some(numbering) = &self.numbering {
            numbering.check("[numbering]", &mut errors);
        }
        // Domains that could not be read may be there.
        let first = self.sip.domains.first().map(String::as_str);
        let first = first.or_else(|| unread.sip.then_some("unread"));
        let mut names = HashSet::new();
        for user in &self.users {
            user.check(first, &mut errors);
            if !names.insert((&user.name, user.domain(first))) {
                let domain = user.domain(first).unwrap_or_default();
                errors.push(format!(
                    "[[users]]: '{}@{domain}' is there twice",
                    user.name
                ));
            }
        }
        let mut routing = self.routing();
        routing.has_domain |= unread.sip;
        routing.unread_trunks = &unread.trunks;
        routing.unread_groups = &unread.groups;
        errors.extend(routing.errors());
        errors
    }

    /// Whether the media interfaces are there that users and trunks are to have.
    fn check_interfaces(&self, errors: &mut Vec<String>) {
        let users = self.sip.interface.as_deref();
        let users = users.map(|name| ("[sip]".to_owned(), name));
        let trunks = self.trunks.iter().filter_map(|trunk| {
            let name = trunk.interface.as_deref()?;
            Some((format!("trunk '{}',", trunk.name), name))
        });
        for (place, name) in users.into_iter().chain(trunks) {
            if self.media.address_of(Some(name)).is_none() {
                let known: Vec<_> = self.media.addresses().map(|(known, _)| known).collect();
                errors.push(format!(
                    "{place} interface = \"{name}\": no [[media.interfaces]] has this name, but {}",
                    known.join(", ")
                ));
            }
        }
    }

    /// What its author should know, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.trunks.is_empty() && self.users.is_empty() {
            warnings.push(
                "no [[trunks]] and no [[users]]: every call will be refused with 403, but for \
                 those of users in the store"
                    .to_owned(),
            );
        } else if self.routes.is_empty() && self.numbers.is_empty() && self.users.is_empty() {
            warnings.push("no [[routes]]: every call will be refused with 404".to_owned());
        }
        for trunk in &self.trunks {
            if trunk.allow.iter().any(|source| source.block.prefix() == 0) {
                warnings.push(format!(
                    "trunk '{}' allows calls from everywhere: anyone can call through this node",
                    trunk.name
                ));
            }
        }
        if !self.api.listen.ip().is_loopback() && self.api.tls.is_none() {
            warnings.push(format!(
                "[api] listen = \"{}\" can be reached from outside and is not encrypted: \
                 set [api] tls, or put a TLS proxy before it",
                self.api.listen
            ));
        }
        let keep = &self.store;
        let outlast = keep.keep_recordings == 0 || keep.keep_recordings > keep.keep_cdrs;
        if self.media.recordings.is_some() && keep.keep_cdrs > 0 && outlast {
            warnings.push(
                "[store] keep_recordings is longer than keep_cdrs: what is recorded of somebody who is erased is \
                 found by the call's record, and stays when that is gone"
                    .to_owned(),
            );
        }
        warnings
    }
}
