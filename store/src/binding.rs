//! The table `bindings`: what phones have registered, behind the memory that the nodes work with.

use std::{collections::BTreeMap, sync::LazyLock};

use sqlx::{FromRow, QueryBuilder};

use crate::{
    Store, StoreError, Timestamp,
    bulk::{Bulk, Marks},
    engine::{Pool, on_engine, within},
};

/// What [`Store::write_bindings`] does.
struct Statements {
    /// Those at a position and after it, of addresses of record.
    deletes: Bulk,
    upserts: Bulk,
}

static SQLITE: LazyLock<Statements> = LazyLock::new(|| statements(Marks::Plain));
static POSTGRES: LazyLock<Statements> = LazyLock::new(|| statements(Marks::Numbered));

fn statements(marks: Marks) -> Statements {
    // A list of values by itself is compared with each row by SQLite, whatever the index.
    let delete = "DELETE FROM bindings WHERE node = {} AND position >= {} AND (domain, name) IN \
        (SELECT column1, column2 FROM (VALUES ";
    let upsert = "INSERT INTO bindings (node, domain, name, position, contact, call_id, cseq, q, path, \
        instance, reg_id, user_agent, transport, local, remote, renewed_ms, expires_ms) VALUES ";
    let replaces = " ON CONFLICT (node, domain, name, position) DO UPDATE SET contact = excluded.contact, \
        call_id = excluded.call_id, cseq = excluded.cseq, q = excluded.q, path = excluded.path, \
        instance = excluded.instance, reg_id = excluded.reg_id, user_agent = excluded.user_agent, \
        transport = excluded.transport, local = excluded.local, remote = excluded.remote, \
        renewed_ms = excluded.renewed_ms, expires_ms = excluded.expires_ms";
    Statements {
        deletes: Bulk::new(marks, delete, 2, ") AS named)"),
        upserts: Bulk::new(marks, upsert, 17, replaces),
    }
}

/// A phone, and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The Contact value as it was registered, without `expires`.
    pub contact: String,
    /// The Call-ID of the REGISTER that made or refreshed it last.
    pub call_id: String,
    /// Its CSeq number.
    pub cseq: u32,
    /// Preference in thousandths, where it names one.
    pub q: Option<u16>,
    /// The Path values that it came by, with commas between.
    pub path: String,
    /// The instance and reg-id of its flow, where it does outbound.
    pub flow: Option<(String, u32)>,
    /// Its User-Agent.
    pub user_agent: String,
    /// The transport that it came over.
    pub transport: String,
    /// Our end of it.
    pub local: String,
    /// Its end, as it was seen.
    pub remote: String,
    /// When it was made or refreshed last.
    pub renewed: Timestamp,
    /// When it is over.
    pub expires: Timestamp,
}

/// An address of record, and all that is bound to it; nothing, where all of it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// In lower case.
    pub domain: String,
    /// The user.
    pub name: String,
    /// In the order in which they came.
    pub bindings: Vec<Binding>,
}

/// Where the next page of [`Store::bindings`] begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingsCursor {
    domain: String,
    name: String,
}

impl Store {
    /// Replaces what is bound to these addresses of record by a node, each of which is named once.
    ///
    /// # Errors
    /// If the database fails; nothing is changed then.
    pub async fn write_bindings(&self, node: &str, bound: &[Bound]) -> Result<(), StoreError> {
        let rows = bound.iter().flat_map(|bound| {
            let bindings = bound.bindings.iter().enumerate();
            bindings.map(move |(position, binding)| (bound, position, binding))
        });
        let rows: Vec<_> = rows.collect();
        // Most have as many as before, one: they are written over, and there is nothing to delete.
        let mut by_length: BTreeMap<usize, Vec<&Bound>> = BTreeMap::new();
        for bound in bound {
            let length = bound.bindings.len();
            by_length.entry(length).or_default().push(bound);
        }
        let statements = match self.writer() {
            Pool::Sqlite(_) => &*SQLITE,
            Pool::Postgres(_) => &*POSTGRES,
        };
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                for (length, bound) in &by_length {
                    for (delete, bound) in statements.deletes.parts(bound) {
                        let mut query = sqlx::query(delete).bind(node).bind(position(*length));
                        for bound in bound {
                            query = query.bind(bound.domain.as_str()).bind(bound.name.as_str());
                        }
                        query.execute(&mut *transaction).await?;
                    }
                }
                for (upsert, rows) in statements.upserts.parts(&rows) {
                    let mut query = sqlx::query(upsert);
                    for (bound, at, binding) in rows {
                        let flow = binding.flow.as_ref();
                        query = query
                            .bind(node)
                            .bind(bound.domain.as_str())
                            .bind(bound.name.as_str())
                            .bind(position(*at))
                            .bind(binding.contact.as_str())
                            .bind(binding.call_id.as_str())
                            .bind(i64::from(binding.cseq))
                            .bind(binding.q.map(i32::from))
                            .bind(binding.path.as_str())
                            .bind(flow.map(|(instance, _)| instance.as_str()))
                            .bind(flow.map(|(_, reg_id)| i64::from(*reg_id)))
                            .bind(binding.user_agent.as_str())
                            .bind(binding.transport.as_str())
                            .bind(binding.local.as_str())
                            .bind(binding.remote.as_str())
                            .bind(binding.renewed.millis())
                            .bind(binding.expires.millis());
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
        })
        .await
    }

