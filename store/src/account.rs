//! The tables `accounts` and `account_keys`: whose programmable calls are, and what opens them.

use std::fmt;

use sqlx::FromRow;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::Keyed,
    routing::COUNT,
};

/// Whose programmable calls are.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// `AC` and 32 hex digits; stays.
    pub sid: String,
    /// The tenant whose it is; `None`: the node's own.
    pub tenant: Option<String>,
    /// For people.
    pub name: String,
    /// What signs webhooks and opens the REST API at `/2010-04-01`.
    pub token: String,
    /// Calls that it may begin a second by the REST API, 1 to 10,000.
    pub calls_per_second: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// What opens an account beside its token, without its secret, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey {
    /// `SK` and 32 hex digits.
    pub sid: String,
    /// The account's.
    pub account: String,
    /// For people.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Store {
    /// Creates those of `accounts` that do not exist yet, and leaves the others as they are: what a node does at its
    /// start with those of its configuration. Tells how many were created.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where one is of a tenant that there is not; if the database fails. None was created
    /// then.
    pub async fn create_accounts(&self, accounts: &[Account]) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut created = 0;
                let mut transaction = pool.begin().await?;
                for account in accounts {
                    let query = sqlx::query(
                        "INSERT INTO accounts (sid, tenant, name, token, calls_per_second, created_ms, \
                         updated_ms) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (sid) DO NOTHING",
                    )
                    .bind(account.sid.as_str())
                    .bind(account.tenant.as_deref())
                    .bind(account.name.as_str())
                    .bind(account.token.as_str())
                    .bind(i32::try_from(account.calls_per_second).unwrap_or(i32::MAX))
                    .bind(account.created.millis())
                    .bind(account.updated.millis());
                    created += query.execute(&mut *transaction).await?.rows_affected();
                }
                if created > 0 {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(created)
            })
        })
        .await
    }

    /// Changes an account, but for its tenant, where it was last changed at `unchanged_since`. `false` where it was
    /// not, or is not there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn change_account(
        &self,
        account: &Account,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query(
                    "UPDATE accounts SET name = $1, token = $2, calls_per_second = $3, updated_ms = $4 \
                     WHERE sid = $5 AND updated_ms = $6",
                )
                .bind(account.name.as_str())
                .bind(account.token.as_str())
                .bind(i32::try_from(account.calls_per_second).unwrap_or(i32::MAX))
                .bind(account.updated.millis())
                .bind(account.sid.as_str())
                .bind(unchanged_since.millis())
                .execute(&mut *transaction)
                .await?;
                let is_done = done.rows_affected() == 1;
                if is_done {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(is_done)
            })
        })
        .await
    }

    /// Removes an account with its keys, where it was last changed at `unchanged_since`. `false` where it was not, or
    /// is not there. What there was of its calls stays for as long as any call's.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_account(
        &self,
        sid: &str,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        self.remove::<Account>(sid, unchanged_since).await
    }

    /// The account of this SID.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn account(&self, sid: &str) -> Result<Option<Account>, StoreError> {
        self.find(sid).await
    }

    /// Up to `limit` accounts by SID, from after `after` on, empty for the first ones: those of a tenant, or all.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn accounts(
        &self,
        tenant: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Account>, StoreError> {
        self.list(tenant, after, limit).await
    }

    /// Keeps a key, with the SHA-256 of its secret in hex digits.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where there is no such account; if the database fails.
    pub async fn create_account_key(
        &self,
        key: &AccountKey,
        secret_sha256: &str,
    ) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query(
                    "INSERT INTO account_keys (sid, account, name, secret_sha256, created_ms, updated_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(key.sid.as_str())
                .bind(key.account.as_str())
                .bind(key.name.as_str())
                .bind(secret_sha256)
                .bind(key.created.millis())
                .bind(key.updated.millis())
                .execute(pool)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The key of this SID, and the hash of its secret.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn account_key(&self, sid: &str) -> Result<Option<(AccountKey, String)>, StoreError> {
        let row: Option<KeyRow> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as("SELECT * FROM account_keys WHERE sid = $1")
                    .bind(sid)
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        Ok(row.map(|mut row| {
            let hash = std::mem::take(&mut row.secret_sha256);
            (row.into(), hash)
        }))
    }

    /// Up to `limit` keys of an account by SID, from after `after` on; empty for the first ones.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn account_keys(
        &self,
        account: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<AccountKey>, StoreError> {
        let rows: Vec<KeyRow> = within(async {
            on_engine!(self.reader(), pool => {
                let query = sqlx::query_as(
                    "SELECT * FROM account_keys WHERE account = $1 AND sid > $2 ORDER BY sid LIMIT $3",
                );
                Ok(query.bind(account).bind(after).bind(i64::from(limit)).fetch_all(pool).await?)
            })
        })
        .await?;
        Ok(rows.into_iter().map(AccountKey::from).collect())
    }

    /// Gives a key of an account another name. Tells whether there is one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn rename_account_key(
        &self,
        account: &str,
        sid: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "UPDATE account_keys SET name = $1, updated_ms = $2 WHERE account = $3 AND sid = $4",
                )
                .bind(name)
                .bind(now.millis())
                .bind(account)
                .bind(sid)
                .execute(pool)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Removes a key of an account. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_account_key(&self, account: &str, sid: &str) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query("DELETE FROM account_keys WHERE account = $1 AND sid = $2")
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

/// Without the token.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("sid", &self.sid)
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .field("calls_per_second", &self.calls_per_second)
            .finish_non_exhaustive()
    }
}

impl Keyed for Account {
    type Row = Row;
    const TABLE: &'static str = "accounts";
    const KEY: &'static str = "sid";
    const IS_IN_MEMORY: bool = true;
}

#[derive(FromRow)]
pub(crate) struct Row {
    sid: String,
    tenant: Option<String>,
    name: String,
    token: String,
    calls_per_second: i32,
    created_ms: i64,
    updated_ms: i64,
}

impl From<Row> for Account {
    fn from(row: Row) -> Self {
        Self {
            sid: row.sid,
            tenant: row.tenant,
            name: row.name,
            token: row.token,
            calls_per_second: row.calls_per_second.unsigned_abs(),
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        }
    }
}

#[derive(FromRow)]
struct KeyRow {
    sid: String,
    account: String,
    name: String,
    secret_sha256: String,
    created_ms: i64,
    updated_ms: i64,
}

impl From<KeyRow> for AccountKey {
    fn from(row: KeyRow) -> Self {
        Self {
            sid: row.sid,
            account: row.account,
            name: row.name,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        }
    }
}
