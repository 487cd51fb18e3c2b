//! Users: who they are, how they prove it, and what was asked of the store about them.
//!
//! Users are looked up when they are needed ([`Asker`]), in batches, and remembered for a while
//! ([`Cache`]). Where the store is away, what is remembered is used however old it is: whoever
//! registered before goes on calling, and who is unknown to this process is told to come back.

mod access;
mod asker;
mod cache;
mod doorman;
mod orders;
pub(crate) mod provision;

use std::fmt;

use control::config::Profile;
use sip::digest::{Ha1, Hash};

use crate::directory::Aor;

pub use access::SecretError;
pub(crate) use access::{Access, secret};
pub(crate) use asker::{Asker, ask};
pub(crate) use cache::{Cache, Cached};
pub(crate) use doorman::{Doorman, is_for};
pub(crate) use orders::Orders;

/// A user.
pub(crate) struct Account {
    pub(crate) aor: Aor,
    ha1: [Option<Ha1>; 3],
    pub(crate) enabled: bool,
    pub(crate) profile: Profile,
}

/// What is known of a user, once somebody could tell.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It is there.
    Known(std::sync::Arc<Account>),
    /// There is no such user.
    Unknown,
    /// The store cannot tell, and nothing is remembered.
    Unavailable,
}

impl Account {
    /// What proves that somebody knows the password, for this hash.
    pub(crate) fn ha1(&self, hash: Hash) -> Option<&Ha1> {
        self.ha1.iter().flatten().find(|ha1| ha1.hash() == hash)
    }
}

impl From<store::User> for Account {
    fn from(user: store::User) -> Self {
        let aor = Aor::new(&user.name, &user.domain);
        let ha1 = |hash, text: Option<String>| {
            let text = text?;
            let ha1 = Ha1::from_hex(hash, &text);
            if ha1.is_none() {
                tracing::warn!(%aor, %hash, "the store's HA1 is no hash of that kind");
            }
            ha1
        };
        let ha1 = [
            ha1(Hash::Md5, user.ha1_md5),
            ha1(Hash::Sha256, user.ha1_sha256),
            ha1(Hash::Sha512_256, user.ha1_sha512),
        ];
        let profile = serde_json::from_str(&user.profile).unwrap_or_else(|error| {
            tracing::warn!(%aor, %error, "the store's profile of a user is not understood");
            Profile::default()
        });
        Self {
            aor,
            ha1,
            enabled: user.enabled,
            profile,
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("aor", &self.aor)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
