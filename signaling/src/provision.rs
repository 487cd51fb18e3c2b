//! What calls are routed by, from the file and the store: read, checked as a whole, and swapped in.
//!
//! The file's numbers are created in the store where they are missing, and the store is the truth from
//! then on. Everything else is the file's and the store's together. What is wrong in either leaves the
//! directory as it is.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use control::{
    Config,
    config::{Number, Route},
};
use serde::de::DeserializeOwned;
use store::{RoutingDocument, RoutingKind, Store, StoreError};
use tokio::{sync::mpsc, time};
use tracing::{error, info, warn};

use crate::{
    accounts,
    defence::Defence,
    directory::{Directory, RoutesBuilder, Trunk},
    worker::Command,
};

/// How often the store is asked whether anything has changed.
const POLL: Duration = Duration::from_secs(5);
/// Documents that are read at a time.
const PAGE: u32 = 10_000;
/// How often reading begins again when the store changes meanwhile.
const ATTEMPTS: usize = 5;
/// Reasons that are told at most.
const REASONS: usize = 20;

/// Reads the configuration again; the reasons where it cannot be used.
pub type Reread = Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;

/// Takes over the certificates that a configuration names, or tells why not.
type Certificates = Box<dyn Fn(&Config) -> Result<(), String> + Send + Sync>;
/// Hears of the trunks that there are now.
type Roster = Box<dyn Fn(&[Arc<Trunk>]) + Send + Sync>;

/// Keeps the directory up to date.
pub(crate) struct Provision {
    pub(crate) store: Store,
    pub(crate) reread: Reread,
    pub(crate) current: Arc<ArcSwap<Directory>>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) defence: Arc<Defence>,
    pub(crate) certificates: Certificates,
    pub(crate) trunks: Roster,
    /// The configuration that the directory was made from, and the store's revision; held while a
    /// new one is made, so that one follows the other.
    pub(crate) state: tokio::sync::Mutex<State>,
}

/// What the directory was made from.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    /// `None` where the store was not read.
    pub(crate) revision: Option<i64>,
}

impl fmt::Debug for Provision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provision").finish_non_exhaustive()
    }
}

/// Why there is no new directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The store did not tell.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What they say cannot work; one line each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// The first directory: of the file and the store, or of the file alone where the store cannot be used.
pub(crate) async fn first(config: &Config, store: &Store) -> (Directory, Option<i64>) {
    match load(config, store, None).await {
        Ok((directory, revision)) => (directory, Some(revision)),
        Err(error) => {
            error!("routing by the file alone, for the store's cannot be used: {error}");
            (Directory::new(config, None), None)
        }
    }
}

