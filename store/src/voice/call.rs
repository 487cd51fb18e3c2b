//! The table `voice_calls`.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::{ROWS, Stated, latest};
use crate::{
    Cursor, Page, Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::{self, known},
    named::named,
};

named! {
    /// Who began a call.
    VoiceDirection {
        /// Somebody called a number.
        Inbound = "inbound",
        /// The REST API.
        Api = "outbound-api",
        /// A document, by `<Dial>`.
        Dial = "outbound-dial",
    }
}

named! {
    /// How a call is.
    VoiceStatus {
        /// It waits to be made.
        Queued = "queued",
        /// It has not been answered yet.
        Ringing = "ringing",
        /// It is up.
        InProgress = "in-progress",
        /// It was up, and is over.
        Completed = "completed",
        /// The party is.
        Busy = "busy",
        /// It could not be made.
        Failed = "failed",
        /// Nobody answered.
        NoAnswer = "no-answer",
        /// It was called off before an answer.
        Canceled = "canceled",
    }
}

/// A call, or a leg of one that was dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceCallRow {
    /// `CA` and 32 hex digits.
    pub sid: String,
    /// The account's SID.
    pub account: String,
    /// Whose the account is; `None`: the node's.
    pub tenant: Option<String>,
    /// The SID of the call that dialled it.
    pub parent: Option<String>,
    /// Who calls: a number, `client:name` or `sip:user@host`.
    pub from: String,
    /// Who is called, likewise.
    pub to: String,
    /// Who began it.
    pub direction: VoiceDirection,
    /// How it is.
    pub status: VoiceStatus,
    /// When it came, or was asked for.
    pub created: Timestamp,
    /// When it was so.
    pub updated: Timestamp,
    /// When it was answered; of one that never is, when it began to ring.
    pub started: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// From the answer on, in seconds; `None` until it is over.
    pub duration_s: Option<u64>,
    /// How long it waited for the rate of its account, in milliseconds.
    pub queue_ms: u64,
    /// `human` or `machine_start`, where it was found out.
    pub answered_by: Option<String>,
    /// The SID of the number of ours that was called.
    pub number_sid: Option<String>,
    /// What the caller calls himself.
    pub caller_name: Option<String>,
    /// The number that forwarded it.
    pub forwarded_from: Option<String>,
    /// The id of its record.
    pub cdr: Option<Uuid>,
    /// Of two states that one counts which has the larger number.
    pub sequence: u64,
}

/// Which calls are wanted; all of what is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoiceCallFilter {
    /// Of this account.
    pub account: String,
    /// From it.
    pub from: Option<String>,
    /// To it.
    pub to: Option<String>,
    /// Dialled by this call.
    pub parent: Option<String>,
    /// That are so.
    pub status: Option<VoiceStatus>,
    /// Started not before.
    pub started_since: Option<Timestamp>,
    /// Started before.
    pub started_until: Option<Timestamp>,
    /// Over not before.
    pub ended_since: Option<Timestamp>,
    /// Over before.
    pub ended_until: Option<Timestamp>,
}

