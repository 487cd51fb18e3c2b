//! The table `bindings`: what phones have registered, behind the memory that the nodes work with.

use sqlx::{FromRow, QueryBuilder};

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
};

/// Rows in one statement: a row has 17 parameters, and SQLite takes 32,766.
const ROWS: usize = 1_000;
/// Addresses of record in one statement, two parameters each.
const NAMES: usize = 1_000;

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
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                for bound in bound.chunks(NAMES) {
                    let mut query = QueryBuilder::new("DELETE FROM bindings WHERE node = ");
                    query.push_bind(node).push(" AND (domain, name) IN (");
                    query.push_values(bound, |mut row, bound| {
                        row.push_bind(bound.domain.as_str()).push_bind(bound.name.as_str());
                    });
                    query.push(")");
                    query.build().execute(&mut *transaction).await?;
                }
                for rows in rows.chunks(ROWS) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO bindings (node, domain, name, position, contact, call_id, cseq, \
                         q, path, instance, reg_id, user_agent, transport, local, remote, renewed_ms, \
                         expires_ms) ",
                    );
                    query.push_values(rows, |mut row, (bound, position, binding)| {
                        let flow = binding.flow.as_ref();
                        row.push_bind(node)
                            .push_bind(bound.domain.as_str())
                            .push_bind(bound.name.as_str())
                            .push_bind(i32::try_from(*position).unwrap_or(i32::MAX))
                            .push_bind(binding.contact.as_str())
                            .push_bind(binding.call_id.as_str())
                            .push_bind(i64::from(binding.cseq))
                            .push_bind(binding.q.map(i32::from))
                            .push_bind(binding.path.as_str())
                            .push_bind(flow.map(|(instance, _)| instance.as_str()))
                            .push_bind(flow.map(|(_, reg_id)| i64::from(*reg_id)))
                            .push_bind(binding.user_agent.as_str())
                            .push_bind(binding.transport.as_str())
                            .push_bind(binding.local.as_str())
                            .push_bind(binding.remote.as_str())
                            .push_bind(binding.renewed.millis())
                            .push_bind(binding.expires.millis());
                    });
                    query.build().execute(&mut *transaction).await?;
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

fn number<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Corrupt {
        column,
        value: value.to_string(),
    })
}
