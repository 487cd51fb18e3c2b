//! A number that an application answers: its webhook is asked, and what its document says is heard.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;
use voice::{form::Params, signature};

use crate::{
    call::{noise, read_wav, write_wav},
    common::{json, output, tandem},
    node::Node,
    phone::{ALIKE, likeness},
};

#[cfg(test)]
mod killed;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod record;
#[cfg(test)]
mod refer;

pub(crate) const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What an application's server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    method: String,
    path: String,
    signature: String,
    pub(crate) body: String,
}

/// An application's server, which has an answer for each path.
pub(crate) struct App {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl App {
    pub(crate) fn start(
        answers: impl FnOnce(u16) -> HashMap<&'static str, (&'static str, Vec<u8>)>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = answers(port);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                serve(stream, &answers, &noted);
            }
        });
        Self { port, asked }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|one| one.path == path)
            .cloned()
            .collect()
    }
}

/// One request of a connection.
fn serve(
    stream: TcpStream,
    answers: &HashMap<&str, (&str, Vec<u8>)>,
    noted: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut signature) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "x-twilio-signature" => value.clone_into(&mut signature),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, (kind, answer)) = match answers.get(path.as_str()) {
        Some(answer) => ("200 OK", answer.clone()),
        None => ("404 Not Found", ("text/plain", b"nothing".to_vec())),
    };
    // Before the answer: what comes of that may be looked at at once.
    noted.lock().unwrap().push(Asked {
        method,
        path,
        signature,
        body: String::from_utf8(body).ok()?,
    });
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    )
    .ok()?;
    stream.write_all(&answer).ok()
}

/// A node whose number 200 is the application's.
pub(crate) fn node(voice_url: &str) -> Node {
    node_by(voice_url, |text| text)
}

/// With this done to its configuration.
pub(crate) fn node_by(voice_url: &str, change: impl FnOnce(String) -> String) -> Node {
    let more = format!(
        "\n[[accounts]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\n\n\
         [[numbers]]\nnumber = \"200\"\naccount = \"{ACCOUNT}\"\nvoice_url = \"{voice_url}\"\n"
    );
    Node::start_by(|text| change(text + &more))
}

/// Asks the REST API as the account.
fn ask(node: &Node, method: &str, path: &str, body: &str) -> Value {
    let url = format!(
        "http://127.0.0.1:{}/2010-04-01/Accounts/{ACCOUNT}{path}",
        node.api
    );
    let told = Command::new("curl")
        .args(["-sS", "-m", "10", "-X", method, "-u"])
        .arg(format!("{ACCOUNT}:{TOKEN}"))
        .args(["-d", body, &url])
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", output(&told));
    serde_json::from_slice(&told.stdout).unwrap()
}

/// The parameters of a form.
pub(crate) fn params(body: &str) -> Params {
    let mut params = Params::new();
    for pair in body.split('&') {
        let (name, value) = pair.split_once('=').unwrap();
        params.push(decoded(name), decoded(value));
    }
    params
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_caller_hears_what_the_document_plays() {
    let dir = tempfile::tempdir().unwrap();
    let (played, heard) = (dir.path().join("played.wav"), dir.path().join("heard.wav"));
    let samples = noise(2);
    // What is heard is written from its first packet on: what is judged comes after that.
    write_wav(&played, &[vec![0; 4_000], samples.clone()].concat());
    let file = fs::read(&played).unwrap();
    let app = App::start(|port| {
        let document =
            format!("<Response><Play>http://127.0.0.1:{port}/noise.wav</Play><Hangup/></Response>");
        HashMap::from([
            ("/voice", ("text/xml", document.into_bytes())),
            ("/noise.wav", ("audio/wav", file)),
        ])
    });
    let node = node(&app.url("/voice"));

    let call = tandem(["call", &format!("sip:200@127.0.0.1:{}", node.sip), "--json"])
        .args(["--duration", "20", "--record"])
        .arg(&heard)
        .output()
        .unwrap();
    assert!(call.status.success(), "{}", output(&call));
    let report = json(&call);
    assert_eq!(report["answered"], true);
    assert_eq!(report["ended_by"], "remote", "{report}");
    let like = likeness(&samples, &read_wav(&heard));
    assert!(like > ALIKE, "{like}");

    let asked = app.asked("/voice");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].method, "POST");
    let told = params(&asked[0].body);
    assert_eq!(
        asked[0].signature,
        signature::sign(TOKEN, &app.url("/voice"), &told)
    );
    for (name, value) in [
        ("AccountSid", ACCOUNT),
        ("To", "200"),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
    ] {
        assert_eq!(told.get(name), Some(value), "{name} of {}", asked[0].body);
    }
}

