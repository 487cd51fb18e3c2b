//! `Calls/{sid}/Streams`: what goes to a WebSocket server beside the call.

use axum::response::Response;
use control::signal::{VoiceDone, VoiceOrder, VoiceStream};
use serde_json::{Value, json};
use store::{Timestamp, VoiceCallRow, VoiceStreamRow};

use super::{
    Call, Error, Verb,
    calls::{ask, find, link, not_in_progress},
    created,
    date::rfc2822,
    page::Asked,
    shown,
};

/// Parameters of one stream at most.
const MOST_PARAMETERS: usize = 99;

pub(super) async fn all(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let of = find(call, sid).await?;
    match verb {
        Verb::Get => {
            let streams = call.state.store.voice_streams(sid).await?;
            let views = streams.iter().map(|stream| view(call, stream));
            Ok(Asked::of(call)?.slice(call, "streams", views))
        }
        Verb::Post => create(call, &of).await,
        Verb::Delete => Err(Error::method()),
    }
}

async fn create(call: &Call<'_>, of: &VoiceCallRow) -> Result<Response, Error> {
    if of.ended.is_some() {
        return Err(not_in_progress());
    }
    let form = &call.form;
    let url = form
        .text("Url")
        .ok_or_else(|| Error::invalid("Url is required"))?;
    if !(url.starts_with("wss://") || url.starts_with("ws://")) {
        return Err(Error::bad(31922, "Url is not of wss: or ws:"));
    }
    let tracks = ["inbound_track", "outbound_track", "both_tracks"];
    let track = form.one_of("Track", &tracks)?;
    let mut parameters = Vec::new();
    for number in 1..=MOST_PARAMETERS {
        if let Some(name) = form.text(&format!("Parameter{number}.Name")) {
            let value = form
                .given(&format!("Parameter{number}.Value"))
                .unwrap_or_default();
            parameters.push((name.to_owned(), value.to_owned()));
        }
    }
    let name = form.text("Name").unwrap_or_default().to_owned();
    let stream = VoiceStream {
        url: url.to_owned(),
        name: name.clone(),
        inbound: track != Some("outbound_track"),
        outbound: matches!(track, Some("outbound_track" | "both_tracks")),
        status: link(call, "StatusCallback", "StatusCallbackMethod")?,
        parameters,
    };
    let order = VoiceOrder::Stream {
        call: of.sid.clone(),
        stream: Box::new(stream),
    };
    let VoiceDone::Sid(sid) = ask(call, order).await? else {
        return Err(Error::internal(
            "signaling did not say which stream it begins",
        ));
    };
    let now = Timestamp::now();
    let row = VoiceStreamRow {
        name: if name.is_empty() { sid.clone() } else { name },
        sid,
        account: call.account.sid.clone(),
        call: of.sid.clone(),
        is_up: true,
        created: now,
        updated: now,
        sequence: 0,
    };
    call.state
        .store
        .upsert_voice_streams(None, std::slice::from_ref(&row))
        .await?;
    call.record(
        "create",
        "voice-streams",
        &row.sid,
        json!({ "call": of.sid }),
    )
    .await;
    Ok(created(view(call, &row)))
}

/// One of them, by its SID or its name.
pub(super) async fn one(
    call: &Call<'_>,
    verb: Verb,
    sid: &str,
    stream: &str,
) -> Result<Response, Error> {
    let of = find(call, sid).await?;
    let streams = call.state.store.voice_streams(&of.sid).await?;
    let known = streams
        .into_iter()
        .filter(|row| row.sid == stream || row.name == stream);
    // A name is used again when its stream is over: what is under way is meant, or the last one.
    let row = known.max_by_key(|row| (row.sid == stream, row.is_up, row.created));
    let row = row.ok_or_else(|| call.missing())?;
    match verb {
        Verb::Get => Ok(shown(view(call, &row))),
        Verb::Delete => Err(Error::method()),
        Verb::Post => {
            if call.form.one_of("Status", &["stopped"])?.is_none() {
                return Err(Error::invalid("Status: a stream can be 'stopped'"));
            }
            if row.is_up {
                let order = VoiceOrder::StopStream {
                    call: of.sid,
                    stream: row.sid.clone(),
                };
                match ask(call, order).await {
                    // It has ended by itself meanwhile.
                    Err(error) if error.is_missing() => {}
                    done => drop(done?),
                }
            }
            let row = VoiceStreamRow {
                is_up: false,
                updated: Timestamp::now(),
                ..row
            };
            call.record(
                "update",
                "voice-streams",
                &row.sid,
                json!({ "status": "stopped" }),
            )
            .await;
            Ok(shown(view(call, &row)))
        }
    }
}

fn view(call: &Call<'_>, row: &VoiceStreamRow) -> Value {
    json!({
        "sid": row.sid,
        "account_sid": row.account,
        "call_sid": row.call,
        "name": row.name,
        "status": if row.is_up { "in-progress" } else { "stopped" },
        "date_updated": rfc2822(row.updated),
        "uri": call.path(&format!("/Calls/{}/Streams/{}.json", row.call, row.sid)),
    })
}
