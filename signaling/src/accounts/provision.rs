//! The users of the configuration, which are created in the store where it lacks them. The store is the
//! truth of those that it has.

use std::collections::HashMap;

use control::{
    Config,
    config::{self, Profile},
    signal::Secret,
};
use sip::digest::{Ha1, Hash};
use store::{Store, StoreError, Timestamp};
use tracing::info;

/// What the file and the store say of users. Nothing is changed yet.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Users of the file that the store lacks.
    missing: Vec<store::User>,
    /// Every domain that users are of: those of the configuration, then those of its users, then those
    /// of the store's.
    pub(crate) domains: Vec<String>,
    /// Users of the file that the store has otherwise, one line each.
    pub(crate) differences: Vec<String>,
}

/// A password that was made for a user, to be shown this once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPassword {
    /// The address of record.
    pub user: String,
    /// Nothing but hashes of it is kept.
    pub password: Secret,
}

impl NewPassword {
    /// Tells standard error of it. Not through the log: a log is kept, and read by others.
    pub fn show(&self) {
        eprintln!(
            "password of {} (shown this once; 'tandem users set {0}' changes it): {}",
            self.user,
            self.password.expose()
        );
    }
}

/// Compares `[[users]]` with the store.
///
/// # Errors
/// If the database fails.
pub(crate) async fn plan(config: &Config, store: &Store) -> Result<Plan, StoreError> {
    let first = config.sip.domains.first().map(String::as_str);
    let now = Timestamp::now();
    let written = config.users.iter();
    let written: Vec<_> = written.filter_map(|user| row(user, first, now)).collect();
    let named: Vec<_> = written
        .iter()
        .map(|user| (user.domain.as_str(), user.name.as_str()))
        .collect();
    let stored = store.users(&named).await?;
    let stored: HashMap<_, _> = stored
        .iter()
        .map(|user| ((user.domain.as_str(), user.name.as_str()), user))
        .collect();
    let find = |place: usize| stored.get(&named[place]).copied();

    let mut domains = config.sip.domains.clone();
    let own = written.iter().map(|user| user.domain.clone());
    for domain in own.chain(store.user_domains().await?) {
        let mut known = domains.iter();
        if !known.any(|known| known.eq_ignore_ascii_case(&domain)) {
            domains.push(domain);
        }
    }
    let places = || written.iter().enumerate();
    let differences = places().filter_map(|(place, user)| difference(user, find(place)?));
    let missing = places().filter(|(place, _)| find(*place).is_none());
    Ok(Plan {
        domains,
        differences: differences.collect(),
        missing: missing.map(|(_, user)| user.clone()).collect(),
    })
}

impl Plan {
    /// Creates the users that are missing. Tells the passwords that were made for those who have none.
    ///
    /// # Errors
    /// If the database fails; none was created then.
    pub(crate) async fn create(mut self, store: &Store) -> Result<Vec<NewPassword>, StoreError> {
        if self.missing.is_empty() {
            return Ok(Vec::new());
        }
        let mut made = Vec::new();
        for (place, user) in self.missing.iter_mut().enumerate() {
            if user.ha1_md5.is_none() {
                let password = Secret::generate();
                set_password(user, password.expose());
                made.push((place, password));
            }
        }
        let created = store.create_users(&self.missing).await?;
        info!(
            created,
            "users of the configuration were created in the store"
        );
        let named = |place: usize| {
            let user = self.missing.get(place)?;
            Some((user.domain.as_str(), user.name.as_str()))
        };
        let names: Vec<_> = made.iter().filter_map(|(place, _)| named(*place)).collect();
        let stored = store.users(&names).await?;
        // Another node may have made one of the same name meanwhile: its password is another.
        let is_ours = |ours: &&store::User| {
            let mut stored = stored.iter();
            stored.any(|user| {
                (&user.domain, &user.name, &user.ha1_md5)
                    == (&ours.domain, &ours.name, &ours.ha1_md5)
            })
        };
        let shown = made.into_iter().filter_map(|(place, password)| {
            let user = self.missing.get(place).filter(is_ours)?;
            Some(NewPassword {
                user: format!("{}@{}", user.name, user.domain),
                password,
            })
        });
        Ok(shown.collect())
    }
}

