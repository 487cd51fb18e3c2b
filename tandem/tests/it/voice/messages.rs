//! Messages: sent by the REST API, given to a number's application, answered by its document.

use std::collections::HashMap;

use serde_json::Value;
use voice::signature;

use super::{ACCOUNT, App, TOKEN, ask, params};
use crate::node::Node;

#[test]
fn a_message_reaches_an_application_that_answers_it() {
    let app = App::start(|_| {
        let document = b"<Response><Message>Thank you</Message></Response>".to_vec();
        HashMap::from([
            ("/sms", ("text/xml", document)),
            ("/told", ("text/plain", Vec::new())),
        ])
    });
    // Number 200 takes calls alone.
    let more = format!(
        "\n[[accounts]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\n\n\
         [[numbers]]\nnumber = \"200\"\naccount = \"{ACCOUNT}\"\nvoice_url = \"{}\"\n\n\
         [[numbers]]\nnumber = \"300\"\naccount = \"{ACCOUNT}\"\nmessage_url = \"{}\"\n",
        app.url("/voice"),
        app.url("/sms")
    );
    let node = Node::start_by(|text| text + &more);
    let told = app.url("/told");
    let form = format!("From=200&To=300&Body=Gr%C3%BC%C3%9Fe&StatusCallback={told}");
    let made = ask(&node, "POST", "/Messages.json", &form);
    assert_eq!(made["status"], "queued", "{made}");
    let messages = || -> HashMap<String, Value> {
        let list = ask(&node, "GET", "/Messages.json", "");
        let list = list["messages"].as_array().cloned().unwrap_or_default();
        let by_direction = |one: Value| Some((one["direction"].as_str()?.to_owned(), one));
        list.into_iter().filter_map(by_direction).collect()
    };
    let is_over = |message: &Value| {
        let status = message["status"].as_str().unwrap_or_default();
        !["queued", "sending"].contains(&status)
    };
    node.wait_until(|| {
        let all = messages();
        all.len() == 3 && all.values().all(is_over)
    });
    let all = messages();
    let state = |direction: &str| {
        let one = &all[direction];
        [&one["from"], &one["to"], &one["body"], &one["status"]].map(Value::clone)
    };
    assert_eq!(state("outbound-api"), ["200", "300", "Grüße", "sent"]);
    assert_eq!(state("inbound"), ["200", "300", "Grüße", "received"]);
    assert_eq!(
        state("outbound-reply"),
        ["300", "200", "Thank you", "undelivered"]
    );
    assert_eq!(all["outbound-reply"]["error_code"], 30_006);

    let asked = app.asked("/sms");
    assert_eq!(asked.len(), 1, "{asked:?}");
    let given = params(&asked[0].body);
    assert_eq!(given.get("Body"), Some("Grüße"));
    assert_eq!(
        given.get("MessageSid"),
        all["inbound"]["sid"].as_str(),
        "{}",
        asked[0].body
    );
    let signed = signature::sign(TOKEN, &app.url("/sms"), &given);
    assert_eq!(asked[0].signature, signed);
    node.wait_until(|| app.asked("/told").len() == 1);
    let asked = app.asked("/told");
    let given = params(&asked[0].body);
    assert_eq!(given.get("MessageStatus"), Some("sent"));
    assert_eq!(given.get("MessageSid"), made["sid"].as_str());
}
