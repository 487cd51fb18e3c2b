//! Sets of final status codes: `[500, 503]`, `["5xx", 408]`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Final responses that are not a success: codes and whole classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes(Vec<Code>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    One(u16),
    /// The hundreds of a class.
    Class(u16),
}

impl Codes {
    /// Whether this status is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|code| match code {
            Code::One(one) => *one == status,
            Code::Class(class) => status / 100 == *class,
        })
    }

    /// Every status in the set, once each.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (300..700).filter(|status| self.contains(*status))
    }
}

impl FromIterator<u16> for Codes {
    fn from_iter<I: IntoIterator<Item = u16>>(codes: I) -> Self {
        Self(codes.into_iter().map(Code::One).collect())
    }
}

impl Serialize for Codes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(status) => serializer.serialize_u16(*status),
            Self::Class(class) => serializer.collect_str(&format_args!("{class}xx")),
        }
    }
}

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodeVisitor)
    }
}

struct CodeVisitor;

impl de::Visitor<'_> for CodeVisitor {
    type Value = Code;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a final status from 300 to 699 such as 503, or a class such as \"5xx\"")
    }

    fn visit_u64<E: de::Error>(self, status: u64) -> Result<Code, E> {
        match u16::try_from(status) {
            Ok(status @ 300..=699) => Ok(Code::One(status)),
            _ => Err(E::invalid_value(de::Unexpected::Unsigned(status), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, status: i64) -> Result<Code, E> {
        match u64::try_from(status) {
            Ok(status) => self.visit_u64(status),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(status), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Code, E> {
        match text {
            "3xx" => Ok(Code::Class(3)),
            "4xx" => Ok(Code::Class(4)),
            "5xx" => Ok(Code::Class(5)),
            "6xx" => Ok(Code::Class(6)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}
