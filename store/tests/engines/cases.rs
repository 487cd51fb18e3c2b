//! What every engine must do.

use std::{collections::HashSet, time::Duration};

use store::{
    Cause, Cdr, CdrFilter, CdrWriter, EndedBy, MediaFlow, RoutingKind, Store, StoreError,
    Timestamp, TrunkStats, Uuid, WriterOptions,
};

use crate::{Place, postgres::Postgres};

const T0: i64 = 1_763_700_000_000;

/// A call that began `ms` after the first.
pub(crate) fn cdr(ms: i64) -> Cdr {
    let at = |offset: i64| Timestamp::from_millis(T0 + ms + offset);
    Cdr {
        id: Uuid::now_v7(),
        call_id: format!("call-{ms}@192.0.2.1"),
        from_uri: "sip:alice@example.test".into(),
        to_uri: "sip:+15550100@example.test;user=phone".into(),
        request_uri: "sip:+15550100@198.51.100.1:5060".into(),
        source: "[2001:db8::1]:5060".parse().unwrap(),
        transport: "udp".into(),
        origin: Some("alice@example.test".into()),
        callee_user: Some("bob@example.test".into()),
        tenant: Some("acme".into()),
        trunk: Some("carrier-a".into()),
        route: Some(String::new()),
        started: at(0),
        ringing: Some(at(121)),
        answered: Some(at(2_345)),
        ended: at(62_346),
        status: 200,
        reason: "OK".into(),
        ended_by: EndedBy::Callee,
        cause: Cause::Bye,
        datapath: Some("xdp".into()),
        from_caller: Some(MediaFlow {
            packets: 3_000,
            bytes: 516_000,
            lost: 2,
            jitter_ms: 0.125,
            mos: Some(4.375),
            rtt_ms: Some(12.5),
            burst_ratio: Some(1.25),
            late: Some(3),
            longest_gap_ms: Some(140),
            duplicates: Some(1),
            reordered: Some(4),
            sources: Some(2),
        }),
        from_callee: Some(MediaFlow {
            packets: 2_990,
            bytes: 514_280,
            lost: 0,
            jitter_ms: 1.5,
            ..MediaFlow::default()
        }),
    }
}

async fn filled(place: &Place, cdrs: &[Cdr]) -> Store {
    let store = place.open().await;
    store.insert_cdrs(cdrs).await.unwrap();
    store
}

/// The whole list, in pages of `limit`.
async fn all(store: &Store, filter: &CdrFilter, limit: u32) -> Vec<Cdr> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.cdrs(filter, limit, cursor).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        items.extend(page.items);
        // Through its text, as a client of the API would hand it back.
        cursor = page.next.map(|next| next.to_string().parse().unwrap());
        if cursor.is_none() {
            return items;
        }
    }
}

pub(crate) async fn a_record_comes_back_as_it_was_written(place: Place) {
    let cdr = cdr(0);
    let store = filled(&place, std::slice::from_ref(&cdr)).await;
    assert_eq!(store.cdr(cdr.id).await.unwrap(), Some(cdr));
    assert_eq!(store.cdr(Uuid::now_v7()).await.unwrap(), None);
}

pub(crate) async fn a_record_without_optional_values_comes_back(place: Place) {
    let mut one = Cdr {
        origin: None,
        callee_user: None,
        tenant: None,
        trunk: None,
        route: None,
        ringing: None,
        answered: None,
        datapath: None,
        from_caller: None,
        from_callee: None,
        status: 404,
        reason: String::new(),
        ..cdr(0)
    };
    let store = place.open().await;
    for &cause in Cause::ALL {
        one.id = Uuid::now_v7();
        one.cause = cause;
        store.insert_cdrs(std::slice::from_ref(&one)).await.unwrap();
        assert_eq!(store.cdr(one.id).await.unwrap().as_ref(), Some(&one));
    }
}

pub(crate) async fn writing_twice_leaves_one_record(place: Place) {
    let first = cdr(0);
    let store = filled(&place, std::slice::from_ref(&first)).await;
    let changed = Cdr {
        status: 500,
        ..first.clone()
    };
    let other = cdr(1);
    store.insert_cdrs(&[changed, other.clone()]).await.unwrap();
    let listed = all(&store, &CdrFilter::default(), 10).await;
    assert_eq!(listed, [other, first]);
}

