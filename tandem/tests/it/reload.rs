//! What a reload takes over, and what it says of that.

use std::fs;

use serde_json::json;

use crate::{
    common::{json, output},
    node::Node,
};

#[test]
fn keys_of_media_are_told_as_they_take_effect_and_new_calls_have_them() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    let text = fs::read_to_string(node.path()).unwrap();
    let changed = text
        .replacen(
            "[media]\n",
            "[media]\none_stream = \"always\"\nshards = 1\n",
            1,
        )
        .replacen("\ntimeout = 60", "\ntimeout = 61", 1)
        .replacen("\naddress = \"127.0.0.1\"", "\naddress = \"127.0.0.2\"", 1);
    fs::write(node.path(), changed).unwrap();
    let mut told = node.told(&["reload"]);
    for list in ["changed", "restart"] {
        told[list]
            .as_array_mut()
            .unwrap()
            .sort_by_key(ToString::to_string);
    }
    let taken = json!(["media.address", "media.one_stream", "media.timeout"]);
    assert_eq!(
        (&told["changed"], &told["restart"]),
        (&taken, &json!(["media.shards"])),
        "{told}"
    );
    assert_eq!(told["warnings"], json!([]));
    let again = node.ask(&["reload"]);
    let words = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        words.contains("needs a restart of the node: media.shards\n"),
        "{words}"
    );

    let call = node.call(&["--duration", "1"]).finish();
    assert!(call.status.success(), "{}", output(&call));
    let id = json(&call)["call_id"].as_str().unwrap().to_owned();
    let trace = node.ask(&["trace", &id, "--json", "--full"]);
    let trace = String::from_utf8_lossy(&trace.stdout).into_owned();
    assert!(trace.contains("c=IN IP4 127.0.0.2"), "{trace}");
    drop(answer);
}
