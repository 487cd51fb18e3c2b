//! Traffic of every outcome against a whole node, for as long as one likes: its memory stays flat, and
//! when the traffic is over its tables are empty.
//!
//! SIPp plays the trunks: calls that are answered, busy, cancelled, not answered in time, taken over by
//! a second host, and under a limit that only holds where each call gives back what it held. The phones
//! are this program's own, since they register: a group that forks, a user at two places, MESSAGEs to
//! who is there and who is away, wrong passwords; and there is input that is no SIP.

mod calls;
mod hostile;
mod phones;
mod report;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use loadtest::{
    node::{Config, Form, Node},
    process::Interrupt,
};

pub use report::Report;

use crate::{error::BenchError, memory::Samples};
use calls::Cast;

/// The node, trunks that call, trunks that are called, phones, and whoever sends garbage: each has an
/// address of its own.
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 92, 0, 1));
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 92, 0, 2);
const CALLEE: Ipv4Addr = Ipv4Addr::new(127, 92, 0, 3);
const PHONES: Ipv4Addr = Ipv4Addr::new(127, 92, 0, 4);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 92, 0, 5);
/// Where the node has SIP.
const SIP: SocketAddr = SocketAddr::new(NODE, 5060);
const DOMAIN: &str = "mixed.test";
/// Between two samples of the memory.
const STEP: Duration = Duration::from_secs(5);
/// What the first minutes allocate is what the node needs at this rate.
const WARM_UP: u32 = 4;
/// The longest that a transaction lives on after its call (64 times T1), with room.
const SETTLE: Duration = Duration::from_secs(60);

/// The database's pages that are kept fill up with its records, and what fills up is not flat: with so few
/// MiB they have during the warm-up.
const STORE: &str = "[store]\ncache = 2\n";

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long there is traffic.
    pub time: Duration,
    /// Calls a second, of all kinds together.
    pub rate: u32,
}

/// Runs the traffic. `programs` is the folder with Tandem's programs; `told` hears how it goes.
///
/// # Errors
/// A program is missing or fails; what is wrong with the node is in the report.
pub fn run(plan: Plan, programs: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let node = start(programs, folder)?;
    let answering = Cast::answering(folder)?;
    let phones = phones::Phones::start(plan.rate)?;
    let hostile = hostile::Hostile::start(plan.rate)?;
    let calling = Cast::calling(plan, folder)?;

    let (begin, mut samples) = (Instant::now(), Samples::default());
    while begin.elapsed() < plan.time {
        thread::sleep(STEP);
        samples.take(begin.elapsed(), node.memory());
        if samples.count().is_multiple_of(12) {
            let active = node.metrics()?.sum("tandem_calls_active", &[]);
            told(&format!(
                "{:>5} s: {} KiB, {active} calls up",
                begin.elapsed().as_secs(),
                node.memory()
            ));
        }
    }
    let hostile = hostile.stop();
    let calls = calling.finish()?;
    let phones = phones.stop()?;
    let answering = answering.stop();
    told("the traffic is over; waiting for the last timers");
    let left = settle(&node)?;
    let page = node.metrics()?;
    let settled = node.memory();
    let log = node.log();
    let well = node.stop()?;
    Ok(Report {
        plan,
        calls,
        answering,
        phones,
        hostile,
        samples: samples.after(plan.time / WARM_UP),
        settled,
        left,
        malformed: page.sum("tandem_sip_parse_errors_total", &[]),
        stopped_well: well && !log.contains("panicked"),
    })
}

fn start(programs: &Path, folder: &Path) -> Result<Node<'static>, BenchError> {
    let config = Config {
        name: format!("mixed-{}", std::process::id()),
        sip: SIP,
        listen: Vec::new(),
        t1: 500,
        media: NODE,
        media_ports: (40_000, 43_999),
        interfaces: Vec::new(),
        datapath: "auto".to_owned(),
        media_timeout: 60,
        api: (NODE, 8080).into(),
        allow: vec![CALLER.into()],
        hosts: vec![calls::ANSWERS.to_string()],
        ring_timeout: 60,
        more: calls::routes() + &phones::users() + STORE,
    };
    let (form, space) = (Form::Together, None);
    let node = Node::start(
        form,
        programs,
        &config,
        space,
        folder,
        &Interrupt::default(),
    );
    Ok(node?)
}

/// Waits until every table is empty; what is left in those that do not become so.
fn settle(node: &Node<'_>) -> Result<Vec<(&'static str, f64)>, BenchError> {
    const TABLES: [&str; 5] = [
        "tandem_calls_active",
        "tandem_sip_transactions",
        "tandem_media_sessions_held",
        "tandem_media_sessions",
        "tandem_media_ports_used",
    ];
    let end = Instant::now() + SETTLE;
    loop {
        let page = node.metrics()?;
        let tables = TABLES.map(|name| (name, page.sum(name, &[])));
        let left: Vec<_> = tables.into_iter().filter(|table| table.1 != 0.0).collect();
        if left.is_empty() || Instant::now() > end {
            return Ok(left);
        }
        thread::sleep(Duration::from_secs(1));
    }
}
