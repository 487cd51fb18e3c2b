//! Recordings by REST and by command, on a whole node.

use std::fs;

use serde_json::{Value, json};
use store::{Recording, Store, Timestamp, Uuid};

use crate::{
    common::{json as printed, output},
    node::Node,
};

/// Keeps a recording of a tenant in a node's store, as who records would.
fn keep(node: &Node, tenant: &str, file: &str) -> Recording {
    let recording = Recording {
        id: Uuid::now_v7(),
        call: Uuid::now_v7(),
        tenant: Some(tenant.to_owned()),
        started: Timestamp::now(),
        ended: Timestamp::now(),
        channels: 2,
        bytes: 4,
        node: node.name(),
        file: file.to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let data = node.dir.path().join("data");
        let store = Store::open("sqlite:tandem.db", &data);
        let store = store.await.unwrap();
        store.insert_recording(&recording).await.unwrap();
        store.close().await;
    });
    recording
}

#[test]
fn recordings_are_a_tenants_heard_and_deleted_with_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("[media]\nrecordings = \"{}\"", folder.path().display());
    let node = Node::start_by(|text| text.replace("[media]", &line));
    let admin = node.key();
    let ask = |key: &str, method: &str, path: &str| node.rest(key, method, path, &Value::Null);
    let key = |role: &str, tenant: &str| {
        let new = json!({ "name": "k", "role": role, "tenant": tenant });
        let (_, made) = node.rest(&admin, "POST", "/v1/keys", &new);
        made["key"].as_str().unwrap().to_owned()
    };
    let tenant = json!({ "id": "acme", "name": "Acme" });
    assert_eq!(node.rest(&admin, "POST", "/v1/tenants", &tenant).0, 201);
    let (acme, viewer) = (key("operator", "acme"), key("viewer", "acme"));
    let sound = "RIFF and what was said".repeat(10_000);
    fs::write(folder.path().join("one.wav"), &sound).unwrap();
    fs::write(folder.path().join("two.wav"), &sound).unwrap();
    let secret = folder.path().parent().unwrap().join("not-ours.wav");
    fs::write(&secret, "secret").unwrap();
    let one = keep(&node, "acme", "one.wav");
    let two = keep(&node, "default", "two.wav");
    let outside = keep(&node, "acme", "../not-ours.wav");

    let place = |recording: &Recording| format!("/v1/recordings/{}", recording.id);
    let audio = |recording: &Recording| format!("{}/audio.wav", place(recording));
    let (status, list) = ask(&viewer, "GET", "/v1/recordings");
    assert_eq!((status, list["items"].as_array().unwrap().len()), (200, 2));
    let of_call = format!("/v1/recordings?call={}&limit=1", one.call);
    let (_, found) = ask(&viewer, "GET", &of_call);
    assert_eq!(found["items"][0]["audio"], json!(audio(&one)), "{found}");
    assert_eq!(ask(&viewer, "GET", &place(&one)).1["channels"], 2);
    for path in [place(&two), audio(&two), audio(&outside)] {
        assert_eq!(ask(&acme, "GET", &path).0, 404, "{path}");
    }
    assert_eq!(ask(&viewer, "GET", &audio(&one)).0, 403);
    assert_eq!(ask(&acme, "GET", &audio(&one)).0, 200);
    assert_eq!(node.page(&audio(&one)), sound);
    assert_eq!(ask(&viewer, "DELETE", &place(&one)).0, 403);
    assert_eq!(ask(&acme, "DELETE", &place(&two)).0, 404);
    assert_eq!(ask(&acme, "DELETE", &place(&one)).0, 204);
    assert_eq!(ask(&acme, "DELETE", &place(&one)).0, 404);
    assert_eq!(ask(&acme, "DELETE", &place(&outside)).0, 204);
    assert!(!folder.path().join("one.wav").exists() && secret.exists());
    fs::remove_file(secret).unwrap();
    let (_, audit) = ask(&admin, "GET", "/v1/audit?kind=recordings&tenant=acme");
    assert_eq!(audit["items"].as_array().unwrap().len(), 2, "{audit}");

    // The same at the machine.
    let listed = printed(&node.ask(&["recordings", "--json"]));
    assert_eq!(listed["items"][0]["id"], json!(two.id), "{listed}");
    let id = two.id.to_string();
    assert!(output(&node.ask(&["recordings"])).contains(&id));
    let copy = folder.path().join("copy");
    let copied = node.ask(&["recordings", "get", &id, copy.to_str().unwrap()]);
    assert!(copied.status.success(), "{}", output(&copied));
    assert_eq!(fs::read_to_string(&copy).unwrap(), sound);
    let again = node.ask(&["recordings", "get", &id, copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "{}", output(&again));
    let gone = node.ask(&["recordings", "delete", &id]);
    assert!(gone.status.success(), "{}", output(&gone));
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "the copy, and the mark of the folder");
}
