//! Accounts and programmable calls, on every engine.

use std::slice::from_ref;

use store::{
    Account, AccountKey, Aged, Recording, RecordingFilter, Store, Subject, Timestamp, Uuid,
    VoiceCallFilter, VoiceCallRow, VoiceDirection, VoiceLeft, VoiceMessageDirection,
    VoiceMessageFilter, VoiceMessageRow, VoiceMessageStatus, VoiceRecordingFilter,
    VoiceRecordingRow, VoiceStatus, VoiceStreamRow,
};

use crate::Place;

const ACCOUNT: &str = "AC00000000000000000000000000000001";

fn account(sid: &str, tenant: Option<&str>) -> Account {
    Account {
        sid: sid.into(),
        tenant: tenant.map(Into::into),
        name: "Acme".into(),
        token: "0123456789abcdef".into(),
        calls_per_second: 10,
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(1),
    }
}

fn call(number: u32, status: VoiceStatus, sequence: u64) -> VoiceCallRow {
    let at = |ms: i64| Timestamp::from_millis(i64::from(number) * 1_000 + ms);
    let is_over = status == VoiceStatus::Completed;
    VoiceCallRow {
        sid: format!("CA{number:032x}"),
        account: ACCOUNT.into(),
        tenant: Some("default".into()),
        parent: (number % 2 == 1).then(|| format!("CA{:032x}", number - 1)),
        from: "+15550100".into(),
        to: format!("+1555{number:04}"),
        direction: VoiceDirection::Api,
        status,
        created: at(0),
        updated: at(1),
        started: is_over.then(|| at(2)),
        ended: is_over.then(|| at(900)),
        duration_s: is_over.then_some(7),
        queue_ms: 40,
        answered_by: None,
        number_sid: None,
        caller_name: Some("Alice".into()),
        forwarded_from: None,
        cdr: is_over.then(|| Uuid::from_u128(number.into())),
        sequence,
    }
}

fn all() -> VoiceCallFilter {
    VoiceCallFilter {
        account: ACCOUNT.into(),
        ..VoiceCallFilter::default()
    }
}

async fn found(store: &Store, filter: VoiceCallFilter) -> Vec<String> {
    let page = store.voice_calls(&filter, 1_000, None).await.unwrap();
    page.items.into_iter().map(|call| call.to).collect()
}

pub(crate) async fn accounts_are_made_once_changed_and_removed_with_their_keys(place: Place) {
    let store = place.open().await;
    let other = account("AC00000000000000000000000000000002", Some("default"));
    let both = [account(ACCOUNT, None), other.clone()];
    assert_eq!(store.create_accounts(&both).await.unwrap(), 2);
    let renamed = Account {
        name: "Other".into(),
        ..account(ACCOUNT, None)
    };
    assert_eq!(store.create_accounts(from_ref(&renamed)).await.unwrap(), 0);
    assert_eq!(
        store.account(ACCOUNT).await.unwrap(),
        Some(both[0].clone()),
        "the store is the truth"
    );
    let of_nobody = account("AC00000000000000000000000000000003", Some("none"));
    let refused = store.create_accounts(&[of_nobody]).await.unwrap_err();
    assert!(refused.is_rejection(), "{refused}");

    let later = Timestamp::from_millis(2);
    let renamed = Account {
        token: "fedcba9876543210".into(),
        updated: later,
        ..renamed
    };
    assert!(!store.change_account(&renamed, later).await.unwrap());
    let first = Timestamp::from_millis(1);
    assert!(store.change_account(&renamed, first).await.unwrap());
    assert_eq!(store.account(ACCOUNT).await.unwrap(), Some(renamed));
    assert_eq!(store.accounts(None, "", 9).await.unwrap().len(), 2);
    let rest = store.accounts(None, ACCOUNT, 9).await.unwrap();
    assert_eq!(rest, from_ref(&other));
    assert_eq!(
        store.accounts(Some("default"), "", 9).await.unwrap(),
        [other]
    );

    let key = AccountKey {
        sid: "SK00000000000000000000000000000001".into(),
        account: ACCOUNT.into(),
        name: "of a test".into(),
        created: first,
        updated: first,
    };
    store.create_account_key(&key, "aa").await.unwrap();
    let found = store.account_key(&key.sid).await.unwrap();
    assert_eq!(found, Some((key.clone(), "aa".to_owned())));
    let rename = store.rename_account_key(ACCOUNT, &key.sid, "new", later);
    assert!(rename.await.unwrap());
    let keys = store.account_keys(ACCOUNT, "", 9).await.unwrap();
    assert_eq!((keys.len(), &*keys[0].name), (1, "new"));
    let others = "AC00000000000000000000000000000002";
    assert_eq!(store.account_keys(others, "", 9).await.unwrap(), []);
    assert!(!store.remove_account_key(others, &key.sid).await.unwrap());

    assert!(!store.remove_account(ACCOUNT, first).await.unwrap());
    assert!(store.remove_account(ACCOUNT, later).await.unwrap());
    assert_eq!(store.account(ACCOUNT).await.unwrap(), None);
    assert_eq!(store.account_key(&key.sid).await.unwrap(), None);
}

