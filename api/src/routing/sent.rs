//! A document as clients send it.

use serde_json::{Map, Value};
use store::{DEFAULT_TENANT, RoutingDocument, RoutingKind, Uuid};

use super::{kind::Kind, view::READ_ONLY};
use crate::{State, access::Caller, domains::Owners, problem::Problem};

/// What a client sent.
pub(super) struct Sent {
    /// As it is written in the body, or in the document itself.
    id: Option<String>,
    /// `Some(None)`: the node's.
    pub(super) tenant: Option<Option<String>>,
    /// What is left is the document.
    document: Map<String, Value>,
}

impl Sent {
    /// Takes a body apart. What clients only read may stand in it, so that what was read can be changed
    /// and sent back.
    pub(super) fn read(kind: &Kind, mut body: Map<String, Value>) -> Result<Self, Problem> {
        let id = match body.get("id") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Problem::bad_member("id: it is a text")),
        };
        body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
        let tenant = match kind.is_tenants.then(|| body.remove("tenant")).flatten() {
            None => None,
            Some(Value::Null) => Some(None),
            Some(Value::String(tenant)) => Some(Some(tenant)),
            Some(_) => return Err(Problem::bad_member("tenant: it is a text, or null")),
        };
        Ok(Self {
            id,
            tenant,
            document: body,
        })
    }

    /// JSON.
    pub(super) fn document(&self) -> String {
        Value::Object(self.document.clone()).to_string()
    }

    /// The id that a new one gets.
    pub(super) fn id_of_new(&self, kind: &Kind) -> Result<String, Problem> {
        let Some(member) = kind.name else {
            let new = || Uuid::now_v7().to_string();
            return Ok(self.id.clone().unwrap_or_else(new));
        };
        let name = self.document.get(member).and_then(Value::as_str);
        let missing = || Problem::refused(&format!("{member}: it is missing, or no text"));
        let name = name.ok_or_else(missing)?;
        self.check_id(name)?;
        Ok(name.to_owned())
    }

    /// Whether it is for the document of this id.
    pub(super) fn check_id(&self, id: &str) -> Result<(), Problem> {
        match &self.id {
            Some(own) if own != id => Err(Problem::refused(&format!(
                "id: it is '{own}', and this is '{id}': an id stays"
            ))),
            _ => Ok(()),
        }
    }

    /// A tenant leads calls to users of its own domains, and to no trunk but where one led before:
    /// trunks are the node's, and cost it money. One who shares the node has no number but those it was given: others'
    /// calls would be diverted by it, and it could show what is not its own.
    pub(super) async fn check_places(
        &self,
        state: &State,
        kind: &Kind,
        caller: &Caller,
        before: Option<&RoutingDocument>,
    ) -> Result<(), Problem> {
        let Some(tenant) = &caller.tenant else {
            return Ok(());
        };
        let is_number = kind.stored == RoutingKind::Number;
        if is_number && before.is_none() && tenant != DEFAULT_TENANT {
            return Err(Problem::refused(
                "number: numbers are the node's: who runs it gives one to a tenant",
            ));
        }
        let trunk = self.document.get("trunk").filter(|trunk| !trunk.is_null());
        if trunk.is_some() && trunk != trunk_of(before).as_ref() {
            return Err(Problem::refused(
                "trunk: trunks are the node's: who runs it can lead a number to one",
            ));
        }
        let members = self.document.get("members").and_then(Value::as_array);
        let user = self.document.get("user");
        let mut owners = Owners::default();
        for place in members.into_iter().flatten().chain(user) {
            let Some((_, domain)) = place.as_str().and_then(user_at) else {
                continue;
            };
            let owner = owners.of(state, &domain.to_ascii_lowercase()).await?;
            if !caller.sees(Some(&owner)) {
                return Err(Problem::refused(&format!(
                    "'{domain}' is not your tenant's domain; GET /v1/domains lists those that are"
                )));
            }
        }
        Ok(())
    }
}

/// The trunk that a number led to.
fn trunk_of(before: Option<&RoutingDocument>) -> Option<Value> {
    let mut before: Map<String, Value> = serde_json::from_str(&before?.document).ok()?;
    before.remove("trunk")
}

/// Name and domain of a place that is a user's.
fn user_at(place: &str) -> Option<(&str, &str)> {
    let is_uri = place.starts_with("sip:") || place.starts_with("sips:");
    place.rsplit_once('@').filter(|_| !is_uri)
}
