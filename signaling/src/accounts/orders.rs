//! What an operator asks of users. The store comes first; then memory, which all workers share, so that
//! it holds for every one of them at once.

use std::{sync::Arc, time::Instant};

use control::{
    Fault, FaultCode,
    config::{self, Forward, Profile},
    signal::{NewUser, Response, UserChange, UserDone, UserInfo, UserOrder},
};
use serde_json::{Map, Value, json};
use store::{Store, StoreError, Timestamp};
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::info;

use super::{
    Cache,
    provision::{row, set_password},
};
use crate::{directory::Aor, location::Location, provision::Provision, worker::Command};

/// Users on a page at most.
const PAGE: u32 = 10_000;
/// How often an edit begins again where another node changes the user meanwhile.
const ATTEMPTS: usize = 5;

/// Does it.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) store: Store,
    pub(crate) accounts: Arc<Cache>,
    pub(crate) location: Arc<Location>,
    pub(crate) provision: Arc<Provision>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    /// One user is changed at a time, so that memory learns in the order of the store.
    pub(crate) editing: Mutex<()>,
}

impl Orders {
    /// A page of the store's users.
    pub(crate) async fn list(&self, after: &str, limit: u32) -> Result<Response, Fault> {
        if !(1..=PAGE).contains(&limit) {
            let message = format!("limit is {limit}: ask for 1 to {PAGE} users");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        let (name, domain) = after.rsplit_once('@').unwrap_or_default();
        let users = self.store.list_users((domain, name), limit).await;
        let infos = users.map_err(|error| away(&error))?.into_iter();
        Ok(Response::Users(infos.map(|user| self.info(user)).collect()))
    }

    /// One of them, where it is there.
    pub(crate) async fn one(&self, user: &str) -> Result<Response, Fault> {
        let found = self.find(&self.provision.user_named(user)?).await?;
        let infos = found.into_iter().map(|user| self.info(user));
        Ok(Response::Users(infos.collect()))
    }

    fn info(&self, user: store::User) -> UserInfo {
        let aor = Aor::new(&user.name, &user.domain);
        let profile: Profile = serde_json::from_str(&user.profile).unwrap_or_default();
        UserInfo {
            user: aor.as_str().to_owned(),
            max_contacts: profile.max_contacts,
            forward: profile.forward.into(),
            ring_timeout: profile.ring_timeout,
            contacts: count(self.location.count_of(Timestamp::now(), &aor)),
            display: user.display,
            enabled: user.enabled,
            created_ms: user.created.millis(),
            updated_ms: user.updated.millis(),
        }
    }

    async fn find(&self, aor: &Aor) -> Result<Option<store::User>, Fault> {
        let found = self.store.users(&[(aor.domain(), aor.user())]).await;
        Ok(found.map_err(|error| away(&error))?.into_iter().next())
    }

    /// Adds, changes or removes a user.
    pub(crate) async fn obey(&self, order: UserOrder) -> Result<Response, Fault> {
        let done = match order {
            UserOrder::Add(user) => self.add(user).await?,
            UserOrder::Change(change) => self.change(change).await?,
            UserOrder::Remove {
                user,
                unchanged_since,
            } => self.remove(&user, unchanged_since).await?,
        };
        Ok(Response::User(done))
    }

    async fn add(&self, new: NewUser) -> Result<UserDone, Fault> {
        let aor = self.provision.user_named(&new.user)?;
        let user = config::User {
            name: aor.user().to_owned(),
            domain: Some(aor.domain().to_owned()),
            password: Some(new.password.expose().to_owned()),
            display: new.display,
            enabled: new.enabled,
            forward: new.forward.into(),
            ring_timeout: new.ring_timeout,
            max_contacts: new.max_contacts,
        };
        checked(&user)?;
        let row = row(&user, None, Timestamp::now()).ok_or_else(|| unknown(&aor))?;
        let editing = self.editing.lock().await;
        let created = self.store.create_users(std::slice::from_ref(&row)).await;
        if created.map_err(|error| away(&error))? == 0 {
            let message = format!("there is a user {aor} already: 'tandem users set' changes it");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        self.accounts.learn(Instant::now(), row.into());
        drop(editing);
        info!(user = %aor, "a user was added");
        if user.profile() != Profile::default() || !user.enabled {
            self.provision.look_again().await;
        }
        let domain = self.provision.add_domain(aor.domain()).await;
        let warnings = domain
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|reason| format!("{} is not served as a domain yet: {reason}", aor.domain()));
        Ok(UserDone {
            user: aor.as_str().to_owned(),
            unregistered: 0,
            warnings: warnings.collect(),
        })
    }

    async fn change(&self, change: UserChange) -> Result<UserDone, Fault> {
        let aor = self.provision.user_named(&change.user)?;
        checked(&config::User {
            name: aor.user().to_owned(),
            domain: Some(aor.domain().to_owned()),
            password: change
                .password
                .as_ref()
                .map(|password| password.expose().to_owned()),
            display: None,
            enabled: true,
            forward: change.forward.clone().unwrap_or_default().into(),
            ring_timeout: change.ring_timeout.filter(|seconds| *seconds > 0),
            max_contacts: change.max_contacts.filter(|most| *most > 0),
        })?;
        let editing = self.editing.lock().await;
        let user = self.write(&aor, &change).await?;
        let enabled = user.enabled;
        self.accounts.learn(Instant::now(), user.into());
        drop(editing);
        let password = change.password.is_some();
        info!(user = %aor, enabled, password, "a user was changed");
        if change.forward.is_some() || change.ring_timeout.is_some() || change.enabled.is_some() {
            self.provision.look_again().await;
        }
        // Who registered with the password of before has to show that it knows the new one.
        let unregistered = match password || !enabled {
            true => self.unregister(&aor).await,
            false => 0,
        };
        Ok(UserDone {
            user: aor.as_str().to_owned(),
            unregistered,
            warnings: Vec::new(),
        })
    }

    /// Changes a user in the store: what it is then.
    async fn write(&self, aor: &Aor, change: &UserChange) -> Result<store::User, Fault> {
        for _ in 0..ATTEMPTS {
            let before = self.find(aor).await?.ok_or_else(|| unknown(aor))?;
            let since = before.updated;
            unchanged(aor, since, change.unchanged_since)?;
            let after = changed(before, change);
            let done = self.store.update_user(&after, since).await;
            if done.map_err(|error| away(&error))? {
                return Ok(after);
            }
        }
        Err(restless(aor))
    }

    async fn remove(&self, user: &str, unchanged_since: Option<i64>) -> Result<UserDone, Fault> {
        let aor = self.provision.user_named(user)?;
        let editing = self.editing.lock().await;
        self.erase(&aor, unchanged_since).await?;
        self.accounts.learn_absent(Instant::now(), &aor);
        drop(editing);
        info!(user = %aor, "a user was removed");
        let unregistered = self.unregister(&aor).await;
        let mut warnings = Vec::new();
        if self.provision.creates(&aor) {
            warnings.push(format!(
                "{aor} is in the file, which creates it anew at the next reload or start: take it out \
                 there too"
            ));
        }
        Ok(UserDone {
            user: aor.as_str().to_owned(),
            unregistered,
            warnings,
        })
    }

    /// Takes a user out of the store.
    async fn erase(&self, aor: &Aor, unchanged_since: Option<i64>) -> Result<(), Fault> {
        for _ in 0..ATTEMPTS {
            let since = self.find(aor).await?.ok_or_else(|| unknown(aor))?.updated;
            unchanged(aor, since, unchanged_since)?;
            let done = self
                .store
                .remove_user(aor.domain(), aor.user(), since)
                .await;
            if done.map_err(|error| away(&error))? {
                return Ok(());
            }
        }
        Err(restless(aor))
    }

    /// Takes away what a user has registered. Memory is changed already; a worker may be about to do what
    /// the memory of before allowed.
    async fn unregister(&self, aor: &Aor) -> u32 {
        for worker in &self.workers {
            let (sender, answer) = oneshot::channel();
            if worker.send(Command::Count(sender)).is_ok() {
                // It fails only while the node is being taken down.
                drop(answer.await);
            }
        }
        count(self.location.remove(aor, None))
    }
}

/// A user, as a change makes it.
fn changed(mut user: store::User, change: &UserChange) -> store::User {
    if let Some(password) = &change.password {
        set_password(&mut user, password.expose());
    }
    if let Some(display) = &change.display {
        user.display = Some(display.clone()).filter(|display| !display.is_empty());
    }
    user.profile = profiled(&user.profile, change);
    user.enabled = change.enabled.unwrap_or(user.enabled);
    user.updated = user.updated.next();
    user
}

/// A profile, as a change makes it: what it has beside stays.
fn profiled(profile: &str, change: &UserChange) -> String {
    let mut members: Map<String, Value> = serde_json::from_str(profile).unwrap_or_default();
    let numbers = [
        ("max_contacts", change.max_contacts),
        ("ring_timeout", change.ring_timeout),
    ];
    for (name, number) in numbers {
        match number {
            None => {}
            Some(0) => drop(members.remove(name)),
            Some(number) => drop(members.insert(name.to_owned(), number.into())),
        }
    }
    match change.forward.clone().map(Forward::from) {
        None => {}
        Some(none) if none.is_empty() => drop(members.remove("forward")),
        Some(forward) => drop(members.insert("forward".to_owned(), json!(forward))),
    }
    Value::Object(members).to_string()
}

/// Whether a user is as an order says that it was.
fn unchanged(aor: &Aor, updated: Timestamp, wanted: Option<i64>) -> Result<(), Fault> {
    match wanted {
        Some(wanted) if wanted != updated.millis() => {
            let message = format!("{aor} was changed meanwhile: look again");
            Err(Fault::new(FaultCode::Changed, message))
        }
        _ => Ok(()),
    }
}

fn restless(aor: &Aor) -> Fault {
    let message =
        format!("nothing was changed: {aor} changes quicker than it can be read; try again later");
    Fault::new(FaultCode::Unavailable, message)
}

fn checked(user: &config::User) -> Result<(), Fault> {
    let mut errors = Vec::new();
    user.check(None, &mut errors);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Fault::new(FaultCode::Invalid, errors.join("\n"))),
    }
}

