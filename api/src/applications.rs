//! `/v1/applications`: what a call or a message that comes to a number is given to.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Application, DEFAULT_TENANT, Hook, HttpMethod, Store, StoreError, Timestamp, Uuid};
use utoipa::{
    ToSchema,
    openapi::{RefOr, schema::Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    body::{Body, given, name},
    changes::Editor,
    edited::{IfMatch, Tagged},
    openapi::one_of,
    problem::Problem,
    query::{List, Params},
    rules,
    thing::{Thing, ThingsQuery, created, not_taken, shown, unchanged},
    webhooks::leads_home,
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, change, remove))
}

/// What a call or a message that comes to a number is given to.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApplicationView {
    id: Uuid,
    /// Whose it is.
    tenant: String,
    /// For people; none other of the tenant's has it.
    #[schema(example = "front desk")]
    name: String,
    /// Who says what becomes of a call.
    #[schema(example = "https://example.com/voice")]
    voice_url: Option<String>,
    #[schema(schema_with = method)]
    voice_method: HttpMethod,
    /// Who does, where that one fails.
    fallback_url: Option<String>,
    #[schema(schema_with = method)]
    fallback_method: HttpMethod,
    /// Who is told how a call goes.
    status_callback: Option<String>,
    #[schema(schema_with = method)]
    status_callback_method: HttpMethod,
    /// Who says what becomes of a message.
    message_url: Option<String>,
    #[schema(schema_with = method)]
    message_method: HttpMethod,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
}

impl From<Application> for ApplicationView {
    fn from(application: Application) -> Self {
        Self {
            id: application.id,
            tenant: application.tenant,
            name: application.name,
            voice_url: application.voice.url,
            voice_method: application.voice.method,
            fallback_url: application.fallback.url,
            fallback_method: application.fallback.method,
            status_callback: application.status.url,
            status_callback_method: application.status.method,
            message_url: application.message.url,
            message_method: application.message.method,
            created: application.created,
            updated: application.updated,
        }
    }
}

/// An application to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApplication {
    /// 1 to 200 characters; none other of the tenant's has it.
    #[schema(min_length = 1, max_length = 200, example = "front desk")]
    name: String,
    /// Whose it is; without it the tenant of who makes it, or `default`. Stays.
    tenant: Option<String>,
    /// Who says what becomes of a call: a URL of `http`, `https`, `ws` or `wss`, 2,048 bytes at most, without a
    /// name or password in it, and at a public address where the tenant is not `default`. The others are such
    /// too.
    #[schema(example = "https://example.com/voice")]
    voice_url: Option<String>,
    /// `POST` unless told, as the others.
    #[schema(schema_with = method)]
    voice_method: Option<HttpMethod>,
    /// Who does, where that one fails.
    fallback_url: Option<String>,
    #[schema(schema_with = method)]
    fallback_method: Option<HttpMethod>,
    /// Who is told how a call goes.
    status_callback: Option<String>,
    #[schema(schema_with = method)]
    status_callback_method: Option<HttpMethod>,
    /// Who says what becomes of a message.
    message_url: Option<String>,
    #[schema(schema_with = method)]
    message_method: Option<HttpMethod>,
}

/// What is to be changed of an application: what is left out stays (RFC 7396); `null` is for a URL that is to be
/// none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationChange {
    /// 1 to 200 characters; none other of the tenant's has it.
    #[schema(min_length = 1, max_length = 200, example = "front desk")]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    voice_url: Option<Option<String>>,
    #[schema(schema_with = method)]
    voice_method: Option<HttpMethod>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    fallback_url: Option<Option<String>>,
    #[schema(schema_with = method)]
    fallback_method: Option<HttpMethod>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    status_callback: Option<Option<String>>,
    #[schema(schema_with = method)]
    status_callback_method: Option<HttpMethod>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    message_url: Option<Option<String>>,
    #[schema(schema_with = method)]
    message_method: Option<HttpMethod>,
}

fn method() -> RefOr<Schema> {
    one_of(HttpMethod::ALL.iter().map(|method| method.name()))
}

/// The applications, oldest first.
#[utoipa::path(get, path = "/applications", tag = "applications", params(ThingsQuery),
    security(("bearer" = ["developer"])),
    responses((status = 200, body = List<ApplicationView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<ThingsQuery>,
) -> Result<Json<List<ApplicationView>>, Problem> {
    let wanted = query.of(&caller)?;
    let after = wanted.after_id()?;
    let applications = state
        .store
        .applications(wanted.tenant.as_deref(), after, wanted.most());
    Ok(wanted.page(applications.await?))
}

/// Adds an application, to which numbers and trunks may lead.
#[utoipa::path(post, path = "/applications", tag = "applications", request_body = NewApplication,
    security(("bearer" = ["developer"])), responses(
        (status = 201, body = ApplicationView),
        (status = 409, description = "The tenant has one of this name"),
        (status = 422, description = "Something of it cannot be, or there is no such tenant")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewApplication>,
) -> Result<impl IntoResponse, Problem> {
    let tenant = editor.caller.confine(new.tenant)?;
    let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
    let hook = |member, url: Option<String>, method: Option<HttpMethod>| {
        check(member, url.as_deref(), &tenant)?;
        let method = method.unwrap_or(HttpMethod::Post);
        Ok::<_, Problem>(Hook { url, method })
    };
    let now = Timestamp::now();
    let application = Application {
        id: Uuid::now_v7(),
        name: name(new.name)?,
        voice: hook("voice_url", new.voice_url, new.voice_method)?,
        fallback: hook("fallback_url", new.fallback_url, new.fallback_method)?,
        status: hook(
            "status_callback",
            new.status_callback,
            new.status_callback_method,
        )?,
        message: hook("message_url", new.message_url, new.message_method)?,
        tenant,
        created: now,
        updated: now,
    };
    let is_new = state.store.create_application(&application).await;
    if !is_new.map_err(not_taken)? {
        return Err(taken(&application));
    }
    let detail = json!({ "name": application.name });
    state.record(&editor, "create", &application, detail).await;
    Ok(created::<_, ApplicationView>(application))
}

/// An application.
#[utoipa::path(get, path = "/applications/{id}", tag = "applications", params(("id" = Uuid, Path)),
    security(("bearer" = ["developer"])), responses(
        (status = 200, body = ApplicationView),
        (status = 404, description = "There is none of this id")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Tagged<ApplicationView>, Problem> {
    Ok(shown(state.find::<Application>(&caller, &id).await?))
}

/// Changes an application. What is left out stays.
#[utoipa::path(patch, path = "/applications/{id}", tag = "applications", params(("id" = Uuid, Path)),
    request_body = ApplicationChange, security(("bearer" = ["developer"])), responses(
        (status = 200, body = ApplicationView),
        (status = 404, description = "There is none of this id"),
        (status = 409, description = "The tenant has another one of this name"),
        (status = 412, description = "It is not as If-Match says"),
        (status = 422, description = "Something of it cannot be")))]
