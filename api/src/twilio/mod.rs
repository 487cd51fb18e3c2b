//! `/2010-04-01`: what clients of Twilio's REST API know, so that its SDKs work with another base URL.
//!
//! Basic authentication, form bodies, JSON answers in snake_case with dates as in RFC 2822, pages, and errors of
//! `code`, `message`, `more_info` and `status`. It is not in `/openapi.json`: Twilio publishes its own document.
//!
//! A path ends in `.json`, and the router knows no such endings: so one handler is behind all paths, and
//! [`answer`] is the list of what there is.

mod accounts;
mod applications;
mod auth;
mod calls;
mod date;
mod error;
mod form;
mod keys;
mod messages;
mod numbers;
mod page;
mod parties;
mod recordings;
mod streams;

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{ConnectInfo, Request, State as Shared},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use store::{Account, Timestamp};

use self::{error::Error, form::Form};
use crate::{
    Front, MOST_BODY, State,
    access::Caller,
    changes::{Change, Editor, RequestId},
    middleware,
};

/// Before every path, and in what answers say.
const VERSION: &str = "2010-04-01";

/// The endpoints.
pub(crate) fn router() -> Router<Arc<Front>> {
    Router::new()
        .route("/2010-04-01/{*path}", any(serve))
        .route_layer(from_fn(middleware::open))
}

/// A request of somebody who may make it.
struct Call<'a> {
    state: &'a State,
    account: Account,
    method: Method,
    uri: Uri,
    /// What a form has, or for a GET the query.
    form: Form,
    /// Where the API was asked, for what has to be an absolute URL.
    base: String,
    editor: Editor,
}

async fn serve(Shared(front): Shared<Arc<Front>>, request: Request) -> Response {
    match receive(&front, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn receive(front: &Front, request: Request) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let source = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>();
    let source = source
        .ok_or_else(|| Error::internal("a request has no source"))?
        .0;
    let (account, actor) = auth::account(front, source.ip(), &parts.headers).await?;
    let id = parts.extensions.get::<RequestId>();
    let id = id.map_or_else(String::new, |id| id.0.clone());
    let caller = Caller {
        actor,
        role: store::Role::Developer,
        tenant: account.tenant.clone(),
        key: None,
        is_session: false,
        ends: None,
    };
    let body = to_bytes(body, MOST_BODY).await;
    let body = body.map_err(|_| Error::invalid("the body broke off"))?;
    let call = Call {
        state: &front.state,
        account,
        form: Form::read(&parts.method, &parts.headers, &parts.uri, body).await?,
        base: base(front, &parts.headers),
        method: parts.method,
        uri: parts.uri,
        editor: Editor::new(caller, source, id),
    };
    let path = call.uri.path().to_owned();
    let path = path.strip_prefix("/2010-04-01/").unwrap_or_default();
    answer(&call, path).await
}

/// What there is, by method and path.
async fn answer(call: &Call<'_>, path: &str) -> Result<Response, Error> {
    let (path, ending) = match path.rsplit_once('.') {
        Some((path, ending @ ("json" | "wav"))) => (path, ending),
        _ => (path, ""),
    };
    let segments: Option<Vec<_>> = path.split('/').map(decoded).collect();
    let segments = segments.ok_or_else(|| call.missing())?;
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let ["Accounts", rest @ ..] = segments.as_slice() else {
        return Err(call.missing());
    };
    let (own, rest) = match rest {
        [] => (None, rest),
        [account, rest @ ..] => (Some(*account), rest),
    };
    // Nobody learns which others there are.
    if own.is_some_and(|own| own != call.account.sid) {
        return Err(call.missing());
    }
    let verb = match call.method {
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Post,
        Method::DELETE => Verb::Delete,
        _ => return Err(Error::method()),
    };
    if own.is_none() {
        return accounts::list(call, verb);
    }
    match *rest {
        [] => accounts::one(call, verb).await,
        ["Calls"] => calls::all(call, verb).await,
        ["Calls", sid] => calls::one(call, verb, sid).await,
        ["Calls", sid, "Recordings"] => recordings::of_call(call, verb, sid).await,
        ["Calls", sid, "Recordings", recording] => {
            recordings::one_of_call(call, verb, sid, recording).await
        }
        ["Calls", sid, "Streams"] => streams::all(call, verb, sid).await,
        ["Calls", sid, "Streams", stream] => streams::one(call, verb, sid, stream).await,
        ["Recordings"] => recordings::all(call, verb).await,
        ["Recordings", sid] if ending == "json" => recordings::one(call, verb, sid).await,
        ["Recordings", sid] => recordings::sound(call, verb, sid).await,
        ["IncomingPhoneNumbers"] => numbers::all(call, verb).await,
        ["IncomingPhoneNumbers", sid] => numbers::one(call, verb, sid).await,
        ["Applications"] => applications::all(call, verb).await,
        ["Applications", sid] => applications::one(call, verb, sid).await,
        ["Keys"] => keys::all(call, verb).await,
        ["Keys", sid] => keys::one(call, verb, sid).await,
        ["Messages"] => messages::all(call, verb).await,
        ["Messages", sid] => messages::one(call, verb, sid).await,
        ["Messages", sid, "Media"] => messages::media(call, verb, sid).await,
        ["Conferences" | "Queues", ..] => {
            Err(Error::unsupported("conferences and queues are not built"))
        }
        _ => Err(call.missing()),
    }
}

/// A segment of a path without its escapes: a name may have any character. `None` where that is no text, or has
/// a NUL, which PostgreSQL's text cannot hold.
fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(segment.into());
    }
    let (mut octets, mut rest) = (Vec::new(), segment);
    while let Some((before, after)) = rest.split_once('%') {
        octets.extend_from_slice(before.as_bytes());
        let digits = after.get(..2)?;
        // A sign is none of them.
        let is_number = digits.bytes().all(|b| b.is_ascii_hexdigit());
        octets.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_number)?);
        rest = after.get(2..)?;
    }
    octets.extend_from_slice(rest.as_bytes());
    let text = String::from_utf8(octets).ok()?;
    (!text.contains('\0')).then(|| text.into())
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Delete,
}

impl Call<'_> {
    /// The path of something of the account's, without an ending.
    fn path(&self, below: &str) -> String {
        format!("/{VERSION}/Accounts/{}{below}", self.account.sid)
    }

    /// There is nothing here.
    fn missing(&self) -> Error {
        Error::missing(self.uri.path())
    }

    /// Writes down what was done.
    async fn record(&self, action: &str, kind: &str, target: &str, detail: Value) {
        let change = Change {
            action,
            kind,
            target,
            tenant: self.account.tenant.as_deref(),
            detail,
        };
        self.editor.record(self.state, change).await;
    }
}

fn shown(view: Value) -> Response {
    Json(view).into_response()
}

fn created(view: Value) -> Response {
    (StatusCode::CREATED, Json(view)).into_response()
}

fn gone() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// When something is, or `null`.
fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| json!(date::rfc2822(time)))
}

/// How a client sees this API.
fn base(front: &Front, headers: &HeaderMap) -> String {
    if let Some(url) = &front.state.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if front.tls.is_some() { "https" } else { "http" };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn a_segment_has_its_escapes_taken_away() {
        for (segment, text) in [
            ("mine", Some("mine")),
            ("my%20own%2F%c3%bc", Some("my own/\u{fc}")),
            ("100%25", Some("100%")),
            ("%", None),
            ("%2", None),
            ("%+f", None),
            ("%zz", None),
            ("%ff", None),
            ("%00", None),
        ] {
            assert_eq!(decoded(segment).as_deref(), text, "{segment}");
        }
    }
}
