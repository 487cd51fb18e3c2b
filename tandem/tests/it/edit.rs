//! What calls are routed by, who may use the API, and what is over, by the command line of a whole node.

use std::{fs, io::Write as _, process::Stdio};

use serde_json::{Value, json};

use crate::{
    common::{json as printed, output, tandem},
    node::Node,
};

impl Node {
    /// A command that does what it should, and what it says.
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let done = self.ask(arguments);
        assert!(done.status.success(), "{arguments:?} {}", output(&done));
        String::from_utf8(done.stdout).unwrap()
    }

    /// The same with `--json`.
    pub(crate) fn told(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_str(&self.does(&arguments)).unwrap()
    }

    /// A command that ends with this code, and says why.
    pub(crate) fn refuses(&self, code: i32, arguments: &[&str], why: &str) {
        let done = self.ask(arguments);
        assert_eq!(done.status.code(), Some(code), "{}", output(&done));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains(why), "{arguments:?} {said}");
    }

    pub(crate) fn changes(&self, kind: &str) -> Vec<Value> {
        let path = format!("/v1/audit?kind={kind}");
        let (status, audit) = self.rest(&self.key(), "GET", &path, &Value::Null);
        assert_eq!(status, 200, "{audit}");
        audit["items"].as_array().unwrap().clone()
    }

    /// Whether `tandem route` shows a trunk for a call to `to`.
    fn leads(&self, to: &str, trunk: &str) -> bool {
        let report = printed(&self.ask(&["route", "1", to, "--trunk", "local", "--json"]));
        report
            .to_string()
            .contains(&format!("\"trunk\":\"{trunk}\""))
    }
}

#[test]
fn what_calls_are_routed_by_is_edited_and_in_force_at_once() {
    let node = Node::start();
    let made = node.told(&["trunks", "add", "uk", "--host", "192.0.2.1", "--calls", "7"]);
    assert_eq!((&made["id"], &made["calls"]), (&json!("uk"), &json!(7)));
    node.does(&[
        "routes", "add", "r1", "--prefix", "+44", "--trunk", "uk,0.5",
    ]);
    assert!(node.leads("+442071234567", "uk"));
    node.does(&[
        "numbers",
        "add",
        "700",
        "--trunk",
        "uk",
        "--forward-busy",
        "+4930",
    ]);
    assert!(node.leads("700", "uk"));

    // One place takes the place of another, and what is not named stays.
    node.does(&[
        "groups",
        "add",
        "sales",
        "--member",
        "zoe@x.test",
        "--member",
        "+4930",
    ]);
    let number = node.told(&[
        "numbers",
        "set",
        "700",
        "--group",
        "sales",
        "--ring-timeout",
        "9",
    ]);
    assert_eq!(
        (
            &number["trunk"],
            &number["group"],
            &number["forward"]["busy"]
        ),
        (&Value::Null, &json!("sales"), &json!("+4930"))
    );
    let number = node.told(&["numbers", "set", "700", "--unset", "forward.busy"]);
    assert_eq!(
        (&number["forward"]["busy"], &number["ring_timeout"]),
        (&Value::Null, &json!(9))
    );
    node.does(&[
        "blocks",
        "add",
        "b1",
        "--number",
        "+15550123",
        "--action",
        "silence",
    ]);
    node.does(&["limits", "add", "l1", "--user", "*", "--calls", "4"]);

    for (kind, part) in [
        ("numbers", "700     group sales  -"),
        (
            "groups",
            "sales  all       store   -       zoe@x.test, +4930",
        ),
        (
            "blocks",
            "b1  number +15550123  caller  both       -   silence  store",
        ),
        ("limits", "l1  user *  4      -    -        store"),
        ("routes", "r1      +44     uk "),
    ] {
        let table = node.does(&[kind]);
        assert!(table.contains(part), "{table}");
        let listed = node.told(&[kind, "list"]);
        let ours = listed["items"].as_array().unwrap().iter();
        assert_eq!(ours.filter(|item| item["source"] == "store").count(), 1);
    }
    // Alone it tells how they are, which a list of documents does not.
    assert!(node.does(&["trunks"]).contains("REGISTERED"));
    let trunks = node.does(&["trunks", "list"]);
    assert!(trunks.contains("uk     store   sip:192.0.2.1"), "{trunks}");

    node.refuses(
        1,
        &["trunks", "remove", "uk"],
        "route '+44': there is no trunk 'uk'",
    );
    node.refuses(
        1,
        &["groups", "remove", "sales"],
        "there is no group 'sales'",
    );
    for (kind, id) in [
        ("numbers", "700"),
        ("groups", "sales"),
        ("routes", "r1"),
        ("blocks", "b1"),
        ("limits", "l1"),
        ("trunks", "uk"),
    ] {
        assert_eq!(node.told(&[kind, "remove", id]), json!({ "removed": [id] }));
        node.refuses(1, &[kind, "remove", id], &format!("'tandem {kind} list'"));
        node.refuses(1, &[kind, "show", id], &format!("'tandem {kind} list'"));
        let changes = node.changes(kind);
        let actor = changes[0]["actor"].as_str().unwrap();
        assert!(actor.starts_with("cli:"), "{actor}");
        let actions: Vec<_> = changes.iter().map(|one| &one["action"]).collect();
        assert_eq!(
            (actions.first(), actions.last()),
            (Some(&&json!("delete")), Some(&&json!("create")))
        );
    }
    assert!(!node.leads("+442071234567", "uk"));
}

