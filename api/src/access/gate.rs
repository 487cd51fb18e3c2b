//! Who may ask what of `/v1`.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, header},
};

use super::{Caller, Tokens};
use crate::{Front, problem::Problem};

/// Finds out who asks, who has to show a key that is enough for what is asked (RFC 6750).
pub(crate) async fn gate(front: &Front, request: &mut Request) -> Result<Arc<Caller>, Problem> {
    let caller = caller(front, request.headers()).await?;
    // What nothing serves is told to whoever has a key.
    if let Some(path) = request.extensions().get::<MatchedPath>() {
        let Some(rule) = front.rules.get(request.method(), path.as_str()) else {
            return Err(Problem::forbidden("nobody is allowed to do this"));
        };
        if rule.is_of_node && caller.tenant.is_some() {
            return Err(Problem::forbidden(
                "this is about the whole node, and the key is one tenant's: use a key without a tenant",
            ));
        }
        if caller.role < rule.role {
            let detail = format!(
                "this needs the role {}, and the key's is {}",
                rule.role.name(),
                caller.role.name()
            );
            return Err(Problem::forbidden(detail));
        }
    }
    request.extensions_mut().insert(caller.clone());
    Ok(caller)
}

async fn caller(front: &Front, headers: &HeaderMap) -> Result<Arc<Caller>, Problem> {
    let Some(shown) = bearer(headers) else {
        return Err(Problem::unauthorized(
            "send one header field 'Authorization: Bearer KEY' with an API key, the admin key, \
             what POST /v1/login gives, or a token where [api.jwt] takes any",
            "Bearer realm=\"tandem\"",
        ));
    };
    if front.admin_key.is(shown) {
        return Ok(Arc::new(Caller::admin("admin-key".to_owned())));
    }
    if let Some(tokens) = &front.tokens
        && Tokens::is_one(shown)
    {
        return tokens.caller(shown).await;
    }
    let known = front.state.keys.caller(shown).await?;
    known.ok_or_else(|| {
        Problem::unauthorized(
            "this is no key, or none any more; the admin key is [api] admin_key of the configuration, or \
             in the file admin_key in the data directory, and makes others by POST /v1/keys",
            "Bearer realm=\"tandem\", error=\"invalid_token\"",
        )
    })
}

/// The token of the one `Authorization` field. The scheme's case does not matter (RFC 9110 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next()?.to_str().ok()?;
    if fields.next().is_some() {
        return None;
    }
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}
