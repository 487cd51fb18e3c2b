//! `/v1/operators`: people who sign in with a name and a password.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Operator, Role, Store, StoreError, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    body::Body,
    changes::Editor,
    edited::{IfMatch, Tagged},
    openapi::role,
    password,
    problem::Problem,
    query::{List, Params},
    rules,
    thing::{Thing, ThingsQuery, created, not_taken, shown, unchanged},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, change, remove))
}

/// An operator, without the password.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorView {
    /// What the operator signs in with; stays.
    #[schema(example = "ann@example.test")]
    name: String,
    /// Whose things there are for the operator; `null`: everybody's, and the node.
    tenant: Option<String>,
    #[schema(schema_with = role)]
    role: Role,
    /// Whether signing in is refused.
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
}

impl From<Operator> for OperatorView {
    fn from(operator: Operator) -> Self {
        Self {
            name: operator.name,
            tenant: operator.tenant,
            role: operator.role,
            disabled: operator.disabled,
            created: operator.created,
            updated: operator.updated,
        }
    }
}

/// An operator to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOperator {
    /// 1 to 64 letters, digits, `.`, `_`, `-`, `+` and `@`, of which case does not matter; stays.
    #[schema(pattern = "^[A-Za-z0-9._+@-]{1,64}$", example = "ann@example.test")]
    name: String,
    /// 12 characters at least. Only a hash of it is kept.
    #[schema(format = Password, min_length = 12)]
    password: String,
    #[schema(schema_with = role)]
    role: Role,
    /// Whose things there are; without it the tenant of who adds the operator, or the whole node. Stays.
    tenant: Option<String>,
    /// Whether signing in is refused; not unless told.
    #[serde(default)]
    disabled: bool,
}

/// What can be changed of an operator; what is left out stays. Each change ends what the operator is signed in
/// for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorChange {
    /// 12 characters at least.
    #[schema(format = Password, min_length = 12)]
    password: Option<String>,
    #[schema(schema_with = role)]
    role: Option<Role>,
    /// Whether signing in is refused.
    disabled: Option<bool>,
}

/// The operators, by name.
#[utoipa::path(get, path = "/operators", tag = "operators", params(ThingsQuery),
    security(("bearer" = ["admin"])), responses((status = 200, body = List<OperatorView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<ThingsQuery>,
) -> Result<Json<List<OperatorView>>, Problem> {
    let wanted = query.of(&caller)?;
    let operators = state
        .store
        .operators(wanted.tenant.as_deref(), &wanted.after, wanted.most());
    Ok(wanted.page(operators.await?))
}

/// Adds an operator.
#[utoipa::path(post, path = "/operators", tag = "operators", request_body = NewOperator,
    security(("bearer" = ["admin"])), responses(
        (status = 201, body = OperatorView),
        (status = 409, description = "There is one of this name")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewOperator>,
) -> Result<impl IntoResponse, Problem> {
    let name = new.name.to_ascii_lowercase();
    rules::operator(&name).map_err(Problem::bad_member)?;
    password::check("password", &new.password)?;
    let now = Timestamp::now();
    let operator = Operator {
        name,
        tenant: editor.caller.confine(new.tenant)?,
        role: new.role,
        disabled: new.disabled,
        created: now,
        updated: now,
    };
    let hash = state.passwords.hash(new.password).await?;
    let is_new = state.store.create_operator(&operator, &hash).await;
    if !is_new.map_err(not_taken)? {
        let detail = format!("the name '{}' is taken", operator.name);
        return Err(Problem::conflict(detail));
    }
    let detail = json!({ "role": operator.role, "disabled": operator.disabled });
    state.record(&editor, "create", &operator, detail).await;
    Ok(created::<_, OperatorView>(operator))
}

/// An operator.
#[utoipa::path(get, path = "/operators/{name}", tag = "operators", params(("name" = String, Path)),
    security(("bearer" = ["admin"])), responses(
        (status = 200, body = OperatorView),
        (status = 404, description = "There is none of this name")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
    caller: Caller,
) -> Result<Tagged<OperatorView>, Problem> {
    Ok(shown(state.find::<Operator>(&caller, &name).await?))
}

/// Changes an operator. What is left out stays; whoever is signed in by the name is not any more, at other
/// processes within 5 s.
#[utoipa::path(patch, path = "/operators/{name}", tag = "operators", params(("name" = String, Path)),
    request_body = OperatorChange, security(("bearer" = ["admin"])), responses(
        (status = 200, body = OperatorView),
        (status = 404, description = "There is none of this name"),
        (status = 412, description = "It is not as If-Match says")))]
async fn change(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(change): Body<OperatorChange>,
) -> Result<Tagged<OperatorView>, Problem> {
    let before: Operator = state.seen(&editor, &name, &if_match).await?;
    let detail = json!({
        "password": change.password.as_ref().map(|_| "(changed)"),
        "role": change.role,
        "disabled": change.disabled,
    });
    let hash = match change.password {
        Some(password) => {
            password::check("password", &password)?;
            Some(state.passwords.hash(password).await?)
        }
        None => None,
    };
    let since = before.updated;
    let after = Operator {
        role: change.role.unwrap_or(before.role),
        disabled: change.disabled.unwrap_or(before.disabled),
        updated: since.next(),
        ..before
    };
    let changing = state.store.change_operator(&after, hash.as_deref(), since);
    let done = changing.await;
    state.keys.forget_all();
    unchanged(done)?;
    state.record(&editor, "update", &after, detail).await;
    Ok(shown(after))
}

/// Removes an operator: whoever is signed in by the name is not any more, at other processes within 5 s.
#[utoipa::path(delete, path = "/operators/{name}", tag = "operators", params(("name" = String, Path)),
    security(("bearer" = ["admin"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none of this name")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let before: Operator = state.seen(&editor, &name, &if_match).await?;
    let removed = state
        .store
        .remove_operator(&before.name, before.updated)
        .await;
    state.keys.forget_all();
    unchanged(removed)?;
    state.record(&editor, "delete", &before, json!({})).await;
    Ok(StatusCode::NO_CONTENT)
}

impl Thing for Operator {
    const KIND: &'static str = "operators";
    const MISSING: &'static str = "there is no operator of this name; GET /v1/operators lists them";

    fn key(&self) -> String {
        self.name.clone()
    }

    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn updated(&self) -> Timestamp {
        self.updated
    }

    async fn find(store: &Store, name: &str) -> Result<Option<Self>, StoreError> {
        let known = store.operator(&name.to_ascii_lowercase()).await?;
        Ok(known.map(|(operator, _)| operator))
    }
}