pub(crate) async fn one_batch_may_name_a_record_twice(place: Place) {
    let one = cdr(0);
    let store = filled(&place, &[one.clone(), one.clone()]).await;
    assert_eq!(all(&store, &CdrFilter::default(), 10).await, [one]);
}

pub(crate) async fn a_large_batch_is_written_whole(place: Place) {
    let cdrs: Vec<_> = (0..1_234).map(cdr).collect();
    let store = filled(&place, &cdrs).await;
    let listed = all(&store, &CdrFilter::default(), 1_000).await;
    assert_eq!(listed.len(), cdrs.len());
    store.insert_cdrs::<Cdr>(&[]).await.unwrap();
}

pub(crate) async fn odd_text_is_stored(place: Place) {
    let odd = Cdr {
        call_id: "nul\0 quote' \u{1f4de} \u{7f}\r\n%_".into(),
        from_uri: "sip:\u{fc}n\u{ef}@example.test".into(),
        reason: "x".repeat(100_000),
        ..cdr(0)
    };
    let store = filled(&place, std::slice::from_ref(&odd)).await;
    let back = store.cdr(odd.id).await.unwrap().unwrap();
    assert_eq!(back.call_id, "nul\u{fffd} quote' \u{1f4de} \u{7f}\r\n%_");
    assert_eq!(
        (back.from_uri, back.reason),
        (odd.from_uri.clone(), odd.reason)
    );
    // Who searches for what they wrote finds it.
    let filter = CdrFilter {
        call_id: Some(odd.call_id),
        from: Some("\u{fc}n\u{ef}".into()),
        ..CdrFilter::default()
    };
    assert_eq!(all(&store, &filter, 10).await.len(), 1);
}

/// PostgreSQL takes 2,704 octets into an index, and a caller may send more.
pub(crate) async fn names_longer_than_an_index_takes_are_cut(place: Place) {
    let store = place.open().await;
    // What it cannot compress.
    let long: String = (0..4_000_u32)
        .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26))
        .collect();
    let record = Cdr {
        call_id: format!("\u{e9}{long}"),
        from_uri: format!("sip:f{long}@example.test"),
        to_uri: format!("sip:t{long}@example.test"),
        origin: Some(format!("o{long}")),
        callee_user: Some(format!("c{long}")),
        ..cdr(0)
    };
    store.insert_cdrs(&[cdr(1), record.clone()]).await.unwrap();
    let filters = [
        CdrFilter {
            call_id: Some(record.call_id.clone()),
            ..CdrFilter::default()
        },
        CdrFilter {
            from: Some(record.from_uri.clone()),
            tenant: record.tenant.clone(),
            ..CdrFilter::default()
        },
        CdrFilter {
            to: Some(format!("t{long}")),
            origin: record.origin.clone(),
            callee_user: record.callee_user.clone(),
            ..CdrFilter::default()
        },
    ];
    for filter in filters {
        let found = store.cdrs(&filter, 10, None).await.unwrap().items;
        let ids: Vec<_> = found.iter().map(|found| found.id).collect();
        assert_eq!(ids, [record.id], "{filter:?}");
        assert_eq!(found[0].from_uri, record.from_uri);
        assert!(record.call_id.starts_with(&found[0].call_id));
    }
    store.close().await;
}

pub(crate) async fn numbers_beyond_the_engine_are_bounded(place: Place) {
    let odd = Cdr {
        from_caller: Some(MediaFlow {
            packets: u64::MAX,
            bytes: u64::MAX,
            lost: u64::MAX,
            jitter_ms: f64::NAN,
            mos: Some(f64::INFINITY),
            burst_ratio: Some(f64::NAN),
            late: Some(u64::MAX),
            ..MediaFlow::default()
        }),
        ..cdr(0)
    };
    let store = filled(&place, std::slice::from_ref(&odd)).await;
    let back = store.cdr(odd.id).await.unwrap().unwrap();
    let most = i64::MAX.unsigned_abs();
    let bounded = MediaFlow {
        packets: most,
        bytes: most,
        lost: most,
        late: Some(most),
        ..MediaFlow::default()
    };
    assert_eq!(back.from_caller, Some(bounded));
}

