//! `/v1/keys`: who may use the API.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{ApiKey, Role, Timestamp, Uuid};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::{Caller, NewSecret},
    body::{Body, name},
    changes::{Change, Editor},
    openapi::role,
    problem::Problem,
    query::{List, Params, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, remove))
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    id: Uuid,
    /// Whose things it opens; `null`: everybody's, and the node.
    tenant: Option<String>,
    /// For people.
    #[schema(example = "billing, read only")]
    name: String,
    #[schema(schema_with = role)]
    role: Role,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    /// From when on it opens nothing; `null`: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            tenant: key.tenant,
            name: key.name,
            role: key.role,
            created: key.created,
            expires: key.expires,
        }
    }
}

/// A new key, with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedKey {
    #[serde(flatten)]
    view: KeyView,
    /// What to send as `Authorization: Bearer KEY`. Shown this once.
    key: String,
}

/// A key to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// For people: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "billing, read only")]
    name: String,
    /// At most the role of who makes it.
    #[schema(schema_with = role)]
    role: Role,
    /// Whose things it opens; without it the tenant of who makes it, or the whole node.
    tenant: Option<String>,
    /// From when on it opens nothing; never unless told.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeysQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<Uuid>,
    /// Of this tenant.
    tenant: Option<String>,
}

/// The keys, oldest first.
#[utoipa::path(get, path = "/keys", tag = "keys", params(KeysQuery),
    security(("bearer" = ["admin"])), responses((status = 200, body = List<KeyView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<KeysQuery>,
) -> Result<Json<List<KeyView>>, Problem> {
    let limit = limit(query.limit)?;
    let tenant = caller.confine(query.tenant)?;
    let keys = state.store.keys(tenant.as_deref(), query.cursor, limit + 1);
    let keys = keys.await?;
    let views = keys.into_iter().map(KeyView::from);
    Ok(Json(List::cut(views, limit, |last| last.id.to_string())))
}

/// Makes a key. Its secret is shown this once.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = NewKey,
    security(("bearer" = ["admin"])), responses((status = 201, body = CreatedKey)))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewKey>,
) -> Result<impl IntoResponse, Problem> {
    if new.expires.is_some_and(|end| end <= Timestamp::now()) {
        return Err(Problem::bad_member("expires: it is over already"));
    }
    let tenant = editor.caller.confine(new.tenant)?;
    let key = ApiKey {
        id: Uuid::now_v7(),
        tenant,
        name: name(new.name)?,
        role: new.role,
        created: Timestamp::now(),
        expires: new.expires,
        operator: None,
    };
    let secret = NewSecret::random(key.id);
    match state.store.create_key(&key, &secret.hash).await {
        Ok(()) => {}
        Err(error) if error.is_rejection() => {
            return Err(Problem::bad_member("tenant: there is none of this id"));
        }
        Err(error) => return Err(error.into()),
    }
    let detail = json!({ "name": key.name, "role": key.role, "expires": key.expires });
    record(&state, &editor, "create", &key, detail).await;
    let place = format!("/v1/keys/{}", key.id);
    let created = CreatedKey {
        view: key.into(),
        key: secret.key,
    };
    let headers = [
        ("location", place),
        ("cache-control", "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, Json(created)))
}

/// A key, without its secret.
#[utoipa::path(get, path = "/keys/{id}", tag = "keys", params(("id" = Uuid, Path)),
    security(("bearer" = ["admin"])), responses(
        (status = 200, body = KeyView),
        (status = 404, description = "There is none of this id")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Json<KeyView>, Problem> {
    Ok(Json(find(&state, &caller, &id).await?.into()))
}

/// Removes a key: it opens nothing any more, at other processes within 5 s.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = Uuid, Path)),
    security(("bearer" = ["admin"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none of this id")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
) -> Result<StatusCode, Problem> {
    let key = find(&state, &editor.caller, &id).await?;
    let removed = state.store.remove_key(key.id).await;
    state.keys.forget(key.id);
    if !removed? {
        return Err(missing());
    }
    record(&state, &editor, "delete", &key, json!({ "name": key.name })).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The key of this id, where it exists for the caller.
async fn find(state: &State, caller: &Caller, id: &str) -> Result<ApiKey, Problem> {
    let id = Uuid::try_parse(id).map_err(|_| missing())?;
    let key = state.store.key(id).await?;
    key.map(|(key, _)| key)
        // What an operator signed in for ends by POST /v1/logout.
        .filter(|key| key.operator.is_none())
        .filter(|key| caller.sees(key.tenant.as_deref()))
        .ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::not_found("there is no key of this id; GET /v1/keys lists them")
}

async fn record(
    state: &State,
    editor: &Editor,
    action: &str,
    key: &ApiKey,
    detail: serde_json::Value,
) {
    let change = Change {
        action,
        kind: "keys",
        target: &key.id.to_string(),
        tenant: key.tenant.as_deref(),
        detail,
    };
    editor.record(state, change).await;
}
