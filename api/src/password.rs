//! Passwords of operators: argon2id (RFC 9106), and no more of it at a time than the node has to spare.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    problem::Problem,
    rate::{Left, Windows, source},
};

/// Characters of a password at least.
const SHORTEST: usize = 12;
/// Octets of one at most.
const LONGEST: usize = 1_024;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tries of one address within a minute.
const TRIES_OF_ADDRESS: u32 = 30;
/// Those of them for one name.
const TRIES_OF_NAME: u32 = 10;
/// Tries for one name within a minute, wherever they come from: so many that nobody alone locks another out.
const TRIES_IN_ALL: u32 = 100;

/// Who makes and checks hashes.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Each takes a core for some hundredths of a second, and 19 MiB: calls come first.
    turns: Arc<Semaphore>,
    /// What a password is checked against where there is nobody of the name.
    nobody: Arc<OnceLock<String>>,
    addresses: Windows<IpAddr>,
    tries: Windows<(String, IpAddr)>,
    names: Windows<String>,
}

impl Default for Passwords {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            turns: Arc::new(Semaphore::new((cores / 4).clamp(1, 4))),
            nobody: Arc::default(),
            addresses: Windows::new(TRIES_OF_ADDRESS, minute),
            tries: Windows::new(TRIES_OF_NAME, minute),
            names: Windows::new(TRIES_IN_ALL, minute),
        }
    }
}

/// Whether a text can be a password; `member` of the body has it.
pub(crate) fn check(member: &str, password: &str) -> Result<(), Problem> {
    let is_good = password.chars().count() >= SHORTEST
        && password.len() <= LONGEST
        && !password.contains(char::is_control);
    is_good.then_some(()).ok_or_else(|| {
        Problem::bad_member(format!(
            "{member}: at least {SHORTEST} characters, {LONGEST} octets at most, none of control"
        ))
    })
}

impl Passwords {
    /// What the store keeps of a password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        let turn = self.turn().await?;
        // It goes on when whoever asked is gone, and so does its turn.
        let hashed = spawn_blocking(move || {
            let _turn = turn;
            hashed(&password)
        });
        let hashed = hashed.await;
        let hash = hashed.ok().flatten();
        hash.ok_or_else(|| Problem::internal("a password could not be hashed"))
    }

    /// Whether this is the password of `hash`. Takes as long where there is none.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Problem> {
        let turn = self.turn().await?;
        let is_somebody = hash.is_some();
        let nobody = self.nobody.clone();
        let verified = spawn_blocking(move || {
            let _turn = turn;
            let hash = hash.or_else(|| of_nobody(&nobody))?;
            // A longer one is nobody's.
            let is_right = password.len() <= LONGEST
                && PasswordHash::new(&hash).is_ok_and(|hash| {
                    let argon2 = Argon2::default();
                    argon2.verify_password(password.as_bytes(), &hash).is_ok()
                });
            Some(is_right)
        });
        let is_right = verified.await.ok().flatten();
        let is_right =
            is_right.ok_or_else(|| Problem::internal("a password could not be checked"))?;
        Ok(is_right && is_somebody)
    }

    /// Counts a try, and refuses one too many.
    pub(crate) fn take(&self, name: &str, address: IpAddr) -> Result<(), Problem> {
        let now = Instant::now();
        let refused = |whose| {
            move |left: Left| {
                let what = format!("there were too many tries to sign in of {whose}");
                Problem::too_many(&what, left.seconds())
            }
        };
        let address = source(address);
        let of_address = self.addresses.take(now, &address, 1);
        of_address.map_err(refused("this address"))?;
        let try_ = self.tries.take(now, &(name.to_owned(), address), 1);
        try_.map_err(refused("this name"))?;
        let of_name = self.names.take(now, name, 1);
        of_name.map(drop).map_err(refused("this name"))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let turn = timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok);
        turn.ok_or_else(|| Problem::too_many("too many passwords are being checked", 5))
    }
}

/// The hash of a password that nobody has, made where it is not yet.
fn of_nobody(kept: &OnceLock<String>) -> Option<String> {
    if kept.get().is_none() {
        let made = hashed("nobody's")?;
        kept.get_or_init(|| made);
    }
    kept.get().cloned()
}

fn hashed(password: &str) -> Option<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

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
        for _ in 0..TRIES_OF_NAME {
            assert!(passwords.take("ann", address(0)).is_ok());
        }
        assert!(passwords.take("ann", address(0)).is_err());
        assert!(passwords.take("bob", address(0)).is_ok());
        for n in 0..TRIES_OF_ADDRESS {
            assert!(passwords.take(&n.to_string(), address(1)).is_ok());
        }
        assert!(passwords.take("carl", address(1)).is_err());
        // She herself is heard, elsewhere, until very many have tried.
        for n in TRIES_OF_NAME..TRIES_IN_ALL {
            assert!(passwords.take("ann", address(n)).is_ok());
        }
        assert!(passwords.take("ann", address(1_000)).is_err());
    }

    #[test]
    fn who_hangs_up_leaves_its_turn_to_nobody_while_its_password_is_hashed() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let passwords = Passwords::default();
            let all = passwords.turns.available_permits();
            // The only thread that could hash is kept busy.
            let (release, released) = std::sync::mpsc::channel::<()>();
            let busy = spawn_blocking(move || released.recv());
            let hash = passwords.hash("correct horse".to_owned());
            assert!(hash.now_or_never().is_none());
            let verify = passwords.verify("correct horse".to_owned(), None);
            let verified = timeout(Duration::ZERO, verify).await;
            assert!(verified.is_err());
            assert!(passwords.turns.available_permits() < all);
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            let every = u32::try_from(all).unwrap();
            drop(passwords.turns.acquire_many(every).await.unwrap());
        });
    }

    #[test]
    fn short_passwords_are_refused() {
        for bad in ["", "12345678901", "123456789012\n", &"a".repeat(1_025)] {
            assert!(check("new", bad).is_err(), "{bad}");
        }
        for good in ["123456789012", "\u{fc}\u{fc}\u{fc}\u{fc} a pass phrase"] {
            assert!(check("new", good).is_ok(), "{good}");
        }
    }
}