pub(crate) async fn the_list_is_newest_first_and_paged(place: Place) {
    // Seven calls begin in each millisecond, so that pages end inside one.
    let mut cdrs: Vec<_> = (0..70).map(|n| cdr(n / 7)).collect();
    let store = filled(&place, &cdrs).await;
    cdrs.sort_by_key(|cdr| std::cmp::Reverse((cdr.started, cdr.id)));
    for limit in [1, 10, 35, 69, 70, 71] {
        assert_eq!(
            all(&store, &CdrFilter::default(), limit).await,
            cdrs,
            "{limit}"
        );
    }
    let page = store.cdrs(&CdrFilter::default(), 70, None).await.unwrap();
    assert_eq!(page.next, None, "a full last page is the last");
}

pub(crate) async fn pages_are_not_shifted_by_new_records(place: Place) {
    let cdrs: Vec<_> = (0..10).map(cdr).collect();
    let store = filled(&place, &cdrs).await;
    let filter = CdrFilter::default();
    let first = store.cdrs(&filter, 5, None).await.unwrap();
    store.insert_cdrs(&[cdr(100), cdr(101)]).await.unwrap();
    let second = store.cdrs(&filter, 5, first.next).await.unwrap();
    let ids: HashSet<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|cdr| cdr.id)
        .collect();
    assert_eq!(ids, cdrs.iter().map(|cdr| cdr.id).collect());
}

pub(crate) async fn each_filter_narrows_the_list(place: Place) {
    let base = cdr(0);
    let mut cdrs: Vec<_> = (0..6).map(cdr).collect();
    cdrs[1].from_uri = "sip:carol@example.test".into();
    cdrs[2].to_uri = "tel:+15550177".into();
    cdrs[3].trunk = Some("carrier-b".into());
    cdrs[2].origin = Some("pbx".into());
    cdrs[1].tenant = None;
    cdrs[3].tenant = Some("other".into());
    cdrs[4].callee_user = None;
    cdrs[4].trunk = None;
    cdrs[5].status = 486;
    let store = filled(&place, &cdrs).await;

    let at = |ms: i64| Some(Timestamp::from_millis(T0 + ms));
    let text = |text: &str| Some(text.to_owned());
    let none = CdrFilter::default;
    let expected: [(CdrFilter, &[usize]); 18] = [
        (none(), &[5, 4, 3, 2, 1, 0]),
        (
            CdrFilter {
                call_id: text(&cdrs[3].call_id),
                ..none()
            },
            &[3],
        ),
        (
            CdrFilter {
                call_id: text("call-"),
                ..none()
            },
            &[],
        ),
        (
            CdrFilter {
                from: text("carol"),
                ..none()
            },
            &[1],
        ),
        (
            CdrFilter {
                from: text("sip:carol@example.test"),
                ..none()
            },
            &[1],
        ),
        (
            CdrFilter {
                from: text("sip:carol@other.test"),
                ..none()
            },
            &[],
        ),
        (
            CdrFilter {
                to: text("+15550177"),
                ..none()
            },
            &[2],
        ),
        (
            CdrFilter {
                to: Some(base.to_uri),
                ..none()
            },
            &[5, 4, 3, 1, 0],
        ),
        (
            CdrFilter {
                trunk: text("carrier-b"),
                ..none()
            },
            &[3],
        ),
        (
            CdrFilter {
                origin: text("pbx"),
                ..none()
            },
            &[2],
        ),
        (
            CdrFilter {
                callee_user: text("bob@example.test"),
                since: at(3),
                ..none()
            },
            &[5, 3],
        ),
        (
            CdrFilter {
                tenant: text("other"),
                ..none()
            },
            &[3],
        ),
        (
            CdrFilter {
                tenant: text("acme"),
                from: text("alice"),
                until: at(5),
                ..none()
            },
            &[4, 2, 0],
        ),
        (
            CdrFilter {
                status: Some(486),
                ..none()
            },
            &[5],
        ),
        (
            CdrFilter {
                since: at(4),
                ..none()
            },
            &[5, 4],
        ),
        (
            CdrFilter {
                until: at(2),
                ..none()
            },
            &[1, 0],
        ),
        (
            CdrFilter {
                since: at(1),
                until: at(3),
                ..none()
            },
            &[2, 1],
        ),
        (
            CdrFilter {
                trunk: text("carrier-a"),
                status: Some(200),
                since: at(1),
                ..none()
            },
            &[2, 1],
        ),
    ];
    for (filter, expected) in expected {
        let expected: Vec<_> = expected.iter().map(|&n| cdrs[n].clone()).collect();
        for limit in [1, 100] {
            assert_eq!(all(&store, &filter, limit).await, expected, "{filter:?}");
        }
    }
}

