//! The users of the configuration, which are created in the store where it lacks them.

use control::{Config, config};
use sip::digest::{Ha1, Hash};
use store::{Store, StoreError, Timestamp};
use tracing::info;

/// Creates `[[users]]` that the store lacks.
///
/// # Errors
/// If the database fails.
pub(crate) async fn users(config: &Config, store: &Store) -> Result<(), StoreError> {
    if config.users.is_empty() {
        return Ok(());
    }
    let first = config.sip.domains.first().map(String::as_str);
    let now = Timestamp::now();
    let users = config.users.iter();
    let users: Vec<_> = users.filter_map(|user| row(user, first, now)).collect();
    let created = store.create_users(&users).await?;
    info!(
        created,
        configured = users.len(),
        "users of the configuration are in the store"
    );
    Ok(())
}

/// Every domain that users are of: those of the configuration, and those of the store.
///
/// # Errors
/// If the database fails.
pub(crate) async fn domains(config: &Config, store: &Store) -> Result<Vec<String>, StoreError> {
    let mut domains = config.sip.domains.clone();
    for domain in store.user_domains().await? {
        if !domains
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&domain))
        {
            domains.push(domain);
        }
    }
    Ok(domains)
}

fn row(user: &config::User, first: Option<&str>, now: Timestamp) -> Option<store::User> {
    // The realm is the domain as it is stored.
    let domain = user.domain(first)?.to_ascii_lowercase();
    let ha1 = |hash| {
        let ha1 = Ha1::new(hash, &user.name, &domain, &user.password);
        Some(ha1.expose().to_owned())
    };
    Some(store::User {
        ha1_md5: ha1(Hash::Md5),
        ha1_sha256: ha1(Hash::Sha256),
        ha1_sha512: ha1(Hash::Sha512_256),
        name: user.name.clone(),
        display: user.display.clone(),
        enabled: user.enabled,
        profile: serde_json::to_string(&user.profile()).ok()?,
        created: now,
        updated: now,
        domain,
    })
}