impl Store {
    /// Writes what is known of calls. Of each that state stays which has the largest number.
    /// `node` is the one that has them.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the database refuses one of them for good; if it fails.
    pub async fn upsert_voice_calls(
        &self,
        node: Option<&str>,
        calls: &[VoiceCallRow],
    ) -> Result<(), StoreError> {
        let calls = latest(calls);
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                for calls in calls.chunks(ROWS) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO voice_calls (sid, account, tenant, parent, from_party, to_party, \
                         direction, status, created_ms, updated_ms, started_ms, ended_ms, duration, \
                         queue_ms, answered_by, number_sid, caller_name, forwarded_from, cdr, sequence, node) ",
                    );
                    query.push_values(calls, |mut row, call| {
                        row.push_bind(call.sid.as_str())
                            .push_bind(call.account.as_str())
                            .push_bind(call.tenant.as_deref())
                            .push_bind(call.parent.as_deref())
                            .push_bind(call.from.as_str())
                            .push_bind(call.to.as_str())
                            .push_bind(call.direction.name())
                            .push_bind(call.status.name())
                            .push_bind(call.created.millis())
                            .push_bind(call.updated.millis())
                            .push_bind(call.started.map(Timestamp::millis))
                            .push_bind(call.ended.map(Timestamp::millis))
                            .push_bind(call.duration_s.map(bounded))
                            .push_bind(bounded(call.queue_ms))
                            .push_bind(call.answered_by.as_deref())
                            .push_bind(call.number_sid.as_deref())
                            .push_bind(call.caller_name.as_deref())
                            .push_bind(call.forwarded_from.as_deref())
                            .push_bind(call.cdr.map(|id| id.to_string()))
                            .push_bind(call.sequence())
                            .push_bind(node);
                    });
                    query.push(
                        " ON CONFLICT (sid) DO UPDATE SET status = excluded.status, \
                         updated_ms = excluded.updated_ms, started_ms = excluded.started_ms, \
                         ended_ms = excluded.ended_ms, duration = excluded.duration, \
                         queue_ms = excluded.queue_ms, answered_by = excluded.answered_by, \
                         number_sid = excluded.number_sid, caller_name = excluded.caller_name, \
                         forwarded_from = excluded.forwarded_from, cdr = excluded.cdr, \
                         sequence = excluded.sequence, node = excluded.node \
                         WHERE excluded.sequence > voice_calls.sequence",
                    );
                    query.build().execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
        })
        .await
    }

    /// The call of this SID.
    ///
    /// # Errors
    /// If the database fails, or the row is damaged.
    pub async fn voice_call(&self, sid: &str) -> Result<Option<VoiceCallRow>, StoreError> {
        self.voice_row(sid).await
    }

    /// A page of the calls that `filter` lets through, newest first.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn voice_calls(
        &self,
        filter: &VoiceCallFilter,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page<VoiceCallRow>, StoreError> {
        let texts = [
            ("from_party = ", filter.from.as_deref()),
            ("to_party = ", filter.to.as_deref()),
            ("parent = ", filter.parent.as_deref()),
            ("status = ", filter.status.map(VoiceStatus::name)),
        ];
        let times = [
            ("started_ms >= ", filter.started_since),
            ("started_ms < ", filter.started_until),
            ("ended_ms >= ", filter.ended_since),
            ("ended_ms < ", filter.ended_until),
        ];
        self.voice_page(&filter.account, &texts, &times, limit, after)
            .await
    }

    /// Removes a call of an account, where it is over. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_voice_call(&self, account: &str, sid: &str) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "DELETE FROM voice_calls WHERE account = $1 AND sid = $2 AND ended_ms IS NOT NULL",
                )
                .bind(account)
                .bind(sid)
                .execute(pool)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

fn bounded(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Stated for VoiceCallRow {
    type Row = Row;
    const TABLE: &str = "voice_calls";
    const PREFIX: &str = "CA";

    fn sid(&self) -> &str {
        &self.sid
    }

    fn sequence(&self) -> i64 {
        bounded(self.sequence)
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
    parent: Option<String>,
    from_party: String,
    to_party: String,
    direction: String,
    status: String,
    created_ms: i64,
    updated_ms: i64,
    started_ms: Option<i64>,
    ended_ms: Option<i64>,
    duration: Option<i64>,
    queue_ms: i64,
    answered_by: Option<String>,
    number_sid: Option<String>,
    caller_name: Option<String>,
    forwarded_from: Option<String>,
    cdr: Option<String>,
    sequence: i64,
}

impl TryFrom<Row> for VoiceCallRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let cdr = row.cdr.as_deref();
        Ok(Self {
            direction: known(
                "voice_calls.direction",
                &row.direction,
                VoiceDirection::from_name,
            )?,
            status: known("voice_calls.status", &row.status, VoiceStatus::from_name)?,
            cdr: cdr.map(|id| keyed::id("voice_calls.cdr", id)).transpose()?,
            sid: row.sid,
            account: row.account,
            tenant: row.tenant,
            parent: row.parent,
            from: row.from_party,
            to: row.to_party,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
            started: row.started_ms.map(Timestamp::from_millis),
            ended: row.ended_ms.map(Timestamp::from_millis),
            duration_s: row.duration.map(i64::unsigned_abs),
            queue_ms: row.queue_ms.unsigned_abs(),
            answered_by: row.answered_by,
            number_sid: row.number_sid,
            caller_name: row.caller_name,
            forwarded_from: row.forwarded_from,
            sequence: row.sequence.unsigned_abs(),
        })
    }
}
