//! What an import would change: compared with the store, and checked as a whole, before any of it is written.

use std::collections::{HashMap, HashSet};

use api::rules;
use control::{
    Config,
    config::{self, Profile},
};
use serde_json::Value;
use store::{Import, RoutingDocument, RoutingKind, Store, Timestamp, User};

use super::document::{self, Document, KINDS, Table};
use crate::exit::Failure;

/// How many things are asked for at once.
pub(super) const PAGE: u32 = 10_000;
/// Errors that are told at most.
const ERRORS: usize = 20;

/// What an import would change.
pub(super) struct Plan {
    /// What differs from the store.
    import: Import,
    /// The store's revision that it was compared with.
    revision: i64,
    /// Of each kind, in order.
    pub(super) counts: Vec<(&'static str, Counts)>,
    errors: Vec<String>,
}

/// How many things of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Counts {
    pub(super) new: usize,
    pub(super) changed: usize,
    pub(super) same: usize,
}

/// What a thing is to the store.
enum Difference {
    New,
    Changed,
    Same,
}

impl Counts {
    /// Counts a thing, and tells whether it has to be written.
    const fn add(&mut self, difference: &Difference) -> bool {
        match difference {
            Difference::New => self.new += 1,
            Difference::Changed => self.changed += 1,
            Difference::Same => self.same += 1,
        }
        !matches!(difference, Difference::Same)
    }
}

impl Difference {
    /// Of what there is, if anything, and whether that is the same.
    const fn of(before: Option<bool>) -> Self {
        match before {
            None => Self::New,
            Some(true) => Self::Same,
            Some(false) => Self::Changed,
        }
    }
}

