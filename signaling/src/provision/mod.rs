//! What a configuration and the store say, as it is taken over while the node runs: read, checked as a
//! whole, and swapped in.
//!
//! The users and numbers of the file are created in the store where they are missing, and the store is
//! the truth from then on. Trunks, routes, groups, blocks and limits are the file's and the store's
//! together. What is wrong in either leaves everything as it is.

mod changes;
mod edit;
mod load;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use control::{Config, Fault, FaultCode, signal::ReloadReport};
use store::{Store, StoreError};
use tokio::{sync::mpsc, time};
use tracing::{error, info, warn};

pub use self::edit::document;
use self::{
    changes::Changes,
    load::{LoadError, Loaded, load},
};
use crate::{
    accounts,
    call::Terms,
    defence::Defence,
    directory::{Aor, Directory},
    worker::Command,
};

/// How often the store is asked whether anything has changed.
const POLL: Duration = Duration::from_secs(5);
/// How long who has changed something waits for it to count.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Reads the configuration again; the reasons where it cannot be used.
pub type Reread = Box<dyn Fn() -> Result<Read, Vec<String>> + Send + Sync>;

/// Uses what was read before.
pub type TakeOver = Box<dyn FnOnce() + Send>;

/// What there is to take over.
pub struct Read {
    /// What signaling does.
    pub config: Config,
    /// What a whole node's process has beside signaling: taken over together with it, or not at all. `None` where
    /// signaling is a process of its own.
    pub beside: Option<TakeOver>,
}

impl From<Config> for Read {
    /// Of a signaling that is a process of its own.
    fn from(config: Config) -> Self {
        Self {
            config,
            beside: None,
        }
    }
}
/// Reads the certificates that a configuration names, or tells why they cannot be used.
type Certificates = Box<dyn Fn(&Config) -> Result<TakeOver, String> + Send + Sync>;
/// Takes over how users prove who they are, and what they may register.
type Access = Box<dyn Fn(&Config) + Send + Sync>;
/// Hears of the trunks and applications that there are now.
type Roster = Box<dyn Fn(&Directory) + Send + Sync>;

/// Keeps the node at what the file and the store say.
pub(crate) struct Provision {
    pub(crate) store: Store,
    pub(crate) reread: Reread,
    pub(crate) current: Arc<ArcSwap<Directory>>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) defence: Arc<Defence>,
    pub(crate) certificates: Certificates,
    pub(crate) access: Access,
    pub(crate) roster: Roster,
    /// What is in force; held while that is being replaced, so that one follows the other.
    pub(crate) state: tokio::sync::Mutex<State>,
}

/// What is in force.
#[derive(Debug)]
pub(crate) struct State {
    /// With the domains of the store's users. Keys that only a start reads are as they were then.
    pub(crate) config: Config,
    /// The store's revision; `None` where the store was not read.
    pub(crate) revision: Option<i64>,
}

impl fmt::Debug for Provision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provision").finish_non_exhaustive()
    }
}

/// The first directory: of the file and the store, or of the file alone where the store cannot be used.
pub(crate) async fn first(config: &Config, store: &Store) -> (Directory, Option<i64>) {
    let loaded = match load(config, store, None, None).await {
        Ok(loaded) => loaded,
        Err(error) => {
            error!("routing by the file alone, for the store's cannot be used: {error}");
            return (Directory::new(config, None), None);
        }
    };
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let revision = loaded.create_missing(store).await;
    if let Err(error) = &revision {
        error!("cannot create the accounts and numbers of the configuration in the store: {error}");
    }
    (loaded.directory, revision.ok())
}

/// Whether a node could route by a configuration and a store, as a reload would see it. Nothing is changed.
///
/// # Errors
/// All that is wrong, one line each.
pub async fn check(config: &Config, store: &Store) -> Result<(), Vec<String>> {
    let mut config = of_the_store(config);
    let users = accounts::provision::plan(&config, store).await;
    config.sip.domains = users.map_err(|error| vec![error.to_string()])?.domains;
    let loaded = load(&config, store, None, None).await;
    loaded.map(drop).map_err(LoadError::reasons)
}

