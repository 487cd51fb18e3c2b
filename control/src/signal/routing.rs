//! Trunks, routes, numbers, groups, blocks and limits as an operator edits them, one at a time.

use serde::{Deserialize, Serialize};

use super::Secret;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutingKind {
    /// A table of `[[trunks]]`, by its name.
    Trunk,
    /// Of `[[routes]]`, by any id.
    Route,
    /// Of `[[numbers]]`, by its number.
    Number,
    /// Of `[[groups]]`, by its name.
    Group,
    /// Of `[[blocks]]`, by any id.
    Block,
    /// Of `[[limits]]`, by any id.
    Limit,
}

/// What is to become of a document of the store. It is checked with everything else that calls are routed
/// by, and what is wrong changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingOrder {
    /// What it is.
    pub kind: RoutingKind,
    /// Which one.
    pub id: String,
    /// What to do.
    pub edit: RoutingEdit,
}

/// What to do with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutingEdit {
    /// There has to be none of this id yet.
    Create(NewDocument),
    /// In the place of the one that was last changed at `unchanged_since`, in milliseconds since 1970.
    /// Passwords that it leaves out stay.
    Replace {
        /// What it is from now on.
        new: NewDocument,
        /// As in [`RoutingOutcome::Stored`].
        unchanged_since: i64,
    },
    /// Where it was last changed then.
    Remove {
        /// Likewise.
        unchanged_since: i64,
    },
}

/// A document as it shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDocument {
    /// JSON of what the configuration file has as a table. It may hold a trunk's passwords.
    pub document: Secret,
    /// Whose it is; `None`: the node's.
    pub tenant: Option<String>,
}

/// What came of an order that makes sense. One that does not is
/// [`FaultCode::Invalid`](crate::FaultCode) with a line for each reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutingOutcome {
    /// It is in the store, and calls go by it.
    Stored {
        /// As it was stored, with what it leaves out.
        document: Secret,
        /// When, in milliseconds since 1970 (UTC).
        updated_ms: i64,
    },
    /// It is gone, and calls go without it.
    Removed,
    /// There is one of this id already.
    Exists,
    /// The configuration file has it, and only that can change it.
    OfFile,
    /// There is none, or it was changed since.
    Changed,
}

/// A document that the configuration file brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDocument {
    /// Its name, or `file-` and its place among its kind from 1 on.
    pub id: String,
    /// As in [`NewDocument`].
    pub document: Secret,
}
