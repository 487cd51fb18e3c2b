//! Who asks: an account by its token, or by one of its keys (RFC 7617).

use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use store::{Account, Store, StoreError};
use subtle::ConstantTimeEq as _;

use super::Error;
use crate::{Front, hex::hex, rate};

/// The account that is asked for, and who asks for it, for the record of changes. Wrong credentials are counted
/// against the address, requests against the account.
pub(super) async fn account(
    front: &Front,
    ip: IpAddr,
    headers: &HeaderMap,
) -> Result<(Account, String), Error> {
    let (rates, source) = (&front.rates, rate::source(ip));
    if let Err(left) = rates.may_guess(source) {
        let message = "Too many wrong credentials came from this address";
        return Err(Error::too_many(message, left.seconds()));
    }
    let shown = credentials(headers).ok_or_else(Error::unauthenticated)?;
    let Some((account, actor)) = known(&front.state.store, &shown).await? else {
        rates.guessed(source);
        return Err(Error::unauthenticated());
    };
    if let Err(left) = rates.limit(&format!("account:{}", account.sid)) {
        let message = "Too many requests: the account makes more a second than [api] requests";
        return Err(Error::too_many(message, left.seconds()));
    }
    Ok((account, actor))
}

/// Name and secret of the one `Authorization` field.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next()?.to_str().ok()?;
    if fields.next().is_some() {
        return None;
    }
    let (scheme, text) = field.split_once(' ')?;
    let text = scheme.eq_ignore_ascii_case("Basic").then(|| text.trim())?;
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    // PostgreSQL's text cannot hold it.
    let is_good = !name.contains('\0');
    is_good.then(|| (name.to_owned(), secret.to_owned()))
}

async fn known(
    store: &Store,
    (name, secret): &(String, String),
) -> Result<Option<(Account, String)>, StoreError> {
    let shown = hex(&Sha256::digest(secret));
    let (account, hash, actor) = if name.starts_with("SK") {
        let Some((key, hash)) = store.account_key(name).await? else {
            return Ok(None);
        };
        let account = store.account(&key.account).await?;
        (account, hash, format!("account-key:{name}"))
    } else {
        let account = store.account(name).await?;
        // Hashes have one length, and take one time to compare.
        let token = account.as_ref().map_or("", |account| &account.token);
        let hash = hex(&Sha256::digest(token));
        (account, hash, format!("account:{name}"))
    };
    let is_right: bool = shown.as_bytes().ct_eq(hash.as_bytes()).into();
    Ok(account.filter(|_| is_right).map(|account| (account, actor)))
}
