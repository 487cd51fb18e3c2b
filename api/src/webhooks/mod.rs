//! `/v1/webhooks`: who is told of events over HTTP.

mod deliver;
mod public;
mod signature;

use std::sync::Arc;

use axum::{
    Json, extract,
    http::{StatusCode, Uri},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Delivery, Store, StoreError, Timestamp, Uuid, Webhook};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::signature::Secret;
use crate::{
    State,
    access::Caller,
    body::Body,
    changes::Editor,
    edited::{IfMatch, Tagged},
    events::{MEASURED, Wanted},
    problem::Problem,
    query::{List, Params, limit},
    thing::{Thing, ThingsQuery, not_taken, place, shown, unchanged},
};

pub(crate) use deliver::{Bell, Teller};
pub(crate) use public::leads_home;

/// Characters of a URL at most.
const URL: usize = 2_000;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, change, remove))
        .routes(routes!(test))
        .routes(routes!(failures))
        .routes(routes!(replay))
}

/// Who is told, without the secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookView {
    id: Uuid,
    /// Whose calls and registrations it is told of; `null`: all, and the node's trunks and bans.
    tenant: Option<String>,
    #[schema(example = "https://example.com/tandem")]
    url: String,
    /// The types of events, or what is before their dot; all where there is none.
    #[schema(example = json!(["call", "ban.added"]))]
    types: Vec<String>,
    /// Whether it is told at all. A receiver that answers 410 ends that.
    enabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id,
            tenant: webhook.tenant,
            url: webhook.url,
            types: webhook.types,
            enabled: webhook.enabled,
            created: webhook.created,
            updated: webhook.updated,
        }
    }
}

/// A new webhook, with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedWebhook {
    #[serde(flatten)]
    view: WebhookView,
    /// What requests are signed with, as any library for Standard Webhooks takes it. Shown this once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// A webhook to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// Whose calls and registrations it is told of; of all and of the node unless told, with a tenant's key of
    /// that tenant. Stays.
    tenant: Option<String>,
    /// `http` or `https`, 2,000 characters at most; with a tenant, at a public address.
    #[schema(example = "https://example.com/tandem")]
    url: String,
    /// The types of events, or what is before their dot; all unless told. Never `quality.measured`: that is for who
    /// listens at `/v1/events`.
    #[serde(default)]
    #[schema(example = json!(["call", "ban.added"]))]
    types: Vec<String>,
    /// Whether it is told at all; it is unless told.
    #[serde(default = "on")]
    enabled: bool,
}

/// A webhook as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookEdit {
    /// `http` or `https`, 2,000 characters at most.
    #[schema(example = "https://example.com/tandem")]
    url: String,
    /// The types of events, or what is before their dot; all unless told. Never `quality.measured`: that is for who
    /// listens at `/v1/events`.
    #[serde(default)]
    #[schema(example = json!(["call", "ban.added"]))]
    types: Vec<String>,
    /// Whether it is told at all; it is unless told.
    #[serde(default = "on")]
    enabled: bool,
}

fn on() -> bool {
    true
}

fn check(url: &str, types: &[String], tenant: Option<&str>) -> Result<(), Problem> {
    let uri: Option<Uri> = url.parse().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    if uri.as_ref().and_then(Uri::host).is_none() || url.chars().count() > URL {
        return Err(Problem::bad_member(
            "url: an http or https URL of 2000 characters at most",
        ));
    }
    if tenant.is_some() && public::leads_home(url) {
        return Err(Problem::bad_member(
            "url: a tenant's webhook is at a public address, and this one is not",
        ));
    }
    // Each is of up to 1,024 calls, and would be stored for each webhook, several times in a second.
    if types.iter().any(|name| name == MEASURED) {
        return Err(Problem::bad_member(format!(
            "types: '{MEASURED}' comes all the time, and webhooks are not told of it: listen at /v1/events"
        )));
    }
    let types = Wanted::new(types.to_vec(), None);
    types.map_err(|error| Problem::bad_member(format!("types: {error}")))?;
    Ok(())
}

/// An event that a webhook was not told, and that is given up.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure {
    id: Uuid,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// How often it was tried.
    attempts: u32,
    /// What went wrong the last time.
    #[schema(example = "it answered 503 Service Unavailable")]
    error: String,
    /// As it was posted.
    #[schema(value_type = Object)]
    event: Value,
}

