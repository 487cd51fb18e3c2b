//! `/v1/tenants`: who shares the node without seeing each other.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Tenant, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    body::{Body, name},
    changes::{Change, Editor},
    edited::{IfMatch, Tagged},
    problem::Problem,
    query::{List, Params, limit},
    rules,
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
    let created = state.store.create_tenant(&tenant).await;
    if !created? {
        let detail = format!("there is a tenant '{}' already", tenant.id);
        return Err(Problem::conflict(detail));
    }
    record(
        &state,
        &editor,
        "create",
        &tenant.id,
        json!({ "name": tenant.name }),
    )
    .await;
    let place = format!("/v1/tenants/{}", tenant.id);
    let view = Tagged(tenant.updated, TenantView::from(tenant));
    Ok((StatusCode::CREATED, [("location", place)], view))
}

/// A tenant.
#[utoipa::path(get, path = "/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    security(("bearer" = ["admin", "node"])), responses(
        (status = 200, body = TenantView),
        (status = 404, description = "There is none of this id")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
) -> Result<Tagged<TenantView>, Problem> {
    let tenant = find(&state, &id).await?;
    Ok(Tagged(tenant.updated, tenant.into()))
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
    let before = find(&state, &id).await?;
    if_match.check(before.updated)?;
    let after = Tenant {
        name: name(change.name)?,
        updated: before.updated.next(),
        ..before.clone()
    };
    let done = state.store.rename_tenant(&after, before.updated).await;
    if !done? {
        return Err(Problem::changed());
    }
    record(
        &state,
        &editor,
        "update",
        &id,
        json!({ "name": after.name }),
    )
    .await;
    Ok(Tagged(after.updated, after.into()))
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
    let before = find(&state, &id).await?;
    if_match.check(before.updated)?;
    match state.store.remove_tenant(&id, before.updated).await {
        Ok(true) => {}
        Ok(false) => return Err(Problem::changed()),
        Err(error) if error.is_rejection() => {
            return Err(Problem::conflict(
                "the tenant has keys or other things yet: remove them first",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    record(&state, &editor, "delete", &id, json!({})).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(state: &State, id: &str) -> Result<Tenant, Problem> {
    let tenant = state.store.tenant(id).await?;
    tenant.ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::not_found("there is no tenant of this id; GET /v1/tenants lists them")
}

async fn record(state: &State, editor: &Editor, action: &str, id: &str, detail: serde_json::Value) {
    let change = Change {
        action,
        kind: "tenants",
        target: id,
        tenant: Some(id),
        detail,
    };
    editor.record(state, change).await;
}
