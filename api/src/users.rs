//! `/v1/users`: who may register, call and be called.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use control::{
    config::{Forward, Profile},
    signal::{NewUser as Wanted, Request, Response, Secret, UserChange, UserOrder},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Timestamp, User};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    asked::unexpected,
    body::{Body, given},
    changes::{Change, Editor},
    domains::Owners,
    edited::{IfMatch, Tagged},
    problem::Problem,
    query::{List, Params, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, change, remove))
}

/// A user, without what proves who it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserView {
    /// The address of record.
    #[schema(example = "alice@example.test")]
    user: String,
    /// Whose domain it is of.
    tenant: String,
    /// What callees may be shown.
    display: Option<String>,
    /// Whether it may register, call and be called.
    enabled: bool,
    /// Contacts at most; `null` for what `[sip.registrar]` says.
    max_contacts: Option<u32>,
    /// Where its calls go on to, by whichever number or name it is called.
    forward: Forward,
    /// Seconds that its phones ring; `null` for 60, or 20 where it is forwarded on no answer.
    ring_timeout: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
}

impl UserView {
    fn new(user: User, tenant: String) -> Self {
        let profile: Profile = serde_json::from_str(&user.profile).unwrap_or_default();
        Self {
            user: format!("{}@{}", user.name, user.domain),
            tenant,
            display: user.display,
            enabled: user.enabled,
            max_contacts: profile.max_contacts,
            forward: profile.forward,
            ring_timeout: profile.ring_timeout,
            created: user.created,
            updated: user.updated,
        }
    }
}

/// A user to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// The address of record.
    #[schema(example = "alice@example.test")]
    user: String,
    /// Only hashes of it are kept.
    #[schema(format = Password, example = "a long one")]
    password: String,
    /// What callees may be shown.
    display: Option<String>,
    /// Whether it may register, call and be called; it may unless told.
    #[serde(default = "yes")]
    enabled: bool,
    /// Contacts at most; what `[sip.registrar]` says unless told.
    #[schema(minimum = 1)]
    max_contacts: Option<u32>,
    /// Where its calls go on to.
    #[serde(default)]
    forward: Forward,
    /// Seconds that its phones ring; 60 unless told, or 20 where it is forwarded on no answer.
    #[schema(minimum = 1, maximum = 3_600)]
    ring_timeout: Option<u32>,
}

const fn yes() -> bool {
    true
}

/// What is to be changed of a user: what is left out stays (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedUser {
    /// Who registered with the one of before loses that registration.
    #[schema(format = Password)]
    password: Option<String>,
    /// `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    display: Option<Option<String>>,
    enabled: Option<bool>,
    /// `null` for what `[sip.registrar]` says.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_contacts: Option<Option<u32>>,
    /// All cases at once; `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Forward>)]
    forward: Option<Option<Forward>>,
    /// `null` for what is usual.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 3_600)]
    ring_timeout: Option<Option<u32>>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsersQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Of this tenant.
    tenant: Option<String>,
}

/// The users, by domain and name.
#[utoipa::path(get, path = "/users", tag = "users", params(UsersQuery),
    security(("bearer" = ["viewer"])), responses((status = 200, body = List<UserView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<UsersQuery>,
) -> Result<Json<List<UserView>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.cursor.map(|cursor| parts(&cursor)).transpose();
    let after =
        after.map_err(|_| Problem::bad_parameter(format!("cursor: {}", store::CursorError)))?;
    let (name, domain) = after.unwrap_or_default();
    let after = (domain.as_str(), name.as_str());
    let users = match caller.confine(query.tenant)? {
        None => state.store.list_users(after, limit + 1).await,
        Some(tenant) => {
            let users = state.store.tenants_users(&tenant, after, limit + 1);
            users.await
        }
    };
    let users = users?;
    let mut owners = Owners::default();
    let mut views = Vec::with_capacity(users.len());
    for user in users {
        let tenant = owners.of(&state, &user.domain).await?;
        views.push(UserView::new(user, tenant));
    }
    let views = views.into_iter();
    Ok(Json(List::cut(views, limit, |last| last.user.clone())))
}

/// Adds a user, which may register at once. A domain that is new becomes one of the node's.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    security(("bearer" = ["operator"])), responses(
        (status = 201, body = UserView),
        (status = 409, description = "There is one of this name"),
        (status = 422, description = "Something of it cannot be")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewUser>,
) -> Result<impl IntoResponse, Problem> {
    let (name, domain) = parts(&new.user)?;
    let tenant = Owners::default().of(&state, &domain).await?;
    if !editor.caller.sees(Some(&tenant)) {
        return Err(Problem::bad_member(
            "user: its domain is not your tenant's; GET /v1/domains lists those that are",
        ));
    }
    if find(&state, &name, &domain).await?.is_some() {
        return Err(Problem::conflict(format!(
            "there is a user {name}@{domain} already; PATCH changes it"
        )));
    }
    let order = UserOrder::Add(Wanted {
        user: format!("{name}@{domain}"),
        password: Secret::new(new.password),
        display: new.display,
        enabled: new.enabled,
        max_contacts: new.max_contacts,
        forward: new.forward.into(),
        ring_timeout: new.ring_timeout,
    });
    obey(&state, order).await?;
    let user = find(&state, &name, &domain).await?.ok_or_else(missing)?;
    let view = UserView::new(user, tenant);
    let detail =
        json!({ "display": view.display, "enabled": view.enabled, "forward": view.forward });
    record(&state, &editor, "create", &view, detail).await;
    let place = format!("/v1/users/{}", view.user);
    let created = Tagged(view.updated, view);
    Ok((StatusCode::CREATED, [("location", place)], created))
}

