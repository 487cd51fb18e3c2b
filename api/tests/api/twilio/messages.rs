//! Messages.

use super::*;

#[tokio::test]
async fn messages_are_sent_listed_redacted_and_deleted() {
    let bed = Bed::start().await;
    plant(&bed, OWN, None, 3).await;
    let pairs = [
        ("To", "+1 555 0100"),
        ("From", "client:alice"),
        ("Body", "Hello"),
        ("StatusCallback", "https://app.test/told?a=b"),
    ];
    let made = ask(&bed, "POST", "/Messages.json", &pairs).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let made = made.json();
    for (member, value) in [
        ("status", "queued"),
        ("direction", "outbound-api"),
        ("to", "+15550100"),
        ("num_segments", "2"),
        ("num_media", "0"),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
    assert_eq!(made["date_sent"], Value::Null);
    let VoiceOrder::Message(order) = bed.fake.voice().remove(0) else {
        panic!("nothing is sent");
    };
    let callback = order.status_callback.as_deref();
    assert_eq!(callback, Some("https://app.test/told?a=b"));
    let place = made["uri"].as_str().unwrap();
    let place = place.split(OWN).nth(1).unwrap();
    assert_eq!(get(&bed, place).await["sid"], made["sid"]);
    // What is on its way is left alone.
    assert_eq!(fault(&ask(&bed, "DELETE", place, &[]).await), (400, 20009));
    assert_eq!(
        fault(&ask(&bed, "POST", place, &[("Body", "")]).await),
        (400, 20009)
    );
    assert_eq!(
        fault(&ask(&bed, "POST", place, &[("Status", "canceled")]).await),
        (400, 20001)
    );

    let all = get(&bed, "/Messages.json?DateSent=2025-11-21").await;
    let all = all["messages"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["error_code"], 30_005);
    assert_eq!(all[0]["error_message"], "Unknown destination handset");
    let one = get(&bed, "/Messages.json?To=%2B15550001").await;
    assert_eq!(one["messages"].as_array().unwrap().len(), 1);
    let place = all[0]["uri"].as_str().unwrap();
    let place = place.split(OWN).nth(1).unwrap();
    let redacted = ask(&bed, "POST", place, &[("Body", "")]).await;
    assert_eq!(
        (redacted.status, &redacted.json()["body"]),
        (200, &json!(""))
    );
    assert_eq!(
        fault(&ask(&bed, "POST", place, &[("Body", "other")]).await),
        (400, 20001)
    );
    assert_eq!(ask(&bed, "DELETE", place, &[]).await.status, 204);
    assert_eq!(fault(&ask(&bed, "GET", place, &[]).await), (404, 20404));

    let refused = async |change: (&'static str, &str)| {
        let pairs = pairs.map(|pair| if pair.0 == change.0 { change } else { pair });
        let answer = ask(&bed, "POST", "/Messages.json", &pairs).await;
        fault(&answer)
    };
    let long = "x".repeat(1_601);
    for (change, code) in [
        (("To", ""), 21_604),
        (("To", "nobody"), 21_211),
        (("From", ""), 21_603),
        (("From", "?"), 21_212),
        (("Body", ""), 21_602),
        (("Body", &*long), 21_617),
        (("StatusCallback", "ftp://a"), 21_205),
        (("StatusCallback", "wss://app.test/"), 21_205),
    ] {
        assert_eq!(refused(change).await, (400, code), "{change:?}");
    }
    let media = [pairs[0], pairs[1], ("MediaUrl", "https://a.test/x.png")];
    let answer = ask(&bed, "POST", "/Messages.json", &media).await;
    assert_eq!(fault(&answer), (501, 20501));
    bed.stop().await;
}
