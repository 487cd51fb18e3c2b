//! `IncomingPhoneNumbers`: the numbers that lead to the account, by its name or by that of an application whose calls
//! are of it.

use std::collections::HashMap;

use axum::response::Response;
use control::signal::{
    NewDocument, Request, Response as Told, RoutingEdit, RoutingKind, RoutingOrder, RoutingOutcome,
    Secret,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use store::{DEFAULT_TENANT, RoutingDocument, RoutingKind as Kind, StoreError, Timestamp, Uuid};

use super::{Call, Error, VERSION, Verb, created, date::rfc2822, gone, page::Asked, shown};
use crate::{hex::hex, rules, webhooks::leads_home};

/// Applications that are read at a time.
const PART: u32 = 1_000;

/// The parameters of a form, and the members that they are of a number.
const MEMBERS: [(&str, &str); 11] = [
    ("VoiceUrl", "voice_url"),
    ("VoiceMethod", "voice_method"),
    ("VoiceFallbackUrl", "voice_fallback_url"),
    ("VoiceFallbackMethod", "voice_fallback_method"),
    ("StatusCallback", "status_callback"),
    ("StatusCallbackMethod", "status_callback_method"),
    ("SmsUrl", "message_url"),
    ("SmsMethod", "message_method"),
    ("SmsFallbackUrl", "message_fallback_url"),
    ("SmsFallbackMethod", "message_fallback_method"),
    ("VoiceApplicationSid", "application"),
];

/// The accounts of applications that were asked for: by name or id, and the tenant of the number.
type Named = HashMap<(String, Option<String>), Option<String>>;

/// A number of the account's.
struct Number {
    number: String,
    document: Map<String, Value>,
    /// When it was last changed.
    updated: Timestamp,
    tenant: Option<String>,
}

/// The SID of a number, the same each time.
pub(super) fn sid(number: &str) -> String {
    let digest = Sha256::digest(number);
    format!("PN{}", hex(digest.get(..16).unwrap_or_default()))
}

/// Whether a number leads to the account.
pub(super) async fn has(call: &Call<'_>, number: &str) -> Result<bool, Error> {
    Ok(find(call, number).await?.is_some())
}

pub(super) async fn all(call: &Call<'_>, verb: Verb) -> Result<Response, Error> {
    match verb {
        Verb::Get => {
            let part = call.form.text("PhoneNumber").unwrap_or_default();
            let name = call.form.text("FriendlyName");
            let own = own(call).await?;
            let wanted = own.iter().filter(|own| {
                let is_it = |name| own.number == name;
                own.number.contains(part) && name.is_none_or(is_it)
            });
            let views = wanted.map(|own| own.view(call));
            Ok(Asked::of(call)?.slice(call, "incoming_phone_numbers", views))
        }
        Verb::Post => create(call).await,
        Verb::Delete => Err(Error::method()),
    }
}

pub(super) async fn one(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let own = own(call).await?;
    let mut own = own.into_iter().filter(|own| self::sid(&own.number) == sid);
    let own = own.next().ok_or_else(|| call.missing())?;
    match verb {
        Verb::Get => Ok(shown(own.view(call))),
        Verb::Post => change(call, own).await.map(shown),
        Verb::Delete => {
            let edit = RoutingEdit::Remove {
                unchanged_since: own.updated.millis(),
            };
            order(call, &own.number, edit).await?;
            call.record("delete", "numbers", &own.number, json!({}))
                .await;
            Ok(gone())
        }
    }
}

/// Takes a number that nobody has, which is for the node's own accounts; or changes one that the account has.
async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let missing = || {
        Error::bad(
            21421,
            "PhoneNumber is required: there are none to choose from",
        )
    };
    let number = call.form.text("PhoneNumber").ok_or_else(missing)?;
    if let Some(own) = find(call, number).await? {
        return change(call, own).await.map(created);
    }
    // Who shares the node would have calls of others, and could show what is not its own.
    if shares(call) {
        let message = format!("{number} is not available: whoever runs the node gives numbers");
        return Err(Error::bad(21422, message));
    }
    let mut document = Map::new();
    document.insert("number".to_owned(), number.into());
    document.insert("account".to_owned(), call.account.sid.clone().into());
    take(call, &mut document)?;
    let edit = RoutingEdit::Create(new(call, &document));
    let own = match order(call, number, edit).await? {
        RoutingOutcome::Stored { updated_ms, .. } => Number {
            number: number.to_owned(),
            document,
            updated: Timestamp::from_millis(updated_ms),
            tenant: call.account.tenant.clone(),
        },
        _ => {
            let message = format!("{number} is not available: it leads elsewhere");
            return Err(Error::bad(21422, message));
        }
    };
    call.record("create", "numbers", number, json!({})).await;
    Ok(created(own.view(call)))
}

