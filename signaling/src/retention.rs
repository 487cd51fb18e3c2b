//! Forgets records that are older than the configuration wants them to be.

use std::{path::Path, sync::Arc, time::Duration};

use control::config::Store as Config;
use store::{Aged, Store, StoreError, Timestamp};
use tracing::{info, warn};

use crate::{metrics::Metrics, provision::Provision};

/// How often it is looked for what is too old.
const EVERY: Duration = Duration::from_secs(3600);

/// What does it.
#[derive(Debug)]
pub(crate) struct Retention {
    pub(crate) store: Store,
    /// Whose configuration says for how long.
    pub(crate) provision: Arc<Provision>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whose recordings have their files here.
    pub(crate) node: String,
}

impl Retention {
    /// For as long as the node runs.
    pub(crate) async fn run(self) {
        loop {
            let config = self.provision.store_config().await;
            self.forget(&config, Timestamp::now()).await;
            let folder = self.provision.recordings().await;
            let forgot = self.forget_recordings(&config, folder.as_deref(), Timestamp::now());
            if let Err(error) = forgot.await {
                warn!(%error, "cannot forget recordings that are to go; trying again in an hour");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Once, by what is too old at `now`.
    async fn forget(&self, config: &Config, now: Timestamp) {
        for what in Aged::ALL {
            let Some(age) = age(config, what) else {
                continue;
            };
            match self.store.forget_before(what, now.earlier(age)).await {
                Ok(0) => {}
                Ok(count) => {
                    self.metrics.forgot(what.name(), count);
                    let days = age.as_secs() / DAY;
                    info!(what = what.name(), count, days, "forgot what is older");
                }
                Err(error) => {
                    let what = what.name();
                    warn!(what, %error, "cannot forget what is too old; trying again in an hour");
                }
            }
        }
    }
}

const DAY: u64 = 24 * 3600;

impl Retention {
    /// Recordings that are too old by `now`, and those whose files could not be removed before.
    async fn forget_recordings(
        &self,
        config: &Config,
        folder: Option<&Path>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if config.keep_recordings > 0 {
            let age = Duration::from_secs(u64::from(config.keep_recordings) * DAY);
            let before = now.earlier(age);
            self.store.condemn_recordings_before(before).await?;
        }
        let Some(folder) = folder else {
            return Ok(());
        };
        let swept = self.store.sweep_recordings(&self.node, folder).await?;
        if swept.removed > 0 {
            self.metrics.forgot("recordings", swept.removed);
            info!(count = swept.removed, "forgot recordings");
        }
        Ok(())
    }
}

/// How long something is kept; `None`: for ever.
fn age(config: &Config, what: Aged) -> Option<Duration> {
    let days = match what {
        Aged::Cdrs => config.keep_cdrs,
        Aged::Audit => config.keep_audit,
        Aged::Messages => config.keep_messages.get(),
    };
    (days > 0).then(|| Duration::from_secs(u64::from(days) * DAY))
}

#[cfg(test)]
mod tests {
    use store::{AuditEntry, AuditFilter, Recording, Uuid};

    use super::*;
    use crate::provision;

    #[tokio::test]
    async fn what_is_older_than_the_configuration_wants_is_forgotten_and_counted() {
        let (provision, store, _folder) = provision::tests::provision().await;
        let retention = Retention {
            store: store.clone(),
            provision,
            metrics: Arc::new(Metrics::new().unwrap()),
            node: "one".to_owned(),
        };
        let now = Timestamp::now();
        let days = |days: u64| now.earlier(Duration::from_secs(days * DAY + 1));
        for time in [days(2), days(29), days(30), days(400)] {
            let entry = AuditEntry {
                id: Uuid::now_v7(),
                time,
                tenant: None,
                actor: "cli:test".into(),
                action: "update".into(),
                kind: "users".into(),
                target: "x".into(),
                source: "127.0.0.1".into(),
                request_id: String::new(),
                detail: "{}".into(),
            };
            store.audit(&entry).await.unwrap();
        }
        let left = async || {
            let all = store.audit_entries(&AuditFilter::default(), 9, None).await;
            all.unwrap().items.len()
        };
        // For ever, unless told.
        let mut config = retention.provision.store_config().await;
        retention.forget(&config, now).await;
        assert_eq!(left().await, 4);
        config.keep_audit = 30;
        retention.forget(&config, now).await;
        assert_eq!(left().await, 2);
        let page = retention.metrics.text();
        let counted = "tandem_store_forgotten_total{what=\"audit\"} 2\n";
        assert!(page.contains(counted), "{page}");

        let folder = tempfile::tempdir().unwrap();
        for (file, started) in [("old.wav", days(31)), ("new.wav", days(29))] {
            let recording = Recording {
                id: Uuid::now_v7(),
                call: Uuid::now_v7(),
                tenant: None,
                started,
                ended: now,
                channels: 2,
                bytes: 44,
                node: "one".to_owned(),
                file: file.to_owned(),
            };
            std::fs::write(folder.path().join(file), "RIFF").unwrap();
            store.insert_recording(&recording).await.unwrap();
        }
        let files = || {
            let files = std::fs::read_dir(folder.path()).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        for (days, left) in [(0, 2), (30, 1)] {
            config.keep_recordings = days;
            let forgot = retention.forget_recordings(&config, Some(folder.path()), now);
            forgot.await.unwrap();
            assert_eq!(files().len(), left, "{:?}", files());
        }
        assert!(files().contains("new.wav"));
    }
}