impl Provision {
    /// Reads the file and the store again and swaps the new directory in. Tells what it holds.
    ///
    /// # Errors
    /// The reasons; the directory stays as it is then.
    pub(crate) async fn reload(&self) -> Result<String, Vec<String>> {
        let mut state = self.state.lock().await;
        let mut read = (self.reread)()?;
        let told = |error: StoreError| vec![error.to_string()];
        accounts::provision::users(&read, &self.store)
            .await
            .map_err(told)?;
        read.sip.domains = accounts::provision::domains(&read, &self.store)
            .await
            .map_err(told)?;
        let changed = fixed_sections(&state.config, &read);
        if !changed.is_empty() {
            warn!(
                changed = changed.join(", "),
                "a part of the configuration has changed that takes effect at the next start only"
            );
        }
        let (directory, revision) = match self.load(&read).await {
            Ok(loaded) => loaded,
            Err(LoadError::Invalid(reasons)) => return Err(reasons),
            Err(LoadError::Store(error)) => return Err(vec![error.to_string()]),
        };
        (self.certificates)(&read).map_err(|error| vec![error])?;
        self.swap(directory, &read);
        *state = State {
            config: read,
            revision: Some(revision),
        };
        Ok(self.current.load().describe())
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
            let mut state = self.state.lock().await;
            if state.revision == Some(revision) || refused == Some(revision) {
                continue;
            }
            match self.load(&state.config).await {
                Ok((directory, revision)) => {
                    self.swap(directory, &state.config);
                    state.revision = Some(revision);
                    info!(
                        revision,
                        directory = self.current.load().describe(),
                        "routing has changed"
                    );
                }
                Err(LoadError::Invalid(reasons)) => {
                    refused = Some(revision);
                    error!(
                        revision,
                        "the store's routing is not taken over, and the node goes on with what it \
                         has: {}",
                        reasons.join("; ")
                    );
                }
                Err(error) => warn!("cannot read the store's routing: {error}"),
            }
        }
    }

    /// Tells the defence whom it must not hold anything against.
    pub(crate) fn protect(&self, directory: &Directory, config: &Config) {
        let allowed = directory
            .allowed()
            .chain(config.sip.defence.allow.iter().copied());
        let emergency = config.sip.emergency.clone();
        self.defence.set_policy(Instant::now(), allowed, emergency);
    }

    /// The directory of a configuration and the store, and the store's revision.
    async fn load(&self, config: &Config) -> Result<(Directory, i64), LoadError> {
        load(config, &self.store, Some(self.current.load_full())).await
    }

    /// Gives a directory to everyone.
    fn swap(&self, directory: Directory, config: &Config) {
        let directory = Arc::new(directory);
        self.current.store(directory.clone());
        self.protect(&directory, config);
        (self.trunks)(directory.trunks());
        for worker in &self.workers {
            drop(worker.send(Command::Directory(directory.clone())));
        }
    }
}

/// The sections that differ and that only a start reads.
fn fixed_sections(running: &Config, read: &Config) -> Vec<&'static str> {
    let mut sip = read.sip.clone();
    sip.emergency.clone_from(&running.sip.emergency);
    sip.tls.clone_from(&running.sip.tls);
    sip.domains.clone_from(&running.sip.domains);
    let sections = [
        ("[node]", running.node == read.node),
        ("[sip]", running.sip == sip),
        ("[media]", running.media == read.media),
        ("[api]", running.api == read.api),
        ("[store]", running.store == read.store),
    ];
    let differ = sections.into_iter().filter(|(_, same)| !same);
    differ.map(|(name, _)| name).collect()
}

/// Reads the store until nothing changes meanwhile.
async fn load(
    config: &Config,
    store: &Store,
    before: Option<Arc<Directory>>,
) -> Result<(Directory, i64), LoadError> {
    create_numbers(config, store).await?;
    let mut revision = store.routing_revision().await?;
    for _ in 0..ATTEMPTS {
        let directory = read(config, store, before.clone()).await?;
        let now = store.routing_revision().await?;
        if now == revision {
            return Ok((directory, revision));
        }
        revision = now;
    }
    let reason = "the store changes quicker than it can be read; try again later".to_owned();
    Err(LoadError::Invalid(vec![reason]))
}

async fn create_numbers(config: &Config, store: &Store) -> Result<(), LoadError> {
    let documents = config.numbers.iter().map(|number| {
        let document = serde_json::to_string(number);
        let wrong = |error: serde_json::Error| LoadError::Invalid(vec![error.to_string()]);
        document.map_err(wrong).map(|document| RoutingDocument {
            id: number.number.clone(),
            document,
        })
    });
    let documents = documents.collect::<Result<Vec<_>, _>>()?;
    if !documents.is_empty() {
        let created = store
            .create_routing(RoutingKind::Number, &documents)
            .await?;
        if created > 0 {
            info!(
                created,
                "numbers of the configuration were created in the store"
            );
        }
    }
    Ok(())
}

