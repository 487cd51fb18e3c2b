//! Calls.

use super::*;

#[tokio::test]
async fn calls_are_listed_over_pages_and_filtered() {
    let bed = Bed::start().await;
    plant(&bed, OWN, None, 7).await;
    let mut place = "/2010-04-01/Accounts/AC00000000000000000000000000000001/Calls.json?From=%2B15550100&PageSize=3"
        .to_owned();
    let (key, mut seen, mut pages) = (basic(OWN, TOKEN), Vec::new(), 0);
    loop {
        let page = bed
            .send("GET", &place, &[("Authorization", &key)])
            .await
            .json();
        let mut names: Vec<_> = page.as_object().unwrap().keys().cloned().collect();
        names.sort();
        let meta = [
            "calls",
            "end",
            "first_page_uri",
            "next_page_uri",
            "page",
            "page_size",
            "previous_page_uri",
        ];
        assert_eq!(names[..7], meta);
        assert_eq!(names[7..], ["start", "uri"]);
        assert_eq!(
            (&page["page"], &page["page_size"]),
            (&json!(pages), &json!(3))
        );
        assert_eq!(page["start"], pages * 3);
        seen.extend(page["calls"].as_array().unwrap().clone());
        assert_eq!(page["end"], seen.len() - 1);
        pages += 1;
        match page["next_page_uri"].as_str() {
            Some(next) => place = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    let tos: Vec<_> = seen
        .iter()
        .map(|call| call["to"].as_str().unwrap())
        .collect();
    let wanted: Vec<_> = (0..7)
        .rev()
        .map(|number| format!("+1555{number:04}"))
        .collect();
    assert_eq!(tos, wanted);
    let first = &seen[6];
    assert_eq!(first["start_time"], "Fri, 21 Nov 2025 04:40:10 +0000");
    assert_eq!(
        (&first["duration"], &first["price"]),
        (&json!("20"), &Value::Null)
    );
    assert_eq!(first["direction"], "inbound");
    for (filter, count) in [
        ("To=%2B15550003", 1),
        ("Status=completed", 7),
        ("Status=busy", 0),
        ("StartTime=2025-11-21", 7),
        ("StartTime=2025-11-22", 0),
        ("StartTime%3E=2025-11-22", 0),
        ("StartTime%3C=2025-11-21", 7),
        ("EndTime%3E=2025-11-21T04:44:30Z", 3),
    ] {
        let page = get(&bed, &format!("/Calls.json?{filter}")).await;
        assert_eq!(page["calls"].as_array().unwrap().len(), count, "{filter}");
    }
    for wrong in [
        "PageSize=0",
        "PageSize=1001",
        "Page=2",
        "PageToken=x",
        "Status=odd",
        "StartTime=now",
    ] {
        let answer = ask(&bed, "GET", &format!("/Calls.json?{wrong}"), &[]).await;
        assert_eq!(fault(&answer), (400, 20001), "{wrong}");
    }
    let place = format!("/Calls/CA{:032x}.json", 0x1000);
    assert_eq!(ask(&bed, "DELETE", &place, &[]).await.status, 204);
    assert_eq!(fault(&ask(&bed, "GET", &place, &[]).await), (404, 20404));
    bed.stop().await;
}

#[tokio::test]
async fn a_call_is_made_found_at_once_changed_and_refused_with_the_codes_that_clients_know() {
    let bed = Bed::start().await;
    plant(&bed, OWN, None, 1).await;
    let good = [
        ("To", "+1 555 0100"),
        ("From", "client:alice"),
        ("Url", "http://127.0.0.1:9/voice?a=b"),
        ("Method", "GET"),
        ("StatusCallback", "https://u:p@app.test/"),
        ("StatusCallbackEvent", "initiated answered"),
        ("Timeout", "20"),
        ("Record", "true"),
        ("RecordingChannels", "dual"),
    ];
    let made = ask(&bed, "POST", "/Calls.json", &good).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let call = made.json();
    assert_eq!(
        (&call["status"], &call["queue_time"]),
        (&json!("queued"), &json!("40"))
    );
    assert_eq!(call["direction"], "outbound-api");
    let VoiceOrder::Call(order) = bed.fake.voice().pop().unwrap() else {
        unreachable!("a call was ordered");
    };
    assert_eq!(
        (&*order.to, &*order.account, order.ring_timeout_s),
        ("+15550100", OWN, 20)
    );
    assert!(
        matches!(&order.entry, VoiceEntry::Url(link) if !link.post && link.url.ends_with("a=b"))
    );
    assert_eq!(order.status_events, ["initiated", "answered"]);
    let record = order.record.map(|record| (record.channels, record.trim));
    assert_eq!(record, Some((2, true)));
    let place = format!("/Calls/{}.json", call["sid"].as_str().unwrap());
    assert_eq!(get(&bed, &place).await["to"], "+15550100");

    let changed = ask(&bed, "POST", &place, &[("Twiml", "<Response/>")]).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let pairs = [("TimeLimit", "60"), ("StatusCallback", "https://app.test/")];
    let limited = ask(&bed, "POST", &place, &pairs).await;
    assert_eq!(limited.status, 200, "{}", limited.body);
    let nothing = ask(&bed, "POST", &place, &[]).await;
    assert_eq!(fault(&nothing), (400, 21205));
    let ended = ask(&bed, "POST", &place, &[("Status", "completed")]).await;
    assert_eq!(ended.status, 200);
    let orders = bed.fake.voice();
    let update = |order: &VoiceOrder| match order {
        VoiceOrder::Update { update, .. } => update.clone(),
        other => unreachable!("{other:?}"),
    };
    assert!(matches!(update(&orders[0]), VoiceUpdate::Change { .. }));
    let VoiceUpdate::Change {
        entry: None,
        status: Some(status),
        time_limit_s,
        ..
    } = update(&orders[1])
    else {
        unreachable!("{orders:?}");
    };
    assert_eq!(
        (&*status.url, time_limit_s),
        ("https://app.test/", Some(60))
    );
    assert_eq!(update(&orders[2]), VoiceUpdate::Complete);
    // What is over is not redirected, and may be ended again.
    let over = format!("/Calls/CA{:032x}.json", 0x1000);
    let refused = ask(&bed, "POST", &over, &[("Twiml", "<Response/>")]).await;
    assert_eq!(fault(&refused), (400, 21220));
    assert_eq!(
        ask(&bed, "POST", &over, &[("Status", "completed")])
            .await
            .status,
        200
    );

    for (name, value, status, code) in [
        ("To", "", 400, 21201),
        ("To", "nobody", 400, 21211),
        ("From", "", 400, 21213),
        ("From", "sip:", 400, 21212),
        ("Url", "", 400, 21205),
        ("Url", "ftp://app.test/", 400, 21205),
        ("Timeout", "601", 400, 20001),
        ("StatusCallbackEvent", "odd", 400, 21626),
        ("ApplicationSid", "AP1", 400, 21219),
        ("SendDigits", "1;", 400, 20001),
        ("MachineDetection", "Enable", 501, 20501),
    ] {
        let mut pairs: Vec<_> = good.into_iter().filter(|(own, _)| *own != name).collect();
        pairs.push((name, value));
        let refused = ask(&bed, "POST", "/Calls.json", &pairs).await;
        assert_eq!(fault(&refused), (status, code), "{name}={value}");
    }
    let json = basic(OWN, TOKEN);
    let fields = [
        ("Authorization", json.as_str()),
        ("Content-Type", "application/json"),
    ];
    let place = format!("/2010-04-01/Accounts/{OWN}/Calls.json");
    let refused = bed.exchange("POST", &place, &fields, "{}").await;
    assert_eq!(fault(&refused), (400, 20001));
    bed.fake.down(true);
    assert_eq!(
        fault(&ask(&bed, "POST", "/Calls.json", &good).await),
        (503, 20503)
    );
    bed.stop().await;
}
