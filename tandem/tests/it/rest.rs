//! The REST API of a whole node.

use serde_json::{Value, json};

use crate::{
    common::{json as printed, output},
    node::Node,
};

#[test]
fn users_are_edited_by_rest_within_their_tenant() {
    let node = Node::start();
    let admin = node.key();
    let ask =
        |key: &str, method: &str, path: &str, body: Value| node.rest(key, method, path, &body);
    let tenant = json!({ "id": "acme", "name": "Acme" });
    assert_eq!(ask(&admin, "POST", "/v1/tenants", tenant).0, 201);
    let domain = json!({ "tenant": "acme" });
    assert_eq!(ask(&admin, "PUT", "/v1/domains/Acme.test", domain).0, 200);
    assert_eq!(
        ask(&admin, "GET", "/v1/users?cursor=nonsense", Value::Null).0,
        400
    );
    let nobodys = json!({ "tenant": "none" });
    assert_eq!(ask(&admin, "PUT", "/v1/domains/x.test", nobodys).0, 422);
    let key = json!({ "name": "k", "role": "operator", "tenant": "acme" });
    let (_, key) = ask(&admin, "POST", "/v1/keys", key);
    let acme = key["key"].as_str().unwrap().to_owned();

    let zoe = |domain: &str| json!({ "user": format!("zoe@{domain}"), "password": "a long one" });
    let (status, made) = ask(&acme, "POST", "/v1/users", zoe("acme.test"));
    assert_eq!((status, &made["tenant"]), (201, &json!("acme")), "{made}");
    assert_eq!(ask(&acme, "POST", "/v1/users", zoe("ACME.test")).0, 409);
    assert_eq!(ask(&acme, "POST", "/v1/users", zoe("other.test")).0, 422);
    assert_eq!(ask(&admin, "POST", "/v1/users", zoe("other.test")).0, 201);

    let (_, list) = ask(&acme, "GET", "/v1/users", Value::Null);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    let (_, all) = ask(
        &admin,
        "GET",
        "/v1/users?tenant=default&limit=1000",
        Value::Null,
    );
    let names: Vec<&str> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["user"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"zoe@other.test") && !names.contains(&"zoe@acme.test"),
        "{names:?}"
    );
    for method in ["GET", "DELETE"] {
        assert_eq!(
            ask(&acme, method, "/v1/users/zoe@other.test", Value::Null).0,
            404
        );
    }
    assert_eq!(
        ask(
            &acme,
            "PATCH",
            "/v1/users/zoe@other.test",
            json!({ "enabled": false })
        )
        .0,
        404
    );

    let change = json!({ "enabled": false, "display": "Zoe", "max_contacts": 2 });
    let (status, changed) = ask(&acme, "PATCH", "/v1/users/zoe@acme.test", change);
    assert_eq!(
        (status, &changed["max_contacts"]),
        (200, &json!(2)),
        "{changed}"
    );
    let users = printed(&node.ask(&["users", "list", "--json"]));
    let users = users["items"].as_array().unwrap();
    let seen = users
        .iter()
        .find(|one| one["user"] == "zoe@acme.test")
        .unwrap();
    assert_eq!(
        (&seen["enabled"], &seen["display"]),
        (&json!(false), &json!("Zoe"))
    );
    let none = json!({ "display": null, "max_contacts": null });
    let (_, changed) = ask(&acme, "PATCH", "/v1/users/zoe@acme.test", none);
    assert_eq!(
        (&changed["display"], &changed["max_contacts"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(changed["enabled"], false);

    // Of many who have seen the same state and change it at once, one does.
    let place = "/v1/users/zoe@acme.test";
    let tag = node.tag(place).unwrap();
    let patch = |most: u32| {
        let change = json!({ "max_contacts": most });
        node.rest_if(&tag, "PATCH", place, &change).0
    };
    let told = std::thread::scope(|scope| {
        let patches = [1, 2, 3, 4].map(|most| scope.spawn(move || patch(most)));
        patches.map(|patch| patch.join().unwrap())
    });
    let done = told.iter().filter(|status| **status == 200);
    assert_eq!(done.count(), 1, "{told:?}");
    let refused = told.iter().filter(|status| **status == 412);
    assert_eq!(refused.count(), 3, "{told:?}");
    let (_, changes) = ask(&acme, "GET", "/v1/users/zoe@acme.test", Value::Null);
    assert!(changes["updated"].as_str() >= changed["updated"].as_str());
    assert_eq!(
        ask(&acme, "DELETE", "/v1/users/zoe@acme.test", Value::Null).0,
        204
    );
    assert_eq!(
        ask(&acme, "DELETE", "/v1/users/zoe@acme.test", Value::Null).0,
        404
    );
    let (_, audit) = ask(&admin, "GET", "/v1/audit?kind=users", Value::Null);
    assert!(!audit.to_string().contains("a long one"), "{audit}");
    assert_eq!(audit["items"][0]["action"], "delete");
}

#[test]
fn the_node_is_run_by_rest() {
    let node = Node::start();
    let admin = node.key();
    let ask = |method: &str, path: &str, body: Value| node.rest(&admin, method, path, &body);

    let ban = json!({ "source": "192.0.2.0/24", "seconds": 60, "words": "noise" });
    assert_eq!(ask("POST", "/v1/bans", ban).0, 201);
    let shown = printed(&node.ask(&["bans", "--json"]));
    assert_eq!(shown["items"][0]["source"], "192.0.2.0/24", "{shown}");
    let (_, bans) = ask("GET", "/v1/bans", Value::Null);
    assert_eq!(bans["items"][0]["words"], "noise", "{bans}");
    assert_eq!(ask("DELETE", "/v1/bans/192.0.2.0/24", Value::Null).0, 204);
    assert_eq!(ask("DELETE", "/v1/bans/192.0.2.0/24", Value::Null).0, 404);
    let (status, refused) = ask("POST", "/v1/bans", json!({ "source": "everybody" }));
    assert_eq!(status, 422, "{refused}");

    assert_eq!(
        ask("PUT", "/v1/node/drain", json!({ "draining": true })).1["draining"],
        true
    );
    assert_eq!(node.status()["draining"], true);
    assert_eq!(
        ask("PUT", "/v1/node/drain", json!({ "draining": false })).1["draining"],
        false
    );
    let (_, log) = ask(
        "PUT",
        "/v1/node/log",
        json!({ "filter": "debug", "seconds": 9 }),
    );
    assert_eq!(
        (&log["filter"], &log["left_s"]),
        (&json!("debug"), &json!(9)),
        "{log}"
    );
    assert_eq!(
        ask("PUT", "/v1/node/log", json!({ "filter": "no=such=filter" })).0,
        422
    );
    assert_eq!(
        ask("PUT", "/v1/node/log", json!({})).1["left_s"],
        Value::Null
    );
    let (status, reloaded) = ask("POST", "/v1/node/reload", Value::Null);
    assert_eq!(status, 200, "{reloaded}");
    let (_, report) = ask("GET", "/v1/route?from=%2B1&to=100&trunk=local", Value::Null);
    assert_eq!(report["decision"], "plan", "{report}");
    assert_eq!(
        ask("GET", "/v1/registrations", Value::Null).1["items"],
        json!([])
    );
    assert_eq!(
        ask("DELETE", "/v1/registrations/zoe@acme.test", Value::Null).0,
        404
    );
}

#[test]
fn a_call_is_seen_and_ended_by_rest() {
    let node = Node::start();
    let admin = node.key();
    let ask = |method: &str, path: &str| node.rest(&admin, method, path, &Value::Null);
    let answer = node.answer(&["--echo"]);
    let call = node.call(&["--duration", "60"]);
    node.wait_for_state("answered");
    let (_, calls) = ask("GET", "/v1/calls");
    let id = calls["items"][0]["id"].as_str().unwrap().to_owned();
    let (status, one) = ask("GET", &format!("/v1/calls/{id}"));
    assert_eq!((status, &one["state"]), (200, &json!("answered")));
    let (_, ladder) = ask("GET", &format!("/v1/calls/{id}/messages?full=true"));
    let lines: Vec<&str> = ladder["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["line"].as_str().unwrap())
        .collect();
    assert!(lines[0].starts_with("INVITE "), "{lines:?}");
    assert!(
        ladder["items"][0]["text"]
            .as_str()
            .unwrap()
            .contains("Call-ID"),
        "{ladder}"
    );

    let order = |what: &str, body: Value| {
        let path = format!("/v1/calls/{id}/{what}");
        node.rest(&admin, "POST", &path, &body)
    };
    let (status, muted) = order("mute", json!({ "party": "caller", "on": true }));
    assert_eq!((status, &muted["muted"]), (200, &json!(["caller"])));
    assert_eq!(ask("GET", &format!("/v1/calls/{id}")).1, muted);
    node.wait_until(|| {
        let page = node.page("/metrics");
        let mut lines = page.lines();
        lines.any(|line| {
            line.starts_with("tandem_media_packets_total{")
                && line.contains("result=\"muted\"")
                && !line.ends_with(" 0")
        })
    });
    let (_, quality) = ask("GET", &format!("/v1/calls/{id}/quality"));
    for party in ["caller", "callee"] {
        let flow = &quality["sessions"][0][party];
        let [source] = &flow["sources"].as_array().unwrap()[..] else {
            panic!("each phone sends one stream: {quality}");
        };
        assert_eq!(
            (&source["ssrc"], &source["packets"]),
            (&flow["ssrc"], &flow["packets"])
        );
        assert_eq!(flow["other_sources"], Value::Null);
    }
    assert_eq!(order("hold", json!({ "on": true })).1["held"], true);
    let resumed = printed(&node.ask(&["calls", "resume", &id, "--json"]));
    assert_eq!(
        (&resumed["held"], &resumed["muted"]),
        (&json!(false), &json!(["caller"]))
    );
    let unmuted = printed(&node.ask(&["calls", "unmute", &id, "caller", "--json"]));
    assert_eq!(unmuted["muted"], json!([]));

    assert_eq!(ask("DELETE", &format!("/v1/calls/{id}")).0, 204);
    let ended = call.finish();
    assert!(ended.status.success(), "{}", output(&ended));
    answer.finish();
    node.wait_until(|| ask("GET", &format!("/v1/cdrs/{id}")).0 == 200);
    assert_eq!(ask("GET", &format!("/v1/calls/{id}")).0, 404);
    assert_eq!(ask("DELETE", &format!("/v1/calls/{id}")).0, 404);
    let (_, cdr) = ask("GET", &format!("/v1/cdrs/{id}"));
    assert_eq!(cdr["cause"], "operator", "{cdr}");
    for party in ["caller", "callee"] {
        let flow = &cdr["media"][party];
        assert_eq!(flow["sources"], 1, "{cdr}");
        for figure in [
            "burst_ratio",
            "late",
            "longest_gap_ms",
            "duplicates",
            "reordered",
        ] {
            assert!(flow[figure].is_number(), "{figure}: {cdr}");
        }
    }

    // What happened meanwhile is kept with it.
    let (status, events) = ask("GET", &format!("/v1/cdrs/{id}/events"));
    assert_eq!((status, &events["next"]), (200, &Value::Null), "{events}");
    let events = events["items"].as_array().unwrap();
    let told = events
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), &one["data"]["on"]));
    let (on, off) = (json!(true), json!(false));
    let expected = [
        ("muted", &on),
        ("held", &on),
        ("held", &off),
        ("muted", &off),
    ];
    assert!(told.eq(expected), "{events:?}");
    let (_, page) = ask("GET", &format!("/v1/cdrs/{id}/events?limit=3"));
    let next = page["next"].as_str().unwrap();
    let (_, rest) = ask(
        "GET",
        &format!("/v1/cdrs/{id}/events?limit=3&cursor={next}"),
    );
    assert_eq!(rest["items"], json!(events[3..]), "{rest}");
    let nowhere = "/v1/cdrs/00000000-0000-0000-0000-000000000000/events";
    assert_eq!(ask("GET", nowhere).0, 404);
    let table = node.ask(&["cdrs", "events", &id]);
    let table = output(&table);
    assert!(table.contains("muted  caller was muted"), "{table}");
    assert!(table.contains("held   taken off hold"), "{table}");
}
