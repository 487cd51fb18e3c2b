//! The API for who is at the machine: what `/v1` serves, without HTTP and without a key.
//!
//! Who may read the node's configuration may open its database and its control socket, and needs no key to be
//! trusted. What is asked goes to the same handlers all the same: what is refused, what is stored and what
//! the record of changes says is decided in one place.

use std::{fmt, path::PathBuf, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{HeaderValue, Method, Request, Response, header},
};
use bytes::Bytes;
use control::{Client, media::Media, signal::Signal};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use store::{DEFAULT_TENANT, MAX_PAGE, Store};
use tower_service::Service as _;

use crate::{
    State,
    access::Caller,
    changes::{Change, Editor, HERE},
    domains::Owners,
    openapi,
};

/// The API, for one who is at the machine.
pub struct Local {
    router: Router,
    state: Arc<State>,
    caller: Arc<Caller>,
}

/// What the API said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The body; `Null` where there is none.
    pub body: Value,
    /// The state of the thing, to be given back as `If-Match`.
    pub tag: Option<String>,
}

/// Why the API did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// It refuses; the reasons, a line each.
    #[error("{reasons}")]
    Refused {
        /// The status that a client would see, such as 404.
        status: u16,
        /// In words.
        reasons: String,
    },
    /// An answer broke off, as a stream does where the database fails.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

impl Local {
    /// Everything is allowed; the record of changes names `actor`. Where `signal` does not lead to a node, what
    /// needs one is refused, and the rest goes on. `recordings` is the folder of recordings of calls.
    pub fn new(
        node: String,
        store: Store,
        signal: Client<Signal>,
        media: Client<Media>,
        recordings: Option<PathBuf>,
        actor: String,
    ) -> Self {
        let (v1, _) = openapi::v1().split_for_parts();
        let state = Arc::new(State {
            recordings,
            ..State::new(node, store, signal, media)
        });
        Self {
            router: v1.with_state(state.clone()),
            state,
            caller: Arc::new(Caller::admin(actor)),
        }
    }

    /// What is at a path, such as that of [`path`](Self::path).
    ///
    /// # Errors
    /// [`LocalError::Refused`], with 404 where there is nothing.
    pub async fn get(&self, path: &str) -> Result<Answer, LocalError> {
        self.send(Method::GET, path, None, &Value::Null).await
    }

    /// Every item of a list, page after page; at most `most` of them.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<Vec<Value>, LocalError> {
        let mut items = Vec::new();
        let mut next = None;
        while items.len() < most {
            let wanted = (most - items.len()).min(MAX_PAGE as usize).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &wanted));
            query.extend(next.as_deref().map(|next| ("cursor", next)));
            let mut page = self.get(&Self::with_query(path, &query)).await?.body;
            if let Some(Value::Array(some)) = page.get_mut("items").map(Value::take) {
                items.extend(some);
            }
            next = page["next"].as_str().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// Makes a new thing in a list.
    ///
    /// # Errors
    /// [`LocalError::Refused`]; nothing was changed then.
    pub async fn create(&self, path: &str, body: &Value) -> Result<Answer, LocalError> {
        self.send(Method::POST, path, None, body).await
    }

    /// Puts another state in the place of the one that has this [`Answer::tag`].
    ///
    /// # Errors
    /// As [`create`](Self::create); 412 where it has another tag by now.
    pub async fn replace(
        &self,
        path: &str,
        tag: Option<&str>,
        body: &Value,
    ) -> Result<Answer, LocalError> {
        self.send(Method::PUT, path, tag, body).await
    }

    /// Changes what `body` names of the thing that has this [`Answer::tag`].
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub async fn change(
        &self,
        path: &str,
        tag: Option<&str>,
        body: &Value,
    ) -> Result<Answer, LocalError> {
        self.send(Method::PATCH, path, tag, body).await
    }

    /// Takes a thing away, where it has this [`Answer::tag`].
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub async fn remove(&self, path: &str, tag: Option<&str>) -> Result<(), LocalError> {
        self.send(Method::DELETE, path, tag, &Value::Null)
            .await
            .map(drop)
    }

    /// Tells the record of changes what was done by way of signaling to a user, or to what is its own: `kind` is
    /// `users`, or `registrations`.
    pub async fn record_of_user(&self, kind: &str, action: &str, user: &str, detail: Value) {
        let editor = Editor::local(Caller::clone(&self.caller));
        // Nobody is kept from anything by this: where it cannot be told, it is the usual tenant's.
        let owner = Owners::default().of_user(&self.state, user).await;
        let change = Change {
            action,
            kind,
            target: user,
            tenant: Some(owner.as_deref().unwrap_or(DEFAULT_TENANT)),
            detail,
        };
        editor.record(&self.state, change).await;
    }

    /// Tells the record of changes that many things were taken over at once; `detail` has how many.
    pub async fn record_import(&self, detail: Value) {
        let change = Change {
            action: "import",
            kind: "node",
            target: "store",
            tenant: None,
            detail,
        };
        let editor = Editor::local(Caller::clone(&self.caller));
        editor.record(&self.state, change).await;
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        body: &Value,
    ) -> Result<Answer, LocalError> {
        let response = self.answer(method, path, if_match, body).await?;
        let tag = response.headers().get(header::ETAG);
        let tag = tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = whole(response).await?;
        Ok(Answer {
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            tag,
        })
    }

    /// A body as it comes, however long it is.
    ///
    /// # Errors
    /// As [`get`](Self::get); a part that is an error is the last one.
    pub async fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<impl Stream<Item = Result<Bytes, LocalError>> + Unpin + use<>, LocalError> {
        let path = Self::with_query(path, query);
        let response = self.answer(Method::GET, &path, None, &Value::Null).await?;
        let parts = response.into_body().into_data_stream();
        Ok(parts.map(|part| part.map_err(|error| LocalError::Broken(error.to_string()))))
    }

    /// The path of a thing: each part as one segment, whatever is in it.
    pub fn path(parts: &[&str]) -> String {
        let mut path = "/v1".to_owned();
        for part in parts {
            path.push('/');
            path.push_str(&escaped(part));
        }
        path
    }

    /// A path with parameters.
    pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
        let pairs = query.iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={}", escaped(value)));
        let pairs: Vec<_> = pairs.collect();
        format!("{path}?{}", pairs.join("&"))
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        body: &Value,
    ) -> Result<Response<Body>, LocalError> {
        let broken = |error: axum::http::Error| LocalError::Broken(error.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .extension(self.caller.clone())
            .extension(ConnectInfo(HERE))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(tag) = if_match.and_then(|tag| HeaderValue::from_str(tag).ok()) {
            request = request.header(header::IF_MATCH, tag);
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        let request = request.body(body).map_err(broken)?;
        let Ok(response) = self.router.clone().call(request).await;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let problem = whole(response).await?;
        let problem = serde_json::from_slice(&problem).unwrap_or(Value::Null);
        Err(LocalError::Refused {
            status,
            reasons: reasons(&problem),
        })
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.caller).finish()
    }
}

