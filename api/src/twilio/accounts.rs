//! `Accounts`: the one that asks.

use axum::response::Response;
use serde_json::{Value, json};

use super::{Call, Error, Verb, date::rfc2822, page::Asked, shown};

/// An account sees itself.
pub(super) fn list(call: &Call<'_>, verb: Verb) -> Result<Response, Error> {
    if verb != Verb::Get {
        return Err(Error::method());
    }
    let form = &call.form;
    let own = &call.account;
    let is_wanted = form
        .text("FriendlyName")
        .is_none_or(|name| name == own.name)
        && form.text("Status").is_none_or(|status| status == "active");
    let items = is_wanted.then(|| view(call));
    Ok(Asked::of(call)?.slice(call, "accounts", items))
}

pub(super) async fn one(call: &Call<'_>, verb: Verb) -> Result<Response, Error> {
    match verb {
        Verb::Get => Ok(shown(view(call))),
        _ => Err(Error::unsupported(
            "accounts are changed by /v1/accounts, and 'tandem accounts'",
        )),
    }
}

fn view(call: &Call<'_>) -> Value {
    let account = &call.account;
    let below = |name: &str| call.path(&format!("/{name}.json"));
    json!({
        "sid": account.sid,
        // Who asks with a key does not know it, and is not to learn it.
        "auth_token": Value::Null,
        "owner_account_sid": account.sid,
        "friendly_name": account.name,
        "status": "active",
        "type": "Full",
        "date_created": rfc2822(account.created),
        "date_updated": rfc2822(account.updated),
        "uri": call.path(".json"),
        "subresource_uris": {
            "calls": below("Calls"),
            "messages": below("Messages"),
            "recordings": below("Recordings"),
            "incoming_phone_numbers": below("IncomingPhoneNumbers"),
            "applications": below("Applications"),
            "keys": below("Keys"),
        },
    })
}