    /// What a node's phones are bound to at `now`: some 10,000 bindings from `cursor` on, whole
    /// addresses of record, and where the next page begins.
    ///
    /// # Errors
    /// If the database fails, or holds what this version does not understand.
    pub async fn bindings(
        &self,
        node: &str,
        now: Timestamp,
        cursor: Option<&BindingsCursor>,
    ) -> Result<(Vec<Bound>, Option<BindingsCursor>), StoreError> {
        const PAGE: usize = 10_000;
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                let mut query = QueryBuilder::new("SELECT * FROM bindings WHERE node = ");
                query.push_bind(node).push(" AND expires_ms > ").push_bind(now.millis());
                if let Some(cursor) = cursor {
                    query.push(" AND (domain, name) > (").push_bind(cursor.domain.as_str());
                    query.push(", ").push_bind(cursor.name.as_str()).push(")");
                }
                query.push(" ORDER BY domain, name, position LIMIT ");
                query.push_bind(i64::try_from(PAGE).unwrap_or(i64::MAX));
                Ok(query.build_query_as().fetch_all(pool).await?)
            })
        })
        .await?;
        let is_last = rows.len() < PAGE;
        let mut page: Vec<Bound> = Vec::new();
        for row in rows {
            let last = page.last_mut();
            let same = last.filter(|bound| bound.domain == row.domain && bound.name == row.name);
            match same {
                Some(bound) => bound.bindings.push(row.binding()?),
                None => page.push(Bound {
                    domain: row.domain.clone(),
                    name: row.name.clone(),
                    bindings: vec![row.binding()?],
                }),
            }
        }
        if is_last {
            return Ok((page, None));
        }
        // The last one may go on behind the page. None has so many bindings that it fills one.
        if page.len() > 1 {
            page.pop();
        }
        let cursor = page.last().map(|bound| BindingsCursor {
            domain: bound.domain.clone(),
            name: bound.name.clone(),
        });
        Ok((page, cursor))
    }

    /// Deletes the bindings of all nodes that were over before `time`. Tells how many.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn purge_bindings(&self, time: Timestamp) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query("DELETE FROM bindings WHERE expires_ms < $1")
                    .bind(time.millis())
                    .execute(pool)
                    .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}

#[derive(FromRow)]
struct Row {
    domain: String,
    name: String,
    contact: String,
    call_id: String,
    cseq: i64,
    q: Option<i32>,
    path: String,
    instance: Option<String>,
    reg_id: Option<i64>,
    user_agent: String,
    transport: String,
    local: String,
    remote: String,
    renewed_ms: i64,
    expires_ms: i64,
}

impl Row {
    fn binding(self) -> Result<Binding, StoreError> {
        let reg_id = self
            .reg_id
            .map(|reg_id| number("reg_id", reg_id))
            .transpose()?;
        let q = self.q.map(|q| number("q", q.into())).transpose()?;
        Ok(Binding {
            cseq: number("cseq", self.cseq)?,
            q,
            flow: self.instance.zip(reg_id),
            contact: self.contact,
            call_id: self.call_id,
            path: self.path,
            user_agent: self.user_agent,
            transport: self.transport,
            local: self.local,
            remote: self.remote,
            renewed: Timestamp::from_millis(self.renewed_ms),
            expires: Timestamp::from_millis(self.expires_ms),
        })
    }
}

fn position(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}

fn number<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Corrupt {
        column,
        value: value.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn what_is_replaced_is_found_by_the_key() {
        let store = Store::open("sqlite::memory:", Path::new("/proc/nonexistent"));
        let store = store.await.unwrap();
        let Pool::Sqlite(pool) = store.writer() else {
            panic!("SQLite");
        };
        let texts = SQLITE.deletes.parts(&[(); 293]).map(|(text, _)| text);
        for text in texts {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
            let steps: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(pool).await.unwrap();
            let key = "(node=? AND domain=? AND name=? AND position>?)";
            assert!(steps.iter().any(|step| step.3.contains(key)), "{steps:?}");
        }
    }
}
