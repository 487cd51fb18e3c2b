//! What becomes of records: forgotten by age, erased by number or user.

use std::time::Duration;

use store::{
    Aged, CallEvent, CallRecord, Cdr, CdrFilter, Delivery, Domain, ERASED, Erasure, Message,
    Recording, RecordingFilter, Store, Subject, Swept, Tenant, Timestamp, Uuid,
};

use crate::{Place, cases::cdr};

/// So many days and a moment before now.
fn days(days: u64) -> Timestamp {
    Timestamp::now().earlier(Duration::from_secs(days * 24 * 3600 + 1))
}

async fn count(store: &Store) -> usize {
    store
        .cdrs(&CdrFilter::default(), 1_000, None)
        .await
        .unwrap()
        .items
        .len()
}

pub(crate) async fn what_is_too_old_is_forgotten_and_nothing_else(place: Place) {
    let store = place.open().await;
    // More than one step.
    let old = (0..300).map(|n| Cdr {
        started: days(400 + n % 7),
        ..cdr(0)
    });
    let new = (0..5).map(|n| Cdr {
        started: days(n),
        ..cdr(0)
    });
    store
        .insert_cdrs(&old.chain(new).collect::<Vec<_>>())
        .await
        .unwrap();
    for (age, received) in [("old", days(8)), ("new", days(6))] {
        let message = message("bob@acme.test", &format!("<sip:{age}@acme.test>"), received);
        assert!(store.keep_message(&message, 100).await.unwrap());
    }
    assert_eq!(
        store.forget_before(Aged::Cdrs, days(399)).await.unwrap(),
        300
    );
    assert_eq!(store.forget_before(Aged::Cdrs, days(399)).await.unwrap(), 0);
    assert_eq!(count(&store).await, 5);
    assert_eq!(
        store.forget_before(Aged::Messages, days(7)).await.unwrap(),
        1
    );
    let left = store.messages("bob@acme.test", 9).await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].from.contains("new"));
    assert_eq!(store.forget_before(Aged::Audit, days(0)).await.unwrap(), 0);
}

fn message(recipient: &str, from: &str, received: Timestamp) -> Message {
    Message {
        id: Uuid::now_v7(),
        recipient: recipient.into(),
        from: from.into(),
        to: format!("<sip:{recipient}>"),
        content_type: "text/plain".into(),
        body: b"hello".to_vec(),
        received,
    }
}

fn delivery(body: &str) -> Delivery {
    Delivery {
        id: Uuid::now_v7(),
        webhook: Uuid::now_v7(),
        node: "n1".into(),
        body: body.into(),
        created: Timestamp::now(),
        attempts: 0,
        next: Some(Timestamp::now()),
        error: String::new(),
    }
}

/// A call from one URI to another.
fn call(ms: i64, from: &str, to: &str) -> Cdr {
    Cdr {
        from_uri: from.into(),
        to_uri: to.into(),
        request_uri: to.into(),
        origin: Some("carrier-a".into()),
        callee_user: None,
        ..cdr(ms)
    }
}

