//! Reads what calls are routed by from the file and the store, and checks it as a whole. Nothing is
//! changed by that, neither in the node nor in the store.

use std::{collections::HashMap, sync::Arc};

use control::{
    Config,
    config::{self, Number, Route},
};
use serde::de::DeserializeOwned;
use store::{Account, DEFAULT_TENANT, RoutingDocument, RoutingKind, Store, StoreError, Timestamp};
use tracing::info;

use crate::directory::{Directory, Owners, People, Programs, RoutesBuilder};

/// Documents that are read at a time.
const PAGE: u32 = 10_000;
/// How often reading begins again when the store changes meanwhile.
const ATTEMPTS: usize = 5;
/// Reasons that are told at most.
const REASONS: usize = 20;

/// A change of one document that the store does not have yet.
pub(super) struct Change {
    pub(super) kind: RoutingKind,
    pub(super) id: String,
    /// What it is then; `None`: gone.
    pub(super) document: Option<String>,
    /// Whose it is then.
    pub(super) tenant: Option<String>,
    /// The id in the store that comes after a new one; `None` where it is the last one, or is not new.
    pub(super) next: Option<String>,
}

/// What was read, and is good.
pub(super) struct Loaded {
    pub(super) directory: Directory,
    /// The store's revision that it is of.
    pub(super) revision: i64,
    /// Numbers of the file that the store lacks. The directory has them.
    missing: Vec<Number>,
    /// Accounts of the file. The directory has them.
    accounts: Vec<config::Account>,
    /// What the store has otherwise than the file, one line each.
    pub(super) warnings: Vec<String>,
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

impl LoadError {
    /// One line each.
    pub(super) fn reasons(self) -> Vec<String> {
        match self {
            Self::Invalid(reasons) => reasons,
            Self::Store(error) => vec![error.to_string()],
        }
    }
}

impl Loaded {
    /// Creates the accounts and numbers in the store that it lacks. Gives the revision that the directory is of then.
    pub(super) async fn create_missing(&self, store: &Store) -> Result<i64, StoreError> {
        let now = Timestamp::now();
        let accounts = self.accounts.iter().map(|account| Account {
            sid: account.sid.clone(),
            tenant: account.tenant.clone(),
            name: account.name.as_ref().unwrap_or(&account.sid).clone(),
            token: account.token.clone(),
            calls_per_second: account.calls_per_second,
            created: now,
            updated: now,
        });
        let accounts: Vec<_> = accounts.collect();
        let created = store.create_accounts(&accounts).await?;
        if created > 0 {
            info!(
                created,
                "accounts of the configuration were created in the store"
            );
        }
        if self.missing.is_empty() {
            return Ok(self.revision);
        }
        let documents = self.missing.iter().filter_map(|number| {
            // It was read from as simple a text.
            let document = serde_json::to_string(number).ok()?;
            Some(RoutingDocument::new(number.number.as_str(), document))
        });
        let documents: Vec<_> = documents.collect();
        let created = store
            .create_routing(RoutingKind::Number, &documents)
            .await?;
        info!(
            created,
            "numbers of the configuration were created in the store"
        );
        // Where somebody else changed something too, the older one makes that be looked at.
        let now = store.routing_revision().await?;
        Ok(if now == self.revision + 1 {
            now
        } else {
            self.revision
        })
    }
}

/// Reads the store, as it would be with `change`, until nothing changes meanwhile. The numbers of `config`
/// count where the store has none of that name.
pub(super) async fn load(
    config: &Config,
    store: &Store,
    change: Option<&Change>,
    before: Option<Arc<Directory>>,
) -> Result<Loaded, LoadError> {
    let mut revision = store.routing_revision().await?;
    for _ in 0..ATTEMPTS {
        let mut loaded = read(config, store, change, before.clone()).await?;
        let now = store.routing_revision().await?;
        if now == revision {
            loaded.revision = revision;
            return Ok(loaded);
        }
        revision = now;
    }
    let reason = "the store changes quicker than it can be read; try again later".to_owned();
    Err(LoadError::Invalid(vec![reason]))
}

async fn read(
    config: &Config,
    store: &Store,
    change: Option<&Change>,
    before: Option<Arc<Directory>>,
) -> Result<Loaded, LoadError> {
    let mut reader = Reader {
        store,
        change,
        is_placed: false,
        owners: owners(store).await?,
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    let mut merged = config.clone();
    for trunk in reader.all(RoutingKind::Trunk).await? {
        reader.add(&mut merged.trunks, trunk, "trunk", |trunk| &trunk.name);
    }
    for group in reader.all(RoutingKind::Group).await? {
        reader.add(&mut merged.groups, group, "group", |group| &group.name);
    }
    merged.blocks.extend(reader.all(RoutingKind::Block).await?);
    merged.limits.extend(reader.all(RoutingKind::Limit).await?);
    let (numbers, missing) = reader.numbers(&config.numbers).await?;
    merged.numbers = numbers;
    reader.errors.extend(merged.routing().errors());
    // Before millions of routes are read.
    reader.done()?;

    // Each route is dropped as soon as it has its place.
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
        let page = reader.page(RoutingKind::Route, &after).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        let hosts = hosts.clone();
        let taken = blocking(move || take(routes, &page, &hosts)).await?;
        routes = taken.0;
        reader.errors.extend(taken.1);
        reader.done()?;
    }
    let (warnings, owners) = (reader.warnings, reader.owners);
    let people = people(store).await?;
    let programs = programs(config, store).await?;
    let build = move || {
        let before = before.as_deref();
        Directory::build(&merged, routes, people, owners, programs, before)
    };
    let directory = blocking(build).await?;
    Ok(Loaded {
        directory,
        revision: 0,
        missing,
        accounts: config.accounts.clone(),
        warnings,
    })
}

/// Users whose calls are forwarded, or who may not be called.
async fn people(store: &Store) -> Result<People, StoreError> {
    let mut people = People::default();
    let mut after = (String::new(), String::new());
    loop {
        let page = store.particular_users((&after.0, &after.1), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(people);
        };
        after = (last.domain.clone(), last.name.clone());
        page.iter().for_each(|user| people.add(user));
    }
}

/// Accounts and applications. Of two accounts of one SID the store's counts.
async fn programs(config: &Config, store: &Store) -> Result<Programs, StoreError> {
    let mut programs = Programs::new(&config.accounts);
    let mut after = String::new();
    loop {
        let page = store.accounts(None, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.sid);
        page.into_iter()
            .for_each(|account| programs.add_account(account.into()));
    }
    let mut after = None;
    loop {
        let page = store.applications(None, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(programs);
        };
        after = Some(last.id);
        page.into_iter()
            .for_each(|application| programs.add_application(application));
    }
}

/// Whose the domains are.
async fn owners(store: &Store) -> Result<Owners, StoreError> {
    let mut owners = Owners::new(DEFAULT_TENANT);
    let mut after = String::new();
    loop {
        let page = store.domains(None, &after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(owners);
        };
        after.clone_from(&last.name);
        for domain in &page {
            owners.give_domain(&domain.name, &domain.tenant);
        }
    }
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

/// Reads documents, and keeps what is wrong or odd with them.
struct Reader<'s> {
    store: &'s Store,
    change: Option<&'s Change>,
    /// The change is in what was read.
    is_placed: bool,
    /// Whose the domains are, and the numbers that were read.
    owners: Owners,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// Documents from after `after` on, as they are with the change; empty after the last one.
    async fn page(
        &mut self,
        kind: RoutingKind,
        after: &str,
    ) -> Result<Vec<RoutingDocument>, StoreError> {
        let mut page = self.store.routing(kind, after, PAGE).await?;
        let Some(change) = self.change.filter(|change| change.kind == kind) else {
            return Ok(page);
        };
        let Some(document) = &change.document else {
            page.retain(|document| document.id != change.id);
            return Ok(page);
        };
        let place_of = |id: &str| page.iter().position(|document| document.id == id);
        if let Some(place) = place_of(&change.id) {
            page[place].document.clone_from(document);
            page[place].tenant.clone_from(&change.tenant);
            self.is_placed = true;
            return Ok(page);
        }
        // Only the database knows how it orders them.
        let place = match &change.next {
            Some(next) => place_of(next),
            None => (page.len() < PAGE as usize).then_some(page.len()),
        };
        if let Some(place) = place.filter(|_| !self.is_placed) {
            self.is_placed = true;
            let new = RoutingDocument::new(change.id.as_str(), document.as_str());
            let tenant = change.tenant.clone();
            page.insert(place, RoutingDocument { tenant, ..new });
        }
        Ok(page)
    }

    async fn all<T: DeserializeOwned>(&mut self, kind: RoutingKind) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.page(kind, &after).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for document in &page {
                if kind == RoutingKind::Number
                    && let Some(tenant) = &document.tenant
                {
                    self.owners.give_number(&document.id, tenant);
                }
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

    /// Adds what the store has beside the file; of two with one name the file's counts.
    fn add<T>(&mut self, known: &mut Vec<T>, item: T, kind: &str, name: impl Fn(&T) -> &String) {
        if known.iter().any(|known| name(known) == name(&item)) {
            self.warnings.push(format!(
                "{kind} '{}' is both in the file and in the store: the file's counts; rename one of them",
                name(&item)
            ));
            return;
        }
        known.push(item);
    }

    /// The store's numbers and those of the file that it lacks, and the latter alone.
    async fn numbers(
        &mut self,
        written: &[Number],
    ) -> Result<(Vec<Number>, Vec<Number>), StoreError> {
        let mut numbers: Vec<Number> = self.all(RoutingKind::Number).await?;
        let stored: HashMap<&str, &Number> = numbers
            .iter()
            .map(|number| (number.number.as_str(), number))
            .collect();
        let mut missing = Vec::new();
        for number in written {
            match stored.get(number.number.as_str()) {
                None => missing.push(number.clone()),
                Some(stored) if *stored != number => self.warnings.push(format!(
                    "number '{}' of the file is another one in the store, which counts",
                    number.number
                )),
                Some(_) => {}
            }
        }
        numbers.extend(missing.iter().cloned());
        Ok((numbers, missing))
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

/// Runs what takes long beside what waits.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadError> {
    let gone = |_| LoadError::Invalid(vec!["the node is being stopped".to_owned()]);
    tokio::task::spawn_blocking(work).await.map_err(gone)
}
