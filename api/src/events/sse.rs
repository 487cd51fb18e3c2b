//! `GET /v1/events`: server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract,
    http::HeaderMap,
    response::sse::{Event as Line, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use super::hub::Event;
use crate::{State, problem::Problem, query::Params};

/// So often something is sent, so that nobody between takes the connection for dead.
const ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The id of the last event that was seen; from now on unless told. The header field `Last-Event-ID` says
    /// the same.
    after: Option<String>,
}

/// What happens on the node, as it happens: a stream of server-sent events, whose `data` is a document and
/// whose `event` is its type. A comment comes every 15 s.
#[utoipa::path(get, path = "/events", tag = "events", params(EventsQuery),
    security(("bearer" = ["viewer", "node"])), responses(
        (status = 200, description = "It goes on until the client ends it", body = Event,
            content_type = "text/event-stream")))]
pub(super) async fn stream(
    extract::State(state): extract::State<Arc<State>>,
    headers: HeaderMap,
    Params(query): Params<EventsQuery>,
) -> Result<Sse<impl Stream<Item = Result<Line, Infallible>>>, Problem> {
    let last = headers.get("last-event-id");
    let last = last.map(|id| id.to_str().unwrap_or_default().to_owned());
    let listener = state.events.listen(last.or(query.after).as_deref());
    let lines = stream::unfold(listener, async |mut listener| {
        let event = listener.next().await?;
        Some((Ok(line(&event)), listener))
    });
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(ALIVE)))
}

fn line(event: &Event) -> Line {
    let line = Line::default().id(&event.id).event(event.what.kind());
    // Texts and numbers: nothing that JSON could not say.
    line.clone().json_data(event).unwrap_or(line)
}
