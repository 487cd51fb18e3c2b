//! JSON schemas of what is written as one text, or as a text or a table.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr,
        schema::{Schema, SchemaType, Type},
    },
};

use super::{
    CallerId, Choice, Cidr, Codes, Cost, Forward, Host, Pattern, Source, Transport, TrunkHost,
    Window, Zone,
};

/// The schema of a type by its name.
type Named = (String, RefOr<Schema>);

fn of_type(kind: Type, about: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(kind))
        .description(Some(about))
}

fn text(about: &str, example: &str) -> RefOr<Schema> {
    of_type(Type::String, about).examples([example]).into()
}

/// A table of which nothing else is known.
fn table(about: &str) -> ObjectBuilder {
    let closed = utoipa::openapi::schema::AdditionalProperties::FreeForm(false);
    of_type(Type::Object, about).additional_properties(Some(closed))
}

fn either(about: &str, ways: impl IntoIterator<Item = RefOr<Schema>>) -> RefOr<Schema> {
    let builder = OneOfBuilder::new().description(Some(about));
    let builder = ways.into_iter().fold(builder, OneOfBuilder::item);
    RefOr::T(Schema::OneOf(builder.build()))
}

fn number(about: &str) -> RefOr<Schema> {
    of_type(Type::Integer, about).minimum(Some(0)).into()
}

/// A reference to the schema of a type.
fn by_name<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// What a type that refers to another one adds to the document.
fn also<T: ToSchema>(schemas: &mut Vec<Named>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

impl PartialSchema for Host {
    fn schema() -> RefOr<Schema> {
        text(
            "A host, with its port and its transport where they matter.",
            "sip:gw.example.com:5061;transport=tls",
        )
    }
}

impl ToSchema for Host {}

impl PartialSchema for Cidr {
    fn schema() -> RefOr<Schema> {
        text("An address, or a block of them.", "192.0.2.0/24")
    }
}

impl ToSchema for Cidr {}

impl PartialSchema for Transport {
    fn schema() -> RefOr<Schema> {
        let names = Self::ALL.map(Self::name);
        let text = of_type(Type::String, "What SIP travels over.");
        text.enum_values(Some(names)).into()
    }
}

impl ToSchema for Transport {}

impl PartialSchema for Pattern {
    fn schema() -> RefOr<Schema> {
        text("A regular expression.", "^00(.*)$")
    }
}

impl ToSchema for Pattern {}

impl PartialSchema for Window {
    fn schema() -> RefOr<Schema> {
        text("A part of each week.", "mon-fri 08:00-18:00")
    }
}

impl ToSchema for Window {}

impl PartialSchema for Zone {
    fn schema() -> RefOr<Schema> {
        text("A time zone of the IANA database.", "Europe/Berlin")
    }
}

impl ToSchema for Zone {}

impl PartialSchema for Cost {
    fn schema() -> RefOr<Schema> {
        of_type(Type::Number, "What a minute costs, in any one unit.")
            .minimum(Some(0))
            .maximum(Some(4294))
            .into()
    }
}

impl ToSchema for Cost {}

impl PartialSchema for Codes {
    fn schema() -> RefOr<Schema> {
        let code = of_type(Type::Integer, "A final status.")
            .minimum(Some(300))
            .maximum(Some(699));
        let class = of_type(Type::String, "A whole class.");
        let class = class.enum_values(Some(["3xx", "4xx", "5xx", "6xx"]));
        let one = either("", [code.into(), class.into()]);
        ArrayBuilder::new()
            .items(one)
            .description(Some("Final responses that are not a success."))
            .into()
    }
}

impl ToSchema for Codes {}

impl PartialSchema for CallerId {
    fn schema() -> RefOr<Schema> {
        let list = ArrayBuilder::new().items(text("A number.", "+15550100"));
        either(
            "`pass`; always one number; or as it came where it is one of these numbers, and the first of \
             them otherwise.",
            [text("`pass`, or a number.", "pass"), list.into()],
        )
    }
}

impl ToSchema for CallerId {}

impl PartialSchema for TrunkHost {
    fn schema() -> RefOr<Schema> {
        let table = table("With its rank among the trunk's.")
            .property("host", by_name::<Host>())
            .property(
                "priority",
                number("The lowest that is up is tried first. Default 0."),
            )
            .property("weight", number("Its share among those of one priority."))
            .required("host");
        either(
            "A host: a text, or a table.",
            [by_name::<Host>(), table.into()],
        )
    }
}

impl ToSchema for TrunkHost {
    fn schemas(schemas: &mut Vec<Named>) {
        also::<Host>(schemas);
    }
}

impl PartialSchema for Source {
    fn schema() -> RefOr<Schema> {
        let table = table("With what else has to fit.")
            .property("block", by_name::<Cidr>())
            .property("port", number("The one port. Default: any."))
            .property("transport", by_name::<Transport>())
            .required("block");
        either(
            "Where calls come from: a text, or a table.",
            [by_name::<Cidr>(), table.into()],
        )
    }
}

impl ToSchema for Source {
    fn name() -> Cow<'static, str> {
        "TrunkSource".into()
    }

    fn schemas(schemas: &mut Vec<Named>) {
        also::<Cidr>(schemas);
        also::<Transport>(schemas);
    }
}

impl PartialSchema for Choice {
    fn schema() -> RefOr<Schema> {
        let table = table("With what it costs.")
            .property("trunk", text("Its name.", "carrier-a"))
            .property("cost", by_name::<Cost>())
            .property(
                "share",
                number("Its part of the calls among those of one cost."),
            )
            .required("trunk");
        either(
            "A trunk: its name, or a table.",
            [text("Its name.", "carrier-a"), table.into()],
        )
    }
}

impl ToSchema for Choice {
    fn name() -> Cow<'static, str> {
        "RouteTrunk".into()
    }

    fn schemas(schemas: &mut Vec<Named>) {
        also::<Cost>(schemas);
    }
}

impl PartialSchema for Forward {
    fn schema() -> RefOr<Schema> {
        let place = |about: &str| text(about, "+15550199");
        let table = table("By what became of them.")
            .property("always", place("Every call."))
            .property("busy", place("Those that found a busy callee."))
            .property(
                "no_answer",
                place("Those that nobody answered in `ring_timeout`."),
            )
            .property("unreachable", place("Those whose callee is not reached."));
        either(
            "Where calls go on to: a number, a user with its domain, or a `sip:` URI.",
            [place("Every call."), table.into()],
        )
    }
}

impl ToSchema for Forward {}
