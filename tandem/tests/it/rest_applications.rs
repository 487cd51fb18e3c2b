//! Applications by REST and by command, on a whole node.

use serde_json::{Value, json};

use crate::{
    common::{json as printed, output},
    node::Node,
};

#[test]
fn applications_are_a_tenants_and_edited_by_who_has_seen_them() {
    let node = Node::start();
    let admin = node.key();
    let ask =
        |key: &str, method: &str, path: &str, body: Value| node.rest(key, method, path, &body);
    let tenant = json!({ "id": "acme", "name": "Acme" });
    assert_eq!(ask(&admin, "POST", "/v1/tenants", tenant).0, 201);
    let key = |role: &str, tenant: Option<&str>| {
        let new = json!({ "name": "k", "role": role, "tenant": tenant });
        let (_, made) = ask(&admin, "POST", "/v1/keys", new);
        made["key"].as_str().unwrap().to_owned()
    };
    let (acme, viewer) = (key("developer", Some("acme")), key("viewer", None));
    let developer = key("developer", None);

    let new = json!({ "name": "front desk", "voice_url": "https://example.com/voice",
        "status_callback": "wss://example.com/told", "status_callback_method": "GET" });
    let (status, made) = ask(&acme, "POST", "/v1/applications", new.clone());
    assert_eq!((status, &made["tenant"]), (201, &json!("acme")), "{made}");
    assert_eq!(
        (&made["voice_method"], &made["status_callback_method"]),
        (&json!("POST"), &json!("GET"))
    );
    assert_eq!(made["fallback_url"], Value::Null);
    let (status, taken) = ask(&acme, "POST", "/v1/applications", new.clone());
    assert_eq!(status, 409, "{taken}");
    // The same name is another tenant's too.
    let (status, theirs) = ask(&admin, "POST", "/v1/applications", new.clone());
    assert_eq!((status, &theirs["tenant"]), (201, &json!("default")));
    assert_eq!(ask(&viewer, "POST", "/v1/applications", new).0, 403);
    let place = format!("/v1/applications/{}", made["id"].as_str().unwrap());
    let other = format!("/v1/applications/{}", theirs["id"].as_str().unwrap());

    for wrong in [
        json!({ "name": "x", "voice_url": "ftp://example.com/" }),
        json!({ "name": "x", "voice_url": "https://ann:secret@example.com/" }),
        json!({ "name": "x", "message_url": "/relative" }),
        json!({ "name": "x", "message_url": "wss://example.com/" }),
        json!({ "name": "x", "voice_url": "http://127.0.0.1/" }),
        json!({ "name": "" }),
    ] {
        let (status, problem) = ask(&acme, "POST", "/v1/applications", wrong.clone());
        assert_eq!(status, 422, "{wrong} {problem}");
    }
    for wrong in [
        json!({ "name": "x", "voice_method": "PUT" }),
        json!({ "name": "x", "voice": "https://example.com/" }),
        json!({ "voice_url": "https://example.com/" }),
    ] {
        let (status, problem) = ask(&acme, "POST", "/v1/applications", wrong.clone());
        assert_eq!(status, 400, "{wrong} {problem}");
    }
    let lost = json!({ "name": "x", "tenant": "none" });
    assert_eq!(ask(&admin, "POST", "/v1/applications", lost).0, 422);

    // What is somebody else's is not there.
    for method in ["GET", "PATCH", "DELETE"] {
        let body = json!({ "name": "mine" });
        assert_eq!(ask(&acme, method, &other, body).0, 404, "{method}");
    }
    let nowhere = "/v1/applications/front%20desk";
    assert_eq!(ask(&admin, "GET", nowhere, Value::Null).0, 404);
    let list = |key: &str, query: &str| {
        let (status, page) = ask(key, "GET", &format!("/v1/applications{query}"), Value::Null);
        (
            status,
            page["items"].as_array().map_or(0, Vec::len),
            page["next"].clone(),
        )
    };
    assert_eq!(list(&acme, ""), (200, 1, Value::Null));
    assert_eq!(list(&acme, "?tenant=default").0, 404);
    assert_eq!(list(&developer, "?tenant=default"), (200, 1, Value::Null));
    // A URL may have a secret in it.
    assert_eq!(list(&viewer, "").0, 403);
    assert_eq!(ask(&viewer, "GET", &other, Value::Null).0, 403);
    let (_, _, next) = list(&admin, "?limit=1");
    assert_eq!(next, made["id"]);
    let next = format!("?limit=1&cursor={}", next.as_str().unwrap());
    assert_eq!(list(&admin, &next), (200, 1, Value::Null));
    assert_eq!(list(&admin, "?cursor=nonsense").0, 400);

    let tag = node.tag(&place).unwrap();
    let change = json!({ "voice_method": "GET", "status_callback": null });
    let (status, changed) = node.rest_if(&tag, "PATCH", &place, &change);
    assert_eq!(
        (status, &changed["voice_method"]),
        (200, &json!("GET")),
        "{changed}"
    );
    assert_eq!(
        (&changed["status_callback"], &changed["voice_url"]),
        (&Value::Null, &json!("https://example.com/voice"))
    );
    assert_eq!(node.rest_if(&tag, "PATCH", &place, &change).0, 412);
    assert_eq!(node.rest_if(&tag, "DELETE", &place, &Value::Null).0, 412);
    let (_, second) = ask(&acme, "POST", "/v1/applications", json!({ "name": "hall" }));
    let second = format!("/v1/applications/{}", second["id"].as_str().unwrap());
    let taken = json!({ "name": "front desk" });
    assert_eq!(ask(&acme, "PATCH", &second, taken).0, 409);
    assert_eq!(
        ask(&admin, "DELETE", "/v1/tenants/acme", Value::Null).0,
        409
    );

    assert_eq!(ask(&acme, "DELETE", &place, Value::Null).0, 204);
    assert_eq!(ask(&acme, "DELETE", &place, Value::Null).0, 404);
    let (_, audit) = ask(&admin, "GET", "/v1/audit?kind=applications", Value::Null);
    let audit = audit["items"].as_array().unwrap();
    let did = |number: usize| (&audit[number]["action"], &audit[number]["tenant"]);
    assert_eq!(did(0), (&json!("delete"), &json!("acme")), "{audit:?}");
    assert_eq!(audit.len(), 5, "{audit:?}");
    let updated = audit.iter().find(|change| change["action"] == "update");
    assert_eq!(
        updated.unwrap()["detail"],
        json!({ "name": "front desk", "changed": ["voice_method", "status_callback"] })
    );
    assert!(
        !json!(audit).to_string().contains("example.com"),
        "{audit:?}"
    );
}

