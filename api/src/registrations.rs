//! `/v1/registrations`: what phones have registered.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode};
use control::signal::{BindingInfo, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    asked::unexpected,
    changes::{Change, Editor},
    domains,
    problem::Problem,
    query::{List, Params, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(remove))
}

/// A contact that a phone has registered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Registration {
    /// The user's address of record.
    #[schema(example = "alice@example.test")]
    user: String,
    /// The URI of its Contact.
    #[schema(example = "sip:alice@192.0.2.1:5060")]
    contact: String,
    /// Its preference, 0 to 1; `null` where it names none.
    q: Option<f64>,
    /// Where it came from.
    #[schema(example = "udp:192.0.2.1:5060")]
    source: String,
    /// Empty where it names none.
    user_agent: String,
    /// Seconds that are left.
    expires_s: u32,
}

impl From<BindingInfo> for Registration {
    fn from(binding: BindingInfo) -> Self {
        Self {
            user: binding.user,
            contact: binding.contact,
            q: binding.q.map(|q| f64::from(q) / 1000.0),
            source: binding.source,
            user_agent: binding.user_agent,
            expires_s: binding.expires_s,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RegistrationsQuery {
    /// Users, 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemovalQuery {
    /// Only this one, as in `contact`; all of the user's unless told.
    contact: Option<String>,
}

/// What phones have registered, by user: whole users only, so that a page may have more than `limit`.
#[utoipa::path(get, path = "/registrations", tag = "registrations", params(RegistrationsQuery),
    security(("bearer" = ["viewer"])), responses((status = 200, body = List<Registration>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<RegistrationsQuery>,
) -> Result<Json<List<Registration>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.cursor.unwrap_or_default();
    let request = Request::Registrations { after, limit };
    let bindings = match state.ask(request).await? {
        Response::Registrations(bindings) => bindings,
        other => return Err(unexpected(&other)),
    };
    let mut users: Vec<&str> = bindings.iter().map(|one| one.user.as_str()).collect();
    users.dedup();
    let is_full = users.len() >= limit as usize;
    let next = users
        .last()
        .filter(|_| is_full)
        .map(|user| (*user).to_owned());
    let mut items = Vec::with_capacity(bindings.len());
    let mut owners = domains::Owners::default();
    for binding in bindings {
        let tenant = owners.of_user(&state, &binding.user).await?;
        if caller.sees(Some(&tenant)) {
            items.push(binding.into());
        }
    }
    Ok(Json(List { items, next }))
}

/// Takes away what a user has registered, as if it had expired. The phone may register anew.
#[utoipa::path(delete, path = "/registrations/{user}", tag = "registrations",
    params(("user" = String, Path, description = "alice@example.test"), RemovalQuery),
    security(("bearer" = ["operator"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "The user has registered no such thing")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(user): extract::Path<String>,
    editor: Editor,
    Params(query): Params<RemovalQuery>,
) -> Result<StatusCode, Problem> {
    let missing = || {
        let detail = format!("'{user}' has registered no such thing; list the registrations");
        Problem::not_found(detail)
    };
    // signaling would take a name alone for one of its first domain, whosever that is.
    if !user.contains('@') {
        return Err(missing());
    }
    let tenant = domains::Owners::default().of_user(&state, &user).await?;
    if !editor.caller.sees(Some(&tenant)) {
        return Err(missing());
    }
    let request = Request::Unregister {
        user: user.clone(),
        contact: query.contact.clone(),
    };
    state.ask(request).await?;
    let change = Change {
        action: "delete",
        kind: "registrations",
        target: &user,
        tenant: Some(&tenant),
        detail: json!({ "contact": query.contact }),
    };
    editor.record(&state, change).await;
    Ok(StatusCode::NO_CONTENT)
}
