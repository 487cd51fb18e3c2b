//! `/v1/keys`: who may use the API.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{ApiKey, Role, Store, StoreError, Timestamp, Uuid};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::{Caller, NewSecret},
    body::{Body, name},
    changes::Editor,
    openapi::role,
    problem::Problem,
    query::{List, Params},
    thing::{Thing, ThingsQuery, not_taken, place},
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

/// The keys, oldest first.
#[utoipa::path(get, path = "/keys", tag = "keys", params(ThingsQuery),
    security(("bearer" = ["admin"])), responses((status = 200, body = List<KeyView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<ThingsQuery>,
) -> Result<Json<List<KeyView>>, Problem> {
    let wanted = query.of(&caller)?;
    let after = wanted.after_id()?;
    let keys = state
        .store
        .keys(wanted.tenant.as_deref(), after, wanted.most());
    Ok(wanted.page(keys.await?))
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
    let created = state.store.create_key(&key, &secret.hash).await;
    created.map_err(not_taken)?;
    let detail = json!({ "name": key.name, "role": key.role, "expires": key.expires });
    state.record(&editor, "create", &key, detail).await;
    let headers = [place(&key), ("cache-control", "no-store".to_owned())];
    let created = CreatedKey {
        view: key.into(),
        key: secret.key,
    };
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
    Ok(Json(state.find::<ApiKey>(&caller, &id).await?.into()))
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
    let key: ApiKey = state.find(&editor.caller, &id).await?;
    let removed = state.store.remove_key(key.id).await;
    state.keys.forget(key.id);
    if !removed? {
        return Err(Problem::not_found(ApiKey::MISSING));
    }
    let detail = json!({ "name": key.name });
    state.record(&editor, "delete", &key, detail).await;
    Ok(StatusCode::NO_CONTENT)
}

impl Thing for ApiKey {
    const KIND: &'static str = "keys";
    const MISSING: &'static str = "there is no key of this id; GET /v1/keys lists them";

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// A key is never changed.
    fn updated(&self) -> Timestamp {
        self.created
    }

    async fn find(store: &Store, id: &str) -> Result<Option<Self>, StoreError> {
        let Ok(id) = Uuid::try_parse(id) else {
            return Ok(None);
        };
        let key = store.key(id).await?.map(|(key, _)| key);
        // What an operator signed in for ends by POST /v1/logout.
        Ok(key.filter(|key| key.operator.is_none()))
    }
}
