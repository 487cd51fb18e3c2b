//! `/v1/erasures`: takes a number or a user out of what is kept of calls and messages.

use std::sync::Arc;

use axum::{Json, extract};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Subject, Uuid};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    body::Body,
    changes::{Change, Editor},
    problem::Problem,
    recordings,
};

/// Octets of a number or an address at most.
const MOST: usize = 256;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Who is to be erased: a number or a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewErasure {
    /// As records have it; with and without its plus.
    #[schema(example = "+15550100")]
    number: Option<String>,
    /// Calls and messages of it. Its numbers are erased by themselves.
    #[schema(example = "alice@example.test")]
    user: Option<String>,
    /// Only in what is this tenant's.
    tenant: Option<String>,
}

/// What was erased.
#[derive(Serialize, ToSchema)]
pub(crate) struct Erased {
    /// By which the record of changes names it: that has neither number nor user.
    id: Uuid,
    /// Records of calls in which it was the caller.
    as_caller: u64,
    /// Records of calls in which it was called, or answered.
    as_callee: u64,
    /// Messages from it or to it, which are gone.
    messages: u64,
    /// Events that waited for webhooks, which are gone.
    events: u64,
    /// Recordings of calls of which it was a party, which are gone.
    recordings: u64,
    /// Entries of what happened to calls that name it, such as a transfer to it, which are gone.
    call_events: u64,
}

/// Erases a number or a user. Records of calls stay with `erased` in the place of the party, and of a caller
/// without source and Call-ID; messages that wait for delivery, events that wait for webhooks, recordings of its
/// calls and transfers of others to it go. What is set up for it (users, numbers, blocks) and the record of changes
/// stay. It may be done again.
#[utoipa::path(post, path = "/erasures", tag = "erasures", request_body = NewErasure,
    security(("bearer" = ["admin"])), responses(
        (status = 200, body = Erased),
        (status = 422, description = "It is neither a number nor a user")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewErasure>,
) -> Result<Json<Erased>, Problem> {
    let tenant = editor.caller.confine(new.tenant)?;
    let (subject, kind) = match (new.number, new.user) {
        (Some(number), None) => (Subject::Number(checked("number", number)?), "number"),
        (None, Some(user)) => (Subject::User(address(&user)?), "user"),
        _ => return Err(Problem::bad_member("number, user: name one of them")),
    };
    let done = state.store.erase(&subject, tenant.as_deref()).await?;
    recordings::sweep(&state).await;
    let erased = Erased {
        id: Uuid::now_v7(),
        as_caller: done.as_caller,
        as_callee: done.as_callee,
        messages: done.messages,
        events: done.events,
        recordings: done.recordings,
        call_events: done.call_events,
    };
    let change = Change {
        action: "erase",
        kind: "erasures",
        target: &erased.id.to_string(),
        tenant: tenant.as_deref(),
        detail: json!({
            "of": kind,
            "as_caller": erased.as_caller,
            "as_callee": erased.as_callee,
            "messages": erased.messages,
            "events": erased.events,
            "recordings": erased.recordings,
            "call_events": erased.call_events,
        }),
    };
    editor.record(&state, change).await;
    Ok(Json(erased))
}

/// A text that could be somebody's: not what many would match.
fn checked(member: &str, text: String) -> Result<String, Problem> {
    let is_one = (1..=MOST).contains(&text.trim_start_matches('+').len())
        && text
            .chars()
            .all(|letter| !letter.is_whitespace() && !letter.is_control())
        && text != store::ERASED;
    if is_one {
        return Ok(text);
    }
    let detail = format!("{member}: 1 to {MOST} letters and digits, as records have it");
    Err(Problem::bad_member(detail))
}

/// `alice@example.test`, the domain in lower case as it is stored.
fn address(user: &str) -> Result<String, Problem> {
    let parts = user.rsplit_once('@');
    let parts = parts.filter(|(name, domain)| !name.is_empty() && !domain.is_empty());
    let (name, domain) =
        parts.ok_or_else(|| Problem::bad_member("user: write it as alice@example.test"))?;
    checked("user", format!("{name}@{}", domain.to_ascii_lowercase()))
}
