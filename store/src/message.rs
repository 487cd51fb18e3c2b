//! The table `messages`: what is kept for users who are away.

use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::{self, known},
};

/// A message for a user who was away when it came (RFC 3428 section 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A UUID version 7, so that ids sort by the time of arrival.
    pub id: Uuid,
    /// Whom it is for: `alice@example.test`.
    pub recipient: String,
    /// From without its tag.
    pub from: String,
    /// To without a tag.
    pub to: String,
    /// The type of the body.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
    /// When it came.
    pub received: Timestamp,
}

/// Narrows what is read of messages to those of the tenant that follows: a message is its recipient's.
pub(crate) const OF_TENANT: &str = " AND COALESCE((SELECT MAX(domains.tenant) FROM domains \
     WHERE messages.recipient LIKE '%@' || domains.name), 'default') = ";

impl Store {
    /// Keeps a message, unless its recipient has `most` already: then `false`.
    ///
    /// # Errors
    /// If the database fails; then it is not kept.
    pub async fn keep_message(&self, message: &Message, most: u32) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                // One statement, so that two at once do not both take the last place for long: the
                // bound is against floods, and may be passed by as many as write at the same time.
                let done = sqlx::query(
                    "INSERT INTO messages \
                     (id, recipient, from_header, to_header, content_type, body, received_ms) \
                     SELECT $1, $2, $3, $4, $5, $6, $7 \
                     WHERE (SELECT COUNT(*) FROM messages WHERE recipient = $2) < $8",
                )
                .bind(message.id.to_string())
                .bind(text(&message.recipient))
                .bind(text(&message.from))
                .bind(text(&message.to))
                .bind(text(&message.content_type))
                .bind(hex(&message.body))
                .bind(message.received.millis())
                .bind(i64::from(most))
                .execute(pool)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// The messages that are kept for a user, the oldest first: `limit` of them at most.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn messages(&self, recipient: &str, limit: u32) -> Result<Vec<Message>, StoreError> {
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT * FROM messages WHERE recipient = $1 \
                     ORDER BY received_ms, id LIMIT $2",
                )
                .bind(text(recipient))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?)
            })
        })
        .await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    /// Up to `limit` messages by id, which is by age, from after `after` on: all, or those for a recipient, or for
    /// users of a tenant's domains.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn kept_messages(
        &self,
        recipient: Option<&str>,
        tenant: Option<&str>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let after = after.map_or(String::new(), |after| after.to_string());
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                let mut query = QueryBuilder::new("SELECT * FROM messages WHERE id > ");
                query.push_bind(after);
                if let Some(recipient) = recipient {
                    query.push(" AND recipient = ").push_bind(text(recipient));
                }
                if let Some(tenant) = tenant {
                    query.push(OF_TENANT).push_bind(tenant);
                }
                query.push(" ORDER BY id LIMIT ").push_bind(i64::from(limit));
                Ok(query.build_query_as().fetch_all(pool).await?)
            })
        })
        .await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    /// The message of this id.
    ///
    /// # Errors
    /// If the database fails, or the row is damaged.
    pub async fn kept_message(&self, id: Uuid) -> Result<Option<Message>, StoreError> {
        let row: Option<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as("SELECT * FROM messages WHERE id = $1")
                    .bind(id.to_string())
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        row.map(Message::try_from).transpose()
    }

    /// Forgets a message, which was delivered. `false` where it was forgotten already.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_message(&self, id: Uuid) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query("DELETE FROM messages WHERE id = $1")
                    .bind(id.to_string())
                    .execute(pool)
                    .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// The users for whom anything is kept: `limit` of them at most, those after `after` in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn recipients(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_scalar(
                    "SELECT DISTINCT recipient FROM messages WHERE recipient > $1 \
                     ORDER BY recipient LIMIT $2",
                )
                .bind(text(after))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?)
            })
        })
        .await
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    recipient: String,
    from_header: String,
    to_header: String,
    content_type: String,
    body: String,
    received_ms: i64,
}

impl TryFrom<Row> for Message {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: keyed::id("messages.id", &row.id)?,
            recipient: row.recipient,
            from: row.from_header,
            to: row.to_header,
            content_type: row.content_type,
            body: known("messages.body", &row.body, unhex)?,
            received: Timestamp::from_millis(row.received_ms),
        })
    }
}

/// PostgreSQL's text cannot hold a NUL.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect()
}