async fn change(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(change): Body<ApplicationChange>,
) -> Result<Tagged<ApplicationView>, Problem> {
    let before: Application = state.seen(&editor, &id, &if_match).await?;
    let since = before.updated;
    let changed = change.members();
    let after = Application {
        updated: since.next(),
        ..change.of(before)?
    };
    match state.store.change_application(&after, since).await {
        Err(error) if error.is_rejection() => return Err(taken(&after)),
        changed => unchanged(changed)?,
    }
    // A URL may have a secret in it.
    let detail = json!({ "name": after.name, "changed": changed });
    state.record(&editor, "update", &after, detail).await;
    Ok(shown(after))
}

/// Removes an application.
#[utoipa::path(delete, path = "/applications/{id}", tag = "applications", params(("id" = Uuid, Path)),
    security(("bearer" = ["developer"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none of this id"),
        (status = 412, description = "It is not as If-Match says")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let before: Application = state.seen(&editor, &id, &if_match).await?;
    let removing = state.store.remove_application(before.id, before.updated);
    unchanged(removing.await)?;
    let detail = json!({ "name": before.name });
    state.record(&editor, "delete", &before, detail).await;
    Ok(StatusCode::NO_CONTENT)
}

impl ApplicationChange {
    /// What of an application it changes.
    fn members(&self) -> Vec<&'static str> {
        let given = [
            ("name", self.name.is_some()),
            ("voice_url", self.voice_url.is_some()),
            ("voice_method", self.voice_method.is_some()),
            ("fallback_url", self.fallback_url.is_some()),
            ("fallback_method", self.fallback_method.is_some()),
            ("status_callback", self.status_callback.is_some()),
            (
                "status_callback_method",
                self.status_callback_method.is_some(),
            ),
            ("message_url", self.message_url.is_some()),
            ("message_method", self.message_method.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(member, _)| member).collect()
    }

    /// What an application becomes by it.
    fn of(self, mut application: Application) -> Result<Application, Problem> {
        if let Some(new) = self.name {
            application.name = name(new)?;
        }
        let Application {
            tenant,
            voice,
            fallback,
            status,
            message,
            ..
        } = &mut application;
        for (member, hook, url, method) in [
            ("voice_url", voice, self.voice_url, self.voice_method),
            (
                "fallback_url",
                fallback,
                self.fallback_url,
                self.fallback_method,
            ),
            (
                "status_callback",
                status,
                self.status_callback,
                self.status_callback_method,
            ),
            (
                "message_url",
                message,
                self.message_url,
                self.message_method,
            ),
        ] {
            if let Some(url) = url {
                check(member, url.as_deref(), tenant)?;
                hook.url = url;
            }
            hook.method = method.unwrap_or(hook.method);
        }
        Ok(application)
    }
}

fn check(member: &str, url: Option<&str>, tenant: &str) -> Result<(), Problem> {
    let Some(url) = url else {
        return Ok(());
    };
    let told = |reason| Problem::bad_member(format!("{member}: {reason}"));
    match member {
        "message_url" => rules::message_url(url),
        _ => rules::application_url(url),
    }
    .map_err(told)?;
    if tenant != DEFAULT_TENANT && leads_home(url) {
        return Err(told(
            "a tenant's application is at a public address, and this one is not",
        ));
    }
    Ok(())
}

fn taken(application: &Application) -> Problem {
    let (name, tenant) = (&application.name, &application.tenant);
    Problem::conflict(format!(
        "the tenant '{tenant}' has an application '{name}' already"
    ))
}

impl Thing for Application {
    const KIND: &'static str = "applications";
    const MISSING: &'static str =
        "there is no application of this id; GET /v1/applications lists them";

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn tenant(&self) -> Option<&str> {
        Some(&self.tenant)
    }

    fn updated(&self) -> Timestamp {
        self.updated
    }

    async fn find(store: &Store, id: &str) -> Result<Option<Self>, StoreError> {
        match Uuid::try_parse(id) {
            Ok(id) => store.application(id).await,
            Err(_) => Ok(None),
        }
    }
}
