//! The OpenAPI document, made of the code that serves it.

use std::sync::Arc;

use axum::extract;
use bytes::Bytes;
use store::Role;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, Ref, RefOr,
        content::ContentBuilder,
        path::{Operation, PathItem},
        response::ResponseBuilder,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    Front, State, accounts, applications, bans, calls, cdrs, changes, domains, erasures, events,
    keys, login, lookup, messages, node, operators, problem::Problem, recordings, registrations,
    routing, tenants, users, webhooks,
};

/// What is true of all of it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tandem",
        description = "The REST API of a Tandem node. Send `Authorization: Bearer KEY` with an API key, what \
            `POST /v1/login` gives, or the node's admin key. Lists are `{\"items\": […], \"next\": CURSOR or null}`, errors RFC 9457 problem \
            documents, times RFC 3339, numbers E.164."
    ),
    modifiers(&Schemes),
    tags(
        (name = "calls", description = "Calls that are up."),
        (name = "cdrs", description = "Calls that are over."),
        (name = "users", description = "Who may register, call and be called."),
        (name = "registrations", description = "What phones have registered."),
        (name = "bans", description = "The sources that are kept out."),
        (name = "events", description = "What happens on the node, as it happens."),
        (name = "webhooks", description = "Who is told of events over HTTP."),
        (name = "applications", description = "What a call or a message that comes to a number is given to."),
        (name = "accounts", description = "Whose programmable calls are, and what opens `/2010-04-01` for Twilio's clients."),
        (name = "node", description = "The node itself, and where it would send a call."),
        (name = "trunks", description = "The carriers and switches that calls come from and go to."),
        (name = "routes", description = "Which trunks take a number."),
        (name = "numbers", description = "Our numbers, and where they lead."),
        (name = "groups", description = "Who is rung for one number."),
        (name = "blocks", description = "Calls that are not taken."),
        (name = "limits", description = "How much of something may be used."),
        (name = "domains", description = "Whose users those of a SIP domain are."),
        (name = "tenants", description = "Who shares the node without seeing each other."),
        (name = "keys", description = "Who may use the API."),
        (name = "operators", description = "People who sign in with a name and a password."),
        (name = "recordings", description = "What of calls is in sound files."),
        (name = "messages", description = "What is kept for users who are away."),
        (name = "erasures", description = "Who is taken out of what is kept of calls and messages."),
        (name = "audit", description = "What was changed through the API, and by whom."),
    )
)]
struct Frame;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An API key (`tk_…`, made by `POST /v1/keys` or `/v1/login`), the node's admin key, or a token (JWT) of the identity provider that the \
                 node is configured with. The scopes of an operation are the least \
                 role that may use it, and `node` where a tenant's key may not.",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The schema of a text that is one of a few.
pub(crate) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> RefOr<Schema> {
    let object = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .enum_values(Some(names));
    RefOr::T(Schema::Object(object.build()))
}

/// The schema of a role.
pub(crate) fn role() -> RefOr<Schema> {
    one_of(Role::ALL.iter().map(|role| role.name()))
}

/// What of `/v1` is served to whoever asks, and its document.
pub(crate) fn open() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().nest("/v1", login::open_router())
}

/// All else of `/v1` and its document.
pub(crate) fn v1() -> OpenApiRouter<Arc<State>> {
    let v1 = OpenApiRouter::new()
        .merge(calls::router())
        .merge(cdrs::router())
        .merge(users::router())
        .merge(registrations::router())
        .merge(domains::router())
        .merge(bans::router())
        .merge(node::router())
        .merge(routing::router())
        .merge(lookup::router())
        .merge(events::router())
        .merge(webhooks::router())
        .merge(applications::router())
        .merge(accounts::router())
        .merge(tenants::router())
        .merge(keys::router())
        .merge(operators::router())
        .merge(login::router())
        .merge(messages::router())
        .merge(recordings::router())
        .merge(erasures::router())
        .merge(changes::router());
    OpenApiRouter::with_openapi(Frame::openapi()).nest("/v1", v1)
}

/// The document as it is served: with what is true of every operation.
pub(crate) fn written(document: &openapi::OpenApi) -> Bytes {
    let mut document = document.clone();
    let components = document.components.get_or_insert_default();
    let schemas = &mut components.schemas;
    schemas.insert(Problem::NAME.to_owned(), Problem::schema());
    let schema = Ref::from_schema_name(Problem::NAME);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let problem = ResponseBuilder::new()
        .description("A problem: what is wrong, and what to do (RFC 9457)")
        .content("application/problem+json", content)
        .build();
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths
        .into_iter()
        .map(|(path, mut item)| {
            for operation in operations(&mut item) {
                let responses = &mut operation.responses.responses;
                responses.insert("default".to_owned(), RefOr::T(problem.clone()));
            }
            // A parameter over several segments is the router's word.
            (path.replace("{*", "{"), item)
        })
        .collect();
    document.to_json().unwrap_or_default().into()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ];
    all.into_iter().flatten()
}

/// `GET /openapi.json`
pub(crate) async fn document(
    extract::State(front): extract::State<Arc<Front>>,
) -> impl axum::response::IntoResponse {
    (
        [("content-type", "application/json")],
        front.document.clone(),
    )
}
