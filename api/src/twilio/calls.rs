//! `Calls`.

mod order;

use axum::response::Response;
use control::signal::{Request, Response as Told, VoiceDone, VoiceOrder, VoiceUpdate};
use serde_json::{Value, json};
use store::{Timestamp, VoiceCallFilter, VoiceCallRow, VoiceDirection, VoiceStatus};

pub(super) use self::order::{link, recording};
use super::{
    Call, Error, VERSION, Verb, created,
    date::{self, rfc2822, span},
    gone, numbers,
    page::Asked,
    shown, time,
};

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
        Verb::Post => update(call, row).await,
        Verb::Delete => {
            let store = &call.state.store;
            if !store.remove_voice_call(&call.account.sid, sid).await? {
                return Err(Error::bad(20009, "Cannot delete a call that is not over"));
            }
            call.record("delete", "voice-calls", sid, json!({})).await;
            Ok(gone())
        }
    }
}

/// The account's call of this SID.
pub(super) async fn find(call: &Call<'_>, sid: &str) -> Result<VoiceCallRow, Error> {
    let row = call.state.store.voice_call(sid).await?;
    let row = row.filter(|row| row.account == call.account.sid);
    row.ok_or_else(|| call.missing())
}

/// What only a call that is up can have done to it.
pub(super) fn not_in_progress() -> Error {
    Error::bad(21220, "Call is not in-progress")
}

/// Has signaling do something.
pub(super) async fn ask(call: &Call<'_>, order: VoiceOrder) -> Result<VoiceDone, Error> {
    match call.state.signal.request(Request::Voice(order)).await? {
        Told::Voice(done) => Ok(done),
        other => Err(Error::internal(&format!("signaling answered {other:?}"))),
    }
}

async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let asked = Asked::of(call)?;
    let text = |name| call.form.text(name).map(str::to_owned);
    let statuses: Vec<_> = VoiceStatus::ALL.iter().map(|one| one.name()).collect();
    let status = call.form.one_of("Status", &statuses)?;
    let (started_since, started_until) = between(call, "StartTime")?;
    let (ended_since, ended_until) = between(call, "EndTime")?;
    let filter = VoiceCallFilter {
        account: call.account.sid.clone(),
        from: text("From"),
        to: text("To"),
        parent: text("ParentCallSid"),
        status: status.and_then(VoiceStatus::from_name),
        started_since,
        started_until,
        ended_since,
        ended_until,
    };
    let page = call
        .state
        .store
        .voice_calls(&filter, asked.size, asked.cursor()?)
        .await?;
    let items = page.items.iter().map(|row| view(call, row)).collect();
    let next = page.next.map(|next| Some(next.to_string()));
    Ok(asked.page(call, "calls", items, next))
}

/// From when until when: `Name` is a day or a second, `Name>` and `Name<` leave an end open.
pub(super) fn between(
    call: &Call<'_>,
    name: &str,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Error> {
    let read = |name: String| match call.form.text(&name) {
        None => Ok(None),
        Some(text) => span(text).map(Some).ok_or_else(|| {
            Error::invalid(format!(
                "{name}: write YYYY-MM-DD, or a time as in RFC 3339"
            ))
        }),
    };
    if let Some((since, until)) = read(name.to_owned())? {
        // The libraries write a day as its midnight.
        let until = match date::day(since) {
            Some(end) => end,
            None => until,
        };
        return Ok((Some(since), Some(until)));
    }
    let since = read(format!("{name}>"))?.map(|(since, _)| since);
    let until = read(format!("{name}<"))?.map(|(_, until)| until);
    Ok((since, until))
}

async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let order = order::call(call).await?;
    let (from, to) = (order.from.clone(), order.to.clone());
    let done = ask(call, VoiceOrder::Call(Box::new(order))).await?;
    let VoiceDone::Queued { sid, queue_ms } = done else {
        return Err(Error::internal("signaling did not say which call it makes"));
    };
    let now = Timestamp::now();
    let row = VoiceCallRow {
        sid,
        account: call.account.sid.clone(),
        tenant: call.account.tenant.clone(),
        parent: None,
        number_sid: None,
        direction: VoiceDirection::Api,
        status: VoiceStatus::Queued,
        created: now,
        updated: now,
        started: None,
        ended: None,
        duration_s: None,
        queue_ms,
        answered_by: None,
        caller_name: None,
        forwarded_from: None,
        cdr: None,
        // What signaling knows of it counts, whether that comes before or after.
        sequence: 0,
        from,
        to,
    };
    // So that whoever asks for it at once finds it.
    call.state
        .store
        .upsert_voice_calls(None, std::slice::from_ref(&row))
        .await?;
    let detail = json!({ "from": row.from, "to": row.to });
    call.record("create", "voice-calls", &row.sid, detail).await;
    Ok(created(view(call, &row)))
}

async fn update(call: &Call<'_>, row: VoiceCallRow) -> Result<Response, Error> {
    let status = call.form.one_of("Status", &["completed", "canceled"])?;
    // Twice is no harm: a program hangs up what the party has hung up.
    if status.is_some() && row.ended.is_some() {
        return Ok(shown(view(call, &row)));
    }
    let update = match status {
        Some("completed") => VoiceUpdate::Complete,
        Some(_) => VoiceUpdate::Cancel,
        None if row.ended.is_some() => return Err(not_in_progress()),
        None => order::change(call)?,
    };
    let sid = row.sid.clone();
    let order = VoiceOrder::Update {
        call: sid.clone(),
        update,
    };
    ask(call, order).await?;
    call.record("update", "voice-calls", &sid, json!({ "status": status }))
        .await;
    Ok(shown(view(call, &find(call, &sid).await?)))
}

fn view(call: &Call<'_>, row: &VoiceCallRow) -> Value {
    let uri = call.path(&format!("/Calls/{}.json", row.sid));
    let below = |name: &str| call.path(&format!("/Calls/{}/{name}.json", row.sid));
    let number = row.number_sid.clone();
    // Of one that came in the number is known by what was called.
    let is_inbound = row.direction == VoiceDirection::Inbound;
    let number = number.or_else(|| is_inbound.then(|| numbers::sid(&row.to)));
    json!({
        "sid": row.sid,
        "account_sid": row.account,
        "parent_call_sid": row.parent,
        "phone_number_sid": number,
        "from": row.from,
        "from_formatted": row.from,
        "to": row.to,
        "to_formatted": row.to,
        "direction": row.direction.name(),
        "status": row.status.name(),
        "date_created": rfc2822(row.created),
        "date_updated": rfc2822(row.updated),
        "start_time": time(row.started),
        "end_time": time(row.ended),
        "duration": row.duration_s.map(|seconds| seconds.to_string()),
        "queue_time": row.queue_ms.to_string(),
        "answered_by": row.answered_by,
        "caller_name": row.caller_name,
        "forwarded_from": row.forwarded_from,
        "price": Value::Null,
        "price_unit": "USD",
        "group_sid": Value::Null,
        "trunk_sid": Value::Null,
        "annotation": Value::Null,
        "api_version": VERSION,
        "uri": uri,
        "subresource_uris": {
            "recordings": below("Recordings"),
            "streams": below("Streams"),
        },
    })
}
