//! `/healthz` and `/readyz`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, extract,
    response::{IntoResponse, Response},
};
use control::{
    Client, Protocol, media,
    signal::{self, SignalStatus},
};
use serde_json::json;
use store::StoreError;

use crate::{Front, problem::Problem};

/// How long a part of the node may take to answer: probes give up after a few seconds themselves.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What a check said last time, so that the log tells changes only.
#[derive(Debug, Default)]
pub(crate) struct Last(Mutex<Option<String>>);

/// The process serves. Says nothing of the others: a restart of this one would not help them.
pub(crate) async fn healthz() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// The node takes new calls: signaling and mediad answer, and nobody drains it. A database that is away,
/// or takes no writes, is told and does not count: registered users go on calling, and all nodes that
/// share it would be taken out of service at once.
pub(crate) async fn readyz(extract::State(front): extract::State<Arc<Front>>) -> Response {
    let (status, mediad, answers) = tokio::join!(status(&front), mediad(&front), ping(&front));
    let store = store(&front, status.as_ref().ok(), answers);
    let signaling = status.and_then(|status| takes_calls(&status));
    let checks = json!({
        "signaling": text(&signaling),
        "mediad": text(&mediad),
        "store": text(&store),
    });
    let failed: Vec<_> = [("signaling", signaling), ("mediad", mediad)]
        .into_iter()
        .filter_map(|(name, check)| Some(format!("{name}: {}", check.err()?)))
        .collect();
    let detail = failed.join("; ");
    if front.last_readiness.changes_to(&detail) {
        match detail.as_str() {
            "" => tracing::info!("ready"),
            reason => tracing::warn!(reason, "not ready"),
        }
    }
    if detail.is_empty() {
        let status = if store.is_ok() { "ready" } else { "degraded" };
        Json(json!({ "status": status, "checks": checks })).into_response()
    } else {
        Problem::not_ready(detail, checks).into_response()
    }
}

impl Last {
    /// Whether it was another one before; the next time it is not.
    fn changes_to(&self, detail: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() == Some(detail) {
            return false;
        }
        *last = Some(detail.to_owned());
        true
    }
}

/// How signaling is.
pub(crate) async fn status(front: &Front) -> Result<SignalStatus, String> {
    match ask(&front.state.signal, signal::Request::Status).await? {
        signal::Response::Status(status) => Ok(status),
        other => Err(format!("unexpected answer {other:?}")),
    }
}

fn takes_calls(status: &SignalStatus) -> Result<(), String> {
    if status.draining {
        return Err(
            "draining: it refuses new calls until it is told to take them again".to_owned(),
        );
    }
    match status.media {
        Some(_) => Ok(()),
        None => Err("it does not reach mediad".to_owned()),
    }
}

async fn mediad(front: &Front) -> Result<(), String> {
    match ask(&front.state.media, media::Request::Status).await? {
        media::Response::Status(_) => Ok(()),
        other => Err(format!("unexpected answer {other:?}")),
    }
}

/// Whether the database answers, and that soon.
pub(crate) async fn ping(front: &Front) -> Result<(), StoreError> {
    let late = Err(StoreError::Timeout(PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, front.state.store.ping())
        .await
        .unwrap_or(late)
}

/// What a ping and signaling, which writes most, say of the database. The log tells changes.
pub(crate) fn store(
    front: &Front,
    status: Option<&SignalStatus>,
    answers: Result<(), StoreError>,
) -> Result<(), String> {
    let unwritten = status.is_some_and(|status| status.unwritten_s.is_some());
    // What the driver says may name servers and users, and anyone may read this page.
    let (check, reason) = match answers {
        Ok(()) if unwritten => {
            let check = "takes no writes: what is to be written waits in memory";
            // signaling's log says why.
            (Err(check), check.to_owned())
        }
        Ok(()) => (Ok(()), String::new()),
        Err(error @ StoreError::Moved { .. }) => (Err("its file is gone"), error.to_string()),
        Err(error @ StoreError::Timeout(_)) => (Err("answers too late"), error.to_string()),
        Err(error) => (Err("does not answer"), error.to_string()),
    };
    if front.last_store.changes_to(&reason) {
        match reason.as_str() {
            "" => tracing::info!("the database answers, and takes what is written"),
            _ => tracing::warn!(
                reason,
                "the database cannot be used: who is registered goes on calling, and records wait for it"
            ),
        }
    }
    check.map_err(str::to_owned)
}

/// Asks a daemon, with less patience than the control channel has.
pub(crate) async fn ask<P: Protocol>(
    client: &Client<P>,
    request: P::Request,
) -> Result<P::Response, String> {
    match tokio::time::timeout(PATIENCE, client.request(request)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(late()),
    }
}

fn late() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

fn text(check: &Result<(), String>) -> &str {
    check.as_ref().map_or_else(String::as_str, |()| "ok")
}
