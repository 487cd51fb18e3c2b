//! The dashboard in Chromium while thousands of calls are up, begin and end: how soon a page is there, and
//! whether it stays smooth.
//!
//! Browser, node and the calls' parties share the machine, so what is measured is worse than what somebody sees
//! whose browser is on a machine of its own.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use loadtest::{
    node::{ADMIN_KEY, Config, Form, Node},
    process::{self, Interrupt},
    sipp::{Agent, Running, Scenario},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    error::BenchError,
    spread::{Spread, quantile},
};

const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 93, 0, 1));
const CALLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 93, 0, 2)), 5060);
const CALLEE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 93, 0, 3)), 5060);
/// What the browser runs.
const SCRIPT: &str = include_str!("measure.mjs");
/// A page's first paint may take so long.
const PAINT_MS: f64 = 1_000.0;
/// Of a hundred frames, so long the slowest but one: a drawing that a person does not see stop.
const FRAME_MS: f64 = 50.0;
/// The longest that loading and looking may take.
const LOOKING: Duration = Duration::from_secs(150);

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls that are up.
    pub calls: u32,
    /// Calls that begin each second, and end.
    pub rate: u32,
    /// Seconds that each of two pages is looked at.
    pub seconds: u32,
}

/// What the browser says, in milliseconds.
#[derive(Debug, Deserialize)]
struct Seen {
    paints: Vec<f64>,
    loaded: Vec<f64>,
    overview: Vec<f64>,
    list: Vec<f64>,
    known: u64,
}

/// What was measured.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    known: u64,
    paint: Spread,
    loaded: Spread,
    overview: Vec<f64>,
    list: Vec<f64>,
}

/// `programs` is the folder with Tandem's programs, `playwright` the one that has Playwright; `told` hears how
/// it goes.
///
/// # Errors
/// A program is missing or fails, or a script of the page does.
pub fn run(
    plan: Plan,
    programs: &Path,
    playwright: &Path,
    told: &mut dyn FnMut(&str),
) -> Result<Report, BenchError> {
    if !playwright.join("node_modules/playwright-core").is_dir() {
        let place = playwright.display();
        return Err(BenchError::Run(format!(
            "there is no Playwright in {place}: run scripts/setup.sh bench"
        )));
    }
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let node = start(programs, folder)?;
    let parties = parties(plan, folder)?;
    until_up(&node, plan, told)?;

    let script = folder.join("measure.mjs");
    fs::write(&script, SCRIPT)?;
    let mut browser = Command::new("node");
    browser.arg(script).current_dir(playwright);
    browser.arg(format!("http://{}/", api()));
    browser.args([
        ADMIN_KEY,
        &plan.calls.to_string(),
        &plan.seconds.to_string(),
    ]);
    let seen = process::run(&mut browser)?;
    let seen: Seen = serde_json::from_str(&seen)
        .map_err(|error| BenchError::Run(format!("the browser's script said: {seen}: {error}")))?;
    for party in parties {
        party.stop(Duration::from_secs(5));
    }
    node.stop()
        .map_err(|error| BenchError::Run(error.to_string()))?;
    let sorted = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times
    };
    Ok(Report {
        plan,
        known: seen.known,
        paint: Spread::of(seen.paints),
        loaded: Spread::of(seen.loaded),
        overview: sorted(seen.overview),
        list: sorted(seen.list),
    })
}

fn api() -> SocketAddr {
    (NODE, 8080).into()
}

fn start(programs: &Path, folder: &Path) -> Result<Node<'static>, BenchError> {
    let config = Config {
        name: format!("dashboard-{}", std::process::id()),
        sip: (NODE, 5060).into(),
        listen: Vec::new(),
        t1: 500,
        media: NODE,
        media_ports: (40_000, 40_999),
        interfaces: Vec::new(),
        datapath: "sockets".to_owned(),
        media_timeout: 0,
        api: api(),
        allow: vec![CALLER.ip()],
        hosts: vec![CALLEE.to_string()],
        ring_timeout: 60,
        // Audio is no matter here.
        more: "[[routes]]\nprefix = \"1\"\ntrunks = [\"carrier\"]\nmedia = \"bypass\"\n".to_owned(),
    };
    let node = Node::start(
        Form::Together,
        programs,
        &config,
        None,
        folder,
        &Interrupt::default(),
    );
    node.map_err(|error| BenchError::Run(error.to_string()))
}

fn parties(plan: Plan, folder: &Path) -> Result<[Running; 2], BenchError> {
    let talk = Duration::from_secs((plan.calls / plan.rate).into());
    let whole = talk + talk + LOOKING;
    let mut callee = Agent::new(Scenario::Callee, CALLEE);
    callee.calls = u32::MAX / 2;
    callee.ring = Duration::from_millis(200);
    callee.limit = whole * 2;
    let answering = callee.start(None, &folder.join("callee"))?;
    crate::server::until_bound(&[CALLEE])?;
    let mut caller = Agent::new(Scenario::Caller, CALLER);
    caller.target = Some((NODE, 5060).into());
    caller.rate = plan.rate;
    caller.talk = talk;
    caller.calls = plan.rate * u32::try_from(whole.as_secs()).unwrap_or(600);
    caller.limit = whole * 2;
    let calling = caller.start(None, &folder.join("caller"))?;
    Ok([calling, answering])
}

fn until_up(node: &Node<'_>, plan: Plan, told: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
    let wait = Duration::from_secs((3 * plan.calls / plan.rate + 10).into());
    let end = Instant::now() + wait;
    loop {
        let up = node
            .metrics()
            .map_err(|error| BenchError::Run(error.to_string()))?;
        let up = up.sum("tandem_calls_active", &[]);
        told(&format!("{up} calls are up"));
        if up >= f64::from(plan.calls) * 0.95 {
            return Ok(());
        }
        if Instant::now() > end {
            let wanted = plan.calls;
            return Err(BenchError::Run(format!(
                "{up} calls are up after {} s, and not {wanted}",
                wait.as_secs()
            )));
        }
        thread::sleep(Duration::from_secs(5));
    }
}

impl Report {
    /// Whether a page is there within a second, and smooth.
    pub fn is_met(&self) -> bool {
        let smooth = |frames: &[f64]| quantile(frames, 99) <= FRAME_MS;
        self.paint.median().is_some_and(|paint| paint < PAINT_MS)
            && smooth(&self.overview)
            && smooth(&self.list)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let frames = |frames: &[f64]| {
            json!({
                "p50": quantile(frames, 50),
                "p99": quantile(frames, 99),
                "longest": frames.last(),
            })
        };
        json!({
            "calls": self.plan.calls,
            "calls_a_second": self.plan.rate,
            "calls_on_the_page": self.known,
            "first_paint_ms": self.paint.json(),
            "all_calls_known_ms": self.loaded.json(),
            "frame_ms": { "overview": frames(&self.overview), "calls": frames(&self.list) },
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { calls, rate, .. } = self.plan;
        writeln!(f, "{calls} calls up, {rate} a second begin and end")?;
        writeln!(f, "  first paint, ms          {:.0}", self.paint)?;
        writeln!(f, "  all calls known, ms      {:.0}", self.loaded)?;
        for (page, frames) in [("overview", &self.overview), ("calls", &self.list)] {
            writeln!(
                f,
                "  a frame of {page:<9} ms   p50 {:.1}, p99 {:.1}, longest {:.1}",
                quantile(frames, 50),
                quantile(frames, 99),
                frames.last().copied().unwrap_or_default()
            )?;
        }
        Ok(())
    }
}
