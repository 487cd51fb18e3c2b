//! Takes a number or a user out of what is kept of calls and messages.
//!
//! The records of calls stay, for they are what accounts are made of: with [`ERASED`] in the place of the party.
//! What has no other use, messages and events that wait to be told, goes.

use sqlx::QueryBuilder;

use crate::{
    Store, StoreError,
    engine::{on_engine, within},
    message::OF_TENANT,
    steps::in_steps,
};

/// What stands in the place of a party's number or name.
pub const ERASED: &str = "erased";

/// Rows of messages and events that are looked through at a time.
const PAGE: u32 = 1_000;
/// Of these, how many are deleted at a time.
const DELETED: usize = 64;

/// Who is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A number, with and without its plus.
    Number(String),
    /// A user: `alice@example.test`.
    User(String),
}

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erasure {
    /// Records of calls in which it was the caller.
    pub as_caller: u64,
    /// Records of calls in which it was called, or answered what called another.
    pub as_callee: u64,
    /// Messages from it or to it, which are gone.
    pub messages: u64,
    /// Events that waited for webhooks, which are gone.
    pub events: u64,
    /// Recordings of calls of which it was a party. Their files are removed by
    /// [`Store::sweep_recordings`].
    pub recordings: u64,
    /// What happened to other calls and names it, such as a transfer to it, which is gone.
    pub call_events: u64,
}

/// What of a record is replaced.
#[derive(Clone, Copy)]
enum Side {
    Caller,
    Callee,
    /// The user who answered, where another one was called.
    Answerer,
}

impl Side {
    /// The caller's address and Call-ID are his too.
    const fn replacement(self) -> &'static str {
        match self {
            Self::Caller => {
                "from_uri = 'sip:erased@erased.invalid', from_user = 'erased', source = '0.0.0.0:0', \
                 call_id = 'erased', origin = CASE WHEN origin LIKE '%@%' THEN NULL ELSE origin END"
            }
            Self::Callee => {
                "to_uri = 'sip:erased@erased.invalid', to_user = 'erased', \
                 request_uri = 'sip:erased@erased.invalid', callee_user = NULL"
            }
            Self::Answerer => "callee_user = NULL",
        }
    }

    /// Tells what was replaced before: somebody may well be called `erased`.
    const fn not_yet(self) -> &'static str {
        match self {
            Self::Caller => " AND call_id <> 'erased'",
            Self::Callee => " AND request_uri <> 'sip:erased@erased.invalid'",
            Self::Answerer => "",
        }
    }
}

/// Where rows go that name the subject.
#[derive(Clone, Copy)]
enum Table {
    Messages,
    Deliveries,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Deliveries => "webhook_deliveries",
        }
    }
}

/// Which records: by a column that has an index, and patterns of another one.
struct Which {
    column: &'static str,
    values: Vec<String>,
    patterns: Option<(&'static str, Vec<String>)>,
}

impl Which {
    fn of(column: &'static str, values: Vec<String>) -> Self {
        Self {
            column,
            values,
            patterns: None,
        }
    }
}

impl Subject {
    /// The sides of records that are its own.
    fn sides(&self) -> Vec<(Side, Which)> {
        match self {
            Self::Number(number) => vec![
                (Side::Caller, Which::of("from_user", spellings(number))),
                (Side::Callee, Which::of("to_user", spellings(number))),
            ],
            Self::User(user) => {
                let name = user.rsplit_once('@').map_or("", |(name, _)| name);
                let by_uri = |column, uri| Which {
                    patterns: Some((uri, uris(user))),
                    ..Which::of(column, vec![name.to_owned()])
                };
                vec![
                    (Side::Caller, Which::of("origin", vec![user.clone()])),
                    (Side::Caller, by_uri("from_user", "from_uri")),
                    (Side::Callee, by_uri("to_user", "to_uri")),
                    (Side::Answerer, Which::of("callee_user", vec![user.clone()])),
                ]
            }
        }
    }

    /// Patterns of texts that name it somewhere: header fields, and events as JSON.
    fn mentions(&self) -> Vec<String> {
        let mut patterns = Vec::new();
        match self {
            Self::Number(number) => {
                for number in spellings(number) {
                    let number = literal(&number);
                    // Behind the scheme alone: behind a host's colon it is a port.
                    for scheme in ["sip", "sips"] {
                        patterns.push(format!("%{scheme}:{number}@%"));
                        patterns.push(format!("%{scheme}:{number};%@%"));
                    }
                    for end in [";%", ">%", "\"%", ""] {
                        patterns.push(format!("%tel:{number}{end}"));
                    }
                    patterns.push(format!("%\"{number}\"%"));
                }
            }
            Self::User(user) => {
                let user = literal(user);
                for end in [";", ":", ">", "\""] {
                    patterns.push(format!("%:{user}{end}%"));
                }
                patterns.push(format!("%:{user}"));
                patterns.push(format!("%\"{user}\"%"));
            }
        }
        patterns
    }

