//! `GET /v1/events`: server-sent events, or a WebSocket where the client asks for one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        self,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    http::HeaderMap,
    response::{
        IntoResponse as _, Response,
        sse::{Event as Line, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use utoipa::IntoParams;

use super::{
    event::{Event, Wanted},
    hub::Listener,
};
use crate::{State, access::Caller, problem::Problem, query::Params};

/// So often something is sent, so that nobody between takes the connection for dead; and so often it is looked
/// whether who listens still may.
const ALIVE: Duration = Duration::from_secs(15);
/// A WebSocket of which nothing is heard for so long, or that takes nothing, is gone.
const GONE: Duration = Duration::from_secs(45);
/// Octets of a message from a client at most: none has anything to say.
const MOST: usize = 4096;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The id of the last event that was seen; from now on unless told. The header field `Last-Event-ID` says
    /// the same.
    after: Option<String>,
    /// Only these types, with commas between them; `call` stands for `call.updated` and `call.ended`.
    /// All unless told, but `quality.measured`, which is for those who name it, or `quality`.
    #[param(example = "call,ban.added")]
    types: Option<String>,
    /// Only what is this tenant's.
    tenant: Option<String>,
}

/// What happens on the node, as it happens: a stream of server-sent events, whose `data` is a document and
/// whose `event` is its type; a comment comes every 15 s. Asked for as a WebSocket (RFC 6455), each document
/// is a text message, and a ping comes every 15 s. A tenant's key hears of that tenant's calls and registrations.
#[utoipa::path(get, path = "/events", tag = "events", params(EventsQuery),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, description = "It goes on until the client ends it", body = Event,
            content_type = "text/event-stream"),
        (status = 101, description = "A WebSocket, as asked for")))]
pub(super) async fn events(
    extract::State(state): extract::State<Arc<State>>,
    headers: HeaderMap,
    caller: Caller,
    Params(query): Params<EventsQuery>,
    upgrade: Result<WebSocketUpgrade, extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let types = query.types.iter().flat_map(|types| types.split(','));
    let tenant = caller.confine(query.tenant)?;
    let wanted = Wanted::new(types.map(str::to_owned), tenant);
    let wanted = wanted.map_err(|error| Problem::bad_parameter(format!("types: {error}")))?;
    let last = headers.get("last-event-id");
    let last = last.map(|id| id.to_str().unwrap_or_default().to_owned());
    let last = last.or(query.after);
    if !is_websocket(&headers) {
        let listener = state.events.listen(wanted, last.as_deref());
        return Ok(lines(state, caller, listener).into_response());
    }
    let upgrade = upgrade.map_err(|error| Problem::bad_header(error.body_text()))?;
    let upgrade = upgrade.max_message_size(MOST).max_frame_size(MOST);
    Ok(upgrade.on_upgrade(async move |socket| {
        let listener = state.events.listen(wanted, last.as_deref());
        serve(socket, &state, &caller, listener).await;
    }))
}

/// Whether the client asks for a WebSocket; it may offer other protocols too.
fn is_websocket(headers: &HeaderMap) -> bool {
    let fields = headers.get_all("upgrade").iter();
    let mut names = fields.filter_map(|field| field.to_str().ok());
    names.any(|names| {
        let mut names = names.split(',');
        names.any(|name| name.trim().eq_ignore_ascii_case("websocket"))
    })
}

fn lines(
    state: Arc<State>,
    caller: Caller,
    listener: Listener,
) -> impl axum::response::IntoResponse {
    let start = (listener, ticks(), state, caller);
    let lines = stream::unfold(start, async |mut all| {
        let (listener, alive, state, caller) = &mut all;
        loop {
            tokio::select! {
                event = listener.next() => {
                    let line = line(&*event?);
                    return Some((Ok::<_, Infallible>(line), all));
                }
                _ = alive.tick() => {
                    if !state.keys.are_good_for(caller).await {
                        return None;
                    }
                }
            }
        }
    });
    Sse::new(lines).keep_alive(KeepAlive::new().interval(ALIVE))
}

fn line(event: &Event) -> Line {
    let line = Line::default().id(&event.id).event(event.what.kind());
    // Texts and numbers: nothing that JSON could not say.
    line.clone().json_data(event).unwrap_or(line)
}

fn ticks() -> Interval {
    let mut alive = interval_at(Instant::now() + ALIVE, ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    alive
}

/// Tells the events over a WebSocket, for as long as the client is there and may hear them.
async fn serve(mut socket: WebSocket, state: &State, caller: &Caller, mut listener: Listener) {
    let mut alive = ticks();
    let mut heard = Instant::now();
    let (code, reason) = loop {
        let message = tokio::select! {
            event = listener.next() => match event {
                Some(event) => text(&event),
                None => break (close_code::AWAY, "the node is being stopped"),
            },
            said = socket.recv() => match said {
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
                Some(Err(_)) | None => return,
            },
            _ = alive.tick() => {
                if heard.elapsed() >= GONE {
                    return;
                }
                if !state.keys.are_good_for(caller).await {
                    break (close_code::POLICY, "the key is not good any more");
                }
                Message::Ping(Bytes::new())
            }
        };
        if !matches!(timeout(GONE, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
    };
    let farewell = CloseFrame {
        code,
        reason: reason.into(),
    };
    // It goes either way.
    drop(timeout(ALIVE, socket.send(Message::Close(Some(farewell)))).await);
}

fn text(event: &Event) -> Message {
    Message::Text(serde_json::to_string(event).unwrap_or_default().into())
}
