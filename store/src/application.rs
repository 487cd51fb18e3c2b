//! The table `applications`: what a call or a message that comes to a number is given to.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::{self, Keyed, known},
    named::named,
    routing::COUNT,
};

named! {
    /// How a URL is asked.
    HttpMethod {
        /// With what there is to tell in the query.
        Get = "GET",
        /// With what there is to tell in the body.
        Post = "POST",
    }
}

/// Something of an application's that is asked, or told, over HTTP or a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Where; `None`: nobody is.
    pub url: Option<String>,
    /// How.
    pub method: HttpMethod,
}

/// What a call or a message that comes to a number is given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// A UUID version 7.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// For people; none other of the tenant's has it.
    pub name: String,
    /// Who says what becomes of a call.
    pub voice: Hook,
    /// Who does, where that one fails.
    pub fallback: Hook,
    /// Who is told how a call goes.
    pub status: Hook,
    /// Who says what becomes of a message.
    pub message: Hook,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Store {
    /// Adds an application. `false` where its tenant has one of this name.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where there is no such tenant; if the database fails.
    pub async fn create_application(&self, application: &Application) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let mut query = sqlx::query(
                    "INSERT INTO applications (id, tenant, created_ms, name, updated_ms, voice_url, \
                     voice_method, fallback_url, fallback_method, status_callback, \
                     status_callback_method, message_url, message_method) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
                     ON CONFLICT (tenant, name) DO NOTHING",
                )
                .bind(application.id.to_string())
                .bind(application.tenant.as_str())
                .bind(application.created.millis())
                .bind(application.name.as_str())
                .bind(application.updated.millis());
                for hook in application.hooks() {
                    query = query.bind(hook.url.as_deref()).bind(hook.method.name());
                }
                let is_done = query.execute(&mut *transaction).await?.rows_affected() == 1;
                if is_done {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(is_done)
            })
        })
        .await
    }

    /// Changes an application, but for its tenant, where it was last changed at `unchanged_since`. `false` where
    /// it was not, or is not there.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where the tenant has another one of this name; if the database fails.
    pub async fn change_application(
        &self,
        application: &Application,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let mut query = sqlx::query(
                    "UPDATE applications SET name = $3, updated_ms = $4, voice_url = $5, \
                     voice_method = $6, fallback_url = $7, fallback_method = $8, \
                     status_callback = $9, status_callback_method = $10, message_url = $11, \
                     message_method = $12 WHERE id = $1 AND updated_ms = $2",
                )
                .bind(application.id.to_string())
                .bind(unchanged_since.millis())
                .bind(application.name.as_str())
                .bind(application.updated.millis());
                for hook in application.hooks() {
                    query = query.bind(hook.url.as_deref()).bind(hook.method.name());
                }
                let is_done = query.execute(&mut *transaction).await?.rows_affected() == 1;
                if is_done {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(is_done)
            })
        })
        .await
    }

    /// Removes an application, where it was last changed at `unchanged_since`. `false` where it was not, or is
    /// not there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_application(
        &self,
        id: Uuid,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        self.remove::<Application>(&id.to_string(), unchanged_since)
            .await
    }

    /// The application of this id.
    ///
    /// # Errors
    /// If the database fails, or the row is damaged.
    pub async fn application(&self, id: Uuid) -> Result<Option<Application>, StoreError> {
        self.find(&id.to_string()).await
    }

    /// Up to `limit` applications by id, which is by age, from after `after` on: those of a tenant, or all.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn applications(
        &self,
        tenant: Option<&str>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Application>, StoreError> {
        self.list(tenant, &keyed::after(after), limit).await
    }
}

impl Application {
    /// In the order of their columns.
    const fn hooks(&self) -> [&Hook; 4] {
        [&self.voice, &self.fallback, &self.status, &self.message]
    }
}

impl Keyed for Application {
    type Row = Row;
    const TABLE: &'static str = "applications";
    const KEY: &'static str = "id";
    const IS_IN_MEMORY: bool = true;
}

#[derive(FromRow)]
pub(crate) struct Row {
    id: String,
    tenant: String,
    name: String,
    voice_url: Option<String>,
    voice_method: String,
    fallback_url: Option<String>,
    fallback_method: String,
    status_callback: Option<String>,
    status_callback_method: String,
    message_url: Option<String>,
    message_method: String,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for Application {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let hook = |column, url, method: &str| {
            let method = known(column, method, HttpMethod::from_name)?;
            Ok::<_, StoreError>(Hook { url, method })
        };
        let (voice, fallback) = (&row.voice_method, &row.fallback_method);
        let (status, message) = (&row.status_callback_method, &row.message_method);
        Ok(Self {
            id: keyed::id("applications.id", &row.id)?,
            tenant: row.tenant,
            name: row.name,
            voice: hook("applications.voice_method", row.voice_url, voice)?,
            fallback: hook("applications.fallback_method", row.fallback_url, fallback)?,
            status: hook(
                "applications.status_callback_method",
                row.status_callback,
                status,
            )?,
            message: hook("applications.message_method", row.message_url, message)?,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        })
    }
}