async fn change(call: &Call<'_>, mut own: Number) -> Result<Value, Error> {
    let unchanged_since = own.updated.millis();
    // It stays the account's, whatever it leads to from now on.
    let sid = &call.account.sid;
    own.document
        .insert("account".to_owned(), sid.clone().into());
    take(call, &mut own.document)?;
    let edit = RoutingEdit::Replace {
        new: NewDocument {
            tenant: own.tenant.clone(),
            ..new(call, &own.document)
        },
        unchanged_since,
    };
    let outcome = order(call, &own.number, edit).await?;
    let RoutingOutcome::Stored { updated_ms, .. } = outcome else {
        return Err(Error::bad(
            20001,
            "the number was changed meanwhile: try again",
        ));
    };
    own.updated = Timestamp::from_millis(updated_ms);
    call.record("update", "numbers", &own.number, json!({}))
        .await;
    Ok(own.view(call))
}

/// What the form says of it. An empty parameter takes a member away.
fn take(call: &Call<'_>, document: &mut Map<String, Value>) -> Result<(), Error> {
    for (name, member) in MEMBERS {
        let Some(value) = call.form.given(name) else {
            continue;
        };
        if value.is_empty() {
            document.remove(member);
            continue;
        }
        if name.ends_with("Url") || name == "StatusCallback" {
            check(call, name, value)?;
        }
        let value = match name {
            "VoiceApplicationSid" => application_id(value),
            _ if name.ends_with("Method") => {
                let method = call.form.one_of(name, &["GET", "POST"])?;
                method.unwrap_or_default().to_owned()
            }
            _ => value.to_owned(),
        };
        document.insert(member.to_owned(), value.into());
    }
    tidy(document);
    let leads = ["application", "voice_url", "message_url"];
    if !leads.iter().any(|member| document.contains_key(*member)) {
        return Err(Error::bad(
            21502,
            "VoiceUrl is required, or SmsUrl or VoiceApplicationSid",
        ));
    }
    Ok(())
}

/// The id that a SID of an application has the digits of.
fn application_id(sid: &str) -> String {
    let digits = sid.strip_prefix("AP").unwrap_or(sid);
    Uuid::try_parse(digits).map_or_else(|_| digits.to_owned(), |id| id.to_string())
}

/// Takes away what has nothing left that it goes with, which a number may not have.
fn tidy(document: &mut Map<String, Value>) {
    let is_application = document.contains_key("application");
    let has_voice = document.contains_key("voice_url");
    let has_messages = document.contains_key("message_url");
    document.retain(|member, _| match member.as_str() {
        member if member.starts_with("voice_") || member.starts_with("status_callback") => {
            has_voice && !is_application
        }
        member if member.starts_with("message_") => has_messages && !is_application,
        _ => true,
    });
    for (_, method) in MEMBERS {
        let Some(of) = method.strip_suffix("_method") else {
            continue;
        };
        if !document.contains_key(of) && !document.contains_key(&format!("{of}_url")) {
            document.remove(method);
        }
    }
}

fn check(call: &Call<'_>, name: &str, url: &str) -> Result<(), Error> {
    let code = if name == "VoiceUrl" { 21502 } else { 21503 };
    match name {
        "SmsUrl" | "SmsFallbackUrl" => rules::message_url(url),
        _ => rules::application_url(url),
    }
    .map_err(|wrong| Error::bad(code, format!("{name}: {wrong}")))?;
    if shares(call) && leads_home(url) {
        return Err(Error::bad(
            code,
            format!("{name} is not at a public address"),
        ));
    }
    Ok(())
}

/// Whether the account is of a tenant who shares the node with others.
fn shares(call: &Call<'_>) -> bool {
    foreign(call.account.tenant.as_deref()).is_some()
}

/// The tenant who shares the node with others; the default one is who runs it.
fn foreign(tenant: Option<&str>) -> Option<&str> {
    tenant.filter(|tenant| *tenant != DEFAULT_TENANT)
}

fn new(call: &Call<'_>, document: &Map<String, Value>) -> NewDocument {
    NewDocument {
        document: Secret::new(Value::Object(document.clone()).to_string()),
        tenant: call.account.tenant.clone(),
    }
}

async fn order(call: &Call<'_>, number: &str, edit: RoutingEdit) -> Result<RoutingOutcome, Error> {
    let order = RoutingOrder {
        kind: RoutingKind::Number,
        id: number.to_owned(),
        edit,
    };
    match call.state.signal.request(Request::Routing(order)).await? {
        Told::Routing(outcome) => Ok(outcome),
        other => Err(Error::internal(&format!("signaling answered {other:?}"))),
    }
}

/// The number that is written so, where it leads to the account.
async fn find(call: &Call<'_>, number: &str) -> Result<Option<Number>, Error> {
    let stored = call.state.store.routing_document(Kind::Number, number);
    match stored.await? {
        Some(stored) => Ok(Number::of(stored, call, &mut Named::new()).await?),
        None => Ok(None),
    }
}