    /// Patterns of an address of record that is its own.
    fn recipients(&self) -> Vec<String> {
        match self {
            Self::Number(number) => {
                let all = spellings(number).into_iter();
                all.map(|number| format!("{}@%", literal(&number)))
                    .collect()
            }
            Self::User(user) => vec![literal(user)],
        }
    }
}

/// Whether one of some columns is like one of some patterns.
macro_rules! like {
    ($query:expr, $columns:expr, $patterns:expr) => {{
        let (columns, patterns) = ($columns, $patterns);
        let pairs = columns
            .iter()
            .flat_map(|column| patterns.iter().map(move |pattern| (*column, pattern)));
        $query.push("(");
        for (place, (column, pattern)) in pairs.enumerate() {
            let or = if place > 0 { " OR " } else { "" };
            // SQLite's LIKE does not tell cases apart, PostgreSQL's does.
            $query
                .push(or)
                .push("LOWER(")
                .push(column)
                .push(") LIKE LOWER(");
            $query.push_bind(pattern.clone()).push(") ESCAPE '!'");
        }
        $query.push(")");
    }};
}

/// The ids of records that are to be erased.
macro_rules! select {
    ($query:expr, $side:expr, $which:expr, $tenant:expr) => {{
        $query.push("SELECT id FROM cdrs WHERE ");
        $query.push($which.column).push(" IN (");
        let mut values = $query.separated(", ");
        for value in &$which.values {
            values.push_bind(value.as_str());
        }
        $query.push(")");
        if let Some((column, patterns)) = &$which.patterns {
            $query.push(" AND ");
            like!($query, &[*column], patterns);
        }
        if let Some(tenant) = $tenant {
            $query.push(" AND tenant = ").push_bind(tenant);
        }
        $query.push($side.not_yet());
    }};
}

impl Store {
    /// Erases a number or a user: everywhere, or in what is a tenant's. In steps that keep nobody waiting; what
    /// is written meanwhile may be missed.
    ///
    /// # Errors
    /// If the database fails; some of it may be erased then, and it may be done again.
    pub async fn erase(
        &self,
        subject: &Subject,
        tenant: Option<&str>,
    ) -> Result<Erasure, StoreError> {
        let mut erasure = Erasure::default();
        for (side, which) in subject.sides() {
            erasure.recordings += self.condemn_recordings(side, &which, tenant).await?;
            let done =
                in_steps(self.pace(), |rows| self.replace(side, &which, tenant, rows)).await?;
            match side {
                Side::Caller => erasure.as_caller += done,
                Side::Callee | Side::Answerer => erasure.as_callee += done,
            }
        }
        let messages = self.delete_mentions(Table::Messages, subject, tenant);
        erasure.messages = messages.await?;
        let events = self.delete_mentions(Table::Deliveries, subject, tenant);
        erasure.events = events.await?;
        erasure.call_events = self.delete_call_events(subject, tenant).await?;
        self.erase_voice(subject, tenant).await?;
        Ok(erasure)
    }

