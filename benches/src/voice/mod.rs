//! Callers who talk with an application over Media Streams: what the bridge between RTP and WebSocket adds, and costs.
//!
//! A node runs as its programs do; this program is the phones, with plain SIP and RTP, and the application. Each frame
//! that a phone sends can be told from all others, so its way is timed from the phone's socket to the server's code, and
//! back from there to the phone's socket: what both ends take themselves, and the kernel, are in it.

mod app;
mod floor;
mod phones;
mod probe;
mod report;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use loadtest::{
    node::{Config, Form, Node},
    process::Interrupt,
};

use self::{
    app::{FLOOD, Mode, Shared},
    phones::Phones,
    probe::Histogram,
};
pub use self::{floor::bare, report::Report};
use crate::{cpu, error::BenchError, spread::Rounds};

const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 93, 0, 1));
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 93, 0, 2));
const NUMBER: &str = "200";
/// Calls a second that are set up.
const RATE: u32 = 20;
/// What is under way settles, before and after what is counted.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two looks at a long run.
const STEP: Duration = Duration::from_secs(30);

/// How a stream's audio is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audio {
    /// As at Twilio: base64 in JSON.
    Json,
    /// Binary L16.
    Raw,
}

impl Audio {
    const ALL: [Self; 2] = [Self::Json, Self::Raw];

    const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Raw => "raw",
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Calls that are up at once, in turns.
    pub calls: Vec<usize>,
    /// Of each measurement.
    pub time: Duration,
    /// Turns.
    pub rounds: u32,
    /// How long the most calls are up once more, at the end; zero for not at all.
    pub soak: Duration,
}

/// Of one run.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// p50 and p99, in milliseconds.
    there: [f64; 2],
    back: [f64; 2],
    clear: [f64; 2],
    setup: [f64; 2],
    /// The median of what the application took of it.
    own: f64,
    /// Hundredths of a core that a call takes: of all of Tandem's programs, and of mediad.
    cpu: f64,
    cpu_media: f64,
    /// Frames that did not arrive, of those sent.
    lost_there: i64,
    lost_back: i64,
    sent: u64,
    drift_ms: f64,
}

/// Of a long run.
#[derive(Clone, Copy, Debug)]
struct Soak {
    figures: Figures,
    /// KiB after the first fifth, and at the end.
    memory: [u64; 2],
}

