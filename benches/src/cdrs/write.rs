//! How many records a second are written.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection, postgres::PgPoolCopyExt as _};
use store::{
    CallEvent, CallRecord, Cause, Cdr, CdrWriter, EndedBy, MediaFlow, Store, Timestamp, Uuid,
    WriterOptions,
};

use super::{Plan, open};
use crate::spread::Spread;

/// The way of the node.
pub(super) const WRITER: &str = "CdrWriter";
/// The same of calls of three minutes, with how they sounded.
const SAMPLED: &str = "CdrWriter, with quality";
const COPY: &str = "bare COPY";
const INSERT: &str = "bare INSERT of 256 rows";
/// Records in a transaction, as the writer has them.
const BATCH: usize = 1024;
/// Records that may wait for the writer.
const WAITING: u64 = 8_000;

type Error = Box<dyn std::error::Error>;

/// Each way in turn, each round into an empty table.
pub(super) async fn measure(
    plan: &Plan,
    url: &str,
    folder: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<(&'static str, Spread)>, Error> {
    let store = open(url, folder).await?;
    let mut rates = [
        (WRITER, Vec::new()),
        (SAMPLED, Vec::new()),
        (COPY, Vec::new()),
        (INSERT, Vec::new()),
    ];
    for round in 1..=plan.rounds {
        for (way, rates) in &mut rates {
            empty(url).await?;
            let cdrs: Vec<Cdr> = (0..plan.records).map(cdr).collect();
            let took = match *way {
                WRITER => by_writer(&store, cdrs.into_iter().map(CallRecord::from)).await?,
                SAMPLED => by_writer(&store, cdrs.into_iter().map(sampled)).await?,
                COPY => by_copy(url, &cdrs).await?,
                _ => by_insert(&store, &cdrs).await?,
            };
            let rate = f64::from(plan.records) / took.as_secs_f64();
            say(&format!("round {round}: {way}: {rate:.0} records a second"));
            rates.push(rate);
        }
    }
    empty(url).await?;
    store.close().await;
    Ok(rates.map(|(way, rates)| (way, Spread::of(rates))).into())
}

async fn empty(url: &str) -> Result<(), Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("TRUNCATE cdrs CASCADE")
        .execute(&mut connection)
        .await?;
    sqlx::query("CHECKPOINT").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

async fn by_writer(
    store: &Store,
    records: impl ExactSizeIterator<Item = CallRecord>,
) -> Result<Duration, Error> {
    let count = records.len() as u64;
    let (writer, task) = CdrWriter::start(store.clone(), WriterOptions::default());
    let began = Instant::now();
    for record in records {
        while writer.counts().queued >= WAITING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        writer.submit(record);
    }
    // It writes what waits, and ends.
    let lost = task.stop(Duration::from_secs(600)).await;
    let took = began.elapsed();
    let counts = writer.counts();
    if lost > 0 || counts.written != count {
        return Err(format!("not all was written: {counts:?}").into());
    }
    Ok(took)
}

/// The store's own statements, one after the other, without a queue before them.
async fn by_insert(store: &Store, cdrs: &[Cdr]) -> Result<Duration, Error> {
    let began = Instant::now();
    for part in cdrs.chunks(BATCH) {
        store.insert_cdrs(part).await?;
    }
    Ok(began.elapsed())
}

/// What PostgreSQL takes at most over one connection: text that was made before, into the same table with the
/// same indexes.
async fn by_copy(url: &str, cdrs: &[Cdr]) -> Result<Duration, Error> {
    let texts: Vec<String> = cdrs
        .chunks(BATCH)
        .map(|part| part.iter().map(line).collect())
        .collect();
    let pool = sqlx::PgPool::connect(url).await?;
    let began = Instant::now();
    for text in texts {
        let mut copy = pool.copy_in_raw(STATEMENT).await?;
        copy.send(text.as_bytes()).await?;
        copy.finish().await?;
    }
    let took = began.elapsed();
    pool.close().await;
    Ok(took)
}

const STATEMENT: &str = "COPY cdrs (id, call_id, from_uri, from_user, to_uri, to_user, request_uri, source, \
    transport, origin, callee_user, tenant, trunk, route, started_ms, ringing_ms, answered_ms, ended_ms, status, \
    reason, ended_by, cause, datapath, from_caller_packets, from_caller_bytes, from_caller_lost, \
    from_caller_jitter_ms, from_caller_mos, from_caller_rtt_ms, from_caller_burst_ratio, from_caller_late, \
    from_caller_longest_gap_ms, from_caller_duplicates, from_caller_reordered, from_caller_sources, \
    from_callee_packets, from_callee_bytes, from_callee_lost, from_callee_jitter_ms, from_callee_mos, \
    from_callee_rtt_ms, from_callee_burst_ratio, from_callee_late, from_callee_longest_gap_ms, \
    from_callee_duplicates, from_callee_reordered, from_callee_sources) FROM STDIN";

fn line(cdr: &Cdr) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "\\N".to_owned());
    let time = |time: Option<Timestamp>| {
        time.map_or_else(|| "\\N".to_owned(), |time| time.millis().to_string())
    };
    let user = |uri: &str| {
        uri["sip:".len()..]
            .split('@')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut fields = vec![
        cdr.id.to_string(),
        cdr.call_id.clone(),
        cdr.from_uri.clone(),
        user(&cdr.from_uri),
        cdr.to_uri.clone(),
        user(&cdr.to_uri),
        cdr.request_uri.clone(),
        cdr.source.to_string(),
        cdr.transport.clone(),
        text(&cdr.origin),
        text(&cdr.callee_user),
        text(&cdr.tenant),
        text(&cdr.trunk),
        text(&cdr.route),
        cdr.started.millis().to_string(),
        time(cdr.ringing),
        time(cdr.answered),
        cdr.ended.millis().to_string(),
        cdr.status.to_string(),
        cdr.reason.clone(),
        cdr.ended_by.name().to_owned(),
        cdr.cause.name().to_owned(),
        text(&cdr.datapath),
    ];
    for flow in [cdr.from_caller, cdr.from_callee].into_iter().flatten() {
        let ratio =
            |ratio: Option<f64>| ratio.map_or_else(|| "\\N".to_owned(), |it| it.to_string());
        let count =
            |count: Option<u64>| count.map_or_else(|| "\\N".to_owned(), |it| it.to_string());
        fields.extend([
            flow.packets.to_string(),
            flow.bytes.to_string(),
            flow.lost.to_string(),
            flow.jitter_ms.to_string(),
            ratio(flow.mos),
            ratio(flow.rtt_ms),
            ratio(flow.burst_ratio),
            count(flow.late),
            count(flow.longest_gap_ms),
            count(flow.duplicates),
            count(flow.reordered),
            count(flow.sources),
        ]);
    }
    fields.join("\t") + "\n"
}