pub(crate) async fn a_number_is_erased_wherever_it_was(place: Place) {
    let store = place.open().await;
    let other = "sip:+15550177@example.test";
    let calls = [
        call(0, "sip:+15550100@example.test;user=phone", other),
        call(1, other, "tel:+15550100"),
        call(2, "sip:15550100@192.0.2.1", other),
        call(
            3,
            "sip:+155501001@example.test",
            "sip:+1555010@example.test",
        ),
        Cdr {
            tenant: Some("other".into()),
            ..call(4, other, "sip:+15550100@example.test")
        },
    ];
    store.insert_cdrs(&calls).await.unwrap();
    let messages = [
        message(
            "bob@acme.test",
            "<sip:+15550100@acme.test>",
            Timestamp::now(),
        ),
        message("bob@acme.test", "\"x\" <tel:+15550100>", Timestamp::now()),
        message(
            "+15550100@acme.test",
            "<sip:bob@acme.test>",
            Timestamp::now(),
        ),
        message(
            "bob@acme.test",
            "<sip:+155501001@acme.test>",
            Timestamp::now(),
        ),
    ];
    for message in &messages {
        assert!(store.keep_message(message, 100).await.unwrap());
    }
    let bodies = [
        r#"{"tenant":"acme","from":"sip:+15550100@example.test"}"#,
        r#"{"tenant":"acme","from":"sip:+155501001@example.test"}"#,
    ];
    store.add_deliveries(&bodies.map(delivery)).await.unwrap();

    let number = Subject::Number("+15550100".into());
    let done = store.erase(&number, None).await.unwrap();
    let wanted = Erasure {
        as_caller: 2,
        as_callee: 2,
        messages: 3,
        events: 1,
        recordings: 0,
        call_events: 0,
    };
    assert_eq!(done, wanted);
    assert_eq!(
        store.erase(&number, None).await.unwrap(),
        Erasure::default()
    );
    let after: Vec<Cdr> = {
        let mut after = Vec::new();
        for call in &calls {
            after.push(store.cdr(call.id).await.unwrap().unwrap());
        }
        after
    };
    let gone = format!("sip:{ERASED}@erased.invalid");
    assert_eq!(
        (after[0].from_uri.as_str(), after[0].to_uri.as_str()),
        (gone.as_str(), other)
    );
    assert_eq!(after[0].source.ip(), std::net::Ipv4Addr::UNSPECIFIED);
    assert_eq!(
        (after[0].call_id.as_str(), after[0].origin.as_deref()),
        (ERASED, Some("carrier-a"))
    );
    assert_eq!(
        (after[1].from_uri.as_str(), after[1].to_uri.as_str()),
        (other, gone.as_str())
    );
    assert_eq!(after[1].request_uri, gone);
    assert_eq!(
        (after[1].source, &after[1].call_id),
        (calls[1].source, &calls[1].call_id)
    );
    assert_eq!(after[2].from_uri, gone);
    assert_eq!(after[3], calls[3]);
    assert_eq!(after[4].to_uri, gone);
    // What accounts are made of stays.
    for (before, after) in calls.iter().zip(&after) {
        assert_eq!(
            (before.answered, before.ended, before.talk_time()),
            (after.answered, after.ended, after.talk_time())
        );
        assert!(!format!("{after:?}").contains("+15550100@"), "{after:?}");
    }
    let found = CdrFilter {
        from: Some(ERASED.into()),
        ..CdrFilter::default()
    };
    assert_eq!(store.cdrs(&found, 9, None).await.unwrap().items.len(), 2);
    assert_eq!(
        store.messages("bob@acme.test", 9).await.unwrap(),
        messages[3..]
    );
    assert_eq!(store.count_deliveries("n1").await.unwrap(), 1);
}

pub(crate) async fn a_user_is_erased_in_what_is_a_tenants(place: Place) {
    let store = place.open().await;
    let now = Timestamp::now();
    let tenant = Tenant {
        id: "acme".into(),
        name: "Acme".into(),
        created: now,
        updated: now,
    };
    assert!(store.create_tenant(&tenant).await.unwrap());
    let domain = Domain {
        name: "acme.test".into(),
        tenant: "acme".into(),
        created: now,
        updated: now,
    };
    assert!(store.put_domain(&domain, None).await.unwrap());
    let user = "a_b@acme.test";
    let calls = [
        // By the address that was proved, whatever From says.
        Cdr {
            origin: Some(user.into()),
            ..call(0, "sip:+15550100@acme.test", "sip:bob@acme.test")
        },
        call(1, "sips:a_b@acme.test:5061;x=y", "sip:bob@acme.test"),
        call(2, "sip:bob@acme.test", "sip:a_b@acme.test"),
        // Who answered where a number was called.
        Cdr {
            callee_user: Some(user.into()),
            ..call(3, "sip:bob@acme.test", "sip:+15550100@acme.test")
        },
        call(4, "sip:axb@acme.test", "sip:a_b@acme.testing"),
        Cdr {
            tenant: Some("other".into()),
            ..call(5, "sip:a_b@acme.test", "sip:bob@acme.test")
        },
    ];
    store.insert_cdrs(&calls).await.unwrap();
    let messages = [
        message(user, "<sip:bob@acme.test>", now),
        message("bob@acme.test", "<sip:a_b@acme.test>;x=y", now),
        message("bob@acme.test", "<sip:axb@acme.test>", now),
        message("eve@else.test", "<sip:a_b@acme.test>", now),
    ];
    for message in &messages {
        assert!(store.keep_message(message, 100).await.unwrap());
    }
    let bodies = [
        r#"{"tenant":"acme","registration":{"user":"a_b@acme.test"}}"#,
        r#"{"tenant":"other","from":"sip:a_b@acme.test"}"#,
        r#"{"tenant":"acme","registration":{"user":"axb@acme.test"}}"#,
    ];
    store.add_deliveries(&bodies.map(delivery)).await.unwrap();

    let subject = Subject::User(user.into());
    let done = store.erase(&subject, Some("acme")).await.unwrap();
    let wanted = Erasure {
        as_caller: 2,
        as_callee: 2,
        messages: 2,
        events: 1,
        recordings: 0,
        call_events: 0,
    };
    assert_eq!(done, wanted);
    let gone = format!("sip:{ERASED}@erased.invalid");
    let after = async |n: usize| store.cdr(calls[n].id).await.unwrap().unwrap();
    assert_eq!(
        (after(0).await.from_uri, after(0).await.origin),
        (gone.clone(), None)
    );
    assert_eq!(after(1).await.from_uri, gone);
    assert_eq!(after(2).await.to_uri, gone);
    let answered = after(3).await;
    assert_eq!(
        (answered.callee_user, answered.to_uri),
        (None, calls[3].to_uri.clone())
    );
    for n in [4, 5] {
        assert_eq!(after(n).await, calls[n]);
    }
    // The rest of it, of whoever's.
    let done = store.erase(&subject, None).await.unwrap();
    assert_eq!(
        (done.as_caller, done.as_callee, done.messages, done.events),
        (1, 0, 1, 1)
    );
}

