//! The table `voice_messages`.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder};

use super::{ROWS, Stated, latest};
use crate::{
    Cursor, Page, Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::known,
    named::named,
};

named! {
    /// Where a message came from.
    VoiceMessageDirection {
        /// From outside, to a number.
        Inbound = "inbound",
        /// From the REST API.
        Api = "outbound-api",
        /// From the document of a call.
        Call = "outbound-call",
        /// From the document that answered a message.
        Reply = "outbound-reply",
    }
}

named! {
    /// How a message is.
    VoiceMessageStatus {
        /// It waits to be sent.
        Queued = "queued",
        /// It is on its way.
        Sending = "sending",
        /// The next place has it.
        Sent = "sent",
        /// Whom it is for has it.
        Delivered = "delivered",
        /// It was sent, and not taken.
        Undelivered = "undelivered",
        /// It could not be sent.
        Failed = "failed",
        /// It has come from outside.
        Received = "received",
    }
}

impl VoiceMessageStatus {
    /// Whether it is on its way still.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Queued | Self::Sending)
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceMessageRow {
    /// `SM` and 32 hex digits.
    pub sid: String,
    /// The account's SID.
    pub account: String,
    /// Whose the account is; `None`: the node's.
    pub tenant: Option<String>,
    /// Who has sent it: a number, `client:name` or `sip:user@host`.
    pub from: String,
    /// Whom it is for, likewise.
    pub to: String,
    /// Its text; empty once it is redacted.
    pub body: String,
    /// Messages of a mobile network that it would be.
    pub segments: u32,
    /// Where it came from.
    pub direction: VoiceMessageDirection,
    /// How it is.
    pub status: VoiceMessageStatus,
    /// Why it was not delivered, in Twilio's numbers.
    pub error: Option<u32>,
    /// When it came, or was asked for.
    pub created: Timestamp,
    /// When it was so.
    pub updated: Timestamp,
    /// When it went out, or came in.
    pub sent: Option<Timestamp>,
    /// Of two states that one counts which has the larger number.
    pub sequence: u64,
}

/// Which messages are wanted; all of what is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoiceMessageFilter {
    /// Of this account.
    pub account: String,
    /// From it.
    pub from: Option<String>,
    /// To it.
    pub to: Option<String>,
    /// Sent not before.
    pub sent_since: Option<Timestamp>,
    /// Sent before.
    pub sent_until: Option<Timestamp>,
}

impl Store {
    /// Writes what is known of messages. Of each that state stays which has the largest number; a text that was redacted
    /// does not come back. `node` is the one that has them.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the database refuses one of them for good; if it fails.
    pub async fn upsert_voice_messages(
        &self,
        node: Option<&str>,
        messages: &[VoiceMessageRow],
    ) -> Result<(), StoreError> {
        let messages = latest(messages);
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                for messages in messages.chunks(ROWS) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO voice_messages (sid, account, tenant, from_party, to_party, body, \
                         segments, direction, status, error, created_ms, updated_ms, sent_ms, sequence, node) ",
                    );
                    query.push_values(messages, |mut row, message| {
                        row.push_bind(message.sid.as_str())
                            .push_bind(message.account.as_str())
                            .push_bind(message.tenant.as_deref())
                            .push_bind(message.from.as_str())
                            .push_bind(message.to.as_str())
                            .push_bind(message.body.as_str())
                            .push_bind(signed(message.segments))
                            .push_bind(message.direction.name())
                            .push_bind(message.status.name())
                            .push_bind(message.error.map(signed))
                            .push_bind(message.created.millis())
                            .push_bind(message.updated.millis())
                            .push_bind(message.sent.map(Timestamp::millis))
                            .push_bind(message.sequence())
                            .push_bind(node);
                    });
                    query.push(
                        " ON CONFLICT (sid) DO UPDATE SET status = excluded.status, \
                         error = excluded.error, updated_ms = excluded.updated_ms, \
                         sent_ms = excluded.sent_ms, sequence = excluded.sequence, node = excluded.node \
                         WHERE excluded.sequence > voice_messages.sequence",
                    );
                    query.build().execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
        })
        .await
    }

    /// The message of this SID.
    ///
    /// # Errors
    /// If the database fails, or the row is damaged.
    pub async fn voice_message(&self, sid: &str) -> Result<Option<VoiceMessageRow>, StoreError> {
        self.voice_row(sid).await
    }

    /// A page of the messages that `filter` lets through, newest first.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn voice_messages(
        &self,
        filter: &VoiceMessageFilter,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page<VoiceMessageRow>, StoreError> {
        let texts = [
            ("from_party = ", filter.from.as_deref()),
            ("to_party = ", filter.to.as_deref()),
        ];
        let times = [
            ("sent_ms >= ", filter.sent_since),
            ("sent_ms < ", filter.sent_until),
        ];
        self.voice_page(&filter.account, &texts, &times, limit, after)
            .await
    }

    /// Empties the text of an account's message that is not on its way. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn redact_voice_message(&self, account: &str, sid: &str) -> Result<bool, StoreError> {
        let redact = "UPDATE voice_messages SET body = '' WHERE account = $1 AND sid = $2 \
                      AND status NOT IN ('queued', 'sending')";
        self.end_voice_message(redact, account, sid).await
    }

    /// Removes an account's message that is not on its way. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_voice_message(&self, account: &str, sid: &str) -> Result<bool, StoreError> {
        let remove = "DELETE FROM voice_messages WHERE account = $1 AND sid = $2 \
                      AND status NOT IN ('queued', 'sending')";
        self.end_voice_message(remove, account, sid).await
    }

    async fn end_voice_message(
        &self,
        statement: &'static str,
        account: &str,
        sid: &str,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(statement).bind(account).bind(sid).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Stated for VoiceMessageRow {
    type Row = Row;
    const TABLE: &str = "voice_messages";
    const PREFIX: &str = "SM";

    fn sid(&self) -> &str {
        &self.sid
    }

    fn sequence(&self) -> i64 {
        i64::try_from(self.sequence).unwrap_or(i64::MAX)
    }

    fn created(&self) -> Timestamp {
        self.created
    }
}

#[derive(FromRow)]
pub(super) struct Row {
    sid: String,
    account: String,
    tenant: Option<String>,
    from_party: String,
    to_party: String,
    body: String,
    segments: i32,
    direction: String,
    status: String,
    error: Option<i32>,
    created_ms: i64,
    updated_ms: i64,
    sent_ms: Option<i64>,
    sequence: i64,
}

impl TryFrom<Row> for VoiceMessageRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let direction = VoiceMessageDirection::from_name;
        let status = VoiceMessageStatus::from_name;
        Ok(Self {
            direction: known("voice_messages.direction", &row.direction, direction)?,
            status: known("voice_messages.status", &row.status, status)?,
            sid: row.sid,
            account: row.account,
            tenant: row.tenant,
            from: row.from_party,
            to: row.to_party,
            body: row.body,
            segments: row.segments.unsigned_abs(),
            error: row.error.map(i32::unsigned_abs),
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
            sent: row.sent_ms.map(Timestamp::from_millis),
            sequence: row.sequence.unsigned_abs(),
        })
    }
}
