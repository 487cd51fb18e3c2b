//! What the OpenAPI document asks of who uses an operation.

use std::collections::HashMap;

use axum::http::Method;
use store::Role;
use utoipa::openapi::{OpenApi, SecurityRequirement, path::Operation};

/// The name of the security scheme.
pub(crate) const SCHEME: &str = "bearer";
/// Beside the role: it is about the node.
const NODE: &str = "node";

/// What one operation asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// At least.
    pub(super) role: Role,
    /// Not for who is confined to a tenant.
    pub(super) is_of_node: bool,
}

/// The rules of all operations.
#[derive(Debug)]
pub(crate) struct Rules(HashMap<(Method, String), Rule>);

impl Rules {
    /// As the document has them. An operation that names no role has none, and is served to nobody.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let mut rules = HashMap::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
                (Method::PATCH, &item.patch),
            ];
            for (method, operation) in operations {
                if let Some(rule) = operation.as_ref().and_then(rule) {
                    rules.insert((method, path.clone()), rule);
                }
            }
        }
        Self(rules)
    }

    /// What an operation asks.
    pub(super) fn get(&self, method: &Method, path: &str) -> Option<Rule> {
        // axum serves HEAD by what serves GET.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.0.get(&(method.clone(), path.to_owned())).copied()
    }
}

fn rule(operation: &Operation) -> Option<Rule> {
    let scopes = scopes(operation.security.as_deref()?.first()?);
    let role = scopes.iter().find_map(|scope| Role::from_name(scope))?;
    let is_of_node = scopes.iter().any(|scope| scope == NODE);
    Some(Rule { role, is_of_node })
}

/// The scopes that a requirement names. Its type shows them only as what it is written as.
fn scopes(requirement: &SecurityRequirement) -> Vec<String> {
    let written = serde_json::to_value(requirement).unwrap_or_default();
    let scopes = written.get(SCHEME).and_then(|scopes| scopes.as_array());
    let texts = scopes
        .into_iter()
        .flatten()
        .filter_map(|scope| scope.as_str());
    texts.map(str::to_owned).collect()
}
