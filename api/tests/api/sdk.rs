//! Twilio's own libraries, unmodified but for their base URL, against the API and against our signatures.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::json;
use store::{RoutingDocument, RoutingKind, Timestamp, VoiceCallRow, VoiceDirection};
use tokio::{io::AsyncWriteExt as _, process::Command};
use voice::{form::Params, signature::sign};

use crate::{
    bed::Bed,
    twilio::{OWN, TOKEN, plant},
};

/// The two languages: what runs a script, from where.
fn languages() -> Option<[(PathBuf, PathBuf, &'static str); 2]> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (python, node) = (
        target.with_file_name("twilio-python"),
        target.with_file_name("twilio"),
    );
    let is_there = python.join("wanted").exists() && node.join("node_modules/twilio").is_dir();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "Twilio's libraries are missing: scripts/setup.sh test"
    );
    is_there.then(|| {
        let interpreter = python.join("bin/python");
        [(interpreter, python, "py"), ("node".into(), node, "mjs")]
    })
}

async fn run(
    (program, folder, ending): &(PathBuf, PathBuf, &str),
    script: &str,
    args: &[&str],
    input: &str,
) -> Output {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/twilio");
    let mut child = Command::new(program)
        .arg(scripts.join(script).with_extension(ending))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

fn check(output: &Output) {
    let (out, err) = (&output.stdout, &output.stderr);
    let told = String::from_utf8_lossy(err);
    assert!(output.status.success(), "{told}");
    assert!(String::from_utf8_lossy(out).contains(": done"), "{told}");
}

#[tokio::test]
async fn they_use_the_api() {
    let Some(languages) = languages() else {
        eprintln!("skipped: scripts/setup.sh test installs Twilio's libraries");
        return;
    };
    for language in &languages {
        let bed = Bed::start().await;
        plant(&bed, OWN, None, 7).await;
        let number =
            json!({ "number": "+15550111", "account": OWN, "voice_url": "https://app.test/" });
        let document = RoutingDocument {
            id: "+15550111".into(),
            document: number.to_string(),
            tenant: None,
            updated: Timestamp::from_millis(7),
        };
        let store = &bed.store;
        store
            .put_routing(RoutingKind::Number, &[document])
            .await
            .unwrap();
        // Whom the first of the calls has dialled.
        let parent = store
            .voice_call(&format!("CA{:032x}", 0x1000))
            .await
            .unwrap()
            .unwrap();
        let dialled = VoiceCallRow {
            sid: format!("CA{:032x}", 0x9999),
            parent: Some(parent.sid.clone()),
            to: "+15559999".into(),
            direction: VoiceDirection::Dial,
            created: parent.updated,
            started: None,
            ..parent
        };
        store.upsert_voice_calls(None, &[dialled]).await.unwrap();
        let base = format!("http://{}", bed.address);
        check(&run(language, "sdk", &[&base, OWN, TOKEN], "").await);
        bed.stop().await;
    }
}

#[tokio::test]
async fn they_accept_what_we_sign() {
    let Some(languages) = languages() else {
        eprintln!("skipped: scripts/setup.sh test installs Twilio's libraries");
        return;
    };
    let params: Params = [
        ("CallSid", "CA1"),
        ("From", "+15550100"),
        ("Called", "a b&c=\u{e9}"),
    ]
    .into_iter()
    .collect();
    let mut lines = String::new();
    for url in [
        "http://app.test/voice",
        "http://app.test:8080/voice?a=b&c=d",
        "https://app.test/voice?foo=1&bar=%20x",
        "https://app.test:8443/voice",
        "https://app.test:443/voice",
        "ws://127.0.0.1:9000/stream",
        "wss://app.test/stream",
        "wss://app.test:8443/stream?room=1",
    ] {
        // By POST, and by GET or for a WebSocket.
        for params in [&params, &Params::new()] {
            let signature = sign(TOKEN, url, params);
            let members: serde_json::Map<_, _> = params
                .iter()
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect();
            let line =
                json!({ "token": TOKEN, "url": url, "params": members, "signature": signature });
            lines.push_str(&format!("{line}\n"));
        }
    }
    for language in &languages {
        check(&run(language, "validate", &[], &lines).await);
    }
}
