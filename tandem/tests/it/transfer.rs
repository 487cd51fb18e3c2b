//! Everything of a node, out of it and into another one.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::{
    common::{output, tandem},
    node::Node,
};

/// A node with one of everything that an operator edits.
fn furnished() -> Node {
    let node = Node::start();
    let rest = |method: &str, path: &str, body: Value| {
        let (status, answer) = node.rest(&node.key(), method, path, &body);
        assert!(status < 300, "{path}: {answer}");
    };
    rest(
        "POST",
        "/v1/tenants",
        json!({ "id": "acme", "name": "Acme" }),
    );
    rest("PUT", "/v1/domains/acme.test", json!({ "tenant": "acme" }));
    let trunk = json!({
        "name": "uk", "hosts": ["192.0.2.1"], "auth": { "user": "u", "password": "hunter22" },
    });
    rest("POST", "/v1/trunks", trunk);
    let user = json!({ "user": "zoe@acme.test", "password": "a long one", "max_contacts": 3 });
    rest("POST", "/v1/users", user);
    node.does(&[
        "groups",
        "add",
        "sales",
        "--member",
        "zoe@acme.test",
        "--tenant",
        "acme",
    ]);
    node.does(&[
        "numbers", "add", "700", "--group", "sales", "--tenant", "acme",
    ]);
    node.does(&[
        "routes", "add", "r1", "--prefix", "+44", "--trunk", "uk,0.5",
    ]);
    node.does(&["blocks", "add", "b1", "--number", "+15550123"]);
    node.does(&["limits", "add", "l1", "--user", "*", "--calls", "4"]);
    node.does(&[
        "bans",
        "add",
        "203.0.113.0/24",
        "--seconds",
        "9000",
        "--reason",
        "noise",
    ]);
    node
}

#[test]
fn everything_goes_from_one_node_to_another() {
    let from = furnished();
    let file = from.dir.path().join("all.toml");
    let path = file.to_str().unwrap();
    from.does(&["export", path]);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    from.refuses(1, &["export", path], "--force");
    let all = fs::read_to_string(&file).unwrap();
    assert!(
        all.contains("hunter22") && !all.contains("a long one"),
        "{all}"
    );

    let to = Node::start();
    let before = to.does(&["export"]);
    let planned = to.told(&["import", path, "--dry-run"]);
    let new = json!({ "new": 1, "changed": 0, "same": 0 });
    for kind in [
        "domains", "users", "trunks", "groups", "numbers", "routes", "blocks", "limits",
    ] {
        assert_eq!(planned[kind], new, "{kind}: {planned}");
    }
    assert_eq!(
        planned["tenants"],
        json!({ "new": 1, "changed": 0, "same": 1 })
    );
    assert_eq!(
        (&planned["dry_run"], to.does(&["export"])),
        (&json!(true), before)
    );

    let told = to.does(&["import", path]);
    assert!(told.contains("users    1    0        0"), "{told}");
    let without_bans = |text: &str| text.split("[[bans]]").next().unwrap().to_owned();
    assert_eq!(without_bans(&to.does(&["export"])), without_bans(&all));
    assert!(to.does(&["bans"]).contains("operator: noise"));
    assert_eq!(to.changes("node")[0]["action"], "import");
    // The node sees by itself that there is more.
    to.wait_until(|| {
        let report = to.told(&["route", "1", "+442071234567", "--trunk", "local"]);
        report.to_string().contains("\"trunk\":\"uk\"")
    });

    // The same again changes nothing, a part of it only that.
    let again = to.told(&["import", path]);
    assert_eq!(
        again["numbers"],
        json!({ "new": 0, "changed": 0, "same": 1 })
    );
    let part =
        "{\"tandem_export\": 1, \"limits\": [{\"id\": \"l1\", \"user\": \"*\", \"calls\": 5}]}";
    fs::write(&file, part).unwrap();
    let changed = to.told(&["import", path]);
    assert_eq!(
        changed["limits"],
        json!({ "new": 0, "changed": 1, "same": 0 })
    );
    assert_eq!(to.told(&["limits", "show", "l1"])["calls"], 5);
    assert_eq!(to.told(&["numbers", "show", "700"])["tenant"], "acme");
}

