//! Recordings, streams and applications.

use super::*;

#[tokio::test]
async fn recordings_streams_and_applications_are_as_clients_know_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.wav"), "RIFF of a test").unwrap();
    std::fs::write(folder.path().join(".recordings"), "").unwrap();
    let path = folder.path().to_owned();
    let bed = Bed::start_as(|api| {
        api.recordings = Some(path);
        api.public_url = Some("https://voice.test/".to_owned());
    })
    .await;
    plant(&bed, OWN, None, 2).await;
    let recording = Recording {
        id: Uuid::from_u128(0x1000),
        call: Uuid::now_v7(),
        tenant: None,
        started: Timestamp::from_millis(1),
        ended: Timestamp::from_millis(2),
        channels: 2,
        bytes: 14,
        node: "n1".into(),
        file: "a.wav".into(),
    };
    bed.store.insert_recording(&recording).await.unwrap();
    let (call, sid) = (
        format!("/Calls/CA{:032x}", 0x1000),
        format!("RE{:032x}", 0x1000),
    );
    assert_eq!(
        get(&bed, "/Recordings.json").await["recordings"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let page = get(&bed, &format!("{call}/Recordings.json")).await;
    let one = &page["recordings"][0];
    assert_eq!((&one["sid"], &one["duration"]), (&json!(sid), &json!("2")));
    let sound = ask(&bed, "GET", &format!("/Recordings/{sid}.wav"), &[]).await;
    assert_eq!((sound.status, &*sound.body), (200, "RIFF of a test"));
    assert_eq!(sound.header("content-type"), Some("audio/wav"));
    let place = format!("/Recordings/{sid}.json");
    assert_eq!(ask(&bed, "DELETE", &place, &[]).await.status, 204);
    assert!(!folder.path().join("a.wav").exists());
    assert_eq!(fault(&ask(&bed, "GET", &place, &[]).await), (404, 20404));
    // Of a call that is over nothing is recorded or streamed.
    let pairs = [("To", "100"), ("From", "101"), ("Twiml", "<Response/>")];
    let made = ask(&bed, "POST", "/Calls.json", &pairs).await.json();
    let (over, call) = (call, format!("/Calls/{}", made["sid"].as_str().unwrap()));
    for below in ["Recordings", "Streams"] {
        let place = format!("{over}/{below}.json");
        let refused = ask(&bed, "POST", &place, &[("Url", "wss://app.test/")]).await;
        assert_eq!(fault(&refused), (400, 21220), "{below}");
    }
    let begun = ask(&bed, "POST", &format!("{call}/Recordings.json"), &[]).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let Some(VoiceOrder::Record { recording, .. }) = bed.fake.voice().pop() else {
        unreachable!("a recording was ordered");
    };
    assert!(!recording.trim);
    let media = begun.json()["media_url"].as_str().unwrap().to_owned();
    assert!(
        media.starts_with("https://voice.test/2010-04-01/"),
        "{media}"
    );
    let current = format!("{call}/Recordings/Twilio.CURRENT.json");
    let paused = ask(&bed, "POST", &current, &[("Status", "paused")]).await;
    assert_eq!(
        (paused.status, &paused.json()["status"]),
        (200, &json!("paused")),
        "{}",
        paused.body
    );

    let streams = format!("{call}/Streams.json");
    // Its name was that of another one, which is over.
    let before = VoiceStreamRow {
        sid: format!("MZ{:032x}", 0x9999),
        account: OWN.into(),
        call: made["sid"].as_str().unwrap().into(),
        name: "two words".into(),
        is_up: false,
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(2),
        sequence: 2,
    };
    bed.store
        .upsert_voice_streams(None, &[before])
        .await
        .unwrap();
    let pairs = [
        ("Url", "wss://app.test/"),
        ("Name", "two words"),
        ("Parameter1.Name", "a"),
        ("Parameter1.Value", "b"),
    ];
    let begun = ask(&bed, "POST", &streams, &pairs).await;
    assert_eq!(
        (begun.status, &begun.json()["name"]),
        (201, &json!("two words")),
        "{}",
        begun.body
    );
    let Some(VoiceOrder::Stream { stream, .. }) = bed.fake.voice().pop() else {
        unreachable!("a stream was ordered");
    };
    assert_eq!(stream.parameters, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(
        get(&bed, &streams).await["streams"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let named = format!("{call}/Streams/two%20words.json");
    assert_eq!(get(&bed, &named).await["sid"], begun.json()["sid"]);
    let stopped = ask(
        &bed,
        "POST",
        &format!("{over}/Streams/ai.json"),
        &[("Status", "stopped")],
    )
    .await;
    assert_eq!(
        (stopped.status, &stopped.json()["status"]),
        (200, &json!("stopped"))
    );
    assert_eq!(
        fault(&ask(&bed, "POST", &streams, &[("Url", "http://a.test/")]).await),
        (400, 31922)
    );

    let pairs = [
        ("FriendlyName", "desk"),
        ("VoiceUrl", "http://127.0.0.1:9/"),
    ];
    let made = ask(&bed, "POST", "/Applications.json", &pairs).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let sid = made.json()["sid"].as_str().unwrap().to_owned();
    assert_eq!(
        fault(&ask(&bed, "POST", "/Applications.json", &pairs).await),
        (400, 20001)
    );
    let pairs = [("To", "100"), ("From", "101"), ("ApplicationSid", &*sid)];
    assert_eq!(ask(&bed, "POST", "/Calls.json", &pairs).await.status, 201);
    let place = format!("/Applications/{sid}.json");
    // No socket is given messages.
    let wrong = ask(&bed, "POST", &place, &[("SmsUrl", "wss://app.test/")]).await;
    assert_eq!(fault(&wrong), (400, 21502));
    let changed = ask(&bed, "POST", &place, &[("VoiceUrl", "")]).await;
    assert_eq!(changed.json()["voice_url"], Value::Null);
    assert_eq!(
        fault(&ask(&bed, "POST", "/Calls.json", &pairs).await),
        (400, 21205)
    );
    assert_eq!(ask(&bed, "DELETE", &place, &[]).await.status, 204);
    assert_eq!(fault(&ask(&bed, "GET", &place, &[]).await), (404, 20404));
    assert_eq!(
        fault(&ask(&bed, "POST", "/Queues.json", &[]).await),
        (501, 20501)
    );
    bed.stop().await;
}
