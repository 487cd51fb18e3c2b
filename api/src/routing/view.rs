//! A document as clients see it.

use control::signal::FileDocument;
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{RoutingDocument, Timestamp};

use super::kind::Kind;

/// Members that are not of the document, and that clients only read.
pub(super) const READ_ONLY: [&str; 4] = ["id", "source", "updated", "secrets"];
/// The tables of a trunk that hold a password.
const WITH_PASSWORD: [&str; 2] = ["auth", "register"];

/// A document without its secrets, and what is known of it beside.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct View(Map<String, Value>);

impl View {
    /// Of the configuration file.
    pub(super) fn of_file(kind: &Kind, file: &FileDocument) -> Self {
        Self::new(kind, &file.id, "file", None, None, file.document.expose())
    }

    /// Of the store.
    pub(super) fn of_store(kind: &Kind, stored: &RoutingDocument) -> Self {
        let tenant = stored.tenant.as_deref();
        let updated = Some(stored.updated);
        Self::new(kind, &stored.id, "store", tenant, updated, &stored.document)
    }

    fn new(
        kind: &Kind,
        id: &str,
        source: &str,
        tenant: Option<&str>,
        updated: Option<Timestamp>,
        document: &str,
    ) -> Self {
        // What somebody else wrote there may be anything, and is seen to be wrong by what it lacks.
        let mut members: Map<String, Value> = serde_json::from_str(document).unwrap_or_default();
        let mut secrets = Vec::new();
        for part in WITH_PASSWORD {
            let table = members.get_mut(part).and_then(Value::as_object_mut);
            if table.is_some_and(|table| table.remove("password").is_some()) {
                secrets.push(format!("{part}.password"));
            }
        }
        if !secrets.is_empty() {
            members.insert("secrets".to_owned(), secrets.into());
        }
        members.insert("id".to_owned(), id.into());
        members.insert("source".to_owned(), source.into());
        members.insert("updated".to_owned(), json!(updated));
        if kind.is_tenants {
            members.insert("tenant".to_owned(), tenant.into());
        }
        Self(members)
    }

    /// The document alone.
    pub(super) fn document(self) -> Value {
        let mut members = self.0;
        members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
        Value::Object(members)
    }
}
