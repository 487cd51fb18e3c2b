//! Who gets in, and to what.

use super::*;

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