/// The row of a user; `first` is the domain of those who are written without one, `None` where there is none.
pub fn row(user: &config::User, first: Option<&str>, now: Timestamp) -> Option<store::User> {
    // The realm is the domain as it is stored.
    let domain = user.domain(first)?.to_ascii_lowercase();
    let mut row = store::User {
        ha1_md5: None,
        ha1_sha256: None,
        ha1_sha512: None,
        name: user.name.clone(),
        display: user.display.clone(),
        enabled: user.enabled,
        profile: serde_json::to_string(&user.profile()).ok()?,
        created: now,
        updated: now,
        domain,
    };
    if let Some(password) = &user.password {
        set_password(&mut row, password);
    }
    Some(row)
}

/// Keeps a hash of the password for each algorithm.
pub(super) fn set_password(user: &mut store::User, password: &str) {
    let ha1 = |hash| {
        let ha1 = Ha1::new(hash, &user.name, &user.domain, password);
        Some(ha1.expose().to_owned())
    };
    (user.ha1_md5, user.ha1_sha256, user.ha1_sha512) =
        (ha1(Hash::Md5), ha1(Hash::Sha256), ha1(Hash::Sha512_256));
}

/// In what the store's user is another than the file's.
fn difference(written: &store::User, stored: &store::User) -> Option<String> {
    let profile = |user: &store::User| serde_json::from_str::<Profile>(&user.profile).ok();
    let differs = |ours: &Option<String>, theirs: &Option<String>| {
        let theirs = theirs.as_ref().filter(|theirs| !theirs.is_empty());
        theirs.is_some_and(|theirs| !ours.iter().any(|ours| ours.eq_ignore_ascii_case(theirs)))
    };
    // Without one in the file, the store's is as good as any.
    let password = written.ha1_md5.is_some()
        && [
            (&written.ha1_md5, &stored.ha1_md5),
            (&written.ha1_sha256, &stored.ha1_sha256),
            (&written.ha1_sha512, &stored.ha1_sha512),
        ]
        .iter()
        .any(|(ours, theirs)| differs(ours, theirs));
    let parts = [
        ("password", password),
        ("display", written.display != stored.display),
        ("enabled", written.enabled != stored.enabled),
        ("profile", profile(written) != profile(stored)),
    ];
    let parts = parts.into_iter().filter(|(_, differs)| *differs);
    let parts: Vec<_> = parts.map(|(name, _)| name).collect();
    let user = format!("{}@{}", written.name, written.domain);
    (!parts.is_empty()).then(|| {
        format!(
            "user {user} of the file differs from the store, which counts, in {}: change it by \
             'tandem users set {user}', or take it out of the file",
            parts.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(user: &str) -> Config {
        let text = format!("[[users]]\nname = \"alice\"\ndomain = \"example.test\"\n{user}");
        Config::parse(&text, []).unwrap().config
    }

    #[tokio::test]
    async fn a_password_that_is_not_written_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
        let config = config("");
        let made = plan(&config, &store).await.unwrap();
        let made = made.create(&store).await.unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].user, "alice@example.test");
        let password = made[0].password.expose();
        let ha1 = Ha1::new(Hash::Md5, "alice", "example.test", password);
        let stored = store.users(&[("example.test", "alice")]).await.unwrap();
        assert_eq!(stored[0].ha1_md5.as_deref(), Some(ha1.expose()));

        let again = plan(&config, &store).await.unwrap();
        assert_eq!(again.differences, [""; 0]);
        assert_eq!(again.create(&store).await.unwrap(), []);
        let other = self::config("password = \"another\"");
        let other = plan(&other, &store).await.unwrap();
        assert!(other.differences[0].contains("password"));
    }
}