async fn read(
    config: &Config,
    store: &Store,
    before: Option<Arc<Directory>>,
) -> Result<Directory, LoadError> {
    let mut reader = Reader {
        store,
        errors: Vec::new(),
    };
    let mut merged = config.clone();
    for trunk in reader.all(RoutingKind::Trunk).await? {
        add(&mut merged.trunks, trunk, "trunk", |trunk| &trunk.name);
    }
    for group in reader.all(RoutingKind::Group).await? {
        add(&mut merged.groups, group, "group", |group| &group.name);
    }
    merged.blocks.extend(reader.all(RoutingKind::Block).await?);
    merged.limits.extend(reader.all(RoutingKind::Limit).await?);
    let stored: Vec<Number> = reader.all(RoutingKind::Number).await?;
    tell_differences(&config.numbers, &stored);
    merged.numbers = stored;
    reader.errors.extend(merged.routing().errors());
    reader.done()?;

    // There may be millions of routes: each is dropped as soon as it has its place.
    let trunks = merged.trunks.iter();
    let hosts: HashMap<String, (u32, bool)> = (0..)
        .zip(trunks)
        .map(|(place, trunk)| (trunk.name.clone(), (place, !trunk.hosts.is_empty())))
        .collect();
    let hosts = Arc::new(hosts);
    let mut routes = RoutesBuilder::default();
    for route in &config.routes {
        routes.push(route, |name| hosts.get(name).map(|known| known.0));
    }
    let mut after = String::new();
    loop {
        let page = store.routing(RoutingKind::Route, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        let hosts = hosts.clone();
        let taken = blocking(move || take(routes, &page, &hosts)).await?;
        routes = taken.0;
        reader.errors.extend(taken.1);
        reader.done()?;
    }
    blocking(move || Directory::build(&merged, routes, before.as_deref())).await
}

/// Adds a page of routes; tells what is wrong in it.
fn take(
    mut routes: RoutesBuilder,
    page: &[RoutingDocument],
    hosts: &HashMap<String, (u32, bool)>,
) -> (RoutesBuilder, Vec<String>) {
    let mut errors = Vec::new();
    for document in page {
        match serde_json::from_str::<Route>(&document.document) {
            Ok(route) => {
                route.check(|name| hosts.get(name).map(|known| known.1), &mut errors);
                routes.push(&route, |name| hosts.get(name).map(|known| known.0));
            }
            Err(error) => errors.push(format!("the store's route '{}': {error}", document.id)),
        }
    }
    (routes, errors)
}

/// Reads documents, and keeps what is wrong with them.
struct Reader<'s> {
    store: &'s Store,
    errors: Vec<String>,
}

impl Reader<'_> {
    async fn all<T: DeserializeOwned>(&mut self, kind: RoutingKind) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.store.routing(kind, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for document in &page {
                match serde_json::from_str(&document.document) {
                    Ok(item) => all.push(item),
                    Err(error) => self.errors.push(format!(
                        "the store's {} '{}': {error}",
                        kind.name(),
                        document.id
                    )),
                }
            }
        }
        Ok(all)
    }

    /// Goes on where nothing is wrong.
    fn done(&mut self) -> Result<(), LoadError> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let mut errors = std::mem::take(&mut self.errors);
        if errors.len() > REASONS {
            let more = errors.len() - REASONS;
            errors.truncate(REASONS);
            errors.push(format!("and {more} more"));
        }
        Err(LoadError::Invalid(errors))
    }
}

/// Adds what the store has beside the file; of two with one name the file's counts.
fn add<T>(known: &mut Vec<T>, item: T, kind: &str, name: impl Fn(&T) -> &String) {
    if known.iter().any(|known| name(known) == name(&item)) {
        error!(
            "{kind} '{}' is both in the file and in the store: the file's counts; rename one of them",
            name(&item)
        );
        return;
    }
    known.push(item);
}

/// Numbers of the file that the store has otherwise.
fn tell_differences(written: &[Number], stored: &[Number]) {
    let stored: HashMap<&str, &Number> = stored
        .iter()
        .map(|number| (number.number.as_str(), number))
        .collect();
    for number in written {
        if stored
            .get(number.number.as_str())
            .is_some_and(|stored| *stored != number)
        {
            warn!(
                "number '{}' of the file is another one in the store, which counts",
                number.number
            );
        }
    }
}

/// Runs what takes long beside what waits.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadError> {
    let gone = |_| LoadError::Invalid(vec!["the node is being stopped".to_owned()]);
    tokio::task::spawn_blocking(work).await.map_err(gone)
}

#[cfg(test)]
mod tests;