/// With a sample for each ten seconds.
fn sampled(cdr: Cdr) -> CallRecord {
    let sample = r#"{"time":"2026-01-01T00:00:00.000Z","caller":{"packets":9000,"lost":3,"jitter_ms":0.512,"mos":4.25},"callee":{"packets":8990,"lost":1,"jitter_ms":0.493,"mos":4.31}}"#;
    let event = CallEvent {
        call: cdr.id,
        number: 0,
        at: cdr.ended,
        kind: "quality".to_owned(),
        data: format!(r#"{{"samples":[{}]}}"#, [sample; 18].join(",")),
    };
    CallRecord {
        events: vec![event],
        ..cdr.into()
    }
}

/// A call like any other: of one of many users, to one of many numbers.
fn cdr(number: u32) -> Cdr {
    let mixed = number.wrapping_mul(2_654_435_761);
    let (user, called) = (mixed % 20_000, mixed / 7 % 200_000);
    let start = Timestamp::from_millis(1_763_700_000_000 + i64::from(number));
    let flow = |packets: u32| MediaFlow {
        packets: packets.into(),
        bytes: u64::from(packets) * 172,
        lost: u64::from(mixed % 3),
        jitter_ms: 0.5,
        mos: Some(4.25),
        rtt_ms: Some(24.5),
        burst_ratio: Some(1.0),
        late: Some(0),
        longest_gap_ms: Some(41),
        duplicates: Some(0),
        reordered: Some(0),
        sources: Some(1),
    };
    Cdr {
        id: Uuid::now_v7(),
        call_id: format!("{mixed:08x}-{number:08x}@192.0.2.{}", mixed % 250),
        from_uri: format!("sip:user{user}@example.test"),
        to_uri: format!("sip:+4930{called:06}@example.test"),
        request_uri: format!("sip:+4930{called:06}@198.51.100.1:5060"),
        source: ([192, 0, 2, 1], 5060).into(),
        transport: "udp".to_owned(),
        origin: Some(format!("user{user}@example.test")),
        callee_user: mixed
            .is_multiple_of(3)
            .then(|| format!("user{}@example.test", called % 20_000)),
        tenant: Some(format!("tenant-{}", user % 50)),
        trunk: Some(format!("carrier-{}", mixed % 4)),
        route: Some("+4930".to_owned()),
        started: start,
        ringing: Some(start.later(Duration::from_millis(150))),
        answered: Some(start.later(Duration::from_millis(2_500))),
        ended: start.later(Duration::from_secs(62)),
        status: 200,
        reason: "OK".to_owned(),
        ended_by: EndedBy::Caller,
        cause: Cause::Bye,
        datapath: Some("xdp".to_owned()),
        from_caller: Some(flow(3_000)),
        from_callee: Some(flow(2_990)),
    }
}
