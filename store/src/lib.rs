//! What must last: schema, migrations and queries on SQLite or PostgreSQL.
//!
//! One [`Store`] stands over both engines, and there is one schema and one text of each query. That
//! works as long as every statement stays in what the two dialects share:
//!
//! - types `TEXT`, `INTEGER`, `BIGINT`, `DOUBLE PRECISION`; a time is a `BIGINT` of milliseconds
//!   ([`Timestamp`]), an id is the `TEXT` of a UUID version 7, an enumeration is its name, a document
//!   is JSON in a `TEXT`;
//! - parameters written `$1`, upserts written `ON CONFLICT`, and no column that counts by itself.
//!
//! The integration tests run each case on both engines.

mod account;
mod age;
mod application;
mod audit;
mod backup;
mod binding;
mod bulk;
mod cdr;
mod disk;
mod domain;
mod engine;
mod erase;
mod error;
mod idempotency;
mod import;
mod key;
mod keyed;
mod message;
mod named;
mod number;
mod operator;
mod outage;
mod page;
mod recording;
mod routing;
mod steps;
mod tenant;
mod timestamp;
mod user;
mod voice;
mod webhook;

pub use account::{Account, AccountKey};
pub use age::Aged;
pub use application::{Application, Hook, HttpMethod};
pub use audit::{AuditEntry, AuditFilter};
pub use backup::{BackupError, restore};
pub use binding::{Binding, BindingsCursor, Bound};
pub use cdr::{
    CallEvent, CallRecord, Cause, Cdr, CdrFilter, CdrWriter, EndedBy, MediaFlow, Recorded,
    TrunkStats, WriterCounts, WriterOptions, WriterTask,
};
pub use disk::Disk;
pub use domain::Domain;
pub use engine::Store;
pub use erase::{ERASED, Erasure, Subject};
pub use error::StoreError;
pub use idempotency::Attempt;
pub use import::Import;
pub use key::{ApiKey, Role};
pub use message::Message;
pub use operator::Operator;
pub use outage::Outage;
pub use page::{Cursor, CursorError, MAX_PAGE, Page};
pub use recording::{Recording, RecordingFilter, Swept};
pub use routing::{RoutingDocument, RoutingEdit, RoutingKind};
pub use tenant::{DEFAULT_TENANT, Tenant};
pub use timestamp::{Timestamp, TimestampError};
pub use user::User;
pub use uuid::Uuid;
pub use voice::{
    VoiceCallFilter, VoiceCallRow, VoiceDirection, VoiceLeft, VoiceMessageDirection,
    VoiceMessageFilter, VoiceMessageRow, VoiceMessageStatus, VoiceRecordingFilter,
    VoiceRecordingRow, VoiceStatus, VoiceStreamRow,
};
pub use webhook::{Delivery, Webhook};
