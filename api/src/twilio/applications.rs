//! `Applications`: those of `/v1/applications`, which are the tenant's. All accounts of a tenant have them.

use axum::response::Response;
use serde_json::{Value, json};
use store::{Application, DEFAULT_TENANT, Hook, HttpMethod, Timestamp, Uuid};

use super::{Call, Error, VERSION, Verb, created, date::rfc2822, gone, page::Asked, shown};
use crate::{rules, webhooks::leads_home};

/// Applications that are read at a time.
const PART: u32 = 1_000;

pub(super) async fn all(call: &Call<'_>, verb: Verb) -> Result<Response, Error> {
    match verb {
        Verb::Get => list(call).await,
        Verb::Post => create(call).await,
        Verb::Delete => Err(Error::method()),
    }
}

async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let (store, mut all, mut after) = (&call.state.store, Vec::new(), None);
    loop {
        let part = store.applications(Some(tenant(call)), after, PART).await?;
        let Some(last) = part.last() else {
            break;
        };
        after = Some(last.id);
        all.extend(part);
    }
    let name = call.form.text("FriendlyName");
    let wanted = all
        .iter()
        .filter(|one| name.is_none_or(|name| one.name == name));
    let views = wanted.map(|one| view(call, one));
    Ok(Asked::of(call)?.slice(call, "applications", views))
}

async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let (now, id) = (Timestamp::now(), Uuid::now_v7());
    let none = || Hook {
        url: None,
        method: HttpMethod::Post,
    };
    let mut application = Application {
        id,
        tenant: tenant(call).to_owned(),
        name: format!("AP{}", id.simple()),
        voice: none(),
        fallback: none(),
        status: none(),
        message: none(),
        created: now,
        updated: now,
    };
    take(call, &mut application)?;
    if !call.state.store.create_application(&application).await? {
        return Err(taken(&application));
    }
    record(call, "create", &application).await;
    Ok(created(view(call, &application)))
}

pub(super) async fn one(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let store = &call.state.store;
    let id = sid
        .strip_prefix("AP")
        .and_then(|id| Uuid::try_parse(id).ok());
    let known = store.application(id.ok_or_else(|| call.missing())?).await?;
    let known = known.filter(|known| known.tenant == tenant(call));
    let mut application = known.ok_or_else(|| call.missing())?;
    let since = application.updated;
    match verb {
        Verb::Get => Ok(shown(view(call, &application))),
        Verb::Post => {
            take(call, &mut application)?;
            application.updated = since.next();
            match store.change_application(&application, since).await {
                Err(error) if error.is_rejection() => return Err(taken(&application)),
                done => done?.then_some(()).ok_or_else(changed)?,
            }
            record(call, "update", &application).await;
            Ok(shown(view(call, &application)))
        }
        Verb::Delete => {
            let done = store.remove_application(application.id, since).await?;
            done.then_some(()).ok_or_else(changed)?;
            record(call, "delete", &application).await;
            Ok(gone())
        }
    }
}

async fn record(call: &Call<'_>, action: &str, application: &Application) {
    let (id, detail) = (
        application.id.to_string(),
        json!({ "name": application.name }),
    );
    call.record(action, "applications", &id, detail).await;
}

/// What the form says of it. An empty URL is none.
fn take(call: &Call<'_>, application: &mut Application) -> Result<(), Error> {
    if let Some(name) = call.form.text("FriendlyName") {
        rules::name(name).map_err(|wrong| Error::invalid(format!("FriendlyName: {wrong}")))?;
        name.clone_into(&mut application.name);
    }
    let hooks = [
        ("VoiceUrl", "VoiceMethod", &mut application.voice),
        (
            "VoiceFallbackUrl",
            "VoiceFallbackMethod",
            &mut application.fallback,
        ),
        (
            "StatusCallback",
            "StatusCallbackMethod",
            &mut application.status,
        ),
        ("SmsUrl", "SmsMethod", &mut application.message),
    ];
    for (url, method, hook) in hooks {
        if let Some(value) = call.form.given(url) {
            let value = Some(value).filter(|value| !value.is_empty());
            if let Some(value) = value {
                let wrong = |wrong: &str| Error::bad(21502, format!("{url}: {wrong}"));
                match url {
                    "SmsUrl" => rules::message_url(value),
                    _ => rules::application_url(value),
                }
                .map_err(wrong)?;
                if tenant(call) != DEFAULT_TENANT && leads_home(value) {
                    return Err(wrong("it is not at a public address"));
                }
            }
            hook.url = value.map(str::to_owned);
        }
        let method = call.form.one_of(method, &["GET", "POST"])?;
        hook.method = method
            .and_then(HttpMethod::from_name)
            .unwrap_or(hook.method);
    }
    Ok(())
}

fn tenant<'a>(call: &'a Call<'_>) -> &'a str {
    call.account.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
}

fn taken(application: &Application) -> Error {
    Error::invalid(format!(
        "FriendlyName: there is an application '{}' already",
        application.name
    ))
}

fn changed() -> Error {
    Error::invalid("the application was changed meanwhile: try again")
}

fn view(call: &Call<'_>, application: &Application) -> Value {
    let sid = format!("AP{}", application.id.simple());
    let url = |hook: &Hook| hook.url.clone();
    json!({
        "sid": sid,
        "account_sid": call.account.sid,
        "friendly_name": application.name,
        "date_created": rfc2822(application.created),
        "date_updated": rfc2822(application.updated),
        "voice_url": url(&application.voice),
        "voice_method": application.voice.method.name(),
        "voice_fallback_url": url(&application.fallback),
        "voice_fallback_method": application.fallback.method.name(),
        "status_callback": url(&application.status),
        "status_callback_method": application.status.method.name(),
        "voice_caller_id_lookup": false,
        "sms_url": url(&application.message),
        "sms_method": application.message.method.name(),
        "sms_fallback_url": Value::Null,
        "sms_fallback_method": "POST",
        "sms_status_callback": Value::Null,
        "message_status_callback": Value::Null,
        "public_application_connect_enabled": false,
        "api_version": VERSION,
        "uri": call.path(&format!("/Applications/{sid}.json")),
    })
}
