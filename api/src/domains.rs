//! `/v1/domains`: whose users those of a SIP domain are.

use std::{collections::HashMap, sync::Arc};

use axum::{Json, extract, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{DEFAULT_TENANT, Domain, Store, StoreError, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    body::Body,
    changes::Editor,
    edited::{IfMatch, Tagged},
    problem::Problem,
    query::{List, Params},
    rules,
    thing::{Thing, ThingsQuery, not_taken, shown, unchanged},
};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put, remove))
}

/// A SIP domain that was given to a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct DomainView {
    #[schema(example = "acme.example")]
    name: String,
    #[schema(example = "acme")]
    tenant: String,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
}

impl From<Domain> for DomainView {
    fn from(domain: Domain) -> Self {
        Self {
            name: domain.name,
            tenant: domain.tenant,
            created: domain.created,
            updated: domain.updated,
        }
    }
}

/// Whose a domain is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainOwner {
    #[schema(example = "acme")]
    tenant: String,
}

/// The domains that were given to tenants, by name. All others are the tenant `default`'s.
#[utoipa::path(get, path = "/domains", tag = "domains", params(ThingsQuery),
    security(("bearer" = ["viewer"])), responses((status = 200, body = List<DomainView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<ThingsQuery>,
) -> Result<Json<List<DomainView>>, Problem> {
    let wanted = query.of(&caller)?;
    let domains = state
        .store
        .domains(wanted.tenant.as_deref(), &wanted.after, wanted.most());
    Ok(wanted.page(domains.await?))
}

/// Gives a domain, with all its users, to a tenant.
#[utoipa::path(put, path = "/domains/{name}", tag = "domains", params(("name" = String, Path)),
    request_body = DomainOwner, security(("bearer" = ["admin", "node"])), responses(
        (status = 200, body = DomainView),
        (status = 412, description = "It is not as If-Match says"),
        (status = 422, description = "It is no domain, or there is no such tenant")))]
async fn put(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(owner): Body<DomainOwner>,
) -> Result<Tagged<DomainView>, Problem> {
    let name = name.to_ascii_lowercase();
    rules::domain(&name).map_err(Problem::bad_member)?;
    let before = state.store.domain(&name).await?;
    let updated = before.as_ref().map(|before| before.updated);
    if_match.check(updated)?;
    let now = Timestamp::now();
    let domain = Domain {
        name,
        tenant: owner.tenant,
        created: before.map_or(now, |before| before.created),
        updated: updated.map_or(now, Timestamp::next),
    };
    let put = state.store.put_domain(&domain, updated).await;
    unchanged(put.map_err(not_taken))?;
    let detail = json!({ "tenant": domain.tenant });
    state.record(&editor, "update", &domain, detail).await;
    Ok(shown(domain))
}

/// Gives a domain, with all its users, back to the tenant `default`.
#[utoipa::path(delete, path = "/domains/{name}", tag = "domains", params(("name" = String, Path)),
    security(("bearer" = ["admin", "node"])), responses(
        (status = 204, description = "It is"),
        (status = 404, description = "It was not given to a tenant")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(name): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let domain: Domain = state.seen(&editor, &name, &if_match).await?;
    let removing = state.store.remove_domain(&domain.name, domain.updated);
    unchanged(removing.await)?;
    state.record(&editor, "delete", &domain, json!({})).await;
    Ok(StatusCode::NO_CONTENT)
}

impl Thing for Domain {
    const KIND: &'static str = "domains";
    const MISSING: &'static str = "this domain was not given to a tenant";

    fn key(&self) -> String {
        self.name.clone()
    }

    fn tenant(&self) -> Option<&str> {
        Some(&self.tenant)
    }

    fn updated(&self) -> Timestamp {
        self.updated
    }

    async fn find(store: &Store, name: &str) -> Result<Option<Self>, StoreError> {
        store.domain(&name.to_ascii_lowercase()).await
    }
}

/// Whose domains are, each asked for once.
#[derive(Default)]
pub(crate) struct Owners(HashMap<String, String>);

impl Owners {
    /// The tenant of a user: `alice@example.test`.
    pub(crate) async fn of_user(&mut self, state: &State, user: &str) -> Result<String, Problem> {
        let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.of(state, &domain.to_ascii_lowercase()).await
    }

    /// The tenant of a domain in lower case.
    pub(crate) async fn of(&mut self, state: &State, domain: &str) -> Result<String, Problem> {
        if let Some(tenant) = self.0.get(domain) {
            return Ok(tenant.clone());
        }
        let found = state.store.domain(domain).await?;
        let tenant = found.map_or_else(|| DEFAULT_TENANT.to_owned(), |domain| domain.tenant);
        self.0.insert(domain.to_owned(), tenant.clone());
        Ok(tenant)
    }
}