pub(crate) async fn of_two_states_of_a_call_the_later_one_stays(place: Place) {
    let store = place.open().await;
    let (over, ringing) = (
        call(4, VoiceStatus::Completed, 9),
        call(4, VoiceStatus::Ringing, 3),
    );
    // In one batch, in whatever order, and in another one.
    let batch = [over.clone(), ringing.clone()];
    store.upsert_voice_calls(None, &batch).await.unwrap();
    store.upsert_voice_calls(None, &[ringing]).await.unwrap();
    assert_eq!(
        store.voice_call(&over.sid).await.unwrap(),
        Some(over.clone())
    );
    let longer = VoiceCallRow {
        duration_s: Some(8),
        sequence: 10,
        ..over.clone()
    };
    store
        .upsert_voice_calls(None, from_ref(&longer))
        .await
        .unwrap();
    assert_eq!(store.voice_call(&over.sid).await.unwrap(), Some(longer));

    // What is not over yet stays.
    let up = call(5, VoiceStatus::InProgress, 1);
    store.upsert_voice_calls(None, from_ref(&up)).await.unwrap();
    assert!(!store.remove_voice_call(ACCOUNT, &up.sid).await.unwrap());
    assert!(!store.remove_voice_call("AC", &over.sid).await.unwrap());
    assert!(store.remove_voice_call(ACCOUNT, &over.sid).await.unwrap());
    assert_eq!(store.voice_call(&over.sid).await.unwrap(), None);
    store.upsert_voice_calls(None, &[]).await.unwrap();
}

