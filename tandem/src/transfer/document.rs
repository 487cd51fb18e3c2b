//! What `tandem export` writes and `tandem import` reads: everything that an operator edits, as one document in
//! TOML or JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::RoutingKind;

use crate::exit::Failure;

/// Of the documents that this release writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Everything, in an order in which each thing names only what stands before it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// [`VERSION`]
    tandem_export: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tenants: Vec<Tenant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) domains: Vec<Domain>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) users: Vec<User>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trunks: Vec<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    limits: Vec<Table>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) bans: Vec<Ban>,
}

/// A table as the configuration file has it, with `id` where it has no name, and `tenant` where it is one's.
pub(super) type Table = Map<String, Value>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Domain {
    pub(super) name: String,
    pub(super) tenant: String,
}

/// A user with what proves who it is: as good as the passwords, within the domain.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    /// `alice@example.test`
    pub(super) user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) display: Option<String>,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ha1_md5: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ha1_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ha1_sha512: Option<String>,
    /// Forwards, `ring_timeout`, `max_contacts`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) profile: Table,
}

/// Without what proves who it is.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("User").field(&self.user).finish()
    }
}

/// A ban by an operator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ban {
    pub(super) source: String,
    /// For so long yet.
    pub(super) seconds: u64,
    #[serde(default)]
    pub(super) words: String,
}

const fn yes() -> bool {
    true
}

/// The kinds of tables, in their order, with their names and the member that is the id.
pub(super) const KINDS: [(RoutingKind, &str, Option<&str>); 6] = [
    (RoutingKind::Trunk, "trunks", Some("name")),
    (RoutingKind::Group, "groups", Some("name")),
    (RoutingKind::Number, "numbers", Some("number")),
    (RoutingKind::Route, "routes", None),
    (RoutingKind::Block, "blocks", None),
    (RoutingKind::Limit, "limits", None),
];

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Tables as in the configuration file
    Toml,
    /// One object
    Json,
}

impl Document {
    /// One without anything.
    pub(super) fn new() -> Self {
        Self {
            tandem_export: VERSION,
            tenants: Vec::new(),
            domains: Vec::new(),
            users: Vec::new(),
            trunks: Vec::new(),
            groups: Vec::new(),
            numbers: Vec::new(),
            routes: Vec::new(),
            blocks: Vec::new(),
            limits: Vec::new(),
            bans: Vec::new(),
        }
    }

    /// The tables of a kind.
    pub(super) const fn tables(&mut self, kind: RoutingKind) -> &mut Vec<Table> {
        match kind {
            RoutingKind::Trunk => &mut self.trunks,
            RoutingKind::Group => &mut self.groups,
            RoutingKind::Number => &mut self.numbers,
            RoutingKind::Route => &mut self.routes,
            RoutingKind::Block => &mut self.blocks,
            RoutingKind::Limit => &mut self.limits,
        }
    }

    /// Reads either format: JSON begins with a brace, and no TOML does.
    ///
    /// # Errors
    /// Where it is wrong, or of another version.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_json = text.trim_start().starts_with('{');
        let document: Self = match is_json {
            true => serde_json::from_str(text).map_err(|error| error.to_string())?,
            false => toml::from_str(text).map_err(|error| error.to_string())?,
        };
        match document.tandem_export {
            VERSION => Ok(document),
            other => Err(format!(
                "tandem_export = {other}: this release reads version {VERSION}; use the one that wrote it"
            )),
        }
    }

    /// As text.
    pub(super) fn text(&self, format: Format) -> Result<String, Failure> {
        let cannot = |error: String| Failure::other(format!("cannot write it: {error}"));
        match format {
            Format::Toml => toml::to_string(self).map_err(|error| cannot(error.to_string())),
            Format::Json => serde_json::to_string_pretty(self)
                .map(|text| text + "\n")
                .map_err(|error| cannot(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same_and_another_version_is_refused() {
        let mut document = Document::new();
        document.users.push(User {
            user: "zoe@x.test".into(),
            display: None,
            enabled: true,
            ha1_md5: Some("0".repeat(32)),
            ha1_sha256: None,
            ha1_sha512: None,
            profile: serde_json::from_str(r#"{"forward": {"busy": "1"}}"#).unwrap(),
        });
        let trunk =
            r#"{"name": "a", "auth": {"user": "u"}, "hosts": [{"host": "sip:x"}], "calls": 1}"#;
        let trunk: Table = serde_json::from_str(trunk).unwrap();
        document.tables(RoutingKind::Trunk).push(trunk.clone());
        for format in [Format::Toml, Format::Json] {
            let text = document.text(format).unwrap();
            let mut back = Document::parse(&text).unwrap();
            assert_eq!(back.users[0].profile, document.users[0].profile);
            assert_eq!(
                back.tables(RoutingKind::Trunk),
                std::slice::from_ref(&trunk)
            );
            let newer = text.replacen('1', "2", 1);
            let error = Document::parse(&newer).unwrap_err();
            assert!(error.contains("reads version 1"), "{error}");
        }
        Document::parse("tandem_export = 1\nuser = []\n").unwrap_err();
    }
}
