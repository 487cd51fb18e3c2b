//! `[[media.interfaces]]`: further addresses of mediad, by name.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use super::{MediaAddress, ParseError, checks};

/// The name of `[media] address` among the interfaces.
pub const DEFAULT_INTERFACE: &str = "default";

/// Addresses that legs ask for by name. Two may bind the same address and tell the parties another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaInterface {
    /// What trunks and legs call it; `default` is `[media] address`.
    pub name: String,
    /// As `[media] address`.
    pub address: MediaAddress,
    /// The device that the XDP program is attached to for it, several with commas between. Default: none.
    #[serde(default)]
    pub device: String,
}

/// A media address on the command line: `IP` for the default one, `NAME/IP` for a named one, either with `!PUBLIC_IP`
/// where the peers see another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceArg {
    /// `None` for the default one.
    pub name: Option<String>,
    /// The addresses.
    pub address: MediaAddress,
}

impl FromStr for InterfaceArg {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // "IP/PUBLIC_IP" is the default one's; a name is no address.
        let named = text.split_once('/');
        let named = named.filter(|(name, _)| checks::bad_name(name).is_none());
        let named = named.filter(|(name, _)| name.parse::<std::net::IpAddr>().is_err());
        let (name, address) = match named {
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => (None, text),
        };
        let address = address.replace('!', "/").parse().map_err(|_| {
            ParseError::new(
                text,
                "IP, IP!PUBLIC_IP or NAME/IP!PUBLIC_IP, such as outside/10.0.0.5!192.0.2.10",
            )
        })?;
        Ok(Self { name, address })
    }
}

impl fmt::Display for MediaInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.address)
    }
}

/// What is wrong with the interfaces of one node.
pub(super) fn check(interfaces: &[MediaInterface], errors: &mut Vec<String>) {
    for (index, interface) in interfaces.iter().enumerate() {
        let name = &interface.name;
        if let Some(wrong) = checks::bad_name(name) {
            errors.push(format!("[[media.interfaces]]: name = \"{name}\": {wrong}"));
        } else if name == DEFAULT_INTERFACE {
            errors.push(format!(
                "[[media.interfaces]]: '{name}' is the name of [media] address: choose another"
            ));
        }
        if interfaces
            .iter()
            .take(index)
            .any(|other| other.name == *name)
        {
            errors.push(format!(
                "[[media.interfaces]]: '{name}' is there twice: an IPv4 and an IPv6 address of one \
                 interface stand in one address, after a comma"
            ));
        }
    }
}
