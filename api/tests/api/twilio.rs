//! `/2010-04-01`, as Twilio's clients ask.

mod access;
mod calls;
mod messages;
mod numbers;
mod recordings;

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
