//! One change of what calls are routed by, as an operator asks for it: checked with everything else,
//! then stored, then swapped in.

use control::{
    Config, Fault, FaultCode,
    config::{Block, Group, LimitRule, Number, Route, Trunk},
    signal::{
        FileDocument, NewDocument, RoutingEdit, RoutingKind, RoutingOrder, RoutingOutcome, Secret,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use store::{RoutingDocument, StoreError, Timestamp};
use tracing::{info, warn};

use super::{
    Provision,
    load::{Change, LoadError, load},
    of_the_store,
};

/// How often the check begins again when the store changes meanwhile.
const ATTEMPTS: usize = 5;
/// What the ids begin with that the file's routes, blocks and limits are given.
const OF_FILE: &str = "file-";

impl Provision {
    /// Does what is asked of one document.
    ///
    /// # Errors
    /// [`FaultCode::Invalid`] with all reasons, one line each, where calls could not be routed by it;
    /// nothing was changed then.
    pub(crate) async fn edit(&self, order: RoutingOrder) -> Result<RoutingOutcome, Fault> {
        let RoutingOrder { kind, id, edit } = order;
        let mut state = self.state.lock().await;
        if is_of_file(&state.config, kind, &id) {
            return Ok(RoutingOutcome::OfFile);
        }
        let config = of_the_store(&state.config);
        for _ in 0..ATTEMPTS {
            let revision = self
                .store
                .routing_revision()
                .await
                .map_err(|error| away(&error))?;
            let before = self.store.routing_document(stored(kind), &id).await;
            let before = before.map_err(|error| away(&error))?;
            if let Some(refusal) = refusal(&edit, before.as_ref()) {
                return Ok(refusal);
            }
            let after = match &edit {
                RoutingEdit::Create(new) | RoutingEdit::Replace { new, .. } => {
                    Some(self.written(kind, &id, new, before.as_ref()).await?)
                }
                RoutingEdit::Remove { .. } => None,
            };
            let change = Change {
                kind: stored(kind),
                id: id.clone(),
                document: after.as_ref().map(|after| after.document.clone()),
                tenant: after.as_ref().and_then(|after| after.tenant.clone()),
                next: match &edit {
                    RoutingEdit::Create(_) => self
                        .following(kind, &id)
                        .await
                        .map_err(|error| away(&error))?,
                    _ => None,
                },
            };
            let current = Some(self.current.load_full());
            let loaded = load(&config, &self.store, Some(&change), current).await;
            let loaded = loaded.map_err(|error| match error {
                LoadError::Invalid(reasons) => invalid(&reasons),
                LoadError::Store(error) => away(&error),
            })?;
            if loaded.revision != revision {
                continue;
            }
            let edit = match (&edit, &after) {
                (RoutingEdit::Create(_), Some(after)) => store::RoutingEdit::Create(after),
                (_, Some(after)) => store::RoutingEdit::Replace(after),
                (_, None) => store::RoutingEdit::Remove(&id),
            };
            let done = self.store.edit_routing(stored(kind), edit, revision).await;
            if !done.map_err(|error| away(&error))? {
                continue;
            }
            state.revision = Some(revision + 1);
            self.swap(loaded.directory, &state.config);
            let is_left = after.is_some();
            info!(
                kind = stored(kind).name(),
                id, is_left, "routing was edited"
            );
            let Some(after) = after else {
                warn_of_file(&state.config, kind, &id);
                return Ok(RoutingOutcome::Removed);
            };
            return Ok(RoutingOutcome::Stored {
                document: Secret::new(after.document),
                updated_ms: after.updated.millis(),
            });
        }
        Err(Fault::new(
            FaultCode::Unavailable,
            "nothing was changed: the store changes quicker than it can be read; try again later",
        ))
    }

    /// What the file brings of a kind.
    pub(crate) async fn of_file(&self, kind: RoutingKind) -> Vec<FileDocument> {
        let state = self.state.lock().await;
        let config = &state.config;
        match kind {
            RoutingKind::Trunk => listed(&config.trunks, |_, trunk| trunk.name.clone()),
            RoutingKind::Group => listed(&config.groups, |_, group| group.name.clone()),
            RoutingKind::Route => listed(&config.routes, numbered),
            RoutingKind::Block => listed(&config.blocks, numbered),
            RoutingKind::Limit => listed(&config.limits, numbered),
            // The file creates them in the store.
            RoutingKind::Number => Vec::new(),
        }
    }

    /// A document as it is to be stored.
    async fn written(
        &self,
        kind: RoutingKind,
        id: &str,
        new: &NewDocument,
        before: Option<&RoutingDocument>,
    ) -> Result<RoutingDocument, Fault> {
        let document = document(stored(kind), id, new.document.expose(), before);
        let document = document.map_err(|reason| invalid(&[reason]))?;
        if let (RoutingKind::Number, Some(tenant)) = (kind, &new.tenant) {
            self.check_group(&document, tenant).await?;
        }
        let updated = before.map_or_else(Timestamp::now, |before| before.updated.next());
        Ok(RoutingDocument {
            id: id.to_owned(),
            document,
            tenant: new.tenant.clone(),
            updated,
        })
    }

    /// A tenant's number leads to a group of that tenant: there are no others for it.
    async fn check_group(&self, number: &str, tenant: &str) -> Result<(), Fault> {
        let number: Number = read(number).map_err(|reason| invalid(&[reason]))?;
        let Some(group) = number.group else {
            return Ok(());
        };
        let kind = store::RoutingKind::Group;
        let found = self.store.routing_document(kind, &group).await;
        let owner = found
            .map_err(|error| away(&error))?
            .and_then(|found| found.tenant);
        if owner.as_deref() == Some(tenant) {
            return Ok(());
        }
        let reason = format!("number '{}': there is no group '{group}'", number.number);
        Err(invalid(&[reason]))
    }

    /// The id that comes after a new one.
    async fn following(&self, kind: RoutingKind, id: &str) -> Result<Option<String>, StoreError> {
        let next = self.store.routing(stored(kind), id, 1).await?;
        Ok(next.into_iter().next().map(|document| document.id))
    }
}

/// Why an order cannot be carried out, whatever it wants to have.
fn refusal(edit: &RoutingEdit, before: Option<&RoutingDocument>) -> Option<RoutingOutcome> {
    match edit {
        RoutingEdit::Create(_) => before.map(|_| RoutingOutcome::Exists),
        RoutingEdit::Replace {
            unchanged_since, ..
        }
        | RoutingEdit::Remove { unchanged_since } => {
            let is_same = before.is_some_and(|before| before.updated.millis() == *unchanged_since);
            (!is_same).then_some(RoutingOutcome::Changed)
        }
    }
}

/// What is stored of a text: all that it means, so that it means the same to later versions. Passwords that it
/// leaves out are those of `before`.
///
/// # Errors
/// What is wrong with it by itself.
pub fn document(
    kind: store::RoutingKind,
    id: &str,
    text: &str,
    before: Option<&RoutingDocument>,
) -> Result<String, String> {
    match kind {
        store::RoutingKind::Trunk => {
            let mut trunk: Trunk = read(text)?;
            check_name("name", &trunk.name, id)?;
            let before = before.and_then(|before| read(&before.document).ok());
            if let Some(before) = before {
                keep_passwords(&mut trunk, before);
            }
            write(&trunk)
        }
        store::RoutingKind::Number => {
            let number: Number = read(text)?;
            check_name("number", &number.number, id)?;
            write(&number)
        }
        store::RoutingKind::Group => {
            let group: Group = read(text)?;
            check_name("name", &group.name, id)?;
            write(&group)
        }
        store::RoutingKind::Route => {
            check_id(id)?;
            write(&read::<Route>(text)?)
        }
        store::RoutingKind::Block => {
            check_id(id)?;
            write(&read::<Block>(text)?)
        }
        store::RoutingKind::Limit => {
            check_id(id)?;
            write(&read::<LimitRule>(text)?)
        }
    }
}

/// Reads a document; what is wrong is told with the member that it is wrong with.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    // By way of a value, for the lines and columns of a text that nobody wrote help nobody.
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => error.into_inner().to_string(),
            path => format!("{path}: {}", error.into_inner()),
        }
    })
}

