//! `/v1/trunks`, `/v1/routes`, `/v1/numbers`, `/v1/groups`, `/v1/blocks` and `/v1/limits`: what calls are
//! routed by.
//!
//! A document is what the configuration file has as a table. Those of the store are read here, and written
//! by signaling, which checks each with everything else before it counts. Those of the file are
//! signaling's to tell, and nobody's to edit but the file's author.

mod describe;
mod kind;
mod sent;
mod view;

use std::sync::Arc;

use axum::{
    Extension, Json, extract,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use control::signal::{
    FileDocument, NewDocument, Request, Response as Told, RoutingEdit, RoutingOrder,
    RoutingOutcome, Secret,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::{RoutingDocument, Timestamp};
use utoipa_axum::router::OpenApiRouter;

use self::{kind::Kind, sent::Sent, view::View};
use crate::{
    State,
    access::Caller,
    asked::unexpected,
    body::Body,
    changes::{Change, Editor},
    edited::{IfMatch, Tagged},
    problem::Problem,
    query::{List, Params, limit},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    let mut router = OpenApiRouter::new();
    for kind in kind::ALL {
        let (schemas, all, each) = describe::describe(kind);
        let of_all = get(list).post(create).layer(Extension(kind));
        let of_each = get(one).put(replace).delete(remove).layer(Extension(kind));
        router = router
            .routes((schemas, all, of_all))
            .routes((Vec::new(), each, of_each));
    }
    router
}

/// Where a page goes on.
enum Place {
    /// After so many of the file's.
    File(usize),
    /// After this one of the store's.
    Store(String),
}

impl Place {
    fn parse(cursor: Option<&str>) -> Result<Self, Problem> {
        let wrong = || Problem::bad_parameter("cursor: it is not a 'next' of this list");
        match cursor.map(|cursor| cursor.split_at_checked(1)) {
            None => Ok(Self::File(0)),
            Some(Some(("f", place))) => place.parse().map(Self::File).map_err(|_| wrong()),
            Some(Some(("s", id))) => Ok(Self::Store(id.to_owned())),
            Some(_) => Err(wrong()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::File(place) => format!("f{place}"),
            Self::Store(id) => format!("s{id}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    limit: Option<u32>,
    cursor: Option<String>,
    tenant: Option<String>,
}

/// The file's, in its order, and the store's, by id.
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    Extension(kind): Extension<&'static Kind>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<List<View>>, Problem> {
    let limit = limit(query.limit)?;
    let place = Place::parse(query.cursor.as_deref())?;
    if query.tenant.is_some() && !kind.is_tenants {
        let detail = format!("tenant: {} are the node's", kind.path);
        return Err(Problem::bad_parameter(detail));
    }
    let tenant = caller.confine(query.tenant)?;
    // What the file brings is the node's.
    let of_file = match tenant {
        None => of_file(&state, kind).await?,
        Some(_) => Vec::new(),
    };
    let wanted = limit + 1;
    let mut found = Vec::new();
    let mut after = String::new();
    match place {
        Place::File(place) => {
            let rest = (place + 1..).zip(of_file.iter().skip(place));
            let views = rest.map(|(place, file)| (Place::File(place), View::of_file(kind, file)));
            found.extend(views.take(wanted as usize));
        }
        Place::Store(id) => after = id,
    }
    let left = wanted.saturating_sub(u32::try_from(found.len()).unwrap_or(wanted));
    if left > 0 {
        let documents = match &tenant {
            None => state.store.routing(kind.stored, &after, left).await,
            Some(tenant) => {
                let store = &state.store;
                let documents = store.routing_of_tenant(kind.stored, tenant, &after, left);
                documents.await
            }
        };
        let documents = documents?;
        let views = documents.iter().map(|stored| {
            let mark = Place::Store(stored.id.clone());
            (mark, View::of_store(kind, stored))
        });
        found.extend(views);
    }
    let list = List::cut(found.into_iter(), limit, |(place, _)| place.text());
    Ok(Json(List {
        items: list.items.into_iter().map(|(_, view)| view).collect(),
        next: list.next,
    }))
}

async fn create(
    extract::State(state): extract::State<Arc<State>>,
    Extension(kind): Extension<&'static Kind>,
    editor: Editor,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let sent = Sent::read(kind, body)?;
    let id = sent.id_of_new(kind)?;
    let tenant = editor.caller.confine(sent.tenant.clone().flatten())?;
    sent.check_places(&state, kind, &editor.caller, None)
        .await?;
    let edit = RoutingEdit::Create(NewDocument {
        document: Secret::new(sent.document()),
        tenant: tenant.clone(),
    });
    let stored = match obey(&state, kind, &id, edit).await? {
        RoutingOutcome::Exists => {
            let detail = format!("there is a {} '{id}' already; PUT replaces it", kind.one);
            return Err(Problem::conflict(detail));
        }
        outcome => stored(kind, &id, tenant, outcome)?,
    };
    let view = View::of_store(kind, &stored);
    record(&state, &editor, "create", kind, &stored).await;
    // Of what an id may hold, only this has a meaning of its own.
    let place = format!("/v1/{}/{}", kind.path, id.replace('#', "%23"));
    let created = Tagged(stored.updated, view);
    Ok((StatusCode::CREATED, [("location", place)], created).into_response())
}

async fn one(
    extract::State(state): extract::State<Arc<State>>,
    Extension(kind): Extension<&'static Kind>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Response, Problem> {
    Ok(match find(&state, kind, &caller, &id).await? {
        Found::File(file) => Json(View::of_file(kind, &file)).into_response(),
        Found::Store(stored) => {
            Tagged(stored.updated, View::of_store(kind, &stored)).into_response()
        }
    })
}

async fn replace(
    extract::State(state): extract::State<Arc<State>>,
    Extension(kind): Extension<&'static Kind>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let before = find_stored(&state, kind, &editor.caller, &id).await?;
    if_match.check(before.updated)?;
    let sent = Sent::read(kind, body)?;
    sent.check_id(&id)?;
    // What is left out stays.
    let tenant = sent.tenant.clone();
    let tenant = tenant.unwrap_or_else(|| before.tenant.clone());
    let tenant = editor.caller.confine(tenant)?;
    sent.check_places(&state, kind, &editor.caller, Some(&before))
        .await?;
    let edit = RoutingEdit::Replace {
        new: NewDocument {
            document: Secret::new(sent.document()),
            tenant: tenant.clone(),
        },
        unchanged_since: before.updated.millis(),
    };
    let outcome = obey(&state, kind, &id, edit).await?;
    let stored = stored(kind, &id, tenant, outcome)?;
    record(&state, &editor, "update", kind, &stored).await;
    Ok(Tagged(stored.updated, View::of_store(kind, &stored)).into_response())
}

async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    Extension(kind): Extension<&'static Kind>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let before = find_stored(&state, kind, &editor.caller, &id).await?;
    if_match.check(before.updated)?;
    let edit = RoutingEdit::Remove {
        unchanged_since: before.updated.millis(),
    };
    let outcome = obey(&state, kind, &id, edit).await;
    match outcome.map_err(Problem::still_needed)? {
        RoutingOutcome::Removed => {}
        RoutingOutcome::OfFile => return Err(in_file(kind, &id)),
        _ => return Err(Problem::changed()),
    }
    record(&state, &editor, "delete", kind, &before).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a document is.
enum Found {
    File(FileDocument),
    Store(RoutingDocument),
}

/// The document of this id, where it exists for the caller.
async fn find(state: &State, kind: &Kind, caller: &Caller, id: &str) -> Result<Found, Problem> {
    if caller.sees(None) {
        let mut of_file = of_file(state, kind).await?.into_iter();
        // Of two with one name it counts.
        if let Some(file) = of_file.find(|file| file.id == id) {
            return Ok(Found::File(file));
        }
    }
    let stored = state.store.routing_document(kind.stored, id).await?;
    let stored = stored.filter(|stored| caller.sees(stored.tenant.as_deref()));
    stored.map(Found::Store).ok_or_else(|| missing(kind))
}

/// The same, where it is not the file's.
async fn find_stored(
    state: &State,
    kind: &Kind,
    caller: &Caller,
    id: &str,
) -> Result<RoutingDocument, Problem> {
    match find(state, kind, caller, id).await? {
        Found::Store(stored) => Ok(stored),
        Found::File(_) => Err(in_file(kind, id)),
    }
}

async fn of_file(state: &State, kind: &Kind) -> Result<Vec<FileDocument>, Problem> {
    match state.ask(Request::FileRouting(kind.asked)).await? {
        Told::FileRouting(documents) => Ok(documents),
        other => Err(unexpected(&other)),
    }
}

async fn obey(
    state: &State,
    kind: &Kind,
    id: &str,
    edit: RoutingEdit,
) -> Result<RoutingOutcome, Problem> {
    let order = RoutingOrder {
        kind: kind.asked,
        id: id.to_owned(),
        edit,
    };
    match state.ask(Request::Routing(order)).await? {
        Told::Routing(outcome) => Ok(outcome),
        other => Err(unexpected(&other)),
    }
}

/// What was stored, or why it was not.
fn stored(
    kind: &Kind,
    id: &str,
    tenant: Option<String>,
    outcome: RoutingOutcome,
) -> Result<RoutingDocument, Problem> {
    match outcome {
        RoutingOutcome::Stored {
            document,
            updated_ms,
        } => Ok(RoutingDocument {
            id: id.to_owned(),
            document: document.expose().to_owned(),
            tenant,
            updated: Timestamp::from_millis(updated_ms),
        }),
        RoutingOutcome::OfFile => Err(in_file(kind, id)),
        _ => Err(Problem::changed()),
    }
}

fn missing(kind: &Kind) -> Problem {
    let Kind { one, path, .. } = kind;
    Problem::not_found(format!(
        "there is no {one} of this id; GET /v1/{path} lists them"
    ))
}

fn in_file(kind: &Kind, id: &str) -> Problem {
    let Kind { one, path, .. } = kind;
    Problem::conflict(format!(
        "the {one} '{id}' is in the node's configuration file, as one of [[{path}]]: change it there, and \
         POST /v1/node/reload"
    ))
}

async fn record(
    state: &State,
    editor: &Editor,
    action: &str,
    kind: &Kind,
    stored: &RoutingDocument,
) {
    let change = Change {
        action,
        kind: kind.path,
        target: &stored.id,
        tenant: stored.tenant.as_deref(),
        detail: View::of_store(kind, stored).document(),
    };
    editor.record(state, change).await;
}
