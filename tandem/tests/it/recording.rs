//! A call that is recorded while it is up.

use std::fs;

use serde_json::{Value, json};

use crate::{
    common::{json as printed, output},
    node::Node,
};

#[test]
fn both_parties_of_a_call_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let setting = format!("[media]\nrecordings = \"{}\"", folder.path().display());
    let node = Node::start_by(|text| text.replace("[media]", &setting));
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "600"]);
    node.wait_for_state("answered");
    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/calls/{id}/recording");
    let (status, up) = node.rest(&node.key(), "POST", &path, &json!({ "on": true }));
    assert_eq!(status, 200, "{up}");
    let file = folder.path().join(format!("{id}.wav"));
    assert_eq!(up["recording"], json!(file.to_str().unwrap()));
    // More than a second of it.
    node.wait_until(|| fs::metadata(&file).is_ok_and(|file| file.len() > 44 + 48_000));
    let stopped = printed(&node.ask(&["calls", "stop-recording", &id, "--json"]));
    assert_eq!(stopped["recording"], Value::Null);

    let is_complete = || {
        let wav = fs::read(&file).unwrap();
        u32::from_le_bytes(*wav[40..].first_chunk().unwrap()) as usize + 44 == wav.len()
    };
    node.wait_until(is_complete);
    let wav = fs::read(&file).unwrap();
    for channel in [0, 2] {
        let frames = wav[44..].chunks_exact(4);
        let heard = frames
            .filter(|frame| frame[channel..channel + 2] != [0, 0])
            .count();
        assert!(heard > 4_000, "{heard} samples of channel {channel}");
    }
    node.rest(
        &node.key(),
        "DELETE",
        &format!("/v1/calls/{id}"),
        &Value::Null,
    );
    let ended = call.finish();
    assert!(ended.status.success(), "{}", output(&ended));
    answer.finish();

    // When the call is over, its recording is one of those that the API has.
    let listed = || {
        let path = format!("/v1/recordings?call={id}");
        node.rest(&node.key(), "GET", &path, &Value::Null).1
    };
    node.wait_until(|| {
        listed()["items"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    let kept = &listed()["items"][0];
    assert_eq!(kept["bytes"], json!(wav.len()));
    assert_eq!(kept["channels"], json!(2));
    let id = kept["id"].as_str().unwrap();
    let out = folder.path().join("heard.wav");
    let got = node.ask(&["recordings", "get", id, out.to_str().unwrap()]);
    assert!(got.status.success(), "{}", output(&got));
    assert_eq!(fs::read(out).unwrap(), wav);
}

#[test]
fn without_a_folder_there_are_no_recordings() {
    let node = Node::start();
    let answer = node.answer(&[]);
    answer.wait_for_udp_traffic();
    let _call = node.call(&["--duration", "60"]);
    node.wait_for_state("answered");
    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    let refused = node.ask(&["calls", "record", &id]);
    assert!(!refused.status.success());
    let told = output(&refused);
    assert!(told.contains("[media] recordings"), "{told}");
}
