//! `/v1/tenants`: who shares the node without seeing each other.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Store, StoreError, Tenant, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    body::{Body, name},
    changes::Editor,
    edited::{IfMatch, Tagged},
    problem::Problem,
    query::{List, Params, limit},
    rules,
    thing::{Thing, created, shown, unchanged},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, change, remove))
}

/// One of those who share the node.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantView {
    /// Stays.
    #[schema(example = "acme")]
    id: String,
    /// For people.
    #[schema(example = "Acme Ltd")]
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name,
            created: tenant.created,
            updated: tenant.updated,
        }
    }
}

/// A tenant to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// 1 to 40 of a to z, 0 to 9 and `-`; stays.
    #[schema(pattern = "^[a-z0-9-]{1,40}$", example = "acme")]
    id: String,
    /// For people: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "Acme Ltd")]
    name: String,
}

/// What can be changed of a tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantChange {
    /// For people: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "Acme Ltd")]
    name: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TenantsQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// The tenants, by id.
#[utoipa::path(get, path = "/tenants", tag = "tenants", params(TenantsQuery),
    security(("bearer" = ["admin", "node"])), responses((status = 200, body = List<TenantView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    Params(query): Params<TenantsQuery>,
) -> Result<Json<List<TenantView>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.cursor.unwrap_or_default();
    let tenants = state.store.tenants(&after, limit + 1).await?;
    let views = tenants.into_iter().map(TenantView::from);
    Ok(Json(List::cut(views, limit, |last| last.id.clone())))
}

/// Adds a tenant.
#[utoipa::path(post, path = "/tenants", tag = "tenants", request_body = NewTenant,
    security(("bearer" = ["admin", "node"])), responses(
        (status = 201, body = TenantView),
        (status = 409, description = "There is one of this id")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewTenant>,
) -> Result<impl IntoResponse, Problem> {
    rules::tenant_id(&new.id).map_err(Problem::bad_member)?;
    let now = Timestamp::now();
    let tenant = Tenant {
        name: name(new.name)?,
        id: new.id,
        created: now,
        updated: now,
    };
    if !state.store.create_tenant(&tenant).await? {
        let detail = format!("there is a tenant '{}' already", tenant.id);
        return Err(Problem::conflict(detail));
    }
    let detail = json!({ "name": tenant.name });
    state.record(&editor, "create", &tenant, detail).await;
    Ok(created::<_, TenantView>(tenant))
}

/// A tenant.
#[utoipa::path(get, path = "/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    security(("bearer" = ["admin", "node"])), responses(
        (status = 200, body = TenantView),
        (status = 404, description = "There is none of this id")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Tagged<TenantView>, Problem> {
    Ok(shown(state.find::<Tenant>(&caller, &id).await?))
}

/// Gives a tenant another name.
#[utoipa::path(put, path = "/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    request_body = TenantChange, security(("bearer" = ["admin", "node"])), responses(
        (status = 200, body = TenantView),
        (status = 404, description = "There is none of this id"),
        (status = 412, description = "It is not as If-Match says")))]
async fn change(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(change): Body<TenantChange>,
) -> Result<Tagged<TenantView>, Problem> {
    let before: Tenant = state.seen(&editor, &id, &if_match).await?;
    let since = before.updated;
    let after = Tenant {
        name: name(change.name)?,
        updated: since.next(),
        ..before
    };
    unchanged(state.store.rename_tenant(&after, since).await)?;
    let detail = json!({ "name": after.name });
    state.record(&editor, "update", &after, detail).await;
    Ok(shown(after))
}

/// Removes a tenant that has nothing any more.
#[utoipa::path(delete, path = "/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    security(("bearer" = ["admin", "node"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none of this id"),
        (status = 409, description = "It has keys or other things yet")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    if id == store::DEFAULT_TENANT {
        return Err(Problem::conflict(
            "what belongs to nobody else belongs to the tenant 'default': it stays",
        ));
    }
    let before: Tenant = state.seen(&editor, &id, &if_match).await?;
    match state.store.remove_tenant(&id, before.updated).await {
        Err(error) if error.is_rejection() => {
            return Err(Problem::conflict(
                "the tenant has keys or other things yet: remove them first",
            ));
        }
        removed => unchanged(removed)?,
    }
    state.record(&editor, "delete", &before, json!({})).await;
    Ok(StatusCode::NO_CONTENT)
}

impl Thing for Tenant {
    const KIND: &'static str = "tenants";
    const MISSING: &'static str = "there is no tenant of this id; GET /v1/tenants lists them";

    fn key(&self) -> String {
        self.id.clone()
    }

    fn tenant(&self) -> Option<&str> {
        Some(&self.id)
    }

    fn updated(&self) -> Timestamp {
        self.updated
    }

    async fn find(store: &Store, id: &str) -> Result<Option<Self>, StoreError> {
        store.tenant(id).await
    }
}