fn write(item: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(item).map_err(|error| error.to_string())
}

/// Passwords that a trunk leaves out are those of before.
fn keep_passwords(trunk: &mut Trunk, before: Trunk) {
    if let (Some(auth), Some(before)) = (&mut trunk.auth, before.auth)
        && auth.password.is_empty()
    {
        auth.password = before.password;
    }
    if let (Some(register), Some(before)) = (&mut trunk.register, before.register)
        && register.password.is_empty()
    {
        register.password = before.password;
    }
}

fn check_name(member: &str, name: &str, id: &str) -> Result<(), String> {
    if name == id {
        return Ok(());
    }
    Err(format!(
        "{member}: it is '{name}', and the document is kept as '{id}': that stays; create another one"
    ))
}

fn check_id(id: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if id.is_empty() || id.len() > 63 || !id.bytes().all(good) || id.starts_with(OF_FILE) {
        return Err(format!(
            "id: use 1 to 63 letters, digits, '-', '_' and '.', and not '{OF_FILE}' at the front"
        ));
    }
    Ok(())
}

fn is_of_file(config: &Config, kind: RoutingKind, id: &str) -> bool {
    let is_place = |count: usize| {
        let place = id
            .strip_prefix(OF_FILE)
            .and_then(|place| place.parse().ok());
        place.is_some_and(|place: usize| (1..=count).contains(&place))
    };
    match kind {
        RoutingKind::Trunk => config.trunks.iter().any(|trunk| trunk.name == id),
        RoutingKind::Group => config.groups.iter().any(|group| group.name == id),
        RoutingKind::Route => is_place(config.routes.len()),
        RoutingKind::Block => is_place(config.blocks.len()),
        RoutingKind::Limit => is_place(config.limits.len()),
        RoutingKind::Number => false,
    }
}

