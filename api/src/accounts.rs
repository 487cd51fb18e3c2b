//! `/v1/accounts`: whose programmable calls are, with what opens `/2010-04-01`.

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Account, Store, StoreError, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    State,
    access::Caller,
    body::{Body, name},
    changes::Editor,
    edited::{IfMatch, Tagged},
    hex::hex,
    problem::Problem,
    query::{List, Params},
    thing::{Thing, ThingsQuery, not_taken, place, shown, unchanged},
};

/// Calls that an account may begin a second, unless told, and at most.
const RATE: u32 = 10;
const MOST_RATE: u32 = 10_000;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, change, remove))
        .routes(routes!(rotate))
}

/// Whose programmable calls are.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// `AC` and 32 hex digits; stays.
    #[schema(example = "AC019aa46d000070008000000000000001")]
    sid: String,
    /// Whose it is; `null`: the node's.
    tenant: Option<String>,
    /// For people.
    #[schema(example = "front desk")]
    name: String,
    /// Calls that it may begin a second by `/2010-04-01`; more of them wait.
    calls_per_second: u32,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            sid: account.sid,
            tenant: account.tenant,
            name: account.name,
            calls_per_second: account.calls_per_second,
            created: account.created,
            updated: account.updated,
        }
    }
}

/// An account with its token.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountWithToken {
    #[serde(flatten)]
    view: AccountView,
    /// What opens `/2010-04-01` with the SID, and signs webhooks. Shown this once.
    token: String,
}

/// An account to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccount {
    /// For people: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "front desk")]
    name: String,
    /// Whose it is; without it the tenant of who makes it, or the node's. Stays.
    tenant: Option<String>,
    /// 1 to 10000; 10 unless told.
    #[schema(minimum = 1, maximum = 10_000)]
    calls_per_second: Option<u32>,
}

/// What is to be changed of an account: what is left out stays (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountChange {
    /// 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "front desk")]
    name: Option<String>,
    /// 1 to 10000.
    #[schema(minimum = 1, maximum = 10_000)]
    calls_per_second: Option<u32>,
}

/// The accounts, by SID.
#[utoipa::path(get, path = "/accounts", tag = "accounts", params(ThingsQuery),
    security(("bearer" = ["admin"])), responses((status = 200, body = List<AccountView>)))]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<ThingsQuery>,
) -> Result<Json<List<AccountView>>, Problem> {
    let wanted = query.of(&caller)?;
    let (tenant, after) = (wanted.tenant.as_deref(), wanted.after.as_str());
    let accounts = state.store.accounts(tenant, after, wanted.most());
    Ok(wanted.page(accounts.await?))
}

/// Makes an account with a random token, which is shown this once.
#[utoipa::path(post, path = "/accounts", tag = "accounts", request_body = NewAccount,
    security(("bearer" = ["admin"])), responses(
        (status = 201, body = AccountWithToken),
        (status = 422, description = "Something of it cannot be, or there is no such tenant")))]
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    editor: Editor,
    Body(new): Body<NewAccount>,
) -> Result<impl IntoResponse, Problem> {
    let (now, digits) = (Timestamp::now(), rand::rng().random::<[u8; 16]>());
    let account = Account {
        sid: format!("AC{}", hex(&digits)),
        tenant: editor.caller.confine(new.tenant)?,
        name: name(new.name)?,
        token: token(),
        calls_per_second: rate(new.calls_per_second)?.unwrap_or(RATE),
        created: now,
        updated: now,
    };
    let created = state.store.create_accounts(std::slice::from_ref(&account));
    if created.await.map_err(not_taken)? == 0 {
        return Err(Problem::internal("two random SIDs are the same"));
    }
    let detail = json!({ "name": account.name, "calls_per_second": account.calls_per_second });
    state.record(&editor, "create", &account, detail).await;
    let headers = [place(&account), ("cache-control", "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, with_token(account)))
}

/// An account, without its token.
#[utoipa::path(get, path = "/accounts/{id}", tag = "accounts", params(("id" = String, Path)),
    security(("bearer" = ["admin"])), responses(
        (status = 200, body = AccountView),
        (status = 404, description = "There is none of this SID")))]
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Tagged<AccountView>, Problem> {
    Ok(shown(state.find::<Account>(&caller, &id).await?))
}

