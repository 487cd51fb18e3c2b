//! A number that an application answers by a WebSocket: it hears of every call and says verbs.

use std::{
    cell::OnceCell,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message, WebSocket, accept_hdr,
    handshake::server::{Request, Response},
};
use voice::{form::Params, signature};

use crate::{
    common::{Background, json, output, tandem},
    node::Node,
};

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An application's end of its socket.
struct App(WebSocket<TcpStream>);

impl App {
    /// A node whose number 200 is the application's, and the socket that it opens.
    fn start() -> (Self, Node) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/calls", listener.local_addr().unwrap());
        let more = format!(
            "\n[[accounts]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\n\n\
             [[numbers]]\nnumber = \"200\"\naccount = \"{ACCOUNT}\"\nvoice_url = \"{url}\"\n"
        );
        let node = Node::start_by(|text| text + &more);
        // A node that never comes is a failure, and no test without an end.
        listener.set_nonblocking(true).unwrap();
        let came = OnceCell::new();
        node.wait_until(|| {
            listener
                .accept()
                .is_ok_and(|(stream, _)| came.set(stream).is_ok())
        });
        let stream = came.into_inner().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let expected = signature::sign(TOKEN, &url, &Params::new());
        #[expect(clippy::result_large_err, reason = "the callback's type")]
        let check = |request: &Request, response: Response| {
            assert_eq!(request.headers()["x-twilio-signature"], *expected);
            Ok(response)
        };
        let Ok(socket) = accept_hdr(stream, check) else {
            unreachable!("the node shakes hands")
        };
        (Self(socket), node)
    }

    fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    fn next(&mut self) -> Value {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return serde_json::from_str(text.as_str()).unwrap(),
                Ok(_) => {}
                Err(error) => unreachable!("nothing more comes: {error}"),
            }
        }
    }

    /// The next message, which is of this type.
    fn hear(&mut self, kind: &str) -> Value {
        let message = self.next();
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Answers a question of this type.
    fn answer(&mut self, kind: &str, verbs: &Value) -> Value {
        let asked = self.hear(kind);
        assert_eq!(asked["account"], ACCOUNT, "{asked}");
        self.say(&json!({"id": asked["id"], "verbs": verbs}));
        asked
    }
}

#[test]
fn an_application_hears_of_a_call_and_says_what_is_done() {
    let (mut app, node) = App::start();
    let uri = format!("sip:200@127.0.0.1:{}", node.sip);
    let call = Background::start(tandem(["call", &uri, "--json"]).args(["--duration", "20"]));

    assert_eq!(app.hear("call.ringing")["id"], Value::Null);
    let asked = app.answer(
        "call.incoming",
        &json!([
            {"play": {"digits": "1"}},
            {"gather": {"timeout": 1, "numDigits": 2, "prompts": [{"play": {"digits": "2"}}]}},
        ]),
    );
    let sid = asked["call"]["sid"].clone();
    assert_eq!(asked["call"]["to"], "200", "{asked}");
    assert_eq!(asked["call"]["direction"], "inbound", "{asked}");
    assert_eq!(app.hear("call.answered")["call"]["sid"], sid);
    let gathered = app.hear("gather.done");
    assert_eq!(gathered["params"]["Digits"], "", "{gathered}");
    // What is wrong is said, and the call goes on.
    app.say(&json!({"id": gathered["id"], "verbs": {"say": "x"}}));
    assert_eq!(app.hear("error")["id"], gathered["id"]);
    let verbs = json!(["shout", {"play": {"digits": "3"}}, "hangup"]);
    app.say(&json!({"id": gathered["id"], "verbs": verbs}));
    let notice = app.hear("call.notice");
    assert_eq!(notice["params"]["ErrorCode"], "12200", "{notice}");
    let over = app.hear("call.completed");
    assert_eq!(over["call"]["sid"], sid);
    assert_eq!(over["params"]["SipResponseCode"], "200", "{over}");
    let report = call.finish();
    assert!(report.status.success(), "{}", output(&report));
    assert_eq!(json(&report)["ended_by"], "remote");
}

#[test]
fn an_application_calls_changes_the_call_and_ends_it() {
    let (mut app, node) = App::start();
    let answer = node.answer(&["--duration", "20"]);
    answer.wait_for_udp_traffic();
    app.say(&json!({"type": "call.create", "id": "1", "from": "200", "to": "100"}));
    // The call may be quicker than the reply.
    let mut first = [app.next(), app.next()];
    first.sort_by_key(|message| message["type"] == "ok");
    let [initiated, done] = first;
    assert_eq!(initiated["type"], "call.initiated", "{initiated}");
    assert_eq!((&done["type"], &done["id"]), (&json!("ok"), &json!("1")));
    let sid = done["call"].clone();
    let mut kinds = Vec::new();
    let asked = loop {
        let message = app.next();
        match message["type"].as_str().unwrap() {
            "call.outgoing" => break message,
            kind => kinds.push(kind.to_owned()),
        }
    };
    assert_eq!(kinds.last().unwrap(), "call.answered", "{kinds:?}");
    assert_eq!(asked["call"]["sid"], sid, "{asked}");
    app.say(&json!({"id": asked["id"], "verbs": [{"pause": 60}]}));

    let verbs = json!([{"play": {"digits": "1"}}, {"gather": {"timeout": 60}}]);
    app.say(&json!({"type": "call.update", "id": "2", "call": sid, "verbs": verbs}));
    assert_eq!(app.hear("ok")["id"], "2");
    app.say(
        &json!({"type": "call.hangup", "id": "3", "call": "CA00000000000000000000000000000000"}),
    );
    assert_eq!(app.hear("error")["id"], "3");
    app.say(&json!({"type": "call.hangup", "id": "4", "call": sid}));
    let mut last = [app.next(), app.next()];
    last.sort_by_key(|message| message["type"] == "ok");
    assert_eq!(last[0]["type"], "call.completed", "{}", last[0]);
    assert_eq!(last[1]["id"], "4", "{}", last[1]);
    answer.finish();
}