#[test]
fn applications_are_edited_by_command() {
    let node = Node::start();
    let none = node.ask(&["applications"]);
    assert!(output(&none).contains("there is no application"));
    let url = "http://127.0.0.1:9000/voice";
    let add = ["applications", "add", "ivr", "--voice-url", url, "--json"];
    let made = printed(&node.ask(&add));
    let id = made["id"].as_str().unwrap().to_owned();
    let table = node.ask(&["applications"]);
    assert!(output(&table).contains(&format!("{id}  default  {url}  -         ivr")));

    let twice = node.ask(&add);
    assert_eq!(twice.status.code(), Some(1), "{}", output(&twice));
    assert!(output(&twice).contains("already"), "{}", output(&twice));
    let wrong = node.ask(&["applications", "set", &id, "--message-url", "sip:a@b"]);
    assert!(
        output(&wrong).contains("message_url: an absolute"),
        "{}",
        output(&wrong)
    );
    let set = [
        "applications",
        "set",
        &id,
        "--name",
        "hall",
        "--voice-method",
        "GET",
    ];
    let changed = node.ask(&set);
    assert!(changed.status.success(), "{}", output(&changed));
    let unset = ["applications", "set", &id, "--unset", "voice_url", "--json"];
    let changed = printed(&node.ask(&unset));
    assert_eq!(
        (
            &changed["name"],
            &changed["voice_method"],
            &changed["voice_url"]
        ),
        (&json!("hall"), &json!("GET"), &Value::Null)
    );
    let both = ["applications", "set", &id, "--unset", "voice_url"];
    let both = node.ask(&[&both[..], &["--voice-url", url]].concat());
    assert_eq!(both.status.code(), Some(2), "{}", output(&both));
    assert!(output(&both).contains("one of the two"));
    let nothing = node.ask(&["applications", "set", &id]);
    assert_eq!(nothing.status.code(), Some(2), "{}", output(&nothing));
    let shown = node.ask(&["applications", "show", &id]);
    assert!(
        output(&shown).contains("voice_method            GET"),
        "{}",
        output(&shown)
    );

    let gone = node.ask(&["applications", "remove", &id]);
    assert!(gone.status.success(), "{}", output(&gone));
    let gone = node.ask(&["applications", "remove", &id]);
    assert_eq!(gone.status.code(), Some(1), "{}", output(&gone));
    let missing = node.ask(&["applications", "show", &id]);
    assert!(output(&missing).contains("there is no application"));
}
