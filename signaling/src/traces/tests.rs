use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    thread,
};

use serde_json::Value as Json;
use store::EndedBy;

use super::*;

fn cdr() -> Cdr {
    let time = |ms: i64| Timestamp::from_millis(1_800_000_000_000 + ms);
    Cdr {
        id: Uuid::now_v7(),
        call_id: "one@example.test".to_owned(),
        from_uri: "sip:alice@example.test".to_owned(),
        to_uri: "sip:+15550100@example.test".to_owned(),
        request_uri: "sip:+15550100@example.test".to_owned(),
        source: ([192, 0, 2, 1], 5060).into(),
        transport: "udp".to_owned(),
        origin: Some("alice@example.test".to_owned()),
        callee_user: None,
        tenant: None,
        trunk: Some("carrier".to_owned()),
        route: Some("+1".to_owned()),
        started: time(0),
        ringing: Some(time(150)),
        answered: Some(time(2_500)),
        ended: time(62_000),
        status: 200,
        reason: "OK".to_owned(),
        ended_by: EndedBy::Caller,
        cause: Cause::Bye,
        datapath: Some("xdp".to_owned()),
        from_caller: Some(MediaFlow {
            packets: 3_000,
            bytes: 516_000,
            lost: 3,
            jitter_ms: 0.5,
            mos: Some(4.25),
            ..MediaFlow::default()
        }),
        from_callee: None,
    }
}

fn message(line: &str, at_us: i64) -> TracedMessage {
    TracedMessage {
        at_us,
        received: true,
        transport: "udp".to_owned(),
        local: ([192, 0, 2, 9], 5060).into(),
        peer: ([192, 0, 2, 1], 5060).into(),
        line: line.to_owned(),
        cseq: Some("1 INVITE".to_owned()),
        text: None,
    }
}

/// Takes one request, and gives its path and its body.
fn collector() -> (String, thread::JoinHandle<(String, Json)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let taking = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            lines.push(line);
        }
        let length = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap()];
        reader.read_exact(&mut body).unwrap();
        (&stream)
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            )
            .unwrap();
        (lines[0].clone(), serde_json::from_slice(&body).unwrap())
    });
    (place, taking)
}

#[tokio::test]
async fn a_collector_is_sent_a_call_with_its_parts_and_messages() {
    let (place, taking) = collector();
    let traces = Traces::new(Some(&place), "tandem".into(), "node-1", Sample::ALL).unwrap();
    let cdr = cdr();
    let call = TracedCall {
        cdr: cdr.clone(),
        messages: vec![
            message(
                "INVITE sip:+15550100@example.test SIP/2.0",
                1_800_000_000_000_000,
            ),
            message("BYE sip:alice@192.0.2.1 SIP/2.0", 1_800_000_062_000_000),
        ],
    };
    traces.submit(&call);
    Arc::new(traces).stop().await;

    let (line, body) = taking.join().unwrap();
    assert!(line.starts_with("POST /v1/traces "), "{line}");
    let resource = &body["resourceSpans"][0];
    let attributes = resource["resource"]["attributes"].to_string();
    assert!(attributes.contains("node-1") && attributes.contains(r#""service.name""#));
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let names: Vec<_> = spans
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["call", "setup", "ringing", "talk"]);
    let root = &spans[0];
    assert_eq!(root["traceId"], cdr.id.simple().to_string());
    assert_eq!(root["startTimeUnixNano"], "1800000000000000000");
    assert_eq!(root["endTimeUnixNano"], "1800000062000000000");
    let events = root["events"].as_array().unwrap();
    assert_eq!(events[1]["name"], "BYE sip:alice@192.0.2.1 SIP/2.0");
    assert_eq!(events[1]["timeUnixNano"], "1800000062000000000");
    assert!(root["attributes"].to_string().contains("sip.status_code"));
    for span in &spans[1..] {
        assert_eq!(span["parentSpanId"], root["spanId"], "{span}");
        assert_eq!(span["traceId"], root["traceId"], "{span}");
        assert_ne!(span["spanId"], root["spanId"], "{span}");
    }
    assert_eq!(spans[3]["startTimeUnixNano"], "1800000002500000000");
}

#[test]
fn a_call_that_nobody_answered_has_no_talk_and_may_be_an_error() {
    let traces = Traces::new(
        Some("http://127.0.0.1:9/v1/traces"),
        "tandem".into(),
        "node",
        Sample::ALL,
    );
    let traces = traces.unwrap();
    for (status, cause, is_error) in [
        (503, Cause::Unreachable, true),
        (486, Cause::Rejected, false),
        (487, Cause::Cancel, false),
        (603, Cause::Rejected, false),
        (404, Cause::NoRoute, false),
    ] {
        let cdr = Cdr {
            ringing: None,
            answered: None,
            status,
            cause,
            ..cdr()
        };
        let messages = Vec::new();
        let spans = traces.spans(&TracedCall { cdr, messages });
        assert_eq!(spans.len(), 2, "the call and its setup");
        assert_eq!(
            matches!(spans[0].status, Status::Error { .. }),
            is_error,
            "{status}"
        );
        assert_eq!(spans[1].end_time, spans[0].end_time);
    }
}

#[test]
fn a_share_of_the_calls_is_traced() {
    let all = Sample::parse(None, None).unwrap();
    let none = Sample::parse(Some("always_off"), None).unwrap();
    let some = Sample::parse(Some("parentbased_traceidratio"), Some("0.25")).unwrap();
    let calls: Vec<_> = (0..10_000).map(|_| Uuid::now_v7()).collect();
    let count = |sample: Sample| calls.iter().filter(|call| sample.has(**call)).count();
    assert_eq!((count(all), count(none)), (10_000, 0));
    assert!((2_000..3_000).contains(&count(some)), "{}", count(some));

    let error = Sample::parse(Some("jaeger_remote"), None).unwrap_err();
    assert!(error.to_string().contains("always_on"), "{error}");
    for share in ["2", "-1", "NaN", "much"] {
        let error = Sample::parse(Some("traceidratio"), Some(share)).unwrap_err();
        assert!(error.to_string().contains(share), "{error}");
    }
}

#[test]
fn a_password_in_the_collectors_address_is_not_logged() {
    let shown = without_userinfo("https://me:secret@collector.test/v1?x=@");
    assert_eq!(shown, "https://collector.test/v1?x=@");
    assert_eq!(without_userinfo("collector"), "collector");
}
