//! Numbers of the table `routing` by whom they lead to: an account, or an application, whose account is the first one of
//! its tenant.

use serde::Deserialize;
use sqlx::QueryBuilder;

use crate::{
    Account, Application, DEFAULT_TENANT, RoutingDocument, RoutingKind, Store, StoreError, account,
    application,
    engine::{on_engine, within},
    routing,
};

/// Owners of one statement.
const OWNERS: usize = 500;
/// Numbers that are looked at at a time.
const PART: u32 = 1_000;

impl RoutingDocument {
    /// Whom a number leads to: the account that it names, else the application.
    pub(crate) fn owner(&self, kind: RoutingKind) -> Option<String> {
        #[derive(Deserialize)]
        struct Leads {
            account: Option<String>,
            application: Option<String>,
        }
        if kind != RoutingKind::Number {
            return None;
        }
        let leads: Leads = serde_json::from_str(&self.document).ok()?;
        leads.account.or(leads.application)
    }
}

impl Store {
    /// The numbers that name one of these accounts, by SID, or one of these applications, by name or id, and no account:
    /// by number; those of this tenant alone, and of none. Names are as they are written: whose application is meant has
    /// to be seen by the number's tenant.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn numbers_of(
        &self,
        owners: &[&str],
        tenant: &str,
    ) -> Result<Vec<RoutingDocument>, StoreError> {
        let mut numbers = Vec::new();
        for owners in owners.chunks(OWNERS) {
            let rows: Vec<routing::Row> = within(async {
                on_engine!(self.reader(), pool => {
                    let mut query = QueryBuilder::new(
                        "SELECT id, document, tenant, updated_ms FROM routing \
                         WHERE kind = 'number' AND owner IN (",
                    );
                    let mut list = query.separated(", ");
                    for owner in owners {
                        list.push_bind(*owner);
                    }
                    query.push(") AND (tenant IS NULL OR tenant = ").push_bind(tenant).push(")");
                    Ok(query.build_query_as().fetch_all(pool).await?)
                })
            })
            .await?;
            numbers.extend(rows.into_iter().map(RoutingDocument::from));
        }
        numbers.sort_by(|a, b| a.id.cmp(&b.id));
        numbers.dedup_by(|a, b| a.id == b.id);
        Ok(numbers)
    }

    /// The application of this name or id. A name is that of an application of this tenant, or of the default one where
    /// none is given; an id is of this tenant's, or of any.
    ///
    /// # Errors
    /// If the database fails, or the row is damaged.
    pub async fn application_named(
        &self,
        name: &str,
        tenant: Option<&str>,
    ) -> Result<Option<Application>, StoreError> {
        let mut rows: Vec<application::Row> = within(async {
            on_engine!(self.reader(), pool => {
                let query = sqlx::query_as(
                    "SELECT * FROM applications WHERE (name = $1 AND tenant = $3) \
                     OR (id = $1 AND (CAST($2 AS TEXT) IS NULL OR tenant = $2)) LIMIT 2",
                );
                let query = query.bind(name).bind(tenant);
                Ok(query.bind(tenant.unwrap_or(DEFAULT_TENANT)).fetch_all(pool).await?)
            })
        })
        .await?;
        let row = rows.pop().filter(|_| rows.is_empty());
        row.map(Application::try_from).transpose()
    }

    /// The first account of a tenant, by SID, which its applications' calls are of; the node's are the default tenant's
    /// too.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn first_account(&self, tenant: &str) -> Result<Option<Account>, StoreError> {
        let of_node = "tenant IS NULL OR tenant = $1";
        let whose = if tenant == DEFAULT_TENANT {
            of_node
        } else {
            "tenant = $1"
        };
        let select = format!("SELECT * FROM accounts WHERE {whose} ORDER BY sid LIMIT 1");
        let row: Option<account::Row> = within(async {
            on_engine!(self.reader(), pool => {
                let query = sqlx::query_as(sqlx::AssertSqlSafe(select));
                Ok(query.bind(tenant).fetch_optional(pool).await?)
            })
        })
        .await?;
        Ok(row.map(Account::from))
    }

    /// Notes whom those numbers lead to that were written when nobody did.
    pub(crate) async fn note_owners(&self) -> Result<(), StoreError> {
        let is_noted: i64 = within(async {
            on_engine!(self.reader(), pool => {
                let query = "SELECT revision FROM revisions WHERE name = 'number_owners'";
                Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
            })
        })
        .await?;
        if is_noted != 0 {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let part = self.routing(RoutingKind::Number, &after, PART).await?;
            let Some(last) = part.last() else { break };
            after.clone_from(&last.id);
            within(async {
                on_engine!(self.writer(), pool => {
                    let mut transaction = pool.begin().await?;
                    for number in &part {
                        let Some(owner) = number.owner(RoutingKind::Number) else {
                            continue;
                        };
                        // One that was written again meanwhile has its own.
                        sqlx::query(
                            "UPDATE routing SET owner = $1 \
                             WHERE kind = 'number' AND id = $2 AND updated_ms = $3 AND owner IS NULL",
                        )
                        .bind(owner)
                        .bind(number.id.as_str())
                        .bind(number.updated.millis())
                        .execute(&mut *transaction)
                        .await?;
                    }
                    transaction.commit().await?;
                    Ok(())
                })
            })
            .await?;
        }
        within(async {
            on_engine!(self.writer(), pool => {
                let query = "UPDATE revisions SET revision = 1 WHERE name = 'number_owners'";
                sqlx::query(query).execute(pool).await?;
                Ok(())
            })
        })
        .await
    }
}