impl Provision {
    /// Reads the file and the store again, and takes over what can be while the node runs. Tells whether there is
    /// something for mediad to read, too.
    ///
    /// # Errors
    /// All that is wrong; everything stays as it is then.
    pub(crate) async fn reload(&self) -> Result<(ReloadReport, bool), Vec<String>> {
        let mut state = self.state.lock().await;
        let told = |error: StoreError| vec![error.to_string()];
        let Read {
            config: mut read,
            beside,
        } = (self.reread)()?;
        let users = accounts::provision::plan(&read, &self.store).await;
        let users = users.map_err(told)?;
        read.sip.domains.clone_from(&users.domains);
        let loaded = self.load(&read).await.map_err(LoadError::reasons)?;
        let certificates = (self.certificates)(&read).map_err(|error| vec![error])?;

        // All of it is good. The store is written first, since that can fail; what follows cannot.
        let mut warnings = read.warnings();
        warnings.extend(users.differences.iter().cloned());
        for new in users.create(&self.store).await.map_err(told)? {
            new.show();
        }
        let revision = loaded.create_missing(&self.store).await.map_err(told)?;
        warnings.extend(loaded.warnings);
        let mut changes = Changes::take_over(&mut state.config, &read);
        state.revision = Some(revision);
        certificates();
        let whole = beside.is_some();
        match beside {
            Some(take_over) => take_over(),
            None if changes.certificate => warnings.push(
                "[api] tls names another certificate: SIGHUP makes the API take it over, which is another process"
                    .to_owned(),
            ),
            None => {}
        }
        if whole && changes.certificate {
            changes.live.push("api.tls".to_owned());
        }
        (self.access)(&state.config);
        let sip = &state.config.sip;
        self.defence
            .reload(&sip.defence, Duration::from_millis(sip.t1));
        self.swap(loaded.directory, &state.config);
        let report = ReloadReport {
            routing: self.current.load().describe(),
            changed: changes.live,
            restart: changes.restart,
            warnings,
            whole,
        };
        Ok((report, changes.media))
    }

    /// Makes a domain one of ours, as it is once the store has a user of it.
    ///
    /// # Errors
    /// The reasons; the domain is not ours then, until a reload or a start.
    pub(crate) async fn add_domain(&self, domain: &str) -> Result<(), Vec<String>> {
        let is_ours = |domains: &[String]| {
            let mut domains = domains.iter();
            domains.any(|known| known.eq_ignore_ascii_case(domain))
        };
        // Without waiting for a reload that is under way.
        if is_ours(self.current.load().domains()) {
            return Ok(());
        }
        let mut state = self.state.lock().await;
        let mut domains = state.config.sip.domains.clone();
        if is_ours(&domains) {
            return Ok(());
        }
        domains.push(domain.to_owned());
        let mut config = of_the_store(&state.config);
        config.sip.domains.clone_from(&domains);
        let loaded = self.load(&config).await.map_err(LoadError::reasons)?;
        state.config.sip.domains = domains;
        self.follow(loaded, &mut state).await;
        Ok(())
    }

    /// Whom an operator means by `alice@example.test`, or by `alice`: one of the first domain.
    ///
    /// # Errors
    /// It has no domain, nor has the node.
    pub(crate) fn user_named(&self, user: &str) -> Result<Aor, Fault> {
        if let Some((name, domain)) = user.rsplit_once('@') {
            return Ok(Aor::new(name, domain));
        }
        let directory = self.current.load();
        let first = directory.domains().first().ok_or_else(|| {
            let message = format!("'{user}' has no domain: write {user}@DOMAIN");
            Fault::new(FaultCode::Invalid, message)
        })?;
        Ok(Aor::new(user, first))
    }

    /// Whether the file creates a user, as soon as the store lacks it; nobody can tell during a reload.
    pub(crate) fn creates(&self, aor: &Aor) -> bool {
        let Ok(state) = self.state.try_lock() else {
            return false;
        };
        let first = state.config.sip.domains.first().map(String::as_str);
        state.config.users.iter().any(|user| {
            let domain = user.domain(first);
            domain.is_some_and(|domain| Aor::new(&user.name, domain) == *aor)
        })
    }