#[test]
fn an_import_that_is_wrong_anywhere_changes_nothing() {
    let node = furnished();
    let before = without_time_left(&node.does(&["export"]));
    let file = node.dir.path().join("all.toml");
    let path = file.to_str().unwrap();
    for (text, part) in [
        ("tandem_export = 2\n", "reads version 1"),
        ("tandem_export = 1\n[[user]]\n", "unknown field"),
        (
            "tandem_export = 1\n[[numbers]]\nnumber = \"800\"\ngroup = \"gone\"\n",
            "no group 'gone'",
        ),
        (
            "tandem_export = 1\n[[trunks]]\nname = \"uk\"\n",
            "trunk 'uk' has neither",
        ),
        (
            "tandem_export = 1\n[[routes]]\nprefix = \"1\"\ntrunks = [\"uk\"]\n",
            "id is missing",
        ),
        (
            "tandem_export = 1\n[[limits]]\nid = \"x\"\n",
            "it limits nothing",
        ),
        (
            "tandem_export = 1\n[[tenants]]\nid = \"A B\"\nname = \"x\"\n",
            "id: 1 to 40",
        ),
        (
            "tandem_export = 1\n[[domains]]\nname = \"x.test\"\ntenant = \"gone\"\n",
            "of a tenant",
        ),
        (
            "tandem_export = 1\n[[users]]\nuser = \"a@b\"\nha1_md5 = \"A\"\n",
            "32 hex digits",
        ),
        (
            "tandem_export = 1\n[[users]]\nuser = \"a@b\"\n[users.profile.forward]\nbusy = \"?\"\n",
            "forward",
        ),
        (
            "tandem_export = 1\n[[users]]\nuser = \"a@b\"\n[[users]]\nuser = \"a@B\"\n",
            "there twice",
        ),
    ] {
        // What is right beside it does not come in either.
        let text = format!("{text}[[blocks]]\nid = \"fine\"\nnumber = \"1\"\n");
        fs::write(&file, text).unwrap();
        node.refuses(1, &["import", path], part);
        assert_eq!(without_time_left(&node.does(&["export"])), before, "{part}");
    }
}

fn without_time_left(export: &str) -> String {
    let lines = export
        .lines()
        .filter(|line| !line.starts_with("seconds = "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn users_come_from_csv_with_a_node_and_without() {
    let node = furnished();
    let file = node.dir.path().join("users.csv");
    let path = file.to_str().unwrap();
    let text = "# from the old switch\nzoe,acme.test,new one\nyan,acme.test,\"a, b\",Yan\n";
    fs::write(&file, text).unwrap();
    let counts = json!({ "new": 1, "changed": 1, "same": 0 });
    assert_eq!(
        node.told(&["users", "import", path, "--dry-run"])["users"],
        counts
    );
    assert_eq!(node.told(&["users", "import", path])["users"], counts);
    let users = node.told(&["users", "list"]);
    // What else was known of her stays.
    assert_eq!(users["items"][1]["max_contacts"], 3, "{users}");
    assert_eq!(users["items"][0]["display"], "Yan");
    assert!(!node.does(&["export"]).contains("a, b"));
    let wrong = format!("{text}xan,acme.test\nwan,,p\n");
    fs::write(&file, wrong).unwrap();
    node.refuses(
        1,
        &["users", "import", path],
        "users.csv:4: write USER,DOMAIN,PASSWORD",
    );

    let empty = tempfile::tempdir().unwrap();
    assert!(
        tandem(["init"])
            .arg(empty.path())
            .output()
            .unwrap()
            .status
            .success()
    );
    fs::write(&file, text).unwrap();
    let alone = |arguments: &[&str]| {
        let mut command = tandem(arguments);
        command
            .arg("--config")
            .arg(empty.path().join("tandem.toml"));
        command.output().unwrap()
    };
    let first = alone(&["users", "import", path]);
    assert!(first.status.success(), "{}", output(&first));
    let export = alone(&["export"]);
    assert!(
        output(&export).contains("user = \"yan@acme.test\""),
        "{}",
        output(&export)
    );
}

#[test]
fn a_backup_of_a_node_that_runs_is_put_back_where_none_does() {
    let node = furnished();
    let copy = node.dir.path().join("copy.db");
    let path = copy.to_str().unwrap();
    node.does(&["backup", path]);
    assert_eq!(
        fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    node.refuses(1, &["backup", path], "there already");
    node.refuses(1, &["backup", "/nowhere/copy.db"], "/nowhere/copy.db");
    node.refuses(1, &["restore", path, "--force"], "a node runs");
    let all = without_time_left(&node.does(&["export"]));
    // What comes later is not in it.
    node.does(&["numbers", "remove", "700"]);

    let (config, Node { process, dir, .. }) = (node.path(), node);
    let alone = |arguments: &[&str], code: i32, part: &str| {
        let mut command = tandem(arguments);
        let done = command.arg("--config").arg(&config).output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{}", output(&done));
        assert!(output(&done).contains(part), "{part}: {}", output(&done));
        String::from_utf8(done.stdout).unwrap()
    };
    process.signal("TERM");
    assert_eq!(process.finish().status.code(), Some(0));
    alone(&["restore", path], 1, "not empty: --force");
    alone(&["restore", "/nowhere.db"], 1, "/nowhere.db");
    let other = dir.path().join("other.db");
    let mut bytes = fs::read(&copy).unwrap();
    for (broken, part) in [
        (b"SQLite format 4".to_vec(), "no SQLite database"),
        (Vec::new(), "no database of Tandem's"),
        (bytes.split_off(bytes.len() / 2), "no SQLite database"),
        (bytes, "damaged"),
    ] {
        fs::write(&other, broken).unwrap();
        alone(&["restore", other.to_str().unwrap(), "--force"], 1, part);
    }
    let before = alone(&["export"], 0, "");
    assert!(!before.contains("700"), "{before}");
    alone(&["restore", path, "--force"], 0, "start the node");
    let bans = all.find("\n[[bans]]").unwrap();
    assert_eq!(alone(&["export"], 0, "").trim_end(), all[..bans].trim_end());
}