fn unknown(user: &Aor) -> Fault {
    let message = format!("there is no user '{user}'; 'tandem users list' has them all");
    Fault::new(FaultCode::NotFound, message)
}

fn away(error: &StoreError) -> Fault {
    Fault::new(
        FaultCode::Unavailable,
        format!("nothing was changed: {error}"),
    )
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use control::signal::Forwards;

    use super::*;

    #[test]
    fn a_change_of_a_profile_keeps_what_it_does_not_name() {
        let before = r#"{"forward":{"busy":"+4930"},"max_contacts":2,"later":true}"#;
        let ring = UserChange {
            ring_timeout: Some(9),
            max_contacts: Some(0),
            ..UserChange::default()
        };
        let after = r#"{"forward":{"busy":"+4930"},"later":true,"ring_timeout":9}"#;
        assert_eq!(profiled(before, &ring), after);
        let forward = |always: Option<&str>| UserChange {
            forward: Some(Forwards {
                always: always.map(str::to_owned),
                ..Forwards::default()
            }),
            ..UserChange::default()
        };
        let after = r#"{"forward":{"always":"bob@example.test"},"later":true,"max_contacts":2}"#;
        assert_eq!(profiled(before, &forward(Some("bob@example.test"))), after);
        assert_eq!(
            profiled(before, &forward(None)),
            r#"{"later":true,"max_contacts":2}"#
        );
    }
}