pub(crate) async fn filters_are_data_not_sql(place: Place) {
    let store = filled(&place, &[cdr(0)]).await;
    let evil = || Some("' OR 1=1; DROP TABLE cdrs; --".to_owned());
    let filter = CdrFilter {
        call_id: evil(),
        from: evil(),
        to: evil(),
        origin: evil(),
        callee_user: evil(),
        tenant: evil(),
        trunk: evil(),
        ..CdrFilter::default()
    };
    assert_eq!(all(&store, &filter, 10).await, []);
    assert_eq!(all(&store, &CdrFilter::default(), 10).await.len(), 1);
}

pub(crate) async fn a_second_start_keeps_the_data(place: Place) {
    let cdr = cdr(0);
    let store = filled(&place, std::slice::from_ref(&cdr)).await;
    store.close().await;
    assert!(store.ping().await.is_err(), "closed");
    let store = place.open().await;
    store.ping().await.unwrap();
    assert_eq!(store.cdr(cdr.id).await.unwrap(), Some(cdr));
}

pub(crate) async fn processes_may_start_together(place: Place) {
    let opens = (0..4).map(|_| {
        let (url, dir) = (place.url.clone(), place.dir.clone());
        tokio::spawn(async move { Store::open(&url, &dir).await })
    });
    for open in opens.collect::<Vec<_>>() {
        let store = open.await.unwrap().unwrap();
        store.insert_cdrs(&[cdr(0)]).await.unwrap();
    }
    assert_eq!(
        all(&place.open().await, &CdrFilter::default(), 100)
            .await
            .len(),
        4
    );
}

/// What an earlier version has written is still found by the indexes that this one has.
pub(crate) async fn an_older_schema_is_upgraded(place: Place) {
    const BEFORE: i64 = 6;
    let sql = "INSERT INTO cdrs (id, call_id, from_uri, from_user, to_uri, to_user, request_uri, source, \
        transport, trunk, started_ms, ended_ms, status, reason, ended_by, cause) VALUES \
        ('019aa0c4-0000-7000-8000-000000000001', 'old', 'sip:a@b', 'a', 'sip:c@d', 'c', 'sip:c@d', \
        '192.0.2.1:5060', 'udp', 'carrier-a', 5, 6, 404, 'Not Found', 'node', 'no-route')";
    let route = "INSERT INTO routing (kind, id, document) VALUES ('route', 'old', '{}')";
    let number = r#"INSERT INTO routing (kind, id, document) VALUES
        ('number', '100', '{"number":"100","account":"AC1","voice_url":"http://a/"}'),
        ('number', '101', '{"number":"101","application":"crm"}'), ('number', '102', '{"number":"102","user":"a"}')"#;
    let mut before = sqlx::migrate!();
    before
        .migrations
        .to_mut()
        .retain(|one| one.version <= BEFORE);
    if place.url.starts_with("sqlite") {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.dir.join("test.db"));
        let options = options.create_if_missing(true);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        before.run(&pool).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        sqlx::query(route).execute(&pool).await.unwrap();
        sqlx::query(number).execute(&pool).await.unwrap();
        pool.close().await;
    } else {
        let pool = sqlx::PgPool::connect(&place.url).await.unwrap();
        before.run(&pool).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        sqlx::query(route).execute(&pool).await.unwrap();
        sqlx::query(number).execute(&pool).await.unwrap();
        pool.close().await;
    }

    let new = Cdr {
        from_uri: "sip:a@b".into(),
        to_uri: "sip:c@d".into(),
        origin: None,
        callee_user: None,
        ..cdr(0)
    };
    let store = filled(&place, std::slice::from_ref(&new)).await;
    let text = |text: &str| Some(text.to_owned());
    let none = CdrFilter::default;
    for filter in [
        none(),
        CdrFilter {
            from: text("a"),
            ..none()
        },
        CdrFilter {
            to: text("c"),
            ..none()
        },
        CdrFilter {
            trunk: text("carrier-a"),
            ..none()
        },
    ] {
        let listed = all(&store, &filter, 1).await;
        let ids: Vec<_> = listed.iter().map(|cdr| cdr.call_id.as_str()).collect();
        assert_eq!(ids, [new.call_id.as_str(), "old"], "{filter:?}");
    }
    let kept = store.routing(RoutingKind::Route, "", 9).await.unwrap();
    assert_eq!((kept.len(), kept[0].id.as_str()), (1, "old"));
    assert_eq!((kept[0].updated.millis(), &kept[0].tenant), (0, &None));
    let numbers = store.numbers_of(&["AC1", "crm", "a"], "x").await.unwrap();
    let numbers: Vec<_> = numbers.iter().map(|number| number.id.as_str()).collect();
    assert_eq!(numbers, ["100", "101"]);
}

