//! What only a database in a file has.

#![expect(
    clippy::unwrap_used,
    reason = "a test says \"this cannot fail\" the short way"
)]

use std::{os::unix::fs::PermissionsExt, path::Path};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use store::{CdrFilter, Store, StoreError};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_new_database_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("var/lib/tandem");
    let store = Store::open("sqlite:tandem.db", &data).await.unwrap();
    assert_eq!(mode(&data), 0o700);
    for file in ["tandem.db", "tandem.db-wal", "tandem.db-shm"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    assert_eq!(
        store.database(),
        format!("sqlite:{}/tandem.db", data.display())
    );
}

#[tokio::test]
async fn an_absolute_path_is_taken_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("elsewhere.db");
    for url in [
        format!("sqlite:{}", path.display()),
        format!("sqlite://{}", path.display()),
    ] {
        let store = Store::open(&url, Path::new("/proc/nonexistent"))
            .await
            .unwrap();
        store.close().await;
        assert!(path.exists());
    }
}

#[tokio::test]
async fn a_database_in_memory_works() {
    let store = Store::open("sqlite::memory:", Path::new("/proc/nonexistent"))
        .await
        .unwrap();
    let page = store.cdrs(&CdrFilter::default(), 10, None).await.unwrap();
    assert_eq!(page.items, []);
    assert_eq!(store.database(), "sqlite::memory:");
}

#[tokio::test]
async fn a_database_that_another_process_holds_is_said_to_be_locked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open("sqlite:t.db", dir.path()).await.unwrap();
    let options = SqliteConnectOptions::new().filename(dir.path().join("t.db"));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let error = store.forget_message(store::Uuid::nil()).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked), "{error}");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(!store.forget_message(store::Uuid::nil()).await.unwrap());
}

#[tokio::test]
async fn a_database_that_is_moved_away_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open("sqlite:t.db", dir.path()).await.unwrap();
    store.ping().await.unwrap();
    let (path, aside) = (dir.path().join("t.db"), dir.path().join("aside.db"));
    std::fs::rename(&path, &aside).unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    assert!(error.to_string().contains("t.db"), "{error}");
    std::fs::copy(&aside, &path).unwrap();
    store.ping().await.expect_err("another file of its name");
    std::fs::rename(&aside, &path).unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_wrong_url_says_what_to_write() {
    for url in [
        "mysql://user:secret@host/db",
        "tandem.db",
        "",
        "sqlite:a.db?mode=what",
        "sqlite:",
        "postgres:user:secret@host/db",
        "postgres://user:secret@host:port/db",
    ] {
        let before = Store::check_url(url).unwrap_err();
        assert!(matches!(before, StoreError::Url(_)), "{url}: {before}");
        let error = Store::open(url, Path::new("/proc/nonexistent"))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Url(_)), "{url}: {error}");
        let text = error.to_string();
        assert!(text.contains("write sqlite:FILE or postgres://"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(before.to_string(), text);
    }
    for url in [
        "sqlite:tandem.db",
        "sqlite:///var/lib/t.db",
        "sqlite::memory:",
        "postgres://h/d",
    ] {
        Store::check_url(url).unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open("sqlite:t.db", &file).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(error.to_string().contains("file/t.db"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_its_password() {
    let url = "postgres://tandem:secret@127.0.0.1:1/tandem";
    let error = Store::open(url, Path::new("/proc/nonexistent"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("postgres:127.0.0.1:1/tandem"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
