//! What a caller says is recorded for the document, and heard by REST.

use super::*;

#[test]
fn what_a_caller_says_is_recorded_and_heard_by_rest() {
    let dir = tempfile::tempdir().unwrap();
    let said = dir.path().join("said.wav");
    // The tone comes first, into which nothing is to be said.
    let speech = noise(2);
    let samples = [vec![0; 8_000], speech.clone(), vec![0; 24_000]].concat();
    write_wav(&said, &samples);
    let app = App::start(|_| {
        let document = b"<Response><Record timeout=\"1\" action=\"/recorded\"/></Response>";
        HashMap::from([
            ("/voice", ("text/xml", document.to_vec())),
            ("/recorded", ("text/xml", b"<Response/>".to_vec())),
        ])
    });
    let folder = dir.path().join("recordings");
    let media = format!("[media]\nrecordings = \"{}\"", folder.display());
    let number = format!(
        "\n[[accounts]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\n\n\
         [[numbers]]\nnumber = \"200\"\naccount = \"{ACCOUNT}\"\nvoice_url = \"{}\"\n",
        app.url("/voice")
    );
    let node = Node::start_by(|text| text.replace("[media]", &media) + &number);
    let call = tandem(["call", &format!("sip:200@127.0.0.1:{}", node.sip), "--json"])
        .args(["--duration", "20", "--play"])
        .arg(&said)
        .output()
        .unwrap();
    assert!(call.status.success(), "{}", output(&call));

    let asked = app.asked("/recorded");
    assert_eq!(asked.len(), 1, "{asked:?}");
    let told = params(&asked[0].body);
    assert_eq!(
        told.get("RecordingDuration"),
        Some("3"),
        "{}",
        asked[0].body
    );
    let sid = told.get("RecordingSid").unwrap();
    let wav = dir.path().join("heard.wav");
    // Its row is written behind the call.
    let kept = || {
        node.rest(&node.key(), "GET", "/v1/recordings", &Value::Null)
            .1
    };
    node.wait_until(|| {
        kept()["items"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    let id = kept()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(id.replace('-', ""), sid[2..]);
    let got = node.ask(&["recordings", "get", &id, wav.to_str().unwrap()]);
    assert!(got.status.success(), "{}", output(&got));
    let heard = read_wav(&wav);
    // Two seconds, and 150 ms at each end.
    assert!((15_000..19_200).contains(&heard.len()), "{}", heard.len());
    let like = likeness(&speech, &heard);
    assert!(like > ALIKE, "{like}");
    assert!(folder.join(format!("{sid}.wav")).exists());
}
