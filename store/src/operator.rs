//! The table `operators`: people who sign in to the API with a name and a password, and what they signed in
//! for, which is a key in `api_keys` that ends soon.

use sqlx::FromRow;

use crate::{
    ApiKey, Role, Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::{Keyed, known},
};

/// An operator without the password, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// In lower case.
    pub name: String,
    /// Whose things there are for the operator; `None` for all, and the node's own.
    pub tenant: Option<String>,
    /// What the operator may do.
    pub role: Role,
    /// Whether signing in is refused.
    pub disabled: bool,
    /// When the operator was added.
    pub created: Timestamp,
    /// When anything of it was changed last, the password included.
    pub updated: Timestamp,
}

impl Store {
    /// Adds an operator with the hash of a password, as a PHC string. `false` where there is one of this name.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where there is no such tenant; if the database fails.
    pub async fn create_operator(
        &self,
        operator: &Operator,
        password: &str,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "INSERT INTO operators (name, tenant, role, password, disabled, created_ms, updated_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING",
                )
                .bind(operator.name.as_str())
                .bind(operator.tenant.as_deref())
                .bind(operator.role.name())
                .bind(password)
                .bind(i32::from(operator.disabled))
                .bind(operator.created.millis())
                .bind(operator.updated.millis())
                .execute(pool)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Gives an operator another role, password or state, where it was last changed at `unchanged_since`.
    /// `false` where it was not, or is not there. Whoever is signed in by that name is not any more.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn change_operator(
        &self,
        operator: &Operator,
        password: Option<&str>,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query(
                    "UPDATE operators SET role = $1, disabled = $2, \
                     password = COALESCE(CAST($3 AS TEXT), password), updated_ms = $4 \
                     WHERE name = $5 AND updated_ms = $6",
                )
                .bind(operator.role.name())
                .bind(i32::from(operator.disabled))
                .bind(password)
                .bind(operator.updated.millis())
                .bind(operator.name.as_str())
                .bind(unchanged_since.millis())
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 1 {
                    sqlx::query("DELETE FROM api_keys WHERE operator = $1")
                        .bind(operator.name.as_str())
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Removes an operator, where it was last changed at `unchanged_since`. `false` where it was not, or is not
    /// there. Whoever is signed in by that name is not any more.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_operator(
        &self,
        name: &str,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query("DELETE FROM operators WHERE name = $1 AND updated_ms = $2")
                    .bind(name)
                    .bind(unchanged_since.millis())
                    .execute(&mut *transaction)
                    .await?;
                if done.rows_affected() == 1 {
                    sqlx::query("DELETE FROM api_keys WHERE operator = $1")
                        .bind(name)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// The operator of this name, and the hash of its password.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn operator(&self, name: &str) -> Result<Option<(Operator, String)>, StoreError> {
        let row: Option<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as("SELECT * FROM operators WHERE name = $1")
                    .bind(name)
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        row.map(|mut row| {
            let password = std::mem::take(&mut row.password);
            Ok((row.try_into()?, password))
        })
        .transpose()
    }

    /// Up to `limit` operators by name, from after `after` on: those of a tenant, or all.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn operators(
        &self,
        tenant: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Operator>, StoreError> {
        self.list(tenant, after, limit).await
    }

    /// Keeps a key that `operator` signed in for, with the SHA-256 of its secret in hex digits. It opens
    /// nothing where the operator was changed meanwhile. Those that are over by now are forgotten.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn create_session(
        &self,
        session: &ApiKey,
        secret_sha256: &str,
        operator: &Operator,
    ) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query("DELETE FROM api_keys WHERE operator IS NOT NULL AND expires_ms < $1")
                    .bind(Timestamp::now().millis())
                    .execute(pool)
                    .await?;
                Ok(())
            })
        })
        .await?;
        self.insert_key(session, secret_sha256, Some(operator))
            .await
    }
}

impl Keyed for Operator {
    type Row = Row;
    const TABLE: &'static str = "operators";
    const KEY: &'static str = "name";
}

#[derive(FromRow)]
pub(crate) struct Row {
    name: String,
    tenant: Option<String>,
    role: String,
    password: String,
    disabled: i32,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for Operator {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.name,
            tenant: row.tenant,
            role: known("operators.role", &row.role, Role::from_name)?,
            disabled: row.disabled != 0,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        })
    }
}
