//! `/2010-04-01`, as Twilio's clients ask.

use control::signal::{VoiceEntry, VoiceOrder, VoiceUpdate};
use serde_json::{Value, json};
use store::{
    Account, Application, Hook, HttpMethod, Recording, RoutingDocument, RoutingKind, Timestamp,
    Uuid, VoiceCallRow, VoiceDirection, VoiceMessageDirection, VoiceMessageRow, VoiceMessageStatus,
    VoiceRecordingRow, VoiceStatus, VoiceStreamRow,
};

use crate::bed::{Answer, Bed, KEY};

pub(crate) const OWN: &str = "AC00000000000000000000000000000001";
const RIVAL: &str = "AC00000000000000000000000000000002";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An account, with so many calls that are over, of which each has a recording and a stream; and as many messages.
pub(crate) async fn plant(bed: &Bed, sid: &str, tenant: Option<&str>, calls: u32) {
    let now = Timestamp::from_millis(1_763_700_000_000);
    let account = Account {
        sid: sid.into(),
        tenant: tenant.map(Into::into),
        name: "Acme".into(),
        token: TOKEN.into(),
        calls_per_second: 10,
        created: now,
        updated: now,
    };
    bed.store.create_accounts(&[account]).await.unwrap();
    for number in 0..calls {
        let digits = number + u32::from_str_radix(&sid[30..], 16).unwrap() * 0x1000;
        let call = format!("CA{digits:032x}");
        let at = |s: u64| now.later(std::time::Duration::from_secs(u64::from(number) * 60 + s));
        let row = VoiceCallRow {
            sid: call.clone(),
            account: sid.into(),
            tenant: tenant.map(Into::into),
            parent: None,
            from: "+15550100".into(),
            to: format!("+1555{number:04}"),
            direction: VoiceDirection::Inbound,
            status: VoiceStatus::Completed,
            created: at(0),
            updated: at(30),
            started: Some(at(10)),
            ended: Some(at(30)),
            duration_s: Some(20),
            queue_ms: 0,
            answered_by: None,
            number_sid: None,
            caller_name: None,
            forwarded_from: None,
            cdr: None,
            sequence: 5,
        };
        bed.store.upsert_voice_calls(None, &[row]).await.unwrap();
        let recording = VoiceRecordingRow {
            sid: format!("RE{digits:032x}"),
            account: sid.into(),
            call: call.clone(),
            channels: 2,
            source: "RecordVerb".into(),
            track: "both".into(),
            status: "completed".into(),
            started: at(10),
            duration_ms: Some(1_500),
            error: None,
            created: at(10),
            updated: at(30),
            sequence: 2,
        };
        bed.store
            .upsert_voice_recordings(None, &[recording])
            .await
            .unwrap();
        let stream = VoiceStreamRow {
            sid: format!("MZ{digits:032x}"),
            account: sid.into(),
            call,
            name: "ai".into(),
            is_up: true,
            created: at(10),
            updated: at(30),
            sequence: 1,
        };
        bed.store
            .upsert_voice_streams(None, &[stream])
            .await
            .unwrap();
        let message = VoiceMessageRow {
            sid: format!("SM{digits:032x}"),
            account: sid.into(),
            tenant: tenant.map(Into::into),
            from: "+15550100".into(),
            to: format!("+1555{number:04}"),
            body: "Hello".into(),
            segments: 1,
            direction: VoiceMessageDirection::Reply,
            status: VoiceMessageStatus::Undelivered,
            error: Some(30_005),
            created: at(10),
            updated: at(30),
            sent: Some(at(20)),
            sequence: 2,
        };
        bed.store
            .upsert_voice_messages(None, &[message])
            .await
            .unwrap();
    }
}

fn application(tenant: &str, name: &str) -> Application {
    let hook = |url: Option<&str>| Hook {
        url: url.map(Into::into),
        method: HttpMethod::Post,
    };
    Application {
        id: Uuid::now_v7(),
        tenant: tenant.into(),
        name: name.into(),
        voice: hook(Some("https://app.test/")),
        fallback: hook(None),
        status: hook(None),
        message: hook(None),
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(1),
    }
}

fn basic(name: &str, secret: &str) -> String {
    use base64::Engine as _;
    let text = format!("{name}:{secret}");
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    format!("Basic {text}")
}

/// What a form's body is.
fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| {
        let value = value
            .replace('%', "%25")
            .replace('+', "%2B")
            .replace('&', "%26");
        format!("{}={value}", name.replace('<', "%3C"))
    });
    pairs.collect::<Vec<_>>().join("&")
}

async fn ask(bed: &Bed, method: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
    let path = format!("/2010-04-01/Accounts/{OWN}{path}");
    let key = basic(OWN, TOKEN);
    let mut fields = vec![("Authorization", key.as_str())];
    if method == "POST" {
        fields.push(("Content-Type", "application/x-www-form-urlencoded"));
    }
    bed.exchange(method, &path, &fields, &form(pairs)).await
}