/// A user.
#[utoipa::path(get, path = "/users/{user}", tag = "users",
    params(("user" = String, Path, description = "alice@example.test")),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = UserView),
        (status = 404, description = "There is none of this name")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(user): extract::Path<String>,
    caller: Caller,
) -> Result<Tagged<UserView>, Problem> {
    let view = seen(&state, &caller, &user).await?;
    Ok(Tagged(view.updated, view))
}

/// Changes a user. What is left out stays.
#[utoipa::path(patch, path = "/users/{user}", tag = "users",
    params(("user" = String, Path, description = "alice@example.test")),
    request_body = ChangedUser, security(("bearer" = ["operator"])), responses(
        (status = 200, body = UserView),
        (status = 404, description = "There is none of this name"),
        (status = 412, description = "It is not as If-Match says"),
        (status = 422, description = "Something of it cannot be")))]
async fn change(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(user): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(change): Body<ChangedUser>,
) -> Result<Tagged<UserView>, Problem> {
    let before = seen(&state, &editor.caller, &user).await?;
    if_match.check(before.updated)?;
    let detail = json!({
        "password": change.password.as_ref().map(|_| "(changed)"),
        "display": change.display,
        "enabled": change.enabled,
        "max_contacts": change.max_contacts,
        "forward": change.forward,
        "ring_timeout": change.ring_timeout,
    });
    let order = UserOrder::Change(UserChange {
        user: before.user.clone(),
        password: change.password.map(Secret::new),
        display: change.display.map(Option::unwrap_or_default),
        enabled: change.enabled,
        max_contacts: change.max_contacts.map(Option::unwrap_or_default),
        forward: change
            .forward
            .map(|forward| forward.unwrap_or_default().into()),
        ring_timeout: change.ring_timeout.map(Option::unwrap_or_default),
        unchanged_since: Some(before.updated.millis()),
    });
    obey(&state, order).await?;
    let view = seen(&state, &editor.caller, &user).await?;
    record(&state, &editor, "update", &view, detail).await;
    Ok(Tagged(view.updated, view))
}

/// Removes a user, with what it has registered. Calls that are up go on.
#[utoipa::path(delete, path = "/users/{user}", tag = "users",
    params(("user" = String, Path, description = "alice@example.test")),
    security(("bearer" = ["operator"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none of this name")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(user): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let view = seen(&state, &editor.caller, &user).await?;
    if_match.check(view.updated)?;
    let order = UserOrder::Remove {
        user: view.user.clone(),
        unchanged_since: Some(view.updated.millis()),
    };
    obey(&state, order).await?;
    record(&state, &editor, "delete", &view, json!({})).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The user of this address, where it exists for the caller.
async fn seen(state: &State, caller: &Caller, user: &str) -> Result<UserView, Problem> {
    let (name, domain) = parts(user).map_err(|_| missing())?;
    let tenant = Owners::default().of(state, &domain).await?;
    let user = find(state, &name, &domain).await?;
    user.filter(|_| caller.sees(Some(&tenant)))
        .map(|user| UserView::new(user, tenant))
        .ok_or_else(missing)
}

async fn find(state: &State, name: &str, domain: &str) -> Result<Option<User>, Problem> {
    let users = state.store.users(&[(domain, name)]).await?;
    Ok(users.into_iter().next())
}

async fn obey(state: &State, order: UserOrder) -> Result<(), Problem> {
    match state.ask(Request::User(order)).await? {
        Response::User(done) => {
            for warning in done.warnings {
                tracing::warn!(user = done.user, "{warning}");
            }
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// Name and domain, as the store has them.
fn parts(user: &str) -> Result<(String, String), Problem> {
    let parts = user.rsplit_once('@');
    let parts = parts.filter(|(name, domain)| !name.is_empty() && !domain.is_empty());
    let (name, domain) =
        parts.ok_or_else(|| Problem::bad_member("user: write it as alice@example.test"))?;
    Ok((name.to_owned(), domain.to_ascii_lowercase()))
}

fn missing() -> Problem {
    Problem::not_found("there is no user of this address; GET /v1/users lists them")
}

async fn record(state: &State, editor: &Editor, action: &str, view: &UserView, detail: Value) {
    let change = Change {
        action,
        kind: "users",
        target: &view.user,
        tenant: Some(&view.tenant),
        detail,
    };
    editor.record(state, change).await;
}
