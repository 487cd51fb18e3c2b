//! Accounts of programmable voice, made by command at a whole node.

use serde_json::json;

use crate::{
    common::{json as printed, output},
    node::Node,
};

#[test]
fn accounts_are_made_given_other_tokens_and_removed_by_command() {
    let node = Node::start();
    let none = node.ask(&["accounts"]);
    assert!(output(&none).contains("there is no account"));
    let add = [
        "accounts",
        "add",
        "bots",
        "--calls-per-second",
        "5",
        "--json",
    ];
    let made = printed(&node.ask(&add));
    let (sid, token) = (
        made["sid"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    assert_eq!((sid.len(), &made["calls_per_second"]), (34, &json!(5)));
    let table = output(&node.ask(&["accounts"]));
    assert!(table.contains(sid) && table.contains("bots"), "{table}");
    assert!(!table.contains(token), "{table}");

    let given = node.ask(&["accounts", "token", sid, "--json"]);
    let given = printed(&given);
    assert_eq!(given["sid"], sid);
    assert_ne!(given["token"], token);
    let wrong = node.ask(&["accounts", "add", "bots", "--calls-per-second", "0"]);
    assert!(output(&wrong).contains("1 to 10000"), "{}", output(&wrong));

    let gone = node.ask(&["accounts", "remove", sid]);
    assert!(gone.status.success(), "{}", output(&gone));
    let gone = node.ask(&["accounts", "token", sid]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        output(&gone).contains("there is no account"),
        "{}",
        output(&gone)
    );
}
