//! What calls are routed by, edited through the REST API of a whole node.

use serde_json::{Value, json};

use crate::{common::json as printed, node::Node};

impl Node {
    fn admin(&self, method: &str, path: &str, body: impl Into<Value>) -> (u16, Value) {
        self.rest(&self.key(), method, path, &body.into())
    }

    /// It is as wanted, and what came back.
    fn good(&self, status: u16, method: &str, path: &str, body: impl Into<Value>) -> Value {
        let (told, answer) = self.admin(method, path, body);
        assert_eq!(told, status, "{method} {path}: {answer}");
        answer
    }

    /// The trunks that `tandem route` shows for a call to `to`, in order.
    fn carriers(&self, to: &str) -> Vec<String> {
        let report = printed(&self.ask(&["route", "1", to, "--trunk", "local", "--json"]));
        let stages = report["stages"].as_array().unwrap().iter();
        let carriers = stages.flat_map(|stage| stage["to"]["carriers"].as_array());
        let names = carriers.flatten().map(|one| one["trunk"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }
}

fn trunk(host: &str) -> Value {
    json!({
        "name": "uk",
        "hosts": [host],
        "auth": { "user": "u", "password": "a secret one" },
        "register": { "user": "u", "password": "another one" }
    })
}

#[test]
fn a_trunk_a_route_and_a_number_carry_calls_as_soon_as_they_are_made() {
    let node = Node::start();
    let made = node.good(201, "POST", "/v1/trunks", trunk("192.0.2.1"));
    assert_eq!(
        (&made["id"], &made["source"]),
        (&json!("uk"), &json!("store"))
    );
    assert_eq!(
        made["secrets"],
        json!(["auth.password", "register.password"])
    );
    assert_eq!(
        node.good(409, "POST", "/v1/trunks", trunk("192.0.2.1"))["status"],
        409
    );
    let route = json!({ "prefix": "+44", "trunks": [{ "trunk": "uk", "cost": 0.5 }] });
    let route = node.good(201, "POST", "/v1/routes", route);
    assert_eq!(node.carriers("+442071234567"), ["uk"]);
    assert_eq!(node.carriers("+49301234567"), ["local"]);
    let number = json!({ "number": "700", "trunk": "uk" });
    node.good(201, "POST", "/v1/numbers", number);
    assert_eq!(node.carriers("700"), ["uk"]);

    // What a client read, it may change and send back.
    let place = format!("/v1/routes/{}", route["id"].as_str().unwrap());
    let mut read = node.good(200, "GET", &place, Value::Null);
    assert_eq!(read, route);
    assert_eq!(read["ring_timeout"], 60);
    read["trunks"] = json!(["local", "uk"]);
    let tag = node.tag(&place).unwrap();
    assert_eq!(node.rest_if(&tag, "PUT", &place, &read).0, 200);
    assert_eq!(node.carriers("+442071234567"), ["local", "uk"]);
    let (status, late) = node.rest_if(&tag, "PUT", &place, &route);
    assert_eq!(
        (status, &late["type"]),
        (412, &json!("urn:tandem:problem:changed"))
    );
    assert_eq!(node.rest_if(&tag, "DELETE", &place, &Value::Null).0, 412);
    assert_eq!(node.carriers("+442071234567"), ["local", "uk"]);

    // Numbers are looked at before millions of routes are.
    let needed = node.good(409, "DELETE", "/v1/trunks/uk", Value::Null);
    assert_eq!(
        needed["errors"],
        json!(["number '700': there is no trunk 'uk'"])
    );
    node.good(204, "DELETE", "/v1/numbers/700", Value::Null);
    let needed = node.good(409, "DELETE", "/v1/trunks/uk", Value::Null);
    assert_eq!(
        needed["errors"],
        json!(["route '+44': there is no trunk 'uk'"])
    );
    node.good(204, "DELETE", &place, Value::Null);
    node.good(204, "DELETE", "/v1/trunks/uk", Value::Null);
    node.good(404, "GET", "/v1/trunks/uk", Value::Null);
    assert_eq!(node.carriers("+442071234567"), ["local"]);

    let audit = node.good(200, "GET", "/v1/audit?kind=trunks", Value::Null);
    assert_eq!(audit["items"][0]["action"], "delete", "{audit}");
    assert_eq!(
        audit["items"][1]["detail"]["hosts"],
        json!([{ "host": "sip:192.0.2.1", "priority": 0 }])
    );
    assert!(!audit.to_string().contains("secret one"), "{audit}");
}

#[test]
fn what_is_wrong_is_refused_with_its_reasons_and_changes_nothing() {
    let node = Node::start();
    node.good(201, "POST", "/v1/trunks", trunk("192.0.2.1"));
    for (path, body, part) in [
        (
            "routes",
            json!({ "trunks": ["gone"] }),
            "there is no trunk 'gone'",
        ),
        (
            "routes",
            json!({ "prefix": 5, "trunks": [] }),
            "prefix: invalid type",
        ),
        (
            "routes",
            json!({ "id": "a/b", "trunks": ["uk"] }),
            "id: use 1 to 63",
        ),
        (
            "routes",
            json!({ "trunks": ["uk"], "tenant": "default" }),
            "tenant: unknown",
        ),
        ("trunks", json!({ "hosts": ["h"] }), "name: it is missing"),
        (
            "trunks",
            json!({ "name": "a", "id": "b", "hosts": ["h"] }),
            "id: it is 'b'",
        ),
        (
            "trunks",
            json!({ "name": "a b", "hosts": ["h"] }),
            "use 1 to 63 letters",
        ),
        (
            "numbers",
            json!({ "number": "7", "user": "x@y", "tenant": "none" }),
            "tenant: there is none",
        ),
        (
            "groups",
            json!({ "name": "g", "members": ["a@b"], "strategy": "all-at-once" }),
            "strategy: ",
        ),
        ("blocks", json!({}), "write one of number, prefix"),
        ("limits", json!({ "user": "*" }), "it limits nothing"),
    ] {
        let refused = node.good(422, "POST", &format!("/v1/{path}"), body.clone());
        let errors = refused["errors"].as_array().unwrap();
        let is_told = errors
            .iter()
            .any(|error| error.as_str().unwrap().contains(part));
        assert!(is_told, "{body}: {refused}");
    }
    assert_eq!(node.admin("POST", "/v1/blocks", json!([1])).0, 400);
    let renamed = json!({ "name": "other", "hosts": ["192.0.2.1"] });
    node.good(422, "PUT", "/v1/trunks/uk", renamed);
    let several = json!({ "name": "uk", "calls": 1, "longest": 0 });
    let refused = node.good(422, "PUT", "/v1/trunks/uk", several);
    assert_eq!(refused["errors"].as_array().unwrap().len(), 2, "{refused}");
    let trunk = node.good(200, "GET", "/v1/trunks/uk", Value::Null);
    assert_eq!(trunk["hosts"][0]["host"], "sip:192.0.2.1");

    // Passwords stay where they are left out, and are asked for where there are none.
    let mut kept = trunk.clone();
    kept["hosts"] = json!(["192.0.2.9"]);
    let kept = node.good(200, "PUT", "/v1/trunks/uk", kept);
    assert_eq!(kept["secrets"], trunk["secrets"]);
    assert!(kept["updated"].as_str() > trunk["updated"].as_str());
    let without = json!({ "name": "b", "hosts": ["192.0.2.1"], "auth": { "user": "u" } });
    let refused = node.good(422, "POST", "/v1/trunks", without);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("password is missing"),
        "{refused}"
    );
}

#[test]
fn what_the_file_has_is_listed_first_and_left_to_its_author() {
    let node = Node::start();
    for name in ["uk", "us"] {
        let body = json!({ "name": name, "hosts": ["192.0.2.1"] });
        node.good(201, "POST", "/v1/trunks", body);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/trunks?limit=1".to_owned();
    loop {
        let page = node.good(200, "GET", &path, Value::Null);
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{page}");
        seen.push((items[0]["id"].clone(), items[0]["source"].clone()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/trunks?limit=1&cursor={next}");
    }
    let wanted = [("local", "file"), ("uk", "store"), ("us", "store")];
    assert_eq!(seen, wanted.map(|(id, source)| (json!(id), json!(source))));
    node.good(400, "GET", "/v1/trunks?cursor=nonsense", Value::Null);
    node.good(400, "GET", "/v1/trunks?tenant=default", Value::Null);

    let route = node.good(200, "GET", "/v1/routes/file-1", Value::Null);
    assert_eq!(
        (&route["source"], &route["updated"]),
        (&json!("file"), &Value::Null)
    );
    assert_eq!(node.tag("/v1/routes/file-1"), None);
    for (method, path) in [
        ("PUT", "/v1/routes/file-1"),
        ("DELETE", "/v1/routes/file-1"),
        ("DELETE", "/v1/trunks/local"),
    ] {
        let refused = node.good(409, method, path, route.clone());
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("configuration file"), "{detail}");
    }
    let local = json!({ "name": "local", "hosts": ["192.0.2.1"] });
    node.good(409, "POST", "/v1/trunks", local);
    assert_eq!(node.carriers("100"), ["local"]);
}

#[test]
fn a_tenants_numbers_and_groups_are_its_own() {
    let node = Node::start();
    for id in ["acme", "other"] {
        node.good(201, "POST", "/v1/tenants", json!({ "id": id, "name": id }));
    }
    let domain = json!({ "tenant": "acme" });
    assert_eq!(node.admin("PUT", "/v1/domains/acme.test", domain).0, 200);
    let key = json!({ "name": "k", "role": "operator", "tenant": "acme" });
    let key = node.good(201, "POST", "/v1/keys", key);
    let key = key["key"].as_str().unwrap().to_owned();
    let acme = |method: &str, path: &str, body: Value| node.rest(&key, method, path, &body);

    let group = json!({ "name": "sales", "members": ["alice@acme.test"] });
    let (status, made) = acme("POST", "/v1/groups", group);
    assert_eq!((status, &made["tenant"]), (201, &json!("acme")), "{made}");
    // A number is given by who runs the node: a tenant takes none, whether somebody has it or not.
    let given = json!({ "number": "+1#", "group": "sales", "tenant": "acme" });
    node.good(201, "POST", "/v1/numbers", given);
    for number in ["+15550100", "+1#", "801"] {
        let taken = json!({ "number": number, "user": "b@acme.test" });
        let (status, refused) = acme("POST", "/v1/numbers", taken);
        assert_eq!(status, 422, "{number}: {refused}");
    }
    let theirs = json!({ "number": "800", "user": "zoe@other.test", "tenant": "other" });
    node.good(201, "POST", "/v1/numbers", theirs.clone());
    node.good(
        201,
        "POST",
        "/v1/groups",
        json!({ "name": "nodes", "members": ["a@other.test"] }),
    );

    for (method, path) in [
        ("GET", "/v1/numbers/800"),
        ("PUT", "/v1/numbers/800"),
        ("DELETE", "/v1/numbers/800"),
        ("DELETE", "/v1/groups/nodes"),
        ("GET", "/v1/numbers?tenant=other"),
    ] {
        let (status, refused) = acme(
            method,
            path,
            json!({ "number": "800", "user": "b@acme.test" }),
        );
        assert_eq!(status, 404, "{method} {path}: {refused}");
    }
    for path in ["trunks", "routes", "blocks", "limits"] {
        assert_eq!(acme("GET", &format!("/v1/{path}"), Value::Null).0, 403);
    }
    for body in [
        json!({ "number": "+1#", "group": "nodes" }),
        json!({ "number": "+1#", "user": "zoe@other.test" }),
        json!({ "number": "+1#", "trunk": "local" }),
    ] {
        let (status, refused) = acme("PUT", "/v1/numbers/+1%23", body.clone());
        assert_eq!(status, 422, "{body}: {refused}");
    }
    let stolen = json!({ "number": "801", "user": "b@acme.test", "tenant": "other" });
    assert_eq!(acme("POST", "/v1/numbers", stolen).0, 404);
    assert_eq!(acme("POST", "/v1/numbers", theirs).0, 404);

    let ids = |list: Value| -> Vec<Value> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|one| one["id"].clone()).collect()
    };
    assert_eq!(ids(acme("GET", "/v1/numbers", Value::Null).1), ["+1#"]);
    assert_eq!(ids(acme("GET", "/v1/groups", Value::Null).1), ["sales"]);
    let all = ids(node.good(200, "GET", "/v1/numbers", Value::Null));
    assert_eq!(all, ["+1#", "800"]);
    let some = node.good(200, "GET", "/v1/numbers?tenant=other", Value::Null);
    assert_eq!(ids(some), ["800"]);

    let place = "/v1/numbers/+1%23";
    let (status, changed) = acme(
        "PUT",
        place,
        json!({ "number": "+1#", "user": "b@acme.test" }),
    );
    assert_eq!(
        (status, &changed["tenant"]),
        (200, &json!("acme")),
        "{changed}"
    );
    let given = json!({ "number": "+1#", "user": "b@acme.test", "tenant": null });
    assert_eq!(node.good(200, "PUT", place, given)["tenant"], Value::Null);
    assert_eq!(acme("DELETE", place, Value::Null).0, 404);
    let held = node.good(409, "DELETE", "/v1/tenants/acme", Value::Null);
    assert!(
        held["detail"]
            .as_str()
            .unwrap()
            .contains("remove them first")
    );
}

#[test]
fn blocks_and_limits_hold_as_soon_as_they_are_made() {
    let node = Node::start();
    assert_eq!(node.carriers("+88216"), ["local"]);
    let block = json!({ "id": "satellites", "prefix": "+882", "of": "called" });
    node.good(201, "POST", "/v1/blocks", block.clone());
    node.good(409, "POST", "/v1/blocks", block);
    assert_eq!(node.carriers("+88216"), Vec::<String>::new());
    let opened = json!({ "prefix": "+8821", "of": "called", "direction": "out" });
    node.good(200, "PUT", "/v1/blocks/satellites", opened);
    assert_eq!(node.carriers("+88216"), ["local"]);
    node.good(204, "DELETE", "/v1/blocks/satellites", Value::Null);

    let limit = json!({ "id": "l", "trunk": "local", "calls": 7 });
    node.good(201, "POST", "/v1/limits", limit);
    let metrics = node.page("/metrics");
    let line = metrics.lines().find(|line| {
        line.starts_with("tandem_limit") && line.contains("local") && line.ends_with(" 7")
    });
    assert!(line.is_some(), "{metrics}");
    node.good(204, "DELETE", "/v1/limits/l", Value::Null);
    node.good(404, "DELETE", "/v1/limits/l", Value::Null);
}

#[test]
fn each_operation_has_a_name_a_schema_and_an_example() {
    let node = Node::start();
    let document = node.get("/openapi.json").1;
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut names = Vec::new();
    for (path, title) in [
        ("trunks", "Trunk"),
        ("routes", "Route"),
        ("numbers", "Number"),
        ("groups", "Group"),
        ("blocks", "Block"),
        ("limits", "Limit"),
    ] {
        let all = &document["paths"][format!("/v1/{path}")];
        let each = &document["paths"][format!("/v1/{path}/{{id}}")];
        for operation in [
            &all["get"],
            &all["post"],
            &each["get"],
            &each["put"],
            &each["delete"],
        ] {
            assert_eq!(operation["tags"], json!([path]));
            names.push(operation["operationId"].as_str().unwrap().to_owned());
        }
        let body = &all["post"]["requestBody"]["content"]["application/json"];
        assert_eq!(
            body["schema"]["$ref"],
            format!("#/components/schemas/{title}")
        );
        // The example has members of the schema alone.
        let members = schemas[title]["properties"].as_object().unwrap();
        for member in body["example"].as_object().unwrap().keys() {
            assert!(members.contains_key(member), "{title}: {member}");
        }
        assert!(members.contains_key("source") && members["source"]["readOnly"] == true);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 30, "{names:?}");
    // Whatever is referred to is there.
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}
