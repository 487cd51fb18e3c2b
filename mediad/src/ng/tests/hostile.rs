//! Messages that want harm.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::bed::{Bed, Party};

/// Every kind of nonsense has an answer or none, and a call that is up goes on.
#[tokio::test]
async fn nonsense_harms_no_call() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, for_b] = bed.call("good", &a, &b).await;
    let long = "x".repeat(5_000);
    let deep = format!("d7:command{}{}e", "l".repeat(5_000), "e".repeat(5_000));
    let sdp = "v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\n";
    let many = format!("{sdp}{}", "m=audio 4000 RTP/AVP 0\\r\\n".repeat(40));
    for (at, body) in [
        deep.as_str(),
        "d7:command5:offer7:call-idi7e8:from-tag1:ae",
        "d7:command99999999999999999999:",
        "{\"command\":{\"a\":[1,2,{}]}}",
        "{\"command\":\"offer\",\"call-id\":\"x\",\"from-tag\":\"y\",\"sdp\":\"\"}",
        &format!("{{\"command\":\"offer\",\"call-id\":\"x\",\"from-tag\":\"y\",\"sdp\":\"{many}\"}}"),
        &format!("{{\"command\":\"offer\",\"call-id\":\"x\",\"from-tag\":\"y\",\"sdp\":\"{sdp}m=audio 4000/9 RTP/AVP 0\\r\\n\"}}"),
        &format!("{{\"command\":\"offer\",\"call-id\":\"x\",\"from-tag\":\"y\",\"sdp\":\"{sdp}m=audio 70000 RTP/AVP 0\\r\\n\"}}"),
        &format!("{{\"command\":\"answer\",\"call-id\":\"good\",\"from-tag\":\"y\",\"to-tag\":\"z\",\"sdp\":\"{sdp}m=audio 9 RTP/AVP 0\\r\\n\"}}"),
        &format!("{{\"command\":\"query\",\"call-id\":\"{long}\"}}"),
        &format!("{{\"command\":\"{long}\"}}"),
        "{\"command\":\"delete\",\"call-id\":\"good\",\"from-tag\":\"a\",\"delete-delay\":-5}",
        "{\"command\":\"delete\",\"call-id\":\"good\",\"from-tag\":\"nobody\",\"flags\":[\"fatal\"]}",
        "{\"command\":\"list\",\"limit\":-1}",
        "{\"command\":\"start recording\",\"call-id\":\"good\",\"recording-method\":[]}",
        "{\"command\":\"play DTMF\",\"call-id\":\"good\",\"from-tag\":\"a\",\"code\":\"no key\"}",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = bed.raw(format!("h{at} {body}").as_bytes()).await.expect(body);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("error"), "{body}: {answer}");
    }
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
    assert_eq!(bed.engine.status().sessions, 1);
}

/// Requests with bytes changed at random, at a front that has calls.
#[tokio::test]
async fn mutated_requests_harm_no_call() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    let [for_a, for_b] = bed.call("good", &a, &b).await;
    let mut runner = TestRunner::deterministic();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 1..4);
    let body = a.sdp("");
    let offer = format!(
        "d7:call-id3:bad7:command5:offer5:flagsl13:trust-addresse8:from-tag1:x3:sdp{}:{body}e",
        body.len()
    );
    let json = "{\"command\":\"query\",\"call-id\":\"bad\",\"from-tag\":\"x\",\"flags\":[\"a\",1]}";
    for round in 0..400 {
        let original = if round % 2 == 0 {
            offer.as_bytes()
        } else {
            json.as_bytes()
        };
        let mut bytes = format!("m{round} ").into_bytes();
        let start = bytes.len();
        bytes.extend(original);
        for (place, byte) in changes.new_tree(&mut runner).unwrap().current() {
            let at = start + place.index(original.len());
            bytes[at] = byte;
        }
        assert!(
            bed.raw(&bytes).await.is_some(),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        // What came of it must not take the ports.
        let query = bed.done("{\"command\":\"list\",\"limit\":100}").await;
        for id in query[b"calls".as_slice()]
            .texts()
            .filter(|id| *id != b"good")
        {
            let id = ng::Value::from_text(id);
            let mut escaped = Vec::new();
            ng::Encoding::Json.encode(&id, &mut escaped);
            let escaped = String::from_utf8(escaped).unwrap();
            bed.ask(&format!("{{\"command\":\"delete\",\"call-id\":{escaped}}}"))
                .await;
        }
    }
    assert!(a.reaches(for_a, &b) && b.reaches(for_b, &a));
}

/// Every port is taken: an offer is refused, and works again once there is room.
#[tokio::test]
async fn no_port_is_left() {
    let (bed, a, b) = (Bed::new().await, Party::new(), Party::new());
    // Twenty-four ports: six sessions.
    for call in 0..6 {
        bed.call(&format!("c{call}"), &a, &b).await;
    }
    let body = a.sdp("").replace("\r\n", "\\r\\n");
    let offer = format!(
        "{{\"command\":\"offer\",\"call-id\":\"more\",\"from-tag\":\"a\",\"sdp\":\"{body}\"}}"
    );
    let error = bed.refused(&offer).await;
    assert!(error.to_lowercase().contains("port"), "{error}");
    bed.done("{\"command\":\"delete\",\"call-id\":\"c0\",\"from-tag\":\"a\"}")
        .await;
    bed.done(&offer).await;
}
