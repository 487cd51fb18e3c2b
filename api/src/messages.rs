//! `/v1/messages`: what is kept for users who are away.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Message, Timestamp, Uuid};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    changes::{Change, Editor},
    domains::Owners,
    problem::Problem,
    query::{List, Params, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, remove))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<Uuid>,
    /// For this user: `alice@example.test`.
    recipient: Option<String>,
    /// For users of this tenant's domains.
    tenant: Option<String>,
}

/// A message that waits for its recipient, without what it says.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessageView {
    id: Uuid,
    /// For whom it is kept.
    #[schema(example = "alice@example.test")]
    recipient: String,
    /// As its header field From has it.
    from: String,
    /// Likewise To.
    to: String,
    content_type: String,
    /// How long what it says is.
    bytes: usize,
    #[schema(value_type = String, format = DateTime)]
    received: Timestamp,
}

/// A message, with what it says.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeMessage {
    #[serde(flatten)]
    view: MessageView,
    /// `null` where it is no UTF-8.
    text: Option<String>,
}

impl From<&Message> for MessageView {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id,
            recipient: message.recipient.clone(),
            from: message.from.clone(),
            to: message.to.clone(),
            content_type: message.content_type.clone(),
            bytes: message.body.len(),
            received: message.received,
        }
    }
}

/// The messages that wait for users who are away, oldest first. One is delivered when a phone of its recipient
/// registers, and gone then.
#[utoipa::path(get, path = "/messages", tag = "messages", params(MessagesQuery),
    security(("bearer" = ["viewer"])), responses((status = 200, body = List<MessageView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<MessagesQuery>,
) -> Result<Json<List<MessageView>>, Problem> {
    let limit = limit(query.limit)?;
    let tenant = caller.confine(query.tenant)?;
    let (recipient, tenant) = (query.recipient.as_deref(), tenant.as_deref());
    let messages = state
        .store
        .kept_messages(recipient, tenant, query.cursor, limit + 1);
    let messages = messages.await?;
    let views = messages.iter().map(MessageView::from);
    Ok(Json(List::cut(views, limit, |last| last.id.to_string())))
}

/// A message that waits, with what it says.
#[utoipa::path(get, path = "/messages/{id}", tag = "messages", params(("id" = Uuid, Path)),
    security(("bearer" = ["operator"])), responses(
        (status = 200, body = WholeMessage),
        (status = 404, description = "None of this id waits")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Json<WholeMessage>, Problem> {
    let (message, _) = find(&state, &caller, &id).await?;
    Ok(Json(WholeMessage {
        view: MessageView::from(&message),
        text: String::from_utf8(message.body).ok(),
    }))
}

/// Removes a message: it is not delivered, unless that has begun.
#[utoipa::path(delete, path = "/messages/{id}", tag = "messages", params(("id" = Uuid, Path)),
    security(("bearer" = ["operator"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "None of this id waits")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
) -> Result<StatusCode, Problem> {
    let (message, tenant) = find(&state, &editor.caller, &id).await?;
    if !state.store.forget_message(message.id).await? {
        return Err(missing());
    }
    let change = Change {
        action: "delete",
        kind: "messages",
        target: &message.id.to_string(),
        tenant: Some(&tenant),
        detail: json!({}),
    };
    editor.record(&state, change).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The message of this id, where the caller may see it, and whose it is.
async fn find(state: &State, caller: &Caller, id: &str) -> Result<(Message, String), Problem> {
    let id = Uuid::try_parse(id).map_err(|_| missing())?;
    let message = state.store.kept_message(id).await?.ok_or_else(missing)?;
    let owner = Owners::default().of_user(state, &message.recipient).await?;
    if !caller.sees(Some(&owner)) {
        return Err(missing());
    }
    Ok((message, owner))
}

fn missing() -> Problem {
    Problem::not_found("no message of this id waits; GET /v1/messages lists those that do")
}
