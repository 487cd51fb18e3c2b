//! `/v1/events`: what happens on the node, as it happens.
//!
//! Each event has an id; who comes back with the last one that it saw (`Last-Event-ID`, or `after`) misses
//! nothing of the last few thousand, and is told where it has missed something.

mod event;
mod hub;
mod stream;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::State;

pub(crate) use event::{Event, MEASURED, TrunkState, Wanted};
pub(crate) use hub::Hub;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(stream::events))
}