#[test]
fn what_is_wrong_with_an_edit_is_told_and_changes_nothing() {
    let node = Node::start();
    for (code, arguments, why) in [
        (1, &["numbers", "add", "700"][..], "it leads to one place"),
        (1, &["numbers", "add", "--user", "a@b"], "say which number"),
        (
            1,
            &["numbers", "add", "700", "--group", "gone"],
            "there is no group 'gone'",
        ),
        (
            1,
            &["trunks", "add", "local", "--host", "192.0.2.1"],
            "configuration file",
        ),
        (
            1,
            &["trunks", "set", "local", "--calls", "1"],
            "configuration file",
        ),
        (1, &["trunks", "remove", "local"], "'tandem reload'"),
        (
            1,
            &["routes", "add", "--prefix", "+44", "--trunk", "gone"],
            "no trunk 'gone'",
        ),
        (
            1,
            &[
                "routes", "add", "no good", "--prefix", "+44", "--trunk", "local",
            ],
            "id: use 1 to 63",
        ),
        (
            2,
            &["routes", "add", "--prefix", "+44", "--trunk", "local,x"],
            "'x' is no cost",
        ),
        (2, &["numbers", "set", "700"], "nothing to change"),
        (
            1,
            &["numbers", "set", "700", "--user", "a@b"],
            "there is no number 700",
        ),
        (
            1,
            &["blocks", "add", "--prefix", "1", "--of", "nobody"],
            "of: unknown variant",
        ),
        (1, &["limits", "add", "--user", "*"], "it limits nothing"),
        (
            1,
            &["numbers", "add", "700", "--user", "a@b", "--tenant", "gone"],
            "tenant: there is none",
        ),
        (
            1,
            &["groups", "add", "g", "--file", "/nowhere"],
            "cannot read /nowhere",
        ),
    ] {
        node.refuses(code, arguments, why);
    }
    assert!(node.does(&["numbers"]).contains("there is no number"));
    node.does(&["numbers", "add", "700", "--user", "a@b.test"]);
    node.refuses(
        1,
        &["numbers", "add", "700", "--user", "a@b.test"],
        "'tandem numbers set'",
    );
    node.refuses(
        1,
        &["numbers", "set", "700", "--unset", "forward.busy"],
        "no member 'forward.busy'",
    );
}