/// A call with so many events, of which the first tells of a transfer to a URI.
fn eventful(started: Timestamp, tenant: &str, events: u32, to: &str) -> CallRecord {
    let cdr = Cdr {
        started,
        tenant: Some(tenant.into()),
        ..cdr(0)
    };
    let event = |number| CallEvent {
        call: cdr.id,
        number,
        at: Timestamp::from_millis(i64::from(number)),
        kind: if number == 0 { "transfer" } else { "held" }.into(),
        data: match number {
            0 => serde_json::json!({ "party": "callee", "to": to, "status": 200 }),
            _ => serde_json::json!({ "on": number % 2 == 1, "odd": "nul\0 '\u{1f4de}" }),
        }
        .to_string(),
    };
    CallRecord {
        events: (0..events).map(event).collect(),
        ..cdr.into()
    }
}

pub(crate) async fn what_happened_to_a_call_comes_and_goes_with_its_record(place: Place) {
    let store = place.open().await;
    let mut records: Vec<CallRecord> = (0..300).map(|n| cdr(n).into()).collect();
    records.push(eventful(days(400), "acme", 3, "sip:+15550199@example.test"));
    records.push(eventful(days(1), "acme", 700, "sip:+15550199@example.test"));
    records.push(eventful(days(1), "other", 2, "sip:+155501990@example.test"));
    let [old, long, other] = &records[300..] else {
        unreachable!("three of them");
    };
    let of = async |record: &CallRecord| store.call_events(record.cdr.id, 0, 1_000).await.unwrap();
    store.insert_cdrs(&records).await.unwrap();
    for record in [old, long, other] {
        assert_eq!(of(record).await, record.events);
    }
    assert_eq!(of(&records[0]).await, []);
    let page = store.call_events(long.cdr.id, 690, 5).await.unwrap();
    assert_eq!(page, long.events[690..695]);

    // A batch that was cut off is written again.
    store.insert_cdrs(&records).await.unwrap();
    assert_eq!(of(long).await, long.events);
    store.forget_before(Aged::Cdrs, days(399)).await.unwrap();
    assert_eq!(of(old).await, []);
    assert_eq!(of(long).await.len(), 700);

    // Who was transferred to is erased, and nobody else.
    let number = Subject::Number("+15550199".into());
    let erase = async |tenant| store.erase(&number, tenant).await.unwrap().call_events;
    assert_eq!(erase(Some("other")).await, 0);
    assert_eq!(erase(Some("acme")).await, 1);
    assert_eq!(erase(None).await, 0);
    assert_eq!(of(long).await, long.events[1..]);
    assert_eq!(of(other).await, other.events);
    store.close().await;
}

fn recording(call: Uuid, tenant: Option<&str>, started: Timestamp) -> Recording {
    let id = Uuid::now_v7();
    Recording {
        id,
        call,
        tenant: tenant.map(Into::into),
        started,
        ended: Timestamp::now(),
        channels: 2,
        bytes: 32_044,
        node: "one".into(),
        file: format!("{id}.wav"),
    }
}

