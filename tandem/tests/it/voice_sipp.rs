//! Phones that we did not write, or not for this: SIPp and `tandem call` talk to applications.

use std::{collections::HashMap, fs, path::Path, process::Command};

use crate::{
    agents::{example, python, serve},
    call::{noise, read_wav, write_wav},
    common::{free_port, free_ports, json, output, tandem},
    phone::{ALIKE, likeness},
    voice::{App, node, params},
};

/// A key as SIPp's package has it recorded: RTP events of RFC 4733, of payload type 101.
const KEY: &str = "/usr/share/sip-tester/dtmf_2833_1.pcap";

#[test]
fn sipp_is_spoken_to_and_presses_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let is_there = Path::new(KEY).exists();
    // SIPp plays what was captured by raw sockets.
    let user = Command::new("id").arg("-u").output().unwrap();
    let is_root = user.stdout == b"0\n";
    if !is_there || !is_root {
        assert!(std::env::var_os("CI").is_none(), "{KEY}, as root");
        eprintln!("skipped: it needs {KEY}, and root");
        return;
    }
    let prompt = folder.path().join("prompt.wav");
    write_wav(&prompt, &noise(8));
    let prompt = fs::read(&prompt).unwrap();
    let app = App::start(|_| {
        let menu = "<Response><Gather numDigits=\"1\" action=\"/key\"><Play>/prompt.wav</Play></Gather></Response>";
        HashMap::from([
            ("/voice", ("text/xml", menu.into())),
            ("/prompt.wav", ("audio/wav", prompt)),
            (
                "/key",
                ("text/xml", b"<Response><Hangup/></Response>".into()),
            ),
        ])
    });
    let node = node(&app.url("/voice"));
    let scenario = folder.path().join("keys.xml");
    let text = include_str!("sipp_keys.xml").replace("@KEY@", KEY);
    fs::write(&scenario, text).unwrap();
    let (sip, media) = (free_port(), free_ports(8));
    let sipp = Command::new("sipp")
        .arg("-sf")
        .arg(&scenario)
        .args([
            "-s",
            "200",
            "-m",
            "1",
            "-nostdin",
            "-i",
            "127.0.0.1",
            "-mi",
            "127.0.0.1",
        ])
        .args(["-p", &sip.to_string(), "-mp", &media.to_string()])
        .args(["-timeout", "30s", "-timeout_error"])
        .arg(format!("127.0.0.1:{}", node.sip))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(sipp.status.success(), "{}", output(&sipp));
    let asked = app.asked("/key");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(params(&asked[0].body).get("Digits"), Some("1"));
}

#[test]
fn tandem_call_talks_with_a_bot() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (played, heard) = (
        folder.path().join("played.wav"),
        folder.path().join("heard.wav"),
    );
    let said = noise(2);
    // The bot may come a while after the answer, and what is said before is for nobody.
    write_wav(&played, &[vec![0; 8_000], said.clone()].concat());
    let port = free_port();
    let (_bot, url) = serve(&mut example(&python, "echo", &["app.py"]), port);
    let node = node(&url);
    let call = tandem(["call", &format!("sip:200@127.0.0.1:{}", node.sip), "--json"])
        .args(["--duration", "6", "--play"])
        .arg(&played)
        .arg("--record")
        .arg(&heard)
        .output()
        .unwrap();
    assert!(call.status.success(), "{}", output(&call));
    assert_eq!(json(&call)["ended_by"], "local");
    let like = likeness(&said, &read_wav(&heard));
    assert!(like > ALIKE, "{like}");
}
