//! `POST /v1/login` and `/v1/logout`: a key for a name and a password, for a day's work.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{self, ConnectInfo},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{ApiKey, Operator, Role, Timestamp, Uuid};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::{Caller, NewSecret},
    body::Body,
    changes::{Change, Editor, RequestId},
    openapi::role,
    password,
    problem::Problem,
    rules,
};

/// How long one stays signed in.
const SESSION: Duration = Duration::from_secs(8 * 3_600);

/// What is asked for without a key: it stands before no gate.
pub(crate) fn open_router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(login))
}

/// The other endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(logout))
        .routes(routes!(change_password))
}

/// Who wants to sign in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    #[schema(example = "ann@example.test")]
    name: String,
    #[schema(format = Password)]
    password: String,
}

/// Who is signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// What to send as `Authorization: Bearer KEY`.
    key: String,
    /// From when on it opens nothing.
    #[schema(value_type = String, format = DateTime)]
    expires: Timestamp,
    name: String,
    #[schema(schema_with = role)]
    role: Role,
    /// Whose things there are; `null`: everybody's, and the node.
    tenant: Option<String>,
}

/// Signs an operator in: a key for 8 hours. It ends sooner by `/v1/logout`, and when anything of the operator
/// is changed.
#[utoipa::path(post, path = "/login", tag = "operators", request_body = Login, security(()),
    responses(
        (status = 200, body = Session),
        (status = 401, description = "There is no such operator, or the password is another one"),
        (status = 429, description = "There were too many tries")))]
async fn login(
    extract::State(state): extract::State<Arc<State>>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    id: Option<extract::Extension<RequestId>>,
    Body(login): Body<Login>,
) -> Result<impl IntoResponse, Problem> {
    let name = login.name.to_ascii_lowercase();
    // Nothing is kept of a name that nobody can have, and it is not written into the log.
    if rules::operator(&name).is_err() {
        tracing::warn!(peer = %source, "a sign-in failed: the name is none that an operator can have");
        return Err(refused());
    }
    state.passwords.take(&name, source.ip())?;
    let known = state.store.operator(&name).await?;
    let (operator, hash) = known.unzip();
    let is_right = state.passwords.verify(login.password, hash).await?;
    // Who is disabled, or not there at all, is told nothing else.
    let operator = operator.filter(|operator| is_right && !operator.disabled);
    let Some(operator) = operator else {
        tracing::warn!(name, peer = %source, "a sign-in failed");
        return Err(refused());
    };

    let now = Timestamp::now();
    let expires = now.later(SESSION);
    let session = ApiKey {
        id: Uuid::now_v7(),
        tenant: operator.tenant.clone(),
        name: operator.name.clone(),
        role: operator.role,
        created: now,
        expires: Some(expires),
        operator: Some(operator.name.clone()),
    };
    let secret = NewSecret::random(session.id);
    let created = state
        .store
        .create_session(&session, &secret.hash, &operator);
    created.await?;
    let caller = Caller::of_key(&session);
    let id = id.map_or(String::new(), |extract::Extension(id)| id.0);
    let editor = Editor::new(caller, source, id);
    record(&state, &editor, "login").await;
    let session = Session {
        key: secret.key,
        expires,
        name: operator.name,
        role: operator.role,
        tenant: operator.tenant,
    };
    Ok(([("cache-control", "no-store")], Json(session)))
}

fn refused() -> Problem {
    Problem::unauthorized(
        "there is no operator of this name and password, or it is disabled",
        "Bearer realm=\"tandem\"",
    )
}

/// Ends what was begun by `/v1/login`: the key opens nothing any more, at other processes within 5 s.
#[utoipa::path(post, path = "/logout", tag = "operators", security(("bearer" = ["viewer"])),
    responses(
        (status = 204, description = "It is over"),
        (status = 409, description = "This is a key that nobody signed in for")))]
async fn logout(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
) -> Result<StatusCode, Problem> {
    let session = editor.caller.key.filter(|_| editor.caller.is_session);
    let session = session.ok_or_else(|| {
        Problem::conflict("nobody signed in for this key: DELETE /v1/keys/ID removes one")
    })?;
    let removed = state.store.remove_key(session).await;
    state.keys.forget(session);
    removed?;
    record(&state, &editor, "logout").await;
    Ok(StatusCode::NO_CONTENT)
}

/// A new password of who is signed in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The one of before.
    #[schema(format = Password)]
    old: String,
    /// 12 characters at least. Only a hash of it is kept.
    #[schema(format = Password, min_length = 12)]
    new: String,
}

/// Gives who is signed in another password. It ends all that the operator is signed in for, at other processes
/// within 5 s: sign in again.
#[utoipa::path(post, path = "/me/password", tag = "operators", request_body = PasswordChange,
    security(("bearer" = ["viewer"])), responses(
        (status = 204, description = "It is the new one"),
        (status = 409, description = "This is a key that nobody signed in for, or the operator was changed meanwhile"),
        (status = 422, description = "The old one is another one, or the new one cannot be"),
        (status = 429, description = "There were too many tries")))]
async fn change_password(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(change): Body<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let nobody = || {
        Problem::conflict(
            "nobody signed in for this key: PATCH /v1/operators/NAME gives another password",
        )
    };
    let name = editor.caller.operator().ok_or_else(nobody)?.to_owned();
    password::check("new", &change.new)?;
    state.passwords.take(&name, editor.source.ip())?;
    let known = state.store.operator(&name).await?;
    let (before, hash) = known.ok_or_else(nobody)?;
    if !state.passwords.verify(change.old, Some(hash)).await? {
        tracing::warn!(name, peer = %editor.source, "a change of password failed: the old one is wrong");
        return Err(Problem::bad_member("old: that is not the password"));
    }
    let hash = state.passwords.hash(change.new).await?;
    let since = before.updated;
    let after = Operator {
        updated: since.next(),
        ..before
    };
    let changing = state.store.change_operator(&after, Some(&hash), since);
    let done = changing.await;
    state.keys.forget_all();
    if !done? {
        return Err(Problem::conflict(
            "the operator was changed meanwhile: sign in again",
        ));
    }
    let detail = json!({ "password": "(changed)" });
    state.record(&editor, "update", &after, detail).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn record(state: &State, editor: &Editor, action: &str) {
    let caller = &editor.caller;
    let change = Change {
        action,
        kind: "operators",
        target: caller.operator().unwrap_or(&caller.actor),
        tenant: caller.tenant.as_deref(),
        detail: json!({}),
    };
    editor.record(state, change).await;
}