pub(crate) async fn recordings_are_listed_and_go_with_their_files(place: Place) {
    let store = place.open().await;
    let folder = tempfile::tempdir().unwrap();
    let made = async |call, tenant, started| {
        let recording = recording(call, tenant, started);
        std::fs::write(recording.path(folder.path()).unwrap(), "RIFF").unwrap();
        store.insert_recording(&recording).await.unwrap();
        store.insert_recording(&recording).await.unwrap();
        recording
    };
    let call = Uuid::now_v7();
    let old = made(call, Some("acme"), days(100)).await;
    let new = made(call, Some("acme"), days(1)).await;
    let nodes = made(Uuid::now_v7(), None, days(2)).await;
    let list = async |filter: RecordingFilter| {
        let page = store.recordings(&filter, 9, None).await;
        page.unwrap().items
    };
    let all = RecordingFilter::default;
    assert_eq!(list(all()).await, [new.clone(), nodes.clone(), old.clone()]);
    let page = store.recordings(&all(), 2, None).await.unwrap();
    assert_eq!(page.items.len(), 2);
    let rest = store.recordings(&all(), 2, page.next).await.unwrap();
    assert_eq!((rest.items, rest.next), (vec![old.clone()], None));
    let of_call = RecordingFilter {
        call: Some(nodes.call),
        ..all()
    };
    assert_eq!(list(of_call).await, std::slice::from_ref(&nodes));
    let acme = RecordingFilter {
        tenant: Some("acme".into()),
        since: Some(days(50)),
        until: Some(Timestamp::now()),
        ..all()
    };
    assert_eq!(list(acme).await, std::slice::from_ref(&new));
    assert_eq!(store.recording(old.id).await.unwrap(), Some(old.clone()));

    // By age: a file that is there no more is no reason to keep the row, one that cannot be removed is.
    let sweep = async || store.sweep_recordings("one", folder.path()).await.unwrap();
    let before = store.condemn_recordings_before(days(50)).await;
    assert_eq!(before.unwrap(), 1);
    assert_eq!(store.recording(old.id).await.unwrap(), None);
    let path = old.path(folder.path()).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let (removed, left) = (0, 1);
    assert_eq!(sweep().await, Swept { removed, left });
    std::fs::remove_dir(&path).unwrap();
    // Another node has not the file, and says nothing of it; nor does a folder that is not mounted.
    let others = store.sweep_recordings("two", folder.path()).await.unwrap();
    assert_eq!(others, Swept::default());
    assert_eq!(sweep().await, Swept { removed, left });
    std::fs::write(folder.path().join(".recordings"), "").unwrap();
    let (removed, left) = (1, 0);
    assert_eq!(sweep().await, Swept { removed, left });
    assert_eq!(sweep().await, Swept::default());

    // Those of a node that end first go first.
    let ends = async |node| store.oldest_recordings(node, 9).await.unwrap();
    assert_eq!(ends("one").await, [new.clone(), nodes.clone()]);
    let listed = async || store.is_recording_listed("one", &new.file).await.unwrap();
    assert!(listed().await);
    assert_eq!(
        store
            .evict_recordings(&[new.id, Uuid::now_v7()])
            .await
            .unwrap(),
        1
    );
    assert_eq!(store.evict_recordings(&[new.id]).await.unwrap(), 0);
    assert_eq!(ends("one").await, std::slice::from_ref(&nodes));
    assert_eq!(store.recording(new.id).await.unwrap(), None);
    assert!(listed().await, "until its file is gone");
    assert!(!store.condemn_recording(new.id).await.unwrap());
    assert_eq!(list(all()).await, [nodes]);
    assert_eq!(sweep().await, Swept { removed, left });
    assert!(!new.path(folder.path()).unwrap().exists());
    assert!(!listed().await);

    // With who was a party of the call.
    let calls = [
        call_of("acme", 0, "sip:+15550100@example.test"),
        call_of("acme", 1, "sip:+15550101@example.test"),
        call_of("other", 2, "sip:+15550100@example.test"),
    ];
    store.insert_cdrs(&calls).await.unwrap();
    let mut kept = Vec::new();
    for call in &calls {
        kept.push(made(call.id, call.tenant.as_deref(), days(3)).await);
    }
    let number = Subject::Number("+15550100".into());
    let erased = store.erase(&number, Some("acme")).await.unwrap();
    assert_eq!((erased.as_caller, erased.recordings), (1, 1));
    assert_eq!(store.recording(kept[0].id).await.unwrap(), None);
    for one in &kept[1..] {
        assert!(store.recording(one.id).await.unwrap().is_some());
    }
    store.close().await;
}

fn call_of(tenant: &str, ms: i64, from: &str) -> Cdr {
    Cdr {
        tenant: Some(tenant.into()),
        ..call(ms, from, "sip:+15550177@example.test")
    }
}
