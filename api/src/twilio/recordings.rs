//! `Recordings`, of the account and of a call.

use std::time::Duration;

use axum::response::Response;
use control::signal::{RecordingChange, VoiceDone, VoiceOrder};
use serde_json::{Value, json};
use store::{Timestamp, VoiceCallRow, VoiceRecordingFilter, VoiceRecordingRow};
use tokio::time::sleep;

use super::{
    Call, Error, VERSION, Verb,
    calls::{ask, between, find, not_in_progress, recording as sent},
    created,
    date::rfc2822,
    gone,
    page::Asked,
    shown,
};
use crate::recordings::{file, sweep};

/// How often one that is being written is looked for again, and how long after.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// What stands for the recording that goes on.
const CURRENT: &str = "Twilio.CURRENT";

pub(super) async fn all(call: &Call<'_>, verb: Verb) -> Result<Response, Error> {
    match verb {
        Verb::Get => list(call, call.form.text("CallSid")).await,
        _ => Err(Error::method()),
    }
}

pub(super) async fn of_call(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let of = find(call, sid).await?;
    match verb {
        Verb::Get => list(call, Some(&of.sid)).await,
        Verb::Post => create(call, &of).await,
        Verb::Delete => Err(Error::method()),
    }
}

async fn list(call: &Call<'_>, of: Option<&str>) -> Result<Response, Error> {
    let asked = Asked::of(call)?;
    let (since, until) = between(call, "DateCreated")?;
    let filter = VoiceRecordingFilter {
        account: call.account.sid.clone(),
        call: of.map(str::to_owned),
        since,
        until,
    };
    let store = &call.state.store;
    let page = store
        .voice_recordings(&filter, asked.size, asked.cursor()?)
        .await?;
    let items = page.items.iter().map(|row| view(call, row)).collect();
    let next = page.next.map(|next| Some(next.to_string()));
    Ok(asked.page(call, "recordings", items, next))
}

async fn create(call: &Call<'_>, of: &VoiceCallRow) -> Result<Response, Error> {
    if of.ended.is_some() {
        return Err(not_in_progress());
    }
    let recording = sent(call, false)?;
    let track = match (recording.inbound, recording.outbound) {
        (true, false) => "inbound",
        (false, true) => "outbound",
        _ => "both",
    };
    let channels = recording.channels;
    let order = VoiceOrder::Record {
        call: of.sid.clone(),
        recording: Box::new(recording),
    };
    let VoiceDone::Sid(sid) = ask(call, order).await? else {
        return Err(Error::internal(
            "signaling did not say which recording it begins",
        ));
    };
    let now = Timestamp::now();
    let row = VoiceRecordingRow {
        sid,
        account: call.account.sid.clone(),
        call: of.sid.clone(),
        channels,
        source: "StartCallRecordingAPI".to_owned(),
        track: track.to_owned(),
        status: "in-progress".to_owned(),
        started: now,
        duration_ms: None,
        error: None,
        created: now,
        updated: now,
        sequence: 0,
    };
    call.state
        .store
        .upsert_voice_recordings(None, std::slice::from_ref(&row))
        .await?;
    call.record(
        "create",
        "voice-recordings",
        &row.sid,
        json!({ "call": of.sid }),
    )
    .await;
    Ok(created(view(call, &row)))
}

pub(super) async fn one(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let row = known(call, sid).await?;
    match verb {
        Verb::Get => Ok(shown(view(call, &row))),
        Verb::Delete => remove(call, &row).await,
        Verb::Post => Err(Error::method()),
    }
}

pub(super) async fn one_of_call(
    call: &Call<'_>,
    verb: Verb,
    sid: &str,
    recording: &str,
) -> Result<Response, Error> {
    let of = find(call, sid).await?;
    if verb == Verb::Post {
        return change(call, &of, recording).await;
    }
    let row = known(call, recording).await?;
    if row.call != of.sid {
        return Err(call.missing());
    }
    match verb {
        Verb::Get => Ok(shown(view(call, &row))),
        _ => remove(call, &row).await,
    }
}