    /// What the configuration says of the store.
    pub(crate) async fn store_config(&self) -> control::config::Store {
        self.state.lock().await.config.store.clone()
    }

    /// What the file says of media, of which only mediad knows whether it can.
    pub(crate) async fn media(&self) -> control::config::Media {
        self.state.lock().await.config.media.clone()
    }

    /// The folder of recordings of calls, where there is one.
    pub(crate) async fn recordings(&self) -> Option<PathBuf> {
        self.state.lock().await.config.media.recordings.clone()
    }

    /// Looks at the store's revision for as long as the node runs.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut is_told = false;
        let mut refused = None;
        let mut tick = time::interval(POLL);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let revision = match self.store.routing_revision().await {
                Ok(revision) => revision,
                Err(error) => {
                    if !is_told {
                        warn!("cannot see whether the store's routing has changed: {error}");
                    }
                    is_told = true;
                    continue;
                }
            };
            is_told = false;
            if refused != Some(revision) {
                refused = self.take_over(revision).await.err();
            }
        }
    }

    /// Looks at the store now, for what has just been written is to count at once. With millions of routes it
    /// counts a little later.
    pub(crate) async fn look_again(&self) {
        let look = async {
            // Where the store cannot tell, whoever looks at it from time to time says so.
            if let Ok(revision) = self.store.routing_revision().await {
                let _told: Result<(), i64> = self.take_over(revision).await;
            }
        };
        let _late = time::timeout(AT_ONCE, look).await;
    }

    /// Takes the store's routing over where it is another than what is in force. `Err` with the revision where
    /// it cannot be.
    async fn take_over(&self, revision: i64) -> Result<(), i64> {
        let mut state = self.state.lock().await;
        if state.revision == Some(revision) {
            return Ok(());
        }
        match self.load(&of_the_store(&state.config)).await {
            Ok(loaded) => {
                self.follow(loaded, &mut state).await;
                info!(
                    revision,
                    directory = self.current.load().describe(),
                    "routing has changed"
                );
            }
            Err(LoadError::Invalid(reasons)) => {
                error!(
                    revision,
                    "the store's routing is not taken over, and the node goes on with what it has: {}",
                    reasons.join("; ")
                );
                return Err(revision);
            }
            Err(error) => warn!("cannot read the store's routing: {error}"),
        }
        Ok(())
    }

    /// Tells the defence whom it must not hold anything against.
    pub(crate) fn protect(&self, directory: &Directory, config: &Config) {
        let allowed = directory
            .allowed()
            .chain(config.sip.defence.allow.iter().copied());
        let emergency = config.sip.emergency.clone();
        self.defence.set_policy(Instant::now(), allowed, emergency);
    }

    /// The directory of a configuration and the store.
    async fn load(&self, config: &Config) -> Result<Loaded, LoadError> {
        load(config, &self.store, None, Some(self.current.load_full())).await
    }

    /// Takes over what the store alone has changed.
    async fn follow(&self, loaded: Loaded, state: &mut State) {
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        // It lacks no number, so nothing is written and nothing can fail.
        state.revision = loaded.create_missing(&self.store).await.ok();
        self.swap(loaded.directory, &state.config);
    }

    /// Gives a directory to everyone, and to the workers what else of `config` they go by.
    fn swap(&self, directory: Directory, config: &Config) {
        let directory = Arc::new(directory);
        self.current.store(directory.clone());
        self.protect(&directory, config);
        (self.roster)(&directory);
        let terms = Terms::new(&config.sip);
        for worker in &self.workers {
            drop(worker.send(Command::Rules(directory.clone(), terms)));
        }
    }
}

/// The configuration without what only a start or a reload creates in the store: who takes a number out
/// of the store means it.
fn of_the_store(config: &Config) -> Config {
    let mut config = config.clone();
    config.numbers.clear();
    config
}

#[cfg(test)]
pub(crate) mod tests;