/// The body of an answer that came as expected.
async fn get(bed: &Bed, path: &str) -> Value {
    let answer = ask(bed, "GET", path, &[]).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

fn fault(answer: &Answer) -> (u16, u64) {
    let json = answer.json();
    assert_eq!(json["status"], answer.status);
    assert!(json["message"].is_string() && json.as_object().unwrap().len() == 4);
    let code = json["code"].as_u64().unwrap();
    assert_eq!(
        json["more_info"],
        format!("https://www.twilio.com/docs/errors/{code}")
    );
    (answer.status, code)
}

/// Every path, with things of an account whose number is `n`.
fn paths(n: u32) -> Vec<(&'static str, String)> {
    let call = format!("/Calls/CA{:032x}", n * 0x1000);
    let recording = format!("RE{:032x}", n * 0x1000);
    let message = format!("/Messages/SM{:032x}", n * 0x1000);
    let all = ["GET", "POST", "DELETE"];
    let paths = [
        ".json".to_owned(),
        "/Calls.json".to_owned(),
        format!("{call}.json"),
        format!("{call}/Recordings.json"),
        format!("{call}/Recordings/{recording}.json"),
        format!("{call}/Streams.json"),
        format!("{call}/Streams/ai.json"),
        "/Recordings.json".to_owned(),
        format!("/Recordings/{recording}.json"),
        format!("/Recordings/{recording}.wav"),
        format!("/Recordings/{recording}"),
        "/IncomingPhoneNumbers.json".to_owned(),
        "/IncomingPhoneNumbers/PN00000000000000000000000000000001.json".to_owned(),
        "/Applications.json".to_owned(),
        "/Applications/AP00000000000000000000000000000001.json".to_owned(),
        "/Keys.json".to_owned(),
        "/Keys/SK00000000000000000000000000000001.json".to_owned(),
        "/Messages.json".to_owned(),
        format!("{message}.json"),
        format!("{message}/Media.json"),
    ];
    let paths = paths.into_iter();
    paths
        .flat_map(|path| all.map(|method| (method, path.clone())))
        .collect()
}

#[tokio::test]
async fn every_path_wants_credentials_and_one_account_has_nothing_of_another() {
    let bed = Bed::start().await;
    plant(&bed, OWN, None, 1).await;
    plant(&bed, RIVAL, None, 1).await;
    for (method, path) in paths(1) {
        let place = format!("/2010-04-01/Accounts/{OWN}{path}");
        let nobody = bed.send(method, &place, &[]).await;
        assert_eq!(fault(&nobody), (401, 20003), "{method} {path}");
        assert_eq!(
            nobody.header("www-authenticate"),
            Some("Basic realm=\"Tandem\"")
        );
        let place = format!("/2010-04-01/Accounts/{RIVAL}{path}");
        let key = basic(OWN, TOKEN);
        let others = bed.send(method, &place, &[("Authorization", &key)]).await;
        assert_eq!(fault(&others), (404, 20404), "{method} {path}");
    }
    // Through its own account it has nothing of another either, and nothing is gone.
    for (method, path) in paths(2) {
        let is_one = path.contains(&format!("{:032x}", 0x2000));
        if is_one {
            let answer = ask(&bed, method, &path, &[("Status", "completed")]).await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
        }
    }
    let left = format!("CA{:032x}", 0x2000);
    assert!(bed.store.voice_call(&left).await.unwrap().is_some());
    assert_eq!(
        get(&bed, "/Calls.json").await["calls"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    bed.stop().await;
}

#[tokio::test]
async fn wrong_credentials_are_counted_and_keys_open_their_account_until_they_are_removed() {
    let bed = Bed::start().await;
    plant(&bed, OWN, None, 1).await;
    let made = ask(&bed, "POST", "/Keys.json", &[("FriendlyName", "ci")]).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let (sid, secret) = (made.json()["sid"].clone(), made.json()["secret"].clone());
    let (sid, secret) = (sid.as_str().unwrap(), secret.as_str().unwrap());
    assert_eq!(get(&bed, "/Keys.json").await["keys"][0].get("secret"), None);
    let place = format!("/2010-04-01/Accounts/{OWN}/Calls.json");
    let with = async |name: &str, secret: &str| {
        let key = basic(name, secret);
        bed.send("GET", &place, &[("Authorization", &key)])
            .await
            .status
    };
    assert_eq!(with(sid, secret).await, 200);
    for (name, secret) in [
        (sid, TOKEN),
        (OWN, secret),
        (OWN, ""),
        ("", ""),
        ("SK1", secret),
        (RIVAL, ""),
    ] {
        assert_eq!(with(name, secret).await, 401, "{name}");
    }
    let admin = format!("Bearer {KEY}");
    assert_eq!(
        bed.send("GET", &place, &[("Authorization", &admin)])
            .await
            .status,
        401
    );

    let key = format!("/Keys/{sid}.json");
    assert_eq!(
        ask(&bed, "POST", &key, &[("FriendlyName", "new")])
            .await
            .json()["friendly_name"],
        "new"
    );
    assert_eq!(ask(&bed, "DELETE", &key, &[]).await.status, 204);
    assert_eq!(with(sid, secret).await, 401);
    while with(OWN, "guess").await != 429 {}
    let told = bed.send("GET", &place, &[]).await;
    assert_eq!(fault(&told), (429, 20429));
    bed.stop().await;
}

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

#[tokio::test]
async fn a_tenants_account_shows_only_its_own_numbers() {
    let bed = Bed::start().await;
    plant(&bed, OWN, Some("default"), 0).await;
    let number = json!({ "number": "+15550111", "account": OWN, "voice_url": "https://app.test/" });
    let document = RoutingDocument {
        id: "+15550111".into(),
        document: number.to_string(),
        tenant: Some("default".into()),
        updated: Timestamp::from_millis(7),
    };
    let acme = store::Tenant {
        id: "acme".into(),
        name: "Acme".into(),
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(1),
    };
    assert!(bed.store.create_tenant(&acme).await.unwrap());
    let others = RoutingDocument {
        id: "+15550112".into(),
        tenant: Some("acme".into()),
        ..document.clone()
    };
    // What an operator gave to a tenant who shares the node.
    plant(&bed, RIVAL, Some("acme"), 0).await;
    let number =
        json!({ "number": "+15550113", "account": RIVAL, "voice_url": "https://app.test/" });
    let given = RoutingDocument {
        id: "+15550113".into(),
        document: number.to_string(),
        ..others.clone()
    };
    // Those that name an application alone are the first account's of its tenant, of whoever the application is.
    let ivr = application("default", "ivr");
    let theirs = application("acme", "theirs");
    for one in [&ivr, &theirs] {
        assert!(bed.store.create_application(one).await.unwrap());
    }
    let by_application = |number: &str, name: &str, tenant: Option<&str>| RoutingDocument {
        id: number.into(),
        document: json!({ "number": number, "application": name }).to_string(),
        tenant: tenant.map(Into::into),
        ..document.clone()
    };
    let more = [
        by_application("+15550114", "ivr", None),
        by_application("+15550115", &ivr.id.to_string(), Some("default")),
        by_application("+15550116", "theirs", Some("acme")),
        by_application("+15550117", "ivr", Some("acme")),
        by_application("+15550118", "none", None),
    ];
    let numbers = [vec![document, others, given], more.to_vec()].concat();
    bed.store
        .put_routing(RoutingKind::Number, &numbers)
        .await
        .unwrap();
    let page = get(&bed, "/IncomingPhoneNumbers.json").await;
    let numbers = page["incoming_phone_numbers"].as_array().unwrap();
    let own: Vec<_> = numbers
        .iter()
        .map(|one| one["phone_number"].as_str().unwrap())
        .collect();
    assert_eq!(own, ["+15550111", "+15550114", "+15550115"]);
    let rivals = format!("/2010-04-01/Accounts/{RIVAL}/IncomingPhoneNumbers.json");
    let key = basic(RIVAL, TOKEN);
    let rivals = bed.send("GET", &rivals, &[("Authorization", &key)]).await;
    let rivals = rivals.json()["incoming_phone_numbers"].clone();
    let rivals = rivals.as_array().unwrap().iter();
    let rivals: Vec<_> = rivals.map(|one| one["phone_number"].clone()).collect();
    assert_eq!(rivals, ["+15550113", "+15550116"]);
    let pairs = |from| [("To", "100"), ("From", from), ("Twiml", "<Response/>")];
    let refused = ask(&bed, "POST", "/Calls.json", &pairs("+15550112")).await;
    assert_eq!(fault(&refused), (400, 21210));
    let made = ask(&bed, "POST", "/Calls.json", &pairs("+15550111")).await;
    assert_eq!(made.status, 201, "{}", made.body);

    let place = |sid: &Value| format!("/IncomingPhoneNumbers/{}.json", sid.as_str().unwrap());
    let stored = place(&numbers[0]["sid"]);
    let pairs = [
        ("VoiceUrl", "https://app.test/new"),
        ("VoiceMethod", "GET"),
        ("StatusCallback", ""),
    ];
    let changed = ask(&bed, "POST", &stored, &pairs).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.json()["voice_url"], "https://app.test/new");
    assert_eq!(changed.json()["voice_method"], "GET");
    assert_eq!(ask(&bed, "DELETE", &stored, &[]).await.status, 204);
    let taken = [
        ("PhoneNumber", "+15550199"),
        ("VoiceUrl", "https://app.test/"),
    ];
    assert_eq!(
        fault(&ask(&bed, "POST", "/IncomingPhoneNumbers.json", &taken).await),
        (400, 21422)
    );
    let free = [
        ("PhoneNumber", "+15550198"),
        ("VoiceUrl", "https://app.test/"),
    ];
    let made = ask(&bed, "POST", "/IncomingPhoneNumbers.json", &free).await;
    assert_eq!(
        (made.status, &made.json()["phone_number"]),
        (201, &json!("+15550198"))
    );
    for (url, code) in [("", 21502), ("http://127.0.0.1/x y", 21502)] {
        let pairs = [("PhoneNumber", "+15550198"), ("VoiceUrl", url)];
        let refused = ask(&bed, "POST", "/IncomingPhoneNumbers.json", &pairs).await;
        assert_eq!(fault(&refused), (400, code), "{url}");
    }
    // An application takes the place of all webhooks.
    let pairs = [
        ("PhoneNumber", "+15550198"),
        ("VoiceUrl", "https://app.test/"),
        ("VoiceMethod", "GET"),
        ("VoiceApplicationSid", "AP1"),
    ];
    let moved = ask(&bed, "POST", "/IncomingPhoneNumbers.json", &pairs).await;
    assert_eq!(moved.status, 201, "{}", moved.body);
    let moved = moved.json();
    assert_eq!(
        (&moved["voice_url"], &moved["voice_method"]),
        (&json!(""), &json!("POST"))
    );

    // A tenant takes no number, even where nobody has it; what it was given it may change.
    let rival = basic(RIVAL, TOKEN);
    let fields = [
        ("Authorization", rival.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let place = format!("/2010-04-01/Accounts/{RIVAL}/IncomingPhoneNumbers.json");
    for (number, status) in [("15550197", 400), ("15550198", 400), ("15550113", 201)] {
        let body = format!("PhoneNumber=%2B{number}&VoiceUrl=https://app.test/new");
        let answer = bed.exchange("POST", &place, &fields, &body).await;
        assert_eq!(answer.status, status, "{number}: {}", answer.body);
        if status == 400 {
            assert_eq!(fault(&answer), (400, 21422));
        }
    }
    bed.stop().await;
}

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

#[tokio::test]
async fn an_account_is_made_by_v1_and_opens_the_api_until_its_token_is_another() {
    let bed = Bed::start().await;
    let new = json!({ "name": "bots", "calls_per_second": 5 });
    let made = bed.ask(KEY, "POST", "/v1/accounts", Some(new)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let text = |answer: &Answer, member: &str| answer.json()[member].as_str().unwrap().to_owned();
    let (sid, token) = (text(&made, "sid"), text(&made, "token"));
    assert!(sid.len() == 34 && sid.starts_with("AC") && token.len() == 32);
    let status = async |token: &str| {
        let key = basic(&sid, token);
        let place = format!("/2010-04-01/Accounts/{sid}.json");
        bed.send("GET", &place, &[("Authorization", &key)])
            .await
            .status
    };
    assert_eq!(status(&token).await, 200);
    let place = format!("/v1/accounts/{sid}");
    let seen = bed.ask(KEY, "GET", &place, None).await;
    let list = bed.ask(KEY, "GET", "/v1/accounts", None).await;
    assert!(!seen.body.contains(&token) && !list.body.contains(&token));
    assert_eq!(list.json()["items"][0]["calls_per_second"], 5);
    let change = json!({ "name": "more bots", "calls_per_second": 7 });
    let changed = bed.ask(KEY, "PATCH", &place, Some(change)).await.json();
    assert_eq!(
        (&changed["name"], &changed["calls_per_second"]),
        (&json!("more bots"), &json!(7))
    );
    for rate in [0, 10_001] {
        let change = json!({ "calls_per_second": rate });
        assert_eq!(
            bed.ask(KEY, "PATCH", &place, Some(change)).await.status,
            422
        );
    }
    let rotated = bed.ask(KEY, "POST", &format!("{place}/token"), None).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert_eq!(
        (status(&token).await, status(&text(&rotated, "token")).await),
        (401, 200)
    );
    assert_eq!(bed.ask(KEY, "DELETE", &place, None).await.status, 204);
    assert_eq!(status(&text(&rotated, "token")).await, 401);
    let nobodys = json!({ "name": "x", "tenant": "none" });
    assert_eq!(
        bed.ask(KEY, "POST", "/v1/accounts", Some(nobodys))
            .await
            .status,
        422
    );
    let audit = bed.ask(KEY, "GET", "/v1/audit?kind=accounts", None).await;
    assert!(audit.body.contains("rotate") && !audit.body.contains(&token));
    bed.stop().await;
}
