//! Many things at once, all or none: what an operator has read from a file.

use sqlx::QueryBuilder;

use crate::{
    Domain, RoutingDocument, RoutingKind, Store, StoreError, Tenant, User,
    engine::{on_engine, within},
    routing::REPLACE,
};

/// Rows of one statement: ten parameters each at most, of the 32,766 that SQLite takes.
const ROWS: usize = 2_000;

/// What is to be in the store: each thing takes the place of the one of its name, or is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// By their ids.
    pub tenants: Vec<Tenant>,
    /// By their names.
    pub domains: Vec<Domain>,
    /// By domain and name.
    pub users: Vec<User>,
    /// By kind and id.
    pub routing: Vec<(RoutingKind, Vec<RoutingDocument>)>,
}

impl Import {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        let routing = self.routing.iter();
        self.tenants.is_empty()
            && self.domains.is_empty()
            && self.users.is_empty()
            && routing.fold(0, |count, (_, documents)| count + documents.len()) == 0
    }
}

impl Store {
    /// Writes all of it in one transaction, where nothing that calls are routed by, and no user, was changed
    /// since `revision`. Tells whether that is so.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where something is of a tenant that there is not; if the database fails.
    /// Nothing was changed then.
    pub async fn import(&self, import: &Import, revision: i64) -> Result<bool, StoreError> {
        on_engine!(self.writer(), pool => {
            let mut transaction = within(async { Ok(pool.begin().await?) }).await?;
            // First, for it makes others wait.
            let counted = within(async {
                let query = sqlx::query(
                    "UPDATE revisions SET revision = revision + 1 \
                     WHERE name = 'routing' AND revision = $1",
                );
                Ok(query.bind(revision).execute(&mut *transaction).await?)
            })
            .await?;
            if counted.rows_affected() != 1 {
                return Ok(false);
            }
            for tenants in import.tenants.chunks(ROWS) {
                let mut query =
                    QueryBuilder::new("INSERT INTO tenants (id, name, created_ms, updated_ms) ");
                query.push_values(tenants, |mut row, tenant| {
                    row.push_bind(tenant.id.as_str())
                        .push_bind(tenant.name.as_str())
                        .push_bind(tenant.created.millis())
                        .push_bind(tenant.updated.millis());
                });
                query.push(
                    " ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
                     updated_ms = excluded.updated_ms",
                );
                within(async { Ok(query.build().execute(&mut *transaction).await?) }).await?;
            }
            for domains in import.domains.chunks(ROWS) {
                let mut query =
                    QueryBuilder::new("INSERT INTO domains (name, tenant, created_ms, updated_ms) ");
                query.push_values(domains, |mut row, domain| {
                    row.push_bind(domain.name.as_str())
                        .push_bind(domain.tenant.as_str())
                        .push_bind(domain.created.millis())
                        .push_bind(domain.updated.millis());
                });
                query.push(
                    " ON CONFLICT (name) DO UPDATE SET tenant = excluded.tenant, \
                     updated_ms = excluded.updated_ms",
                );
                within(async { Ok(query.build().execute(&mut *transaction).await?) }).await?;
            }
            for users in import.users.chunks(ROWS) {
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
                query.push(
                    " ON CONFLICT (domain, name) DO UPDATE SET ha1_md5 = excluded.ha1_md5, \
                     ha1_sha256 = excluded.ha1_sha256, ha1_sha512 = excluded.ha1_sha512, \
                     display = excluded.display, enabled = excluded.enabled, \
                     profile = excluded.profile, updated_ms = excluded.updated_ms",
                );
                within(async { Ok(query.build().execute(&mut *transaction).await?) }).await?;
            }
            for (kind, documents) in &import.routing {
                for documents in documents.chunks(ROWS) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO routing (kind, id, document, tenant, updated_ms, owner) ",
                    );
                    query.push_values(documents, |mut row, document| {
                        row.push_bind(kind.name())
                            .push_bind(document.id.as_str())
                            .push_bind(document.document.as_str())
                            .push_bind(document.tenant.as_deref())
                            .push_bind(document.updated.millis())
                            .push_bind(document.owner(*kind));
                    });
                    query.push(REPLACE);
                    within(async { Ok(query.build().execute(&mut *transaction).await?) }).await?;
                }
            }
            within(async { Ok(transaction.commit().await?) }).await?;
            Ok(true)
        })
    }
}
