//! In what the six kinds differ.

use control::{
    config::{Block, Group, LimitRule, Number, Route, Trunk},
    signal,
};
use store::RoutingKind;
use utoipa::{
    ToSchema,
    openapi::{RefOr, schema::Schema},
};

/// The schemas of a document's parts, by their names.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// One of the kinds.
#[derive(Debug)]
pub(super) struct Kind {
    /// In paths and tags.
    pub(super) path: &'static str,
    /// One of them, in words.
    pub(super) one: &'static str,
    /// What the schema is called.
    pub(super) title: &'static str,
    /// The member that is the id; `None` where the id is any.
    pub(super) name: Option<&'static str>,
    /// Whether it may be a tenant's.
    pub(super) is_tenants: bool,
    pub(super) stored: RoutingKind,
    pub(super) asked: signal::RoutingKind,
    /// As an example.
    pub(super) example: &'static str,
    /// Its schema; adds those of its parts.
    pub(super) schema: fn(&mut Schemas) -> RefOr<Schema>,
}

/// All of them.
pub(super) static ALL: [&Kind; 6] = [&TRUNKS, &ROUTES, &NUMBERS, &GROUPS, &BLOCKS, &LIMITS];

static TRUNKS: Kind = Kind {
    path: "trunks",
    one: "trunk",
    title: "Trunk",
    name: Some("name"),
    is_tenants: false,
    stored: RoutingKind::Trunk,
    asked: signal::RoutingKind::Trunk,
    example: r#"{
        "name": "carrier-a",
        "hosts": ["sip:gw.example.com:5060"],
        "allow": ["192.0.2.0/24"],
        "auth": { "user": "tandem", "password": "a long one" }
    }"#,
    schema: schema::<Trunk>,
};

static ROUTES: Kind = Kind {
    path: "routes",
    one: "route",
    title: "Route",
    name: None,
    is_tenants: false,
    stored: RoutingKind::Route,
    asked: signal::RoutingKind::Route,
    example: r#"{
        "prefix": "+49",
        "trunks": [{ "trunk": "carrier-a", "cost": 0.01 }, "carrier-b"],
        "times": ["mon-fri 08:00-18:00"],
        "zone": "Europe/Berlin"
    }"#,
    schema: schema::<Route>,
};

static NUMBERS: Kind = Kind {
    path: "numbers",
    one: "number",
    title: "Number",
    name: Some("number"),
    is_tenants: true,
    stored: RoutingKind::Number,
    asked: signal::RoutingKind::Number,
    example: r#"{
        "number": "+15550100",
        "user": "alice@example.test",
        "forward": { "no_answer": "+15550199" },
        "ring_timeout": 25
    }"#,
    schema: schema::<Number>,
};

static GROUPS: Kind = Kind {
    path: "groups",
    one: "group",
    title: "Group",
    name: Some("name"),
    is_tenants: true,
    stored: RoutingKind::Group,
    asked: signal::RoutingKind::Group,
    example: r#"{
        "name": "sales",
        "members": ["alice@example.test", "+15550199"],
        "strategy": "in-turn"
    }"#,
    schema: schema::<Group>,
};

static BLOCKS: Kind = Kind {
    path: "blocks",
    one: "block",
    title: "Block",
    name: None,
    is_tenants: false,
    stored: RoutingKind::Block,
    asked: signal::RoutingKind::Block,
    example: r#"{ "prefix": "+882", "of": "called", "direction": "out" }"#,
    schema: schema::<Block>,
};

static LIMITS: Kind = Kind {
    path: "limits",
    one: "limit",
    title: "Limit",
    name: None,
    is_tenants: false,
    stored: RoutingKind::Limit,
    asked: signal::RoutingKind::Limit,
    example: r#"{ "user": "*", "calls": 4, "longest": 7200 }"#,
    schema: schema::<LimitRule>,
};

fn schema<T: ToSchema>(parts: &mut Schemas) -> RefOr<Schema> {
    T::schemas(parts);
    T::schema()
}
