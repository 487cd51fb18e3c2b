//! `Keys`: what opens an account beside its token.

use axum::response::Response;
use rand::RngExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::{AccountKey, Timestamp, Uuid};

use super::{Call, Error, Verb, created, date::rfc2822, gone, page::Asked, shown};
use crate::{hex::hex, rules};

/// Keys of an account at most: a list has them all.
const MOST: u32 = 1_000;

pub(super) async fn all(call: &Call<'_>, verb: Verb) -> Result<Response, Error> {
    let keys = call
        .state
        .store
        .account_keys(&call.account.sid, "", MOST)
        .await?;
    match verb {
        Verb::Get => Ok(Asked::of(call)?.slice(call, "keys", keys.iter().map(view))),
        Verb::Post if keys.len() >= MOST as usize => Err(Error::invalid(format!(
            "an account has {MOST} keys at most"
        ))),
        Verb::Post => create(call).await,
        Verb::Delete => Err(Error::method()),
    }
}

async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let now = Timestamp::now();
    let secret: [u8; 16] = rand::rng().random();
    let secret = hex(&secret);
    let sid = format!("SK{}", Uuid::now_v7().simple());
    let key = AccountKey {
        name: name(call)?.unwrap_or(&sid).to_owned(),
        sid,
        account: call.account.sid.clone(),
        created: now,
        updated: now,
    };
    let hash = hex(&Sha256::digest(&secret));
    call.state.store.create_account_key(&key, &hash).await?;
    call.record(
        "create",
        "account-keys",
        &key.sid,
        json!({ "name": key.name }),
    )
    .await;
    let mut shown = view(&key);
    // This once.
    if let Some(members) = shown.as_object_mut() {
        members.insert("secret".to_owned(), secret.into());
    }
    Ok(created(shown))
}

pub(super) async fn one(call: &Call<'_>, verb: Verb, sid: &str) -> Result<Response, Error> {
    let (store, own) = (&call.state.store, &call.account.sid);
    let key = store.account_key(sid).await?.map(|(key, _)| key);
    let key = key
        .filter(|key| key.account == *own)
        .ok_or_else(|| call.missing())?;
    match verb {
        Verb::Get => Ok(shown(view(&key))),
        Verb::Post => {
            let name = name(call)?.unwrap_or(&key.name).to_owned();
            let updated = Timestamp::now();
            if !store.rename_account_key(own, sid, &name, updated).await? {
                return Err(call.missing());
            }
            call.record("update", "account-keys", sid, json!({ "name": name }))
                .await;
            Ok(shown(view(&AccountKey {
                name,
                updated,
                ..key
            })))
        }
        Verb::Delete => {
            if !store.remove_account_key(own, sid).await? {
                return Err(call.missing());
            }
            call.record("delete", "account-keys", sid, json!({ "name": key.name }))
                .await;
            Ok(gone())
        }
    }
}

fn name<'a>(call: &'a Call<'_>) -> Result<Option<&'a str>, Error> {
    let name = call.form.text("FriendlyName");
    if let Some(name) = name {
        rules::name(name).map_err(|wrong| Error::invalid(format!("FriendlyName: {wrong}")))?;
    }
    Ok(name)
}

fn view(key: &AccountKey) -> Value {
    json!({
        "sid": key.sid,
        "friendly_name": key.name,
        "date_created": rfc2822(key.created),
        "date_updated": rfc2822(key.updated),
    })
}
