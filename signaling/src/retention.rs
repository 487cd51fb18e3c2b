//! Forgets records that are older than the configuration wants them to be, and recordings that there is no room for.

mod left;
mod room;

use std::{path::Path, sync::Arc, time::Duration};

use control::config::Store as Config;
use store::{Aged, Store, StoreError, Timestamp};
use tracing::{info, warn};

use self::room::Tight;
use crate::{metrics::Metrics, provision::Provision};

/// How often it is looked whether there is room for recordings.
const EVERY: Duration = Duration::from_secs(30);
/// After how many such times it is looked for what is too old: every hour.
const HOURLY: u32 = 120;

/// What does it.
#[derive(Debug)]
pub(crate) struct Retention {
    pub(crate) store: Store,
    /// Whose configuration says for how long.
    pub(crate) provision: Arc<Provision>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whose recordings have their files here.
    pub(crate) node: String,
    /// When this process began.
    pub(crate) began: Timestamp,
}

impl Retention {
    /// For as long as the node runs.
    pub(crate) async fn run(self) {
        let mut tight = Tight::No;
        for turn in (0..HOURLY).cycle() {
            let config = self.provision.store_config().await;
            let folder = self.provision.recordings().await;
            let folder = folder.as_deref();
            if turn == 0 {
                self.forget(&config, Timestamp::now()).await;
                let forgot = self.forget_recordings(&config, folder, Timestamp::now());
                if let Err(error) = forgot.await {
                    warn!(%error, "cannot forget recordings that are to go; trying again in an hour");
                }
            }
            match self.make_room(&config, folder, tight).await {
                Ok(now) => tight = now,
                Err(error) => warn!(%error, "cannot make room for recordings; trying again"),
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
        self.list_left(folder).await?;
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
            began: Timestamp::now(),
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

    fn retention(provision: Arc<Provision>, store: Store) -> Retention {
        Retention {
            store,
            provision,
            metrics: Arc::new(Metrics::new().unwrap()),
            node: "one".to_owned(),
            began: Timestamp::now(),
        }
    }

    fn recording(file: &str, ended: i64) -> Recording {
        Recording {
            id: Uuid::now_v7(),
            call: Uuid::now_v7(),
            tenant: None,
            started: Timestamp::from_millis(0),
            ended: Timestamp::from_millis(ended),
            channels: 2,
            // What the row says may be old.
            bytes: 0,
            node: "one".to_owned(),
            file: file.to_owned(),
        }
    }

    #[tokio::test]
    async fn recordings_that_ended_first_make_room() {
        let (provision, store, _folder) = provision::tests::provision().await;
        let retention = retention(provision, store.clone());
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str| std::fs::write(folder.join(name), vec![7; 400 << 10]).unwrap();
        // Five of 400 KiB, and one that is being recorded.
        let mut all = Vec::new();
        for (name, ended) in [("c", 30), ("a", 10), ("e", 50), ("b", 20), ("d", 40)] {
            let recording = recording(&format!("{name}.wav"), ended);
            write(&recording.file);
            store.insert_recording(&recording).await.unwrap();
            all.push(recording);
        }
        write("goes-on.wav");
        let elsewhere = Recording {
            node: "two".to_owned(),
            ..recording("f.wav", 5)
        };
        store.insert_recording(&elsewhere).await.unwrap();
        let mut config = retention.provision.store_config().await;
        let left = || {
            let names = ["a", "b", "c", "d", "e"].into_iter();
            let there = names.filter(|name| folder.join(format!("{name}.wav")).exists());
            there.collect::<String>()
        };
        let room = async |config: &Config, before| {
            let room = retention.make_room(config, Some(folder), before);
            room.await.unwrap()
        };
        // Without a limit all stay.
        assert_eq!(room(&config, Tight::No).await, Tight::No);
        assert_eq!(left(), "abcde");
        // 2,400 KiB are 352 too many: one goes. Then 976, of 2,000: three.
        config.keep_recordings_mib = 2;
        assert_eq!(room(&config, Tight::No).await, Tight::No);
        assert_eq!(left(), "bcde");
        assert_eq!(room(&config, Tight::No).await, Tight::No);
        assert_eq!(left(), "bcde");
        config.keep_recordings_mib = 1;
        assert_eq!(room(&config, Tight::No).await, Tight::No);
        assert_eq!(left(), "e");
        for recording in &all {
            let row = store.recording(recording.id).await.unwrap();
            assert_eq!(row.is_some(), recording.file == "e.wav");
        }
        assert!(store.recording(elsewhere.id).await.unwrap().is_some());
        let page = retention.metrics.text();
        for counted in [
            "tandem_recordings_evicted_total{limit=\"keep_recordings_mib\"} 4\n",
            "tandem_recordings_bytes 2048000\n",
        ] {
            assert!(page.contains(counted), "{page}");
        }
        // No disk has so much: everything that is over goes, what is recorded stays, and it is said once.
        config.keep_free_mib = u32::MAX;
        assert_eq!(room(&config, Tight::No).await, Tight::Yes);
        assert_eq!(left(), "");
        assert!(folder.join("goes-on.wav").exists());
        assert_eq!(room(&config, Tight::Yes).await, Tight::Yes);
    }

    #[tokio::test]
    async fn files_that_are_in_no_list_are_listed_when_their_call_is_over() {
        let (provision, store, _folder) = provision::tests::provision().await;
        let mut retention = retention(provision, store.clone());
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str, hours: u64| {
            std::fs::write(folder.join(name), [7; 44]).unwrap();
            let file = std::fs::File::options().write(true).open(folder.join(name));
            let at = std::time::SystemTime::now() - Duration::from_secs(hours * 3600 + 60);
            file.unwrap().set_modified(at).unwrap();
        };
        let [over, up, lost] = [(); 3].map(|()| Uuid::now_v7());
        let cdr = cdr(over);
        store.insert_cdrs(std::slice::from_ref(&cdr)).await.unwrap();
        let known = Recording {
            call: over,
            ..recording(&format!("{over}.wav"), 10)
        };
        store.insert_recording(&known).await.unwrap();
        for (name, hours) in [
            (format!("{over}.wav"), 2),
            (format!("{over}-2.wav"), 2),
            // It may be written still.
            (format!("{over}-3.wav"), 0),
            // Of this call there is no record yet.
            (format!("{up}.wav"), 25),
            ("somebody-elses.wav".to_owned(), 25),
        ] {
            write(&name, hours);
        }
        let listed = async || {
            let all = store
                .recordings(&store::RecordingFilter::default(), 9, None)
                .await;
            let files = all
                .unwrap()
                .items
                .into_iter()
                .map(|it| (it.file, it.tenant));
            files.collect::<std::collections::BTreeSet<_>>()
        };
        retention.list_left(folder).await.unwrap();
        retention.list_left(folder).await.unwrap();
        let second = (format!("{over}-2.wav"), cdr.tenant.clone());
        assert_eq!(
            listed().await,
            [(known.file.clone(), None), second.clone()].into()
        );
        // A call of a process before this one, which was killed.
        retention.began = Timestamp::from_millis(Timestamp::now().millis() + 1000);
        write(&format!("{lost}.pcap"), 23);
        std::fs::remove_file(folder.join(format!("{up}.wav"))).unwrap();
        retention.list_left(folder).await.unwrap();
        assert_eq!(listed().await.len(), 2, "it rests for a day");
        write(&format!("{lost}.pcap"), 25);
        retention.list_left(folder).await.unwrap();
        let lost = (format!("{lost}.pcap"), None);
        assert_eq!(listed().await, [(known.file, None), second, lost].into());
    }

    fn cdr(id: Uuid) -> store::Cdr {
        let time = Timestamp::from_millis(1_000);
        store::Cdr {
            id,
            call_id: "one@example.test".to_owned(),
            from_uri: "sip:alice@example.test".to_owned(),
            to_uri: "sip:bob@example.test".to_owned(),
            request_uri: "sip:bob@example.test".to_owned(),
            source: ([192, 0, 2, 1], 5060).into(),
            transport: "udp".to_owned(),
            origin: None,
            callee_user: None,
            tenant: Some("acme".to_owned()),
            trunk: None,
            route: None,
            started: time,
            ringing: None,
            answered: Some(time),
            ended: Timestamp::from_millis(2_000),
            status: 200,
            reason: "OK".to_owned(),
            ended_by: store::EndedBy::Caller,
            cause: store::Cause::Bye,
            datapath: None,
            from_caller: None,
            from_callee: None,
        }
    }
}