impl From<Delivery> for Failure {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            time: delivery.created,
            attempts: delivery.attempts,
            error: delivery.error,
            event: serde_json::from_str(&delivery.body).unwrap_or_default(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FailuresQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<Uuid>,
}

/// What is to be tried again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    /// The failure; all of them unless told.
    id: Option<Uuid>,
}

/// What is tried again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Replayed {
    events: u64,
}

/// The webhooks, oldest first.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(ThingsQuery),
    security(("bearer" = ["developer"])),
    responses((status = 200, body = List<WebhookView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<ThingsQuery>,
) -> Result<Json<List<WebhookView>>, Problem> {
    let wanted = query.of(&caller)?;
    let after = wanted.after_id()?;
    let webhooks = state
        .store
        .webhooks(wanted.tenant.as_deref(), after, wanted.most());
    Ok(wanted.page(webhooks.await?))
}

/// Adds a webhook: from now on each event is posted to it as JSON, signed as Standard Webhooks says
/// (`webhook-id`, `webhook-timestamp`, `webhook-signature`). Any answer of 2xx within 15 s takes it; else it is
/// tried again, eight times within 21 hours. An event may come twice, with the same `webhook-id`, and not in
/// order. The secret is shown this once.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = NewWebhook,
    security(("bearer" = ["developer"])), responses(
        (status = 201, body = CreatedWebhook),
        (status = 409, description = "There are 100 of this tenant, or of the node, already"),
        (status = 422, description = "It cannot be, or there is no such tenant")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewWebhook>,
) -> Result<impl IntoResponse, Problem> {
    let tenant = editor.caller.confine(new.tenant)?;
    check(&new.url, &new.types, tenant.as_deref())?;
    // One tenant's do not take the others' places.
    let all = state.store.webhooks(None, None, deliver::MOST_WEBHOOKS);
    let all = all.await?;
    let own = all.iter().filter(|webhook| webhook.tenant == tenant);
    let most = deliver::WEBHOOKS;
    if own.count() >= most || all.len() >= deliver::MOST_WEBHOOKS as usize {
        return Err(Problem::conflict(format!(
            "there are as many webhooks as there may be: {most} of a tenant or of the node, {} in all",
            deliver::MOST_WEBHOOKS
        )));
    }
    let now = Timestamp::now();
    let secret = Secret::random().reveal();
    let webhook = Webhook {
        id: Uuid::now_v7(),
        tenant,
        url: new.url,
        types: new.types,
        secret: secret.clone(),
        enabled: new.enabled,
        created: now,
        updated: now,
    };
    let created = state.store.create_webhook(&webhook).await;
    created.map_err(not_taken)?;
    state.bell.changed.notify_one();
    record(&state, &editor, "create", &webhook).await;
    let headers = [place(&webhook), ("cache-control", "no-store".to_owned())];
    let view = WebhookView::from(webhook);
    let created = Tagged(now, CreatedWebhook { view, secret });
    Ok((StatusCode::CREATED, headers, created))
}

/// A webhook, without its secret.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    security(("bearer" = ["developer"])), responses(
        (status = 200, body = WebhookView),
        (status = 404, description = "There is none of this id")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Tagged<WebhookView>, Problem> {
    Ok(shown(state.find::<Webhook>(&caller, &id).await?))
}

/// Changes a webhook; its secret stays.
#[utoipa::path(put, path = "/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = WebhookEdit, security(("bearer" = ["developer"])), responses(
        (status = 200, body = WebhookView),
        (status = 404, description = "There is none of this id"),
        (status = 412, description = "It is not as If-Match says")))]
async fn change(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(edit): Body<WebhookEdit>,
) -> Result<Tagged<WebhookView>, Problem> {
    let before: Webhook = state.seen(&editor, &id, &if_match).await?;
    check(&edit.url, &edit.types, before.tenant.as_deref())?;
    let since = before.updated;
    let after = Webhook {
        url: edit.url,
        types: edit.types,
        enabled: edit.enabled,
        updated: since.next(),
        ..before
    };
    unchanged(state.store.change_webhook(&after, since).await)?;
    state.bell.changed.notify_one();
    record(&state, &editor, "update", &after).await;
    Ok(shown(after))
}

