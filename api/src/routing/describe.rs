//! The operations in the OpenAPI document, the same for each kind but for names and schemas.

use serde_json::Value;
use utoipa::openapi::{
    ArrayBuilder, ContentBuilder, HttpMethod, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder,
    path::{
        OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItemBuilder, Paths,
        PathsBuilder,
    },
    request_body::{RequestBody, RequestBodyBuilder},
    schema::{KnownFormat, Schema, SchemaFormat, SchemaType, Type},
    security::SecurityRequirement,
};

use super::kind::{Kind, Schemas};
use crate::{openapi::one_of, query::MOST};

/// The schemas of a kind, the path of all documents and that of each.
pub(super) fn describe(kind: &Kind) -> (Schemas, Paths, Paths) {
    let mut schemas = Vec::new();
    let document = document(kind, &mut schemas);
    schemas.push((kind.title.to_owned(), document));
    schemas.push((list_title(kind), list_of(kind)));
    let all = PathItemBuilder::new()
        .operation(HttpMethod::Get, list(kind))
        .operation(HttpMethod::Post, create(kind));
    let each = PathItemBuilder::new()
        .operation(HttpMethod::Get, one(kind))
        .operation(HttpMethod::Put, replace(kind))
        .operation(HttpMethod::Delete, remove(kind));
    let all = PathsBuilder::new().path(format!("/{}", kind.path), all.build());
    let each = PathsBuilder::new().path(format!("/{}/{{id}}", kind.path), each.build());
    (schemas, all.build(), each.build())
}

fn list(kind: &Kind) -> OperationBuilder {
    let mut parameters = vec![
        query(
            "limit",
            &format!("1 to {MOST}; 100 unless told."),
            Type::Integer,
        ),
        query("cursor", "`next` of the page before.", Type::String),
    ];
    if kind.is_tenants {
        parameters.push(query("tenant", "Of this tenant.", Type::String));
    }
    let summary = format!(
        "The {}: the file's in its order, then the store's by id.",
        kind.path
    );
    operation(kind, "list", kind.path, &summary, "viewer")
        .parameters(Some(parameters))
        .response("200", answer(&list_title(kind), "A page of them"))
}

fn create(kind: &Kind) -> OperationBuilder {
    let summary = format!(
        "Adds a {}: checked with all that calls are routed by, and in force at once.",
        kind.one
    );
    operation(kind, "create", kind.one, &summary, "operator")
        .request_body(Some(body(kind)))
        .response("201", answer(kind.title, "It is in force"))
        .response("409", words("There is one of this id, or the file has it"))
        .response(
            "422",
            words("Calls could not be routed by it; `errors` has each reason"),
        )
}

fn one(kind: &Kind) -> OperationBuilder {
    let summary = format!("A {}.", kind.one);
    operation(kind, "get", kind.one, &summary, "viewer")
        .parameter(id(kind))
        .response("200", answer(kind.title, "As it is in force"))
        .response("404", words("There is none of this id"))
}

fn replace(kind: &Kind) -> OperationBuilder {
    let summary = format!(
        "Puts a {} in the place of one. Passwords and a tenant that are left out stay.",
        kind.one
    );
    operation(kind, "replace", kind.one, &summary, "operator")
        .parameter(id(kind))
        .request_body(Some(body(kind)))
        .response("200", answer(kind.title, "It is in force"))
        .response("404", words("There is none of this id"))
        .response("409", words("The configuration file has it"))
        .response("412", words("It is not as If-Match says"))
        .response(
            "422",
            words("Calls could not be routed by it; `errors` has each reason"),
        )
}

fn remove(kind: &Kind) -> OperationBuilder {
    let summary = format!(
        "Removes a {} that nothing else needs. Calls that are up go on.",
        kind.one
    );
    operation(kind, "delete", kind.one, &summary, "operator")
        .parameter(id(kind))
        .response("204", words("It is gone"))
        .response("404", words("There is none of this id"))
        .response(
            "409",
            words("Something else needs it, or the configuration file has it"),
        )
        .response("412", words("It is not as If-Match says"))
}

fn operation(kind: &Kind, verb: &str, what: &str, summary: &str, role: &str) -> OperationBuilder {
    let mut name = what.to_owned();
    name[..1].make_ascii_uppercase();
    let mut scopes = vec![role];
    if !kind.is_tenants {
        scopes.push("node");
    }
    OperationBuilder::new()
        .tag(kind.path)
        .operation_id(Some(format!("{verb}{name}")))
        .summary(Some(summary))
        .security(SecurityRequirement::new("bearer", scopes))
}

fn query(name: &str, about: &str, kind: Type) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(
            ObjectBuilder::new().schema_type(SchemaType::new(kind)),
        ))
        .build()
}

fn id(kind: &Kind) -> Parameter {
    let about = match kind.name {
        Some(member) => format!("Its `{member}`."),
        None => "Of the file's, `file-` and the place there.".to_owned(),
    };
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(
            ObjectBuilder::new().schema_type(SchemaType::new(Type::String)),
        ))
        .build()
}

fn body(kind: &Kind) -> RequestBody {
    let example: Option<Value> = serde_json::from_str(kind.example).ok();
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(kind.title)))
        .example(example);
    RequestBodyBuilder::new()
        .content("application/json", content.build())
        .required(Some(Required::True))
        .build()
}

fn answer(schema: &str, about: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema)));
    words(about).content("application/json", content.build())
}

fn words(about: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(about)
}

/// What the file has as a table, and what is known of it beside.
fn document(kind: &Kind, parts: &mut Schemas) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut object)) = (kind.schema)(parts) else {
        // Each is a table.
        return Ref::from_schema_name(kind.title).into();
    };
    let text = || ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    let id = match kind.name {
        Some(member) => text().description(Some(format!("Its `{member}`."))),
        None => text().description(Some("Unless a new one names its own, one is made up.")),
    };
    let nullable = || {
        let kinds = SchemaType::from_iter([Type::String, Type::Null]);
        ObjectBuilder::new().schema_type(kinds)
    };
    let updated = nullable()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("When it was changed last; `null` for the file's."))
        .read_only(true);
    let mut add = |name: &str, schema: RefOr<Schema>| {
        object.properties.insert(name.to_owned(), schema);
    };
    add("id", id.into());
    add("source", source());
    add("updated", updated.into());
    if kind.is_tenants {
        let about =
            "Whose it is; `null`: the node's. Left out: that of who makes it, and of before.";
        add("tenant", nullable().description(Some(about)).into());
    }
    if kind.title == "Trunk" {
        let secrets = ArrayBuilder::new().items(text()).description(Some(
            "The passwords that it has, which are never shown. Only read.",
        ));
        add("secrets", secrets.into());
    }
    object.required.push("source".to_owned());
    RefOr::T(Schema::Object(object))
}

/// Where it is written.
fn source() -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut source)) = one_of(["file", "store"]) else {
        return one_of(["file", "store"]);
    };
    source.read_only = Some(true);
    source.description = Some("`file`: only the configuration file can change it.".to_owned());
    RefOr::T(Schema::Object(source))
}

fn list_title(kind: &Kind) -> String {
    format!("List_{}", kind.title)
}

fn list_of(kind: &Kind) -> RefOr<Schema> {
    let next = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some("`cursor` of the next page; `null` on the last."));
    ObjectBuilder::new()
        .property(
            "items",
            ArrayBuilder::new().items(Ref::from_schema_name(kind.title)),
        )
        .property("next", next)
        .required("items")
        .into()
}