/// Runs it all. `programs` is the folder of Tandem's programs, `own` the program that has [`bare`].
///
/// # Errors
/// A program is missing or fails, or calls are refused.
pub fn run(
    plan: &Plan,
    programs: &Path,
    own: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, BenchError> {
    let mut rounds = Rounds::new();
    let mut floors = Rounds::new();
    for round in 1..=plan.rounds {
        for &calls in &plan.calls {
            let floor = floor::measure(own, calls, plan.time)?;
            tell(&format!(
                "round {round}: {calls} calls of a bare program: {floor:.2} % of a core each"
            ));
            floors.add(round, calls, floor);
            for audio in Audio::ALL {
                let figures = measure(audio, calls, plan.time, programs, &mut |_, _| ())?;
                tell(&format!(
                    "round {round}: {calls} calls, {}: {figures:.2?}",
                    audio.name()
                ));
                rounds.add(round, (audio, calls), figures);
            }
        }
    }
    let most = plan.calls.iter().copied().max().unwrap_or(1);
    let soak = if plan.soak.is_zero() {
        None
    } else {
        let mut memory = Vec::new();
        let figures = measure(
            Audio::Json,
            most,
            plan.soak,
            programs,
            &mut |passed, kib| {
                tell(&format!(
                    "{most} calls for {} s: {kib} KiB",
                    passed.as_secs()
                ));
                memory.push((passed, kib));
            },
        )?;
        let warm = memory.iter().find(|(passed, _)| *passed >= plan.soak / 5);
        let memory = [warm, memory.last()].map(|sample| sample.map_or(0, |sample| sample.1));
        Some(Soak { figures, memory })
    };
    Ok(Report {
        plan: plan.clone(),
        rounds,
        floors,
        soak,
    })
}

fn measure(
    audio: Audio,
    calls: usize,
    time: Duration,
    programs: &Path,
    look: &mut dyn FnMut(Duration, u64),
) -> Result<Figures, BenchError> {
    let begin = Instant::now();
    let shared = Arc::new(Shared::new(audio, begin, calls));
    let webhook = app::start(Arc::clone(&shared))?;
    let folder = tempfile::tempdir()?;
    let mut node = start(programs, folder.path(), webhook)?;
    let mut phones = Phones::call(calls, RATE, std::process::id())?;
    phones.talk(&shared)?;
    thread::sleep(SETTLE);

    // The frames that are under way now are not in what was sent, but in what will be heard: they are few, and as many
    // will be under way at the end.
    shared.there.clear();
    phones.heard.back.clear();
    let count = |heard: &phones::Heard| {
        [
            heard.sent.load(Ordering::Relaxed),
            shared.heard.load(Ordering::Relaxed),
            heard.returned.load(Ordering::Relaxed),
        ]
    };
    let (counted, ran, media) = (
        count(&phones.heard),
        of_all(&mut node)?,
        of(&mut node, "mediad")?,
    );
    let measured = Instant::now();
    while measured.elapsed() < time {
        thread::sleep(STEP.min(time.saturating_sub(measured.elapsed())));
        look(measured.elapsed(), node.memory());
    }
    let share = |before: Duration, after: Duration| {
        let ran = after.saturating_sub(before).as_secs_f64();
        ran / measured.elapsed().as_secs_f64() * 100.0 / calls as f64
    };
    let cpu = share(ran, of_all(&mut node)?);
    let cpu_media = share(media, of(&mut node, "mediad")?);
    let after = count(&phones.heard);
    let [sent, heard, returned] = [0, 1, 2].map(|at: usize| after[at] - counted[at]);
    let drift_ms = phones.heard.drift_ms();
    let ms = |histogram: &Histogram| [histogram.ms(500), histogram.ms(990)];
    let (there, back) = (ms(&shared.there), ms(&phones.heard.back));

    let clear = clear(&shared, &phones);
    let (setup, own) = (ms(&phones.setup), shared.own.ms(500));
    phones.end()?;
    node.stop()
        .map_err(|error| BenchError::Run(error.to_string()))?;
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(Figures {
        there,
        back,
        clear,
        setup,
        own,
        cpu,
        cpu_media,
        lost_there: signed(sent) - signed(heard),
        lost_back: signed(heard) - signed(returned),
        sent,
        drift_ms,
    })
}

/// Has every server play ten seconds and clear them a second later: how long after that something of them is heard,
/// p50 and p99 of all calls in milliseconds.
fn clear(shared: &Shared, phones: &Phones) -> [f64; 2] {
    shared.set(Mode::Flood);
    thread::sleep(FLOOD);
    shared.set(Mode::Clear);
    thread::sleep(SETTLE);
    let silent = phones.heard.silent.lock();
    let silent = silent.unwrap_or_else(PoisonError::into_inner);
    let histogram = Histogram::default();
    silent.values().for_each(|ns| histogram.add(*ns));
    // Who has heard nothing of it at all was not silenced by a clear.
    for _ in silent.len()..phones.count() {
        histogram.add(u64::MAX);
    }
    [histogram.ms(500), histogram.ms(990)]
}

fn of(node: &mut Node<'_>, program: &str) -> Result<Duration, BenchError> {
    let process = node.process(program);
    let process = process.ok_or_else(|| BenchError::Run(format!("{program} does not run")))?;
    Ok(cpu::of_process(process.pid())?)
}

fn of_all(node: &mut Node<'_>) -> Result<Duration, BenchError> {
    ["mediad", "signaling", "api"]
        .into_iter()
        .map(|program| of(node, program))
        .sum()
}

fn start(programs: &Path, folder: &Path, webhook: SocketAddr) -> Result<Node<'static>, BenchError> {
    let account = "AC0123456789abcdef0123456789abcdef";
    let config = Config {
        name: format!("voice-{}", std::process::id()),
        sip: (NODE, 5060).into(),
        listen: Vec::new(),
        t1: 500,
        media: NODE,
        media_ports: (40_000, 43_999),
        interfaces: Vec::new(),
        datapath: "io-uring".to_owned(),
        media_timeout: 60,
        api: (NODE, 8080).into(),
        allow: vec![CALLER],
        hosts: vec!["127.93.0.3:5060".to_owned()],
        ring_timeout: 60,
        more: format!(
            "[[accounts]]\nsid = \"{account}\"\ntoken = \"0123456789abcdef0123456789abcdef\"\n\
             [[numbers]]\nnumber = \"{NUMBER}\"\naccount = \"{account}\"\nvoice_url = \"http://{webhook}/\"\n"
        ),
    };
    let interrupt = Interrupt::default();
    let node = Node::start(Form::Separate, programs, &config, None, folder, &interrupt);
    node.map_err(|error| BenchError::Run(error.to_string()))
}