/// Removes a webhook, with what it was not told yet.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    security(("bearer" = ["developer"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none of this id")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let webhook: Webhook = state.seen(&editor, &id, &if_match).await?;
    let removed = state.store.remove_webhook(webhook.id).await;
    if !removed? {
        return Err(Problem::not_found(Webhook::MISSING));
    }
    state.bell.changed.notify_one();
    record(&state, &editor, "delete", &webhook).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Posts an event of the type `test` to a webhook, so that its receiver can be tried out.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = Uuid, Path)),
    security(("bearer" = ["developer"])), responses(
        (status = 202, description = "It is sent"),
        (status = 404, description = "There is none of this id"),
        (status = 409, description = "It is not enabled")))]
async fn test(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let webhook: Webhook = state.find(&caller, &id).await?;
    if !webhook.enabled {
        return Err(Problem::conflict(
            "the webhook is not enabled: it is told nothing",
        ));
    }
    let id = Uuid::now_v7();
    let event = json!({ "id": id, "time": Timestamp::now(), "type": "test" });
    let delivery = deliver::delivery(&state, webhook.id, event.to_string());
    state.store.add_deliveries(&[delivery]).await?;
    state.bell.due.send_replace(());
    Ok(StatusCode::ACCEPTED)
}

/// What a webhook was not told and is given up, oldest first. It is kept for 30 days.
#[utoipa::path(get, path = "/webhooks/{id}/failures", tag = "webhooks",
    params(("id" = Uuid, Path), FailuresQuery), security(("bearer" = ["developer"])),
    responses(
        (status = 200, body = List<Failure>),
        (status = 404, description = "There is none of this id")))]
async fn failures(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
    Params(query): Params<FailuresQuery>,
) -> Result<Json<List<Failure>>, Problem> {
    let limit = limit(query.limit)?;
    let webhook: Webhook = state.find(&caller, &id).await?;
    let dead = state
        .store
        .dead_deliveries(webhook.id, query.cursor, limit + 1);
    let failures = dead.await?.into_iter().map(Failure::from);
    Ok(Json(List::cut(failures, limit, |last| last.id.to_string())))
}

/// Tries again what a webhook was not told.
#[utoipa::path(post, path = "/webhooks/{id}/replay", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = Replay, security(("bearer" = ["developer"])), responses(
        (status = 202, body = Replayed),
        (status = 404, description = "There is none of this id")))]
async fn replay(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    Body(replay): Body<Replay>,
) -> Result<impl IntoResponse, Problem> {
    let webhook: Webhook = state.find(&editor.caller, &id).await?;
    let now = Timestamp::now();
    let events = state
        .store
        .revive_deliveries(webhook.id, replay.id, now)
        .await?;
    if replay.id.is_some() && events == 0 {
        return Err(Problem::not_found(
            "there is no failure of this id; GET /v1/webhooks/{id}/failures lists them",
        ));
    }
    state.bell.due.send_replace(());
    record(&state, &editor, "replay", &webhook).await;
    Ok((StatusCode::ACCEPTED, Json(Replayed { events })))
}

impl Thing for Webhook {
    const KIND: &'static str = "webhooks";
    const MISSING: &'static str = "there is no webhook of this id; GET /v1/webhooks lists them";

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn updated(&self) -> Timestamp {
        self.updated
    }

    async fn find(store: &Store, id: &str) -> Result<Option<Self>, StoreError> {
        match Uuid::try_parse(id) {
            Ok(id) => store.webhook(id).await,
            Err(_) => Ok(None),
        }
    }
}

async fn record(state: &State, editor: &Editor, action: &str, webhook: &Webhook) {
    // The URL may have a password in it.
    let detail = json!({ "types": webhook.types, "enabled": webhook.enabled });
    state.record(editor, action, webhook, detail).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_all_the_time_is_not_for_webhooks() {
        let types = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            check("https://example.com/", &names, None).is_ok()
        };
        assert!(types(&[]) && types(&["quality", "call.ended"]) && types(&["quality.low"]));
        assert!(!types(&["call", "quality.measured"]));
    }
}
