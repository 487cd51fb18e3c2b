//! `/v1/lookup`: what a number says of itself, by the numbering plans of the world.

use std::sync::Arc;

use axum::{Json, extract};
use phonenumber::{Mode, PhoneNumber, Type, country, metadata::DATABASE};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{State, problem::Problem, query::Params};

/// Octets of a number at most: E.164 has 15 digits, and people write them with much between.
const MOST: usize = 100;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new().routes(routes!(lookup))
}

/// What a number says of itself.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Looked {
    /// Whether the plan of its country has such numbers. It may be nobody's all the same.
    valid: bool,
    #[schema(example = "+442071838750")]
    e164: String,
    /// As it is written abroad.
    #[schema(example = "+44 20 7183 8750")]
    international: String,
    /// As it is written at home.
    #[schema(example = "020 7183 8750")]
    national: String,
    /// As a URI (RFC 3966).
    #[schema(example = "tel:+44-20-7183-8750")]
    uri: String,
    /// The country's code, without `+`.
    #[schema(example = 44)]
    country_code: u16,
    /// What follows it in E.164.
    #[schema(example = "2071838750")]
    national_number: String,
    /// The region, by ISO 3166-1; `null` where it is no region's, such as a global service's.
    #[schema(example = "GB")]
    region: Option<String>,
    r#type: Kind,
    extension: Option<String>,
}

/// What a number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    FixedLine,
    Mobile,
    /// The plan does not tell which of them.
    FixedLineOrMobile,
    TollFree,
    PremiumRate,
    SharedCost,
    Personal,
    Voip,
    Pager,
    /// A company's one number for all its sites.
    Uan,
    Emergency,
    Voicemail,
    Other,
    /// The plan does not tell, as of numbers that keep a zero after the code (Italy).
    Unknown,
}

impl From<Type> for Kind {
    fn from(kind: Type) -> Self {
        match kind {
            Type::FixedLine => Self::FixedLine,
            Type::Mobile => Self::Mobile,
            Type::FixedLineOrMobile => Self::FixedLineOrMobile,
            Type::TollFree => Self::TollFree,
            Type::PremiumRate => Self::PremiumRate,
            Type::SharedCost => Self::SharedCost,
            Type::PersonalNumber => Self::Personal,
            Type::Voip => Self::Voip,
            Type::Pager => Self::Pager,
            Type::Uan => Self::Uan,
            Type::Emergency => Self::Emergency,
            Type::Voicemail => Self::Voicemail,
            Type::ShortCode | Type::StandardRate | Type::Carrier | Type::NoInternational => {
                Self::Other
            }
            Type::Unknown => Self::Unknown,
        }
    }
}

impl From<&PhoneNumber> for Looked {
    fn from(number: &PhoneNumber) -> Self {
        let written = |mode| number.format().mode(mode).to_string();
        let e164 = written(Mode::E164);
        let code = number.country().code();
        let rest = e164.strip_prefix(&format!("+{code}"));
        Self {
            valid: number.is_valid(),
            international: written(Mode::International),
            national: written(Mode::National),
            uri: written(Mode::Rfc3966),
            country_code: code,
            national_number: rest.unwrap_or_default().to_owned(),
            region: region(number),
            r#type: number.number_type(&DATABASE).into(),
            extension: number
                .extension()
                .map(|extension| extension.as_ref().to_owned()),
            e164,
        }
    }
}

/// Where the plan does not tell which of several regions of one code it is, the one that they are named after:
/// numbers that keep a zero after the code are not told apart.
fn region(number: &PhoneNumber) -> Option<String> {
    if let Some(id) = number.country().id() {
        return Some(id.as_ref().to_owned());
    }
    let regions = DATABASE.region(&number.country().code())?;
    let main = regions.first().filter(|_| number.is_valid());
    // 001 is the world.
    main.filter(|id| id.bytes().all(|b| b.is_ascii_alphabetic()))
        .map(|id| (*id).to_owned())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LookupQuery {
    /// Whose plan counts for a number without a country's code: ISO 3166-1, two letters.
    #[param(example = "GB")]
    country: Option<String>,
}

/// What a number says of itself: its parts, its region and its type, by the world's numbering plans. Nobody is
/// asked, so that it does not tell whether anybody has it, nor who carries it.
#[utoipa::path(get, path = "/lookup/{number}", tag = "numbers",
    params(("number" = String, Path, description = "+442071838750, or as it is written in `country`"), LookupQuery),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = Looked),
        (status = 422, description = "That is no number")))]
async fn lookup(
    extract::Path(number): extract::Path<String>,
    Params(query): Params<LookupQuery>,
) -> Result<Json<Looked>, Problem> {
    look_up(&number, query.country.as_deref()).map(Json)
}

fn look_up(number: &str, region: Option<&str>) -> Result<Looked, Problem> {
    let country = match region.map(|region| region.to_ascii_uppercase().parse::<country::Id>()) {
        None => None,
        Some(Ok(country)) => Some(country),
        Some(Err(_)) => {
            let detail = "country: give two letters of ISO 3166-1, such as GB";
            return Err(Problem::bad_parameter(detail));
        }
    };
    if number.len() > MOST {
        return Err(Problem::refused("that is too long for a number"));
    }
    let parsed = phonenumber::parse(country, number).map_err(|error| {
        let hint = match region {
            None => "; write it with + and the country's code, or name the country",
            Some(_) => "",
        };
        Problem::refused(&format!("'{number}': {error}{hint}"))
    })?;
    Ok(Looked::from(&parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_its_parts_its_region_and_its_type() {
        let london = look_up("+44 20 7183 8750", None).unwrap();
        assert_eq!(look_up("020 7183 8750", Some("gb")).unwrap(), london);
        assert_eq!(look_up("tel:+44-20-7183-8750", None).unwrap(), london);
        let expected = Looked {
            valid: true,
            e164: "+442071838750".to_owned(),
            international: "+44 20 7183 8750".to_owned(),
            national: "020 7183 8750".to_owned(),
            uri: "tel:+44-20-7183-8750".to_owned(),
            country_code: 44,
            national_number: "2071838750".to_owned(),
            region: Some("GB".to_owned()),
            r#type: Kind::FixedLine,
            extension: None,
        };
        assert_eq!(london, expected);
        for (number, kind, region) in [
            ("+4915123456789", Kind::Mobile, Some("DE")),
            ("+14155552671", Kind::FixedLineOrMobile, Some("US")),
            ("+14165550123", Kind::FixedLineOrMobile, Some("CA")),
            ("+80012345678", Kind::TollFree, None),
            ("+390612345678", Kind::Unknown, Some("IT")),
        ] {
            let found = look_up(number, None).unwrap();
            assert_eq!(
                (found.r#type, found.region.as_deref(), found.e164.as_str()),
                (kind, region, number)
            );
        }
        // Italy's numbers keep their zero.
        let rome = look_up("+390612345678", None).unwrap();
        assert_eq!(rome.national_number, "0612345678");
    }

    #[test]
    fn what_is_no_number_is_refused_and_what_no_plan_has_is_told() {
        let invalid = look_up("+4915", None).unwrap();
        assert!(!invalid.valid && invalid.r#type == Kind::Unknown);
        let long = "+49".repeat(50);
        for (number, country) in [
            ("020 7183 8750", None),
            ("", None),
            ("+", None),
            ("alice", None),
            ("+493012345678901234567", None),
            (long.as_str(), None),
            ("1", Some("Atlantis")),
            ("\u{0}'; DROP TABLE users", Some("DE")),
        ] {
            assert!(look_up(number, country).is_err(), "{number} {country:?}");
        }
    }
}