#[test]
fn a_document_that_is_shown_is_taken_back_and_passwords_stay() {
    let node = Node::start();
    let file = node.dir.path().join("uk.toml");
    let text = "hosts = [\"192.0.2.1\"]\nallow = [\"192.0.2.0/24\"]\n[auth]\nuser = \"u\"\npassword = \"hunter22\"\n";
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let made = node.told(&["trunks", "add", "uk", "--file", path]);
    assert_eq!(made["secrets"], json!(["auth.password"]), "{made}");
    let shown = node.does(&["trunks", "show", "uk"]);
    assert!(
        shown.contains("# source: store") && !shown.contains("hunter22"),
        "{shown}"
    );
    fs::write(&file, shown.replace("trusted = false", "trusted = true")).unwrap();
    let changed = node.told(&["trunks", "set", "uk", "-f", path, "--cps", "3"]);
    assert_eq!(
        (&changed["trusted"], &changed["cps"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(changed["secrets"], json!(["auth.password"]), "{changed}");
    assert!(
        !node
            .changes("trunks")
            .iter()
            .any(|one| one.to_string().contains("hunter22"))
    );

    // A new one is read, never written on the command line.
    let mut command = tandem(["trunks", "set", "uk", "--auth-user", "v", "--config"]);
    command
        .arg(node.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"another one\n")
        .unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(node.told(&["trunks", "show", "uk"])["auth"]["user"], "v");
}

#[test]
fn the_first_key_is_made_without_a_node_and_without_a_key() {
    let node = Node::start();
    let made = node.told(&["keys", "add", "billing, read only", "--role", "viewer"]);
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(node.rest(secret, "GET", "/v1/users", &Value::Null).0, 200);
    assert_eq!(node.rest(secret, "GET", "/v1/keys", &Value::Null).0, 403);
    let listed = node.does(&["keys"]);
    assert!(
        listed.contains(id) && listed.contains("billing, read only"),
        "{listed}"
    );
    assert!(!listed.contains(secret) && !node.told(&["keys"]).to_string().contains(secret));
    assert_eq!(node.changes("keys")[0]["action"], "create");

    node.refuses(2, &["keys", "add", "x", "--role", "king"], "viewer");
    node.refuses(
        1,
        &["keys", "add", "x", "--role", "viewer", "--tenant", "gone"],
        "tenant",
    );
    node.refuses(
        1,
        &["keys", "add", "x", "--role", "viewer", "--expires", "soon"],
        "expires",
    );
    node.refuses(1, &["keys", "revoke", "x"], "'tandem keys' lists them");
    assert!(node.does(&["keys", "revoke", id]).contains("is revoked"));
    // A node that has just let it in believes it for 5 s.
    node.wait_until(|| node.rest(secret, "GET", "/v1/users", &Value::Null).0 == 401);

    let (path, Node { process, dir, .. }) = (node.path(), node);
    process.signal("TERM");
    assert_eq!(process.finish().status.code(), Some(0));
    let alone = |arguments: &[&str]| {
        let mut command = tandem(arguments);
        command.arg("--config").arg(&path).output().unwrap()
    };
    let made = alone(&["keys", "add", "x", "--role", "admin"]);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(
        said.contains("tk_") && said.contains("not shown again"),
        "{said}"
    );
    assert_eq!(
        printed(&alone(&["keys", "--json"]))["items"][0]["role"],
        "admin"
    );
    let edit = alone(&["numbers", "add", "1", "--user", "a@b"]);
    assert!(
        output(&edit).contains("no node answers"),
        "{}",
        output(&edit)
    );
    drop(dir);

    let empty = tempfile::tempdir().unwrap();
    let lost = tandem(["keys"]).current_dir(&empty).output().unwrap();
    assert_eq!(lost.status.code(), Some(1), "{}", output(&lost));
    assert!(output(&lost).contains("--config"), "{}", output(&lost));
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "nothing was made");
}

#[test]
fn bans_and_users_of_the_command_line_are_in_the_record_of_changes() {
    let node = Node::start();
    node.does(&[
        "bans",
        "add",
        "192.0.2.0/24",
        "--seconds",
        "60",
        "--reason",
        "noise",
    ]);
    assert!(node.does(&["bans"]).contains("operator: noise"));
    node.refuses(1, &["bans", "add", "everybody"], "everybody");
    node.refuses(
        1,
        &["bans", "lift", "192.0.3.0/24"],
        "'tandem bans' lists who is",
    );
    assert_eq!(
        node.told(&["bans", "lift", "192.0.2.0/24"]),
        json!({ "lifted": ["192.0.2.0/24"] })
    );
    assert_eq!(node.changes("bans").len(), 2);
    node.does(&["users", "add", "zoe@x.test", "--generate"]);
    node.does(&["users", "set", "zoe", "--generate"]);
    node.does(&["users", "remove", "zoe@x.test"]);
    let actions: Vec<_> = node
        .changes("users")
        .iter()
        .map(|one| one["action"].clone())
        .collect();
    assert_eq!(actions, ["delete", "update", "create"]);
    assert_eq!(node.changes("users")[1]["detail"]["password"], "(changed)");
}

#[test]
fn calls_are_shown_and_ended_and_their_records_are_found() {
    let node = Node::start();
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "60"]);
    node.wait_for_state("answered");
    let id = node.calls()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(node.told(&["calls", "show", &id])["state"], "answered");
    let of_tenant = node.told(&["calls", "--tenant", "default"]);
    assert_eq!(of_tenant["items"], json!([]));
    assert!(node.does(&["calls", "show", &id]).contains("\nstate "));
    node.refuses(1, &["calls", "show", "x"], "'tandem calls'");
    node.refuses(1, &["cdrs", "show", &id], "when its call is over");
    // One that is not up keeps no other.
    let nobody = "00000000-0000-0000-0000-000000000000";
    let ended = node.ask(&["calls", "hangup", nobody, &id, "--json"]);
    assert_eq!(ended.status.code(), Some(1), "{}", output(&ended));
    assert_eq!(printed(&ended), json!({ "ended": [id] }));
    assert!(call.finish().status.success());
    answer.finish();
    node.wait_until(|| node.ask(&["cdrs", "show", &id]).status.success());
    assert_eq!(node.changes("calls")[0]["action"], "hang-up");

    let cdr = node.told(&["cdrs", "show", &id]);
    assert_eq!(
        (&cdr["cause"], &cdr["trunk"]),
        (&json!("operator"), &json!("local"))
    );
    for (filter, count) in [
        (&[][..], 1),
        (&["--trunk", "local", "--status", "200", "--to", "100"], 1),
        (&["--trunk", "other"], 0),
        // Of a trunk, to nobody's number.
        (&["--tenant", "default"], 0),
        (&["--since", "2999-01-01T00:00:00Z"], 0),
        (
            &[
                "--call-id",
                cdr["call_id"].as_str().unwrap(),
                "--limit",
                "5",
            ],
            1,
        ),
    ] {
        let found = node.told(&[&["cdrs"][..], filter].concat());
        assert_eq!(
            found["items"].as_array().unwrap().len(),
            count,
            "{filter:?}"
        );
    }
    let table = node.does(&["cdrs"]);
    assert!(
        table.starts_with("STARTED") && table.contains(&id),
        "{table}"
    );
    let csv = node.does(&["cdrs", "--csv"]);
    assert!(
        csv.starts_with("id,call_id,") && csv.contains(&format!("\r\n{id},")),
        "{csv}"
    );
    let lines = node.does(&["cdrs", "--ndjson", "--trunk", "local"]);
    let line: Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!(line, cdr);
    node.refuses(1, &["cdrs", "--since", "yesterday"], "since");
    node.refuses(2, &["cdrs", "--csv", "--json"], "cannot be used with");

    node.refuses(1, &["erase", "100"], "--yes");
    assert_eq!(node.told(&["cdrs", "show", &id])["to"], cdr["to"]);
    let erased = node.told(&["erase", "100", "--yes"]);
    assert_eq!(
        (&erased["as_caller"], &erased["as_callee"]),
        (&json!(0), &json!(1))
    );
    let cdr = node.told(&["cdrs", "show", &id]);
    assert_eq!(cdr["to"], "sip:erased@erased.invalid");
    let again = node.does(&["erase", "100", "--yes"]);
    assert!(again.contains("0 records as callee"), "{again}");
    assert_eq!(node.changes("erasures")[0]["action"], "erase");
}