pub(crate) async fn calls_are_listed_by_account_newest_first(place: Place) {
    let store = place.open().await;
    let mut calls: Vec<_> = (0..450)
        .map(|number| call(number, VoiceStatus::Completed, 1))
        .collect();
    calls[3].status = VoiceStatus::Busy;
    calls[7].account = "AC2".into();
    calls[9].from = "client:alice".into();
    store.upsert_voice_calls(None, &calls).await.unwrap();

    let (mut seen, mut next) = (Vec::new(), None);
    loop {
        let page = store.voice_calls(&all(), 100, next).await.unwrap();
        seen.extend(page.items);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let mut wanted = calls.clone();
    wanted.remove(7);
    wanted.reverse();
    assert_eq!(seen, wanted);

    let to = |number: &str| VoiceCallFilter {
        to: Some(number.into()),
        ..all()
    };
    assert_eq!(found(&store, to("+15550012")).await, ["+15550012"]);
    assert_eq!(found(&store, to("+15550007")).await, [""; 0], "another's");
    let from = VoiceCallFilter {
        from: Some("client:alice".into()),
        ..all()
    };
    assert_eq!(found(&store, from).await, ["+15550009"]);
    let busy = VoiceCallFilter {
        status: Some(VoiceStatus::Busy),
        ..all()
    };
    assert_eq!(found(&store, busy).await, ["+15550003"]);
    let dialled = VoiceCallFilter {
        parent: Some(calls[10].sid.clone()),
        ..all()
    };
    assert_eq!(found(&store, dialled).await, ["+15550011"]);
    let started = VoiceCallFilter {
        started_since: Some(Timestamp::from_millis(20_002)),
        started_until: Some(Timestamp::from_millis(21_002)),
        ..all()
    };
    assert_eq!(found(&store, started).await, ["+15550020"]);
    let ended = VoiceCallFilter {
        ended_since: Some(Timestamp::from_millis(21_900)),
        ended_until: Some(Timestamp::from_millis(22_900)),
        ..all()
    };
    assert_eq!(found(&store, ended).await, ["+15550021"]);
}

fn recording(number: u32, sequence: u64, status: &str) -> VoiceRecordingRow {
    VoiceRecordingRow {
        sid: format!("RE{number:032x}"),
        account: ACCOUNT.into(),
        call: format!("CA{:032x}", number / 2),
        channels: 2,
        source: "RecordVerb".into(),
        track: "both".into(),
        status: status.into(),
        started: Timestamp::from_millis(5),
        duration_ms: (status == "completed").then_some(1_500),
        error: None,
        created: Timestamp::from_millis(i64::from(number)),
        updated: Timestamp::from_millis(9),
        sequence,
    }
}

pub(crate) async fn streams_and_recordings_are_kept_by_call(place: Place) {
    let store = place.open().await;
    let stream = |number: u32, is_up, sequence| VoiceStreamRow {
        sid: format!("MZ{number:032x}"),
        account: ACCOUNT.into(),
        call: "CA1".into(),
        name: format!("stream {number}"),
        is_up,
        created: Timestamp::from_millis(i64::from(number)),
        updated: Timestamp::from_millis(9),
        sequence,
    };
    let states = [stream(2, true, 1), stream(1, true, 1), stream(1, false, 2)];
    store.upsert_voice_streams(None, &states).await.unwrap();
    assert_eq!(
        store.voice_streams("CA1").await.unwrap(),
        [stream(1, false, 2), stream(2, true, 1)]
    );
    assert_eq!(store.voice_streams("CA2").await.unwrap(), []);

    let states: Vec<_> = (0..5).map(|n| recording(n, 1, "in-progress")).collect();
    store.upsert_voice_recordings(None, &states).await.unwrap();
    let over = recording(2, 2, "completed");
    store
        .upsert_voice_recordings(None, from_ref(&over))
        .await
        .unwrap();
    assert_eq!(
        store.voice_recording(&over.sid).await.unwrap(),
        Some(over.clone())
    );
    let filter = VoiceRecordingFilter {
        account: ACCOUNT.into(),
        ..VoiceRecordingFilter::default()
    };
    let first = store.voice_recordings(&filter, 3, None).await.unwrap();
    let second = store
        .voice_recordings(&filter, 3, first.next)
        .await
        .unwrap();
    let numbers = |rows: &[VoiceRecordingRow]| -> Vec<i64> {
        rows.iter().map(|row| row.created.millis()).collect()
    };
    assert_eq!(numbers(&first.items), [4, 3, 2]);
    assert_eq!((numbers(&second.items), second.next), (vec![1, 0], None));
    let of_call = VoiceRecordingFilter {
        call: Some(over.call.clone()),
        ..filter
    };
    let found = store.voice_recordings(&of_call, 9, None).await.unwrap();
    assert_eq!(numbers(&found.items), [3, 2]);

    // With it goes its file.
    let file = Recording {
        id: over.id().unwrap(),
        call: Uuid::now_v7(),
        tenant: None,
        started: over.started,
        ended: Timestamp::from_millis(9),
        channels: 2,
        bytes: 44,
        node: "n1".into(),
        file: "a.wav".into(),
    };
    store.insert_recording(&file).await.unwrap();
    assert!(store.remove_voice_recording(&over).await.unwrap());
    assert!(!store.remove_voice_recording(&over).await.unwrap());
    assert_eq!(store.recording(file.id).await.unwrap(), None);
    store
        .condemn_recordings_before(Timestamp::from_millis(3))
        .await
        .unwrap();
    let left = store.voice_recordings(&of_call, 9, None).await.unwrap();
    assert_eq!(numbers(&left.items), [3]);
    let files = RecordingFilter::default();
    let files = store.recordings(&files, 9, None).await.unwrap();
    assert_eq!(files.items, []);
}

pub(crate) async fn programmable_calls_are_erased_and_forgotten_as_others_are(place: Place) {
    let store = place.open().await;
    let mut calls: Vec<_> = (0..4)
        .map(|number| call(number, VoiceStatus::Completed, 1))
        .collect();
    calls[1].tenant = None;
    calls[2].from = "sip:alice@example.test".into();
    calls[3].from = "client:alice".into();
    store.upsert_voice_calls(None, &calls).await.unwrap();
    let froms = async |store: &Store| -> Vec<String> {
        let page = store.voice_calls(&all(), 9, None).await.unwrap();
        page.items.into_iter().map(|call| call.from).collect()
    };
    let number = Subject::Number("15550100".into());
    store.erase(&number, Some("default")).await.unwrap();
    assert_eq!(
        froms(&store).await,
        [
            "client:alice",
            "sip:alice@example.test",
            "+15550100",
            "erased"
        ]
    );
    let alice = Subject::User("alice@example.test".into());
    store.erase(&alice, None).await.unwrap();
    assert_eq!(
        froms(&store).await,
        ["erased", "erased", "+15550100", "erased"]
    );
    let erased = store.voice_call(&calls[0].sid).await.unwrap().unwrap();
    assert_eq!(erased.caller_name, None);

    let forgotten = store.forget_before(Aged::Cdrs, Timestamp::from_millis(2_000));
    assert_eq!(forgotten.await.unwrap(), 2);
    assert_eq!(froms(&store).await.len(), 2);
}

fn message(number: u32, status: VoiceMessageStatus, sequence: u64) -> VoiceMessageRow {
    let at = |ms: i64| Timestamp::from_millis(i64::from(number) * 1_000 + ms);
    let is_over = !status.is_under_way();
    VoiceMessageRow {
        sid: format!("SM{number:032x}"),
        account: ACCOUNT.into(),
        tenant: Some("default".into()),
        from: "+15550100".into(),
        to: format!("+1555{:04}", number % 2),
        body: "Grüße".into(),
        segments: 1,
        direction: VoiceMessageDirection::Api,
        status,
        error: (status == VoiceMessageStatus::Undelivered).then_some(30_003),
        created: at(0),
        updated: at(1),
        sent: is_over.then(|| at(2)),
        sequence,
    }
}

pub(crate) async fn messages_are_kept_by_their_latest_state(place: Place) {
    let store = place.open().await;
    let number = |row: &VoiceMessageRow| row.created.millis() / 1_000;
    let batch: Vec<_> = (0..5)
        .map(|number| message(number, VoiceMessageStatus::Sending, 1))
        .collect();
    store.upsert_voice_messages(None, &batch).await.unwrap();
    let over = message(3, VoiceMessageStatus::Undelivered, 2);
    store
        .upsert_voice_messages(None, from_ref(&over))
        .await
        .unwrap();
    store.upsert_voice_messages(None, &batch).await.unwrap();
    assert_eq!(
        store.voice_message(&over.sid).await.unwrap(),
        Some(over.clone())
    );

    // What is on its way stays as it is.
    let busy = &batch[1].sid;
    assert!(!store.redact_voice_message(ACCOUNT, busy).await.unwrap());
    assert!(!store.remove_voice_message(ACCOUNT, busy).await.unwrap());
    assert!(!store.redact_voice_message("AC", &over.sid).await.unwrap());
    assert!(
        store
            .redact_voice_message(ACCOUNT, &over.sid)
            .await
            .unwrap()
    );
    let later = message(3, VoiceMessageStatus::Delivered, 3);
    store
        .upsert_voice_messages(None, from_ref(&later))
        .await
        .unwrap();
    let found = store.voice_message(&over.sid).await.unwrap().unwrap();
    assert_eq!((&*found.body, found.status), ("", later.status));

    let filter = VoiceMessageFilter {
        account: ACCOUNT.into(),
        ..VoiceMessageFilter::default()
    };
    let first = store.voice_messages(&filter, 3, None).await.unwrap();
    let second = store.voice_messages(&filter, 3, first.next).await.unwrap();
    let both = first.items.iter().chain(&second.items).map(number);
    assert_eq!(both.collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
    assert_eq!(second.next, None);
    let narrow = VoiceMessageFilter {
        to: Some("+15550001".into()),
        sent_since: Some(Timestamp::from_millis(3_002)),
        sent_until: Some(Timestamp::from_millis(3_003)),
        ..filter.clone()
    };
    let found = store.voice_messages(&narrow, 9, None).await.unwrap();
    assert_eq!(found.items.iter().map(number).collect::<Vec<_>>(), [3]);

    assert!(
        store
            .remove_voice_message(ACCOUNT, &over.sid)
            .await
            .unwrap()
    );
    assert_eq!(store.voice_message(&over.sid).await.unwrap(), None);
    // What was written to somebody is forgotten with them, and what is old.
    let to = Subject::Number("15550001".into());
    store.erase(&to, None).await.unwrap();
    let erased = store.voice_message(busy).await.unwrap().unwrap();
    assert_eq!((&*erased.to, &*erased.body), ("erased", ""));
    let old = Timestamp::from_millis(2_000);
    assert_eq!(store.forget_before(Aged::Cdrs, old).await.unwrap(), 2);
    let left = store.voice_messages(&filter, 9, None).await.unwrap();
    assert_eq!(left.items.len(), 2);
}

pub(crate) async fn what_a_killed_node_had_under_way_is_ended_and_nothing_else(place: Place) {
    let store = place.open().await;
    let (own, other) = (Some("n1"), Some("n2"));
    let up = |number| VoiceCallRow {
        started: Some(Timestamp::from_millis(i64::from(number) * 1_000)),
        ..call(number, VoiceStatus::InProgress, 3)
    };
    let calls = [
        up(1),
        call(2, VoiceStatus::Queued, 1),
        call(3, VoiceStatus::Ringing, 1),
        call(4, VoiceStatus::Completed, 4),
    ];
    store.upsert_voice_calls(own, &calls).await.unwrap();
    store.upsert_voice_calls(other, &[up(5)]).await.unwrap();
    let unclaimed = call(6, VoiceStatus::Queued, 0);
    store.upsert_voice_calls(None, &[unclaimed]).await.unwrap();
    // Claimed by the node after the API wrote it.
    let asked = call(7, VoiceStatus::Queued, 0);
    store.upsert_voice_calls(None, &[asked]).await.unwrap();
    store.upsert_voice_calls(own, &[up(7)]).await.unwrap();
    let stream = |number: u32, ms| VoiceStreamRow {
        sid: format!("MZ{number:032x}"),
        account: ACCOUNT.into(),
        call: "CA1".into(),
        name: "x".into(),
        is_up: true,
        created: Timestamp::from_millis(1),
        updated: Timestamp::from_millis(ms),
        sequence: 1,
    };
    store
        .upsert_voice_streams(own, &[stream(1, 1)])
        .await
        .unwrap();
    store
        .upsert_voice_streams(other, &[stream(2, 90_000)])
        .await
        .unwrap();
    let (cut, whole, of_other) = (
        recording(1, 1, "in-progress"),
        recording(2, 1, "processing"),
        recording(3, 1, "in-progress"),
    );
    let both = [cut.clone(), whole.clone()];
    store.upsert_voice_recordings(own, &both).await.unwrap();
    store
        .upsert_voice_recordings(other, from_ref(&of_other))
        .await
        .unwrap();
    let file = Recording {
        id: whole.id().unwrap(),
        call: Uuid::now_v7(),
        tenant: None,
        started: whole.started,
        ended: Timestamp::from_millis(9),
        channels: 2,
        bytes: 44 + 32 * 1_500,
        node: "n1".into(),
        file: "a.wav".into(),
    };
    store.insert_recording(&file).await.unwrap();
    let messages = [
        message(1, VoiceMessageStatus::Sending, 2),
        message(2, VoiceMessageStatus::Sent, 2),
    ];
    store.upsert_voice_messages(own, &messages).await.unwrap();
    let of_others = message(3, VoiceMessageStatus::Queued, 1);
    store
        .upsert_voice_messages(other, from_ref(&of_others))
        .await
        .unwrap();

    // The latest signs of life, though nothing of the first was under way then.
    for (node, ms) in [("n1", 20_500), ("n2", 90_000)] {
        let lived = Timestamp::from_millis(ms);
        store.note_voice_node(node, "x", lived).await.unwrap();
    }
    let now = Timestamp::from_millis(100_000);
    let left = VoiceLeft {
        calls: 4,
        streams: 1,
        recordings: 2,
        messages: 1,
    };
    assert_eq!(store.end_left_voice("n1", now).await.unwrap(), left);
    let again = store.end_left_voice("n1", now).await.unwrap();
    assert_eq!(again, VoiceLeft::default());

    let sid = |number: u32| format!("CA{number:032x}");
    let mut ends = Vec::new();
    for number in 1..=7 {
        let row = store.voice_call(&sid(number)).await.unwrap().unwrap();
        ends.push((row.status, row.ended.map(Timestamp::millis), row.duration_s));
    }
    let lived = Some(20_500);
    let expected = [
        (VoiceStatus::Completed, lived, Some(19)),
        (VoiceStatus::Failed, lived, Some(0)),
        (VoiceStatus::Failed, lived, Some(0)),
        (VoiceStatus::Completed, Some(4_900), Some(7)),
        (VoiceStatus::InProgress, None, None),
        (VoiceStatus::Queued, None, None),
        (VoiceStatus::Completed, lived, Some(13)),
    ];
    assert_eq!(ends, expected);
    let streams = store.voice_streams("CA1").await.unwrap();
    let ups: Vec<_> = streams.iter().map(|stream| stream.is_up).collect();
    assert_eq!(ups, [false, true]);
    let mut states = Vec::new();
    for row in [&cut, &whole, &of_other] {
        let row = store.voice_recording(&row.sid).await.unwrap().unwrap();
        states.push((row.status, row.duration_ms));
    }
    let states: Vec<_> = states.iter().map(|(status, ms)| (&**status, *ms)).collect();
    assert_eq!(states[0].0, "absent");
    assert_eq!(states[1], ("completed", Some(1_500)));
    assert_eq!(states[2].0, "in-progress");
    let mut states = Vec::new();
    for row in messages.iter().chain([&of_others]) {
        let row = store.voice_message(&row.sid).await.unwrap().unwrap();
        states.push((row.status, row.error));
    }
    let expected = [
        (VoiceMessageStatus::Failed, Some(30_008)),
        (VoiceMessageStatus::Sent, None),
        (VoiceMessageStatus::Queued, None),
    ];
    assert_eq!(states, expected);

    // What no node has claimed in a day none will.
    let later = Timestamp::from_millis(86_400_000 + 6_001);
    let left = store.end_left_voice("n1", later).await.unwrap();
    assert_eq!(left.calls, 1);
    let row = store.voice_call(&sid(6)).await.unwrap().unwrap();
    let end = row.ended.map(Timestamp::millis);
    assert_eq!((row.status, end), (VoiceStatus::Failed, Some(6_001)));

    // A state of somebody who lives after all counts.
    let alive = VoiceCallRow {
        sequence: 4,
        ..up(1)
    };
    store.upsert_voice_calls(own, &[alive]).await.unwrap();
    let row = store.voice_call(&sid(1)).await.unwrap().unwrap();
    assert_eq!((row.status, row.ended), (VoiceStatus::InProgress, None));

    // A node that has told nothing for a day does not come back.
    let later = Timestamp::from_millis(86_400_000 + 90_001);
    let left = VoiceLeft {
        calls: 1,
        streams: 1,
        recordings: 1,
        messages: 1,
    };
    store.note_voice_node("n1", "x", later).await.unwrap();
    assert_eq!(store.end_left_voice("n3", later).await.unwrap(), left);
    let row = store.voice_call(&sid(5)).await.unwrap().unwrap();
    let end = row.ended.map(Timestamp::millis);
    assert_eq!((row.status, end), (VoiceStatus::Completed, Some(90_000)));
}
