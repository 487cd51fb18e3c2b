//! Numbers, and whose they are.

use super::*;

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