#[test]
fn scripts_read_what_orders_to_the_process_did() {
    let node = Node::start();
    let drained = node.told(&["drain", "--wait", "0"]);
    assert_eq!(
        (&drained["draining"], &drained["calls"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(node.told(&["drain", "--off"])["draining"], false);
    let media = node.told(&["media", "drain", "--wait", "1"]);
    assert_eq!(media, json!({ "draining": true, "sessions": 0 }));
    // Its end would be the whole node's.
    node.refuses(1, &["media", "drain", "--exit"], "use 'tandem drain'");
    assert_eq!(node.told(&["media", "drain", "--off"])["draining"], false);
    let log = node.told(&["log", "--level", "debug", "--user", "zoe", "--for", "9s"]);
    assert_eq!(log["watches"][0]["subject"], "user zoe", "{log}");
    assert_eq!(node.told(&["reload"])["ok"], true);
    let nobody = ["registrations", "remove", "zoe@x.test"];
    node.refuses(1, &nobody, "has registered no");
    let list = ["registrations", "list", "zoe@x.test"];
    assert_eq!(node.told(&list)["items"], json!([]));
}

#[test]
fn an_operator_is_added_signs_in_and_is_disabled() {
    let node = Node::start();
    let with_password = |arguments: &[&str], password: &str| {
        let mut command = tandem(arguments);
        command.arg("--config").arg(node.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let line = format!("{password}\n");
        drop(child.stdin.take().unwrap().write_all(line.as_bytes()));
        child.wait_with_output().unwrap()
    };
    let add = ["operators", "add", "ann", "--role", "viewer"];
    let short = with_password(&add, "short");
    assert_eq!(short.status.code(), Some(1));
    assert!(output(&short).contains("at least 12 characters"));
    let added = with_password(&add, "correct horse battery");
    assert!(added.status.success(), "{}", output(&added));
    let login = |password: &str| {
        let body = json!({ "name": "Ann", "password": password });
        node.rest("", "POST", "/v1/login", &body)
    };
    let (status, session) = login("correct horse battery");
    assert_eq!(status, 200, "{session}");
    let key = session["key"].as_str().unwrap();
    let calls = || node.rest(key, "GET", "/v1/calls", &Value::Null).0;
    assert_eq!(calls(), 200);

    let made = node.ask(&[
        "operators",
        "set",
        "ann",
        "--generate",
        "--role",
        "operator",
        "--json",
    ]);
    assert!(made.status.success(), "{}", output(&made));
    let made = printed(&made);
    assert_eq!(made["role"], "operator");
    // The node keeps a key in mind for some seconds.
    node.wait_until(|| calls() == 401);
    assert_eq!(login("correct horse battery").0, 401);
    let password = made["password"].as_str().unwrap();
    assert_eq!(login(password).1["role"], "operator");

    let off = node.ask(&["operators", "set", "ann", "--disable"]);
    assert!(
        output(&off).contains("operator ann was changed"),
        "{}",
        output(&off)
    );
    assert_eq!(login(password).0, 401);
    let list = printed(&node.ask(&["operators", "--json"]));
    assert_eq!(list["items"][0]["disabled"], true, "{list}");
    assert!(!list.to_string().contains("argon2"));
    let gone = node.ask(&["operators", "remove", "ann", "bob"]);
    assert_eq!(gone.status.code(), Some(1), "{}", output(&gone));
    assert!(output(&gone).contains("operator ann was removed"));
    assert!(output(&gone).contains("there is no operator bob"));
    let changes = node.rest(&node.key(), "GET", "/v1/audit?kind=operators", &Value::Null);
    assert!(
        changes.1["items"][0]["actor"]
            .as_str()
            .unwrap()
            .starts_with("cli:")
    );
}

#[test]
fn a_trunk_is_drained_and_asked_whether_it_is_there() {
    let node = Node::start();
    assert!(node.leads("700", "local"));
    let drained = node.told(&["trunks", "drain", "local"]);
    assert_eq!(
        (&drained["name"], &drained["drained"]),
        (&json!("local"), &json!(true))
    );
    assert!(!node.leads("700", "local"));
    assert!(node.does(&["trunks"]).contains("drained"));
    node.does(&["trunks", "drain", "local", "--off"]);
    assert!(node.leads("700", "local"));

    // Nobody is there; then somebody is.
    let silent = node.ask(&["trunks", "probe", "local", "--json"]);
    assert_eq!(silent.status.code(), Some(1), "{}", output(&silent));
    assert_eq!(printed(&silent)["items"][0]["up"], false);
    let _callee = node.answer(&[]);
    node.wait_until(|| node.ask(&["trunks", "probe", "local"]).status.success());
    let there = node.told(&["trunks", "probe", "local"]);
    let host = &there["items"][0];
    assert_eq!((&host["up"], &host["error"]), (&json!(true), &Value::Null));
    let changes = node.changes("trunks");
    let mut did: Vec<_> = changes.iter().map(|change| &change["action"]).collect();
    did.dedup();
    assert_eq!(did, ["probe", "drain"]);
    node.refuses(
        1,
        &["trunks", "probe", "nobody"],
        "there is no trunk 'nobody'",
    );
}

#[test]
fn a_number_tells_where_it_is_from() {
    let node = Node::start();
    let told = node.told(&["numbers", "lookup", "020 7183 8750", "--country", "GB"]);
    assert_eq!(
        (&told["e164"], &told["region"], &told["type"]),
        (&json!("+442071838750"), &json!("GB"), &json!("fixed-line"))
    );
    let path = "/v1/lookup/%2B442071838750";
    assert_eq!(
        node.rest(&node.key(), "GET", path, &Value::Null),
        (200, told)
    );
    node.refuses(
        1,
        &["numbers", "lookup", "020 7183 8750"],
        "name the country",
    );
}

#[test]
fn a_users_calls_are_forwarded_as_soon_as_that_is_said() {
    let node = Node::start();
    node.does(&[
        "users",
        "add",
        "zoe@x.test",
        "--generate",
        "--forward-busy",
        "+4930",
        "--ring-timeout",
        "9",
    ]);
    let stages = |to: &str| {
        let report = printed(&node.ask(&["route", "1", to, "--trunk", "local", "--json"]));
        report["stages"].as_array().unwrap().len()
    };
    assert_eq!(stages("zoe@x.test"), 2);
    node.does(&["users", "set", "zoe@x.test", "--forward-no-answer", "+4931"]);
    assert_eq!(stages("zoe@x.test"), 3);
    let path = "/v1/users/zoe@x.test";
    let (_, read) = node.rest(&node.key(), "GET", path, &Value::Null);
    assert_eq!(
        (&read["forward"], &read["ring_timeout"]),
        (&json!({ "busy": "+4930", "no_answer": "+4931" }), &json!(9))
    );
    let wrong = json!({ "forward": { "always": "nobody in particular" } });
    assert_eq!(node.rest(&node.key(), "PATCH", path, &wrong).0, 422);
    let none = json!({ "forward": null, "ring_timeout": null });
    let (status, read) = node.rest(&node.key(), "PATCH", path, &none);
    assert_eq!((status, &read["forward"]), (200, &json!({})));
    assert_eq!(stages("zoe@x.test"), 1);
    node.does(&["users", "set", "zoe@x.test", "--forward", "+4932"]);
    let listed = node.told(&["users", "list", "zoe@x.test"]);
    assert_eq!(listed["items"][0]["forward"], json!({ "always": "+4932" }));
    node.does(&["users", "set", "zoe@x.test", "--forward-none"]);
    assert_eq!(stages("zoe@x.test"), 1);
}
