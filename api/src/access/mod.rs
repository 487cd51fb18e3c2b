//! Who may do what.
//!
//! Each operation of the OpenAPI document names in its `security` the least role that may do it, and
//! `node` where it is about the node and not about one tenant's things. That document is what
//! [`gate`](gate::gate) goes by: an operation that says nothing is served to nobody.

mod gate;
mod jwks;
mod key;
mod rule;
mod token;

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use store::{ApiKey, Role, Timestamp, Uuid};

use crate::problem::Problem;

pub(crate) use gate::gate;
pub(crate) use key::{Keys, NewSecret};
pub(crate) use rule::Rules;
pub(crate) use token::Tokens;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For the record of changes: `admin-key`, `key:ID`, `operator:NAME`, `token:SUBJECT`, or `cli:NAME`.
    pub(crate) actor: String,
    pub(crate) role: Role,
    /// Whose things there are for the caller; `None`: everybody's, and the node.
    pub(crate) tenant: Option<String>,
    /// The key of the store that was shown, where it is one.
    pub(crate) key: Option<Uuid>,
    /// It is one that an operator signed in for.
    pub(crate) is_session: bool,
    /// When what was shown is over, where that is not the key's to say.
    pub(crate) ends: Option<Timestamp>,
}

impl Caller {
    /// Who shows nothing that the store knows, and may do everything.
    pub(crate) const fn admin(actor: String) -> Self {
        Self {
            actor,
            role: Role::Admin,
            tenant: None,
            key: None,
            is_session: false,
            ends: None,
        }
    }

    /// Who shows this key.
    pub(crate) fn of_key(key: &ApiKey) -> Self {
        Self {
            actor: match &key.operator {
                Some(operator) => format!("operator:{operator}"),
                None => format!("key:{}", key.id),
            },
            role: key.role,
            tenant: key.tenant.clone(),
            key: Some(key.id),
            is_session: key.operator.is_some(),
            ends: None,
        }
    }

    /// The operator who signed in for what is shown, where one did.
    pub(crate) fn operator(&self) -> Option<&str> {
        let name = self.actor.strip_prefix("operator:");
        name.filter(|_| self.is_session)
    }

    /// Whether things of `tenant` exist for the caller.
    pub(crate) fn sees(&self, tenant: Option<&str>) -> bool {
        self.tenant.is_none() || self.tenant.as_deref() == tenant
    }

    /// The tenant that a list is about: the caller's own, or which one the caller asks for.
    pub(crate) fn confine(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        match (&self.tenant, asked) {
            (None, asked) => Ok(asked),
            (Some(own), None) => Ok(Some(own.clone())),
            (Some(own), Some(asked)) if *own == asked => Ok(Some(asked)),
            (Some(_), Some(_)) => Err(Problem::not_found("there is no such tenant")),
        }
    }
}

/// Handlers behind the gate ask for it.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Arc<Self>>();
        caller
            .map(|caller| Self::clone(caller))
            .ok_or_else(|| Problem::internal("a handler stands outside the gate"))
    }
}