async fn whole(response: Response<Body>) -> Result<Bytes, LocalError> {
    let body = to_bytes(response.into_body(), usize::MAX).await;
    body.map_err(|error| LocalError::Broken(error.to_string()))
}

/// What a problem says: its reasons, or else what it says of itself.
fn reasons(problem: &Value) -> String {
    let errors = problem["errors"].as_array().into_iter().flatten();
    let errors: Vec<_> = errors.filter_map(Value::as_str).collect();
    if !errors.is_empty() {
        return errors.join("\n");
    }
    let detail = problem["detail"].as_str();
    detail.unwrap_or("the API gave no reason").to_owned()
}

/// A text as a segment of a path or a value of a query (RFC 3986 section 2.1).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use control::Endpoint;
    use serde_json::json;

    use super::*;

    async fn local() -> (Local, Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
        let nobody = Endpoint::Unix(folder.path().join("no.sock"));
        let (signal, media) = (Client::connect(nobody.clone()), Client::connect(nobody));
        let local = Local::new(
            "n1".to_owned(),
            store.clone(),
            signal,
            media,
            None,
            "cli:ann".to_owned(),
        );
        (local, store, folder)
    }

    #[tokio::test]
    async fn what_is_changed_is_checked_and_in_the_record_of_changes() {
        let (local, store, _folder) = local().await;
        let new = json!({ "name": "billing", "role": "viewer" });
        let keys = Local::path(&["keys"]);
        let made = local.create(&keys, &new).await.unwrap();
        assert!(made.body["key"].as_str().unwrap().starts_with("tk_"));
        let wrong = json!({ "name": "", "role": "viewer" });
        let refused = local.create(&keys, &wrong).await;
        let Err(LocalError::Refused { status, reasons }) = refused else {
            panic!("{refused:?}");
        };
        assert!(status == 422 && reasons.starts_with("name: "), "{reasons}");

        let all = store::AuditFilter::default();
        let entries = store.audit_entries(&all, 9, None).await.unwrap().items;
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (entries[0].actor.as_str(), entries[0].action.as_str()),
            ("cli:ann", "create")
        );
    }

    #[tokio::test]
    async fn a_list_is_all_of_its_pages() {
        let (local, store, _folder) = local().await;
        for number in 0..1_001 {
            let id = format!("t{number:04}");
            let tenant = store::Tenant {
                name: id.clone(),
                id,
                created: store::Timestamp::now(),
                updated: store::Timestamp::now(),
            };
            assert!(store.create_tenant(&tenant).await.unwrap());
        }
        let path = Local::path(&["tenants"]);
        let all = local.list(&path, &[], usize::MAX).await.unwrap();
        // With the one that is always there.
        assert_eq!((all.len(), &all[1001]["id"]), (1_002, &json!("t1000")));
        assert_eq!(local.list(&path, &[], 7).await.unwrap().len(), 7);
    }

    #[test]
    fn any_text_is_one_segment() {
        assert_eq!(
            Local::path(&["numbers", "+1 #/?%\u{fc}"]),
            "/v1/numbers/%2B1%20%23%2F%3F%25%C3%BC"
        );
    }
}
