//! The writer against a database that comes and goes, in simulated time.

use std::sync::Mutex;

use tempfile::TempDir;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;
use crate::{Cause, Cdr, EndedBy, Timestamp};

/// A database in memory. Each insert takes a permit, and fails as `failing` says.
#[derive(Clone)]
struct Flaky(Arc<Inner>);

struct Inner {
    rows: Mutex<Vec<String>>,
    /// How many entries each row has.
    events: Mutex<Vec<usize>>,
    batches: Mutex<Vec<usize>>,
    /// Inserts that still fail.
    failing: Mutex<u32>,
    permits: Semaphore,
}

impl Flaky {
    fn new(failing: u32, permits: usize) -> Self {
        Self(Arc::new(Inner {
            rows: Mutex::default(),
            events: Mutex::default(),
            batches: Mutex::default(),
            failing: Mutex::new(failing),
            permits: Semaphore::new(permits),
        }))
    }

    fn rows(&self) -> Vec<String> {
        self.0.rows.lock().unwrap().clone()
    }
}

impl Sink for Flaky {
    async fn insert(&self, records: &[CallRecord]) -> Result<(), StoreError> {
        self.0.permits.acquire().await.unwrap().forget();
        self.0.batches.lock().unwrap().push(records.len());
        let mut failing = self.0.failing.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err(StoreError::Timeout(0));
        }
        let ids = records.iter().map(|record| record.cdr.call_id.clone());
        if ids.clone().any(|id| id == "bad") {
            return Err(StoreError::Rejected(sqlx::Error::Protocol("bad".into())));
        }
        self.0.rows.lock().unwrap().extend(ids);
        let events = records.iter().map(|record| record.events.len());
        self.0.events.lock().unwrap().extend(events);
        Ok(())
    }
}

const EVER: usize = Semaphore::MAX_PERMITS;

pub(in crate::cdr) fn cdr(call_id: &str) -> Cdr {
    Cdr {
        id: Uuid::now_v7(),
        call_id: call_id.into(),
        from_uri: "sip:alice@example.test".into(),
        to_uri: "sip:bob@example.test".into(),
        request_uri: "sip:bob@example.test".into(),
        source: "192.0.2.1:5060".parse().unwrap(),
        transport: "udp".into(),
        origin: None,
        tenant: None,
        callee_user: None,
        trunk: None,
        route: None,
        started: Timestamp::from_millis(0),
        ringing: None,
        answered: None,
        ended: Timestamp::from_millis(1),
        status: 486,
        reason: "Busy Here".into(),
        ended_by: EndedBy::Callee,
        cause: Cause::Rejected,
        datapath: None,
        from_caller: None,
        from_callee: None,
    }
}

/// A writer without a folder to keep anything in.
fn start(sink: Flaky, options: WriterOptions) -> (CdrWriter, WriterTask) {
    CdrWriter::start_to(sink, Spill::at("/proc/nonexistent".as_ref()), options)
}

fn start_in(dir: &TempDir, sink: &Flaky) -> (CdrWriter, WriterTask) {
    CdrWriter::start_to(sink.clone(), Spill::at(dir.path()), options(100, 10))
}