    /// The same of programmable calls, each of which has a record too that is counted.
    async fn erase_voice(&self, subject: &Subject, tenant: Option<&str>) -> Result<(), StoreError> {
        let written = match subject {
            Subject::Number(number) => spellings(number),
            Subject::User(user) => {
                let name = user
                    .rsplit_once('@')
                    .map_or(user.as_str(), |(name, _)| name);
                vec![format!("sip:{user}"), format!("client:{name}")]
            }
        };
        // What was written to or by somebody is about them too.
        for (table, column, also) in [
            ("voice_calls", "from_party", ", caller_name = NULL"),
            ("voice_calls", "to_party", ""),
            ("voice_calls", "forwarded_from", ""),
            ("voice_messages", "from_party", ", body = ''"),
            ("voice_messages", "to_party", ", body = ''"),
        ] {
            within(async {
                on_engine!(self.writer(), pool => {
                    let mut query = QueryBuilder::new("UPDATE ");
                    query.push(table).push(" SET ").push(column).push(" = ");
                    query.push_bind(ERASED).push(also);
                    query.push(" WHERE ").push(column).push(" IN (");
                    let mut list = query.separated(", ");
                    for party in &written {
                        list.push_bind(party.as_str());
                    }
                    query.push(")");
                    if let Some(tenant) = tenant {
                        query.push(" AND tenant = ").push_bind(tenant);
                    }
                    query.build().execute(pool).await?;
                    Ok(())
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Before the records are erased, which tells whose the recordings are.
    async fn condemn_recordings(
        &self,
        side: Side,
        which: &Which,
        tenant: Option<&str>,
    ) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut query = QueryBuilder::new(
                    "UPDATE recordings SET condemned = 1 WHERE condemned = 0 AND call IN (",
                );
                select!(query, side, which, tenant);
                query.push(")");
                Ok(query.build().execute(pool).await?.rows_affected())
            })
        })
        .await
    }

    async fn replace(
        &self,
        side: Side,
        which: &Which,
        tenant: Option<&str>,
        rows: u32,
    ) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut query = QueryBuilder::new("UPDATE cdrs SET ");
                query.push(side.replacement());
                query.push(" WHERE id IN (");
                select!(query, side, which, tenant);
                query.push(" LIMIT ").push_bind(i64::from(rows)).push(")");
                Ok(query.build().execute(pool).await?.rows_affected())
            })
        })
        .await
    }

    /// Deletes what names the subject, a page at a time. It is looked for by reading alone, so that nobody waits
    /// while a whole table is looked through.
    async fn delete_mentions(
        &self,
        table: Table,
        subject: &Subject,
        tenant: Option<&str>,
    ) -> Result<u64, StoreError> {
        let (mut all, mut after) = (0, String::new());
        loop {
            let found = match table {
                Table::Messages => self.messages_of(subject, tenant, &after).await?,
                Table::Deliveries => self.deliveries_of(subject, tenant, &after).await?,
            };
            let Some(last) = found.last() else {
                return Ok(all);
            };
            after.clone_from(last);
            for part in found.chunks(DELETED) {
                all += self.delete(table, part).await?;
            }
        }
    }

    async fn messages_of(
        &self,
        subject: &Subject,
        tenant: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>, StoreError> {
        let (mentions, recipients) = (subject.mentions(), subject.recipients());
        within(async {
            on_engine!(self.reader(), pool => {
                let mut query = QueryBuilder::new("SELECT id FROM messages WHERE id > ");
                query.push_bind(after).push(" AND (");
                like!(query, &["recipient"], &recipients);
                query.push(" OR ");
                like!(query, &["from_header", "to_header"], &mentions);
                query.push(")");
                if let Some(tenant) = tenant {
                    query.push(OF_TENANT).push_bind(tenant);
                }
                query.push(" ORDER BY id LIMIT ").push_bind(i64::from(PAGE));
                Ok(query.build_query_scalar().fetch_all(pool).await?)
            })
        })
        .await
    }

    async fn deliveries_of(
        &self,
        subject: &Subject,
        tenant: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>, StoreError> {
        let mentions = subject.mentions();
        within(async {
            on_engine!(self.reader(), pool => {
                let mut query = QueryBuilder::new("SELECT id FROM webhook_deliveries WHERE id > ");
                query.push_bind(after).push(" AND ");
                like!(query, &["body"], &mentions);
                if let Some(tenant) = tenant {
                    let own = format!("%\"tenant\":\"{}\"%", literal(tenant));
                    query.push(" AND ");
                    like!(query, &["body"], &[own]);
                }
                query.push(" ORDER BY id LIMIT ").push_bind(i64::from(PAGE));
                Ok(query.build_query_scalar().fetch_all(pool).await?)
            })
        })
        .await
    }

    /// The same of transfers of calls, which alone name somebody: their calls are gone through a page at a time.
    async fn delete_call_events(
        &self,
        subject: &Subject,
        tenant: Option<&str>,
    ) -> Result<u64, StoreError> {
        let mentions = subject.mentions();
        let (mut all, mut after) = (0, String::new());
        loop {
            let found: Vec<String> = within(async {
                on_engine!(self.reader(), pool => {
                    let mut query =
                        QueryBuilder::new("SELECT DISTINCT call FROM call_events WHERE kind = 'transfer' AND call > ");
                    query.push_bind(after.as_str()).push(" AND ");
                    like!(query, &["data"], &mentions);
                    if let Some(tenant) = tenant {
                        query.push(" AND call IN (SELECT id FROM cdrs WHERE tenant = ");
                        query.push_bind(tenant).push(")");
                    }
                    query.push(" ORDER BY call LIMIT ").push_bind(i64::from(PAGE));
                    Ok(query.build_query_scalar().fetch_all(pool).await?)
                })
            })
            .await?;
            let Some(last) = found.last() else {
                return Ok(all);
            };
            after.clone_from(last);
            for part in found.chunks(DELETED) {
                all += within(async {
                    on_engine!(self.writer(), pool => {
                        let mut query = QueryBuilder::new("DELETE FROM call_events WHERE kind = 'transfer' AND ");
                        like!(query, &["data"], &mentions);
                        query.push(" AND call IN (");
                        let mut list = query.separated(", ");
                        for call in part {
                            list.push_bind(call.as_str());
                        }
                        query.push(")");
                        Ok(query.build().execute(pool).await?.rows_affected())
                    })
                })
                .await?;
            }
        }
    }

    async fn delete(&self, table: Table, ids: &[String]) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut query = QueryBuilder::new("DELETE FROM ");
                query.push(table.name()).push(" WHERE id IN (");
                let mut list = query.separated(", ");
                for id in ids {
                    list.push_bind(id.as_str());
                }
                query.push(")");
                Ok(query.build().execute(pool).await?.rows_affected())
            })
        })
        .await
    }
}

/// A number with its plus and without.
fn spellings(number: &str) -> Vec<String> {
    let bare = number.strip_prefix('+').unwrap_or(number);
    vec![bare.to_owned(), format!("+{bare}")]
}

/// Patterns of the URIs of a user, whatever parameters they have.
fn uris(user: &str) -> Vec<String> {
    let user = literal(user);
    let ends = ["", ";%", ":%", "?%"];
    let all = ends
        .iter()
        .flat_map(|end| ["sip", "sips"].map(|scheme| format!("{scheme}:{user}{end}")));
    all.collect()
}

/// A pattern of a text as it is.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern
}