/// Pauses, resumes or stops it.
async fn change(call: &Call<'_>, of: &VoiceCallRow, recording: &str) -> Result<Response, Error> {
    if recording != CURRENT && known(call, recording).await?.call != of.sid {
        return Err(call.missing());
    }
    let skip = call.form.one_of("PauseBehavior", &["skip", "silence"])? == Some("skip");
    let status = call
        .form
        .one_of("Status", &["paused", "in-progress", "stopped"])?;
    let (change, status) = match status {
        Some(status @ "paused") => (RecordingChange::Pause { skip }, status),
        Some(status @ "in-progress") => (RecordingChange::Resume, status),
        Some(status) => (RecordingChange::Stop, status),
        None => return Err(Error::invalid("Status is required")),
    };
    let order = VoiceOrder::ChangeRecording {
        call: of.sid.clone(),
        recording: recording.to_owned(),
        change,
    };
    let VoiceDone::Sid(sid) = ask(call, order).await? else {
        return Err(Error::internal(
            "signaling did not say which recording it changed",
        ));
    };
    call.record(
        "update",
        "voice-recordings",
        &sid,
        json!({ "status": status }),
    )
    .await;
    // Before signaling's writer has written it.
    let mut row = known(call, &sid).await?;
    row.status = status.to_owned();
    Ok(shown(view(call, &row)))
}

/// `.wav`, or nothing behind the SID: what was said.
pub(super) async fn sound(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let row = known(call, sid).await?;
    match verb {
        Verb::Get => {}
        Verb::Delete => return remove(call, &row).await,
        Verb::Post => return Err(Error::method()),
    }
    let id = row.id().ok_or_else(|| call.missing())?;
    let mut recording = call.state.store.recording(id).await?;
    // Whoever is told that it is there may come before signaling's writer has written it.
    let mut tries = if row.duration_ms.is_none() { TRIES } else { 0 };
    while recording.is_none() && tries > 0 {
        sleep(PAUSE).await;
        recording = call.state.store.recording(id).await?;
        tries -= 1;
    }
    let recording = recording.ok_or_else(|| call.missing())?;
    file(call.state, &recording)
        .await
        .ok_or_else(|| call.missing())
}

async fn remove(call: &Call<'_>, row: &VoiceRecordingRow) -> Result<Response, Error> {
    if row.duration_ms.is_none() && row.status != "absent" {
        return Err(Error::bad(
            20009,
            "Cannot delete a recording that is not over",
        ));
    }
    if !call.state.store.remove_voice_recording(row).await? {
        return Err(call.missing());
    }
    call.record(
        "delete",
        "voice-recordings",
        &row.sid,
        json!({ "call": row.call }),
    )
    .await;
    sweep(call.state).await;
    Ok(gone())
}

async fn known(call: &Call<'_>, sid: &str) -> Result<VoiceRecordingRow, Error> {
    let row = call.state.store.voice_recording(sid).await?;
    let row = row.filter(|row| row.account == call.account.sid);
    row.ok_or_else(|| call.missing())
}

fn view(call: &Call<'_>, row: &VoiceRecordingRow) -> Value {
    let place = call.path(&format!("/Recordings/{}", row.sid));
    let seconds = row.duration_ms.map(|ms| ms.div_ceil(1_000));
    json!({
        "sid": row.sid,
        "account_sid": row.account,
        "call_sid": row.call,
        "conference_sid": Value::Null,
        "channels": row.channels,
        "source": row.source,
        "track": row.track,
        "status": row.status,
        "start_time": rfc2822(row.started),
        "duration": seconds.map(|seconds| seconds.to_string()),
        "date_created": rfc2822(row.created),
        "date_updated": rfc2822(row.updated),
        "error_code": row.error,
        "price": Value::Null,
        "price_unit": "USD",
        "encryption_details": Value::Null,
        "api_version": VERSION,
        "uri": format!("{place}.json"),
        "media_url": format!("{}{place}", call.base),
        "subresource_uris": {},
    })
}
