//! `tandem users`: who may register, call and be called.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Forward;

/// What is to become of a user. `user` is `alice@example.test`, or `alice` for one of the first domain of
/// `[sip] domains`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserOrder {
    /// There has to be none of that name yet.
    Add(NewUser),
    /// Whose password changes, and who is disabled, loses what it has registered.
    Change(UserChange),
    /// With what it has registered. Calls that are up go on.
    Remove {
        /// Who.
        user: String,
        /// As in [`UserChange`].
        unchanged_since: Option<i64>,
    },
}

/// A user to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// Who.
    pub user: String,
    /// Only hashes of it are kept.
    pub password: Secret,
    /// What callees may be shown.
    pub display: Option<String>,
    /// Whether it may register, call and be called.
    pub enabled: bool,
    /// Contacts at most; `None` for what `[sip.registrar]` says.
    pub max_contacts: Option<u32>,
    /// Where its calls go on to.
    pub forward: Forwards,
    /// Seconds that its phones ring; `None` for 60, or 20 where it is forwarded on no answer.
    pub ring_timeout: Option<u32>,
}

/// Where calls go on to, as [`Forward`] says; that one is read from texts alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwards {
    /// Every call.
    pub always: Option<String>,
    /// Those that found a busy callee.
    pub busy: Option<String>,
    /// Those that nobody answered in time.
    pub no_answer: Option<String>,
    /// Those whose callee is not registered or not reached.
    pub unreachable: Option<String>,
}

impl From<Forward> for Forwards {
    fn from(forward: Forward) -> Self {
        Self {
            always: forward.always,
            busy: forward.busy,
            no_answer: forward.no_answer,
            unreachable: forward.unreachable,
        }
    }
}

impl From<Forwards> for Forward {
    fn from(forward: Forwards) -> Self {
        Self {
            always: forward.always,
            busy: forward.busy,
            no_answer: forward.no_answer,
            unreachable: forward.unreachable,
        }
    }
}

/// What is to be changed of a user; `None` for what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// Who.
    pub user: String,
    /// As in [`NewUser`].
    pub password: Option<Secret>,
    /// As in [`NewUser`]; empty for none.
    pub display: Option<String>,
    /// As in [`NewUser`].
    pub enabled: Option<bool>,
    /// As in [`NewUser`]; 0 for what `[sip.registrar]` says.
    pub max_contacts: Option<u32>,
    /// As in [`NewUser`], all cases at once.
    pub forward: Option<Forwards>,
    /// As in [`NewUser`]; 0 for what is usual.
    pub ring_timeout: Option<u32>,
    /// Only where it was last changed then, in milliseconds since 1970 (UTC); else
    /// [`FaultCode::Changed`](crate::FaultCode). `None`: whenever that was.
    pub unchanged_since: Option<i64>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDone {
    /// The address of record.
    pub user: String,
    /// Contacts that it had registered, and that were taken away.
    pub unregistered: u32,
    /// What the operator should know, one line each.
    pub warnings: Vec<String>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// The address of record.
    pub user: String,
    /// What callees may be shown.
    pub display: Option<String>,
    /// Whether it may register, call and be called.
    pub enabled: bool,
    /// Contacts at most, where that is its own.
    pub max_contacts: Option<u32>,
    /// Where its calls go on to.
    pub forward: Forwards,
    /// Seconds that its phones ring, where that is its own.
    pub ring_timeout: Option<u32>,
    /// Contacts that it has registered now.
    pub contacts: u32,
    /// When it was created, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it was changed last, likewise.
    pub updated_ms: i64,
}

/// A password on its way. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new one, of 116 random bits, in letters and digits that are not taken for one another.
    pub fn generate() -> Self {
        const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        const LENGTH: usize = 20;
        let letter = |_| char::from(LETTERS[rand::random_range(0..LETTERS.len())]);
        Self((0..LENGTH).map(letter).collect())
    }

    /// As it is.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_made_is_long_and_another_one_each_time() {
        let (one, two) = (Secret::generate(), Secret::generate());
        assert_ne!(one, two);
        assert!(one.expose().len() == 20 && one.expose().is_ascii());
        assert!(!format!("{one:?}").contains(one.expose()));
    }
}