fn options(backlog: usize, batch: usize) -> WriterOptions {
    WriterOptions {
        backlog,
        detailed: 4,
        batch,
        linger: Duration::ZERO,
        ..WriterOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn records_wait_out_an_outage_and_are_written_once() {
    let sink = Flaky::new(7, EVER);
    let (writer, task) = start(sink.clone(), options(100, 10));
    for n in 0..25 {
        writer.submit(cdr(&n.to_string()));
    }
    // One that fails and succeeds when it is repeated is no outage; this is.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(writer.outage(), None);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(writer.outage(), Some(Duration::from_secs(3)));
    sleep(Duration::from_secs(57)).await;
    assert_eq!(writer.outage(), None);

    let expected: Vec<_> = (0..25).map(|n| n.to_string()).collect();
    assert_eq!(sink.rows(), expected);
    let counts = writer.counts();
    assert_eq!((counts.written, counts.dropped), (25, 0));
    assert_eq!((counts.queued, counts.failures), (0, 7));
    assert_eq!(task.stop(Duration::from_secs(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_waits_for_others_but_not_at_the_end() {
    let linger = Duration::from_millis(200);
    let sink = Flaky::new(0, EVER);
    let options = WriterOptions {
        linger,
        ..options(100, 10)
    };
    let (writer, task) = start(sink.clone(), options);
    for n in 0..5 {
        writer.submit(cdr(&n.to_string()));
        sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(writer.counts().written, 0);
    sleep(Duration::from_millis(60)).await;
    assert_eq!(*sink.0.batches.lock().unwrap(), [5]);

    // A full batch does not wait.
    (0..10).for_each(|n| writer.submit(cdr(&n.to_string())));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(*sink.0.batches.lock().unwrap(), [5, 10]);

    writer.submit(cdr("last"));
    let begin = Instant::now();
    assert_eq!(task.stop(Duration::from_secs(1)).await, 0);
    assert!(begin.elapsed() < linger);
    assert_eq!(*sink.0.batches.lock().unwrap(), [5, 10, 1]);
}

#[tokio::test(start_paused = true)]
async fn retries_back_off_to_the_longest_wait() {
    let sink = Flaky::new(u32::MAX, EVER);
    let (writer, task) = start(sink, options(10, 10));
    writer.submit(cdr("a"));
    // 0.1 + 0.2 + … + 3.2 s are 6 waits of 6.3 s in sum; from then on one try each 5 s.
    sleep(Duration::from_millis(6_350)).await;
    assert_eq!(writer.counts().failures, 7);
    sleep(Duration::from_secs(50)).await;
    assert_eq!(writer.counts().failures, 17);
    assert_eq!(task.stop(Duration::ZERO).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts_and_does_not_block() {
    let sink = Flaky::new(0, 0);
    let (writer, task) = start(sink.clone(), options(5, 2));
    writer.submit(cdr("first"));
    sleep(Duration::from_millis(1)).await;
    // One is under way, so that five fit.
    for n in 0..8 {
        writer.submit(cdr(&n.to_string()));
    }
    let counts = writer.counts();
    assert_eq!((counts.queued, counts.written, counts.dropped), (6, 0, 3));

    sink.0.permits.add_permits(100);
    assert_eq!(task.stop(Duration::from_secs(1)).await, 0);
    assert_eq!(sink.rows(), ["first", "0", "1", "2", "3", "4"]);
    assert_eq!(writer.counts().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_refused_does_not_hold_up_the_others() {
    let sink = Flaky::new(0, EVER);
    let (writer, task) = start(sink.clone(), options(100, 10));
    for call_id in ["a", "bad", "b", "bad", "c"] {
        writer.submit(cdr(call_id));
    }
    assert_eq!(task.stop(Duration::from_secs(1)).await, 0);
    assert_eq!(sink.rows(), ["a", "b", "c"]);
    let counts = writer.counts();
    assert_eq!((counts.written, counts.dropped, counts.failures), (3, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn stop_writes_what_waits() {
    let sink = Flaky::new(3, EVER);
    let (writer, task) = start(sink.clone(), options(100, 10));
    for n in 0..33 {
        writer.submit(cdr(&n.to_string()));
    }
    assert_eq!(task.stop(Duration::from_secs(5)).await, 0);
    assert_eq!(sink.rows().len(), 33);
    writer.submit(cdr("late"));
    assert_eq!(writer.counts().dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn stop_gives_up_in_time_and_tells_what_is_lost() {
    let sink = Flaky::new(u32::MAX, EVER);
    let (writer, task) = start(sink, options(100, 10));
    for n in 0..33 {
        writer.submit(cdr(&n.to_string()));
    }
    let begin = Instant::now();
    assert_eq!(task.stop(Duration::from_secs(3)).await, 33);
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    let counts = writer.counts();
    assert_eq!((counts.queued, counts.dropped), (0, 33));
}

#[tokio::test(start_paused = true)]
async fn the_writer_ends_when_nobody_can_submit() {
    let sink = Flaky::new(0, EVER);
    let (writer, task) = start(sink.clone(), options(100, 10));
    writer.submit(cdr("a"));
    drop(writer);
    let WriterTask { task, .. } = task;
    assert_eq!(task.await.unwrap(), 0);
    assert_eq!(sink.rows(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_end_finds_unwritten_is_written_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..33).map(|n| n.to_string()).collect();
    let away = Flaky::new(u32::MAX, EVER);
    let (writer, task) = start_in(&dir, &away);
    names.iter().for_each(|name| writer.submit(cdr(name)));
    assert_eq!(task.stop(Duration::from_secs(3)).await, 0);
    assert_eq!((writer.counts().queued, writer.counts().dropped), (33, 0));

    // The next process finds the database away too, and has a record of its own.
    let (writer, task) = start_in(&dir, &away);
    sleep(Duration::from_secs(1)).await;
    writer.submit(cdr("33"));
    assert_eq!(task.stop(Duration::from_secs(3)).await, 0);

    let back = Flaky::new(0, EVER);
    let (writer, task) = start_in(&dir, &back);
    writer.submit(cdr("34"));
    assert_eq!(task.stop(Duration::from_secs(3)).await, 0);
    let names: Vec<_> = (0..35).map(|n| n.to_string()).collect();
    assert_eq!(back.rows(), names);
    assert_eq!(*back.0.batches.lock().unwrap().iter().max().unwrap(), 10);
    assert_eq!(writer.counts().written, 35);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_line_does_not_hold_up_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let away = Flaky::new(u32::MAX, EVER);
    let (writer, task) = start_in(&dir, &away);
    ["a", "b", "c"]
        .iter()
        .for_each(|name| writer.submit(cdr(name)));
    assert_eq!(task.stop(Duration::ZERO).await, 0);

    let file = dir.path().join("cdrs-unwritten.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines[1] = &lines[1][..40];
    std::fs::write(&file, lines.join("\n")).unwrap();

    let back = Flaky::new(0, EVER);
    let (_writer, task) = start_in(&dir, &back);
    assert_eq!(task.stop(Duration::from_secs(1)).await, 0);
    assert_eq!(back.rows(), ["a", "c"]);
}

/// While many wait, what would take the most memory is left out.
#[tokio::test]
async fn how_calls_sounded_is_left_out_while_many_records_wait() {
    let sink = Flaky::new(0, EVER);
    let (writer, task) = start(sink.clone(), options(100, 10));
    let event = |call, kind: &str| crate::CallEvent {
        call,
        number: 0,
        at: Timestamp::from_millis(0),
        kind: kind.into(),
        data: "{}".into(),
    };
    // Nothing is taken from the queue before this task rests.
    for number in 0..6 {
        let cdr = cdr(&format!("call {number}"));
        let events = vec![event(cdr.id, "held"), event(cdr.id, QUALITY)];
        writer.submit(CallRecord {
            events,
            ..cdr.into()
        });
    }
    task.stop(Duration::from_secs(5)).await;
    assert_eq!(*sink.0.events.lock().unwrap(), [2, 2, 2, 2, 1, 1]);
}
