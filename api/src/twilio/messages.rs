//! `Messages`.

use axum::response::Response;
use control::signal::{VoiceDone, VoiceMessage, VoiceOrder};
use serde_json::{Value, json};
use store::{
    Timestamp, VoiceMessageDirection, VoiceMessageFilter, VoiceMessageRow, VoiceMessageStatus,
};

use super::{
    Call, Error, VERSION, Verb,
    calls::{ask, between, link},
    created,
    date::rfc2822,
    gone,
    page::Asked,
    parties::{Codes, parties},
    shown, time,
};

/// What is wrong with whom a message is from and to.
const CODES: Codes = Codes {
    no_to: (21604, "A 'To' phone number is required"),
    no_from: (21603, "A 'From' phone number is required"),
    not_own: 21606,
};
/// Characters of a text at most.
const MOST: usize = 1_600;
/// What Twilio sends by, and this node does not.
const UNSERVED: [&str; 5] = [
    "MessagingServiceSid",
    "MediaUrl",
    "ContentSid",
    "SendAt",
    "ApplicationSid",
];

pub(super) async fn all(call: &Call<'_>, verb: Verb) -> Result<Response, Error> {
    match verb {
        Verb::Get => list(call).await,
        Verb::Post => create(call).await,
        Verb::Delete => Err(Error::method()),
    }
}

pub(super) async fn one(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let row = find(call, sid).await?;
    match verb {
        Verb::Get => Ok(shown(view(call, &row))),
        Verb::Post => redact(call, row).await,
        Verb::Delete => {
            let store = &call.state.store;
            if !store.remove_voice_message(&call.account.sid, sid).await? {
                return Err(unfinished());
            }
            let detail = json!({});
            call.record("delete", "voice-messages", sid, detail).await;
            Ok(gone())
        }
    }
}

/// What is attached: nothing ever is.
pub(super) async fn media(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    find(call, sid).await?;
    match verb {
        Verb::Get => Ok(Asked::of(call)?.slice(call, "media_list", [])),
        Verb::Post | Verb::Delete => Err(Error::method()),
    }
}

async fn find(call: &Call<'_>, sid: &str) -> Result<VoiceMessageRow, Error> {
    let row = call.state.store.voice_message(sid).await?;
    let row = row.filter(|row| row.account == call.account.sid);
    row.ok_or_else(|| call.missing())
}

fn unfinished() -> Error {
    Error::bad(
        20009,
        "Cannot delete or redact a message that is on its way",
    )
}

async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let asked = Asked::of(call)?;
    let text = |name| call.form.text(name).map(str::to_owned);
    let (sent_since, sent_until) = between(call, "DateSent")?;
    let filter = VoiceMessageFilter {
        account: call.account.sid.clone(),
        from: text("From"),
        to: text("To"),
        sent_since,
        sent_until,
    };
    let store = &call.state.store;
    let page = store
        .voice_messages(&filter, asked.size, asked.cursor()?)
        .await?;
    let items = page.items.iter().map(|row| view(call, row)).collect();
    let next = page.next.map(|next| Some(next.to_string()));
    Ok(asked.page(call, "messages", items, next))
}

async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let order = order(call).await?;
    let (from, to, body) = (order.from.clone(), order.to.clone(), order.body.clone());
    let done = ask(call, VoiceOrder::Message(Box::new(order))).await?;
    let VoiceDone::Message { sid, segments } = done else {
        return Err(Error::internal(
            "signaling did not say which message it sends",
        ));
    };
    let now = Timestamp::now();
    let row = VoiceMessageRow {
        sid,
        account: call.account.sid.clone(),
        tenant: call.account.tenant.clone(),
        from,
        to,
        body,
        segments,
        direction: VoiceMessageDirection::Api,
        status: VoiceMessageStatus::Queued,
        error: None,
        created: now,
        updated: now,
        sent: None,
        // What signaling knows of it counts, whether that comes before or after.
        sequence: 0,
    };
    // So that whoever asks for it at once finds it.
    call.state
        .store
        .upsert_voice_messages(None, std::slice::from_ref(&row))
        .await?;
    let detail = json!({ "from": row.from, "to": row.to });
    call.record("create", "voice-messages", &row.sid, detail)
        .await;
    Ok(created(view(call, &row)))
}

/// A message to be, as a client's form has it.
async fn order(call: &Call<'_>) -> Result<VoiceMessage, Error> {
    let form = &call.form;
    if let Some(name) = UNSERVED.iter().find(|name| form.text(name).is_some()) {
        let message = format!("{name} is not built: leave it out");
        return Err(Error::unsupported(message));
    }
    let (from, to) = parties(call, &CODES).await?;
    let body = form.text("Body");
    let body = body.ok_or_else(|| Error::bad(21602, "Message body is required"))?;
    if body.chars().count() > MOST {
        let message = format!("The message body exceeds {MOST} characters");
        return Err(Error::bad(21617, message));
    }
    // It is told by POST alone, and over no socket.
    let callback = link(call, "StatusCallback", "")?.map(|link| link.url);
    if let Some(url) = callback.as_ref().filter(|url| url.starts_with("ws")) {
        let message = format!("StatusCallback is not a valid URL: {url}");
        return Err(Error::bad(21205, message));
    }
    Ok(VoiceMessage {
        account: call.account.sid.clone(),
        to,
        from,
        body: body.to_owned(),
        status_callback: callback,
    })
}

/// Takes the text out. Nothing waits here that could be called off.
async fn redact(call: &Call<'_>, mut row: VoiceMessageRow) -> Result<Response, Error> {
    if call.form.one_of("Status", &["canceled"])?.is_some() {
        let message = "A message is sent at once here: none is scheduled that could be canceled";
        return Err(Error::bad(20001, message));
    }
    match call.form.given("Body") {
        Some("") => {}
        Some(_) => {
            return Err(Error::invalid(
                "Body: a text can be taken out, by an empty one",
            ));
        }
        None => {
            return Err(Error::invalid(
                "Body is required: an empty one takes the text out",
            ));
        }
    }
    let store = &call.state.store;
    if !store
        .redact_voice_message(&call.account.sid, &row.sid)
        .await?
    {
        return Err(unfinished());
    }
    call.record("update", "voice-messages", &row.sid, json!({ "body": "" }))
        .await;
    row.body.clear();
    Ok(shown(view(call, &row)))
}

fn view(call: &Call<'_>, row: &VoiceMessageRow) -> Value {
    let place = call.path(&format!("/Messages/{}", row.sid));
    json!({
        "sid": row.sid,
        "account_sid": row.account,
        "messaging_service_sid": Value::Null,
        "from": row.from,
        "to": row.to,
        "body": row.body,
        "direction": row.direction.name(),
        "status": row.status.name(),
        "num_segments": row.segments.to_string(),
        "num_media": "0",
        "error_code": row.error,
        "error_message": row.error.map(words),
        "date_created": rfc2822(row.created),
        "date_updated": rfc2822(row.updated),
        "date_sent": time(row.sent),
        "price": Value::Null,
        "price_unit": "USD",
        "api_version": VERSION,
        "uri": format!("{place}.json"),
        "subresource_uris": { "media": format!("{place}/Media.json") },
    })
}

/// What a number of Twilio's error dictionary says.
const fn words(code: u32) -> &'static str {
    match code {
        21211 => "Invalid 'To' Phone Number",
        21606 => "The 'From' phone number is not this account's",
        30001 => "Queue overflow",
        30003 => "Unreachable destination handset",
        30004 => "Message blocked",
        30005 => "Unknown destination handset",
        30006 => "Landline or unreachable carrier",
        _ => "Unknown error",
    }
}