/// Changes an account. What is left out stays.
#[utoipa::path(patch, path = "/accounts/{id}", tag = "accounts", params(("id" = String, Path)),
    request_body = AccountChange, security(("bearer" = ["admin"])), responses(
        (status = 200, body = AccountView),
        (status = 404, description = "There is none of this SID"),
        (status = 412, description = "It is not as If-Match says"),
        (status = 422, description = "Something of it cannot be")))]
async fn change(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
    Body(change): Body<AccountChange>,
) -> Result<Tagged<AccountView>, Problem> {
    let before: Account = state.seen(&editor, &id, &if_match).await?;
    let since = before.updated;
    let rate = rate(change.calls_per_second)?;
    let after = Account {
        name: change.name.map(name).transpose()?.unwrap_or(before.name),
        calls_per_second: rate.unwrap_or(before.calls_per_second),
        updated: since.next(),
        ..before
    };
    unchanged(state.store.change_account(&after, since).await)?;
    let detail = json!({ "name": after.name, "calls_per_second": after.calls_per_second });
    state.record(&editor, "update", &after, detail).await;
    Ok(shown(after))
}

/// Gives an account another token, which is shown this once. The one before opens nothing from now on; webhooks
/// are signed with the new one once the node has taken it over.
#[utoipa::path(post, path = "/accounts/{id}/token", tag = "accounts", params(("id" = String, Path)),
    security(("bearer" = ["admin"])), responses(
        (status = 200, body = AccountWithToken),
        (status = 404, description = "There is none of this SID"),
        (status = 412, description = "It is not as If-Match says")))]
async fn rotate(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<impl IntoResponse, Problem> {
    let before: Account = state.seen(&editor, &id, &if_match).await?;
    let since = before.updated;
    let after = Account {
        token: token(),
        updated: since.next(),
        ..before
    };
    unchanged(state.store.change_account(&after, since).await)?;
    state.record(&editor, "rotate", &after, json!({})).await;
    Ok(([("cache-control", "no-store")], with_token(after)))
}

/// Removes an account with its keys. Numbers that lead to it refuse calls then.
#[utoipa::path(delete, path = "/accounts/{id}", tag = "accounts", params(("id" = String, Path)),
    security(("bearer" = ["admin"])), responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none of this SID"),
        (status = 412, description = "It is not as If-Match says")))]
async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    editor: Editor,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let before: Account = state.seen(&editor, &id, &if_match).await?;
    unchanged(state.store.remove_account(&id, before.updated).await)?;
    let detail = json!({ "name": before.name });
    state.record(&editor, "delete", &before, detail).await;
    Ok(StatusCode::NO_CONTENT)
}

/// 128 random bits, written as Twilio's are.
fn token() -> String {
    hex(&rand::rng().random::<[u8; 16]>())
}

fn rate(asked: Option<u32>) -> Result<Option<u32>, Problem> {
    match asked {
        Some(rate) if !(1..=MOST_RATE).contains(&rate) => Err(Problem::bad_member(format!(
            "calls_per_second: 1 to {MOST_RATE}"
        ))),
        asked => Ok(asked),
    }
}

fn with_token(account: Account) -> Json<AccountWithToken> {
    let token = account.token.clone();
    let view = account.into();
    Json(AccountWithToken { view, token })
}

impl Thing for Account {
    const KIND: &'static str = "accounts";
    const MISSING: &'static str = "there is no account of this SID; GET /v1/accounts lists them";

    fn key(&self) -> String {
        self.sid.clone()
    }

    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn updated(&self) -> Timestamp {
        self.updated
    }

    async fn find(store: &Store, sid: &str) -> Result<Option<Self>, StoreError> {
        store.account(sid).await
    }
}
