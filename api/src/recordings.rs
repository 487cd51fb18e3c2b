//! `/v1/recordings`: what of calls is in sound files.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use axum::{
    Json,
    body::Body,
    extract,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Recording, RecordingFilter, Store, StoreError, Timestamp, Uuid};
use tokio::task::spawn_blocking;
use tracing::warn;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    changes::Editor,
    problem::Problem,
    query::{List, Params, cursor, limit},
    thing::Thing,
};

/// Octets that are read of a file at a time.
const PART: usize = 64 << 10;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, remove))
        .routes(routes!(audio))
        .routes(routes!(packets))
}

/// A sound file of a call.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordingView {
    id: Uuid,
    /// The call: the `id` of its record.
    call: Uuid,
    /// Whose call it was; `null`: the node's.
    tenant: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    started: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ended: Timestamp,
    /// 1, or 2: the caller left, the callee right.
    channels: u8,
    /// Of the file; 0 where it could not be seen when the call ended.
    bytes: u64,
    /// The node that has the file, and whose API has its audio.
    node: String,
    /// Where it is heard; of packets, where they are.
    #[schema(example = "/v1/recordings/019a2f6e-7d7c-7c5e-9c57-0f3b1d3c2a11/audio.wav")]
    audio: String,
}

impl From<Recording> for RecordingView {
    fn from(recording: Recording) -> Self {
        Self {
            audio: format!("/v1/recordings/{}/{}", recording.id, part(&recording)),
            id: recording.id,
            call: recording.call,
            tenant: recording.tenant,
            started: recording.started,
            ended: recording.ended,
            channels: recording.channels,
            bytes: recording.bytes,
            node: recording.node,
        }
    }
}

/// What a recording is, in the path that it is fetched by.
fn part(recording: &Recording) -> &'static str {
    match is_pcap(recording) {
        true => "packets.pcap",
        false => "audio.wav",
    }
}

fn is_pcap(recording: &Recording) -> bool {
    Path::new(&recording.file).extension() == Some("pcap".as_ref())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordingsQuery {
    /// 1 to 1000; 100 unless told.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Of this call: the `id` of its record.
    call: Option<Uuid>,
    /// Of this tenant's calls.
    tenant: Option<String>,
    /// Begun not before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Begun before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// The recordings, newest first.
#[utoipa::path(get, path = "/recordings", tag = "recordings", params(RecordingsQuery),
    security(("bearer" = ["viewer"])), responses((status = 200, body = List<RecordingView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<RecordingsQuery>,
) -> Result<Json<List<RecordingView>>, Problem> {
    let limit = limit(query.limit)?;
    let cursor = cursor(query.cursor)?;
    let filter = RecordingFilter {
        call: query.call,
        tenant: caller.confine(query.tenant)?,
        since: query.since,
        until: query.until,
    };
    let page = state.store.recordings(&filter, limit, cursor).await?;
    Ok(Json(List {
        items: page.items.into_iter().map(RecordingView::from).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

/// A recording.
#[utoipa::path(get, path = "/recordings/{id}", tag = "recordings", params(("id" = Uuid, Path)),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = RecordingView),
        (status = 404, description = "There is none of this id")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Json<RecordingView>, Problem> {
    Ok(Json(state.find::<Recording>(&caller, &id).await?.into()))
}

/// What was said, as a WAV file.
#[utoipa::path(get, path = "/recordings/{id}/audio.wav", tag = "recordings", params(("id" = Uuid, Path)),
    security(("bearer" = ["operator"])), responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "audio/wav"),
        (status = 404, description = "There is none of this id, or its file is not on this node")))]
async fn audio(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Response, Problem> {
    let recording: Recording = state.find(&caller, &id).await?;
    file(&state, &recording).await.ok_or_else(|| {
        Problem::not_found("the file of this recording is not in the folder of [media] recordings")
    })
}

/// The packets of a call that was recorded so, as a pcap file.
#[utoipa::path(get, path = "/recordings/{id}/packets.pcap", tag = "recordings", params(("id" = Uuid, Path)),
    security(("bearer" = ["operator"])), responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "application/vnd.tcpdump.pcap"),
        (status = 404, description = "There is none of this id, or its file is not on this node")))]
async fn packets(
    state: extract::State<Arc<State>>,
    id: extract::Path<String>,
    caller: Caller,
) -> Result<Response, Problem> {
    audio(state, id, caller).await
}

/// The answer that has what was said, where the file is here.
pub(crate) async fn file(state: &State, recording: &Recording) -> Option<Response> {
    let folder = state.recordings.as_deref();
    let path = folder.and_then(|folder| recording.path(folder));
    let opened = spawn_blocking(move || {
        let file = File::open(path?).ok()?;
        let metadata = file.metadata().ok().filter(Metadata::is_file);
        Some((file, metadata?.len()))
    });
    let (file, length) = opened.await.ok().flatten()?;
    // One that is being written may be longer by now: no more than what was told.
    let parts = stream::try_unfold(file.take(length), |mut file| async move {
        let read = spawn_blocking(move || {
            let mut part = vec![0; PART];
            let length = file.read(&mut part)?;
            part.truncate(length);
            Ok::<_, io::Error>((part, file))
        });
        let (part, file) = read.await.map_err(io::Error::other)??;
        let part = Some(part).filter(|part| !part.is_empty());
        Ok::<_, io::Error>(part.map(|part| (Bytes::from(part), file)))
    });
    let (ending, content) = match is_pcap(recording) {
        true => ("pcap", "application/vnd.tcpdump.pcap"),
        false => ("wav", "audio/wav"),
    };
    let name = format!("attachment; filename=\"{}.{ending}\"", recording.id);
    let headers = [
        ("content-type", content.to_owned()),
        ("content-length", length.to_string()),
        ("content-disposition", name),
        ("cache-control", "no-store".to_owned()),
    ];
    Some((headers, Body::from_stream(parts)).into_response())
}

/// Removes a recording, with its file.
#[utoipa::path(delete, path = "/recordings/{id}", tag = "recordings", params(("id" = Uuid, Path)),
    security(("bearer" = ["operator"])), responses(
        (status = 204, description = "It is gone; a file that cannot be removed now, or is another node's, is removed by its node, which tries every hour"),
        (status = 404, description = "There is none of this id")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
) -> Result<StatusCode, Problem> {
    let recording: Recording = state.find(&editor.caller, &id).await?;
    if !state.store.condemn_recording(recording.id).await? {
        return Err(Problem::not_found(Recording::MISSING));
    }
    let detail = json!({ "call": recording.call });
    state.record(&editor, "delete", &recording, detail).await;
    sweep(&state).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes the files of this node's recordings that are to go; what fails is tried again every hour.
pub(crate) async fn sweep(state: &State) {
    if let Some(folder) = &state.recordings
        && let Err(error) = state.store.sweep_recordings(&state.node, folder).await
    {
        warn!(%error, "recordings that are to go are still there");
    }
}

impl Thing for Recording {
    const KIND: &'static str = "recordings";
    const MISSING: &'static str = "there is no recording of this id; GET /v1/recordings lists them";

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// A recording is never changed.
    fn updated(&self) -> Timestamp {
        self.ended
    }

    async fn find(store: &Store, id: &str) -> Result<Option<Self>, StoreError> {
        match Uuid::try_parse(id) {
            Ok(id) => store.recording(id).await,
            Err(_) => Ok(None),
        }
    }
}
