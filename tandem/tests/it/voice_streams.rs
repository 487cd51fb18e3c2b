//! Media Streams of a whole node: a phone on one side, a server of streams on the other.

use std::{collections::HashMap, fs, process::Command};

use rtp::g711;
use serde_json::{Value, json};
use voice::{form::Params, signature};

use crate::{
    call::{noise, write_wav},
    common::output,
    phone::{ALIKE, Phone, SAMPLES, likeness},
    voice::{ACCOUNT, App, TOKEN, node, params},
    websocket::{Reply, Server, mark, media, payload},
};

/// Pieces of a burst, each of 20 ms and of octets that are its number.
const PIECES: u8 = 100;
/// With the mark of this one, the burst is cleared.
const CLEARED: u8 = 10;

/// Echoes; key 1 is answered by a mark, 2 by a burst that is cleared on its way, 9 ends the stream.
fn rule() -> impl FnMut(&Value) -> Vec<Reply> + Send {
    let mut echoes = true;
    move |message| match message["event"].as_str().unwrap_or_default() {
        "media" if echoes => vec![media(&payload(message))],
        "dtmf" => match message["dtmf"]["digit"].as_str().unwrap() {
            "1" => vec![mark("one")],
            "2" => {
                echoes = false;
                let piece = |at| {
                    let audio = media(&[at; SAMPLES]);
                    [audio, mark(&format!("p{at}"))]
                };
                (0..PIECES).flat_map(piece).collect()
            }
            "9" => vec![Reply::Close],
            _ => Vec::new(),
        },
        "mark" if message["mark"]["name"] == format!("p{CLEARED}") => {
            vec![Reply::Say(json!({ "event": "clear" }))]
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_server_talks_with_the_caller_and_gives_the_call_back() {
    let dir = tempfile::tempdir().unwrap();
    let said = noise(3);
    let (said, after) = said.split_at(16_000);
    let played = dir.path().join("after.wav");
    write_wav(&played, after);
    let file = fs::read(&played).unwrap();
    let server = Server::start(rule);
    let url = format!("ws://127.0.0.1:{}/media?room=1", server.port);
    let app = App::start(|port| {
        let document = format!(
            "<Response><Connect><Stream url=\"{url}\" statusCallback=\"/told\">\
             <Parameter name=\"who\" value=\"a &amp; b\"/><Parameter name=\"first\" value=\"\"/>\
             </Stream></Connect><Play>http://127.0.0.1:{port}/after.wav</Play></Response>"
        );
        HashMap::from([
            ("/voice", ("text/xml", document.into_bytes())),
            ("/told", ("text/plain", Vec::new())),
            ("/after.wav", ("audio/wav", file)),
        ])
    });
    let node = node(&app.url("/voice"));
    let phone = Phone::call(&node, "200");
    server.wait("media", |server| !server.of("event", "media").is_empty());

    // The upgrade, and what is told first.
    let upgrade = server.upgrade();
    assert_eq!(upgrade.uri, "/media?room=1");
    let signed = signature::sign(TOKEN, &url, &Params::new());
    assert_eq!(upgrade.headers["x-twilio-signature"], signed);
    assert!(!upgrade.headers.contains_key("sec-websocket-protocol"));
    let messages = server.messages();
    let connected = json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" });
    assert_eq!(messages[0], connected);
    let start = &messages[1];
    assert_eq!(start["event"], "start");
    let start = &start["start"];
    let sid = start["callSid"].as_str().unwrap();
    assert_eq!(start["accountSid"], ACCOUNT);
    assert_eq!(start["tracks"], json!(["inbound"]));
    assert_eq!(start["mediaFormat"]["encoding"], "audio/x-mulaw");
    let custom = json!({ "who": "a & b", "first": "" });
    assert_eq!(start["customParameters"], custom);
    let asked = app.asked("/voice");
    assert_eq!(params(&asked[0].body).get("CallSid"), Some(sid));

    // The echo.
    phone.say(said);
    phone.hears("its echo", |heard| likeness(said, heard) > ALIKE);
    let frames = server.of("event", "media");
    for (at, frame) in frames.iter().enumerate() {
        assert_eq!(frame["media"]["timestamp"], (at * 20).to_string());
        assert_eq!(payload(frame).len(), SAMPLES);
    }

    // A key, and a mark that comes back.
    phone.press('1');
    server.wait("mark", |server| !server.of("event", "mark").is_empty());
    let key = json!({ "track": "inbound_track", "digit": "1" });
    assert_eq!(server.of("event", "dtmf")[0]["dtmf"], key);
    assert_eq!(server.of("event", "mark")[0]["mark"]["name"], "one");

    // Silence after what was said is cleared. The machine may be busy: one of three has to be as it should.
    phone.hears_silence();
    let late = (0..3).map(|round| cleared(&phone, &server, round));
    let late: Vec<_> = late.collect();
    assert!(late.iter().any(|late| *late <= 1), "{late:?} pieces");

    // The server closes: the document goes on, and ends.
    phone.press('9');
    phone.hears("what is played then", |heard| {
        likeness(after, heard) > ALIKE
    });
    phone.is_hung_up_on();
    assert_eq!(server.of("event", "closed").len(), 1);
    node.wait_until(|| app.asked("/told").len() == 2);
    let told: Vec<_> = app
        .asked("/told")
        .iter()
        .map(|it| params(&it.body))
        .collect();
    for (told, event) in told.iter().zip(["stream-started", "stream-stopped"]) {
        assert_eq!(told.get("StreamEvent"), Some(event), "{told:?}");
        assert_eq!(told.get("StreamSid"), start["streamSid"].as_str());
    }
}

/// Has a burst be played and cleared: how many pieces were heard after the one with whose mark the server cleared.
fn cleared(phone: &Phone, server: &Server, round: usize) -> u8 {
    let before = phone.octets().len();
    let marks = |server: &Server| server.of("event", "mark").len();
    let had = 1 + round * usize::from(PIECES);
    assert_eq!(marks(server), had);
    phone.press('2');
    server.wait("marks", |server| marks(server) == had + usize::from(PIECES));
    let names = server.of("event", "mark").split_off(had);
    for (at, message) in names.iter().enumerate() {
        assert_eq!(message["mark"]["name"], format!("p{at}"));
    }
    phone.hears_silence();
    let heard = phone.octets().split_off(before);
    let last = heard.iter().filter(|octet| **octet < PIECES).max().unwrap();
    assert!(*last >= CLEARED, "{last}");
    last - CLEARED
}

#[test]
fn a_server_overhears_both_sides_of_a_dialled_call() {
    let said = noise(3);
    let (ours, theirs) = said.split_at(12_000);
    let server = Server::start(|| {
        |message: &Value| match message["event"] == "media" {
            true => vec![media(&[0; SAMPLES])],
            false => Vec::new(),
        }
    });
    let url = format!("ws://127.0.0.1:{}/ear", server.port);
    let app = App::start(|_| {
        let document = format!(
            "<Response><Start><Stream name=\"ear\" track=\"both_tracks\" url=\"{url}\">\
             <Parameter name=\"who\" value=\"caller\"/></Stream></Start><Dial>100</Dial></Response>"
        );
        HashMap::from([("/voice", ("text/xml", document.into_bytes()))])
    });
    let node = node(&app.url("/voice"));
    let ringing = Phone::answer(node.callee);
    let caller = Phone::call(&node, "200");
    let callee = ringing.pick_up();
    callee.hears("that they are joined", |heard| !heard.is_empty());
    callee.say(theirs);
    caller.say(ours);
    caller.hears("the other", |heard| likeness(theirs, heard) > ALIKE);
    callee.hears("the caller", |heard| likeness(ours, heard) > ALIKE);

    let start = server.messages()[1].clone();
    let tracks = json!(["inbound", "outbound"]);
    assert_eq!(start["start"]["tracks"], tracks, "{start}");
    let custom = json!({ "who": "caller" });
    assert_eq!(start["start"]["customParameters"], custom);
    for (track, said) in [("inbound", ours), ("outbound", theirs)] {
        let heard = |server: &Server| {
            let frames = server.of("event", "media");
            let frames = frames
                .iter()
                .filter(|frame| frame["media"]["track"] == track);
            frames
                .flat_map(payload)
                .map(g711::decode_ulaw)
                .collect::<Vec<_>>()
        };
        server.wait(track, |server| likeness(said, &heard(server)) > ALIKE);
    }

    caller.hang_up();
    callee.is_hung_up_on();
    server.wait("close", |server| !server.of("event", "closed").is_empty());
    let messages = server.messages();
    let [.., stop, closed] = messages.as_slice() else {
        unreachable!("{messages:?}");
    };
    assert_eq!(stop["event"], "stop");
    assert_eq!(stop["stop"]["callSid"], start["start"]["callSid"]);
    assert_eq!(closed["code"], 1000);
}

/// As an agent hands its caller over to a person.
#[test]
fn a_call_is_taken_from_its_server_by_the_rest_api() {
    let server = Server::start(rule);
    let app = App::start(|_| {
        let url = format!("ws://127.0.0.1:{}/media", server.port);
        let document = format!("<Response><Connect><Stream url=\"{url}\"/></Connect></Response>");
        HashMap::from([("/voice", ("text/xml", document.into_bytes()))])
    });
    let node = node(&app.url("/voice"));
    let person = Phone::answer(node.callee);
    let caller = Phone::call(&node, "200");
    server.wait("media", |server| !server.of("event", "media").is_empty());
    let start = server.messages()[1].clone();
    let sid = start["start"]["callSid"].as_str().unwrap();
    let url = format!(
        "http://127.0.0.1:{}/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json",
        node.api
    );
    let told = Command::new("curl")
        .args(["-sS", "-f", "-m", "10", "-u", &format!("{ACCOUNT}:{TOKEN}")])
        .args([
            "--data-urlencode",
            "Twiml=<Response><Dial>100</Dial></Response>",
        ])
        .arg(&url)
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", output(&told));

    let person = person.pick_up();
    person.hears("the caller", |heard| !heard.is_empty());
    server.wait("close", |server| !server.of("event", "closed").is_empty());
    let messages = server.messages();
    let [.., stop, closed] = messages.as_slice() else {
        unreachable!("{messages:?}");
    };
    assert_eq!(
        (&stop["event"], &closed["code"]),
        (&json!("stop"), &json!(1000))
    );
    let said = noise(2);
    let (ours, theirs) = said.split_at(8_000);
    caller.say(ours);
    person.say(theirs);
    caller.hears("the person", |heard| likeness(theirs, heard) > ALIKE);
    person.hears("the caller", |heard| likeness(ours, heard) > ALIKE);
    caller.hang_up();
    person.is_hung_up_on();
}

#[test]
fn a_server_that_cannot_be_reached_gives_the_call_back() {
    let app = App::start(|_| {
        let document = "<Response><Connect><Stream url=\"ws://127.0.0.1:9/\" statusCallback=\"/told\"/></Connect>\
                        <Hangup/></Response>";
        HashMap::from([
            ("/voice", ("text/xml", document.into())),
            ("/told", ("text/plain", Vec::new())),
        ])
    });
    let node = node(&app.url("/voice"));
    let phone = Phone::call(&node, "200");
    phone.is_hung_up_on();
    node.wait_until(|| !app.asked("/told").is_empty());
    let told = params(&app.asked("/told")[0].body);
    assert_eq!(told.get("StreamEvent"), Some("stream-error"));
    let error = told.get("StreamError").unwrap_or_default();
    assert!(error.contains("31901"), "{error}");
}