pub(crate) async fn a_newer_schema_is_refused(place: Place) {
    place.open().await.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        SELECT 99999999999999, 'from the future', success, checksum, 0 FROM _sqlx_migrations LIMIT 1";
    if place.url.starts_with("sqlite") {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.dir.join("test.db"));
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query(newer).execute(&pool).await.unwrap();
        pool.close().await;
    } else {
        let pool = sqlx::PgPool::connect(&place.url).await.unwrap();
        sqlx::query(newer).execute(&pool).await.unwrap();
        pool.close().await;
    }
    let error = Store::open(&place.url, &place.dir).await.unwrap_err();
    assert!(matches!(error, StoreError::Migrate { .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

pub(crate) async fn the_writer_writes_everything(place: Place) {
    let store = place.open().await;
    let (writer, task) = CdrWriter::start(store.clone(), WriterOptions::default());
    for n in 0..1_000 {
        writer.submit(cdr(n));
    }
    assert_eq!(task.stop(Duration::from_secs(30)).await, 0);
    let counts = writer.counts();
    assert_eq!(
        (counts.written, counts.dropped, counts.queued),
        (1_000, 0, 0)
    );
    assert_eq!(all(&store, &CdrFilter::default(), 1_000).await.len(), 1_000);
}

/// The server dies while calls go on, and comes back: every record is there, and there once.
pub(crate) async fn the_writer_outlives_an_outage(place: Place, server: &mut Postgres) {
    let store = place.open().await;
    let options = WriterOptions {
        linger: Duration::from_millis(200),
        ..WriterOptions::default()
    };
    let (writer, task) = CdrWriter::start(store.clone(), options);
    let submit = async |range: std::ops::Range<i64>| {
        for n in range {
            writer.submit(cdr(n));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    submit(0..50).await;
    server.pause();
    submit(50..150).await;
    assert!(store.ping().await.is_err());
    let failed = async {
        while writer.counts().failures == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let failed = tokio::time::timeout(Duration::from_secs(60), failed).await;
    failed.unwrap();
    assert!(writer.counts().queued >= 100, "{:?}", writer.counts());
    server.resume();
    submit(150..200).await;
    assert_eq!(task.stop(Duration::from_secs(30)).await, 0);
    assert_eq!(writer.counts().written, 200);
    let listed = all(&store, &CdrFilter::default(), 100).await;
    let calls: HashSet<_> = listed.iter().map(|cdr| &cdr.call_id).collect();
    assert_eq!((listed.len(), calls.len()), (200, 200));
}

pub(crate) async fn trunks_have_their_figures(place: Place) {
    let failed = |ms, status, ringing: Option<i64>| Cdr {
        status,
        answered: None,
        ringing: ringing.map(|at| Timestamp::from_millis(T0 + ms + at)),
        from_caller: None,
        from_callee: None,
        ..cdr(ms)
    };
    let other = Cdr {
        trunk: Some("b".into()),
        ..failed(5, 503, None)
    };
    let nobodys = Cdr {
        trunk: None,
        ..cdr(6)
    };
    // Answered; busy; rang; failed in the network.
    let calls = [
        cdr(0),
        failed(1, 486, None),
        failed(2, 487, Some(321)),
        failed(3, 503, None),
        other,
        nobodys,
    ];
    let store = filled(&place, &calls).await;
    let at = |ms: i64| Timestamp::from_millis(T0 + ms);
    let all = store.trunk_stats(None, at(0), at(100)).await.unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
    let wanted = TrunkStats {
        trunk: "carrier-a".into(),
        offered: 4,
        answered: 1,
        effective: 3,
        talk_ms: 60_001,
        post_dial_delay_ms: Some(221.0),
        mos: Some(4.375),
    };
    assert_eq!(all[1], wanted);
    assert_eq!((all[0].offered, all[0].effective, all[0].mos), (1, 0, None));
    assert_eq!(all[0].post_dial_delay_ms, None);
    let later = store.trunk_stats(None, at(1), at(2)).await.unwrap();
    assert_eq!((later.len(), later[0].offered), (1, 1));
}