/// Tells of a number that comes back.
fn warn_of_file(config: &Config, kind: RoutingKind, id: &str) {
    let mut numbers = config.numbers.iter();
    if kind == RoutingKind::Number && numbers.any(|number| number.number == id) {
        warn!(
            number = id,
            "it is in the file, which creates it anew at the next reload or start: take it out there too"
        );
    }
}

fn listed<T: Serialize>(items: &[T], id: impl Fn(usize, &T) -> String) -> Vec<FileDocument> {
    let documents = (1..).zip(items).filter_map(|(place, item)| {
        Some(FileDocument {
            id: id(place, item),
            // It was read from as simple a text.
            document: Secret::new(write(item).ok()?),
        })
    });
    documents.collect()
}

fn numbered<T>(place: usize, _: &T) -> String {
    format!("{OF_FILE}{place}")
}

const fn stored(kind: RoutingKind) -> store::RoutingKind {
    match kind {
        RoutingKind::Trunk => store::RoutingKind::Trunk,
        RoutingKind::Route => store::RoutingKind::Route,
        RoutingKind::Number => store::RoutingKind::Number,
        RoutingKind::Group => store::RoutingKind::Group,
        RoutingKind::Block => store::RoutingKind::Block,
        RoutingKind::Limit => store::RoutingKind::Limit,
    }
}

fn invalid(reasons: &[String]) -> Fault {
    // A regular expression's are several lines.
    let lines = reasons.iter().map(|reason| reason.replace('\n', " "));
    let lines: Vec<_> = lines.collect();
    Fault::new(FaultCode::Invalid, lines.join("\n"))
}

fn away(error: &StoreError) -> Fault {
    if error.is_rejection() {
        return invalid(&["tenant: there is none of this id".to_owned()]);
    }
    Fault::new(
        FaultCode::Unavailable,
        format!("nothing was changed: {error}"),
    )
}