#[test]
fn a_number_whose_webhook_is_gone_refuses_the_call() {
    let node = node("http://127.0.0.1:9/voice");
    let call = tandem(["call", &format!("sip:200@127.0.0.1:{}", node.sip), "--json"])
        .args(["--duration", "20"])
        .output()
        .unwrap();
    let report = json(&call);
    assert_eq!(report["answered"], false, "{report}");
    assert_eq!(report["status"], 500, "{report}");
}

#[test]
fn a_caller_talks_to_whom_the_document_dials() {
    let dir = tempfile::tempdir().unwrap();
    let (played, heard) = (dir.path().join("played.wav"), dir.path().join("heard.wav"));
    let samples = noise(4);
    // What is said before the callee is there is for nobody.
    write_wav(&played, &[vec![0; 8_000], samples.clone()].concat());
    let app = App::start(|_| {
        let document = b"<Response><Dial action=\"/after\">100</Dial></Response>".to_vec();
        let after = b"<Response><Hangup/></Response>".to_vec();
        HashMap::from([
            ("/voice", ("text/xml", document)),
            ("/after", ("text/xml", after)),
        ])
    });
    let node = node(&app.url("/voice"));
    let answer = node.answer(&["--echo", "--duration", "4"]);
    answer.wait_for_udp_traffic();

    let call = tandem(["call", &format!("sip:200@127.0.0.1:{}", node.sip), "--json"])
        .args(["--duration", "20", "--play"])
        .arg(&played)
        .arg("--record")
        .arg(&heard)
        .output()
        .unwrap();
    assert!(call.status.success(), "{}", output(&call));
    let report = json(&call);
    assert_eq!(report["ended_by"], "remote", "{report}");
    answer.finish();
    // The callee is there for four seconds.
    let like = likeness(&samples[..16_000], &read_wav(&heard));
    assert!(like > ALIKE, "{like}");
    let asked = app.asked("/after");
    assert_eq!(asked.len(), 1, "{asked:?}");
    let told = params(&asked[0].body);
    assert_eq!(told.get("DialCallStatus"), Some("completed"));
    assert_eq!(told.get("DialBridged"), Some("true"));
}

#[test]
fn a_call_is_made_by_the_rest_api_and_told_of() {
    let app = App::start(|_| HashMap::new());
    let node = node(&app.url("/voice"));
    let answer = node.answer(&["--duration", "20"]);
    answer.wait_for_udp_traffic();
    let ask = |method: &str, path: &str, body: &str| ask(&node, method, path, body);
    let document = "Twiml=%3CResponse%3E%3CPause%20length%3D%2260%22%2F%3E%3C%2FResponse%3E";
    let made = ask(
        "POST",
        "/Calls.json",
        &format!("To=100&From=200&{document}"),
    );
    let sid = made["sid"].as_str().unwrap_or_default().to_owned();
    assert!(sid.starts_with("CA"), "{made}");
    let path = format!("/Calls/{sid}.json");
    node.wait_until(|| ask("GET", &path, "")["status"] == "in-progress");
    // A stream beside the document, whose server is not there.
    let streams = format!("/Calls/{sid}/Streams.json");
    let stream = ask(
        "POST",
        &streams,
        "Name=beside&Url=ws%3A%2F%2F127.0.0.1%3A9%2F",
    );
    assert_eq!(stream["status"], "in-progress", "{stream}");
    let one = format!("/Calls/{sid}/Streams/beside.json");
    node.wait_until(|| ask("GET", &one, "")["status"] == "stopped");
    assert_eq!(ask("GET", &path, "")["status"], "in-progress");
    let ended = ask("POST", &path, "Status=completed");
    assert_eq!(ended["sid"], sid.as_str(), "{ended}");
    node.wait_until(|| ask("GET", &path, "")["status"] == "completed");
    answer.finish();
}

#[test]
fn calls_from_a_trunk_lead_to_an_application() {
    let node = node("http://127.0.0.1:9/voice");
    let trunk = serde_json::json!({
        "name": "pbx",
        "allow": ["192.0.2.9"],
        "account": ACCOUNT,
        "voice_url": "http://127.0.0.1:9/trunk",
    });
    let (status, made) = node.rest(&node.key(), "POST", "/v1/trunks", &trunk);
    assert_eq!(
        (status, &made["voice_url"]),
        (201, &trunk["voice_url"]),
        "{made}"
    );
    for (to, leads) in [("+15551234", "/trunk"), ("200", "/voice")] {
        node.wait_until(|| {
            let route = node.ask(&["route", "--trunk", "pbx", "+4930123456", to, "--json"]);
            let shown: Value = serde_json::from_slice(&route.stdout).unwrap_or_default();
            let url = shown["stages"][0]["to"]["application"]["voice_url"].as_str();
            url.is_some_and(|url| url.ends_with(leads))
        });
    }
    let half = serde_json::json!({ "name": "half", "allow": ["192.0.2.8"], "account": ACCOUNT });
    assert_eq!(node.rest(&node.key(), "POST", "/v1/trunks", &half).0, 422);
}
