//! The table `users`.

use std::fmt;

use sqlx::{FromRow, QueryBuilder};

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    routing::COUNT,
};

/// Users asked for in one statement: two parameters each.
const ASKED: usize = 500;

/// A user of one of our domains.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// In lower case.
    pub domain: String,
    /// Told apart by case.
    pub name: String,
    /// HA1 for MD5 in hex digits; like the next two as good as the password, within this domain.
    pub ha1_md5: Option<String>,
    /// HA1 for SHA-256.
    pub ha1_sha256: Option<String>,
    /// HA1 for SHA-512/256.
    pub ha1_sha512: Option<String>,
    /// What callees may be shown.
    pub display: Option<String>,
    /// Whether it may register, call and be called.
    pub enabled: bool,
    /// A JSON document: forwards, limits and the like.
    pub profile: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

impl Store {
    /// Creates those of `users` that do not exist yet, and leaves the others as they are. Tells how
    /// many were created.
    ///
    /// # Errors
    /// If the database fails; none was created then.
    pub async fn create_users(&self, users: &[User]) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut created = 0;
                let mut transaction = pool.begin().await?;
                for users in users.chunks(ASKED) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO users (domain, name, ha1_md5, ha1_sha256, ha1_sha512, display, \
                         enabled, profile, created_ms, updated_ms) ",
                    );
                    query.push_values(users, |mut row, user| {
                        row.push_bind(user.domain.as_str())
                            .push_bind(user.name.as_str())
                            .push_bind(user.ha1_md5.as_deref())
                            .push_bind(user.ha1_sha256.as_deref())
                            .push_bind(user.ha1_sha512.as_deref())
                            .push_bind(user.display.as_deref())
                            .push_bind(i32::from(user.enabled))
                            .push_bind(user.profile.as_str())
                            .push_bind(user.created.millis())
                            .push_bind(user.updated.millis());
                    });
                    query.push(" ON CONFLICT (domain, name) DO NOTHING");
                    created += query.build().execute(&mut *transaction).await?.rows_affected();
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

    /// Those of the users named (domain, name) that exist, in any order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn users(&self, named: &[(&str, &str)]) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::with_capacity(named.len());
        for named in named.chunks(ASKED) {
            let rows: Vec<Row> = within(async {
                on_engine!(self.reader(), pool => {
                    // A list of values by itself is compared with each user by SQLite, whatever the key.
                    let mut query = QueryBuilder::new(
                        "SELECT * FROM users WHERE (domain, name) IN (SELECT column1, column2 FROM (",
                    );
                    query.push_values(named, |mut row, (domain, name)| {
                        row.push_bind(*domain).push_bind(*name);
                    });
                    query.push(") AS named)");
                    Ok(query.build_query_as().fetch_all(pool).await?)
                })
            })
            .await?;
            users.extend(rows.into_iter().map(User::from));
        }
        Ok(users)
    }

    /// Changes a user, all but its names and the time when it was created, where it was last changed at
    /// `unchanged_since`. `false` where it was not, or is not there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn update_user(
        &self,
        user: &User,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query(
                    "UPDATE users SET ha1_md5 = $1, ha1_sha256 = $2, ha1_sha512 = $3, display = $4, \
                     enabled = $5, profile = $6, updated_ms = $7 \
                     WHERE domain = $8 AND name = $9 AND updated_ms = $10",
                )
                .bind(user.ha1_md5.as_deref())
                .bind(user.ha1_sha256.as_deref())
                .bind(user.ha1_sha512.as_deref())
                .bind(user.display.as_deref())
                .bind(i32::from(user.enabled))
                .bind(user.profile.as_str())
                .bind(user.updated.millis())
                .bind(user.domain.as_str())
                .bind(user.name.as_str())
                .bind(unchanged_since.millis())
                .execute(&mut *transaction)
                .await?;
                let was_there = done.rows_affected() > 0;
                if was_there {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(was_there)
            })
        })
        .await
    }

    /// Up to `limit` users by domain and name, from after `after` on; two empty texts for the first ones.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn list_users(
        &self,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        let query = "SELECT * FROM users WHERE (domain, name) > ($1, $2) \
                     ORDER BY domain, name LIMIT $3";
        self.page_of_users(query, after, limit).await
    }

    /// The same of one tenant: of its domains, or for [`DEFAULT_TENANT`](crate::DEFAULT_TENANT) of those that
    /// are nobody else's.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tenants_users(
        &self,
        tenant: &str,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT users.* FROM users LEFT JOIN domains ON domains.name = users.domain \
                     WHERE (users.domain, users.name) > ($1, $2) \
                     AND COALESCE(domains.tenant, 'default') = $3 \
                     ORDER BY users.domain, users.name LIMIT $4",
                )
                .bind(after.0)
                .bind(after.1)
                .bind(tenant)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
                Ok(rows.into_iter().map(User::from).collect())
            })
        })
        .await
    }

    /// Those of them who may not call or have a profile.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn particular_users(
        &self,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        let query = "SELECT * FROM users WHERE (domain, name) > ($1, $2) \
                     AND (enabled = 0 OR profile <> '{}') ORDER BY domain, name LIMIT $3";
        self.page_of_users(query, after, limit).await
    }

    async fn page_of_users(
        &self,
        query: &'static str,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                let rows: Vec<Row> = sqlx::query_as(query)
                    .bind(after.0)
                    .bind(after.1)
                    .bind(i64::from(limit))
                    .fetch_all(pool)
                    .await?;
                Ok(rows.into_iter().map(User::from).collect())
            })
        })
        .await
    }

    /// Removes a user, where it was last changed at `unchanged_since`. `false` where it was not, or is not
    /// there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_user(
        &self,
        domain: &str,
        name: &str,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query(
                    "DELETE FROM users WHERE domain = $1 AND name = $2 AND updated_ms = $3",
                )
                .bind(domain)
                .bind(name)
                .bind(unchanged_since.millis())
                .execute(&mut *transaction)
                .await?;
                let was_there = done.rows_affected() > 0;
                if was_there {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(was_there)
            })
        })
        .await
    }

    /// Every domain that a user is of.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn user_domains(&self) -> Result<Vec<String>, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_scalar("SELECT DISTINCT domain FROM users ORDER BY domain")
                    .fetch_all(pool)
                    .await?)
            })
        })
        .await
    }
}

/// Without what proves who it is.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("domain", &self.domain)
            .field("name", &self.name)
            .field("enabled", &self.enabled)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

#[derive(FromRow)]
struct Row {
    domain: String,
    name: String,
    ha1_md5: Option<String>,
    ha1_sha256: Option<String>,
    ha1_sha512: Option<String>,
    display: Option<String>,
    enabled: i32,
    profile: String,
    created_ms: i64,
    updated_ms: i64,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            domain: row.domain,
            name: row.name,
            ha1_md5: row.ha1_md5,
            ha1_sha256: row.ha1_sha256,
            ha1_sha512: row.ha1_sha512,
            display: row.display,
            enabled: row.enabled != 0,
            profile: row.profile,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        }
    }
}