impl Plan {
    /// One without anything, of the store as it is now.
    pub(super) async fn new(store: &Store) -> Result<Self, Failure> {
        Ok(Self {
            import: Import::default(),
            revision: store.routing_revision().await?,
            counts: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// Adds everything of a document but its bans, which are no part of the store.
    pub(super) async fn add(
        &mut self,
        mut document: Document,
        store: &Store,
    ) -> Result<(), Failure> {
        self.tenants(&document.tenants, store).await?;
        self.domains(&document.domains, store).await?;
        let users = std::mem::take(&mut document.users);
        let users = users.into_iter().filter_map(|user| self.user(user));
        let users: Vec<_> = users.collect();
        self.users(users, store).await?;
        for (kind, plural, name) in KINDS {
            let tables = std::mem::take(document.tables(kind));
            self.routing(kind, plural, name, tables, store).await?;
        }
        Ok(())
    }

    /// Adds users. One that is there keeps when it was created.
    pub(super) async fn users(&mut self, users: Vec<User>, store: &Store) -> Result<(), Failure> {
        let mut counts = Counts::default();
        let mut seen = HashSet::new();
        let named: Vec<_> = users.iter().map(names).collect();
        let before = store.users(&named).await?;
        let before: HashMap<_, _> = before.iter().map(|user| (names(user), user)).collect();
        for user in &users {
            if !seen.insert(names(user)) {
                let (domain, name) = names(user);
                self.errors
                    .push(format!("user {name}@{domain} is there twice"));
            }
            let before = before.get(&names(user));
            let after = User {
                created: before.map_or(user.created, |before| before.created),
                updated: before.map_or(user.updated, |before| before.updated),
                ..user.clone()
            };
            let is_same = before.map(|before| **before == after);
            if counts.add(&Difference::of(is_same)) {
                let updated = before.map_or(user.updated, |before| before.updated.next());
                self.import.users.push(User { updated, ..after });
            }
        }
        self.counts.push(("users", counts));
        Ok(())
    }

    /// Checks all of it together with what the store has, by the code that a node checks it by.
    pub(super) async fn check(&mut self, config: &Config, store: &Store) -> Result<(), Failure> {
        self.done()?;
        let mut config = config.clone();
        config.sip.domains.extend(store.user_domains().await?);
        // A node reads it as it will be, from a store of its own that is gone afterwards.
        let scratch = Store::open("sqlite::memory:", &config.node.data_dir).await?;
        let mut after = String::new();
        loop {
            let page = store.tenants(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for tenant in &page {
                scratch.create_tenant(tenant).await?;
            }
        }
        for kind in RoutingKind::ALL {
            let mut after = String::new();
            loop {
                let page = store.routing(kind, &after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after.clone_from(&last.id);
                scratch.put_routing(kind, &page).await?;
            }
        }
        let revision = scratch.routing_revision().await?;
        match scratch.import(&self.import, revision).await {
            Ok(_) => {}
            Err(error) if error.is_rejection() => {
                return Err(Failure::other(
                    "something is of a tenant that there is not; nothing was changed",
                ));
            }
            Err(error) => return Err(error.into()),
        }
        if let Err(reasons) = signaling::check(&config, &scratch).await {
            self.errors.extend(reasons);
        }
        scratch.close().await;
        self.done()
    }

    /// Writes all of it.
    pub(super) async fn write(&self, store: &Store) -> Result<(), Failure> {
        if self.import.is_empty() {
            return Ok(());
        }
        match store.import(&self.import, self.revision).await? {
            true => Ok(()),
            false => Err(Failure::other(
                "somebody else has changed something meanwhile; nothing was changed: try again",
            )),
        }
    }

    /// Domains of users that are new or changed.
    pub(super) fn user_domains(&self) -> HashSet<&str> {
        let users = self.import.users.iter();
        users.map(|user| user.domain.as_str()).collect()
    }

    /// Tells what is wrong so far.
    fn done(&self) -> Result<(), Failure> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<_> = self.errors.iter().take(ERRORS).cloned().collect();
        match self.errors.len().saturating_sub(ERRORS) {
            0 => {}
            more => lines.push(format!("and {more} more")),
        }
        lines.push("nothing was changed".to_owned());
        Err(Failure::other(lines.join("\n")))
    }

    async fn tenants(
        &mut self,
        tenants: &[document::Tenant],
        store: &Store,
    ) -> Result<(), Failure> {
        let mut counts = Counts::default();
        for tenant in tenants {
            let checked = rules::tenant_id(&tenant.id).and_then(|()| rules::name(&tenant.name));
            if let Err(reason) = checked {
                self.errors
                    .push(format!("tenant '{}': {reason}", tenant.id));
            }
            let before = store.tenant(&tenant.id).await?;
            let is_same = before.as_ref().map(|before| before.name == tenant.name);
            if counts.add(&Difference::of(is_same)) {
                let now = Timestamp::now();
                self.import.tenants.push(store::Tenant {
                    id: tenant.id.clone(),
                    name: tenant.name.clone(),
                    created: now,
                    updated: before.map_or(now, |before| before.updated.next()),
                });
            }
        }
        self.counts.push(("tenants", counts));
        Ok(())
    }

    async fn domains(
        &mut self,
        domains: &[document::Domain],
        store: &Store,
    ) -> Result<(), Failure> {
        let mut counts = Counts::default();
        for domain in domains {
            let name = domain.name.to_ascii_lowercase();
            if let Err(reason) = rules::domain(&name) {
                self.errors.push(format!("domain '{name}': {reason}"));
            }
            let before = store.domain(&name).await?;
            let is_same = before.as_ref().map(|before| before.tenant == domain.tenant);
            if counts.add(&Difference::of(is_same)) {
                let now = Timestamp::now();
                self.import.domains.push(store::Domain {
                    name,
                    tenant: domain.tenant.clone(),
                    created: now,
                    updated: before.map_or(now, |before| before.updated.next()),
                });
            }
        }
        self.counts.push(("domains", counts));
        Ok(())
    }

    /// A user as the store has it, where it can be one.
    fn user(&mut self, user: document::User) -> Option<User> {
        let of = format!("user '{}'", user.user);
        let Some((name, domain)) = user.user.rsplit_once('@') else {
            self.errors
                .push(format!("{of}: write it as alice@example.test"));
            return None;
        };
        let profile = serde_json::from_value::<Profile>(Value::Object(user.profile.clone()));
        let profile = match profile {
            Ok(profile) => profile,
            Err(error) => {
                self.errors.push(format!("{of}: profile: {error}"));
                return None;
            }
        };
        let hashes = [
            ("ha1_md5", &user.ha1_md5, 32),
            ("ha1_sha256", &user.ha1_sha256, 64),
            ("ha1_sha512", &user.ha1_sha512, 64),
        ];
        for (member, hash, length) in hashes {
            let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            let is_good = |hash: &String| hash.len() == length && hash.bytes().all(is_digit);
            if !hash.as_ref().is_none_or(is_good) {
                let reason = format!("{of}: {member}: it is {length} hex digits in lower case");
                self.errors.push(reason);
            }
        }
        let domain = domain.to_ascii_lowercase();
        config::User {
            name: name.to_owned(),
            domain: Some(domain.clone()),
            // Only its hashes are known.
            password: None,
            display: user.display.clone(),
            enabled: user.enabled,
            forward: profile.forward,
            ring_timeout: profile.ring_timeout,
            max_contacts: profile.max_contacts,
        }
        .check(None, &mut self.errors);
        let now = Timestamp::now();
        Some(User {
            name: name.to_owned(),
            domain,
            ha1_md5: user.ha1_md5,
            ha1_sha256: user.ha1_sha256,
            ha1_sha512: user.ha1_sha512,
            display: user.display,
            enabled: user.enabled,
            profile: Value::Object(user.profile).to_string(),
            created: now,
            updated: now,
        })
    }

    async fn routing(
        &mut self,
        kind: RoutingKind,
        plural: &'static str,
        name: Option<&str>,
        tables: Vec<Table>,
        store: &Store,
    ) -> Result<(), Failure> {
        let mut counts = Counts::default();
        let mut documents = Vec::new();
        let before = match tables.is_empty() {
            true => HashMap::new(),
            false => all(kind, store).await?,
        };
        let mut seen = HashSet::new();
        for (place, mut table) in (1..).zip(tables) {
            let id = match name {
                Some(name) => table.get(name).cloned(),
                None => table.remove("id"),
            };
            let Some(Value::String(id)) = id else {
                let member = name.unwrap_or("id");
                self.errors
                    .push(format!("{plural}, the {place}. one: {member} is missing"));
                continue;
            };
            let tenant = match table.remove("tenant") {
                Some(Value::String(tenant)) => Some(tenant),
                _ => None,
            };
            if tenant.is_some() && !matches!(kind, RoutingKind::Number | RoutingKind::Group) {
                self.errors
                    .push(format!("{plural} '{id}': tenant: {plural} are the node's"));
            }
            let known = before.get(&id);
            let text = Value::Object(table).to_string();
            let document = match signaling::document(kind, &id, &text, known) {
                Ok(document) => document,
                Err(reason) => {
                    self.errors.push(format!("{plural} '{id}': {reason}"));
                    continue;
                }
            };
            let is_same = known.map(|known| known.document == document && known.tenant == tenant);
            if counts.add(&Difference::of(is_same)) {
                let updated = known.map_or_else(Timestamp::now, |known| known.updated.next());
                documents.push(RoutingDocument {
                    id: id.clone(),
                    document,
                    tenant,
                    updated,
                });
            }
            if !seen.insert(id.clone()) {
                self.errors.push(format!("{plural}: '{id}' is there twice"));
            }
        }
        self.import.routing.push((kind, documents));
        self.counts.push((plural, counts));
        Ok(())
    }
}

fn names(user: &User) -> (&str, &str) {
    (&user.domain, &user.name)
}

/// What the store has of a kind, by id.
async fn all(
    kind: RoutingKind,
    store: &Store,
) -> Result<HashMap<String, RoutingDocument>, Failure> {
    let mut all = HashMap::new();
    let mut after = String::new();
    loop {
        let page = store.routing(kind, &after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        after.clone_from(&last.id);
        all.extend(page.into_iter().map(|one| (one.id.clone(), one)));
    }
}
