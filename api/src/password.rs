//! Passwords of operators: argon2id (RFC 9106), and no more of it at a time than the node has to spare.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use std::net::IpAddr;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::timeout,
};

use crate::{problem::Problem, rate::Windows};

/// Characters of a password at least.
const SHORTEST: usize = 12;
/// Octets of one at most.
const LONGEST: usize = 1_024;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tries for one name within a minute.
const TRIES_OF_NAME: u32 = 10;
/// Tries of one address within a minute.
const TRIES_OF_ADDRESS: u32 = 30;

/// Who makes and checks hashes.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Each takes a core for some hundredths of a second, and 19 MiB: calls come first.
    turns: Semaphore,
    /// What a password is checked against where there is nobody of the name.
    nobody: OnceLock<String>,
    names: Windows<String>,
    addresses: Windows<IpAddr>,
}

impl Default for Passwords {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            turns: Semaphore::new((cores / 4).clamp(1, 4)),
            nobody: OnceLock::new(),
            names: Windows::new(TRIES_OF_NAME, minute),
            addresses: Windows::new(TRIES_OF_ADDRESS, minute),
        }
    }
}

/// Whether a text can be a password.
pub(crate) fn check(password: &str) -> Result<(), Problem> {
    let is_good = password.chars().count() >= SHORTEST
        && password.len() <= LONGEST
        && !password.contains(char::is_control);
    is_good.then_some(()).ok_or_else(|| {
        Problem::bad_member(format!(
            "password: at least {SHORTEST} characters, {LONGEST} octets at most, none of control"
        ))
    })
}

impl Passwords {
    /// What the store keeps of a password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        let _turn = self.turn().await?;
        let hashed = spawn_blocking(move || hashed(&password)).await;
        let hash = hashed.ok().flatten();
        hash.ok_or_else(|| Problem::internal("a password could not be hashed"))
    }

    /// Whether this is the password of `hash`. Takes as long where there is none.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Problem> {
        let _turn = self.turn().await?;
        let is_somebody = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => self.nobody().await?,
        };
        let verified = spawn_blocking(move || {
            // A longer one is nobody's.
            let is_short = password.len() <= LONGEST;
            PasswordHash::new(&hash).is_ok_and(|hash| {
                let password = if is_short { password.as_bytes() } else { b"" };
                is_short && Argon2::default().verify_password(password, &hash).is_ok()
            })
        });
        let is_right = verified.await;
        let is_right =
            is_right.map_err(|_| Problem::internal("a password could not be checked"))?;
        Ok(is_right && is_somebody)
    }

    /// Counts a try, and refuses one too many.
    pub(crate) fn take(&self, name: &str, address: IpAddr) -> Result<(), Problem> {
        let now = Instant::now();
        let address = self.addresses.take(now, address, 1);
        let address = address.map_err(|left| ("this address", left));
        let name = address.and_then(|_| {
            let name = self.names.take(now, name.to_owned(), 1);
            name.map_err(|left| ("this name", left))
        });
        name.map(drop).map_err(|(whose, left)| {
            let what = format!("there were too many tries to sign in of {whose}");
            Problem::too_many(&what, left.seconds())
        })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let turn = timeout(PATIENCE, self.turns.acquire()).await;
        let turn = turn.ok().and_then(Result::ok);
        turn.ok_or_else(|| Problem::too_many("too many passwords are being checked", 5))
    }

    async fn nobody(&self) -> Result<String, Problem> {
        if let Some(hash) = self.nobody.get() {
            return Ok(hash.clone());
        }
        let made = spawn_blocking(|| hashed("nobody's")).await;
        let made = made.ok().flatten();
        let made = made.ok_or_else(|| Problem::internal("a password could not be hashed"))?;
        Ok(self.nobody.get_or_init(|| made).clone())
    }
}

fn hashed(password: &str) -> Option<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_that_of_its_hash_and_of_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        // As RFC 9106 section 4 and its registry write it; no password is in it.
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let again = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(hash, again, "each has a salt of its own");
        for (password, hash, is_right) in [
            ("correct horse", Some(hash.clone()), true),
            ("correct horsE", Some(hash.clone()), false),
            ("", Some(hash), false),
            ("correct horse", None, false),
            ("nobody's", None, false),
            ("correct horse", Some("no hash".to_owned()), false),
        ] {
            let verified = passwords.verify(password.to_owned(), hash).await.unwrap();
            assert_eq!(verified, is_right, "{password}");
        }
    }

    #[test]
    fn who_tries_too_often_is_refused_by_name_and_by_address() {
        let passwords = Passwords::default();
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        for n in 0..TRIES_OF_NAME {
            assert!(passwords.take("ann", address(n)).is_ok());
        }
        assert!(passwords.take("ann", address(99)).is_err());
        assert!(passwords.take("bob", address(99)).is_ok());
        for n in 0..TRIES_OF_ADDRESS {
            assert!(passwords.take(&n.to_string(), address(100)).is_ok());
        }
        assert!(passwords.take("carl", address(100)).is_err());
    }

    #[test]
    fn short_passwords_are_refused() {
        for bad in ["", "12345678901", "123456789012\n", &"a".repeat(1_025)] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for good in ["123456789012", "\u{fc}\u{fc}\u{fc}\u{fc} a pass phrase"] {
            assert!(check(good).is_ok(), "{good}");
        }
    }
}
