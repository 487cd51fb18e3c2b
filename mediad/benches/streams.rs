//! What Media Streams cost: `cargo bench --package mediad --bench streams`.
//!
//! A thread is the shard: every 20 ms it hears and plays a frame of each stream and rings once. The streams' tasks have a
//! thread of their own, and so has the server, which takes every frame and sends one back for every 25th. Told are the
//! CPU of the streams' thread, and how long a frame takes to the server's code and from it to the shard's `play`, the
//! wait for its next turn (0 to 20 ms) included.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use control::media::{NewStream, Side, VoiceEvent};
use futures_util::{SinkExt as _, StreamExt as _};
use mediad::stream::{Bell, FRAME, Port, Settings, Track, Wake, open};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;

const TURN: Duration = Duration::from_millis(20);
/// 10 s.
const TURNS: usize = 500;

type Times = Arc<Mutex<Vec<Duration>>>;

/// What the two sides know of each other's time.
#[derive(Default)]
struct Clocks {
    /// When each turn was.
    turns: Mutex<Vec<Instant>>,
    /// When the server sent what each stream is to play.
    sent: Vec<Mutex<Option<Instant>>>,
    heard: Times,
    played: Times,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "streams  audio  CPU of a core  a stream  to the server p50/p99 ms  to play p50/p99 ms"
    );
    for raw in [false, true] {
        for count in [1, 30, 100, 300] {
            measure(count, raw)?;
        }
    }
    Ok(())
}

fn measure(count: usize, raw: bool) -> Result<(), Box<dyn std::error::Error>> {
    let clocks = Arc::new(Clocks {
        sent: (0..count).map(|_| Mutex::default()).collect(),
        ..Clocks::default()
    });
    let server = runtime("server")?;
    let listener = server.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let url = format!("ws://{}", listener.local_addr()?);
    server.spawn(serve(listener, Arc::clone(&clocks)));

    let settings = Settings::new(true, Arc::new(|_| true))?;
    let (report, mut events) = tokio::sync::mpsc::unbounded_channel();
    let bell = Bell::start(0)?;
    let mut ports: Vec<Port> = (0..count)
        .map(|stream| {
            let report = report.clone();
            let report = Box::new(move |event| {
                let _ = report.send(event);
            });
            open(
                new_stream(&url, stream, raw),
                settings.clone(),
                &bell,
                Wake::new(|| {}),
                report,
            )
        })
        .collect();
    for _ in 0..count {
        let event = events.blocking_recv();
        assert_eq!(event, Some(VoiceEvent::StreamStarted { job: 0 }));
    }
    let before = cpu("streams-0")?;
    let begin = Instant::now();
    run(&mut ports, &bell, &clocks);
    let (ran, passed) = (cpu("streams-0")? - before, begin.elapsed());
    let share = ran.as_secs_f64() / passed.as_secs_f64() * 100.0;
    println!(
        "{count:7}  {}   {share:10.1} %  {:6.3} %  {:>23}  {:>18}",
        if raw { "raw " } else { "JSON" },
        share / count as f64,
        percentiles(&clocks.heard),
        percentiles(&clocks.played),
    );
    assert!(
        events.try_recv().is_err(),
        "a stream was warned of, or ended"
    );
    Ok(())
}

/// The shard.
fn run(ports: &mut [Port], bell: &Bell, clocks: &Clocks) {
    let begin = Instant::now();
    let frame = [1_000; FRAME];
    for turn in 0..TURNS {
        let at = begin + TURN * u32::try_from(turn).unwrap_or(0);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        lock(&clocks.turns).push(Instant::now());
        let mut out = [0; FRAME];
        for (port, sent) in ports.iter_mut().zip(&clocks.sent) {
            port.hear(Track::Inbound, &frame);
            if port.play(&mut out).is_some()
                && let Some(sent) = lock(sent).take()
            {
                lock(&clocks.played).push(sent.elapsed());
            }
        }
        bell.ring();
    }
}

async fn serve(listener: TcpListener, clocks: Arc<Clocks>) {
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(answer(tcp, Arc::clone(&clocks)));
    }
}

async fn answer(tcp: TcpStream, clocks: Arc<Clocks>) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_async(tcp).await.ok()?;
    let _connected = socket.next().await?.ok()?;
    let start = socket.next().await?.ok()?;
    let start: serde_json::Value = serde_json::from_str(start.to_text().ok()?).ok()?;
    let stream: usize = start["start"]["callSid"].as_str()?.parse().ok()?;
    let raw = start["start"]["mediaFormat"]["encoding"] == "audio/l16";
    let piece = if raw {
        Message::binary(vec![1; FRAME * 2])
    } else {
        let payload = "AAAA".repeat(FRAME / 3);
        Message::text(format!(
            r#"{{"event":"media","media":{{"payload":"{payload}"}}}}"#
        ))
    };
    let mut turn = 0;
    while let Some(Ok(message)) = socket.next().await {
        if !(message.is_binary() || message.is_text()) {
            break;
        }
        let at = lock(&clocks.turns).get(turn).copied()?;
        lock(&clocks.heard).push(at.elapsed());
        turn += 1;
        // Not all of them in the same turn.
        if (turn + stream).is_multiple_of(25) {
            *lock(&clocks.sent[stream]) = Some(Instant::now());
            socket.send(piece.clone()).await.ok()?;
        }
    }
    None
}

fn new_stream(url: &str, stream: usize, raw: bool) -> NewStream {
    let parameter = raw.then(|| ("x-raw".to_owned(), "l16".to_owned()));
    NewStream {
        job: 0,
        side: Side::A,
        account_sid: String::new(),
        call_sid: stream.to_string(),
        stream_sid: "MZ".to_owned(),
        url: url.to_owned(),
        public: false,
        inbound: true,
        outbound: false,
        bidirectional: true,
        parameters: parameter.into_iter().collect(),
        audio_format: None,
        sample_rate: None,
        signature: String::new(),
    }
}

fn runtime(name: &str) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
}

/// How long the threads of a name have run.
fn cpu(name: &str) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir("/proc/self/task")? {
        let folder = thread?.path();
        let comm = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        if comm.trim() == name {
            let text = fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
            let ran = text
                .split_whitespace()
                .next()
                .and_then(|ran| ran.parse().ok());
            total += Duration::from_nanos(ran.unwrap_or(0));
        }
    }
    Ok(total)
}

fn percentiles(times: &Times) -> String {
    let mut times = lock(times).clone();
    times.sort_unstable();
    let at = |share: usize| {
        let time = times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
    };
    format!("{:.2}/{:.2}", at(50), at(99))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