/// Those that lead to the account, by number.
async fn own(call: &Call<'_>) -> Result<Vec<Number>, Error> {
    let store = &call.state.store;
    let sid = &call.account.sid;
    let tenant = call.account.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
    let mut owners = vec![sid.clone()];
    let first = store.first_account(tenant).await?;
    if first.is_some_and(|first| first.sid == *sid) {
        let mut after = None;
        loop {
            let part = store.applications(Some(tenant), after, PART).await?;
            let Some(last) = part.last() else { break };
            after = Some(last.id);
            let names = part
                .into_iter()
                .flat_map(|one| [one.id.to_string(), one.name]);
            owners.extend(names);
        }
    }
    let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
    let (mut own, mut named) = (Vec::new(), Named::new());
    for stored in store.numbers_of(&owners, tenant).await? {
        own.extend(Number::of(stored, call, &mut named).await?);
    }
    Ok(own)
}

impl Number {
    /// A number, where it leads to the account.
    async fn of(
        stored: RoutingDocument,
        call: &Call<'_>,
        named: &mut Named,
    ) -> Result<Option<Self>, StoreError> {
        let Ok(document) = serde_json::from_str::<Map<String, Value>>(&stored.document) else {
            return Ok(None);
        };
        let tenant = stored.tenant.as_deref();
        let own = call.account.tenant.as_deref();
        if tenant.is_some() && foreign(tenant) != foreign(own) {
            return Ok(None);
        }
        let text = |member: &str| document.get(member).and_then(Value::as_str);
        let account = match (text("account"), text("application")) {
            (Some(account), _) => Some(account.to_owned()),
            (None, Some(name)) => {
                let key = (name.to_owned(), foreign(tenant).map(str::to_owned));
                match named.get(&key) {
                    Some(known) => known.clone(),
                    None => {
                        let account = account_of(call, name, tenant).await?;
                        named.insert(key, account.clone());
                        account
                    }
                }
            }
            (None, None) => None,
        };
        Ok(
            (account.as_deref() == Some(&call.account.sid)).then_some(Self {
                number: stored.id,
                document,
                updated: stored.updated,
                tenant: stored.tenant,
            }),
        )
    }

    fn view(&self, call: &Call<'_>) -> Value {
        let text = |member: &str| self.document.get(member).and_then(Value::as_str);
        let method = |member| text(member).unwrap_or("POST");
        let url = |member| text(member).unwrap_or_default();
        let application = text("application").map(|id| format!("AP{}", id.replace('-', "")));
        let (sid, since) = (sid(&self.number), self.updated);
        json!({
            "sid": sid,
            "account_sid": call.account.sid,
            "phone_number": self.number,
            "friendly_name": self.number,
            "date_created": rfc2822(since),
            "date_updated": rfc2822(since),
            "voice_url": url("voice_url"),
            "voice_method": method("voice_method"),
            "voice_fallback_url": url("voice_fallback_url"),
            "voice_fallback_method": method("voice_fallback_method"),
            "status_callback": url("status_callback"),
            "status_callback_method": method("status_callback_method"),
            "voice_application_sid": application.clone().unwrap_or_default(),
            "voice_caller_id_lookup": false,
            "voice_receive_mode": "voice",
            "sms_url": url("message_url"),
            "sms_method": method("message_method"),
            "sms_fallback_url": url("message_fallback_url"),
            "sms_fallback_method": method("message_fallback_method"),
            "sms_application_sid": application.unwrap_or_default(),
            "capabilities": { "voice": true, "sms": true, "mms": false, "fax": false },
            "address_requirements": "none",
            "address_sid": Value::Null,
            "identity_sid": Value::Null,
            "bundle_sid": Value::Null,
            "trunk_sid": Value::Null,
            "emergency_status": "Inactive",
            "emergency_address_sid": Value::Null,
            "emergency_address_status": "unregistered",
            "beta": false,
            "origin": "hosted",
            "status": "in-use",
            "type": Value::Null,
            "api_version": VERSION,
            "uri": call.path(&format!("/IncomingPhoneNumbers/{sid}.json")),
            "subresource_uris": {},
        })
    }
}

/// The account that calls of an application are of, as a number of this tenant names it: the first one of the
/// application's tenant.
async fn account_of(
    call: &Call<'_>,
    application: &str,
    tenant: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let store = &call.state.store;
    let meant = store.application_named(application, foreign(tenant));
    let Some(application) = meant.await? else {
        return Ok(None);
    };
    let first = store.first_account(&application.tenant).await?;
    Ok(first.map(|account| account.sid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_without_what_it_goes_with() {
        let tidied = |members: &[&str]| {
            let document = members
                .iter()
                .map(|member| ((*member).to_owned(), "x".into()));
            let mut document: Map<String, Value> = document.collect();
            tidy(&mut document);
            document
                .into_iter()
                .map(|(member, _)| member)
                .collect::<Vec<_>>()
        };
        let all: Vec<&str> = MEMBERS.iter().map(|(_, member)| *member).collect();
        assert_eq!(tidied(&[&["number", "account"], &*all].concat()).len(), 3);
        assert_eq!(tidied(&all[..10]).len(), 10);
        assert_eq!(tidied(&all[1..6]), [""; 0]);
        assert_eq!(tidied(&all[1..8]), ["message_method", "message_url"]);
        assert_eq!(
            tidied(&[
                "voice_url",
                "voice_fallback_method",
                "status_callback_method"
            ]),
            ["voice_url"]
        );
    }
}
